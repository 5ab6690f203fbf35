"""Lapses: a share of answers is given at random, whatever the strength."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from prefstrength.choice.arrays import Array, Library
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.compound import WithShare
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.kinds import Kinds
from prefstrength.choice.mixing.zero_mass import ZeroMass

__all__ = ["Lapse"]


@dataclass(frozen=True, eq=False, repr=False)
class Lapse(WithShare):
    """A share of choices made at random, whatever the strength.

    Parameters
    ----------
    mixing : Mixing
        Mixing distribution of the strength, known or to be inferred.
    share : float, optional
        Share of choices made at random, from 0 to below 1.

    Notes
    -----
    The share is the parameter ``lapse_share``. No probability falls below half of it, so that a
    careless choice against a large difference does not pass for a weak strength. Mean, sd,
    quantiles, density and draws are those of the strength, which a lapse does not change.

    Examples
    --------
    >>> from prefstrength import LogNormal, log_choice_probability
    >>> law = Lapse(LogNormal(mu=0.0, sigma=0.7), share=0.1)
    >>> list(law.parameters), round(law.median(), 12)
    (['lapse_share', 'mu', 'sigma'], 1.0)
    >>> import math
    >>> round(math.exp(log_choice_probability(-1000.0, law)), 4)
    0.05
    """

    outermost: ClassVar[str] = (
        " A lapse belongs to the choice, not to its strength: put it outermost, "
        "Lapse(ZeroMass(...))."
    )
    share_name: ClassVar[str] = "lapse_share"
    allowed: ClassVar[tuple[type[Mixing], ...]] = (FiniteMixture, ZeroMass)

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("positive", "varies", "has_density"):
            object.__setattr__(self, what, getattr(self.mixing, what))

    @property
    def kinds(self) -> Kinds:
        return replace(self.mixing.kinds, lapse=True)

    @property
    def strengths(self) -> Mixing:
        return self.mixing

    @property
    def lapse_share(self) -> Any:
        return self.share

    def alone(self, log_of: Callable[[Array], Array], at_random: Array) -> Array:
        return at_random

    def log_density(self, lib: Library, strength: Array) -> Array:
        return self.mixing.log_density(lib, strength)

    def distribution(self, lib: Library, strength: Array) -> Array:
        return self.mixing.distribution(lib, strength)

    def moments(self, lib: Library) -> tuple[Array, Array]:
        return self.mixing.moments(lib)

    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        return self.mixing.log_moments(lib)

    def least(self, q: np.ndarray) -> np.ndarray:
        return np.asarray(self.mixing.quantile(q))

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        self.require_known()
        return self.mixing.sample(rng, size)
