"""Choice probability against reward difference, with the posterior band and binned data."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy.special import expit

from prefstrength.plots.levels import Level, by_levels, level_legend
from prefstrength.plots.observed import Observed, bins, observed
from prefstrength.plots.style import (
    DATA,
    GREY,
    TRUTH_LINE,
    difference_label,
    draw_band,
    room_for_legend,
    shared_labels,
    short,
    style,
)
from prefstrength.plots.truth import Truth
from prefstrength.posterior.curves import choice_curve
from prefstrength.posterior.fit import Fit

__all__ = ["one_strength", "plot_choice_curve"]


def plot_choice_curve(
    fit: Fit,
    *,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    axes: Axes | Sequence[Axes] | None = None,
    truth: Any = None,
) -> np.ndarray:
    """Draw the probability of choosing the alternative with the higher reward.

    Points are shares in the data with Wilson's intervals, the line and band are the posterior,
    the dotted line is what one strength for all would give at its best: data that bend away from
    it are what a model without heterogeneity, with utility linear in the reward, cannot follow. In
    a model with several attributes the curve is for alternatives that are alike in the others;
    points are then left out, since in the data the others differ too.

    Parameters
    ----------
    fit : Fit
    by : str, optional
        A factor. Up to three levels share one panel; more get a panel each, with the curve of
        all data in grey, and beyond twelve only those with most data.
    attribute : str, optional
        The only one, or the only one that varies, by default.
    prob : float
        Probability of band and intervals.
    axes : Axes or sequence of Axes, optional
        Where to draw, one for each panel; a new figure by default.
    truth : Mixing, dict or DataFrame, optional
        Mixing distributions that simulated strengths came from; drawn dashed in black.

    Returns
    -------
    numpy.ndarray of Axes, shape (panel,)

    Raises
    ------
    InputError
        If there is no such factor or attribute.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=40, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> [ax] = ps.plot_choice_curve(fit, axes=Figure().subplots())
    >>> ax.get_ylabel()
    'higher reward chosen'
    """
    attribute = fit.attribute(attribute)
    curves = choice_curve(fit, by=by, attribute=attribute, prob=prob)
    everything = cache(partial(choice_curve, fit, attribute=attribute, prob=prob))
    known = None if truth is None else Truth.of(truth, fit.groups)
    # Of differences measured with error the true ones are not seen, and the curve is over those.
    # With other attributes in the model it is for alternatives alike in them; in the data they
    # are not.
    measured, partial_ = attribute in fit.errors, len(fit.attributes) > 1
    pairs = f"{attribute}_difference" in fit.tree["constant_data"]
    seen = observed(fit, attribute, by) if pairs and not measured and not partial_ else None

    def draw(ax: Axes, level: Level) -> None:
        curve = curves[curves["level"] == level.name]
        x, color = curve["difference"].to_numpy(), level.look["color"]
        draw_band(ax, x, curve["low"], curve["high"], color)
        if level.alone:
            ax.plot(everything()["difference"], everything()["probability"], color=GREY,
                    linewidth=0.8, label="all data")  # fmt: skip
        ax.plot(x, curve["probability"], color=color, linestyle=level.look["linestyle"],
                label=level.label)  # fmt: skip
        if seen is not None:
            _points(ax, seen, level, by is not None, prob, x[-1])
            if by is None:
                ax.plot(x, expit(one_strength(seen.difference, seen.weight) * x), color=GREY,
                        linestyle=":", label="one strength for all")  # fmt: skip
        if known is not None:
            ax.plot(x, known.curve(level.cells, x), label=level.truth, **TRUTH_LINE)
        ax.axhline(0.5, color=GREY, linewidth=0.6)
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.set_xlim(0, x[-1])

    with style():
        drawn = by_levels(fit, by, draw, axes)
        label = difference_label(attribute, fit.spec["scales"][attribute])
        label = f"{label}, others alike" if partial_ else label
        shared_labels(drawn, f"true {label}" if measured else label,
                      f"higher {short(attribute, 14)} chosen", own_figure=axes is None,
                      legend=len(drawn) > 1)  # fmt: skip
        if len(drawn) == 1:
            handles, _ = drawn[0].get_legend_handles_labels()
            room_for_legend(drawn[0], len(handles) + (by is not None))
            level_legend(drawn[0], by, "lower right")
    return drawn


def _points(ax: Axes, seen: Observed, level: Level, grouped: bool, prob: float, end: float) -> None:
    """Shares in the data, with Wilson's intervals, as far as the curve goes."""
    mine = np.ones(len(seen.level), bool)
    if grouped:
        mine = seen.level == seen.levels.index(level.name)
    found = bins(seen.difference[mine], seen.weight[mine], prob, 10)
    inside = found.center <= end * 1.02
    shared = grouped and not level.alone
    ax.errorbar(
        found.center[inside],
        found.share[inside],
        np.maximum([found.share - found.low, found.high - found.share], 0)[:, inside],
        fmt=level.look["marker"],
        color=level.look["color"] if shared else DATA,
        markersize=3.5,
        elinewidth=0.8,
        label=None if shared else "data",
        zorder=3,
    )


def one_strength(difference: np.ndarray, weight: np.ndarray) -> float:
    """The one strength under which the choices are most probable, by Newton's method."""
    strength = 0.0
    for _ in range(50):
        miss = expit(-strength * difference)
        slope = np.sum(weight * miss * difference)
        curvature = np.sum(weight * miss * (1 - miss) * difference**2)
        if not curvature > 0:
            break
        step = float(np.clip(slope / curvature, -1, 1))
        strength += step
        if abs(step) < 1e-9:
            break
    return strength
