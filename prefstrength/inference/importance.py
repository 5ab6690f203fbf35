"""Adaptive multiple importance sampling from the mode, guarded by the Pareto k of its weights."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy import special
from tqdm.auto import tqdm

from prefstrength.inference.mode import Mode
from prefstrength.inference.problem import Problem
from prefstrength.likelihood.surfaces import CellSurfaces

__all__ = ["ENOUGH", "PARETO_K", "ImportanceDraws", "importance_sample", "laplace_sample"]

#: Largest Pareto k at which the weights may be trusted.
PARETO_K = 0.7
#: Effective draws at which the rounds end.
ENOUGH = 2000.0
_MOST_ROUNDS = 10
# On surfaces another round costs nothing: go on until the weights are not only usable.
_GOOD = 0.5
_HOPELESS = 20.0
_ROUND = 3000
_CHEAP_ROUND = 8000  # on surfaces
_DEGREES_OF_FREEDOM = 8.0
# A share of a proposal's draws is wider by this factor, for corners that the covariance of a
# curved posterior does not reach.
_WIDE_SHARE, _WIDE = 0.2, 3.0


@dataclass(frozen=True)
class ImportanceDraws:
    """Draws resampled by weight (draw, parameter), and what the weights say."""

    flat: np.ndarray
    pareto_k: float
    effective: float
    rounds: int


def importance_sample(
    problem: Problem, mode: Mode, draws: int, seed: int, progress: bool = False
) -> ImportanceDraws:
    """Propose from a multivariate t, weight, adapt the t to the weighted draws, again.

    A spread enters by its logarithm where it is large and as it is where it is small: data that
    do not rule out a spread of 0 leave it a density that is flat there, which in the logarithm
    is a long tail on one side that no t follows.

    The draws of all rounds are weighted against the mixture of all proposals, their weights
    smoothed, and resampled.

    Parameters
    ----------
    problem : Problem
    mode : Mode
        Where the first proposal lies.
    draws : int
        Draws returned.
    seed : int
    progress : bool

    References
    ----------
    .. [1] Cornuet, Marin, Mira, Robert (2012), Adaptive multiple importance sampling,
       Scandinavian Journal of Statistics 39(4).
    .. [2] Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling,
       JMLR 25(72): weights may be trusted where k < 0.7.
    """
    rng = np.random.default_rng(seed)
    cheap = isinstance(problem.likelihood, CellSurfaces)
    size = max(_CHEAP_ROUND, int(1.3 * draws)) if cheap else _ROUND
    enough = max(ENOUGH, 0.8 * draws) if cheap else ENOUGH
    proposals: list[_Student] = []
    bent = _Bent(problem.spreads, mode.at)
    at = np.empty((0, problem.size))
    log_target = np.empty(0)
    slope = bent.slope(mode.at)
    proposal = _Student.of(bent.of(mode.at), mode.covariance * np.outer(slope, slope))
    pareto_k, effective, weight = np.inf, 0.0, np.empty(0)
    rounds = tqdm(range(_MOST_ROUNDS), desc="importance sampling", disable=not progress)
    for _ in rounds:
        proposals.append(proposal)
        new = proposal.sample(rng, size)
        value = bent.log_target(problem, new)
        # A point without density, such as a negative spread, weighs nothing; PSIS wants numbers.
        at = np.concatenate([at, new])
        log_target = np.concatenate([log_target, value])
        log_mixture = special.logsumexp([p.log_density(at) for p in proposals], axis=0)
        weight, pareto_k = _smoothed(log_target - log_mixture)
        effective = float(1 / (weight**2).sum())
        if pareto_k < (_GOOD if cheap else PARETO_K) and effective > enough:
            break
        if len(proposals) == 2 and effective < _HOPELESS:
            break  # the posterior is not of this shape
        centre = weight @ at
        spread = (at - centre) * np.sqrt(weight)[:, None]
        # A few heavy weights say little about the covariance: keep part of the previous one.
        trust = effective / (effective + 10 * problem.size)
        covariance = trust * spread.T @ spread + (1 - trust) * proposal.covariance
        proposal = _Student.of(trust * centre + (1 - trust) * proposal.centre, covariance)
    rounds.close()
    positions = (np.arange(draws) + rng.random(draws)) / draws
    index = np.searchsorted(np.cumsum(weight) / weight.sum(), positions, side="right")
    index = rng.permutation(np.minimum(index, len(weight) - 1))
    return ImportanceDraws(bent.flat(at[index]), pareto_k, effective, len(proposals))


def laplace_sample(problem: Problem, mode: Mode, draws: int, seed: int) -> ImportanceDraws:
    """Draws of the Gaussian at the mode, unweighted; Pareto k and weights say how near it is."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((draws, problem.size))
    flat = mode.at + z @ np.linalg.cholesky(mode.covariance).T
    log_weight = (z**2).sum(axis=1) / 2 - problem.values(flat)
    weight, pareto_k = _smoothed(np.where(np.isfinite(log_weight), log_weight, -np.inf))
    return ImportanceDraws(flat, pareto_k, float(1 / (weight**2).sum()), 1)


def _smoothed(log_weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed normalised weights, and k."""
    smoothed, k = array_stats.psislw(-log_weight)  # it takes the logs negated
    smoothed = np.asarray(smoothed)
    return np.exp(smoothed - special.logsumexp(smoothed)), float(k)


@dataclass(frozen=True)
class _Bent:
    """Coordinates v in which a spread that may be 0 has no tail: v = log(1 + spread / centre).

    Parameters
    ----------
    spreads : numpy.ndarray of bool, shape (parameter,)
        Which unconstrained parameters are logarithms of spreads; the others stay.
    centre : numpy.ndarray, shape (parameter,)
        Unconstrained parameters around which v turns from the spread to its logarithm.
    """

    spreads: np.ndarray
    centre: np.ndarray

    def of(self, flat: np.ndarray) -> np.ndarray:
        return np.where(self.spreads, np.logaddexp(0.0, flat - self.centre), flat)

    def slope(self, flat: np.ndarray) -> np.ndarray:
        """Derivative of v by the unconstrained parameter."""
        return np.where(self.spreads, special.expit(flat - self.centre), 1.0)

    def flat(self, v: np.ndarray) -> np.ndarray:
        """Unconstrained parameters; NaN where a spread would be negative."""
        with np.errstate(invalid="ignore", divide="ignore"):
            logs = self.centre + v + np.log(-np.expm1(-v))
        return np.where(self.spreads, logs, v)

    def log_target(self, problem: Problem, v: np.ndarray) -> np.ndarray:
        """Log of the posterior density of v (point, parameter), up to a constant."""
        flat = self.flat(v)
        out = np.full(len(v), -np.inf)
        inside = np.isfinite(flat).all(axis=1)
        if inside.any():
            # All points at once: the number of points is part of what is compiled.
            value = -problem.values(np.where(inside[:, None], flat, self.centre))
            value -= np.log(self.slope(flat)).sum(axis=1)
            # An overflow far out is a point without density.
            keep = inside & np.isfinite(value)
            out[keep] = value[keep]
        return out


@dataclass(frozen=True)
class _Student:
    """Multivariate t, a share of it wider."""

    centre: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, centre: np.ndarray, covariance: np.ndarray) -> "_Student":
        return cls(centre, covariance, np.linalg.cholesky(covariance))

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        nu = _DEGREES_OF_FREEDOM
        radius = np.sqrt(nu / rng.chisquare(nu, size))
        radius[: int(_WIDE_SHARE * size)] *= _WIDE
        normal = rng.standard_normal((size, len(self.centre)))
        return self.centre + normal * radius[:, None] @ self.factor.T

    def log_density(self, at: np.ndarray) -> np.ndarray:
        """Up to a constant that all proposals of one dimension share."""
        nu, size = _DEGREES_OF_FREEDOM, len(self.centre)
        squared = (np.linalg.solve(self.factor, (at - self.centre).T) ** 2).sum(0)

        def tail(width: float) -> np.ndarray:
            return -(nu + size) / 2 * np.log1p(squared / (nu * width**2)) - size * np.log(width)

        both = special.logsumexp(
            [tail(1.0), tail(_WIDE)], axis=0, b=[[1 - _WIDE_SHARE], [_WIDE_SHARE]]
        )
        return both - np.log(np.diag(self.factor)).sum()
