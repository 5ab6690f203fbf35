"""Heterogeneity, chooser-level strengths, curves and the prior that goes to training."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

import prefstrength as ps
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.posterior.heterogeneity import bayes_factor, verdict_of
from prefstrength.posterior.laws import indices, mixture, nodes
from prefstrength.posterior.prior_from_fit import strength_prior_summary


@pytest.fixture(scope="module")
def two_groups():
    """Two datasets of choosers, one homogeneous and one not."""
    rng = np.random.default_rng(11)
    rows = []
    for dataset, sigma in (("alike", 0.05), ("mixed", 1.1)):
        for a in range(70):
            strength = math.exp(0.5 + sigma * rng.normal())
            x = rng.normal(size=30)
            chosen = rng.random(30) < special.expit(strength * x)
            rows += [(f"{dataset}{a}", dataset, v) for v in np.where(chosen, x, -x)]
    frame = pd.DataFrame(rows, columns=["annotator", "dataset", "reward_chosen"])
    return ps.Choices.from_pairs(
        frame.assign(reward_rejected=0.0), chooser="annotator", groups=["dataset"]
    )


@pytest.fixture(scope="module")
def fit(two_groups):
    model = ps.MixedLogit({"reward": ps.LogNormal()}, groups=["dataset"])
    return model.fit(two_groups, seed=0, progress=False)


@pytest.fixture(scope="module")
def plain(two_groups):
    model = ps.MixedLogit({"reward": ps.PointMass()}, groups=["dataset"])
    return model.fit(two_groups, seed=0, progress=False)


def test_heterogeneity_finds_which_group_varies(fit):
    table = ps.heterogeneity(fit).set_index("level")
    assert table.loc["mixed", "verdict"] == "heterogeneous"
    assert table.loc["alike", "verdict"] != "heterogeneous"
    assert table.loc["mixed", "sd_log_low"] < 1.1 < table.loc["mixed", "sd_log_high"]
    assert table.loc["alike", "sd_log_high"] < table.loc["mixed", "sd_log_low"]
    assert table.loc["", "situations"] == 4200
    assert table.loc["mixed", "choosers"] == 70


def test_verdict_follows_the_region_of_practical_equivalence(fit):
    wide = ps.heterogeneity(fit, rope=50.0)
    assert set(wide["verdict"]) == {"homogeneous"}
    narrow = ps.heterogeneity(fit, rope=1e-6)
    assert set(narrow["verdict"]) == {"heterogeneous"}
    level = ps.heterogeneity(fit).set_index("level").loc["mixed"]
    at_median = ps.heterogeneity(fit, rope=float(level["cv"])).set_index("level").loc["mixed"]
    assert at_median["verdict"] == "the data cannot tell"
    assert at_median["p_heterogeneous"] + at_median["p_homogeneous"] == pytest.approx(1.0)


def test_data_share_is_small_where_the_data_say_nothing():
    rng = np.random.default_rng(0)
    x = 0.01 * rng.normal(size=60)  # choices that hardly depend on the reward
    chosen = rng.random(60) < 0.5
    frame = pd.DataFrame({"reward_chosen": np.where(chosen, x, -x), "reward_rejected": 0.0})
    choices = ps.Choices.from_pairs(frame)
    # The scale of the prior follows the data; a fixed narrow location leaves nothing to learn.
    fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    row = ps.heterogeneity(fit).iloc[0]
    assert row["verdict"] == "the data cannot tell"
    assert row["data_share"] < 0.5


def test_a_prior_that_is_sure_gives_no_verdict_by_itself():
    prior = np.arange(1000) < 960  # P(heterogeneous) = 0.96 before the data
    same = bayes_factor(prior, prior)
    assert same == pytest.approx(1.0)

    def verdict(p, factor, share=0.1):
        row = {"p_heterogeneous": p, "bayes_factor": factor, "data_share": share, "p_mcse": 1e-6}
        return verdict_of(row)

    assert verdict(0.96, same) == "the data cannot tell"
    assert verdict(0.96, same, share=0.9) == "heterogeneous"
    moved = bayes_factor(np.arange(1000) < 999, prior)
    assert verdict(0.999, moved) == "heterogeneous"
    against = bayes_factor(np.arange(1000) < 20, prior)
    assert verdict(0.02, against) == "homogeneous"


def test_names_that_a_datatree_cannot_hold_are_refused():
    frame = pd.DataFrame(
        {
            "reward_chosen": np.arange(20) % 7 - 2.5 + np.arange(20) / 50,
            "reward_rejected": 0.0,
            "a/b": ["x", "y"] * 10,
        }
    )
    with pytest.raises(ps.InputError, match="Names of groups .*got '/'.*'a/b'"):
        ps.Choices.from_pairs(frame, groups=["a/b"])


def test_pointmass_assumes_the_answer(plain):
    table = ps.heterogeneity(plain)
    assert set(table["verdict"]) == {"assumed homogeneous"}
    assert table["sd_log"].isna().all()


@pytest.mark.parametrize(
    ("family", "location", "dispersion", "law"),
    [
        ("LogNormal", 0.2, 0.8, stats.lognorm(s=0.8, scale=math.exp(0.2))),
        ("Gamma", 0.2, 0.8, stats.gamma(0.8**-2, scale=math.exp(0.2) * 0.64)),
        ("Normal", 1.2, 0.8, stats.norm(1.2, 0.8)),
    ],
)
def test_indices_of_a_known_law(family, location, dispersion, law):
    laws = MIXINGS[family].from_location_dispersion(
        np.array([[location]]), np.array([[dispersion]])
    )
    assert laws.mean().item() == pytest.approx(law.mean())
    assert laws.mean_square().item() == pytest.approx(law.var() + law.mean() ** 2)
    index = indices(laws, np.ones(1))
    assert index["cv"].item() == pytest.approx(law.std() / law.mean())
    assert index["median"].item() == pytest.approx(law.median())
    if laws.positive:
        mean, square = (
            integrate.quad(lambda b, k=k: math.log(b) ** k * law.pdf(b), 0, np.inf)[0]
            for k in (1, 2)
        )
        assert index["sd_log"].item() == pytest.approx(math.sqrt(square - mean**2), rel=1e-5)
    strength, weight = nodes(laws)
    exact = integrate.quad(lambda b: special.expit(1.5 * b) * law.pdf(b), *law.support())[0]
    assert (special.expit(1.5 * strength) @ weight).item() == pytest.approx(exact, abs=2e-3)


def test_a_prior_beyond_all_bounds_counts_as_heterogeneous_without_a_warning():
    laws = ps.LogNormal(mu=np.array([[0.0], [0.0]]), sigma=np.array([[0.1], [40.0]]))
    index = indices(laws, np.ones(1))
    assert index["cv"][0] == pytest.approx(0.1, rel=0.01)
    assert index["cv"][1] == np.inf
    assert index["sd_log"][1] == pytest.approx(40.0)


def test_quantile_of_a_mixture_of_cells():
    laws = ps.LogNormal(mu=np.array([[0.0, 2.0]]), sigma=np.array([[0.3, 0.3]]))
    q = mixture(laws, np.array([0.25, 0.75])).quantile(0.4).item()
    below = [stats.norm.cdf((math.log(q) - mu) / 0.3) for mu in (0.0, 2.0)]
    assert 0.25 * below[0] + 0.75 * below[1] == pytest.approx(0.4, abs=1e-9)


def test_choice_curve_and_density_are_what_they_say(fit):
    curve = ps.choice_curve(fit, differences=[0.0, 1.0, 2.0], by="dataset")
    assert curve["probability"][0] == pytest.approx(0.5)
    assert (curve["low"] <= curve["probability"]).all()
    assert (curve["probability"] <= curve["high"]).all()
    assert curve.groupby("level")["probability"].is_monotonic_increasing.all()
    density = ps.strength_density(fit, grid=np.linspace(0.001, 60, 6000))
    area = np.trapezoid(density["density"], density["strength"])
    assert area == pytest.approx(1.0, abs=0.02)


def test_chooser_strengths_rank_choosers_by_their_own_choices(fit):
    table = ps.chooser_strengths(fit)
    assert len(table) == 140
    assert table["mean"].is_monotonic_increasing
    assert (table["choices"] == 30).all()
    spread = table.assign(mixed=table["chooser"].str.startswith("mixed"))
    # Partial pooling: choosers of the homogeneous dataset stay together.
    by = spread.groupby("mixed")["mean"]
    assert by.std()[True] > 4 * by.std()[False]


def test_questions_that_a_fit_cannot_answer(fit, plain):
    with pytest.raises(ps.InputError, match="one of \\['reward'\\]; got 'rewrad'"):
        ps.heterogeneity(fit, "rewrad")
    with pytest.raises(ps.InputError, match="one of \\['dataset'\\]; got 'region'"):
        ps.choice_curve(fit, by="region")
    with pytest.raises(ps.InputError, match="rope > 0"):
        ps.heterogeneity(fit, rope=0.0)
    with pytest.raises(ps.InputError, match="prob between 0 and 1"):
        ps.heterogeneity(fit, prob=90)
    with pytest.raises(ps.InputError, match="PointMass: choosers of a kind share one strength"):
        ps.strength_density(plain)
    with pytest.raises(ps.InputError, match="Name the column that identifies the chooser"):
        ps.chooser_strengths(plain)


def test_prior_takes_shape_from_the_data_and_scale_from_beta(fit):
    prior = ps.StrengthPrior.from_fit(fit, mean_strength=0.1)
    law = prior.mixing()
    assert law.mean() == pytest.approx(0.1, rel=1e-9)
    overall = ps.heterogeneity(fit).iloc[0]
    assert overall["sd_log_low"] < law.sd_log() < overall["sd_log_high"]
    assert prior.source["fitted_mean"] == pytest.approx(overall["mean"], rel=0.1)
    assert set(prior.groups) == {"dataset=alike", "dataset=mixed"}
    mixed = ps.StrengthPrior.from_fit(fit, mean_strength=0.1, group="dataset=mixed")
    alike = ps.StrengthPrior.from_fit(fit, mean_strength=0.1, group="dataset=alike")
    assert mixed.mixing().sd_log() > 3 * alike.mixing().sd_log()
    assert mixed.dispersion == prior.groups["dataset=mixed"]["dispersion"]


def test_prior_refuses_what_it_cannot_be(fit):
    with pytest.raises(ps.InputError, match="mean_strength > 0"):
        strength_prior_summary(fit, -0.1)
    with pytest.raises(ps.InputError, match="'dataset=mixed'\\]; got 'dataset=x'"):
        strength_prior_summary(fit, 0.1, "dataset=x")


def test_reversed_rewards_are_not_made_into_a_prior():
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    chosen = rng.random(400) < special.expit(-2 * x)  # the worse answer is preferred
    frame = pd.DataFrame({"reward_chosen": np.where(chosen, x, -x), "reward_rejected": 0.0})
    with pytest.warns(ps.DataWarning, match="higher reward are rejected more often"):
        choices = ps.Choices.from_pairs(frame)
    fit = ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, seed=0, progress=False)
    with pytest.raises(ps.InputError, match="check the sign of the rewards"):
        ps.StrengthPrior.from_fit(fit)
