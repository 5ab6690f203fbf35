r"""Log-likelihoods as splines in the coefficient, for choices between imperfectly known rewards.

The probability of a choice given a measured difference
(:mod:`prefstrength.likelihood.true_differences`) levels off at a constant as the coefficient grows,
neither linear nor, in log β, smooth enough for one polynomial: where the measured difference says
that the choice was wrong by many standard deviations of the error, the log probability bends within
a narrow range. A quintic spline in asinh β keeps what happens there where it happens, out of the
way of the coefficients at which the likelihood is large.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.nodes import (
    Evaluator,
    information_of,
    normal_nodes,
    ordered_rows,
    trapezoid_rules,
)
from prefstrength.likelihood.true_differences import TrueDifferences

__all__ = ["SplineRows", "SplineTables"]

_DEGREE = 5
# Step of the spline in asinh(β/width) for a start, and the width in 1/scale.
_STEP, _WIDTH = 0.1, 0.25
# Largest coefficients covered, in 1/scale; beyond, the log-likelihood is constant. A positive
# coefficient may be as large as in prefstrength.likelihood.panels.
_HIGHEST_POSITIVE, _HIGHEST = float(np.exp(11.0)), 400.0

# Numbers in the largest temporary array.
_BLOCK = 20_000_000


def _points(scale: float, positive: bool, refine: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of the spline: in the mapped coefficient, and as coefficients."""
    high = float(np.arcsinh((_HIGHEST_POSITIVE if positive else _HIGHEST) / _WIDTH))
    low = 0.0 if positive else -high
    t = np.linspace(low, high, int(np.ceil((high - low) / _STEP)) * 2**refine + 1)
    return t, np.sinh(t) * _WIDTH / scale


@dataclass(frozen=True)
class SplineRows:
    """Every chooser's log-likelihood in every cell as a spline in the coefficient, in NumPy.

    Parameters
    ----------
    coefficients : numpy.ndarray, shape (coefficient, row)
        Of quintic B-splines.
    knots : numpy.ndarray
    chooser, cell : numpy.ndarray, shape (row,)
        Chooser code 0 … A-1 and cell code of each row; sorted by chooser.
    information : numpy.ndarray, shape (chooser,)
        Information of each chooser's choices on log strength where it is largest, about.
    scale : float
        Root mean square of the true differences.
    positive : bool
        Whether the coefficient is positive.
    """

    coefficients: np.ndarray
    knots: np.ndarray
    chooser: np.ndarray
    cell: np.ndarray
    information: np.ndarray
    scale: float
    positive: bool

    @classmethod
    def of(
        cls,
        truth: TrueDifferences,
        difference: np.ndarray,
        chooser: np.ndarray,
        cell: np.ndarray,
        weight: np.ndarray,
        scale: float,
        positive: bool,
        refine: int = 0,
    ) -> "SplineRows":
        """Tabulate observed differences (situation,) with chooser codes 0 … A-1 and cells."""
        order, starts, of_row = ordered_rows(chooser, cell)
        t, beta = _points(scale, positive, refine)
        values = np.empty((len(t), len(starts)))
        size = max(1, _BLOCK // len(order))
        for start in range(0, len(t), size):
            some = slice(start, start + size)
            at_each = truth.at_every(difference[order], cell[order], beta[some])
            for row, log_probability in zip(values[some], at_each, strict=True):
                row[:] = np.add.reduceat(weight[order] * log_probability, starts)
        spline = make_interp_spline(t, values, k=_DEGREE)
        log_share, mean, sd = truth.given(difference, cell)
        size = np.sqrt((np.exp(log_share) * (mean**2 + sd**2)).sum(axis=0))
        return cls(
            coefficients=np.ascontiguousarray(spline.c),
            knots=spline.t,
            chooser=of_row[0],
            cell=of_row[1],
            information=np.bincount(chooser, weights=weight * information_of(size / scale)),
            scale=float(scale),
            positive=positive,
        )

    @property
    def size(self) -> int:
        """Numbers kept for each row."""
        return len(self.coefficients)

    def steps(self, family: type[Mixing], dispersion: float) -> tuple[np.ndarray, np.ndarray]:
        """Step and reach of the trapezoid rule for each chooser."""
        return trapezoid_rules(self, family, dispersion)

    def evaluator(self, own: np.ndarray, precision: type = np.float32) -> Evaluator:
        """Log-likelihood of some rows as a function of coefficients, in double precision."""
        coefficients = np.ascontiguousarray(self.coefficients[:, own])

        def evaluate(beta: np.ndarray) -> np.ndarray:
            basis = BSpline.design_matrix(self._mapped(beta), self.knots, _DEGREE)
            return np.ascontiguousarray((basis @ coefficients).T)

        return evaluate

    def _mapped(self, beta: np.ndarray) -> np.ndarray:
        t = np.arcsinh(np.clip(beta, -1e100, 1e100) * self.scale / _WIDTH)
        return np.clip(t, self.knots[0], self.knots[-1])

    def joined(self) -> "SplineRows":
        """One row for each chooser, as if all cells were one."""
        joined = np.zeros((len(self.information), self.size))
        np.add.at(joined, self.chooser, self.coefficients.T)
        choosers = np.arange(len(joined))
        coefficients = np.ascontiguousarray(joined.T)
        return replace(
            self, coefficients=coefficients, chooser=choosers, cell=np.zeros_like(choosers)
        )

    @cached_property
    def pieces(self) -> np.ndarray:
        """Polynomials between the nodes of an even grid, (row, piece, degree + 1)."""
        own = BSpline(self.knots, self.coefficients, _DEGREE)
        # Not-a-knot ends: the outermost pieces span several steps; all are to be of one length.
        inner = np.unique(self.knots)
        step = np.diff(inner).min()
        edges = np.linspace(inner[0], inner[-1], round((inner[-1] - inner[0]) / step) + 1)
        at = np.stack([own(edges[:-1], nu) for nu in range(_DEGREE + 1)])
        factor = np.array([step**nu / np.prod(np.arange(1, nu + 1)) for nu in range(_DEGREE + 1)])
        return np.ascontiguousarray(np.moveaxis(at * factor[:, None, None], 0, -1).swapaxes(0, 1))

    def tables(self, family: type[Mixing], dispersion: float) -> "SplineTables":
        """The same in JAX."""
        return SplineTables.of(self, family, dispersion)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _SplineClass:
    """Choosers that are integrated on the same nodes."""

    pieces: jax.Array  # (row, piece, degree + 1)
    cell: jax.Array  # (row,)
    unit: jax.Array  # (row,) chooser of each row within the class
    choosers: jax.Array  # (chooser,) codes of the class's choosers
    step: float = field(metadata={"static": True})
    reach: float = field(metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SplineTables:
    """Splines of every chooser's log-likelihood, in JAX."""

    classes: tuple[_SplineClass, ...]
    factor: jax.Array  # (chooser,) by which a chooser's log-likelihood counts
    width: float = field(metadata={"static": True})
    ends: tuple[float, float] = field(metadata={"static": True})
    how: str = field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        rows: SplineRows,
        family: type[Mixing],
        dispersion: float,
        factor: np.ndarray | None = None,
        finer: int = 1,
    ) -> "SplineTables":
        """Tables for a family, with nodes fine enough for dispersions up to the given one."""
        steps, reaches = rows.steps(family, dispersion)
        steps = steps / finer
        classes = []
        for step, reach in sorted(set(zip(steps, reaches, strict=True)), reverse=True):
            choosers = np.flatnonzero((steps == step) & (reaches == reach))
            own = np.flatnonzero(np.isin(rows.chooser, choosers))
            classes.append(
                _SplineClass(
                    pieces=jnp.asarray(rows.pieces[own]),
                    cell=jnp.asarray(rows.cell[own]),
                    unit=jnp.asarray(np.searchsorted(choosers, rows.chooser[own])),
                    choosers=jnp.asarray(choosers),
                    step=float(step),
                    reach=float(reach),
                )
            )
        counts = np.ones(len(rows.information)) if factor is None else factor
        return cls(
            classes=tuple(classes),
            factor=jnp.asarray(counts),
            width=_WIDTH / rows.scale,
            ends=(float(rows.knots[0]), float(rows.knots[-1])),
            how=f"splines of {len(rows.chooser)} chooser-by-cell rows",
        )

    @jax.jit
    def by_unit(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of each chooser, in the order of the chooser codes."""
        parts = []
        low, high = self.ends
        for part in self.classes:
            if not laws[0].family.varies:
                z, log_weight = np.zeros(1), np.zeros(1)
            else:
                z, log_weight = normal_nodes(part.step, part.reach)
            t = jnp.arcsinh(jnp.clip(laws[0].at(z), -1e100, 1e100) / self.width)
            pieces = part.pieces.shape[1]
            place = (jnp.clip(t, low, high) - low) * (pieces / (high - low))
            which = jnp.clip(jnp.floor(place).astype(int), 0, pieces - 1)
            beyond = (place - which)[part.cell]  # (row, node)
            each = jnp.take_along_axis(part.pieces, which[part.cell][..., None], axis=1)
            values = each[..., -1]
            for power in range(_DEGREE - 1, -1, -1):
                values = values * beyond + each[..., power]
            values = jax.ops.segment_sum(values, part.unit, num_segments=len(part.choosers))
            parts.append(jax.scipy.special.logsumexp(values + log_weight, axis=-1))
        order = jnp.argsort(jnp.concatenate([part.choosers for part in self.classes]))
        return jnp.concatenate(parts)[order]

    def total(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of all data."""
        return self.factor @ self.by_unit(laws)
