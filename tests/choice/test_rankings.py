"""Choices among several and rankings, against sums over all orders at thirty digits."""

import itertools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from prefstrength.choice.arrays import NUMPY, library
from prefstrength.choice.responses.base import SetResponse
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.responses.ranking import MOST_TIED, Ranking
from prefstrength.choice.responses.ties import RaoKupper, Ties
from prefstrength.errors import InputError

JAX = library("jax")
RULES = ("exact", "efron", "breslow")


# -- the reference ------------------------------------------------------------------------------


def in_order(weights, order, others):
    """Probability that these come first, in this order, before the others in any."""
    p = mp.mpf(1)
    for k, j in enumerate(order):
        # Added up afresh: a difference would leave nothing of what is small.
        p *= weights[j] / sum(weights[i] for i in (*order[k:], *others))
    return p


def tie(weights, tied, others, rule):
    if rule == "exact":
        return sum(in_order(weights, order, others) for order in itertools.permutations(tied))
    p, together = mp.mpf(1), sum(weights[j] for j in tied)
    for gone, j in enumerate(tied):
        share = mp.mpf(gone) / len(tied) if rule == "efron" else 0
        p *= weights[j] / ((1 - share) * together + sum(weights[k] for k in others))
    return p


def log_ranking(utilities, ranks, rule, moved=None, by=0):
    """By hand, over the alternatives that are there, one of them moved by less than floats hold."""
    there = [j for j, u in enumerate(utilities) if u > -np.inf]
    weights = {j: mp.exp(mp.mpf(float(utilities[j])) + (by if j == moved else 0)) for j in there}
    total = mp.mpf(0)
    for rank in range(1, max(ranks) + 1):
        tied = [j for j in there if ranks[j] == rank]
        others = [j for j in there if ranks[j] > rank or ranks[j] == 0]
        if tied:
            total += mp.log(tie(weights, tied, others, rule))
    return total


RANKS = [
    [1, 2, 3, 4],
    [3, 4, 1, 2],
    [1, 1, 2, 3],
    [1, 2, 2, 2],
    [2, 2, 1, 1],
    [1, 1, 1, 1],
    [0, 1, 0, 0],
    [2, 0, 1, 0],
    [1, 0, 1, 0],
    [2, 2, 1, 3],
]
UTILITIES = [
    [0.3, -1.2, 0.8, 0.1],
    [0.0, 0.0, 0.0, 0.0],
    [30.0, -30.0, 5.0, 4.9],
    [-400.0, 300.0, 299.0, 0.0],
    [1e4, -1e4, 0.0, 1.0],
    [0.3, -np.inf, 0.8, 0.1],
    [0.3, -np.inf, -50.0, -np.inf],
]


def possible(utilities, ranks):
    return all(u > -np.inf or r == 0 for u, r in zip(utilities, ranks, strict=True))


CASES = [(u, r) for u in UTILITIES for r in RANKS if possible(u, r)]


def evaluated(rule, lib=NUMPY, array=np.asarray):
    utilities = array(np.array([u for u, _ in CASES]))
    return np.asarray(
        Ranking(rule).log_likelihood(lib, utilities, np.array([r for _, r in CASES]), {})
    )


def torch_library():
    torch = pytest.importorskip("torch")
    return library("torch"), torch.as_tensor


# -- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_rankings_are_sums_over_all_orders(rule):
    with mp.workdps(30):
        wanted = [float(log_ranking(u, r, rule)) for u, r in CASES]
    np.testing.assert_allclose(evaluated(rule), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", RULES)
def test_the_array_libraries_agree(rule):
    with jax.enable_x64(True):
        assert np.abs(evaluated(rule, JAX, jnp.asarray) - evaluated(rule)).max() < 1e-11
        traced = jax.jit(lambda u, r: Ranking(rule).log_likelihood(JAX, u, r, {}))
        found = traced(np.array([u for u, _ in CASES]), np.array([r for _, r in CASES]))
        np.testing.assert_allclose(found, evaluated(rule), rtol=1e-12, atol=1e-13)
    lib, array = torch_library()
    assert np.abs(evaluated(rule, lib, array) - evaluated(rule)).max() < 1e-11
    single = evaluated(rule, lib, lambda values: array(values.astype(np.float32)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, evaluated(rule), rtol=1e-5, atol=1e-5)


def test_the_probability_of_a_certain_answer_keeps_its_digits():
    """log p = -e^-60, which 1 - p has lost."""
    utilities, chosen = np.array([[60.0, 0.0]]), np.array([0])
    (plain,) = Multinomial().log_likelihood(NUMPY, utilities, chosen, {})
    (ranked,) = Ranking().log_likelihood(NUMPY, utilities, np.array([[1, 2]]), {})
    assert plain == ranked == pytest.approx(-float(mp.exp(-60)), rel=1e-12)


def test_choices_are_shares_of_weights():
    for utilities in UTILITIES:
        with mp.workdps(30):
            weights = [mp.exp(mp.mpf(u)) if u > -np.inf else mp.mpf(0) for u in utilities]
            for chosen, weight in enumerate(weights):
                others = sum(weights[:chosen]) + sum(weights[chosen + 1 :])
                wanted = -float(mp.log1p(others / weight)) if weight else -np.inf
                (found,) = Multinomial().log_likelihood(
                    NUMPY, np.array([utilities]), np.array([chosen]), {}
                )
                assert found == pytest.approx(wanted, rel=1e-12, abs=1e-300)


# -- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_gradients(rule):
    """Central differences of the reference, in JAX and in torch."""
    step, wanted = mp.mpf("1e-15"), np.zeros((len(CASES), 4))
    for i, (utilities, ranks) in enumerate(CASES):
        for j in np.flatnonzero(np.array(utilities) > -np.inf):
            with mp.workdps(50):
                up, down = (log_ranking(utilities, ranks, rule, j, s * step) for s in (1, -1))
                wanted[i, j] = float((up - down) / (2 * step))
    points, answers = np.array([u for u, _ in CASES]), np.array([r for _, r in CASES])

    def total(u):
        return Ranking(rule).log_likelihood(JAX, u, answers, {}).sum()

    with jax.enable_x64(True):
        found = jax.jit(jax.grad(total))(jnp.asarray(points))
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    lib, array = torch_library()
    tensor = array(points).requires_grad_()
    Ranking(rule).log_likelihood(lib, tensor, answers, {}).sum().backward()
    np.testing.assert_allclose(tensor.grad.numpy(), wanted, rtol=1e-10, atol=1e-12)


def test_gradients_of_a_choice_are_residuals():
    utilities = np.array([[0.3, -1.2, 0.8, -np.inf], [1e4, -1e4, 0.0, 1.0]])
    chosen = np.array([2, 1])
    weights = np.exp(utilities - utilities.max(axis=1, keepdims=True))
    wanted = np.eye(4)[chosen] - weights / weights.sum(axis=1, keepdims=True)
    with jax.enable_x64(True):

        def total(u):
            return Multinomial().log_likelihood(JAX, u, chosen, {}).sum()

        np.testing.assert_allclose(jax.grad(total)(jnp.asarray(utilities)), wanted, atol=1e-14)


# -- laws -----------------------------------------------------------------------------------------


RNG = np.random.default_rng(0)
FIVE = RNG.normal(0, 3, (40, 5))
ORDERS = np.array([RNG.permutation(5) + 1 for _ in range(40)])


def test_a_ranking_of_two_is_a_pair():
    v = np.linspace(-300, 300, 61)
    utilities = np.stack([v, np.zeros_like(v)], axis=1)
    first, second = Pair().log_probabilities(NUMPY, v, {})
    for rule in RULES:
        for ranks, wanted in ([1, 2], first), ([2, 1], second), ([1, 0], first), ([0, 1], second):
            answers = np.tile(ranks, (len(v), 1))
            found = Ranking(rule).log_likelihood(NUMPY, utilities, answers, {})
            np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_choice_of_two_is_a_pair():
    v = np.linspace(-300, 300, 61)
    utilities = np.stack([v, np.zeros_like(v)], axis=1)
    for k, wanted in enumerate(Pair().log_probabilities(NUMPY, v, {})):
        found = Multinomial().log_likelihood(NUMPY, utilities, np.full(len(v), k), {})
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_a_ranking_of_the_best_alone_is_a_choice(rule):
    best = np.where(ORDERS == 1, 1, 0)
    found = Ranking(rule).log_likelihood(NUMPY, FIVE, best, {})
    wanted = Multinomial().log_likelihood(NUMPY, FIVE, best.argmax(axis=1), {})
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_all_rankings_have_probability_one():
    orders = np.array(list(itertools.permutations(range(1, 5))))
    utilities = np.tile([0.3, -1.2, 2.0, 0.0], (len(orders), 1))
    found = Ranking().log_likelihood(NUMPY, utilities, orders, {})
    assert np.exp(found).sum() == pytest.approx(1, rel=1e-12)


def test_best_and_worst_is_a_tie_in_between():
    """P(best, worst) among five, summed over the six orders of those whose order is not known."""
    best_worst = np.where(ORDERS == 1, 1, np.where(ORDERS == 5, 3, 2))
    found = np.exp(Ranking().log_likelihood(NUMPY, FIVE, best_worst, {}))
    total = np.zeros(len(FIVE))
    for order in itertools.permutations((2, 3, 4)):
        full = ORDERS.copy()
        for old, new in zip((2, 3, 4), order, strict=True):
            full[ORDERS == old] = new
        total += np.exp(Ranking().log_likelihood(NUMPY, FIVE, full, {}))
    np.testing.assert_allclose(found, total, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_constant_and_another_order_of_the_alternatives_change_nothing(rule):
    ranks = np.minimum(ORDERS, 3)
    one = Ranking(rule).log_likelihood(NUMPY, FIVE, ranks, {})
    np.testing.assert_allclose(
        Ranking(rule).log_likelihood(NUMPY, FIVE + 7.5, ranks, {}), one, rtol=1e-11
    )
    turned = Ranking(rule).log_likelihood(NUMPY, FIVE[:, ::-1], ranks[:, ::-1], {})
    np.testing.assert_allclose(turned, one, rtol=1e-11)


@pytest.mark.parametrize("rule", RULES)
def test_masking_an_alternative_is_deleting_it(rule):
    ranks = np.minimum(ORDERS[:, :4].argsort(axis=1).argsort(axis=1) + 1, 3)
    masked = np.concatenate([FIVE[:, :4], np.full((40, 1), -np.inf)], axis=1)
    zero = np.concatenate([ranks, np.zeros((40, 1), int)], axis=1)
    np.testing.assert_allclose(
        Ranking(rule).log_likelihood(NUMPY, masked, zero, {}),
        Ranking(rule).log_likelihood(NUMPY, FIVE[:, :4], ranks, {}),
        rtol=1e-12,
    )
    for response, answers in (Multinomial(), np.full(40, 4)), (Ranking(rule), ORDERS):
        assert (response.log_likelihood(NUMPY, masked, answers, {}) == -np.inf).all()


def test_rankings_without_ties_go_their_own_way_to_the_same_numbers():
    utilities = RNG.normal(0, 3, (3, 40, 5))
    ranks = np.argsort(RNG.random((40, 5)), axis=1)  # the one of rank 0 is not ranked
    utilities[:, ::4, 0] = -np.inf
    alone = Ranking().log_likelihood(NUMPY, utilities, ranks, {})
    # A tie in one situation sends all of them the general way.
    with_tie = np.concatenate([utilities, np.zeros((3, 1, 5))], axis=1)
    general = Ranking().log_likelihood(NUMPY, with_tie, np.r_[ranks, [[1, 1, 2, 3, 4]]], {})
    np.testing.assert_allclose(alone, general[:, :-1], rtol=1e-13)
    assert np.isneginf(alone[:, ::4][:, ranks[::4, 0] > 0]).all()
    traced = Ranking().log_likelihood(library("jax"), jnp.asarray(utilities), ranks, {})
    np.testing.assert_allclose(traced, alone, rtol=1e-5)


def test_the_rules_agree_where_few_of_many_tie():
    """A tie of two among a thousand: the order of the two hardly matters."""
    utilities = np.zeros((1, 1000))
    ranks = np.array([[1, 1, *[0] * 998]])
    exact, efron, breslow = (
        float(Ranking(rule).log_likelihood(NUMPY, utilities, ranks, {})[0]) for rule in RULES
    )
    assert exact == pytest.approx(np.log(2 / (1000 * 999)), rel=1e-12)
    assert efron + np.log(2) == pytest.approx(exact, rel=1e-5)
    assert breslow + np.log(2) == pytest.approx(exact, rel=1e-3)


def test_a_grid_of_strengths_broadcasts():
    grid = np.linspace(0.1, 2, 7)
    found = Ranking().log_likelihood(NUMPY, grid[:, None, None] * FIVE, ORDERS, {})
    assert found.shape == (7, 40)
    third = Ranking().log_likelihood(NUMPY, grid[3] * FIVE, ORDERS, {})
    np.testing.assert_array_equal(found[3], third)
    found = Multinomial().log_likelihood(NUMPY, grid[:, None, None] * FIVE, np.zeros(40, int), {})
    assert found.shape == (7, 40)


# -- what a response is ---------------------------------------------------------------------------


EACH = [
    Pair(), Ties(), RaoKupper(), Graded(5), Graded(["much", "a bit", "no", "not at all"]),
    Multinomial(), Ranking(), Ranking("efron"), Ranking("breslow"),
]  # fmt: skip


@pytest.mark.parametrize("response", EACH, ids=repr)
def test_a_response_is_its_name_and_settings(response):
    again = type(response)(**response.settings)
    assert again == response
    assert hash(again) == hash(response)
    assert again.answers == response.answers
    assert [other for other in EACH if other == response] == [response]
    assert isinstance(response, SetResponse) == (not response.answers)


def test_what_no_ranking_is():
    with pytest.raises(InputError, match=r"one of 'exact', 'efron', 'breslow'; got 'exactm'"):
        Ranking("exactm")
    many = MOST_TIED + 1
    ranks = np.ones((1, many), int)
    with pytest.raises(InputError, match=rf"at most {MOST_TIED} .*; got {many}"):
        Ranking().log_likelihood(NUMPY, np.zeros((1, many)), ranks, {})
    (found,) = Ranking("efron").log_likelihood(NUMPY, np.zeros((1, many)), ranks, {})
    assert found < 0
