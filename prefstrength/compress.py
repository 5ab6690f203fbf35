r"""Data turned once into small summaries that the likelihood of pairs needs.

With pairs and one attribute the data enter through one scalar for each situation, the
difference x. Two exact summaries follow, each with the same two methods as
:class:`~prefstrength.mixed.DirectLikelihood`:

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

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from prefstrength.kernel import log_probability
from prefstrength.mixed import JAX
from prefstrength.mixing import LogNormal, Mixing, PointMass
from prefstrength.quantiles import CellLaws, chebyshev_basis

__all__ = [
    "DEGREE",
    "Evaluator",
    "PairSketch",
    "PanelRows",
    "PanelTables",
    "Rows",
    "changing_beyond",
    "information_of",
    "normal_nodes",
    "trapezoid_rules",
]

#: Log-likelihood of rows at coefficients: (node,) -> (row, node).
Evaluator = Callable[[np.ndarray], np.ndarray]

#: Degree of the series of a chooser's log-likelihood, unless more is asked for.
DEGREE = 80

# How far nodes reach, in standard normal units. P(|z| > 7) = 3e-12, yet a chooser may lie beyond:
# hundreds of choices against the reward, under a LogNormal law with a small sigma.
_REACHES = (7.0, 14.0, 28.0)
# Rows of a panel table that are multiplied with one basis: few enough that the padding of cells
# with few choosers stays cheap, many enough that the basis is not copied too often.
_BLOCKS = (8, 32, 128)


# Where the asinh map of differences turns from linear to logarithmic, in units of the scale. Small,
# so that the bend of log p around 0 under a wide law is resolved: for 1e6 pairs, 256 nodes and
# sigma = 3 the error is 1e-6 nats (with 0.01 it would be 0.1, and 2 for heavy tails), for sigma
# from 0.05 to 1.5 below 1e-8.
_X0 = 1e-6


def normal_nodes(step: float, reach: float = _REACHES[0]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights of the trapezoid rule for a standard normal z."""
    half = int(np.ceil(reach / step - 1e-9))
    z = step * np.arange(-half, half + 1)
    return z, -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))


def log_sigmoid(u: np.ndarray) -> np.ndarray:
    """Log of the logistic function, NumPy."""
    return -np.logaddexp(0.0, -u)


# -- pairs without repeated choosers -----------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PairSketch:
    """Weights on nodes of the difference, for each cell."""

    x: jax.Array  # (node,)
    cell: jax.Array  # (node,)
    weight: jax.Array  # (node,)
    nodes: int = field(metadata={"static": True})
    how: str = field(metadata={"static": True})

    @classmethod
    def build(
        cls,
        x: np.ndarray,
        cell: np.ndarray,
        weight: np.ndarray,
        scale: float,
        nodes: int = 256,
        x0: float = _X0,
    ) -> "PairSketch":
        """Compress differences ``x`` (situation,) with cell codes and weights.

        A cell with no more than ``nodes`` distinct differences is kept as it is. Around 0, in
        ``x0`` of the scale, nodes are even.
        """
        parts: list[tuple[np.ndarray, int, np.ndarray]] = []
        compressed = False
        for c in np.unique(cell):
            mine = cell == c
            values, index = np.unique(x[mine], return_inverse=True)
            weights = np.bincount(index, weights=weight[mine])
            if len(values) > nodes:
                values, weights = _chebyshev_weights(values, weights, x0 * scale, nodes)
                compressed = True
            parts.append((values, int(c), weights))
        how = (
            f"pairs compressed to {nodes} Chebyshev nodes for each cell"
            if compressed
            else "distinct pairs, each evaluated by quadrature"
        )
        return cls(
            x=jnp.asarray(np.concatenate([p[0] for p in parts])),
            cell=jnp.asarray(np.concatenate([np.full(len(p[0]), p[1]) for p in parts])),
            weight=jnp.asarray(np.concatenate([p[2] for p in parts])),
            nodes=nodes,
            how=how,
        )

    @jax.jit
    def total(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of all data."""
        return self.weight @ log_probability(JAX, self.x, laws[0].mixing(self.cell))


def _chebyshev_weights(
    x: np.ndarray, weight: np.ndarray, x0: float, nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights W_j with sum_i w_i f(x_i) = sum_j W_j f(x_j) for smooth f."""
    t = np.arcsinh(x / x0)
    low, high = t.min(), t.max()
    t = (2 * t - low - high) / (high - low)
    points = chebyshev.chebpts1(nodes)
    moments = np.zeros(nodes)  # sum_i w_i T_k(t_i), in bounded memory
    for start in range(0, len(t), 65536):
        stop = start + 65536
        moments += weight[start:stop] @ chebyshev.chebvander(t[start:stop], nodes - 1)
    moments[1:] *= 2
    weights = chebyshev.chebvander(points, nodes - 1) @ moments / nodes
    return x0 * np.sinh((points * (high - low) + low + high) / 2), weights


# -- panels ------------------------------------------------------------------------------------


class Rows(Protocol):
    """Every chooser's log-likelihood in every cell as a function of the coefficient.

    :class:`PanelRows` where the differences are known, and
    :class:`~prefstrength.splines.SplineRows` where they are measured with error.
    """

    @property
    def chooser(self) -> np.ndarray: ...
    @property
    def cell(self) -> np.ndarray: ...
    @property
    def information(self) -> np.ndarray: ...
    @property
    def scale(self) -> float: ...
    @property
    def positive(self) -> bool: ...
    @property
    def size(self) -> int: ...
    def steps(self, family: type[Mixing], dispersion: float) -> tuple[np.ndarray, np.ndarray]: ...
    def evaluator(self, own: np.ndarray, precision: type = ...) -> Evaluator: ...
    def joined(self) -> "Rows": ...


def ordered_rows(
    chooser: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Order of the situations by chooser and cell, where rows begin, and the codes of each row."""
    cells = int(cell.max()) + 1
    key = chooser.astype(np.int64) * cells + cell
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    return order, starts, (keys // cells, keys % cells)


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
        low, high = _interval(self.scale, self.positive)
        inside = np.clip(beta, low, high)
        finite = np.clip(beta, -1e100, 1e100)
        if self.positive:
            t = 2 * (np.log(inside) - np.log(low)) / (np.log(high) - np.log(low)) - 1
            second = np.minimum(finite - low, 0.0)
        else:
            width = _WIDTH / self.scale
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
            if laws[0].family is PointMass:
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


def information_of(v: np.ndarray) -> np.ndarray:
    """Information of one choice on log strength, at the strength where it is largest."""
    best = np.zeros_like(v)
    for strength in (0.5, 1.0, 2.0):
        u = strength * v
        best = np.maximum(best, u**2 * np.exp(log_sigmoid(u) + log_sigmoid(-u)))
    return best


def _step(information: np.ndarray, sigma: float) -> np.ndarray:
    """Step of the trapezoid rule for each chooser: halves, with their means down to 1/4.

    For a Gaussian integrand of sd s the error is 2 exp(-2 pi^2 s^2/h^2); s = (1+J)^-1/2 with J
    the information, and h = 1.3 s gives 2e-5, of random sign. The poles of the logit lie
    pi/(2 sigma) off the real axis in z, which adds exp(-pi^2/(sigma h)).
    """
    wanted = np.minimum(1.05 / np.sqrt(1 + information), 0.7 / sigma)
    halvings = np.maximum(0.0, -np.log2(wanted))
    # Fine steps are halved at once: fewer choosers need them, and every class is compiled.
    return 2.0 ** -np.where(halvings > 2, np.ceil(halvings), np.ceil(2 * halvings) / 2)


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


# Log of the largest positive coefficient, in units of 1/scale. A chooser who always went with the
# reward has a log-likelihood that rises until the smallest difference is certain too; beyond, it
# is taken for constant (with 8 in the place of 11 and sigma = 3, up to 0.07 nats were lost).
_HIGHEST = 11.0
# Half of the width, in units of 1/scale, over which the asinh map resolves coefficients around 0.
_WIDTH = 0.25


def _interval(scale: float, positive: bool) -> tuple[float, float]:
    """Range of the coefficient that the series covers."""
    if not positive:
        return -400 / scale, 400 / scale
    return np.exp(-6.0) / scale, np.exp(_HIGHEST) / scale


def changing_beyond(
    x: np.ndarray, unit: np.ndarray, weight: np.ndarray, scale: float
) -> np.ndarray:
    """How much the likelihood of each unit changes beyond the largest coefficient, 0 to 1.

    Relative to its maximum. Large where a chooser always went with the reward, or against it once
    for a tiny difference.
    """
    end = np.exp(_HIGHEST) / scale
    log_likelihood = np.stack(
        [
            np.bincount(unit, weight * log_sigmoid(x * beta))
            for beta in (*np.exp(np.arange(-2.0, _HIGHEST, 2.0)) / scale, end, 100 * end)
        ]
    )
    relative = np.exp(log_likelihood - log_likelihood.max(axis=0))
    return np.abs(relative[-1] - relative[-2])


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
    low, high = _interval(scale, positive)
    width = _WIDTH / scale
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
    low, high = _interval(scale, positive)
    inside = jnp.clip(beta, low, high)
    if positive:
        half = (np.log(high) - np.log(low)) / 2
        t = (jnp.log(inside) - np.log(low)) / half - 1
        slope = 1 / (inside * half)
    else:
        width = _WIDTH / scale
        t = jnp.arcsinh(inside / width) / np.arcsinh(high / width)
        slope = 1 / (jnp.sqrt(inside**2 + width**2) * np.arcsinh(high / width))
    return t, jnp.where(inside == beta, slope, 0.0)


def _ends(beta: jax.Array, scale: float, positive: bool) -> tuple[jax.Array, jax.Array]:
    """The two functions split off, (…, 2), and their derivatives."""
    # Far outside, where nothing is left of the likelihood, only finiteness matters.
    finite = jnp.clip(beta, -1e100, 1e100)
    low, _ = _interval(scale, positive)
    if positive:
        second = jnp.minimum(finite - low, 0.0)
        slope = jnp.where(finite < low, 1.0, 0.0)
    else:
        second = jnp.sqrt(finite**2 + (_WIDTH / scale) ** 2)
        slope = finite / second
    ones = jnp.ones_like(finite)
    return jnp.stack([finite, second], axis=-1), jnp.stack([ones, slope], axis=-1)


def trapezoid_rules(
    rows: Rows, family: type[Mixing], dispersion: float
) -> tuple[np.ndarray, np.ndarray]:
    """Step and reach for each chooser, fine and wide enough for dispersions up to the given one."""
    if family is PointMass:
        return np.ones(len(rows.information)), np.zeros(len(rows.information))
    unit = 1.0 if rows.positive else 1.0 / rows.scale
    information = rows.information * (dispersion / unit) ** 2
    steps = _step(information, dispersion / unit if family is LogNormal else 1.0)
    reaches = _reaches(rows, dispersion)
    # Every class is compiled: do not split the few unusual choosers by step as well.
    return np.where(reaches > _REACHES[0], np.minimum(steps, 0.25), steps), reaches


def _reaches(rows: Rows, dispersion: float) -> np.ndarray:
    """How far the nodes of each chooser must reach, from a look at the integrand.

    It is looked at around the coefficient that suits the median chooser (not all choices
    together: most of them may be an unusual chooser's own), at the given dispersion and at a
    smaller one, under which an unusual chooser lies further out.
    """
    each, count = rows.joined(), len(rows.information)
    low, high = _interval(rows.scale, rows.positive)
    grid = np.geomspace(low, high, 401) if rows.positive else np.linspace(low / 50, high / 50, 401)
    some = each.evaluator(np.arange(0, count, 1 + count // 2000))
    location = float(np.median(grid[np.argmax(some(grid), axis=1)]))
    z = np.arange(-1.5 * _REACHES[-1], 1.5 * _REACHES[-1] + 0.25, 0.5)
    out = np.full(count, _REACHES[0])
    for sd in dispersion * np.array([1.0, 0.5]):
        # Beyond e^100 every choice is certain already, and exp would overflow.
        wide = np.exp(np.clip(sd * z, -100.0, 100.0)) if rows.positive else sd * z
        beta = location * wide if rows.positive else location + wide
        for start in range(0, count, 4096):
            part = np.arange(start, min(start + 4096, count))
            log_mass = each.evaluator(part)(beta) - z**2 / 2
            mass = np.exp(log_mass - log_mass.max(axis=1, keepdims=True))
            for reach, next_reach in itertools.pairwise(_REACHES):
                beyond = mass[:, np.abs(z) >= reach - 0.5].sum(axis=1) > 1e-8 * mass.sum(axis=1)
                out[part] = np.where(beyond, np.maximum(out[part], next_reach), out[part])
    return out
