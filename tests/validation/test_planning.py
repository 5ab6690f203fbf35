"""Planning: information against enumeration, widths against formulas and simulated fits."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from scipy import special, stats
from typer.testing import CliRunner

import prefstrength as ps
from prefstrength.pipeline.cli import app
from prefstrength.validation.information import chooser_information
from prefstrength.validation.planning import law_of_mean, plan

# -- information -----------------------------------------------------------------------------------


def normal_rule(nodes):
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    return z, weight / weight.sum()


@pytest.mark.parametrize(("sigma", "expected"), [(0.7, 8.9), (0.3, 10.9)])
def test_sd_of_sigma_for_pairs_without_repeated_choosers(sigma, expected):
    one = chooser_information(ps.LogNormal(mu=0.0, sigma=sigma), [1], spread=1.5)[0]
    assert math.sqrt(np.linalg.inv(one)[1, 1]) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    "mixing",
    [ps.LogNormal(mu=0.3, sigma=0.6), ps.Gamma(shape=2.0, rate=1.5), ps.Normal(mu=1.0, sigma=0.8)],
    ids=lambda mixing: mixing.family,
)
def test_one_choice_is_the_gradient_of_the_choice_probability(mixing):
    """E[score score'] of the public log_choice_probability, differentiated by JAX."""
    location, dispersion = mixing.location_dispersion()
    x = np.linspace(-8.0, 8.0, 1601)
    weight, x = stats.norm.pdf(x) * 0.01, 1.5 * x

    def log_p(both, x):
        if mixing.family == "Gamma":
            shape = both[1] ** -2
            law = ps.Gamma(shape=shape, rate=shape * jnp.exp(-both[0]))
        else:
            law = type(mixing)(mu=both[0], sigma=both[1])
        return ps.log_choice_probability(x, law)

    with jax.enable_x64(True):
        both = jnp.array([location, dispersion])
        of_all = jax.jit(jax.vmap(jax.value_and_grad(log_p), (None, 0)))
        log, score = map(np.asarray, of_all(both, jnp.asarray(x)))
    p = np.exp(log)
    # The second alternative is chosen at x as often as the first at -x: twice the first's share.
    expected = np.einsum("x,xi,xj->ij", 2 * weight * p, score, score)
    found = chooser_information(mixing, [1], spread=1.5)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_two_choices_against_enumeration():
    """Four outcomes, both differences by quadrature: no simulated choosers."""
    mu, sigma, spread = 0.2, 0.8, 1.2
    z, of_z = normal_rule(60)
    x, of_x = normal_rule(40)
    beta, x = np.exp(mu + sigma * z), spread * x
    up = special.expit(x[:, None] * beta)  # (difference, node)
    expected = np.zeros((2, 2))
    for first in (up, 1 - up):
        for second in (up, 1 - up):
            both = first[:, None] * second[None]
            slope = both * (_slope(first, up, x, beta)[:, None] + _slope(second, up, x, beta)[None])
            p = both @ of_z
            gradient = np.stack([slope @ of_z, slope @ (of_z * z)], axis=-1)
            weight = of_x[:, None] * of_x / p
            expected += np.einsum("xy,xyi,xyj->ij", weight, gradient, gradient)
    found = chooser_information(ps.LogNormal(mu=mu, sigma=sigma), [1, 2], spread)[1]
    np.testing.assert_allclose(np.diag(found), np.diag(expected), rtol=0.08)
    assert found[0, 1] == pytest.approx(expected[0, 1], abs=0.02)


def _slope(outcome, up, x, beta):
    """Derivative of log σ(±βx) in log β, for each difference and node."""
    u = x[:, None] * beta
    return np.where(outcome is up, (1 - up) * u, -up * u)


def test_units_of_the_reward_do_not_matter():
    once = chooser_information(ps.LogNormal(mu=0.4, sigma=0.6), [1, 5], spread=1.0)
    scaled = chooser_information(ps.LogNormal(mu=0.4 - math.log(3), sigma=0.6), [1, 5], spread=3.0)
    np.testing.assert_allclose(once, scaled, rtol=1e-9)


def test_information_grows_with_choices_to_that_of_known_strengths():
    """With many choices each strength is known: information 1/σ² on μ and 2/σ² on σ."""
    sigma = 0.7
    growing = chooser_information(ps.LogNormal(mu=0.5, sigma=sigma), [1, 4, 16, 64, 400], 2.0)
    assert (np.diff(growing[:, 0, 0]) > 0).all()
    assert (np.diff(growing[:, 1, 1]) > 0).all()
    assert growing[-1, 0, 0] == pytest.approx(1 / sigma**2, rel=0.15)
    assert growing[-1, 1, 1] == pytest.approx(2 / sigma**2, rel=0.3)


def test_information_on_a_vanishing_dispersion_vanishes_with_its_square():
    small, smaller = (
        chooser_information(ps.LogNormal(mu=0.0, sigma=s), [1, 10])[:, 1, 1] for s in (0.04, 0.02)
    )
    np.testing.assert_allclose(small / smaller, 4.0, rtol=0.05)


# -- the plan --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planned():
    return plan(
        [ps.LogNormal(mu=0.0, sigma=0.7), ps.PointMass(value=1.0)],
        choosers=[10, 1_000, 1_000_000],
        situations=[1, 10],
    )


def row(planned, law, situations, choosers):
    table = planned.table
    mine = table["mixing"].str.startswith(law)
    mine &= (table["situations"] == situations) & (table["choosers"] == choosers)
    return table[mine].iloc[0]


def test_standard_errors_fall_with_the_root_of_the_choosers(planned):
    one, many = (row(planned, "LogNormal", 10, n) for n in (1_000, 1_000_000))
    for name in ("location_se", "dispersion_se"):
        assert one[name] / many[name] == pytest.approx(math.sqrt(1000), rel=1e-9)
    assert row(planned, "LogNormal", 1, 1_000)["dispersion_se"] == pytest.approx(
        8.9 / math.sqrt(1_000), rel=0.01
    )


def test_the_posterior_lies_between_the_prior_and_the_data(planned):
    much = row(planned, "LogNormal", 10, 1_000_000)
    assert much["dispersion_sd"] == pytest.approx(much["dispersion_se"], rel=0.01)
    assert much["location_sd"] == pytest.approx(much["location_se"], rel=0.01)
    little = row(planned, "LogNormal", 1, 10)
    # HalfNormal(1), Normal(-log 1.5, 1)
    assert little["dispersion_sd"] == pytest.approx(stats.halfnorm.std(), rel=0.05)
    assert 0.5 < little["location_sd"] < 1.0
    assert little["location_sd"] < little["location_se"]


def test_the_verdict_comes_with_data_and_is_the_right_one(planned):
    for law, verdict in (("LogNormal", "heterogeneous"), ("PointMass", "homogeneous")):
        assert row(planned, law, 10, 10)["probability"] < 0.5
        assert row(planned, law, 10, 1_000_000)["probability"] == 1.0
        # One choice each: a bend of the utility explains as much, and nobody can tell.
        assert row(planned, law, 1, 1_000_000)["probability"] == 0.0
        assert row(planned, law, 10, 1_000)["verdict"] == verdict
    assert row(planned, "PointMass", 1, 1_000)["dispersion_se"] == np.inf


def test_the_number_needed_is_enough_and_hardly_more(planned):
    for needed, reached in (
        (planned.needed(0.9), lambda e: e["probability"] >= 0.9),
        (planned.needed(sd=0.05), lambda e: e["dispersion_sd"] <= 0.05),
        (planned.needed(sd=0.05, of="location"), lambda e: e["location_sd"] <= 0.05),
    ):
        for design, choosers in zip(planned.designs, needed["choosers"], strict=True):
            if np.isinf(choosers):
                assert design.situations == 1
                continue
            assert reached(design.expect(choosers))
            assert not reached(design.expect(0.97 * choosers - 1))
        told = np.isfinite(needed["choosers"])
        assert told.sum() >= 2
        assert (needed["annotations"] == needed["choosers"] * needed["situations"]).all()


def test_what_lies_at_the_rope_is_never_told():
    sigma = math.sqrt(math.log(1 + 0.25**2))  # sd/mean is 0.25
    never = plan(ps.LogNormal(mu=0.0, sigma=sigma), situations=[5]).needed(0.9)
    assert never["choosers"].tolist() == [np.inf]


def test_a_surer_prior_counts_as_data():
    wide, narrow = (
        plan(
            ps.LogNormal(mu=0.0, sigma=0.7),
            choosers=[50],
            situations=[2],
            priors={"reward_sigma": dist.LogNormal(math.log(0.7), sd)},
        ).table.iloc[0]
        for sd in (1.0, 0.1)
    )
    assert narrow["dispersion_sd"] == pytest.approx(0.07, rel=0.05)
    assert wide["dispersion_sd"] > 3 * narrow["dispersion_sd"]
    # So sure that no data of this size make the verdict their own.
    assert narrow["probability"] < 0.05


def test_a_model_is_planned_at_the_medians_of_its_prior():
    model = ps.MixedLogit({"length": ps.LogNormal()}, priors={"length_mu": dist.Normal(0.3, 0.2)})
    table = plan(model, choosers=[100], situations=[3]).table
    assert table["mixing"].tolist() == ["LogNormal(mu=0.3, sigma=0.674)"]
    assert table["location_sd"][0] < 0.2


def test_a_plan_says_what_it_cannot_do():
    law = ps.LogNormal(mu=0.0, sigma=0.7)
    for bad, said in (
        ({"choosers": [0]}, "choosers as whole numbers"),
        ({"situations": [1.5]}, "situations as whole numbers"),
        ({"spread": -1.0}, "spread > 0"),
        ({"rope": 0.0}, "rope > 0"),
        ({"priors": {"reward_sigma": dist.HalfNormal(1.0), "sigma": 1}}, "priors for"),
    ):
        with pytest.raises(ps.InputError, match=said):
            plan(law, **bad)
    with pytest.raises(ps.InputError, match="known|parameters"):
        plan(ps.LogNormal())
    with pytest.raises(TypeError, match="known mixing distributions, a fit or a model"):
        plan(["LogNormal"])
    with pytest.raises(ps.InputError, match="one coefficient without groups"):
        plan(ps.MixedLogit({"reward": ps.LogNormal()}, groups=["region"]))
    small = plan(law, choosers=[20], situations=[1])
    with pytest.raises(ps.InputError, match="'dispersion' or 'location'"):
        small.needed(sd=0.1, of="mean")
    with pytest.raises(ps.InputError, match="between 0 and 1"):
        small.needed(90)
    with pytest.raises(ps.InputError, match="positive strength"):
        plan(ps.PointMass(value=-1.0))


# -- from the command line -------------------------------------------------------------------------


def test_the_command_writes_what_it_says(tmp_path):
    out = tmp_path / "plan"
    result = CliRunner().invoke(
        app,
        ["plan", "--mean", "1.2", "--cv", "0.5", "--family", "gamma", "--choosers", "200"]
        + ["--choosers", "400", "--situations", "1", "--situations", "8", "--out", str(out)],
        env={"COLUMNS": "200"},
    )
    assert result.exit_code == 0, result.output
    assert "Gamma(shape=4, rate=3.33)" in result.output
    assert "The right verdict would be: heterogeneous." in result.output
    assert sorted(p.name for p in out.iterdir()) == ["needed.csv", "plan.csv", "plan.png"]
    needed = pd.read_csv(out / "needed.csv")
    assert "With 1 choice each, 80% takes more than anyone has" in result.output
    assert f"With 8 choices each, 80% takes {needed['annotations'][1]:,.0f}" in result.output
    assert len(pd.read_csv(out / "plan.csv")) == 4
    refused = CliRunner().invoke(app, ["plan", "--mean", "-1"])
    assert refused.exit_code == 2
    assert "mean > 0" in refused.output


@pytest.mark.parametrize("family", ["LogNormal", "Gamma", "Normal"])
def test_a_law_from_mean_and_cv(family):
    law = law_of_mean(family, 1.7, 0.6)
    assert (law.family, law.mean(), law.cv()) == (family, pytest.approx(1.7), pytest.approx(0.6))
    assert law_of_mean(family, 1.7, 0.0).family == "PointMass"


# -- against simulated fits ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("truth", "choosers", "situations"),
    [
        (ps.LogNormal(mu=0.0, sigma=0.7), 3000, 1),
        (ps.LogNormal(mu=0.0, sigma=0.7), 60, 10),
        (ps.LogNormal(mu=0.0, sigma=0.3), 200, 10),
        (ps.PointMass(value=1.0), 150, 20),
    ],
    ids=["pairs", "panel", "nearly homogeneous", "homogeneous"],
)
def test_the_plan_is_what_simulated_data_show(truth, choosers, situations):
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    expected = plan(truth, [choosers], [situations]).table.iloc[0]
    means, sds, reached = [], [], []
    for seed in range(100):
        data = ps.simulate(truth, choosers, situations, 1.5, seed=seed)
        fit = model.fit(data, seed=seed, progress=False)
        sigma = np.asarray(fit.posterior["reward_sigma"])
        means.append(sigma.mean())
        sds.append(sigma.std())
        reached.append(ps.heterogeneity(fit)["verdict"][0] == expected["verdict"])
    assert np.mean(sds) == pytest.approx(expected["dispersion_sd"], rel=0.1)
    share = np.mean(reached)
    assert share == pytest.approx(expected["probability"], abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("choosers", "situations"), [(100, 15), (1000, 1)])
def test_homogeneous_data_are_hardly_ever_called_heterogeneous(choosers, situations):
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    false_alarms = 0
    for seed in range(200):
        data = ps.simulate(ps.PointMass(value=1.0), choosers, situations, 1.5, seed=seed)
        fit = model.fit(data, seed=seed, progress=False)
        false_alarms += ps.heterogeneity(fit)["verdict"][0] == "heterogeneous"
    assert false_alarms <= 10
