"""LogNormal mixing distribution: log strength is Normal."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from scipy import stats

from prefstrength.choice.arrays import Array, Library, logsumexp, trapezoid
from prefstrength.choice.mixing.base import Mixing

__all__ = ["LogNormal"]


# -- quadrature ------------------------------------------------------------------------------

# Sigma up to which the coarsest nodes give 1e-10 (a coefficient of variation of 29).
_SMALL_SIGMA = 2.6


def _lambert(lib: Library, v: Array) -> Array:
    """Lambert's W for v >= 0, good enough to place nodes."""
    xp = lib.xp
    v = v + 1e-30
    w = xp.log1p(v)
    w = xp.where(w > 2.0, w - xp.log(w + 1e-30), w)
    for _ in range(3):
        w = w * (1 + xp.log(v / w)) / (1 + w)
    return w


def _wider(sigma: float | None) -> int:
    """How much finer, and how much longer, the nodes of a LogNormal are than at small sigma."""
    if sigma is None or not sigma > _SMALL_SIGMA:
        return 1
    return 2 if sigma <= 2 * _SMALL_SIGMA else 4


def lognormal_lower_tail(lib: Library, y: Array, mu: Array, sigma: Array) -> Array:
    xp = lib.xp
    wider = _wider(lib.largest(sigma))
    step = (0.25 if lib.single(y) else 0.125) / wider
    # Left of the peak the log of the integrand falls only linearly, hence the longer side.
    t = lib.constant(trapezoid(-14.0 * wider, 9.0, step), y)
    median_utility = y * xp.exp(mu)
    w = lib.hold(_lambert(lib, sigma**2 * median_utility))
    centre, scale = -w / lib.hold(sigma), 1 / xp.sqrt(1 + w)
    z = centre[..., None] + scale[..., None] * t
    utility = median_utility[..., None] * xp.exp(sigma[..., None] * z)
    log_integrand = -(z**2) / 2 - utility - xp.log1p(xp.exp(-utility))
    return logsumexp(lib, log_integrand) + xp.log(scale * (step / math.sqrt(2 * math.pi)))


@dataclass(frozen=True, eq=False, repr=False)
class LogNormal(Mixing):
    """Log strength is Normal(mu, sigma).

    Parameters
    ----------
    mu, sigma : float, optional
        Mean and standard deviation of log strength, as in NumPyro.

    Examples
    --------
    >>> round(LogNormal(mu=0.0, sigma=0.7).cv(), 4)
    0.7951
    """

    mu: Any = None
    sigma: Any = None
    positive_parameters: ClassVar[tuple[str, ...]] = ("sigma",)

    def _law(self) -> Any:
        return stats.lognorm(s=float(self.sigma), scale=math.exp(float(self.mu)))

    def sd_log(self) -> float:
        self._require_known()
        return float(self.sigma)

    def _log_moments(self) -> tuple[float, float]:
        return float(self.mu), float(self.sigma) ** 2
