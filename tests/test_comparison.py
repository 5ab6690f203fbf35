"""Posterior against learned: scale aligned, position, distance."""

import math

import numpy as np
import pytest

import prefstrength as ps


@pytest.fixture(scope="module")
def fit():
    choices = ps.simulate(ps.LogNormal(mu=0.3, sigma=0.8), choosers=120, situations=20, seed=5)
    return ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)


def learned(sigma, mean=0.1):
    mu = math.log(mean) - sigma**2 / 2
    return ps.LearnedStrength("LogNormal", {"mu": mu, "sigma": sigma}, "joint")


def test_scale_is_aligned_and_said_so(fit):
    small, large = (ps.compare_strength(fit, learned(0.8, mean)) for mean in (0.01, 10.0))
    np.testing.assert_allclose(small.quantiles["learned"], large.quantiles["learned"])
    assert small.wasserstein == pytest.approx(large.wasserstein)
    assert "divided by their own mean" in small.scale
    assert "mean 0.01" in small.scale


def test_position_moves_with_the_learned_dispersion(fit):
    low, near, high = (ps.compare_strength(fit, learned(s)) for s in (0.1, 0.8, 2.5))
    assert low.position == 0.0 < near.position < 1.0 == high.position
    assert near.table["inside"].all()
    assert not low.table["inside"].any()
    assert near.wasserstein < low.wasserstein
    assert near.wasserstein < high.wasserstein


def test_wasserstein_of_the_law_itself_is_small(fit):
    law = ps.StrengthPrior.from_fit(fit, mean_strength=1.0).mixing()
    record = ps.LearnedStrength("LogNormal", law.parameters, "frozen")
    assert ps.compare_strength(fit, record).wasserstein < 0.03


def test_densities_integrate_to_one(fit):
    density = ps.compare_strength(fit, learned(0.5)).density
    for column in ("learned", "posterior"):
        assert np.trapezoid(density[column], density["strength"]) == pytest.approx(1.0, abs=0.06)


def test_pointmass_has_quantiles_but_no_density(fit):
    record = ps.LearnedStrength("PointMass", {"value": 0.1}, "frozen")
    comparison = ps.compare_strength(fit, record)
    assert comparison.density.empty
    assert (comparison.quantiles["learned"] == 1.0).all()
    assert comparison.position == 0.0


def test_reads_a_path_and_anything_that_has_learned(fit, tmp_path):
    record = learned(0.6)
    path = record.save(tmp_path / "learned_strength.json")
    assert ps.compare_strength(fit, path).table.equals(ps.compare_strength(fit, record).table)
    with pytest.raises(TypeError, match=r"trainer\.strength.*got int"):
        ps.compare_strength(fit, 3)
    reversed_ = ps.LearnedStrength("Normal", {"mu": -0.1, "sigma": 0.1}, "joint")
    with pytest.raises(ps.InputError, match="positive mean"):
        ps.compare_strength(fit, reversed_)
