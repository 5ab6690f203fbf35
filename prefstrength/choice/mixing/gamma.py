"""Gamma mixing distribution, whose Laplace transform is a power."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from prefstrength.choice.arrays import Array, Library
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.series import log_laplace_sum, series_terms

__all__ = ["Gamma"]


def gamma_lower_tail(lib: Library, y: Array, shape: Array, rate: Array) -> Array:
    # log L(s) = -shape log(1 + s/rate)
    n = lib.constant(np.arange(1.0, series_terms(lib, y) + 1), y)
    log1p, first = lib.xp.log1p, -shape * lib.xp.log1p(y / rate)
    y, shape, rate = y[..., None], shape[..., None], rate[..., None]
    ratio = -shape * log1p((n - 1) * (y / (rate + y)))
    step = -shape * log1p(y / (rate + n * y))
    return log_laplace_sum(lib, first, ratio, step)


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
