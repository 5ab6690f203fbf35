"""Pairs whose differences are measured with error, summed up."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline

from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.batch import panels_by_chooser
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.exact import exact_panels, telling_pairs
from prefstrength.likelihood.pairs import PairSketch
from prefstrength.likelihood.panel_summary import PanelSummary, outside_jax, rows_of
from prefstrength.likelihood.splines import SplineRows, SplineTables

__all__ = ["MeasuredPairs"]
# A node of the difference may stand for thousands of pairs: steps of its rule are finer.
_FINER = 2


@dataclass(frozen=True)
class MeasuredPairs:
    """Pairs without repeated choosers, their differences measured with error.

    Nodes of the observed difference with weights, for each cell, as in :class:`PairSummary`; each
    is a panel of one choice, whose strength is integrated out on a trapezoid rule.

    Parameters
    ----------
    rows : SplineRows
        One row for each node.
    weight : numpy.ndarray, shape (node,)
    family : type
    dispersion : float
        Largest dispersion that the rule resolves.
    how : str
    nodes : int
        In each cell at most.
    """

    rows: SplineRows
    weight: np.ndarray
    family: type[Mixing]
    dispersion: float
    how: str
    nodes: int
    separable: bool = True

    @classmethod
    def of(
        cls, data: LikelihoodData, family: type[Mixing], dispersion: float, refine: int = 0
    ) -> "MeasuredPairs":
        """Compress pairs to 256 nodes for each cell, twice as many for each refinement."""
        nodes = 256 * 2**refine
        x, cell, weight = data.differences(), data.cell, data.weight
        return cls._of_pairs(data, x, cell, weight, family, dispersion, nodes, refine)

    @classmethod
    def _of_pairs(
        cls,
        data: LikelihoodData,
        x: np.ndarray,
        cell: np.ndarray,
        weight: np.ndarray,
        family: type[Mixing],
        dispersion: float,
        nodes: int,
        refine: int,
    ) -> "MeasuredPairs":
        assert data.truth is not None
        # The errors smooth the log probability: nothing happens within a tenth of their sd.
        sketch = PairSketch.build(x, cell, weight, 0.1 * data.truth.sd, nodes, x0=1.0)
        x, cell, weight = (np.asarray(v) for v in (sketch.x, sketch.cell, sketch.weight))
        rows = SplineRows.of(
            data.truth,
            x,
            np.arange(len(x)),
            cell,
            np.ones(len(x)),
            data.scales[0],
            family.positive,
            refine,
        )
        how = f"{sketch.how}, with errors in the rewards"
        return cls(rows, weight, family, dispersion, how, nodes)

    @property
    def information(self) -> float:
        """Information of a unit on log strength, about the largest."""
        return 0.3

    @cached_property
    def _rules(self) -> tuple[np.ndarray, np.ndarray]:
        steps, reaches = self.rows.steps(self.family, self.dispersion)
        return steps / _FINER, reaches

    def by_node(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log probability (law, node) under laws (law, cell)."""
        rules = self._rules
        return panels_by_chooser(self.rows, self.family, location, dispersion, *rules, precise=True)

    def by_cell(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood (law, cell) under laws (law, cell)."""
        each = self.by_node(location, dispersion) * self.weight
        out = np.zeros(location.shape)
        for c in range(location.shape[1]):
            out[:, c] = each[:, self.rows.cell == c].sum(axis=1)
        return out

    def total(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood of all data (law,)."""
        return self.by_node(location, dispersion) @ self.weight

    def likelihood(self) -> SplineTables:
        """The same in JAX."""
        return SplineTables.of(self.rows, self.family, self.dispersion, self.weight, _FINER)

    def error(self, data: LikelihoodData, laws: list[tuple[CellLaws, ...]]) -> float:
        """Error of the total against direct evaluation in nats: the worst of the laws.

        What compression to nodes costs is measured as for :class:`PairSummary`, against tables of
        every pair; what the tables cost, on some nodes against direct evaluation.
        """
        assert data.truth is not None
        x, cell, weight = telling_pairs(data)
        all_of = (data, x, cell, weight, self.family, self.dispersion)
        refine = int(np.log2(self.nodes / 256))
        every = self._of_pairs(*all_of, len(x), refine)
        few = self if len(x) == len(data.cell) else self._of_pairs(*all_of, self.nodes, refine)
        some = np.unique(np.linspace(0, len(x) - 1, 60).astype(int))
        some = np.unique(np.r_[np.argsort(x)[[0, -1]], some])
        part = replace(
            data.take(some),
            values=np.stack([x[some], np.zeros(len(some))], axis=1)[:, :, None],
            chosen=np.zeros(len(some), dtype=int),
            available=np.ones((len(some), 2), dtype=bool),
            cell=cell[some],
            weight=np.ones(len(some)),
            unit=np.arange(len(some)),
            units=len(some),
        )
        own = replace(
            every,
            rows=self._rows_of(part),
            weight=np.ones(len(some)),
        )
        worst = 0.0
        for (law,) in laws:
            at = rows_of(law)
            error = abs(float(few.total(*at)[0] - every.total(*at)[0]))
            table = np.abs(own.by_node(*at)[0] - exact_panels(part, (outside_jax(law),)))
            worst = max(worst, error + float(table.mean() * weight.sum()))
        return worst

    def by_pair(
        self, data: LikelihoodData, location: np.ndarray, dispersion: np.ndarray | None
    ) -> np.ndarray:
        """Log probability times weight (law, pair) under laws (law, cell), interpolated."""
        out = np.empty((len(location), len(data.cell)))
        x = data.differences()
        assert data.truth is not None
        x0 = 0.1 * data.truth.sd
        for c in np.unique(data.cell):
            mine = data.cell == c
            t = np.arcsinh(x[mine] / x0)
            grid = np.linspace(t.min() - 0.01, t.max() + 0.01, 400)
            spread = None if dispersion is None else dispersion[:, [c]]
            cells = np.zeros(len(grid), dtype=int)
            at = x0 * np.sinh(grid)
            own = replace(
                data,
                values=np.stack([at, np.zeros_like(at)], axis=1)[:, :, None],
                chosen=cells,
                available=np.ones((len(at), 2), dtype=bool),
                weight=np.ones(len(at)),
                cell=cells,
                unit=np.arange(len(at)),
                units=len(at),
                truth=data.truth.of_cell(int(c)),
            )
            curve = PanelSummary(self._rows_of(own), self.family, self.dispersion, precise=True)
            values = curve.by_draw(location[:, [c]], spread)
            out[:, mine] = CubicSpline(grid, values, axis=1)(t)
        return out * data.weight

    def _rows_of(self, part: LikelihoodData) -> SplineRows:
        assert part.truth is not None
        refine = int(np.log2(self.nodes / 256))
        return SplineRows.of(
            part.truth,
            part.differences(),
            part.unit,
            part.cell,
            part.weight,
            part.scales[0],
            self.family.positive,
            refine,
        )
