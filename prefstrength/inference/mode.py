"""The posterior mode and the curvature there: where samplers start, and in which metric."""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from prefstrength.inference.problem import Problem

__all__ = ["Mode", "find_mode"]

# Smallest curvature believed: the priors alone curve the unconstrained density about this much.
_LEAST_CURVATURE = 0.1


@dataclass(frozen=True)
class Mode:
    """Mode (parameter,) and the covariance of the Gaussian fitted there."""

    at: np.ndarray
    covariance: np.ndarray


def find_mode(problem: Problem, start: np.ndarray | None = None) -> Mode:
    """Maximise the posterior density over unconstrained parameters.

    The Hessian is taken by central differences of the gradient, so that any likelihood with a
    gradient will do; directions that curve less than the priors do are held to their curvature.
    """
    result = optimize.minimize(
        problem.value_and_gradient,
        problem.start if start is None else start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "maxcor": 20},
    )
    mode = np.asarray(result.x)
    step = 1e-4 * np.eye(problem.size)
    up, down = np.split(problem.gradients(np.r_[mode + step, mode - step]), 2)
    hessian = (up - down) / 2e-4
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    curvature = np.maximum(values, _LEAST_CURVATURE)
    return Mode(at=mode, covariance=(vectors / curvature) @ vectors.T)
