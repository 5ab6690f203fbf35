"""Adaptive multiple importance sampling from the mode, guarded by the Pareto k of its weights."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from scipy import special
from tqdm.auto import tqdm

from prefstrength.inference.mode import Mode
from prefstrength.inference.problem import Problem
from prefstrength.surface import CellSurfaces

__all__ = ["ENOUGH", "PARETO_K", "ImportanceDraws", "importance_sample", "laplace_sample"]

#: Largest Pareto k at which the weights may be trusted.
PARETO_K = 0.7
#: Effective draws at which the rounds end.
ENOUGH = 2000.0
_MOST_ROUNDS = 10
_HOPELESS = 20.0
_ROUND = 3000
_CHEAP_ROUND = 8000  # on surfaces
_DEGREES_OF_FREEDOM = 8.0


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
    flat = np.empty((0, problem.size))
    log_target = np.empty(0)
    proposal = _Student.of(mode.at, mode.covariance)
    pareto_k, effective, weight = np.inf, 0.0, np.empty(0)
    rounds = tqdm(range(_MOST_ROUNDS), desc="importance sampling", disable=not progress)
    for _ in rounds:
        proposals.append(proposal)
        new = proposal.sample(rng, size)
        value = -problem.values(new)
        finite = np.isfinite(value)  # an overflow far out is a point without density
        flat = np.concatenate([flat, new[finite]])
        log_target = np.concatenate([log_target, value[finite]])
        log_mixture = special.logsumexp([p.log_density(flat) for p in proposals], axis=0)
        weight, pareto_k = _smoothed(log_target - log_mixture)
        effective = float(1 / (weight**2).sum())
        if pareto_k < PARETO_K and effective > enough:
            break
        if len(proposals) == 2 and effective < _HOPELESS:
            break  # the posterior is not of this shape
        centre = weight @ flat
        spread = (flat - centre) * np.sqrt(weight)[:, None]
        # A few heavy weights say little about the covariance: keep part of the previous one.
        trust = effective / (effective + 10 * problem.size)
        covariance = trust * spread.T @ spread + (1 - trust) * proposal.covariance
        proposal = _Student.of(trust * centre + (1 - trust) * proposal.centre, covariance)
    rounds.close()
    positions = (np.arange(draws) + rng.random(draws)) / draws
    index = np.searchsorted(np.cumsum(weight) / weight.sum(), positions, side="right")
    index = rng.permutation(np.minimum(index, len(weight) - 1))
    return ImportanceDraws(flat[index], pareto_k, effective, len(proposals))


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
class _Student:
    """Multivariate t."""

    centre: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, centre: np.ndarray, covariance: np.ndarray) -> "_Student":
        return cls(centre, covariance, np.linalg.cholesky(covariance))

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        nu = _DEGREES_OF_FREEDOM
        radius = np.sqrt(nu / rng.chisquare(nu, size))[:, None]
        normal = rng.standard_normal((size, len(self.centre)))
        return self.centre + normal * radius @ self.factor.T

    def log_density(self, flat: np.ndarray) -> np.ndarray:
        """Up to a constant that all proposals of one dimension share."""
        nu, size = _DEGREES_OF_FREEDOM, len(self.centre)
        standard = np.linalg.solve(self.factor, (flat - self.centre).T)
        tail = -(nu + size) / 2 * np.log1p((standard**2).sum(0) / nu)
        return tail - np.log(np.diag(self.factor)).sum()
