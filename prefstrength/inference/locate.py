"""Where a posterior lies: its mode in smooth coordinates, and how wide it is there."""

import numpy as np
from scipy import optimize

from prefstrength.inference.surrogate import Ball
from prefstrength.inference.target import Target

__all__ = ["locate"]

_STEP = 5e-3
_LEAST_CURVATURE = 0.05


def locate(target: Target) -> Ball:
    """Maximise likelihood times prior over smooth coordinates, and measure the curvature.

    The density of the parameters is maximised, not that of the coordinates, so that a spread may
    have its mode at 0. There the ball is as wide as the density falls off.
    """
    low, high = target.ends
    inside = 2 * _STEP

    def value(w: np.ndarray) -> np.ndarray:
        values = target.values_of_smooth(w)
        return target.log_likelihood(values) + target.log_prior(values)

    def smooth(w: np.ndarray) -> np.ndarray:
        # Kinds of choosers that are alike lie on the edge of their order, which has no curvature.
        values = target.values_of_smooth(w)
        return target.log_likelihood(values) + target.log_priors(values)

    def down(w: np.ndarray) -> tuple[float, np.ndarray]:
        moves = _STEP * np.eye(target.size)
        away = np.where(w - _STEP < low, 1.0, 0.0)  # one-sided at an end
        points = np.concatenate([w[None], w + moves, w - moves * (1 - away)[:, None]])
        found = value(np.clip(points, low, high))
        found = np.where(np.isfinite(found), found, -1e10)
        up, back = np.split(found[1:], 2)
        return -found[0], -(up - back) / (_STEP * (2 - away))

    start = target.smooth({p.name: np.array([p.start]) for p in target.parameters})[0]
    bounds = [
        (None if np.isinf(a) else a, None if np.isinf(b) else b - inside)
        for a, b in zip(low, high, strict=True)
    ]
    found = optimize.minimize(
        down, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}
    )
    mode = np.asarray(found.x)
    gradient = down(mode)[1]
    at = np.clip(mode, low + inside, high - inside)
    hessian = _hessian(smooth, at)
    # Where the density falls from an end, it is as wide as its slope says.
    ended = at != mode
    hessian[np.diag_indices(target.size)] += np.where(ended, gradient**2, 0.0)
    values, vectors = np.linalg.eigh(hessian)
    covariance = (vectors / np.maximum(values, _LEAST_CURVATURE)) @ vectors.T
    return Ball(mode, np.linalg.cholesky(covariance), low, high)


def _hessian(value, at: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Minus the second derivatives, all points at once."""
    size = len(at)
    moves = _STEP * np.eye(size)
    pairs = [(i, j) for i in range(size) for j in range(i, size)]
    signs = ((1, 1), (1, -1), (-1, 1), (-1, -1))
    points = [at + s * moves[i] + r * moves[j] for i, j in pairs for s, r in signs]
    found = value(np.array(points)).reshape(len(pairs), 4)
    out = np.zeros((size, size))
    for (i, j), (a, b, c, d) in zip(pairs, found, strict=True):
        out[i, j] = out[j, i] = -(a - b - c + d) / (4 * _STEP**2)
    return out
