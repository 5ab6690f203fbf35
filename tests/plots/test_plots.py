"""The figures: what they hold, not how their pixels look."""

import inspect
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

import prefstrength as ps
from prefstrength import plots
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from prefstrength.plots.observed import bins, observed
from prefstrength.plots.style import detached, level_style, room_for_legend, style
from prefstrength.plots.truth import Truth
from prefstrength.posterior.heterogeneity import VERDICTS
from tests.helpers.made_up import made_up_fit

LEVELS = [f"topic {i:02d}" for i in range(16)]
HOSTILE = [
    "<script>alert(1)</script>",
    "$x_1$ & 50% \\alpha {",
    "a name\nlonger than its axis " * 3,
]
#: Every public figure of a fit, so that a new one is held to the contract, too.
OF_A_FIT: dict[str, Callable[..., Any]] = {
    name.removeprefix("plot_"): getattr(plots, name)
    for name in plots.__all__
    if "fit" in inspect.signature(getattr(plots, name)).parameters
}


@pytest.fixture(scope="module")
def fit() -> ps.Fit:
    """A real fit, so that a change of the schema shows here too."""
    choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.8), choosers=40, situations=12, seed=1)
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    return model.fit(choices, seed=0, draws=500, progress=False)


@pytest.fixture(scope="module")
def grouped() -> ps.Fit:
    return made_up_fit({"dataset": ["casual", "expert"], "region": ["a", "b", "c"]}, choosers=60)


@pytest.fixture(scope="module")
def many() -> ps.Fit:
    return made_up_fit({"topic": LEVELS}, choosers=160)


@pytest.fixture(autouse=True)
def no_figure_is_left() -> Any:
    """Every test draws without pyplot, or closes what it opened."""
    before = plt.get_fignums()
    settings = dict(mpl.rcParams)
    with detached():
        yield
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == settings


def drawn(result: Any) -> list[Axes]:
    return list(np.ravel(result))


def texts(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def save(result: Any) -> None:
    """Drawing is when a bad label or a wrong size would fail."""
    with style():
        drawn(result)[0].figure.savefig(io.BytesIO(), format="png", dpi=50)


# -- the contract of every figure ---------------------------------------------------------------


def test_a_figure_of_a_fit_is_found_by_its_signature() -> None:
    assert {"data", "choice_curve", "strength", "groups", "choosers", "prior_posterior"} <= set(
        OF_A_FIT
    )


@pytest.mark.parametrize("name", OF_A_FIT)
def test_signatures_are_alike(name: str) -> None:
    parameters = inspect.signature(OF_A_FIT[name]).parameters
    assert next(iter(parameters)) == "fit"
    assert {"by", "prob", "truth"} <= set(parameters)
    assert ("ax" in parameters) or ("axes" in parameters)
    keywords = list(parameters.values())[1:]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in keywords)
    assert parameters["prob"].default == 0.9


@pytest.mark.parametrize("name", OF_A_FIT)
def test_axes_have_labels_with_units(name: str, fit: ps.Fit) -> None:
    result = OF_A_FIT[name](fit)
    for ax in drawn(result):
        assert isinstance(ax, Axes)
        assert ax.get_xlabel() or ax.get_title("left"), "an axis says what it shows"
    labels = " ".join(ax.get_xlabel() for ax in drawn(result))
    if name != "prior_posterior":
        assert "unit" in labels, "rewards with an sd of 1.5 are not in units of their sd"
    save(result)


@pytest.mark.parametrize("name", OF_A_FIT)
def test_draws_on_the_axes_given_and_on_no_others(name: str, fit: ps.Fit) -> None:
    wanted = len(drawn(OF_A_FIT[name](fit)))
    figure = Figure()
    axes = np.ravel(figure.subplots(1, wanted, squeeze=False))
    keyword = "ax" if "ax" in inspect.signature(OF_A_FIT[name]).parameters else "axes"
    result = OF_A_FIT[name](fit, **{keyword: axes if keyword == "axes" else axes[0]})
    assert drawn(result) == list(axes)
    assert figure.get_supxlabel() == ""
    assert not figure.legends


@pytest.mark.parametrize("name", ["data", "groups", "prior_posterior"])
def test_too_few_axes_are_refused(name: str, fit: ps.Fit) -> None:
    with pytest.raises(InputError, match=r"needs \d axes .* got 1"):
        OF_A_FIT[name](fit, axes=Figure().subplots())


def test_something_else_than_axes_is_refused(fit: ps.Fit) -> None:
    with pytest.raises(TypeError, match="Expected Matplotlib axes"):
        plots.plot_strength(fit, axes="here")


def test_new_figures_belong_to_pyplot_so_that_notebooks_show_them(fit: ps.Fit) -> None:
    import contextvars

    theirs = plt.figure()
    outside = contextvars.Context()  # of `detached`
    figure = drawn(outside.run(plots.plot_strength, fit))[0].figure
    assert figure.number in plt.get_fignums()
    assert theirs.number in plt.get_fignums(), "closes nothing of the user's"
    plt.close(figure)
    plt.close(theirs)


@pytest.mark.parametrize("name", ["data", "choice_curve", "strength", "groups", "choosers"])
def test_an_unknown_factor_is_refused(name: str, grouped: ps.Fit) -> None:
    with pytest.raises(InputError, match="'nonsense'"):
        OF_A_FIT[name](grouped, by="nonsense")


@pytest.mark.parametrize("name", OF_A_FIT)
@pytest.mark.parametrize("factor", ["topic", None])
def test_sixteen_groups_fit_on_the_page(name: str, factor: str | None, many: ps.Fit) -> None:
    result = OF_A_FIT[name](many, by=factor)
    figure = drawn(result)[0].figure
    assert figure.get_figwidth() <= 7.3
    assert figure.get_figheight() <= 9.5
    save(result)


@pytest.mark.parametrize("name", OF_A_FIT)
def test_labels_of_others_are_shown_as_they_are(name: str) -> None:
    """No formula, no markup, no line break: also with characters that Matplotlib would parse."""
    fit = made_up_fit({"<b>$g_1$": HOSTILE})
    result = OF_A_FIT[name](fit, by="<b>$g_1$")
    save(result)
    for ax in drawn(result):
        for text in ax.findobj(mpl.text.Text):
            if any(mark in text.get_text() for mark in ("alert", "$x_1$", "longer")):
                assert not text.get_parse_math(), text.get_text()
                assert "\n" not in text.get_text()
                assert len(text.get_text()) < 45


def test_without_choosers_and_without_groups() -> None:
    fit = made_up_fit(choosers=0, situations=300)
    for name in ("data", "choice_curve", "strength", "groups", "prior_posterior"):
        save(OF_A_FIT[name](fit))
    assert "not known" in plots.plot_data(fit)[1].texts[0].get_text()
    with pytest.raises(InputError, match="Expected a fit with choosers"):
        plots.plot_choosers(fit)


@pytest.mark.parametrize("family", ["PointMass", "Normal", "Gamma"])
def test_other_families(family: str) -> None:
    fit = made_up_fit({"g": ["a", "b"]}, family=family, cv=0.6)
    for name in ("choice_curve", "strength", "groups", "prior_posterior"):
        save(OF_A_FIT[name](fit))
        save(OF_A_FIT[name](fit, by="g"))


# -- one by one ---------------------------------------------------------------------------------


def test_data_counts_every_choice(fit: ps.Fit) -> None:
    differences, counts, agreement = plots.plot_data(fit)
    assert sum(bar.get_height() for bar in differences.patches) == 40 * 12
    assert sum(bar.get_height() for bar in counts.patches) == 40
    assert agreement.get_ylabel() == "higher reward chosen"
    assert "> 0" in differences.texts[0].get_text()


def test_data_of_choices_among_three() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 3, 1))
    choices = Choices(values, np.argmax(values[:, :, 0], axis=1), ["reward"])
    differences = plots.plot_data(choices)[0]
    assert sum(bar.get_height() for bar in differences.patches) == 100
    assert differences.texts[0].get_text() == "100% > 0"


def test_data_of_a_fit_without_pairs_asks_for_the_choices() -> None:
    with pytest.raises(InputError, match="Give the Choices instead"):
        plots.plot_data(made_up_fit(pairs=False))


def test_data_by_a_factor_shows_at_most_four_levels(many: ps.Fit) -> None:
    assert len(texts(plots.plot_data(many, by="topic")[2])) == 4


def test_curve_shows_data_model_and_one_strength(fit: ps.Fit) -> None:
    [ax] = plots.plot_choice_curve(fit)
    assert set(texts(ax)) == {"posterior", "data", "one strength for all"}
    curve = next(line for line in ax.get_lines() if line.get_label() == "posterior")
    assert curve.get_ydata()[0] == pytest.approx(0.5)
    assert len(ax.collections) >= 2, "a band, and intervals of the data"


def test_few_levels_share_a_panel_and_many_do_not(grouped: ps.Fit, many: ps.Fit) -> None:
    for plot in (plots.plot_choice_curve, plots.plot_strength):
        [ax] = plot(grouped, by="region")
        assert set(texts(ax)) == {"a", "b", "c"}
        panels = plot(many, by="topic")
        assert [ax.get_title("left") for ax in panels] == LEVELS[:12]


def test_the_one_strength_is_the_most_probable_one() -> None:
    from prefstrength.plots.choice_curve import one_strength

    rng = np.random.default_rng(0)
    x = rng.normal(0, 1.5, 20_000)
    x *= np.where(rng.random(len(x)) < 1 / (1 + np.exp(-0.7 * x)), 1, -1)
    assert one_strength(x, np.ones(len(x))) == pytest.approx(0.7, abs=0.03)


def test_density_is_a_density(fit: ps.Fit) -> None:
    [ax] = plots.plot_strength(fit)
    curve = ax.get_lines()[0]
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    assert 0.95 < area < 1.01, "all but the far tails"


def test_one_strength_for_all_has_an_interval_in_place_of_a_density() -> None:
    fit = made_up_fit({"g": ["a", "b"]}, family="PointMass")
    [ax] = plots.plot_strength(fit, by="g")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert "One strength for all" in ax.get_title("left")


def test_forest_has_a_row_for_every_group(many: ps.Fit, grouped: ps.Fit) -> None:
    for fit, rows, headings in ((many, 17, 1), (grouped, 6, 2)):
        mean, cv = plots.plot_groups(fit)
        for ax in (mean, cv):
            points = [line for line in ax.get_lines() if line.get_marker() == "o"]
            assert len(points) == rows
        assert len(mean.get_yticklabels()) == rows + headings
        verdicts = [text.get_text() for text in cv.texts]
        assert sum(text in VERDICTS for text in verdicts) == rows


def test_forest_tells_verdicts_without_colour() -> None:
    fills = {}
    for cv, uncertainty in ((0.1, 0.05), (0.8, 0.05), (0.25, 0.8)):
        fit = made_up_fit(cv=cv, uncertainty=uncertainty)
        verdict = ps.heterogeneity(fit)["verdict"].iloc[0]
        ax = plots.plot_groups(fit)[1]
        point = next(line for line in ax.get_lines() if line.get_marker() == "o")
        fills[verdict] = point.get_fillstyle()
    assert fills == {
        "homogeneous": "none", "heterogeneous": "full", "the data cannot tell": "left"
    }  # fmt: skip


def test_a_very_wide_interval_does_not_squeeze_the_rest() -> None:
    fit = made_up_fit({"g": ["a", "b", "c"]}, uncertainty=0.05)
    values = fit.tree["posterior"]["reward_mu"].values
    values[..., 2] *= 60
    mean, _ = plots.plot_groups(fit)
    assert mean.get_xlim()[1] < 20


def test_of_many_levels_those_with_most_data_are_drawn() -> None:
    fit = made_up_fit({"task": [f"t{i}" for i in range(60)]}, choosers=180, situations=2)
    mean, _ = plots.plot_groups(fit)
    labels = [label.get_text() for label in mean.get_yticklabels()]
    assert labels[1] == "task (40 of 60 levels)"
    assert len(labels) == 42


def test_caterpillar_has_every_chooser_and_few_labels() -> None:
    fit = made_up_fit(choosers=500, situations=2)
    ax = plots.plot_choosers(fit)
    lines = [c for c in ax.collections if isinstance(c, LineCollection)]
    assert sum(len(c.get_segments()) for c in lines) == 500
    points = next(line for line in ax.get_lines() if line.get_marker() == "o")
    assert (np.diff(points.get_xdata()) >= 0).all(), "in order"
    assert 20 <= len(ax.get_yticks()) <= 45
    assert ax.get_ylabel() == "500 choosers, in order of strength"


def test_caterpillar_of_thousands_is_thinned_and_says_how_many_there_are() -> None:
    ax = plots.plot_choosers(made_up_fit(choosers=3000, situations=2))
    points = next(line for line in ax.get_lines() if line.get_marker() == "o")
    assert len(points.get_xdata()) <= 1200
    assert points.get_ydata()[[0, -1]].tolist() == [0, 2999]
    assert ax.get_ylabel().startswith("3,000 choosers")


def test_caterpillar_by_a_factor_has_a_marker_for_each_level(grouped: ps.Fit) -> None:
    ax = plots.plot_choosers(grouped, by="dataset")
    assert texts(ax)[:2] == ["casual", "expert"]
    sizes = [len(line.get_xdata()) for line in ax.get_lines() if line.get_marker() in "os"]
    assert sum(sizes) == 60


def test_prior_and_posterior_of_every_factor(fit: ps.Fit, grouped: ps.Fit) -> None:
    assert [ax.get_title("left") for ax in plots.plot_prior_posterior(fit)] == [
        "mean of log β", "sd of log β"
    ]  # fmt: skip
    titles = [ax.get_title("left") for ax in plots.plot_prior_posterior(grouped)]
    assert len(titles) == 6
    assert sum("region" in title for title in titles) == 2
    assert len(plots.plot_prior_posterior(grouped, by="region")) == 4


# -- training -----------------------------------------------------------------------------------


def learned(prior: bool = True, trajectory: bool = True, family: str = "LogNormal") -> Any:
    points = [
        {"step": s, "mu": -2.3, "sigma": 0.5, "mean": 0.1 + s / 1000, "cv": 0.5} for s in range(9)
    ]
    parameters = {"mu": -2.3, "sigma": 0.5}
    if family == "PointMass":
        points, parameters = [], {"value": 0.1}
    return ps.LearnedStrength(
        family,
        parameters,
        "joint",
        prior=ps.StrengthPrior("LogNormal", np.log(0.1), 0.1, np.log(0.5), 0.1) if prior else None,
        steps=8,
        trajectory=tuple(points) if trajectory else (),
    )


@pytest.mark.parametrize("prior", [True, False])
def test_trajectory_against_its_prior(prior: bool) -> None:
    mean, cv = plots.plot_trajectory(learned(prior), truth=ps.LogNormal(mu=0.0, sigma=0.5))
    assert ("prior (90%)" in texts(cv)) is prior
    assert {"learned", "truth"} <= set(texts(cv))
    line = next(line for line in mean.get_lines() if line.get_label() == "learned")
    assert line.get_ydata()[-1] == pytest.approx(0.108)
    save([mean, cv])


def test_trajectory_from_a_file(tmp_path: Any) -> None:
    learned().save(tmp_path)
    assert len(plots.plot_trajectory(tmp_path)) == 2


def test_trajectory_that_was_not_logged_is_refused() -> None:
    with pytest.raises(InputError, match="Expected a record with a trajectory"):
        plots.plot_trajectory(learned(trajectory=False))
    with pytest.raises(TypeError, match="Expected a LearnedStrength"):
        plots.plot_trajectory(3)


def test_comparison_draws_both(fit: ps.Fit) -> None:
    comparison = ps.compare_strength(fit, learned())
    density, quantiles = plots.plot_comparison(comparison, truth=ps.LogNormal(mu=0.0, sigma=0.8))
    assert texts(density) == ["the data (posterior)", "learned in training", "truth"]
    squares = next(line for line in quantiles.get_lines() if line.get_marker() == "s")
    assert len(squares.get_xdata()) == len(comparison.quantiles)
    save([density, quantiles])


def test_comparison_with_one_strength_says_that_there_is_no_density(fit: ps.Fit) -> None:
    comparison = ps.compare_strength(fit, learned(family="PointMass"))
    density, _ = plots.plot_comparison(comparison)
    assert "no density" in density.texts[0].get_text()


# -- truth --------------------------------------------------------------------------------------

CELLS = [
    {"dataset": d, "region": r, "mu": 0.1 * i, "sigma": s}
    for d, s in (("casual", 0.9), ("expert", 0.1))
    for i, r in enumerate("abc")
]
FORMS = {
    "records": {"cells": CELLS},
    "frame": pd.DataFrame(CELLS),
    "labels": {
        "factors": ["dataset", "region"],
        "family": "LogNormal",
        "cells": {f"{c['dataset']} | {c['region']}": c for c in CELLS},
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_truth_is_drawn_in_every_form(form: str, grouped: ps.Fit) -> None:
    truth = FORMS[form]
    mean, cv = plots.plot_groups(grouped, truth=truth)
    for ax in (mean, cv):
        assert len([line for line in ax.get_lines() if line.get_marker() == "D"]) == 6
    for plot in (plots.plot_strength, plots.plot_choice_curve):
        [ax] = plot(grouped, by="dataset", truth=truth)
        assert texts(ax)[-1] == "truth" or "truth" in texts(ax)
        dashed = [line for line in ax.get_lines() if line.get_color() == "#000000"]
        assert len(dashed) == 2


def test_true_choosers_are_drawn(grouped: ps.Fit) -> None:
    truth = {**FORMS["records"], "choosers": {f"c{a:04d}": 1.0 for a in range(60)}}
    ax = plots.plot_choosers(grouped, truth=truth)
    true = next(line for line in ax.get_lines() if line.get_marker() == "D")
    assert len(true.get_xdata()) == 60
    assert "truth" in texts(ax)


def test_truth_of_one_law_is_drawn_over_prior_and_posterior(fit: ps.Fit) -> None:
    axes = plots.plot_prior_posterior(fit, truth=ps.LogNormal(mu=0.0, sigma=0.8))
    marks = [
        line.get_xdata()[0]
        for ax in axes
        for line in ax.get_lines()
        if line.get_color() == "#000000"
    ]
    assert marks == [0.0, 0.8]


def test_truth_of_a_mixture_has_the_moments_of_its_laws() -> None:
    truth = Truth.of(FORMS["records"])
    cells = [({"dataset": "casual", "region": r}, 1.0) for r in "abc"]
    laws = [ps.LogNormal(mu=0.1 * i, sigma=0.9) for i in range(3)]
    draws = np.concatenate([law.sample(np.random.default_rng(0), 400_000) for law in laws])
    found = truth.summary(cells)
    assert found["mean"] == pytest.approx(np.mean([law.mean() for law in laws]))
    assert found["cv"] == pytest.approx(draws.std() / draws.mean(), rel=0.02)
    assert found["sd_log"] == pytest.approx(np.log(draws).std(), rel=0.01)
    assert found["median"] == pytest.approx(np.median(draws), rel=0.01)
    x = np.array([0.0, 1.0])
    assert truth.curve(cells, x) == pytest.approx(
        [0.5, np.mean(1 / (1 + np.exp(-draws)))], abs=2e-3
    )
    grid = np.linspace(0.001, 40, 20_000)
    assert np.trapezoid(truth.density(cells, grid), grid) == pytest.approx(1, abs=1e-3)


def test_truth_with_fewer_factors_than_the_fit() -> None:
    truth = Truth.of({"cells": [{"dataset": "casual", "mu": 0.0, "sigma": 0.5}]})
    assert truth.law({"dataset": "casual", "region": "a"}) is not None
    assert truth.law({"dataset": "other", "region": "a"}) is None
    assert truth.summary([({"dataset": "other"}, 1.0)]) == {}


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (3, "Expected truth as"),
        ({"mu": 1.0}, "Expected truth as"),
        ({"cells": [{"mu": 1.0}]}, "got none for sigma"),
        ({"cells": [{"mu": 1.0, "sigma": 1.0, "family": "Cauchy"}]}, "Expected a family"),
        ({"cells": {"a | b": {"mu": 0.0, "sigma": 1.0}}, "factors": ["x"]}, "Expected a level"),
    ],
)
def test_truth_of_another_form_is_refused(truth: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Truth.of(truth)


# -- the parts ----------------------------------------------------------------------------------


def test_bins_cover_the_shares_they_estimate() -> None:
    """Wilson's intervals hold the true share about as often as they say."""
    rng = np.random.default_rng(3)
    hits, total = 0, 0
    for _ in range(60):
        x = rng.exponential(1.0, 400)
        agree = rng.random(400) < 1 / (1 + np.exp(-x))
        found = bins(np.where(agree, x, -x), np.ones(400), 0.9, most=8)
        edges = np.array_split(np.sort(x), len(found.center))
        true = np.array([np.mean(1 / (1 + np.exp(-part))) for part in edges])
        hits += int(np.sum((found.low <= true) & (true <= found.high)))
        total += len(true)
    assert 0.86 < hits / total < 0.96


def test_bins_keep_equal_differences_together_and_leave_out_zeros() -> None:
    x = np.array([0.0] * 50 + [1.0] * 100 + [-1.0] * 100 + [2.0] * 50)
    found = bins(x, np.ones(len(x)), 0.9)
    assert found.center.tolist() == [1.0, 2.0]
    assert found.share.tolist() == [0.5, 1.0]
    assert found.count.sum() == 250
    assert len(bins(np.zeros(5), np.ones(5), 0.9).share) == 0


def test_weights_count_in_bins() -> None:
    x = np.array([1.0, -1.0])
    assert bins(x, np.array([3.0, 1.0]), 0.9, most=1).share.tolist() == [0.75]


def test_observed_agrees_between_a_fit_and_its_choices(fit: ps.Fit) -> None:
    choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.8), choosers=40, situations=12, seed=1)
    a, b = observed(fit, "reward"), observed(choices, "reward")
    assert a.difference == pytest.approx(b.difference)
    assert a.scale == pytest.approx(b.scale)
    with pytest.raises(TypeError, match="Expected a Fit or Choices"):
        observed(pd.DataFrame(), "reward")


def test_levels_differ_without_colour() -> None:
    looks = [level_style(index) for index in range(6)]
    assert len({str(look["linestyle"]) for look in looks}) == 6
    assert len({look["marker"] for look in looks}) == 6
    grey = [np.dot(mpl.colors.to_rgb(look["color"]), [0.299, 0.587, 0.114]) for look in looks]
    assert max(grey) < 0.75, "dark enough for a line on white"


def test_room_for_a_legend_is_made_below_the_curves() -> None:
    ax = Figure().subplots()
    ax.plot([0, 1, 2], [0.5, 0.5, 0.5])
    ax.set_ylim(0.4, 1.0)
    room_for_legend(ax, 4)
    bottom, top = ax.get_ylim()
    assert top == 1.0
    assert (0.5 - bottom) / (top - bottom) > 0.35
