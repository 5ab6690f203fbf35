r"""The likelihood of one random strength in JAX: the same tables, for NUTS and for NumPyro's users.

A mixing distribution is summed over nodes of its own, strengths at equally spaced standard normal
draws z, at which log-likelihoods of choosers are interpolated: one rule for narrow and wide ones,
with gradients, and for choosers who are in several cells of the groups. Where numbers are shared by
all choosers the tables are made anew from the same counts, inside of the traced function.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse as jax_sparse

from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.grid import BEND, Grid
from prefstrength.likelihood.mixed import JAX
from prefstrength.likelihood.sources import PairSource, SituationSource, Source
from prefstrength.likelihood.strength import StrengthLikelihood

_MIDDLE = np.zeros(1)  # of a distribution without spread

__all__ = ["TracedTables"]

_POINTS = 8
_REACH = 12.0
_MOST_NODES = 500
# Numbers in a dense matrix of counts above which it is kept sparse.
_DENSE = 2e7


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TracedTables:
    """Log-likelihood of all data, traceable in every parameter.

    Made by :meth:`of`; must be used where JAX computes in float64.
    """

    log: jax.Array  # (row, node), at what all choosers share if nothing is
    at_zero: jax.Array  # (row,)
    matrix: Any  # (row, kind * node of counts), or (row, situation)
    rows: jax.Array  # (cell, most rows of a cell), padded with the number of rows
    unit: jax.Array  # (row,)
    times: jax.Array  # (unit,)
    low: jax.Array  # first node of the grid
    scale: jax.Array  # of the grid
    nodes: jax.Array  # standard normal draws (node,)
    source: "_Static" = field(metadata={"static": True})
    units: int = field(metadata={"static": True})
    positive: bool = field(metadata={"static": True})
    step: float = field(metadata={"static": True})

    @classmethod
    def of(cls, likelihood: StrengthLikelihood, widest: float) -> "TracedTables":
        """Tables of a likelihood, for mixing distributions of at most that dispersion.

        Parameters
        ----------
        likelihood : StrengthLikelihood
        widest : float
            In the grid's coordinate: of log strength where strengths are positive.
        """
        source, grid = likelihood.source, likelihood.grid
        tables = likelihood.tables(dict(likelihood.at))
        information = np.bincount(likelihood.unit, likelihood.information, likelihood.units)
        step = min(0.4, 0.8 / float(np.sqrt(1 + information.max() * widest**2)))
        step = max(step, 2 * _REACH / _MOST_NODES)
        by_cell = [np.flatnonzero(likelihood.cell == c) for c in range(likelihood.cells)]
        most = max(map(len, by_cell))
        rows = np.full((len(by_cell), most), len(likelihood.cell))
        for c, own in enumerate(by_cell):
            rows[c, : len(own)] = own
        shared = bool(likelihood.reading.shared or likelihood.reading.fixed)
        return cls(
            log=jnp.asarray(tables.log),
            at_zero=jnp.asarray(tables.at_zero),
            matrix=_matrix(source) if shared else jnp.zeros((0, 0)),
            rows=jnp.asarray(rows),
            unit=jnp.asarray(likelihood.unit),
            times=jnp.asarray(likelihood.times, float),
            low=jnp.asarray(grid.t[0]),
            scale=jnp.asarray(grid.scale),
            nodes=jnp.arange(-_REACH, _REACH + step / 2, step),
            source=_Static(source, grid, shared, likelihood.reading.fixed),
            units=likelihood.units,
            positive=grid.positive,
            step=step,
        )

    @property
    def how(self) -> str:
        """The likelihood in words."""
        return f"tables of {self.units} units, {len(self.nodes)} nodes of strength"

    def total(self, level: Any) -> jax.Array:
        """Log-likelihood of all data under one draw of the population level."""
        return self.times @ self.by_unit(level)

    def by_unit(self, level: Any) -> jax.Array:
        """Log-likelihood of every unit, shape (unit,)."""
        kinds, log_share = level.kinds[0], level.log_shares[0]
        shared = dict(level.shared)
        for name, (law, *_) in zip(self.source.fixed, level.kinds[1:], strict=True):
            shared[f"{name}_value"] = law.location[0]
        at_zero, log = self.at_zero, self.log
        if self.source.shared:
            at_zero, log = self.source.tables(self.matrix, shared)
        found = [self._one_kind(log, laws) for laws in kinds]
        if len(log_share) > len(kinds):
            found.append(jax.ops.segment_sum(at_zero, self.unit, self.units))
        if len(found) == 1:
            return found[0]
        return jax.scipy.special.logsumexp(jnp.stack(found) + log_share[:, None], axis=0)

    def _one_kind(self, log: jax.Array, laws: CellLaws) -> jax.Array:
        strength = laws.at(self.nodes if laws.dispersion is not None else _MIDDLE)
        there = self._between(log, strength)  # (cell, row of it, z)
        spread = there.reshape(-1, there.shape[2])
        unit = jnp.append(self.unit, self.units)[self.rows].reshape(-1)  # the padding's is one more
        total = jax.ops.segment_sum(spread, unit, self.units + 1)[:-1]
        if laws.dispersion is None:
            return total[:, 0]
        log_weight = -(self.nodes**2) / 2 + np.log(self.step / np.sqrt(2 * np.pi))
        return jax.scipy.special.logsumexp(total + log_weight, axis=1)

    def _between(self, log: jax.Array, strength: jax.Array) -> jax.Array:
        """Log-likelihoods of every cell's rows at its strengths (cell, z), interpolated."""
        nodes = log.shape[1]
        scaled = strength * self.scale
        t = jnp.log(scaled) if self.positive else jnp.arcsinh(BEND * scaled)
        place = jnp.clip((t - self.low) / self.source.grid.step, 0.0, nodes - 1.0)
        first = jnp.clip(jnp.floor(place) - (_POINTS // 2 - 1), 0, nodes - _POINTS)
        weight = _lagrange(place - first)  # (cell, z, point)
        index = first.astype(int)[..., None] + np.arange(_POINTS)
        padded = jnp.concatenate([log, jnp.zeros((1, nodes))])

        def one(rows: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
            column = jnp.broadcast_to(jnp.arange(index.shape[0])[:, None], index.shape)
            rule = jnp.zeros((nodes, index.shape[0])).at[index, column].add(weight)
            return padded[rows] @ rule

        return jax.vmap(one)(self.rows, index, weight)


def _lagrange(place: jax.Array) -> jax.Array:
    """Weights of the nodes 0 … 7 at places among them, along a new last axis."""
    nodes = np.arange(_POINTS)
    away = place[..., None] - nodes
    out = []
    for k in range(_POINTS):
        others = np.delete(nodes, k)
        scale = np.prod(k - others)
        out.append(jnp.prod(away[..., others], axis=-1) / scale)
    return jnp.stack(out, axis=-1)


@dataclass(frozen=True, eq=False)
class _Static:
    """What a table is made of, as compiled code holds it."""

    source: Source
    grid: Grid
    shared: bool
    fixed: tuple[str, ...]

    def tables(self, matrix: Any, shared: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        """At strength 0 (row,), and on the grid (row, node)."""
        strength = jnp.asarray(np.r_[0.0, self.grid.strength])

        def sum_up(table: jax.Array) -> jax.Array:
            return matrix @ table

        if isinstance(self.source, PairSource):
            both = self.source.log(JAX, strength, shared, sum_up)
        else:
            assert isinstance(self.source, SituationSource)  # sums leave nothing to share
            both = sum_up(self.source.log_probability(JAX, strength, shared).T)
        return both[:, 0], both[:, 1:]


def _matrix(source: Source) -> Any:
    assert isinstance(source, PairSource | SituationSource)  # sums leave nothing to share
    matrix = source.counts.matrix if isinstance(source, PairSource) else source.sum
    if np.prod(matrix.shape) <= _DENSE:
        return jnp.asarray(matrix.toarray())
    return jax_sparse.BCOO.from_scipy_sparse(matrix.tocoo())
