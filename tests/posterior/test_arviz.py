"""Every function of ArviZ that the kind of data allows works on a fit's tree."""

import inspect
import warnings

import arviz as az
import arviz_plots
import arviz_stats
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import prefstrength as ps
from tests.helpers.made_up import made_up_fit

#: What a figure asks for beside the tree.
GIVEN = {
    "plot_pair": {"var_names": ["reward_location", "reward_location_sd_region"]},
    "plot_bf": {"var_names": "reward_location", "ref_val": 0.0},
    "plot_pair_focus": {"focus_var": "reward_location"},
    "plot_rank_dist": {"var_names": ["reward_location"]},
    "plot_trace_dist": {"var_names": ["reward_location"]},
}
#: Not of this kind of data, and why.
OTHER = {
    "plot_collection": "a module",
    "plot_matrix": "a module",
    "plot_compare": "of a comparison, below",
    "plot_khat": "of leave-one-out values, below",
    "plot_ecdf_pit": "of a calibration by simulation, which has its own group",
    "plot_ppc_pava_residuals": "of a predictor in constant_data, below",
    "plot_ppc_censored": "of times until an event",
    "plot_ppc_rootogram": "of counts",
    "plot_lm": "of a line",
}
OF_CHAINS = {"plot_energy"}
OF_SITUATIONS = {"plot_loo_pit", "plot_loo_pava", "plot_loo_interval"}


@pytest.fixture(scope="module")
def singles():
    """Nobody known, no chain: importance sampling, each choice a unit of leave-one-out."""
    choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=1, seed=0)
    return ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, draws=60, progress=False).tree


@pytest.fixture(scope="module")
def panels():
    """Groups, choosers and chains."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "reward_chosen": rng.normal(size=90) + 0.5,
            "reward_rejected": rng.normal(size=90),
            "who": [f"p{i // 6}" for i in range(90)],
            "region": np.repeat(["a", "b", "c"], 30),
        }
    )
    choices = ps.Choices.from_pairs(frame, chooser="who", groups=["region"])
    model = ps.MixedLogit({"reward": ps.PointMass()}, groups=["region"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(choices, method="nuts", draws=60, warmup=60, chains=2, progress=False).tree


def figures(tree, wanted=None):
    """Draw all; what did not work, by name."""
    failed, drawn = {}, []
    for name in sorted(each for each in dir(arviz_plots) if each.startswith("plot_")):
        draw = getattr(arviz_plots, name)
        if name in OTHER or not callable(draw) or name not in (wanted or [name]):
            continue
        if name in OF_CHAINS and "sample_stats" not in tree.children:
            continue
        if name in OF_SITUATIONS and "situation" not in tree["log_likelihood"].dims:
            continue
        own = {"backend": "matplotlib"} if "backend" in inspect.signature(draw).parameters else {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                draw(tree, **GIVEN.get(name, {}), **own)
            drawn.append(name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
        plt.close("all")
    return drawn, failed


def test_every_figure(panels):
    drawn, failed = figures(panels)
    assert failed == {}
    named = {"plot_trace", "plot_autocorr", "plot_prior_posterior", "plot_psense_dist"}
    assert named | OF_CHAINS <= set(drawn)


def test_figures_of_single_situations(singles):
    drawn, failed = figures(singles, OF_SITUATIONS)
    assert failed == {}
    assert set(drawn) == OF_SITUATIONS


@pytest.mark.parametrize("kind", ["singles", "panels"])
def test_every_number(kind, request):
    tree = request.getfixturevalue(kind)
    asked = {
        "summary": lambda: az.summary(tree),
        "loo": lambda: arviz_stats.loo(tree, pointwise=True),
        "compare": lambda: arviz_stats.compare({"a": tree, "b": tree}),
        "psense": lambda: arviz_stats.psense_summary(tree),
        "extract": lambda: az.extract(tree),
        "loo_i": lambda: arviz_stats.loo_i(0, tree),
        "loo_subsample": lambda: arviz_stats.loo_subsample(tree, observations=5),
        "bayes_factor": lambda: arviz_stats.bayes_factor(tree, "reward_location"),
        **{
            name: lambda name=name: getattr(arviz_stats, name)(tree)
            for name in ("ess", "rhat", "mcse", "hdi", "diagnose", "loo_expectations", "metrics")
        },
    }
    if kind == "panels":
        asked["bfmi"] = lambda: arviz_stats.bfmi(tree)
    else:
        asked["loo_pit"] = lambda: arviz_stats.loo_pit(tree)
    for name, ask in asked.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert ask() is not None, name


def test_log_priors_are_those_of_the_table(singles, panels):
    mu = singles["posterior"]["reward_location"]
    own = singles["log_prior"]["reward_location"]
    difference = (own - own[0, 0]) + ((mu + 0.0) ** 2 - mu[0, 0] ** 2) / 2
    centre = np.polyfit(np.ravel(mu - mu[0, 0]), np.ravel(difference), 1)[0]
    np.testing.assert_allclose(difference, centre * (mu - mu[0, 0]), atol=1e-9)
    assert set(panels["log_prior"].data_vars) == {"reward_location", "reward_location_sd_region"}


def test_earlier_fits_load(tmp_path):
    """Their dimension of cells was called as ArviZ calls groups of a tree."""
    fit = made_up_fit({"region": ["a", "b"]})
    earlier = ps.Fit(
        fit.tree.map_over_datasets(
            lambda each: each.rename(cell="group") if "cell" in each.dims else each
        ),
        fit.spec,
    )
    again = ps.load_fit(earlier.save(tmp_path / "fit"))
    assert again.posterior.equals(fit.posterior)
    assert ps.heterogeneity(again).equals(ps.heterogeneity(fit))
