"""Power of a design: expected width, and probability of the verdict, by number of annotations."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.plots.style import DOUBLE, GREY, level_style, panels, percent, points, style

__all__ = ["plot_plan"]

_MOST_ROWS, _POINTS, _FEWEST = 6, 40, 10


class PlannedDesign(Protocol):
    """A mixing distribution, choices of each chooser and a spread of the differences."""

    @property
    def label(self) -> str:
        """The mixing distribution in words."""

    @property
    def spread(self) -> float:
        """Sd of the reward differences."""

    @property
    def situations(self) -> int:
        """Choices of each chooser."""

    @property
    def family(self) -> type[Mixing]:
        """Family of the mixing distribution."""

    @property
    def verdict(self) -> str:
        """The right verdict."""

    def expect(self, choosers: float) -> dict[str, float]:
        """What to expect of so many choosers, by name."""


class Planned(Protocol):
    """What this figure reads of a :class:`~prefstrength.Plan`."""

    @property
    def designs(self) -> Sequence[PlannedDesign]:
        """One for each mixing distribution, number of choices and spread."""

    @property
    def choosers(self) -> Sequence[int]:
        """Numbers of choosers in the table."""


def plot_plan(
    plan: Planned,
    *,
    probability: float = 0.8,
    annotations: tuple[float, float] | None = None,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw the expected posterior sd of the dispersion, and the probability of the verdict.

    Parameters
    ----------
    plan : Plan
    probability : float
        That is asked for before one can tell; the legend gives the annotations it takes.
    annotations : (float, float), optional
        Range of the figure; that of the plan's table by default. Curves begin at ten choosers.
    axes : sequence of Axes, optional
        Where to draw, two for each mixing distribution and spread; a new figure by default.

    Returns
    -------
    numpy.ndarray of Axes, shape (2 * rows,)

    Raises
    ------
    InputError
        If there are more than six mixing distributions and spreads, or a number is out of range.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> planned = ps.plan(ps.LogNormal(mu=0.0, sigma=0.7), situations=[1, 5])
    >>> axes = ps.plot_plan(planned, axes=Figure().subplots(1, 2))
    >>> axes[1].get_ylabel()
    'probability of the verdict'
    """
    if not 0 < probability < 1:
        raise InputError(f"Expected probability between 0 and 1; got {probability}.")
    rows: dict[tuple[str, float], list[Any]] = {}
    for design in plan.designs:
        rows.setdefault((design.label, design.spread), []).append(design)
    if len(rows) > _MOST_ROWS:
        raise InputError(
            f"A figure has room for {_MOST_ROWS} mixing distributions and spreads; got "
            f"{len(rows)}. Plan for fewer, or draw several."
        )
    sizes = [number * design.situations for number in plan.choosers for design in plan.designs]
    low, high = (min(sizes), max(sizes)) if annotations is None else annotations
    if not 1 <= low < high:
        raise InputError(f"Expected a range of annotations; got {low} to {high}. Give two numbers.")
    with style():
        drawn = panels(len(rows), 2, DOUBLE, 0.5 + 2.15 * len(rows), axes)
        for row, ((label, spread), designs) in enumerate(rows.items()):
            width, told = drawn[2 * row : 2 * row + 2]
            for index, design in enumerate(designs):
                look = level_style(index)
                line = {"color": look["color"], "linestyle": look["linestyle"]}
                start = max(low, _FEWEST * design.situations)
                x = np.geomspace(start, max(high, start), _POINTS)
                curve = [design.expect(each / design.situations) for each in x]
                marks = np.array(plan.choosers) * design.situations
                at = [design.expect(number) for number in plan.choosers]
                reached = np.array([each["probability"] for each in curve])
                name = f"{design.situations}: {_crossing(x, reached, probability)}"
                for ax, key in ((width, "dispersion_sd"), (told, "probability")):
                    ax.plot(x, [each[key] for each in curve], **line)
                    ax.plot(marks, [each[key] for each in at], marker=look["marker"],
                            markersize=3.5, linewidth=0, color=look["color"])  # fmt: skip
                told.plot([], [], label=name, marker=look["marker"], markersize=3.5, **line)
            told.axhline(probability, color=GREY, linewidth=0.6)
            for ax in (width, told):
                ax.set_xscale("log")
                ax.set_xlabel("annotations")
                ax.xaxis.set_major_formatter(FuncFormatter(_count))
                ax.xaxis.set_major_locator(LogLocator(numticks=6))
                ax.xaxis.set_minor_formatter(NullFormatter())
            width.set_yscale("log")
            width.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            width.yaxis.set_minor_formatter(FuncFormatter(_sparse))
            design = designs[0]
            width.set_ylabel(f"expected posterior sd\nof {design.family.dispersion_title()}")
            told.set_ylim(-0.03, 1.03)
            told.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            told.set_ylabel("probability of the verdict")
            width.set_title(label, fontsize=points(8), fontweight="normal")
            told.set_title(f"{design.verdict}, differences of sd {spread:.3g}", fontsize=points(8),
                           fontweight="normal")  # fmt: skip
            legend = told.legend(
                title=f"choices of each chooser:\nannotations for {percent(probability)}",
                title_fontsize=points(7.5),
                fontsize=points(7.5),
                loc="center left",
                bbox_to_anchor=(1.0, 0.5),
                handlelength=2.6,
            )
            legend.set_in_layout(True)
    return drawn


def _crossing(annotations: np.ndarray, reached: np.ndarray, probability: float) -> str:
    """Annotations at which the curve first reaches the probability, two digits."""
    above = np.flatnonzero(reached >= probability)
    if not len(above):
        return f"more than {_count(annotations[-1])}"
    if above[0] == 0:
        return f"{_count(annotations[0])} or fewer"
    before = above[0] - 1
    part = (probability - reached[before]) / (reached[above[0]] - reached[before])
    log = np.log(annotations[before : above[0] + 1])
    value = float(np.exp(log[0] + part * (log[1] - log[0])))
    digits = 1 - int(np.floor(np.log10(value)))
    return _count(round(value, digits))


def _count(value: float, _: int | None = None) -> str:
    return f"{value:,.0f}"


def _sparse(value: float, _: int | None = None) -> str:
    """Labels at 2 and 5 of each decade of a logarithmic axis."""
    leading = f"{value:e}"[0]
    return f"{value:g}" if leading in "25" else ""
