"""PositivePointMass: one positive coefficient shared by all, DPO beside a positive family."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from prefstrength.choice.arrays import Array, Library, as_number, library_of, log_sigmoid
from prefstrength.choice.mixing.base import Mixing

__all__ = ["PositivePointMass"]


@dataclass(frozen=True, eq=False, repr=False)
class PositivePointMass(Mixing):
    """One positive coefficient shared by all: what a positive family becomes without spread.

    Its location is the log of the coefficient, so that its prior, and the shifts of groups, are
    those of ``LogNormal``, ``Gamma`` and ``InverseGaussian``: a comparison with one of them is
    about spread alone. ``PointMass`` has a prior of its own, around 0, which large strengths are
    far from.

    Parameters
    ----------
    value : float, optional
        The coefficient; to be inferred when left out.

    Examples
    --------
    >>> PositivePointMass(value=0.1).mean()
    0.1
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=20, situations=5, seed=0)
    >>> models = [ps.MixedLogit({"reward": law}) for law in (PositivePointMass(), ps.LogNormal())]
    >>> [model.prior_table(choices)["prior"][0] for model in models]
    ['Normal(-0.38, 1)', 'Normal(-0.38, 1)']
    """

    value: Any = None
    positive_parameters: ClassVar[tuple[str, ...]] = ("value",)
    varies: ClassVar[bool] = False
    has_density: ClassVar[bool] = False
    location_title: ClassVar[str] = "log of β"

    def lower_tail(self, lib: Library, y: Array) -> Array:
        return log_sigmoid(lib, -self.value * y)

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        u = self.value * x
        return log_sigmoid(lib, u), log_sigmoid(lib, -u)

    def logit(self, lib: Library, x: Array) -> Array:
        return self.value * x

    def log_average(
        self, lib: Library, log_of: Callable[[Array], Array], size: Array, at_random: Array
    ) -> Array:
        return log_of(self.value[..., None])[..., 0]

    @classmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        return cls(value=as_number(library_of(location).xp.exp(location)))

    def location_dispersion(self) -> tuple[Any, None]:
        return as_number(library_of(self.value).xp.log(self.value)), None

    @classmethod
    def from_log_mean_spread(cls, log_mean: Any, log_spread: Any) -> Self:
        return cls.from_location_dispersion(log_mean, None)

    def log_mean_spread(self) -> tuple[Any, None]:
        return self.location_dispersion()

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
        raise TypeError("PositivePointMass has no density.")

    def distribution(self, lib: Library, strength: Array) -> Array:
        return lib.xp.where(strength >= self.value, 1.0, 0.0)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        return self.value, 0.0 * self.value

    def sd_log(self) -> Any:
        return self._asked(lambda law, lib: 0.0 * law.value)  # a root has no gradient at 0

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        return lib.xp.log(self.value), 0.0 * self.value
