"""The posterior itself: against enumeration, between engines, and over many data sets."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import prefstrength as ps


@pytest.fixture(scope="module")
def choices():
    return ps.simulate(ps.LogNormal(mu=0.2, sigma=0.8), choosers=100, situations=12, seed=4)


@pytest.fixture(scope="module")
def model():
    return ps.MixedLogit({"reward": ps.LogNormal()})


@pytest.fixture(scope="module")
def fit(model, choices):
    return model.fit(choices, method="importance", seed=0, progress=False)


@pytest.fixture(scope="module")
def enumerated(choices):
    """Mean and sd of mu and sigma under the documented prior, on a grid; NumPy only."""
    x = choices.differences("reward").reshape(100, 12)
    mu = np.linspace(-0.5, 1.0, 61)
    sigma = np.linspace(0.2, 1.8, 65)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    log_posterior = np.empty((len(mu), len(sigma)))
    for j, s in enumerate(sigma):
        for i, m in enumerate(mu):
            beta = np.exp(m + s * nodes)
            panels = -np.logaddexp(0, -x[:, :, None] * beta).sum(axis=1)
            log_posterior[i, j] = special.logsumexp(panels, b=weights, axis=1).sum()
    log_posterior += stats.norm(-np.log(choices.scale("reward")), 1).logpdf(mu)[:, None]
    log_posterior += stats.halfnorm.logpdf(sigma)
    p = np.exp(log_posterior - log_posterior.max())
    p /= p.sum()
    out = {}
    for name, values, mass in (("reward_mu", mu, p.sum(1)), ("reward_sigma", sigma, p.sum(0))):
        mean = values @ mass
        out[name] = (mean, np.sqrt((values - mean) ** 2 @ mass))
    return out


def assert_same_posterior(fit, enumerated, effective):
    for name, (mean, sd) in enumerated.items():
        draws = np.asarray(fit.posterior[name]).ravel()
        assert draws.mean() == pytest.approx(mean, abs=5 * sd / np.sqrt(effective)), name
        assert draws.std() == pytest.approx(sd, rel=5 / np.sqrt(2 * effective)), name


def test_importance_sampling_matches_enumeration(fit, enumerated):
    assert fit.method == "importance"
    assert_same_posterior(fit, enumerated, 1000)


def test_nuts_matches_enumeration(model, choices, enumerated):
    fit = model.fit(choices, method="nuts", seed=1, progress=False)
    assert fit.check().passed
    assert_same_posterior(fit, enumerated, 400)


@pytest.mark.slow
def test_latent_choosers_match_enumeration(model, choices, enumerated):
    fit = model.fit(choices, method="latent", seed=1, progress=False)
    assert_same_posterior(fit, enumerated, 200)


def test_a_panel_is_not_independent_rows(choices, fit):
    frame = pd.DataFrame({"reward_chosen": choices.differences("reward"), "reward_rejected": 0.0})
    rows = ps.MixedLogit({"reward": ps.LogNormal()}).fit(
        ps.Choices.from_pairs(frame), seed=0, progress=False
    )
    # Without choosers only the curvature speaks: far less is known of sigma.
    panel_sd = float(fit.posterior["reward_sigma"].std())
    assert float(rows.posterior["reward_sigma"].std()) > 1.5 * panel_sd
    assert rows.tree["log_likelihood"]["agreement"].dims == ("chain", "draw", "situation")


def test_same_seed_same_numbers(model, choices, fit):
    again = model.fit(choices, method="importance", seed=0, progress=False)
    other = model.fit(choices, method="importance", seed=1, progress=False)
    assert again.posterior.equals(fit.posterior)
    assert again.tree["chooser_level"].equals(fit.tree["chooser_level"])
    assert not other.posterior.equals(fit.posterior)


def test_the_tree_has_every_group_with_named_dimensions(fit):
    assert set(fit.tree.children) == {
        "posterior",
        "prior",
        "prior_predictive",
        "predictive_checks",
        "log_likelihood",
        "log_prior",
        "posterior_predictive",
        "observed_data",
        "constant_data",
        "chooser_level",
    }
    assert fit.posterior["reward_mu"].dims == ("chain", "draw")
    assert fit.tree["log_likelihood"]["choices"].dims == ("chain", "draw", "chooser")
    assert fit.tree["observed_data"]["agreement"].dims == ("situation",)
    assert dict(fit.tree["posterior_predictive"].sizes)["situation"] == 1200


def test_chooser_level_matches_brute_force(choices, fit, enumerated):
    """Given the population, one chooser's strength is a one-dimensional integral."""
    x = choices.differences("reward").reshape(100, 12)[7]
    means = []
    mu = np.asarray(fit.posterior["reward_mu"]).ravel()[::20]
    sigma = np.asarray(fit.posterior["reward_sigma"]).ravel()[::20]
    z = np.linspace(-8, 8, 1601)
    for m, s in zip(mu, sigma, strict=True):
        beta = np.exp(m + s * z)
        log_density = -np.logaddexp(0, -x[:, None] * beta).sum(axis=0) - z**2 / 2
        density = np.exp(log_density - log_density.max())
        means.append((beta * density).sum() / density.sum())
    drawn = np.asarray(fit.tree["chooser_level"]["reward_strength"])[:, 7]
    assert drawn.mean() == pytest.approx(np.mean(means), abs=5 * drawn.std() / np.sqrt(400))


def test_save_and_load_give_the_same_fit_without_pickle(fit, tmp_path):
    fit.save(tmp_path / "fit")
    assert sorted(p.name for p in (tmp_path / "fit").iterdir()) == ["fit.json", "posterior.nc"]
    again = ps.load_fit(tmp_path / "fit")
    assert again.spec == fit.spec
    assert again.tree.equals(fit.tree)
    (tmp_path / "fit" / "fit.json").write_text("{}")
    with pytest.raises(ps.InputError, match="schema 'prefstrength/fit/1' in the fit.json"):
        ps.load_fit(tmp_path / "fit")
    with pytest.raises(ps.InputError, match=r"no fit\.json there"):
        ps.load_fit(tmp_path / "nothing")


def test_options_are_checked_at_the_door(model, choices):
    with pytest.raises(ps.InputError, match="method to be one of"):
        model.fit(choices, method="stan")
    with pytest.raises(ps.InputError, match="draws of at least 50; got 3"):
        model.fit(choices, draws=3)
    with pytest.raises(ps.InputError, match="attributes among \\['reward'\\]; got \\['lenght'\\]"):
        ps.MixedLogit({"lenght": ps.Normal()}).fit(choices)
    with pytest.raises(ps.InputError, match="groups among"):
        ps.MixedLogit({"reward": ps.LogNormal()}, groups=["region"]).fit(choices)
    with pytest.raises(ps.InputError, match="which is known. Leave its parameters out"):
        ps.MixedLogit({"reward": ps.LogNormal(mu=0.0, sigma=1.0)})
    with pytest.raises(TypeError, match="such as LogNormal"):
        ps.MixedLogit({"reward": ps.LogNormal})


@pytest.mark.parametrize("family", ["Gamma", "Normal"])
def test_other_families_recover_their_own_truth(family):
    truth = {"Gamma": ps.Gamma(shape=2.0, rate=1.0), "Normal": ps.Normal(mu=1.5, sigma=0.8)}[family]
    data = ps.simulate(truth, choosers=150, situations=20, seed=2)
    fit = ps.MixedLogit({"reward": type(truth)()}).fit(data, seed=0, progress=False)
    for name, value in truth.parameters.items():
        draws = np.asarray(fit.posterior[f"reward_{name}"]).ravel()
        low, high = np.quantile(draws, [0.005, 0.995])
        assert low < value < high


@pytest.mark.slow
def test_intervals_cover_and_homogeneous_data_are_not_called_heterogeneous(model):
    inside, false_alarms = [], 0
    for seed in range(40):
        data = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=80, situations=15, seed=seed)
        fit = model.fit(data, seed=seed, progress=False)
        for name, value in (("reward_mu", 0.0), ("reward_sigma", 0.7)):
            low, high = np.quantile(np.asarray(fit.posterior[name]), [0.05, 0.95])
            inside.append(low < value < high)
        same = ps.simulate(ps.PointMass(value=1.0), choosers=80, situations=15, seed=1000 + seed)
        verdict = ps.heterogeneity(model.fit(same, seed=seed, progress=False))["verdict"][0]
        false_alarms += verdict == "heterogeneous"
    # 80 intervals of 90 %: outside of this range with probability below 1 in 500.
    assert 64 <= sum(inside) <= 79
    assert false_alarms <= 5
