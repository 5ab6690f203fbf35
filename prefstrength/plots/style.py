"""Style of the figures: size, type, colours that survive print and colour blindness, labels.

Nothing here changes Matplotlib's global settings: every figure is drawn inside :func:`style`.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prefstrength._shared.words import shown, warn
from prefstrength.errors import InputError

__all__ = [
    "DATA",
    "DOUBLE",
    "GREY",
    "LEARNED",
    "POSTERIOR",
    "PRIOR",
    "SINGLE",
    "TRUTH",
    "TRUTH_LINE",
    "attribute_unit",
    "detached",
    "difference_label",
    "draw_band",
    "fitting",
    "grid_of_panels",
    "level_style",
    "panels",
    "percent",
    "plain_labels",
    "points",
    "room_for_legend",
    "say_left_out",
    "shared_labels",
    "short",
    "shorts",
    "strength_label",
    "style",
    "top_levels",
]

#: Width in inches of one and of two columns of a journal page.
SINGLE, DOUBLE = 3.5, 7.2

# Okabe and Ito's palette without its yellow, which is too light for lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")

POSTERIOR, LEARNED, PRIOR, TRUTH, DATA = "#0072B2", "#D55E00", "#8C8C8C", "#000000", "#333333"
#: How a known truth is drawn over what was estimated.
TRUTH_LINE: dict[str, Any] = {"color": TRUTH, "linestyle": (0, (4, 2)), "linewidth": 1.0}
GREY = "#767676"  # 4.5:1 on white, so that small type in it is legible

_RC: dict[str, Any] = {
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.5,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # group levels are other people's text: "$5" is no formula
    "pdf.fonttype": 42,  # letters stay letters, so that journals accept the file
    "svg.fonttype": "none",
    "figure.constrained_layout.use": False,
}

#: Settings that are sizes of type: they follow the user's ``font.size``.
_SIZES = (
    "font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize",
    "legend.fontsize",
)  # fmt: skip

_DETACHED: ContextVar[bool] = ContextVar("detached", default=False)
_STYLED: ContextVar[bool] = ContextVar("styled", default=False)


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of the project, for the length of a block.

    Type is as much larger than ours as the user's ``font.size`` is than Matplotlib's.
    """
    if _STYLED.get():
        yield
        return
    larger = mpl.rcParams["font.size"] / mpl.rcParamsDefault["font.size"]
    token = _STYLED.set(True)
    try:
        with mpl.rc_context({**_RC, **{name: larger * _RC[name] for name in _SIZES}}):
            yield
    finally:
        _STYLED.reset(token)


def points(size: float) -> float:
    """Size of type in points inside :func:`style`, for text that has a size of its own."""
    return float(size / _RC["font.size"] * mpl.rcParams["font.size"])


@contextmanager
def detached() -> Iterator[None]:
    """Make figures that pyplot does not know of, so that nothing is shown or left open."""
    token = _DETACHED.set(True)
    try:
        yield
    finally:
        _DETACHED.reset(token)


def panels(
    rows: int, columns: int, width: float, height: float, axes: Any = None, **options: Any
) -> np.ndarray:
    """Axes to draw on, flat: the given ones, or those of a new figure.

    Parameters
    ----------
    rows, columns : int
        Of a new figure.
    width, height : float
        Of a new figure, inches.
    axes : Axes or sequence of Axes, optional
        Of the caller's figure; as many as ``rows * columns``.
    **options
        For ``Figure.subplots``.

    Returns
    -------
    numpy.ndarray of Axes, shape (rows * columns,)
    """
    if axes is not None:
        given = np.asarray(axes, dtype=object).ravel()
        wrong = [each for each in given if not isinstance(each, Axes)]
        if wrong:
            raise TypeError(f"Expected Matplotlib axes to draw on; got {shown(wrong[0])}.")
        if len(given) != rows * columns:
            raise InputError(
                f"This figure needs {rows * columns} axes ({rows} by {columns}); got {len(given)}. "
                "Leave them out to have a figure made."
            )
        return given
    if _DETACHED.get():
        figure = Figure(figsize=(width, height), layout="constrained")
    else:
        from matplotlib import pyplot as plt  # so that notebooks show the figure by themselves

        figure = plt.figure(figsize=(width, height), layout="constrained")
    return figure.subplots(rows, columns, squeeze=False, **options).ravel()


def grid_of_panels(number: int, axes: Any = None, **options: Any) -> np.ndarray:
    """Panels for a small multiple: up to four in a row, two columns of a page wide.

    Returns
    -------
    numpy.ndarray of Axes, shape (number,)
    """
    if axes is not None:
        return panels(1, number, DOUBLE, 2.0, axes)
    columns = min(number, 3 if number in (5, 6, 9) else 4)
    rows = -(-number // columns)
    drawn = panels(rows, columns, DOUBLE, 0.7 + 1.45 * rows, **options)
    for ax in drawn[number:]:
        ax.remove()
    for ax in drawn[max(number - columns, 0) : number]:
        ax.xaxis.set_tick_params(labelbottom=True)  # the lowest of its column, maybe not the last
    return drawn[:number]


def shared_labels(drawn: np.ndarray, x: str, y: str, own_figure: bool, legend: bool = True) -> None:
    """Axis labels and one legend for all panels of a small multiple.

    Of several panels of a figure made here they belong to the figure; the caller's figure is left
    alone, so there every panel gets its labels and the first one the legend.
    """
    handles, labels = drawn[0].get_legend_handles_labels()
    if own_figure and len(drawn) > 1:
        figure = drawn[0].figure
        if x:
            figure.supxlabel(x, fontsize=points(8.5))
        if y:
            figure.supylabel(y, fontsize=points(8.5))
        if legend and handles:
            figure.legend(handles, labels, loc="outside upper right", ncols=len(handles),
                          handlelength=2.2)  # fmt: skip
        return
    for ax in drawn:
        ax.set_xlabel(x)
    drawn[0].set_ylabel(y)
    if legend and handles:
        drawn[0].legend(loc="best", handlelength=2.2)


def room_for_legend(ax: Axes, rows: int) -> None:
    """Lower the end of the y axis until a legend fits into the lower right corner."""
    left, right = ax.get_xlim()
    middle = left + 0.4 * (right - left)
    lows = []
    for line in ax.get_lines():
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        if len(x) > 2:  # not the line at one half
            lows += y[(x > middle) & np.isfinite(y)].tolist()
    bottom, top = ax.get_ylim()
    if not lows:
        return
    share = min(0.1 + 0.075 * rows, 0.6)
    low = min(lows) - 0.03 * (top - bottom)
    ax.set_ylim(min(bottom, low - share / (1 - share) * (top - low)), top)


def level_style(index: int) -> dict[str, Any]:
    """Colour, line and marker of a group level; they differ in grey too."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "linestyle": _LINES[index % len(_LINES)],
        "marker": _MARKERS[index % len(_MARKERS)],
    }


def draw_band(ax: Axes, x: Any, low: Any, high: Any, color: str, **options: Any) -> None:
    """Shade what lies between two curves."""
    ax.fill_between(
        np.asarray(x, float),
        np.asarray(low, float),
        np.asarray(high, float),
        color=color,
        **{"alpha": 0.22, "linewidth": 0, **options},
    )


def plain_labels(ax: Axes, bold: Sequence[int] = (), size: float | None = None) -> None:
    """Show the labels of the y axis as they are: other people's text is no formula."""
    for index, label in enumerate(ax.get_yticklabels()):
        label.set_parse_math(False)
        if size is not None:
            label.set_fontsize(size)
        if index in bold:
            label.set_fontweight("bold")


# -- words ---------------------------------------------------------------------------------------


def short(text: Any, most: int = 26) -> str:
    r"""A label on one line, cut to ``most`` characters.

    Examples
    --------
    >>> short("a very long\nname of a group level", most=14)
    'a very long n…'
    """
    text = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def shorts(texts: Sequence[Any], most: int = 26) -> list[str]:
    r"""Labels on one line each, cut to ``most`` characters so that different ones stay different.

    Examples
    --------
    >>> shorts(["people of the north", "people of the south"], most=10)
    ['peop…north', 'peop…south']
    >>> shorts(["a" * 30 + "b" + "c" * 30, "a" * 30 + "d" + "c" * 30], most=8)
    ['aaaaaa…1', 'aaaaaa…2']
    """
    cut = [short(text, most) for text in texts]
    if len(set(cut)) == len(cut):
        return cut
    whole = [short(text, 10**6) for text in texts]
    again = {text: [i for i, each in enumerate(cut) if each == text] for text in cut}
    for places in again.values():
        if len({whole[i] for i in places}) < 2:
            continue
        ends = [_ends_of(whole[i], most) for i in places]
        if len(set(ends)) < len(set(whole[i] for i in places)):
            ends = [f"{whole[i][: most - 1 - len(str(n))]}…{n}" for n, i in enumerate(places, 1)]
        for i, text in zip(places, ends, strict=True):
            cut[i] = text
    return cut


def _ends_of(text: str, most: int) -> str:
    """Beginning and end of a text."""
    end = most // 2
    return text if len(text) <= most else f"{text[: most - 1 - end]}…{text[len(text) - end :]}"


def fitting(texts: Sequence[Any], width: float, size: float) -> list[str]:
    """Labels on one line each, as long as there is room for in points; see :func:`shorts`.

    Examples
    --------
    >>> fitting(["a level with a long name", "WWWWWWWWWW", "好好好好好好"], width=40, size=8)
    ['a le…', 'WWWW…', '好好好好…']
    """
    out = [short(text, 10**6) for text in texts]
    most = max(map(len, out), default=1)
    while most > 4 and any(_width(text) * size > width for text in shorts(out, most)):
        most -= 1
    pairs = zip(out, shorts(out, most), strict=True)
    # One wide label must not cut the narrow ones.
    return [text if _width(text) * size <= width else cut for text, cut in pairs]


def _width(text: str) -> float:
    """Width of a text in its size, about."""
    wide = {"W": 1.0, "F": 1.0}
    return sum(
        wide.get(unicodedata.east_asian_width(c), 0.8 if c.isupper() or c in "mw@%…" else 0.52)
        for c in text
    )


def say_left_out(drawn: np.ndarray, total: int, what: str, own_figure: bool) -> None:
    """Say in a figure made here, or with a warning, that it does not show everything.

    Parameters
    ----------
    drawn : numpy.ndarray of Axes
        One for each that is shown.
    total : int
        How many there are.
    what : str
        Of what, and which are shown: ``"levels of region, those with most data"``.
    own_figure : bool
    """
    if total <= len(drawn):
        return
    text = f"{len(drawn)} of {total} {what}"
    if own_figure:
        drawn[0].figure.suptitle(text, fontsize=points(8), x=0.01, ha="left", fontweight="normal")
    else:
        warn(f"Drew {text}.")


def percent(prob: float) -> str:
    """A probability as a percentage without needless zeros.

    Examples
    --------
    >>> percent(0.9), percent(0.055)
    ('90%', '5.5%')
    """
    return f"{100 * prob:.3g}%"


def attribute_unit(scale: float | None) -> str:
    """What one unit of an attribute is, given the root mean square of its differences.

    Scored pairs have differences of sd 1; leaving out ties afterwards changes that a little.

    Examples
    --------
    >>> attribute_unit(1.03), attribute_unit(7.2)
    ('sd', 'unit')
    """
    return "sd" if scale is not None and abs(np.log(scale)) < 0.1 else "unit"


def strength_label(attribute: str, scale: float | None, what: str = "strength β") -> str:
    """Axis label of a strength, with its unit.

    Examples
    --------
    >>> strength_label("reward", 1.0)
    'strength β (per sd of reward difference)'
    """
    return f"{what} (per {attribute_unit(scale)} of {short(attribute)} difference)"


def difference_label(attribute: str, scale: float | None) -> str:
    """Axis label of a difference, with its unit.

    Examples
    --------
    >>> difference_label("reward", 4.0)
    'reward difference (units of reward)'
    """
    unit = "sd" if attribute_unit(scale) == "sd" else f"units of {short(attribute)}"
    return f"{short(attribute)} difference ({unit})"


# -- many levels ---------------------------------------------------------------------------------


def top_levels(levels: Sequence[str], counts: Sequence[float], most: int) -> list[str]:
    """The levels with most data, at most ``most`` of them, in their own order.

    Examples
    --------
    >>> top_levels(["a", "b", "c"], [5, 1, 9], most=2)
    ['a', 'c']
    """
    if len(levels) <= most:
        return list(levels)
    largest = sorted(np.argsort(-np.asarray(counts, float), kind="stable")[:most].tolist())
    return [levels[index] for index in largest]
