"""Chebyshev series: values at nodes to coefficients, and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

__all__ = ["chebyshev_basis"]


def clenshaw(series: jax.Array, t: jax.Array) -> jax.Array:
    """Sum of a Chebyshev series, its coefficients along the last axis, at t."""
    zero = jnp.zeros(jnp.broadcast_shapes(series.shape[:-1], t.shape))

    def step(carry: tuple[jax.Array, jax.Array], c: jax.Array) -> tuple[Any, None]:
        first, second = carry
        return (c + 2 * t * first - second, first), None

    backwards = jnp.moveaxis(series[..., :0:-1], -1, 0)
    (first, second), _ = jax.lax.scan(step, (zero, zero), backwards)
    return series[..., 0] + t * first - second


def chebyshev_basis(t: jax.Array, degree: int) -> jax.Array:
    """T_0 … T_degree at t in [-1, 1], along a new last axis.

    By doubling, T_{m+k} = 2 T_m T_k - T_{m-k}: a handful of operations to compile, and unlike
    cos(k arccos t) differentiable at the ends, where the derivative of arccos is infinite.
    """
    basis = jnp.stack([jnp.ones_like(t), t], axis=-1)
    while (m := basis.shape[-1] - 1) < degree:
        higher = 2 * basis[..., -1:] * basis[..., 1:] - basis[..., m - 1 :: -1]
        basis = jnp.concatenate([basis, higher], axis=-1)
    return basis[..., : degree + 1]


def chebyshev_coefficients(t: np.ndarray, values: np.ndarray) -> np.ndarray:
    """By the discrete orthogonality of the Chebyshev polynomials on their own nodes t."""
    coefficients = 2 / len(t) * chebyshev.chebvander(t, len(t) - 1).T @ values
    coefficients[0] /= 2
    return coefficients
