"""Coefficients as functions of a standard normal draw: location and dispersion in every family."""

import math

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from numpy.polynomial import chebyshev
from scipy import special, stats

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.chebyshev import chebyshev_basis
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian, log_quantile
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.likelihood.cells import (
    CellLaws,
    coefficient_at,
    law,
    location_dispersion,
    parameters,
)
from prefstrength.likelihood.mixed import JAX

Z = np.linspace(-8.0, 8.0, 33)
CVS = [0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 1.5, 2.5, 4.0]
FAMILIES = list(MIXINGS.values())
by_name = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def coefficient(family, z, location, dispersion):
    """Coefficients at fixed nodes, which lie along a new last axis."""
    spread = None if dispersion is None else jnp.asarray(dispersion)[..., None]
    return family.coefficient(JAX, z, jnp.asarray(location)[..., None], spread)


def gamma_quantile(z, mean, cv):
    """SciPy's quantile, from whichever side keeps the digits."""
    scipy = stats.gamma(cv**-2, scale=mean * cv**2)
    return np.where(z < 0, scipy.ppf(special.ndtr(z)), scipy.isf(special.ndtr(-z)))


@pytest.mark.parametrize("cv", [*CVS, 10.0])
def test_gamma_against_scipy(cv):
    got = np.asarray(coefficient(Gamma, Z, jnp.array(0.3), jnp.array(cv)))
    want = gamma_quantile(Z, math.exp(0.3), cv)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-300)
    outside = coefficient_at(Gamma, Z, np.array(0.3), np.array(cv))
    np.testing.assert_allclose(outside, want, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("z", [-32.0, -16.0, 20.0, 32.0])
@pytest.mark.parametrize("cv", [0.05, 0.5, 2.0])
def test_gamma_where_only_unusual_choosers_are(z, cv):
    nodes = np.array([z, 0.0])
    got = np.asarray(coefficient(Gamma, nodes, jnp.array(0.0), jnp.array(cv)))
    want = gamma_quantile(nodes, 1.0, cv)
    # SciPy's own ppf stops short of 1e-200; where it does, the law is a power of v.
    power = np.exp((special.log_ndtr(z) + special.gammaln(cv**-2 + 1)) * cv**2) * cv**2
    if want[0] == 0 or power < 1e-12:
        want[0] = power
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-290)


@pytest.mark.parametrize("cv", CVS)
def test_gamma_gradient_in_location_and_dispersion(cv):
    z = np.array([-6.0, -2.0, -0.5, 0.0, 1.0, 3.0, 7.0])

    def beta(location, dispersion):
        return coefficient(Gamma, z, location, dispersion)

    by_location, by_dispersion = jax.jacobian(beta, (0, 1))(jnp.array(0.3), jnp.array(cv))
    value = np.asarray(beta(jnp.array(0.3), jnp.array(cv)))
    np.testing.assert_allclose(by_location, value, rtol=1e-12)
    h = 1e-5 * cv
    up, down = (gamma_quantile(z, math.exp(0.3), cv + s * h) for s in (1, -1))
    np.testing.assert_allclose(by_dispersion, (up - down) / (2 * h), rtol=1e-6, atol=1e-12)


def tails_of_inverse_gaussian(beta, cv):
    """P(law of mean 1 <= beta) and its complement, at 50 digits."""
    shape = 1 / mp.mpf(cv) ** 2
    root = mp.sqrt(shape / beta)
    b = root * (beta + 1)
    if b < 60:
        second = mp.exp(2 * shape) * mp.ncdf(-b)
    else:  # Mills' ratio far out: 12 terms of b^-2 leave less than 1e-25 of it
        mills = mp.fsum((-1) ** k * mp.fac2(2 * k - 1) / b ** (2 * k) for k in range(12)) / b
        second = mp.exp(2 * shape - b**2 / 2) * mills / mp.sqrt(2 * mp.pi)
    return mp.ncdf(root * (beta - 1)) + second, mp.ncdf(-root * (beta - 1)) - second


@pytest.mark.parametrize("cv", [0.003, 0.05, 1.0, 15.0])
def test_inverse_gaussian_quantiles_against_fifty_digits(cv):
    z = np.array([-32.0, -8.0, -1.0, 0.0, 1.0, 8.0, 32.0])
    for at, t in zip(z, log_quantile(z, np.array(cv)), strict=True):
        with mp.workdps(50):
            tails = tails_of_inverse_gaussian(mp.exp(mp.mpf(float(t))), cv)
            side = 0 if at < 0 else 1
            # An error of the quantile shows in the tail times |z|/cv at most.
            ratio = tails[side] / mp.ncdf(-abs(mp.mpf(at)))
            assert float(abs(ratio - 1)) < 1e-13 * max(1, at**2, abs(at) / cv)


@pytest.mark.parametrize("cv", [0.0031, 0.01, 0.0473, 0.2, 0.9, 1.7, 4.3, 10.0, 14.9])
def test_inverse_gaussian_table(cv):
    z = np.linspace(-32.0, 32.0, 65)
    got = coefficient(InverseGaussian, z, jnp.array(0.3), jnp.array(cv))
    want = np.exp(0.3 + log_quantile(z, np.array(cv)))
    np.testing.assert_allclose(got, want, rtol=1e-11)

    def beta(dispersion):
        return coefficient(InverseGaussian, z, jnp.array(0.3), dispersion)

    h = 1e-4 * cv
    up, down = (np.exp(0.3 + log_quantile(z, np.array(cv + s * h))) for s in (1, -1))
    slope = jax.jacobian(beta)(jnp.array(cv))
    assert (np.abs(slope * cv - (up - down) / 2e-4) < 1e-6 * np.maximum(1.0, cv) * want).all()


@pytest.mark.parametrize("cv", [0.01, 0.5, 3.0])
def test_inverse_gaussian_against_scipy(cv):
    scipy = stats.invgauss(cv**2, scale=cv**-2)
    q = special.ndtr(np.linspace(-7.0, 3.0, 21))
    np.testing.assert_allclose(np.exp(log_quantile(special.ndtri(q), cv)), scipy.ppf(q), rtol=1e-9)
    mean, variance = InverseGaussian(mu=np.ones(1), shape=np.array([cv**-2])).log_moments(NUMPY)
    z = np.arange(-9.0, 9.01, 0.02)
    weight = np.exp(-(z**2) / 2) * 0.02 / math.sqrt(2 * math.pi)
    log = log_quantile(z, np.array(cv))
    assert mean[0] == pytest.approx(weight @ log, rel=1e-10)
    assert variance[0] == pytest.approx(weight @ (log - mean[0]) ** 2, rel=1e-9)


@by_name
def test_location_and_dispersion_of_the_parameters(family):
    location = np.array([0.3, -1.0])
    dispersion = np.array([0.2, 2.0]) if family.varies else None
    for as_array in (np.asarray, jnp.asarray):
        given = None if dispersion is None else as_array(dispersion)
        values = parameters(family, as_array(location), given)
        back, spread = location_dispersion(family, values)
        assert isinstance(back, type(as_array(location)))
        np.testing.assert_allclose(back, location, rtol=1e-14)
        if dispersion is None:
            assert spread is None
        else:
            np.testing.assert_allclose(spread, dispersion, rtol=1e-14)


@pytest.mark.parametrize("location", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("dispersion", [0.1, 0.6, 1.2])
def test_what_location_and_dispersion_mean(location, dispersion):
    for family in (Gamma, InverseGaussian):
        known = law(family, location, dispersion)
        assert known.mean() == pytest.approx(math.exp(location), rel=1e-12)
        assert known.cv() == pytest.approx(dispersion, rel=1e-12)
    lognormal = law(LogNormal, location, dispersion)
    assert lognormal.median() == pytest.approx(math.exp(location), rel=1e-12)
    assert lognormal.sd_log() == pytest.approx(dispersion, rel=1e-12)
    normal = law(Normal, location, dispersion)
    assert (normal.mean(), normal.sd()) == pytest.approx((location, dispersion))
    assert law(PointMass, location, None).mean() == location


@by_name
def test_the_coefficient_at_a_draw_is_the_quantile_of_the_law(family):
    location = 0.4
    dispersion = None if family is PointMass else 0.7
    known = law(family, location, dispersion)
    got = coefficient(
        family, Z, jnp.array(location), None if dispersion is None else jnp.array(dispersion)
    )
    assert got.shape == Z.shape
    inner = np.abs(Z) <= 6
    np.testing.assert_allclose(got[inner], known.quantile(special.ndtr(Z[inner])), rtol=1e-6)
    # and its moments over z are the law's
    z = np.arange(-8.0, 8.01, 0.05)
    weight = np.exp(-(z**2) / 2) * 0.05 / math.sqrt(2 * math.pi)
    beta = coefficient_at(family, z, np.array(location), np.array(dispersion or 0.0))
    assert weight @ beta == pytest.approx(known.mean(), rel=1e-10)
    assert weight @ (beta - known.mean()) ** 2 == pytest.approx(
        known.sd() ** 2, rel=1e-9, abs=1e-12
    )


@by_name
def test_outside_of_jax_the_same(family):
    location, dispersion = np.array([-0.3, 0.8]), np.array([0.2, 1.1])
    given = None if family is PointMass else dispersion
    inside = coefficient(family, Z, jnp.asarray(location), given)
    assert inside.shape == (2, len(Z))
    outside = coefficient_at(
        family, Z, location[:, None], None if given is None else dispersion[:, None]
    )
    np.testing.assert_allclose(inside, outside, rtol=1e-9, atol=1e-300)


@by_name
def test_laws_of_cells(family):
    location, dispersion = jnp.array([0.1, -0.4, 0.9]), jnp.array([0.3, 0.5, 0.7])
    laws = CellLaws(family, location, None if family is PointMass else dispersion)
    assert laws.at(Z).shape == (3, len(Z))
    for cell in range(3):
        one = law(family, float(location[cell]), float(dispersion[cell]))
        known = laws.mixing(cell)
        assert known.family == family.__name__
        assert {k: float(v) for k, v in known.parameters.items()} == pytest.approx(one.parameters)
    # laws travel through compiled functions
    through = jax.jit(lambda laws: laws.at(np.zeros(1)))(laws)
    np.testing.assert_allclose(through, laws.at(np.zeros(1)), rtol=1e-14)


def test_parameters_under_the_names_of_numpyro():
    assert parameters(LogNormal, 0.1, 0.2) == {"mu": 0.1, "sigma": 0.2}
    assert parameters(Normal, 0.1, 0.2) == {"mu": 0.1, "sigma": 0.2}
    assert parameters(PointMass, 0.1, None) == {"value": 0.1}
    assert parameters(Gamma, math.log(2.0), 0.5) == pytest.approx({"shape": 4.0, "rate": 2.0})
    arrays = parameters(Gamma, np.zeros(3), np.full(3, 0.5))
    np.testing.assert_allclose(arrays["rate"], 4.0)


@pytest.mark.parametrize("degree", [0, 1, 2, 7, 64, 128])
def test_chebyshev_basis(degree):
    t = np.linspace(-1.0, 1.0, 41)
    got = chebyshev_basis(jnp.asarray(t), degree)
    assert got.shape == (41, degree + 1)
    np.testing.assert_allclose(got, chebyshev.chebvander(t, degree), atol=1e-12)


def test_chebyshev_basis_has_a_gradient_at_the_ends():
    slope = jax.jacobian(lambda t: chebyshev_basis(t, 9))
    np.testing.assert_allclose(slope(jnp.array(1.0)), np.arange(10.0) ** 2, rtol=1e-12)
    assert np.isfinite(jax.hessian(lambda t: chebyshev_basis(t, 9).sum())(jnp.array(-1.0)))


@pytest.mark.parametrize("family", [Normal, LogNormal, Gamma, InverseGaussian])
def test_coefficients_at_traced_draws_in_every_cell(family):
    z = np.linspace(-8.0, 8.0, 161)
    dispersion = np.array([0.004, 0.3, 1.0])
    with jax.enable_x64(True):
        laws = CellLaws(family, jnp.array([0.1, 0.2, 0.3]), jnp.asarray(dispersion))
        got = jax.jit(laws.tastes)(jnp.asarray(z))
        slope = jax.vmap(jax.jacfwd(laws.tastes))(jnp.asarray(z))
    want = coefficient_at(family, z[:, None], np.array([0.1, 0.2, 0.3]), dispersion)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)
    up, down = (
        coefficient_at(family, z[:, None] + step, np.array([0.1, 0.2, 0.3]), dispersion)
        for step in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-5, atol=1e-9)
