"""Gamma mixing distribution, whose Laplace transform is a power."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from scipy import special

from prefstrength.choice.arrays import Array, Library, library_of
from prefstrength.choice.chebyshev import ProductSeries
from prefstrength.choice.mixing.base import Mixing, where_positive
from prefstrength.choice.series import log_laplace_sum, series_terms

__all__ = ["Gamma"]


@dataclass(frozen=True, eq=False, repr=False)
class Gamma(Mixing):
    """Gamma strength with concentration ``shape`` and ``rate``: mean shape/rate, cv 1/sqrt(shape).

    Parameters
    ----------
    shape, rate : float, optional
        Concentration and rate, as in NumPyro's ``Gamma(concentration, rate)``.

    Examples
    --------
    >>> Gamma(shape=4.0, rate=2.0).mean(), Gamma(shape=4.0, rate=2.0).cv()
    (2.0, 0.5)
    """

    shape: Any = None
    rate: Any = None
    positive_parameters: ClassVar[tuple[str, ...]] = ("shape", "rate")
    location_title: ClassVar[str] = "log of mean β"

    def lower_tail(self, lib: Library, y: Array) -> Array:
        """By the series in the Laplace transform, log L(s) = -shape log(1 + s/rate)."""
        n = lib.constant(np.arange(1.0, series_terms(lib, y) + 1), y)
        log1p, first = lib.xp.log1p, -self.shape * lib.xp.log1p(y / self.rate)
        y, shape, rate = y[..., None], self.shape[..., None], self.rate[..., None]
        ratio = -shape * log1p((n - 1) * (y / (rate + y)))
        step = -shape * log1p(y / (rate + n * y))
        return log_laplace_sum(lib, first, ratio, step)

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        shape = dispersion**-2.0
        return cls(shape=shape, rate=shape * library_of(location).xp.exp(-location))

    def location_dispersion(self) -> tuple[Any, Any]:
        mean = self.shape / self.rate
        return library_of(mean).xp.log(mean), self.shape**-0.5

    @classmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        if lib.xp is np:
            return _log_quantile(z, dispersion**-2.0)
        xp = lib.xp
        log_shape = xp.clip(-2 * xp.log(dispersion), *_LOG_SHAPES)
        shape = xp.exp(log_shape)
        return _DAMPED.at(lib, z, log_shape) * ((1 + shape) / shape)

    @classmethod
    def at_nodes(cls, lib: Library, z: np.ndarray, location: Array, dispersion: Array) -> Array:
        return cls.coefficient(lib, z, location, dispersion)  # by series made for these z

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        return rng.standard_gamma(self.shape, size) * (1.0 / self.rate)

    def draws(self, lib: Library, shape: Any, like: Array, generator: Any) -> Array:
        assert lib.gamma is not None
        whole = lib.xp.broadcast_shapes(shape, self.shape.shape, self.rate.shape)
        return lib.gamma(self.shape.expand(whole), generator) / self.rate

    def log_density(self, lib: Library, strength: Array) -> Array:
        def inside(strength: Array) -> Array:
            scaled, log = self.rate * strength, lib.xp.log(strength)
            constant = self.shape * lib.xp.log(self.rate) - lib.special.gammaln(self.shape)
            return constant + (self.shape - 1) * log - scaled

        return where_positive(lib, strength, inside, -math.inf)

    def distribution(self, lib: Library, strength: Array) -> Array:
        def inside(strength: Array) -> Array:
            return lib.special.gammainc(self.shape, self.rate * strength)

        return where_positive(lib, strength, inside, 0.0)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        mean = self.shape / self.rate
        return mean, mean / self.shape**0.5

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        mean = lib.special.digamma(self.shape) - lib.xp.log(self.rate)
        return mean, lib.special.polygamma(1, self.shape)


# -- quantiles -----------------------------------------------------------------------------------

# Shapes that the series covers: coefficients of variation 0.003 to 15, far beyond what data can
# tell apart; a shape outside is taken for the nearest inside.
_LOG_SHAPES = (float(np.log(0.004)), float(np.log(1e5)))


def _log_quantile(z: Any, shape: Any) -> np.ndarray:
    """Log of the quantile at probability Phi(z), of mean 1; arguments broadcast."""
    with np.errstate(divide="ignore", under="ignore"):
        # Close to 0, P(v) = v^shape/Gamma(shape + 1) to full accuracy, without underflow.
        small = (special.log_ndtr(z) + special.gammaln(shape + 1)) / shape
        lower = np.log(special.gammaincinv(shape, special.ndtr(z)))
        upper = np.log(special.gammainccinv(shape, special.ndtr(-np.asarray(z))))
    return np.where(small < -36, small, np.where(z < 0, lower, upper)) - np.log(shape)


def _damped(z: np.ndarray, log_shape: np.ndarray) -> np.ndarray:
    """The same by shape/(1 + shape): for small shapes the log quantile grows as 1/shape."""
    shape = np.exp(log_shape)
    return _log_quantile(z, shape) * shape / (1 + shape)


# For each draw the log quantile is an analytic function of log shape (nearest singularity at
# distance pi), so 129 coefficients give about 1e-12.
_DAMPED = ProductSeries(_damped, *_LOG_SHAPES, degree=128)
