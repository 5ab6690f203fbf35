"""A long table, its rows sorted into situations: what choices and rankings have in common."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows
from prefstrength.data.columns import numbers, used_levels
from prefstrength.data.factor import Dropped
from prefstrength.data.from_columns import Call, select, shared_fields
from prefstrength.errors import InputError

__all__ = ["MOST_ALTERNATIVES", "LongTable", "require_choice_sets", "situation_fields"]

#: With more alternative labels than this, alternatives are numbered within each situation.
MOST_ALTERNATIVES = 100


class LongTable:
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
        """Labels of the situations, for sentences."""
        return Rows(pd.Index(self.labels, dtype=object), "situation")

    def take(self, keep: np.ndarray) -> "LongTable":
        """Some of the rows."""
        if keep.all():
            return self
        return LongTable(
            self.frame[keep],
            self.rows.take(np.flatnonzero(keep)),
            (self.of[keep], self.labels),
            (self.which[keep], self.alternatives),
        )


def situation_fields(
    table: LongTable, call: Call, dropped: list[Dropped]
) -> tuple[dict[str, Any], np.ndarray]:
    """One entry for each situation, but for its answer; and the place of each row's alternative."""
    of = table.of
    position, alternatives = used_levels(table.which, table.alternatives)
    if len(alternatives) > MOST_ALTERNATIVES:
        position = _number_within(of, position)
        alternatives = tuple(str(j) for j in range(int(position.max()) + 1))
    shape = (len(table.labels), len(alternatives))
    values = np.zeros((*shape, len(call.attributes)))
    for k, name in enumerate(call.attributes):
        values[of, position, k] = numbers(table.frame[name], name, table.rows)
    on_offer = np.zeros(shape, dtype=bool)
    on_offer[of, position] = True
    shared = shared_fields(table.frame, call, table.rows)
    first = np.flatnonzero(~pd.Series(of).duplicated().to_numpy())
    _require_same_within(shared, call, table, first)
    fields = select(shared, first) | {
        "values": values,
        "available": on_offer,
        "situations": list(table.labels),
        "alternatives": alternatives,
        "attributes": call.attributes,
        "dropped": tuple(dropped),
    }
    return fields, position


def require_choice_sets(table: LongTable, offered: np.ndarray) -> None:
    """Refuse situations in which there was nothing to choose from."""
    few = np.bincount(table.of[offered], minlength=len(table.labels)) < 2
    if few.any():
        raise InputError(
            "A situation should offer at least two alternatives; got fewer in "
            f"{table.situations.where(few)}. Rows of the others may have been lost. "
            "Add them, or drop these situations."
        )


def _number_within(of: np.ndarray, which: np.ndarray) -> np.ndarray:
    order = np.lexsort((which, of))
    ordered = of[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    position = np.empty(len(of), dtype=np.int64)
    position[order] = np.arange(len(of)) - np.repeat(starts, lengths)
    return position


def _require_same_within(
    shared: dict[str, Any], call: Call, table: LongTable, first: np.ndarray
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
