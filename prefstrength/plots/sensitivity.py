"""Forest of rewards: how much strength varies under each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from prefstrength.plots.forest import draw_forest
from prefstrength.plots.style import DOUBLE, GREY, panels, percent, plain_labels, short, style

__all__ = ["plot_sensitivity"]

_QUANTITIES = ("standardised_mean", "cv")


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
    with style():
        drawn = panels(1, 2, DOUBLE, 1.0 + 0.24 * len(table), axes, sharey=True)
        for ax, quantity in zip(drawn, _QUANTITIES, strict=True):
            ax.axvline(table[quantity].iloc[0], color=GREY, linewidth=0.8, linestyle=":")
        place = draw_forest(drawn, table.to_dict("records"), _QUANTITIES, rope=rope,
                            note=f"{percent(prob)} intervals")  # fmt: skip
        for ax, quantity in zip(drawn, _QUANTITIES, strict=True):
            ax.set_xlim(min(0.0, 1.05 * float(table[f"{quantity}_low"].min())), None)
        names = [
            f"{short(name, 24)} (chosen {percent(round(float(agreement), 2))})"
            for name, agreement in zip(table["reward"], table["agreement"], strict=True)
        ]
        drawn[0].set_yticks(place, names)
        plain_labels(drawn[0], bold=[0])
        drawn[0].set_xlabel("mean strength (per sd of reward difference)")
    return drawn
