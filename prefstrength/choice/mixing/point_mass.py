"""PointMass: one coefficient shared by all, the plain logit and plain DPO."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from prefstrength.choice.mixing.base import Mixing

__all__ = ["PointMass"]


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
