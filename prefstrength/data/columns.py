"""Checks of columns: numbers, weights, flags and categories become clean arrays, or one sentence.

Every function takes the column together with its :class:`Rows`, so that each sentence names
the column and the first rows as the caller knows them.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest, shown, warn
from prefstrength.errors import InputError

#: A numeric column with more distinct values than this is a measurement, not a group.
MOST_NUMERIC_LEVELS = 50

#: Words that people write for true.
_YES = ("yes", "y", "true", "t", "1", "tie", "tied", "chosen", "available")
_FLAG_KINDS = ("boolean", "integer", "floating", "mixed-integer-float", "decimal")


# -- the table and the arguments -----------------------------------------------------------


def as_frame(data: Any) -> pd.DataFrame:
    """Return a DataFrame for whatever holds rows: a DataFrame, or anything with ``to_pandas``."""
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, str | Path):
        raise TypeError(
            f"Expected a DataFrame or a datasets.Dataset; got the path {shown(str(data))}. "
            "Read files with read_choices(path) or read_pairs(path)."
        )
    if isinstance(data, dict) and any(hasattr(part, "to_pandas") for part in data.values()):
        raise TypeError(
            f"Expected one table; got {type(data).__name__} with the splits {listed(data)}. "
            f"Choose one, as in dataset[{shown(next(iter(data)))}]."
        )
    if callable(getattr(data, "to_pandas", None)):
        frame = data.to_pandas()
        if isinstance(frame, pd.DataFrame):
            return frame
    raise TypeError(
        f"Expected a DataFrame or a datasets.Dataset; got {type(data).__name__}. "
        "Make one with pandas.DataFrame(rows)."
    )


def check_frame(frame: pd.DataFrame) -> None:
    """Refuse a table without rows or with columns of several levels."""
    if isinstance(frame.columns, pd.MultiIndex):
        raise InputError(
            f"The columns should have plain names; got {frame.columns.nlevels} levels of names "
            f"(first: {shown(frame.columns[0])}). A pivot or groupby made them. "
            "Flatten them first: frame.columns = ['_'.join(c) for c in frame.columns]."
        )
    if len(frame) == 0:
        raise InputError(
            f"The table should have at least one row; got 0 rows and {frame.shape[1]} columns. "
            "A filter may have removed everything. Check the step before this one."
        )


def option(value: Any, allowed: Sequence[str], argument: str) -> str:
    """Refuse an option that does not exist."""
    if value not in allowed:
        close = nearest(value, allowed) if isinstance(value, str) else None
        hint = f"Did you mean {close!r}?" if close else "Pass one of them."
        raise InputError(
            f"{argument} should be one of {listed(allowed)}; got {shown(value)}. {hint}"
        )
    return str(value)


def names(value: Any, argument: str) -> tuple[str, ...]:
    """Return column names as a tuple; one name may come as a plain string."""
    if isinstance(value, str):
        value = (value,)
    if value is None:
        value = ()
    if not isinstance(value, Iterable) or isinstance(value, dict):
        raise TypeError(
            f"{argument} should be a list of column names; got {type(value).__name__}. "
            f"Write {argument}=['...']."
        )
    value = tuple(value)
    if not all(isinstance(name, str) for name in value):
        raise TypeError(f"{argument} should be a list of column names; got {shown(list(value))}.")
    twice = [name for i, name in enumerate(value) if name in value[:i]]
    if twice:
        raise InputError(
            f"{argument} should name each column once; got {listed(twice)} twice. "
            "Remove the repetition."
        )
    return value


def column(frame: pd.DataFrame, name: Any, argument: str) -> pd.Series:
    """Return the one column of that name."""
    if not isinstance(name, str):
        raise TypeError(f"{argument} should be the name of a column; got {shown(name)}.")
    found = int(np.count_nonzero(frame.columns == name))
    if found == 0:
        close = nearest(name, frame.columns)
        hint = f"Did you mean {close!r}?" if close else f"Check the spelling of {argument}."
        raise InputError(
            f"The table should have the column {name!r} ({argument}); "
            f"got {frame.shape[1]} columns: {listed(frame.columns)}. {hint}"
        )
    if found > 1:
        positions = np.flatnonzero(frame.columns == name).tolist()
        raise InputError(
            f"Column names should be unique; got {found} columns called {name!r} "
            f"(positions {', '.join(map(str, positions))}). A join may have doubled them. "
            "Rename or delete one."
        )
    return frame[name]


# -- columns into arrays -------------------------------------------------------------------


def is_nested(value: Any) -> bool:
    """Whether a cell holds a list, a dict or an array instead of one value."""
    return isinstance(value, list | tuple | dict | set | np.ndarray)


def _nested_rows(values: pd.Series) -> np.ndarray:
    return np.fromiter((is_nested(v) for v in values), dtype=bool, count=len(values))


def _refuse_nested(values: pd.Series, name: str, rows: Rows, purpose: str) -> None:
    nested = _nested_rows(values)
    if nested.any():
        example = values.iloc[int(np.argmax(nested))]
        keys = f" with the keys {listed(example, most=4)}" if isinstance(example, dict) else ""
        raise InputError(
            f"Column {name!r} should hold one value in each row ({purpose}); got a "
            f"{type(example).__name__}{keys} in {rows.where(nested)}. The column is nested. "
            "Take one field out of it into a column of its own."
        )


def _text_to_numbers(values: pd.Series, name: str, rows: Rows) -> None:
    """Refuse text where numbers belong; always raises, with the sentence that fits."""
    text = values.notna().to_numpy() & np.fromiter(
        (isinstance(v, str) for v in values), dtype=bool, count=len(values)
    )
    parsed = pd.to_numeric(values.where(text), errors="coerce").notna().to_numpy()
    words = text & ~parsed
    if not words.any():
        other = values.notna().to_numpy() & ~text
        mixed = "numbers, partly as text" if other.any() else "numbers written as text"
        raise InputError(
            f"Column {name!r} should hold numbers; got {mixed}, such as "
            f"{shown(values[text].iloc[0])}, in {rows.where(text)}. Quotes in the file make "
            f"numbers into text. Convert first: frame[{name!r}] = "
            f"pandas.to_numeric(frame[{name!r}])."
        )
    example = values[words].iloc[0]
    compact = values[words].astype(str).str.strip()
    if compact.str.fullmatch(r"[+-]?\d[\d\s.,'’]*(e[+-]?\d+)?", case=False).all():
        raise InputError(
            f"Column {name!r} should hold numbers; got text such as {shown(example)} in "
            f"{rows.where(words)}. The comma or space is a decimal comma or a separator of "
            "thousands. Write 1.5 for one and a half and 1500 for fifteen hundred "
            "(`pandas.read_csv(path, decimal=..., thousands=...)`)."
        )
    if words.sum() < np.count_nonzero(values.notna()):
        raise InputError(
            f"Column {name!r} should hold numbers only; got numbers mixed with text, such as "
            f"{shown(example)}, in {rows.where(words)}. Text may stand for a missing score. "
            "Drop these rows or score them again."
        )
    raise InputError(
        f"Column {name!r} should hold numbers; got text, such as {shown(example)}, in "
        f"{rows.where(words)}. An attribute is a measurement, not a label. "
        "Name a numeric column, or pass the labels as groups."
    )


def numbers(
    values: pd.Series,
    name: str,
    rows: Rows,
    cause: str = "Scoring or measuring may have failed there.",
) -> np.ndarray:
    """Return the column as float64, every entry finite.

    Parameters
    ----------
    values : pandas.Series
    name : str
        Column name for the sentences.
    rows : Rows
        Labels of the rows.
    cause : str
        Why a number may be missing, for the sentence.

    Raises
    ------
    InputError
        For booleans, text, dates, complex numbers, nested or mixed cells, NaN and infinity.

    Examples
    --------
    >>> numbers(pd.Series([1, 2]), "reward", Rows(pd.RangeIndex(2)))
    array([1., 2.])
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "boolean":
        raise InputError(
            f"Column {name!r} should hold numbers; got true/false in {len(rows):,} rows "
            f"(first: {', '.join(rows.first(np.ones(len(rows), bool)))}). A flag says who was "
            "chosen, not how good the response is. Name the column with the scores."
        )
    if kind == "empty":
        array = np.full(len(values), np.nan)
    elif kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        array = (
            values.astype(object).map(float, na_action="ignore") if kind == "decimal" else values
        )
        try:
            array = array.to_numpy(dtype=np.float64, na_value=np.nan)
        except OverflowError:  # whole numbers of hundreds of digits
            array = values.map(_as_float, na_action="ignore").to_numpy(np.float64, na_value=np.nan)
    else:
        if values.dtype == object:
            _refuse_nested(values, name, rows, "a number")
        if kind in ("string", "mixed", "mixed-integer"):
            is_text = np.fromiter((isinstance(v, str) for v in values), bool, count=len(values))
            if is_text.any():
                _text_to_numbers(values, name, rows)
        raise InputError(
            f"Column {name!r} should hold real numbers; got values of type {kind}, such as "
            f"{shown(values.dropna().iloc[0])}, in {rows.where(values.notna().to_numpy())}. "
            "These cannot be compared as rewards. Name the column with the scores."
        )
    bad = ~np.isfinite(array)
    if bad.any():
        words = ["missing values (NaN)"] * bool(np.isnan(array).any())
        words += ["infinite values"] * bool(np.isinf(array).any())
        raise InputError(
            f"Column {name!r} should hold a finite number in every row; got "
            f"{' and '.join(words)} in {rows.where(bad)}. {cause} "
            "Fill these rows in or drop them."
        )
    return np.asarray(array, dtype=np.float64)


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def weights(values: pd.Series, name: str, rows: Rows) -> np.ndarray:
    """Return non-negative finite weights, not all zero."""
    array = numbers(values, name, rows, "A weight counts how often a situation is used.")
    negative = array < 0
    if negative.any():
        raise InputError(
            f"Weights in column {name!r} should be zero or more; got a negative weight, such as "
            f"{array[negative][0]:g}, in {rows.where(negative)}. A weight counts how often a "
            "situation is used. Correct these rows or drop them."
        )
    if not array.any():
        raise InputError(
            f"Weights in column {name!r} should not all be zero; got 0 in all {len(rows):,} "
            f"{rows.noun}s. Nothing would be left to learn from. "
            "Name another column, or leave weights out."
        )
    return array


def flags(
    values: pd.Series, name: str, rows: Rows, meaning: str, convert: str | None = None
) -> np.ndarray:
    """Return the column as booleans; the numbers 0 and 1 are accepted.

    Parameters
    ----------
    meaning : str
        What true stands for, used in the sentence.
    convert : str, optional
        What to compare the column with in order to make it boolean; guessed when left out.
    """
    missing = values.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Column {name!r} should be true or false in every row (true: {meaning}); got "
            f"nothing in {rows.where(missing)}. An empty cell may mean either. "
            "Fill these rows in."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    kind = pd.api.types.infer_dtype(values)
    if kind == "boolean":
        return values.to_numpy(dtype=bool)
    if kind in _FLAG_KINDS:
        array = values.to_numpy(dtype=np.float64)
        if ((array == 0) | (array == 1)).all():
            return array == 1
        other = (array != 0) & (array != 1)
        convert = convert or "1"
    else:
        other = np.array([v is not True and v is not False for v in values], dtype=bool)
        yes = [v for v in values[other] if str(v).strip().casefold() in _YES]
        convert = convert or (shown(yes[0]) if yes else "...")
    raise InputError(
        f"Column {name!r} should be true or false (true: {meaning}); got "
        f"{shown(values[other].iloc[0])} in {rows.where(other)}. Words and codes have to be "
        f"translated. Convert first, as in frame[{name!r}] = frame[{name!r}] == {convert}."
    )


def tied(frame: pd.DataFrame) -> np.ndarray:
    """Mask of the rows without a preference: the column ``tie``, and none where it is absent."""
    if "tie" not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return flags(column(frame, "tie", "tie"), "tie", Rows(frame.index), "a tie")


def categories(
    values: pd.Series, name: str, rows: Rows, role: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return codes and level labels of a categorical column, levels in sorted order.

    The order of a pandas categorical is kept; levels that do not occur are left out.

    Parameters
    ----------
    role : {"chooser", "group", "situation", "alternative"}
        What the column is used as.

    Returns
    -------
    codes : ndarray of int64, shape (row,)
    levels : tuple of str

    Examples
    --------
    >>> categories(pd.Series(["b", "a", "b"]), "region", Rows(pd.RangeIndex(3)), "group")
    (array([1, 0, 1]), ('a', 'b'))
    """
    categorical = isinstance(values.dtype, pd.CategoricalDtype)
    kind = pd.api.types.infer_dtype(values.cat.categories if categorical else values, skipna=True)
    if values.dtype == object and kind not in ("string", "boolean", "integer"):
        _refuse_nested(values, name, rows, f"a {role}")
    _refuse_missing(values, name, rows, role, kind)
    if kind in ("mixed", "mixed-integer", "bytes"):
        text = np.fromiter((isinstance(v, str) for v in values), bool, count=len(values))
        if not text.any():
            convert = ".str.decode('utf-8')" if kind == "bytes" else ".astype(str)"
            raise InputError(
                f"Column {name!r} ({role}) should hold text or whole numbers; got "
                f"{shown(values.iloc[0])} in {rows.where(~text)}. These have no label to show. "
                f"Convert first: frame[{name!r}] = frame[{name!r}]{convert}."
            )
        raise InputError(
            f"Column {name!r} ({role}) should hold values of one type; got text mixed with "
            f"{type(values[~text].iloc[0]).__name__}, the latter in {rows.where(~text)}. "
            "The number 7 and the text '7' would count as two. "
            f"Make them alike: frame[{name!r}] = frame[{name!r}].astype(str)."
        )
    if not categorical and kind in ("floating", "mixed-integer-float", "decimal", "complex"):
        values = _whole_numbers(values, name, rows, role)
        kind = "integer"
    if categorical:
        values = values.cat.remove_unused_categories()
        codes, levels = values.cat.codes.to_numpy(), values.cat.categories
    else:
        codes, levels = pd.factorize(values, sort=True)
    if role == "group" and kind != "string" and len(levels) > MOST_NUMERIC_LEVELS:
        raise InputError(
            f"Group {name!r} should be a category with a few levels; got {len(levels):,} "
            f"different values of type {kind} (first: {listed(list(levels[:3]), most=3)}). A "
            "measurement is no group. Cut it into classes with pandas.cut, or make it text if "
            "these are names."
        )
    if role == "group" and len(levels) > max(MOST_NUMERIC_LEVELS, len(values) // 2):
        raise InputError(
            f"Group {name!r} should be a category that many rows share; got {len(levels):,} "
            f"different values in {len(values):,} rows (first: {listed(list(levels[:3]))}). It "
            "may be the column of texts or ids. Name another column."
        )
    labels = tuple(str(level) for level in levels)
    if role in ("chooser", "group"):
        _warn_lookalikes(labels, name, role)
    return np.asarray(codes, dtype=np.int64), labels


def refuse_half_characters(values: pd.Series, name: str, rows: Rows) -> None:
    """Refuse text that is none in UTF-8: half of a pair of surrogates."""
    if values.dtype != object:
        return  # pandas has encoded it
    try:
        "".join(values.dropna()).encode("utf-8")
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        where = values.map(lambda text: half in text, na_action="ignore").fillna(False)
        raise InputError(
            f"Column {name!r} should hold whole characters; got half of one, {shown(half)}, in "
            f"{rows.where(where.to_numpy(dtype=bool))}. Whoever wrote it cut a text in the middle "
            "of a character, such as an emoji. Delete that half."
        ) from error


def used_levels(codes: np.ndarray, levels: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Leave out the levels that do not occur and number the others anew.

    Examples
    --------
    >>> used_levels(np.array([2, 0, 2]), ("a", "b", "c"))
    (array([1, 0, 1]), ('a', 'c'))
    """
    used, codes = np.unique(codes, return_inverse=True)
    return codes, tuple(levels[i] for i in used)


def _refuse_missing(values: pd.Series, name: str, rows: Rows, role: str, kind: str) -> None:
    missing = values.isna().to_numpy()
    if kind == "string":
        refuse_half_characters(values, name, rows)
        blank = values.astype(str).str.strip().eq("").to_numpy()
        missing = missing | blank
    if not missing.any():
        return
    if role == "chooser":
        raise InputError(
            f"Every row should say who chose, in column {name!r}; got no id in "
            f"{rows.where(missing)}. All of them would count as one chooser. "
            "Fill the ids in, drop these rows, or leave chooser out."
        )
    if role == "group":
        raise InputError(
            f"Group {name!r} should have a level in every row; got none in "
            f"{rows.where(missing)}. Who did not answer may differ from who did. Drop these "
            f"rows, or give them a level: frame[{name!r}].fillna('not stated')."
        )
    raise InputError(
        f"Column {name!r} should say which {role} a row belongs to; got nothing in "
        f"{rows.where(missing)}. Without it the row cannot be placed. "
        "Fill these rows in or drop them."
    )


def _whole_numbers(values: pd.Series, name: str, rows: Rows, role: str) -> pd.Series:
    # Ids turn into floats when a table once had a missing one; 7.0 is the chooser 7.
    array = values.to_numpy(dtype=np.complex128)
    whole = (array.imag == 0) & (array.real == np.round(array.real)) & (abs(array.real) < 2**53)
    if not whole.all():
        raise InputError(
            f"Column {name!r} ({role}) should hold names or whole numbers; got "
            f"{shown(values[~whole].iloc[0])} in {rows.where(~whole)}. A fraction is a "
            f"measurement, not a {role}. Name another column, or cut it into classes with "
            "pandas.cut."
        )
    return pd.Series(array.real.astype(np.int64), index=values.index)


def _warn_lookalikes(labels: tuple[str, ...], name: str, role: str) -> None:
    seen: dict[str, str] = {}
    alike = []
    for label in labels:
        key = " ".join(label.split()).casefold()
        if key in seen:
            alike.append((seen[key], label))
        seen.setdefault(key, label)
    if alike:
        pairs = ", ".join(f"{shown(a)} and {shown(b)}" for a, b in alike[:3])
        warn(
            f"Column {name!r} ({role}) has {len(alike):,} pairs of values that differ only in "
            f"capitals or spaces (first: {pairs}); they count as different. If they are the "
            f"same, clean them: frame[{name!r}].str.strip().str.lower()."
        )
