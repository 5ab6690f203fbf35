"""Choices from pairs: one row for each choice, two columns for each attribute.

The order of the checks is the order in which a person would want to hear of mistakes: the
call, the table, its columns, ties, identical and repeated responses, then the numbers.
"""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest, shown
from prefstrength.data.anomalies import copies_refused, exact_copies
from prefstrength.data.columns import as_frame, check_frame, column, numbers, option, tied
from prefstrength.data.factor import Dropped
from prefstrength.data.from_columns import (
    drop,
    expand,
    read_call,
    require_columns,
    require_left,
    rows_at,
    select,
    shared_fields,
)
from prefstrength.data.plausibility import PAIR, look_at_groups, look_at_numbers
from prefstrength.data.texts import Texts, check_format, read_texts
from prefstrength.data.votes import TIE_COLUMNS, VOTE_COLUMNS, says_neither
from prefstrength.errors import InputError


def pairs_fields(
    data: Any,
    chooser: str | None,
    groups: Any,
    attributes: Any,
    weights: str | None,
    ties: str,
    identical: str,
    duplicates: str,
    texts: Texts | None = None,
) -> dict[str, Any]:
    """Return the fields of Choices for a table of pairs; see ``Choices.from_pairs``.

    ``texts`` are those of the table, where somebody has read and checked them before.
    """
    ties = option(ties, ("raise", "drop", "split"), "ties")
    identical = option(identical, ("raise", "drop"), "identical")
    duplicates = option(duplicates, ("raise", "drop", "keep"), "duplicates")
    call = read_call(chooser, groups, attributes, weights)
    frame = as_frame(data)
    check_frame(frame)
    require_columns(frame, call)
    _require_attribute_columns(frame, call.attributes)
    rows = Rows(frame.index)

    everything = np.ones(len(frame), dtype=bool)
    keep = everything.copy()
    dropped: list[Dropped] = []

    _refuse_other_ties(frame, rows)
    tie = tied(frame)
    if tie.any() and ties == "raise":
        raise InputError(
            "Each row should prefer one response; got a tie (column 'tie') in "
            f"{rows.where(tie)}. A tie is no choice, but it is information. Pass `ties='drop'` to "
            "leave them out (counted), or `ties='split'` for two situations of half weight."
        )
    if ties == "drop":
        drop(dropped, keep, tie, "ties", rows)

    if texts is None and (texts := read_texts(frame, rows)) is not None:
        check_format(texts)
    if texts is not None:
        same = (texts.places["chosen"] == texts.places["rejected"]) & keep
        if same.any() and identical == "raise":
            raise InputError(
                "The responses of a pair should differ; got 'chosen' equal to 'rejected' in "
                f"{rows.where(same)}. There was nothing to choose. "
                "Pass `identical='drop'` to leave them out (counted)."
            )
        drop(dropped, keep, same, "identical responses", rows)

    if texts is None and duplicates != "keep":
        telling = [f"{call.attributes[0]}_{side}" for side in ("chosen", "rejected")]
        telling += [call.chooser] if call.chooser else []
        copies = np.zeros(len(frame), dtype=bool)
        copies[keep] = exact_copies(rows_at(frame, np.flatnonzero(keep)), telling)
        if copies.any() and duplicates == "raise":
            raise copies_refused(copies, rows, call.chooser)
        drop(dropped, keep, copies, "exact copies", rows)

    require_left(keep, dropped)
    at = np.flatnonzero(keep)
    shared = shared_fields(rows_at(frame, at), call, rows.take(at))
    if texts is not None and duplicates != "keep":
        again = np.zeros(len(frame), dtype=bool)
        again[at] = _repeated(texts, shared.get("chooser"), at)
        if again.any() and duplicates == "raise":
            who = f"by one chooser ({call.chooser!r})" if call.chooser else "in the table"
            cause = (
                "The file may hold the row twice, or the judgement was repeated."
                if call.chooser
                else "Without a chooser, several people's votes look like one person's."
            )
            raise InputError(
                f"The same two responses should be judged once {who}; got repeated 'chosen' "
                f"and 'rejected' (in either order) in {rows.where(again)}. {cause} "
                "Pass `duplicates='drop'` to keep the first, or `duplicates='keep'` to keep all."
            )
        drop(dropped, keep, again, "repeated judgements", rows)
        shared = select(shared, np.flatnonzero(keep[at]))

    at = np.flatnonzero(keep)
    kept, columns = rows.take(at), rows_at(frame, at)
    sides = [
        [numbers(columns[f"{name}_{side}"], f"{name}_{side}", kept) for name in call.attributes]
        for side in ("chosen", "rejected")
    ]
    fields = shared | {
        "values": np.stack([np.stack(side, axis=1) for side in sides], axis=1),
        "chosen": np.zeros(len(at), dtype=np.int64),
        "available": np.ones((len(at), 2), dtype=bool),
        "situations": kept.labels(),
        "alternatives": PAIR,
        "attributes": call.attributes,
        "dropped": tuple(dropped),
    }
    if tie[at].any():
        repeats = np.where(tie[at], 2, 1)
        second = expand(fields, repeats) == 1
        fields["values"][second] = fields["values"][second][:, ::-1]
    look_at_groups(fields["groups"], fields.get("chooser"))
    look_at_numbers(fields, [f"{n}_chosen' and '{n}_rejected" for n in call.attributes])
    return fields


def _require_attribute_columns(frame: pd.DataFrame, attributes: tuple[str, ...]) -> None:
    stems = [
        c[: -len("_chosen")]
        for c in frame.columns
        if isinstance(c, str) and c.endswith("_chosen") and f"{c[:-7]}_rejected" in frame.columns
    ]
    for name in attributes:
        wanted = (f"{name}_chosen", f"{name}_rejected")
        missing = [c for c in wanted if c not in frame.columns]
        if not missing:
            for c in wanted:
                column(frame, c, "attributes")  # for its sentence on names that occur twice
            continue
        if len(missing) == 1:
            present = next(c for c in wanted if c not in missing)
            close = nearest(missing[0], [c for c in frame.columns if c != present])
            hint = f"Did you mean {close!r}? Rename it" if close else "Add the column"
            raise InputError(
                f"Attribute {name!r} should be two columns, {wanted[0]!r} and {wanted[1]!r}; got "
                f"{present!r} without {missing[0]!r}. {hint}, or name another attribute."
            )
        stem = name.removesuffix("_chosen").removesuffix("_rejected")
        if stem != name and stem in stems:
            raise InputError(
                f"attributes should be names without their endings; got {name!r}, which is one "
                f"half of the attribute {stem!r}. Both halves are found by the name alone. "
                f"Pass `attributes=[{stem!r}]`."
            )
        raise InputError(
            f"Attribute {name!r} should be two columns, {wanted[0]!r} and {wanted[1]!r}; got "
            f"neither among {frame.shape[1]} columns: {listed(frame.columns)}. "
            f"{_attribute_hint(frame, name, stems)}"
        )


def _attribute_hint(frame: pd.DataFrame, name: str, stems: list[str]) -> str:
    if f"{name}_a" in frame.columns and f"{name}_b" in frame.columns:
        return "This is a table of votes. Make it pairs with pairs_from_votes(frame) first."
    close = nearest(name, stems) or (stems[0] if len(stems) == 1 else None)
    if close:
        return f"Did you mean `attributes=[{close!r}]`?"
    if stems:
        return f"These attributes are there: {listed(stems)}. Name one of them."
    if name in frame.columns:
        return f"Column {name!r} is one number for a pair of responses. Score both of them."
    if {"chosen", "rejected"} <= set(frame.columns):
        return "The pairs have no rewards yet. Score them first: score(pairs, ...)."
    return "Check the spelling, or rename the columns."


def _refuse_other_ties(frame: pd.DataFrame, rows: Rows) -> None:
    """Refuse ties that are marked in another way than by the column ``tie``."""
    if "tie" in frame.columns:
        return
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


def _repeated(texts: Texts, people: np.ndarray | None, at: np.ndarray) -> np.ndarray:
    """Mark the rows at ``at`` whose chooser judged the same two texts in an earlier one."""
    parts = {
        "low": np.minimum(texts.places["chosen"], texts.places["rejected"])[at],
        "high": np.maximum(texts.places["chosen"], texts.places["rejected"])[at],
    }
    if "prompt" in texts.places:
        parts["prompt"] = texts.places["prompt"][at]
    if people is not None:
        parts["chooser"] = people
    return pd.DataFrame(parts).duplicated().to_numpy()
