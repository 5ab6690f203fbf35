"""What the data are turned into for one family: the log-likelihood at many laws at once.

In NumPy, so that there is nothing to compile. Surfaces (:mod:`prefstrength.surface`) are
interpolated from these values, and pointwise and chooser-level results are read off them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev
from scipy.interpolate import CubicSpline

from prefstrength.compress import DEGREE, PairSketch, PanelRows, PanelTables
from prefstrength.kernel import log_probability
from prefstrength.likelihood import (
    LikelihoodData,
    error_of_all,
    exact_panels,
    telling_pairs,
    telling_units,
)
from prefstrength.many_laws import NUMPY, pairs_by_cell, panels_by_chooser
from prefstrength.mixing import Mixing, PointMass
from prefstrength.quantiles import CellLaws
from prefstrength.splines import SplineRows, SplineTables
from prefstrength.streaming.data import CompressedData

__all__ = ["MeasuredPairs", "PairSummary", "PanelSummary", "Summary", "summarise"]

# Nodes in location and in dispersion between which a chooser's log-likelihood is interpolated.
_NODES = 14
# A node of the difference may stand for thousands of pairs: steps of its rule are finer.
_FINER = 2


@dataclass(frozen=True)
class PairSummary:
    """Pairs without repeated choosers: nodes of the difference with weights, for each cell."""

    x: np.ndarray
    cell: np.ndarray
    weight: np.ndarray
    family: type[Mixing]
    how: str
    nodes: int
    scale: float
    #: Whether the log-likelihood is a sum of one function for each cell.
    separable: bool = True

    @property
    def information(self) -> float:
        """Information of a unit on log strength, about the largest."""
        return 0.3

    def by_cell(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood (law, cell) under laws (law, cell)."""
        return pairs_by_cell(self.x, self.weight, self.cell, self.family, location, dispersion)

    def total(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood of all data (law,)."""
        return self.by_cell(location, dispersion).sum(axis=1)

    def likelihood(self) -> PairSketch:
        """The same in JAX."""
        x, cell, weight = (jnp.asarray(v) for v in (self.x, self.cell, self.weight))
        return PairSketch(x=x, cell=cell, weight=weight, nodes=self.nodes, how=self.how)

    def error(self, data: LikelihoodData, laws: list[tuple[CellLaws, ...]]) -> float:
        """Error of the total against direct evaluation in nats: the worst of the laws.

        Of more than 20,000 pairs the largest differences and a random sample of the rest are
        compressed alike, and stand for all.
        """
        if isinstance(data, CompressedData):
            return data.summary_error(self, laws)
        x, cell, weight = telling_pairs(data)
        summary = self
        if len(x) < len(data.cell):
            sketch = PairSketch.build(x, cell, weight, self.scale, self.nodes)
            summary = _of_sketch(sketch, self.family, self.scale)
        worst = 0.0
        for (law,) in laws:
            location, dispersion = _rows_of(law)
            direct = float(weight @ log_probability(NUMPY, x, _plain(law).mixing(cell)))
            error = abs(float(summary.total(location, dispersion)[0]) - direct)
            worst = max(worst, error)
        return worst


@dataclass(frozen=True)
class PanelSummary:
    """Panels: every chooser's log-likelihood as a function of the coefficient."""

    rows: PanelRows | SplineRows
    family: type[Mixing]
    dispersion: float
    precise: bool = False

    @property
    def how(self) -> str:
        """In words."""
        size = f"{len(self.rows.chooser)} chooser-by-cell rows of {self.rows.size} coefficients"
        if isinstance(self.rows, SplineRows):
            return f"panels with errors in the rewards tabulated: {size}"
        return f"panels tabulated: {size}"

    @cached_property
    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Step and reach of each chooser's trapezoid rule."""
        return self.rows.steps(self.family, self.dispersion)

    @property
    def information(self) -> float:
        """Information of a unit on log strength, about the largest."""
        return float(np.quantile(self.rows.information, 0.9))

    @cached_property
    def separable(self) -> bool:
        """Whether every chooser stays in one cell."""
        return len(self.rows.chooser) == len(self.rows.information)

    def by_chooser(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood (law, chooser) under laws (law, cell)."""
        return panels_by_chooser(
            self.rows, self.family, location, dispersion, *self.nodes, self.precise
        )

    def by_draw(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """:meth:`by_chooser` for the many laws of a posterior's draws.

        Where choosers stay in one cell, each chooser's log-likelihood is interpolated between a
        few laws in the range of the draws (error below 1e-4 nats).
        """
        random = self.family is not PointMass
        if not self.separable or len(location) < 2 * _NODES ** (1 + random):
            return self.by_chooser(location, dispersion)
        at, spreads, basis = _between(location, dispersion, _NODES)
        values = self.by_chooser(at, spreads)
        out = np.empty((len(location), values.shape[1]))
        for c in range(location.shape[1]):
            own = self.rows.chooser[self.rows.cell == c]
            out[:, own] = basis(c) @ values[:, own]
        return out

    def by_cell(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood (law, cell) under laws (law, cell); where separable."""
        each = self.by_chooser(location, dispersion)
        out = np.zeros(location.shape)
        for c in range(location.shape[1]):
            out[:, c] = each[:, self.rows.chooser[self.rows.cell == c]].sum(axis=1)
        return out

    def total(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood of all data (law,)."""
        return self.by_chooser(location, dispersion).sum(axis=1)

    def likelihood(self) -> PanelTables | SplineTables:
        """The same in JAX."""
        return self.rows.tables(self.family, self.dispersion)

    def error(self, data: LikelihoodData, laws: list[tuple[CellLaws, ...]]) -> float:
        """Error of the total against direct evaluation in nats: the worst of the laws.

        Compared on the choosers with most situations and largest differences and on a random
        sample, whose mean absolute error stands for the rest.
        """
        if isinstance(data, CompressedData):
            return data.summary_error(self, laws)
        # Direct evaluation is dear where differences are measured with error.
        special, sampled = telling_units(data, sample=48 if data.truth is None else 8)
        chosen = np.r_[special, sampled]
        part = data.take(chosen)
        worst = 0.0
        for (law,) in laws:
            found = self.by_chooser(*_rows_of(law))[0, chosen]
            error = np.abs(found - exact_panels(part, (_plain(law),)))
            worst = max(worst, error_of_all(error, len(special), data.units))
        return worst


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
            at = _rows_of(law)
            error = abs(float(few.total(*at)[0] - every.total(*at)[0]))
            table = np.abs(own.by_node(*at)[0] - exact_panels(part, (_plain(law),)))
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


#: What the data of one attribute are turned into.
Summary = PairSummary | PanelSummary | MeasuredPairs


def _between(
    location: np.ndarray, dispersion: np.ndarray | None, nodes: int
) -> tuple[np.ndarray, np.ndarray | None, Callable[[int], np.ndarray]]:
    """Few laws (node, cell) that span the given ones, and how to interpolate between them.

    The third is a function of the cell: its matrix (law, node).
    """
    points = chebyshev.chebpts1(nodes)
    transform = chebyshev.chebvander(points, nodes - 1).T * 2 / nodes
    transform[0] /= 2

    def spanned(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = values.min(axis=0), values.max(axis=0)
        half = np.maximum((high - low) / 2, 1e-9 * (1 + np.abs(high)))
        middle = (low + high) / 2
        unit = np.clip((values - middle) / half, -1.0, 1.0)
        return middle + points[:, None] * half, chebyshev.chebvander(unit, nodes - 1) @ transform

    at, across = spanned(location)
    if dispersion is None:
        return at, None, lambda c: across[:, c]
    squares, along = spanned(dispersion**2)

    def basis(c: int) -> np.ndarray:
        return (across[:, c, :, None] * along[:, c, None, :]).reshape(len(location), -1)

    spreads = np.sqrt(np.maximum(squares, 1e-16))
    return np.repeat(at, nodes, axis=0), np.tile(spreads, (nodes, 1)), basis


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
        return _of_sketch(sketch, family, scale)
    rows = data.panel_rows(family.positive, DEGREE + 32 * refine)
    return PanelSummary(rows, family, dispersion * 1.5**refine, precise=refine > 0)


def _of_sketch(sketch: PairSketch, family: type[Mixing], scale: float) -> PairSummary:
    return PairSummary(
        x=np.asarray(sketch.x),
        cell=np.asarray(sketch.cell),
        weight=np.asarray(sketch.weight),
        family=family,
        how=sketch.how,
        nodes=sketch.nodes,
        scale=scale,
    )


def _plain(law: CellLaws) -> CellLaws:
    """The law with NumPy arrays."""
    dispersion = None if law.dispersion is None else np.asarray(law.dispersion)
    return CellLaws(law.family, np.asarray(law.location), dispersion)


def _rows_of(law: CellLaws) -> tuple[np.ndarray, np.ndarray | None]:
    plain = _plain(law)
    spread = None if plain.dispersion is None else np.asarray(plain.dispersion)[None]
    return np.asarray(plain.location)[None], spread
