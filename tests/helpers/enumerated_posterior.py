"""Posteriors of one strength by enumeration: Gauss-Legendre over all parameters, z by z.

Answers are written out (:mod:`tests.helpers.by_definition`); between the strengths at which they
are evaluated the log-likelihood of a chooser is a cubic spline.
"""

from dataclasses import dataclass

import numpy as np
from scipy import interpolate, special, stats

from tests.helpers.by_definition import LONG, above, cuts_of, davidson, grade, ranking

Z = np.linspace(-7.0, 7.0, 57)
LOG_Z = stats.norm.logpdf(Z) + np.log(Z[1] - Z[0])
LOG_STRENGTH = np.arange(-16.0, 7.0, 0.04)
STRENGTH = np.arange(-30.0, 30.0, 0.03)


def log_answers(kind, x, answers, strength, shared):
    """Log probability of every answer at every strength, (situation, strength).

    ``x`` are differences (situation,), or attributes (situation, alternative) of which rankings
    name the best first.
    """
    x, strength = x.astype(LONG), strength.astype(LONG)
    if kind == "ranking":
        order = np.argsort(answers, axis=1)
        ordered = np.take_along_axis(x, order, axis=1)
        utilities = [column[:, None] * strength for column in ordered.T]
        return np.log(ranking(utilities, range(1, len(utilities) + 1), "exact"))
    unit = np.sqrt(np.mean(x**2))
    bent = np.sign(x) * unit * (np.abs(x) / unit) ** shared.get("power", 1.0)
    v = bent[:, None] * strength
    if kind == "pair":
        p, many = above(np.where(answers[:, None] == 0, v, -v)), 2
    else:
        many = 3
        tables = [
            davidson(v, a, shared["tie"]) if kind == "ties" else grade(v, a, cuts_of(3, shared))
            for a in range(many)
        ]
        p = np.choose(answers[:, None], tables)
    lapse = shared.get("lapse", 0.0)
    return np.log(lapse / many + (1 - lapse) * p)


@dataclass(frozen=True)
class Panel:
    """Answers of choosers, as plain arrays."""

    kind: str
    x: np.ndarray
    answers: np.ndarray
    chooser: np.ndarray
    positive: bool = True

    def of_choosers(self, strength, shared):
        each = np.asarray(log_answers(self.kind, self.x, self.answers, strength, shared), float)
        total = np.zeros((self.chooser.max() + 1, len(strength)))
        np.add.at(total, self.chooser, each)
        return total

    def log_marginals(self, location, dispersion, shared):
        """Of every chooser under every mixing distribution, (location, dispersion, chooser)."""
        strength = location[:, None, None] + dispersion[:, None] * Z
        grid = LOG_STRENGTH if self.positive else STRENGTH
        table = self.of_choosers(np.exp(grid) if self.positive else grid, shared)
        spline = interpolate.CubicSpline(grid, table, axis=1)
        at = spline(np.clip(strength, grid[0], grid[-1]))  # (chooser, location, dispersion, z)
        return np.moveaxis(special.logsumexp(at + LOG_Z, axis=3), 0, 2)

    def at_zero(self, shared):
        return self.of_choosers(np.zeros(1), shared)[:, 0]


def rule(low, high, nodes):
    """Gauss-Legendre nodes and log weights."""
    at, weight = np.polynomial.legendre.leggauss(nodes)
    return low + (high - low) * (at + 1) / 2, np.log(weight * (high - low) / 2)


def moments(log_density, axes):
    """Means and sds by axis, where ``axes`` are (nodes, log weights) of each."""
    total = log_density
    for k, (_, log_weight) in enumerate(axes):
        total = total + log_weight.reshape([-1 if j == k else 1 for j in range(len(axes))])
    mass = np.exp(total - total.max())
    mass /= mass.sum()
    found = []
    for k, (at, _) in enumerate(axes):
        margin = mass.sum(axis=tuple(j for j in range(len(axes)) if j != k))
        mean = margin @ at
        found.append((mean, np.sqrt(margin @ (at - mean) ** 2)))
    return found
