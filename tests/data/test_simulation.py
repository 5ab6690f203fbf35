"""Choices with known truth."""

import itertools
import math

import numpy as np
import pytest
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.lapse import Lapse
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.mixing.zero_mass import ZeroMass
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.choice.responses.ties import RaoKupper, Ties
from prefstrength.data.simulation import simulate
from prefstrength.errors import DataWarning, InputError
from tests.helpers.reference import mixed_probability

LAWS = [
    PointMass(value=0.8),
    LogNormal(mu=0.0, sigma=0.7),
    Gamma(shape=2.0, rate=1.5),
    Normal(mu=0.5, sigma=1.0),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_choice_shares_are_the_mixed_choice_probability(law):
    choices = simulate(law, choosers=20_000, situations=1, spread=2.0, seed=1)
    x = choices.differences("reward")
    agrees, size = x > 0, np.abs(x)
    for low, high in [(0.0, 0.5), (0.5, 1.5), (1.5, 3.0), (3.0, 9.0)]:
        inside = (size >= low) & (size < high)
        grid = np.quantile(size[inside], (np.arange(40) + 0.5) / 40)
        want = np.mean(
            [float(mixed_probability(law.family, law.parameters.values(), v)) for v in grid]
        )
        error = math.sqrt(want * (1 - want) / inside.sum())
        assert np.mean(agrees[inside]) == pytest.approx(want, abs=4 * error)


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_differences_have_the_spread(spread):
    choices = simulate(LAWS[1], choosers=500, situations=40, spread=spread, seed=0)
    assert choices.scale("reward") == pytest.approx(spread, rel=0.03)
    assert choices.differences("reward") == pytest.approx(choices.values[:, 0, 0])
    assert not choices.values[:, 1].any()


def test_a_chooser_keeps_one_strength():
    """Agreement varies more over choosers than chance lets it, and no more if all are alike."""

    def excess(law):
        choices = simulate(law, choosers=400, situations=50, spread=2.0, seed=2)
        agrees = (choices.differences("reward") > 0).reshape(400, 50).mean(axis=1)
        p = agrees.mean()
        return agrees.var(ddof=1) / (p * (1 - p) / 50)

    assert excess(PointMass(value=1.0)) == pytest.approx(1.0, abs=0.25)
    assert excess(LogNormal(mu=0.0, sigma=1.5)) > 3.0


def test_chooser_level_strengths_follow_the_law():
    choices = simulate(LogNormal(mu=0.2, sigma=0.6), choosers=60, situations=2000, seed=4)
    x = choices.differences("reward").reshape(60, 2000)
    beta = np.ones(60)  # each chooser's own maximum-likelihood strength, by Newton's method
    for _ in range(30):
        q = special.expit(-beta[:, None] * x)
        beta += (q * x).sum(axis=1) / (q * (1 - q) * x**2).sum(axis=1)
    assert np.log(beta).mean() == pytest.approx(0.2, abs=4 * 0.6 / math.sqrt(60))
    assert np.log(beta).std() == pytest.approx(0.6, rel=0.35)


def test_shape_and_labels():
    choices = simulate(LAWS[1], choosers=12, situations=3)
    assert (choices.n_choosers, choices.n_situations, choices.n_alternatives) == (12, 36, 2)
    assert choices.attributes == ("reward",)
    assert choices.choosers[:2] == ("c00", "c01")
    assert choices.situation_counts().tolist() == [3] * 12
    assert choices.is_pairs


def test_single_situations_have_no_choosers():
    choices = simulate(LAWS[1], choosers=12, situations=1)
    assert choices.chooser is None
    assert (choices.n_choosers, choices.n_situations) == (0, 12)


def test_same_seed_same_choices():
    first, again, other = (simulate(LAWS[1], choosers=9, seed=seed) for seed in (5, 5, 6))
    assert first.content_hash() == again.content_hash()
    assert first.content_hash() != other.content_hash()


def test_strong_preferences_are_certain():
    with pytest.warns(DataWarning, match="higher for the chosen alternative in all 200 pairs"):
        choices = simulate(PointMass(value=1e6), choosers=50, situations=4, spread=1e3)
    assert (choices.differences("reward") > 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"choosers": 0}, "Expected choosers of at least 1; got 0."),
        ({"situations": -2}, "Expected situations of at least 1; got -2."),
        ({"spread": 0.0}, "Expected spread > 0; got 0.0."),
        ({"spread": math.nan}, "Expected spread > 0; got nan."),
        (
            {"mixing": LogNormal()},
            "Expected a known LogNormal; got one without parameters. "
            "Give mu, sigma, or fit a model first.",
        ),
    ],
)
def test_impossible_simulations(options, text):
    with pytest.raises(InputError) as error:
        simulate(**{"mixing": LAWS[0], **options})
    assert str(error.value) == text


def test_lapses_are_choices_at_random():
    law = LogNormal(mu=4.0, sigma=0.1)  # without a lapse all choose the higher reward
    for share in (0.0, 0.4):
        choices = simulate(Lapse(law, share=share), choosers=400, situations=25, seed=1)
        wrong = (choices.differences("reward") < 0).mean()
        assert wrong == pytest.approx(
            share / 2 + 0.009, abs=4 * (0.25 * share / 10_000) ** 0.5 + 0.005
        )


def test_some_do_not_care():
    law = ZeroMass(PointMass(value=100.0), share=0.3)
    choices = simulate(law, choosers=400, situations=25, seed=1)
    wrong = np.bincount(choices.chooser, weights=choices.differences("reward") < 0) / 25
    assert (wrong > 0.2).mean() == pytest.approx(0.3, abs=0.07)


# -- answers that say more ------------------------------------------------------------------------

GRADED = (Graded(5), {"cut_1": 0.4, "cut_2": 0.9})
ANSWERED = [
    GRADED,
    (Graded(4), {"cut_1": 0.6}),
    (Ties(), {"tie": 0.7}),
    (RaoKupper(), {"cut_1": 0.5}),
]


def shares(log_probabilities, answer, count):
    """Counts of answers against their expectation, in standard deviations."""
    p = np.exp(np.stack(log_probabilities)).reshape(count, -1)
    sd = np.sqrt((p * (1 - p)).sum(axis=1))
    return (np.bincount(answer, minlength=count) - p.sum(axis=1)) / np.maximum(sd, 1e-9)


@pytest.mark.parametrize(("response", "shared"), ANSWERED, ids=repr)
@pytest.mark.parametrize("position", [None, 0.8])
def test_answers_are_as_frequent_as_they_are_probable(response, shared, position):
    choices = simulate(
        PointMass(value=0.9), 200, 50, seed=1, response=response, shared=shared, position=position
    )
    assert choices.response == response
    shown_first = 0 if position is None else choices.shown_first
    for low in (-9, -1, 0, 1):
        x = choices.differences("reward")
        inside = (x > low) & (x < low + 1 if low > -9 else x < -1)
        v = 0.9 * x + (position or 0) * shown_first
        expected = response.log_probabilities(NUMPY, v[inside], shared)
        z = shares(expected, choices.answer[inside], len(response.answers))
        assert np.abs(z).max() < 4


def test_lapses_are_any_answer():
    response, shared = GRADED
    choices = simulate(
        Lapse(PointMass(value=50.0), share=0.3), 200, 50, spread=3.0, seed=2,
        response=response, shared=shared,
    )  # fmt: skip
    far = np.abs(choices.differences("reward")) > 0.5
    against = np.where(choices.differences("reward") > 0, choices.answer, 4 - choices.answer)[far]
    share = np.bincount(against, minlength=5) / far.sum()
    np.testing.assert_allclose(share, [0.76, 0.06, 0.06, 0.06, 0.06], atol=0.015)


def test_who_was_shown_first_is_kept_in_pairs():
    choices = simulate(PointMass(value=0.5), 300, 30, seed=3, position=1.0)
    assert choices.is_pairs
    assert set(choices.shown_first) == {-1, 1}
    # The chosen one was first as often as its utility, that of the difference included, says.
    x = choices.differences("reward") * choices.shown_first  # first shown minus second
    chosen = choices.shown_first == 1
    expected = special.expit(0.5 * x + 1.0)
    z = (chosen.sum() - expected.sum()) / np.sqrt((expected * (1 - expected)).sum())
    assert abs(z) < 4


def test_each_chooser_may_have_an_own_position_effect():
    law = Normal(mu=0.0, sigma=2.0)
    choices = simulate(PointMass(value=0.0001), 200, 100, seed=4, position=law)
    share = np.bincount(choices.chooser, weights=choices.shown_first == 1) / 100
    wanted = special.expit(law.sample(np.random.default_rng(0), 20_000))
    assert np.std(share) == pytest.approx(np.std(wanted), rel=0.1)
    with pytest.raises(InputError, match="known Normal"):
        simulate(PointMass(value=1.0), position=Normal())


@pytest.mark.parametrize("response", [Multinomial(), Ranking()], ids=repr)
def test_choices_among_several(response):
    choices = simulate(PointMass(value=1.2), 100, 40, seed=5, response=response, alternatives=3)
    assert choices.n_alternatives == 3
    differences = choices.values[:, 0, 0] - choices.values[:, 1, 0]
    assert np.std(differences) == pytest.approx(1.5, rel=0.05)
    utility = 1.2 * choices.values[:, :, 0]
    if response == Multinomial():
        each = [response.log_likelihood(NUMPY, utility, np.full(4000, j), {}) for j in range(3)]
        answer, answers = choices.chosen, 3
    else:
        orders = np.array(list(itertools.permutations((1, 2, 3))))
        each = [
            response.log_likelihood(NUMPY, utility, np.tile(order, (4000, 1)), {})
            for order in orders
        ]
        answer = (choices.ranks[:, None] == orders).all(axis=2).argmax(axis=1)
        answers = 6
        np.testing.assert_array_equal(choices.chosen, choices.ranks.argmin(axis=1))
    best = utility.argmax(axis=1)
    for j in range(3):
        z = shares([e[best == j] for e in each], answer[best == j], answers)
        assert np.abs(z).max() < 4


def test_lapses_in_rankings_are_any_order():
    law = Lapse(PointMass(value=200.0), share=0.5)
    choices = simulate(law, 100, 40, seed=6, response=Ranking(), alternatives=3)
    right = (np.argsort(-choices.values[:, :, 0], axis=1) == np.argsort(choices.ranks, axis=1)).all(
        axis=1
    )
    assert right.mean() == pytest.approx(0.5 + 0.5 / 6, abs=0.03)


def test_panels_of_answers_have_choosers():
    response, shared = GRADED
    panel = simulate(LAWS[1], 12, 3, response=response, shared=shared)
    assert panel.choosers[:2] == ("c00", "c01")
    assert panel.situation_counts().tolist() == [3] * 12
    assert simulate(LAWS[1], 12, 1, response=response, shared=shared).chooser is None
    assert simulate(LAWS[1], 12, 1, response=Ranking(), alternatives=4).chooser is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"response": Graded(5)}, "Expected values of ['cut_1', 'cut_2'] that all choosers share"),
        ({"shared": {"tie": 1.0}}, "Expected values of nothing that all choosers share"),
        ({"alternatives": 3}, "Expected two alternatives with Pair(); got 3."),
        ({"response": Ranking(), "alternatives": 1}, "Expected two or more alternatives"),
        ({"response": Ranking(), "position": 0.5}, "Expected position with answers to pairs"),
    ],
)
def test_answers_that_cannot_be_simulated(options, text):
    with pytest.raises(InputError) as error:
        simulate(LAWS[0], 5, 5, **options)
    assert text in str(error.value)
