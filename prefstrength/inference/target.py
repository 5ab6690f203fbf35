"""A posterior density over a handful of numbers, many points at a time, without a compiler."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from prefstrength.inference.coordinates import Coordinate
from prefstrength.inference.priors import Prior

__all__ = ["Parameter", "Target"]


@dataclass(frozen=True)
class Parameter:
    """A number with a prior.

    Parameters
    ----------
    name : str
    prior : Prior
    coordinate : Coordinate
    start : float
        Where a search for the mode may begin.
    """

    name: str
    prior: Prior
    coordinate: Coordinate
    start: float


@dataclass(frozen=True)
class Target:
    """Posterior density of a few parameters.

    Parameters
    ----------
    parameters : tuple of Parameter
        Those that all choosers share first: a change of them costs tables anew.
    slow : int
        How many these are.
    log_likelihood : callable
        ``log_likelihood(values)`` of a mapping of names to (point,) gives (point,).
    more : callable, optional
        A further term of the log prior density, of several parameters together.
    """

    parameters: tuple[Parameter, ...]
    slow: int
    log_likelihood: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    more: Callable[[Mapping[str, np.ndarray]], np.ndarray] | None = None

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self.parameters)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the coordinates."""
        low, high = zip(*(each.coordinate.ends for each in self.parameters), strict=True)
        return np.array(low), np.array(high)

    def values(self, v: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters by name at round coordinates (point, parameter)."""
        return {
            each.name: each.coordinate.parameter(v[:, i]) for i, each in enumerate(self.parameters)
        }

    def values_of_smooth(self, w: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters by name at smooth coordinates (point, parameter)."""
        return {
            each.name: each.coordinate.of_smooth(w[:, i]) for i, each in enumerate(self.parameters)
        }

    def smooth(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Smooth coordinates (point, parameter)."""
        return np.stack([p.coordinate.smooth(values[p.name]) for p in self.parameters], axis=1)

    def round(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Round coordinates (point, parameter)."""
        return np.stack([p.coordinate.round(values[p.name]) for p in self.parameters], axis=1)

    def log_prior(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Log prior density of the parameters themselves."""
        total = self.log_priors(values)
        return total if self.more is None else total + self.more(values)

    def log_priors(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of the parameters one by one, without what binds several of them together."""
        own = [p.prior.log_density(values[p.name]) for p in self.parameters]
        return np.asarray(np.sum(own, axis=0))

    def log_slopes(self, v: np.ndarray) -> np.ndarray:
        """Log of the volume of the parameters by the round coordinates."""
        return np.sum(
            [p.coordinate.log_slope(v[:, i]) for i, p in enumerate(self.parameters)], axis=0
        )
