r"""Data turned once into small summaries that the likelihood of pairs needs.

With pairs and one attribute the data enter through one scalar for each situation, the
difference x. Two exact summaries follow, each with the same two methods as
:class:`~prefstrength.likelihood.mixed.DirectLikelihood`:

- :class:`PairSketch`, no repeated choosers. :math:`\sum_i w_i \log p(x_i)` is an integral of a
  smooth function against the empirical measure; in :math:`t = \operatorname{asinh}(x/x_0)` it
  is interpolated at Chebyshev nodes, and the data become one weight for each node and cell.
- :class:`PanelTables`, repeated choosers. The log-likelihood of chooser a,
  :math:`\ell_a(\beta) = \sum_t w_t \log\sigma(\beta x_{at})`, is one fixed function of the
  coefficient; its Chebyshev coefficients (in log β, or asinh β where β may be negative) are
  tabulated for each chooser and cell. The integral over the chooser's draw z is a trapezoid
  rule whose step follows the information in the chooser's panel, so that a chooser with
  thousands of choices is integrated as accurately as one with two.

The cost of an evaluation no longer depends on the number of situations.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from prefstrength.choice.chebyshev import chebyshev_basis
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.nodes import (
    WIDTH,
    Evaluator,
    information_of,
    interval,
    log_sigmoid,
    normal_nodes,
    ordered_rows,
    trapezoid_rules,
)

__all__ = ["DEGREE", "PanelRows", "PanelTables"]

#: Degree of the series of a chooser's log-likelihood, unless more is asked for.
DEGREE = 80
# Rows of a panel table that are multiplied with one basis: few enough that the padding of cells
# with few choosers stays cheap, many enough that the basis is not copied too often.
_BLOCKS = (8, 32, 128)


@dataclass(frozen=True)
class PanelRows:
    """Every chooser's log-likelihood in every cell as a function of the coefficient, in NumPy.

    Rows add up over the situations, so that the rows of two parts of the data can be summed.

    Parameters
    ----------
    table : numpy.ndarray, shape (row, degree + 3)
        Coefficients in the Chebyshev polynomials and in the two functions split off.
    chooser, cell : numpy.ndarray, shape (row,)
        Chooser code 0 … A-1 and cell code of each row; sorted by chooser.
    information : numpy.ndarray, shape (chooser,)
        Information of each chooser's choices on log strength where it is largest.
    scale : float
        Root mean square of the differences, which places the table.
    positive : bool
        Whether the table is in log β (else in asinh β).
    """

    table: np.ndarray
    chooser: np.ndarray
    cell: np.ndarray
    information: np.ndarray
    scale: float
    positive: bool

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        chooser: np.ndarray,
        cell: np.ndarray,
        weight: np.ndarray,
        scale: float,
        positive: bool,
        degree: int = DEGREE,
    ) -> "PanelRows":
        """Tabulate differences ``x`` (situation,) with chooser codes 0 … A-1, cells, weights."""
        order, starts, of_row = ordered_rows(chooser, cell)
        return cls(
            table=_table(x[order], weight[order], starts, scale, degree, positive),
            chooser=of_row[0],
            cell=of_row[1],
            information=np.bincount(chooser, weights=weight * information_of(x / scale)),
            scale=float(scale),
            positive=positive,
        )

    @property
    def degree(self) -> int:
        """Degree of the Chebyshev series."""
        return self.table.shape[1] - 3

    def steps(self, family: type[Mixing], dispersion: float) -> tuple[np.ndarray, np.ndarray]:
        """Step and reach of the trapezoid rule for each chooser.

        Fine and wide enough for dispersions up to the given one.
        """
        return trapezoid_rules(self, family, dispersion)

    @property
    def size(self) -> int:
        """Numbers kept for each row."""
        return self.table.shape[1]

    def evaluator(self, own: np.ndarray, precision: type = np.float32) -> Evaluator:
        """Log-likelihood of some rows as a function of coefficients: (node,) -> (row, node)."""
        grown = self.table[own, -2:]
        series: np.ndarray = self.table[own, :-2].astype(precision)

        def evaluate(beta: np.ndarray) -> np.ndarray:
            polynomials, ends = self.basis(beta, precision)
            found: np.ndarray = grown @ ends
            found += series @ polynomials
            return found

        return evaluate

    def joined(self) -> "PanelRows":
        """One row for each chooser, as if all cells were one."""
        table = np.zeros((len(self.information), self.table.shape[1]))
        np.add.at(table, self.chooser, self.table)
        choosers = np.arange(len(table))
        return replace(self, table=table, chooser=choosers, cell=np.zeros_like(choosers))

    def tables(self, family: type[Mixing], dispersion: float) -> "PanelTables":
        """The same in JAX."""
        return PanelTables.of(self, family, dispersion)

    def basis(
        self, beta: np.ndarray, precision: type = np.float32
    ) -> tuple[np.ndarray, np.ndarray]:
        """Polynomials (degree + 1, …) and the two functions split off (2, …)."""
        low, high = interval(self.scale, self.positive)
        inside = np.clip(beta, low, high)
        finite = np.clip(beta, -1e100, 1e100)
        if self.positive:
            t = 2 * (np.log(inside) - np.log(low)) / (np.log(high) - np.log(low)) - 1
            second = np.minimum(finite - low, 0.0)
        else:
            width = WIDTH / self.scale
            t = np.arcsinh(inside / width) / np.arcsinh(high / width)
            second = np.sqrt(finite**2 + width**2)
        polynomials = np.empty((self.degree + 1, len(beta)))
        polynomials[0], polynomials[1] = 1.0, t
        for k in range(2, self.degree + 1):
            np.multiply(2 * t, polynomials[k - 1], out=polynomials[k])
            polynomials[k] -= polynomials[k - 2]
        return polynomials.astype(precision), np.stack([finite, second])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _PanelClass:
    """Choosers that are integrated on the same nodes."""

    series: jax.Array  # (block, row, degree + 1), single precision
    slopes: jax.Array  # the same for the derivative in the mapped coefficient
    grown: jax.Array  # (block, row, 2) factors of the two functions split off
    cell: jax.Array  # (block,)
    unit: jax.Array  # (block * row,) chooser of each row within the class; padding -> last
    choosers: jax.Array  # (chooser,) codes of the class's choosers
    step: float = field(metadata={"static": True})
    reach: float = field(metadata={"static": True})

    def nodes(self, finer: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Nodes and log weights, the step divided by ``finer``."""
        return normal_nodes(self.step / finer, self.reach)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PanelTables:
    """Chebyshev tables of every chooser's log-likelihood as a function of the coefficient."""

    classes: tuple[_PanelClass, ...]
    scale: float = field(metadata={"static": True})  # root mean square of the differences
    degree: int = field(metadata={"static": True})
    positive: bool = field(metadata={"static": True})
    how: str = field(metadata={"static": True})

    @classmethod
    def build(
        cls,
        x: np.ndarray,
        chooser: np.ndarray,
        cell: np.ndarray,
        weight: np.ndarray,
        scale: float,
        family: type[Mixing],
        dispersion: float = 1.0,
        degree: int = DEGREE,
    ) -> "PanelTables":
        """Tabulate panels: :meth:`PanelRows.of` and :meth:`of` in one call."""
        rows = PanelRows.of(x, chooser, cell, weight, scale, family.positive, degree)
        return cls.of(rows, family, dispersion)

    @classmethod
    def of(cls, rows: "PanelRows", family: type[Mixing], dispersion: float = 1.0) -> "PanelTables":
        """Tables for a family, with nodes fine enough for dispersions up to the given one."""
        steps, reaches = rows.steps(family, dispersion)
        classes = tuple(
            _panel_class(
                rows.table,
                rows.chooser,
                rows.cell,
                np.flatnonzero((steps == step) & (reaches == reach)),
                float(step),
                float(reach),
            )
            for step, reach in sorted(set(zip(steps, reaches, strict=True)), reverse=True)
        )
        size = f"{len(rows.chooser)} chooser-by-cell rows of {rows.degree + 3} coefficients"
        return cls(
            classes=classes,
            scale=rows.scale,
            degree=rows.degree,
            positive=rows.positive,
            how=f"panels tabulated: {size}",
        )

    def by_node(self, index: int, laws: tuple[CellLaws, ...], z: np.ndarray) -> jax.Array:
        """Log-likelihood of the choosers of one class at given nodes, shape (chooser, node)."""
        part = self.classes[index]
        beta = laws[0].at(z)  # (cell, node)
        values = _table_values(
            self.scale,
            self.positive,
            beta,
            (part.series, part.slopes, part.grown, part.cell),
        )
        flat = values.reshape(-1, len(z))
        n = len(part.choosers)
        return jax.ops.segment_sum(flat, part.unit, num_segments=n + 1)[:n]

    @jax.jit  # so that a call outside of a compiled function does not compile every operation
    def by_unit(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of each chooser, in the order of the chooser codes."""
        parts = []
        for index, part in enumerate(self.classes):
            if not laws[0].family.varies:
                z, log_weight = np.zeros(1), np.zeros(1)
            else:
                z, log_weight = part.nodes()
            values = self.by_node(index, laws, z) + log_weight
            parts.append(jax.scipy.special.logsumexp(values, axis=-1))
        order = jnp.argsort(jnp.concatenate([part.choosers for part in self.classes]))
        return jnp.concatenate(parts)[order]

    def total(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of all data."""
        return jnp.sum(self.by_unit(laws))


def _panel_class(
    table: np.ndarray,
    row_chooser: np.ndarray,
    row_cell: np.ndarray,
    choosers: np.ndarray,
    step: float,
    reach: float,
) -> _PanelClass:
    rows = np.flatnonzero(np.isin(row_chooser, choosers))
    rows = rows[np.argsort(row_cell[rows], kind="stable")]
    position = np.searchsorted(choosers, row_chooser[rows])
    blocks, cells, units = [], [], []
    per_cell = np.bincount(row_cell[rows])
    size = max([b for b in _BLOCKS if b <= np.median(per_cell[per_cell > 0])], default=_BLOCKS[0])
    for c in np.flatnonzero(per_cell):
        mine = np.flatnonzero(row_cell[rows] == c)
        for start in range(0, len(mine), size):
            take = mine[start : start + size]
            block = np.zeros((size, table.shape[1]))
            block[: len(take)] = table[rows[take]]
            unit = np.full(size, len(choosers))
            unit[: len(take)] = position[take]
            blocks.append(block)
            units.append(unit)
            cells.append(c)
    stacked = np.stack(blocks)
    series, grown = stacked[..., :-2], stacked[..., -2:]
    slopes = np.zeros_like(series)
    slopes[..., :-1] = chebyshev.chebder(series, axis=-1)
    return _PanelClass(
        series=jnp.asarray(series, dtype=jnp.float32),
        slopes=jnp.asarray(slopes, dtype=jnp.float32),
        grown=jnp.asarray(grown),
        cell=jnp.asarray(np.array(cells)),
        unit=jnp.asarray(np.concatenate(units)),
        choosers=jnp.asarray(choosers),
        step=step,
        reach=reach,
    )


def _table(
    x: np.ndarray,
    weight: np.ndarray,
    starts: np.ndarray,
    scale: float,
    degree: int,
    positive: bool,
) -> np.ndarray:
    r"""Coefficients of every row in the Chebyshev polynomials and in :func:`_ends`.

    The log-likelihood grows without bound in β; what grows is known and split off, so that the
    series represents a bounded remainder however large β is:

    .. math:: \log\sigma(\beta x) = -\beta x^- - \log(1 + e^{-\beta |x|}) \quad (\beta > 0)

    and, where β may be negative,
    :math:`\log\sigma(\beta x) = \beta x/2 - \log 2\cosh(\beta x/2)`, whose last term grows as
    :math:`\sqrt{\beta^2 + b^2} |x|/2`.
    """
    points = chebyshev.chebpts1(degree + 1)
    low, high = interval(scale, positive)
    width = WIDTH / scale
    size = np.abs(x)

    def total(of_each: np.ndarray) -> np.ndarray:
        return np.add.reduceat(weight * of_each, starts)

    if positive:
        beta = np.exp((points * (np.log(high) - np.log(low)) + np.log(low) + np.log(high)) / 2)
        columns = [total(np.log1p(np.exp(-b * size))) for b in beta]
        # Below the range the remainder is linear in β.
        grown = [total(np.minimum(x, 0.0)), total(size * np.exp(log_sigmoid(-low * size)))]
    else:
        beta = np.sinh(points * np.arcsinh(high / width)) * width
        psi = np.sqrt(beta**2 + width**2)
        columns = [
            total(np.logaddexp(b * x / 2, -b * x / 2) - p * size / 2)
            for b, p in zip(beta, psi, strict=True)
        ]
        grown = [total(x / 2), total(-size / 2)]
    transform = chebyshev.chebvander(points, degree) * 2 / (degree + 1)
    transform[:, 0] /= 2
    return np.concatenate([-np.stack(columns, axis=1) @ transform, np.stack(grown, axis=1)], axis=1)


_Rows = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _table_values(scale: float, positive: bool, beta: jax.Array, rows: _Rows) -> jax.Array:
    """Log-likelihood of the rows at coefficients ``beta`` (cell, node): (block, row, node).

    The bounded part is multiplied in single precision (relative error 1e-7 of a number of the
    size of the row's choices), the rest in double.
    """
    series, _, grown, cell = rows
    t, _ = _mapped(beta, scale, positive)
    bounded = jnp.einsum("brn,bkn->brk", series, _polynomials(t, series.shape[-1] - 1)[cell])
    ends, _ = _ends(beta, scale, positive)
    return bounded + _combine(grown, ends[cell])


@_table_values.defjvp
def _table_values_jvp(
    scale: float, positive: bool, primals: tuple, tangents: tuple
) -> tuple[jax.Array, jax.Array]:
    # Value and slope by one product over the same basis; differentiating the product itself would
    # carry a gradient of the size of the basis for every block.
    beta, (series, slopes, grown, cell) = primals
    t, t_slope = _mapped(beta, scale, positive)
    basis = _polynomials(t, series.shape[-1] - 1)[cell]
    both = jnp.einsum("brn,bkn->brk", jnp.concatenate([series, slopes], axis=1), basis)
    bounded, slope = jnp.split(both, 2, axis=1)
    ends, ends_slope = _ends(beta, scale, positive)
    values = bounded + _combine(grown, ends[cell])
    derivative = slope * t_slope[cell][:, None, :] + _combine(grown, ends_slope[cell])
    return values, derivative * tangents[0][cell][:, None, :]


def _combine(factors: jax.Array, functions: jax.Array) -> jax.Array:
    """Sum over two functions: (block, row, 2), (block, node, 2) -> (block, row, node)."""
    first, second = (factors[:, :, e, None] * functions[:, None, :, e] for e in (0, 1))
    return first + second


def _polynomials(t: jax.Array, degree: int) -> jax.Array:
    return chebyshev_basis(t.astype(jnp.float32), degree)


def _mapped(beta: jax.Array, scale: float, positive: bool) -> tuple[jax.Array, jax.Array]:
    """Coefficient mapped to [-1, 1], and the derivative of the map."""
    low, high = interval(scale, positive)
    inside = jnp.clip(beta, low, high)
    if positive:
        half = (np.log(high) - np.log(low)) / 2
        t = (jnp.log(inside) - np.log(low)) / half - 1
        slope = 1 / (inside * half)
    else:
        width = WIDTH / scale
        t = jnp.arcsinh(inside / width) / np.arcsinh(high / width)
        slope = 1 / (jnp.sqrt(inside**2 + width**2) * np.arcsinh(high / width))
    return t, jnp.where(inside == beta, slope, 0.0)


def _ends(beta: jax.Array, scale: float, positive: bool) -> tuple[jax.Array, jax.Array]:
    """The two functions split off, (…, 2), and their derivatives."""
    # Far outside, where nothing is left of the likelihood, only finiteness matters.
    finite = jnp.clip(beta, -1e100, 1e100)
    low, _ = interval(scale, positive)
    if positive:
        second = jnp.minimum(finite - low, 0.0)
        slope = jnp.where(finite < low, 1.0, 0.0)
    else:
        second = jnp.sqrt(finite**2 + (WIDTH / scale) ** 2)
        slope = finite / second
    ones = jnp.ones_like(finite)
    return jnp.stack([finite, second], axis=-1), jnp.stack([ones, slope], axis=-1)
