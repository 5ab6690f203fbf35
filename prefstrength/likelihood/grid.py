r"""Grids of strength, uniform in a coordinate in which every log-likelihood is smooth.

Strengths are counted in units of one over the scale s of the differences, their median size, so
that a utility difference is of the order of 1 in the middle of the grid:

- positive strengths: :math:`t = \log(s \beta)` from -10 to 14, and the strength 0 apart;
- strengths of either sign: :math:`t = \mathrm{asinh}(4 s \beta)` from -16 to 16.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["BASE", "BEND", "Grid"]

#: Step of the grid on which log-likelihoods are kept, and interpolated.
BASE = 0.125
_LOW, _HIGH, _SIGNED = -10.0, 14.0, 16.0
#: How far from 0 a strength of either sign is counted linearly, over the scale.
BEND = 4.0


@dataclass(frozen=True)
class Grid:
    """Nodes of strength.

    Parameters
    ----------
    scale : float
        Median size of the differences, in the units of the attribute.
    positive : bool
        Whether strengths are positive.
    step : float
        Distance of the nodes in t, one over a power of two.
    """

    scale: float
    positive: bool
    step: float = BASE

    @cached_property
    def t(self) -> np.ndarray:
        """Nodes, uniform, shape (node,)."""
        low, high = (_LOW, _HIGH) if self.positive else (-_SIGNED, _SIGNED)
        return np.arange(low, high + self.step / 2, self.step)

    @cached_property
    def strength(self) -> np.ndarray:
        """Strength at every node, per unit of the attribute."""
        return self.strength_at(self.t)

    def strength_at(self, t: np.ndarray) -> np.ndarray:
        """Strength at any t."""
        return (np.exp(t) if self.positive else np.sinh(t) / BEND) / self.scale

    def slope_at(self, t: np.ndarray) -> np.ndarray:
        """Derivative of the strength by t."""
        return (np.exp(t) if self.positive else np.cosh(t) / BEND) / self.scale

    def position(self, strength: np.ndarray) -> np.ndarray:
        """Where strengths lie, in steps from the first node."""
        with np.errstate(divide="ignore"):
            t = np.log(strength * self.scale) if self.positive else np.arcsinh(
                strength * self.scale * BEND
            )  # fmt: skip
        return (np.clip(t, -1e3, 1e3) - self.t[0]) / self.step

    def finer(self, factor: int) -> "Grid":
        """The same range in steps that are so many times as small."""
        return Grid(self.scale, self.positive, self.step / factor)
