"""Simulation-based calibration: ranks of true values, and where they should lie."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prefstrength.errors import InputError
from prefstrength.plots.style import (
    GREY,
    POSTERIOR,
    PRIOR,
    draw_band,
    grid_of_panels,
    plain_labels,
    points,
    say_left_out,
    shared_labels,
    short,
    style,
)

__all__ = ["plot_calibration"]

_MOST_PANELS = 12
_BINS = 20


class Ranked(Protocol):
    """What this figure reads of a :class:`~prefstrength.Calibration`."""

    @property
    def table(self) -> pd.DataFrame:
        """P-values of uniformity for each variable."""

    @property
    def ranks(self) -> pd.DataFrame:
        """Rank of the true value, for each simulation and variable."""

    @property
    def most(self) -> int:
        """Largest rank there can be."""

    def band(self, prob: float) -> tuple[np.ndarray, ...]:
        """Where the distribution function of uniform ranks lies: at, low, high."""


def plot_calibration(
    calibration: Ranked,
    variables: Sequence[str] | None = None,
    *,
    kind: str = "ecdf",
    prob: float = 0.95,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw the ranks of the true values, with the band in which uniform ranks lie.

    Parameters
    ----------
    calibration : Calibration
    variables : sequence of str, optional
        The twelve with the smallest p-values by default, in the order of the table.
    kind : {"ecdf", "histogram"}
        The empirical distribution function minus that of uniform ranks, whose band holds the
        whole curve with probability ``prob``; or counts, whose band holds each.
        A curve above 0 on the left and below on the right: posteriors are too narrow.
        Above 0 throughout: they lie too high.
    prob : float
        Of the band.
    axes : sequence of Axes, optional
        Where to draw, one for each variable; a new figure by default.

    Returns
    -------
    numpy.ndarray of Axes, shape (variable,)

    Raises
    ------
    InputError
        If there is no such variable or kind.

    References
    ----------
    .. [1] Saeilynoja, Buerkner, Vehtari (2022), Graphical test for discrete uniformity,
       Statistics and Computing 32(32), arXiv:2103.10522.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> choices = ps.simulate(ps.PointMass(value=1.0), choosers=20, situations=5)
    >>> model = ps.MixedLogit({"reward": ps.PointMass()})
    >>> done = ps.calibrate(model, choices, simulations=20, cores=1, progress=False)
    >>> axes = ps.plot_calibration(done, axes=Figure().subplots(1, 2))
    >>> [ax.get_title("left") for ax in axes]
    ['reward_value', 'log_likelihood']
    """
    table = calibration.table
    known = table["variable"].tolist()
    picked = variables is None
    if variables is None:
        worst = set(table.nsmallest(_MOST_PANELS, "p_adjusted")["variable"])
        variables = [name for name in known if name in worst]
    unknown = [name for name in variables if name not in known]
    if unknown or not len(variables):
        raise InputError(f"Expected variables among {known}; got {unknown or 'none'}.")
    if kind not in ("ecdf", "histogram"):
        raise InputError(f"Expected kind to be 'ecdf' or 'histogram'; got {kind!r}.")
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")
    with style():
        drawn = grid_of_panels(len(variables), axes, sharex=True, sharey=True)
        for ax, name in zip(drawn, variables, strict=True):
            mine = calibration.ranks[calibration.ranks["variable"] == name]
            ranks = mine["rank"].to_numpy()
            if kind == "ecdf":
                _ecdf(ax, ranks, calibration.most, calibration.band(prob))
            else:
                _histogram(ax, ranks, calibration.most, prob)
            ax.set_title(short(name, 30), fontsize=points(8), fontweight="normal")
            ax.set_xlim(0, 1)
            ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
            plain_labels(ax)
        if kind == "histogram":
            tops = [patch.get_data().values.max() for ax in drawn for patch in ax.patches]
            drawn[0].set_ylim(0, 1.1 * max(tops))
        y = "ECDF minus uniform" if kind == "ecdf" else "simulations"
        shared_labels(drawn, "rank of the true value", y, own_figure=axes is None)
        if picked:
            what = "variables, those farthest from uniform"
            say_left_out(drawn, len(known), what, own_figure=axes is None)
    return drawn


def _ecdf(ax: Axes, ranks: np.ndarray, most: int, band: tuple[np.ndarray, ...]) -> None:
    at, low, high = band
    found = np.cumsum(np.bincount(ranks, minlength=most + 1))[:-1] / len(ranks)
    at, low, high, found = (np.r_[0.0, values, 1.0] for values in (at, low, high, found))
    draw_band(ax, at, low - at, high - at, PRIOR, alpha=0.4, label="uniform")
    ax.axhline(0, color=GREY, linewidth=0.6)
    ax.plot(at, found - at, color=POSTERIOR, linewidth=1.2, drawstyle="steps-post", label="ranks")


def _histogram(ax: Axes, ranks: np.ndarray, most: int, prob: float) -> None:
    from scipy.stats import binom

    bins = min(_BINS, most + 1)
    place = np.arange(most + 1) * bins // (most + 1)
    share = np.bincount(place) / (most + 1)
    edges = np.r_[0.0, np.cumsum(share)]
    counts = np.bincount(place[ranks], minlength=bins)
    low, high = (binom(len(ranks), share).ppf(q) for q in ((1 - prob) / 2, (1 + prob) / 2))
    draw_band(ax, edges, np.r_[low, low[-1]], np.r_[high, high[-1]], PRIOR, alpha=0.4,
              step="post", label="uniform")  # fmt: skip
    ax.stairs(counts, edges, color=POSTERIOR, linewidth=1.2, label="ranks")
