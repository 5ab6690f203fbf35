r"""Bends of the utility: how the utility of a difference grows with its size.

A bend is a rising function g of the size of a difference, in units of its root mean square s, with
the strength in front: :math:`v = \beta\, s\, g(|x|/s)`. All choosers share it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from prefstrength.choice.responses.base import Shared
from prefstrength.errors import InputError

__all__ = ["UTILITIES", "Capped", "Linear", "Power", "Spline", "Utility", "utility_of"]


class Utility(ABC):
    """A bend of the utility; use one of the leaves."""

    @property
    def shared(self) -> tuple[Shared, ...]:
        """Numbers that say how it is bent."""
        return ()

    @abstractmethod
    def bent(self, size: np.ndarray, shared: Mapping[str, Any]) -> np.ndarray:
        """g of sizes in units of the root mean square, of any shape."""


class Linear(Utility):
    """No bend: the utility of a difference is proportional to it."""

    def bent(self, size: np.ndarray, shared: Mapping[str, Any]) -> np.ndarray:
        return size


class Power(Utility):
    r"""A power: :math:`g(a) = a^\gamma`, concave below 1 and convex above."""

    @property
    def shared(self) -> tuple[Shared, ...]:
        return (Shared("power", "LogNormal", (0.0, 0.3), 1.0, "power of the difference"),)

    def bent(self, size: np.ndarray, shared: Mapping[str, Any]) -> np.ndarray:
        return np.asarray(size ** shared["power"])


class Capped(Utility):
    r"""Saturation: :math:`g(a) = a / (1 + (a/\kappa)^4)^{1/4}`, linear at first, then flat."""

    @property
    def shared(self) -> tuple[Shared, ...]:
        return (Shared("cap", "LogNormal", (0.4, 0.7), np.inf, "difference that saturates"),)

    def bent(self, size: np.ndarray, shared: Mapping[str, Any]) -> np.ndarray:
        return np.asarray(size / (1 + (size / shared["cap"]) ** 4) ** 0.25)


class Spline(Utility):
    r"""A monotone spline through few knots, with g(1) = 1 so that strength keeps its unit.

    Between the knots 0, 1/2, 1, 2 and 4 the slopes are :math:`e^{\delta_k}` times as large as a
    straight line's, of which only ratios count; beyond the last knot it goes on straight.
    """

    knots = np.array([0.0, 0.5, 1.0, 2.0, 4.0])

    @property
    def shared(self) -> tuple[Shared, ...]:
        return tuple(
            Shared(f"slope_{k}", "Normal", (0.0, 0.5), 0.0, f"log slope of stretch {k} over the first")
            for k in range(2, len(self.knots))
        )

    def bent(self, size: np.ndarray, shared: Mapping[str, Any]) -> np.ndarray:
        slopes = np.exp([0.0, *(float(shared[each.name]) for each in self.shared)])
        heights = np.r_[0.0, np.cumsum(slopes * np.diff(self.knots))]
        heights /= heights[2]
        curve = PchipInterpolator(self.knots, heights)
        last = self.knots[-1]
        return np.asarray(
            np.where(
                size <= last,
                curve(np.minimum(size, last)),
                heights[-1] + curve.derivative()(last) * (size - last),
            )
        )


#: Bends by the name that a model takes.
UTILITIES: dict[str, type[Utility]] = {
    "linear": Linear,
    "power": Power,
    "capped": Capped,
    "spline": Spline,
}


def utility_of(name: str) -> Utility:
    """Bend of a name.

    Raises
    ------
    InputError
        If there is no such bend.
    """
    if name not in UTILITIES:
        raise InputError(f"Expected utility to be one of {list(UTILITIES)}; got {name!r}.")
    return UTILITIES[name]()
