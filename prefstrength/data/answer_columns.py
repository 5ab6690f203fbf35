"""Columns of answers: grades, ties and who was shown first become codes, or one sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest, shown
from prefstrength.choice.responses.base import Response
from prefstrength.data.columns import column, flags
from prefstrength.data.votes import TIE_COLUMNS, VOTE_COLUMNS, says_neither
from prefstrength.errors import InputError

__all__ = ["read_first", "read_grades", "read_ties", "require_agreement", "require_fitting"]

#: A scale with more grades than this is a measurement.
MOST_GRADES = 20

_WHOLE = ("integer", "floating", "mixed-integer-float", "decimal")

#: A scale as the caller gives it: grades in order, or how many, counted from 1.
Scale = Sequence[Any] | int | None


# -- grades ---------------------------------------------------------------------------------------


def read_grades(
    values: pd.Series, name: str, rows: Rows, scale: Scale, tie: np.ndarray | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return codes of grades and the grades in words, the most in favour of the chosen first.

    Parameters
    ----------
    values : pandas.Series
        Numbers that rise in favour of the response in ``chosen``, words, or an ordered
        categorical.
    name : str
    rows : Rows
    scale : sequence, int or None
        The grades, the least in favour of the chosen response first; a number L for 1 to L.
    tie : ndarray of bool, shape (row,), or None
        What a column of ties says.

    Examples
    --------
    >>> grades = pd.Series([2, -1, 0])
    >>> read_grades(grades, "grade", Rows(grades.index), None, None)
    (array([0, 3, 2]), ('+2', '+1', '0', '-1', '-2'))
    """
    missing = values.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Column {name!r} should hold a grade in every row; got nothing in "
            f"{rows.where(missing)}. No answer is not a tie. Fill these rows in or drop them."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        if scale is None and values.cat.ordered:
            scale = values.cat.categories.tolist()
        values = values.astype(values.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(values)
    if kind in _WHOLE:
        values = _whole(values, name, rows)
    elif kind != "string":
        raise InputError(
            f"Column {name!r} should hold grades as whole numbers or words; got {kind} values, "
            f"such as {shown(values.iloc[0])}, in {rows.where(~missing)}. A grade says how much "
            "better one response is. Name another column."
        )
    grades = _scale(values, name, rows, scale, tie)
    place = {grade: k for k, grade in enumerate(grades)}
    codes = values.map(place).to_numpy(dtype=np.float64, na_value=np.nan)
    outside = np.isnan(codes)
    if outside.any():
        example = values[outside].iloc[0]
        close = nearest(example, grades) if isinstance(example, str) else None
        hint = f"Did you mean {close!r}? " if close else ""
        raise InputError(
            f"Column {name!r} should hold the grades {listed(grades)}; got {shown(example)} in "
            f"{rows.where(outside)}. {hint}Correct these rows, or give the whole scale in "
            "`grades=...`."
        )
    signed = min(map(_as_number, grades), default=0) < 0
    words = [f"{grade:+d}" if signed and grade else str(grade) for grade in grades]
    return len(grades) - 1 - codes.astype(np.int64), tuple(words[::-1])


def _as_number(grade: Any) -> float:
    return grade if isinstance(grade, int) else 0


def _whole(values: pd.Series, name: str, rows: Rows) -> pd.Series:
    array = values.to_numpy(dtype=np.float64)
    part = array != np.round(array)
    if part.any():
        raise InputError(
            f"Column {name!r} should hold grades as whole numbers or words; got "
            f"{array[part][0]:g} in {rows.where(part)}. A mean of several people's grades is a "
            "measurement. Give each their own row."
        )
    return pd.Series(array.astype(np.int64).astype(object), index=values.index)


def _scale(
    values: pd.Series, name: str, rows: Rows, scale: Scale, tie: np.ndarray | None
) -> list[Any]:
    """Grades in order, the least in favour of the chosen response first."""
    if isinstance(scale, str | bool):
        raise TypeError(f"grades should be a list of grades or their number; got {shown(scale)}.")
    if isinstance(scale, int):
        grades: list[Any] = list(range(1, scale + 1))
    elif scale is not None:
        grades = [int(g) if not isinstance(g, str) and g == int(g) else g for g in scale]
    else:
        grades = _scale_of_numbers(values, name, rows, tie)
    numeric = all(isinstance(grade, int) for grade in grades)
    if len(set(grades)) != len(grades) or not 2 <= len(grades) <= MOST_GRADES:
        raise InputError(
            f"A scale should have 2 to {MOST_GRADES} grades, each once; got {len(grades)}: "
            f"{listed(grades)}. Name the grades of column {name!r} in `grades=...`."
        )
    if not numeric:
        return grades
    if (np.diff(grades) <= 0).any():
        raise InputError(
            f"grades should rise in favour of the chosen response; got {listed(grades)}. "
            "Turn the list around, or number the grades anew."
        )
    # From below 0 the middle is 0; else it is that of the scale.
    middle = 0 if grades[0] < 0 else grades[0] + grades[-1]
    if any(a + b != middle for a, b in zip(grades, grades[::-1], strict=True)):
        raise InputError(
            "A scale should have as many grades for the one response as for the other; got "
            f"{listed(grades)}. Grades that nobody gave belong to it, too. Name them all."
        )
    return grades


def _scale_of_numbers(
    values: pd.Series, name: str, rows: Rows, tie: np.ndarray | None
) -> list[int]:
    if isinstance(values.iloc[0], str):
        raise InputError(
            f"Grades in words (column {name!r}) should have an order; got "
            f"{listed(sorted(values.unique()))} in {len(rows):,} rows. Pass `grades=[...]`, the "
            "least in favour of the chosen response first, or make the column an ordered "
            "pandas.Categorical."
        )
    array = values.to_numpy(dtype=np.int64)
    most = int(np.abs(array).max())
    # From 0 up they may as well be a scale that begins at 0, unless ties say where 0 is.
    if array.min() >= 0 and (tie is None or array.min() > 0 or (tie != (array == 0)).any()):
        raise InputError(
            f"Grades (column {name!r}) should say on which side they are; got whole numbers from "
            f"{array.min()} to {most}. They may go from one response to the other, or say how much "
            f"better the chosen one is. Pass `grades={most}` for 1 to {most} in its favour, or "
            f"all grades from {-most} to {most} as a list."
        )
    return [grade for grade in range(-most, most + 1) if grade or (array == 0).any()]


# -- ties -----------------------------------------------------------------------------------------


def read_ties(frame: pd.DataFrame, rows: Rows, name: str | None, graded: bool) -> np.ndarray | None:
    """Whether nobody was preferred in a row; None where no column says so."""
    if name is not None or "tie" in frame.columns:
        name = name or "tie"
        return flags(column(frame, name, "tie"), name, rows, "a tie")
    if not graded:
        _refuse_hidden_ties(frame, rows)
    return None


def _refuse_hidden_ties(frame: pd.DataFrame, rows: Rows) -> None:
    """Refuse a column that looks as if it marked ties, and would be overlooked."""
    for name in frame.columns:
        if isinstance(name, str) and (name.casefold() in TIE_COLUMNS):
            raise InputError(
                f"The column that marks ties should be called 'tie'; got {name!r}. It would be "
                f"overlooked. Rename it: `frame.rename(columns={{{name!r}: 'tie'}})`."
            )
    for name in frame.columns:
        if isinstance(name, str) and name.casefold() in VOTE_COLUMNS:
            values = column(frame, name, "vote")
            if pd.api.types.infer_dtype(values, skipna=True) not in ("string", "categorical"):
                continue
            tied = says_neither(values)
            if tied.any():
                raise InputError(
                    "Ties should be marked by a boolean column 'tie'; got "
                    f"{shown(values[tied].iloc[0])} in column {name!r} in {rows.where(tied)}, and "
                    "no column 'tie'. They would count as choices. "
                    f"Add it: frame['tie'] = frame[{name!r}] == {shown(values[tied].iloc[0])}."
                )


def require_agreement(
    codes: np.ndarray, words: Sequence[str], tie: np.ndarray, grade: str, name: str, rows: Rows
) -> None:
    """Refuse ties whose grade prefers one response, and the other way round."""
    differs = tie != (2 * codes == len(words) - 1)
    if differs.any():
        at = int(np.argmax(differs))
        said = "a tie" if tie[at] else "no tie"
        raise InputError(
            f"A tie (column {name!r}) should have the grade in the middle, and no other row (column"
            f" {grade!r}); got {said} with the grade {words[codes[at]]!r} in "
            f"{rows.where(differs)}. One of the two is wrong. Correct it, or drop column {name!r}."
        )


# -- who was shown first --------------------------------------------------------------------------


def read_first(values: pd.Series, name: str, rows: Rows, columns: Any) -> np.ndarray:
    """Return 1 where the chosen response was shown first, -1 the rejected one, 0 not known.

    Examples
    --------
    >>> first = pd.Series(["chosen", "rejected", None])
    >>> read_first(first, "first", Rows(first.index), [])
    array([ 1, -1,  0])
    """
    meaning = {True: 1, False: -1, "chosen": 1, "rejected": -1}
    for other in columns:
        for side in ("chosen", "rejected"):
            if isinstance(other, str) and other.endswith(f"_{side}"):
                meaning[other] = meaning[side]
    values = values.astype(object)
    known = values.notna().to_numpy()
    codes = values.map(meaning).to_numpy(dtype=np.float64, na_value=np.nan)
    neither = known & np.isnan(codes)
    if neither.any() or not known.any():
        example = shown(values[neither].iloc[0]) if neither.any() else "nothing"
        raise InputError(
            f"Column {name!r} should say which response was shown first, 'chosen' or 'rejected' "
            f"(or true for the chosen one); got {example} in "
            f"{rows.where(neither if neither.any() else ~known)}. It may name a model or a side of "
            "the screen. Translate it."
        )
    return np.nan_to_num(codes).astype(np.int64)


# -- the response that they are answers of --------------------------------------------------------


def require_fitting(response: Any, default: Response) -> Response:
    """The response asked for, if it has the answers that are there; else the default."""
    if response is None:
        return default
    if not isinstance(response, Response):
        raise TypeError(
            f"response should be a kind of answer, such as {default!r}; got {response!r}."
        )
    same = len(response.answers) == len(default.answers)
    if response.answers_in != default.answers_in or not same:
        raise InputError(
            f"response should be one of the answers that are there, such as {default!r}; got "
            f"{response!r}. Leave it out, or name the columns of its answers."
        )
    return response
