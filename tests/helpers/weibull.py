"""A family of mixing distributions from outside of the package: one class."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prefstrength.choice.arrays import library_of, log_sigmoid, logsumexp
from prefstrength.choice.mixing.base import Mixing, where_positive

# Sd of the log of a standard exponential number, and less its mean.
_SD, _EULER = math.pi / math.sqrt(6), 0.5772156649015329


@dataclass(frozen=True, eq=False, repr=False)
class Weibull(Mixing):
    """Strength is ``scale`` times a standard exponential number to the power of 1/``shape``."""

    scale: Any = None
    shape: Any = None
    positive_parameters: ClassVar[tuple[str, ...]] = ("scale", "shape")
    spread: ClassVar[str] = "sd_log"
    location_title: ClassVar[str] = "log of the scale of β"

    def lower_tail(self, lib, y):
        step = 0.1  # of the trapezoid rule in the log of the exponential number
        t = lib.constant(np.arange(-90.0, 5.0, step), y)
        u = (y * self.scale)[..., None] * lib.xp.exp(t / self.shape[..., None])
        return logsumexp(lib, t - lib.xp.exp(t) + log_sigmoid(lib, -u)) + math.log(step)

    @classmethod
    def from_location_dispersion(cls, location, dispersion):
        return cls(scale=library_of(location).xp.exp(location), shape=_SD / dispersion)

    def location_dispersion(self):
        return library_of(self.scale).xp.log(self.scale), _SD / self.shape

    @classmethod
    def standard(cls, lib, z, dispersion):
        return dispersion / _SD * lib.xp.log(-lib.special.log_ndtr(-z))

    def log_density(self, lib, strength):
        def inside(strength):
            log = lib.xp.log(strength / self.scale)
            return (
                lib.xp.log(self.shape / strength) + self.shape * log - lib.xp.exp(self.shape * log)
            )

        return where_positive(lib, strength, inside, -math.inf)

    def distribution(self, lib, strength):
        def inside(strength):
            return -lib.xp.expm1(-((strength / self.scale) ** self.shape))

        return where_positive(lib, strength, inside, 0.0)

    def moments(self, lib):
        first, second = (lib.xp.exp(lib.special.gammaln(1 + k / self.shape)) for k in (1, 2))
        return self.scale * first, self.scale * lib.xp.sqrt(second - first**2)

    def log_moments(self, lib):
        return lib.xp.log(self.scale) - _EULER / self.shape, (_SD / self.shape) ** 2
