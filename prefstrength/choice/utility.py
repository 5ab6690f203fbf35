r"""Bends of the utility: how the utility of a difference grows with its size.

A bend is a rising function g of the size of a difference, in units of its root mean square s, with
the strength in front: :math:`v = \beta\, s\, g(|x|/s)`. All choosers share it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefstrength.choice.arrays import Array, Library, number
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
    def bent(self, lib: Library, size: Array, shared: Mapping[str, Any]) -> Array:
        """G of sizes in units of the root mean square, of any shape."""


class Linear(Utility):
    """No bend: the utility of a difference is proportional to it."""

    def bent(self, lib: Library, size: Array, shared: Mapping[str, Any]) -> Array:
        return size


class Power(Utility):
    r"""A power: :math:`g(a) = a^\gamma`, concave below 1 and convex above."""

    @property
    def shared(self) -> tuple[Shared, ...]:
        return (Shared("power", "LogNormal", (0.0, 0.3), 1.0, "power of the difference"),)

    def bent(self, lib: Library, size: Array, shared: Mapping[str, Any]) -> Array:
        return size ** number(lib, shared["power"], size)


class Capped(Utility):
    r"""Saturation: :math:`g(a) = a / (1 + (a/\kappa)^4)^{1/4}`, linear at first, then flat."""

    @property
    def shared(self) -> tuple[Shared, ...]:
        return (Shared("cap", "LogNormal", (0.4, 0.7), np.inf, "difference that saturates"),)

    def bent(self, lib: Library, size: Array, shared: Mapping[str, Any]) -> Array:
        cap = number(lib, shared["cap"], size)
        return size / (1 + (size / cap) ** 4) ** 0.25


class Spline(Utility):
    r"""A monotone spline through few knots, with g(1) = 1 so that strength keeps its unit.

    Between the knots 0, 1/2, 1, 2 and 4 the mean slopes are :math:`e^{\delta_k}` times the first
    one's; slopes at knots are harmonic means, which keeps the spline monotone [1]_. Beyond the last
    knot it goes on straight.

    References
    ----------
    .. [1] F. N. Fritsch, J. Butland (1984), A method for constructing local monotone piecewise
       cubic interpolants, SIAM Journal on Scientific and Statistical Computing 5(2).
    """

    knots = (0.0, 0.5, 1.0, 2.0, 4.0)

    @property
    def shared(self) -> tuple[Shared, ...]:
        return tuple(
            Shared(
                f"slope_{k}", "Normal", (0.0, 0.5), 0.0, f"log slope of stretch {k} over the first"
            )
            for k in range(2, len(self.knots))
        )

    def bent(self, lib: Library, size: Array, shared: Mapping[str, Any]) -> Array:
        xp, knots = lib.xp, self.knots
        first = number(lib, 1.0, size)
        mean = [first, *(xp.exp(number(lib, shared[each.name], size)) for each in self.shared)]
        inner = [2 * a * b / (a + b) for a, b in zip(mean[:-1], mean[1:], strict=True)]
        slope = [mean[0], *inner, mean[-1]]
        height, out, unit = 0.0 * first, 0.0 * size, 1.0
        for k, (low, high) in enumerate(zip(knots[:-1], knots[1:], strict=True)):
            width, rise = high - low, mean[k] * (high - low)
            at = (size - low) / width
            at = xp.where(at > 1, 1.0, xp.where(at < 0, 0.0, at))
            # Cubic Hermite polynomial of the stretch, constant before and after it.
            out = (
                out
                + rise * at**2 * (3 - 2 * at)
                + width * (slope[k] * at * (1 - at) ** 2 - slope[k + 1] * at**2 * (1 - at))
            )
            height = height + rise
            if high == 1.0:
                unit = height
        beyond = xp.where(size > knots[-1], size - knots[-1], 0.0 * size)
        return (out + slope[-1] * beyond) / unit


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
