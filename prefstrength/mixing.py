r"""Mixing distributions: the law of a coefficient over choosers (or situations).

With parameters a mixing distribution is a known law; without them it is a law to be inferred.
Parameters may be numbers, arrays, or tensors of any library: this module does no
differentiable arithmetic, :mod:`prefstrength.kernel` does.
"""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
from scipy import stats

from prefstrength import _inverse_gaussian
from prefstrength.errors import InputError

__all__ = ["MIXINGS", "Gamma", "InverseGaussian", "LogNormal", "Mixing", "Normal", "PointMass"]


@dataclass(frozen=True, eq=False)
class Mixing(ABC):
    """What all mixing distributions share; use one of the leaves below."""

    positive_parameters: ClassVar[tuple[str, ...]] = ()
    #: Whether every draw is positive, so that its logarithm exists.
    positive: ClassVar[bool] = True

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
                    "A law without spread is PointMass(value=...)."
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
        """The same kind of law with these values for :attr:`parameters`.

        Examples
        --------
        >>> LogNormal(mu=0.0, sigma=1.0).with_parameters({"mu": 0.0, "sigma": 2.0})
        LogNormal(mu=0, sigma=2)
        """
        return type(self)(**values)

    @property
    def known(self) -> bool:
        """Whether the parameters are given."""
        return all(value is not None for value in self.parameters.values())

    def __repr__(self) -> str:
        if not self.known:
            return f"{self.family}()"
        inner = ", ".join(
            f"{name}={value:.6g}" if isinstance(value, numbers.Real) else f"{name}=<array>"
            for name, value in self.parameters.items()
        )
        return f"{self.family}({inner})"

    # -- summaries of a known law ---------------------------------------------------------

    def _law(self) -> Any:
        raise TypeError(f"{self.family} has no density.")

    def _require_known(self) -> None:
        if not self.known:
            raise InputError(
                f"Expected a known {self.family}; got one without parameters. "
                f"Give {', '.join(self.parameters)}, or fit a model first."
            )

    def mean(self) -> float:
        """Mean strength."""
        self._require_known()
        return float(self._law().mean())

    def sd(self) -> float:
        """Standard deviation of the strength."""
        self._require_known()
        return float(self._law().std())

    def median(self) -> float:
        """Median strength."""
        self._require_known()
        return float(self._law().median())

    def cv(self) -> float:
        """Coefficient of variation, sd/mean: the spread free of the scale of the rewards.

        Infinite where the mean is 0.
        """
        mean = abs(self.mean())
        return self.sd() / mean if mean > 0 else math.inf

    def sd_log(self) -> float:
        """Standard deviation of log strength (``nan`` where strength may be negative or 0)."""
        self._require_known()
        return math.sqrt(self._log_moments()[1])

    @abstractmethod
    def _log_moments(self) -> tuple[float, float]:
        """Mean and variance of log strength, ``nan`` where it may have no logarithm."""

    def quantile(self, q: Any) -> np.ndarray:
        """Quantiles of the strength at probabilities ``q``."""
        self._require_known()
        return np.asarray(self._law().ppf(q))

    def cdf(self, strength: Any) -> np.ndarray:
        """Probability of a strength of at most ``strength``."""
        self._require_known()
        return np.asarray(self._law().cdf(strength))

    def pdf(self, strength: Any) -> np.ndarray:
        """Density at ``strength``."""
        self._require_known()
        return np.asarray(self._law().pdf(strength))

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        """Draws of the strength."""
        self._require_known()
        return np.asarray(self._law().rvs(size=size, random_state=rng))


@dataclass(frozen=True, eq=False, repr=False)
class PointMass(Mixing):
    """One coefficient shared by all: the plain logit, plain DPO.

    Parameters
    ----------
    value : float, optional
        The coefficient; to be inferred when left out.

    Examples
    --------
    >>> PointMass(value=0.1).mean()
    0.1
    >>> PointMass().known
    False
    """

    value: Any = None
    positive: ClassVar[bool] = False

    def mean(self) -> float:
        self._require_known()
        return float(self.value)

    median = mean

    def sd(self) -> float:
        self._require_known()
        return 0.0

    def cv(self) -> float:
        self._require_known()
        return 0.0

    def sd_log(self) -> float:
        self._require_known()
        return 0.0  # of a single number, whatever its sign

    def _log_moments(self) -> tuple[float, float]:
        value = self.mean()
        return (math.log(value), 0.0) if value > 0 else (math.nan, math.nan)

    def quantile(self, q: Any) -> np.ndarray:
        return np.full(np.shape(q), self.mean())

    def cdf(self, strength: Any) -> np.ndarray:
        return np.asarray(np.asarray(strength) >= self.mean(), dtype=float)

    def sample(self, rng: np.random.Generator, size: int | tuple[int, ...]) -> np.ndarray:
        return np.full(size, self.mean())


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


@dataclass(frozen=True, eq=False, repr=False)
class Gamma(Mixing):
    """Gamma law with concentration ``shape`` and ``rate``: mean shape/rate, cv 1/sqrt(shape).

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

    def _law(self) -> Any:
        return stats.gamma(float(self.shape), scale=1.0 / float(self.rate))

    def _log_moments(self) -> tuple[float, float]:
        from scipy.special import digamma, polygamma

        shape = float(self.shape)
        mean = float(digamma(shape)) - math.log(float(self.rate))
        return mean, float(polygamma(1, shape))


@dataclass(frozen=True, eq=False, repr=False)
class InverseGaussian(Mixing):
    """Inverse Gaussian law of mean ``mu`` and ``shape``: variance mu^3/shape, cv sqrt(mu/shape).

    Lighter than LogNormal in the upper tail, like Gamma; unlike Gamma, next to no strengths
    close to 0 however large the spread.

    Parameters
    ----------
    mu, shape : float, optional
        Mean and shape, both > 0.

    Examples
    --------
    >>> InverseGaussian(mu=2.0, shape=8.0).mean(), InverseGaussian(mu=2.0, shape=8.0).cv()
    (2.0, 0.5)
    """

    mu: Any = None
    shape: Any = None
    positive_parameters: ClassVar[tuple[str, ...]] = ("mu", "shape")

    def _law(self) -> Any:
        mu, shape = float(self.mu), float(self.shape)
        return stats.invgauss(mu / shape, scale=shape)

    def _log_moments(self) -> tuple[float, float]:
        mu = float(self.mu)
        mean, variance = _inverse_gaussian.log_moments(np.sqrt(mu / float(self.shape)))
        return float(mean) + math.log(mu), float(variance)


#: Families by name.
MIXINGS: dict[str, type[Mixing]] = {
    law.__name__: law for law in (PointMass, Normal, LogNormal, Gamma, InverseGaussian)
}
