"""A point mass at strength 0: a share of choosers is indifferent."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from prefstrength.choice.arrays import Array, Library
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.compound import (
    WithShare,
)
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.kinds import Kinds

__all__ = ["ZeroMass", "with_zero_share"]


@dataclass(frozen=True, eq=False, repr=False)
class ZeroMass(WithShare):
    """A share of choosers with strength 0, who do not care; the others differ in strength.

    Parameters
    ----------
    mixing : PointMass, Normal, LogNormal, Gamma, InverseGaussian or FiniteMixture
        Mixing distribution of those who care.
    share : float, optional
        Share of those who do not, from 0 to below 1.

    Notes
    -----
    The share is the parameter ``zero_share``. There is no density at 0, hence no ``pdf``, and
    no logarithm of strength, hence ``sd_log`` is nan.

    Examples
    --------
    >>> from prefstrength import LogNormal
    >>> law = ZeroMass(LogNormal(mu=0.0, sigma=0.7), share=0.2)
    >>> list(law.parameters), law.quantile([0.1, 0.6]).tolist()
    (['zero_share', 'mu', 'sigma'], [0.0, 1.0])
    """

    positive: ClassVar[bool] = False
    has_density: ClassVar[bool] = False
    share_name: ClassVar[str] = "zero_share"
    allowed: ClassVar[tuple[type[Mixing], ...]] = (FiniteMixture,)

    @property
    def kinds(self) -> Kinds:
        return replace(self.mixing.kinds, zero=True)

    @property
    def apart_from_zero(self) -> tuple[Any, Mixing]:
        return 1 - self.share, self.mixing

    def alone(self, log_of: Callable[[Array], Array], at_random: Array) -> Array:
        return log_of(0.0 * at_random[..., None])[..., 0]

    def log_density(self, lib: Library, strength: Array) -> Array:
        raise TypeError("ZeroMass has no density: a share of the strengths is exactly 0.")

    def distribution(self, lib: Library, strength: Array) -> Array:
        at_zero = lib.xp.where(strength >= 0, self.share, 0.0 * self.share)
        return at_zero + (1 - self.share) * self.mixing.distribution(lib, strength)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        mean, sd = self.mixing.moments(lib)
        # Not a power: of plain numbers one beyond the largest is an error, and a product is inf.
        square = (1 - self.share) * (sd * sd + self.share * mean * mean)
        return (1 - self.share) * mean, lib.xp.sqrt(square)

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        nothing = math.nan * self.share
        return nothing, nothing

    def least(self, q: np.ndarray) -> np.ndarray:
        below = (1 - self.share) * self.mixing.cdf(0.0)  # of those who care, at most 0
        left, right = q <= below, q > below + self.share
        inner = np.where(left, q, np.where(right, q - self.share, below)) / (1 - self.share)
        values = self.mixing.quantile(np.minimum(inner, 1.0))
        return np.where(left & (values < 0) | right, values, 0.0)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        cares = rng.random(size) >= self.share
        return self.mixing.sample(rng, size) * cares


def with_zero_share(mixing: Mixing, share: Any) -> Mixing:
    """The mixing distribution of those who care, and of all where a share does not.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> with_zero_share(PointMass(value=0.5), 0.2).mean()
    0.4
    >>> with_zero_share(PointMass(value=0.5), 0.0)
    PointMass(value=0.5)
    """
    return ZeroMass(mixing, share) if share else mixing
