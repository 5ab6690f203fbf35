"""Normal mixing distribution: coefficients of either sign."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from prefstrength.choice.arrays import Array, Library, log_sigmoid, logsumexp, trapezoid
from prefstrength.choice.mixing.base import Mixing, both_tails
from prefstrength.choice.series import log_alternating_sum, series_terms

__all__ = ["Normal"]

# From here on five terms of the asymptotic series of erfcx give single precision, and double.
_FAR = {True: 8.0, False: 40.0}


@dataclass(frozen=True, eq=False, repr=False)
class Normal(Mixing):
    """Normal strength, which may be negative (choosers who prefer less of the attribute).

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
    linear: ClassVar[bool] = True

    def lower_tail(self, lib: Library, y: Array) -> Array:
        return self.log_tails(lib, y)[1]

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        """Beta x ~ Normal(mu x, sigma |x|); by symmetry from the side on which p <= 1/2."""
        xp, mean = lib.xp, self.mu * x
        behind = mean < 0
        sd = self.sigma * xp.where(x < 0, -x, x)
        return both_tails(lib, behind, _smaller_tail(lib, xp.where(behind, mean, -mean), sd))

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        return cls(mu=location, sigma=dispersion)

    def location_dispersion(self) -> tuple[Any, Any]:
        return self.mu, self.sigma

    @classmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        return dispersion * z

    def log_density(self, lib: Library, strength: Array) -> Array:
        z = (strength - self.mu) / self.sigma
        return -(z**2) / 2 - lib.xp.log(self.sigma * math.sqrt(2 * math.pi))

    def distribution(self, lib: Library, strength: Array) -> Array:
        return lib.special.ndtr((strength - self.mu) / self.sigma)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        return self.mu, self.sigma

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        nothing = math.nan * self.mu
        return nothing, nothing


# -- the lower tail of a normal utility ----------------------------------------------------------


def _smaller_tail(lib: Library, mean: Array, sd: Array) -> Array:
    """Log E[sigmoid(u)], u ~ Normal(mean, sd), mean <= 0.

    By the trapezoid rule where sd <= 1; beyond it u is split at 0 and each half expanded: the
    terms :math:`E[e^{nu}; u < 0]` are moments of a distribution on [0, 1] and have a closed
    form in the scaled complementary error function.
    """
    xp = lib.xp
    narrow = sd <= 1
    if xp is np:
        # No gradient and nothing to trace: each branch where it is needed.
        mean, sd, narrow = np.broadcast_arrays(mean, sd, narrow)
        out = np.empty(mean.shape, dtype=mean.dtype)
        out[narrow] = _narrow_tail(lib, mean[narrow], sd[narrow])
        out[~narrow] = _wide_tail(lib, mean[~narrow], sd[~narrow])
        return out
    # Each branch sees only arguments it can digest, so that no NaN enters the gradient.
    one = lib.constant(1.0, mean)
    by_quadrature = _narrow_tail(lib, mean, xp.where(narrow, sd, one))
    by_series = _wide_tail(lib, mean, xp.where(narrow, one, sd))
    return xp.where(narrow, by_quadrature, by_series)


def _narrow_tail(lib: Library, mean: Array, sd: Array) -> Array:
    step = 0.25
    t = lib.constant(trapezoid(-10.0, 10.0, step), mean)
    # Far in the tail sigmoid(u) ~ e^u, which tilts the Normal by sd.
    z = lib.hold(sd)[..., None] + t
    u = mean[..., None] + sd[..., None] * z
    log_integrand = -(z**2) / 2 + log_sigmoid(lib, u)
    return logsumexp(lib, log_integrand) + math.log(step / math.sqrt(2 * math.pi))


def _wide_tail(lib: Library, mean: Array, sd: Array) -> Array:
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


def _log_erfcx(lib: Library, v: Array) -> Array:
    """Log of e^{v^2} erfc(v) for v >= 0.

    Far out by the asymptotic series, where the libraries' derivatives 2 v erfcx(v) - 2/sqrt(pi)
    cancel: those of log p would lose four digits.
    """
    xp, end = lib.xp, _FAR[bool(lib.single(v))]
    far = v > end
    near = xp.log(lib.special.erfcx(xp.where(far, end, v)))
    v = xp.where(far, v, end)
    w = 0.5 / v**2
    beyond = xp.log1p(-w * (1 - 3 * w * (1 - 5 * w * (1 - 7 * w)))) - xp.log(v * math.sqrt(math.pi))
    return xp.where(far, beyond, near)
