"""The mixed choice probability: closed forms, laws, gradients, rates. And the plain logit."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special

from prefstrength.choice import series
from prefstrength.choice.kernel import log_probability as kernel_log_probability
from prefstrength.choice.logit import log_choice
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.errors import InputError
from prefstrength.likelihood.mixed import log_choice_probability
from tests.helpers.reference import log_probability, mixed_probability

SIZES = [1e-6, 1e-3, 0.1, 1.0, 7.0, 60.0, 1e3, 1e4]
X = np.array([-x for x in reversed(SIZES)] + SIZES)


def of_cv(family, cv, location=0.3):
    """A law of the given family and coefficient of variation."""
    if family is LogNormal:
        return LogNormal(mu=location, sigma=math.sqrt(math.log1p(cv**2)))
    if family is Gamma:
        return Gamma(shape=cv**-2, rate=cv**-2 * math.exp(-location))
    return Normal(mu=location, sigma=cv * abs(location))


LAWS = [
    PointMass(value=0.7),
    LogNormal(mu=0.3, sigma=0.7),
    LogNormal(mu=-2.0, sigma=2.0),
    Gamma(shape=2.5, rate=2.0),
    Gamma(shape=0.2, rate=0.1),
    InverseGaussian(mu=1.2, shape=2.0),
    Normal(mu=1.0, sigma=0.4),
    Normal(mu=-0.5, sigma=2.0),
]
POSITIVE = [law for law in LAWS if not isinstance(law, Normal)]


def name(value):
    return repr(value) if isinstance(value, Mixing) else None


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def values(law):
    return tuple(law.parameters.values())


@partial(jax.jit, static_argnums=0)
def _log_p(family, x, *parameters):
    return log_choice_probability(x, family(*parameters))


@partial(jax.jit, static_argnums=0)
def _slopes(family, x, *parameters):
    """Gradients of log p, summed over x, in x and in every parameter."""
    numbers = range(1 + len(parameters))
    return jax.grad(lambda *v: log_choice_probability(v[0], family(*v[1:])).sum(), numbers)(
        x, *parameters
    )


@pytest.mark.parametrize("sigma", [2.7, 4.0, 6.0, 10.0])
def test_nodes_follow_a_wide_lognormal(sigma):
    torch = pytest.importorskip("torch")
    from prefstrength.choice.arrays import NUMPY
    from prefstrength.mixdpo.objectives.probability import TORCH

    law, narrow = LogNormal(mu=0.3, sigma=sigma), LogNormal(mu=0.3, sigma=0.7)
    exact = np.array([float(log_probability(law.family, values(law), x)) for x in X])
    bound = 1e-10 * np.maximum(1.0, np.abs(exact))
    found = log_choice_probability(X, law)
    assert (np.abs(np.asarray(found) - exact) <= bound).all()
    assert (np.abs(kernel_log_probability(NUMPY, X, law) - exact) <= bound).all()
    x = torch.tensor(X)
    assert (np.abs(kernel_log_probability(TORCH, x, law).numpy() - exact) <= bound).all()
    single = kernel_log_probability(TORCH, x.float(), law).double().numpy()
    assert (np.abs(single - exact) <= 2e-6 * np.maximum(1.0, np.abs(exact))).all()
    # A batch of laws has the nodes that its widest needs.
    both = LogNormal(mu=np.full(2, 0.3), sigma=np.array([0.7, sigma]))
    together = kernel_log_probability(NUMPY, X[:, None], both)
    alone = kernel_log_probability(NUMPY, X, narrow)
    np.testing.assert_allclose(together, np.stack([alone, exact], axis=1), atol=1e-9, rtol=1e-10)
    # Where sigma has no value yet, nodes are those of a small one.
    by_vmap = torch.func.vmap(
        lambda s: kernel_log_probability(
            TORCH, x, LogNormal(mu=torch.tensor(0.3, dtype=torch.float64), sigma=s)
        )
    )(torch.tensor([0.7], dtype=torch.float64))
    np.testing.assert_allclose(by_vmap[0].numpy(), alone, rtol=1e-10)


def log_p(law, x, dtype=np.float64):
    """The function tested, compiled once for each family: x is filled up to 128 numbers."""
    x = np.asarray(x, dtype=dtype)
    padded = np.zeros(128, dtype=dtype)
    padded[: x.size] = x.ravel()
    return np.asarray(_log_p(type(law), padded, *values(law)))[: x.size].reshape(x.shape)


def expected(law, xs):
    return np.array([float(log_probability(law.family, values(law), x)) for x in xs])


def relative_in_both_tails(got, want):
    """Error of log p, relative to log p where p is near 1: the relative error of the tail."""
    return np.abs(got - want) / np.clip(np.abs(want), 1e-300, 1.0)


# -- closed form ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [0.05, 0.25, 1.0, 3.0])
@pytest.mark.parametrize("family", [LogNormal, Gamma, Normal])
def test_log_probability_against_thirty_digits(family, cv):
    law = of_cv(family, cv, 1.0 if family is Normal else 0.3)
    want = expected(law, X)
    keep = want < -1e-300  # else p is 1 to all digits that there are
    with np.errstate(under="ignore"):
        double = log_p(law, X)
        single = log_p(law, X, np.float32).astype(float)
    assert double.dtype == np.float64
    assert relative_in_both_tails(double, want)[keep].max() < 1e-11
    bound = np.maximum(1.0, np.abs(want))
    assert (np.abs(single - want) / bound).max() < 2e-6
    keep = want < -1e-36
    assert (relative_in_both_tails(single, want) / bound)[keep].max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("cv", [0.003, 0.01, 0.1, 0.5, 2.0, 10.0, 60.0])
@pytest.mark.parametrize("family", [LogNormal, Gamma, Normal])
@pytest.mark.parametrize("location", [-2.0, 0.7])
def test_log_probability_far_beyond_what_is_promised(family, cv, location):
    law = of_cv(family, cv, location)
    want = expected(law, X)
    keep = want < -1e-300
    error = relative_in_both_tails(log_p(law, X), want)[keep]
    assert (error / np.maximum(1.0, np.abs(want[keep]))).max() < 1e-10


@pytest.mark.parametrize("u", [-1e4, -60.0, -1.0, 0.0, 1e-6, 30.0, 1e4])
def test_point_mass_is_the_logit(u):
    want = float(mp.log1p(mp.exp(-mp.mpf(u))) * -1)
    got = float(log_choice_probability(u / 0.5, PointMass(value=0.5)))
    assert got == pytest.approx(want, rel=1e-15, abs=1e-300)
    assert got == pytest.approx(float(jax.nn.log_sigmoid(u)), rel=1e-15, abs=1e-300)


@pytest.mark.parametrize(
    ("shape", "rate", "x"),
    [(4.0, 40.0, 20.0), (0.5, 3.0, 2.0), (2.0, 1.0, 0.4), (1.0, 1.0, 3.0)],
)
def test_gamma_is_the_lerch_form_of_the_paper(shape, rate, x):
    with mp.workdps(30):
        z = mp.mpf(rate) / mp.mpf(x)
        lerch = z**shape * mp.lerchphi(-1, shape, z)
        want = float(mp.log(lerch))
        assert float(mixed_probability("Gamma", (shape, rate), x) - lerch) == pytest.approx(
            0, abs=1e-18
        )
    got = float(log_choice_probability(x, Gamma(shape=shape, rate=rate)))
    assert got == pytest.approx(want, rel=1e-12)


def test_the_reference_agrees_with_adaptive_quadrature():
    for family, parameters, density in [
        ("LogNormal", (0.3, 0.7), lambda z: mp.exp(mp.mpf("0.3") + mp.mpf("0.7") * z)),
        ("Normal", (0.8, 0.5), lambda z: mp.mpf("0.8") + mp.mpf("0.5") * z),
    ]:
        with mp.workdps(20):
            for x in (-3.0, 0.5, 8.0):
                p = mp.quad(
                    lambda z, x=x, beta=density: mp.npdf(z) / (1 + mp.exp(-beta(z) * x)),
                    [-12, -6, -3, -1, 0, 1, 3, 6, 12],
                )
                assert float(p / mixed_probability(family, parameters, x) - 1) == pytest.approx(
                    0, abs=1e-12
                )


# -- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_the_two_alternatives_share_all_probability(law):
    x = np.r_[X, np.linspace(-5, 5, 41)]
    total = np.exp(log_p(law, x)) + np.exp(log_p(law, -x))
    np.testing.assert_allclose(total, 1.0, rtol=1e-13)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_without_a_difference_it_is_a_coin(law):
    for zero in (0.0, -0.0):
        assert log_p(law, zero) == pytest.approx(-math.log(2), rel=1e-13)
    # and the slope there is half the mean strength
    slope = _slopes(type(law), np.zeros(7), *values(law))[0]
    np.testing.assert_allclose(slope, law.mean() / 2, rtol=1e-11)


@pytest.mark.parametrize("law", POSITIVE, ids=name)
def test_rises_with_the_difference_where_strength_is_positive(law):
    assert (np.diff(log_p(law, np.linspace(-300.0, 300.0, 101))) >= 0).all()
    assert (np.diff(log_p(law, np.linspace(-5.0, 5.0, 101))) > 0).all()


def test_need_not_rise_where_strength_may_be_negative():
    x = np.array([0.0, 1.0, 5.0])
    assert (np.diff(log_p(Normal(mu=-0.5, sigma=2.0), x)) < 0).all()


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize("factor", [1e-3, 3.0, 50.0])
def test_only_the_product_of_strength_and_difference_counts(law, factor):
    scaled = {
        PointMass: lambda value=None: PointMass(value=value * factor),
        LogNormal: lambda mu=None, sigma=None: LogNormal(mu=mu + math.log(factor), sigma=sigma),
        Normal: lambda mu=None, sigma=None: Normal(mu=mu * factor, sigma=sigma * factor),
        Gamma: lambda shape=None, rate=None: Gamma(shape=shape, rate=rate / factor),
        InverseGaussian: lambda mu=None, shape=None: InverseGaussian(
            mu=mu * factor, shape=shape * factor
        ),
    }[type(law)](**law.parameters)
    x = np.array([-80.0, -2.0, -0.1, 0.3, 4.0, 90.0])
    np.testing.assert_allclose(log_p(law, factor * x), log_p(scaled, x), rtol=1e-11)


@pytest.mark.parametrize("family", [LogNormal, Gamma, InverseGaussian, Normal])
def test_becomes_the_logit_as_the_dispersion_vanishes(family):
    x = np.array([-50.0, -3.0, -0.1, 0.2, 5.0])
    logit = log_p(PointMass(value=1.3), x)
    distance = []
    for cv in (1e-1, 1e-2, 1e-3):
        law = {
            LogNormal: lambda cv: LogNormal(
                mu=math.log(1.3) - math.log1p(cv**2) / 2, sigma=math.sqrt(math.log1p(cv**2))
            ),
            Gamma: lambda cv: Gamma(shape=cv**-2, rate=cv**-2 / 1.3),
            InverseGaussian: lambda cv: InverseGaussian(mu=1.3, shape=1.3 * cv**-2),
            Normal: lambda cv: Normal(mu=1.3, sigma=1.3 * cv),
        }[family](cv)
        distance.append(np.abs(log_p(law, x) - logit))
    # The distance is the second moment's: a hundredth where the dispersion is a tenth.
    slope = np.log10(distance[1] / distance[2])
    np.testing.assert_allclose(slope, 2.0, atol=0.02)
    tiny = {
        LogNormal: LogNormal(mu=math.log(1.3), sigma=1e-8),
        Gamma: Gamma(shape=1e10, rate=1e10 / 1.3),
        InverseGaussian: InverseGaussian(mu=1.3, shape=1e10),
        Normal: Normal(mu=1.3, sigma=1e-8),
    }[family]
    np.testing.assert_allclose(log_p(tiny, x), logit, rtol=1e-6)


@pytest.mark.parametrize("law", LAWS[1:], ids=name)
def test_is_the_mean_over_draws_and_monte_carlo_nears_it_with_slope_minus_half(law):
    rng, x = np.random.default_rng(5), 1.7
    truth = math.exp(log_p(law, x))
    sizes = np.array([16, 64, 256, 1024])
    error = [
        np.sqrt(np.mean((special.expit(law.sample(rng, (2000, k)) * x).mean(axis=1) - truth) ** 2))
        for k in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(error), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.03)


# -- gradients -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [LogNormal, Gamma, Normal])
@pytest.mark.parametrize("cv", [0.05, 1.0])
@pytest.mark.parametrize("x", [-1e3, -7.0, -0.1, 0.1, 7.0, 60.0])
def test_gradient_in_the_difference_and_in_every_parameter(family, cv, x):
    law = of_cv(family, cv, 1.0 if family is Normal else 0.3)
    inputs = (x, *values(law))
    got = _slopes(family, *inputs)
    with mp.workdps(30):
        tail = mixed_probability(law.family, values(law), -abs(x))
        for coordinate in range(3):
            size = mp.mpf("1e-9") * (abs(inputs[coordinate]) or 1)

            def q(by, coordinate=coordinate, size=size):
                moved = [mp.mpf(value) for value in inputs]
                moved[coordinate] += by * size
                return _tail(law.family, moved)

            slope = (q(1) - q(-1)) / (2 * size)
            # of log q where the chosen is behind, of log(1 - q) where it is ahead
            want = slope / tail if x < 0 else -slope / (1 - tail)
            assert float(got[coordinate]) == pytest.approx(float(want), rel=2e-9, abs=1e-280)


def _tail(family, moved):
    from tests.helpers import reference

    x, first, second = moved
    if family == "Normal":
        return reference._normal(-first * abs(x), second * abs(x))
    lower = reference._gamma_lower if family == "Gamma" else reference._lognormal_lower
    return lower(first, second, abs(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "law", [*LAWS, of_cv(LogNormal, 0.05), of_cv(Gamma, 0.05), of_cv(Normal, 3.0)], ids=name
)
def test_value_and_gradients_are_finite_far_out(law, dtype):
    x = np.array([-1e4, -1e3, -1e-30, 0.0, 1e-30, 1e3, 1e4], dtype=dtype)
    assert np.isfinite(log_p(law, x, dtype)).all()
    gradients = _slopes(type(law), x, *(dtype(value) for value in values(law)))
    assert all(np.isfinite(each).all() and each.dtype == dtype for each in gradients)


@pytest.mark.parametrize("law", [LAWS[1], LAWS[3]], ids=name)
def test_second_derivatives(law):
    inputs = np.array([-1.7, *values(law)])
    log_density = jax.jit(lambda v: log_choice_probability(v[0], type(law)(*v[1:])))
    hessian, slope = jax.jit(jax.hessian(log_density))(inputs), jax.jit(jax.grad(log_density))
    for i, step in enumerate(1e-5 * np.maximum(np.abs(inputs), 0.1)):
        move = np.zeros(len(inputs))
        move[i] = step
        difference = (np.asarray(slope(inputs + move)) - slope(inputs - move)) / (2 * step)
        np.testing.assert_allclose(hessian[i], difference, rtol=1e-6, atol=1e-8)


def rows_of(law):
    return [np.array([value, 1.1 * value, 0.9 * value]) for value in values(law)]


@pytest.mark.parametrize("law", [LAWS[0], LAWS[1], LAWS[3], LAWS[6]], ids=name)
def test_parameters_broadcast_against_differences(law):
    family, x, rows = type(law), np.array([-9.0, -0.5, 0.0, 0.5, 30.0]), rows_of(law)
    by_row = np.stack([log_p(family(*(row[i] for row in rows)), x) for i in range(3)])
    broadcast = _log_p(family, x, *(row[:, None] for row in rows))
    assert broadcast.shape == (3, 5)
    np.testing.assert_allclose(broadcast, by_row, rtol=1e-13)


@pytest.mark.parametrize("law", [LAWS[1], LAWS[3]], ids=name)
def test_jit_vmap_grad(law):
    family, x, rows = type(law), np.array([-9.0, -0.5, 0.0, 0.5, 30.0]), rows_of(law)

    def one(x, *parameters):
        return log_choice_probability(x, family(*parameters))

    both = jax.vmap(jax.value_and_grad(one), (0, *(None for _ in rows)))
    mapped, slopes = jax.jit(jax.vmap(both, (None, *(0 for _ in rows))))(x, *rows)
    for i in range(3):
        np.testing.assert_allclose(mapped[i], log_p(family(*(r[i] for r in rows)), x), rtol=1e-13)
        alone = _slopes(family, x, *(row[i] for row in rows))[0]
        np.testing.assert_allclose(slopes[i], alone, rtol=1e-11)


def test_shapes_and_precisions():
    law = LogNormal(mu=0.0, sigma=0.5)
    assert log_choice_probability(2.0, law).shape == ()
    assert log_choice_probability(np.zeros((2, 0, 3)), law).shape == (2, 0, 3)
    law = PointMass(value=0.5)
    assert log_choice_probability(2, law).dtype == jnp.float64  # a whole number
    assert log_choice_probability([1, 2], law).dtype == jnp.float64
    assert log_choice_probability(jnp.zeros(2, jnp.bfloat16), law).dtype == jnp.float32
    for value in (0.5, np.float64(0.5), jnp.float64(0.5), jnp.full(2, 0.5)):
        got = log_choice_probability(jnp.ones(2, jnp.float32), PointMass(value=value))
        assert got.dtype == jnp.float32
    with jax.enable_x64(False):
        assert log_choice_probability(2.0, law).dtype == jnp.float32
        assert float(log_choice_probability(2.0, law)) == pytest.approx(-math.log1p(math.exp(-1)))


def test_what_cannot_be_a_law():
    with pytest.raises(InputError, match="Expected a known Gamma; got one without parameters"):
        log_choice_probability(1.0, Gamma())
    with pytest.raises(TypeError, match="Expected a mixing distribution; got float"):
        log_choice_probability(1.0, 0.1)
    with pytest.raises(TypeError, match="Expected a mixing distribution; got the class LogNormal"):
        log_choice_probability(1.0, LogNormal)


# -- rates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("law", "x"),
    [
        (Gamma(shape=2.5, rate=2.0), -3.0),
        (Gamma(shape=0.3, rate=0.1), -20.0),
        (InverseGaussian(mu=1.5, shape=0.5), -4.0),
        (Normal(mu=0.4, sigma=3.0), -2.0),
    ],
)
def test_the_series_converges_as_the_theory_says(law, x, monkeypatch):
    want = math.exp(float(log_probability(law.family, values(law), x)))
    terms = np.array([3, 4, 5, 6, 7, 8, 9])
    error = []
    for n in terms:
        monkeypatch.setitem(series.TERMS, False, int(n))
        got = jax.jit(lambda x: log_choice_probability(x, law))(x)
        error.append(abs(math.exp(float(got)) - want))
    slope = np.polyfit(terms, np.log(error), 1)[0]
    # The bound is (3 + sqrt 8)^-n; a law with a density does better still.
    assert slope < -math.log(3 + math.sqrt(8)) + 0.1


# -- logit ---------------------------------------------------------------------------------------

UTILITY = np.array([[0.3, -1.2, 2.0, 0.7], [1.0, 1.0, 1.0, -30.0], [800.0, -800.0, 0.0, 799.0]])
CHOSEN = np.array([2, 0, 3])
AVAILABLE = np.array(
    [[True, True, True, False], [True, False, True, True], [True, True, False, True]]
)


def test_logit_by_its_formula():
    for utility, chosen in zip(UTILITY[:2], CHOSEN[:2], strict=True):
        want = math.log(math.exp(utility[chosen]) / sum(math.exp(v) for v in utility))
        assert float(log_choice(utility, chosen)) == pytest.approx(want, rel=1e-14)
    assert float(log_choice(UTILITY[2], 3)) == pytest.approx(
        -1 - math.log1p(math.exp(-1.0)), rel=1e-12
    )


@pytest.mark.parametrize("constant", [-1e3, 0.5, 1e3])
def test_logit_knows_differences_only(constant):
    np.testing.assert_allclose(
        log_choice(UTILITY + constant, CHOSEN), log_choice(UTILITY, CHOSEN), rtol=1e-11
    )


def test_logit_does_not_care_for_the_order_of_alternatives():
    order = np.array([3, 1, 0, 2])
    place = np.argsort(order)
    np.testing.assert_allclose(
        log_choice(UTILITY[:, order], place[CHOSEN], AVAILABLE[:, order] | True),
        log_choice(UTILITY, CHOSEN),
        rtol=1e-13,
    )


@pytest.mark.parametrize("row", range(3))
def test_logit_masking_is_deleting(row):
    kept = np.flatnonzero(AVAILABLE[row])
    chosen = kept[0]
    masked = log_choice(UTILITY[row], chosen, AVAILABLE[row])
    deleted = log_choice(UTILITY[row][kept], 0)
    assert float(masked) == pytest.approx(float(deleted), rel=1e-13)
    # What an alternative that is not there is worth has no influence, nor a gradient.
    gradient = jax.grad(lambda u: log_choice(u, chosen, AVAILABLE[row]))(UTILITY[row])
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~AVAILABLE[row]] == 0).all()


def test_logit_probabilities_add_up_to_one():
    total = sum(np.exp(log_choice(UTILITY, np.full(3, j), AVAILABLE)) for j in range(4))
    np.testing.assert_allclose(total, 1.0, rtol=1e-13)


def test_logit_of_what_is_not_available_is_impossible():
    assert float(log_choice(UTILITY[0], 3, AVAILABLE[0])) == -math.inf


def test_logit_of_a_pair_is_the_point_mass():
    x = np.array([-40.0, -0.3, 0.0, 2.0, 50.0])
    pair = np.stack([x, np.zeros(5)], axis=-1)
    np.testing.assert_allclose(
        log_choice(pair, np.zeros(5, int)),
        log_choice_probability(x, PointMass(value=1.0)),
        rtol=1e-12,
        atol=1e-15,
    )
