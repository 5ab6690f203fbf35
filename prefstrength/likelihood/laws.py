r"""Mixing distributions as arrays: many at once, for tables to be averaged over.

A simple one is a family with location and dispersion. A blend is a weighted sum of simple ones, and
of the strength 0: indifferent choosers, several kinds of choosers.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.grid import Grid

__all__ = ["Blend", "Laws"]

# A dispersion of less than this is taken for this: strengths that are all alike.
_LEAST = 1e-7
# Draws between which it is seen how wide they are; log of a strength that is next to nothing.
_LOOK, _NOTHING = np.arange(-2.5, 3.0), -3.0


@dataclass(frozen=True)
class Laws:
    """Mixing distributions of one family.

    Parameters
    ----------
    family : type
    location : numpy.ndarray, shape (law,)
    dispersion : numpy.ndarray, shape (law,), or None
    """

    family: type[Mixing]
    location: np.ndarray
    dispersion: np.ndarray | None

    @property
    def size(self) -> int:
        """Number of mixing distributions."""
        return len(self.location)

    def take(self, which: np.ndarray) -> Self:
        """Some of them."""
        spread = None if self.dispersion is None else self.dispersion[which]
        return type(self)(self.family, self.location[which], spread)

    def at(self, z: np.ndarray) -> np.ndarray:
        """Strengths at standard normal draws, (law, draw)."""
        return self.at_own(np.broadcast_to(z, (self.size, len(z))))

    def at_own(self, z: np.ndarray) -> np.ndarray:
        """Strengths at draws of each distribution's own, both (law, draw)."""
        return np.asarray(self.family.coefficient(NUMPY, z, self.location[:, None], self._spread()))

    def spread_in(self, grid: Grid) -> np.ndarray:
        """How wide they are in the grid's coordinate: the most by which it changes with z."""
        if self.dispersion is None:
            return np.zeros(self.size)
        if grid.positive and self.family.linear:
            return self.dispersion
        t = grid.t[0] + grid.step * grid.position(self.at(_LOOK))
        # Where a strength is next to nothing a likelihood does not change with its log.
        seen = t[:, 1:] > (_NOTHING if grid.positive else -np.inf)
        least = self.dispersion if grid.positive else 0.0
        return np.maximum(np.where(seen, np.diff(t, axis=1), 0.0).max(axis=1), least)

    def narrowest_in(self, grid: Grid) -> np.ndarray:
        """How wide they are in the grid's coordinate where they are narrowest."""
        if self.dispersion is None:
            return np.zeros(self.size)
        if grid.positive:
            return self.dispersion
        # The coordinate is ever denser away from 0.
        far = np.abs(self.location) + 2 * self.dispersion
        return self.dispersion / grid.slope_at(grid.t[0] + grid.step * grid.position(far))

    def density(self, strength: np.ndarray) -> np.ndarray:
        """Density at strengths, (law, strength)."""
        return np.exp(self._mixing.log_density(NUMPY, strength[None]))

    def cdf(self, strength: np.ndarray) -> np.ndarray:
        """Probability of at most these strengths, (law, strength)."""
        return np.asarray(self._mixing.distribution(NUMPY, strength[None]))

    @property
    def _mixing(self) -> Mixing:
        return self.family.from_location_dispersion(self.location[:, None], self._spread())

    def _spread(self) -> np.ndarray | None:
        return None if self.dispersion is None else np.maximum(self.dispersion, _LEAST)[:, None]


@dataclass(frozen=True)
class Blend:
    """Weighted sums of mixing distributions.

    Parameters
    ----------
    parts : tuple of Laws or None
        ``None`` is the strength 0.
    log_share : numpy.ndarray, shape (part, law)
    """

    parts: tuple[Laws | None, ...]
    log_share: np.ndarray

    @classmethod
    def of(cls, laws: Laws) -> Self:
        """One mixing distribution alone."""
        return cls((laws,), np.zeros((1, laws.size)))

    def mixing(self, which: int) -> Mixing:
        """One of them, of one kind of choosers, as a known mixing distribution."""
        (part,) = self.parts
        assert part is not None
        spread = None if part.dispersion is None else float(part.dispersion[which])
        return part.family.from_location_dispersion(float(part.location[which]), spread)

    @property
    def size(self) -> int:
        """Number of blends."""
        return self.log_share.shape[1]

    def take(self, which: np.ndarray) -> Self:
        """Some of them."""
        parts = tuple(None if part is None else part.take(which) for part in self.parts)
        return type(self)(parts, self.log_share[:, which])
