r"""Sums of panels: every chooser's log-likelihood as a function of the coefficient, in one pass.

What a series in strength is made of (:func:`coefficients_of`) are sums over the chooser's rows of
:math:`h(b|x|) = \log(1 + e^{-b|x|})` at fixed coefficients b, and a few moments. They add up over
parts of the data, and those of both kinds of series, for positive coefficients and for any, are
kept: the family is not known yet.

:math:`h(e^u)` is read off one table of cubics in u, whatever b and x are; its error is below
2e-10, which a test measures.
"""

import numpy as np
from numpy.polynomial import chebyshev

from prefstrength.data.compressed.compiled import compiled

__all__ = ["DEGREE", "FIELDS", "MOMENTS", "accumulate", "coefficients_of", "evaluate", "moment"]

#: Degree of the series in the coefficient.
DEGREE = 96
# Range of a positive coefficient, of any coefficient, and the width of the asinh map, in 1/scale.
_LOW, _HIGH, _ENDS, _WIDTH = np.exp(-6.0), np.exp(11.0), 400.0, 0.25

#: Sums that are kept beside the samples of h, in this order: w, wx, w|x|, wx², w|x| times the
#: logistic function of minus the lowest coefficient's utility, information, number of rows.
MOMENTS = ("weight", "x", "size", "square", "end", "information", "rows")

_POINTS = chebyshev.chebpts1(DEGREE + 1)
_POSITIVE = np.exp((_POINTS * np.log(_HIGH / _LOW) + np.log(_LOW * _HIGH)) / 2)
_ANY = np.sinh(_POINTS * np.arcsinh(_ENDS / _WIDTH)) * _WIDTH
_HALF = DEGREE // 2  # points of _ANY above 0; the one in the middle is 0
# Coefficients at which h is sampled, in rising order within each of the two kinds.
LOGS = np.log(np.concatenate([_POSITIVE, _ANY[_HALF + 1 :]]))
_SAMPLES = len(LOGS)

#: Numbers kept for each row of a table.
FIELDS = _SAMPLES + len(MOMENTS)

# Between these u the function is read off the table; below it is a parabola in e^u, above 0.
_FROM, _TO, _PER_UNIT = -7.0, 3.75, 64


def _cubics() -> np.ndarray:
    """Hermite cubics of log(1 + exp(-e^u)) in the place within each step, (step, 4)."""
    u = np.linspace(_FROM, _TO, int((_TO - _FROM) * _PER_UNIT) + 1)
    y = np.exp(u)
    value = np.log1p(np.exp(-y))
    slope = -y / (1 + np.exp(y)) / _PER_UNIT
    low, high, first, last = value[:-1], value[1:], slope[:-1], slope[1:]
    rise = high - low
    return np.stack([low, first, 3 * rise - 2 * first - last, first + last - 2 * rise], axis=1)


_TABLE = _cubics()


@compiled
def _accumulate(
    chosen: np.ndarray,
    rejected: np.ndarray,
    weight: np.ndarray | None,
    row: np.ndarray,
    scale: float,
    limit: float,
    logs: np.ndarray,
    split: int,
    table: np.ndarray,
    state: np.ndarray,
) -> int:
    wrong, samples = 0, len(logs)
    lowest = np.exp(-6.0)
    for i in range(len(chosen)):
        x = np.float64(chosen[i]) - np.float64(rejected[i])
        w = 1.0 if weight is None else weight[i]
        if not (abs(x) < limit and w >= 0.0 and w < np.inf):
            wrong += 1
            continue
        to = state[row[i]]
        size = abs(x)
        v = size / scale
        to[samples] += w
        to[samples + 1] += w * x
        to[samples + 2] += w * size
        to[samples + 3] += w * x * x
        to[samples + 4] += w * size / (1.0 + np.exp(lowest * v))
        best = 0.0
        for strength in (0.5, 1.0, 2.0):
            e = np.exp(-strength * v)
            best = max(best, (strength * v) ** 2 * e / (1.0 + e) ** 2)
        to[samples + 5] += w * best
        to[samples + 6] += 1.0
        if size == 0.0:
            for j in range(samples):
                to[j] += w * np.log(2.0)
            continue
        shift = np.log(v)
        for part in range(2):
            j, end = (0, split) if part == 0 else (split, samples)
            while j < end and shift + logs[j] < _FROM:
                y = np.exp(shift + logs[j])
                to[j] += w * (np.log(2.0) - y / 2 + y * y / 8)
                j += 1
            while j < end:
                place = (shift + logs[j] - _FROM) * _PER_UNIT
                step = int(place)
                if step >= len(table):
                    break  # h is below 1e-18
                t = place - step
                c = table[step]
                to[j] += w * (c[0] + t * (c[1] + t * (c[2] + t * c[3])))
                j += 1
    return wrong


def accumulate(
    chosen: np.ndarray,
    rejected: np.ndarray,
    weight: np.ndarray | None,
    row: np.ndarray,
    scale: float,
    limit: float,
    state: np.ndarray,
) -> int:
    """Add situations to the sums of their rows.

    Parameters
    ----------
    chosen, rejected : ndarray of float, shape (situation,)
    weight : ndarray, shape (situation,), or None
    row : ndarray of int, shape (situation,)
        Row of the state: a chooser in a cell.
    scale : float
        Typical difference; it places the coefficients.
    limit : float
        Differences must be smaller.
    state : ndarray, shape (row, FIELDS)
        The sums, changed in place.

    Returns
    -------
    int
        Situations that could not be used.
    """
    return int(
        _accumulate(chosen, rejected, weight, row, scale, limit, LOGS, DEGREE + 1, _TABLE, state)
    )


def moment(state: np.ndarray, name: str) -> np.ndarray:
    """One of the :data:`MOMENTS` of every row."""
    return state[:, _SAMPLES + MOMENTS.index(name)]


def samples_of(state: np.ndarray, scale: float, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Bounded part of the log-likelihood at the Chebyshev points, and the factors split off.

    Returns
    -------
    columns : ndarray, shape (row, DEGREE + 1)
    grown : ndarray, shape (row, 2)
    """
    total, x, size = (moment(state, name) for name in ("weight", "x", "size"))
    if positive:
        return -state[:, : DEGREE + 1], np.stack([(x - size) / 2, moment(state, "end")], axis=1)
    above = state[:, DEGREE + 1 : _SAMPLES]
    middle = np.log(2.0) * total[:, None]
    h = np.concatenate([above[:, ::-1], middle, above], axis=1)
    excess = (np.abs(_ANY) - np.sqrt(_ANY**2 + _WIDTH**2)) / scale
    return -(h + size[:, None] / 2 * excess), np.stack([x / 2, -size / 2], axis=1)


def coefficients_of(
    state: np.ndarray, scale: float, positive: bool, degree: int = DEGREE
) -> np.ndarray:
    """Rows of a panel table, shape (row, degree + 3); a degree below DEGREE cuts the series."""
    columns, grown = samples_of(state, scale, positive)
    transform = chebyshev.chebvander(_POINTS, degree) * 2 / (DEGREE + 1)
    transform[:, 0] /= 2
    return np.concatenate([columns @ transform, grown], axis=1)


def evaluate(table: np.ndarray, scale: float, positive: bool, beta: np.ndarray) -> np.ndarray:
    """Log-likelihood of rows of :func:`coefficients_of` at coefficients, (row, node), in float64.

    Outside the range of the table the two functions split off go on alone.
    """
    low, high = (_LOW / scale, _HIGH / scale) if positive else (-_ENDS / scale, _ENDS / scale)
    inside, finite = np.clip(beta, low, high), np.clip(beta, -1e100, 1e100)
    if positive:
        t = 2 * np.log(inside / low) / np.log(high / low) - 1
        second = np.minimum(finite - low, 0.0)
    else:
        width = _WIDTH / scale
        t = np.arcsinh(inside / width) / np.arcsinh(high / width)
        second = np.sqrt(finite**2 + width**2)
    series = chebyshev.chebval(np.clip(t, -1.0, 1.0), table[:, :-2].T)
    return series + table[:, -2:] @ np.stack([finite, second])
