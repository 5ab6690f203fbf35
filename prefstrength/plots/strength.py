"""Density of the strength over choosers, overall or for each level of a factor."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from prefstrength.choice.mixing.families import family_named
from prefstrength.plots._observed import cell_weights
from prefstrength.plots._style import (
    GREY,
    POSTERIOR,
    SINGLE,
    TRUTH,
    draw_band,
    grid_of_panels,
    level_style,
    panels,
    percent,
    shared_labels,
    short,
    strength_label,
    style,
    top_levels,
)
from prefstrength.plots._truth import Truth
from prefstrength.posterior.curves import strength_density
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import heterogeneity

__all__ = ["plot_strength"]

_MOST_TOGETHER = 3
_MOST_PANELS = 12


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
        The first one by default.
    prob : float
        Probability of the pointwise band.
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
    >>> [ax] = ps.plot_strength(fit, axes=Figure().subplots())
    >>> ax.get_xlabel()
    'strength β (per unit of reward difference)'
    """
    attribute = fit.attribute(attribute)
    label = strength_label(attribute, fit.spec["scales"][attribute])
    known = None if truth is None else Truth.of(truth, fit.groups)
    if not family_named(fit.family(attribute)).varies:
        return _points(fit, by, attribute, prob, axes, known, label)
    densities = strength_density(fit, by=by, attribute=attribute, prob=prob)
    levels = list(dict.fromkeys(densities["level"]))
    sizes = [sum(weight for _, weight in cell_weights(fit, by or "overall", lv)) for lv in levels]
    levels = top_levels(levels, sizes, _MOST_PANELS)
    together = len(levels) <= _MOST_TOGETHER
    with style():
        if together:
            drawn = panels(1, 1, SINGLE, 2.7, axes)
        else:
            drawn = grid_of_panels(len(levels), axes, sharex=True, sharey=True)
        everything = None if together else strength_density(fit, attribute=attribute, prob=prob)
        for index, level in enumerate(levels):
            ax = drawn[0 if together else index]
            mine = densities[densities["level"] == level]
            x = mine["strength"].to_numpy()
            look = {"color": POSTERIOR, "linestyle": "-"}
            if together and by:
                look = {k: v for k, v in level_style(index).items() if k != "marker"}
            draw_band(ax, x, mine["low"], mine["high"], look["color"])
            if everything is not None:
                ax.plot(everything["strength"], everything["density"], color=GREY, linewidth=0.8,
                        label="all data")  # fmt: skip
                ax.set_title(short(level, 19), fontsize=8, fontweight="normal")
            name = short(level, 18) if together and by else "posterior"
            ax.plot(x, mine["density"], label=name, **look)
            if known is not None:
                last = index == len(levels) - 1
                density = known.density(cell_weights(fit, by or "overall", level), x)
                ax.plot(x, density, color=TRUTH, linestyle=(0, (4, 2)), linewidth=1.0,
                        label="truth" if last or not together else None)  # fmt: skip
            ax.set_xlim(min(0.0, x[0]), x[-1])
        _trim(drawn)
        for ax in drawn:
            ax.set_ylim(bottom=0)
            ax.set_yticks([])
        if together:
            drawn[0].set_xlabel(label)
            drawn[0].set_ylabel("density")
            if by or known is not None:
                drawn[0].legend(loc="upper right", handlelength=2.4, title_fontsize=8,
                                title=short(by, 18) if by else None)  # fmt: skip
        else:
            shared_labels(drawn, label, "density", own_figure=axes is None)
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
