"""The posterior mode and the curvature there: where samplers start, and in which metric."""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from prefstrength.inference.problem import Problem

__all__ = ["Mode", "find_mode", "not_ruled_out"]

# Smallest curvature believed: the priors alone curve the unconstrained density about this much.
_LEAST_CURVATURE = 0.1
# Largest: beyond, at the side of a box or by an overflow, a covariance cannot be factored.
_MOST_CURVATURE = 1e12
# How far, in nats of a spread's logarithm, the search may stray from the prior's median: with
# centred shifts the density has no mode, but rises without bound as a spread goes to 0.
_STRAY = 3.0


@dataclass(frozen=True)
class Mode:
    """Mode (parameter,) and the covariance of the Gaussian fitted there."""

    at: np.ndarray
    covariance: np.ndarray


def find_mode(problem: Problem, start: np.ndarray | None = None) -> Mode:
    """Maximise the posterior density over unconstrained parameters.

    Logarithms of spreads are held near their prior's median by a wide Gaussian, as the mode is
    where samplers start, and no estimate.

    The Hessian is taken by central differences of the gradient, so that any likelihood with a
    gradient will do; directions that curve less than the priors do are held to their curvature.
    """
    hold = problem.spreads / _STRAY**2

    def held(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = problem.value_and_gradient(flat)
        away = flat - problem.start
        return value + float(hold @ away**2) / 2, gradient + hold * away

    result = optimize.minimize(
        held,
        problem.start if start is None else start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "maxcor": 20},
    )
    mode = np.asarray(result.x)
    step = 1e-4 * np.eye(problem.size)
    up, down = np.split(problem.gradients(np.r_[mode + step, mode - step]), 2)
    hessian = (up - down) / 2e-4
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2 + np.diag(hold))
    curvature = np.clip(values, _LEAST_CURVATURE, _MOST_CURVATURE)
    return Mode(at=mode, covariance=(vectors / curvature) @ vectors.T)


def not_ruled_out(problem: Problem, mode: Mode, points: np.ndarray) -> np.ndarray:
    """Which points (point, parameter) have a log density near the mode's.

    A drop is allowed that 99.9 % of a Gaussian posterior stays within.
    """
    drop = stats.chi2(problem.size).ppf(0.999) / 2
    return problem.values(points) <= problem.value_and_gradient(mode.at)[0] + drop
