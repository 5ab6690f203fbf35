"""Forest of rewards: how much strength varies under each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prefstrength.plots._style import (
    DATA,
    DOUBLE,
    GREY,
    POSTERIOR,
    panels,
    percent,
    plain_labels,
    short,
    style,
)
from prefstrength.posterior.heterogeneity import VERDICTS

__all__ = ["plot_sensitivity"]

# Filled, open, half: the verdict shows without colour.
_FILL = {VERDICTS[0]: "full", VERDICTS[1]: "none", VERDICTS[2]: "left", VERDICTS[3]: "none"}


def plot_sensitivity(
    table: pd.DataFrame,
    *,
    rope: float = 0.25,
    prob: float = 0.9,
    axes: Sequence[Axes] | None = None,
) -> np.ndarray:
    """Draw mean strength and its heterogeneity under every reward, with intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`prefstrength.sensitivity`; its first row is the fit's own reward, whose
        median the dotted lines carry on.
    rope : float
        Coefficient of variation below which strength counts as homogeneous; shaded.
    prob : float
        Probability of the table's intervals, for the note.
    axes : sequence of two Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of Axes, shape (2,)
        Standardised mean strength, coefficient of variation.

    Examples
    --------
    >>> import pandas as pd
    >>> from matplotlib.figure import Figure
    >>> row = {"reward": "words", "agreement": 0.6, "correlation": 1.0,
    ...        "verdict": "heterogeneous"}
    >>> row |= {f"{name}{end}": 1.0 for name in ("standardised_mean", "cv")
    ...         for end in ("", "_low", "_high")}
    >>> axes = plot_sensitivity(pd.DataFrame([row]), axes=Figure().subplots(1, 2))
    >>> [label.get_text() for label in axes[0].get_yticklabels()]
    ['words (chosen 60%)']
    """
    place = np.arange(len(table))[::-1]
    with style():
        drawn = panels(1, 2, DOUBLE, 1.0 + 0.24 * len(table), axes, sharey=True)
        for ax, quantity in zip(drawn, ("standardised_mean", "cv"), strict=True):
            ax.axvline(table[quantity].iloc[0], color=GREY, linewidth=0.8, linestyle=":")
            for y, row in zip(place, table.to_dict("records"), strict=True):
                middle, low, high = (row[f"{quantity}{end}"] for end in ("", "_low", "_high"))
                ax.plot([low, high], [y, y], color=POSTERIOR, linewidth=1.4,
                        solid_capstyle="butt")  # fmt: skip
                fill = _FILL.get(str(row["verdict"]), "full")
                ax.plot(middle, y, "o", color=POSTERIOR, markersize=5.5, markeredgewidth=1.0,
                        fillstyle=fill, markerfacecolor="white" if fill == "none" else POSTERIOR,
                        markerfacecoloralt="white")  # fmt: skip
            ax.set_xlim(min(0.0, 1.05 * float(table[f"{quantity}_low"].min())), None)
            ax.set_ylim(-0.7, len(table) - 0.3)
            ax.tick_params(axis="y", length=0)
        drawn[1].axvspan(0, rope, color="#E6E6E6", zorder=0, linewidth=0)
        drawn[1].annotate("practically\nhomogeneous", (rope / 2, 1), xytext=(0, 2), fontsize=7,
                          textcoords="offset points", xycoords=("data", "axes fraction"),
                          ha="center", va="bottom", color=GREY)  # fmt: skip
        names = [
            f"{short(name, 24)} (chosen {percent(round(float(agreement), 2))})"
            for name, agreement in zip(table["reward"], table["agreement"], strict=True)
        ]
        drawn[0].set_yticks(place, names)
        plain_labels(drawn[0], bold=[0])
        drawn[0].set_xlabel("mean strength (per sd of reward difference)")
        drawn[1].set_xlabel("sd / mean of strength")
        for y, verdict in zip(place, table["verdict"], strict=True):
            drawn[1].annotate(
                str(verdict), (1, y), xytext=(5, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=8, color=DATA,
            )  # fmt: skip
        drawn[0].annotate(f"{percent(prob)} intervals", (0, 1), xytext=(0, 2), fontsize=8,
                          xycoords="axes fraction", textcoords="offset points", va="bottom",
                          color=GREY)  # fmt: skip
    return drawn
