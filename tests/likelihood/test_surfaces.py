"""Surfaces of cells against the tables they come from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.surfaces import SIDE, CellSurfaces
from tests.helpers.likelihoods import blends, likelihood_of, pairs, panels

families = pytest.mark.parametrize(
    "family", [PointMass, Normal, LogNormal, Gamma, InverseGaussian], ids=lambda f: f.__name__
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


class Level:
    """One draw of the population level, as a sampler hands it over."""

    def __init__(self, family, location, dispersion):
        spread = None if dispersion is None else jnp.asarray(dispersion)
        self.laws = (CellLaws(family, jnp.asarray(location), spread),)


def cells_of(family, panel=True):
    """Log-likelihood of both cells as a function of location and dispersion (point, cell)."""
    data = panels([8] * 60, cells=2, sigma=0.6, apart=True)
    if not panel:
        data = pairs(data.differences(), cell=data.cell)
    likelihood = likelihood_of(data, family)

    def by_cell(location, dispersion):
        return likelihood.by_cell(
            blends(family, location, 0.0 if dispersion is None else dispersion)
        )

    return by_cell


def points(family, n=30, cells=2, seed=0):
    """Locations and dispersions (point, cell) as a posterior may hold them."""
    rng = np.random.default_rng(seed)
    location = rng.uniform(-0.3, 0.4, (n, cells)) + (family in (Normal, PointMass))
    return location, None if family is PointMass else rng.uniform(0.3, 0.9, (n, cells))


def surfaces_of(by_cell, family, nodes=14, low=0.1, high=1.1, reach=0.2):
    location, dispersion = points(family)
    ends = np.stack([location.min(axis=0) - reach, location.max(axis=0) + reach], axis=1)
    spread = None if dispersion is None else np.tile([low, high], (2, 1))
    return CellSurfaces.build(by_cell, ends, spread, 0.05, nodes)


@families
@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_a_surface_is_the_log_likelihood(family, panel):
    by_cell = cells_of(family, panel)
    location, dispersion = points(family)
    surfaces = surfaces_of(by_cell, family)
    exact = by_cell(location, dispersion)
    assert surfaces.inside(location, dispersion).all()
    np.testing.assert_allclose(surfaces.values(location, dispersion), exact, atol=2e-4)
    spread = None if dispersion is None else dispersion[7]
    total = jax.jit(lambda: surfaces.total(Level(family, location[7], spread)))
    assert float(total()) == pytest.approx(exact[7].sum(), abs=2e-4)
    assert surfaces.how == "surfaces of 2 cells, 14 nodes in each direction"


@families
def test_too_few_nodes_show_and_more_are_better(family):
    by_cell = cells_of(family)
    location, dispersion = points(family)
    exact, error = by_cell(location, dispersion), []
    for nodes in (4, 8, 12, SIDE):
        surfaces = surfaces_of(by_cell, family, nodes, 0.01, 3.0, reach=1.0)
        error.append(np.abs(surfaces.values(location, dispersion) - exact).max())
    assert error[0] > 0.05
    assert error[1] < error[0] / 5
    assert error[2] < error[1] / 5
    assert error[3] < 1e-5


def test_a_surface_is_smooth_where_the_dispersion_is_zero():
    """In log(s² + a): a law does not change with the sign of its dispersion."""
    by_cell = cells_of(LogNormal)
    surfaces = surfaces_of(by_cell, LogNormal, nodes=16, low=0.0, high=1.0)
    location = points(LogNormal)[0][:5]
    for s in (0.0, 1e-4, 0.02):
        dispersion = np.full_like(location, s)
        exact = by_cell(location, np.maximum(dispersion, 1e-6))
        np.testing.assert_allclose(surfaces.values(location, dispersion), exact, atol=1e-4)

    def total(s):
        return surfaces.total(Level(LogNormal, location[0], jnp.full(2, s)))

    assert abs(float(jax.jit(jax.grad(total))(1e-6))) < 1e-3


def test_gradients_of_surfaces():
    location, dispersion = (each[0] for each in points(LogNormal))
    surfaces = surfaces_of(cells_of(LogNormal), LogNormal)

    def total(v):
        return surfaces.total(Level(LogNormal, v[:2], v[2:]))

    at = np.r_[location, dispersion]
    got, value = np.asarray(jax.jit(jax.grad(total))(jnp.asarray(at))), jax.jit(total)
    for i, h in enumerate(1e-5 * np.eye(4)):
        difference = (float(value(jnp.asarray(at + h))) - float(value(jnp.asarray(at - h)))) / 2e-5
        assert got[i] == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_outside_of_its_range_a_surface_turns_a_sampler_back():
    surfaces = surfaces_of(cells_of(LogNormal, panel=False), LogNormal, nodes=12)
    location, dispersion = (each[0] for each in points(LogNormal))

    def total(shift):
        return surfaces.total(Level(LogNormal, jnp.asarray(location) + shift, dispersion))

    value, slope = jax.jit(total), jax.jit(jax.grad(total))
    for shift in (5.0, 500.0):
        assert float(value(shift)) < float(value(0.0)) - 100
        assert float(slope(shift)) < 0
        assert np.isfinite(float(value(-shift)))
        assert float(slope(-shift)) > 0
        assert not surfaces.inside(location[None] + shift, dispersion[None]).any()
    # Continuous where it ends.
    end = float(surfaces.high[0, 0]) - location[0]
    assert float(value(end + 1e-7)) == pytest.approx(float(value(end - 1e-7)), abs=1e-3)
