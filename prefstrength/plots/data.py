"""Data overview: reward differences, choices per chooser, agreement by reward difference."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from prefstrength.data.choices import Choices
from prefstrength.plots.observed import Observed, bins, observed
from prefstrength.plots.style import (
    DATA,
    DOUBLE,
    GREY,
    POSTERIOR,
    attribute_unit,
    level_style,
    panels,
    percent,
    points,
    short,
    shorts,
    style,
    top_levels,
)
from prefstrength.posterior.fit import Fit

__all__ = ["plot_data"]

# More lines than this cannot be told apart.
_MOST_LEVELS = 4


def plot_data(
    fit: Fit | Choices,
    *,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
    axes: Sequence[Axes] | None = None,
    truth: object = None,
) -> np.ndarray:
    """Draw what the data hold: differences, choices per chooser, agreement.

    Parameters
    ----------
    fit : Fit or Choices
        A fit of pairs, or any choices. With more than two alternatives, the chosen one is held
        against each other one.
    by : str, optional
        A factor; its levels (the four with most data) get a line each in the third panel.
    attribute : str, optional
        The only one, or the only one that varies, by default; the first of choices.
    prob : float
        Probability of the intervals of the shares (Wilson's).
    axes : sequence of three Axes, optional
        Where to draw; a new figure by default.
    truth : optional
        Taken so that all figures are called alike; the data have no truth of their own.

    Returns
    -------
    numpy.ndarray of Axes, shape (3,)

    Raises
    ------
    InputError
        If there is no such factor or attribute.

    Examples
    --------
    >>> import prefstrength as ps
    >>> from matplotlib.figure import Figure
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=40, situations=10)
    >>> axes = ps.plot_data(choices, axes=Figure().subplots(1, 3))
    >>> [ax.get_title("left") for ax in axes]
    ['Reward differences', 'Choices per chooser', 'Agreement']
    """
    if attribute is None:
        attribute = fit.attribute() if isinstance(fit, Fit) else fit.attributes[0]
    seen = observed(fit, attribute, by)
    with style():
        drawn = panels(1, 3, DOUBLE, 2.35, axes)
        _differences(drawn[0], seen, attribute)
        _choices(drawn[1], seen)
        _agreement(drawn[2], seen, attribute, prob, by)
    return drawn


def _differences(ax: Axes, seen: Observed, attribute: str) -> None:
    x, weight = seen.difference, seen.weight
    # The far tail would squeeze the rest into a few bars.
    low, high = np.quantile(x, [0.002, 0.998])
    edge = max(abs(low), abs(high)) or 1.0
    number = int(np.clip(np.sqrt(len(x)), 10, 40)) // 2 * 2
    edges = np.linspace(-edge, edge, number + 1).tolist()
    ax.hist(np.clip(x, -edge, edge), edges, weights=weight, color="#B8CFE0", edgecolor="white",
            linewidth=0.3)  # fmt: skip
    ax.axvline(0, color=DATA, linewidth=0.8)
    higher = np.average((x > 0) + 0.5 * (x == 0), weights=weight)
    ax.margins(y=0.2)
    ax.text(0.98, 0.98, f"{percent(round(higher, 3))} > 0", transform=ax.transAxes,
            ha="right", va="top", fontsize=points(8))  # fmt: skip
    ax.set_title(f"{short(attribute, 16).capitalize()} differences")
    unit = "sd" if attribute_unit(seen.scale) == "sd" else f"units of {short(attribute, 12)}"
    ax.set_xlabel(f"chosen − rejected ({unit})")
    ax.set_ylabel("choices")
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _choices(ax: Axes, seen: Observed) -> None:
    ax.set_title("Choices per chooser")
    counts = seen.situations_of_choosers
    if counts is None:
        ax.text(0.5, 0.5, "choosers are not known:\none choice each", transform=ax.transAxes,
                ha="center", va="center", color=GREY)  # fmt: skip
        ax.set_xticks([])
        ax.set_yticks([])
        return
    counts = counts[counts > 0]
    least, most = int(counts.min()), int(counts.max())
    if most - least <= 24:
        edges = np.arange(max(least - 2, 0), most + 4) - 0.5
    elif most / least < 12:
        edges = np.linspace(least - 0.5, most + 0.5, 25)
    else:
        edges = np.unique(np.round(np.geomspace(least, most + 1, 22))) - 0.5
        ax.set_xscale("log")
    ax.hist(counts, edges.tolist(), color="#B8CFE0", edgecolor="white", linewidth=0.3)
    median = float(np.median(counts))
    ax.axvline(median, color=POSTERIOR, linewidth=1.2)
    if most - least <= 24:
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    else:
        ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(f"choices (median {median:g})")
    ax.set_ylabel(f"choosers ({len(counts):,} in all)")
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _agreement(ax: Axes, seen: Observed, attribute: str, prob: float, by: str | None) -> None:
    sizes = np.bincount(seen.level, weights=seen.weight, minlength=len(seen.levels))
    shown = top_levels(seen.levels, sizes.tolist(), _MOST_LEVELS) if by else list(seen.levels)
    labels, top = shorts(shown, 14), 0.0
    for index, level in enumerate(shown):
        mine = seen.level == seen.levels.index(level)
        found = bins(seen.difference[mine], seen.weight[mine], prob, most=8)
        look = level_style(index) if by else {"color": DATA, "marker": "o", "linestyle": "-"}
        ax.errorbar(
            found.center,
            found.share,
            np.maximum([found.share - found.low, found.high - found.share], 0),
            markersize=3.5,
            linewidth=0.9,
            elinewidth=0.8,
            label=labels[index],
            **look,
        )
        top = max(top, found.high.max(initial=0))
    ax.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    ax.set_title("Agreement")
    unit = "sd" if attribute_unit(seen.scale) == "sd" else "units"
    ax.set_xlabel(f"size of difference ({unit})")
    ax.set_ylabel(f"higher {short(attribute, 14)} chosen")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlim(left=0)
    if by:
        every = len(seen.levels)
        some = f"\n({len(shown)} of {every} levels)" if len(shown) < every else ""
        # Beside the panel: inside, four lines leave no corner free.
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), title=f"{short(by, 16)}{some}",
                  title_fontsize=points(8), handlelength=2.2, alignment="left")  # fmt: skip
