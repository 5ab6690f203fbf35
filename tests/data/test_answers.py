"""Choices that hold more than what was chosen: grades, ties, rankings, places, weights."""

import dataclasses
import itertools

import numpy as np
import pytest

from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.choice.responses.ties import RaoKupper, Ties
from prefstrength.data.choices import Choices
from prefstrength.data.factor import Dropped, Factor
from prefstrength.errors import InputError

N = 40
WORDS = ("much better", "better", "no different", "worse", "much worse")


def everything(seed=0):
    """What choices of any kind may have."""
    rng = np.random.default_rng(seed)
    return {
        "attributes": ("reward", "length"),
        "weights": rng.uniform(0.5, 2, N),
        "chooser": rng.permutation(N) % 4,
        "choosers": ("ann", "ben", "cem", "dan"),
        "chooser_weights": [1.0, 0.5, 2.0, 0.0],
        "groups": {"region": Factor("region", rng.permutation(N) % 2, ("s", "n"))},
        "situations": [f"row {i}" for i in range(N)],
    }


def graded(response=None, seed=0, **changes):
    response = Graded(WORDS) if response is None else response
    rng = np.random.default_rng(seed)
    answer = rng.integers(0, len(response.answers) or 2, N)
    fields = everything(seed) | {
        "values": rng.normal(size=(N, 2, 2)),
        "chosen": None,
        "response": response,
        "answer": answer,
        "shown_first": rng.integers(-1, 2, N),
        "pair": rng.integers(0, 8, N),
        "alternatives": ("chosen", "rejected"),
    }
    return Choices(**(fields | changes))


def ranked(seed=0, **changes):
    """Three of four alternatives are there; all, some or none of their places tie."""
    rng = np.random.default_rng(seed)
    available, ranks = np.ones((N, 4), bool), np.zeros((N, 4), int)
    for i in range(N):
        available[i, rng.integers(4)] = i % 2 == 0
        some = np.flatnonzero(available[i])
        ranks[i, some] = [(1, 2, 3, 4), (1, 1, 2, 2), (1, 2, 0, 0)][i % 3][: len(some)]
        ranks[i, some] = rng.permutation(ranks[i, some])
    fields = everything(seed) | {
        "values": rng.normal(size=(N, 4, 2)),
        "chosen": None,
        "available": available,
        "response": Ranking("efron"),
        "ranks": ranks,
    }
    return Choices(**(fields | changes))


KINDS = {
    "graded": graded,
    "even": lambda: graded(Graded(4)),
    "ties": lambda: graded(Ties()),
    "rao kupper": lambda: graded(RaoKupper()),
    "ranked": ranked,
}
every_kind = pytest.mark.parametrize("kind", KINDS)


# -- what they are --------------------------------------------------------------------------------


def test_plain_choices_know_their_response():
    pairs = Choices([[[1.0], [0.0]], [[2.0], [5.0]]], [0, 0], ["reward"])
    assert pairs.response == Pair()
    assert Choices(pairs.values, [0, 1], ["reward"]).response == Multinomial()
    assert Choices(np.ones((2, 3, 1)), [0, 1], ["reward"]).response == Multinomial()
    assert pairs.chooser_weights is None
    panel = {"chooser": [0, 1], "choosers": "ab"}
    alike = Choices(pairs.values, [0, 0], ["reward"], chooser_weights=[1.0, 1.0], **panel)
    assert alike.chooser_weights is None


def test_the_chosen_one_is_the_better_by_the_answer():
    choices = graded()
    answer = choices.answer
    assert (choices.chosen == np.where(answer > 2, 1, 0)).all()
    even = graded(Graded(4))
    assert (even.chosen == np.where(even.answer > 1, 1, 0)).all()
    choices = ranked()
    for ranks, best in zip(choices.ranks, choices.chosen, strict=True):
        assert best == np.flatnonzero(ranks == 1)[0]


@every_kind
def test_they_are_no_plain_pairs(kind):
    assert not KINDS[kind]().is_pairs


def test_differences_are_those_that_the_answers_are_about():
    choices = graded()
    np.testing.assert_array_equal(
        choices.differences("length"), choices.values[:, 0, 1] - choices.values[:, 1, 1]
    )
    with pytest.raises(InputError, match="one difference for each rejected"):
        ranked().differences("reward")


@every_kind
def test_they_cannot_be_changed_and_copies_are_equal(kind):
    choices = KINDS[kind]()
    for name in ("answer", "ranks", "shown_first", "pair", "chooser_weights"):
        array = getattr(choices, name)
        assert array is None or not array.flags.writeable
    assert dataclasses.replace(choices).content_hash() == choices.content_hash()


def test_counts_of_answers():
    choices = graded()
    assert choices.answer_counts() == {
        word: int((choices.answer == k).sum()) for k, word in enumerate(WORDS)
    }
    assert ranked().answer_counts() == {"all places": 20, "some places": 7, "with ties": 13}
    two_of_three = ranked(ranks=np.where(ranked().available, 1, 0))
    assert two_of_three.answer_counts()["with ties"] == N


def test_two_of_three_places_say_all():
    choices = Choices(np.ones((1, 3, 1)), None, ["reward"], ranks=[[2, 0, 1]], response=Ranking())
    assert choices.answer_counts()["all places"] == 1


# -- the hash -------------------------------------------------------------------------------------


CHANGES = {
    "response": lambda c: {"response": RaoKupper()},
    "answer": lambda c: {"answer": 2 - c.answer, "chosen": None},
    "shown_first": lambda c: {"shown_first": -c.shown_first},
    "no shown_first": lambda c: {"shown_first": None},
    "pair": lambda c: {"pair": c.pair[::-1]},
    "no pair": lambda c: {"pair": None},
    "chooser_weights": lambda c: {"chooser_weights": 2 * c.chooser_weights},
    "no chooser_weights": lambda c: {"chooser_weights": None},
}


def test_all_that_was_said_is_in_the_hash():
    choices = graded(Ties())
    hashes = {choices.content_hash()}
    for name, change in CHANGES.items():
        other = dataclasses.replace(choices, **change(choices)).content_hash()
        assert other not in hashes, name
        hashes.add(other)
    rankings = ranked()
    again = dataclasses.replace(rankings, response=Ranking("exact"))
    turned = np.where(rankings.ranks == 1, 2, np.where(rankings.ranks == 2, 1, rankings.ranks))
    turned = dataclasses.replace(rankings, ranks=turned, chosen=None)
    kept = {one.content_hash() for one in (rankings, again, turned)}
    assert len(kept) == 3


def test_the_grades_are_in_the_hash():
    other = graded(Graded(["a", "b", "c", "d", "e"]))
    assert other.content_hash() != graded().content_hash()
    assert (other.answer == graded().answer).all()


# -- parts and other shapes -----------------------------------------------------------------------


@every_kind
def test_a_subset_takes_all_along(kind):
    choices = KINDS[kind]()
    mask = choices.chooser % 2 == 0
    some = choices.subset(mask)
    for name in ("answer", "ranks", "shown_first"):
        if getattr(choices, name) is not None:
            np.testing.assert_array_equal(getattr(some, name), getattr(choices, name)[mask])
    assert some.response == choices.response
    assert some.choosers == ("ann", "cem")
    assert some.chooser_weights.tolist() == [1.0, 2.0]
    if choices.pair is not None:
        same = choices.pair[mask][:, None] == choices.pair[mask]
        np.testing.assert_array_equal(some.pair[:, None] == some.pair, same)
        assert set(some.pair) == set(range(len(np.unique(choices.pair[mask]))))


def test_rankings_to_long_and_back():
    choices = ranked(chooser_weights=[1.0, 0.5, 2.0, 3.0])
    table = choices.to_long()
    np.testing.assert_array_equal(table["rank"], choices.ranks[choices.available])
    assert set(table["chooser_weight"]) == {1.0, 0.5, 2.0, 3.0}


def test_the_long_table_of_graded_pairs():
    choices = graded()
    table = choices.to_long()
    first = table[table["alternative"] == "chosen"].reset_index(drop=True)
    assert first["answer"].tolist() == [WORDS[k] for k in choices.answer]
    assert first["answer"].cat.categories.tolist() == list(WORDS[::-1])
    shown = first["shown_first"].map({True: 1, False: -1}).fillna(0)
    np.testing.assert_array_equal(shown, choices.shown_first)
    np.testing.assert_array_equal(first["pair"], choices.pair)
    with pytest.raises(InputError, match="got 'pair'"):
        graded(attributes=("pair", "length")).to_long()
    assert "pair" in ranked(attributes=("pair", "length")).to_long()


@every_kind
def test_nothing_becomes_pairs_unless_asked(kind):
    with pytest.raises(InputError, match=r"Pairs should hold all that was said; .*reduce=True"):
        KINDS[kind]().as_pairs()


def test_grades_as_pairs():
    choices = graded()
    pairs = choices.as_pairs(reduce=True)
    kept = choices.answer != 2
    assert pairs.is_pairs
    assert pairs.response == Pair()
    assert pairs.situations == tuple(np.array(choices.situations)[kept])
    sign = np.where(choices.answer < 2, 1, -1)[kept]
    np.testing.assert_array_equal(
        pairs.differences("reward"), sign * choices.differences("reward")[kept]
    )
    np.testing.assert_array_equal(pairs.shown_first, sign * choices.shown_first[kept])
    first = tuple(np.array(choices.situations)[~kept][:3])
    assert pairs.dropped == (Dropped("ties", int((~kept).sum()), first),)
    assert pairs.notes == (f"by how much one was better is lost in {kept.sum()} graded pairs",)
    assert graded(Ties()).as_pairs(reduce=True).notes == ()
    assert graded(Graded(4)).as_pairs(reduce=True).dropped == ()


def test_rankings_as_pairs():
    choices = ranked()
    pairs = choices.as_pairs(reduce=True)
    wanted = []
    for i in range(N):
        for j, k in itertools.permutations(np.flatnonzero(choices.available[i]), 2):
            a, b = choices.ranks[i, j], choices.ranks[i, k]
            if a and (a < b or not b):
                wanted.append((f"row {i} ({j} before {k})", choices.values[i, [j, k]]))
    assert dict(zip(pairs.situations, pairs.chooser, strict=True)) == {
        label: choices.chooser[int(label.split()[1])] for label, _ in wanted
    }
    np.testing.assert_array_equal(pairs.values, [values for _, values in wanted])
    assert pairs.notes[0].startswith(f"{N} rankings taken apart into {len(wanted)} pairs, which ")
    tied = ranked(ranks=np.where(ranked().available, 1, 0))
    with pytest.raises(InputError, match="ties in all 40"):
        tied.as_pairs(reduce=True)
    half = np.where(np.arange(N)[:, None] < 20, choices.ranks, tied.ranks)
    pairs = ranked(ranks=half).as_pairs(reduce=True)
    assert pairs.dropped == (Dropped("rankings without order", 20, ("row 20", "row 21", "row 22")),)


# -- who cannot use them --------------------------------------------------------------------------


@every_kind
def test_figures_say_that_they_cannot_use_them(kind):
    from prefstrength.plots.data import plot_data

    with pytest.raises(InputError, match=r"should get plain choices, .*reduce=True"):
        plot_data(KINDS[kind]())


# -- the constructor ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"answer": np.full(N, 5)}, r"between 0 and 4, one .*; got another number in 40 of 40"),
        ({"answer": None, "chosen": np.zeros(N, int)}, "in answer; got neither answer nor ranks"),
        ({"response": Pair()}, "should stand in chosen; got answer"),
        ({"response": Ranking(), "chosen": np.zeros(N, int)}, "should stand in ranks; got answer"),
        ({"answer": np.zeros(3, int)}, r"answer should have the shape \(40,\)"),
        ({"chosen": np.ones(N, int)}, "chosen=None"),
        ({"shown_first": np.full(N, 2)}, "shown_first should be 1, -1 or 0"),
        ({"chooser_weights": [1.0, 1.0]}, r"chooser_weights should have the shape \(4,\)"),
        ({"chooser_weights": [1.0, 1.0, -1.0, 1.0]}, "chooser_weights should be finite, zero or"),
        ({"chooser_weights": [0.0] * 4}, "not all zero"),
        ({"values": np.zeros((N, 3, 2)), "alternatives": "abc"}, "about two alternatives"),
    ],
)  # fmt: skip
def test_answers_to_pairs_that_disagree(change, sentence):
    with pytest.raises(InputError, match=sentence):
        graded(**change)


@pytest.mark.parametrize(
    ("ranks", "sentence"),
    [
        ([[1, 2, 3, -1]], "negative ones in 1 of 1"),
        ([[0, 0, 0, 0]], "at least one alternative; got none"),
        ([[1, 2, 4, 0]], "without a gap"),
        ([[2, 3, 0, 0]], "without a gap"),
        ([[1, 2, 3, 4]], "Only what was available"),
    ],
)
def test_ranks_that_cannot_be(ranks, sentence):
    available = [[True, True, True, False]]
    with pytest.raises(InputError, match=sentence):
        Choices(np.ones((1, 4, 1)), None, ["reward"], available, ranks=ranks, response=Ranking())


def test_choices_without_any_answer():
    with pytest.raises(InputError, match="got neither chosen, nor an answer"):
        Choices(np.ones((1, 2, 1)), None, ["reward"])
    with pytest.raises(InputError, match="about two alternatives"):
        Choices(np.ones((1, 3, 1)), [0], ["reward"], response=Pair())
    with pytest.raises(TypeError, match="kind of answer"):
        Choices(np.ones((1, 2, 1)), [0], ["reward"], response="graded")


# -- shown ----------------------------------------------------------------------------------------


def test_they_introduce_themselves():
    text = repr(graded())
    counts = ", ".join(f"{word}: {n}" for word, n in graded().answer_counts().items())
    assert f"response      Graded ({counts})" in text
    assert "alternatives  2 in each situation, chosen and rejected" in text
    first = [int((graded().shown_first == k).sum()) for k in (1, -1, 0)]
    assert "shown first   chosen {}, rejected {}, not known {}".format(*first) in text
    times = np.bincount(graded().pair)
    assert f"pairs         8; judged {times.min()} to {times.max()} times" in text
    assert "their weights 0 to 2, sum 3.5" in text
    text = repr(ranked())
    assert "response      Ranking (all places: 20, some places: 7, with ties: 13)" in text
    assert "4, 3 to 4 available in a situation" in text
    assert "shown first" not in text
    assert "their weights" not in repr(graded(chooser_weights=None))
    assert "Graded (much better" in graded()._repr_html_()
    many = Choices(np.ones((9, 9, 1)), range(9), ["reward"])
    assert "Multinomial (0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1 and 3 more)" in repr(many)
