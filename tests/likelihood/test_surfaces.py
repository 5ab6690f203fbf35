"""Surfaces and the many-law evaluations they come from, against direct evaluation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.data.simulation import simulate
from prefstrength.likelihood.batch import NUMPY, log_probabilities, pairs_by_cell
from prefstrength.likelihood.cells import CellLaws, law
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.exact import exact_panels
from prefstrength.likelihood.panel_summary import PanelSummary
from prefstrength.likelihood.summaries import summarise
from prefstrength.likelihood.surfaces import Box, CellSurfaces

families = pytest.mark.parametrize(
    "family", [PointMass, Normal, LogNormal, Gamma, InverseGaussian], ids=lambda f: f.__name__
)
SPREAD = 1.5


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def data_of(panel, cells=2, choosers=60, situations=8):
    """Choosers (or pairs) that each belong to one of the cells."""
    choices = simulate(
        LogNormal(mu=0.1, sigma=0.6), choosers=choosers, situations=situations, spread=SPREAD
    )
    cell = np.asarray(choices.chooser) % cells
    data = LikelihoodData.of(choices, ("reward",), cell)
    if panel:
        return data
    rows = np.arange(len(cell))
    return dataclasses.replace(data, panel=False, unit=rows, units=len(rows))


def laws(family, n=30, cells=2, seed=0):
    """Locations and dispersions (law, cell) as a posterior may hold them."""
    rng = np.random.default_rng(seed)
    location = rng.uniform(-0.3, 0.4, (n, cells)) + (family in (Normal, PointMass))
    return location, None if family is PointMass else rng.uniform(0.3, 0.9, (n, cells))


def box_of(summary, location, dispersion):
    low, high = location.min(axis=0) - 0.2, location.max(axis=0) + 0.2
    return Box(low, high, 0.1, 1.1, softness=0.15 / (1 + summary.information))


@families
@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_a_surface_is_the_log_likelihood(family, panel):
    data = data_of(panel)
    summary = summarise(data, family)
    location, dispersion = laws(family)
    box = box_of(summary, location, dispersion)
    surfaces = CellSurfaces.build(summary.by_cell, box, 14, family is not PointMass)
    exact = summary.total(location, dispersion)
    np.testing.assert_allclose(surfaces.values(location, dispersion), exact, atol=2e-3)
    for i in (0, 7):
        spread = None if dispersion is None else jnp.asarray(dispersion[i])
        one = (CellLaws(family, jnp.asarray(location[i]), spread),)
        assert float(surfaces.total(one)) == pytest.approx(exact[i], abs=2e-3)


@families
def test_the_summary_of_panels_is_their_log_likelihood(family):
    data = data_of(panel=True)
    summary = summarise(data, family)
    assert isinstance(summary, PanelSummary)
    location, dispersion = laws(family, n=3)
    for i in range(3):
        spread = None if dispersion is None else dispersion[i]
        want = exact_panels(data, (CellLaws(family, location[i], spread),))
        rows = None if dispersion is None else dispersion[i : i + 1]
        np.testing.assert_allclose(
            summary.by_chooser(location[i : i + 1], rows)[0], want, atol=1e-4
        )


def test_too_few_nodes_show():
    summary = summarise(data_of(panel=True), LogNormal)
    location, dispersion = laws(LogNormal)
    box = Box(np.full(2, -3.0), np.full(2, 3.0), 0.0, 4.0, softness=0.02)
    coarse = CellSurfaces.build(summary.by_cell, box, 5, True)
    error = np.abs(coarse.values(location, dispersion) - summary.total(location, dispersion))
    assert error.max() > 0.1


def test_outside_of_its_box_a_surface_turns_a_sampler_back():
    summary = summarise(data_of(panel=False), LogNormal)
    location, dispersion = laws(LogNormal)
    surfaces = CellSurfaces.build(summary.by_cell, box_of(summary, location, dispersion), 12, True)

    def total(shift):
        return surfaces.total(
            (CellLaws(LogNormal, jnp.asarray(location[0]) + shift, jnp.asarray(dispersion[0])),)
        )

    for shift in (5.0, 500.0):
        assert float(total(shift)) < float(total(0.0)) - 100
        assert float(jax.grad(total)(shift)) < 0
        assert np.isfinite(float(total(-shift)))
        assert float(jax.grad(total)(-shift)) > 0


def test_the_choosers_of_many_draws_are_interpolated():
    summary = summarise(data_of(panel=True), LogNormal)
    location, dispersion = laws(LogNormal, n=500)
    found = summary.by_draw(location, dispersion)
    np.testing.assert_allclose(found, summary.by_chooser(location, dispersion), atol=1e-4)


@families
def test_pairs_at_many_laws(family):
    rng = np.random.default_rng(2)
    x = np.r_[rng.standard_normal(200) * 3, 0.0, 1e-6, -50.0]
    cell, weight = rng.integers(2, size=len(x)), rng.uniform(0.5, 2.0, len(x))
    location, dispersion = laws(family, n=40)
    if dispersion is not None:
        dispersion = np.broadcast_to(dispersion[:1, :1], dispersion.shape)  # shared: by a spline
    found = pairs_by_cell(x, weight, cell, family, location, dispersion)
    spreads = None if dispersion is None else laws(family, n=40)[1][:, 0]
    each = log_probabilities(x, family, location[:, 0], spreads)
    for i in (0, 39):
        for c in range(2):
            spread = None if dispersion is None else dispersion[i, c]
            log_p = log_probability(NUMPY, x, law(family, location[i, c], spread))
            want = weight[cell == c] @ log_p[cell == c]
            assert found[i, c] == pytest.approx(want, abs=1e-6)
        spread = None if spreads is None else spreads[i]
        log_p = log_probability(NUMPY, x, law(family, location[i, 0], spread))
        np.testing.assert_allclose(each[i], log_p, atol=2e-6, rtol=2e-6)
