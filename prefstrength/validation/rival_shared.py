"""Numbers that belong to the kind of answer (cut points, the width of a tie), integrated out.

They are known far better than the parts of an explanation, so that their posterior, given all else,
is close to a Normal in their logarithm: its integral takes the log-likelihood's slope and curvature
where it is highest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize

from prefstrength.choice.responses.base import Response
from prefstrength.inference.priors import Prior
from prefstrength.validation.rival_answers import Setting
from prefstrength.validation.rival_tables import RivalLikelihood

__all__ = ["SharedNumbers"]

# How often the middle is moved, by how many sds at most, and from how far on.
_MOVES, _FARTHEST, _NEAR = 4, 3.0, 1.0
# Step of the differences by which the curvature is found, and the least there is.
_STEP, _LEAST = 1e-3, 1e-2

Totals = Callable[[Mapping[str, float]], np.ndarray]


@dataclass(frozen=True)
class SharedNumbers:
    """What is known of the response's own numbers, in logarithms.

    Parameters
    ----------
    names : tuple of str
    priors : tuple of Prior
    middle : numpy.ndarray, shape (number,)
    curvature : numpy.ndarray, shape (number, number)
        Of minus the log-likelihood there.
    """

    names: tuple[str, ...]
    priors: tuple[Prior, ...]
    middle: np.ndarray
    curvature: np.ndarray

    @classmethod
    def of(cls, response: Response) -> "SharedNumbers":
        """Those of a response, before data."""
        priors = tuple(Prior(each.prior, each.arguments) for each in response.shared)
        count = len(priors)
        names = tuple(each.name for each in response.shared)
        return cls(names, priors, np.full(count, -0.7), np.eye(count))

    def values(self, log: np.ndarray) -> dict[str, float]:
        """Values by name."""
        return dict(zip(self.names, np.exp(log).tolist(), strict=True))

    def found_in(self, likelihood: RivalLikelihood) -> "SharedNumbers":
        """Where they are if all choosers have one strength."""
        if not self.names:
            return self

        def loss(x: np.ndarray) -> float:
            setting = Setting("linear", 0.0, 0.0, self.values(x[1:]))
            log = likelihood.log(setting, np.exp(x[:1]))[0, :, 0]
            return float(-(likelihood.times @ log) - self._log_prior(x[1:]) + x[0] ** 2 / 2)

        found = optimize.minimize(loss, np.r_[0.0, self.middle], method="Nelder-Mead").x
        own = np.eye(len(found))[1:] * _STEP * 10
        curvature = np.empty((len(own), len(own)))
        for i, a in enumerate(own):
            for j, b in enumerate(own):
                ends = loss(found + a + b) - loss(found + a - b)
                ends -= loss(found - a + b) - loss(found - a - b)
                curvature[i, j] = ends / (4 * (_STEP * 10) ** 2)
        return replace(self, middle=found[1:], curvature=curvature)

    def integrated(self, totals: Totals, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihood of many points with these numbers integrated out, and their middle.

        Parameters
        ----------
        totals : callable
            Log-likelihood of the points at given values.
        middle : numpy.ndarray, shape (number,)
            Where to begin.
        """
        if not self.names:
            return totals({}), middle
        for _ in range(_MOVES):
            out, move, sd = self._around(totals, middle)
            shift = move.reshape(len(sd), -1)[:, np.argmax(out)]
            if np.all(np.abs(shift) <= _NEAR * sd):
                break
            middle = middle + shift
        return out, middle

    def _around(self, totals: Totals, middle: np.ndarray) -> tuple[np.ndarray, ...]:
        """Log integral at every point, how far its own middle is away, and sds."""
        steps = np.eye(len(middle)) / np.sqrt(np.diag(self.curvature))[:, None]
        here = self._at(totals, middle)
        after = np.stack([self._at(totals, middle + step) for step in steps])
        before = np.stack([self._at(totals, middle - step) for step in steps])
        width = np.diag(steps).reshape(-1, *[1] * here.ndim)
        slope = (after - before) / (2 * width)
        bend = -(after + before - 2 * here) / width**2
        best = np.argmax(here + (slope**2 * width**2).sum(axis=0) / 2)
        own = np.maximum(bend.reshape(len(middle), -1)[:, best], _LEAST)
        ratio = np.sqrt(own / np.diag(self.curvature))
        curvature = self.curvature * ratio * ratio[:, None]
        inverse = np.linalg.inv(curvature)
        sd = np.sqrt(np.diag(inverse))
        most = _FARTHEST * sd.reshape(width.shape)
        move = np.clip(np.tensordot(inverse, slope, axes=1), -most, most)
        gain = (slope * move).sum(axis=0) - (move * np.tensordot(curvature, move, axes=1)).sum(
            axis=0
        ) / 2
        log_size = (len(sd) * np.log(2 * np.pi) - np.linalg.slogdet(curvature)[1]) / 2
        return here + gain + log_size, move, sd

    def _at(self, totals: Totals, log: np.ndarray) -> np.ndarray:
        return totals(self.values(log)) + self._log_prior(log)

    def _log_prior(self, log: np.ndarray) -> float:
        """Log prior density of the logarithms."""
        return float(
            sum(prior.log_density(np.exp(x)) + x for prior, x in zip(self.priors, log, strict=True))
        )
