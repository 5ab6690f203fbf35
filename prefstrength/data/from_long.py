"""Choices from a long table: one row for each alternative of each situation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.data.answer_columns import require_fitting
from prefstrength.data.columns import as_frame, categories, check_frame, column, flags, option
from prefstrength.data.factor import Dropped
from prefstrength.data.from_columns import Call, drop, expand, require_columns, require_left
from prefstrength.data.long_table import LongTable, require_choice_sets, situation_fields
from prefstrength.data.plausibility import look_at_groups, look_at_numbers
from prefstrength.data.ranks import note_on_scores, ranked_fields, ranks_of_scores, read_ranks
from prefstrength.errors import InputError


@dataclass(frozen=True)
class LongColumns:
    """Columns of a long table: what a row is about, and one of three kinds of answer."""

    situation: str
    alternative: str
    available: str | None = None
    chosen: str | None = None
    rank: str | None = None
    score: str | None = None

    def require(self, frame: pd.DataFrame) -> None:
        """Refuse a table that lacks a named column, and calls without one kind of answer."""
        kinds = ("chosen", "rank", "score")
        given = [name for name in kinds if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError(
                "A long table should have one column of answers, which alternative was chosen or "
                f"how they rank; got {listed(given) if given else 'none'}. Name one: "
                "`chosen=...` or `rank=...`."
            )
        column(frame, self.situation, "situation")
        column(frame, self.alternative, "alternative")
        for argument in ("available", *kinds):
            if (name := getattr(self, argument)) is not None:
                column(frame, name, argument)


def long_fields(
    data: Any, columns: LongColumns, call: Call, ties: str, duplicates: str, response: Any
) -> dict[str, Any]:
    """Return the fields of Choices for a long table; see ``Choices.from_long``."""
    ties = option(ties, ("raise", "drop", "split"), "ties")
    duplicates = option(duplicates, ("raise", "drop"), "duplicates")
    frame = as_frame(data)
    check_frame(frame)
    columns.require(frame)
    for name in call.attributes:
        column(frame, name, "attributes")
    require_columns(frame, call)
    rows = Rows(frame.index)
    dropped: list[Dropped] = []
    table = LongTable(
        frame,
        rows,
        categories(frame[columns.situation], columns.situation, rows, "situation"),
        categories(frame[columns.alternative], columns.alternative, rows, "alternative"),
    )
    table = _without_repeated(table, columns, duplicates, dropped)
    if columns.chosen is not None:
        return _chosen_fields(table, columns, columns.chosen, call, ties, dropped, response)
    if ties != "raise":
        raise InputError(
            f"ties should be left out where ranks tell who ties; got {ties!r}. Equal ranks are "
            "answers. Leave ties out."
        )
    offered = _offered(table, columns)
    if columns.rank is not None:
        ranks = read_ranks(table.frame[columns.rank], columns.rank, table.rows)
        return ranked_fields(table, offered, ranks, columns.rank, call, dropped, response)
    score = columns.score or ""
    ranks = ranks_of_scores(table.frame[score], score, table.of, offered, table.rows)
    fields = ranked_fields(table, offered, ranks, score, call, dropped, response)
    fields["notes"] = (note_on_scores(len(fields["ranks"])),)
    return fields


def _without_repeated(
    table: LongTable, columns: LongColumns, duplicates: str, dropped: list[Dropped]
) -> LongTable:
    twice = pd.DataFrame({"s": table.of, "a": table.which}).duplicated().to_numpy()
    if not twice.any():
        return table
    if duplicates == "raise":
        raise InputError(
            f"An alternative ({columns.alternative!r}) should occur once in a situation "
            f"({columns.situation!r}); got it again in {table.rows.where(twice)}. Rows may be "
            "doubled, or situations numbered anew for each chooser. Make the situations' ids "
            "unique, or pass `duplicates='drop'` to keep the first."
        )
    drop(dropped, ~twice, twice, "repeated alternatives", table.rows)
    return table.take(~twice)


def _offered(table: LongTable, columns: LongColumns) -> np.ndarray:
    if columns.available is None:
        return np.ones(len(table.of), dtype=bool)
    values = table.frame[columns.available]
    return flags(values, columns.available, table.rows, "on offer")


# -- one chosen alternative -----------------------------------------------------------------------


def _chosen_fields(
    table: LongTable,
    columns: LongColumns,
    chosen: str,
    call: Call,
    ties: str,
    dropped: list[Dropped],
    response: Any,
) -> dict[str, Any]:
    taken = flags(
        table.frame[chosen],
        chosen,
        table.rows,
        "this alternative was chosen",
        # Numbers are ranks, of which 1 is the best; words are what was chosen.
        convert="1"
        if pd.api.types.is_numeric_dtype(table.frame[chosen])
        else f"frame[{columns.alternative!r}]",
    )
    offered = _offered(table, columns)
    wrong = taken & ~offered
    if wrong.any():
        raise InputError(
            f"A chosen alternative (column {chosen!r}) should be available; got "
            f"{columns.available!r} false in {table.rows.where(wrong)}. One of the two is wrong. "
            "Correct it, or drop these situations."
        )
    n = len(table.labels)
    require_choice_sets(table, offered)
    _require_one_chosen(table, taken, chosen, ties)
    table, taken = table.take(offered), taken[offered]
    tied = np.bincount(table.of[taken], minlength=n) > 1
    if ties == "drop" and tied.any():
        drop(dropped, ~tied, tied, "ties", table.situations)
        require_left(~tied, dropped)
        stay = ~tied[table.of]
        table, taken = table.take(stay), taken[stay]
    fields, position = situation_fields(table, call, dropped)
    picked = np.zeros(fields["available"].shape, dtype=bool)
    picked[table.of, position] = taken
    fields["chosen"] = picked.argmax(axis=1)
    count = picked.sum(axis=1)
    if (count > 1).any():
        n = len(count)
        nth = expand(fields, count)
        order = np.argsort(~picked, axis=1, kind="stable")  # the chosen ones first
        fields["chosen"] = order[np.repeat(np.arange(n), count), nth]
    if response is not None:
        fields["response"] = require_fitting(response, Multinomial())
    look_at_groups(fields["groups"], fields.get("chooser"))
    look_at_numbers(fields, list(call.attributes))
    return fields


def _require_one_chosen(table: LongTable, taken: np.ndarray, chosen: str, ties: str) -> None:
    situations = table.situations
    count = np.bincount(table.of[taken], minlength=len(table.labels))
    if (count == 0).any():
        raise InputError(
            f"Each situation should have one chosen alternative (column {chosen!r}); got 0 in "
            f"{situations.where(count == 0)}. Choosing none may be an alternative without a row. "
            "Add that row, or drop these situations."
        )
    if (count > 1).any() and ties == "raise":
        raise InputError(
            f"Each situation should have one chosen alternative (column {chosen!r}); got up to "
            f"{count.max()} in {situations.where(count > 1)}. They may be ties. Pass `ties='drop'` "
            "to leave them out (counted), or `ties='split'` to share their weight."
        )
