"""Families without a posterior test of their own: the fit against enumeration on a grid."""

import math

import numpy as np
import pytest
from scipy import stats

import prefstrength as ps
from prefstrength.errors import InputError
from prefstrength.likelihood.cells import coefficient_at
from prefstrength.models.fitting import sample_population
from tests.helpers.enumeration import assert_enumerated

TRUTH = ps.InverseGaussian(mu=1.2, shape=3.0)
SIZES = {"panel": {"choosers": 80, "situations": 12}, "pairs": {"choosers": 1500, "situations": 1}}


@pytest.fixture(scope="module", params=SIZES)
def fitted(request):
    choices = ps.simulate(TRUTH, **SIZES[request.param], spread=1.5, seed=3)
    model = ps.MixedLogit({"reward": ps.InverseGaussian()})
    return choices, model.fit(choices, seed=0, progress=False)


def test_posterior_is_the_enumerated_one(fitted):
    assert_enumerated(*fitted, ps.InverseGaussian)


def test_what_is_asked_of_a_fit(fitted):
    choices, fit = fitted
    table = ps.heterogeneity(fit).iloc[0]
    draws = {n: np.asarray(fit.posterior[f"reward_{n}"]).ravel() for n in ("mu", "shape")}
    cv = np.sqrt(draws["mu"] / draws["shape"])
    assert table["mean"] == pytest.approx(np.median(draws["mu"]), rel=0.05)
    assert table["cv"] == pytest.approx(np.median(cv), rel=0.05)
    law = ps.InverseGaussian(
        mu=float(np.median(draws["mu"])), shape=float(np.median(draws["shape"]))
    )
    assert table["sd_log"] == pytest.approx(law.sd_log(), rel=0.1)
    density = ps.strength_density(fit)
    middle = density.iloc[(density["strength"] - law.median()).abs().argmin()]
    laws = stats.invgauss(draws["mu"] / draws["shape"], scale=draws["shape"])
    assert middle["density"] == pytest.approx(laws.pdf(middle["strength"]).mean(), rel=0.05)
    if choices.chooser is not None:
        strengths = ps.chooser_strengths(fit)
        assert strengths["mean"].mean() == pytest.approx(law.mean(), rel=0.1)
    ps.plot_prior_posterior(fit, truth=TRUTH)


def test_from_the_fit_to_training(fitted, tmp_path):
    _, fit = fitted
    prior = ps.StrengthPrior.from_fit(fit, mean_strength=0.1)
    assert prior.family == "InverseGaussian"
    assert ps.StrengthPrior.load(prior.save(tmp_path / "prior.json")) == prior
    law = prior.mixing()
    assert (law.mean(), law.cv()) == pytest.approx((0.1, math.exp(prior.dispersion)))
    learned = ps.LearnedStrength("InverseGaussian", law.parameters, mode="joint", prior=prior)
    compared = ps.compare_strength(fit, learned).table.set_index("index")
    assert compared.loc["cv", "inside"]
    assert compared.loc["cv", "learned"] == pytest.approx(law.cv())


def test_priors_are_those_of_gamma():
    choices = ps.simulate(TRUTH, choosers=20, situations=5, seed=0)
    tables = [
        ps.MixedLogit({"reward": law()}).prior_table(choices)
        for law in (ps.InverseGaussian, ps.Gamma)
    ]
    assert tables[0].equals(tables[1])


def test_choosers_of_every_family_can_be_sampled():
    choices = ps.simulate(TRUTH, choosers=20, situations=5, seed=0)
    model = ps.MixedLogit({"reward": ps.InverseGaussian()})
    found = sample_population(model, choices, method="latent", draws=100, warmup=200, chains=2)
    assert found.variables["_chooser_draws"].shape == (2, 100, 20, 1)
    exact = sample_population(model, choices, seed=0)
    mean, sd = (float(f(exact.variables["reward_location"])) for f in (np.mean, np.std))
    assert found.variables["reward_location"].mean() == pytest.approx(mean, abs=0.6 * sd)


@pytest.mark.parametrize(
    "law",
    [
        ps.ZeroMass(ps.LogNormal()),
        ps.Lapse(ps.LogNormal()),
        ps.FiniteMixture((ps.LogNormal(), ps.PointMass())),
    ],
    ids=repr,
)
def test_what_is_made_of_others_has_no_location(law):
    assert ps.MixedLogit({"reward": law}).coefficients == {"reward": law}
    with pytest.raises(InputError, match=f"to be inferred .*got {law.family}.*, which is known"):
        ps.MixedLogit({"reward": law.with_parameters(dict.fromkeys(law.parameters, 0.5))})
    with pytest.raises(InputError, match="a location and a dispersion .* made of others"):
        coefficient_at(type(law), np.zeros(1), np.array(0.0), np.array(1.0))


@pytest.mark.slow
def test_intervals_cover():
    hits = []
    for seed in range(60):
        choices = ps.simulate(TRUTH, choosers=60, situations=15, spread=1.5, seed=seed)
        fit = ps.MixedLogit({"reward": ps.InverseGaussian()}).fit(choices, progress=False)
        draws = np.log(np.asarray(fit.posterior["reward_mu"]).ravel())
        low, high = np.quantile(draws, [0.05, 0.95])
        hits.append(low < math.log(TRUTH.mean()) < high)
    assert stats.binomtest(sum(hits), len(hits), 0.9).pvalue > 0.01
