"""The certificate: it finds what is wrong with tables, in the right size, and nothing else."""

import dataclasses

import numpy as np
import pytest
from scipy import special

from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.likelihood import counts, grid, marginal, strength
from prefstrength.likelihood.certificate import exact_units, telling_units
from prefstrength.likelihood.grid import Grid
from prefstrength.likelihood.marginal import weights
from tests.helpers.likelihoods import (
    PLAIN,
    blends,
    by_definition,
    choose,
    error_of,
    likelihood_of,
    many_pairs,
    pairs,
    panels,
    plausible,
    total_of_pairs,
)

FAMILIES = [PointMass, Normal, LogNormal, Gamma, InverseGaussian]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
random_families = pytest.mark.parametrize("family", FAMILIES[1:], ids=lambda f: f.__name__)

#: Error of a total log-likelihood that the package promises to stay below, in nats.
PROMISED = 0.01


def real_error(likelihood, data, laws):
    """Sum of what is wrong with the units, without luck of signs."""
    return np.abs(likelihood.by_unit(laws)[0] - by_definition(data, laws)).sum()


def coarser(likelihood, factor):
    """A planted fault: nodes of the rule over the grid farther apart than rows need."""
    made = dataclasses.replace(likelihood, _kept={})
    made.__dict__["_steps"] = np.full(len(likelihood.unit), float(factor))
    return made


# -- direct evaluation -----------------------------------------------------------------------------


@families
def test_direct_evaluation_is_the_definition(family):
    data = panels([1, 3, 20, 150], cells=2, seed=6)
    for laws in plausible(family, 2, data.scales[0]):
        found = exact_units(data, PLAIN, laws, {}, np.array([2, 0, 3]))[0]
        np.testing.assert_allclose(found, by_definition(data, laws)[[2, 0, 3]], atol=1e-5)


@random_families
@pytest.mark.parametrize("dispersion", [0.01, 0.6, 2.0])
def test_direct_evaluation_reaches_as_far_as_quantiles_are_numbers(family, dispersion):
    """A Gamma's at 38 sds are infinite; what a chooser does there is no number either."""
    data = panels([4, 9], seed=1)
    laws = blends(family, [[0.0], [1.0]], [[dispersion], [dispersion]])
    found = exact_units(data, PLAIN, laws, {}, np.arange(2))
    assert np.isfinite(found).all()
    for m in (0, 1):
        one = [blend.take(np.array([m])) for blend in laws]
        np.testing.assert_allclose(found[m], by_definition(data, one), atol=1e-6)


# -- what the tables are certified to be -----------------------------------------------------------


@families
def test_good_tables_are_certified_in_millinats(family):
    for data in (panels([300, 60, 2, 2, 5], cells=2, seed=6), many_pairs(3000, 2.5, cells=2)):
        likelihood = likelihood_of(data, family)
        for laws in list(plausible(family, 2, data.scales[0]))[:3]:
            assert 0 < error_of(likelihood, data, laws) < 1e-3


@random_families
@pytest.mark.parametrize("cells", [1, 2], ids=["one cell", "cells"])
def test_the_certificate_finds_a_rule_with_too_few_nodes(family, cells):
    data = panels([300, 200, 60, 60, 500], cells=cells, seed=6, apart=True)
    laws = blends(family, [0.2, 0.4][:cells], [0.9, 0.7][:cells])
    good = likelihood_of(data, family)
    assert error_of(good, data, laws) < 1e-4
    poor = coarser(good, 8)
    real = real_error(poor, data, laws)
    assert real > 10 * PROMISED  # the plant is one
    # All five choosers are in the certificate's sample, so it reports the error itself.
    assert error_of(poor, data, laws) == pytest.approx(real, rel=1e-3)


@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_the_certificate_finds_a_lattice_with_too_few_nodes(panel, monkeypatch):
    data = panels([30] * 20, seed=6) if panel else many_pairs(600, None, cells=1)
    laws = blends(LogNormal, 0.3, 0.5)
    assert error_of(likelihood_of(data, LogNormal), data, laws) < 1e-5
    monkeypatch.setattr(counts, "_POINTS", 2)
    monkeypatch.setattr(counts, "_PER_UNIT", 1)
    poor = likelihood_of(data, LogNormal)
    real = abs(
        poor.totals(laws)[0]
        - (by_definition(data, laws).sum() if panel else total_of_pairs(data, laws))
    )
    assert real > PROMISED
    # Of pairs and of choosers alike the sample says what the rest is worth, whatever the signs.
    assert error_of(poor, data, laws) > 0.8 * real


def test_the_certificate_reports_the_worst_of_the_laws():
    data = panels([10] * 5)
    poor = coarser(likelihood_of(data, LogNormal), 16)
    location, dispersion = np.array([0.0, 0.7, -0.7]), np.array([2.5, 2.7, 2.9])
    laws = [blends(LogNormal, *at) for at in zip(location, dispersion, strict=True)]
    each = [error_of(poor, data, one) for one in laws]
    together = blends(LogNormal, location[:, None], dispersion[:, None])
    assert error_of(poor, data, together) == pytest.approx(max(each), rel=1e-9)


def test_the_certificate_scales_a_sample_up(monkeypatch):
    data = panels([5] * 300, seed=7)
    laws = blends(LogNormal, 0.0, 0.7)
    monkeypatch.setattr(counts, "_POINTS", 2)
    monkeypatch.setattr(counts, "_PER_UNIT", 1)
    poor = likelihood_of(data, LogNormal)
    real = real_error(poor, data, laws)
    assert real > PROMISED
    assert error_of(poor, data, laws) == pytest.approx(real, rel=0.5)


def test_weights_of_choosers_and_of_pairs_count_in_the_certificate():
    laws = blends(LogNormal, 0.0, 0.9)
    data = panels([5] * 9, seed=7)
    heavier = dataclasses.replace(data, unit_weight=np.full(9, 3.0))

    def certified(data):
        return error_of(coarser(likelihood_of(data, LogNormal), 4), data, laws)

    one, three = certified(data), certified(heavier)
    assert three == pytest.approx(3 * one, rel=1e-9)
    alone = pairs(data.differences())
    heavier = dataclasses.replace(alone, weight=np.full(45, 3.0))
    one, three = certified(alone), certified(heavier)
    assert three == pytest.approx(3 * one, rel=1e-9)


def test_units_on_which_an_error_would_show_are_looked_at():
    data = panels([3] * 100 + [50], seed=2)
    x = data.differences().copy()
    rare = np.flatnonzero(data.unit == 7)
    x[rare[0]] = 1e4
    small = np.flatnonzero(data.unit == 11)
    x[small] = 1e-9
    data = pairs(x, unit=data.unit)
    chosen, special_units = telling_units(data, 1)
    assert {100, 7, 11} <= set(chosen[:special_units])
    assert len(np.unique(chosen)) == len(chosen) >= special_units + 8


# -- faults that were met --------------------------------------------------------------------------


def contrarian(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    ordinary = panels([20] * 30, seed=seed, sigma=0.3)
    against = -np.abs(rng.standard_normal(n)) * np.where(rng.random(n) < 0.9, 1.0, -1.0)
    return pairs(
        np.r_[ordinary.differences(), against],
        unit=np.r_[ordinary.unit, np.full(n, ordinary.units)],
        scale=1.0,
    )


def test_the_certificate_sees_choosers_beyond_the_nodes(monkeypatch):
    """A narrow law has nodes to 7.5 sds: an unusual chooser lies farther out."""
    data, laws = contrarian(), blends(LogNormal, 0.0, 0.1)
    likelihood = likelihood_of(data, LogNormal)
    assert error_of(likelihood, data, laws) < PROMISED
    monkeypatch.setattr(marginal, "_REACHES", (7.5,))
    monkeypatch.setattr(marginal, "NARROW", np.inf)
    last = np.array([data.units - 1])
    missed = exact_units(data, PLAIN, laws, {}, last)[0, 0] - likelihood.by_unit(laws)[0, -1]
    assert missed > 0.5
    # The chooser with most choices is always in the sample.
    assert error_of(likelihood, data, laws) >= missed * 0.99


def test_one_distance_of_nodes_for_all_is_found():
    """A long panel needs finer nodes than the rest."""
    data = panels([4000, *[5] * 20], seed=2)
    laws = blends(LogNormal, 0.3, 0.7)
    likelihood = likelihood_of(data, LogNormal)
    assert error_of(likelihood, data, laws) < 1e-4
    parts = likelihood.tables({}).parts
    assert len(parts) > 1
    assert min(part.grid.step for part in parts) < 1 / 16
    assert error_of(coarser(likelihood, 2), data, laws) > 10 * PROMISED


def agreeing(choosers=200):
    """Choosers of whom some agree with the reward five times of five, once where it hardly differs:

    their log-likelihood rises up to strengths that are rare, but not with sigma = 3.
    """
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1.5, (choosers, 5))
    own = np.exp(3 * rng.standard_normal((choosers, 1)))
    x = np.where(rng.random(x.shape) < special.expit(own * x), x, -x)
    x[7] = np.abs(x[7])
    x[7, 0] = 2e-3
    return pairs(x.ravel(), unit=np.repeat(np.arange(choosers), 5))


def test_choosers_who_always_follow_the_reward_under_a_wide_law(monkeypatch):
    data, laws = agreeing(), blends(LogNormal, 0.0, 3.0)
    likelihood = likelihood_of(data, LogNormal)
    exact = by_definition(data, laws).sum()
    real, certified = abs(likelihood.totals(laws)[0] - exact), error_of(likelihood, data, laws)
    assert real < 1e-5
    assert certified < 1e-4
    monkeypatch.setattr(grid, "_HIGH", 6.0)
    poor = likelihood_of(data, LogNormal)
    real = abs(poor.totals(laws)[0] - exact)
    assert real > 3e-3
    assert real * 0.8 <= error_of(poor, data, laws)


def test_a_grid_in_the_units_of_an_outlier_is_found():
    """The median size places the grid; the root mean square of heavy tails would not."""
    rng = np.random.default_rng(3)
    x = choose(rng, np.exp(4.0 * rng.standard_normal(400)), np.exp(1 + rng.standard_normal(400)))
    data = pairs(x, unit=np.repeat(np.arange(40), 10))
    laws = blends(LogNormal, 1.0, 1.0)
    likelihood = likelihood_of(data, LogNormal)
    assert likelihood.grid.scale == pytest.approx(np.median(np.abs(x)), rel=0.1)
    assert error_of(likelihood, data, laws) < 1e-3
    moved = strength.StrengthLikelihood(
        likelihood.source, Grid(1e3 * data.scales[0], True), likelihood.unit, likelihood.cell,
        likelihood.times, {}, True,
    )  # fmt: skip
    assert error_of(moved, data, laws) > PROMISED


@pytest.mark.parametrize("outlier", [1e5, 1e7, 1e8])
def test_the_certificate_knows_of_outliers_and_does_not_multiply_them(outlier):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1.5, 20_000)
    x[0] = outlier
    data = pairs(x)
    likelihood = likelihood_of(data, LogNormal)
    for sigma in (0.05, 0.7):
        laws = blends(LogNormal, 0.0, sigma)
        real = abs(likelihood.totals(laws)[0] - total_of_pairs(data, laws))
        assert real < 1e-3
        assert real / 5 - 1e-9 <= error_of(likelihood, data, laws) < PROMISED
    # Against such a difference nobody chooses, but one did.
    against = pairs(np.r_[x[1:], -outlier])
    likelihood = likelihood_of(against, LogNormal)
    laws = blends(LogNormal, 0.0, 0.7)
    real = abs(likelihood.totals(laws)[0] - total_of_pairs(against, laws))
    assert real / 5 - 1e-9 <= error_of(likelihood, against, laws) <= 5 * real + PROMISED


# -- the rules themselves --------------------------------------------------------------------------


@random_families
@pytest.mark.parametrize("dispersion", [0.3, 1.0, 4.0, 30.0, 60.0])
def test_weights_of_wide_laws_add_up_to_one(family, dispersion):
    """Whatever the law: also where hardly anything lies on the grid. Nothing overflows."""
    for location in (-3.0, 0.0, 2.0):
        ((law,),) = (blend.parts for blend in blends(family, location, dispersion))
        made = Grid(1.7, family.positive)
        if law.narrowest_in(made)[0] < marginal.NARROW * made.step:
            continue
        at_zero, on_grid = weights(made, law)
        assert at_zero.min() >= 0
        assert on_grid.min() >= 0
        assert at_zero[0] + on_grid[0].sum() == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("family", [LogNormal, Gamma, InverseGaussian], ids=lambda f: f.__name__)
def test_means_of_wide_laws_are_the_laws(family):
    ((law,),) = (blend.parts for blend in blends(family, 0.3, 0.8))
    made = Grid(1.7, True)
    _, on_grid = weights(made, law)
    mixing = family.from_location_dispersion(0.3, 0.8)
    assert on_grid[0] @ made.strength == pytest.approx(mixing.mean(), rel=1e-8)
    assert on_grid[0] @ made.strength**2 == pytest.approx(
        mixing.sd() ** 2 + mixing.mean() ** 2, rel=1e-8
    )


def test_the_error_of_the_rule_over_the_grid_falls_faster_than_geometrically():
    data, laws = panels([40, 80], seed=6), blends(LogNormal, 0.0, 2.0)
    likelihood = likelihood_of(data, LogNormal)
    want = by_definition(data, laws)
    error = [np.abs(coarser(likelihood, k).by_unit(laws)[0] - want).max() for k in (8, 4, 2)]
    assert error[0] > 0.05
    assert np.diff(np.log(error))[1] < 1.5 * np.diff(np.log(error))[0] < -1.0
    assert error[-1] < 1e-3


def test_the_error_of_narrow_laws_falls_with_the_step_of_the_grid():
    data, laws = panels([40, 80], seed=6), blends(LogNormal, 0.0, 0.05)
    likelihood, want = likelihood_of(data, LogNormal), by_definition(data, laws)
    steps, error = np.array([2.0, 1.0, 0.5, 0.25]), []
    for step in steps:
        made = dataclasses.replace(
            likelihood, grid=Grid(likelihood.grid.scale, True, step), _kept={}
        )
        made.__dict__["_steps"] = np.full(2, 2.0)
        error.append(np.abs(made.by_unit(laws)[0] - want).max())
    assert np.polyfit(1 / steps, np.log(error), 1)[0] < -1.5
    assert error[-1] < 1e-4
