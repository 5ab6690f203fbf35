"""Diagnostics must be seen failing, and the comparison must prefer the truth."""

import dataclasses
import math

import numpy as np
import pytest

import prefstrength as ps
from prefstrength.posterior.checks import THRESHOLDS


@pytest.fixture(scope="module")
def choices():
    return ps.simulate(ps.LogNormal(mu=0.3, sigma=0.9), choosers=120, situations=20, seed=5)


@pytest.fixture(scope="module")
def fit(choices):
    return ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)


@pytest.fixture(scope="module")
def sampled(choices):
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    return model.fit(
        choices, method="nuts", seed=0, draws=1000, warmup=300, chains=2, progress=False
    )


def altered(fit, group, variable, change):
    """The fit with one variable changed."""
    tree = fit.tree.copy(deep=True)
    node = tree[group].to_dataset()
    node[variable] = node[variable].copy(data=change(node[variable].values))
    tree[group] = type(tree)(node)
    return dataclasses.replace(fit, tree=tree)


def failed(fit):
    table = ps.check(fit).table
    return set(table.loc[~table["passed"], "check"])


def test_good_fits_pass_and_every_check_teaches(fit, sampled):
    for one in (fit, sampled):
        checks = ps.check(one)
        assert checks.passed, checks
        assert checks.raise_if_failed() is checks
        assert (checks.table["meaning"].str.len() > 20).all()
        assert (checks.table["advice"].str.len() > 10).all()
        assert set(checks.table["check"]) <= set(THRESHOLDS)


def test_chains_that_disagree_are_caught(sampled):
    def shift(values):
        values = values.copy()
        values[0] += 1.0
        return values

    bad = altered(sampled, "posterior", "reward_mu", shift)
    assert {"rhat", "ess_bulk"} <= failed(bad)
    with pytest.raises(ps.InputError, match=r"rhat of reward_mu .* \(threshold 1\.01\).*Draw more"):
        ps.check(bad).raise_if_failed()


def test_divergences_are_caught(sampled):
    bad = altered(sampled, "sample_stats", "diverging", lambda v: np.ones_like(v))
    assert "divergences" in failed(bad)


def test_saturated_trees_and_poor_energy_are_caught(sampled):
    assert "tree_depth" in failed(
        altered(sampled, "sample_stats", "tree_depth", lambda v: np.full_like(v, 10))
    )
    slow = altered(sampled, "sample_stats", "energy", lambda v: np.cumsum(np.ones_like(v), axis=1))
    assert "bfmi" in failed(slow)


def test_bad_weights_and_bad_compression_are_caught(fit):
    spec = {**fit.spec, "pareto_k": 0.9, "effective": 20.0}
    assert failed(dataclasses.replace(fit, spec=spec)) == {"pareto_k", "effective_draws"}
    spec = {**fit.spec, "likelihood": {**fit.spec["likelihood"], "error": 0.5}}
    assert failed(dataclasses.replace(fit, spec=spec)) == {"likelihood_error"}


def test_predictions_that_miss_the_data_are_caught(fit):
    bad = altered(fit, "observed_data", "agreement", np.zeros_like)
    assert failed(bad) == {"predicted_agreement"}


def test_html_of_checks_escapes(fit):
    checks = ps.check(fit)
    hostile = type(checks)(checks.table.assign(advice="<script>"))
    assert "<script>" not in hostile._repr_html_()


def test_compare_prefers_the_model_that_made_the_data(choices, fit):
    plain = ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, seed=0, progress=False)
    table = ps.compare({"DPO": plain, "MixDPO": fit})
    assert table["model"].tolist() == ["MixDPO", "DPO"]
    assert table["elpd_diff"][0] == 0
    assert table["elpd_diff"][1] < -3 * table["dse"][1]
    assert table["high_k"].max() == 0


@pytest.fixture(scope="module")
def long():
    return ps.simulate(ps.LogNormal(mu=0.0, sigma=1.0), choosers=40, situations=1500, seed=1)


@pytest.fixture(scope="module")
def long_plain(long):
    return ps.MixedLogit({"reward": ps.PointMass()}).fit(long, seed=0, progress=False)


def test_weights_of_long_panels_do_not_stay_where_their_search_began(long_plain):
    # The density of a chooser's 1,500 choices is 0 in floating point.
    density = long_plain.tree["log_likelihood"]["choices"]
    assert np.isfinite(density).all()
    assert float(density.median()) < math.log(5e-324)
    better = altered(long_plain, "log_likelihood", "choices", lambda values: values + 10.0)
    with pytest.warns(ps.SamplingWarning, match="Pareto k"):
        table = ps.compare({"DPO": long_plain, "MixDPO": better})
    assert table["model"].tolist() == ["MixDPO", "DPO"]
    assert table["weight"].tolist() == pytest.approx([1.0, 0.0], abs=1e-3)


@pytest.mark.slow
def test_long_panels_prefer_the_model_that_made_them(long, long_plain):
    fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(long, seed=0, progress=False)
    with pytest.warns(ps.SamplingWarning, match="Pareto k"):
        table = ps.compare({"DPO": long_plain, "MixDPO": fit})
    assert table["weight"].tolist() == pytest.approx([1.0, 0.0], abs=1e-3)


def test_compare_refuses_what_cannot_be_compared(choices, fit):
    with pytest.raises(ps.InputError, match="at least two fits"):
        ps.compare({"one": fit})
    other = ps.simulate(ps.LogNormal(mu=0.3, sigma=0.9), choosers=30, situations=5, seed=6)
    another = ps.MixedLogit({"reward": ps.PointMass()}).fit(other, seed=0, progress=False)
    with pytest.raises(ps.InputError, match="fits of the same data; got 2 different"):
        ps.compare({"a": fit, "b": another})
    tree = fit.tree.copy()
    del tree["log_likelihood"]
    with pytest.raises(ps.InputError, match="pointwise log-likelihood; got none in \\['b'\\]"):
        ps.compare({"a": fit, "b": dataclasses.replace(fit, tree=tree)})
