r"""Draws from a target by importance sampling on a surrogate that was certified where they lie."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy import special

from prefstrength.inference.locate import locate
from prefstrength.inference.surrogate import RADIUS, Ball, Surrogate, design, fit_surrogate
from prefstrength.inference.target import Target

__all__ = ["PARETO_K", "TOLERANCE", "TargetDraws", "laplace_target", "sample_target", "smoothed"]

#: Largest Pareto k at which the weights may be trusted.
PARETO_K = 0.7
#: Error of a surrogate, in nats, at which it stands for the likelihood; and beyond hope.
TOLERANCE, _HOPELESS = 0.005, 1.0
_AT_EDGE = 2e-3
# Degree of the polynomial by the number of parameters: the first where points cost tables, and
# the highest.
_DEGREES = {1: (14, 14), 2: (8, 11), 3: (6, 9), 4: (5, 7), 5: (4, 6)}
_MOST_ROUNDS = 8
# Proposals of a round, and effective draws that are enough, on a surrogate and without one.
_ROUND, _ENOUGH = 6000, 4000.0
_EXACT_ROUND, _EXACT_ENOUGH = 2500, 2000.0
_FREEDOM, _WIDE_SHARE, _WIDE = 8.0, 0.2, 3.0
_CHECKED = 24
# Weights of at most so many times their mean have no tail worth smoothing.
_BOUNDED = 10.0
_MOST_BALLS = 4
# Draws of a surrogate at which the likelihood itself is evaluated where it is not quite that.
_CORRECTED = 2000


@dataclass(frozen=True)
class TargetDraws:
    """Draws of a target.

    Parameters
    ----------
    v : numpy.ndarray, shape (draw, parameter)
        Round coordinates, resampled by weight.
    pareto_k, effective : float
        Of the weights.
    error : float
        Largest error of the log-likelihood at a sample of draws, in nats, of a surrogate.
    surrogate : Surrogate or None
        ``None`` where the likelihood itself was evaluated at every proposal.
    points : numpy.ndarray, shape (point, parameter)
        Where the likelihood was evaluated for the surrogate, in smooth coordinates.
    """

    v: np.ndarray
    pareto_k: float
    effective: float
    error: float
    surrogate: Surrogate | None
    points: np.ndarray


def sample_target(target: Target, draws: int, seed: int) -> TargetDraws:
    """Locate, fit a surrogate, sample; move the ball to the draws until it holds them.

    Where no polynomial is the likelihood, as where the data leave open which kind of choosers is
    which, the likelihood itself is evaluated at every proposal.
    """
    rng = np.random.default_rng(seed)
    ball = locate(target)
    degree, highest = _DEGREES.get(target.size, (4, 4))
    if not target.slow:
        degree = highest
    balls = 0
    while balls < _MOST_BALLS:
        points = design(ball, degree, target.slow, rng)
        found = target.log_likelihood(target.values_of_smooth(points))
        keep = np.isfinite(found)
        surrogate = fit_surrogate(ball, degree, points[keep], found[keep])
        draw = importance_sample(target, ball, surrogate, max(draws, _CORRECTED), rng)
        w = target.smooth(target.values(draw.v))
        error = _misfit(target, surrogate, draw.v, rng)
        edge = float(((ball.of(w) ** 2).sum(axis=1) > (0.95 * RADIUS) ** 2).mean())
        if error < TOLERANCE and edge < _AT_EDGE:
            return replace(draw, v=draw.v[:draws], error=error, surrogate=surrogate, points=points)
        if error > TOLERANCE and degree < highest:
            degree = highest
            continue
        if error > _HOPELESS:
            break
        if error > TOLERANCE and edge < _AT_EDGE:
            draw = _corrected(target, surrogate, draw, rng)
            if draw.pareto_k < PARETO_K and draw.effective > _CORRECTED / 2:
                return replace(draw, v=draw.v[:draws])
        ball, balls = _around(ball, w), balls + 1
    return importance_sample(target, ball, None, draws, rng)


def _corrected(
    target: Target, surrogate: Surrogate, draw: TargetDraws, rng: np.random.Generator
) -> TargetDraws:
    """Draws of a surrogate that is nearly the likelihood, weighted by what it misses."""
    some = draw.v[rng.permutation(len(draw.v))[:_CORRECTED]]
    values = target.values(some)
    missed = target.log_likelihood(values) - surrogate(target.smooth(values))
    weight, pareto_k = smoothed(missed)
    index = _resampled(weight, len(draw.v), rng)
    effective = min(draw.effective, float(1 / (weight**2).sum()))
    return TargetDraws(some[index], max(pareto_k, draw.pareto_k), effective, 0.0, None, some[:0])


def _around(ball: Ball, w: np.ndarray) -> Ball:
    centre = w.mean(axis=0)
    covariance = np.cov(w.T).reshape(len(centre), -1)
    # never narrower than a fraction of before, so that it settles
    return replace(
        ball,
        centre=centre,
        factor=np.linalg.cholesky(1.1 * covariance + 1e-12 * np.eye(len(centre))),
    )


def _misfit(target: Target, surrogate: Surrogate, v: np.ndarray, rng: np.random.Generator) -> float:
    """Largest difference from the likelihood itself at some draws, a constant apart."""
    some = v[rng.permutation(len(v))[:_CHECKED]]
    values = target.values(some)
    difference = surrogate(target.smooth(values)) - target.log_likelihood(values)
    return float(np.abs(difference - np.median(difference)).max())


def laplace_target(target: Target, draws: int, seed: int) -> TargetDraws:
    """Gaussian at the mode, in round coordinates; its weights say how near it is."""
    rng = np.random.default_rng(seed)
    centre, covariance = _first(target, locate(target))
    low, high = target.ends
    factor = np.linalg.cholesky(covariance)
    v = np.empty((0, target.size))
    while len(v) < draws:
        new = centre + rng.standard_normal((draws, target.size)) @ factor.T
        v = np.concatenate([v, new[((new > low) & (new < high)).all(axis=1)]])
    v = v[:draws]
    own = (np.linalg.solve(factor, (v - centre).T) ** 2).sum(axis=0)
    weight, pareto_k = smoothed(_log_density(target, None, v) + own / 2)
    effective = float(1 / (weight**2).sum())
    return TargetDraws(v, pareto_k, effective, 0.0, None, np.empty((0, target.size)))


def importance_sample(
    target: Target, ball: Ball, surrogate: Surrogate | None, draws: int, rng: np.random.Generator
) -> TargetDraws:
    """Adaptive multiple importance sampling in round coordinates.

    The draws of all rounds are weighted against the mixture of all proposals, their weights
    smoothed, and resampled.

    References
    ----------
    .. [1] Cornuet, Marin, Mira, Robert (2012), Adaptive multiple importance sampling,
       Scandinavian Journal of Statistics 39(4).
    .. [2] Vehtari, Simpson, Gelman, Yao, Gabry (2024), Pareto smoothed importance sampling,
       JMLR 25(72): weights may be trusted where k < 0.7.
    """
    low, high = target.ends
    at = np.empty((0, target.size))
    log_target = np.empty(0)
    proposals: list[_Student] = []
    proposal = _Student.of(*_first(target, ball))
    size = _ROUND if surrogate is not None else _EXACT_ROUND
    enough = _ENOUGH if surrogate is not None else _EXACT_ENOUGH
    for _ in range(_MOST_ROUNDS):
        proposals.append(proposal)
        new = proposal.sample(rng, size)
        inside = ((new > low) & (new < high)).all(axis=1)
        value = np.full(len(new), -np.inf)
        value[inside] = _log_density(target, surrogate, new[inside])
        at = np.concatenate([at, new])
        log_target = np.concatenate([log_target, value])
        log_mixture = special.logsumexp([p.log_density(at) for p in proposals], axis=0)
        weight, pareto_k = smoothed(log_target - log_mixture)
        effective = float(1 / (weight**2).sum())
        if pareto_k < PARETO_K and effective > enough:
            break
        centre = weight @ at
        spread = (at - centre) * np.sqrt(weight)[:, None]
        # A few heavy weights say little about the covariance: keep part of the previous one.
        trust = effective / (effective + 10 * target.size)
        covariance = trust * spread.T @ spread + (1 - trust) * proposal.covariance
        proposal = _Student.of(trust * centre + (1 - trust) * proposal.centre, covariance)
    index = _resampled(weight, draws, rng)
    return TargetDraws(at[index], pareto_k, effective, 0.0, None, np.empty((0, target.size)))


def _resampled(weight: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Which to take so that all count alike, in random order."""
    positions = (np.arange(draws) + rng.random(draws)) / draws
    index = np.searchsorted(np.cumsum(weight) / weight.sum(), positions, side="right")
    return rng.permutation(np.minimum(index, len(weight) - 1))


def _log_density(target: Target, surrogate: Surrogate | None, v: np.ndarray) -> np.ndarray:
    """Log posterior density of round coordinates."""
    values = target.values(v)
    out = target.log_prior(values) + target.log_slopes(v)
    some = np.isfinite(out)
    if surrogate is not None:
        out[some] += surrogate(target.smooth(values)[some])
    elif some.any():
        out[some] += target.log_likelihood({name: each[some] for name, each in values.items()})
    return np.where(np.isnan(out), -np.inf, out)


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
    plain = np.exp(log_weight - special.logsumexp(log_weight))
    if n * plain.max() < _BOUNDED:
        return plain, 0.0  # no tail: among weights that are nearly alike k says nothing
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
            quantile = sigma * (
                np.expm1(-k * np.log1p(-p)) / k if abs(k) > 1e-12 else -np.log1p(-p)
            )
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
    weight = special.softmax(score)
    best = float((b * weight).sum() / weight.sum())
    shape = float(np.log1p(-best * x).mean())
    return (shape * n + 0.5 * 10) / (n + 10), -shape / best


@dataclass(frozen=True)
class _Student:
    centre: np.ndarray
    covariance: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, centre: np.ndarray, covariance: np.ndarray) -> Self:
        return cls(centre, covariance, np.linalg.cholesky(covariance))

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        radius = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, size))
        radius[: int(_WIDE_SHARE * size)] *= _WIDE
        normal = rng.standard_normal((size, len(self.centre)))
        return self.centre + normal * radius[:, None] @ self.factor.T

    def log_density(self, at: np.ndarray) -> np.ndarray:
        size = len(self.centre)
        squared = (np.linalg.solve(self.factor, (at - self.centre).T) ** 2).sum(0)

        def tail(width: float) -> np.ndarray:
            return -(_FREEDOM + size) / 2 * np.log1p(
                squared / (_FREEDOM * width**2)
            ) - size * np.log(width)

        both = special.logsumexp(
            [tail(1.0), tail(_WIDE)], axis=0, b=[[1 - _WIDE_SHARE], [_WIDE_SHARE]]
        )
        return both - np.log(np.diag(self.factor)).sum()
