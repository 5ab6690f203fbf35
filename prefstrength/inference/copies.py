"""What a weight stands for: so many choices alike, or so many choosers alike, one by one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefstrength.likelihood.data import LikelihoodData

__all__ = ["Copies", "copies", "names_of_copies"]


@dataclass(frozen=True)
class Copies:
    """Situations, each as often as its weight says.

    Parameters
    ----------
    rows : numpy.ndarray, shape (copy,)
        Situations of the data.
    unit : numpy.ndarray, shape (copy,)
        Who chooses in a copy, counted from 0: copies of a situation are choices of one chooser,
        copies of a chooser are several; where choosers are not known every copy is somebody's.
    """

    rows: np.ndarray
    unit: np.ndarray


def copies(data: LikelihoodData, rows: np.ndarray, most: int, rng: np.random.Generator) -> Copies:
    """As many copies of situations as their weights say, at most so many, drawn at random.

    Weights that are not whole are brought to a mean of 1; the copies of all lie evenly over them.
    """
    own, times = data.weight[rows], data.unit_weight[data.unit[rows]]
    weight = own * times
    if (weight == 1).all():
        if len(rows) > most:
            rows = np.sort(rng.choice(rows, most, replace=False))
        return _numbered(rows, data.unit[rows] if data.panel else np.arange(len(rows)))
    if not (weight == np.round(weight)).all():
        weight = weight * (len(rows) / weight.sum())
    ends = np.cumsum(weight)
    count = int(round(ends[-1])) if len(rows) else 0
    place = np.arange(count) + 0.5
    if count > most:
        place = (np.arange(most) + rng.random(most)) * (count / most)
    at = np.minimum(np.searchsorted(ends, place, side="right"), len(rows) - 1)
    if not data.panel:
        return Copies(rows[at], np.arange(len(at)))
    # Of a row of weight w, the first w copies are the first chooser's, the next w the second's.
    within = (place - (ends - weight)[at]) * (times[at] / np.where(weight[at] > 0, weight[at], 1))
    number = np.floor(within).astype(np.int64)
    return _numbered(rows[at], data.unit[rows[at]] * (number.max(initial=0) + 1) + number)


def _numbered(rows: np.ndarray, unit: np.ndarray) -> Copies:
    return Copies(rows, np.unique(unit, return_inverse=True)[1])


def names_of_copies(names: Sequence[str], which: np.ndarray) -> list[str]:
    """Names of copies, told apart by a number from the second on.

    Examples
    --------
    >>> names_of_copies(["a", "b"], np.array([0, 1, 1]))
    ['a', 'b', 'b (2)']
    """
    seen: dict[int, int] = {}
    found = []
    for place in which.tolist():
        seen[place] = seen.get(place, 0) + 1
        again = f" ({seen[place]})" if seen[place] > 1 else ""
        found.append(f"{names[place]}{again}")
    return found
