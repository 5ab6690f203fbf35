r"""Polynomial interpolation on a uniform lattice: stencils that put values between its nodes.

The log-likelihood of a choice is a smooth function of log \|x\| and of log strength, whose nearest
singularities lie :math:`i\pi/2` off the real axis. On nodes of step 1/8 ten of them around a point
give 1e-10 of it.
"""

from functools import cache

import numpy as np
from scipy import sparse

__all__ = ["interpolation", "stencil"]


@cache
def _barycentric(points: int) -> np.ndarray:
    """Weights of Lagrange interpolation at equal distances: signed binomial coefficients."""
    weights = np.ones(points)
    for k in range(1, points):
        weights[k] = -weights[k - 1] * (points - k) / k
    return weights


def stencil(
    position: np.ndarray, points: int, nodes: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """First node and weights of the nodes around each position.

    Parameters
    ----------
    position : numpy.ndarray, shape (n,)
        In steps of the lattice.
    points : int
        Number of nodes of a stencil, even.
    nodes : int, optional
        Nodes of the lattice, where it has ends: positions beyond are moved to an end.

    Returns
    -------
    first : numpy.ndarray of int, shape (n,)
    weight : numpy.ndarray, shape (n, points)
        Of the nodes ``first``, ``first + 1``, and so on; they sum to 1.

    Examples
    --------
    >>> first, weight = stencil(np.array([5.0, 5.5]), 4)
    >>> first.tolist(), weight.round(4).tolist()
    ([4, 4], [[0.0, 1.0, 0.0, 0.0], [-0.0625, 0.5625, 0.5625, -0.0625]])
    """
    first = np.floor(position).astype(np.int64) - (points // 2 - 1)
    if nodes is not None:
        position = np.clip(position, 0.0, nodes - 1.0)
        first = np.clip(first, 0, nodes - points)
    away = (position - first)[:, None] - np.arange(points)
    at_node = away == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = _barycentric(points) / away
        weight /= weight.sum(axis=1, keepdims=True)
    hit = at_node.any(axis=1)
    weight[hit] = at_node[hit]
    return first, weight


def interpolation(position: np.ndarray, nodes: int, points: int) -> sparse.csr_array:
    """Matrix (node, position) by which values at nodes, from the left, become those at positions.

    Examples
    --------
    >>> nodes = np.arange(10.0) ** 3
    >>> nodes @ interpolation(np.array([2.5, 4.0]), 10, 4)
    array([15.625, 64.   ])
    """
    first, weight = stencil(position, points, nodes)
    row = (first[:, None] + np.arange(points)).ravel()
    column = np.repeat(np.arange(len(position)), points)
    return sparse.csr_array((weight.ravel(), (row, column)), shape=(nodes, len(position)))
