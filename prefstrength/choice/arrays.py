"""Array libraries: the few things in which NumPy, JAX and torch differ.

Neither JAX nor torch is imported here: who hands over an array of theirs has them loaded.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import special

__all__ = ["NUMPY", "Library", "library", "library_of"]

Array = Any


@dataclass(frozen=True)
class Library:
    """The few things in which array libraries differ.

    Parameters
    ----------
    xp : module
        ``numpy``, ``jax.numpy`` or ``torch``.
    special : module
        Its special functions, by the names of ``scipy.special``.
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
    take : callable
        ``take(values, index)``: along the last axis.
    normal, gamma : callable, optional
        ``normal(shape, like, generator)``, ``gamma(shape, generator)``: standard draws, through
        which gradients reach the shape of the latter; torch's alone.
    """

    xp: Any
    special: Any
    hold: Callable[[Array], Array]
    constant: Callable[[Any, Array], Array]
    single: Callable[[Array], bool]
    largest: Callable[[Array], float | None]
    double: Callable[[Array], Array]
    like: Callable[[Array, Array], Array]
    take: Callable[[Array, Array], Array]
    normal: Callable[[Any, Array, Any], Array] | None = None
    gamma: Callable[[Array, Any], Array] | None = None


#: NumPy as a :class:`Library` (it has no gradients).
NUMPY = Library(
    xp=np,
    special=special,
    hold=lambda values: values,
    constant=lambda values, like: np.asarray(values, dtype=like.dtype),
    single=lambda x: x.dtype != np.float64,
    largest=lambda values: float(np.max(values, initial=0.0)),
    double=lambda values: values.astype(np.float64, copy=False),
    like=lambda values, other: values.astype(other.dtype, copy=False),
    take=lambda values, index: np.take_along_axis(values, index, axis=-1),
)


def _jax(jax: Any) -> Library:
    jnp = jax.numpy
    return Library(
        xp=jnp,
        special=importlib.import_module("jax.scipy.special"),
        hold=jax.lax.stop_gradient,
        constant=lambda values, like: jnp.asarray(values, dtype=like.dtype),
        single=lambda x: x.dtype != jnp.float64,
        largest=lambda x: (
            None if isinstance(x, jax.core.Tracer) else float(jnp.max(x, initial=0.0))
        ),
        double=lambda x: x.astype(jnp.float64) if jax.config.jax_enable_x64 else x,
        like=lambda values, other: values.astype(other.dtype),
        take=lambda values, index: jnp.take_along_axis(values, index, axis=-1),
    )


def _torch(torch: Any) -> Library:
    def largest(values: Array) -> float | None:
        if torch.compiler.is_compiling():
            return None
        try:
            return float(values.detach().max().item())
        except RuntimeError:  # inside of torch.func, where a tensor has no value of its own
            return None

    return Library(
        xp=torch,
        special=torch.special,
        hold=lambda x: x.detach(),
        constant=lambda values, like: torch.as_tensor(values, dtype=like.dtype, device=like.device),
        single=lambda x: x.dtype != torch.float64,
        largest=largest,
        # Apple's GPUs have no float64.
        double=lambda x: x if x.device.type == "mps" else x.double(),
        like=lambda values, other: values.to(other.dtype),
        take=lambda values, index: torch.take_along_dim(values, index, dim=-1),
        normal=lambda shape, like, generator: torch.randn(
            shape, dtype=like.dtype, device=like.device, generator=generator
        ),
        # As torch.distributions.Gamma.rsample, which takes no generator.
        gamma=lambda shape, generator: torch._standard_gamma(shape, generator=generator),
    )


#: Libraries besides NumPy: the name of their arrays' class, and how to make one.
_OTHERS = {"jax": ("Array", _jax), "torch": ("Tensor", _torch)}


@cache
def library(name: str) -> Library:
    """JAX or torch, which is loaded already, as a :class:`Library`."""
    return _OTHERS[name][1](sys.modules[name])


def library_of(*values: Any) -> Library:
    """Library whose arrays these are; plain numbers are NumPy's.

    Examples
    --------
    >>> library_of(0.5, np.ones(3)).xp.__name__
    'numpy'
    """
    for name, (kind, _) in _OTHERS.items():
        module = sys.modules.get(name)
        if module is not None and any(isinstance(v, getattr(module, kind)) for v in values):
            return library(name)
    return NUMPY


def plain(value: Any) -> bool:
    return isinstance(value, int | float | np.ndarray | np.generic)


def number(lib: Library, value: Any, like: Array) -> Array:
    return lib.constant(value, like) if plain(value) else value


def as_number(value: Any) -> Any:
    """A single number of NumPy as Python's; what else there is as it is."""
    return float(value) if plain(value) and np.ndim(value) == 0 else value


def sides(lib: Library, u: Array) -> tuple[Array, Array, Array]:
    """min(u, 0), min(-u, 0) and their sum -|u|; at 0 with the slopes that they have above it."""
    xp = lib.xp
    if xp is np:  # whose `where` waits for every guess of a branch that was wrong
        return np.minimum(u, 0.0), np.minimum(-u, 0.0), -np.abs(u)
    below, far = xp.where(u < 0, u, 0.0 * u), xp.where(u < 0, u, -u)
    return below, xp.where(u < 0, 0.0 * u, -u), far


def log_sigmoid(lib: Library, u: Array) -> Array:
    below, _, far = sides(lib, u)
    return below - lib.xp.log1p(lib.xp.exp(far))


def log_sigmoids(lib: Library, u: Array) -> tuple[Array, Array]:
    """Those of u and of -u."""
    below, above, far = sides(lib, u)
    log_total = lib.xp.log1p(lib.xp.exp(far))
    return below - log_total, above - log_total


def log_one_minus_exp(lib: Library, low: Array) -> Array:
    """log(1 - e^low) for low <= log(1/2), where log1p is the accurate branch."""
    return lib.xp.log1p(-lib.xp.exp(low))


def log_add(lib: Library, a: Array, b: Array) -> Array:
    """log(e^a + e^b); both finite."""
    xp = lib.xp
    if xp is np:
        larger, distance = np.maximum(a, b), -np.abs(a - b)
    else:
        larger, distance = xp.where(a > b, a, b), xp.where(a > b, b - a, a - b)
    return larger + xp.log1p(xp.exp(distance))


def logsumexp(lib: Library, values: Array) -> Array:
    xp = lib.xp
    top = lib.hold(xp.amax(values, axis=-1))
    return top + xp.log(xp.sum(xp.exp(values - top[..., None]), axis=-1))


@cache
def trapezoid(lower: float, upper: float, step: float) -> np.ndarray:
    return np.arange(lower, upper + step / 2, step)
