r"""The likelihood of one random strength, whatever was answered: tables behind one door.

Made once from the data; then evaluated at many mixing distributions and many values of what all
choosers share. A chooser who appears in several cells of the groups keeps one standard normal draw
z in all of them: there log-likelihoods of the cells are added at the same z before they are summed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse, special

from prefstrength.likelihood.counts import Counts
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.grid import BASE, Grid
from prefstrength.likelihood.lattice import interpolation
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.marginal import log_marginals
from prefstrength.likelihood.sources import PairSource, Reading, SituationSource, Source
from prefstrength.likelihood.tables import Tables, informations, steps_of

__all__ = ["StrengthLikelihood", "bend_of", "runs"]

Shared = Mapping[str, np.ndarray]

_POINTS = 12
_REACH = 12.0
_MOST_NODES = 600


@dataclass(frozen=True)
class StrengthLikelihood:
    """Log-likelihoods of units under mixing distributions.

    Parameters
    ----------
    source : Source
    grid : Grid
    unit, cell : numpy.ndarray of int, shape (row,)
        Unit (chooser, or node of pairs) and cell of every row of the tables.
    times : numpy.ndarray, shape (unit,)
        How often a unit counts.
    at : mapping
        Values of what all choosers share at which the tables' steps were chosen.
    panel : bool
        Whether units are choosers.
    """

    source: Source
    grid: Grid
    unit: np.ndarray
    cell: np.ndarray
    times: np.ndarray
    at: Mapping[str, float]
    panel: bool
    _kept: dict[Any, Tables] = field(default_factory=dict, repr=False)

    @property
    def reading(self) -> Reading:
        """How answers are read."""
        return self.source.reading

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.times)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.cell.max(initial=0)) + 1

    @property
    def how(self) -> str:
        """The likelihood in words."""
        rows = f"{len(self.unit)} {'choosers' if self.panel else 'classes of pairs'}"
        if not self.separable:
            rows = f"{self.units} choosers in {len(self.unit)} cells"
        return f"log-likelihoods of {rows} tabulated over strength"

    @cached_property
    def separable(self) -> bool:
        """Whether every unit lies in one cell."""
        return len(self.unit) == self.units

    @cached_property
    def _steps(self) -> np.ndarray:
        first = self.source(self.grid.strength, self.at, None)
        return steps_of(first, self.grid.positive)

    @cached_property
    def information(self) -> np.ndarray:
        """Information of every row on log strength where it has most, shape (row,)."""
        return informations(self.source(self.grid.strength, self.at, None))

    def tables(self, shared: Mapping[str, float]) -> Tables:
        """Tables at values of what all choosers share; the last ones are kept."""
        key = tuple(sorted(shared.items()))
        if key not in self._kept:
            self._kept.clear()
            self._kept[key] = Tables.of(self.source, self.grid, shared, self._steps)
        return self._kept[key]

    def by_unit(self, blends: Sequence[Blend], shared: Shared | None = None) -> np.ndarray:
        """Log marginal likelihood of every unit, shape (point, unit), not counted by ``times``.

        Parameters
        ----------
        blends : sequence of Blend
            Mixing distributions at every point, one blend for each cell.
        shared : mapping, optional
            Values at every point, each (point,).
        """
        out = np.empty((blends[0].size, self.units))
        for which, values in runs(shared, blends[0].size):
            own = [blend.take(which) for blend in blends]
            out[which] = self._by_unit(self.tables(values), own)
        return out

    def totals(self, blends: Sequence[Blend], shared: Shared | None = None) -> np.ndarray:
        """Log-likelihood of all data at every point (point,)."""
        out = np.empty(blends[0].size)
        for which, values in runs(shared, blends[0].size):
            own = [blend.take(which) for blend in blends]
            out[which] = self._by_unit(self.tables(values), own) @ self.times
        return out

    def by_cell(self, blends: Sequence[Blend], shared: Shared | None = None) -> np.ndarray:
        """Log-likelihood of every cell at every point (point, cell); separable data alone."""
        each = self.by_unit(blends, shared) * self.times
        cell = np.empty(self.units, np.int64)
        cell[self.unit] = self.cell
        index = np.arange(self.units), cell
        return np.asarray(each @ sparse.csr_array((np.ones(self.units), index)))

    def by_situation(
        self, data: LikelihoodData, blends: Sequence[Blend], shared: Shared | None = None
    ) -> np.ndarray:
        """Log marginal likelihood of every situation by itself, once (point, situation)."""
        found = self.by_unit(blends, shared)
        if isinstance(self.source, SituationSource):
            return found
        assert isinstance(self.source, PairSource)
        counts = self.source.counts
        once = replace(data.pair_observations(), panel=True, weight=np.ones_like(data.weight))
        own = Counts.of(once, data.truth is not None)
        place = np.full((self.cells, counts.matrix.shape[1]), 0)
        place[counts.cell, counts.matrix.indices] = np.arange(len(counts.unit))
        entry = own.matrix.tocoo()
        row = place[own.cell[entry.row], entry.col]
        shape = len(counts.unit), len(own.unit)
        rule = sparse.csr_array((entry.data, (row, own.unit[entry.row])), shape=shape)
        return np.asarray(found @ rule)

    def _by_unit(self, tables: Tables, blends: Sequence[Blend]) -> np.ndarray:
        if not self.separable:
            return self._shared_draws(tables, blends)
        if len(blends) == 1:
            out = np.empty((blends[0].size, self.units))
            out[:, self.unit] = log_marginals(tables, blends[0])
            return out
        out = np.empty((blends[0].size, self.units))
        for c, blend in enumerate(blends):
            rows = np.flatnonzero(self.cell == c)
            out[:, self.unit[rows]] = log_marginals(tables, blend, rows)
        return out

    # -- choosers in several cells -----------------------------------------------------------------

    @cached_property
    def of_unit(self) -> np.ndarray:
        """Information of every unit, of its rows together."""
        return np.bincount(self.unit, self.information, self.units)

    def _shared_draws(self, tables: Tables, blends: Sequence[Blend]) -> np.ndarray:
        parts = len(blends[0].parts)
        found = np.empty((parts, blends[0].size, self.units))
        for k in range(parts):
            laws = [blend.parts[k] for blend in blends]
            if laws[0] is None:
                found[k] = np.bincount(self.unit, tables.at_zero, self.units)
            else:
                found[k] = self._one_kind(tables, [law for law in laws if law is not None])
        return np.asarray(special.logsumexp(found + blends[0].log_share[:, :, None], axis=0))

    def _one_kind(self, tables: Tables, laws: Sequence[Laws]) -> np.ndarray:
        out = np.empty((laws[0].size, self.units))
        most = np.max([law.spread_in(self.grid) for law in laws], axis=0)
        for m in range(laws[0].size):
            step = min(0.5, 0.8 / np.sqrt(1 + self.of_unit.max() * most[m] ** 2))
            step = max(step, 2 * _REACH / _MOST_NODES)
            z = np.arange(-_REACH, _REACH + step / 2, step)
            total = np.zeros((self.units, len(z)))
            for c, law in enumerate(laws):
                rows = np.flatnonzero(self.cell == c)
                position = self.grid.position(law.take(np.array([m])).at(z))[0]
                here = tables.log[rows] @ interpolation(position, len(self.grid.t), _POINTS)
                np.add.at(total, self.unit[rows], here)
            total += -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))
            out[m] = special.logsumexp(total, axis=1)
        return out


def runs(shared: Shared | None, points: int):  # type: ignore[no-untyped-def]
    """Points with the same values of what all choosers share, and the values."""
    if not shared:
        yield slice(None), {}
        return
    names = list(shared)
    table = np.stack([np.broadcast_to(shared[name], points) for name in names], axis=1)
    distinct, place = np.unique(table, axis=0, return_inverse=True)
    for i, row in enumerate(distinct):
        values = dict(zip(names, (float(value) for value in row), strict=True))
        yield np.flatnonzero(place.reshape(-1) == i), values


def bend_of(likelihood: StrengthLikelihood) -> float:
    """Dispersion that the data of a typical unit can tell from 0."""
    own = np.bincount(likelihood.unit, likelihood.information, likelihood.units)
    typical = float(np.median(own[own > 0])) if (own > 0).any() else BASE
    return 1 / np.sqrt(max(typical, 1e-3))
