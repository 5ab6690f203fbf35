"""Models that ask more of the answers than they hold: one sentence each."""

import re
import warnings

import numpy as np
import pytest

import prefstrength as ps
from prefstrength.data.choices import Choices

LAW = ps.LogNormal(mu=0.0, sigma=0.7)
RANKINGS = ps.simulate(LAW, 5, 4, response=ps.Ranking(), alternatives=3)
GRADED = ps.simulate(LAW, 5, 4, response=ps.Graded(3), shared={"cut_1": 0.5})
PAIRS = ps.simulate(LAW, 5, 4)
SINGLES = ps.simulate(LAW, 300, 1)
LONG = {"reward": ps.LogNormal(), "length": ps.Normal()}

CASES = {
    "lapse-rankings": (
        {"lapse": True}, RANKINGS,
        "lapse, utility and position expect answers to pairs; got Ranking among up to 3 "
        "alternatives. Leave them out, or make pairs.",
    ),
    "bend-rankings": (
        {"utility": "power"}, RANKINGS,
        "lapse, utility and position expect answers to pairs; got Ranking among up to 3 "
        "alternatives. Leave them out, or make pairs.",
    ),
    "position": (
        {"position": "shared"}, GRADED,
        "position='shared' expects choices that know which response was shown first; got none "
        "that do. Name the column: `Choices.from_pairs(frame, first=...)`.",
    ),
    "pair": (
        {"pair_effects": True}, GRADED,
        "pair_effects expects choices that know which pair was judged; got none that do. Name "
        "the column: `Choices.from_pairs(frame, pair=...)`.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_answers_that_do_not_hold_what_is_asked(case):
    options, choices, sentence = CASES[case]
    model = ps.MixedLogit({"reward": ps.LogNormal()}, **options)
    with pytest.raises(ps.InputError) as caught:
        model.fit(choices, progress=False)
    assert _plain(str(caught.value)) == _plain(sentence)


def _plain(sentence):
    """Code stands between backticks, or not."""
    return sentence.replace("`", "")


@pytest.mark.parametrize(
    ("mixing", "options", "what"),
    [
        (ps.LogNormal(), {"lapse": True}, "answers at random (lapse)"),
        (ps.ZeroMass(ps.LogNormal()), {}, "indifferent choosers (ZeroMass)"),
        (
            ps.Lapse(ps.ZeroMass(ps.LogNormal())), {},
            "answers at random (lapse) and of indifferent choosers (ZeroMass)",
        ),
    ],
)  # fmt: skip
def test_a_few_single_answers_tell_little_of_lapses(mixing, options, what):
    model = ps.MixedLogit({"reward": mixing}, **options)
    with pytest.warns(ps.DataWarning) as caught:
        fit = model.fit(SINGLES, draws=50, progress=False)
    (said,) = {str(each.message) for each in caught if each.category is ps.DataWarning}
    assert said == (
        f"A share of {what} shows in choosers who answer repeatedly; got 300 situations of people "
        "who answer once, which hardly tell it from strengths that differ, so that its prior "
        "decides. Name the choosers, or leave it out."
    )
    if mixing.family == "LogNormal":  # and indeed: the sd of Beta(1, 9) is .09
        assert 0.05 < float(fit.posterior["lapse"].std()) < 0.11


@pytest.mark.parametrize("choices", [PAIRS, GRADED], ids=["pairs", "graded"])
def test_choosers_who_answer_repeatedly_need_no_warning(choices):
    model = ps.MixedLogit({"reward": ps.LogNormal()}, lapse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ps.DataWarning)
        model.fit(choices, draws=50, progress=False)


BASE = {"values": np.zeros((2, 3, 1)) + [[0.0], [1.0], [2.0]], "attributes": ["reward"]}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"response": ps.Ranking(), "ranks": [[1, 2, 3], [1, 3, 3]]}, "gap"),
        ({"response": ps.Ranking(), "ranks": [[1, 2, 3], [0, 0, 0]]}, "rank"),
        ({"response": ps.Ranking(), "ranks": [[1, 2, 3], [-1, 1, 2]]}, "rank"),
        ({"response": ps.Graded(3), "answer": [0, 1]}, "two alternatives|pairs"),
    ],
)
def test_arrays_of_answers_that_cannot_be(fields, sentence):
    with pytest.raises(ps.InputError) as caught:
        Choices(BASE["values"], None, BASE["attributes"], **fields)
    assert "; got " in str(caught.value)
    assert re.search(sentence, str(caught.value))


def test_grades_outside_the_scale_as_codes():
    with pytest.raises(ps.InputError, match="; got "):
        Choices(BASE["values"][:, :2], None, ["reward"], response=ps.Graded(3), answer=[0, 3])


@pytest.mark.parametrize("answers", [1, ("same", "same"), ()])
def test_grades_that_are_none(answers):
    with pytest.raises(ps.InputError, match="two or more grades"):
        ps.Graded(answers)


def test_ties_by_no_known_rule():
    with pytest.raises(ps.InputError, match="'exact', 'efron', 'breslow'; got 'average'"):
        ps.Ranking("average")


@pytest.mark.parametrize("mixing", [ps.ZeroMass(ps.LogNormal()), ps.Lapse(ps.LogNormal())])
def test_two_random_coefficients_and_kinds_of_choosers(mixing):
    with pytest.raises(ps.InputError, match="one coefficient at most differs"):
        ps.MixedLogit(LONG | {"reward": mixing})
