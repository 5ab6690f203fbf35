"""Summaries of pairs and panels, evaluated for many laws at once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.batch import NUMPY, pairs_by_cell, panels_by_chooser
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.exact import error_of_all, exact_panels, telling_pairs, telling_units
from prefstrength.likelihood.pairs import PairSketch
from prefstrength.likelihood.panels import PanelRows, PanelTables
from prefstrength.likelihood.splines import SplineRows, SplineTables

__all__ = ["PairSummary", "PanelSummary"]

# Nodes in location and in dispersion between which a chooser's log-likelihood is interpolated.
_NODES = 14


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
            summary = of_sketch(sketch, self.family, self.scale)
        worst = 0.0
        for (law,) in laws:
            location, dispersion = rows_of(law)
            direct = float(weight @ log_probability(NUMPY, x, outside_jax(law).mixing(cell)))
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
        random = self.family.varies
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
            found = self.by_chooser(*rows_of(law))[0, chosen]
            error = np.abs(found - exact_panels(part, (outside_jax(law),)))
            worst = max(worst, error_of_all(error, len(special), data.units))
        return worst


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


def of_sketch(sketch: PairSketch, family: type[Mixing], scale: float) -> PairSummary:
    return PairSummary(
        x=np.asarray(sketch.x),
        cell=np.asarray(sketch.cell),
        weight=np.asarray(sketch.weight),
        family=family,
        how=sketch.how,
        nodes=sketch.nodes,
        scale=scale,
    )


def outside_jax(law: CellLaws) -> CellLaws:
    """The law with NumPy arrays."""
    dispersion = None if law.dispersion is None else np.asarray(law.dispersion)
    return CellLaws(law.family, np.asarray(law.location), dispersion)


def rows_of(law: CellLaws) -> tuple[np.ndarray, np.ndarray | None]:
    plain = outside_jax(law)
    spread = None if plain.dispersion is None else np.asarray(plain.dispersion)[None]
    return np.asarray(plain.location)[None], spread
