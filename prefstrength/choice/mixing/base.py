r"""Mixing distributions: how a coefficient varies over choosers (or situations).

With parameters a mixing distribution is known; without them it is one to be inferred. Parameters
may be numbers, arrays, or tensors of JAX or torch, and what is asked of the distribution is of
their kind and shape.

A family is one class in one file, and all that the package knows of it stands there. It says how
likely a choice is (:meth:`Mixing.lower_tail`), how a chooser is drawn (:meth:`Mixing.standard`),
what its probabilities and moments are, and how two pairs of numbers that mean the same thing in
every family name one member of it:

========================= =========================== ============================================
pair                      for                         meaning
========================= =========================== ============================================
location, dispersion      inference                   strength is :math:`e^{\text{location}}` times
                                                      a draw that depends on the dispersion alone;
                                                      where strength may be negative, its mean and
                                                      sd
log mean, log spread      priors of training          logs of the mean and of the spread, which is
                                                      the one that :attr:`Mixing.spread` names
========================= =========================== ============================================

Methods that take a :class:`~prefstrength.choice.arrays.Library` expect parameters that are its
arrays (:meth:`Mixing.in_library`).
"""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from scipy.optimize import elementwise

from prefstrength.choice.arrays import (
    NUMPY,
    Array,
    Library,
    as_number,
    library_of,
    log_one_minus_exp,
    number,
    plain,
)
from prefstrength.errors import InputError

__all__ = ["SPREADS", "Mixing", "both_tails", "where_positive"]

#: Spreads that are free of the scale of the rewards, in words.
SPREADS = {"sd_log": "sd of log strength", "cv": "sd/mean"}
_TITLES = {"sd_log": "sd of log β", "cv": "sd/mean of β"}
# Range in which the log spread of a given coefficient of variation is looked for.
_LOG_SPREADS = (-12.0, 2.0)


@dataclass(frozen=True, eq=False)
class Mixing(ABC):
    """What a family of mixing distributions declares, and what follows from it."""

    positive_parameters: ClassVar[tuple[str, ...]] = ()
    #: Whether every draw is positive, so that its logarithm exists.
    positive: ClassVar[bool] = True
    #: Whether choosers differ at all.
    varies: ClassVar[bool] = True
    #: Whether there is a density: no single strength has a probability of its own.
    has_density: ClassVar[bool] = True
    #: Whether the parameters are the location and the dispersion, and strength, or its log, is
    #: location + dispersion z, linear in a standard normal draw z.
    linear: ClassVar[bool] = False
    #: The spread that a prior of training describes, one of :data:`SPREADS`: of positive strength
    #: the dispersion itself.
    spread: ClassVar[str] = "cv"
    #: What the location is, in a figure.
    location_title: ClassVar[str] = "mean of β"

    def __post_init__(self) -> None:
        values = self.parameters
        missing = [name for name, value in values.items() if value is None]
        if missing and len(missing) < len(values):
            raise InputError(
                f"{self.family} expects all of its parameters ({', '.join(values)}) or none; "
                f"got {', '.join(n for n in values if n not in missing)} alone. "
                f"Give {', '.join(missing)} too, or leave all out to have them inferred."
            )
        for name, value in values.items():
            if isinstance(value, str):
                raise TypeError(f"{self.family} expects a number as {name}; got {value!r}.")
            if not isinstance(value, numbers.Real):
                continue  # arrays, tensors and traced values are checked by whoever made them
            if not math.isfinite(value):
                raise InputError(
                    f"{self.family} expects a finite {name}; got {value}. Give a finite number."
                )
            if name in self.positive_parameters and value <= 0:
                raise InputError(
                    f"{self.family} expects {name} > 0; got {value}. "
                    "One strength for all is `PointMass(value=...)`."
                )

    @property
    def family(self) -> str:
        """Name of the family, such as ``"LogNormal"``."""
        return type(self).__name__

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name, ``None`` where they are to be inferred."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def with_parameters(self, values: Mapping[str, Any]) -> Self:
        """The same kind of mixing distribution with these values for :attr:`parameters`.

        Examples
        --------
        >>> from prefstrength import LogNormal
        >>> LogNormal(mu=0.0, sigma=1.0).with_parameters({"mu": 0.0, "sigma": 2.0})
        LogNormal(mu=0, sigma=2)
        """
        return type(self)(**values)

    def mapped(self, change: Callable[[Any], Any]) -> Self:
        """The same with every parameter changed."""
        return self.with_parameters({name: change(v) for name, v in self.parameters.items()})

    def in_library(self, lib: Library, like: Array) -> Self:
        """The same with numbers turned into arrays of a library, of the precision of ``like``."""
        return self.mapped(lambda value: number(lib, value, like))

    @property
    def lapse_share(self) -> Any:
        """Share of choices made at random, whatever the strength."""
        return 0.0

    @property
    def known(self) -> bool:
        """Whether the parameters are given."""
        return all(value is not None for value in self.parameters.values())

    def require_known(self) -> None:
        """Raise an :class:`~prefstrength.InputError` where the parameters are to be inferred."""
        if not self.known:
            raise InputError(
                f"Expected a known {self.family}; got one without parameters. "
                f"Give {', '.join(self.parameters)}, or fit a model first."
            )

    def __repr__(self) -> str:
        if not self.known:
            return f"{self.family}()"
        inner = ", ".join(f"{name}={as_text(value)}" for name, value in self.parameters.items())
        return f"{self.family}({inner})"

    # -- probabilities of a choice ----------------------------------------------------------------

    @abstractmethod
    def lower_tail(self, lib: Library, y: Array) -> Array:
        r"""Log of :math:`E[\sigma(-\beta y)]` at y >= 0, with full relative accuracy."""

    def log_tails(self, lib: Library, x: Array) -> tuple[Array, Array]:
        """Log p(x) and log p(-x), neither by subtraction from 1 where it is small.

        From the lower tail where strength is positive; a family of both signs has its own.
        """
        # Not abs(x): its gradient at 0 is 0, and ours is E[beta]/2.
        low = self.lower_tail(lib, lib.xp.where(x < 0, -x, x))
        return both_tails(lib, x < 0, low)

    def logit(self, lib: Library, x: Array) -> Array:
        """Log p(x) - log p(-x)."""
        ahead, behind = self.log_tails(lib, x)
        return ahead - behind

    # -- two numbers that mean the same in every family -------------------------------------------

    @classmethod
    @abstractmethod
    def from_location_dispersion(cls, location: Any, dispersion: Any) -> Self:
        """The member of this location and dispersion."""

    @abstractmethod
    def location_dispersion(self) -> tuple[Any, Any]:
        """Location and dispersion; the inverse of :meth:`from_location_dispersion`."""

    @classmethod
    def dispersion_title(cls) -> str:
        """What the dispersion is, in a figure."""
        return _TITLES[cls.spread] if cls.positive else "sd of β"

    @classmethod
    def from_log_mean_spread(cls, log_mean: Any, log_spread: Any) -> Self:
        """The member of this log mean and log spread, as a prior of training has them.

        Examples
        --------
        >>> from prefstrength import Gamma, LogNormal
        >>> Gamma.from_log_mean_spread(math.log(0.5), math.log(0.5))
        Gamma(shape=4, rate=8)
        >>> LogNormal.from_log_mean_spread(math.log(0.5), math.log(0.5))
        LogNormal(mu=-0.818147, sigma=0.5)
        """
        exp = library_of(log_mean, log_spread).xp.exp
        if not cls.positive:
            mean, sd = exp(log_mean), exp(log_mean + log_spread)
            return cls.from_location_dispersion(as_number(mean), as_number(sd))
        spread = as_number(exp(log_spread))
        above = cls.from_location_dispersion(0.0 * spread, spread).log_mean()
        return cls.from_location_dispersion(log_mean - above, spread)

    def log_mean_spread(self) -> tuple[Any, Any]:
        """Log mean and log spread; the inverse of :meth:`from_log_mean_spread`.

        Raises
        ------
        InputError
            If the mean strength is a number of at most 0.
        """
        self.require_positive_mean()
        spread = getattr(self, self.spread)()
        return self.log_mean(), as_number(library_of(spread).xp.log(spread))

    def require_positive_mean(self) -> None:
        """Raise an :class:`~prefstrength.InputError` where the mean is a number of at most 0."""
        mean = self.mean()
        if plain(mean) and np.min(mean) <= 0:
            raise InputError(
                f"Expected a positive mean strength; got {np.min(mean):.6g}. A negative mean says "
                "that choosers prefer the lower reward. Check the sign of the rewards, and which "
                "response is `chosen`."
            )

    @classmethod
    def cv_from_log_spread(cls, log_spread: Any) -> Any:
        """Coefficient of variation that belongs to a log spread."""
        return cls.from_log_mean_spread(0.0, log_spread).cv()

    @classmethod
    def log_spread_from_cv(cls, cv: float) -> float | None:
        """Log spread that belongs to a coefficient of variation.

        Examples
        --------
        >>> from prefstrength import LogNormal
        >>> round(LogNormal.cv_from_log_spread(LogNormal.log_spread_from_cv(0.5)), 12)
        0.5
        """
        if cls.spread == "cv":
            return math.log(cv)
        found = elementwise.find_root(lambda each: cls.cv_from_log_spread(each) - cv, _LOG_SPREADS)
        return float(found.x)

    # -- draws ------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def standard(cls, lib: Library, z: Array, dispersion: Array) -> Array:
        """Strength, or its log where it is positive, at location 0 and standard normal draws z.

        The quantile at probability Phi(z); the arguments broadcast. NumPy's z are not traced.
        """

    @classmethod
    def coefficient(cls, lib: Library, z: Array, location: Array, dispersion: Array) -> Array:
        """Strength at standard normal draws z; the arguments broadcast.

        Examples
        --------
        >>> from prefstrength import Normal
        >>> Normal.coefficient(NUMPY, 1.0, 2.0, 0.5)
        2.5
        """
        value = location + cls.standard(lib, z, dispersion)
        return lib.xp.exp(value) if cls.positive else value

    def at(self, lib: Library, z: Array) -> Array:
        """Strength at standard normal draws z, which broadcast against the parameters."""
        return self.coefficient(lib, z, *self.location_dispersion())

    def quantile(self, q: Any) -> Any:
        """Quantiles of the strength at probabilities ``q``."""
        return self._asked(lambda law, lib, q: law.at(lib, lib.special.ndtri(q)), q)

    def median(self) -> Any:
        """Median strength."""
        return as_number(self.quantile(0.5))

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """Draws of the strength."""
        self.require_known()
        return np.asarray(self.at(NUMPY, rng.standard_normal(size)))

    def draws(self, lib: Library, shape: Any, like: Array, generator: Any) -> Array:
        """Draws through which gradients reach the parameters, in torch."""
        assert lib.normal is not None
        return self.at(lib, lib.normal(shape, like, generator))

    # -- probabilities and moments of strength ----------------------------------------------------

    @abstractmethod
    def log_density(self, lib: Library, strength: Array) -> Array:
        """Log of the density at ``strength``."""

    @abstractmethod
    def distribution(self, lib: Library, strength: Array) -> Array:
        """Probability of a strength of at most ``strength``."""

    @abstractmethod
    def moments(self, lib: Library) -> tuple[Array, Array]:
        """Mean and standard deviation of the strength."""

    @abstractmethod
    def log_moments(self, lib: Library) -> tuple[Array, Array]:
        """Mean and variance of log strength, ``nan`` where it may have no logarithm."""

    def pdf(self, strength: Any) -> Any:
        """Density at ``strength``."""
        return self._asked(
            lambda law, lib, strength: lib.xp.exp(law.log_density(lib, strength)), strength
        )

    def cdf(self, strength: Any) -> Any:
        """Probability of a strength of at most ``strength``."""
        return self._asked(lambda law, lib, strength: law.distribution(lib, strength), strength)

    def mean(self) -> Any:
        """Mean strength."""
        return self._asked(lambda law, lib: law.moments(lib)[0])

    def log_mean(self) -> Any:
        """Log of the mean strength."""
        return self._asked(lambda law, lib: lib.xp.log(law.moments(lib)[0]))

    def sd(self) -> Any:
        """Standard deviation of the strength."""
        return self._asked(lambda law, lib: law.moments(lib)[1])

    def mean_square(self) -> Any:
        """Mean of the squared strength."""
        return self.mean() ** 2 + self.sd() ** 2

    def cv(self) -> Any:
        """Coefficient of variation, sd/mean: the spread free of the scale of the rewards.

        Infinite where the mean is 0.
        """

        def cv(law: Mixing, lib: Library) -> Array:
            mean, sd = law.moments(lib)
            size = lib.xp.abs(mean)
            return lib.xp.where(size > 0, sd / lib.xp.where(size > 0, size, 1.0), math.inf)

        return self._asked(cv)

    def sd_log(self) -> Any:
        """Standard deviation of log strength (``nan`` where strength may be negative or 0)."""
        return self._asked(lambda law, lib: lib.xp.sqrt(law.log_moments(lib)[1]))

    def _asked(self, what: Callable[..., Array], *arguments: Any) -> Any:
        """An answer in the library of the parameters and arguments; of numbers alone, a number."""
        self.require_known()
        given = [*self.parameters.values(), *arguments]
        lib = library_of(*given)
        if lib is NUMPY:
            found = what(self, lib, *(np.asarray(each, dtype=float) for each in arguments))
            return np.asarray(found) if arguments else as_number(found)
        like = next(each for each in given if not plain(each))
        arguments = tuple(number(lib, each, like) for each in arguments)
        return what(self.in_library(lib, like), lib, *arguments)


# -- parts of families ---------------------------------------------------------------------------


def both_tails(lib: Library, behind: Array, low: Array) -> tuple[Array, Array]:
    """Log p(x) and log p(-x) from the log of the smaller, which is the first where ``behind``."""
    high = log_one_minus_exp(lib, low)
    return lib.xp.where(behind, low, high), lib.xp.where(behind, high, low)


def where_positive(
    lib: Library, strength: Array, of: Callable[[Array], Array], outside: float
) -> Array:
    """A function of positive strengths, and a constant for the others."""
    inside = strength > 0
    # The function sees only what it can digest, so that no NaN enters a gradient.
    return lib.xp.where(inside, of(lib.xp.where(inside, strength, 1.0)), outside)


def as_text(value: Any) -> str:
    """A parameter in a few characters."""
    return f"{value:.6g}" if isinstance(value, numbers.Real) else "<array>"
