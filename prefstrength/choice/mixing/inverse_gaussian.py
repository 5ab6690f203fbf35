"""Inverse Gaussian mixing distribution."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from prefstrength.choice.arrays import Array, Library
from prefstrength.choice.mixing import inverse_gaussian_quantiles as _inverse_gaussian
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.series import log_laplace_sum, series_terms

__all__ = ["InverseGaussian"]


def inverse_gaussian_lower_tail(lib: Library, y: Array, mu: Array, shape: Array) -> Array:
    # log L(s) = shape/mu (1 - r(s)), r(s) = sqrt(1 + 2 mu^2 s/shape); differences of roots as
    # quotients of sums.
    n = lib.constant(np.arange(0.0, series_terms(lib, y) + 2), y)
    double = 2 * (mu * y)
    root = lib.xp.sqrt(1 + (double * (mu / shape))[..., None] * n)
    first = -double / (1 + root[..., 1])
    double = double[..., None]
    ratio = -(n[1:-1] - 1) * double / (root[..., 1:-1] + root[..., 1:2])
    step = -double / (root[..., 2:] + root[..., 1:-1])
    return log_laplace_sum(lib, first, ratio, step)


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
