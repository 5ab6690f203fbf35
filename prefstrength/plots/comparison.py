"""Learned strength against the posterior, both relative to their mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from prefstrength.plots.style import (
    DOUBLE,
    GREY,
    LEARNED,
    POSTERIOR,
    TRUTH,
    draw_band,
    panels,
    percent,
    style,
)
from prefstrength.plots.truth import Truth

__all__ = ["plot_comparison"]


def plot_comparison(
    comparison: Any,
    *,
    axes: Sequence[Axes] | None = None,
    truth: Any = None,
) -> np.ndarray:
    """Draw posterior and learned distribution of strength, as densities and as quantiles.

    Parameters
    ----------
    comparison : StrengthComparison
        From :func:`prefstrength.compare_strength`.
    axes : sequence of two Axes, optional
        Where to draw; a new figure by default.
    truth : Mixing or dict, optional
        The mixing distribution that simulated strengths came from, drawn dashed relative to its
        mean.

    Returns
    -------
    numpy.ndarray of Axes, shape (2,)
        Densities, quantiles.

    Notes
    -----
    Strengths are divided by their own mean: the analysis measures strength per unit of reward,
    training per nat of log-ratio, so that only shapes can be compared.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=40, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> learned = ps.LearnedStrength("LogNormal", {"mu": -2.5, "sigma": 0.7}, "joint")
    >>> comparison = ps.compare_strength(fit, learned)
    >>> axes = ps.plot_comparison(comparison, axes=Figure().subplots(1, 2))
    >>> axes[0].get_xlabel()
    'strength / mean strength'
    """
    with style():
        drawn = panels(1, 2, DOUBLE, 2.7, axes)
        _densities(drawn[0], comparison, truth)
        _quantiles(drawn[1], comparison)
    return drawn


def _densities(ax: Axes, comparison: Any, truth: Any) -> None:
    ax.set_xlabel("strength / mean strength")
    ax.set_ylabel("density")
    ax.set_yticks([])
    table = comparison.density
    if not len(table):
        ax.text(0.5, 0.5, "no density:\nmany have one strength", transform=ax.transAxes,
                ha="center", va="center", color=GREY)  # fmt: skip
        return
    x = table["strength"].to_numpy()
    draw_band(ax, x, table["low"], table["high"], POSTERIOR)
    ax.plot(x, table["posterior"], color=POSTERIOR, label="the data (posterior)")
    ax.plot(x, table["learned"], color=LEARNED, linestyle="--", label="learned in training")
    if truth is not None:
        known = Truth.of(truth)
        mean = known.summary([({}, 1.0)])["mean"]
        ax.plot(x, known.density([({}, 1.0)], x * mean) * mean, color=TRUTH, linewidth=1.0,
                linestyle=(0, (1, 1)), label="truth")  # fmt: skip
    high = table[["learned", "posterior"]].max(axis=1).to_numpy()
    visible = np.flatnonzero(high > 0.02 * high.max())
    ax.set_xlim(0, x[visible[-1]])
    # A band that towers over both curves would flatten them.
    ax.set_ylim(0, 1.05 * min(max(high.max(), table["high"].max()), 2.2 * high.max()))
    ax.legend(loc="upper right", handlelength=2.4)


def _quantiles(ax: Axes, comparison: Any) -> None:
    table = comparison.quantiles
    place = np.arange(len(table))
    ax.hlines(place, table["low"], table["high"], color=POSTERIOR, linewidth=3.5, alpha=0.45,
              label=f"the data ({percent(comparison.prob)} interval)")  # fmt: skip
    ax.plot(table["posterior"], place, "|", color=POSTERIOR, markersize=9, markeredgewidth=1.6)
    ax.plot(table["learned"], place, "s", color=LEARNED, markersize=4, label="learned in training")
    ax.set_yticks(place, [percent(p) for p in table["probability"]])
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_ylabel("percentile of choosers")
    ax.set_xlabel("strength / mean strength")
    ax.axvline(1, color=GREY, linewidth=0.6)
    ax.legend(loc="lower right", handlelength=1.4)
