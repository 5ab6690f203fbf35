"""One pass over Parquet: the sums, the files, and the same posterior."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import prefstrength as ps
from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.kernel import log_probability
from prefstrength.data.compressed import panels
from prefstrength.data.compressed.grid import Binned, gauss_rule, lobatto_rule
from prefstrength.errors import DataWarning, InputError
from prefstrength.inference.population import cell_codes
from prefstrength.likelihood import counts
from prefstrength.likelihood.certificate import exact_units
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.laws import Blend
from prefstrength.likelihood.strength import StrengthLikelihood
from prefstrength.pipeline import stages
from tests.helpers.likelihoods import PLAIN, blends, likelihood_of

SIGMAS = (0.05, 0.3, 0.7, 1.5, 3.0)


def pairs(
    rows: int, choosers: int = 0, groups: int = 0, seed: int = 0, spread: float = 1.5
) -> pd.DataFrame:
    """Pairs with log-normal strengths; weights, and labels of every kind."""
    rng = np.random.default_rng(seed)
    rewards = rng.normal(0, spread / np.sqrt(2), (rows, 2))
    who = rng.integers(0, choosers, rows) if choosers else np.arange(rows)
    group = rng.integers(0, groups, rows) if groups else np.zeros(rows, np.int64)
    strength = np.exp(0.7 * rng.standard_normal(who.max() + 1))[who] * np.exp(0.3 * group)
    swap = rng.random(rows) > 1 / (1 + np.exp(-strength * (rewards[:, 0] - rewards[:, 1])))
    rewards[swap] = rewards[swap][:, ::-1]
    frame = pd.DataFrame(rewards, columns=["reward_chosen", "reward_rejected"])
    frame["who"] = [f"c{w:04d}" for w in who]
    frame["where"] = np.array(["south", "north", "east"])[group]
    frame["year"] = 2020 + rng.integers(0, 2, rows)
    frame["weight"] = rng.choice([0.0, 0.5, 1.0, 2.0], rows)
    return frame


def written(frame: pd.DataFrame, folder: Path, parts: int = 1, group: int = 4_000) -> Path:
    """The table in one or several Parquet files; their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, rows in enumerate(np.array_split(np.arange(len(frame)), parts)):
        frame.iloc[rows].to_parquet(folder / f"part-{i}.parquet", row_group_size=group, index=False)
    return folder


def compress(files: object, *args: object, **options: object) -> ps.CompressedChoices:
    return ps.compress_choices(files, *args, progress=False, **options)  # type: ignore[arg-type]


def data_of(compressed: ps.CompressedChoices, groups: tuple[str, ...] = ()) -> CompressedData:
    _, codes = cell_codes(compressed, groups)  # type: ignore[arg-type]
    return CompressedData.of_compressed(compressed, codes)


def binned_of(x: np.ndarray, weight: np.ndarray, bits: int) -> Binned:
    return Binned.of(x, np.zeros(len(x)), weight, None, 1, bits)[0]


def tables(data: CompressedData) -> StrengthLikelihood:
    """The likelihood that a fit with positive strengths makes of compressed choices."""
    return data.likelihood(PLAIN, True) if data.panel else likelihood_of(data, ps.LogNormal)


# -- bins --------------------------------------------------------------------------------------


def test_both_rules_have_the_moments_of_the_data() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_t(2, 5_000), [0.0, -0.0, 1e-30, 1e15, -1.0, -1.0, 0.5]])
    weight = rng.random(len(x))
    binned = binned_of(x, weight, 3)
    for rule in (gauss_rule, lobatto_rule):
        points, share, entry = rule(binned)
        start, width = binned.edges()
        inside = (points - start[entry]) / np.where(width[entry] == 0, 1.0, width[entry])
        assert inside.min() >= -1e-9
        assert inside.max() <= 1 + 1e-9
        for power in range(4):
            place = np.clip(inside, 0, 1) - 0.5
            found = np.bincount(entry, share * place**power, len(binned.bin))
            zero = width == 0
            assert np.allclose(found[~zero], binned.sums[~zero, power], atol=1e-11)
    assert np.allclose(binned.moments(1)[0, 0], weight.sum(), rtol=1e-14)
    assert np.allclose(binned.moments(1)[0, 1:], [weight @ x, weight @ x**2], rtol=1e-9)


def test_data_of_few_values_are_kept_exactly() -> None:
    x = np.array([1.0, 1.0, -2.5, 1.0, 0.0, -2.5])
    points, weight, _ = gauss_rule(binned_of(x, np.ones(6), 7))
    order = np.argsort(points)
    assert points[order].tolist() == [-2.5, 0.0, 1.0]
    assert weight[order].tolist() == [2.0, 1.0, 3.0]


def test_the_two_rules_bracket_the_data_and_close_in_by_the_fourth_power() -> None:
    """The bound holds for every bin, and halving the bins divides it by about 16."""
    x = np.random.default_rng(1).normal(0, 1.5, 200_000)
    truth, bounds = float(-np.logaddexp(0, -2.0 * x).sum()), []
    for bits in (2, 3, 4, 5):
        binned = binned_of(x, np.ones(len(x)), bits)
        (gauss, w, a), (lobatto, v, b) = gauss_rule(binned), lobatto_rule(binned)
        each = [
            np.bincount(e, s * -np.logaddexp(0, -2.0 * p))
            for p, s, e in ((gauss, w, a), (lobatto, v, b))
        ]
        bound = float(np.abs(each[0] - each[1]).sum())
        assert abs(each[0].sum() - truth) < bound
        bounds.append(bound)
    slopes = np.diff(np.log2(bounds))
    assert np.all((slopes > -4.6) & (slopes < -3.4)), slopes


def test_signs_mirror() -> None:
    x = np.random.default_rng(2).exponential(1.0, 1_000)
    at, there = (gauss_rule(binned_of(s * x, np.ones(1_000), 5)) for s in (1, -1))
    assert np.array_equal(at[0], -there[0])
    assert np.array_equal(at[1], there[1])


def test_many_cells_are_summed_like_few() -> None:
    rng = np.random.default_rng(8)
    x, weight, cell = rng.normal(size=3_000), rng.random(3_000), rng.integers(0, 400, 3_000)
    many, wrong = Binned.of(x, np.zeros(3_000), weight, cell, 400, 4)
    assert wrong == 0
    for c in (0, 63, 64, 399):
        own = binned_of(x[cell == c], weight[cell == c], 4)
        assert np.array_equal(many.bin[many.cell == c], own.bin)
        assert np.array_equal(many.sums[many.cell == c], own.sums)


# -- panels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", [True, False])
def test_tables_of_streamed_sums_are_those_of_the_rows(positive: bool) -> None:
    """The sums of h that define them, at coefficients between those that are sampled."""
    rng = np.random.default_rng(3)
    # For strengths of either sign the series knows no difference of thousands of sds.
    x = 1.5 * (rng.standard_t(3, 20_000) if positive else rng.standard_normal(20_000))
    x[:6] = [0.0, 1e-9, 1e4, -1e4, 1e-300, -0.0] if positive else [0.0, 1e-9, 8, -8, 1e-300, -0.0]
    weight, chooser, scale = rng.random(20_000), rng.integers(0, 7, 20_000), 1.7
    state = np.zeros((7, panels.FIELDS))
    wrong = panels.accumulate(x, np.zeros(len(x)), weight, chooser, scale, 1e9, state)
    assert wrong == 0
    beta = np.array([0.02, 0.3, 1.1, 6.0])
    beta = beta if positive else np.r_[-beta, 0.0, beta]
    found = panels.evaluate(panels.coefficients_of(state, scale, positive), scale, positive, beta)
    each = weight[:, None] * -np.logaddexp(0.0, -x[:, None] * beta)
    wanted = np.stack([each[chooser == c].sum(axis=0) for c in range(7)])
    per_row = np.abs(found - wanted).max(axis=1) / np.bincount(chooser, weight)
    assert per_row.max() < 1e-6
    information = np.max(
        [(s * x / scale) ** 2 / (2 + 2 * np.cosh(np.minimum(np.abs(s * x / scale), 700)))
         for s in (0.5, 1.0, 2.0)],
        axis=0,
    )  # fmt: skip
    wanted = np.bincount(chooser, weight * information)
    assert np.allclose(panels.moment(state, "information"), wanted, rtol=1e-9)
    assert np.array_equal(panels.moment(state, "rows"), np.bincount(chooser))


def test_log_sigmoid_off_the_table_is_exact_at_every_size() -> None:
    """h over 30 orders of magnitude of the utility, at every coefficient that is sampled."""
    x = np.concatenate([[0.0], np.geomspace(1e-20, 1e10, 4_001)])
    state = np.zeros((len(x), panels.FIELDS))
    panels.accumulate(x, np.zeros(len(x)), None, np.arange(len(x)), 1.0, 1e30, state)
    resolved = x < 5.0  # standard deviations of the difference
    for positive in (True, False):
        beta = np.array([0.01, 0.3, 1.0, 7.0, 300.0])
        found = panels.evaluate(panels.coefficients_of(state, 1.0, positive), 1.0, positive, beta)
        wanted = -np.logaddexp(0.0, -x[:, None] * beta)
        off = np.abs(found - wanted)[resolved]
        # What is left is the series, not the table: its error is that of degree 96.
        assert off.max() < 1e-8, off.max()
    samples = np.exp(panels.LOGS)
    h = np.log1p(np.exp(-np.minimum(x[:, None] * samples, 700.0)))
    assert np.abs(state[:, : len(samples)] - h).max() < 2e-10


# -- files -------------------------------------------------------------------------------------


def test_files_folders_globs_and_lists_are_one(tmp_path: Path) -> None:
    frame = pairs(5_000, groups=3)
    folder = written(frame, tmp_path / "pairs", parts=3, group=700)
    ways = [
        folder,
        str(folder),
        f"{folder}/*.parquet",
        f"{tmp_path}/**/*.parquet",
        sorted(folder.iterdir()),
        sorted(folder.iterdir(), reverse=True),
    ]
    hashes = {
        compress(way, groups=["where", "year"], weight="weight").content_hash() for way in ways[:-1]
    }
    assert len(hashes) == 1
    backward = compress(ways[-1], groups=["where", "year"], weight="weight")
    forward = compress(ways[0], groups=["where", "year"], weight="weight")
    assert np.array_equal(backward.sample, forward.sample)
    assert np.allclose(backward.binned.sums, forward.binned.sums, rtol=1e-12, atol=1e-12)  # type: ignore[union-attr]
    direct = ps.Choices.from_pairs(frame, groups=["where", "year"], weights="weight")
    assert forward.n_situations == direct.n_situations
    assert forward.scale("reward") == pytest.approx(direct.scale("reward"), rel=1e-12)
    for name in ("where", "year"):
        assert forward.groups[name].levels == direct.groups[name].levels
        weights = np.bincount(forward.groups[name].codes, forward.weights)
        wanted = np.bincount(direct.groups[name].codes, direct.weights)
        assert np.allclose(weights, wanted, rtol=1e-12)


@pytest.mark.parametrize("chooser", [None, "who"])
def test_numbers_do_not_depend_on_threads_and_batches(
    tmp_path: Path, chooser: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(pairs(9_000, choosers=40, groups=2), tmp_path / "p", group=1_000)
    one, many = (
        compress(folder, chooser, ["where"], workers=n, scale=1.5 if chooser else None)
        for n in (1, 7)
    )
    assert one.content_hash() == many.content_hash()
    monkeypatch.setattr("prefstrength.data.compressed._PANEL_ROWS", 300)
    monkeypatch.setattr("prefstrength.data.compressed._PAIR_ROWS", 300)
    small = compress(folder, chooser, ["where"], scale=1.5 if chooser else None)
    assert np.array_equal(small.sample, one.sample)
    assert np.array_equal(small.whole, one.whole)
    assert np.allclose(small.weights, one.weights, rtol=1e-10)


@pytest.mark.parametrize("chooser", [None, "who"])
def test_shards_merge_to_the_whole(tmp_path: Path, chooser: str | None) -> None:
    frame = pairs(6_000, choosers=90, groups=3)
    frame.loc[:1_999, "where"] = "west"  # a level that only one shard has
    folder = written(frame, tmp_path / "p", parts=3)
    options = {"groups": ["where"], "weight": "weight", "scale": 1.5 if chooser else None}
    whole = compress(folder, chooser, **options)
    parts = [compress(file, chooser, **options) for file in sorted(folder.iterdir())]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.levels == whole.levels
    assert merged.choosers == whole.choosers
    for name in ("cells", "cell_rows", "sample", "whole"):
        assert np.array_equal(getattr(merged, name), getattr(whole, name)), name
    assert merged.whole_below == whole.whole_below
    assert np.allclose(merged.weights, whole.weights, rtol=1e-9)
    if chooser:
        assert np.allclose(merged.state, whole.state, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]
        complete = frame.groupby("who").size()
        kept = pd.Series(merged.whole["chooser"]).value_counts()
        assert len(kept) == 48
        assert all(complete[merged.choosers[c]] == n for c, n in kept.items())  # type: ignore[call-overload]
    else:
        assert np.allclose(merged.binned.sums, whole.binned.sums, rtol=1e-12, atol=1e-12)  # type: ignore[union-attr]


def test_sample_is_uniform_and_holds_rare_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefstrength.data.compressed.sums.SAMPLE_ROWS", 1_000)
    frame = pairs(30_000, groups=2)
    frame.loc[::600, "where"] = "rare"
    compressed = compress(written(frame, tmp_path / "p"), groups=["where"])
    choices = compressed.sample_choices
    counts = choices.groups["where"].counts()
    assert counts["rare"] == 50  # all of them: a cell keeps 100
    assert 1_000 <= choices.n_situations <= 1_060
    totals = np.bincount(choices.groups["where"].codes, choices.weights)
    assert np.allclose(totals, frame["where"].value_counts().sort_index())
    # Where the rows stand in the file says nothing about whether they are kept.
    place = np.array([int(label.split(":")[1]) for label in choices.situations or ()])
    assert abs(place.mean() / 15_000 - 1) < 0.1
    x = (frame["reward_chosen"] - frame["reward_rejected"]).to_numpy()
    assert np.array_equal(choices.differences("reward"), x[place])


def test_saved_and_loaded(tmp_path: Path) -> None:
    frame = pairs(3_000, choosers=60, groups=3)
    folder = written(frame, tmp_path / "p")
    for name, chooser in (("pairs", None), ("panels", "who")):
        made = compress(folder, chooser, ["where", "year"], weight="weight")
        loaded = ps.load_compressed(made.save(tmp_path / name))
        assert loaded.content_hash() == made.content_hash()
        assert repr(loaded) == repr(made)
        assert sorted(p.name for p in (tmp_path / name).iterdir()) == [
            "compressed.json",
            "sums.npz",
        ]


def test_what_is_no_compressed_folder_is_said(tmp_path: Path) -> None:
    made = compress(written(pairs(500), tmp_path / "p"))
    with pytest.raises(InputError, match=r"got no compressed\.json there"):
        ps.load_compressed(tmp_path / "p")
    with pytest.raises(InputError, match="which holds something else"):
        made.save(tmp_path / "p")
    saved = made.save(tmp_path / "c")
    spec = json.loads((saved / "compressed.json").read_text())
    for change in ({"hash": "0"}, {"files": []}, {"situations": 1}):
        (saved / "compressed.json").write_text(json.dumps(spec | change))
        with pytest.raises(InputError, match="One of the two was changed"):
            ps.load_compressed(saved)
    (saved / "compressed.json").write_text(
        json.dumps(spec | {"schema": "prefstrength/compressed/0"})
    )
    with pytest.raises(InputError, match="another version"):
        ps.load_compressed(saved)
    (saved / "compressed.json").write_text(json.dumps(spec))
    (saved / "sums.npz").write_bytes((saved / "sums.npz").read_bytes()[:300])
    with pytest.raises(InputError, match=r"Expected sums\.npz"):
        ps.load_compressed(saved)


def test_an_interrupted_pass_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefstrength.data import compressed as streaming

    folder = written(pairs(4_000, choosers=50), tmp_path / "p", parts=4)
    seen: list[str] = []
    read = streaming.batches

    def batches(file: object, *args: object, **options: object) -> object:
        seen.append(file.path.name)  # type: ignore[attr-defined]
        if len(seen) == 3 and "stop" in flags:
            raise KeyboardInterrupt
        return read(file, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(streaming, "batches", batches)
    flags = {"stop"}
    options = {"checkpoint": tmp_path / "kept", "scale": 1.5}
    with pytest.raises(KeyboardInterrupt):
        compress(folder, "who", **options)
    flags.clear()
    seen.clear()
    resumed = compress(folder, "who", **options)
    assert seen == ["part-2.parquet", "part-3.parquet"]
    plain = compress(folder, "who", scale=1.5)
    assert np.array_equal(resumed.sample, plain.sample)
    assert np.allclose(resumed.state, plain.state, rtol=1e-12, atol=1e-12)  # type: ignore[arg-type]
    # A changed file, or other columns, are no finished work.
    seen.clear()
    pairs(1_000, choosers=50, seed=9).to_parquet(folder / "part-0.parquet")
    compress(folder, "who", **options)
    assert seen == ["part-0.parquet"]
    # So is one of the same length and the same footer, of which only rows have changed places.
    seen.clear()
    path, swapped = folder / "part-1.parquet", pd.read_parquet(folder / "part-1.parquet")
    before = path.stat()
    order = np.arange(len(swapped))
    order[100:200] = order[100:200][::-1]
    swapped.iloc[order].reset_index(drop=True).to_parquet(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) != (before.st_size, 0)
    compress(folder, "who", **options)
    assert seen == ["part-1.parquet"]


def sum_of(compressed: ps.CompressedChoices) -> float:
    return float(compressed.cell_moments[:, 1].sum())


def uncompressed(frame: pd.DataFrame, path: Path) -> Path:
    """A file whose size and footer say nothing of the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, compression="none", use_dictionary=False, write_statistics=False)
    return path


def test_shards_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    frames = [pairs(1_000, seed=seed) for seed in (0, 1)]
    paths = [
        uncompressed(frame, tmp_path / f"day={day}" / "part-0.parquet")
        for day, frame in enumerate(frames)
    ]
    plain = compress(tmp_path / "*" / "*.parquet")
    for _ in range(2):  # written, and read again
        kept = compress(tmp_path / "*" / "*.parquet", checkpoint=tmp_path / "kept")
        assert sum_of(kept) == pytest.approx(sum_of(plain), rel=1e-12)
    one, two = (compress(path) for path in paths)
    assert sum_of(one) != pytest.approx(sum_of(two))
    assert sum_of(one.merge(two)) == pytest.approx(sum_of(plain), rel=1e-12)
    # The same pairs under another name are the same pairs.
    copy = uncompressed(frames[0], tmp_path / "copy.parquet")
    with pytest.raises(InputError, match=r"different files; got 'copy\.parquet' in both"):
        one.merge(compress(copy))


@pytest.mark.parametrize("chooser", [None, "who"])
def test_shards_without_rows_are_passed_over(tmp_path: Path, chooser: str | None) -> None:
    frame = pairs(900, choosers=30)
    written(frame.iloc[:0], tmp_path / "a")
    written(frame, tmp_path / "b")
    for order in ("ab", "ba"):
        for checkpoint in (None, tmp_path / f"kept-{order}"):
            folders = [tmp_path / name for name in order]
            made = compress(folders, chooser, scale=1.5 if chooser else None, checkpoint=checkpoint)
            assert made.n_situations == 900


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, 1, 2], pa.int8()),
        pa.array(["x", "y", "x", "y"], pa.large_string()),
        pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        pa.array([True, False, True, False]),
        pa.array([7.0, 8.0, 7.0, 8.0]),
    ],
    ids=["int", "text", "dictionary", "bool", "whole floats"],
)
def test_labels_of_every_type_are_those_of_choices(tmp_path: Path, column: pa.Array) -> None:
    table = pa.table(
        {
            "reward_chosen": pa.array([1, 2, 0, 1], pa.int32()),
            "reward_rejected": pa.array([0.5, 0.5, 0.5, 1.5], pa.float32()),
            "label": column,
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.warns(DataWarning, match="fewer than 10"):
        compressed = compress(tmp_path / "a.parquet", groups="label")
    assert np.allclose(np.sort(compressed.points[0]), [-0.5, -0.5, 0.5, 1.5])
    with pytest.warns(DataWarning):
        direct = ps.Choices.from_pairs(table.to_pandas(), groups="label")
    assert set(compressed.groups["label"].levels) == set(direct.groups["label"].levels)


# -- bad input -----------------------------------------------------------------------------------


def bad(frame: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, dict[str, object], str]]:
    """Broken tables, the arguments they are read with, and what is said."""

    def changed(**columns: object) -> pd.DataFrame:
        out = frame.copy()
        for name, (rows, value) in columns.items():  # type: ignore[misc]
            out[name] = out[name].astype(object) if isinstance(value, str | None) else out[name]
            out.loc[rows, name] = value
        return out

    few = [7, 450, 451, 900]
    return {
        "missing column": (
            frame.rename(columns={"reward_chosen": "rewrd_chosen"}),
            {},
            r"part-0\.parquet should have one column 'reward_chosen'.*Did you mean 'rewrd_chosen'",
        ),
        "nan": (
            changed(reward_rejected=(few, np.nan)),
            {},
            r"'reward_rejected' of part-0\.parquet.*finite.*(first: 7, 450, 451; rows count)",
        ),
        "null": (
            changed(reward_chosen=(few, None)),
            {},
            r"'reward_chosen' of part-0\.parquet.*got nothing.*first: 7, 450, 451",
        ),
        "infinite": (changed(reward_chosen=([9], np.inf)), {}, "infinite values in 1 of the rows"),
        "huge": (
            changed(reward_chosen=([9], 1e300)),
            {},
            "Column 'reward_chosen' minus 'reward_rejected'.*larger differences",
        ),
        "negative weight": (
            changed(weight=([3], -1.0)),
            {"weight": "weight"},
            r"'weight' of part-0\.parquet.*weights such as -1 in 1 of the rows 0 to",
        ),
        "zero weights": (frame.assign(weight=0.0), {"weight": "weight"}, "not all be zero"),
        "no chooser": (changed(who=(few, None)), {"chooser": "who"}, "name a chooser in every row"),
        "blank chooser": (
            changed(who=([3], " ")),
            {"chooser": "who"},
            "got blanks in 1 of the rows",
        ),
        "no level": (changed(where=(few, None)), {"groups": "where"}, "name a group in every row"),
        "fraction": (
            frame.assign(year=frame["year"] + 0.5),
            {"groups": "year"},
            "numbers such as 2020.5|numbers such as 2021.5",
        ),
        "measurement": (
            frame.assign(year=np.arange(len(frame))),
            {"groups": "year"},
            "category that many rows share",
        ),
        "ids": (
            frame.assign(where=[f"row {i}" for i in range(len(frame))]),
            {"groups": "where"},
            "category that many rows share",
        ),
        "text": (
            frame.assign(reward_chosen=frame["reward_chosen"].astype(str)),
            {},
            r"'reward_chosen' of part-0\.parquet should hold numbers; got (large_)?string",
        ),
        "ties": (
            frame.assign(tie=np.arange(len(frame)) == 5),
            {},
            r"'tie' of part-0\.parquet.*got ties in 1 of the rows .*first: 5;",
        ),
        "no spread": (
            frame.assign(reward_rejected=frame["reward_chosen"]),
            {},
            "got equal 'reward_chosen' and 'reward_rejected' everywhere",
        ),
        "no spread in panels": (
            frame.assign(reward_rejected=frame["reward_chosen"]),
            {"chooser": "who"},
            "got equal 'reward_chosen' and 'reward_rejected' everywhere",
        ),
        "no rows": (frame.iloc[:0], {}, "at least one row"),
        "column of two uses": (frame, {"chooser": "who", "groups": ["who"]}, "one use"),
        "bins": (frame, {"bins": 100}, "power of two"),
        "scale": (frame, {"chooser": "who", "scale": -1.0}, "positive scale"),
        "scale of other data": (
            frame,
            {"chooser": "who", "scale": 100.0},
            r"got 100 \(given\).*Pass `scale=1\.5",
        ),
    }


NAMES = sorted(bad(pairs(1_000, choosers=9)))


@pytest.mark.parametrize("name", NAMES)
def test_bad_input_is_one_sentence(tmp_path: Path, name: str) -> None:
    frame, options, said = bad(pairs(1_000, choosers=9))[name]
    folder = written(frame, tmp_path / "p", group=400)
    with pytest.raises(InputError) as error:
        compress(folder, **options)
    text = str(error.value)
    assert re.search(said, text), text
    assert "\n" not in text
    assert text.endswith((".", "?"))


def test_bad_files_are_one_sentence(tmp_path: Path) -> None:
    folder = written(pairs(500), tmp_path / "p")
    (tmp_path / "a.csv").write_text("reward_chosen,reward_rejected\n1,0\n")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "empty").mkdir()
    for files, said in (
        (tmp_path / "a.csv", r"Only Parquet is read as a stream; got a\.csv"),
        (tmp_path / "broken.parquet", r"broken\.parquet should be a Parquet file; got 16 bytes"),
        (tmp_path / "empty", "got '.*empty' without any"),
        (tmp_path / "absent.parquet", "got nothing of that name"),
        (tmp_path / "*.pq", "got none"),
        ([], "empty list"),
        ([folder, folder / "part-0.parquet"], "named once"),
    ):
        with pytest.raises(InputError, match=said):
            compress(files)
    with pytest.raises(TypeError, match=r"Choices\.from_pairs"):
        compress([pairs(3)])


def test_nothing_is_left_of_a_pass_that_fails(tmp_path: Path) -> None:
    frame = pairs(3_000)
    frame.loc[2_900, "reward_chosen"] = np.nan
    folder = written(frame, tmp_path / "p", parts=3)
    with pytest.raises(InputError, match=r"part-2\.parquet"):
        compress(folder, checkpoint=tmp_path / "kept")
    kept = sorted(p.name for p in (tmp_path / "kept").iterdir())
    assert [name.rsplit("-", 1)[0] for name in kept] == ["part-0", "part-1"]


def test_parts_that_do_not_fit_are_not_merged(tmp_path: Path) -> None:
    folder = written(pairs(2_000, choosers=50), tmp_path / "p", parts=2)
    first, second = sorted(folder.iterdir())
    a = compress(first, "who", scale=1.5)
    for other, said in (
        (compress(second, "who", scale=1.6), r"got 1\.5 and 1\.6.*scale=1\.5"),
        (compress(second), "same columns"),
        (compress(first, "who", scale=1.5), "different files; got 'part-0.parquet' in both"),
    ):
        with pytest.raises(InputError, match=said):
            a.merge(other)
    with pytest.raises(InputError, match="bins in an octave; got 128 and 64"):
        compress(first).merge(compress(second, bins=64))
    with pytest.raises(TypeError, match="Expected CompressedChoices"):
        a.merge(pairs(3))  # type: ignore[arg-type]
    written(pairs(100).assign(where=3), tmp_path / "q")
    with pytest.raises(InputError, match="values of one type in all files"):
        compress([first, tmp_path / "q"], groups="where")


# -- the likelihood ------------------------------------------------------------------------------


def direct_pairs(x: np.ndarray, weight: np.ndarray, of: list[Blend]) -> float:
    return float(weight @ log_probability(NUMPY, x, of[0].mixing(0)))


def check_pairs(
    folder: Path, frame: pd.DataFrame, tolerance: float, sigmas: tuple[float, ...] = SIGMAS
) -> None:
    data = data_of(compress(folder, weight="weight"))
    likelihood = tables(data)
    x = (frame["reward_chosen"] - frame["reward_rejected"]).to_numpy()
    weight = frame["weight"].to_numpy()
    for sigma in sigmas:
        of = blends(ps.LogNormal, -0.2, sigma)
        assert data.certified_error(likelihood, of) < tolerance, sigma
        assert abs(likelihood.totals(of)[0] - direct_pairs(x, weight, of)) < tolerance, sigma


def test_log_likelihood_of_compressed_pairs(tmp_path: Path) -> None:
    frame = pairs(30_000)
    check_pairs(written(frame, tmp_path / "p", 2, 20_000), frame, 1e-3, (0.05, 0.7, 3.0))


@pytest.mark.slow
@pytest.mark.parametrize("heavy", [False, True])
def test_log_likelihood_of_a_million_compressed_pairs(tmp_path: Path, heavy: bool) -> None:
    frame = pairs(1_000_000)
    if heavy:
        x = 1.5 * np.random.default_rng(5).standard_t(2.5, len(frame))
        frame["reward_chosen"], frame["reward_rejected"] = x, 0.0
    check_pairs(written(frame, tmp_path / "p", 2, 200_000), frame, 0.01)


def check_panels(folder: Path, frame: pd.DataFrame, sigmas: tuple[float, ...]) -> None:
    choices = ps.Choices.from_pairs(frame, chooser="who")
    raw = LikelihoodData.of(choices, ("reward",), np.zeros(len(frame), np.int64))
    data = data_of(compress(folder, "who"))
    likelihood = tables(data)
    for sigma in sigmas:
        of = blends(ps.LogNormal, -0.2, sigma)
        wanted = exact_units(raw, PLAIN, of, {}, np.arange(raw.units))[0]
        assert data.certified_error(likelihood, of) < 0.01, sigma
        # The choosers of both are in the order of their names.
        assert np.abs(likelihood.by_unit(of)[0] - wanted).sum() < 0.01, sigma


def uneven(choosers: int, most: int) -> pd.DataFrame:
    """Choosers with 1 to ``most`` choices."""
    rng = np.random.default_rng(6)
    counts = np.unique(np.geomspace(1, most, choosers).astype(int))
    frame = pairs(int(counts.sum()), choosers=len(counts), seed=7)
    who = np.repeat(np.arange(len(counts)), counts)
    x = frame["reward_chosen"] - frame["reward_rejected"]
    strength = np.exp(0.7 * rng.standard_normal(len(counts)))[who]
    sign = np.where(rng.random(len(who)) < 1 / (1 + np.exp(-strength * np.abs(x))), 1.0, -1.0)
    frame["reward_chosen"], frame["reward_rejected"] = sign * np.abs(x), 0.0
    return frame.assign(who=who)


def test_log_likelihood_of_compressed_panels(tmp_path: Path) -> None:
    frame = uneven(20, 300)
    check_panels(written(frame, tmp_path / "p"), frame, (0.05, 0.7, 3.0))


@pytest.mark.slow
def test_log_likelihood_of_long_compressed_panels(tmp_path: Path) -> None:
    frame = uneven(40, 5_000)
    check_panels(written(frame, tmp_path / "p"), frame, SIGMAS)


def test_too_few_bins_are_refused(tmp_path: Path) -> None:
    """Sums over coarse bins are not certified, and the error is below what is certified."""
    frame = pairs(40_000)
    folder = written(frame, tmp_path / "p", group=40_000)
    x = (frame["reward_chosen"] - frame["reward_rejected"]).to_numpy()
    of = blends(ps.LogNormal, 0.5, 0.3)
    wanted = direct_pairs(x, np.ones(len(x)), of)
    for bins, fails in ((1, True), (2, True), (128, False)):
        data = data_of(compress(folder, bins=bins))
        likelihood = tables(data)
        certified = data.certified_error(likelihood, of)
        assert (certified > 0.01) == fails, bins
        assert abs(likelihood.totals(of)[0] - wanted) < max(certified, 1e-6)


def test_too_few_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lattice of pairs that is too coarse; series of panels that are cut short."""
    frame = pairs(30_000, choosers=300)
    folder = written(frame, tmp_path / "p", group=30_000)
    of = blends(ps.LogNormal, 0.0, 0.7)
    data = data_of(compress(folder))
    assert data.certified_error(tables(data), of) < 1e-4
    with monkeypatch.context() as planted:
        planted.setattr(counts, "_POINTS", 2)
        planted.setattr(counts, "_PER_UNIT", 1)
        assert data.certified_error(tables(data), of) > 0.01

    data = data_of(compress(folder, "who"))
    assert data.certified_error(tables(data), of) < 0.01
    cut = panels.coefficients_of
    monkeypatch.setattr(panels, "coefficients_of", lambda *arguments: cut(*arguments, degree=12))
    assert data.certified_error(tables(data), of) > 0.01


@pytest.mark.parametrize("positive", [True, False])
def test_compressed_panels_are_the_panels_themselves(tmp_path: Path, positive: bool) -> None:
    """In several cells, for strengths of one sign and of both: chooser by chooser."""
    frame = pairs(3_000, choosers=40, groups=2, seed=3)
    folder = written(frame, tmp_path / "p", parts=2)
    data = data_of(compress(folder, "who", ["where"]), ("where",))
    choices = ps.Choices.from_pairs(frame, chooser="who", groups=["where"])
    _, cell = cell_codes(choices, ["where"])
    raw = LikelihoodData.of(choices, ("reward",), cell)
    family = ps.LogNormal if positive else ps.Normal
    of = blends(family, [0.0, 0.3] if positive else [0.8, 1.2], [0.7, 0.5])
    found = data.likelihood(PLAIN, positive).by_unit(of)[0]
    assert np.abs(found - likelihood_of(raw, family).by_unit(of)[0]).max() < 1e-5


# -- the posterior -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ps.Fit]:
    """Fits of the same panels, compressed and not."""
    frame = pairs(6_000, choosers=200, groups=2, seed=3)
    folder = written(frame, tmp_path_factory.mktemp("panel") / "p", parts=2)
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    # A group that the model does not ask for is summed over.
    choices = ps.Choices.from_pairs(frame, chooser="who")
    return both(model, choices, compress(folder, "who", ["year"]))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ps.Fit]:
    """The same with groups, in which choosers have choices on both sides."""
    frame = pairs(6_000, choosers=200, groups=2, seed=3)
    folder = written(frame, tmp_path_factory.mktemp("grouped") / "p", parts=2)
    model = ps.MixedLogit({"reward": ps.LogNormal()}, groups=["where"])
    choices = ps.Choices.from_pairs(frame, chooser="who", groups=["where"])
    return both(model, choices, compress(folder, "who", ["where", "year"]))


def both(
    model: ps.MixedLogit, choices: ps.Choices, compressed: ps.CompressedChoices
) -> dict[str, ps.Fit]:
    return {
        "direct": model.fit(choices, seed=0, progress=False),
        "compressed": model.fit(compressed, seed=0, progress=False),
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ps.Fit]:
    """Fits of the same weighted pairs without choosers, compressed and not."""
    frame = pairs(20_000, seed=4)
    folder = written(frame, tmp_path_factory.mktemp("plain") / "p", parts=2)
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    choices = ps.Choices.from_pairs(frame, weights="weight")
    return both(model, choices, compress(folder, weight="weight"))


WAYS = ["plain", "panel", pytest.param("grouped", marks=pytest.mark.slow)]


@pytest.mark.parametrize("which", WAYS)
def test_posterior_is_that_of_the_choices(which: str, request: pytest.FixtureRequest) -> None:
    fits = request.getfixturevalue(which)
    direct, compressed = fits["direct"], fits["compressed"]
    assert compressed.method == direct.method
    assert compressed.spec["likelihood"]["error"] < 0.01
    assert compressed.spec["scales"]["reward"] == pytest.approx(direct.spec["scales"]["reward"])
    assert compressed.spec["cells"] == direct.spec["cells"]
    for name in ("reward_mu", "reward_sigma"):
        a, b = (np.asarray(fit.posterior[name]) for fit in (direct, compressed))
        assert a.shape == b.shape
        sd = a.std(axis=(0, 1))
        assert np.abs(a.mean(axis=(0, 1)) - b.mean(axis=(0, 1))).max() < 0.15 * sd.min()
        assert np.all(np.abs(np.log(b.std(axis=(0, 1)) / sd)) < 0.15)


@pytest.mark.parametrize("which", WAYS)
def test_everything_that_reads_a_fit_works(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    fits = request.getfixturevalue(which)
    direct, fit = fits["direct"], fits["compressed"]
    tables = [ps.heterogeneity(f) for f in (direct, fit)]
    for column in ("factor", "level", "choosers", "verdict"):
        assert tables[0][column].tolist() == tables[1][column].tolist()
    # A fit leaves rows of weight 0 out and says how many; sums have counted them.
    left_out = sum(part["count"] for part in direct.spec["data"]["dropped"])
    assert tables[0]["situations"][0] + left_out == tables[1]["situations"][0]
    for column in ("mean", "cv", "share"):
        assert np.allclose(tables[0][column], tables[1][column], rtol=0.1)
    assert fit.check().passed == direct.check().passed
    priors = [ps.StrengthPrior.from_fit(f, mean_strength=0.1) for f in (direct, fit)]
    assert priors[0].family == priors[1].family
    ps.plot_strength(fit, axes=Figure().subplots())
    ps.plot_choice_curve(fit, axes=Figure().subplots())
    again = ps.load_fit(fit.save(tmp_path / "fit"))
    assert again.spec == fit.spec
    assert fit.spec["data"]["situations"] == direct.spec["data"]["situations"] + left_out
    assert fit.spec["data"]["sampled"] == len(fit.tree["constant_data"]["weight"])
    if which != "plain":
        a, b = (
            ps.chooser_strengths(f).sort_values("chooser", ignore_index=True) for f in (direct, fit)
        )
        assert a["chooser"].tolist() == b["chooser"].tolist()
        assert a["choices"].tolist() == b["choices"].tolist()
        assert np.corrcoef(a["mean"], b["mean"])[0, 1] > 0.99
        ps.plot_choosers(fit, ax=Figure().subplots())
        assert "log_likelihood" in fit.tree
        ps.compare({"a": fit, "b": fit})
    else:
        assert "log_likelihood" not in fit.tree
        assert "log_likelihood" in fit.spec["data"]["left_out"]


def test_what_needs_the_choices_is_said(tmp_path: Path) -> None:
    compressed = compress(written(pairs(1_000, choosers=20), tmp_path / "p"), "who")
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    with pytest.raises(InputError, match="needs the choices themselves"):
        model.fit(compressed, method="latent", progress=False)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Expected groups among"):
        ps.MixedLogit({"reward": ps.LogNormal()}, groups=["where"]).fit(compressed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"Expected attributes among \['reward'\]"):
        ps.MixedLogit({"length": ps.LogNormal()}).fit(compressed)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a pass over the files of its own"):
        compressed.scale("length")
    with pytest.raises(InputError, match="need choosers"):
        compress(tmp_path / "p").situation_counts()


# -- the command line ----------------------------------------------------------------------------


def command(*arguments: object) -> object:
    from typer.testing import CliRunner

    from prefstrength.pipeline.cli import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_writes_the_sums_and_nothing_else(tmp_path: Path) -> None:
    folder = written(pairs(2_000, choosers=40, groups=2), tmp_path / "p", parts=2)
    out = tmp_path / "out"
    arguments = ("compress", f"{folder}/*.parquet", "--out", out, "--chooser", "who", "-q")
    done = command(*arguments, "--group", "where", "--weights", "weight", "--scale", 1.5)
    assert done.exit_code == 0, done.output  # type: ignore[attr-defined]
    assert [path.name for path in out.iterdir()] == ["compressed"]
    wanted = compress(folder, "who", ["where"], weight="weight", scale=1.5)
    assert np.allclose(ps.load_compressed(out / "compressed").weights, wanted.weights)
    failed = command("compress", tmp_path / "absent", "--out", tmp_path / "other", "-q")
    assert failed.exit_code == 2  # type: ignore[attr-defined]
    assert not (tmp_path / "other").exists()


def test_sums_of_other_files_replace_results_only_when_asked(tmp_path: Path) -> None:
    first, second = (
        written(pairs(400, groups=2, seed=seed), tmp_path / str(seed)) for seed in (0, 1)
    )
    out = tmp_path / "out"
    assert command("compress", first, "--out", out, "-q").exit_code == 0  # type: ignore[attr-defined]
    before = (out / "compressed" / "compressed.json").stat()
    # What a fit left, as the stage records it.
    stages.perform(
        out,
        "fit",
        {},
        {},
        lambda new: (new / "heterogeneity.csv").write_text("old"),
        lambda: 0,
        force=False,
        tell=None,
    )
    again = command("compress", first, "--out", out, "-q")
    assert again.exit_code == 0  # type: ignore[attr-defined]
    assert (out / "compressed" / "compressed.json").stat() == before
    for arguments, said in (
        ((second,), "the content of files changed"),
        ((first, "--group", "where"), "groups was (), now ('where',)"),
    ):
        refused = command("compress", *arguments, "--out", out, "-q")
        assert refused.exit_code == 2  # type: ignore[attr-defined]
        assert said in " ".join(refused.output.split())  # type: ignore[attr-defined]
    assert (out / "compressed" / "compressed.json").stat() == before
    assert (out / "heterogeneity.csv").read_text() == "old"
    done = command("compress", second, "--out", out, "-q", "--force")
    assert done.exit_code == 0  # type: ignore[attr-defined]
    assert not (out / "heterogeneity.csv").exists()
    assert not (out / "stages" / "fit.json").exists()
    wanted = compress(second)
    assert ps.load_compressed(out / "compressed").content_hash() == wanted.content_hash()
    told = command("report", out)
    assert told.exit_code == 2  # type: ignore[attr-defined]


def test_what_needs_pairs_says_so_where_there_are_sums(tmp_path: Path) -> None:
    from prefstrength import pipeline

    out = tmp_path / "out"
    compress(written(pairs(300), tmp_path / "p")).save(out / "compressed")
    for made in (out / "stages", out / "fit"):  # as a fit leaves it
        made.mkdir()
    (out / "stages" / "fit.json").write_text("{}")
    with pytest.raises(InputError, match=r"got compressed choices alone.*Score a sample"):
        pipeline.report(out)


@pytest.mark.slow
def test_commands_go_on_from_the_sums(tmp_path: Path) -> None:
    folder = written(pairs(20_000), tmp_path / "p")
    out = tmp_path / "out"
    assert command("compress", folder, "--out", out, "-q").exit_code == 0  # type: ignore[attr-defined]
    assert command("fit", out, "-q").exit_code == 0  # type: ignore[attr-defined]
    assert ps.load_fit(out / "fit").spec["data"]["situations"] == 20_000
    assert (out / "strength_prior.json").is_file()
    assert (out / "heterogeneity.csv").is_file()
