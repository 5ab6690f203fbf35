"""Normal mixing distribution: coefficients of either sign."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
from scipy import special, stats

from prefstrength.choice.arrays import Array, Library, log_sigmoid, logsumexp, trapezoid
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.series import log_alternating_sum, series_terms

__all__ = ["Normal"]


def normal_lower_tail(lib: Library, mean: Array, sd: Array) -> Array:
    """Log E[sigmoid(u)], u ~ Normal(mean, sd), mean <= 0."""
    xp = lib.xp
    narrow = sd <= 1
    if xp is np:
        # No gradient and nothing to trace: each branch where it is needed.
        mean, sd, narrow = np.broadcast_arrays(mean, sd, narrow)
        out = np.empty(mean.shape, dtype=mean.dtype)
        out[narrow] = _narrow_normal_lower_tail(lib, mean[narrow], sd[narrow])
        out[~narrow] = _wide_normal_lower_tail(lib, mean[~narrow], sd[~narrow])
        return out
    # Each branch sees only arguments it can digest, so that no NaN enters the gradient.
    one = lib.constant(1.0, mean)
    by_quadrature = _narrow_normal_lower_tail(lib, mean, xp.where(narrow, sd, one))
    by_series = _wide_normal_lower_tail(lib, mean, xp.where(narrow, one, sd))
    return xp.where(narrow, by_quadrature, by_series)


def _narrow_normal_lower_tail(lib: Library, mean: Array, sd: Array) -> Array:
    step = 0.25
    t = lib.constant(trapezoid(-10.0, 10.0, step), mean)
    # Far in the tail sigmoid(u) ~ e^u, which tilts the Normal by sd.
    z = lib.hold(sd)[..., None] + t
    u = mean[..., None] + sd[..., None] * z
    log_integrand = -(z**2) / 2 + log_sigmoid(lib, u)
    return logsumexp(lib, log_integrand) + math.log(step / math.sqrt(2 * math.pi))


def _wide_normal_lower_tail(lib: Library, mean: Array, sd: Array) -> Array:
    xp = lib.xp
    terms = series_terms(lib, mean)
    n = np.arange(1.0, terms + 1)
    # Both halves and P(u > 0) in one call: a third of the operations to compile.
    side = lib.constant(np.r_[np.ones(terms), -np.ones(terms + 1)], mean)
    moments = _log_exponential_moment(
        lib, lib.constant(np.r_[n, n, 0.0], mean), side * mean[..., None], sd[..., None]
    )
    below = log_alternating_sum(lib, moments[..., :terms])  # E[s(u); u < 0]
    beyond = log_alternating_sum(lib, moments[..., terms:-1])  # E[1 - s(u); u > 0]
    positive = moments[..., -1]
    top = lib.hold(xp.where(below > positive, below, positive))
    total = xp.exp(below - top) + xp.exp(positive - top) - xp.exp(beyond - top)
    return top + xp.log(total)


def _log_exponential_moment(lib: Library, n: Array, mean: Array, sd: Array) -> Array:
    """Log E[e^{nu}; u < 0], u ~ Normal(mean, sd), n >= 0; the arguments broadcast."""
    xp = lib.xp
    shifted = (mean + n * sd**2) / sd
    tail = shifted > 0
    # P(u < 0) after the tilt is Phi(-shifted): a tail, in scaled form, or the bulk.
    log_scaled = _log_erfcx(lib, xp.where(tail, shifted, -shifted) / math.sqrt(2)) - math.log(2)
    in_tail = -(mean**2) / (2 * sd**2) + log_scaled
    in_bulk = n * mean + (n * sd) ** 2 / 2 + xp.log1p(-xp.exp(-(shifted**2) / 2 + log_scaled))
    return xp.where(tail, in_tail, in_bulk)


@cache
def _erfcx_coefficients() -> np.ndarray:
    """Chebyshev coefficients of log(erfcx(v)/t) in t = 2/(2+v) on [0, 1]."""

    def target(s: np.ndarray) -> np.ndarray:
        t = (s + 1) / 2
        return np.log(special.erfcx(2 / t - 2) / t)

    return np.polynomial.chebyshev.chebinterpolate(target, 33)


def _log_erfcx(lib: Library, v: Array) -> Array:
    """Log of e^{v^2} erfc(v) for v >= 0, by Clenshaw's recurrence."""
    xp = lib.xp
    t = 2 / (2 + v)
    s = 2 * t - 1
    b1 = b2 = 0.0 * s
    coefficients = _erfcx_coefficients()
    for c in coefficients[:0:-1]:
        b1, b2 = float(c) + 2 * s * b1 - b2, b1
    return xp.log(t) + float(coefficients[0]) + s * b1 - b2


@dataclass(frozen=True, eq=False, repr=False)
class Normal(Mixing):
    """Normal law; strength may be negative (choosers who prefer less of the attribute).

    Parameters
    ----------
    mu, sigma : float, optional
        Mean and standard deviation of the coefficient.

    Examples
    --------
    >>> Normal(mu=2.0, sigma=0.5).cv()
    0.25
    """

    mu: Any = None
    sigma: Any = None
    positive: ClassVar[bool] = False
    positive_parameters: ClassVar[tuple[str, ...]] = ("sigma",)

    def _law(self) -> Any:
        return stats.norm(float(self.mu), float(self.sigma))

    def _log_moments(self) -> tuple[float, float]:
        return math.nan, math.nan
