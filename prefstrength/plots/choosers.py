"""Caterpillar: the strength of every chooser, in order, with intervals."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from prefstrength.plots.observed import check_factor
from prefstrength.plots.style import (
    GREY,
    POSTERIOR,
    PRIOR,
    SINGLE,
    TRUTH,
    level_style,
    panels,
    percent,
    plain_labels,
    points,
    short,
    shorts,
    strength_label,
    style,
    top_levels,
)
from prefstrength.plots.truth import Truth
from prefstrength.posterior.choosers import chooser_strengths
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import heterogeneity

__all__ = ["plot_choosers"]

_MOST_LABELS = 45
_MOST_LINES = 1200
_MOST_LEVELS = 4


def plot_choosers(
    fit: Fit,
    *,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    ax: Axes | None = None,
    truth: Any = None,
) -> Axes:
    """Draw a caterpillar of the choosers' strengths.

    Parameters
    ----------
    fit : Fit
        With choosers, and a mixing distribution other than PointMass.
    by : str, optional
        A factor; choosers take the colour of the level that most of their choices are in.
    attribute : str, optional
        The only one, or the only one that varies, by default.
    prob : float
        Probability of the intervals.
    ax : Axes, optional
        Where to draw; a new figure by default.
    truth : dict, optional
        With ``choosers``, the true strength by label; drawn as black points.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If choosers were not known, or strength does not vary in this model.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=40, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> ps.plot_choosers(fit, ax=Figure().subplots()).get_ylabel()
    '40 choosers, in order of strength'
    """
    attribute = fit.attribute(attribute)
    table = chooser_strengths(fit, attribute=attribute, prob=prob)
    table = table.sort_values("median", ignore_index=True)
    total = len(table)
    if total > _MOST_LINES:  # evenly over the ranks, the two ends kept
        table = table.iloc[np.unique(np.linspace(0, total - 1, _MOST_LINES).round().astype(int))]
    rank = table.index.to_numpy()
    known = {} if truth is None else Truth.of(truth, fit.groups).choosers
    levels, codes = _levels(fit, by, table)
    positive = bool((table["low"] > 0).all()) and table["high"].max() > 8 * table["low"].min()
    overall = heterogeneity(fit, attribute=attribute).iloc[0]
    with style():
        height = float(np.clip(0.9 + 0.14 * total, 2.2, 5.6))
        ax = panels(1, 1, SINGLE, height, ax)[0]
        thin = float(np.clip(300 * (height - 0.9) / 5 / total, 0.35, 2.0))
        for index in range(len(levels)):
            mine = codes == index
            color = _look(by, levels, index)["color"]
            ax.hlines(rank[mine], table["low"][mine], table["high"][mine], color=color,
                      linewidth=thin, alpha=0.45 if total > 60 else 0.8)  # fmt: skip
            ax.plot(table["median"][mine], rank[mine], color=color, linestyle="none",
                    marker=_look(by, levels, index)["marker"], markeredgewidth=0,
                    markersize=float(np.clip(2.4 * thin + 0.6, 1.3, 4)))  # fmt: skip
        if known:
            true = [known.get(str(name), np.nan) for name in table["chooser"]]
            size = float(np.clip(3 * thin + 1, 1.8, 4))
            ax.plot(true, rank, "D", color=TRUTH, markerfacecolor="none", markeredgewidth=0.6,
                    markersize=size)  # fmt: skip
        ax.axvline(overall["mean"], color=GREY, linewidth=1.0, linestyle="--", zorder=0)
        if positive:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter("{x:g}")
            ax.xaxis.set_minor_locator(NullLocator())
        pick = np.arange(0, len(table), -(-len(table) // _MOST_LABELS))
        if len(pick) < len(table) and not _telling(table["chooser"]):
            pick = pick[:0]
        ax.set_yticks(rank[pick], [short(name, 14) for name in table["chooser"].iloc[pick]])
        plain_labels(ax, size=points(6.5))
        ax.set_ylim(-0.02 * total - 0.6, total * 1.02 - 0.4)
        some = f", {len(table):,} drawn" if len(table) < total else ""
        order = ", in order of strength" if total >= 15 else ""
        ax.set_ylabel(f"{total:,} choosers{order}{some}")
        ax.set_xlabel(strength_label(attribute, fit.spec["scales"][attribute]))
        _legend(ax, by, levels, bool(known), prob)
    return ax


def _telling(labels: pd.Series) -> bool:
    """Whether labels fit: long hashes beside a crowded axis tell nobody anything."""
    return bool(labels.str.len().median() <= 14)


def _levels(fit: Fit, by: str | None, table: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Level of each chooser: the one that most of the chooser's situations are in."""
    if by is None:
        return ["all"], np.zeros(len(table), int)
    check_factor(by, fit.groups)
    data = fit.tree["constant_data"]
    names = [str(name) for name in data["chooser"].values]
    # After compression the situations are a sample; the rows are all of them, counted.
    rows = "row_chooser" in data
    cell = data["row_cell" if rows else "group_index"].values
    of_situation = pd.Series([fit.spec["cells"][int(i)][by] for i in cell], name="level")
    chooser = pd.Series(data["row_chooser" if rows else "chooser_index"].values, name="chooser")
    weight = data["row_situations"].values if rows else np.ones(len(cell))
    counts = pd.crosstab(chooser, of_situation, values=weight, aggfunc="sum").fillna(0)
    level_of = {names[int(i)]: str(level) for i, level in counts.idxmax(axis=1).items()}
    every = list(fit.spec["data"]["levels"][by])
    sizes = [sum(level == each for level in level_of.values()) for each in every]
    shown = top_levels(every, sizes, _MOST_LEVELS)
    codes = np.array(
        [
            shown.index(level) if (level := level_of[str(name)]) in shown else len(shown)
            for name in table["chooser"]
        ]
    )
    return [*shown, "other"] if (codes == len(shown)).any() else shown, codes


def _look(by: str | None, levels: list[str], index: int) -> dict[str, Any]:
    if by is None:
        return {"color": POSTERIOR, "marker": "o"}
    if index == _MOST_LEVELS:
        return {"color": PRIOR, "marker": "."}  # the levels that have no colour of their own
    return {name: level_style(index)[name] for name in ("color", "marker")}


def _legend(ax: Axes, by: str | None, levels: list[str], true: bool, prob: float) -> None:
    """Above the axes, where no interval can be."""
    handles = [
        Line2D([], [], color=_look(by, levels, index)["color"], markersize=4, linewidth=1.2,
               marker=_look(by, levels, index)["marker"],
               label=label if by else f"median, {percent(prob)} interval")
        for index, label in enumerate(shorts(levels, 18))
    ]  # fmt: skip
    if true:
        handles.append(Line2D([], [], color=TRUTH, marker="D", markerfacecolor="none",
                              markersize=4, linestyle="none", label="truth"))  # fmt: skip
    handles.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.0, label="overall mean"))
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2,
              handlelength=1.8, borderaxespad=0.2, columnspacing=1.2)  # fmt: skip
