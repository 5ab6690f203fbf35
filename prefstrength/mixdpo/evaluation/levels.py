"""Which level of each factor every pair or prompt has, as metrics by group need it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.errors import InputError

__all__ = ["check_prob", "read_column", "read_levels"]


def check_prob(prob: float) -> None:
    """Stop at what is no probability of an interval."""
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}. 0.9 gives 90 % intervals.")


def read_levels(
    groups: Mapping[str, Sequence[Any]] | None, size: int, of: str
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Names of the levels of each factor, and the number of every row's level.

    Parameters
    ----------
    groups : mapping, optional
        Factor to the level of every row.
    size : int
        Number of rows.
    of : str
        What a row is, in the words of an error: ``"pair"`` or ``"prompt"``.

    Returns
    -------
    dict
        Factor to its levels in rising order and their numbers (row,).

    Examples
    --------
    >>> read_levels({"region": ["west", "east", "west"]}, 3, "pair")
    {'region': (['east', 'west'], array([1, 0, 1]))}
    """
    if groups is not None and not isinstance(groups, Mapping):
        raise TypeError(
            f"Expected groups as a mapping of a factor's name to the level of every {of}; got "
            f"{type(groups).__name__}. Write {{'topic': frame['topic']}}."
        )
    codes = {}
    for factor, labels in (groups or {}).items():
        column = read_column(
            labels, size, of, f"a level of {factor!r}", "Name them, for example 'not stated'"
        )
        code, levels = pd.factorize(column.astype(str), sort=True)
        codes[factor] = (list(levels), code)
    return codes


def read_column(labels: Sequence[Any], size: int, of: str, what: str, advice: str) -> pd.Series:
    """A label for every row, or an error that says which row has none."""
    column = pd.Series(list(labels), dtype="object")
    if len(column) != size:
        raise InputError(f"Expected {what} for each of {size} {of}s; got {len(column)}.")
    empty = np.flatnonzero(column.isna())
    if len(empty):
        raise InputError(
            f"Expected {what} for every {of}; got none in row {empty[0]} ({len(empty)} of {size} "
            f"rows). {advice}, or leave these {of}s out."
        )
    return column
