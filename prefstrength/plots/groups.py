"""Forest of the groups: mean strength and heterogeneity, overall and for each level."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prefstrength.plots.forest import draw_forest
from prefstrength.plots.observed import cell_weights, check_factor
from prefstrength.plots.style import (
    DOUBLE,
    GREY,
    TRUTH,
    attribute_unit,
    panels,
    percent,
    plain_labels,
    short,
    shorts,
    style,
    top_levels,
)
from prefstrength.plots.truth import Truth
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import heterogeneity

__all__ = ["plot_groups"]

_MOST_ROWS = 40
_QUANTITIES = ("mean", "cv")


def plot_groups(
    fit: Fit,
    *,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    rope: float = 0.25,
    axes: Sequence[Axes] | None = None,
    truth: Any = None,
) -> np.ndarray:
    """Draw a forest: mean strength, and how much strength varies, with intervals.

    Parameters
    ----------
    fit : Fit
        Without groups there is one row, for all data.
    by : str, optional
        One factor; all of them by default. Of many levels those with most data are drawn.
    attribute : str, optional
        The only one, or the only one that varies, by default.
    prob : float
        Probability of the intervals.
    rope : float
        Coefficient of variation below which strength counts as homogeneous; shaded.
    axes : sequence of two Axes, optional
        Where to draw; a new figure by default.
    truth : Mixing, dict or DataFrame, optional
        Mixing distributions that simulated strengths came from; drawn as open diamonds.

    Returns
    -------
    numpy.ndarray of Axes, shape (2,)
        Mean strength, coefficient of variation.

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
    >>> axes = ps.plot_groups(fit, axes=Figure().subplots(1, 2))
    >>> [label.get_text() for label in axes[0].get_yticklabels()]
    ['all data (40 choosers)']
    """
    attribute = fit.attribute(attribute)
    table = heterogeneity(fit, attribute=attribute, rope=rope, prob=prob)
    rows = _rows(table, fit, by)
    known = None if truth is None else Truth.of(truth, fit.groups)
    scale = fit.spec["scales"][attribute]
    unit = f"per {attribute_unit(scale)} of {short(attribute, 14)} difference"
    note = f"{percent(prob)} intervals" + ("; ◇ truth" if known is not None else "")
    with style():
        height = 0.85 + 0.21 * len(rows)
        drawn = panels(1, 2, DOUBLE, height, axes, sharey=True, width_ratios=[1, 1])
        place = draw_forest(drawn, rows, _QUANTITIES, rope=rope, note=note)
        for ax, quantity in zip(drawn, _QUANTITIES, strict=True):
            for y, row in zip(place, rows, strict=True):
                if known is not None and not isinstance(row, str):
                    cells = cell_weights(fit, str(row["factor"]), str(row["level"]))
                    value = known.summary(cells).get(quantity, np.nan)
                    ax.plot(value, y, "D", markerfacecolor="none", color=TRUTH, markersize=5.5,
                            markeredgewidth=1.0, label="truth")  # fmt: skip
        _limits(drawn, rows)
        drawn[0].set_yticks(place, _labels(rows))
        plain_labels(drawn[0], bold=[i for i, row in enumerate(rows) if isinstance(row, str)])
        drawn[0].set_xlabel(f"mean strength ({unit})")
    return drawn


def _rows(table: pd.DataFrame, fit: Fit, by: str | None) -> list[Any]:
    """Rows from the top: a record, or the name of a factor as a heading."""
    if by is not None:
        check_factor(by, fit.groups)
    records = table.to_dict("records")
    factors = [by] if by is not None else fit.groups
    most = max(2, _MOST_ROWS // max(len(factors), 1))
    rows: list[Any] = [records[0]]
    for factor in factors:
        mine = [r for r in records[1:] if r["factor"] == factor]
        keep = top_levels([r["level"] for r in mine], [r["situations"] for r in mine], most)
        heading = short(factor, 24)
        if len(keep) < len(mine):
            heading += f" ({len(keep)} of {len(mine)} levels)"
        rows += [heading, *(r for r in mine if r["level"] in keep)]
    return rows


def _labels(rows: list[Any]) -> list[str]:
    """Label of every row, different for different levels."""
    names = iter(shorts([row["level"] for row in rows if not isinstance(row, str)], 24))
    return [row if isinstance(row, str) else _label(next(names), row) for row in rows]


def _label(name: str, row: Any) -> str:
    size = f"{row['choosers']:,} choosers" if row["choosers"] else f"{row['situations']:,} choices"
    return f"{name or 'all data'} ({size})"


def _limits(drawn: np.ndarray, rows: list[Any]) -> None:
    """One interval that is far wider than the rest must not squeeze the others."""
    records = [row for row in rows if not isinstance(row, str)]
    for ax, quantity in zip(drawn, _QUANTITIES, strict=True):
        low = np.array([r[f"{quantity}_low"] for r in records])
        high = np.array([r[f"{quantity}_high"] for r in records])
        middle = np.array([r[quantity] for r in records])
        right = min(high.max(), 2.5 * max(middle.max(), np.median(high)))
        left = min(0.0, max(low.min(), 2.5 * min(middle.min(), 0.0)))
        ax.set_xlim(left * 1.05, 1.05 * max(right, 0.5 if quantity == "cv" else 0.0) or 1.0)
        if left < 0:
            ax.axvline(0, color=GREY, linewidth=0.6)
