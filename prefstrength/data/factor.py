"""Factors (subgroups with levels) and records of what was dropped."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prefstrength._shared.words import listed, shown
from prefstrength.errors import InputError

__all__ = ["Dropped", "Factor"]


@dataclass(frozen=True, eq=False)
class Factor:
    """A categorical column: one code for each situation.

    Attributes
    ----------
    name : str
    codes : ndarray of int64, shape (situation,)
        Position of each situation's level in ``levels``.
    levels : tuple of str

    Examples
    --------
    >>> Factor("region", [0, 1, 1], ("north", "south")).counts()
    {'north': 1, 'south': 2}
    """

    name: str
    codes: np.ndarray
    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "codes", frozen(self.codes, np.int64, 1, f"codes of {self.name}"))
        object.__setattr__(self, "levels", tuple(self.levels))
        check_codes(self.codes, self.levels, f"group {self.name!r}")

    def counts(self) -> dict[str, int]:
        """Return the number of situations of each level."""
        counted = np.bincount(self.codes, minlength=len(self.levels))
        return dict(zip(self.levels, counted.tolist(), strict=True))


@dataclass(frozen=True)
class Dropped:
    """What was left out on request: why, how many rows, and the first three of them."""

    reason: str
    count: int
    rows: tuple[str, ...] = ()


# -- the pieces -------------------------------------------------------------------------------


def frozen(value: Any, dtype: Any, ndim: int, name: str) -> np.ndarray:
    given = np.asarray(value)
    if given.ndim != ndim:
        raise InputError(
            f"{name} should be an array with {ndim} dimension{'s' * (ndim > 1)}; "
            f"got the shape {given.shape}. Check the order of the axes."
        )
    if np.dtype(dtype) != given.dtype and not np.can_cast(given.dtype, dtype, "same_kind"):
        raise InputError(
            f"{name} should be an array of {np.dtype(dtype).name}; got {given.dtype}. "
            "Convert it, or let from_pairs read the table."
        )
    array = np.array(given, dtype=dtype, order="C")
    if array.dtype.kind == "f":
        array += 0.0  # -0.0 and 0.0 are one number, and so have one hash
    array.flags.writeable = False
    return array


def check_text(labels: Sequence[str], name: str, *, forbidden: str = "") -> None:
    """Refuse labels that files of results cannot hold: NUL, half of a character, ``forbidden``."""
    # Joined, so that the good path is one look at one text.
    whole = "\n".join(labels)
    try:
        whole.encode("utf-8")
        found = next((mark for mark in ("\0", *forbidden) if mark in whole), None)
    except UnicodeEncodeError as error:
        found = whole[error.start]
    if found is not None:
        wrong = [label for label in labels if found in label]
        raise InputError(
            f"{name} should be text that files of results can hold; got {shown(found)} in "
            f"{len(wrong):,} of {len(labels):,} (first: {listed(wrong, most=3)}). "
            "Rename them without it."
        )


def check_codes(codes: np.ndarray, labels: Sequence[str], name: str) -> None:
    check_text(labels, f"Labels of {name}")
    if len(set(labels)) != len(labels):
        raise InputError(f"Labels of {name} should be unique; got {listed(labels)}. Rename some.")
    if codes.size and (codes.min() < 0 or codes.max() >= len(labels)):
        raise InputError(
            f"Codes of {name} should lie between 0 and {len(labels) - 1}, one for each label; got "
            f"{codes.min()} to {codes.max()}. Give a label to every code."
        )
