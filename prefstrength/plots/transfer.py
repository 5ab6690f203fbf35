"""Log-ratio differences against reward differences, after training."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prefstrength.plots.style import DOUBLE, GREY, LEARNED, POSTERIOR, panels, short, style

__all__ = ["plot_transfer"]

_DOTS, _BINS, _ROWS = 1_500, 12, 20


class Transferred(Protocol):
    """A regression of log-ratio differences on reward differences."""

    @property
    def reward(self) -> np.ndarray:
        """Reward differences of the pairs."""

    @property
    def delta(self) -> np.ndarray:
        """Log-ratio differences of the pairs, in nats."""

    @property
    def levels(self) -> pd.DataFrame:
        """Slope of every level, with an interval."""

    def value(self, quantity: str) -> float:
        """Estimate of a quantity."""


def plot_transfer(
    transfer: Transferred, *, axes: Axes | Sequence[Axes] | None = None
) -> np.ndarray:
    """Draw log-ratio differences against reward differences, and the slopes of the levels.

    Parameters
    ----------
    transfer : Transfer
        From :func:`prefstrength.check_transfer`.
    axes : Axes or sequence of Axes, optional
        One, or two where there are levels; a new figure by default.

    Returns
    -------
    numpy.ndarray of Axes
        Pairs with the line and the power curve; slopes, where there are levels.

    Notes
    -----
    Of more than 1,500 pairs every so manieth is a dot; bins hold all. Of more than 20 levels those
    with the most pairs are shown.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> rng = np.random.default_rng(0)
    >>> reward = rng.normal(size=200)
    >>> found = ps.check_transfer(2 * reward + rng.normal(size=200), reward)
    >>> [ax] = ps.plot_transfer(found, axes=Figure().subplots())
    >>> ax.get_xlabel()
    'reward difference Δr'
    """
    with style():
        drawn = panels(1, 2 if len(transfer.levels) else 1, DOUBLE, 2.9, axes)
        _pairs(drawn[0], transfer)
        if len(transfer.levels):
            _levels(drawn[1], transfer.levels, transfer.value("slope"))
    return drawn


def _pairs(ax: Axes, transfer: Transferred) -> None:
    x, y = transfer.reward, transfer.delta
    every = max(1, len(x) // _DOTS)
    ax.plot(x[::every], y[::every], ".", color=GREY, markersize=1.5, alpha=0.4, rasterized=True)
    order = np.array_split(np.argsort(x, kind="stable"), _BINS)
    middle, mean = (np.array([each[rows].mean() for rows in order]) for each in (x, y))
    error = [y[rows].std() / np.sqrt(max(len(rows), 1)) for rows in order]
    ax.errorbar(middle, mean, error, fmt="o", color=POSTERIOR, markersize=4, zorder=3,
                linewidth=1, label="means of twelfths")  # fmt: skip
    lean, slope = transfer.value("toward_chosen"), transfer.value("slope")
    at = np.linspace(x.min(), x.max(), 201)
    ax.plot(at, lean + slope * at, color="black", linewidth=1, label="Δ = c·Δr, fitted")
    power = transfer.value("power")
    bent = np.sign(x) * np.abs(x) ** power
    design = np.stack([np.ones_like(x), bent], axis=1)
    (start, rise), *_ = np.linalg.lstsq(design, y, rcond=None)
    ax.plot(at, start + rise * np.sign(at) * np.abs(at) ** power, color=LEARNED, linestyle="--",
            label=f"power {power:.2g}")  # fmt: skip
    ax.set_xlabel("reward difference Δr")
    ax.set_ylabel("log-ratio difference Δ (nats)")
    ax.legend(loc="upper left", handlelength=1.8)


def _levels(ax: Axes, levels: pd.DataFrame, slope: float) -> None:
    rows = levels.nlargest(_ROWS, "pairs").sort_values("slope")
    place = np.arange(len(rows))
    ax.hlines(place, rows["low"], rows["high"], color=POSTERIOR, linewidth=2, alpha=0.6)
    ax.plot(rows["slope"], place, "o", color=POSTERIOR, markersize=3)
    ax.axvline(slope, color="black", linewidth=0.8)
    ax.set_yticks(place, [short(each, 18) for each in rows["level"]], parse_math=False)
    ax.set_xlabel("slope c (nats per unit of reward)")
    if len(levels) > len(rows):
        ax.set_title(f"{len(rows)} of {len(levels)} levels", loc="left")
