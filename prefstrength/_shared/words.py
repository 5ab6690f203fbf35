"""The parts that sentences about data are made of: values, lists, near names, rows."""

import difflib
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.errors import DataWarning

# Control characters of either set, and those that turn the direction of writing.
_STEERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]")
_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def shown(value: Any, width: int = 40) -> str:
    """Return ``repr(value)`` on one line, cut to ``width`` characters.

    Examples
    --------
    >>> shown("a" * 60, width=10)
    "'aaaaaa..."
    """
    value = value.item() if isinstance(value, np.generic) else value
    text = " ".join(repr(value).split())
    return text if len(text) <= width else text[: width - 3] + "..."


def printable(text: str) -> str:
    r"""Text of which no character steers a terminal: each that would is written out.

    Examples
    --------
    >>> print(printable("a\x1b[31mb\x9b2Jc"))
    a\x1b[31mb\x9b2Jc
    """

    def written(found: re.Match[str]) -> str:
        return found[0] if found[0] == "\n" else found[0].encode("unicode_escape").decode()

    return _STEERS.sub(written, text)


def listed(values: Iterable[Any], most: int = 8) -> str:
    """Return the first ``most`` values, quoted, and how many more there are.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    values = list(values)
    text = ", ".join(shown(value) for value in values[:most])
    return text if len(values) <= most else f"{text} and {len(values) - most:,} more"


def nearest(name: str, candidates: Iterable[Any]) -> str | None:
    """Return the candidate that ``name`` most likely meant, if one is close.

    Examples
    --------
    >>> nearest("anotator", ["prompt", "annotator"])
    'annotator'
    >>> nearest("REWARD", ["reward", "prompt"])
    'reward'
    """
    texts = [c for c in candidates if isinstance(c, str)]
    folded = {c.strip().casefold(): c for c in reversed(texts)}
    close = difflib.get_close_matches(name.strip().casefold(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def warn(text: str, category: type[Warning] = DataWarning) -> None:
    """Give a warning that points at the line from which the package was called.

    Other libraries may stand between: a trainer of theirs that calls a method of ours.
    """
    level = 1
    for depth, (frame, _) in enumerate(traceback.walk_stack(sys._getframe(1)), 2):
        if frame.f_code.co_filename.startswith(_PACKAGE):
            level = depth
    warnings.warn(text, category, stacklevel=level + 1)


class Rows:
    """Row labels of a frame, made into text only when somebody asks.

    Labels that occur twice (a frame glued from others) would point at the wrong row, so they
    give way to positions counted from 0.

    Parameters
    ----------
    index : pandas.Index
        The frame's index.
    noun : str
        What a row is called in the sentences, ``"row"`` or ``"situation"``.

    Examples
    --------
    >>> Rows(pd.RangeIndex(5)).where(np.array([True, False, True, False, False]))
    '2 of 5 rows (first: 0, 2)'
    """

    def __init__(self, index: pd.Index, noun: str = "row") -> None:
        self.index = index if index.is_unique else pd.RangeIndex(len(index))
        self.noun = noun

    def __len__(self) -> int:
        return len(self.index)

    def take(self, positions: np.ndarray) -> "Rows":
        """Return the rows at ``positions``."""
        return Rows(self.index[positions], self.noun)

    def labels(self) -> list[str]:
        """Return all labels as text."""
        if isinstance(self.index, pd.MultiIndex):
            return ["/".join(map(str, label)) for label in self.index]
        return [str(label) for label in self.index]

    def first(self, mask: np.ndarray, most: int = 3) -> tuple[str, ...]:
        """Return the labels of the first rows where ``mask`` holds."""
        return tuple(self.take(np.flatnonzero(mask)[:most]).labels())

    def where(self, mask: np.ndarray) -> str:
        """Return how many rows the mask holds for, and the first three."""
        plural = "" if len(self) == 1 else "s"
        return (
            f"{int(np.count_nonzero(mask)):,} of {len(self):,} {self.noun}{plural} "
            f"(first: {', '.join(self.first(mask))})"
        )
