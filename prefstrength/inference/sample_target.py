r"""Draws from a target by importance sampling on a surrogate that was certified where they lie."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from prefstrength.inference.locate import locate
from prefstrength.inference.surrogate import RADIUS, Ball, Surrogate, design, fit_surrogate
from prefstrength.inference.target import Target

__all__ = ["TargetDraws", "sample_target"]

PARETO_K = 0.7
_DEGREES = {1: 12, 2: 10, 3: 7, 4: 6, 5: 5, 6: 4}
_ROUND, _MOST_ROUNDS, _ENOUGH = 6000, 8, 4000.0
_FREEDOM, _WIDE_SHARE, _WIDE = 8.0, 0.2, 3.0
_CHECKED = 24
_TOLERANCE = 0.02
_MOST_BALLS = 4


@dataclass(frozen=True)
class TargetDraws:
    """Draws of a target.

    Parameters
    ----------
    v : numpy.ndarray, shape (draw, parameter)
        Round coordinates.
    pareto_k, effective : float
        Of the weights.
    error : float
        Largest error of the surrogate at a sample of draws, in nats; 0 without one.
    surrogate : Surrogate or None
    points, values : numpy.ndarray
        Where the likelihood was evaluated for the surrogate, smooth coordinates.
    """

    v: np.ndarray
    pareto_k: float
    effective: float
    error: float
    surrogate: Surrogate | None
    points: np.ndarray


def sample_target(target: Target, draws: int, seed: int) -> TargetDraws:
    """Locate, fit a surrogate, sample, and move the ball to the draws until it holds them."""
    rng = np.random.default_rng(seed)
    ball = locate(target)
    degree = _DEGREES[target.size]
    best = None
    for _ in range(_MOST_BALLS):
        points = design(ball, degree, target.slow, rng)
        found = target.log_likelihood(target.values_of_smooth(points))
        keep = np.isfinite(found)
        surrogate = fit_surrogate(ball, degree, points[keep], found[keep])

        def log_density(v: np.ndarray, surrogate: Surrogate = surrogate) -> np.ndarray:
            values = target.values(v)
            w = target.smooth(values)
            out = surrogate(w)
            inside = np.isfinite(out)
            out[inside] += (target.log_prior(values) + target.log_slopes(v))[inside]
            return out

        v, pareto_k, effective, weighted = importance(target, ball, log_density, draws, rng)
        w = target.smooth(target.values(v))
        error = _misfit(target, surrogate, v, rng)
        edge = ((ball.of(w) ** 2).sum(axis=1) > (0.85 * RADIUS) ** 2).mean()
        best = TargetDraws(v, pareto_k, effective, error, surrogate, points)
        if error < _TOLERANCE and edge < 2e-3:
            return best
        ball = _around(ball, w)
    return best


def _around(ball: Ball, w: np.ndarray) -> Ball:
    centre = w.mean(axis=0)
    covariance = np.cov(w.T).reshape(len(centre), -1)
    # never narrower than a fraction of before, so that it settles
    return replace(ball, centre=centre, factor=np.linalg.cholesky(1.1 * covariance + 1e-12 * np.eye(len(centre))))


def _misfit(target: Target, surrogate: Surrogate, v: np.ndarray, rng) -> float:
    """Largest difference from the likelihood itself at some draws, a constant apart."""
    some = v[rng.permutation(len(v))[:_CHECKED]]
    values = target.values(some)
    difference = surrogate(target.smooth(values)) - target.log_likelihood(values)
    return float(np.abs(difference - np.median(difference)).max())


def importance(
    target: Target, ball: Ball, log_density: Callable[[np.ndarray], np.ndarray], draws: int, rng
):
    """Adaptive multiple importance sampling in round coordinates."""
    centre, covariance = _first(target, ball)
    low, high = target.ends
    at = np.empty((0, target.size))
    log_target = np.empty(0)
    proposals: list[_Student] = []
    proposal = _Student.of(centre, covariance)
    for _ in range(_MOST_ROUNDS):
        proposals.append(proposal)
        new = proposal.sample(rng, _ROUND)
        inside = ((new > low) & (new < high)).all(axis=1)
        value = np.full(len(new), -np.inf)
        value[inside] = log_density(new[inside])
        at = np.concatenate([at, new])
        log_target = np.concatenate([log_target, value])
        log_mixture = special.logsumexp([p.log_density(at) for p in proposals], axis=0)
        weight, pareto_k = smoothed(log_target - log_mixture)
        effective = float(1 / (weight**2).sum())
        if pareto_k < PARETO_K and effective > _ENOUGH:
            break
        centre = weight @ at
        spread = (at - centre) * np.sqrt(weight)[:, None]
        trust = effective / (effective + 10 * target.size)
        covariance = trust * spread.T @ spread + (1 - trust) * proposal.covariance
        proposal = _Student.of(trust * centre + (1 - trust) * proposal.centre, covariance)
    positions = (np.arange(draws) + rng.random(draws)) / draws
    index = np.searchsorted(np.cumsum(weight) / weight.sum(), positions, side="right")
    index = rng.permutation(np.minimum(index, len(weight) - 1))
    return at[index], pareto_k, effective, (at, weight)


def _first(target: Target, ball: Ball) -> tuple[np.ndarray, np.ndarray]:
    """Centre and covariance of the first proposal, in round coordinates."""
    low, high = target.ends
    sd = np.linalg.norm(ball.factor, axis=1)
    middle = np.clip(ball.centre, low + 0.3 * sd, high - 0.3 * sd)
    v = target.round(target.values_of_smooth(middle[None]))[0]
    up = target.round(target.values_of_smooth(np.clip(middle + sd, low, high)[None]))[0]
    ratio = np.maximum(np.abs(up - v), 1e-9) / sd
    return v, ball.factor @ ball.factor.T * np.outer(ratio, ratio)


def smoothed(log_weight: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed normalised weights and k (Vehtari and others 2024), without ArviZ."""
    log_weight = log_weight - np.max(log_weight)
    n = len(log_weight)
    tail = int(np.ceil(min(0.2 * n, 3 * np.sqrt(n))))
    order = np.argsort(log_weight)
    largest = order[-tail:]
    cut = log_weight[order[-tail - 1]]
    out = log_weight.copy()
    k = np.inf
    if np.isfinite(cut):
        excess = np.exp(log_weight[largest]) - np.exp(cut)
        k, sigma = _pareto(excess)
        if np.isfinite(k):
            p = (np.arange(tail) + 0.5) / tail
            quantile = sigma * (np.expm1(-k * np.log1p(-p)) / k if abs(k) > 1e-12 else -np.log1p(-p))
            out[largest] = np.minimum(np.log(quantile + np.exp(cut)), 0.0)
    weight = np.exp(out - special.logsumexp(out))
    return weight, float(k)


def _pareto(x: np.ndarray) -> tuple[float, float]:
    """Generalised Pareto fitted to rising excesses (Zhang and Stephens 2009), k regularised."""
    n = len(x)
    if x[-1] <= 0 or x[n // 4] <= 0:
        return np.inf, 1.0
    m = 30 + int(np.sqrt(n))
    b = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    b = b / (3 * x[int(n / 4 + 0.5) - 1]) + 1 / x[-1]
    k = np.log1p(-b[:, None] * x).mean(axis=1)
    score = n * (np.log(-b / k) - k - 1)
    weight = 1 / np.exp(score - score[:, None]).sum(axis=1)
    b = float((b * weight).sum() / weight.sum())
    k = float(np.log1p(-b * x).mean())
    sigma = -k / b
    return (k * n + 0.5 * 10) / (n + 10), sigma


@dataclass(frozen=True)
class _Student:
    centre: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, centre, covariance):
        return cls(centre, covariance, np.linalg.cholesky(covariance))

    def sample(self, rng, size):
        radius = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, size))
        radius[: int(_WIDE_SHARE * size)] *= _WIDE
        normal = rng.standard_normal((size, len(self.centre)))
        return self.centre + normal * radius[:, None] @ self.factor.T

    def log_density(self, at):
        size = len(self.centre)
        squared = (np.linalg.solve(self.factor, (at - self.centre).T) ** 2).sum(0)

        def tail(width):
            return -(_FREEDOM + size) / 2 * np.log1p(squared / (_FREEDOM * width**2)) - size * np.log(width)

        both = special.logsumexp([tail(1.0), tail(_WIDE)], axis=0, b=[[1 - _WIDE_SHARE], [_WIDE_SHARE]])
        return both - np.log(np.diag(self.factor)).sum()
