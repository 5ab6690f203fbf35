"""Posterior of one mixing distribution by the sums that define it, point by point."""

import math

import numpy as np

from prefstrength.choice.arrays import NUMPY

Z = np.linspace(-8.0, 8.0, 161)


def log_posterior(choices, family, location, dispersion):
    """Up to a constant, under the default priors of a positive strength."""
    x = choices.differences("reward")
    beta = family.coefficient(NUMPY, Z, location, dispersion)
    each = -np.logaddexp(0.0, -np.outer(x, beta))
    if choices.chooser is not None:
        total = np.zeros((choices.n_choosers, len(Z)))
        np.add.at(total, choices.chooser, each)
        each = total
    values = each - Z**2 / 2
    top = values.max(axis=1)
    data = (top + np.log(np.exp(values - top[:, None]).sum(axis=1))).sum()
    scale = choices.scale("reward")
    return data - (location + math.log(scale)) ** 2 / 2 - dispersion**2 / 2


def assert_enumerated(choices, fit, family):
    """Mean and sd of location and dispersion are those of a grid, within Monte Carlo error."""
    draws = {n: np.asarray(fit.posterior[f"reward_{n}"]).ravel() for n in family().parameters}
    points = np.stack(family(**draws).location_dispersion())
    grid = [
        np.linspace(max(p.mean() - 4.5 * p.std(), low), p.mean() + 4.5 * p.std(), 21)
        for p, low in zip(points, (-9.0, 0.02), strict=True)
    ]
    log = np.array([[log_posterior(choices, family, a, b) for b in grid[1]] for a in grid[0]])
    mass = np.exp(log - log.max())
    mass /= mass.sum()
    for axis, (at, point) in enumerate(zip(grid, points, strict=True)):
        margin = mass.sum(axis=1 - axis)
        mean = margin @ at
        sd = math.sqrt(margin @ (at - mean) ** 2)
        assert abs(point.mean() - mean) < 0.12 * sd
        assert abs(point.std() - sd) < 0.12 * sd
