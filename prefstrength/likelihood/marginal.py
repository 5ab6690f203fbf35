r"""Marginal likelihoods: tables of choosers, averaged over strength, for many mixing distributions.

Two rules, whichever resolves a mixing distribution:

- *wide*: it is a vector of weights on the grid, density times step, and many of them are one
  matrix product. Below the grid a likelihood is linear in strength: the mass there is shared out
  between strength 0 and the first node; above it a likelihood is constant, and the mass goes to
  the last.
- *narrow*: log-likelihoods are interpolated at the mixing distribution's own nodes. (Not the
  likelihoods: those of an unusual chooser fall by orders of magnitude between two nodes.) Where
  much of a row's mass lies at the outermost nodes, those reach farther.
"""

import numpy as np
from scipy import special

from prefstrength.likelihood.grid import Grid
from prefstrength.likelihood.lattice import interpolation
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.tables import Part, Tables

__all__ = ["log_marginals", "weights"]

# Steps of the grid that a mixing distribution's spread must have to be summed over the grid.
NARROW = 1.15
# Nodes of a narrow one, in its own sds; and reaches tried for unusual choosers.
_STEP, _REACHES = 0.75, (7.5, 15.0, 30.0, 60.0)
# Share of a row's mass at the outermost nodes above which they must reach farther.
_AT_ENDS = 1e-9
# What is below the grid: nodes there, in units of t.
_BELOW = 20.0
# Nats by which strength 0 may be better than all of the grid before logarithms are summed.
_FAR = 600.0
_POINTS = 12
# Numbers in the largest temporary array.
_BLOCK = 4_000_000


def weights(grid: Grid, laws: Laws) -> tuple[np.ndarray, np.ndarray]:
    """Weights of wide mixing distributions on strength 0 and on the grid's nodes.

    Parameters
    ----------
    grid : Grid
    laws : Laws

    Returns
    -------
    at_zero : numpy.ndarray, shape (law,)
    on_grid : numpy.ndarray, shape (law, node)
    """
    many = 1 + int(_BELOW / grid.step) if grid.positive else 1
    below = grid.t[0] - grid.step * np.arange(many, 0, -1)
    t = np.r_[below, grid.t, grid.t[-1] + grid.step]
    density = laws.density(grid.strength_at(t)) * grid.slope_at(t) * grid.step
    on_grid = density[:, many:-1].copy()
    # What the nodes beyond both ends would hold: the mass there and the rule's first correction.
    low, high = t[0] + grid.step / 2, t[-1] - grid.step / 2
    on_grid[:, -1] += 1 - laws.cdf(grid.strength_at(np.array([high])))[:, 0]
    on_grid[:, -1] += (density[:, -1] - density[:, -2]) / 24
    rest = laws.cdf(grid.strength_at(np.array([low])))[:, 0]
    rest = rest + (density[:, 0] - density[:, 1]) / 24
    if not grid.positive:
        on_grid[:, 0] += rest
        return np.zeros(len(density)), on_grid
    nearer = np.exp(below[1:] - grid.t[0])  # a likelihood is linear in strength here
    tail = density[:, 1:many]
    on_grid[:, 0] += tail @ nearer
    at_zero = tail @ (1 - nearer) + rest
    return at_zero, on_grid


def log_marginals(tables: Tables, blend: Blend, rows: np.ndarray | None = None) -> np.ndarray:
    """Log marginal likelihood of rows under mixing distributions.

    Parameters
    ----------
    tables : Tables
    blend : Blend
    rows : numpy.ndarray of int, shape (row,), optional
        Which rows, rising; all by default.

    Returns
    -------
    numpy.ndarray, shape (law, row)
    """
    found = []
    for part in blend.parts:
        if part is None:
            alone = tables.at_zero if rows is None else tables.at_zero[rows]
            found.append(np.broadcast_to(alone, (blend.size, len(alone))))
        else:
            found.append(_simple(tables, part, rows))
    if len(found) == 1:
        return found[0]
    return np.asarray(special.logsumexp(np.array(found) + blend.log_share[:, :, None], axis=0))


def _simple(tables: Tables, laws: Laws, rows: np.ndarray | None) -> np.ndarray:
    count = len(tables.log) if rows is None else len(rows)
    place = np.full(len(tables.log), -1)
    place[slice(None) if rows is None else rows] = np.arange(count)
    out = np.empty((laws.size, count))
    for part in tables.parts:
        chosen = np.flatnonzero(place[part.rows] >= 0)
        if not len(chosen):
            continue
        some = slice(None) if len(chosen) == len(part.rows) else chosen
        own = part.rows[some]
        wide = laws.narrowest_in(part.grid) >= NARROW * part.grid.step
        if wide.any():
            out[np.ix_(wide, place[own])] = _wide(tables, part, some, laws.take(wide))
        if not wide.all():
            finer = part.grid if part.grid.step < tables.grid.step else tables.grid
            out[np.ix_(~wide, place[own])] = _narrow(finer, part.log[some], laws.take(~wide))
    return out


def _wide(tables: Tables, part: Part, chosen: np.ndarray | slice, laws: Laws) -> np.ndarray:
    at_zero, on_grid = weights(part.grid, laws)
    rows, top = part.rows[chosen], part.top[chosen]
    total = on_grid @ part.likelihood[chosen].T
    better = tables.at_zero[rows] - top
    total += at_zero[:, None] * np.exp(np.minimum(better, _FAR))
    # Unusual choosers, of whom nothing is left on the grid.
    far = (total < 1e-200) | (better > _FAR)
    with np.errstate(divide="ignore"):
        out = np.log(total) + top
        if far.any():
            log_weight = np.log(np.c_[at_zero, on_grid])
            log = np.c_[tables.at_zero[rows], np.log(part.likelihood[chosen]) + top[:, None]]
            for law, row in zip(*np.nonzero(far), strict=True):
                out[law, row] = special.logsumexp(log_weight[law] + log[row])
    return out


def _narrow(grid: Grid, log: np.ndarray, laws: Laws, reach: int = 0) -> np.ndarray:
    z = np.arange(-_REACHES[reach], _REACHES[reach] + _STEP / 2, _STEP)
    log_weight = -(z**2) / 2 + np.log(_STEP / np.sqrt(2 * np.pi))
    position = grid.position(laws.at(z))  # (law, z)
    out = np.empty((len(position), len(log)))
    short = np.zeros(len(log), bool)
    block = max(1, _BLOCK // (len(log) * len(z)))
    for start in range(0, len(position), block):
        part = position[start : start + block]
        there = log @ interpolation(part.ravel(), log.shape[1], _POINTS)
        there = there.reshape(len(log), len(part), len(z)) + log_weight
        top = there.max(axis=2)
        total = np.exp(there - top[:, :, None])
        ends = total[:, :, 0] + total[:, :, -1]
        total = total.sum(axis=2)
        out[start : start + block] = (np.log(total) + top).T
        short |= (ends > _AT_ENDS * total).any(axis=1)
    if short.any() and reach + 1 < len(_REACHES):
        out[:, short] = _narrow(grid, log[short], laws, reach + 1)
    return out
