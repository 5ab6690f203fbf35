"""Array libraries: the few things in which NumPy, JAX and torch differ."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

__all__ = ["Library"]

Array = Any


@dataclass(frozen=True)
class Library:
    """The few things in which array libraries differ.

    Parameters
    ----------
    xp : module
        ``jax.numpy`` or ``torch``.
    hold : callable
        Returns its argument cut out of the gradient.
    constant : callable
        ``constant(values, like)``: numbers as an array of ``like``'s dtype and device.
    single : callable
        Whether an array is in single precision, for which fewer nodes are enough.
    largest : callable
        Largest value of an array, or ``None`` where it is not known while tracing.
    double : callable
        An array in double precision, or as it is where there is none.
    like : callable
        ``like(values, other)``: an array in the precision of another.
    """

    xp: Any
    hold: Callable[[Array], Array]
    constant: Callable[[Any, Array], Array]
    single: Callable[[Array], bool]
    largest: Callable[[Array], float | None]
    double: Callable[[Array], Array]
    like: Callable[[Array, Array], Array]


def plain(value: Any) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic)


def number(lib: Library, value: Any, like: Array) -> Array:
    return lib.constant(value, like) if plain(value) else value


def log_sigmoid(lib: Library, u: Array) -> Array:
    xp = lib.xp
    negative = xp.where(u < 0, u, -u)
    return xp.where(u < 0, u, 0.0 * u) - xp.log1p(xp.exp(negative))


def log_one_minus_exp(lib: Library, low: Array) -> Array:
    """log(1 - e^low) for low <= log(1/2), where log1p is the accurate branch."""
    return lib.xp.log1p(-lib.xp.exp(low))


def logsumexp(lib: Library, values: Array) -> Array:
    xp = lib.xp
    top = lib.hold(xp.amax(values, axis=-1))
    return top + xp.log(xp.sum(xp.exp(values - top[..., None]), axis=-1))


@cache
def trapezoid(lower: float, upper: float, step: float) -> np.ndarray:
    return np.arange(lower, upper + step / 2, step)
