"""Which level of each factor every pair or prompt has, as metrics by group need it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.errors import InputError

__all__ = ["read_levels"]


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
        column = pd.Series(list(labels), dtype="object")
        if len(column) != size:
            raise InputError(
                f"Expected a level of {factor!r} for each of {size} {of}s; got {len(column)}."
            )
        if column.isna().any():
            row = int(np.flatnonzero(column.isna())[0])
            raise InputError(
                f"Expected a level of {factor!r} for every {of}; got none in row {row} "
                f"({int(column.isna().sum())} of {size} rows). Name them, for example 'not "
                f"stated', or leave these {of}s out."
            )
        code, levels = pd.factorize(column.astype(str), sort=True)
        codes[factor] = (list(levels), code)
    return codes
