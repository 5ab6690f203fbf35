"""Nodes and trapezoid rules for integrals over strength, as fine as a panel needs."""

import itertools
from collections.abc import Callable
from typing import Protocol

import numpy as np

from prefstrength.choice.mixing.base import Mixing

__all__ = [
    "Evaluator",
    "Rows",
    "changing_beyond",
    "information_of",
    "normal_nodes",
    "trapezoid_rules",
]

#: Log-likelihood of rows at coefficients: (node,) -> (row, node).
Evaluator = Callable[[np.ndarray], np.ndarray]

# How far nodes reach, in standard normal units. P(|z| > 7) = 3e-12, yet a chooser may lie beyond:
# hundreds of choices against the reward, under a LogNormal law with a small sigma.
_REACHES = (7.0, 14.0, 28.0)


def normal_nodes(step: float, reach: float = _REACHES[0]) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights of the trapezoid rule for a standard normal z."""
    half = int(np.ceil(reach / step - 1e-9))
    z = step * np.arange(-half, half + 1)
    return z, -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))


def log_sigmoid(u: np.ndarray) -> np.ndarray:
    """Log of the logistic function, NumPy."""
    return -np.logaddexp(0.0, -u)


# -- panels ------------------------------------------------------------------------------------


class Rows(Protocol):
    """Every chooser's log-likelihood in every cell as a function of the coefficient.

    :class:`PanelRows` where the differences are known, and
    :class:`~prefstrength.likelihood.splines.SplineRows` where they are measured with error.
    """

    @property
    def chooser(self) -> np.ndarray: ...
    @property
    def cell(self) -> np.ndarray: ...
    @property
    def information(self) -> np.ndarray: ...
    @property
    def scale(self) -> float: ...
    @property
    def positive(self) -> bool: ...
    @property
    def size(self) -> int: ...
    def steps(self, family: type[Mixing], dispersion: float) -> tuple[np.ndarray, np.ndarray]: ...
    def evaluator(self, own: np.ndarray, precision: type = ...) -> Evaluator: ...
    def joined(self) -> "Rows": ...


def ordered_rows(
    chooser: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Order of the situations by chooser and cell, where rows begin, and the codes of each row."""
    cells = int(cell.max()) + 1
    key = chooser.astype(np.int64) * cells + cell
    order = np.argsort(key, kind="stable")
    keys, starts = np.unique(key[order], return_index=True)
    return order, starts, (keys // cells, keys % cells)


def information_of(v: np.ndarray) -> np.ndarray:
    """Information of one choice on log strength, at the strength where it is largest."""
    best = np.zeros_like(v)
    for strength in (0.5, 1.0, 2.0):
        u = strength * v
        best = np.maximum(best, u**2 * np.exp(log_sigmoid(u) + log_sigmoid(-u)))
    return best


def _step(information: np.ndarray, sigma: float) -> np.ndarray:
    """Step of the trapezoid rule for each chooser: halves, with their means down to 1/4.

    For a Gaussian integrand of sd s the error is 2 exp(-2 pi^2 s^2/h^2); s = (1+J)^-1/2 with J
    the information, and h = 1.3 s gives 2e-5, of random sign. The poles of the logit lie
    pi/(2 sigma) off the real axis in z, which adds exp(-pi^2/(sigma h)).
    """
    wanted = np.minimum(1.05 / np.sqrt(1 + information), 0.7 / sigma)
    halvings = np.maximum(0.0, -np.log2(wanted))
    # Fine steps are halved at once: fewer choosers need them, and every class is compiled.
    return 2.0 ** -np.where(halvings > 2, np.ceil(halvings), np.ceil(2 * halvings) / 2)


# Log of the largest positive coefficient, in units of 1/scale. A chooser who always went with the
# reward has a log-likelihood that rises until the smallest difference is certain too; beyond, it
# is taken for constant (with 8 in the place of 11 and sigma = 3, up to 0.07 nats were lost).
_HIGHEST = 11.0
# Half of the width, in units of 1/scale, over which the asinh map resolves coefficients around 0.
WIDTH = 0.25


def interval(scale: float, positive: bool) -> tuple[float, float]:
    """Range of the coefficient that the series covers."""
    if not positive:
        return -400 / scale, 400 / scale
    return np.exp(-6.0) / scale, np.exp(_HIGHEST) / scale


def changing_beyond(
    x: np.ndarray, unit: np.ndarray, weight: np.ndarray, scale: float
) -> np.ndarray:
    """How much the likelihood of each unit changes beyond the largest coefficient, 0 to 1.

    Relative to its maximum. Large where a chooser always went with the reward, or against it once
    for a tiny difference.
    """
    end = np.exp(_HIGHEST) / scale
    log_likelihood = np.stack(
        [
            np.bincount(unit, weight * log_sigmoid(x * beta))
            for beta in (*np.exp(np.arange(-2.0, _HIGHEST, 2.0)) / scale, end, 100 * end)
        ]
    )
    relative = np.exp(log_likelihood - log_likelihood.max(axis=0))
    return np.abs(relative[-1] - relative[-2])


def trapezoid_rules(
    rows: Rows, family: type[Mixing], dispersion: float
) -> tuple[np.ndarray, np.ndarray]:
    """Step and reach for each chooser, fine and wide enough for dispersions up to the given one."""
    if not family.varies:
        return np.ones(len(rows.information)), np.zeros(len(rows.information))
    unit = 1.0 if rows.positive else 1.0 / rows.scale
    information = rows.information * (dispersion / unit) ** 2
    steps = _step(information, dispersion / unit if family.positive and family.linear else 1.0)
    reaches = _reaches(rows, dispersion)
    # Every class is compiled: do not split the few unusual choosers by step as well.
    return np.where(reaches > _REACHES[0], np.minimum(steps, 0.25), steps), reaches


def _reaches(rows: Rows, dispersion: float) -> np.ndarray:
    """How far the nodes of each chooser must reach, from a look at the integrand.

    It is looked at around the coefficient that suits the median chooser (not all choices
    together: most of them may be an unusual chooser's own), at the given dispersion and at a
    smaller one, under which an unusual chooser lies further out.
    """
    each, count = rows.joined(), len(rows.information)
    low, high = interval(rows.scale, rows.positive)
    grid = np.geomspace(low, high, 401) if rows.positive else np.linspace(low / 50, high / 50, 401)
    some = each.evaluator(np.arange(0, count, 1 + count // 2000))
    location = float(np.median(grid[np.argmax(some(grid), axis=1)]))
    z = np.arange(-1.5 * _REACHES[-1], 1.5 * _REACHES[-1] + 0.25, 0.5)
    out = np.full(count, _REACHES[0])
    for sd in dispersion * np.array([1.0, 0.5]):
        # Beyond e^100 every choice is certain already, and exp would overflow.
        wide = np.exp(np.clip(sd * z, -100.0, 100.0)) if rows.positive else sd * z
        beta = location * wide if rows.positive else location + wide
        for start in range(0, count, 4096):
            part = np.arange(start, min(start + 4096, count))
            log_mass = each.evaluator(part)(beta) - z**2 / 2
            mass = np.exp(log_mass - log_mass.max(axis=1, keepdims=True))
            for reach, next_reach in itertools.pairwise(_REACHES):
                beyond = mass[:, np.abs(z) >= reach - 0.5].sum(axis=1) > 1e-8 * mass.sum(axis=1)
                out[part] = np.where(beyond, np.maximum(out[part], next_reach), out[part])
    return out
