"""Forests: intervals of two quantities in rows, with the verdict of each row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from prefstrength.plots.style import DATA, GREY, POSTERIOR, points
from prefstrength.posterior.heterogeneity import VERDICTS

__all__ = ["draw_forest"]

# Filled, open, half: the verdict shows without colour.
_FILL = {VERDICTS[0]: "full", VERDICTS[1]: "none", VERDICTS[2]: "left", VERDICTS[3]: "none"}


def draw_forest(
    drawn: np.ndarray,
    rows: Sequence[Mapping[str, Any] | str],
    quantities: tuple[str, str],
    *,
    rope: float,
    note: str,
) -> np.ndarray:
    """Draw two quantities of every row, and its verdict beside them.

    Parameters
    ----------
    drawn : numpy.ndarray of Axes, shape (2,)
        The second is that of the coefficient of variation.
    rows : sequence of (dict or str)
        From the top: records with ``verdict``, each quantity and its ``_low`` and ``_high``; a
        text is a heading, which has none.
    quantities : (str, str)
    rope : float
        Coefficient of variation below which strength counts as homogeneous; shaded.
    note : str
        What the intervals are, above the first axes.

    Returns
    -------
    numpy.ndarray, shape (row,)
        Where the rows are on the y axis.
    """
    place = np.arange(len(rows))[::-1]
    records = [(y, row) for y, row in zip(place, rows, strict=True) if not isinstance(row, str)]
    for ax, quantity in zip(drawn, quantities, strict=True):
        for y, row in records:
            _interval(ax, y, row, quantity)
        ax.set_ylim(-0.7, len(rows) - 0.3)
        ax.tick_params(axis="y", length=0)
    above: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "color": GREY}
    drawn[0].annotate(
        note, (0, 1), xytext=(0, 2), xycoords="axes fraction", fontsize=points(8), **above
    )
    drawn[1].annotate("practically\nhomogeneous", (rope / 2, 1), xytext=(0, 2), fontsize=points(7),
                      xycoords=("data", "axes fraction"), ha="center", **above)  # fmt: skip
    drawn[1].axvspan(0, rope, color="#E6E6E6", zorder=0, linewidth=0)
    drawn[1].set_xlabel("sd / mean of strength")
    for y, row in records:
        drawn[1].annotate(str(row["verdict"]), (1, y), xytext=(5, 0), va="center",
                          fontsize=points(8), xycoords=("axes fraction", "data"),
                          textcoords="offset points", color=DATA)  # fmt: skip
    return place


def _interval(ax: Axes, y: float, row: Mapping[str, Any], quantity: str) -> None:
    middle, low, high = (row[f"{quantity}{end}"] for end in ("", "_low", "_high"))
    ax.plot([low, high], [y, y], color=POSTERIOR, linewidth=1.4, solid_capstyle="butt")
    fill = _FILL.get(str(row["verdict"]), "full")
    ax.plot(middle, y, "o", color=POSTERIOR, markersize=5.5, markeredgewidth=1.0, fillstyle=fill,
            markerfacecolor="white" if fill == "none" else POSTERIOR,
            markerfacecoloralt="white")  # fmt: skip
