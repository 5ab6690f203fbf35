"""Scoring of Parquet files part by part: the table of `score`, whoever does the work."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prefstrength._shared.folder import Folder
from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards import ColumnReward, Scores, TextReward, score, score_parquet
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.responses import distinct_responses
from prefstrength.rewards.engine.run import run
from prefstrength.rewards.parquet import job
from prefstrength.rewards.parquet import pairs as pair_files
from tests.helpers.letter_model import make_model

ROOT = Path(__file__).parents[2]


@dataclass
class Letters:
    """A reward from texts that goes through the engine; it notes what it is asked for."""

    name: str = "letters"
    attributes: tuple[str, ...] = ("reward",)
    stop_after: int | None = None  # forward passes
    says: bool = False
    opened: int = 0
    loaded: int = 0
    parts: list[int] = field(default_factory=list)
    forwarded: list[str] = field(default_factory=list)
    arrow_bytes: list[int] = field(default_factory=list)

    def identity(self):
        return {"reward": self.name, "outputs": self.attributes}

    def score_pairs(self, pairs, *, cache=None, progress=True):
        self.parts.append(len(pairs))
        self.arrow_bytes.append(pa.total_allocated_bytes())
        if self.says:
            warnings.warn(f"{len(self.parts)} things are odd", DataWarning, stacklevel=1)
        responses = distinct_responses(pairs)
        found = run(
            once(self, lambda: LetterSource(self)),
            responses,
            max_truncated=0.0,
            batch_tokens=256,
            cache=cache,
            progress=progress,
        )
        return Scores(
            chosen=found.values[responses.chosen],
            rejected=found.values[responses.rejected],
            attributes=self.attributes,
            provenance={
                "name": self.name,
                "responses": len(responses),
                "from_cache": found.from_cache,
                "engine": found.engine,
                "kept_in": found.kept_in,
            },
        )


class LetterSource:
    pad_token_id = 0
    max_length = None
    device = "cpu"

    def __init__(self, reward):
        self.reward = reward
        self.identity, self.outputs = reward.identity(), reward.attributes
        reward.opened += 1

    def encode(self, prompt, response):
        ids = [ord(letter) for letter in f"{prompt} {response}"]
        return {"input_ids": ids, "tokens": len(ids)}

    def encode_all(self, prompts, responses):
        return list(map(self.encode, prompts, responses))

    def load(self):
        self.reward.loaded += 1

    def forward(self, model, items):
        texts = ["".join(map(chr, item["input_ids"])) for item in items]
        if len(texts) > 1:  # not what is scored a second time, alone
            if len(self.reward.forwarded) == self.reward.stop_after:
                raise KeyboardInterrupt
            self.reward.forwarded.append(json.dumps(texts))
        powers = 1 + np.arange(len(self.outputs))
        sums = np.array([float(np.sum(np.sin(item["input_ids"]))) for item in items])
        return sums[:, None] ** powers


def make_pairs(n, seed=0):
    rng = np.random.default_rng(seed)

    def text():
        return "".join(rng.choice(list("abcdefgh"), size=rng.integers(3, 30)))

    frame = pd.DataFrame(
        {name: [text() for _ in range(n)] for name in ("prompt", "chosen", "rejected")}
    )
    frame["judge_chosen"], frame["judge_rejected"] = rng.normal(size=(2, n))
    frame["reward_chosen"] = rng.integers(0, 5, size=n)  # to be replaced
    frame["region"] = pd.Categorical(rng.choice(["west", "east"], size=n))
    frame["tie"] = rng.random(n) < 0.2
    return frame


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three files of 13, 0 and 40 pairs, in row groups of 9, to be scored in parts of about 10."""
    monkeypatch.setattr(job, "PART_PAIRS", 10)
    monkeypatch.setattr(pair_files, "_READ", 4)
    folder = tmp_path / "pairs"
    folder.mkdir()
    pairs = make_pairs(53)
    for name, rows in (("a", slice(13)), ("b", slice(0)), ("c", slice(13, None))):
        pairs[rows].to_parquet(folder / f"{name}.parquet", row_group_size=9)
    return folder


def whole(folder):
    tables = [pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    assert all(isinstance(table["region"].dtype, pd.CategoricalDtype) for table in tables)
    return pd.concat(tables, ignore_index=True).astype({"region": str})


def same_numbers(scored, expected):
    """The raw rewards to the last bit; the units, from sums over parts, but for its rounding."""
    raw = [name for name in expected.columns if "_raw_" in name]
    assert list(scored.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(scored[raw], expected[raw], check_exact=bool(len(raw) == 2))
    pd.testing.assert_frame_equal(scored, expected, rtol=1e-13)


def numbers_of(about):
    """Units and shares of every attribute."""
    each = {"": about, **about.get("attributes", {})}
    names = ("unit", "agreement", "equal")
    return {(a, name): each[a][name] for a in each for name in names if name in each[a]}


REWARDS = {
    "columns": lambda: ColumnReward("judge_chosen", "judge_rejected"),
    "texts": Letters,
    "heads": lambda: Letters(attributes=("help", "safety")),
    "ensemble": lambda: [Letters(), ColumnReward("judge_chosen", "judge_rejected")],
}


@pytest.mark.parametrize("kind", REWARDS)
def test_the_files_hold_what_score_gives_for_the_whole_table(files, tmp_path, kind):
    about = score_parquet(files, tmp_path / "out", REWARDS[kind](), progress=False)
    expected = score(whole(files), REWARDS[kind](), progress=False)
    scored = whole(tmp_path / "out")
    same_numbers(scored, expected)
    assert about["parts"] == len(list((tmp_path / "out").glob("*.parquet"))) == 5
    assert about == json.loads((tmp_path / "out" / "reward.json").read_text())
    told = expected.attrs["reward"]
    assert about["pairs"] == 53
    assert about["replaced"] == told["replaced"]
    mine, theirs = numbers_of(about), numbers_of(told)
    assert len(mine) == {"heads": 6, "ensemble": 9}.get(kind, 3)
    assert mine == pytest.approx(theirs, rel=1e-13)
    if kind == "ensemble":
        np.testing.assert_allclose(about["correlation"], told["correlation"], rtol=1e-12)
        assert [m["unit"] for m in about["members"]] == pytest.approx(
            [m["unit"] for m in told["members"]]
        )


def test_a_model_is_opened_and_loaded_once_and_texts_are_scored_once(files, tmp_path):
    reward = Letters()
    about = score_parquet(files, tmp_path / "out", reward, progress=False)
    assert (reward.opened, reward.loaded) == (1, 1)
    assert sum(reward.parts) == 53
    assert max(reward.parts) <= 11
    assert about["responses"] == 106
    assert about["from_cache"] == 0
    assert not list((tmp_path / "out" / "raw").glob("*/"))  # no cache of a part is left
    again = score_parquet(files, tmp_path / "out", reward, progress=False)
    assert again == about
    assert len(reward.parts) == 5


def test_memory_does_not_grow_with_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "PART_PAIRS", 500)
    monkeypatch.setattr(pair_files, "_READ", 100)
    held = []
    for n in (4_000, 16_000):
        pairs = make_pairs(n).assign(prompt="p" * 1_000)
        pairs["prompt"] += pairs.index.astype(str)
        path = tmp_path / f"{n}.parquet"
        pairs.to_parquet(path, row_group_size=2_000)  # of which 500 are read at a time
        # texts that are not scored here count as much as those that are
        reward = Letters()
        monkeypatch.setattr(reward, "score_pairs", lambda pairs, r=reward, **_: noted(r, pairs))
        before = pa.total_allocated_bytes()
        score_parquet(path, tmp_path / f"out-{n}", reward, progress=False)
        held.append(max(reward.arrow_bytes) - before)
        assert max(reward.parts) == 500
    assert held[1] < 1.2 * held[0] < 8e6


def test_rows_are_read_wherever_parts_begin(files, monkeypatch):
    pairs = pair_files.Pairs.open(files, files / "out")
    expected = whole(files)
    reader, decoded = pair_files.Reader(pairs), []
    iter_batches = pq.ParquetFile.iter_batches

    def counted(self, *arguments, row_groups, **options):
        decoded.append((self.metadata.num_rows, *row_groups))
        return iter_batches(self, *arguments, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    for bounds in ((0, 3), (3, 4), (6, 12), (12, 20), (21, 30), (31, 32), (32, 53)):
        frame = reader.frame(*bounds)
        same = frame.reset_index(drop=True).astype({"region": str})
        pd.testing.assert_frame_equal(same, expected[slice(*bounds)].reset_index(drop=True))
        assert list(frame.index) == [
            f"a.parquet:{row}" if row < 13 else f"c.parquet:{row - 13}" for row in range(*bounds)
        ]
    assert len(decoded) == len(set(decoded)) == 7  # every row group once
    for bounds in ((50, 53), (2, 5)):  # going back, in the last row group and to the first
        frame = reader.frame(*bounds)
        assert list(frame["chosen"]) == list(expected["chosen"][slice(*bounds)])
    assert len(decoded) == 9


def noted(reward, pairs):
    reward.parts.append(len(pairs))
    reward.arrow_bytes.append(pa.total_allocated_bytes())
    columns = pairs["judge_chosen"].to_numpy(), pairs["judge_rejected"].to_numpy()
    return Scores(*columns, provenance={"name": "noted"})


@pytest.mark.parametrize("done", [0.0, 0.3, 0.5, 0.9])
def test_an_interrupted_run_loses_a_batch_and_ends_in_the_same_files(files, tmp_path, done):
    undisturbed = Letters()
    expected = score_parquet(files, tmp_path / "one", undisturbed, progress=False)
    first = Letters(stop_after=int(done * len(undisturbed.forwarded)))
    second = Letters()
    with pytest.raises(KeyboardInterrupt):
        score_parquet(files, tmp_path / "two", first, progress=False)
    assert not (tmp_path / "two" / "reward.json").exists()
    about = score_parquet(files, tmp_path / "two", second, progress=False)
    assert first.forwarded + second.forwarded == undisturbed.forwarded
    assert about["unit"] == expected["unit"]
    pd.testing.assert_frame_equal(
        whole(tmp_path / "two"), whole(tmp_path / "one"), check_exact=True
    )


def test_what_killed_processes_left_is_gone_at_the_end(files, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        score_parquet(files, out, Letters(stop_after=7), progress=False)
    left = [
        out / ".part-00002.parquet.x1", out / "raw" / ".0-00003.parquet.x2",
        out / "raw" / "0-00000" / "scores" / "a.parquet",
    ]  # fmt: skip
    fresh = out / ".part-00002.parquet.x3"  # which somebody may be writing
    for path in [*left, out / ".mine", fresh]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        if path != fresh:
            os.utime(path, (0, 0))
    score_parquet(files, out, Letters(), progress=False)
    score_parquet(files, tmp_path / "undisturbed", Letters(), progress=False)
    names = {path.relative_to(out) for path in out.rglob("*")}
    undisturbed = tmp_path / "undisturbed"
    more = names - {path.relative_to(undisturbed) for path in undisturbed.rglob("*")}
    assert more == {Path(".mine"), Path(fresh.name)}


def test_a_part_that_is_gone_is_written_again_and_nothing_is_scored(files, tmp_path):
    out = tmp_path / "out"
    score_parquet(files, out, Letters(), progress=False)
    before = (out / "part-00003.parquet").read_bytes()
    (out / "part-00003.parquet").unlink()
    reward = Letters()
    score_parquet(files, out, reward, progress=False)
    assert (out / "part-00003.parquet").read_bytes() == before
    assert reward.parts == []


def test_members_without_a_model_work_first(files, tmp_path):
    letters = Letters()
    with pytest.raises(InputError, match="none_chosen"):
        score_parquet(
            files,
            tmp_path / "out",
            [letters, ColumnReward("none_chosen", "none_rejected")],
            progress=False,
        )
    assert letters.parts == []


def test_an_ensemble_of_several_heads_is_refused_at_its_first_part(files, tmp_path):
    heads = Letters(attributes=("help", "safety"))
    with pytest.raises(InputError, match="one number each; got help, safety"):
        score_parquet(files, tmp_path / "out", [heads, Letters()], progress=False)
    assert len(heads.parts) == 1


def test_what_the_parts_say_alike_is_kept():
    parts = [
        [{"name": "a", "settings": {"device": f"cuda:{i}", "dtype": "x"}, "responses": i,
          "longest": 9 - i, "guards": {"bos": {"checked": i}}, "from_cache": 0}]
        for i in (1, 2, 3)
    ]  # fmt: skip
    assert job.together(parts) == [
        {"name": "a", "settings": {"dtype": "x"}, "responses": 6, "longest": 8, "from_cache": 0}
    ]
    assert job.together(parts[:1]) == parts[0]


def test_scores_of_another_data_set_are_found_in_a_cache(files, tmp_path):
    score(whole(files)[:20], Letters(), cache=tmp_path / "scores", progress=False)
    about = score_parquet(
        files, tmp_path / "out", Letters(), cache=tmp_path / "scores", progress=False
    )
    assert about["from_cache"] == 40
    assert (tmp_path / "scores" / "provenance.json").is_file()
    same_numbers(whole(tmp_path / "out"), score(whole(files), Letters(), progress=False))


def test_warnings_of_one_kind_are_shown_once_and_counted(files, tmp_path):
    with pytest.warns(DataWarning) as shown:
        about = score_parquet(files, tmp_path / "out", Letters(says=True), progress=False)
    assert [str(one.message) for one in shown] == ["1 things are odd"]
    assert about["warnings"] == [{"first": "1 things are odd", "parts": 5}]
    metadata = pq.read_schema(tmp_path / "out" / "part-00002.parquet").metadata[b"prefstrength"]
    (told,) = json.loads(metadata)["rewards"]
    assert told["warnings"] == ["3 things are odd"]
    assert told["provenance"]["engine"]["batches"] > 0


def test_the_folder_is_not_mixed(files, tmp_path):
    out = tmp_path / "out"
    score_parquet(files, out, Letters(), progress=False)
    kept = (out / "reward.json").read_bytes()
    with pytest.raises(
        InputError, match="begun with; got others .reward.1.reward was 'letters', now 'other'"
    ):
        score_parquet(files, out, Letters("other"), progress=False)
    moved = shutil.copytree(files, tmp_path / "moved")
    score_parquet(moved, out, Letters(), progress=False)  # the same content
    make_pairs(13, seed=1).to_parquet(moved / "a.parquet")
    with pytest.raises(InputError, match="begun with; got others .the content of files changed"):
        score_parquet(moved, out, Letters(), progress=False)
    with pytest.raises(InputError, match="holds something else"):
        score_parquet(files, moved, Letters(), progress=False)
    with pytest.raises(InputError, match="should not hold the pairs"):
        score_parquet(files, tmp_path, Letters(), progress=False)
    assert (out / "reward.json").read_bytes() == kept


def test_force_replaces_other_work_and_keeps_the_same(files, tmp_path):
    out, options = tmp_path / "out", {"force": True, "progress": False}
    score_parquet(files, out, Letters(), progress=False)
    before = files_of(tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    first = Letters("other", stop_after=7)
    with pytest.raises(KeyboardInterrupt):
        score_parquet(files, out, first, **options)
    assert not (out / "reward.json").exists()
    assert files_of(out) == {}
    second, undisturbed = Letters("other"), Letters("other")
    score_parquet(files, out, second, **options)  # goes on, and does not begin again
    score_parquet(files, tmp_path / "new", undisturbed, progress=False)
    assert first.forwarded + second.forwarded == undisturbed.forwarded
    assert list(files_of(out)) == list(before)
    pd.testing.assert_frame_equal(whole(out), whole(tmp_path / "new"), check_exact=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "scoring.json").read_text())["reward"][0]["reward"] == "other"


def test_force_leaves_no_rewards_of_other_work_behind_a_link(files, tmp_path):
    out = tmp_path / "out"
    score_parquet(files, out, Letters(), progress=False)
    (out / "raw").rename(tmp_path / "elsewhere")
    (out / "raw").symlink_to(tmp_path / "elsewhere")
    other = Letters("other")
    score_parquet(files, out, other, force=True, progress=False)
    score_parquet(files, tmp_path / "new", Letters("other"), progress=False)
    assert other.forwarded
    pd.testing.assert_frame_equal(whole(out), whole(tmp_path / "new"), check_exact=True)


def test_force_takes_nothing_away_before_all_is_looked_at(files, tmp_path):
    out, options = tmp_path / "out", {"force": True, "progress": False}
    score_parquet(files, out, Letters(), progress=False)
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    pairs = pd.read_parquet(files / "c.parquet")
    pairs.loc[pairs.index[5], "chosen"] = None
    pairs.to_parquet(files / "c.parquet")
    with pytest.raises(InputError, match=r"c\.parquet:5"):
        score_parquet(files, out, Letters("other"), **options)
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_force_leaves_alone_what_others_have_written(files, tmp_path):
    out, options = tmp_path / "out", {"force": True, "progress": False}
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"'notes.txt'.*force=True"):
        score_parquet(files, out, Letters(), progress=False)
    score_parquet(files, out, Letters(), **options)
    assert (out / "notes.txt").read_text() == "mine"
    for name in ("mine.parquet", "raw", "reward.json"):
        (tmp_path / name[:3]).mkdir()
        (tmp_path / name[:3] / name).write_text("mine")
        with pytest.raises(InputError, match=f"holds something else .'{name}'"):
            score_parquet(files, tmp_path / name[:3], Letters(), **options)
        assert (tmp_path / name[:3] / name).read_text() == "mine"


def test_a_process_that_begins_while_another_does_sees_its_folder(files, tmp_path, monkeypatch):
    look, out = Folder.foreign, tmp_path / "out"

    def overtaken(*arguments):
        seen = look(*arguments)
        monkeypatch.setattr(Folder, "foreign", look)
        score_parquet(files, out, Letters(), progress=False)
        return seen

    monkeypatch.setattr(Folder, "foreign", overtaken)
    reward = Letters()
    assert score_parquet(files, out, reward, progress=False)["pairs"] == 53
    assert reward.parts == []


def test_what_cannot_be_scored_in_parts_is_refused_before_anything_is_written(files, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(InputError, match="TextReward, which learns from all pairs together"):
        score_parquet(files, out, TextReward(), progress=False)

    class Nameless:
        def score_pairs(self, pairs, *, cache=None, progress=True):
            raise AssertionError

    with pytest.raises(InputError, match=r"Nameless without the method identity\(\)"):
        score_parquet(files, out, Nameless(), progress=False)
    make_pairs(3).drop(columns="region").to_parquet(files / "d.parquet")
    with pytest.raises(InputError, match=r"another 'region' in d.parquet than in a.parquet"):
        score_parquet(files, out, Letters(), progress=False)
    with pytest.raises(InputError, match="backend should be one of 'ray'"):
        score_parquet(files, out, Letters(), backend="spark", progress=False)
    with pytest.raises(InputError, match="Leave one out"):
        score_parquet(files, out, Letters(), backend="ray", divide=True, progress=False)
    with pytest.raises(InputError, match="divide=True` and `force=True"):
        score_parquet(files, out, Letters(), divide=True, force=True, progress=False)
    with pytest.raises(InputError, match="workers=2` and `backend=None"):
        score_parquet(files, out, Letters(), workers=2, progress=False)
    assert not out.exists()


@pytest.mark.parametrize(("name", "value"), [("chosen", None), ("prompt", "  "), ("tie", None)])
def test_a_row_that_cannot_be_scored_is_found_before_any_is(files, tmp_path, name, value):
    pairs = pd.read_parquet(files / "c.parquet").astype({"tie": object})
    pairs.loc[pairs.index[37], name] = value
    pairs["tie"] = pairs["tie"].astype("boolean")
    pairs.to_parquet(files / "c.parquet")
    reward = Letters()
    with pytest.raises(InputError, match=rf"{name}.*c\.parquet:37"):
        score_parquet(files, tmp_path / "out", reward, progress=False)
    assert reward.parts == []


def test_a_damaged_part_is_named(files, tmp_path):
    score_parquet(files, tmp_path / "out", Letters(), progress=False)
    (tmp_path / "out" / "reward.json").unlink()
    (tmp_path / "out" / "raw" / "0-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"0-00002\.parquet.*Delete that file"):
        score_parquet(files, tmp_path / "out", Letters(), progress=False)


# -- several processes ---------------------------------------------------------------------------

SCRIPT = """
import os, sys, warnings
import prefstrength as ps
from prefstrength.rewards.parquet import job

job.PART_PAIRS = 10
folder, out, how = sys.argv[1:]
reward = ps.HFReward("model", template="plain", batch_tokens=128)
options = {"ray": {"backend": "ray", "workers": 2}, "launched": {"divide": True}, "one": {}}[how]
os.chdir(folder)
about = ps.score_parquet("pairs", out, reward, progress=False, **options)
if how == "ray":
    import ray
    assert not ray.is_initialized()
print(about["unit"].hex(), about["responses"])
"""


def python(home, *arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        # Ray keeps a token at home
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HOME": str(home)},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.parquet"))}


@pytest.fixture
def scored_by_one(files, tmp_path):
    make_model(tmp_path / "model")
    (tmp_path / "script.py").write_text(SCRIPT)
    return python(tmp_path, tmp_path / "script.py", tmp_path, "one", "one")


@pytest.mark.slow
def test_launched_processes_write_the_files_of_one(scored_by_one, tmp_path):
    # what accelerate launch runs where there are GPUs; on a CPU it would ask for MPI
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    said = python(tmp_path, *command, tmp_path / "script.py", tmp_path, "two", "launched")
    assert said == [*scored_by_one, *scored_by_one]
    assert len(files_of(tmp_path / "one")) == 5
    assert files_of(tmp_path / "two") == files_of(tmp_path / "one")


@pytest.mark.slow
def test_workers_of_a_local_ray_write_the_files_of_one(scored_by_one, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (the extra ray)")
    said = python(tmp_path, tmp_path / "script.py", tmp_path, "three", "ray")
    assert said == scored_by_one
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one")
