"""Posterior against learned: scale aligned, position, distance."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

import prefstrength as ps
from prefstrength.choice.learned_parts import LearnedGroup, ShiftPrior
from tests.helpers.made_up import made_up_fit


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


@pytest.mark.parametrize("sigma", [0.05, 0.8, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("own", [0.1, 0.8, 2.0])
def test_wasserstein_of_two_lognormals_is_the_closed_form(own, sigma):
    """Quantiles of laws of mean 1 cross once, at z = (own + sigma) / 2."""
    fit = made_up_fit(cv=math.sqrt(math.expm1(own**2)), uncertainty=0.0)
    want = 2 * (2 * special.ndtr(abs(own - sigma) / 2) - 1)
    found = ps.compare_strength(fit, learned(sigma)).wasserstein
    assert found == pytest.approx(want, rel=4e-4, abs=1e-9)


def test_wasserstein_of_other_laws_is_that_of_their_cdfs():
    fit = made_up_fit(cv=0.8, uncertainty=0.0)
    sigma = math.sqrt(math.log(1.64))
    own = stats.lognorm(sigma, scale=math.exp(-(sigma**2) / 2))
    for record, law in (
        (ps.LearnedStrength("Gamma", {"shape": 0.5, "rate": 5.0}, "joint"), stats.gamma(0.5, 0, 2)),
        (ps.LearnedStrength("PointMass", {"value": 3.0}, "joint"), stats.uniform(1, 1e-9)),
    ):
        want, _ = integrate.quad(
            lambda x, law=law: abs(law.cdf(x) - own.cdf(x)), 0, 60, points=[1.0], limit=500
        )
        assert ps.compare_strength(fit, record).wasserstein == pytest.approx(want, rel=1e-3)


def test_wasserstein_averages_the_quantiles_of_every_draw():
    fit = made_up_fit(cv=0.8, uncertainty=0.3)
    sigma = np.asarray(fit.posterior["reward_sigma"]).reshape(-1)
    z = np.linspace(-9, 12, 20_001)
    average = np.exp(sigma[:, None] * z - sigma[:, None] ** 2 / 2).mean(axis=0)
    gap = np.abs(np.exp(2.0 * z - 2.0) - average) * stats.norm.pdf(z)
    want = np.trapezoid(gap, z)
    assert ps.compare_strength(fit, learned(2.0)).wasserstein == pytest.approx(want, rel=1e-3)


def test_densities_integrate_to_one(fit):
    density = ps.compare_strength(fit, learned(0.5)).density
    for column in ("learned", "posterior"):
        assert np.trapezoid(density[column], density["strength"]) == pytest.approx(1.0, abs=0.06)


def test_a_share_at_zero_is_compared_over_all(fit):
    prior = ps.StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.8), 0.3, zero_share=0.3)
    mu = math.log(0.1) - 0.8**2 / 2
    record = ps.LearnedStrength("LogNormal", {"mu": mu, "sigma": 0.8}, "joint", prior=prior)
    comparison = ps.compare_strength(fit, record)
    assert comparison.table["index"].tolist() == ["cv"]
    assert comparison.table["learned"].iloc[0] == pytest.approx(prior.mixing().cv())
    assert comparison.learned_mean == pytest.approx(0.07)
    assert "Training held 30% of the choosers at strength 0." in comparison.scale
    quantiles = comparison.quantiles.set_index("probability")["learned"]
    assert quantiles[0.25] == 0.0
    median = prior.mixing().mixing.quantile(0.2 / 0.7)
    assert quantiles[0.5] == pytest.approx(median / 0.07)
    density = comparison.density
    whole = np.trapezoid(density["learned"], density["strength"])
    beyond = 1 - prior.mixing().cdf(4 * 0.07)
    assert whole == pytest.approx(0.7 - beyond, abs=0.005)


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


def by_region(sigmas, column="region"):
    groups = {
        level: LearnedGroup(
            {"mu": -2.4, "sigma": sigma},
            ShiftPrior(0.0, 0.3, 0.0, 0.3),
            trajectory=({"step": 0, "mu": -2.4, "sigma": sigma, "mean": 0.1, "cv": 0.5},),
        )
        for level, sigma in sigmas.items()
    }
    return ps.LearnedStrength(
        "LogNormal", {"mu": -2.5, "sigma": 0.7}, "joint", group_column=column, groups=groups
    )


def test_a_group_is_compared_with_its_own_posterior():
    fit = made_up_fit({"region": ["east", "west"]}, cv=0.8, uncertainty=0.2)
    record = by_region({"east": 0.2, "west": 1.6})
    posterior = np.asarray(fit.posterior["reward_sigma"]).reshape(-1, 2)
    for number, (level, sigma) in enumerate({"east": 0.2, "west": 1.6}.items()):
        own = ps.compare_strength(fit, record, group=f"region={level}")
        row = own.table.set_index("index").loc["sd_log"]
        assert row["learned"] == sigma
        assert row["posterior"] == pytest.approx(np.median(posterior[:, number]))
        assert row["position"] == np.mean(posterior[:, number] < sigma)
        assert (own.cells, own.group) == (1, f"region={level}")
        assert "groups" not in own.scale
    # Without a group it is the common law, and says so.
    everyone = ps.compare_strength(fit, record)
    assert everyone.table.set_index("index").loc["sd_log", "learned"] == 0.7
    assert "a strength for each of 2 groups; here is the common one" in everyone.scale
    plain = ps.compare_strength(fit, learned(0.7))
    pd.testing.assert_frame_equal(plain.table, everyone.table)
    assert [ax.get_ylabel() for ax in ps.plot_trajectory(record.of_group("west"))][1] == (
        "sd / mean of strength"
    )


def test_groups_that_one_of_the_two_does_not_know():
    fit = made_up_fit({"region": ["east", "west"]})
    for record, group, text in (
        (
            by_region({"east": 0.2, "north": 1.0}),
            "region=west",
            r"learned \(east, north\); got 'west'",
        ),
        (by_region({"east": 0.2, "north": 1.0}), "region=north", "one of .*'region=west'"),
        (by_region({"old": 1.0}, "age"), "region=west", "as 'age=<level>'; got 'region=west'"),
        (learned(0.7), "region=west", "no group, because training learned one strength for all"),
    ):
        with pytest.raises(ps.InputError, match=text):
            ps.compare_strength(fit, record, group=group)


def test_the_prior_of_a_fit_knows_its_groups():
    """What the analysis writes of a group is where training finds it."""
    pytest.importorskip("torch")
    from prefstrength.mixdpo.shifts import shift_priors

    prior = ps.StrengthPrior.from_fit(made_up_fit({"region": ["east", "west"]}))
    for level, shift in shift_priors(
        ["east", "west"], "region", prior, "LogNormal", 0.3, 9.0
    ).items():
        group = prior.groups[f"region={level}"]
        assert shift.location == pytest.approx(math.log(group["relative_mean"]))
        assert shift.dispersion == group["dispersion"] - prior.dispersion
        assert shift.dispersion_scale == group["dispersion_sd"] < 1
