"""The ways to the posterior: which is taken, what they share, and what they refuse."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.errors import InputError
from prefstrength.inference import problem as compiled
from prefstrength.models.fitting import sample_population

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


def moments(sampled, name):
    return float(sampled.variables[name].mean()), float(sampled.variables[name].std())


def test_few_parameters_are_sampled_by_importance_on_surfaces(exact):
    assert exact.method == "importance"
    assert "a surface for each cell" in exact.how
    assert 0 < exact.error < 0.01
    assert exact.extra["effective"] > 5000


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
    problem, box = found.prepared.problem, found.prepared.box
    logs = np.linspace(np.log(1e-4), np.log(box.most), 500)
    locations = np.linspace(box.low[0], box.high[0], 200)
    points = np.stack(np.meshgrid(logs, locations, indexing="ij"), axis=-1).reshape(-1, 2)
    with jax.enable_x64(True):
        np.testing.assert_allclose(  # the order of the unconstrained parameters
            np.log(problem.constrain(points[:1])["reward_dispersion"][0]), points[0, 0]
        )
        density = -problem.values(points).reshape(500, 200)
    mass = np.exp(density - density.max()).sum(axis=1)
    below = (np.cumsum(mass) - mass / 2) / mass.sum()
    for share in (0.005, 0.02, 0.1, 0.5):
        cut = np.exp(np.interp(share, below, logs))
        got = np.mean(np.concatenate(drawn) < cut)
        # 16,000 draws, a third of them effective.
        assert got == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 5000))


def test_the_hundredth_fit_compiles_nothing(exact):
    functions = (compiled._value_and_gradient, compiled._values, compiled._gradients)
    before = [function._cache_size() for function in functions]
    # Another number of choosers, another scale, another dispersion: the same structure.
    sample_population(MODEL, choices_of(seed=5, choosers=90, sigma=0.3), seed=3)
    assert [function._cache_size() for function in functions] == before


def test_latent_choosers_share_compiled_chains_and_agree(exact, choices):
    from prefstrength.inference import nuts

    def run(seed):
        return sample_population(
            MODEL, choices, method="latent", warmup=200, draws=300, chains=2, seed=seed
        )

    found = run(1)
    before = nuts._advance._cache_size(), nuts._first._cache_size()
    again = run(2)
    assert (nuts._advance._cache_size(), nuts._first._cache_size()) == before
    assert found.variables["_chooser_draws"].shape == (2, 150, 150, 1)
    assert found.statistics["n_steps"].shape == (2, 300)
    for name in ("reward_mu", "reward_sigma"):
        mean, sd = moments(exact, name)
        both = np.concatenate([each.variables[name].ravel() for each in (found, again)])
        assert both.mean() == pytest.approx(mean, abs=0.25 * sd)
        assert both.std() == pytest.approx(sd, rel=0.25)


def test_groups_of_choosers_have_surfaces_of_their_own():
    parts = [choices_of(seed=s, sigma=sigma) for s, sigma in ((1, 0.2), (2, 1.0))]
    frame = pd.concat(
        pd.DataFrame(
            {
                "reward_chosen": part.differences("reward"),
                "reward_rejected": 0.0,
                "who": np.char.add(f"{group}-", np.asarray(part.chooser).astype(str)),
                "group": group,
            }
        )
        for group, part in zip("ab", parts, strict=True)
    )
    choices = ps.Choices.from_pairs(frame, chooser="who", groups=["group"])
    model = ps.MixedLogit({"reward": ps.LogNormal()}, groups=["group"])
    found = sample_population(model, choices, method="nuts", seed=0)
    assert "a surface for each cell" in found.how
    assert found.error < 0.01
    sigma = found.variables["reward_sigma"].reshape(-1, 2)
    assert (sigma[:, 1] > sigma[:, 0]).mean() > 0.99
    # The same with the choosers integrated through tables, by importance sampling.
    other = sample_population(model, choices, method="importance", seed=0)
    there = other.variables["reward_sigma"].reshape(-1, 2)
    np.testing.assert_allclose(there.mean(axis=0), sigma.mean(axis=0), atol=0.02)


def test_a_posterior_at_the_edge_of_its_box_gets_a_larger_one(choices):
    from prefstrength.inference.prepare import prepare
    from prefstrength.likelihood.data import LikelihoodData

    with jax.enable_x64(True):
        population = MODEL.population(choices)
        data = LikelihoodData.of(choices, ("reward",), np.zeros(choices.n_situations, dtype=int))
        prepared = prepare(population, data, (ps.LogNormal,))
        spread = np.sqrt(np.diag(prepared.mode.covariance))
        near = prepared.mode.at + np.array([[0.0, 0.0], [1.0, 1.0]]) * spread
        assert prepared.suits(near)[0]
        far = prepared.mode.at + np.array([[0.0, 0.0], [9.0, 9.0]]) * spread
        assert not prepared.suits(far)[0]
        larger = prepared.moved(far)
        inside, error = larger.suits(far)
        assert inside
        assert error < 0.05
        # Larger dispersions need finer nodes: the summary is made for them, and certified anew.
        assert larger.box.most > prepared.box.most
        assert larger.summary.dispersion >= larger.box.most
        assert larger.error < 0.01


def test_a_box_far_too_wide_is_cut_down_to_the_posterior():
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
    assert "a surface for each cell" in found.how
    assert found.error < 0.01
    sigma = found.variables["reward_sigma"].reshape(-1, 3)
    box = found.prepared.box
    assert box.most < 3 * sigma.max()
    location = found.variables["reward_mu"].reshape(-1, 3)
    assert ((box.high - box.low) < 3 * np.ptp(location, axis=0)).all()
    assert 2.0 < np.median(sigma[:, 1]) < 8.0


def test_a_box_that_zooming_does_not_find_comes_from_the_summary_itself(choices, monkeypatch):
    from prefstrength.inference import prepare
    from prefstrength.inference.mode import Mode
    from prefstrength.likelihood.data import LikelihoodData

    find_mode, boxes = prepare.find_mode, []

    def lost_at_first(problem, start=None):
        monkeypatch.setattr(prepare, "find_mode", find_mode)
        return Mode(np.full(problem.size, 1e4), np.eye(problem.size))

    with jax.enable_x64(True):
        population = MODEL.population(choices)
        data = LikelihoodData.of(choices, ("reward",), np.zeros(choices.n_situations, dtype=int))
        for name, value in (
            ("_MOST_ZOOMS", prepare._MOST_ZOOMS),  # as it is
            ("_MOST_ZOOMS", 1),  # no box suits in time
            ("_BELIEVED", -1.0),  # the surfaces are wrong at the mode found on them
            ("find_mode", lost_at_first),  # the mode is where parameters overflow
        ):
            with monkeypatch.context() as patched:
                patched.setattr(prepare, name, value)
                boxes.append(prepare.prepare(population, data, (ps.LogNormal,)).box)
    usual, *others = boxes
    for other in others:
        assert other is not usual
        np.testing.assert_allclose([other.low, other.high], [usual.low, usual.high], atol=0.05)
        assert other.most == pytest.approx(usual.most, abs=0.05)


@pytest.mark.slow
def test_a_first_box_that_goes_astray_is_found_without_surfaces():
    # A Gamma law with a coefficient of variation near 4: a few nodes cannot follow its surface,
    # and zooming in on the mode ended in a box of 65 units of log strength.
    from benchmarks.calibration import configurations
    from prefstrength.inference.population import cell_codes
    from prefstrength.inference.prepare import prepare
    from prefstrength.likelihood.data import LikelihoodData
    from prefstrength.validation.replicates import Replicates

    model, design = configurations()["Gamma-groups"]
    with jax.enable_x64(True):
        _, choices = Replicates.of(model, design, 0, 2000, 99, None).simulate(446)
        population = model.population(choices)
        data = LikelihoodData.of(choices, ("reward",), cell_codes(choices, ["region"])[1])
        box = prepare(population, data, (ps.Gamma,)).box
    assert (box.high - box.low < 15).all()
    assert box.most > 3


def test_nuts_goes_on_without_surfaces_where_no_box_will_do(choices, exact, monkeypatch):
    from prefstrength.inference.prepare import Prepared

    looks = []

    def never(self, flat, well=False):
        looks.append(len(flat))
        return (self.box is None, 0.0)

    monkeypatch.setattr(Prepared, "suits", never)
    found = sample_population(MODEL, choices, method="nuts", seed=0, draws=300, chains=2)
    assert "surface" not in found.how
    # Five short pilots, then one run: no full run on a box that pilots have left.
    assert looks == [100] * 5 + [600]
    for name in ("reward_mu", "reward_sigma"):
        mean, sd = moments(exact, name)
        assert moments(found, name)[0] == pytest.approx(mean, abs=0.4 * sd)


@pytest.mark.parametrize("angle", [0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_the_covariance_at_a_mode_can_be_factored_whatever_the_curvature(angle):
    from prefstrength.inference.mode import find_mode

    class Steep:
        """One direction as steep as next to an overflow, one flat, askew."""

        size, start, shifts = 2, np.zeros(2), []
        spreads = np.zeros(2, dtype=bool)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        hessian = turn @ np.diag([1e30, 1e-8]) @ turn.T

        def value_and_gradient(self, flat):
            return float(flat @ self.hessian @ flat) / 2, self.hessian @ flat

        def gradients(self, flat):
            return flat @ self.hessian

    mode = find_mode(Steep())
    assert np.isfinite(np.linalg.cholesky(mode.covariance)).all()


class Shifted:
    """Gaussian means of 12 groups, with known errors: the density of their sd is known exactly."""

    size, precision, known = 13, 30.0, np.linspace(-0.5, 0.7, 12)
    spreads = np.array([True] + [False] * 12)
    start = np.r_[np.log(0.3), np.zeros(12)]

    def __init__(self, centring):
        from prefstrength.inference.problem import Shifts

        self.c = centring
        self.shifts = [Shifts(0, np.arange(1, 13), centring)]

    def _of(self, flat):
        # sd ~ HalfNormal(0.5), in its logarithm; the known means as data
        sd, raw = jnp.exp(flat[0]), flat[1:]
        prior = (
            2 * sd**2 - flat[0] + (raw**2).sum() / 2 / sd ** (2 * self.c) + 12 * self.c * flat[0]
        )
        return prior + self.precision * ((sd ** (1 - self.c) * raw - self.known) ** 2).sum() / 2

    def value_and_gradient(self, flat):
        with jax.enable_x64(True):
            value, gradient = jax.value_and_grad(self._of)(jnp.asarray(flat))
            return float(value), np.asarray(gradient)

    def gradients(self, flat):
        return np.stack([self.value_and_gradient(one)[1] for one in flat])


@pytest.mark.parametrize("centring", [0.0, 0.4, 1.0])
def test_the_mode_is_of_spreads_with_the_shifts_of_groups_integrated_out(centring):
    from scipy import optimize

    from prefstrength.inference.mode import find_mode

    problem = Shifted(centring)

    def marginal(log_sd):
        variance = np.exp(2 * log_sd) + 1 / problem.precision
        held = (log_sd - problem.start[0]) ** 2 / 18
        data = ((problem.known**2 / variance) + np.log(variance)).sum() / 2
        return data + 2 * np.exp(2 * log_sd) - log_sd + held

    best = optimize.minimize_scalar(marginal, bounds=(-6, 2), method="bounded").x
    mode = find_mode(problem)
    assert mode.at[0] == pytest.approx(best, abs=1e-3)
    curvature = (marginal(best + 1e-3) - 2 * marginal(best) + marginal(best - 1e-3)) / 1e-6
    assert 0.6 < mode.covariance[0, 0] * curvature < 1.7


def test_many_groups_are_told_apart_from_a_mode_that_did_not_collapse():
    # With the shifts as they are the density rises without bound as they go to 0: the mode found
    # had a log sd of -32, and chains needed 1,023 steps for each draw.
    from prefstrength.inference.population import cell_codes
    from prefstrength.inference.prepare import prepare
    from prefstrength.likelihood.data import LikelihoodData

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
        data = LikelihoodData.of(choices, ("reward",), cell_codes(choices, ["region"])[1])
        prepared = prepare(model.population(choices), data, (ps.LogNormal,))
    log_sds = prepared.mode.at[[shifts.log_sd for shifts in prepared.problem.shifts]]
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
    assert fit.spec["reason"].startswith("3 random attributes and 72 situations are too many")
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
