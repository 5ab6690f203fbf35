"""The record for training: quantiles of the posterior, and what the data cannot say of a scale."""

import math

import numpy as np
import pytest
from scipy import special

import prefstrength as ps
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.posterior.prior_from_fit import matched
from tests.helpers.made_up import made_up_fit

VARYING = sorted(name for name, family in MIXINGS.items() if family.varies)


def ends(record):
    """The 5 % and 95 % quantiles that a record gives a spread."""
    z = special.ndtri(0.95) * np.array([-1.0, 1.0])
    return np.exp(record["dispersion"] + record["dispersion_sd"] * z)


@pytest.fixture(scope="module")
def alike():
    choices = ps.simulate(ps.PointMass(value=1.0), choosers=150, situations=20, seed=2)
    return ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)


def test_near_homogeneity_the_record_is_no_wider_than_the_posterior(alike):
    sigma = np.asarray(alike.posterior["reward_sigma"]).ravel()
    low, high = np.quantile(sigma, [0.05, 0.95])
    record = ps.StrengthPrior.from_fit(alike).to_dict()
    assert ends(record) == pytest.approx([max(low, 0.01), high], rel=1e-6)
    # Mean and sd of the log, as it was once: the upper end of a spread that nobody has seen.
    log = np.log(sigma)
    assert math.exp(log.mean() + special.ndtri(0.95) * log.std()) > 1.4 * high


@pytest.mark.parametrize("family", VARYING)
def test_every_family_and_group_matches_the_quantiles_of_the_posterior(family):
    fit = made_up_fit({"region": ["east", "west"]}, family=family, cv=0.6, uncertainty=0.3)
    prior = ps.StrengthPrior.from_fit(fit)
    spread = MIXINGS[family].spread
    table = ps.heterogeneity(fit).set_index("level")
    for level, record in {"": prior.to_dict(), **prior.groups}.items():
        row = table.loc[level.removeprefix("region=")]
        assert ends(record) == pytest.approx([row[f"{spread}_low"], row[f"{spread}_high"]])


def test_what_data_know_of_the_mean_per_unit_of_reward_does_not_hold_the_mean_per_nat():
    for uncertainty in (0.02, 0.5):
        fit = made_up_fit(uncertainty=uncertainty)
        prior = ps.StrengthPrior.from_fit(fit, mean_strength=0.2)
        assert prior.location_sd == 0.1
        assert prior.source["fitted_mean_log_sd"] == pytest.approx(uncertainty, rel=0.2)
    own = ps.StrengthPrior.from_fit(fit, mean_strength=0.2, mean_strength_sd=0.4)
    assert own.location_sd == 0.4
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ps.InputError, match="mean_strength_sd > 0"):
            ps.StrengthPrior.from_fit(fit, mean_strength_sd=wrong)


def test_the_record_says_what_its_law_is(alike):
    prior = ps.StrengthPrior.from_fit(alike)
    assert prior.source["law"] == "plug-in"
    assert prior.source["spread_90"] == pytest.approx(ends(prior.to_dict()))
    table = prior.summary()
    assert table.index.tolist() == ["plug-in", "predictive"]
    assert table.loc["plug-in", "95%"] == pytest.approx(prior.mixing().quantile(0.95))


def test_the_predictive_law_is_that_of_draws():
    prior = ps.StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.6), 0.4)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((3, 400_000))
    sigma = np.exp(math.log(0.6) + 0.4 * z[0])
    beta = np.exp(math.log(0.1) + 0.2 * z[1] - sigma**2 / 2 + sigma * z[2])
    want = np.quantile(beta, [0.05, 0.25, 0.5, 0.75, 0.95])
    assert prior.summary().loc["predictive"].to_numpy() == pytest.approx(want, rel=0.01)


def test_ends_of_a_posterior_that_may_be_one_strength():
    """An atom at 0 has no logarithm; weighted draws count by their weights."""
    values, weights = np.array([0.0, 0.2, 0.4]), np.array([0.3, 0.6, 0.1])
    assert matched(values, weights) == (0.01, 0.4)
    assert matched(np.repeat(values, [3, 6, 1])) == pytest.approx((0.01, 0.31))
