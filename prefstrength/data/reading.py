"""Files into tables: Parquet, JSONL and CSV, and tables of votes into pairs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest, shown
from prefstrength.data.choices import Choices
from prefstrength.data.columns import as_frame, check_frame, column, is_nested
from prefstrength.data.formats import absent, read_file, read_folder
from prefstrength.data.from_pairs import pairs_fields
from prefstrength.data.texts import Texts
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
    grade: str | None = None,
    grades: Sequence[Any] | int | None = None,
    tie: str | None = None,
    first: str | None = None,
    chooser_weights: str | None = None,
    pair: str | None = None,
    rank: str | None = None,
    situation: str | None = None,
    alternative: str | None = None,
) -> Choices:
    r"""Read a file of pairs, or of rankings, into :class:`~prefstrength.data.choices.Choices`.

    Parameters
    ----------
    path : path
        Parquet (a file or a folder of files), JSONL or CSV; see :func:`read_pairs`.
    chooser, groups, attributes, weights, chooser_weights, ties, identical, duplicates
        As in :meth:`Choices.from_pairs <prefstrength.data.choices.Choices.from_pairs>`.
    grade, grades, tie, first, pair
        As there, of pairs.
    rank, situation, alternative : str, optional
        Of a file of rankings with one row for each alternative, as in
        :meth:`Choices.from_rankings <prefstrength.data.choices.Choices.from_rankings>`.

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
    named = dict(
        chooser=chooser, groups=groups, attributes=attributes, weights=weights, ties=ties,
        identical=identical, duplicates=duplicates, grade=grade, grades=grades, tie=tie,
        first=first, chooser_weights=chooser_weights, pair=pair, rank=rank, situation=situation,
        alternative=alternative,
    )  # fmt: skip
    ids = [name for name in (chooser, *((groups,) if isinstance(groups, str) else groups)) if name]
    ids += [name for name in (situation, alternative) if name is not None]
    frame = read_pairs(path, names=ids)
    try:
        return choices_of(frame, named)
    except InputError as error:
        raise InputError(
            f"{error} (In {Path(path).name}; rows count from 0, without a header.)"
        ) from error


def choices_of(
    frame: pd.DataFrame, named: Mapping[str, Any], texts: Texts | None = None
) -> Choices:
    """Choices of a table of pairs; of rankings where ``rank`` or ``situation`` is named.

    Parameters
    ----------
    frame : DataFrame
    named : mapping
        The keywords of :func:`read_choices`; those that are missing are left out.
    texts : Texts, optional
        Those of a table of pairs, where somebody has read and checked them before.
    """
    rankings: dict[str, Any] = {n: named.get(n) for n in ("rank", "situation", "alternative")}
    rest = {name: value for name, value in named.items() if name not in rankings}
    if not any(rankings.values()):
        return Choices(**pairs_fields(frame, **rest, texts=texts))
    shared = ("chooser", "groups", "attributes", "weights", "chooser_weights")
    wrong = [k for k, value in rest.items() if k not in shared and value not in (None, "raise")]
    if wrong:
        raise InputError(
            f"Rankings should be read without what is about pairs; got {listed(wrong)} beside "
            "rank, situation or alternative. Leave one of the two out."
        )
    whose: dict[str, Any] = {name: rest[name] for name in shared if name in rest}
    return Choices.from_rankings(frame, **rankings, **whose)


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
    endings: tuple[str, str] | None = None,
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
        The two votes.
    tie : str, int or sequence of them
        Votes for neither.
    text : str
        Name of the responses' texts: ``response_a`` and ``response_b`` become ``chosen`` and
        ``rejected``.
    endings : tuple of str, optional
        Endings of the columns of the two responses, without the underscore. When left out, the
        votes themselves if columns end in them, else ``a`` and ``b``.

    Returns
    -------
    DataFrame
        ``<name>_chosen`` and ``<name>_rejected`` in place of the two columns, and a boolean
        column ``tie``. In a tie the first response stands as chosen, which means nothing;
        ``Choices.from_pairs(pairs, tie="tie")`` keeps ties as answers.

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
    >>> codes = votes.assign(choice=[1, 2, 3])
    >>> pairs_from_votes(codes, first=1, second=2, tie=3).equals(
    ...     pairs_from_votes(votes).assign(choice=[1, 2, 3]))
    True
    """
    frame = as_frame(frame)
    check_frame(frame)
    rows = Rows(frame.index)
    ties = tuple(tie) if is_nested(tie) else (tie,)
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
    endings, stems = _vote_stems(frame, first, second, endings)
    taken = [c for s in stems for c in _pair_names(s, text) if c in frame.columns]
    taken += ["tie"] if "tie" in frame.columns else []
    if taken:
        raise InputError(
            f"A table of votes should not be made into pairs yet; got the columns {listed(taken)} "
            "already. They would be overwritten. Rename or delete them."
        )
    swap = votes.eq(second).to_numpy(dtype=bool)
    sides = {f"{stem}_{end}": stem for stem in stems for end in endings}
    pairs: dict[Any, pd.Series] = {}
    for name in frame.columns:
        if name not in sides:
            pairs[name] = frame[name]
            continue
        a, b = (column(frame, f"{sides[name]}_{end}", "votes") for end in endings)
        chosen, rejected = _pair_names(sides[name], text)
        pairs[chosen], pairs[rejected] = a.where(~swap, b), b.where(~swap, a)
    pairs["tie"] = pd.Series(votes.isin(ties).to_numpy(dtype=bool), index=frame.index)
    out = pd.DataFrame(pairs, index=frame.index)
    out.attrs = dict(frame.attrs)
    return out


def _pair_names(stem: str, text: str) -> tuple[str, str]:
    return ("chosen", "rejected") if stem == text else (f"{stem}_chosen", f"{stem}_rejected")


def _vote_stems(
    frame: pd.DataFrame, first: Any, second: Any, endings: tuple[str, str] | None
) -> tuple[tuple[str, str], list[str]]:
    """Endings of the columns that come in twos, and what stands before them."""
    tried = [endings] if endings is not None else [(str(first), str(second)), ("a", "b")]
    texts = [c for c in frame.columns if isinstance(c, str)]
    for one, other in tried:
        ends = {
            end: [c[: -len(end) - 1] for c in texts if c.endswith(f"_{end}")]
            for end in (one, other)
        }
        stems = [stem for stem in ends[one] if stem in ends[other]]
        if stems:
            break
    else:
        said = " or ".join(f"'_{one}' and '_{other}'" for one, other in dict.fromkeys(tried))
        raise InputError(
            f"A table of votes should have columns in twos, ending in {said}; got none among "
            f"{listed(frame.columns)}. Give the endings in `endings=...`, or rename the columns."
        )
    alone = [f"{s}_{one}" for s in ends[one] if s not in stems]
    alone += [f"{s}_{other}" for s in ends[other] if s not in stems]
    if alone:
        close = nearest(alone[0], [c for c in texts if c != alone[0] and c not in stems])
        hint = f"Did you mean {close!r} to go with it? " if close else ""
        raise InputError(
            f"Columns of votes should come in twos, ending in '_{one}' and '_{other}'; got "
            f"{listed(alone)} without the other. {hint}Add it, or rename the column."
        )
    return (one, other), stems
