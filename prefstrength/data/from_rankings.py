"""The door for rankings with one row for each: lists of alternatives, or columns for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, shown
from prefstrength.data.columns import as_frame, check_frame, column, is_nested, names
from prefstrength.data.from_columns import Call, require_columns
from prefstrength.data.from_long import LongColumns
from prefstrength.data.long_table import MOST_ALTERNATIVES, LongTable
from prefstrength.data.ranks import note_on_scores, ranked_fields, ranks_of_scores, read_ranks
from prefstrength.errors import InputError

__all__ = ["RankingColumns", "ranking_fields"]

KINDS = ("order", "rank", "score", "best")


@dataclass(frozen=True)
class RankingColumns:
    """Columns of rankings: which alternatives there are, and one of four kinds of answer."""

    alternatives: str | Sequence[str] | None = None
    order: str | None = None
    rank: str | None = None
    score: str | None = None
    best: str | None = None
    worst: str | None = None

    @property
    def kind(self) -> str:
        """Which kind of answer was named; several or none are refused."""
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(
                "Rankings should have one kind of answer, order, rank, score or best (and worst); "
                f"got {listed(given) if given else 'none'}. Name one column."
            )
        if self.worst is not None and self.best is None:
            raise InputError(
                f"worst should come with best; got it with {given[0]}. Other answers know the last "
                "one themselves. Leave worst out, or name best."
            )
        return given[0]

    def of_long(self, situation: str | None, alternative: str | None) -> LongColumns:
        """The same of a table with one row for each alternative."""
        if situation is None or alternative is None or self.kind not in ("rank", "score"):
            raise InputError(
                "A table with one row for each alternative should name situation, alternative, and "
                f"rank or score; got `situation={situation!r}`, `alternative={alternative!r}` and "
                f"{self.kind}. Name them, or leave situation and alternative out where a row is a "
                "ranking."
            )
        return LongColumns(situation, alternative, rank=self.rank, score=self.score)


def ranking_fields(data: Any, columns: RankingColumns, call: Call, response: Any) -> dict[str, Any]:
    """Return the fields of Choices for rankings of one row each; see ``Choices.from_rankings``."""
    kind = columns.kind
    answer = str(getattr(columns, kind))
    frame = as_frame(data)
    check_frame(frame)
    require_columns(frame, call)
    rows = Rows(frame.index)
    offers = _offers(frame, rows, columns.alternatives, call.attributes[0])
    attributes = {name: offers.values(frame, name, "attributes") for name in call.attributes}
    there = np.ones(len(offers.of), dtype=bool)
    if offers.endings:
        there = ~np.logical_and.reduce([each.isna().to_numpy() for each in attributes.values()])
    if kind == "rank":
        ranks = read_ranks(offers.values(frame, answer, kind), answer, offers.rows)
    elif kind == "score":
        ranks = ranks_of_scores(
            offers.values(frame, answer, kind), answer, offers.of, there, offers.rows
        )
    elif kind == "order":
        ranks = _ranks_in_order(column(frame, answer, kind), answer, offers, rows)
    else:
        ranks = _best_and_worst(frame, answer, columns.worst, offers, there, rows)
    whose = [call.chooser, *call.groups, call.weights, call.chooser_weights]
    kept = frame[list(dict.fromkeys(name for name in whose if name is not None))].iloc[offers.of]
    table = LongTable(
        kept.assign(**{name: each.to_numpy() for name, each in attributes.items()}),
        offers.rows,
        (offers.of, tuple(rows.labels())),
        offers.alternatives(),
    )
    fields = ranked_fields(table, there, ranks, answer, call, [], response)
    if kind == "score":
        fields["notes"] = (note_on_scores(len(fields["ranks"])),)
    return fields


# -- what was on offer ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Offers:
    """Alternatives of all rankings, one after the other.

    Parameters
    ----------
    of : ndarray of int, shape (offer,)
        Row of the ranking.
    slot : ndarray of int, shape (offer,)
        Place among the alternatives of the row, from 0.
    label : ndarray of object, shape (offer,)
        What an answer calls it: its place, where alternatives have no names.
    endings : tuple of str
        Endings of the columns where each alternative has its own; none where there are lists.
    rows : Rows
        Labels for sentences.
    """

    of: np.ndarray
    slot: np.ndarray
    label: np.ndarray
    endings: tuple[str, ...]
    rows: Rows

    def values(self, frame: pd.DataFrame, name: str, argument: str) -> pd.Series:
        """What a column, or those of all alternatives, hold of each alternative."""
        if not self.endings:
            return _entries(frame, name, argument, self.of)
        each = [column(frame, f"{name}_{ending}", argument) for ending in self.endings]
        return pd.Series(pd.concat(each, axis=1).to_numpy().ravel())

    def alternatives(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """Codes and labels: names where there are few, else places."""
        codes, labels = pd.factorize(self.label, sort=True)
        if len(labels) > MOST_ALTERNATIVES:
            codes, labels = self.slot, np.arange(self.slot.max() + 1)
        return codes, tuple(str(label) for label in labels)

    def find(self, of: np.ndarray, label: Sequence[Any], name: str, rows: Rows) -> np.ndarray:
        """Places of alternatives that answers call by their labels."""
        index = pd.MultiIndex.from_arrays([self.of, self.label])
        found = index.get_indexer(pd.MultiIndex.from_arrays([of, pd.Series(label, dtype=object)]))
        unknown = found < 0
        if unknown.any():
            at = np.zeros(len(rows), dtype=bool)
            at[of[unknown]] = True
            first = int(np.argmax(unknown))
            raise InputError(
                f"Column {name!r} should name alternatives of its row, such as "
                f"{shown(self.label[self.of == of[first]][0])}; got {shown(label[first])} in "
                f"{rows.where(at)}. Without names they are numbered from 0. Correct it, or give "
                "their names in `alternatives=...`."
            )
        return found


def _offers(
    frame: pd.DataFrame, rows: Rows, alternatives: str | Sequence[str] | None, attribute: str
) -> _Offers:
    """Alternatives of every row, from the lists or the endings that name them."""
    if alternatives is None or isinstance(alternatives, str):
        name = alternatives or attribute
        lists = _lists(frame, name, "alternatives" if alternatives else "attributes", rows)
        sizes = lists.map(len).to_numpy()
        endings: tuple[str, ...] = ()
    else:
        endings = names(alternatives, "alternatives")
        if len(endings) < 2:
            raise InputError(
                f"alternatives should name at least two endings of columns; got {listed(endings)}. "
                "A list in one column is named by a text."
            )
        sizes = np.full(len(frame), len(endings))
    of = np.repeat(np.arange(len(frame)), sizes)
    slot = np.arange(len(of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    label = np.array(slot, dtype=object)
    if endings:
        label = np.array(endings, dtype=object)[slot]
    elif alternatives is not None:
        label = np.array([each for one in lists for each in one], dtype=object)
        twice = pd.DataFrame({"of": of, "label": label}).duplicated().to_numpy()
        if twice.any():
            raise InputError(
                f"Column {name!r} should list each alternative once; got one again in "
                f"{rows.where(np.bincount(of[twice], minlength=len(rows)) > 0)}. Two responses may "
                "have the same text. Give them names of their own, or drop one."
            )
    labels = pd.MultiIndex.from_arrays([np.array(rows.labels(), dtype=object)[of], slot])
    return _Offers(of, slot, label, endings, Rows(labels, "alternative"))


def _lists(frame: pd.DataFrame, name: str, argument: str, rows: Rows) -> pd.Series:
    values = column(frame, name, argument)
    nested = np.fromiter((is_nested(each) and not isinstance(each, dict) for each in values), bool)
    if not nested.all():
        raise InputError(
            f"Column {name!r} should hold a list in every row, one entry for each alternative; got "
            f"{shown(values[~nested].iloc[0])} in {rows.where(~nested)}. CSV cannot hold lists. "
            "Save them as JSONL or Parquet; or name `situation=...` and `alternative=...` where "
            "each alternative has a row, endings of columns in `alternatives=[...]` where it has "
            "columns."
        )
    return values


def _entries(frame: pd.DataFrame, name: str, argument: str, of: np.ndarray) -> pd.Series:
    """Entries of all lists, as many in each row as there are alternatives."""
    rows = Rows(frame.index)
    lists = _lists(frame, name, argument, rows)
    wanted = np.bincount(of, minlength=len(lists))
    sizes = lists.map(len).to_numpy()
    differs = sizes != wanted
    if differs.any():
        first = int(np.argmax(differs))
        raise InputError(
            f"Lists of column {name!r} should have an entry for each alternative; got "
            f"{sizes[first]} of {wanted[first]} in {rows.where(differs)}. Something "
            "may be lost. Correct these rows or drop them."
        )
    return pd.Series([each for one in lists for each in one])


# -- answers --------------------------------------------------------------------------------------


def _ranks_in_order(values: pd.Series, name: str, offers: _Offers, rows: Rows) -> np.ndarray:
    """Ranks of alternatives that are listed from the best; a list in the list is a tie."""
    lists = _lists(values.to_frame(), name, "order", rows)
    of, label, rank = [], [], []
    for row, entries in enumerate(lists):
        for place, entry in enumerate(entries, start=1):
            for one in entry if is_nested(entry) else (entry,):
                of.append(row)
                label.append(one)
                rank.append(place)
    found = offers.find(np.array(of, dtype=np.int64), label, name, rows)
    twice = pd.Series(found).duplicated().to_numpy()
    if twice.any():
        at = np.zeros(len(rows), dtype=bool)
        at[np.array(of)[twice]] = True
        raise InputError(
            f"A ranking (column {name!r}) should name each alternative once; got one twice in "
            f"{rows.where(at)}. Where two tie, they stand in a list of their own. Correct these "
            "rows or drop them."
        )
    ranks = np.zeros(len(offers.of), dtype=np.int64)
    ranks[found] = rank
    return ranks


def _best_and_worst(
    frame: pd.DataFrame,
    best: str,
    worst: str | None,
    offers: _Offers,
    there: np.ndarray,
    rows: Rows,
) -> np.ndarray:
    """Ranks where the best is known, and perhaps the worst; all others tie in between."""
    first = column(frame, best, "best")
    missing = first.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Column {best!r} should name the best alternative in every row; got nothing in "
            f"{rows.where(missing)}. Nothing was answered there. Drop these rows."
        )
    everyone = np.arange(len(frame))
    top = offers.find(everyone, first.tolist(), best, rows)
    ranks = np.zeros(len(offers.of), dtype=np.int64)
    if worst is not None:
        last = column(frame, worst, "worst")
        known = np.flatnonzero(last.notna().to_numpy())
        bottom = offers.find(known, last.iloc[known].tolist(), worst, rows)
        same = np.isin(top, bottom)
        if same.any():
            raise InputError(
                f"The worst alternative (column {worst!r}) should be another than the best (column "
                f"{best!r}); got one for both in {rows.where(same)}. One of the two is wrong. "
                "Correct it, or drop these rows."
            )
        said = np.isin(offers.of, known)
        ranks[said & there] = 2
        few = np.bincount(offers.of[there], minlength=len(frame)) == 2
        ranks[bottom] = np.where(few[known], 2, 3)
    ranks[top] = 1
    return ranks
