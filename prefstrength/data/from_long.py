"""Choices from a long table: one row for each alternative of each situation."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows
from prefstrength.data.columns import (
    as_frame,
    categories,
    check_frame,
    column,
    flags,
    numbers,
    option,
    used_levels,
)
from prefstrength.data.factor import Dropped
from prefstrength.data.from_columns import (
    Call,
    drop,
    expand,
    read_call,
    require_columns,
    require_left,
    select,
    shared_fields,
)
from prefstrength.data.plausibility import look_at_groups, look_at_numbers
from prefstrength.errors import InputError

#: With more alternative labels than this, alternatives are numbered within each situation.
MOST_ALTERNATIVES = 100


def long_fields(
    data: Any,
    situation: str,
    alternative: str,
    chosen: str,
    attributes: Any,
    chooser: str | None,
    groups: Any,
    available: str | None,
    weights: str | None,
    ties: str,
    duplicates: str,
) -> dict[str, Any]:
    """Return the fields of Choices for a long table; see ``Choices.from_long``."""
    ties = option(ties, ("raise", "drop", "split"), "ties")
    duplicates = option(duplicates, ("raise", "drop"), "duplicates")
    call = read_call(chooser, groups, attributes, weights)
    frame = as_frame(data)
    check_frame(frame)
    for argument, name in [
        ("situation", situation),
        ("alternative", alternative),
        ("chosen", chosen),
        ("available", available),
        *(("attributes", name) for name in call.attributes),
    ]:
        if name is not None or argument != "available":
            column(frame, name, argument)
    require_columns(frame, call)
    rows = Rows(frame.index)
    table = _Long(
        frame,
        rows,
        categories(frame[situation], situation, rows, "situation"),
        categories(frame[alternative], alternative, rows, "alternative"),
    )
    dropped: list[Dropped] = []
    table = _without_repeats(table, situation, alternative, duplicates, dropped)
    taken, offered = _taken_and_offered(table, alternative, chosen, available)
    _require_choice_sets(table, offered, taken, chosen, ties)
    table, taken = table.take(offered), taken[offered]
    if ties == "drop":
        table, taken = _without_ties(table, taken, dropped)
    fields = _by_situation(table, taken, call)
    fields["dropped"] = tuple(dropped)
    look_at_groups(fields["groups"], fields.get("chooser"))
    look_at_numbers(fields, list(call.attributes))
    return fields


class _Long:
    """A long table with its rows sorted into situations, numbered as they appear."""

    def __init__(
        self,
        frame: pd.DataFrame,
        rows: Rows,
        situation: tuple[np.ndarray, tuple[str, ...]],
        alternative: tuple[np.ndarray, tuple[str, ...]],
    ) -> None:
        self.frame, self.rows = frame, rows
        self.of, seen = pd.factorize(situation[0])
        self.labels = tuple(situation[1][i] for i in seen)
        self.which, self.alternatives = alternative

    @property
    def situations(self) -> Rows:
        return Rows(pd.Index(self.labels, dtype=object), "situation")

    def take(self, keep: np.ndarray) -> "_Long":
        if keep.all():
            return self
        return _Long(
            self.frame[keep],
            self.rows.take(np.flatnonzero(keep)),
            (self.of[keep], self.labels),
            (self.which[keep], self.alternatives),
        )


def _without_repeats(
    table: _Long, situation: str, alternative: str, duplicates: str, dropped: list[Dropped]
) -> _Long:
    """The table with every alternative once in a situation."""
    twice = pd.DataFrame({"s": table.of, "a": table.which}).duplicated().to_numpy()
    if not twice.any():
        return table
    if duplicates == "raise":
        raise InputError(
            f"An alternative ({alternative!r}) should occur once in a situation "
            f"({situation!r}); got it again in {table.rows.where(twice)}. Rows may be doubled, or "
            "situations numbered anew for each chooser. Make the situations' ids unique, or "
            "pass `duplicates='drop'` to keep the first."
        )
    drop(dropped, ~twice, twice, "repeated alternatives", table.rows)
    return table.take(~twice)


def _taken_and_offered(
    table: _Long, alternative: str, chosen: str, available: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row's alternative was chosen, and whether it was on offer."""
    taken = flags(
        table.frame[chosen],
        chosen,
        table.rows,
        "this alternative was chosen",
        # Numbers are ranks, of which 1 is the best; words are what was chosen.
        convert="1"
        if pd.api.types.is_numeric_dtype(table.frame[chosen])
        else f"frame[{alternative!r}]",
    )
    if available is None:
        return taken, np.ones(len(taken), dtype=bool)
    offered = flags(table.frame[available], available, table.rows, "on offer")
    wrong = taken & ~offered
    if wrong.any():
        raise InputError(
            f"A chosen alternative (column {chosen!r}) should be available; got {available!r} "
            f"false in {table.rows.where(wrong)}. One of the two is wrong. "
            "Correct it, or drop these situations."
        )
    return taken, offered


def _require_choice_sets(
    table: _Long, offered: np.ndarray, taken: np.ndarray, chosen: str, ties: str
) -> None:
    n, situations = len(table.labels), table.situations
    few = np.bincount(table.of[offered], minlength=n) < 2
    if few.any():
        raise InputError(
            "A situation should offer at least two alternatives; got fewer in "
            f"{situations.where(few)}. Rows of the others may have been lost. "
            "Add them, or drop these situations."
        )
    count = np.bincount(table.of[taken], minlength=n)
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


def _without_ties(
    table: _Long, taken: np.ndarray, dropped: list[Dropped]
) -> tuple[_Long, np.ndarray]:
    tied = np.bincount(table.of[taken], minlength=len(table.labels)) > 1
    if not tied.any():
        return table, taken
    drop(dropped, ~tied, tied, "ties", table.situations)
    require_left(~tied, dropped)
    stay = ~tied[table.of]
    return table.take(stay), taken[stay]


def _by_situation(table: _Long, taken: np.ndarray, call: Call) -> dict[str, Any]:
    """One entry for each situation; of ties, one for each chosen alternative."""
    values, on_offer, picked, alternatives = _choice_sets(table, taken, call.attributes)
    shared = shared_fields(table.frame, call, table.rows)
    first = np.flatnonzero(~pd.Series(table.of).duplicated().to_numpy())
    _require_same_within(shared, call, table, first)
    fields = select(shared, first) | {
        "values": values,
        "chosen": picked.argmax(axis=1),
        "available": on_offer,
        "situations": list(table.labels),
        "alternatives": alternatives,
        "attributes": call.attributes,
    }
    count = picked.sum(axis=1)
    if (count > 1).any():
        nth = expand(fields, count)
        order = np.argsort(~picked, axis=1, kind="stable")  # the chosen ones first
        fields["chosen"] = order[np.repeat(np.arange(len(count)), count), nth]
    return fields


def _choice_sets(
    table: _Long, taken: np.ndarray, attributes: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Values, what was on offer and what was chosen, (situation, alternative, …), and labels."""
    of = table.of
    position, alternatives = used_levels(table.which, table.alternatives)
    if len(alternatives) > MOST_ALTERNATIVES:
        position = _number_within(of, position)
        alternatives = tuple(str(j) for j in range(int(position.max()) + 1))
    shape = (len(table.labels), len(alternatives))
    values = np.zeros((*shape, len(attributes)))
    for k, name in enumerate(attributes):
        values[of, position, k] = numbers(table.frame[name], name, table.rows)
    on_offer, picked = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    on_offer[of, position] = True
    picked[of, position] = taken
    return values, on_offer, picked, alternatives


def _number_within(of: np.ndarray, which: np.ndarray) -> np.ndarray:
    order = np.lexsort((which, of))
    ordered = of[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    position = np.empty(len(of), dtype=np.int64)
    position[order] = np.arange(len(of)) - np.repeat(starts, lengths)
    return position


def _require_same_within(
    shared: dict[str, Any], call: Call, table: _Long, first: np.ndarray
) -> None:
    uses = [("group", factor.name, factor.codes) for factor in shared["groups"].values()]
    if call.chooser is not None:
        uses.insert(0, ("chooser", call.chooser, shared["chooser"]))
    if call.weights is not None:
        uses.append(("weight", call.weights, shared["weights"]))
    for use, name, entries in uses:
        differs = entries != entries[first][table.of]
        if differs.any():
            bad = np.zeros(len(table.labels), dtype=bool)
            bad[table.of[differs]] = True
            raise InputError(
                f"A situation should have one {use} (column {name!r}); got several in "
                f"{table.situations.where(bad)}. Situations may be numbered anew for each {use}. "
                "Give every situation an id of its own."
            )
