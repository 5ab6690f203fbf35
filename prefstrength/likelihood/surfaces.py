r"""The log-likelihood of each cell as a smooth surface over location and dispersion.

Where every chooser stays in one cell of the groups, the log-likelihood is a sum of one function for
each cell, and each is a function of two numbers:

.. math:: \log L = \sum_c f_c(\text{location}_c, \text{dispersion}_c)

However many situations and choosers a cell holds, :math:`f_c` is analytic, so that its values at
a few hundred Chebyshev nodes, over the range where the cell's likelihood lies, are enough to know
it. In the dispersion s the nodes lie in log(s² + a): a mixing distribution does not change with the
sign of its dispersion, and a chooser with information J adds about -log(1 + J s²)/2. Afterwards an
evaluation of the likelihood costs microseconds, whatever the data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from prefstrength.choice.chebyshev import chebyshev_basis
from prefstrength.likelihood.cells import CellLaws

__all__ = ["SIDE", "CellSurfaces"]

#: The coefficients are kept in a square of this side, so that compiled code suits every surface.
SIDE = 24
# Penalty of a point half a range beyond a side, in nats, and the farthest that any is.
_STEEPNESS, _FAR = 200.0, 1e6

#: Log-likelihood of every cell (node, cell) at locations and dispersions (node, cell).
ByCell = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CellSurfaces:
    """Chebyshev series of every cell's log-likelihood in location and log(dispersion² + a).

    Outside of its range a surface is continued by its tangent and a quadratic penalty: smooth, so
    that a sampler that comes there keeps its step size and turns back. Draws from there are not
    to be used.
    """

    series: jax.Array  # (cell, SIDE, SIDE)
    low: jax.Array  # (cell, 2) least location and least log(dispersion² + a)
    high: jax.Array  # (cell, 2)
    softness: jax.Array  # the a
    nodes: int  # not static: compiled code suits any number
    random: bool = field(metadata={"static": True})

    @classmethod
    def build(
        cls,
        by_cell: ByCell,
        location: np.ndarray,
        dispersion: np.ndarray | None,
        softness: float,
        nodes: int,
    ) -> "CellSurfaces":
        """Interpolate at ``nodes`` by ``nodes`` Chebyshev nodes of every cell's range.

        Parameters
        ----------
        by_cell : callable
            ``by_cell(location, dispersion)``, both (node, cell), gives (node, cell).
        location, dispersion : numpy.ndarray, shape (cell, 2)
            Ranges; ``None`` where the family has no dispersion.
        softness : float
            The a in log(s² + a), less than one over the information of a chooser.
        nodes : int
            At most 24.
        """
        points = chebyshev.chebpts1(nodes)
        random = dispersion is not None
        across = nodes if random else 1
        along = location if dispersion is None else np.log(dispersion**2 + softness)
        low, high = np.stack([location[:, 0], along[:, 0]], axis=1), np.stack(
            [location[:, 1], along[:, 1]], axis=1
        )  # fmt: skip
        middle, half = (high + low) / 2, (high - low) / 2
        at = middle[:, 0] + np.repeat(points, across)[:, None] * half[:, 0]
        spread = None
        if random:
            squares = np.exp(middle[:, 1] + np.tile(points, nodes)[:, None] * half[:, 1]) - softness
            spread = np.sqrt(np.maximum(squares, 1e-12 * softness))
        values = np.moveaxis(by_cell(at, spread).reshape(nodes, across, -1), -1, 0)
        transform = chebyshev.chebvander(points, nodes - 1).T * 2 / nodes
        transform[0] /= 2
        series = np.zeros((len(values), SIDE, SIDE))
        inner = values @ transform.T if random else values
        series[:, :nodes, :across] = np.einsum("km,cmd->ckd", transform, inner)
        return cls(
            jnp.asarray(series), jnp.asarray(low), jnp.asarray(high), jnp.asarray(softness),
            nodes, random,
        )  # fmt: skip

    @property
    def how(self) -> str:
        """The likelihood in words."""
        return f"surfaces of {len(self.low)} cells, {self.nodes} nodes in each direction"

    def inside(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Which points (point, cell) lie within the range of their cell."""
        places = self._places(np, location, dispersion)
        return np.all([np.abs(place) <= 1 for place in places], axis=0)

    def values(self, location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        """Log-likelihood of every cell within its range (point, cell), in NumPy."""
        series = np.asarray(self.series)
        bases = [chebyshev.chebvander(t, SIDE - 1) for t in self._places(np, location, dispersion)]
        if dispersion is None:
            return np.einsum("lck,ck->lc", bases[0], series[:, :, 0])
        return np.einsum("lck,ckm,lcm->lc", bases[0], series, bases[1], optimize=True)

    def by_cell(self, law: CellLaws) -> jax.Array:
        """Log-likelihood of each cell."""
        places = self._places(jnp, law.location, law.dispersion)
        (basis, penalty), *more = [_continued(t) for t in places]
        if not more:
            return jnp.einsum("ck,ck->c", basis, self.series[:, :, 0]) - penalty
        ((other, further),) = more
        return jnp.einsum("ck,ckm,cm->c", basis, self.series, other) - penalty - further

    def total(self, level: Any) -> jax.Array:
        """Log-likelihood of all data under one draw of the population level."""
        (law,) = level.laws
        return jnp.sum(self.by_cell(law))

    def _places(self, xp: Any, location: Any, dispersion: Any) -> list[Any]:
        """Coordinates of points (…, cell) in the range of their cell, [-1, 1] inside."""
        low, high = xp.asarray(self.low), xp.asarray(self.high)
        found = [location]
        if dispersion is not None:
            found.append(xp.log(dispersion**2 + xp.asarray(self.softness)))
        return [
            2 * (each - low[:, i]) / (high[:, i] - low[:, i]) - 1 for i, each in enumerate(found)
        ]


def _continued(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Chebyshev polynomials at t, continued by their tangents beyond [-1, 1], and a penalty."""
    inside = jnp.clip(t, -1.0, 1.0)
    outside = jnp.clip(t - inside, -_FAR, _FAR)
    order = np.arange(SIDE)
    # T_n'(1) = n², and T_n is even or odd.
    slope = order**2 * jnp.where(t[..., None] < 0, (-1.0) ** (order + 1), 1.0)
    basis = chebyshev_basis(inside, SIDE - 1) + outside[..., None] * slope
    return basis, _STEEPNESS * outside**2
