"""How well each explanation predicts a chooser who was left out, and weights made of that."""

from collections.abc import Sequence

import numpy as np
from scipy import optimize, special

from prefstrength.validation.rival_answers import Setting
from prefstrength.validation.rival_grid import Grid, Pattern
from prefstrength.validation.rival_tables import RivalLikelihood

__all__ = ["leave_one_out", "pseudo_bma", "stacking"]

# Numbers in the largest temporary array.
_BLOCK = 8_000_000
# Draws of the bootstrap of elpd.
_DRAWS = 4000


def leave_one_out(
    likelihood: RivalLikelihood, names: Sequence[str], grid: Grid, pattern: Pattern
) -> np.ndarray:
    r"""Log probability of every chooser's answers given those of all others.

    It is the log marginal likelihood of all answers less that of all others, on the same nodes:
    what refitting without the chooser gives. Where a chooser counts several times, one of them is
    left out. Where choosers are not known a row is a place where pairs may or may not be; what
    leaving one out would give is then extrapolated from what adding one and two more give.

    Parameters
    ----------
    likelihood : RivalLikelihood
    names : sequence of str
        Of the response's own numbers, which stay as they are.
    grid : Grid
    pattern : Pattern
        Explanation, of this grid.

    Returns
    -------
    numpy.ndarray, shape (chooser,)
    """
    index = grid.index(pattern)
    whole, mu = grid.log[index], grid.mu[index[:4]]
    values = [
        value[which] for value, which in zip(grid.values, (*index[:3], *index[4:]), strict=True)
    ]
    bends, lapses, spreads, zeros, negatives = values
    sigma = np.repeat(spreads, mu.shape[-1])
    evidence = grid.log_evidence(pattern)
    out = np.empty(likelihood.units)
    size = max(1, _BLOCK // (4 * whole.size))
    for start in range(0, likelihood.units, size):
        rows = np.arange(start, min(start + size, likelihood.units))
        some = likelihood.take(rows)
        own = np.empty((*whole.shape, len(rows)))
        for i, j in np.ndindex(len(bends), len(lapses)):
            shared = dict(zip(names, np.exp(grid.shared[index[:2]][i, j]).tolist(), strict=True))
            setting = Setting(grid.bend, float(bends[i]), float(lapses[j]), shared)
            for part, classes in some.classes(setting, mu[i, j].ravel(), sigma):
                for k, m in np.ndindex(len(zeros), len(negatives)):
                    each = classes.each(float(zeros[k]), float(negatives[m])).T
                    own[i, j, :, :, k, m][..., part] = each.reshape(*mu.shape[2:], -1)
        if likelihood.panel:
            out[rows] = evidence - grid.log_evidences(whole[..., None] - own, pattern)
        else:
            once, twice = (
                grid.log_evidences(whole[..., None] + k * own, pattern) - evidence for k in (1, 2)
            )
            out[rows] = 3 * once - twice
    return out


def stacking(each: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Weights that predict best together, (explanation,).

    Parameters
    ----------
    each : numpy.ndarray, shape (chooser, explanation)
        Log probabilities of choosers who were left out.
    times : numpy.ndarray, shape (chooser,)
    """
    density = np.exp(each - each.max(axis=1, keepdims=True))
    total = times.sum()

    def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(density @ weight, 1e-300)
        return float(-(times @ np.log(mixed)) / total), -(times / mixed) @ density / total

    count = each.shape[1]
    found = optimize.minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-10, "maxiter": 500},
    ).x
    found = np.maximum(found, 0.0)
    return np.asarray(found / found.sum())


def pseudo_bma(each: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Pseudo-BMA+ weights, (explanation,): softmax of elpd, averaged over its sampling error."""
    total = times.sum()
    mean = times @ each / total
    away = each - mean
    covariance = (away * times[:, None]).T @ away
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((_DRAWS, len(mean)))
    draws = total * mean + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return np.asarray(special.softmax(draws, axis=1).mean(axis=0))
