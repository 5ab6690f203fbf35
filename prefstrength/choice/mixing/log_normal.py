"""LogNormal mixing distribution: log strength is Normal."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from prefstrength.choice.arrays import Array, Library, logsumexp, trapezoid
from prefstrength.choice.mixing.base import Mixing, where_positive

__all__ = ["LogNormal"]

# Sigma up to which the coarsest nodes give 1e-10 (a coefficient of variation of 29).
_SMALL_SIGMA = 2.6


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
    linear: ClassVar[bool] = True
    spread: ClassVar[str] = "sd_log"
    location_title: ClassVar[str] = "mean of log β"

    def lower_tail(self, lib: Library, y: Array) -> Array:
        r"""By the trapezoid rule in z, :math:`\beta = e^{\mu + \sigma z}`.

        Its nodes are centred and scaled at the peak of the integrand,
        :math:`z_0 = -W(\sigma^2 y e^\mu)/\sigma` with Lambert's W, held out of the gradient. The
        rule converges as :math:`e^{-\pi^2/(\sigma h)}`, and left of the peak the integrand falls
        the slower the larger sigma is: above a sigma of 2.6 the step is halved and the reach
        doubled, above 5.2 once more. While tracing, when sigma is not known, they are those of
        small sigma.
        """
        xp, mu, sigma = lib.xp, self.mu, self.sigma
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

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        return cls(mu=location, sigma=dispersion)

    def location_dispersion(self) -> tuple[Any, Any]:
        return self.mu, self.sigma

    @classmethod
    def log_spread_from_cv(cls, cv: float) -> float:
        return math.log(math.log1p(cv * cv)) / 2

    @classmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        return dispersion * z

    def log_density(self, lib: Library, strength: Array) -> Array:
        def inside(strength: Array) -> Array:
            log = lib.xp.log(strength)
            z = (log - self.mu) / self.sigma
            return -(z**2) / 2 - lib.xp.log(self.sigma * math.sqrt(2 * math.pi)) - log

        return where_positive(lib, strength, inside, -math.inf)

    def distribution(self, lib: Library, strength: Array) -> Array:
        def inside(strength: Array) -> Array:
            # Close to the median the quotient keeps the digits that a difference of logs loses.
            return lib.special.ndtr(lib.xp.log(strength / lib.xp.exp(self.mu)) / self.sigma)

        return where_positive(lib, strength, inside, 0.0)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        mean = lib.xp.exp(self.mu + self.sigma**2 / 2)
        return mean, mean * lib.xp.sqrt(lib.xp.expm1(self.sigma**2))

    def mean_square(self) -> Any:
        return self._asked(lambda law, lib: law.moments(lib)[0] ** 2 * lib.xp.exp(law.sigma**2))

    def log_mean(self) -> Any:
        self.require_known()
        return self.mu + self.sigma**2 / 2

    def cv(self) -> Any:
        return self._asked(lambda law, lib: lib.xp.sqrt(lib.xp.expm1(law.sigma**2)))

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        return self.mu, self.sigma**2


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
