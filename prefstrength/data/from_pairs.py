"""Choices from pairs: one row for each choice, two columns for each attribute.

The order of the checks is the order in which a person would want to hear of mistakes: the
call, the table, its columns, ties, identical and repeated responses, then the numbers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, nearest, shown
from prefstrength.choice.responses.base import Response
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.responses.ties import Ties
from prefstrength.data.anomalies import copies_refused, exact_copies
from prefstrength.data.answer_columns import (
    Scale,
    read_first,
    read_grades,
    read_ties,
    require_agreement,
    require_fitting,
)
from prefstrength.data.answers import better_by_answer
from prefstrength.data.columns import (
    as_frame,
    categories,
    check_frame,
    column,
    numbers,
    option,
)
from prefstrength.data.factor import Dropped
from prefstrength.data.from_columns import (
    Call,
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
from prefstrength.errors import InputError


@dataclass(frozen=True)
class AnswerColumns:
    """Columns that say more than which response was chosen."""

    grade: str | None = None
    grades: Scale = None
    tie: str | None = None
    first: str | None = None
    pair: str | None = None
    response: Response | None = None

    @property
    def keep_ties(self) -> bool:
        """Whether ties are answers."""
        return self.grade is not None or self.tie is not None

    def require(self, frame: pd.DataFrame) -> None:
        """Refuse a table that lacks a named column."""
        for argument in ("grade", "tie", "first", "pair"):
            if (name := getattr(self, argument)) is not None:
                column(frame, name, argument)
        if self.grades is not None and self.grade is None:
            raise InputError(
                f"grades should come with the column that holds them; got {shown(self.grades)} "
                "without a column. Name it: `grade=...`."
            )


def pairs_fields(
    data: Any,
    chooser: str | None = None,
    groups: Any = (),
    attributes: Any = ("reward",),
    *,
    weights: str | None = None,
    chooser_weights: str | None = None,
    ties: str = "raise",
    identical: str = "raise",
    duplicates: str = "raise",
    texts: Texts | None = None,
    **named: Any,
) -> dict[str, Any]:
    """Return the fields of Choices for a table of pairs; see ``Choices.from_pairs``.

    ``texts`` are those of the table, where somebody has read and checked them before.
    """
    call = read_call(chooser, groups, attributes, weights, chooser_weights)
    answers = AnswerColumns(**named)
    ties = option(ties, ("raise", "drop", "split"), "ties")
    identical = option(identical, ("raise", "drop"), "identical")
    duplicates = option(duplicates, ("raise", "drop", "keep"), "duplicates")
    if answers.keep_ties and ties != "raise":
        raise InputError(
            "ties should be left out where ties are kept as answers (grade or tie); got "
            f"`ties={ties!r}`. Both cannot be. Drop one of the two."
        )
    frame = as_frame(data)
    check_frame(frame)
    require_columns(frame, call)
    answers.require(frame)
    _require_attribute_columns(frame, call.attributes)
    rows = Rows(frame.index)

    keep = np.ones(len(frame), dtype=bool)
    dropped: list[Dropped] = []
    tie = read_ties(frame, rows, answers.tie, answers.grade is not None)
    if tie is not None and not answers.keep_ties:
        _drop_ties(tie, ties, keep, dropped, rows)
    if texts is None and (texts := read_texts(frame, rows)) is not None:
        check_format(texts)
    if texts is not None:
        _drop_identical(texts, identical, keep, dropped, rows)
    elif duplicates != "keep" and answers.pair is None:  # else rows of one pair are alike
        _drop_copies(frame, duplicates, call, keep, dropped, rows)
    require_left(keep, dropped)
    at = np.flatnonzero(keep)
    shared = shared_fields(rows_at(frame, at), call, rows.take(at))
    if texts is not None and duplicates != "keep":
        again = np.zeros(len(frame), dtype=bool)
        again[at] = _repeated(texts, shared.get("chooser"), at)
        _drop_repeated(again, duplicates, call, keep, dropped, rows)
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
    tie = None if tie is None else tie[at]
    fields |= _answer_fields(columns, answers, tie, kept)
    if answers.pair is not None:
        fields["pair"] = _pairs_shown(columns, answers.pair, kept, fields, texts, at)
    if tie is not None and tie.any() and not answers.keep_ties:
        second = expand(fields, np.where(tie, 2, 1)) == 1
        fields["values"][second] = fields["values"][second][:, ::-1]
        if "shown_first" in fields:
            fields["shown_first"][second] *= -1
    look_at_groups(fields["groups"], fields.get("chooser"))
    look_at_numbers(fields, [f"{n}_chosen' and '{n}_rejected" for n in call.attributes])
    return fields


def _answer_fields(
    frame: pd.DataFrame, columns: AnswerColumns, tie: np.ndarray | None, rows: Rows
) -> dict[str, Any]:
    """Response, answers, and who was shown first."""
    answer = None
    if columns.grade is not None:
        grades = column(frame, columns.grade, "grade")
        answer, words = read_grades(grades, columns.grade, rows, columns.grades, tie)
        if tie is not None:
            name = columns.tie or "tie"
            require_agreement(answer, words, tie, columns.grade, name, rows)
        response = require_fitting(columns.response, Graded(words))
    elif columns.tie is not None and tie is not None:
        answer = np.where(tie, 1, 0)
        response = require_fitting(columns.response, Ties())
    else:
        response = require_fitting(columns.response, Pair())
    fields: dict[str, Any] = {"response": response}
    if answer is not None:
        fields["answer"] = answer
        fields["chosen"] = better_by_answer(response, answer, None)
    if columns.first is not None:
        shown_first = column(frame, columns.first, "first")
        fields["shown_first"] = read_first(shown_first, columns.first, rows, frame.columns)
    return fields


def _pairs_shown(
    frame: pd.DataFrame,
    name: str,
    rows: Rows,
    fields: dict[str, Any],
    texts: Texts | None,
    at: np.ndarray,
) -> np.ndarray:
    """Codes of the pairs that were judged; rows of one code show the same two responses."""
    codes, _ = categories(column(frame, name, "pair"), name, rows, "pair")
    codes = np.unique(codes, return_inverse=True)[1]
    if texts is not None:
        both = np.stack([texts.places["chosen"][at], texts.places["rejected"][at]], axis=1)[
            :, :, None
        ].astype(float)
    else:
        both = fields["values"]
    both = np.sort(both, axis=1)
    _, first = np.unique(codes, return_index=True)
    spread = np.sqrt((np.diff(fields["values"], axis=1) ** 2).mean(axis=0))
    room = 0.5 if texts is not None else 1e-3 * spread
    differs = (np.abs(both - both[first][codes]) > room).any(axis=(1, 2))
    if differs.any():
        raise InputError(
            f"Rows of one pair (column {name!r}) should show the same two responses; got others in "
            f"{rows.where(differs)}. The column may number prompts. Name one that numbers pairs, "
            "or leave pair out."
        )
    return codes


def _drop_ties(
    tie: np.ndarray, ties: str, keep: np.ndarray, dropped: list[Dropped], rows: Rows
) -> None:
    if tie.any() and ties == "raise":
        raise InputError(
            "Each row should prefer one response; got a tie (column 'tie') in "
            f"{rows.where(tie)}. A tie is no choice, but it is information. Pass `ties='drop'` to "
            "leave them out (counted), or `ties='split'` for two situations of half weight."
        )
    if ties == "drop":
        drop(dropped, keep, tie, "ties", rows)


def _drop_identical(
    texts: Texts, identical: str, keep: np.ndarray, dropped: list[Dropped], rows: Rows
) -> None:
    same = (texts.places["chosen"] == texts.places["rejected"]) & keep
    if same.any() and identical == "raise":
        raise InputError(
            "The responses of a pair should differ; got 'chosen' equal to 'rejected' in "
            f"{rows.where(same)}. There was nothing to choose. "
            "Pass `identical='drop'` to leave them out (counted)."
        )
    drop(dropped, keep, same, "identical responses", rows)


def _drop_copies(
    frame: pd.DataFrame,
    duplicates: str,
    call: Call,
    keep: np.ndarray,
    dropped: list[Dropped],
    rows: Rows,
) -> None:
    telling = [f"{call.attributes[0]}_{side}" for side in ("chosen", "rejected")]
    telling += [call.chooser] if call.chooser else []
    copies = np.zeros(len(frame), dtype=bool)
    copies[keep] = exact_copies(rows_at(frame, np.flatnonzero(keep)), telling)
    if copies.any() and duplicates == "raise":
        raise copies_refused(copies, rows, call.chooser)
    drop(dropped, keep, copies, "exact copies", rows)


def _drop_repeated(
    again: np.ndarray,
    duplicates: str,
    call: Call,
    keep: np.ndarray,
    dropped: list[Dropped],
    rows: Rows,
) -> None:
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
