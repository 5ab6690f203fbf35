"""Explanations of the same choices: how each draws the choice curve, and its weight."""

import textwrap
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from prefstrength.errors import InputError
from prefstrength.plots.style import (
    DATA,
    DOUBLE,
    GREY,
    PRIOR,
    difference_label,
    level_style,
    panels,
    points,
    short,
    style,
)

__all__ = ["plot_rivals"]

# Bars at most.
_BARS = 6


class Weighed(Protocol):
    """What this figure reads of :class:`~prefstrength.Rivals`."""

    @property
    def attribute(self) -> str:
        """Attribute whose coefficient is the strength."""

    @property
    def table(self) -> pd.DataFrame:
        """Explanations, the likeliest first."""

    @property
    def curves(self) -> pd.DataFrame:
        """How they draw the choice curve."""

    @property
    def seen(self) -> pd.DataFrame:
        """The same in the data."""


def plot_rivals(rivals: Weighed, *, axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Draw how each explanation draws the choice curve through the binned data, and its weight.

    Explanations whose curves lie on each other are told apart, if at all, by how consistent each
    chooser is; that is in the weights, not in the curves.

    Parameters
    ----------
    rivals : Rivals
    axes : sequence of two Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of Axes, shape (2,)

    Raises
    ------
    InputError
        If the answers were more than choices between two, which have no such curve.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> found = ps.rivals(ps.simulate(ps.PointMass(1.0), choosers=40, situations=10))
    >>> curves, weights = ps.plot_rivals(found, axes=Figure().subplots(1, 2))
    >>> weights.get_xlabel()
    'weight'
    """
    if not len(rivals.seen):
        raise InputError(
            "Expected rivals of choices between two; got those of other answers, which have no "
            "one choice curve. Their weights are in `rivals.table`."
        )
    with style():
        drawn = panels(1, 2, DOUBLE, 3.6, axes)
        _draw_curves(drawn[0], rivals)
        _draw_weights(drawn[1], rivals.table)
    return drawn


def _draw_curves(ax: Axes, rivals: Weighed) -> None:
    seen = rivals.seen
    ax.errorbar(
        seen["difference"],
        seen["share"],
        np.maximum([seen["share"] - seen["low"], seen["high"] - seen["share"]], 0),
        fmt="o", color=DATA, markersize=3.5, elinewidth=0.8, label="data", zorder=3,
    )  # fmt: skip
    for index, (name, label) in enumerate(_told_apart(rivals.table).items()):
        mine = rivals.curves[rivals.curves["explanation"] == name]
        look = {"color": GREY, "linestyle": "-", "linewidth": 2.4} if index == 0 else {
            **{k: level_style(index - 1)[k] for k in ("color", "linestyle")}, "linewidth": 1.2
        }  # fmt: skip
        ax.plot(mine["difference"], mine["probability"], label=label, **look)
    ax.axhline(0.5, color=GREY, linewidth=0.6)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlim(0, None)
    ax.set_xlabel(difference_label(rivals.attribute, None))
    ax.set_ylabel(f"higher {short(rivals.attribute, 14)} chosen")
    ax.set_title("Choice curves")
    ax.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.24), handlelength=2.6)


def _told_apart(table: pd.DataFrame) -> dict[str, str]:
    """Explanations whose curves are drawn, and what they are called: few, and unlike each other."""
    named = table[table["log_evidence"].notna()]["explanation"].tolist()
    spread = [name for name in named if name.startswith("spread")]
    one = [name for name in named if not name.startswith("spread")]
    chosen = {"all": "all together"}
    for name in (*spread[:1], *one[:1]):
        chosen.setdefault(name, short(name, 48))
    for name in sorted({"spread", "one strength"} & set(named)):
        chosen.setdefault(name, f"{name} alone")
    return chosen


def _draw_weights(ax: Axes, table: pd.DataFrame) -> None:
    # The last row may be the others together, which have no place among single ones.
    shown = table[table["weight"] >= 0.005].head(_BARS).iloc[::-1]
    place = np.arange(len(shown))
    spread = shown["explanation"].str.startswith("spread").to_numpy()
    colours = np.where(spread, level_style(0)["color"], PRIOR)
    ax.barh(place, shown["weight"], color=colours, height=0.6)
    for y, weight in zip(place, shown["weight"], strict=True):
        ax.annotate(f"{weight:.2f}", (weight, y), xytext=(3, 0), textcoords="offset points",
                    va="center")  # fmt: skip
    ax.set_yticks(
        place, [textwrap.fill(name, 32) for name in shown["explanation"]], fontsize=points(7.2)
    )
    ax.set_xlim(0, max(1.12 * float(shown["weight"].max()), 0.1))
    ax.set_xlabel("weight")
    ax.set_title("Explanations")
