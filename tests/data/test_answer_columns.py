"""Columns of grades, ties, places and weights become choices."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.responses.ties import RaoKupper, Ties
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError

N = 30


def pairs(**columns):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "reward_chosen": rng.normal(0.3, 1, N),
            "reward_rejected": rng.normal(0, 1, N),
            "annotator": [f"w{i % 5}" for i in range(N)],
        }
    )
    return frame.assign(**columns)


SEVEN = np.arange(N) % 7 - 3


# -- grades ---------------------------------------------------------------------------------------


def test_grades_with_a_sign():
    choices = Choices.from_pairs(pairs(grade=SEVEN), grade="grade")
    assert choices.response == Graded(["+3", "+2", "+1", "0", "-1", "-2", "-3"])
    assert choices.response == Graded(7)
    np.testing.assert_array_equal(choices.answer, 3 - SEVEN)
    np.testing.assert_array_equal(choices.chosen, SEVEN < 0)
    assert choices.alternatives == ("chosen", "rejected")
    frame = pairs()
    np.testing.assert_array_equal(
        choices.differences("reward"), frame["reward_chosen"] - frame["reward_rejected"]
    )
    assert choices.answer_counts()["+3"] == (SEVEN == 3).sum()


@pytest.mark.parametrize(
    "dtype", [int, float, object, "Int64", "Float64", "int8", "category", "string to number"]
)
def test_numbers_of_every_type(dtype):
    grade = pd.Series(SEVEN)
    grade = grade.astype(str).astype(float) if dtype == "string to number" else grade.astype(dtype)
    choices = Choices.from_pairs(pairs(grade=grade), grade="grade")
    np.testing.assert_array_equal(choices.answer, 3 - SEVEN)


def test_without_a_middle_there_is_no_tie():
    six = np.where(SEVEN == 0, 1, SEVEN)
    choices = Choices.from_pairs(pairs(grade=six), grade="grade")
    assert choices.response == Graded(["+3", "+2", "+1", "-1", "-2", "-3"])
    np.testing.assert_array_equal(choices.answer, np.where(six > 0, 3 - six, 2 - six))
    two = Choices.from_pairs(pairs(grade=np.sign(six)), grade="grade")
    assert len(two.response.answers) == 2
    np.testing.assert_array_equal(two.chosen, six < 0)


def test_a_scale_that_counts_from_one():
    grade = SEVEN + 4
    choices = Choices.from_pairs(pairs(grade=grade), grade="grade", grades=7)
    assert choices.response == Graded(["7", "6", "5", "4", "3", "2", "1"])
    np.testing.assert_array_equal(choices.answer, 7 - grade)


def test_grades_that_nobody_gave_are_in_the_scale():
    one_sided = np.abs(np.where(SEVEN == 0, 1, SEVEN))
    scale = [-3, -2, -1, 1, 2, 3]
    choices = Choices.from_pairs(pairs(grade=one_sided), grade="grade", grades=scale)
    assert choices.response == Graded(["+3", "+2", "+1", "-1", "-2", "-3"])
    assert not choices.chosen.any()
    assert choices.answer_counts()["-2"] == 0
    skipped = np.where(np.abs(SEVEN) == 2, 0, SEVEN)
    assert len(Choices.from_pairs(pairs(grade=skipped), grade="grade").response.answers) == 7


def test_sizes_with_a_column_of_ties():
    """HelpSteer3: 0 to 3 in favour of the chosen response, 0 where there is a tie."""
    size = np.abs(SEVEN)
    choices = Choices.from_pairs(pairs(grade=size, tie=size == 0), grade="grade")
    assert choices.response == Graded(7)
    np.testing.assert_array_equal(choices.answer, 3 - size)


WORDS = ["much worse", "worse", "no different", "better", "much better"]


def test_words_in_order():
    five = np.arange(N) % 5
    words = pd.Series([WORDS[k] for k in five])
    choices = Choices.from_pairs(pairs(verdict=words), grade="verdict", grades=WORDS)
    assert choices.response == Graded(WORDS[::-1])
    np.testing.assert_array_equal(choices.answer, 4 - five)
    ordered = pd.Categorical(words, categories=WORDS, ordered=True)
    again = Choices.from_pairs(pairs(verdict=ordered), grade="verdict")
    assert again.content_hash() == choices.content_hash()
    unordered = pd.Categorical(words)
    third = Choices.from_pairs(pairs(verdict=unordered), grade="verdict", grades=WORDS)
    assert third.content_hash() == choices.content_hash()


def test_a_categorical_keeps_the_grades_that_do_not_occur():
    few = pd.Categorical(["better", "no different"] * 15, categories=WORDS, ordered=True)
    choices = Choices.from_pairs(pairs(verdict=few), grade="verdict")
    assert choices.response == Graded(WORDS[::-1])


def test_two_grades_are_pairs():
    """Which of two is better, in the two ways of saying so."""
    better = np.where(SEVEN < 0, -1, 1)
    graded = Choices.from_pairs(pairs(grade=better), grade="grade").as_pairs(reduce=True)
    frame = pairs()
    frame.loc[better < 0, ["reward_chosen", "reward_rejected"]] = frame.loc[
        better < 0, ["reward_rejected", "reward_chosen"]
    ].to_numpy()
    assert graded.content_hash() == Choices.from_pairs(frame).content_hash()


# -- ties -----------------------------------------------------------------------------------------


def test_ties_as_answers():
    tie = SEVEN == 0
    frame = pairs(tie=tie)
    choices = Choices.from_pairs(frame, tie="tie")
    assert choices.response == Ties()
    np.testing.assert_array_equal(choices.answer, np.where(tie, 1, 0))
    assert choices.answer_counts() == {"first": N - tie.sum(), "tie": tie.sum(), "second": 0}
    assert choices.n_situations == N
    assert not choices.is_pairs
    other = Choices.from_pairs(frame.rename(columns={"tie": "draw"}), tie="draw")
    assert other.content_hash() == choices.content_hash()
    threshold = Choices.from_pairs(frame, tie="tie", response=RaoKupper())
    assert threshold.response == RaoKupper()
    np.testing.assert_array_equal(threshold.answer, choices.answer)


def test_ties_reduced_are_ties_dropped():
    frame = pairs(tie=SEVEN == 0)
    kept = Choices.from_pairs(frame, "annotator", tie="tie").as_pairs(reduce=True)
    dropped = Choices.from_pairs(frame, "annotator", ties="drop")
    assert kept.content_hash() == dropped.content_hash()


def test_ties_that_are_no_answers_stay_what_they_were():
    frame = pairs(tie=SEVEN == 0)
    with pytest.raises(InputError, match="should prefer one response"):
        Choices.from_pairs(frame)
    assert Choices.from_pairs(frame, ties="split").response == Pair()


def test_a_grade_in_the_middle_is_a_tie():
    choices = Choices.from_pairs(pairs(grade=SEVEN, draw=SEVEN == 0), grade="grade", tie="draw")
    assert choices.answer_counts()["0"] == (SEVEN == 0).sum()
    assert choices.content_hash() == (
        Choices.from_pairs(pairs(grade=SEVEN), grade="grade").content_hash()
    )
    three = Choices.from_pairs(pairs(grade=np.sign(SEVEN)), grade="grade", response=Ties())
    assert three.response == Ties()


@pytest.mark.parametrize("response", [Ties(), Multinomial(), Pair()], ids=repr)
def test_a_response_of_other_answers(response):
    with pytest.raises(InputError, match="should be one of the answers that are there"):
        Choices.from_pairs(pairs(grade=SEVEN), grade="grade", response=response)
    with pytest.raises(TypeError, match="kind of answer"):
        Choices.from_pairs(pairs(grade=SEVEN), grade="grade", response=Graded)


# -- who was shown first --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        ["chosen", "rejected", None] * 10,
        [True, False, None] * 10,
        pd.array([True, False, None] * 10, dtype="boolean"),
        ["reward_chosen", "reward_rejected", np.nan] * 10,
        pd.Categorical(["chosen", "rejected", None] * 10),
    ],
    ids=["words", "objects", "boolean", "columns", "category"],
)
def test_who_was_shown_first(first):
    choices = Choices.from_pairs(pairs(first=first), first="first")
    assert choices.shown_first.tolist() == [1, -1, 0] * 10
    assert choices.is_pairs


def test_known_everywhere():
    flags = np.arange(N) % 3 == 0
    for column in (flags, flags.astype(int), flags.astype(float)):
        choices = Choices.from_pairs(pairs(first=column), first="first")
        np.testing.assert_array_equal(choices.shown_first, np.where(flags, 1, -1))


def test_a_split_tie_turns_who_was_first_around():
    frame = pairs(tie=SEVEN == 0, first="chosen", pair=np.arange(N) // 2 * 2)
    frame[["reward_chosen", "reward_rejected"]] = frame[
        ["reward_chosen", "reward_rejected"]
    ].to_numpy()[np.arange(N) // 2 * 2]
    split = Choices.from_pairs(frame, first="first", pair="pair", ties="split")
    turned = np.array(["tie 2 of 2" in label for label in split.situations])
    assert turned.sum() == (SEVEN == 0).sum()
    np.testing.assert_array_equal(split.shown_first, np.where(turned, -1, 1))
    np.testing.assert_array_equal(split.pair[turned], split.pair[np.flatnonzero(turned) - 1])


# -- pairs that several judged --------------------------------------------------------------------


def repeated(**columns):
    """Ten pairs, each judged three times, in either order."""
    frame = pairs(pair=np.arange(N) % 10)
    values = frame[["reward_chosen", "reward_rejected"]].to_numpy()[np.arange(N) % 10]
    turned = np.arange(N) % 4 == 0
    values[turned] = values[turned, ::-1]
    return frame.assign(reward_chosen=values[:, 0], reward_rejected=values[:, 1], **columns)


def test_the_same_pair_again():
    choices = Choices.from_pairs(repeated(), pair="pair")
    np.testing.assert_array_equal(choices.pair, np.arange(N) % 10)
    named = Choices.from_pairs(repeated(name=[f"p{9 - i % 10}" for i in range(N)]), pair="name")
    np.testing.assert_array_equal(named.pair, 9 - np.arange(N) % 10)
    ties = np.arange(N) % 10 == 3
    some = Choices.from_pairs(repeated(tie=ties), pair="pair", ties="drop")
    assert some.pair.max() == 8


# -- weights of choosers --------------------------------------------------------------------------


def test_weights_of_choosers():
    frame = pairs(person=[float(i % 5) for i in range(N)])
    choices = Choices.from_pairs(frame, "annotator", chooser_weights="person")
    assert choices.choosers == ("w0", "w1", "w2", "w3", "w4")
    assert choices.chooser_weights.tolist() == [0, 1, 2, 3, 4]
    assert (choices.weights == 1).all()
    gone = frame.assign(tie=[i % 5 == 3 for i in range(N)])
    choices = Choices.from_pairs(gone, "annotator", chooser_weights="person", ties="drop")
    assert choices.chooser_weights.tolist() == [0, 1, 2, 4]


def test_weights_of_one_leave_the_hash_alone():
    frame = pairs(person=1)
    with_weights = Choices.from_pairs(frame, "annotator", chooser_weights="person")
    assert with_weights.content_hash() == Choices.from_pairs(frame, "annotator").content_hash()


def test_the_callers_table_is_never_changed():
    frame = repeated(grade=SEVEN, first=["chosen", None] * 15, person=1.0)
    before = frame.copy(deep=True)
    Choices.from_pairs(
        frame, "annotator", grade="grade", first="first", pair="pair", chooser_weights="person"
    )
    pd.testing.assert_frame_equal(frame, before)


def test_the_answers_have_no_loop_over_rows():
    """Calls of Python functions must not grow with the number of rows."""
    import cProfile
    import pstats

    def calls(times):
        frame = pd.concat([repeated(grade=SEVEN, first="chosen", person=1.0)] * times)
        frame.index = pd.Index(np.arange(len(frame)))
        profile = cProfile.Profile()
        profile.runcall(
            Choices.from_pairs, frame, "annotator",
            grade="grade", first="first", pair="pair", chooser_weights="person",
        )  # fmt: skip
        return sum(stat[0] for stat in pstats.Stats(profile).stats.values())

    calls(2)  # imports
    assert calls(100) - calls(20) < 500


def test_rows_in_another_order_are_the_same_choices():
    frame = repeated(grade=SEVEN, first=["chosen", None] * 15)
    order = np.random.default_rng(0).permutation(N)
    a, b = (
        Choices.from_pairs(f, "annotator", grade="grade", first="first", pair="pair")
        for f in (frame, frame.iloc[order])
    )
    where = [b.situations.index(label) for label in a.situations]
    for name in ("values", "chosen", "answer", "shown_first", "pair"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name)[where])
    assert dataclasses.replace(a).content_hash() == a.content_hash()
