r"""Tables: the log-likelihood of every chooser as a function of strength, on a grid.

Whatever was answered, the log-likelihood of a chooser is one function of strength and of a few
numbers that all choosers share. Here it stands on the nodes of a :class:`~.grid.Grid`, made from
:class:`~.counts.Counts` in one product, or situation by situation where a situation is more than
one difference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefstrength.likelihood.grid import BASE, Grid
from prefstrength.likelihood.lattice import interpolation

__all__ = ["Part", "Source", "Tables", "informations", "steps_of"]

#: ``source(strength, shared, rows)``: log-likelihood of some rows at strengths, (row, strength).
Source = Callable[[np.ndarray, Mapping[str, Any], np.ndarray | None], np.ndarray]

# The widest step of a rule over the grid, in steps of it; less where strengths have either sign, as
# mixing distributions have sides there that are narrower than their middle.
_WIDEST, _WIDEST_SIGNED = 2.0, 0.5
# Information that a mixing distribution adds to a chooser's own, of which a rule must know.
_SPARE = 2.0
_FINEST = 2.0**-12
_POINTS = 12


@dataclass(frozen=True)
class Part:
    """Rows that are summed over strength on nodes of the same distance.

    Parameters
    ----------
    rows : numpy.ndarray of int, shape (row,)
    grid : Grid
    likelihood : numpy.ndarray, shape (row, node)
        Divided by its largest.
    top : numpy.ndarray, shape (row,)
        Log of that.
    log : numpy.ndarray, shape (row, node of the grid on which rows may be interpolated)
        The base grid's or, where that is too coarse for these rows, their own.
    """

    rows: np.ndarray
    grid: Grid
    likelihood: np.ndarray
    top: np.ndarray
    log: np.ndarray


@dataclass(frozen=True)
class Tables:
    """Log-likelihoods of rows on a grid of strength.

    Parameters
    ----------
    grid : Grid
    log : numpy.ndarray, shape (row, node)
        On the base grid.
    at_zero : numpy.ndarray, shape (row,)
        At strength 0.
    parts : tuple of Part
        All rows, by how fine the nodes must be to sum over strength.
    """

    grid: Grid
    log: np.ndarray
    at_zero: np.ndarray
    parts: tuple[Part, ...]

    @classmethod
    def of(
        cls,
        source: Source,
        grid: Grid,
        shared: Mapping[str, Any],
        steps: np.ndarray,
        both: np.ndarray | None = None,
    ) -> "Tables":
        """Fill the tables.

        Parameters
        ----------
        source : callable
        grid : Grid
        shared : mapping
            Values of the numbers that all choosers share.
        steps : numpy.ndarray of int, shape (row,)
            How fine each row needs its nodes, by :func:`steps_of`.
        both : numpy.ndarray, shape (row, 1 + node), optional
            What the source gives at strength 0 and on the grid, where it is known.
        """
        if both is None:
            both = source(np.r_[0.0, grid.strength], shared, None)
        at_zero, log = both[:, 0], both[:, 1:]
        parts = []
        for step in np.unique(steps):
            rows = np.flatnonzero(steps == step)
            if step >= 1:
                between = log if len(rows) == len(log) else log[rows]
                own, values = grid.finer(1 / step), between[:, :: int(step)]
            else:
                own = grid.finer(1 / step)
                if grid.positive:
                    # As smooth in log strength as one choice is, however many are in a row.
                    place = np.arange(len(own.t)) * step
                    between = values = log[rows] @ interpolation(place, log.shape[1], _POINTS)
                else:
                    between = values = source(own.strength, shared, rows)
            top = values.max(axis=1)
            parts.append(Part(rows, own, np.exp(values - top[:, None]), top, between))
        return cls(grid, log, at_zero, tuple(parts))


def informations(log: np.ndarray) -> np.ndarray:
    """Largest information on t of each row, at the strengths that it does not rule out."""
    curvature = np.zeros(log.shape)
    curvature[:, 1:-1] = -(log[:, 2:] - 2 * log[:, 1:-1] + log[:, :-2]) / BASE**2
    possible = log > log.max(axis=1, keepdims=True) - 12.0
    return np.maximum(np.where(possible, curvature, 0.0).max(axis=1), 0.0)


def steps_of(log: np.ndarray, positive: bool) -> np.ndarray:
    """Distance of the nodes that each row needs, in steps of the base grid; a power of two.

    The trapezoid rule is exact to 1e-9 where its step is the sd of what is summed.
    """
    wanted = 0.9 / np.sqrt(informations(log) + _SPARE) / BASE
    widest = _WIDEST if positive else _WIDEST_SIGNED
    return np.clip(2.0 ** np.floor(np.log2(wanted)), _FINEST / BASE, widest)
