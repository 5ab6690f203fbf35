"""Calibration: what it must find, what it must not, and that an interruption loses nothing."""

import json
import math
from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from arviz_stats.base.array import array_stats
from arviz_stats.ecdf_utils import simulate_confidence_bands
from scipy import special, stats
from typer.testing import CliRunner

import prefstrength as ps
from prefstrength.data.choices import Choices
from prefstrength.data.factor import Factor
from prefstrength.pipeline.cli import app
from prefstrength.validation.calibration import Calibration, Coverage, calibrate, coverage
from prefstrength.validation.replicates import Replicates
from prefstrength.validation.uniformity import (
    chi_square_test,
    ecdf_band,
    ecdf_test,
    holm,
    null_maxima,
)

# -- the tests of uniformity -----------------------------------------------------------------------


@pytest.mark.parametrize("test", [chi_square_test, ecdf_test])
def test_uniform_ranks_are_rejected_as_often_as_said(test):
    rng = np.random.default_rng(0)
    p = np.array([test(rng.integers(0, 100, 200), 99) for _ in range(1000)])
    # Of 1000: binomial, five standard deviations; discreteness makes both a little cautious.
    assert 0.02 < np.mean(p <= 0.05) < 0.085
    assert 0.4 < np.mean(p <= 0.5) < 0.58


@pytest.mark.parametrize("test", [chi_square_test, ecdf_test])
@pytest.mark.parametrize(("a", "b"), [(0.7, 0.7), (1.5, 1.5), (1.4, 1.0)])
def test_other_ranks_are_found(test, a, b):
    ranks = (100 * np.random.default_rng(1).beta(a, b, 1000)).astype(int)
    assert test(ranks, 99) < 0.001


def test_the_band_is_that_of_arviz():
    """Saeilynoja et al. (2022): the pointwise level, where there are as many points as ranks."""
    pointwise = simulate_confidence_bands(
        100, 1, np.arange(1, 100) / 100, 0.95, 4000, np.random.default_rng(0)
    )
    assert np.quantile(null_maxima(100, 99), 0.05) == pytest.approx(1 - pointwise, rel=0.15)
    at, low, high = ecdf_band(100, 99)
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(1000):
        found = np.cumsum(np.bincount(rng.integers(0, 100, 100), minlength=100))[:-1] / 100
        inside += bool(((found >= low) & (found <= high)).all())
    assert 0.925 < inside / 1000 < 0.98
    assert at[49] == 0.5


def test_a_test_of_continuous_values_does_not_hold_its_level_on_ranks():
    """Why the tests are not those of arviz_stats."""
    rng = np.random.default_rng(0)
    sets = rng.integers(0, 100, (200, 1000))
    theirs = [array_stats.uniformity_test((ranks + 0.5) / 100)[0] for ranks in sets]
    assert np.mean(np.array(theirs) <= 0.05) > 0.1
    assert np.mean([ecdf_test(ranks, 99) <= 0.05 for ranks in sets]) < 0.09


def test_holm_is_no_harsher_than_bonferroni_and_no_milder_than_nothing():
    p = np.array([0.3, 0.001, 0.02, 0.9])
    adjusted = holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(4 * p, 1)).all()
    assert adjusted[1] == pytest.approx(0.004)


# -- a sampler that is right, and how it goes wrong ------------------------------------------------

MU, SIGMA = dist.Normal(0.0, 0.7), dist.LogNormal(math.log(0.6), 0.7)
MODEL = ps.MixedLogit({"reward": ps.LogNormal()}, priors={"reward_mu": MU, "reward_sigma": SIGMA})
_MU_GRID = np.linspace(-3.0, 3.0, 49)
_SIGMA_GRID = np.geomspace(0.04, 7.0, 45)
_U = np.linspace(-12.0, 12.0, 121)
_GRID_MU, _GRID_SIGMA = (grid.ravel() for grid in np.meshgrid(_MU_GRID, _SIGMA_GRID))
_DENSITY = np.exp(-(((_U[:, None] - _GRID_MU) / np.maximum(_GRID_SIGMA, 0.15)) ** 2) / 2)
_DENSITY /= _DENSITY.sum(axis=0)
_ON_MU = stats.norm(0.0, 0.7).logpdf(_GRID_MU)
_ON_SIGMA = stats.lognorm(s=0.7, scale=0.6).logpdf(_GRID_SIGMA)


def enumerated(model, choices, seed, *, rows=False, twice=False, jacobian=False):
    """Posterior of MODEL by enumeration on a grid; NumPy only.

    ``rows`` takes every choice for one of a chooser of its own, ``twice`` counts the priors
    twice, ``jacobian`` evaluates the prior on sigma as if it were one on log sigma.
    """
    x = choices.differences("reward")
    table = -np.logaddexp(0.0, -x[:, None] * np.exp(_U))
    if not rows:
        table = np.add.reduceat(table, np.flatnonzero(np.diff(choices.chooser, prepend=-1)))
    top = table.max(axis=1, keepdims=True)
    log_posterior = np.log(np.exp(table - top) @ _DENSITY + 1e-300).sum(axis=0)
    log_posterior += (2 if twice else 1) * (_ON_MU + _ON_SIGMA)
    if not jacobian:
        log_posterior += np.log(_GRID_SIGMA)  # the grid is even in log sigma
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(log_posterior), 499, p=special.softmax(log_posterior))
    jitter = rng.random((2, 499)) - 0.5
    step = _MU_GRID[1] - _MU_GRID[0], np.log(_SIGMA_GRID[1] / _SIGMA_GRID[0])
    return {
        "reward_mu": _GRID_MU[drawn] + jitter[0] * step[0],
        "reward_sigma": _GRID_SIGMA[drawn] * np.exp(jitter[1] * step[1]),
    }


@pytest.fixture(scope="module")
def design():
    """Few choosers and many choices of each: what one chooser's choices have in common tells."""
    return ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=4, situations=60, spread=2.0)


@pytest.fixture(scope="module")
def meagre():
    """So few choices that the prior tells."""
    return ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=3, situations=4, spread=2.0)


def checked(design, simulations=100, **bug):
    sampler = partial(enumerated, **bug)
    sampler.__module__, sampler.__qualname__ = __name__, "enumerated"
    options = {"draws": 499, "sampler": sampler, "cores": 1, "progress": False}
    return calibrate(MODEL, design, simulations, seed=5, **options)


@pytest.fixture(scope="module")
def right(design):
    return checked(design)


def test_what_is_right_passes(right):
    assert right.passed()
    right.raise_if_failed()
    assert right.simulations == 100
    assert right.table["variable"].tolist() == ["reward_mu", "reward_sigma", "log_likelihood"]
    table = right.coverage()
    assert set(table["variable"]) == {"reward_mu", "reward_sigma"}
    for name in ("coverage_low", "coverage_high"):
        outside = (table["prob"] - table[name]) * (1 if name == "coverage_high" else -1) > 0.03
        assert not outside.any()
    assert (table["bias"].abs() < 4 * table["bias_se"]).all()
    # The posterior is as wide as its error is large.
    mu = table[table["variable"] == "reward_mu"]
    np.testing.assert_allclose(mu["rmse"], mu["posterior_sd"], rtol=0.25)


@pytest.mark.parametrize(
    ("bug", "variable", "where"),
    [
        ("jacobian", "reward_sigma", "meagre"),
        ("rows", "reward_mu", "design"),
        ("twice", "reward_sigma", "meagre"),
    ],
)
def test_a_planted_bug_is_caught(bug, variable, where, request):
    found = checked(request.getfixturevalue(where), **{bug: True})
    assert not found.passed()
    table = found.table.set_index("variable")
    assert table.loc[variable, "p_adjusted"] < 0.01
    with pytest.raises(RuntimeError, match="expects uniform ranks; got .*do not belong together"):
        found.raise_if_failed()
    if bug == "jacobian":  # 1/sigma too much towards small values: the truth ranks high
        assert table.loc["reward_sigma", "mean_rank"] > 0.55
    if bug == "rows":  # too sure
        assert table.loc["reward_mu", "coverage_90_high"] < 0.9


# -- simulating ------------------------------------------------------------------------------------


def task(model, choices, **options):
    return Replicates.of(model, choices, 3, 200, 99, None, **options)


def test_simulated_choices_keep_the_design_and_follow_the_truth():
    choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=400, situations=30, seed=2)
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    made = task(model, choices, truth=ps.LogNormal(mu=0.4, sigma=1.1))
    truth, simulated = made.simulate(0)
    assert {name: float(v) for name, v in truth.items()} == {"reward_mu": 0.4, "reward_sigma": 1.1}
    x, old = simulated.differences("reward"), choices.differences("reward")
    np.testing.assert_array_equal(np.abs(x), np.abs(old))
    np.testing.assert_array_equal(simulated.chooser, choices.chooser)
    assert simulated.scale("reward") == choices.scale("reward")
    near = np.abs(np.abs(x) - 1.5) < 0.3
    expected = math.exp(float(ps.log_choice_probability(1.5, ps.LogNormal(mu=0.4, sigma=1.1))))
    assert np.mean(x[near] > 0) == pytest.approx(expected, abs=0.03)
    # One draw for each chooser: choosers differ by far more than chance.
    agree = np.add.reduceat(x > 0, np.arange(0, len(x), 30))
    share = np.mean(x > 0)
    assert agree.var() > 1.3 * 30 * share * (1 - share)
    again = made.simulate(0)[1]
    assert again.content_hash() == simulated.content_hash()
    assert made.simulate(1)[1].content_hash() != simulated.content_hash()


def test_groups_choice_sets_and_several_attributes_are_simulated():
    rng = np.random.default_rng(0)
    n = 3000
    choices = Choices(
        values=rng.normal(size=(n, 3, 2)),
        chosen=np.zeros(n, int),
        attributes=("quality", "length"),
        available=np.column_stack([np.ones((n, 2), bool), rng.random(n) < 0.5]),
        groups={"region": Factor("region", np.arange(n) % 2, ("north", "south"))},
    )
    model = ps.MixedLogit({"quality": ps.Normal(), "length": ps.PointMass()}, groups=["region"])
    truth = {"quality_mu": [3.0, -3.0], "quality_sigma": 0.1, "length_value": 0.0}
    made = task(model, choices, truth=truth)
    known, simulated = made.simulate(0)
    assert known["quality_sigma"].tolist() == [0.1, 0.1]
    assert simulated.available[np.arange(n), simulated.chosen].all()
    best = np.where(choices.available, choices.values[:, :, 0], -np.inf).argmax(axis=1)
    hits = simulated.chosen == best
    assert hits[::2].mean() > 0.75  # north wants quality
    assert hits[1::2].mean() < 0.25  # south shuns it
    # With three alternatives the scale of the priors would move with the choices: it is held.
    pinned = made.pinned.population(simulated).prior()
    for name, prior in made.population.prior().items():
        assert repr(pinned[name]) == repr(prior) or float(pinned[name].variance) == float(
            prior.variance
        )


def test_weights_are_whole_choices():
    frame = pd.DataFrame({"reward_chosen": [1.0, 2.0, 3.0], "reward_rejected": 0.0})
    weighted = ps.Choices.from_pairs(frame.assign(w=[2, 0, 1]), weights="w")
    made = task(ps.MixedLogit({"reward": ps.PointMass()}), weighted)
    assert np.abs(made.simulate(0)[1].differences("reward")).tolist() == [1.0, 1.0, 3.0]
    halves = ps.Choices.from_pairs(frame.assign(w=[1.0, 0.5, 1.0]), weights="w")
    with pytest.raises(ps.InputError, match="whole numbers.*got 1 of 3"):
        task(ps.MixedLogit({"reward": ps.PointMass()}), halves)


# -- the package's own inference -------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibration") / "plain"
    choices = ps.simulate(ps.PointMass(value=1.0), choosers=15, situations=6, seed=3)
    model = ps.MixedLogit({"reward": ps.PointMass()})
    done = calibrate(
        model, choices, 40, seed=1, draws=200, directory=folder, cores=1, progress=False
    )
    return model, choices, folder, done


def test_the_package_is_calibrated_where_it_is_quick(plain):
    *_, done = plain
    assert done.passed()
    assert done.table["variable"].tolist() == ["reward_value", "log_likelihood"]
    truth = done.ranks.loc[done.ranks["variable"] == "reward_value", "truth"]
    # The prior of the design: Normal(0, 2/s)
    assert truth.std() == pytest.approx(2 / plain[1].scale("reward"), rel=0.4)
    assert "by importance" in repr(done)


def test_saved_and_loaded_without_pickle(plain, tmp_path):
    *_, folder, done = plain
    done.save(tmp_path / "saved")
    for path in (folder, tmp_path / "saved"):
        assert sorted(p.name for p in path.iterdir()) == ["settings.json", "simulations.parquet"]
        again = Calibration.load(path)
        pd.testing.assert_frame_equal(again.ranks, done.ranks)
        assert again.spec == json.loads(json.dumps(done.spec))
        assert again.table.equals(done.table)
    with pytest.raises(ps.InputError, match="schema 'prefstrength/coverage/1' in the settings"):
        Coverage.load(folder)
    with pytest.raises(ps.InputError, match="a Calibration saved in .*; got no settings"):
        Calibration.load(tmp_path)


def test_an_interrupted_run_goes_on_and_more_simulations_continue_fewer(design, tmp_path):
    count = 0

    def fails(model, choices, seed):
        nonlocal count
        count += 1
        if count == 13:
            raise KeyboardInterrupt
        return enumerated(model, choices, seed)

    def works(model, choices, seed):
        return enumerated(model, choices, seed)

    fails.__qualname__ = works.__qualname__ = "works"
    options = {"seed": 2, "cores": 1, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        calibrate(MODEL, design, 20, sampler=fails, directory=tmp_path / "a", **options)
    kept = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert kept == ["part-000000.parquet", "part-000005.parquet", "settings.json"]
    with pytest.raises(ps.InputError, match="got unfinished ones"):
        Calibration.load(tmp_path / "a")
    count = 100
    resumed = calibrate(MODEL, design, 20, sampler=fails, directory=tmp_path / "a", **options)
    assert count == 110  # ten were kept
    whole = calibrate(MODEL, design, 23, sampler=works, **options)
    pd.testing.assert_frame_equal(
        resumed.ranks, whole.ranks[whole.ranks["simulation"] < 20].reset_index(drop=True)
    )
    more = calibrate(MODEL, design, 23, sampler=fails, directory=tmp_path / "a", **options)
    assert count == 113
    pd.testing.assert_frame_equal(more.ranks, whole.ranks)
    fewer = calibrate(MODEL, design, 7, sampler=fails, directory=tmp_path / "a", **options)
    assert (count, fewer.simulations) == (113, 7)
    with pytest.raises(ps.InputError, match="got others .seed was 2, now 0"):
        calibrate(
            MODEL, design, 20, sampler=fails, directory=tmp_path / "a", cores=1, progress=False
        )
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("mine")
    with pytest.raises(ps.InputError, match="holds something else .'notes.txt'"):
        calibrate(MODEL, design, 20, sampler=works, directory=tmp_path / "b", **options)


def test_coverage_at_a_known_truth(design):
    truth = {"reward_mu": 0.3, "reward_sigma": 0.8}
    done = coverage(MODEL, design, truth, 80, sampler=enumerated, cores=1, progress=False, seed=4)
    table = done.intervals((0.5, 0.9)).set_index(["variable", "prob"])
    assert done.simulations == 80
    assert (done.estimates.groupby("variable")["truth"].nunique() == 1).all()
    for variable in truth:
        row = table.loc[(variable, 0.9)]
        assert row["coverage_low"] < 0.97
        assert row["coverage_high"] > 0.85
        assert row["rmse"] == pytest.approx(row["posterior_sd"], rel=0.5)
    assert table.loc[("reward_mu", 0.5), "coverage"] < table.loc[("reward_mu", 0.9), "coverage"]
    assert "Coverage of MixedLogit(reward ~ LogNormal)" in repr(done)


def test_what_cannot_be_done_is_said(design):
    quick = {"cores": 1, "progress": False}
    for options, said in (
        ({"simulations": 1}, "simulations of at least 2"),
        ({"draws": 100}, "draws of at least 200; got 100"),
        ({"thinned": 300, "draws": 250}, "thinned of at most draws"),
        ({"cores": 0}, "cores of at least 1"),
    ):
        with pytest.raises(ps.InputError, match=said):
            calibrate(MODEL, design, **{**quick, **options})
    with pytest.raises(ps.InputError, match="sampler that they can import"):
        calibrate(MODEL, design, 20, sampler=lambda *_: {}, cores=2, progress=False)
    with pytest.raises(TypeError, match="a function as sampler"):
        calibrate(MODEL, design, sampler="nuts", **quick)
    with pytest.raises(ps.InputError, match="at least 99 draws of the sampler"):
        calibrate(MODEL, design, sampler=lambda *_: {"reward_mu": np.zeros(5)}, **quick)
    with pytest.raises(ps.InputError, match=r"to return draws of \['reward_mu', 'reward_sigma'"):
        calibrate(MODEL, design, sampler=lambda *_: {"mu": np.zeros(500)}, **quick)
    with pytest.raises(ps.InputError, match="truth of a model with reward ~ LogNormal"):
        coverage(MODEL, design, ps.Gamma(shape=2.0, rate=1.0), **quick)
    with pytest.raises(ps.InputError, match="true value for each of"):
        coverage(MODEL, design, {"reward_mu": 1.0}, **quick)
    with pytest.raises(ps.InputError, match="sigma"):
        coverage(MODEL, design, {"reward_mu": 1.0, "reward_sigma": -1.0}, **quick)


# -- from the command line -------------------------------------------------------------------------


def test_the_command_checks_the_model_of_the_stage_fit(tmp_path, monkeypatch, right):
    frame = pd.DataFrame(
        {
            "reward_chosen": np.linspace(-1, 2, 40),
            "reward_rejected": 0.0,
            "annotator": np.arange(40) % 8,
            "region": np.where(np.arange(40) % 8 < 4, "a", "b"),
        }
    )
    frame.to_parquet(tmp_path / "pairs.parquet")
    out = tmp_path / "out"
    read = ["score", tmp_path / "pairs.parquet", "--out", out, "--chooser", "annotator"]
    assert CliRunner().invoke(app, [*map(str, read), "--group", "region"]).exit_code == 0
    asked = {}

    def pretend(model, choices, simulations, seed, *, directory, **options):
        asked.update(model=model, choices=choices, simulations=simulations)
        right.save(directory)
        return right

    monkeypatch.setattr(ps, "calibrate", pretend, raising=False)
    done = CliRunner().invoke(
        app, ["calibrate", str(out), "--family", "gamma", "--simulations", "30", "--cores", "1"]
    )
    assert done.exit_code == 0, done.output
    assert isinstance(asked["model"].coefficients["reward"], ps.Gamma)
    assert asked["model"].groups == ("region",)
    assert (asked["choices"].n_choosers, asked["simulations"]) == (8, 30)
    assert {p.name for p in (out / "calibration").iterdir()} == {
        "ranks.png", "settings.json", "simulations.parquet", "table.csv"
    }  # fmt: skip
    wrong = right.ranks.assign(rank=right.ranks["rank"] // 2)
    monkeypatch.setattr(ps, "calibrate", lambda *_, **__: Calibration(wrong, right.spec))
    assert CliRunner().invoke(app, ["calibrate", str(out)]).exit_code == 3


# -- many simulations ------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_processes_give_the_numbers_of_one(plain):
    model, choices, _, done = plain
    again = calibrate(model, choices, 40, seed=1, draws=200, cores=2, progress=False)
    pd.testing.assert_frame_equal(again.ranks, done.ranks)


class WrongJacobian(dist.LogNormal):
    """Draws are those of a LogNormal; its density is evaluated as if at the log."""

    def log_prob(self, value):
        return super().log_prob(value) + 2 * jnp.log(value)


class Twice(dist.LogNormal):
    """Counts in the posterior as if the prior had been multiplied in twice."""

    def log_prob(self, value):
        return 2 * super().log_prob(value)


def without_choosers(model, choices, seed):
    """A panel treated as independent rows."""
    from prefstrength.models.fitting import sample_population

    rows = replace(choices, chooser=None, choosers=())
    found = sample_population(model, rows, seed=seed)
    return {n: v.reshape(-1, *v.shape[2:]) for n, v in found.variables.items()}


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["none", "jacobian", "rows", "twice"])
def test_bugs_planted_in_the_package_are_caught(bug, design, meagre):
    """As above, with the bug in what the package itself samples."""
    on_sigma = {"jacobian": WrongJacobian, "twice": Twice}.get(bug, dist.LogNormal)
    model = ps.MixedLogit(
        {"reward": ps.LogNormal()},
        priors={"reward_mu": MU, "reward_sigma": on_sigma(math.log(0.6), 0.7)},
    )
    where = design if bug == "rows" else meagre
    sampler = without_choosers if bug == "rows" else None
    found = calibrate(model, where, 150, seed=2, sampler=sampler, cores=1, progress=False)
    assert found.passed() == (bug == "none")


FAMILIES = [ps.PointMass, ps.Normal, ps.LogNormal, ps.Gamma, ps.InverseGaussian]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["panel", "pairs", "groups"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_family_is_calibrated(family, kind):
    """200 simulations here; benchmarks/calibration.py runs 500."""
    choosers, situations = (600, 1) if kind == "pairs" else (45, 10)
    data = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers, situations, seed=1)
    if kind == "groups":
        region = Factor("region", data.chooser % 3, ("east", "north", "west"))
        data = replace(data, groups={"region": region})
    model = ps.MixedLogit({"reward": family()}, groups=["region"] if kind == "groups" else [])
    done = calibrate(model, data, 200, seed=7, progress=False)
    done.raise_if_failed()
    # One interval of 90 % lies outside of this in one of 2,000 sets of 200 simulations.
    assert done.table["coverage_90"].between(0.82, 0.97).all()
