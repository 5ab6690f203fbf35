"""Errors in the rewards: the likelihood, its certificate, the posterior, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import prefstrength as ps
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.likelihood.cells import coefficient_at
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.true_differences import TrueDifferences
from prefstrength.models.fitting import Work
from prefstrength.report.facts import collect
from prefstrength.report.provenance import provenance
from tests.helpers.likelihoods import blends, error_of, likelihood_of

FAMILIES = [PointMass, Normal, LogNormal, Gamma]
LAW = {"reward": ps.LogNormal()}


def measured(
    choosers, situations, sd=1.0, mu=0.0, sigma=0.7, seed=0, heavy=False, groups=0, repeat=True
):
    """Choices whose rewards carry errors of the given sd; true differences of variance 1."""
    rng = np.random.default_rng(seed)
    strength = np.exp(mu + sigma * rng.standard_normal(choosers))
    true = rng.standard_normal((choosers, situations))
    if heavy:
        true = rng.standard_t(5, true.shape) / np.sqrt(5 / 3)
    chosen = rng.random(true.shape) < special.expit(strength[:, None] * true)
    seen = true + sd * rng.standard_normal(true.shape)
    frame = pd.DataFrame(
        {
            "annotator": np.repeat([f"c{a:04d}" for a in range(choosers)], situations),
            "reward_chosen": np.where(chosen, seen, -seen).ravel(),
            "reward_rejected": 0.0,
        }
    )
    names = []
    if groups:
        frame["topic"] = [f"g{k}" for k in rng.integers(0, groups, len(frame))]
        names = ["topic"]
    return ps.Choices.from_pairs(frame, chooser="annotator" if repeat else None, groups=names)


def data_of(choices, sd, groups=()):
    cell = choices.groups[groups[0]].codes if groups else np.zeros(choices.n_situations, int)
    return LikelihoodData.of(choices, ("reward",), cell).measured_with(sd, "reward")


def brute_probability(truth, w, beta, cell=0):
    """E[sigmoid(beta x) | w] by Bayes' rule on a dense grid of x, in another way altogether."""
    x = np.linspace(-14, 14, 5601)
    sds = np.sqrt(np.maximum(truth.variances[cell], 1e-300))
    before = sum(
        p * stats.norm.pdf(x, 0, sd) for p, sd in zip(truth.shares[cell], sds, strict=True) if p
    )
    density = before * stats.norm.pdf(w - x, 0, truth.sd)
    return (special.expit(np.multiply.outer(beta, x)) @ density) / density.sum()


# -- the law of the true differences -------------------------------------------------------------


@pytest.mark.parametrize("heavy", [False, True])
def test_the_law_of_the_true_differences_is_found_from_the_observed(heavy):
    data = data_of(measured(200, 50, heavy=heavy), 1.0)
    truth = data.truth
    assert float(truth.shares.sum()) == pytest.approx(1.0)
    assert float((truth.shares * truth.variances).sum()) == pytest.approx(1.0, abs=0.06)
    assert (truth.shares.shape[1] > 1) == heavy
    assert data.reliability == pytest.approx(0.5, abs=0.02)
    assert data.scales[0] == pytest.approx(1.0, abs=0.03)


def test_the_law_of_the_true_differences_does_not_see_the_choices():
    """The sign of an observed difference is the choice: the law must not depend on it."""
    choices = measured(100, 20)
    x = choices.differences("reward")
    arguments = np.ones(len(x)), np.zeros(len(x), int), 1.0, "reward"
    flip = np.random.default_rng(1).choice([-1.0, 1.0], len(x))
    one, other = (TrueDifferences.fit(d, *arguments) for d in (x, flip * x))
    np.testing.assert_array_equal(one.variances, other.variances)
    np.testing.assert_array_equal(one.shares, other.shares)
    # Both orientations of a pair are complementary outcomes.
    cell, beta = np.zeros(7, int), np.array([0.3, 2.0, 50.0])
    w = np.linspace(0, 4, 7)
    p = np.exp(one.log_probability(w, cell, beta)) + np.exp(one.log_probability(-w, cell, beta))
    np.testing.assert_allclose(p, 1.0, atol=1e-12)


def test_levels_of_a_group_have_laws_of_their_own():
    rng = np.random.default_rng(0)
    spread = np.array([0.5, 2.0])
    cell = rng.integers(0, 2, 20000)
    w = spread[cell] * rng.standard_normal(20000) + rng.standard_normal(20000)
    truth = TrueDifferences.fit(w, np.ones(20000), cell, 1.0, "reward")
    found = (truth.shares * truth.variances).sum(axis=1)
    np.testing.assert_allclose(found, spread**2, rtol=0.2)


# -- the probability of a choice -----------------------------------------------------------------


@pytest.mark.parametrize("beta", [1e-3, 0.3, 2.0, 25.0])
def test_probability_of_a_choice_equals_brute_force(beta):
    truth = TrueDifferences(0.8, np.array([[0.7, 0.3]]), np.array([[0.4, 2.5]]))
    w = np.array([-4.0, -1.2, 0.0, 0.7, 5.0])
    found = truth.log_probability(w, np.zeros(5, int), np.array([beta, -beta]))
    for row, value in zip(found, w, strict=True):
        wanted = np.log(brute_probability(truth, value, np.array([beta, -beta])))
        np.testing.assert_allclose(row, wanted, rtol=1e-8, atol=1e-10)


def test_probability_levels_off_at_the_probability_that_the_sign_is_right():
    truth = TrueDifferences(0.8, np.ones((1, 1)), np.array([[1.5]]))
    w = np.array([-6.0, -1.0, 2.0])
    reliability = 1.5 / (1.5 + 0.64)
    found = truth.log_probability(w, np.zeros(3, int), np.array([1e7]))[:, 0]
    wanted = special.log_ndtr(np.sqrt(reliability) * w / 0.8)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_without_error_the_probability_is_the_logit():
    w, beta = np.array([-3.0, -0.2, 0.0, 1.0, 8.0]), np.array([0.01, 1.0, 6.0])
    wanted = special.log_expit(np.multiply.outer(w, beta))
    for sd in (1e-4, 1e-6):
        truth = TrueDifferences(sd, np.ones((1, 1)), np.array([[1.3]]))
        found = truth.log_probability(w, np.zeros(5, int), beta)
        np.testing.assert_allclose(found, wanted, rtol=50 * sd**2, atol=1e-12 + 50 * sd**2)


def test_answers_of_both_orientations_and_of_any_strength_are_finite():
    truth = TrueDifferences(
        1.0, np.array([[0.6, 0.4], [1.0, 0.0]]), np.array([[0.3, 3.0], [0.8, 0.0]])
    )
    rng = np.random.default_rng(3)
    w, cell = 2 * rng.standard_normal(400), rng.integers(0, 2, 400)
    beta = np.array([-3.0, 0.0, 0.02, 1.0, 7.0, 1e4])
    found = truth.log_probability(w, cell, beta)
    assert np.isfinite(found).all()
    assert (found <= 0).all()
    np.testing.assert_allclose(found[:, 1], np.log(0.5), rtol=1e-12)
    for c in (0, 1):
        alone = truth.of_cell(c).log_probability(
            w[cell == c], np.zeros((cell == c).sum(), int), beta
        )
        np.testing.assert_allclose(found[cell == c], alone, rtol=1e-12)


# -- the likelihood ------------------------------------------------------------------------------


def brute_panels(data, family, location, dispersion):
    """Log-likelihood of every chooser by two nested quadratures (double: x and z)."""
    z = np.linspace(-9, 9, 181)
    prior = stats.norm.pdf(z)
    out = np.empty(data.units)
    x = data.differences()
    for unit in range(data.units):
        log_p = np.zeros(len(z))
        for i in np.flatnonzero(data.unit == unit):
            c = data.cell[i]
            beta = coefficient_at(
                family, z, np.asarray(location[c]), None if dispersion is None else dispersion[c]
            )
            beta = np.broadcast_to(beta, z.shape)
            log_p += data.weight[i] * np.log(brute_probability(data.truth, x[i], beta, c))
        out[unit] = np.log((np.exp(log_p) * prior).sum() / prior.sum())
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_likelihood_of_panels_equals_two_nested_quadratures(family):
    data = data_of(measured(5, 9, groups=2, seed=4), 0.7, groups=["topic"])
    location = np.array([0.2, -0.4])
    dispersion = None if family is PointMass else np.array([0.6, 0.9])
    wanted = brute_panels(data, family, location, dispersion)
    laws = blends(family, location, 0.0 if dispersion is None else dispersion)
    likelihood = likelihood_of(data, family)
    np.testing.assert_allclose(likelihood.by_unit(laws)[0], wanted, atol=1e-7)
    assert error_of(likelihood, data, laws) < 1e-5


def test_tables_in_jax_know_of_the_errors():
    import jax
    import jax.numpy as jnp

    from prefstrength.inference.population import Level
    from prefstrength.likelihood.cells import CellLaws
    from prefstrength.likelihood.traced_tables import TracedTables

    data = data_of(measured(5, 9, groups=2, seed=4), 0.7, groups=["topic"])
    likelihood = likelihood_of(data, LogNormal)
    wanted = likelihood.by_unit(blends(LogNormal, [0.2, -0.4], [0.6, 0.9]))[0]
    with jax.enable_x64(True):
        law = CellLaws(LogNormal, jnp.array([0.2, -0.4]), jnp.array([0.6, 0.9]))
        traced = TracedTables.of(likelihood, 1.0)
        level = Level(((law,),), (jnp.zeros(1),), {})
        np.testing.assert_allclose(jax.jit(lambda: traced.by_unit(level))(), wanted, atol=1e-6)


@pytest.mark.parametrize("family", [Normal, LogNormal])
def test_likelihood_of_pairs_equals_two_nested_quadratures(family):
    data = data_of(measured(600, 1, repeat=False, heavy=True), 0.9)
    assert not data.panel
    location, dispersion = np.array([0.3]), np.array([0.8])
    wanted = brute_panels(data.take(np.arange(0, 600, 60)), family, location, dispersion)
    likelihood, laws = likelihood_of(data, family), blends(family, location, dispersion)
    pointwise = likelihood.by_situation(data, laws)[0]
    np.testing.assert_allclose(pointwise[::60], wanted, atol=1e-7)
    assert likelihood.totals(laws)[0] == pytest.approx(pointwise.sum(), abs=1e-7)


def test_many_pairs_are_counted_and_the_certificate_holds():
    data = data_of(measured(3000, 1, repeat=False, heavy=True), 0.9)
    likelihood = likelihood_of(data, LogNormal)
    assert len(likelihood.unit) < 600
    for sigma in (0.3, 0.9):
        laws = blends(LogNormal, 0.2, sigma)
        # The law of the true differences bends in log |w|: more than the lattice of plain pairs.
        assert error_of(likelihood, data, laws) < 2e-3
        exact = likelihood.by_situation(data, laws)[0].sum()
        assert likelihood.totals(laws)[0] == pytest.approx(exact, abs=1e-6)
        assert likelihood.by_cell(laws).sum() == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("panel", [True, False])
def test_the_certificate_sees_tables_of_another_error(panel):
    """A planted fault: tables made with the wrong sd, or from w in the place of x given w."""
    choices = measured(40, 10) if panel else measured(400, 1, repeat=False)
    data = data_of(choices, 1.0)
    laws = blends(LogNormal, 0.0, 0.7)
    assert error_of(likelihood_of(data, LogNormal), data, laws) < 1e-3
    for truth in (
        replace(data.truth, sd=0.9),
        replace(data.truth, variances=1e6 * data.truth.variances),  # lambda forgotten: x about w
    ):
        good = likelihood_of(data, LogNormal)
        wrong = replace(good, source=replace(good.source, truth=truth), _kept={})
        assert error_of(wrong, data, laws) > 0.1


def test_a_vanishing_error_gives_the_likelihood_without_error():
    choices = measured(30, 8, sd=1e-6)
    plain = LikelihoodData.of(choices, ("reward",), np.zeros(choices.n_situations, int))
    laws = blends(LogNormal, np.array([[0.1], [-0.5]]), np.array([[0.4], [1.0]]))
    wanted = likelihood_of(plain, LogNormal).by_unit(laws)
    for sd, bound in ((1e-3, 3e-5), (1e-5, 1e-7)):
        found = likelihood_of(plain.measured_with(sd, "reward"), LogNormal).by_unit(laws)
        np.testing.assert_allclose(found, wanted, atol=bound)


def test_differences_that_are_nearly_all_error_say_nothing():
    """The observed difference moves the likelihood by its reliability, which goes to 0."""
    data = data_of(measured(30, 8, sd=0.5), 1.0)
    truth = replace(data.truth, shares=np.ones((1, 1)), variances=np.array([[1e-12]]))
    likelihood = likelihood_of(replace(data, truth=truth), LogNormal)
    laws = blends(LogNormal, np.array([[-2.0], [0.0], [2.0]]), np.array([[0.5], [0.5], [1.5]]))
    np.testing.assert_allclose(likelihood.by_unit(laws), 8 * np.log(0.5), atol=1e-4)


# -- the posterior -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_fits():
    choices = measured(150, 20)
    error = {"reward": ps.RewardError(sd=1.0)}
    return (
        choices,
        ps.MixedLogit(LAW).fit(choices, progress=False),
        ps.MixedLogit(LAW, errors=error).fit(choices, progress=False),
    )


def test_the_fit_finds_the_truth_that_the_naive_one_misses(two_fits):
    _, naive, corrected = two_fits
    mu, sigma = (corrected.posterior[f"reward_{p}"].values.ravel() for p in ("mu", "sigma"))
    assert abs(mu.mean()) < 2 * mu.std()
    assert abs(sigma.mean() - 0.7) < 2 * sigma.std()
    naive_mu = naive.posterior["reward_mu"].values
    assert naive_mu.mean() < -5 * naive_mu.std()
    table = ps.attenuation(naive, corrected).set_index("quantity")
    assert (table["ratio"] < 0.9).all()
    assert table.loc["mean", "reliability"] == pytest.approx(0.5, abs=0.03)
    assert corrected.spec["likelihood"]["error"] < 0.01


def test_the_fit_holds_what_a_fit_without_errors_holds(two_fits, tmp_path):
    choices, naive, corrected = two_fits
    assert set(corrected.tree.children) == set(naive.tree.children)
    log_likelihood = corrected.tree["log_likelihood"]["choices"].values
    assert log_likelihood.shape == naive.tree["log_likelihood"]["choices"].values.shape
    # The pointwise values are those of the model with errors.
    data = data_of(choices, 1.0)
    first = {p: corrected.posterior[f"reward_{p}"].values[0, 0] for p in ("mu", "sigma")}
    laws = blends(LogNormal, first["mu"], first["sigma"])
    wanted = likelihood_of(data, LogNormal).by_unit(laws)[0]
    np.testing.assert_allclose(log_likelihood[0, 0], wanted, atol=1e-3)
    # Predictions agree with the data as often as the data do: they know of the error.
    seen = corrected.tree["observed_data"]["agreement"].values.mean()
    predicted = corrected.tree["posterior_predictive"]["agreement"].values.mean()
    assert predicted == pytest.approx(seen, abs=0.02)
    # True differences are less spread than the observed.
    constant = corrected.tree["constant_data"]
    spread = [constant[f"reward_{d}difference"].values.std() for d in ("", "true_")]
    assert spread[1] == pytest.approx(1.0, abs=0.1)
    assert spread[0] > 1.3
    strengths = corrected.tree["chooser_level"]["reward_strength"].values
    assert strengths.mean() == pytest.approx(
        float(ps.heterogeneity(corrected)["mean"].iloc[0]), rel=0.3
    )
    again = ps.load_fit(corrected.save(tmp_path / "fit"))
    assert again.errors == corrected.errors
    assert again.errors["reward"]["sd"] == 1.0
    assert "measured with error, sd 1" in repr(again)
    assert "errors" not in repr(naive)


def test_what_is_made_of_a_corrected_fit_says_so(two_fits, tmp_path):
    _, naive, corrected = two_fits
    prior = ps.StrengthPrior.from_fit(corrected)
    assert prior.source["errors"]["reward"]["sd"] == 1.0
    assert prior.source["errors"]["reward"]["reliability"] == pytest.approx(0.5, abs=0.03)
    assert ps.StrengthPrior.load(prior.save(tmp_path / "prior.json")) == prior
    plain = ps.StrengthPrior.from_fit(naive)
    assert plain.source["errors"] == {}
    assert plain.dispersion < prior.dispersion
    for fit in (naive, corrected):
        facts = collect(fit, None, {}, None, None, None, 0.9, 0.25, ())
        assert provenance(facts, "title", {})["model"]["errors"] == fit.errors


def test_a_level_whose_differences_may_be_error_alone_is_named(monkeypatch):
    """Before the long work, and not where the differences are larger than the errors."""

    class Reached(Exception):
        pass

    def long_work(*arguments):
        raise Reached

    monkeypatch.setattr("prefstrength.models.fitting.sample", long_work)
    rng = np.random.default_rng(0)
    topic = np.repeat(["large", "small"], 150)
    seen = np.where(topic == "large", 1.5, 0.4) * rng.standard_normal(300)
    frame = pd.DataFrame({"reward_chosen": seen, "reward_rejected": 0.0, "topic": topic})
    choices = ps.Choices.from_pairs(frame, groups=["topic"])

    def fit(sd):
        errors = {"reward": ps.RewardError(sd=sd)}
        with pytest.raises(Reached):
            ps.MixedLogit(LAW, groups=["topic"], errors=errors).fit(choices)

    with pytest.warns(ps.DataWarning, match=r"no larger than their errors .* in 'topic=small':"):
        fit(0.5)
    fit(0.2)


@pytest.mark.slow
def test_nuts_with_latent_choosers_finds_the_same_posterior(two_fits):
    """Nothing is shared with the tables: probabilities by JAX, choosers sampled."""
    choices, _, corrected = two_fits
    model = ps.MixedLogit(LAW, errors={"reward": ps.RewardError(sd=1.0)})
    some = choices.subset(np.asarray(choices.chooser) < 40)
    quick = model.fit(some, progress=False)
    latent = model.fit(some, method="latent", draws=150, warmup=150, chains=2, progress=False)
    for name in ("reward_mu", "reward_sigma"):
        one, other = (f.posterior[name].values.ravel() for f in (quick, latent))
        assert one.mean() == pytest.approx(other.mean(), abs=0.5 * one.std())
        assert one.std() == pytest.approx(other.std(), rel=0.4)


def test_an_error_of_zero_is_the_model_without_errors():
    choices = measured(20, 10)
    fits = [
        ps.MixedLogit(LAW, errors=errors).fit(choices, progress=False, draws=50)
        for errors in (None, {"reward": ps.RewardError(sd=0.0)})
    ]
    assert fits[0].posterior.equals(fits[1].posterior)
    assert fits[1].errors == {}


@pytest.mark.parametrize("groups", [[], pytest.param(["topic"], marks=pytest.mark.slow)])
def test_pairs_and_crossed_groups_fit(groups):
    """Pairs without choosers; choosers with choices in several cells."""
    choices = measured(40, 12, groups=2 if groups else 0, repeat=bool(groups))
    model = ps.MixedLogit(LAW, groups=groups, errors={"reward": ps.RewardError(sd=1.0)})
    fit = model.fit(choices, method="laplace", draws=50, progress=False)
    assert fit.spec["likelihood"]["error"] < 0.01
    (found,) = fit.tree["log_likelihood"].data_vars.values()
    assert np.isfinite(found.values).all()


@pytest.mark.slow
def test_intervals_cover_where_the_naive_ones_miss():
    """A short version of ``benchmarks/measurement.py``: 24 data sets, errors as large as signal."""
    from benchmarks.measurement import coverage, study

    rows = study((200, 30), 24, first=1000)
    naive, known, estimated = (row["coverage"] for row in coverage(rows))
    assert naive <= 0.25
    assert known >= 0.75
    assert estimated >= 0.75


# -- what is refused -----------------------------------------------------------------------------


def test_errors_in_numpys_numbers_can_be_saved():
    error = ps.RewardError(sd=np.float32(0.5), reliability=np.float64(0.8), units=np.ones(2))
    assert json.loads(json.dumps(error.as_json()))["units"] == [1.0, 1.0]
    assert error == ps.RewardError(sd=0.5, reliability=0.8, units=(1.0, 1.0))


def test_what_does_not_know_of_errors_refuses(two_fits):
    choices, naive, corrected = two_fits
    model = ps.MixedLogit(LAW, errors={"reward": ps.RewardError(sd=1.0)})
    with pytest.raises(ps.InputError, match="method='svi'` expects plain choices without errors"):
        model.fit(choices, method="svi")
    with pytest.raises(ps.InputError, match="numpyro_model expects a model without errors"):
        model.numpyro_model(choices)
    with pytest.raises(ps.InputError, match="Simulated calibration expects a model without"):
        ps.calibrate(model, choices)
    for assumed in (model, corrected):
        with pytest.raises(ps.InputError, match="A plan expects rewards without errors"):
            ps.plan(assumed)
    with pytest.raises(ps.InputError, match="this likelihood would ignore"):
        data_of(choices, 1.0).refuse_errors()
    with pytest.raises(ps.InputError, match="a fit without errors and one with"):
        ps.attenuation(corrected, naive)
    with pytest.raises(ps.InputError, match="same model and data"):
        ps.attenuation(ps.MixedLogit(LAW).fit(measured(20, 5), progress=False), corrected)


def test_errors_that_make_no_sense_are_refused(tmp_path):
    choices = measured(20, 10)
    with pytest.raises(ps.InputError, match="leaves nothing to be true"):
        ps.MixedLogit(LAW, errors={"reward": ps.RewardError(sd=5.0)}).fit(choices)
    with pytest.raises(ps.InputError, match="number of at least 0"):
        ps.RewardError(sd=-1.0)
    with pytest.raises(ps.InputError, match="the model's one attribute"):
        ps.MixedLogit(LAW, errors={"length": ps.RewardError(sd=1.0)})
    with pytest.raises(TypeError, match="Expected a RewardError"):
        ps.MixedLogit(LAW, errors={"reward": 1.0})
    with pytest.raises(TypeError, match="Write `errors={'reward': error}`"):
        ps.MixedLogit(LAW, errors=ps.RewardError(sd=1.0))
    for sd in ("0.5", True, None):
        with pytest.raises(TypeError, match="the sd of an error as a number; got"):
            ps.RewardError(sd=sd)
    long = ps.Choices(np.random.default_rng(0).normal(size=(20, 3, 1)), [0] * 20, ["reward"])
    with pytest.raises(ps.InputError, match="need pairs"):
        ps.MixedLogit(LAW, errors={"reward": ps.RewardError(sd=0.1)}).fit(long)
    frame = pd.DataFrame({"reward_chosen": [1.0, 2.0, 0.5], "reward_rejected": [0.0, 2.5, 0.1]})
    model = ps.MixedLogit(LAW, errors={"reward": ps.RewardError(sd=0.1)})
    frame.to_parquet(tmp_path / "pairs.parquet")
    compressed = ps.compress_choices(tmp_path / "pairs.parquet", progress=False)
    with pytest.raises(ps.InputError, match="compressed choices, which are sums"):
        model.fit(compressed)
    assert Work.of(model, choices).data.truth is not None


# -- the error of an ensemble --------------------------------------------------------------------


def ensemble(pairs, loadings, noises, seed=0, shared=0.0):
    """True differences (pair,) of variance 1, and differences (pair, member) that measure them."""
    rng = np.random.default_rng(seed)
    true = rng.standard_normal(pairs)
    common = true + shared * rng.standard_normal(pairs)
    errors = rng.standard_normal((pairs, len(loadings))) * noises
    return true, common[:, None] * loadings + errors


def test_two_members_of_equal_reliability():
    true, rewards = ensemble(40_000, [1.0, 1.0], [1.0, 1.0])
    error = ps.measurement_error(rewards)
    assert error.reliability == pytest.approx(2 / 3, abs=0.01)
    assert error.reliability_low < 2 / 3 < error.reliability_high
    # The mean of both has variance 1.5, a third of it error.
    assert error.sd == pytest.approx(np.sqrt(1 / 3), abs=0.01)
    mean = error.combine(rewards)
    assert np.mean(mean**2) == pytest.approx(1)
    assert np.std(mean - true / np.sqrt(1.5)) == pytest.approx(error.sd, abs=0.01)


def test_an_ensemble_is_scored_in_the_unit_of_its_error():
    _, rewards = ensemble(300, [1.0, 0.5, 4.0], [1.0, 1.0, 2.0])
    frame = pd.DataFrame({f"m{j}_chosen": rewards[:, j] for j in range(3)})
    frame = frame.assign(**{f"m{j}_rejected": 0.0 for j in range(3)})
    scored = ps.score(frame, [ps.ColumnReward(f"m{j}_chosen", f"m{j}_rejected") for j in range(3)])
    error = ps.measurement_error(scored, ["reward_1", "reward_2", "reward_3"])
    np.testing.assert_allclose(error.combine(scored)["reward_chosen"], scored["reward_chosen"])
    raw = ps.measurement_error(frame, ["m0", "m1", "m2"])
    assert raw.sd == pytest.approx(error.sd)
    np.testing.assert_allclose(raw.combine(frame)["reward_chosen"], scored["reward_chosen"])


def test_three_members_have_loadings_of_their_own():
    """Units and reliabilities differ: the plain mean of the raw rewards would be the third's."""
    loadings, noises = np.array([1.0, 0.8, 30.0]), np.array([0.3, 1.2, 40.0])
    true, rewards = ensemble(60_000, loadings, noises, seed=1)
    error = ps.measurement_error(rewards)
    wanted = loadings / np.hypot(loadings, noises)
    np.testing.assert_allclose(error.loadings, wanted, atol=0.01)
    mean = error.combine(rewards)
    assert np.corrcoef(mean, true)[0, 1] ** 2 == pytest.approx(error.reliability, abs=0.01)
    assert mean.var() * (1 - error.reliability) == pytest.approx(error.sd**2, rel=0.02)
    omega = wanted.sum() ** 2 / (wanted.sum() ** 2 + (1 - wanted**2).sum())
    assert error.reliability == pytest.approx(omega, abs=0.01)


def test_errors_that_members_share_are_invisible():
    true, rewards = ensemble(40_000, [1.0, 1.0, 1.0], [0.7] * 3, shared=1.0)
    error = ps.measurement_error(rewards)
    really = np.corrcoef(error.combine(rewards), true)[0, 1] ** 2
    assert error.reliability > really + 0.2  # an upper bound, and it says so
    assert "upper bound" in str(error)


def test_orientation_does_not_matter():
    _, rewards = ensemble(500, [1.0, 1.0], [1.0, 1.0])
    flip = np.random.default_rng(1).choice([-1.0, 1.0], (500, 1))
    assert ps.measurement_error(rewards) == ps.measurement_error(flip * rewards)


def test_the_interval_covers_and_counts_prompts():
    covered = []
    for seed in range(80):
        _, rewards = ensemble(300, [1.0, 1.0], [1.0, 1.0], seed=seed)
        error = ps.measurement_error(rewards)
        covered.append(error.reliability_low < 2 / 3 < error.reliability_high)
    assert 0.8 <= np.mean(covered) <= 0.98
    # The same pairs four times under one prompt tell no more than once.
    columns = {"a_chosen": rewards[:, 0], "b_chosen": rewards[:, 1]}
    frame = pd.DataFrame(columns | {"a_rejected": 0.0, "b_rejected": 0.0})
    frame["prompt"] = [f"p{i}" for i in range(300)]
    many = pd.concat([frame] * 4, ignore_index=True)
    once, naive, right = (
        ps.measurement_error(table, ["a", "b"], prompt=prompt)
        for table, prompt in ((frame, None), (many, None), (many, "prompt"))
    )
    width = [e.reliability_high - e.reliability_low for e in (once, naive, right)]
    assert width[2] == pytest.approx(width[0], rel=0.15)
    assert width[1] < 0.6 * width[0]
    assert once.reliability == pytest.approx(right.reliability)


@pytest.mark.parametrize("seed", range(5))
def test_a_member_that_goes_against_the_others_is_refused(seed):
    """Its loading is negative; one that measures nothing is merely of no use."""
    _, rewards = ensemble(300, [1.0, 1.0, -0.5], [0.5, 0.5, 1.0], seed=seed)
    with pytest.raises(ps.InputError, match=r"higher is better; got 'reward_3' against .*-0\."):
        ps.measurement_error(rewards)
    _, rewards = ensemble(300, [1.0, 1.0, 0.0], [0.5, 0.5, 1.0], seed=seed)
    assert ps.measurement_error(rewards).reliability > 0.5


def test_conversations_are_prompts_too():
    _, rewards = ensemble(60, [1.0, 1.0], [1.0, 1.0])
    columns = {"a_chosen": rewards[:, 0], "b_chosen": rewards[:, 1]}
    frame = pd.DataFrame(columns | {"a_rejected": 0.0, "b_rejected": 0.0})
    texts = [f"p{i // 3}" for i in range(60)]
    chats = [[{"role": "user", "content": text}] for text in texts]
    chats[1::2] = map(np.array, chats[1::2])  # as Parquet gives them
    found = [
        ps.measurement_error(frame.assign(prompt=pd.Series(prompts)), ["a", "b"], prompt="prompt")
        for prompts in (texts, chats, [i // 3 for i in range(60)])
    ]
    assert found[0] == found[1] == found[2]
    frame["prompt"] = texts
    frame.loc[7, "prompt"] = None
    with pytest.raises(ps.InputError, match=r"prompt a pair belongs to.*\(first: 7\)"):
        ps.measurement_error(frame, ["a", "b"], prompt="prompt")


def test_from_two_rewards_in_a_table_to_a_corrected_fit():
    rng = np.random.default_rng(5)
    strength = np.exp(0.7 * rng.standard_normal(120))
    true = rng.standard_normal((120, 25))
    sign = np.where(rng.random(true.shape) < special.expit(strength[:, None] * true), 1, -1)
    frame = pd.DataFrame({"annotator": np.repeat([f"c{a}" for a in range(120)], 25)})
    for name, unit in (("first", 1.0), ("second", 7.0)):
        frame[f"{name}_chosen"] = (
            unit * sign * (true + 1.2 * rng.standard_normal(true.shape))
        ).ravel()
        frame[f"{name}_rejected"] = 0.0
    error = ps.measurement_error(frame, ["first", "second"])
    pairs = error.combine(frame)
    assert "reward_chosen" not in frame
    choices = ps.Choices.from_pairs(pairs, chooser="annotator")
    fit = ps.MixedLogit(LAW, errors={"reward": error}).fit(choices, progress=False)
    # In units of the mean's root mean square, sqrt(1 + 1.44 / 2) times larger than true ones.
    mu, sigma = (fit.posterior[f"reward_{p}"].values.ravel() for p in ("mu", "sigma"))
    assert abs(mu.mean() - np.log(np.sqrt(1.72))) < 2.5 * mu.std()
    assert abs(sigma.mean() - 0.7) < 2.5 * sigma.std()
    assert fit.errors["reward"]["members"] == ["first", "second"]


def test_ensembles_that_make_no_sense_are_refused():
    _, rewards = ensemble(50, [1.0, 1.0], [1.0, 1.0])
    frame = pd.DataFrame({"a_chosen": rewards[:, 0], "a_rejected": 0.0})
    cases = [
        ((rewards[:, :1],), "at least two different rewards"),
        ((rewards[:5],), "at least 10 pairs"),
        ((rewards[:, 0],), "shape"),
        ((frame, ["a", "b"]), "none called 'b_chosen'"),
        ((frame,), "Expected the names of the rewards"),
        ((rewards, ["a", "b"]), "with a table of pairs only"),
        ((np.where(np.arange(100).reshape(50, 2) == 7, np.nan, rewards),), "first: 3"),
        ((rewards * [1.0, 0.0],), "only differences of 0"),
        ((rewards * [1.0, -1.0],), "measure something in common"),
        ((rewards[:, :1] * [1.0, 3.0],), "'reward_1' and 'reward_2', which are the same but for"),
        (([["a", "b"]],), "numbers of shape"),
        ((pd.DataFrame({"a_chosen": ["x"] * 50, "a_rejected": 0.0, "b_chosen": rewards[:, 0],
                        "b_rejected": 0.0}), ["a", "b"]), "Column 'a_chosen' should hold numbers"),
    ]  # fmt: skip
    for arguments, sentence in cases:
        with pytest.raises(ps.InputError, match=sentence):
            ps.measurement_error(*arguments)
    error = ps.measurement_error(rewards)
    with pytest.raises(ps.InputError, match="one column for each member"):
        error.combine(rewards[:, :1])
    with pytest.raises(ps.InputError, match="no members to combine"):
        ps.RewardError(sd=1.0).combine(rewards)
    with pytest.raises(ps.InputError, match="column 'prompt'"):
        ps.measurement_error(rewards, prompt="prompt")
