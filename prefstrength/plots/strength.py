"""Density of the strength over choosers, overall or for each level of a factor."""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from prefstrength.plots.levels import Level, by_levels, level_legend
from prefstrength.plots.observed import cell_weights
from prefstrength.plots.style import (
    GREY,
    POSTERIOR,
    SINGLE,
    TRUTH,
    TRUTH_LINE,
    draw_band,
    panels,
    percent,
    shared_labels,
    short,
    strength_label,
    style,
)
from prefstrength.plots.truth import Truth
from prefstrength.posterior.curves import strength_density
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import heterogeneity

__all__ = ["plot_strength"]


def plot_strength(
    fit: Fit,
    *,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    axes: Axes | Sequence[Axes] | None = None,
    truth: Any = None,
) -> np.ndarray:
    """Draw how strength is distributed over choosers, with the posterior band.

    A narrow peak says that choosers weigh rewards alike, a wide one that they do not. A model
    with one strength for all (PointMass) has no distribution; its posterior interval is drawn.

    Parameters
    ----------
    fit : Fit
    by : str, optional
        A factor. Up to three levels share one panel; more get a panel each, with the density of
        all data in grey, and beyond twelve only those with most data.
    attribute : str, optional
        The only one, or the only one that varies, by default.
    prob : float
        Probability of the pointwise band.
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
    >>> [ax] = ps.plot_strength(fit, axes=Figure().subplots())
    >>> ax.get_xlabel()
    'strength β (per unit of reward difference)'
    """
    attribute = fit.attribute(attribute)
    label = strength_label(attribute, fit.spec["scales"][attribute])
    known = None if truth is None else Truth.of(truth, fit.groups)
    if not fit.mixing(attribute).varies:
        return _points(fit, by, attribute, prob, axes, known, label)
    densities = strength_density(fit, by=by, attribute=attribute, prob=prob)
    everything = cache(partial(strength_density, fit, attribute=attribute, prob=prob))

    def draw(ax: Axes, level: Level) -> None:
        mine = densities[densities["level"] == level.name]
        x, color = mine["strength"].to_numpy(), level.look["color"]
        draw_band(ax, x, mine["low"], mine["high"], color)
        if level.alone:
            ax.plot(everything()["strength"], everything()["density"], color=GREY, linewidth=0.8,
                    label="all data")  # fmt: skip
        ax.plot(x, mine["density"], color=color, linestyle=level.look["linestyle"],
                label=level.label)  # fmt: skip
        if known is not None:
            ax.plot(x, known.density(level.cells, x), label=level.truth, **TRUTH_LINE)
        ax.set_xlim(min(0.0, x[0]), x[-1])

    with style():
        drawn = by_levels(fit, by, draw, axes)
        _trim(drawn)
        for ax in drawn:
            ax.set_ylim(bottom=0)
            ax.set_yticks([])
        shared_labels(drawn, label, "density", own_figure=axes is None, legend=len(drawn) > 1)
        if len(drawn) == 1 and (by or known is not None):
            level_legend(drawn[0], by, "upper right")
    return drawn


def _trim(drawn: np.ndarray) -> None:
    """End the axis where every curve has come down to a fiftieth of its highest point."""
    curves = [line for ax in drawn for line in ax.get_lines() if len(line.get_xdata()) > 2]
    tops = [np.nanmax(line.get_ydata(), initial=0.0) for line in curves]
    ends = []
    for line, top in zip(curves, tops, strict=True):
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        visible = np.flatnonzero(y > 0.02 * max(top, 1e-300))
        if len(visible):
            ends.append(x[visible[-1]])
    for ax in drawn:
        ax.set_xlim(right=max(ends, default=1.0))


def _points(
    fit: Fit,
    by: str | None,
    attribute: str,
    prob: float,
    axes: Any,
    known: Truth | None,
    label: str,
) -> np.ndarray:
    """Posterior of the one strength of a PointMass, a row for each level."""
    table = heterogeneity(fit, attribute=attribute, prob=prob)
    table = table[table["factor"] == (by or "overall")]
    with style():
        drawn = panels(1, 1, SINGLE, 0.9 + 0.24 * min(len(table), 40), axes)
        ax = drawn[0]
        rows = np.arange(len(table))[::-1]
        ax.errorbar(table["mean"], rows,
                    xerr=[table["mean"] - table["mean_low"], table["mean_high"] - table["mean"]],
                    fmt="o", color=POSTERIOR, markersize=4, label="posterior")  # fmt: skip
        if known is not None:
            means = [
                known.summary(cell_weights(fit, by or "overall", level)).get("mean", np.nan)
                for level in table["level"]
            ]
            ax.plot(means, rows, "D", markerfacecolor="none", color=TRUTH, markersize=5,
                    label="true mean")  # fmt: skip
            ax.legend(loc="best")
        ax.set_yticks(rows, [short(level) or "all data" for level in table["level"]])
        ax.set_ylim(-0.7, len(table) - 0.3)
        ax.set_xlabel(label)
        ax.set_title(f"One strength for all ({percent(prob)} interval)")
    return drawn
