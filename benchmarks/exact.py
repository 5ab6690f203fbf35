"""Maximum likelihood on the package's exact likelihood, to set simulated likelihoods beside.

One job as JSON on standard input, the result on the last line of standard output.
"""

import json
import sys
import time

import numpy as np
from numpy.polynomial import chebyshev
from scipy import optimize


def log_likelihood(x, mu, sigma, reach=12.0, nodes=1201):
    """Log-likelihood of a panel (chooser, situation), by a sum that owes nothing to the package.

    Trapezoid rule in z on 12 standard deviations either way, in steps of 0.02: for 20 choices a
    chooser the integrand is at least 0.2 wide, and the rule's error far below rounding.
    """
    z = np.linspace(-reach, reach, nodes)
    weight = -(z**2) / 2 + np.log((z[1] - z[0]) / np.sqrt(2 * np.pi))
    strength = np.exp(mu + sigma * z)
    total = 0.0
    for one in x:
        values = weight - np.logaddexp(0.0, -one[:, None] * strength).sum(axis=0)
        top = values.max()
        total += top + np.log(np.exp(values - top).sum())
    return float(total)


def maximise(choices):
    """Estimates, standard errors from the curvature, log-likelihood.

    By polynomials of degree 6 in both parameters on smaller and smaller squares around the
    maximum; their derivatives, not differences of nearby values, give the curvature.
    """
    from prefstrength import LogNormal
    from prefstrength.choice.responses.pair import Pair
    from prefstrength.likelihood.build_strength import strength_likelihood
    from prefstrength.likelihood.data import LikelihoodData
    from prefstrength.likelihood.laws import Blend, Laws
    from prefstrength.likelihood.sources import Reading

    start = time.perf_counter()
    cell = np.zeros(choices.n_situations, dtype=np.int64)
    data = LikelihoodData.of(choices, ("reward",), cell)
    likelihood = strength_likelihood(data, Reading(Pair()), True, {})
    point, size = np.array([-np.log(choices.scale("reward")), 0.7]), 0.6
    for _ in range(_MOST_SQUARES):
        u = chebyshev.chebpts1(_NODES)
        at = point[:, None] + size * np.stack([np.repeat(u, _NODES), np.tile(u, _NODES)])
        laws = Blend.of(Laws(LogNormal, at[0], np.abs(at[1])))
        values = likelihood.totals([laws]).reshape(_NODES, _NODES)
        transform = np.linalg.inv(chebyshev.chebvander(u, _NODES - 1))
        series = transform @ values @ transform.T
        best = optimize.minimize(
            lambda v, c: -chebyshev.chebval2d(*v, c), [0, 0], (series,), bounds=[(-1, 1)] * 2
        )
        inside = np.abs(best.x).max() < 0.9
        point = point + size * best.x
        if inside and size < _SMALLEST:
            break
        size = max(size / 3, _SMALLEST / 1.01) if inside else size
    else:
        raise RuntimeError("The maximum of the likelihood was not found.")
    covariance = np.linalg.inv(-_curvature(series, best.x) / size**2)
    return {
        "seconds": time.perf_counter() - start,
        "mu": float(point[0]),
        "sigma": abs(float(point[1])),
        "mu_se": float(covariance[0, 0] ** 0.5),
        "sigma_se": float(covariance[1, 1] ** 0.5),
        "log_likelihood": -float(best.fun),
    }


_NODES, _MOST_SQUARES, _SMALLEST = 7, 30, 0.08


def _curvature(series, at):
    """Second derivatives of a Chebyshev series in two variables."""

    def derivative(first, second):
        c = chebyshev.chebder(chebyshev.chebder(series, first, axis=0), second, axis=1)
        return chebyshev.chebval2d(*at, c)

    cross = derivative(1, 1)
    return np.array([[derivative(2, 0), cross], [cross, derivative(0, 2)]])


def run(job):
    from benchmarks.common import panel

    return [maximise(panel(job["choosers"], job["situations"], seed)) for seed in job["seeds"]]


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
