"""PointMass: one coefficient shared by all, the plain logit and plain DPO."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from prefstrength.choice.arrays import (
    Array,
    Library,
    as_number,
    library_of,
    log_sigmoid,
    log_sigmoids,
)
from prefstrength.choice.mixing.base import Mixing, where_positive

__all__ = ["PointMass"]


@dataclass(frozen=True, eq=False, repr=False)
class PointMass(Mixing):
    """One coefficient shared by all: the plain logit, plain DPO.

    Its location is the coefficient; it has no dispersion, which is ``None``.

    Parameters
    ----------
    value : float, optional
        The coefficient; to be inferred when left out.

    Examples
    --------
    >>> PointMass(value=0.1).mean()
    0.1
    >>> PointMass().known
    False
    """

    value: Any = None
    positive: ClassVar[bool] = False
    varies: ClassVar[bool] = False
    has_density: ClassVar[bool] = False
    linear: ClassVar[bool] = True

    def lower_tail(self, lib: Library, y: Array) -> Array:
        return log_sigmoid(lib, -self.value * y)

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        u = self.value * x
        return log_sigmoids(lib, u)

    def logit(self, lib: Library, x: Array) -> Array:
        return self.value * x

    def log_average(
        self, lib: Library, log_of: Callable[[Array], Array], size: Array, at_random: Array
    ) -> Array:
        return log_of(self.value[..., None])[..., 0]

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        return cls(value=location)

    def location_dispersion(self) -> tuple[Any, None]:
        return self.value, None

    @classmethod
    def from_log_mean_spread(cls, log_mean: Any, log_spread: Any) -> Self:
        return cls(value=as_number(library_of(log_mean).xp.exp(log_mean)))

    def log_mean_spread(self) -> tuple[Any, None]:
        self.require_positive_mean()
        return self.log_mean(), None

    @classmethod
    def log_spread_from_cv(cls, cv: float) -> None:
        return None

    @classmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        return 0.0 * z

    def quantile(self, q: Any) -> Any:
        return self._asked(lambda law, lib, q: law.value + 0.0 * q, q)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        return np.full(size, self.value, dtype=float)

    def draws(self, lib: Library, shape: Any, like: Array, generator: Any) -> Array:
        return lib.xp.broadcast_to(self.value, shape)

    def log_density(self, lib: Library, strength: Array) -> Array:
        raise TypeError("PointMass has no density.")

    def distribution(self, lib: Library, strength: Array) -> Array:
        return lib.xp.where(strength >= self.value, 1.0, 0.0)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        return self.value, 0.0 * self.value

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        log = where_positive(lib, self.value, lib.xp.log, math.nan)
        return log, 0.0 * self.value  # no spread, whatever the sign
