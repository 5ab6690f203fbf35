"""What the data are turned into for one family: the log-likelihood at many laws at once.

In NumPy, so that there is nothing to compile. Surfaces (:mod:`prefstrength.likelihood.surfaces`)
are interpolated from these values, and pointwise and chooser-level results are read off them.
"""

from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.measured_pairs import MeasuredPairs
from prefstrength.likelihood.pairs import PairSketch
from prefstrength.likelihood.panel_summary import PairSummary, PanelSummary, of_sketch
from prefstrength.likelihood.panels import DEGREE
from prefstrength.likelihood.splines import SplineRows

__all__ = ["Summary", "summarise"]


#: What the data of one attribute are turned into.
Summary = PairSummary | PanelSummary | MeasuredPairs


def summarise(
    data: LikelihoodData, family: type[Mixing], dispersion: float = 1.0, refine: int = 0
) -> Summary:
    """Summary of pairs or panels with one attribute.

    Parameters
    ----------
    data : LikelihoodData
        Where ``data.scalar``.
    family : type
    dispersion : float
        Largest dispersion to be resolved (panels).
    refine : int
        How many times nodes are increased beyond the default.
    """
    scale = data.scales[0]
    if data.truth is not None:
        largest = dispersion * 1.5**refine
        if not data.panel:
            return MeasuredPairs.of(data, family, largest, refine)
        spline_rows = SplineRows.of(
            data.truth,
            data.differences(),
            data.unit,
            data.cell,
            data.weight,
            scale,
            family.positive,
            refine,
        )
        return PanelSummary(spline_rows, family, largest, precise=refine > 0)
    if not data.panel:
        x, nodes = data.differences(), 256 * 2**refine
        sketch = PairSketch.build(x, data.cell, data.weight, scale, nodes=nodes)
        return of_sketch(sketch, family, scale)
    rows = data.panel_rows(family.positive, DEGREE + 32 * refine)
    return PanelSummary(rows, family, dispersion * 1.5**refine, precise=refine > 0)
