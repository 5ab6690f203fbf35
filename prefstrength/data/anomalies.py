"""Checks for what chance does not make: exact copies, values far beyond all others, sums."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, warn
from prefstrength.errors import InputError

__all__ = ["copies_refused", "exact_copies", "look_at_combinations", "look_at_outlying", "usual"]

#: Sizes beyond this many medians are far beyond the others, if this share has them at most.
FAR, FEW = 10.0, 0.02
#: How much larger the scale may be for one row, and for all that are far beyond, unmentioned.
MOVED_BY_ONE, MOVED_BY_ALL = 1.1, 1.5
#: From this much data on.
LEAST_OUTLYING, LEAST_COPIES = 10, 20


# -- values far beyond the others ----------------------------------------------------------------


def usual(sizes: np.ndarray, weights: np.ndarray) -> float:
    """Size beyond which a few differences lie far from all others; infinity where none do.

    Parameters
    ----------
    sizes, weights : ndarray, shape (difference,)
        Absolute differences, and how often each counts.

    Examples
    --------
    >>> sizes = np.array([*range(1, 100), 999.0])
    >>> usual(sizes, np.ones(100))
    500.0
    >>> usual(sizes[:-1], np.ones(99))
    inf
    """
    counts = (sizes > 0) & (weights > 0)
    total = weights[weights > 0].sum()
    if total < LEAST_OUTLYING or not counts.any():
        return math.inf
    order = np.argsort(sizes[counts], kind="stable")
    ordered, below = sizes[counts][order], np.cumsum(weights[counts][order])
    median = ordered[np.searchsorted(below, below[-1] / 2)]
    limit = FAR * float(median)
    far = weights[sizes > limit].sum()
    return limit if 0 < far <= max(FEW * total, 1.0) else math.inf


def look_at_outlying(
    name: str, difference: np.ndarray, weights: np.ndarray, labels: Sequence[str], noun: str
) -> None:
    """Warn of a few differences that make up most of the scale.

    Parameters
    ----------
    difference, weights : ndarray, shape (situation, alternative)
        Chosen minus other; weight 0 for what is not there.
    """
    sizes = np.abs(difference)
    limit = usual(sizes.ravel(), weights.ravel())
    if not math.isfinite(limit):
        return
    squares = weights * sizes**2
    far = sizes > limit
    rest = squares[~far].sum()
    moved = math.sqrt(squares.sum() / rest)
    by_one = math.sqrt(squares.sum() / (squares.sum() - squares.max()))
    if by_one < MOVED_BY_ONE and moved < MOVED_BY_ALL:
        return
    rows = far.any(axis=1)
    first = ", ".join(labels[i] for i in np.flatnonzero(rows)[:3])
    warn(
        f"Attribute {name!r} has differences far beyond the others in {np.count_nonzero(rows):,} "
        f"of {len(rows):,} {noun} (first: {first}): up to {sizes.max():.4g}, where one half is "
        f"below {limit / FAR:.3g}. They may decide what is found. A placeholder may stand for a "
        "missing score. Correct or drop these rows, unless they were measured so."
    )


# -- exact copies --------------------------------------------------------------------------------


def exact_copies(frame: pd.DataFrame, telling: Sequence[str]) -> np.ndarray:
    """Mark rows that repeat an earlier one in all columns, where chance does not explain that.

    Parameters
    ----------
    frame : DataFrame
    telling : sequence of str
        Columns by whose values chance is judged; what the others say follows from these, perhaps.

    Returns
    -------
    ndarray of bool, shape (row,)
    """
    none = np.zeros(len(frame), dtype=bool)
    frame = _hashable(frame)
    again = frame.duplicated().to_numpy()
    copies = int(again.sum())
    if not copies:
        return none
    counts = frame.groupby(list(frame.columns), dropna=False, sort=False, observed=True).size()
    if len(frame) >= LEAST_COPIES and np.gcd.reduce(counts.to_numpy()) > 1:
        return again  # every row twice, or thrice
    once, n = frame[~again], len(frame)
    chance = 1.0
    for name in dict.fromkeys(telling):
        of = once[name].value_counts(dropna=False).to_numpy(dtype=float)
        chance *= (of * (of - 1)).sum() / max(len(once) * (len(once) - 1.0), 1.0)
    expected = chance * n * (n - 1) / 2
    return again if copies > 3 * (expected + math.sqrt(expected)) else none


def copies_refused(copies: np.ndarray, rows: Rows, chooser: str | None) -> InputError:
    """What is said of copies."""
    cause = "A join may have doubled them."
    if chooser is None:
        cause += " Without a chooser, several people's votes look like copies, too."
    return InputError(
        f"Each row should be a choice of its own; got exact copies of earlier rows in "
        f"{rows.where(copies)}. {cause} They would count as evidence, and as heterogeneity. Pass "
        "`duplicates='drop'` to keep the first, or `duplicates='keep'` to keep all."
    )


def _hashable(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with lists and the like as text."""
    nested = (list, dict, set, np.ndarray)
    columns = [
        column.map(repr)
        if column.dtype == object and any(isinstance(value, nested) for value in column)
        else column
        for _, column in frame.items()
    ]
    return pd.concat(columns, axis=1)


# -- combinations --------------------------------------------------------------------------------


def look_at_combinations(names: Sequence[str], table: np.ndarray, size: str) -> None:
    """Warn of attributes whose differences are a sum of multiples of the others'.

    Parameters
    ----------
    names : sequence of str
        At least three, of which no two are proportional.
    table : ndarray, shape (difference, attribute)
        Of root mean square 1 in each column.
    """
    values, vectors = np.linalg.eigh(table.T @ table / len(table))
    for k in np.flatnonzero(values < 1e-9):
        parts = [name for name, part in zip(names, vectors[:, k], strict=True) if abs(part) > 1e-4]
        warn(
            f"Attributes {listed(parts)} are not independent in all {size}: each is a sum of "
            "multiples of the others, as a total is of its parts; their tastes cannot be told "
            "apart. Leave one of them out."
        )
