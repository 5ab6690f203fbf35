r"""Counts: how often every answer was given at every size of the difference, by each chooser.

A response to two alternatives hangs on their utility difference, the strength times the difference
x of the attribute. As a function of log \|x\| it is smooth, so that an observation can be shared
out among the ten nearest nodes of a lattice of step 1/8 in log \|x\|: the log-likelihood of a
chooser is then a sum of counts times log probabilities at the nodes, whatever the strength, the
mixing distribution, and the numbers that all choosers share (cut points, lapses, the bend of the
utility). Counts of parts of the data add up.

An observation is turned around where x is negative, so that the first alternative is never the
lower one; its answer and who stood first turn around with it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from prefstrength.likelihood.lattice import stencil

__all__ = ["Counts", "PairObservations"]

#: Nodes in log |x| for each unit of it, and nodes that share an observation.
_PER_UNIT, _POINTS = 8, 10
#: Node of the difference 0.
_ZERO = -(1 << 40)
# Observations whose stencils are computed together.
_BLOCK = 1_000_000


@dataclass(frozen=True)
class PairObservations:
    """Answers to pairs, as plain arrays.

    Parameters
    ----------
    difference : numpy.ndarray, shape (observation,)
        Attribute of the first alternative minus that of the second.
    answer : numpy.ndarray of int, shape (observation,)
        Code of the answer; 0 is the one most in favour of the first.
    answers : int
        Number of answers there are.
    unit : numpy.ndarray of int, shape (observation,)
        Chooser; the observation itself where choosers are not known.
    cell : numpy.ndarray of int, shape (observation,)
        Cell of the groups.
    weight : numpy.ndarray, shape (observation,)
    shown_first : numpy.ndarray of int, shape (observation,)
        1 where the first alternative was shown first, -1 where the second, 0 where not known.
    panel : bool
        Whether units are choosers, with several observations each.
    """

    difference: np.ndarray
    answer: np.ndarray
    answers: int
    unit: np.ndarray
    cell: np.ndarray
    weight: np.ndarray
    shown_first: np.ndarray
    panel: bool


@dataclass(frozen=True)
class Counts:
    """Counts of answers on the lattice, one row for each chooser and cell.

    Parameters
    ----------
    node : numpy.ndarray of int, shape (node,)
        Eighths of log size; rising.
    kind : numpy.ndarray of int, shape (kind, 3)
        What is counted apart: answer, who stood first, and the cell where it matters.
    matrix : scipy.sparse.csr_array, shape (row, kind * node)
    unit, cell : numpy.ndarray of int, shape (row,)
        Chooser and cell of every row. Where choosers are not known a row is a node, and ``unit``
        counts rows.
    times : numpy.ndarray, shape (row,)
        How often a row counts.
    panel : bool
    """

    node: np.ndarray
    kind: np.ndarray
    matrix: sparse.csr_array
    unit: np.ndarray
    cell: np.ndarray
    times: np.ndarray
    panel: bool

    @classmethod
    def of(cls, observations: PairObservations, by_cell: bool = False) -> Self:
        """Count observations; ``by_cell`` keeps answers of different cells apart as kinds."""
        down = observations.difference < 0
        size = np.abs(observations.difference)
        answer = np.where(down, observations.answers - 1 - observations.answer, observations.answer)
        shown_first = np.where(down, -observations.shown_first, observations.shown_first)
        own = observations.cell if by_cell else np.zeros_like(observations.cell)
        kind, code = _kinds(np.stack([answer, shown_first + 1, own], axis=1))
        kind[:, 1] -= 1
        node = _nodes(size)
        place = np.searchsorted(node, _first(size))
        place = np.where(size == 0, 0, place)
        if observations.panel:
            cells = int(observations.cell.max(initial=0)) + 1
            keys, row = np.unique(
                observations.unit * cells + observations.cell, return_inverse=True
            )
            unit, cell, times = keys // cells, keys % cells, np.ones(len(keys))
            matrix = sparse.csr_array((len(keys), len(kind) * len(node)))
            for part, weight in _blocks(size, observations.weight):
                column = code[part, None] * len(node) + place[part, None] + np.arange(_POINTS)
                index = (
                    np.repeat(row[part], _POINTS),
                    np.minimum(column.ravel(), matrix.shape[1] - 1),
                )
                matrix = matrix + sparse.csr_array((weight.ravel(), index), shape=matrix.shape)
            return cls(node, kind, matrix, unit, cell, times, True)
        key = observations.cell * len(kind) + code
        total = np.zeros((int(key.max(initial=0)) + 1) * len(node) + _POINTS)
        for part, weight in _blocks(size, observations.weight):
            start = key[part] * len(node) + place[part]
            for j in range(_POINTS):
                total += np.bincount(start + j, weight[:, j], len(total))
        total = total[:-_POINTS]
        used = np.flatnonzero(total)
        column = used % (len(kind) * len(node))
        index = np.arange(len(used)), column
        shape = len(used), len(kind) * len(node)
        return cls(
            node=node,
            kind=kind,
            matrix=sparse.csr_array((np.ones(len(used)), index), shape=shape),
            unit=np.arange(len(used)),
            cell=used // shape[1],
            times=total[used],
            panel=False,
        )

    @property
    def size(self) -> np.ndarray:
        """Size of the difference at every node."""
        return np.where(self.node == _ZERO, 0.0, np.exp(self.node / _PER_UNIT))


def _kinds(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of small numbers, and which of them each row is."""
    sizes = columns.max(axis=0, initial=0) + 1
    code = np.ravel_multi_index(tuple(columns.T), tuple(sizes))
    used = np.flatnonzero(np.bincount(code, minlength=int(np.prod(sizes))))
    place = np.zeros(int(np.prod(sizes)), np.int64)
    place[used] = np.arange(len(used))
    return np.stack(np.unravel_index(used, tuple(sizes)), axis=1), place[code]


def _first(size: np.ndarray) -> np.ndarray:
    """First node of the stencil of each size; that of 0 where it is 0."""
    with np.errstate(divide="ignore"):
        position = np.where(size > 0, np.log(size) * _PER_UNIT, 0.0)
    return np.floor(position).astype(np.int64) - (_POINTS // 2 - 1)


def _nodes(size: np.ndarray) -> np.ndarray:
    """All nodes of all stencils, and that of 0 if there is a difference of 0."""
    first = np.unique(_first(size[size > 0]))
    node = np.unique(first[:, None] + np.arange(_POINTS))
    return np.r_[_ZERO, node] if (size == 0).any() else node


def _blocks(size: np.ndarray, weight: np.ndarray):  # type: ignore[no-untyped-def]
    """Slices of the observations, with the weights of their stencils."""
    for start in range(0, len(size), _BLOCK):
        part = slice(start, start + _BLOCK)
        here = size[part]
        with np.errstate(divide="ignore"):
            position = np.where(here > 0, np.log(here) * _PER_UNIT, 0.0)
        _, shares = stencil(position, _POINTS)
        shares[here == 0] = np.eye(_POINTS)[0]
        yield part, shares * weight[part, None]
