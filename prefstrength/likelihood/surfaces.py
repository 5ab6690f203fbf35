r"""The log-likelihood of each cell as a smooth surface over location and dispersion.

Where every chooser stays in one cell of the groups (and where there are no choosers), the
log-likelihood is a sum of one function for each cell, and each is a function of two numbers:

.. math:: \log L = \sum_c f_c(\text{location}_c, \text{dispersion}_c)

However many situations and choosers a cell holds, :math:`f_c` is analytic, so that its values at
a few hundred Chebyshev nodes of a box around the posterior are enough to know it. In the
dispersion s the nodes lie in log(s² + a): a mixing distribution does not change with the sign of
its dispersion, and a chooser with information J adds about -log(1 + J s²)/2. Afterwards an
evaluation of the likelihood costs microseconds, whatever the data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from prefstrength.choice.chebyshev import chebyshev_basis
from prefstrength.likelihood.cells import CellLaws

__all__ = ["Box", "CellSurfaces"]

#: The coefficients are kept in a square of this side, so that compiled code suits every surface.
SIDE = 24
# Penalty of a point half a box beyond a side, in nats, and the farthest that any is.
_STEEPNESS, _FAR = 200.0, 1e6

#: Log-likelihood of every cell (node, cell) at locations and dispersions (node, cell).
ByCell = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass(frozen=True)
class Box:
    """Range of the location in each cell, and of the dispersion in all.

    Parameters
    ----------
    low, high : numpy.ndarray, shape (cell,)
        Range of the location.
    least, most : float
        Range of the dispersion; ``least`` may be 0.
    softness : float
        The a in log(s² + a), less than one over the information of a chooser.
    """

    low: np.ndarray
    high: np.ndarray
    least: float
    most: float
    softness: float

    def of(self, location: np.ndarray, dispersion: np.ndarray | None) -> "Box":
        """The smallest box that holds the given points (point, cell)."""
        spread = np.array([self.least, self.most]) if dispersion is None else dispersion
        low, high = location.min(axis=0), location.max(axis=0)
        width = 1e-9 * np.maximum(1.0, np.abs(low) + np.abs(high))  # of points all alike
        return replace(
            self,
            low=low - width,
            high=high + width,
            least=float(spread.min()),
            most=float(spread.max()) + 1e-9,
        )

    def holds(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Which of the points (point, cell) lie inside in every cell."""
        inside = ((location >= self.low) & (location <= self.high)).all(axis=1)
        if dispersion is not None:
            inside &= ((dispersion >= self.least) & (dispersion <= self.most)).all(axis=1)
        return inside


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CellSurfaces:
    """Chebyshev series of every cell's log-likelihood in location and log(dispersion² + a).

    Outside of its box a surface is continued by its tangent and a quadratic penalty: smooth, so
    that a sampler that comes there keeps its step size and turns back. Draws from there are not
    to be used, but say where a better box would be.
    """

    series: jax.Array  # (cell, SIDE, SIDE)
    low: jax.Array  # (cell,)
    high: jax.Array  # (cell,)
    along: jax.Array  # (3,) range of log(dispersion² + a), and a
    nodes: int  # not static: compiled code suits any number
    random: bool = field(metadata={"static": True})

    @classmethod
    def build(cls, by_cell: ByCell, box: Box, nodes: int, random: bool) -> "CellSurfaces":
        """Interpolate at ``nodes`` by ``nodes`` Chebyshev nodes of the box.

        Parameters
        ----------
        by_cell : callable
            ``by_cell(location, dispersion)``, both (node, cell), gives (node, cell).
        box : Box
        nodes : int
            At most 24.
        random : bool
            Whether the family has a dispersion.
        """
        points = chebyshev.chebpts1(nodes)
        across = nodes if random else 1
        middle, half = (box.high + box.low) / 2, (box.high - box.low) / 2
        location = middle + np.repeat(points, across)[:, None] * half
        a = box.softness
        ends = np.log(np.array([box.least, box.most]) ** 2 + a)
        dispersion = None
        if random:
            squares = np.exp(ends[0] + (points + 1) / 2 * (ends[1] - ends[0])) - a
            spreads = np.sqrt(np.maximum(squares, 1e-12 * a))
            dispersion = np.broadcast_to(np.tile(spreads, nodes)[:, None], location.shape)
        values = by_cell(location, dispersion)
        values = np.moveaxis(values.reshape(nodes, across, -1), -1, 0)
        transform = _transform(nodes)
        series = np.zeros((len(values), SIDE, SIDE))
        inner = values @ transform.T if random else values
        series[:, :nodes, :across] = np.einsum("km,cmd->ckd", transform, inner)
        return cls(
            series=jnp.asarray(series),
            low=jnp.asarray(box.low),
            high=jnp.asarray(box.high),
            along=jnp.asarray([*ends, a]),
            nodes=nodes,
            random=random,
        )

    def values(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood of all data at laws (law, cell) inside the box, shape (law,), in NumPy."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        basis = chebyshev.chebvander(2 * (location - low) / (high - low) - 1, SIDE - 1)
        series = np.asarray(self.series)
        if dispersion is None:
            return np.einsum("lck,ck->l", basis, series[:, :, 0])
        least, most, a = np.asarray(self.along)
        u = 2 * (np.log(dispersion**2 + a) - least) / (most - least) - 1
        other = chebyshev.chebvander(u, SIDE - 1)
        return np.einsum("lck,ckm,lcm->l", basis, series, other, optimize=True)

    def by_cell(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of each cell."""
        (law,) = laws
        half = (self.high - self.low) / 2
        basis, penalty = _continued((law.location - self.low) / half - 1)
        if not self.random:
            return jnp.einsum("ck,ck->c", basis, self.series[:, :, 0]) - penalty
        assert law.dispersion is not None
        least, most, a = self.along
        u = 2 * (jnp.log(law.dispersion**2 + a) - least) / (most - least) - 1
        other, more = _continued(u)
        return jnp.einsum("ck,ckm,cm->c", basis, self.series, other) - penalty - more

    def total(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of all data."""
        return jnp.sum(self.by_cell(laws))


def _continued(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Chebyshev polynomials at t, continued by their tangents beyond [-1, 1], and a penalty."""
    inside = jnp.clip(t, -1.0, 1.0)
    outside = jnp.clip(t - inside, -_FAR, _FAR)
    order = np.arange(SIDE)
    # T_n'(1) = n², and T_n is even or odd.
    slope = order**2 * jnp.where(t[..., None] < 0, (-1.0) ** (order + 1), 1.0)
    basis = chebyshev_basis(inside, SIDE - 1) + outside[..., None] * slope
    return basis, _STEEPNESS * outside**2


def _transform(nodes: int) -> np.ndarray:
    """Matrix from values at Chebyshev nodes to coefficients."""
    transform = chebyshev.chebvander(chebyshev.chebpts1(nodes), nodes - 1).T * 2 / nodes
    transform[0] /= 2
    return transform
