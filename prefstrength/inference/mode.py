"""The posterior mode and the curvature there: where samplers start, and in which metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from prefstrength.inference.problem import Problem, Shifts

__all__ = ["Mode", "find_mode", "not_ruled_out"]

# Smallest curvature believed: the priors alone curve the unconstrained density about this much.
_LEAST_CURVATURE = 0.1
# Largest: beyond, at the side of a box or by an overflow, a covariance cannot be factored.
_MOST_CURVATURE = 1e12
# How far, in nats of a spread's logarithm, the search may stray from the prior's median: data
# that do not tell a spread from 0 leave a density that falls but slowly.
_STRAY = 3.0
# Times that the information on shifts is taken anew where the mode was found.
_ROUNDS = 2


@dataclass(frozen=True)
class Mode:
    """Mode (parameter,) and the covariance of the Gaussian fitted there."""

    at: np.ndarray
    covariance: np.ndarray


def find_mode(problem: Problem, start: np.ndarray | None = None) -> Mode:
    """Maximise the posterior density over unconstrained parameters.

    What is maximised is the density of the spreads with the shifts of the groups integrated out,
    by Laplace's method, at the best shifts. With these as they are, the density has no mode: as
    the shifts and their sd go to 0 together it rises without bound, the faster the more groups.
    Logarithms of spreads are held near their prior's median by a wide Gaussian besides, as the
    mode is where samplers start, and no estimate.

    The Hessian is taken by central differences of the gradient, so that any likelihood with a
    gradient will do; directions that curve less than the priors do are held to their curvature.
    """
    hold = problem.spreads / _STRAY**2
    at = problem.start if start is None else np.asarray(start)
    for _ in range(_ROUNDS if problem.shifts else 1):
        integrated = _Integrated.of(problem, at)

        def held(flat: np.ndarray, integrated: _Integrated = integrated) -> tuple[float, Any]:
            value, gradient = problem.value_and_gradient(flat)
            away = flat - problem.start
            more, slope = integrated(flat)
            value += float(hold @ away**2) / 2 + more
            return value, gradient + hold * away + slope

        result = optimize.minimize(
            held, at, jac=True, method="L-BFGS-B", options={"maxiter": 500, "maxcor": 20}
        )
        at = np.asarray(result.x)
    hessian = _hessian(problem, at) + np.diag(hold + integrated.curvature(at))
    values, vectors = np.linalg.eigh(hessian)
    curvature = np.clip(values, _LEAST_CURVATURE, _MOST_CURVATURE)
    return Mode(at=at, covariance=(vectors / curvature) @ vectors.T)


def _hessian(problem: Problem, at: np.ndarray) -> np.ndarray:
    step = 1e-4 * np.eye(len(at))
    up, down = np.split(problem.gradients(np.r_[at + step, at - step]), 2)
    hessian = (up - down) / 2e-4
    return (hessian + hessian.T) / 2


@dataclass(frozen=True)
class _Integrated:
    """Minus the log of the volume that the shifts of the groups take up, given their sd.

    Of a shift with prior sd s, about which the choices hold the information J, half the log of
    the curvature: log(s^(2 - 2c) J + s^(-2c))/2 in the coordinates with centring c.

    Parameters
    ----------
    shifts : list of Shifts
    information : list of numpy.ndarray
        Of each shift.
    """

    shifts: list[Shifts]
    information: list[np.ndarray]

    @classmethod
    def of(cls, problem: Problem, flat: np.ndarray) -> "_Integrated":
        """Information where there are no shifts, and the sds are their priors' medians."""
        if not problem.shifts:
            return cls([], [])
        at = flat.copy()
        for each in problem.shifts:
            at[each.raw] = 0.0
            at[each.log_sd] = problem.start[each.log_sd]
        curvature = np.diag(_hessian(problem, at))
        found = []
        for each in problem.shifts:
            log_sd, c = at[each.log_sd], each.centring
            of_choices = curvature[each.raw] * np.exp(2 * (c - 1) * log_sd) - np.exp(-2 * log_sd)
            found.append(np.maximum(of_choices, 1e-300))
        return cls(problem.shifts, found)

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient."""
        value, gradient = 0.0, np.zeros(len(flat))
        for each, information in zip(self.shifts, self.information, strict=True):
            log_sd = flat[each.log_sd]
            told = np.log(information) + 2 * log_sd
            value += float(np.logaddexp(0.0, told).sum()) / 2
            value -= each.centring * len(each.raw) * log_sd
            gradient[each.log_sd] += special.expit(told).sum() - each.centring * len(each.raw)
        return value, gradient

    def curvature(self, flat: np.ndarray) -> np.ndarray:
        """Second derivatives by each parameter."""
        found = np.zeros(len(flat))
        for each, information in zip(self.shifts, self.information, strict=True):
            told = np.log(information) + 2 * flat[each.log_sd]
            found[each.log_sd] += 2 * (special.expit(told) * special.expit(-told)).sum()
        return found


def not_ruled_out(problem: Problem, mode: Mode, points: np.ndarray) -> np.ndarray:
    """Which points (point, parameter) have a log density near the mode's.

    A drop is allowed that 99.9 % of a Gaussian posterior stays within.
    """
    drop = stats.chi2(problem.size).ppf(0.999) / 2
    return problem.values(points) <= problem.value_and_gradient(mode.at)[0] + drop
