"""Choice probability against reward difference, with the posterior band and binned data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from scipy.special import expit

from prefstrength.plots._observed import bins, cell_weights, observed
from prefstrength.plots._style import (
    DATA,
    GREY,
    POSTERIOR,
    SINGLE,
    TRUTH,
    difference_label,
    draw_band,
    grid_of_panels,
    level_style,
    panels,
    room_for_legend,
    shared_labels,
    short,
    style,
    top_levels,
)
from prefstrength.plots._truth import Truth
from prefstrength.posterior.curves import choice_curve
from prefstrength.posterior.fit import Fit

__all__ = ["plot_choice_curve"]

_MOST_TOGETHER = 3
_MOST_PANELS = 12


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
    it are what a model without heterogeneity cannot follow.

    Parameters
    ----------
    fit : Fit
    by : str, optional
        A factor. Up to three levels share one panel; more get a panel each, with the curve of
        all data in grey, and beyond twelve only those with most data.
    attribute : str, optional
        The first one by default.
    prob : float
        Probability of band and intervals.
    axes : Axes or sequence of Axes, optional
        Where to draw, one for each panel; a new figure by default.
    truth : Mixing, dict or DataFrame, optional
        Laws that simulated strengths came from; drawn dashed in black.

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
    levels = list(dict.fromkeys(curves["level"]))
    seen = None
    # Of differences measured with error the true ones are not seen, and the curve is over those.
    measured = attribute in fit.errors
    if f"{attribute}_difference" in fit.tree["constant_data"] and not measured:
        seen = observed(fit, attribute, by)
        counts = [float(np.sum(seen.level == seen.levels.index(lv))) if by else 1 for lv in levels]
        levels = top_levels(levels, counts, _MOST_PANELS)
    together = len(levels) <= _MOST_TOGETHER
    known = None if truth is None else Truth.of(truth, fit.groups)
    with style():
        if together:
            drawn = panels(1, 1, SINGLE, 2.7, axes)
        else:
            drawn = grid_of_panels(len(levels), axes, sharex=True, sharey=True)
        everything = choice_curve(fit, attribute=attribute, prob=prob) if not together else None
        for index, level in enumerate(levels):
            ax = drawn[0 if together else index]
            curve = curves[curves["level"] == level]
            x = curve["difference"].to_numpy()
            look = level_style(index if together and by else 0)
            if not (together and by):
                look = {"color": POSTERIOR, "linestyle": "-", "marker": "o"}
            draw_band(ax, x, curve["low"], curve["high"], look["color"])
            if everything is not None:
                ax.plot(everything["difference"], everything["probability"], color=GREY,
                        linewidth=0.8, label="all data")  # fmt: skip
            name = short(level, 18) if together and by else "posterior"
            ax.plot(x, curve["probability"], color=look["color"], linestyle=look["linestyle"],
                    label=name)  # fmt: skip
            if seen is not None:
                mine = np.ones(len(seen.level), bool)
                if by:
                    mine = seen.level == seen.levels.index(level)
                found = bins(seen.difference[mine], seen.weight[mine], prob, 10)
                inside = found.center <= x[-1] * 1.02
                color = look["color"] if together and by else DATA
                ax.errorbar(
                    found.center[inside],
                    found.share[inside],
                    np.maximum([found.share - found.low, found.high - found.share], 0)[:, inside],
                    fmt=look["marker"],
                    color=color,
                    markersize=3.5,
                    elinewidth=0.8,
                    label=None if together and by else "data",
                    zorder=3,
                )
                if not by:
                    ax.plot(x, expit(_one_strength(seen.difference, seen.weight) * x),
                            color=GREY, linestyle=":", label="one strength for all")  # fmt: skip
            if known is not None:
                cells = cell_weights(fit, by or "overall", level)
                last = index == len(levels) - 1
                ax.plot(x, known.curve(cells, x), color=TRUTH, linestyle=(0, (4, 2)),
                        linewidth=1.0, label="truth" if last or not together else None)  # fmt: skip
            if not together:
                ax.set_title(short(level, 19), fontsize=8, fontweight="normal")
            ax.axhline(0.5, color=GREY, linewidth=0.6)
            ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            ax.set_xlim(0, x[-1])
        x_label = difference_label(attribute, fit.spec["scales"][attribute])
        if measured:
            x_label = f"true {x_label}"
        y_label = f"higher {short(attribute, 14)} chosen"
        if together:
            drawn[0].set_xlabel(x_label)
            drawn[0].set_ylabel(y_label)
            handles, _ = drawn[0].get_legend_handles_labels()
            room_for_legend(drawn[0], len(handles) + (by is not None))
            drawn[0].legend(loc="lower right", title=short(by, 18) if by else None,
                            title_fontsize=8, handlelength=2.4)  # fmt: skip
        else:
            shared_labels(drawn, x_label, y_label, own_figure=axes is None)
    return drawn


def _one_strength(difference: np.ndarray, weight: np.ndarray) -> float:
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
