"""Ranks: columns of places or scores become the ranks that Choices keep, or one sentence."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, shown
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.data.answer_columns import require_fitting
from prefstrength.data.answers import better_by_answer
from prefstrength.data.columns import numbers
from prefstrength.data.factor import Dropped
from prefstrength.data.from_columns import Call
from prefstrength.data.long_table import LongTable, require_choice_sets, situation_fields
from prefstrength.data.plausibility import look_at_groups, look_at_numbers
from prefstrength.errors import InputError

__all__ = ["note_on_scores", "ranked_fields", "ranks_of_scores", "read_ranks"]


def read_ranks(values: pd.Series, name: str, rows: Rows) -> np.ndarray:
    """Return ranks as whole numbers; 0 where there is none.

    Examples
    --------
    >>> ranks = pd.Series([2, 1, None])
    >>> read_ranks(ranks, "rank", Rows(ranks.index))
    array([2, 1, 0])
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    values = values.astype(object).where(values.notna().to_numpy(), 0)
    bad = np.fromiter((isinstance(each, str) for each in values), bool, count=len(values))
    if not bad.any():
        array = numbers(values, name, rows)
        bad = (array != np.round(array)) | (array < 0)
    if bad.any():
        raise InputError(
            f"Ranks in column {name!r} should be whole numbers from 1, the best; got "
            f"{shown(values[bad].iloc[0])} in {rows.where(bad)}. Those that tie share a rank. "
            "Number them anew, as pandas does with `frame.rank(method='dense')`."
        )
    return array.astype(np.int64)


def ranks_of_scores(
    values: pd.Series, name: str, of: np.ndarray, there: np.ndarray, rows: Rows
) -> np.ndarray:
    """Ranks by scores, the highest first; equal scores tie.

    Examples
    --------
    >>> scores = pd.Series([70, 20, 70])
    >>> everything, one = np.ones(3, bool), np.zeros(3, int)
    >>> ranks_of_scores(scores, "score", one, everything, Rows(scores.index))
    array([1, 2, 1])
    """
    why = "Without a score an alternative has no place."
    scores = numbers(values.astype(object).where(there, 0), name, rows, why)
    place = pd.Series(-scores).where(there).groupby(of).rank(method="dense")
    return place.fillna(0).to_numpy(dtype=np.int64)


def note_on_scores(situations: int) -> str:
    """What is lost of scores."""
    return f"scores of {situations:,} situations read as rankings with ties: their size is not used"


def ranked_fields(
    table: LongTable,
    there: np.ndarray,
    ranks: np.ndarray,
    name: str,
    call: Call,
    dropped: list[Dropped],
    response: Any,
) -> dict[str, Any]:
    """Fields of rankings, with one rank for each row of the table, 0 for none."""
    wrong = (ranks > 0) & ~there
    if wrong.any():
        raise InputError(
            f"A ranked alternative (column {name!r}) should be available; got one that is not in "
            f"{table.rows.where(wrong)}. One of the two is wrong. Correct it, or leave the rank "
            "empty."
        )
    require_choice_sets(table, there)
    table, ranks = table.take(there), ranks[there]
    fields, position = situation_fields(table, call, dropped)
    whole = np.zeros(fields["available"].shape, dtype=np.int64)
    whole[table.of, position] = ranks
    fields["ranks"] = _without_gaps(whole, table, name)
    fields["chosen"] = better_by_answer(None, None, fields["ranks"])
    fields["response"] = require_fitting(response, Ranking())
    look_at_groups(fields["groups"], fields.get("chooser"))
    look_at_numbers(fields, list(call.attributes))
    return fields


def _without_gaps(ranks: np.ndarray, table: LongTable, name: str) -> np.ndarray:
    """Ranks 1, 2, 3; those of which a tie takes several places (1, 1, 3) count up, too."""
    none = ~(ranks > 0).any(axis=1)
    if none.any():
        raise InputError(
            f"A situation should rank at least one alternative (column {name!r}); got none in "
            f"{table.situations.where(none)}. Nothing was answered there. Drop these situations."
        )
    last = np.where(ranks > 0, ranks, np.iinfo(np.int64).max)
    order = np.argsort(last, axis=1, kind="stable")
    ordered = np.take_along_axis(last, order, axis=1)
    there = ordered < np.iinfo(np.int64).max
    new = np.diff(ordered, axis=1, prepend=0) > 0
    dense = np.cumsum(new, axis=1)
    places = np.maximum.accumulate(np.where(new, np.arange(1, ranks.shape[1] + 1), 0), axis=1)
    gaps = np.logical_and.reduce(
        [((ordered != way) & there).any(axis=1) for way in (dense, places)]
    )
    if gaps.any():
        raise InputError(
            f"The ranks of a situation (column {name!r}) should count 1, 2, 3 without a gap; got a "
            f"number left out in {table.situations.where(gaps)}. A row may be lost, or a rank "
            "mistyped. Correct it, or leave the rank of what was not ranked empty."
        )
    out = np.zeros_like(ranks)
    np.put_along_axis(out, order, np.where(there, dense, 0), axis=1)
    return out
