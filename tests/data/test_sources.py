"""The loaders of public data, on made-up files of the same schema."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefstrength.choice.responses.graded import Graded
from prefstrength.data.choices import Choices
from prefstrength.data.sources import SOURCES, load_pairs, register
from prefstrength.data.sources.hub import hash_columns, transcript
from prefstrength.errors import DataWarning, InputError

pytest.importorskip("datasets")

# -- made-up files ---------------------------------------------------------------------------


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def utterance(conversation, turn, within, response, score, chosen, user="user1", model="m"):
    return {
        "utterance_id": f"ut-{conversation}-{turn}-{within}",
        "interaction_id": f"int-{conversation}-{turn}",
        "conversation_id": f"c{conversation}",
        "user_id": user,
        "turn": turn,
        "within_turn_id": within,
        "included_in_balanced_subset": True,
        "conversation_type": "unguided",
        "user_prompt": f"question {turn} of conversation {conversation}",
        "model_response": response,
        "model_name": f"{model}{within}",
        "model_provider": "someone",
        "score": score,
        "if_chosen": chosen,
    }


def person(user, region="Europe", **other):
    return {
        "user_id": user,
        "survey_only": False,
        "age": "25-34 years old",
        "gender": "Female",
        "education": "Vocational",
        "english_proficiency": "Fluent",
        "study_locale": "uk",
        "religion": {"self_described": "none", "categorised": "Non-religious", "simplified": "No"},
        "ethnicity": {"self_described": "x", "categorised": "Other", "simplified": "Other"},
        "location": {
            "birth_country": "Chile",
            "reside_country": "Spain",
            "reside_subregion": "Southern Europe",
            "special_region": region,
        },
        "stated_prefs": {"values": 54, "other_text": None},
        "included_in_US_REP": False,
        **other,
    }


UTTERANCES = [
    # four models, one clear choice, one equal score
    utterance(1, 0, 0, "best", 90, True),
    utterance(1, 0, 1, "as good", 90, False),
    utterance(1, 0, 2, "worse", 40, False),
    utterance(1, 0, 3, "EMPTY STRING", 1, False),
    # the second turn of the same conversation
    utterance(1, 1, 1, "second, better", 80, True),
    utterance(1, 1, 0, "second, worse", 30, False),
    # another person; two marked as chosen, the higher score counts
    utterance(2, 0, 0, "lower", 50, True, user="user2"),
    utterance(2, 0, 1, "higher", 60, True, user="user2"),
    # a turn with one response, a turn without a choice, and what follows it
    utterance(3, 0, 0, "alone", 50, True),
    utterance(4, 0, 0, "a", 50, False),
    utterance(4, 0, 1, "b", 50, False),
    utterance(4, 1, 0, "c", 50, True),
    utterance(4, 1, 1, "d", 40, False),
]


def make_prism(folder, utterances=UTTERANCES, people=None):
    write_lines(folder / "utterances.jsonl", utterances)
    people = people or [person("user1"), person("user2", "US"), person("silent")]
    write_lines(folder / "survey.jsonl", people)
    return folder


def load(name, folder, **options):
    with pytest.warns(DataWarning):
        return load_pairs(name, folder, **options)


# -- the registry ----------------------------------------------------------------------------


def test_every_source_stands_in_the_document():
    """Its row in the table, made from the registry, and a section with how its pairs are formed."""
    document = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
    table = [line for line in document.splitlines() if line.startswith("| `")]
    assert [
        f"| `{name}` | `{source.repository}` | {source.choosers} | {source.groups} | "
        f"{', '.join(source.splits)} | {source.licence} |"
        for name, source in SOURCES.items()
    ] == [line for line in table if line.count("|") == 7]
    for name, source in SOURCES.items():
        section = document.partition(f'(`"{name}"`)')[2].partition("\n## ")[0]
        assert "**How pairs are formed.**" in section, name
        assert source.citation.rpartition("arXiv:")[2] in section, name
        for option in (*source.options, *source.identifiers):
            assert f"`{option}" in section, f"{name}: {option}"


def test_a_source_is_not_replaced_by_another_of_its_name():
    register(SOURCES["hh"])
    with pytest.raises(InputError, match="got 'hh', which is Anthropic/hh-rlhf"):
        register(replace(SOURCES["hh"], repository="somebody/else"))


# -- PRISM -----------------------------------------------------------------------------------


def test_prism_pairs_the_chosen_response_with_each_other_one(tmp_path):
    pairs = load("prism", make_prism(tmp_path))
    texts = [
        (c[0]["content"], r[0]["content"], tie)
        for c, r, tie in zip(pairs["chosen"], pairs["rejected"], pairs["tie"], strict=True)
    ]
    assert texts == [
        ("best", "as good", True),
        ("best", "worse", False),
        ("second, better", "second, worse", False),
        ("higher", "lower", False),
    ]
    assert pairs["annotator"].tolist() == ["user1", "user1", "user1", "user2"]
    assert pairs["pairs_in_interaction"].tolist() == [2, 2, 1, 1]
    assert pairs["annotator_score_chosen"].tolist() == [90, 90, 80, 60]
    assert pairs["annotator_score_rejected"].tolist() == [90, 40, 30, 50]
    assert pairs["model_rejected"].tolist() == ["m1", "m2", "m0", "m0"]
    assert pairs["turn"].tolist() == [0, 0, 1, 0]
    assert pairs["dataset"].unique().tolist() == ["prism"]


def test_prism_prompt_holds_the_conversation_so_far(tmp_path):
    pairs = load("prism", make_prism(tmp_path))
    assert pairs["prompt"][0] == [{"role": "user", "content": "question 0 of conversation 1"}]
    assert pairs["prompt"][2] == [
        {"role": "user", "content": "question 0 of conversation 1"},
        {"role": "assistant", "content": "best"},
        {"role": "user", "content": "question 1 of conversation 1"},
    ]
    assert pairs["chosen"][2] == [{"role": "assistant", "content": "second, better"}]
    plain = load("prism", tmp_path, conversational=False)
    assert plain["prompt"][2] == transcript(pairs["prompt"][2])
    assert plain["prompt"][2].endswith("\n\nAssistant: best\n\nHuman: question 1 of conversation 1"
                                       "\n\nAssistant:")  # fmt: skip
    assert plain["chosen"][2] == " second, better"


def test_prism_says_what_it_left_out(tmp_path):
    with pytest.warns(DataWarning, match=r"made 4 pairs and left out: 1 pairs with an empty resp"):
        pairs = load_pairs("prism", make_prism(tmp_path))
    dropped = {d["reason"]: (d["count"], d["rows"]) for d in pairs.attrs["source"]["dropped"]}
    assert dropped == {
        "pairs with an empty response": (1, ["int-1-0"]),
        "turns with a single response": (1, ["int-3-0"]),
        "turns without a chosen response": (1, ["int-4-0"]),
        "turns after a turn that is missing": (1, ["int-4-1"]),
    }
    json.dumps(pairs.attrs)
    assert "CC-BY-NC-4.0" in pairs.attrs["source"]["licence"]
    kept = load("prism", tmp_path, empty="keep")
    assert len(kept) == 5
    assert [r[0]["content"] for r in kept["rejected"]][2] == ""


def test_prism_joins_the_survey_as_groups(tmp_path):
    pairs = load("prism", make_prism(tmp_path))
    assert pairs["region"].tolist() == ["Europe", "Europe", "Europe", "US"]
    for name, value in {
        "age": "25-34 years old",
        "gender": "Female",
        "study_locale": "uk",
        "english_proficiency": "Fluent",
        "education": "Vocational",
        "religion": "No",
        "reside_country": "Spain",
    }.items():
        assert pairs[name].unique().tolist() == [value]


def test_prism_identifiers_can_be_hashed(tmp_path):
    folder = make_prism(tmp_path)
    plain = load("prism", folder)
    hashed = load("prism", folder, hash_ids=True, salt="pepper")
    again = load("prism", folder, hash_ids=True, salt="pepper")
    other = load("prism", folder, hash_ids=True)
    for name in ("annotator", "conversation_id", "interaction_id"):
        assert not set(plain[name]) & set(hashed[name])
        assert hashed[name].tolist() == again[name].tolist()
        assert not set(hashed[name]) & set(other[name])
        # the same people and turns are told apart as before
        np.testing.assert_array_equal(pd.factorize(plain[name])[0], pd.factorize(hashed[name])[0])
    assert "pepper" not in json.dumps(hashed.attrs)
    assert hashed["region"].tolist() == plain["region"].tolist()
    with pytest.raises(InputError, match="salt should be a text"):
        hash_columns(plain, ["annotator"], "")


def test_prism_without_anything_to_drop_does_not_warn(tmp_path):
    pairs = load_pairs("prism", make_prism(tmp_path, UTTERANCES[:3]))
    assert len(pairs) == 2
    assert pairs.attrs["source"]["dropped"] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda u, s: u.clear(), "should have JSON lines in|should have rows"),
        (lambda u, s: u[0].update(user_id="nobody"), "one user_id in every interaction"),
        (lambda u, s: s.pop(0), r"no row for 'user1'\. The two files"),
        (lambda u, s: s.append(dict(s[0])), "same user_id again in 1 of 4 rows"),
        (lambda u, s: [p["location"].pop("special_region") for p in s], "location.special_region"),
        (lambda u, s: u[0].update(score=None), "Column 'score' .*missing.* in 1 of 13 rows"),
        (lambda u, s: [x.pop("if_chosen") for x in u], r"utterances.jsonl; got no 'if_chosen'"),
        (lambda u, s: [x.update(if_chosen=False) for x in u], "none from .*without a chosen"),
    ],
)
def test_prism_mistakes(tmp_path, change, says):
    utterances = json.loads(json.dumps(UTTERANCES))
    people = [person("user1"), person("user2"), person("silent")]
    change(utterances, people)
    with pytest.raises(InputError, match=says):
        load_pairs("prism", make_prism(tmp_path, utterances, people))


# -- HH-RLHF ---------------------------------------------------------------------------------

HUMAN, ASSISTANT = "\n\nHuman: ", "\n\nAssistant: "
START = f"{HUMAN}Hi.{ASSISTANT}Hello. What do you need?{HUMAN}A joke."
HH = [
    {"chosen": f"{START}{ASSISTANT}Why not!", "rejected": f"{START}{ASSISTANT}Why should I?"},
    {"chosen": f"{START}{ASSISTANT}Same.", "rejected": f"{START}{ASSISTANT}Same."},
    # parts ways before the last answer of one of them
    {
        "chosen": f"{HUMAN}Hi.{ASSISTANT}Hello.",
        "rejected": f"{HUMAN}Hi.{ASSISTANT}No.{HUMAN}Why?{ASSISTANT}So.",
    },
    {"chosen": f"{HUMAN}Hi.", "rejected": f"{HUMAN}Ho."},
    {"chosen": f"{START}{ASSISTANT}", "rejected": f"{START}{ASSISTANT}Well."},
]


def test_hh_cuts_after_the_last_shared_turn(tmp_path):
    write_lines(tmp_path / "helpful-base" / "train.jsonl.gz", HH)
    pairs = load("hh", tmp_path)
    assert pairs["prompt"][0] == [
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello. What do you need?"},
        {"role": "user", "content": "A joke."},
    ]
    assert pairs["chosen"][0] == [{"role": "assistant", "content": "Why not!"}]
    assert pairs["rejected"][0] == [{"role": "assistant", "content": "Why should I?"}]
    assert [m["content"] for m in pairs["rejected"][2]] == ["No.", "Why?", "So."]
    assert pairs["identical"].tolist() == [False, True, False]
    assert pairs["criterion"].unique().tolist() == ["helpful"]
    assert pairs["pair_id"].tolist() == ["helpful-base-0", "helpful-base-1", "helpful-base-2"]
    reasons = [d["reason"] for d in pairs.attrs["source"]["dropped"]]
    assert reasons == [
        "transcripts that share no turn of the assistant",
        "pairs with an empty response",
    ]


def test_hh_plain_texts_make_up_the_transcript(tmp_path):
    write_lines(tmp_path / "helpful-base" / "test.jsonl", HH[:3])
    pairs = load_pairs("hh", tmp_path, split="test", conversational=False)
    for row, source in zip(pairs.itertuples(), HH, strict=False):
        assert row.prompt + row.chosen == source["chosen"]
        assert row.prompt + row.rejected == source["rejected"]


def test_hh_subsets(tmp_path):
    write_lines(tmp_path / "helpful-base" / "train.jsonl.gz", HH[:1])
    write_lines(tmp_path / "harmless-base" / "train.jsonl.gz", HH[:2])
    both = load_pairs("hh", tmp_path)
    assert both["criterion"].tolist() == ["harmless", "harmless", "helpful"]
    assert both.attrs["source"]["files"] == ["harmless-base/train", "helpful-base/train"]
    one = load_pairs("hh", tmp_path, subset="helpful-base")
    assert one["subset"].tolist() == ["helpful-base"]
    with pytest.raises(InputError, match="helpful-online/train.jsonl .*got 'nothing'"):
        load_pairs("hh", tmp_path, subset=["helpful-online"])
    with pytest.raises(InputError, match="Did you mean 'helpful-base'"):
        load_pairs("hh", tmp_path, subset="helpful_base")


# -- HelpSteer3 ------------------------------------------------------------------------------


def steer(preference, votes=(), **other):
    return {
        "domain": "code",
        "language": "python",
        "context": [{"role": "user", "content": "Sort a list."}],
        "response1": "one",
        "response2": "two",
        "overall_preference": preference,
        "individual_preference": [
            {"score": v, "reasoning": "r", "feedback1": "f", "feedback2": "g"} for v in votes
        ],
        **other,
    }


def test_helpsteer3_sign_is_the_choice_and_zero_a_tie(tmp_path):
    rows = [
        steer(-3, [-3, -2]),
        steer(2, [2, 1, -1]),
        steer(0, [1, -1]),
        steer(1, response2=" "),
        steer(1, context=[]),
        steer(None),
    ]
    write_lines(tmp_path / "preference" / "train.jsonl.gz", rows)
    pairs = load("helpsteer3", tmp_path)
    assert [c[0]["content"] for c in pairs["chosen"]] == ["one", "two", "one"]
    assert pairs["tie"].tolist() == [False, False, True]
    assert pairs["stated_strength"].tolist() == [3, 2, 0]
    assert pairs["votes"].tolist() == [[3, 2], [2, 1, -1], [-1, 1]]
    assert pairs["prompt"][0] == [{"role": "user", "content": "Sort a list."}]
    assert {d["reason"]: d["count"] for d in pairs.attrs["source"]["dropped"]} == {
        "rows with an empty response": 1,
        "rows without a context of messages": 1,
        "rows without a preference": 1,
    }
    assert "annotator" not in pairs
    scored = pairs.assign(reward_chosen=[1.0, 2.0, 3.0], reward_rejected=0.0)
    choices = Choices.from_pairs(scored, grade="stated_strength", pair="pair_id", duplicates="keep")
    assert choices.response == Graded(7)
    assert choices.answer.tolist() == [0, 1, 3]


def test_helpsteer3_scale(tmp_path):
    write_lines(tmp_path / "preference" / "validation.jsonl", [steer(4)])
    with pytest.raises(InputError, match="from -3 to 3; got 4 in 1 of 1 row"):
        load_pairs("helpsteer3", tmp_path, split="validation")


# -- where the files come from ---------------------------------------------------------------


def test_every_loader_feeds_the_rewards(tmp_path):
    from prefstrength.rewards import ColumnReward, score

    pairs = load("prism", make_prism(tmp_path))
    scored = score(pairs, ColumnReward("annotator_score_chosen", "annotator_score_rejected"))
    assert scored.attrs["source"]["name"] == "prism"
    path = tmp_path / "pairs.parquet"
    scored.to_parquet(path)
    back = pd.read_parquet(path)
    assert back.attrs["reward"]["unit"] == scored.attrs["reward"]["unit"]
    assert back.attrs["source"]["dropped"] == scored.attrs["source"]["dropped"]


def test_parquet_folder_and_nothing_left_behind(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    make_prism(folder)
    for name in ("utterances", "survey"):
        table = pd.read_json(folder / f"{name}.jsonl", lines=True)
        table.to_parquet(folder / f"{name}.parquet")
        (folder / f"{name}.jsonl").unlink()
    before = sorted(p.name for p in folder.iterdir())
    assert len(load("prism", folder)) == 4
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "path", "says"),
    [
        ("prism", "./no/such/folder", r"'./no/such/folder', which does not exist"),
        ("prims", None, "Did you mean 'prism'"),
        ("prism", None, r"'HannahRoseKirk/prism-alignment'.*hub may be out of reach"),
        ("hh", "data/hh", r"'data/hh', a folder here or a dataset on the hub"),
    ],
)
def test_places_that_are_not_there(name, path, says):
    with pytest.raises(InputError, match=says) as caught:
        load_pairs(name, path)
    assert "\n" not in str(caught.value)


def test_folder_without_the_file(tmp_path):
    write_lines(tmp_path / "survey.jsonl", [person("user1")])
    with pytest.raises(InputError, match=r"utterances.jsonl .*got 'survey.jsonl' there"):
        load_pairs("prism", tmp_path)
    with pytest.raises(InputError, match="got the file"):
        load_pairs("prism", tmp_path / "survey.jsonl")


def test_damaged_file(tmp_path):
    write_lines(tmp_path / "survey.jsonl", [person("user1")])
    (tmp_path / "utterances.jsonl").write_text('{"user_id": "u1", "turn"')
    with pytest.raises(InputError, match="utterances.jsonl.*damaged or cut off"):
        load_pairs("prism", tmp_path)


def test_options_and_splits(tmp_path):
    with pytest.raises(TypeError, match=r"no option 'subset'; it has 'empty'"):
        load_pairs("prism", tmp_path, subset="x")
    with pytest.raises(InputError, match="split should be one of 'train'"):
        load_pairs("prism", tmp_path, split="test")
    with pytest.raises(InputError, match="empty should be one of 'drop', 'keep'"):
        load_pairs("prism", tmp_path, empty="maybe")


def test_the_hub_is_read_with_the_same_call(tmp_path, monkeypatch):
    import datasets

    write_lines(tmp_path / "helpful-base" / "train.jsonl.gz", HH[:2])
    load_dataset, calls = datasets.load_dataset, []

    def hub(path, *, data_files, split, revision, cache_dir):
        calls.append((path, data_files, split, revision, cache_dir))
        return load_dataset(
            str(tmp_path), data_files=data_files, split=split, cache_dir=str(tmp_path / "cache")
        )

    monkeypatch.setattr(datasets, "load_dataset", hub)
    pairs = load_pairs("hh", subset="helpful-base", revision="abc123")
    file = {"train": "helpful-base/train.jsonl.gz"}
    assert calls == [("Anthropic/hh-rlhf", file, "train", "abc123", None)]
    assert len(pairs) == 2
    assert pairs.attrs["source"]["revision"] == "abc123"
    assert pairs.attrs["source"]["path"] == "Anthropic/hh-rlhf"


@pytest.mark.realdata
def test_hh_agrees_with_an_independent_cut_of_the_test_splits(tmp_path, real_data):
    file = real_data / "hh_rlhf" / "pairs.parquet"
    if not file.exists():
        pytest.skip(f"the HH-RLHF test splits are not at {file}; set PREFSTRENGTH_DATA")
    known = pd.read_parquet(file)
    known = known[known["split"] == "harmless-base"].reset_index(drop=True)
    # response texts there are stripped; the transcripts have a blank after the colon
    rows = [
        {
            "chosen": f"{row.prompt} {row.chosen_response}",
            "rejected": f"{row.prompt} {row.rejected_response}",
        }
        for row in known.itertuples()
    ]
    write_lines(tmp_path / "harmless-base" / "test.jsonl.gz", rows)
    blank = (known["chosen_response"] == "") | (known["rejected_response"] == "")
    loaded = load("hh", tmp_path, split="test", conversational=False)
    expected = known[~blank]
    assert loaded["prompt"].tolist() == expected["prompt"].tolist()
    assert loaded["chosen"].str.strip().tolist() == expected["chosen_response"].tolist()
    assert loaded["identical"].tolist() == expected["identical"].tolist()
