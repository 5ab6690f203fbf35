"""Summaries use every draw, and say how far another seed would move a probability."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

import prefstrength as ps
from prefstrength.posterior.heterogeneity import CONFIDENCE, verdict_of
from prefstrength.posterior.laws import draws_of, mixture_draws
from prefstrength.posterior.monte_carlo import probability_error
from tests.helpers import made_up
from tests.helpers.made_up import made_up_fit


def with_sampler(fit, statistics):
    """The fit as if it were made by chains (with statistics), or by resampling (without)."""
    tree = fit.tree.copy()
    if statistics:
        tree["sample_stats"] = xr.DataTree(xr.Dataset({"diverging": ("chain", np.zeros(4))}))
    return dataclasses.replace(fit, tree=tree)


@pytest.fixture
def many(monkeypatch):
    """A fit of 20,000 draws, the last of which differ from the first."""
    monkeypatch.setattr(made_up, "CHAINS", 4)
    monkeypatch.setattr(made_up, "DRAWS", 5_000)
    return made_up_fit(uncertainty=0.3)


def test_every_draw_counts(many):
    sigma = np.asarray(many.posterior["reward_sigma"]).reshape(-1)
    assert len(sigma) == 20_000
    assert np.array_equal(draws_of(many, "reward").parameters["sigma"][:, 0], sigma)
    row = ps.heterogeneity(many).iloc[0]
    assert row["sd_log"] == pytest.approx(np.median(sigma), rel=1e-12)
    assert row["sd_log_low"] == pytest.approx(np.quantile(sigma, 0.05), rel=1e-12)
    assert row["p_heterogeneous"] == np.mean(np.expm1(sigma**2) > 0.25**2)
    assert mixture_draws(many).quantiles(np.array([0.1, 0.9])).shape == (20_000, 2)


def test_blocks_of_draws_change_nothing(many, monkeypatch):
    before = ps.heterogeneity(many), ps.choice_curve(many, differences=[0.5, 2.0])
    monkeypatch.setattr("prefstrength.posterior.laws._BLOCK", 41 * 700)
    after = ps.heterogeneity(many), ps.choice_curve(many, differences=[0.5, 2.0])
    for one, other in zip(before, after, strict=True):
        assert one.equals(other)


def test_the_error_of_independent_draws_is_binomial():
    fit = dataclasses.replace(made_up_fit(), spec={**made_up_fit().spec, "effective": 1e12})
    hits = np.arange(1000) < 900
    assert probability_error(fit, hits, hits) == pytest.approx(np.sqrt(0.09 / 1000), rel=0.01)
    few = dataclasses.replace(fit, spec={**fit.spec, "effective": 250.0})
    # 1,000 draws resampled of 250: the variances of both.
    assert probability_error(few, hits, hits) == pytest.approx(np.sqrt(0.09 / 200), rel=0.02)
    # No draw against it does not make it certain.
    assert probability_error(fit, np.ones(1000, bool), hits) == pytest.approx(0.0007, rel=0.05)


def test_draws_of_chains_count_by_how_far_they_are_independent():
    """The spread over 300 seeds of a probability estimated from autocorrelated chains."""
    rng = np.random.default_rng(0)
    shares, errors = [], []
    fit = with_sampler(made_up_fit(), True)
    fit.tree["posterior"] = xr.DataTree(xr.Dataset({"x": (("chain", "draw"), np.zeros((4, 500)))}))
    for _ in range(300):
        x = np.empty((4, 500))
        x[:, 0] = rng.standard_normal(4)
        for t in range(1, 500):
            x[:, t] = 0.8 * x[:, t - 1] + 0.6 * rng.standard_normal(4)
        hits = (x > -1.3).reshape(-1)
        shares.append(hits.mean())
        errors.append(probability_error(fit, hits, x.reshape(-1)))
    assert np.mean(errors) == pytest.approx(np.std(shares), rel=0.15)
    assert np.mean(errors) > 1.5 * np.sqrt(0.9 * 0.1 / 2000)


def test_a_borderline_verdict_does_not_change_with_the_seed():
    fit = made_up_fit()
    rng = np.random.default_rng(1)

    def verdict(p):
        hits = rng.random(2000) < p
        row = {"p_heterogeneous": hits.mean(), "p_mcse": probability_error(fit, hits, hits)}
        return verdict_of({**row, "bayes_factor": 5.0, "data_share": 0.9}), hits.mean()

    found = [verdict(CONFIDENCE) for _ in range(300)]
    by_the_share_alone = np.mean([share >= CONFIDENCE for _, share in found])
    assert 0.4 < by_the_share_alone < 0.6
    assert np.mean([said == "heterogeneous" for said, _ in found]) < 0.05
    assert {verdict(0.98)[0] for _ in range(100)} == {"heterogeneous"}
    assert {verdict(0.02)[0] for _ in range(100)} == {"homogeneous"}


def test_the_table_says_the_error_of_each_probability():
    fit = made_up_fit({"region": ["east", "west"]}, cv=0.28, uncertainty=0.2)
    table = ps.heterogeneity(fit)
    p = table["p_heterogeneous"]
    assert table["p_mcse"].between(0.005, 0.06).all()
    assert table["p_mcse"].to_numpy() == pytest.approx(np.sqrt(p * (1 - p) / 182), rel=0.05)
