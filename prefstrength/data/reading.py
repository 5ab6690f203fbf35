"""Files into tables: Parquet, JSONL and CSV, and tables of votes into pairs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest, shown
from prefstrength.data.choices import Choices
from prefstrength.data.columns import as_frame, check_frame, column
from prefstrength.data.formats import absent, read_file, read_folder
from prefstrength.errors import InputError

__all__ = ["pairs_from_votes", "read_choices", "read_pairs"]


def read_choices(
    path: str | os.PathLike[str],
    *,
    chooser: str | None = None,
    groups: str | Sequence[str] = (),
    attributes: str | Sequence[str] = ("reward",),
    weights: str | None = None,
    ties: str = "raise",
    identical: str = "raise",
    duplicates: str = "raise",
) -> Choices:
    r"""Read a file of pairs into :class:`~prefstrength.data.choices.Choices`.

    Parameters
    ----------
    path : path
        Parquet (a file or a folder of files), JSONL or CSV; see :func:`read_pairs`.
    chooser, groups, attributes, weights, ties, identical, duplicates
        As in :meth:`Choices.from_pairs <prefstrength.data.choices.Choices.from_pairs>`.

    Returns
    -------
    Choices
        ``situations`` are the rows of the file, counted from 0 without the header.

    Raises
    ------
    InputError
        For whatever is wrong with the file: one sentence that names file, column and rows.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = path.write_text("reward_chosen,reward_rejected\n1.0,0.0\n0.5,2.0\n")
    >>> read_choices(path).differences("reward")
    array([ 1. , -1.5])
    """
    ids = [name for name in (chooser, *((groups,) if isinstance(groups, str) else groups)) if name]
    frame = read_pairs(path, names=ids)
    try:
        return Choices.from_pairs(
            frame,
            chooser,
            groups,
            attributes,
            weights=weights,
            ties=ties,
            identical=identical,
            duplicates=duplicates,
        )
    except InputError as error:
        raise InputError(
            f"{error} (In {Path(path).name}; rows count from 0, without a header.)"
        ) from error


def read_pairs(path: str | os.PathLike[str], *, names: Sequence[str] = ()) -> pd.DataFrame:
    r"""Read a table of preference pairs.

    Parameters
    ----------
    path : path
        ``.parquet`` (a file, or a folder of files that are read in the order of their names),
        ``.jsonl`` (one object a line), ``.json`` (one array of objects), ``.csv`` or ``.tsv``
        with a header line. Text files are UTF-8; ``.gz`` may follow.
    names : sequence of str
        Columns that hold names, such as that of the choosers: in CSV they are text as it stands
        there, also where it looks like a number.

    Returns
    -------
    DataFrame
        The columns of the file, rows numbered from 0. In CSV an empty cell is missing; in
        columns of numbers so are the usual words for it (NaN, NA, null, ...), which elsewhere
        stay text. Whole numbers that are names by their look (007, 19 digits) stay text, too.

    Raises
    ------
    InputError
        If the file is not there, of another format, empty, broken (names the line), or separated
        by something else than commas.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pairs.jsonl"
    >>> _ = path.write_text('{"chosen": "yes", "rejected": "no", "annotator": "007"}\n')
    >>> read_pairs(path)["annotator"].tolist()
    ['007']
    """
    if not os.fspath(path):
        raise InputError("A path should name a file or a folder; got ''. Name the file of pairs.")
    path = Path(path)
    if not path.exists():
        raise InputError(absent(path))
    if path.is_dir():
        frame = read_folder(path)
    else:
        frame = read_file(path, names)
    if frame.size == 0:
        columns = f"the columns {listed(frame.columns)}" if frame.shape[1] else "no columns"
        raise InputError(
            f"The file {path.name} should have at least one row; got {len(frame):,} rows and "
            f"{columns}. The step that wrote it may have filtered everything out. Check that step."
        )
    return frame


def pairs_from_votes(
    frame: Any,
    choice: str = "choice",
    first: Any = "a",
    second: Any = "b",
    *,
    tie: Any = ("tie",),
    text: str = "response",
) -> pd.DataFrame:
    """Turn a table of votes between two responses into a table of pairs.

    Parameters
    ----------
    frame : DataFrame or datasets.Dataset
        Columns ``<name>_a`` and ``<name>_b`` for whatever is known of the two responses, and a
        column that says which was preferred. It is never changed.
    choice : str
        Column of votes.
    first, second : str or int
        The two votes, and the endings of the columns.
    tie : str, int or sequence of them
        Votes for neither.
    text : str
        Name of the responses' texts: ``response_a`` and ``response_b`` become ``chosen`` and
        ``rejected``.

    Returns
    -------
    DataFrame
        ``<name>_chosen`` and ``<name>_rejected`` in place of the two columns, and a boolean
        column ``tie``. In a tie the first response stands as chosen, which means nothing.

    Raises
    ------
    InputError
        For votes that are neither, missing votes, a column without its other half, or a name
        that is already taken.

    Examples
    --------
    >>> votes = pd.DataFrame({"reward_a": [1.0, 2.0, 3.0], "reward_b": [0.0, 5.0, 3.0],
    ...                       "choice": ["a", "b", "tie"]})
    >>> pairs_from_votes(votes)[["reward_chosen", "reward_rejected", "tie"]].values.tolist()
    [[1.0, 0.0, False], [5.0, 2.0, False], [3.0, 3.0, True]]
    """
    frame = as_frame(frame)
    check_frame(frame)
    rows = Rows(frame.index)
    ties = tuple(tie) if isinstance(tie, list | tuple | set | frozenset) else (tie,)
    votes = column(frame, choice, "choice")
    missing = votes.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Column {choice!r} should say which response was preferred; got no vote in "
            f"{rows.where(missing)}. No answer is not a tie. Drop these rows."
        )
    allowed = (first, second, *ties)
    unknown = ~votes.isin(allowed).to_numpy()
    if unknown.any():
        example = votes[unknown].iloc[0]
        close = nearest(example, allowed) if isinstance(example, str) else None
        hint = f"Did you mean {close!r}? " if close else ""
        raise InputError(
            f"Column {choice!r} should hold {listed(allowed)}; got {shown(example)} in "
            f"{rows.where(unknown)}. {hint}Name the votes in `first=...`, `second=...` "
            "and `tie=...`, or translate them."
        )
    stems = _vote_stems(frame, str(first), str(second))
    taken = [c for s in stems for c in _pair_names(s, text) if c in frame.columns]
    taken += ["tie"] if "tie" in frame.columns else []
    if taken:
        raise InputError(
            f"A table of votes should not be made into pairs yet; got the columns {listed(taken)} "
            "already. They would be overwritten. Rename or delete them."
        )
    swap = votes.eq(second).to_numpy(dtype=bool)
    sides = {f"{stem}_{end}": stem for stem in stems for end in (first, second)}
    pairs: dict[Any, pd.Series] = {}
    for name in frame.columns:
        if name not in sides:
            pairs[name] = frame[name]
            continue
        a, b = (column(frame, f"{sides[name]}_{end}", "votes") for end in (first, second))
        chosen, rejected = _pair_names(sides[name], text)
        pairs[chosen], pairs[rejected] = a.where(~swap, b), b.where(~swap, a)
    pairs["tie"] = pd.Series(votes.isin(ties).to_numpy(dtype=bool), index=frame.index)
    out = pd.DataFrame(pairs, index=frame.index)
    out.attrs = dict(frame.attrs)
    return out


def _pair_names(stem: str, text: str) -> tuple[str, str]:
    return ("chosen", "rejected") if stem == text else (f"{stem}_chosen", f"{stem}_rejected")


def _vote_stems(frame: pd.DataFrame, first: str, second: str) -> list[str]:
    texts = [c for c in frame.columns if isinstance(c, str)]
    ends = {
        end: [c[: -len(end) - 1] for c in texts if c.endswith(f"_{end}")] for end in (first, second)
    }
    stems = [stem for stem in ends[first] if stem in ends[second]]
    if not stems:
        raise InputError(
            f"A table of votes should have columns in twos, ending in '_{first}' and "
            f"'_{second}'; got none among {listed(frame.columns)}. Give the endings in "
            "`first=...` and `second=...`, or rename the columns."
        )
    alone = [f"{s}_{first}" for s in ends[first] if s not in stems]
    alone += [f"{s}_{second}" for s in ends[second] if s not in stems]
    if alone:
        close = nearest(alone[0], [c for c in texts if c != alone[0] and c not in stems])
        hint = f"Did you mean {close!r} to go with it? " if close else ""
        raise InputError(
            f"Columns of votes should come in twos, ending in '_{first}' and '_{second}'; got "
            f"{listed(alone)} without the other. {hint}Add it, or rename the column."
        )
    return stems
