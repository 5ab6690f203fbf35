r"""Mixing distributions: the law of a coefficient over choosers (or situations).

With parameters a mixing distribution is a known law; without them it is a law to be inferred.
Parameters may be numbers, arrays, or tensors of any library: this module does no
differentiable arithmetic, :mod:`prefstrength.choice.kernel` does.
"""

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from prefstrength.errors import InputError

__all__ = ["Mixing"]


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
                    "A law without spread is `PointMass(value=...)`."
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
