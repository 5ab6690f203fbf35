import copy
import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from prefstrength.data.choices import Choices
from prefstrength.data.factor import Dropped, Factor
from prefstrength.errors import InputError


def pairs(rows=30, seed=0, **columns):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "prompt": [f"question {i}" for i in range(rows)],
            "chosen": [f"one {i}" for i in range(rows)],
            "rejected": [f"other {i}" for i in range(rows)],
            "reward_chosen": rng.normal(0.3, 1, rows),
            "reward_rejected": rng.normal(0, 1, rows),
            "length_chosen": rng.integers(1, 100, rows),
            "length_rejected": rng.integers(1, 100, rows),
            "annotator": rng.choice(["ann", "ben", "cem"], rows),
            "region": ["north" if i % 2 else "south" for i in range(rows)],
            "weight": rng.uniform(0.5, 2, rows),
        }
    )
    return frame.assign(**columns)


N = 60


def random_choices(seed, situations=N):
    """Choices with everything that Choices can hold."""
    rng = np.random.default_rng(seed)
    alternatives = int(rng.integers(2, 6))
    available = rng.random((situations, alternatives)) < 0.7
    available[:, :2] = True
    available[0] = True  # every alternative is on offer somewhere
    chosen = np.array([rng.choice(np.flatnonzero(row)) for row in available])
    codes = rng.permutation(situations)  # every level is there often enough
    return Choices(
        values=rng.normal(size=(situations, alternatives, 2)),
        chosen=chosen,
        attributes=("reward", "length"),
        available=available,
        weights=rng.uniform(0.1, 3, situations),
        chooser=codes % 4,
        choosers=("w10", "w9", "<b>", "ann"),
        groups={
            "region": Factor("region", codes[::-1] % 2, ("s", "n")),
            "age": Factor("age", codes // 7 % 3, ("10", "9", "8")),
        },
        situations=[f"row {i}" for i in range(situations)],
        alternatives=[f"option {j}" for j in range(alternatives)][::-1],
    )


def from_its_long_table(choices, table):
    return Choices.from_long(
        table,
        "situation",
        "alternative",
        "chosen",
        choices.attributes,
        chooser="chooser" if choices.chooser is not None else None,
        groups=list(choices.groups),
        weights="weight",
    )


# -- immutable --------------------------------------------------------------------------------


def test_nothing_in_it_can_be_changed():
    choices = random_choices(0)
    arrays = [choices.values, choices.chosen, choices.available, choices.weights, choices.chooser]
    arrays += [factor.codes for factor in choices.groups.values()]
    for array in arrays:
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        choices.weights = None
    with pytest.raises(TypeError):
        choices.groups["x"] = None


def test_what_the_caller_gave_stays_the_callers_own():
    values, chosen, groups = np.ones((3, 2, 1)), np.zeros(3, int), {"g": Factor("g", [0] * 3, "a")}
    choices = Choices(values, chosen, ["reward"], groups=groups)
    values[:], chosen[:] = 7, 1
    groups.clear()
    assert choices.values.max() == 1
    assert not choices.chosen.any()
    assert list(choices.groups) == ["g"]
    assert values.flags.writeable


@pytest.mark.parametrize("ties", ["drop", "split"])
def test_the_callers_table_is_never_changed(ties):
    frame = pairs(tie=[i % 7 == 0 for i in range(30)]).set_index("prompt", drop=False)
    frame.attrs["reward"] = {"name": "made up"}
    before = frame.copy(deep=True)
    Choices.from_pairs(
        frame, "annotator", "region", ["reward", "length"], weights="weight", ties=ties
    )
    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs
    long = random_choices(0).to_long()
    before = long.copy(deep=True)
    from_its_long_table(random_choices(0), long)
    pd.testing.assert_frame_equal(long, before)


def test_copies_are_equal():
    choices = random_choices(1)
    assert copy.deepcopy(choices).content_hash() == choices.content_hash()
    assert dataclasses.replace(choices).content_hash() == choices.content_hash()


# -- pairs --------------------------------------------------------------------------------------


def test_the_layout_of_pairs():
    frame = pairs()
    choices = Choices.from_pairs(
        frame, "annotator", ["region"], ["reward", "length"], weights="weight"
    )
    assert choices.is_pairs
    assert (choices.n_situations, choices.n_alternatives, choices.n_choosers) == (30, 2, 3)
    assert len(choices) == 30
    for k, name in enumerate(("reward", "length")):
        for j, side in enumerate(("chosen", "rejected")):
            np.testing.assert_array_equal(choices.values[:, j, k], frame[f"{name}_{side}"])
    np.testing.assert_array_equal(
        choices.differences("length"), frame["length_chosen"] - frame["length_rejected"]
    )
    assert choices.chosen.tolist() == [0] * 30
    assert choices.available.all()
    np.testing.assert_array_equal(choices.weights, frame["weight"])
    assert [choices.choosers[c] for c in choices.chooser] == frame["annotator"].tolist()
    assert choices.choosers == ("ann", "ben", "cem")
    region = choices.groups["region"]
    assert [region.levels[c] for c in region.codes] == frame["region"].tolist()
    assert region.counts() == {"north": 15, "south": 15}
    assert choices.situations == tuple(str(i) for i in range(30))
    assert choices.situation_counts().sum() == 30
    assert choices.dropped == ()


def test_without_texts_choosers_groups_and_weights():
    choices = Choices.from_pairs(pairs()[["reward_chosen", "reward_rejected"]])
    assert choices.chooser is None
    assert choices.n_choosers == 0
    assert choices.choosers == ()
    assert dict(choices.groups) == {}
    assert (choices.weights == 1).all()
    with pytest.raises(InputError, match="need choosers"):
        choices.situation_counts()


def test_one_name_may_come_as_a_string():
    frame = pairs()
    a = Choices.from_pairs(frame, groups="region", attributes="length")
    b = Choices.from_pairs(frame, groups=["region"], attributes=["length"])
    assert a.content_hash() == b.content_hash()


def test_datasets_and_conversations():
    datasets = pytest.importorskip("datasets")
    frame = pairs()
    wanted = Choices.from_pairs(frame, "annotator").content_hash()
    assert Choices.from_pairs(datasets.Dataset.from_pandas(frame), "annotator").content_hash() == (
        wanted
    )
    talk = frame.assign(
        **{
            name: [[{"role": "user", "content": text}] for text in frame[name]]
            for name in ("prompt", "chosen", "rejected")
        }
    )
    assert Choices.from_pairs(talk, "annotator").content_hash() == wanted
    table = datasets.Dataset.from_list(talk.to_dict("records"))
    assert Choices.from_pairs(table, "annotator").content_hash() == wanted
    with pytest.raises(TypeError, match=r"dataset\['train'\]"):
        Choices.from_pairs(datasets.DatasetDict({"train": table, "test": table}))


def test_identical_and_repeated_conversations_are_seen():
    def talk(text):
        return [{"content": text, "role": "assistant"}]

    frame = pd.DataFrame(
        {
            "chosen": [talk("a"), talk("b"), talk("c"), talk("b")],
            "rejected": [talk("b"), talk("a"), talk("c"), talk("c")],
            "reward_chosen": [1.0, 2.0, 3.0, 4.0],
            "reward_rejected": [0.0, 3.0, 3.0, 1.0],
        }
    )
    choices = Choices.from_pairs(frame, identical="drop", duplicates="drop")
    assert choices.situations == ("0", "3")
    assert choices.dropped == (
        Dropped("identical responses", 1, ("2",)),
        Dropped("repeated judgements", 1, ("1",)),
    )


def test_a_repeat_needs_the_same_chooser_and_prompt():
    frame = pairs(4, chosen="yes", rejected="no", annotator=["a", "b", "a", "a"])
    frame["prompt"] = ["p", "p", "q", "p"]
    choices = Choices.from_pairs(frame, "annotator", duplicates="drop")
    assert choices.situations == ("0", "1", "2")
    assert Choices.from_pairs(frame, "annotator", duplicates="keep").n_situations == 4
    assert Choices.from_pairs(frame, duplicates="drop").situations == ("0", "2")


def test_dropped_rows_take_their_chooser_group_and_weight_along():
    frame = pairs(annotator=[f"w{i % 7}" for i in range(30)])
    frame.loc[8, ["prompt", "chosen", "rejected"]] = frame.loc[1, ["prompt", "chosen", "rejected"]]
    frame.loc[12, "rejected"] = frame.loc[12, "chosen"]
    frame["tie"] = frame.index == 20
    call = {"chooser": "annotator", "groups": "region", "weights": "weight"}
    dropped = Choices.from_pairs(frame, **call, ties="drop", identical="drop", duplicates="drop")
    assert [d.rows for d in dropped.dropped] == [("20",), ("12",), ("8",)]
    kept = Choices.from_pairs(frame.drop(index=[8, 12, 20]), **call)
    assert dataclasses.replace(dropped, dropped=()).content_hash() == kept.content_hash()


def test_rewards_have_to_differ_where_the_weight_is():
    frame = pairs(reward_rejected=0.0, reward_chosen=0.0, weight=1.0)
    frame.loc[4, ["reward_chosen", "weight"]] = [1.0, 0.0]
    with pytest.raises(InputError, match="should differ between the alternatives"):
        Choices.from_pairs(frame, weights="weight")
    frame.loc[4, "weight"] = 0.5
    assert Choices.from_pairs(frame, weights="weight").scale("reward") > 0


def test_dropping_everything_of_a_chooser_drops_the_chooser():
    frame = pairs(30, annotator=["zoe"] + ["ann"] * 29, tie=[True] + [False] * 29)
    choices = Choices.from_pairs(frame, "annotator", ties="drop")
    assert choices.choosers == ("ann",)
    assert choices.dropped == (Dropped("ties", 1, ("0",)),)


def test_numbers_may_be_missing_where_rows_are_dropped():
    frame = pairs(tie=[i == 3 for i in range(30)])
    frame.loc[3, ["reward_chosen", "annotator", "weight"]] = [np.nan, None, -1]
    assert Choices.from_pairs(frame, "annotator", weights="weight", ties="drop").n_situations == 29


@pytest.mark.parametrize("flag", [bool, int, float, object, "boolean", "category"])
def test_ties_may_be_marked_in_any_boolean_way(flag):
    tie = pd.Series([i % 5 == 0 for i in range(30)])
    frame = pairs(tie=tie.astype(flag))
    assert Choices.from_pairs(frame, ties="drop").dropped[0].count == 6


def test_a_split_tie_counts_half_each_way():
    tie = np.arange(30) % 7 == 3
    frame = pairs(tie=tie)
    split = Choices.from_pairs(frame, "annotator", "region", weights="weight", ties="split")
    whole = Choices.from_pairs(frame.drop(columns="tie"), "annotator", weights="weight")
    assert split.n_situations == 30 + tie.sum()
    assert split.weights.sum() == pytest.approx(frame["weight"].sum())
    at = split.situations.index("3 (tie 1 of 2)")
    assert split.situations[at + 1] == "3 (tie 2 of 2)"
    difference = split.differences("reward")
    assert difference[at] == -difference[at + 1] == whole.differences("reward")[3]
    assert split.weights[at] == split.weights[at + 1] == frame["weight"][3] / 2
    assert split.chooser[at] == split.chooser[at + 1]
    assert split.scale("reward") == pytest.approx(whole.scale("reward"))
    assert split.notes == ("4 ties split into 8 situations that share their weight",)
    assert split.is_pairs


# -- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "labels"),
    [
        (pd.RangeIndex(3), ("0", "1", "2")),
        (pd.Index(["x", "y", "z"]), ("x", "y", "z")),
        (pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]), ("a/1", "a/2", "b/1")),
        (pd.Index([5, 5, 6]), ("0", "1", "2")),  # labels that occur twice point nowhere
        (pd.date_range("2026-01-01", periods=3), None),
    ],
)
def test_situations_are_the_row_labels(index, labels):
    choices = Choices.from_pairs(pairs(3).set_index(index))
    if labels is None:
        labels = ("2026-01-01 00:00:00", "2026-01-02 00:00:00", "2026-01-03 00:00:00")
    assert choices.situations == labels


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        ([10, 9, 10], ("9", "10")),
        ([10.0, 9.0, 10.0], ("9", "10")),
        (["10", "9", "10"], ("10", "9")),
        ([True, False, True], ("False", "True")),
        (pd.Categorical(["b", "a", "b"], categories=["b", "unused", "a"]), ("b", "a")),
        (pd.array([10, 9, 10], dtype="Int64"), ("9", "10")),
        (np.array(["10", "9", "10"], dtype=object), ("10", "9")),
    ],
)
def test_choosers_of_every_type(ids, labels):
    choices = Choices.from_pairs(pairs(3, annotator=ids), "annotator")
    assert choices.choosers == labels
    assert [choices.choosers[c] for c in choices.chooser] == [
        str(i).removesuffix(".0") for i in ids
    ]


def test_numbers_of_every_type():
    import decimal

    plain = pairs(3)[["reward_rejected"]].assign(reward_chosen=[1, 2, 4])
    wanted = Choices.from_pairs(plain).values
    exact = [decimal.Decimal(1), decimal.Decimal(2), decimal.Decimal(4)]
    for column in (
        pd.array([1, 2, 4], dtype="Int64"),
        pd.array([1, 2, 4], dtype="Float64"),
        pd.Series([1, 2.0, 4], dtype=object),
        pd.Series([1, 2, 4], dtype="float32"),
        pd.Series(exact, dtype=object),
        pd.Categorical([1, 2, 4]),
    ):
        got = Choices.from_pairs(plain.assign(reward_chosen=column)).values
        np.testing.assert_array_equal(got, wanted)


# -- scale ------------------------------------------------------------------------------------


def test_scale_is_the_root_mean_square_of_the_differences():
    frame = pairs()
    d = (frame["reward_chosen"] - frame["reward_rejected"]).to_numpy()
    assert Choices.from_pairs(frame).scale("reward") == pytest.approx(np.sqrt(np.mean(d**2)))
    w = frame["weight"].to_numpy()
    assert Choices.from_pairs(frame, weights="weight").scale("reward") == pytest.approx(
        np.sqrt((w * d**2).sum() / w.sum())
    )
    both_ways = np.r_[d, -d]
    assert Choices.from_pairs(frame).scale("reward") == pytest.approx(np.std(both_ways))


@pytest.mark.parametrize("seed", range(3))
def test_scale_of_several_alternatives(seed):
    choices = random_choices(seed)
    total = squares = 0.0
    for s in range(choices.n_situations):
        for j in range(choices.n_alternatives):
            if choices.available[s, j] and j != choices.chosen[s]:
                total += choices.weights[s]
                difference = choices.values[s, choices.chosen[s], 1] - choices.values[s, j, 1]
                squares += choices.weights[s] * difference**2
    assert choices.scale("length") == pytest.approx(np.sqrt(squares / total))


def test_names_are_suggested():
    choices = Choices.from_pairs(pairs())
    with pytest.raises(InputError, match=r"one of the attributes 'reward'; got 'rewrad'. Did you"):
        choices.scale("rewrad")
    with pytest.raises(InputError, match="one of the attributes"):
        choices.differences(None)


# -- laws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_to_long_and_back(seed):
    choices = random_choices(seed)
    table = choices.to_long()
    assert len(table) == choices.available.sum()
    assert from_its_long_table(choices, table).content_hash() == choices.content_hash()


def test_pairs_to_long_and_back():
    frame = pairs(tie=[i % 9 == 0 for i in range(30)])
    choices = Choices.from_pairs(
        frame, "annotator", "region", ["reward", "length"], weights="weight", ties="split"
    )
    back = from_its_long_table(choices, choices.to_long())
    assert back.is_pairs
    back = dataclasses.replace(back, notes=choices.notes)  # a table does not tell its past
    assert back.content_hash() == choices.content_hash()


@pytest.mark.parametrize("seed", range(4))
def test_permuted_rows_change_nothing_but_the_order(seed):
    frame = pairs(tie=[i % 9 == 0 for i in range(30)])
    order = np.random.default_rng(seed).permutation(30)
    call = {"chooser": "annotator", "groups": "region", "weights": "weight", "ties": "split"}
    a, b = (Choices.from_pairs(f, **call) for f in (frame, frame.iloc[order]))
    where = [b.situations.index(label) for label in a.situations]
    for name in ("values", "chosen", "available", "weights", "chooser"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name)[where])
    np.testing.assert_array_equal(a.groups["region"].codes, b.groups["region"].codes[where])
    assert a.choosers == b.choosers
    assert a.scale("reward") == pytest.approx(b.scale("reward"))


@pytest.mark.parametrize("seed", range(4))
def test_permuted_long_rows_change_nothing_but_the_order(seed):
    choices = random_choices(seed)
    table = choices.to_long()
    other = from_its_long_table(choices, table.sample(frac=1, random_state=seed))
    where = [other.situations.index(label) for label in choices.situations]
    for name in ("values", "chosen", "available", "weights", "chooser"):
        np.testing.assert_array_equal(getattr(choices, name), getattr(other, name)[where])
    assert other.alternatives == choices.alternatives


@pytest.mark.parametrize("seed", range(4))
def test_subset_laws(seed):
    choices = random_choices(seed)
    rng = np.random.default_rng(seed)
    everything = np.ones(N, dtype=bool)
    first, second = rng.random(N) < 0.8, rng.random(N) < 0.8
    first[0] = second[0] = True
    assert choices.subset(everything).content_hash() == choices.content_hash()
    once, twice = choices.subset(first & second), choices.subset(first).subset(second[first])
    assert once.content_hash() == twice.content_hash()
    assert (once.situation_counts() > 0).all()
    assert all(min(factor.counts().values()) > 0 for factor in once.groups.values())
    labels = np.array(choices.choosers)[choices.chooser][first & second]
    assert (np.array(once.choosers)[once.chooser] == labels).all()
    np.testing.assert_array_equal(once.values, choices.values[first & second])


@pytest.mark.parametrize("mask", [[0, 2], np.ones(3), np.ones(5, bool), np.zeros(N, bool), "abc"])
def test_subset_takes_a_mask_and_nothing_else(mask):
    with pytest.raises(InputError, match="mask should|at least one situation"):
        random_choices(0).subset(mask)


def test_masking_an_alternative_is_deleting_it():
    table = random_choices(3).to_long().astype({"alternative": "str"})
    table["open"] = True
    gone = ~table["chosen"] & (table.groupby("situation").cumcount() == 2)
    masked = table.assign(open=~gone)
    masked.loc[gone, "reward"] = np.nan
    columns = ("situation", "alternative", "chosen", ["reward", "length"])
    a = Choices.from_long(masked, *columns, available="open")
    b = Choices.from_long(table[~gone], *columns)
    assert a.content_hash() == b.content_hash()
    assert (a.values[~a.available] == 0).all()


CHANGES = {
    "values": lambda c: {"values": c.values + 0.5 * c.available[:, :, None]},
    "chosen": lambda c: {"chosen": np.where(c.available[:, 0], 1 - (c.chosen == 1), c.chosen)},
    "attributes": lambda c: {"attributes": ("reward", "width")},
    "available": lambda c: {"available": np.ones_like(c.available)},
    "weights": lambda c: {"weights": c.weights * 2},
    "chooser": lambda c: {"chooser": c.chooser[::-1]},
    "choosers": lambda c: {"choosers": ("w10", "w9", "<i>", "ann")},
    "groups": lambda c: {"groups": {"region": c.groups["region"]}},
    "situations": lambda c: {"situations": [f"line {i}" for i in range(N)]},
    "dropped": lambda c: {"dropped": (Dropped("ties", 1, ("4",)),)},
    "alternatives": lambda c: {"alternatives": c.alternatives[::-1]},
    "notes": lambda c: {"notes": ("something was done",)},
}
#: Fields of answers that say more than what was chosen: tests/data/test_answers.py
ANSWERS = {"response", "answer", "ranks", "shown_first", "pair", "chooser_weights"}


def test_every_field_is_in_the_hash():
    choices = random_choices(0)
    assert set(CHANGES) | ANSWERS == {field.name for field in dataclasses.fields(Choices)}
    hashes = {choices.content_hash()}
    for name, change in CHANGES.items():
        other = dataclasses.replace(choices, **change(choices)).content_hash()
        assert other not in hashes, name
        hashes.add(other)
    for part in (
        {"region": Factor("region", choices.groups["region"].codes, ("n", "s"))},
        {"region": Factor("region", 1 - choices.groups["region"].codes, ("s", "n"))},
        {"place": Factor("place", choices.groups["region"].codes, ("s", "n"))},
    ):
        other = dataclasses.replace(choices, groups=part).content_hash()
        assert other not in hashes
        hashes.add(other)


def test_the_hash_does_not_depend_on_how_the_numbers_were_kept():
    a = Choices([[[1.0], [0.0]]], [0], ["reward"])
    b = Choices(np.array([[[1], [-0.0]]], dtype=">f4"), np.array([0], dtype=np.int8), ("reward",))
    assert a.content_hash() == b.content_hash()
    # Another number here means that all hashes on file no longer match.
    assert a.content_hash()[:16] == "8821440d503ce348"


def test_the_hash_is_the_same_in_another_process():
    code = (
        "from prefstrength.data.choices import Choices;"
        "print(Choices([[[1.0], [0.0]]], [0], ['reward']).content_hash())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == Choices([[[1.0], [0.0]]], [0], ["reward"]).content_hash()


# -- several alternatives -----------------------------------------------------------------------


def test_ties_among_several_alternatives():
    table = pd.DataFrame(
        {
            "s": [1, 1, 1, 2, 2, 2],
            "a": list("xyzxyz"),
            "taken": [1, 0, 1, 0, 1, 0],
            "reward": [1.0, 2.0, 3.0, 4.0, 5.0, 7.0],
            "who": list("uuuvvv"),
        }
    )
    columns = ("s", "a", "taken", "reward")
    split = Choices.from_long(table, *columns, chooser="who", ties="split")
    assert split.situations == ("1 (tie 1 of 2)", "1 (tie 2 of 2)", "2")
    assert split.chosen.tolist() == [0, 2, 1]
    assert split.weights.tolist() == [0.5, 0.5, 1.0]
    dropped = Choices.from_long(table, *columns, chooser="who", ties="drop")
    assert dropped.situations == ("2",)
    assert dropped.choosers == ("v",)
    assert dropped.dropped == (Dropped("ties", 1, ("1",)),)


def test_a_repeated_alternative_can_be_dropped():
    table = random_choices(0).to_long()
    again = pd.concat([table, table.iloc[[1]].assign(reward=99.0)], ignore_index=True)
    columns = ("situation", "alternative", "chosen", "reward")
    choices = Choices.from_long(again, *columns, duplicates="drop")
    assert choices.dropped == (Dropped("repeated alternatives", 1, (str(len(table)),)),)
    assert choices.values.max() < 99


def test_labels_of_responses_are_no_columns():
    rows = 60
    table = pd.DataFrame(
        {
            "s": np.repeat(np.arange(rows), 3),
            "response": [f"r{i:04d}" for i in range(3 * rows)],
            "taken": np.tile([False, True, False], rows),
            "reward": np.random.default_rng(0).normal(size=3 * rows),
        }
    )
    choices = Choices.from_long(table, "s", "response", "taken", "reward")
    assert choices.values.shape == (rows, 3, 1)
    assert choices.alternatives == ("0", "1", "2")
    assert (choices.chosen == 1).all()
    np.testing.assert_array_equal(choices.values.ravel(), table["reward"])
    # The order of the labels decides, wherever in the table they stand.
    table["response"] = np.random.default_rng(1).permutation(table["response"])
    choices = Choices.from_long(table, "s", "response", "taken", "reward")
    rewards = table.sort_values(["s", "response"])["reward"]
    np.testing.assert_array_equal(choices.values.ravel(), rewards)
    shuffled = table.sample(frac=1, random_state=0)
    other = Choices.from_long(shuffled, "s", "response", "taken", "reward")
    where = [other.situations.index(label) for label in choices.situations]
    np.testing.assert_array_equal(other.values[where], choices.values)
    np.testing.assert_array_equal(other.chosen[where], choices.chosen)


def test_two_alternatives_become_pairs_on_request():
    table = pd.DataFrame(
        {
            "s": [1, 1, 2, 2],
            "a": list("xyxy"),
            "taken": [0, 1, 1, 0],
            "reward": [1.0, 3.0, 4.0, 2.5],
        }
    )
    choices = Choices.from_long(table, "s", "a", "taken", "reward")
    assert not choices.is_pairs
    with pytest.raises(InputError, match=r"choices.as_pairs\(\)"):
        choices.differences("reward")
    assert choices.as_pairs().differences("reward").tolist() == [2.0, 1.5]
    assert choices.as_pairs().scale("reward") == choices.scale("reward")
    assert choices.as_pairs().as_pairs().content_hash() == choices.as_pairs().content_hash()
    with pytest.raises(InputError, match=r"Pairs need two .* \(first: row 0, "):
        random_choices(2).as_pairs()
    with pytest.raises(InputError, match="one difference for each rejected"):
        random_choices(2).differences("reward")


def test_pairs_among_wider_choice_sets():
    """Two available out of four: as_pairs finds them wherever they are."""
    available = np.array([[True, False, False, True], [False, True, True, False]])
    values = np.arange(8.0).reshape(2, 4, 1)
    choices = Choices(values, [3, 1], ["reward"], available=available)
    assert choices.as_pairs().differences("reward").tolist() == [3.0, -1.0]


# -- the constructor ------------------------------------------------------------------------------


GOOD = {"values": [[[1.0], [0.0]], [[2.0], [5.0]]], "chosen": [0, 1], "attributes": ["reward"]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"values": [[1.0, 0.0]]}, "values should be an array with 3 dimensions"),
        ({"values": np.zeros((0, 2, 1)), "chosen": np.zeros(0, int)}, "at least one situation"),
        ({"values": np.zeros((2, 1, 1))}, "two alternatives"),
        ({"values": [[["a"], ["b"]], [["c"], ["d"]]]}, "values should be an array of float64"),
        ({"values": [[[1.0], [np.nan]], [[2.0], [5.0]]]}, "first: 0"),
        ({"chosen": [0]}, r"chosen should have the shape \(2,\)"),
        ({"chosen": [0, 2]}, "between 0 and 1; got another number in 1 of 2 situations"),
        ({"chosen": [0.0, 1.0]}, "chosen should be an array of int64"),
        ({"attributes": ["reward", "length"]}, "attributes should have the shape"),
        ({"available": [[True, True], [True, False]]}, r"one that is not in .* \(first: 1\)"),
        ({"available": [[True, False], [True, True]]}, "at least two alternatives"),
        ({"weights": [1.0, -1.0]}, r"zero or more.*\(first: 1\)"),
        ({"weights": [0.0, 0.0]}, "zeros only"),
        ({"chooser": [0, 1], "choosers": ["ann"]}, "between 0 and 0"),
        ({"chooser": [0, 1], "choosers": ["ann", "ann"]}, "unique"),
        ({"choosers": ["ann"]}, "without codes"),
        ({"situations": ["x", "x"]}, "got 'x' 2 times"),
        ({"alternatives": ["x"]}, "alternatives should have the shape"),
        ({"groups": {"g": Factor("g", [0], ("a",))}}, "group 'g' should have the shape"),
    ],
)
def test_arrays_that_disagree(change, sentence):
    with pytest.raises(InputError, match=sentence):
        Choices(**(GOOD | change))
    assert Choices(**GOOD).n_situations == 2


def test_names_that_the_long_table_needs_for_itself():
    choices = Choices([[[1.0], [0.0]]], [0], ["weight"])
    with pytest.raises(InputError, match="got 'weight'"):
        choices.to_long()


# -- shown --------------------------------------------------------------------------------------


def test_it_introduces_itself():
    frame = pairs(tie=[i % 10 == 0 for i in range(30)])
    choices = Choices.from_pairs(frame, "annotator", "region", ties="drop")
    counts = choices.situation_counts()
    text = repr(choices)
    assert "situations    27" in text
    assert f"3; choices per chooser: median {np.median(counts):g}, range {counts.min()}" in text
    assert f"reward: sd of the differences {choices.scale('reward'):.4g}" in text
    assert "region: north 15, south 12" in text
    assert "dropped       3 ties (first: 0, 10, 20)" in text
    assert "weights" not in text
    text = repr(Choices.from_pairs(frame, weights="weight", ties="split"))
    assert "choosers      unknown" in text
    assert "weights" in text
    assert "notes         3 ties split into 6 situations" in text


def test_several_alternatives_introduce_themselves():
    choices = random_choices(2)
    offered = choices.available.sum(axis=1)
    text = f"{choices.n_alternatives}, {offered.min()} to {offered.max()} available in a situation"
    assert text in repr(choices)


def test_names_from_a_file_cannot_do_anything_in_a_notebook():
    evil = "<img src=x onerror=alert(1)>"
    frame = pairs(30).rename(columns={"region": f"{evil}\x1b[31m\n"})
    choices = Choices.from_pairs(frame.set_index(pd.Index([evil + str(i) for i in range(30)])),
                                 groups=f"{evil}\x1b[31m\n")  # fmt: skip
    choices = dataclasses.replace(choices, dropped=(Dropped("ties", 1, (evil,)),), notes=(evil,))
    html = choices._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "\x1b" not in repr(choices)
    assert len(repr(choices).splitlines()) == 9


def test_long_lists_of_levels_are_cut():
    frame = pairs(200, region=[f"level {i % 20:02d}" for i in range(200)])
    text = repr(Choices.from_pairs(frame, groups="region"))
    assert "level 05 10 and 14 more levels" in text


# -- size -----------------------------------------------------------------------------------------


def test_the_good_path_has_no_loop_over_rows():
    """Calls of Python functions must not grow with the number of rows."""
    import cProfile
    import pstats

    def calls(rows):
        frame = pairs(rows, tie=[i % 9 == 0 for i in range(rows)])
        profile = cProfile.Profile()
        profile.runcall(Choices.from_pairs, frame, "annotator", "region", ties="drop")
        return sum(stat[0] for stat in pstats.Stats(profile).stats.values())

    calls(100)  # imports
    assert calls(4000) - calls(1000) < 500


@pytest.mark.slow
def test_a_million_pairs():
    import time

    frame = pairs(1_000_000)
    start = time.perf_counter()
    choices = Choices.from_pairs(frame, "annotator", "region", weights="weight")
    assert time.perf_counter() - start < 30  # measured: 5 s
    assert choices.n_situations == 1_000_000
