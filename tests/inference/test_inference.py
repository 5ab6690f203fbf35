"""The ways to the posterior: which is taken, what they share, and what they refuse."""

import subprocess
import sys
import warnings

import jax
import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.errors import InputError
from prefstrength.inference import problem as compiled
from prefstrength.inference.groups import prepare_groups
from prefstrength.inference.levels import Levels
from prefstrength.inference.sampling import scalar_likelihood
from prefstrength.inference.single import Single
from prefstrength.models.fitting import Work, sample_population

MODEL = ps.MixedLogit({"reward": ps.LogNormal()})


def choices_of(seed=0, choosers=150, sigma=0.7):
    mixing = ps.LogNormal(mu=0.1, sigma=sigma)
    return ps.simulate(mixing, choosers=choosers, situations=10, spread=1.5, seed=seed)


@pytest.fixture(scope="module")
def choices():
    return choices_of()


@pytest.fixture(scope="module")
def exact(choices):
    return sample_population(MODEL, choices, seed=0)


def likelihood_of(model, choices):
    """Population level and tables, as every way to the posterior starts from them."""
    work = Work.of(model, choices)
    return work.population, scalar_likelihood(work.population, work.data, work.reading)


def moments(sampled, name):
    return float(sampled.variables[name].mean()), float(sampled.variables[name].std())


def test_few_parameters_are_sampled_by_importance_on_a_surrogate(exact):
    assert exact.method == "importance"
    assert exact.how == "log-likelihoods of 150 choosers tabulated over strength"
    assert exact.surrogate is not None
    assert 0 < exact.error < 0.01
    assert exact.extra["effective"] > 3000
    assert exact.extra["pareto_k"] < 0.7


def test_a_fit_by_importance_neither_compiles_nor_loads_a_compiler():
    code = (
        "import sys, prefstrength as ps\n"
        "from prefstrength.models.fitting import sample_population\n"
        "choices = ps.simulate(ps.LogNormal(mu=0.1, sigma=0.7), choosers=20, situations=5)\n"
        "found = sample_population(ps.MixedLogit({'reward': ps.LogNormal()}), choices, draws=50)\n"
        "print(found.method, 'jax' in sys.modules, 'numpyro' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["importance", "False", "False"]


def test_nuts_finds_the_same_posterior(choices, exact):
    nuts = sample_population(MODEL, choices, method="nuts", seed=1)
    for name in ("reward_mu", "reward_sigma"):
        mean, sd = moments(exact, name)
        assert moments(nuts, name)[0] == pytest.approx(mean, abs=0.15 * sd)
        assert moments(nuts, name)[1] == pytest.approx(sd, rel=0.12)
    again = sample_population(MODEL, choices, method="nuts", seed=1)
    for name, value in nuts.variables.items():
        np.testing.assert_array_equal(again.variables[name], value)
    assert nuts.statistics["diverging"].shape == (4, 500)
    assert not nuts.statistics["diverging"].any()


def test_laplace_is_a_gaussian_at_the_mode(choices, exact):
    fit = MODEL.fit(choices, method="laplace", progress=False)
    assert fit.method == "laplace"
    assert fit.check().table["check"].tolist()[0] == "pareto_k"
    assert fit.spec["pareto_k"] < 0.7
    assert fit.summary().loc["reward_mu", "ess"] == fit.spec["effective"]
    laplace = sample_population(MODEL, choices, method="laplace")
    mean, sd = moments(exact, "reward_mu")
    assert moments(laplace, "reward_mu")[0] == pytest.approx(mean, abs=0.3 * sd)
    assert moments(laplace, "reward_mu")[1] == pytest.approx(sd, rel=0.2)


@pytest.mark.slow
def test_variational_inference_comes_near(choices, exact):
    fit = MODEL.fit(choices, method="svi", progress=False)
    assert fit.check().table["check"].tolist()[0] == "elbo_change"
    assert fit.tree["chooser_level"]["reward_strength"].sizes["chooser"] == 150
    svi = sample_population(MODEL, choices, method="svi")
    for name in ("reward_mu", "reward_sigma"):
        mean, sd = moments(exact, name)
        assert moments(svi, name)[0] == pytest.approx(mean, abs=0.2 * sd)
        assert moments(svi, name)[1] == pytest.approx(sd, rel=0.1)
    # Choosers may be many: of 2,000 draws of the population level, 400 have theirs.
    assert svi.variables["reward_mu"].shape == (4, 500)
    assert svi.variables["_chooser_draws"].shape == (4, 100, 150, 1)
    own, others = (
        f.tree["chooser_level"]["reward_strength"].mean("sample").to_numpy()
        for f in (fit, MODEL.fit(choices, progress=False))
    )
    assert np.corrcoef(own, others)[0, 1] > 0.99


@pytest.mark.filterwarnings("ignore:Alternatives with the higher reward")
@pytest.mark.parametrize(
    ("mixing", "seed"),
    [
        (ps.Normal(mu=-0.5, sigma=0.8), 1),
        (ps.Gamma(shape=1.5, rate=2.0), 3),
        (ps.InverseGaussian(mu=0.8, shape=1.0), 1),
    ],
    ids=["Normal", "Gamma", "InverseGaussian"],
)
def test_a_dispersion_that_may_be_zero_has_its_lower_tail(mixing, seed):
    # Pairs do not rule out a dispersion of 0: in its logarithm the posterior has a long tail on
    # one side, and the location bends with it. A proposal of one t misses the tail unseen by k.
    family = type(mixing)
    choices = ps.simulate(mixing, choosers=800, situations=1, spread=1.5, seed=seed)
    frame = pd.DataFrame({"reward_chosen": choices.differences("reward"), "reward_rejected": 0.0})
    pairs = ps.Choices.from_pairs(frame)
    model = ps.MixedLogit({"reward": family()})
    drawn = []
    for seed in range(4):
        found = sample_population(model, pairs, method="importance", draws=1000, seed=seed)
        assert found.extra["pareto_k"] < 0.7
        drawn.append(found.variables["reward_dispersion"].ravel())
    single = Single(*likelihood_of(model, pairs))
    every = np.concatenate(drawn)
    logs = np.linspace(np.log(1e-4), np.log(3 * every.max()), 400)
    location = found.variables["reward_location"].ravel()
    middle, spread = location.mean(), location.std()
    points = np.stack(
        np.meshgrid(logs, middle + spread * np.linspace(-7, 7, 81), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    values = {"location 0": points[:, 1], "dispersion 0": np.exp(points[:, 0])}
    # Of the log dispersion.
    density = single.log_likelihood(values) + single.target.log_prior(values) + points[:, 0]
    density = density.reshape(400, 81)
    mass = np.exp(density - density.max()).sum(axis=1)
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    for share in (0.005, 0.02, 0.1, 0.5):
        cut = np.exp(np.interp(share, below, logs))
        got = np.mean(np.concatenate(drawn) < cut)
        # 16,000 draws, a third of them effective.
        assert got == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 5000))


@pytest.mark.slow
def test_latent_choosers_share_compiled_chains_and_agree(exact, choices):
    from prefstrength.inference import nuts

    def run(seed):
        return sample_population(
            MODEL, choices, method="latent", warmup=200, draws=300, chains=2, seed=seed
        )

    found = run(1)
    before = nuts.advance._cache_size(), nuts.first_state._cache_size()
    again = run(2)
    assert (nuts.advance._cache_size(), nuts.first_state._cache_size()) == before
    assert found.variables["_chooser_draws"].shape == (2, 150, 150, 1)
    assert found.statistics["n_steps"].shape == (2, 300)
    for name in ("reward_mu", "reward_sigma"):
        mean, sd = moments(exact, name)
        both = np.concatenate([each.variables[name].ravel() for each in (found, again)])
        assert both.mean() == pytest.approx(mean, abs=0.25 * sd)
        assert both.std() == pytest.approx(sd, rel=0.25)


def in_groups(sigmas, seed=1, choosers=60):
    """Choosers of groups that differ in how much their choosers differ."""
    parts = [choices_of(seed + s, choosers, sigma) for s, sigma in enumerate(sigmas)]
    frame = pd.concat(
        pd.DataFrame(
            {
                "reward_chosen": part.differences("reward"),
                "reward_rejected": 0.0,
                "who": np.char.add(f"{group}-", np.asarray(part.chooser).astype(str)),
                "group": f"g{group}",
            }
        )
        for group, part in enumerate(parts)
    )
    return ps.Choices.from_pairs(frame, chooser="who", groups=["group"])


GROUPED = ps.MixedLogit({"reward": ps.LogNormal()}, groups=["group"])


@pytest.fixture(scope="module")
def two_groups():
    return in_groups((0.2, 1.0), choosers=150)


def test_groups_of_choosers_are_integrated_level_by_level(two_groups):
    found = sample_population(GROUPED, two_groups, seed=0)
    assert found.method == "importance"
    assert "the levels integrated out" in found.reason
    assert found.error < 0.01
    sigma = found.variables["reward_sigma"].reshape(-1, 2)
    assert (sigma[:, 1] > sigma[:, 0]).mean() > 0.99
    shifts = found.variables["reward_location_group"]
    np.testing.assert_allclose(shifts.sum(axis=-1), 0.0, atol=1e-9)


@pytest.mark.slow
def test_levels_agree_with_surfaces_of_cells_by_nuts(two_groups):
    """The NumPyro program, in which shifts add up to 0 and the base has a prior of its own."""
    found = sample_population(GROUPED, two_groups, seed=0)
    other = sample_population(GROUPED, two_groups, method="nuts", seed=0)
    assert other.how.startswith("surfaces of 2 cells")
    assert 0 < other.error < 0.01
    for name in ("reward_mu", "reward_sigma", "reward_location_sd_group", "reward_location"):
        here, there = (each.variables[name].reshape(2000, -1) for each in (found, other))
        sd = there.std(axis=0)
        np.testing.assert_allclose(here.mean(axis=0), there.mean(axis=0), atol=0.2 * sd.max())
        np.testing.assert_allclose(here.std(axis=0), sd, rtol=0.25)


def test_levels_are_integrated_over_their_population():
    """The four numbers' likelihood against sums over every level's location and dispersion."""
    choices = in_groups((0.3, 0.8), choosers=30)
    population, likelihood = likelihood_of(GROUPED, choices)
    levels = Levels(population, likelihood)
    values = {
        "location": np.array([0.1, 0.3]),
        "location sd": np.array([0.4, 0.05]),
        "log dispersion": np.array([-0.6, -0.3]),
        "dispersion sd": np.array([0.3, 0.6]),
    }
    found = levels.log_likelihood(values)
    z = np.linspace(-6, 6, 61)
    weight = np.exp(-(z**2) / 2) * (z[1] - z[0]) / np.sqrt(2 * np.pi)
    for m in range(2):
        at = {name: value[m] for name, value in values.items()}
        location = np.repeat(at["location"] + at["location sd"] * z, len(z))
        dispersion = np.exp(np.tile(at["log dispersion"] + at["dispersion sd"] * z, len(z)))
        each = likelihood.by_cell(
            [
                ps_blend(location, dispersion),
                ps_blend(location, dispersion),
            ]
        ).reshape(len(z), len(z), 2)
        top = each.max(axis=(0, 1))
        total = np.einsum("i,j,ijc->c", weight, weight, np.exp(each - top))
        assert found[m] == pytest.approx((top + np.log(total)).sum(), abs=1e-4)


def ps_blend(location, dispersion):
    from prefstrength.likelihood.laws import Blend, Laws

    return Blend.of(Laws(ps.LogNormal, location, dispersion))


@pytest.mark.parametrize("sd", [1e-3, 0.05, 0.3, 2.0])
def test_weights_of_a_population_of_levels(sd):
    """They add up to 1 and have its moments, also between nodes and beyond their ends."""
    from prefstrength.inference.levels import normal_weights

    nodes = np.stack([np.linspace(-12.0, 12.0, 241), np.linspace(-9.0, 11.0, 241)])
    mean = np.array([0.033, -0.4])
    found = normal_weights(nodes, mean, np.full(2, sd))
    np.testing.assert_allclose(found.sum(axis=2), 1.0, rtol=1e-6)
    middle = np.einsum("mcn,cn->mc", found, nodes)
    np.testing.assert_allclose(middle, np.tile(mean[:, None], 2), atol=1e-5)
    square = np.einsum("mcn,cn->mc", found, nodes**2) - middle**2
    np.testing.assert_allclose(square, sd**2, rtol=2e-3)


def test_the_second_data_set_of_a_structure_compiles_nothing(monkeypatch):
    from prefstrength.inference import traced

    # A Gaussian at the mode leaves the surfaces; what matters here is what they are made of.
    monkeypatch.setattr(traced, "surface_error", lambda *_: (1.0, 0.0))
    functions = (compiled.potential_and_gradient, compiled.potentials, compiled.gradients_at)

    def laplace(seed, choosers):
        choices = in_groups((0.3, 0.8), seed=seed, choosers=choosers)
        return sample_population(GROUPED, choices, method="laplace", seed=0)

    laplace(1, 40)
    before = [function._cache_size() for function in functions]
    # Another number of choosers, another scale: the same structure.
    laplace(5, 30)
    assert [function._cache_size() for function in functions] == before


@pytest.mark.filterwarnings("ignore:Alternatives with the higher reward")
def test_levels_of_which_hardly_anything_is_known():
    # Hardly anything is known of a dispersion so large that choosers only show their signs: the
    # Gaussian at the mode is far wider than the posterior, and a surface over all of it wrong.
    rng = np.random.default_rng(7)
    who = np.repeat(np.arange(90), 12)
    taste = rng.normal([-2.0, -1.7, -0.8], [0.7, 5.0, 0.4], (30, 3)).reshape(-1)[who]
    r = rng.normal(0, 1.5, len(who))
    chosen = rng.random(len(who)) < 1 / (1 + np.exp(-taste * r))
    frame = pd.DataFrame(
        {
            "reward_chosen": np.where(chosen, r, -r),
            "reward_rejected": 0.0,
            "who": who.astype(str),
            "region": np.array(["east", "north", "west"])[who % 3],
        }
    )
    choices = ps.Choices.from_pairs(frame, chooser="who", groups=["region"])
    model = ps.MixedLogit({"reward": ps.Normal()}, groups=["region"])
    found = sample_population(model, choices, seed=0)
    assert found.error < 0.01
    sigma = found.variables["reward_sigma"].reshape(-1, 3)
    assert 2.0 < np.median(sigma[:, 1]) < 8.0


def test_nuts_goes_on_without_surfaces_where_they_do_not_hold(monkeypatch):
    from prefstrength.inference import traced

    choices = in_groups((0.3, 0.8), choosers=30)
    monkeypatch.setattr(traced, "surface_error", lambda *_: (1.0, 0.0))
    usual = sample_population(GROUPED, choices, method="laplace", seed=0)
    assert usual.how.startswith("surfaces")
    for inside, error in ((0.9, 0.0), (1.0, 1.0)):
        monkeypatch.setattr(traced, "surface_error", lambda *_, told=(inside, error): told)
        found = sample_population(GROUPED, choices, method="laplace", seed=0)
        assert found.how.startswith("tables of 60 units")
        for name in ("reward_mu", "reward_sigma"):
            np.testing.assert_allclose(
                found.variables[name].mean(axis=(0, 1)),
                usual.variables[name].mean(axis=(0, 1)),
                atol=0.02,
            )


@pytest.mark.slow
def test_many_groups_are_told_apart_from_a_mode_that_did_not_collapse():
    # With the shifts as they are the density rises without bound as they go to 0: the mode found
    # had a log sd of -32, and chains needed 1,023 steps for each draw.
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(16), 20)
    strength = np.exp(0.4 * rng.standard_normal(16)[group] + 0.5 * rng.standard_normal(320))
    x = rng.normal(0, 1.5, (320, 10))
    first = rng.random(x.shape) < 1 / (1 + np.exp(-strength[:, None] * x))
    table = pd.DataFrame(
        {
            "reward_chosen": np.where(first, x, -x).ravel(),
            "reward_rejected": 0.0,
            "who": np.repeat(np.arange(320), 10),
            "region": np.repeat(group, 10).astype(str),
        }
    )
    choices = ps.Choices.from_pairs(table, chooser="who", groups="region")
    model = ps.MixedLogit({"reward": ps.LogNormal()}, groups=("region",))
    with jax.enable_x64(True):
        problem, mode = prepare_groups(*likelihood_of(model, choices))
    log_sds = mode.at[[shifts.log_sd for shifts in problem.shifts]]
    assert (log_sds > -6).all()
    run = sample_population(model, choices, method="nuts", seed=0, draws=200, chains=2)
    assert run.statistics["n_steps"].mean() < 60
    assert run.statistics["diverging"].mean() < 0.02
    other = sample_population(model, choices, method="importance", seed=0)
    assert other.extra["pareto_k"] < 0.7
    for name in ("reward_location_sd_region", "reward_dispersion_sd_region"):
        mean, sd = moments(other, name)
        assert moments(run, name)[0] == pytest.approx(mean, abs=0.4 * sd)


def test_a_gaussian_so_wide_that_parameters_overflow():
    # A coefficient of variation of 5: some draws of the Gaussian at the mode have a shape of 0.
    from benchmarks.calibration import configurations
    from prefstrength.validation.replicates import Replicates

    model, design = configurations()["Gamma-groups"]
    _, choices = Replicates.of(model, design, 0, 2000, 99, None).simulate(88)
    found = sample_population(model, choices, seed=0)
    assert found.error < 0.01
    assert np.isfinite(found.variables["reward_shape"]).all()


def test_methods_and_options_are_checked_at_the_door(choices):
    with pytest.raises(InputError, match="Expected method to be one of .*; got 'mcmc'"):
        sample_population(MODEL, choices, method="mcmc")
    with pytest.raises(InputError, match="Expected draws of at least 50; got 3"):
        sample_population(MODEL, choices, draws=3)


def with_groups(crossed, choosers=120, situations=8, seed=3):
    """Choosers who differ by region, asked in one or both of two domains."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(choosers), situations)
    region = who % 2
    domain = rng.integers(2, size=len(who)) if crossed else region
    strength = np.exp(0.4 * region + 0.3 * domain + 0.6 * rng.standard_normal(choosers)[who])
    r = rng.normal(0, 1.5, len(who))
    chosen = rng.random(len(who)) < 1 / (1 + np.exp(-strength * r))
    frame = pd.DataFrame(
        {
            "reward_chosen": np.where(chosen, r, -r),
            "reward_rejected": 0.0,
            "who": who.astype(str),
            "region": np.array(["east", "west"])[region],
            "domain": np.array(["code", "talk"])[domain],
        }
    )
    groups = ["region", "domain"] if crossed else ["region"]
    choices = ps.Choices.from_pairs(frame, chooser="who", groups=groups)
    return choices, ps.MixedLogit({"reward": ps.LogNormal()}, groups=groups)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["panel", "pairs", "crossed", "Gamma", "InverseGaussian"])
def test_every_way_agrees_with_latent_choosers(kind, choices):
    if kind == "panel":
        model = MODEL
    elif kind in ("Gamma", "InverseGaussian"):
        model = ps.MixedLogit({"reward": getattr(ps, kind)()})
    elif kind == "pairs":
        model = MODEL
        frame = pd.DataFrame({"reward_chosen": choices.differences("reward")[:600]})
        choices = ps.Choices.from_pairs(frame.assign(reward_rejected=0.0))
    else:
        choices, model = with_groups(crossed=True)
    reference = sample_population(model, choices, method="latent", warmup=600, draws=1500, seed=5)
    for method in ("importance", "nuts", "svi"):
        with warnings.catch_warnings():
            # Whether the weights hold is the guard's to say; what they give is compared here.
            warnings.simplefilter("ignore", ps.SamplingWarning)
            found = sample_population(model, choices, method=method, draws=1000, seed=6)
        if method == "importance" and found.extra["pareto_k"] > 0.7:
            continue
        shown = ("reward_location", "reward_dispersion")
        for name in (
            shown if kind in ("Gamma", "InverseGaussian") else ("reward_mu", "reward_sigma")
        ):
            want = reference.variables[name].reshape(6000, -1)
            got = found.variables[name].reshape(4000, -1)
            sd = want.std(axis=0)
            # A few hundred effective draws of the reference.
            np.testing.assert_allclose(got.mean(axis=0), want.mean(axis=0), atol=0.2 * sd.max())
            np.testing.assert_allclose(got.std(axis=0), sd, rtol=0.25)


def three_attributes(choosers, situations=15, seed=0):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(choosers), situations)
    values = rng.normal(0, 1.2, (len(who), 3))
    strength = np.stack(
        [
            np.exp(0.2 + 0.6 * rng.standard_normal(choosers)),
            rng.normal(0.3, 0.8, choosers),
            rng.gamma(2.0, 0.4, choosers),
        ],
        axis=1,
    )[who]
    chosen = rng.random(len(who)) < 1 / (1 + np.exp(-(strength * values).sum(axis=1)))
    values = np.where(chosen[:, None], values, -values)
    frame = pd.DataFrame({"who": who.astype(str)})
    names = ["reward", "length", "safety"]
    for column, name in enumerate(names):
        frame[f"{name}_chosen"], frame[f"{name}_rejected"] = values[:, column], 0.0
    model = ps.MixedLogit({"reward": ps.LogNormal(), "length": ps.Normal(), "safety": ps.Gamma()})
    return ps.Choices.from_pairs(frame, chooser="who", attributes=names), model


def test_mini_batches_without_anything_random(choices):
    model = ps.MixedLogit({"reward": ps.PointMass()})
    svi = sample_population(model, choices, method="svi", draws=500, chains=2)
    exact = sample_population(model, choices, method="importance")
    mean, sd = moments(exact, "reward_value")
    assert moments(svi, "reward_value")[0] == pytest.approx(mean, abs=0.3 * sd)


def test_what_cannot_be_integrated_is_sampled_and_says_so():
    choices, model = three_attributes(choosers=12, situations=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ps.SamplingWarning)  # far too few draws
        fit = model.fit(choices, draws=50, warmup=50, chains=2, progress=False)
    assert fit.method == "latent"
    assert fit.spec["reason"].startswith("Integrating the coefficients out expects")
    assert fit.spec["likelihood"]["how"] == "latent choosers, nothing integrated"
    assert set(fit.posterior.data_vars) > {"reward_mu", "length_sigma", "safety_shape"}
    with pytest.raises(
        InputError, match="at most two random attributes.*or `method='svi'` for many"
    ):
        model.fit(choices, method="nuts", progress=False)


@pytest.mark.slow
def test_three_random_attributes_by_latent_choosers_and_by_mini_batches():
    choices, model = three_attributes(choosers=120)
    latent = sample_population(model, choices, draws=800, seed=1)
    assert latent.method == "latent"
    svi = sample_population(model, choices, method="svi", seed=2)
    for name, true in (("reward_mu", 0.2), ("length_sigma", 0.8), ("safety_dispersion", 0.71)):
        mean, sd = moments(latent, name)
        assert abs(mean - true) < 3 * sd
        assert moments(svi, name)[0] == pytest.approx(mean, abs=0.3 * sd)
        assert moments(svi, name)[1] == pytest.approx(sd, rel=0.2)
