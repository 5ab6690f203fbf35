"""Words of the verdict: which is said when, and that none says more than is known."""

from dataclasses import replace

import pytest

from prefstrength.validation.verdict import VERDICTS, Beliefs, advice, label, sentence

OFF = dict.fromkeys(("spread", "power", "capped", "bend", "lapse", "zero", "reversed"), 0.01)
#: Nothing is known; whatever is known in a test differs from it.
OPEN = Beliefs(
    differ=0.5,
    same=0.3,
    spread=0.4,
    on=OFF,
    straight=0.3,
    values={
        "cv": (0.7, 0.5, 1.0),
        "power": (0.52, 0.4, 0.6),
        "lapse": (0.1, 0.05, 0.15),
        "zero": (0.11, 0.07, 0.16),
        "reversed": (0.15, 0.1, 0.2),
    },
    largest=(("one strength", 0.4), ("spread", 0.35)),
    single=False,
    choosers=200,
    answers=20.0,
    error=0.0,
    prob=0.9,
)


def believed(on: dict[str, float] | None = None, **more) -> Beliefs:
    return replace(OPEN, on={**OFF, **(on or {})}, **more)


SITUATIONS = {
    "spread": (
        believed(differ=0.99, spread=0.97),
        "heterogeneous",
        "Heterogeneous: choosers weigh the reward differently (sd/mean 0.70 [0.50, 1.00]).",
    ),
    "spread and a class beside": (
        believed({"reversed": 0.96, "zero": 0.94}, differ=1.0, spread=0.95),
        "heterogeneous",
        "(sd/mean 0.70 [0.50, 1.00]); 15 % [10, 20] prefer the lower reward.",
    ),
    "a class, and one strength of the others": (
        believed({"zero": 0.95}, differ=0.96, spread=0.05),
        "differ in kind",
        "Choosers differ in kind: 11 % [7, 16] answer at random or hardly weigh this reward; "
        "the others do not differ measurably.",
    ),
    "a class, and who knows of the others": (
        believed({"reversed": 0.99}, differ=0.99, spread=0.06),
        "differ in kind",
        "15 % [10, 20] prefer the lower reward; whether the others differ cannot be told.",
    ),
    "some difference": (
        believed({"zero": 0.5, "reversed": 0.04}, differ=0.95, spread=0.6),
        "differ",
        "Choosers differ; the data do not say how: spread (.60) and some at or near zero (.50).",
    ),
    "one strength": (
        believed(differ=0.01, same=0.95, spread=0.01),
        "homogeneous",
        "sd/mean below .25, fewer than 5 % at zero, fewer than 5 % reversed (probability .95), "
        "if the rewards have little error.",
    ),
    "nothing for certain": (
        OPEN,
        VERDICTS[4],
        "that choosers differ has probability .50. The largest explanations are one strength "
        "(.40) and spread (.35).",
    ),
    "single choices, straight": (
        believed(single=True, straight=0.05),
        VERDICTS[4],
        "The choice curve is straight: one strength is enough (weight .05).",
    ),
    "single choices, bent": (
        believed({"capped": 0.5, "spread": 0.3, "lapse": 0.2}, single=True, straight=0.04),
        VERDICTS[4],
        "The choice curve is bent, as by a reward that saturates (.50), spread of strength (.30) "
        "and random answers (.20).",
    ),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_has_its_words(situation):
    beliefs, short, said = SITUATIONS[situation]
    assert label(beliefs) == short
    assert said in sentence(beliefs)


@pytest.mark.parametrize(
    ("near", "less", "weaker"),
    [
        ({"differ": 0.95, "spread": 0.95}, {"differ": 0.95, "spread": 0.949}, "differ"),
        ({"differ": 0.95}, {"differ": 0.949}, VERDICTS[4]),
        ({"same": 0.95, "differ": 0.0}, {"same": 0.949, "differ": 0.0}, VERDICTS[4]),
    ],
)
def test_a_verdict_ends_where_it_is_no_longer_sure(near, less, weaker):
    assert label(believed(**near)) not in (weaker, VERDICTS[4])
    assert label(believed(**less)) == weaker


@pytest.mark.parametrize("sure", [{"differ": 1.0, "spread": 1.0}, {"differ": 0.0, "same": 1.0}])
def test_single_choices_get_neither_yes_nor_no(sure):
    beliefs = believed(single=True, **sure)
    assert label(beliefs) == VERDICTS[4]
    assert sentence(beliefs).startswith("Cannot tell from single choices.")
    assert "four to eight answers" in advice(beliefs)


def test_certainty_is_never_claimed():
    """Probabilities are of models, and none is 1 or 0."""
    text = sentence(believed(differ=1.0, spread=0.5, on={"zero": 0.9999, "reversed": 0.9}))
    assert "1.00" not in text
    assert "differ in kind" in text
    text = sentence(believed(differ=0.0))
    assert "probability < .01" in text
    assert "probability > .99" in sentence(believed(differ=0.0, same=1.0))


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ({"bend": 0.95, "capped": 0.9}, " The data ask for a reward that saturates."),
        (
            {"bend": 0.97, "power": 0.9, "lapse": 0.8},
            " The data ask for a reward that counts by its power 0.52 [0.40, 0.60]; "
            "10 % [5, 15] of answers at random is allowed for.",
        ),
        ({"lapse": 0.94}, " This allows for 10 % [5, 15] of answers at random."),
        ({"lapse": 0.79, "bend": 0.79}, None),
    ],
)
def test_what_all_choosers_share_is_named_as_surely_as_it_is_known(on, said):
    text = sentence(believed(on, differ=0.99, spread=0.99))
    first, _, rest = text.partition("1.00]).")
    assert first.startswith("Heterogeneous")
    assert rest == (said or "")


def test_error_that_is_known_ends_the_reservation():
    beliefs = believed(differ=0.0, same=0.99)
    assert "Error in the rewards hides spread" in advice(beliefs)
    known = replace(beliefs, error=0.5)
    assert advice(known) == ""
    assert "little error" not in sentence(known)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"answers": 2.0}, "2 answers of a chooser say next to nothing"),
        ({"choosers": 30}, "With 30 choosers 5 % are 2"),
        ({"answers": 5.0}, "up to eight answers each"),
        ({}, "Ask twice as many people"),
        ({"differ": 1.0, "spread": 1.0}, None),
    ],
)
def test_advice_is_what_would_settle_it(more, said):
    found = advice(believed(**more))
    assert said in found if said else not found


def test_beliefs_are_read_as_they_were_written():
    assert Beliefs.from_dict(OPEN.to_dict()) == OPEN
