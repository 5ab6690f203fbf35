import gzip
import json

import numpy as np
import pandas as pd
import pytest

from prefstrength.data.choices import Choices
from prefstrength.data.reading import pairs_from_votes, read_choices, read_pairs
from prefstrength.errors import InputError
from tests.helpers.shared_data import (
    electricity_choices,
    hh_pairs,
    mtbench_pairs,
    require,
    ukp_pairs,
    wqrm_pairs,
)


def pairs():
    return pd.DataFrame(
        {
            "prompt": ["why?", 'a "quoted", text', "zwei\nZeilen", "Ω…"],
            "chosen": ["because", "yes", "ja", "ω"],
            "rejected": ["so", "no", "nein", "o"],
            "reward_chosen": [1.5, -0.25, 1e-3, 2.0],
            "reward_rejected": [0.0, 1.0, 2.0, 0.125],
            "annotator": ["w1", "w2", "w1", "w3"],
            "tie": [False, False, True, False],
        }
    )


def to_jsonl(frame, path):
    frame.to_json(path, orient="records", lines=True, force_ascii=False)


WRITERS = {
    "pairs.parquet": lambda f, p: f.to_parquet(p),
    "pairs.pq": lambda f, p: f.to_parquet(p),
    "pairs.jsonl": to_jsonl,
    "pairs.ndjson": to_jsonl,
    "pairs.jsonl.gz": to_jsonl,
    "PAIRS.JSONL": to_jsonl,
    "pairs.json": lambda f, p: p.write_text(json.dumps(f.to_dict("records"))),
    "lines.json": to_jsonl,
    "pairs.csv": lambda f, p: f.to_csv(p, index=False),
    "pairs.csv.gz": lambda f, p: f.to_csv(p, index=False),
    "pairs.tsv": lambda f, p: f.to_csv(p, index=False, sep="\t"),
    "marked.jsonl": lambda f, p: p.write_text(
        "\ufeff" + f.to_json(orient="records", lines=True), encoding="utf-8"
    ),
    "excel.csv": lambda f, p: f.to_csv(p, index=False, encoding="utf-8-sig", lineterminator="\r\n"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_reads_back_the_same_table(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](pairs(), path)
    got = read_pairs(path)
    pd.testing.assert_frame_equal(got, pairs(), check_dtype=False)
    assert got["tie"].dtype == bool
    assert got["reward_chosen"].dtype == float
    assert read_pairs(str(path)).equals(got)
    choices = read_choices(path, chooser="annotator", ties="drop")
    again = Choices.from_pairs(pairs(), "annotator", ties="drop")
    assert choices.content_hash() == again.content_hash()


def test_a_folder_of_parquet_reads_in_the_order_of_names(tmp_path):
    for i in (2, 0, 1):
        pairs().assign(part=i).to_parquet(tmp_path / f"part-{i}.parquet")
    (tmp_path / "README.md").write_text("not a table")
    got = read_pairs(tmp_path)
    assert got["part"].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert got.index.tolist() == list(range(12))


def test_conversations_survive_json_and_parquet(tmp_path):
    talk = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    frame = pairs().drop(columns=["prompt", "tie"])
    frame = frame.assign(chosen=[talk] * 4, rejected=[talk[:1]] * 4)
    to_jsonl(frame, tmp_path / "pairs.jsonl")
    frame.to_parquet(tmp_path / "pairs.parquet")
    call = {"chooser": "annotator", "duplicates": "drop"}
    a = read_choices(tmp_path / "pairs.jsonl", **call)
    b = read_choices(tmp_path / "pairs.parquet", **call)
    assert a.situations == ("0", "1", "3")
    assert a.content_hash() == b.content_hash()


def test_ids_in_json_stay_text_and_blank_lines_do_not_count(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"id": "007", "day": "2026-01-01"}\n\n{"id": "7"}\n\n')
    got = read_pairs(tmp_path / "p.jsonl")
    assert got["id"].tolist() == ["007", "7"]
    assert got["day"][0] == "2026-01-01"
    assert got.index.tolist() == [0, 1]


def test_missing_numbers_and_the_level_na_in_csv(tmp_path):
    (tmp_path / "p.csv").write_text(
        "reward_chosen,country,id\n1.5,NA,1\nNaN,DE,2\nnull,None,3\n,nan,x\n"
    )
    got = read_pairs(tmp_path / "p.csv")
    np.testing.assert_array_equal(got["reward_chosen"], [1.5, np.nan, np.nan, np.nan])
    assert got["country"].tolist() == ["NA", "DE", "None", "nan"]  # Namibia is a country
    assert got["id"].tolist() == ["1", "2", "3", "x"]


def test_a_named_index_of_a_parquet_file_is_a_column(tmp_path):
    pairs().set_index("annotator").to_parquet(tmp_path / "p.parquet")
    assert read_pairs(tmp_path / "p.parquet")["annotator"].tolist() == ["w1", "w2", "w1", "w3"]
    pairs().iloc[[2, 0]].to_parquet(tmp_path / "p.parquet")
    assert read_pairs(tmp_path / "p.parquet").index.tolist() == [0, 1]


def test_the_sentence_names_the_file(tmp_path):
    pairs().to_csv(tmp_path / "my pairs.csv", index=False)
    with pytest.raises(InputError, match=r"in 1 of 4 rows \(first: 2\).*\(In my pairs.csv; rows"):
        read_choices(tmp_path / "my pairs.csv")


def test_a_file_that_is_not_packed_as_its_name_says(tmp_path):
    (tmp_path / "p.csv.gz").write_text("chosen,rejected\nyes,no\n")
    with pytest.raises(InputError, match="not packed with gzip"):
        read_pairs(tmp_path / "p.csv.gz")
    (tmp_path / "p.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(InputError, match="should not be packed again"):
        read_pairs(tmp_path / "p.parquet.gz")
    with pytest.raises(InputError, match="no folder"):
        read_pairs(tmp_path / "nowhere" / "p.csv")


# -- files of answers -------------------------------------------------------------------------


def test_files_of_graded_and_tied_pairs(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "reward_chosen": rng.normal(size=20),
            "reward_rejected": rng.normal(size=20),
            "who": [f"w{i % 4}" for i in range(20)],
            "person": [float(i % 4) for i in range(20)],
            "grade": np.arange(20) % 5 - 2,
            "draw": np.arange(20) % 5 == 2,
            "first": ["chosen", "rejected"] * 10,
            "pair": np.arange(20),
        }
    )
    frame.to_csv(tmp_path / "pairs.csv", index=False)
    call = {"chooser": "who", "chooser_weights": "person", "first": "first", "pair": "pair"}
    for more in (
        {"grade": "grade"},
        {"grade": "grade", "grades": [-2, -1, 0, 1, 2]},
        {"tie": "draw"},
    ):
        wanted = Choices.from_pairs(frame, **call, **more)
        assert read_choices(tmp_path / "pairs.csv", **call, **more).content_hash() == (
            wanted.content_hash()
        )


def test_files_of_rankings(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "task": np.repeat([f"t{i}" for i in range(10)], 3),
            "name": ["a", "b", "c"] * 10,
            "place": np.concatenate([rng.permutation(3) + 1 for _ in range(10)]),
            "reward": rng.normal(size=30).round(3),
            "who": np.repeat(["ann", "ben"], 15),
        }
    )
    frame.to_json(tmp_path / "ranks.jsonl", orient="records", lines=True)
    call = {"situation": "task", "alternative": "name", "rank": "place", "chooser": "who"}
    found = read_choices(tmp_path / "ranks.jsonl", **call)
    assert found.content_hash() == Choices.from_rankings(frame, **call).content_hash()
    with pytest.raises(InputError, match=r"got 'grade' beside rank.*\(In ranks.jsonl"):
        read_choices(tmp_path / "ranks.jsonl", **call, grade="place")
    with pytest.raises(InputError, match="one kind of answer"):
        read_choices(tmp_path / "ranks.jsonl", situation="task", alternative="name")


# -- votes ------------------------------------------------------------------------------------


def votes(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "annotator": rng.choice(["ann", "ben"], rows),
            "choice": rng.choice(["a", "b", "tie"], rows),
            "response_a": [f"left {i}" for i in range(rows)],
            "response_b": [f"right {i}" for i in range(rows)],
            "reward_a": rng.normal(size=rows),
            "reward_b": rng.normal(size=rows),
            "len_a": rng.integers(0, 9, rows),
            "len_b": rng.integers(0, 9, rows),
        },
        index=pd.Index([f"v{i}" for i in range(rows)]),
    )


def test_votes_become_pairs():
    table = votes()
    table.attrs["source"] = "made up"
    before = table.copy(deep=True)
    got = pairs_from_votes(table)
    pd.testing.assert_frame_equal(table, before)
    assert list(got.columns) == [
        "annotator", "choice", "chosen", "rejected", "reward_chosen", "reward_rejected",
        "len_chosen", "len_rejected", "tie",
    ]  # fmt: skip
    assert got.attrs == {"source": "made up"}
    assert got.index.equals(table.index)
    assert got["len_chosen"].dtype == int
    for (_, vote), (_, pair) in zip(table.iterrows(), got.iterrows(), strict=True):
        won, lost = ("b", "a") if vote["choice"] == "b" else ("a", "b")
        assert pair["tie"] == (vote["choice"] == "tie")
        assert pair["chosen"] == vote[f"response_{won}"]
        assert pair["reward_rejected"] == vote[f"reward_{lost}"]
        assert pair["len_chosen"] == vote[f"len_{won}"]


def test_which_response_is_called_a_does_not_matter():
    table = votes()
    other = {"_a": "_b", "_b": "_a"}
    swapped = table.rename(columns=lambda c: c[:-2] + other.get(c[-2:], c[-2:]))
    swapped["choice"] = swapped["choice"].map({"a": "b", "b": "a", "tie": "tie"})
    call = {"chooser": "annotator", "attributes": ["reward", "len"], "ties": "drop"}
    hashes = {
        Choices.from_pairs(pairs_from_votes(frame), **call).content_hash()
        for frame in (table, swapped)
    }
    assert len(hashes) == 1


def test_other_words_for_the_votes():
    table = votes().rename(columns=lambda c: c.replace("_a", "_left").replace("_b", "_right"))
    table["choice"] = table["choice"].map({"a": "left", "b": "right", "tie": "both bad"})
    got = pairs_from_votes(table, first="left", second="right", tie="both bad")
    want = pairs_from_votes(votes())
    pd.testing.assert_frame_equal(
        got.drop(columns="choice"), want.drop(columns="choice"), check_like=True
    )


@pytest.mark.parametrize(
    "codes",
    [
        {"first": 1, "second": 2, "tie": 3},
        {"first": 1.0, "second": 2.0, "tie": 3.0},
        {"first": "A>B", "second": "B>A", "tie": ["A=B"]},
        {"first": True, "second": False, "tie": "both"},
    ],
    ids=str,
)
def test_codes_of_votes_are_no_endings(codes):
    ties = codes["tie"][0] if isinstance(codes["tie"], list) else codes["tie"]
    code = {"a": codes["first"], "b": codes["second"], "tie": ties}
    table = votes().assign(choice=votes()["choice"].map(code))
    got = pairs_from_votes(table, **codes)
    want = pairs_from_votes(votes())
    pd.testing.assert_frame_equal(got.drop(columns="choice"), want.drop(columns="choice"))
    other = table.rename(columns=lambda c: c.replace("_a", "_one").replace("_b", "_two"))
    got = pairs_from_votes(other, **codes, endings=("one", "two"))
    pd.testing.assert_frame_equal(got.drop(columns="choice"), want.drop(columns="choice"))


def test_ties_of_votes_are_answers_on_request():
    table = votes()
    choices = Choices.from_pairs(pairs_from_votes(table), "annotator", tie="tie")
    counts = table["choice"].value_counts()
    decided = int(counts["a"] + counts["b"])
    assert choices.answer_counts() == {"first": decided, "tie": int(counts["tie"]), "second": 0}
    first = Choices.from_pairs(
        pairs_from_votes(table).assign(first=table["choice"] != "b"), first="first", ties="drop"
    )
    np.testing.assert_array_equal(
        first.shown_first, np.where(table["choice"][table["choice"] != "tie"] == "a", 1, -1)
    )


# -- real data --------------------------------------------------------------------------------


def test_absent_data_skip_with_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFSTRENGTH_DATA", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="'mtbench_human' is not in .*PREFSTRENGTH"):
        require("mtbench_human")
    (tmp_path / "mtbench_human").mkdir()
    assert require("mtbench_human") == tmp_path / "mtbench_human"


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:Column 'rejected' has an empty text in 9")
def test_mtbench():
    frame = mtbench_pairs()
    assert frame["tie"].sum() == 780
    call = {"chooser": "annotator_id", "groups": ["judge_type", "category"]}
    with pytest.raises(InputError, match="got a tie .* in 780 of 3,355 rows"):
        Choices.from_pairs(frame, **call)
    choices = Choices.from_pairs(
        frame,
        **call,
        ties="drop",
        identical="drop",
        duplicates="keep",
        attributes=["reward", "len"],
    )
    assert choices.n_situations == 3355 - 780 - 1
    assert [d.count for d in choices.dropped] == [780, 1]
    assert choices.n_choosers == 65
    assert choices.groups["judge_type"].levels == ("author", "expert")
    assert len(choices.groups["category"].levels) == 8
    difference = choices.differences("reward")
    assert (difference > 0).sum() > 3 * (difference < 0).sum()  # GPT-4 and people agree
    texts = frame[["prompt", "chosen", "rejected", "len_chosen", "len_rejected"]]
    assert texts.notna().all().all()
    assert (texts["chosen"].str.len() == texts["len_chosen"]).all()
    assert (texts["rejected"].str.len() == texts["len_rejected"]).all()
    second = frame[frame["turn"] == 2].iloc[0]
    first = frame[(frame["turn"] == 1) & (frame["question_id"] == second["question_id"])].iloc[0]
    assert second["prompt"].startswith(first["prompt"] + "\n\n")


@pytest.mark.realdata
def test_ukp():
    frame = ukp_pairs()
    assert (len(frame), frame["tie"].sum()) == (84_445, 19_105)
    assert frame["annotator_id"].nunique() == 3815
    choices = Choices.from_pairs(
        frame,
        "annotator_id",
        ["debate", "worker_stance"],
        ties="drop",
        identical="drop",
        duplicates="keep",
    )
    assert choices.n_situations == 84_445 - 19_105 - 5
    assert len(choices.groups["debate"].levels) == 16
    assert choices.groups["worker_stance"].levels == ("none", "not stated", "opposite", "same")
    assert (choices.differences("reward") > 0).mean() > 0.7
    split = Choices.from_pairs(
        frame, "annotator_id", ties="split", identical="drop", duplicates="keep"
    )
    assert split.n_choosers == 3815
    assert split.weights.sum() == 84_445 - 75


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:Column .* has an empty text")
def test_hh():
    frame = hh_pairs().assign(reward_chosen=lambda f: f.index % 7, reward_rejected=1.0)
    with pytest.raises(InputError, match="equal to 'rejected' in 36 of 8,552 rows"):
        Choices.from_pairs(frame)
    choices = Choices.from_pairs(frame, groups="criterion", identical="drop")
    assert choices.groups["criterion"].counts() == {"harmless": 2312, "helpful": 6204}


@pytest.mark.realdata
def test_wqrm():
    choices = Choices.from_pairs(wqrm_pairs(), "ranking_id", ["genre", "llm"], duplicates="keep")
    assert choices.n_situations == 3 * 280
    assert (choices.situation_counts() == 3).all()
    assert choices.differences("reward").mean() > 0


@pytest.mark.realdata
def test_electricity():
    choices = electricity_choices()
    assert choices.values.shape == (4308, 4, 6)
    assert choices.n_choosers == 361
    assert choices.available.all()
    assert np.bincount(choices.situation_counts()).argmax() == 12
    # The multinomial logit of these data as mlogit prints it: file and signs are read right.
    taste = np.array([-0.6252, -0.1083, 1.4422, 0.9955, -5.4627, -5.8400])
    utility = choices.values @ taste
    probability = np.exp(utility) / np.exp(utility).sum(axis=1, keepdims=True)
    chosen = np.arange(4308), choices.chosen
    assert np.log(probability[chosen]).sum() == pytest.approx(-4958.649, abs=0.001)
    expected = (probability[:, :, None] * choices.values).sum(axis=1)
    gradient = (choices.values[chosen] - expected).mean(axis=0)
    assert np.abs(gradient).max() < 1e-3  # a maximum, to the digits that are printed
