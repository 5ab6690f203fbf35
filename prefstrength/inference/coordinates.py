r"""Coordinates of parameters: one where posteriors are round, one where likelihoods are smooth.

A spread, a share or a width may be 0, and data that do not rule that out leave it a density that is
flat there: in its logarithm a long tail on one side. In :math:`v = \log(p + c)` the density ends
where p is 0 instead, and is finite up to there: draws are proposed in v. A likelihood is smooth in
p, but that of a spread is a function of its square, and smooth in
:math:`w = \log(p^2 + c^2) / 2`: polynomials are fitted in w.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

__all__ = ["Coordinate"]


@dataclass(frozen=True)
class Coordinate:
    """Coordinates of one parameter p.

    Parameters
    ----------
    kind : {"real", "positive", "spread", "share"}
    bend : float
        The c above: the size of p that the data can tell from 0. Of a share v is
        log(p + c) - log(1 - p + c).
    """

    kind: str
    bend: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:
        """Range of v, and of w."""
        if self.kind == "real":
            return -np.inf, np.inf
        low = float(self.round(np.zeros(1))[0])
        return low, -low if self.kind == "share" else np.inf

    def round(self, p: np.ndarray) -> np.ndarray:
        """The coordinate v, in which draws are proposed."""
        if self.kind == "real":
            return p
        if self.kind == "share":
            return np.log(p + self.bend) - np.log(1 - p + self.bend)
        return np.log(p + self.bend)

    def smooth(self, p: np.ndarray) -> np.ndarray:
        """The coordinate w, in which polynomials are fitted."""
        return np.log(np.hypot(p, self.bend)) if self.kind == "spread" else self.round(p)

    def parameter(self, v: np.ndarray) -> np.ndarray:
        """The parameter at v between :attr:`ends`."""
        if self.kind == "real":
            return v
        if self.kind == "share":
            return np.clip(special.expit(v) * (1 + 2 * self.bend) - self.bend, 0.0, 1.0)
        return np.maximum(np.exp(v) - self.bend, 0.0)

    def of_smooth(self, w: np.ndarray) -> np.ndarray:
        """The parameter at w between :attr:`ends`."""
        if self.kind != "spread":
            return self.parameter(w)
        return self.bend * np.sqrt(np.maximum(np.expm1(2 * (w - np.log(self.bend))), 0.0))

    def log_slope(self, v: np.ndarray) -> np.ndarray:
        """Log of the derivative of the parameter by v."""
        if self.kind == "real":
            return np.zeros_like(v)
        if self.kind == "share":
            return np.log1p(2 * self.bend) + special.log_expit(v) + special.log_expit(-v)
        return v
