"""Levels of a factor, all drawn alike: up to three in one panel, more in a panel each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from prefstrength.plots.observed import cell_weights, check_factor
from prefstrength.plots.style import (
    DOUBLE,
    POSTERIOR,
    SINGLE,
    fitting,
    grid_of_panels,
    level_style,
    panels,
    points,
    say_left_out,
    short,
    shorts,
    top_levels,
)
from prefstrength.posterior.fit import Fit

__all__ = ["Level", "by_levels", "level_legend"]

_MOST_TOGETHER = 3
#: Levels that get a panel each; of more only those with most data are drawn.
MOST_PANELS = 12


@dataclass(frozen=True)
class Level:
    """One level of a factor (or all data), and how it is drawn."""

    name: str  # empty for all data
    cells: list[tuple[dict[str, str], float]]  # of the fit, with the weights of their situations
    alone: bool  # in a panel of its own, beside others
    look: dict[str, Any]  # color, linestyle and marker
    label: str  # of its line in the legend
    truth: str | None  # label of its truth, None where another line of the panel has it


def by_levels(
    fit: Fit,
    by: str | None,
    draw: Callable[[Axes, Level], None],
    axes: Axes | Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw every level of a factor, or all data.

    Parameters
    ----------
    fit : Fit
    by : str or None
        Factor. Beyond twelve levels only those with most data are drawn.
    draw : callable
        Draws one :class:`Level` on the axes it is given.
    axes : Axes or sequence of Axes, optional
        Where to draw, one for each panel; a new figure by default.

    Returns
    -------
    numpy.ndarray of Axes, shape (panel,)

    Raises
    ------
    InputError
        If there is no such factor.
    """
    levels, total = _levels(fit, by)
    alone = len(levels) > _MOST_TOGETHER
    if alone:
        drawn = grid_of_panels(len(levels), axes, sharex=True, sharey=True)
    else:
        drawn = panels(1, 1, SINGLE, 2.7, axes)
    own = by is not None and not alone
    labels = shorts(list(levels), 18)
    for index, (name, cells) in enumerate(levels.items()):
        ax = drawn[index if alone else 0]
        look = {"color": POSTERIOR, "linestyle": "-", "marker": "o"}
        level = Level(
            name=name,
            cells=cells,
            alone=alone,
            look=level_style(index) if own else look,
            label=labels[index] if own else "posterior",
            truth="truth" if alone or index == len(levels) - 1 else None,
        )
        draw(ax, level)
    if alone:
        # Panels are this wide where they are ours; elsewhere nobody knows.
        room = 72 * DOUBLE / min(len(drawn), 4) - 24
        titles = fitting(list(levels), room, points(8))
        for ax, title in zip(drawn, titles, strict=True):
            ax.set_title(title, fontsize=points(8), fontweight="normal")
        what = f"levels of {short(by, 18)}, those with most data"
        say_left_out(drawn, total, what, own_figure=axes is None)
    return drawn


def _levels(fit: Fit, by: str | None) -> tuple[dict[str, list[tuple[dict[str, str], float]]], int]:
    """Names and cells of the levels that are drawn, and how many have data."""
    if by is None:
        return {"": cell_weights(fit)}, 1
    check_factor(by, fit.groups)
    cells = {name: cell_weights(fit, by, name) for name in fit.spec["data"]["levels"][by]}
    cells = {name: found for name, found in cells.items() if found}
    sizes = [sum(weight for _, weight in found) for found in cells.values()]
    shown = top_levels(list(cells), sizes, MOST_PANELS)
    return {name: cells[name] for name in shown}, len(cells)


def level_legend(ax: Axes, by: str | None, loc: str) -> None:
    """Legend of a panel that levels share, under the name of their factor."""
    ax.legend(
        loc=loc, title=short(by, 18) if by else None, title_fontsize=points(8), handlelength=2.4
    )
