"""The texts of a pairs frame: plain strings, or TRL's lists of messages.

Texts are only looked at, never kept: Choices holds numbers.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, nearest, shown, warn
from prefstrength.data.columns import column
from prefstrength.errors import InputError

TEXT_COLUMNS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Texts:
    """Text columns of a pairs frame as comparable codes (equal code: equal text).

    Attributes
    ----------
    prompt : ndarray of int64, shape (row,), or None
        None where the frame has no prompts.
    chosen, rejected : ndarray of int64, shape (row,)
        Codes from one table, so that they compare with each other.
    """

    prompt: np.ndarray | None
    chosen: np.ndarray
    rejected: np.ndarray


def read_texts(frame: pd.DataFrame, rows: Rows) -> Texts | None:
    """Check ``prompt``, ``chosen`` and ``rejected``; None where the frame has no texts.

    Raises
    ------
    InputError
        One of chosen and rejected without the other; missing text; text in one column and
        messages in the other; messages without role and content.
    """
    present = [name for name in TEXT_COLUMNS if name in frame.columns]
    if not {"chosen", "rejected"} & set(present):
        return None
    for name, other in (("chosen", "rejected"), ("rejected", "chosen")):
        if name not in present:
            close = nearest(name, [c for c in frame.columns if c != other])
            hint = f" Did you mean to rename {close!r}?" if close else ""
            raise InputError(
                f"A pair should have both texts, 'chosen' and 'rejected'; got {other!r} without "
                f"{name!r}.{hint} Add the column, or rename {other!r} if it is no text."
            )
    columns = {name: column(frame, name, "text") for name in present}
    kinds = {name: _kind(columns[name], name, rows) for name in present}
    for name in present:
        if kinds[name] != kinds["chosen"]:
            words = {"text": "plain text", "messages": "lists of messages"}
            raise InputError(
                f"Columns 'chosen' and {name!r} should both be text or both be messages; got "
                f"{words[kinds['chosen']]} in 'chosen' and {words[kinds[name]]} in {name!r} "
                f"(first row: {rows.first(np.ones(len(rows), bool), 1)[0]}). "
                "TRL's two formats cannot be mixed. Write all of them in one."
            )
    keys = {
        name: _message_keys(columns[name], name, rows)
        if kinds[name] == "messages"
        else columns[name]
        for name in present
    }
    if kinds["chosen"] == "text":
        for name in ("chosen", "rejected"):
            _look_at_text(keys[name], name, rows)
    both = pd.concat([keys["chosen"], keys["rejected"]], ignore_index=True)
    codes = pd.factorize(both)[0].astype(np.int64)
    prompt = pd.factorize(keys["prompt"])[0].astype(np.int64) if "prompt" in keys else None
    return Texts(prompt, codes[: len(frame)], codes[len(frame) :])


def _kind(values: pd.Series, name: str, rows: Rows) -> str:
    missing = values.isna().to_numpy()
    if missing.any():
        raise InputError(
            f"Column {name!r} should have a text in every row; got nothing in "
            f"{rows.where(missing)}. An empty response is the text '', not a missing one. "
            "Fill these rows in or drop them."
        )
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.infer_dtype(values) == "string":
        return "text"
    is_text = np.fromiter((isinstance(v, str) for v in values), bool, count=len(values))
    is_list = np.fromiter(
        (isinstance(v, list | tuple | np.ndarray) for v in values), bool, count=len(values)
    )
    other = ~(is_text | is_list)
    if other.any():
        example = values[other].iloc[0]
        step = (
            "A single message is a list with one entry: [{'role': ..., 'content': ...}]."
            if isinstance(example, dict)
            else "Scores belong into columns such as 'reward_chosen'. Rename the column."
        )
        raise InputError(
            f"Column {name!r} should hold texts or lists of messages; got "
            f"{shown(example)} in {rows.where(other)}. {step}"
        )
    if is_text.any() and is_list.any():
        raise InputError(
            f"Column {name!r} should hold either texts or lists of messages; got both: messages "
            f"in {rows.where(is_list)}. Two sources may have been glued together. "
            "Write all rows in one format."
        )
    return "text" if is_text.all() else "messages"


def _message_keys(values: pd.Series, name: str, rows: Rows) -> pd.Series:
    """One JSON text for each list of messages; refuses what is no message."""
    keys, faults = [], np.zeros(len(values), dtype=bool)
    fault = ("", "")
    for i, messages in enumerate(values):
        reason = _message_fault(messages)
        if reason is not None:
            faults[i] = True
            fault = fault if any(fault) else reason
            continue
        keys.append(json.dumps([[m["role"], m["content"]] for m in messages]))
    if faults.any():
        raise InputError(
            f"Column {name!r} should hold lists of messages with the text fields 'role' and "
            f"'content'; got {fault[0]} in {rows.where(faults)}. {fault[1]}"
        )
    return pd.Series(keys, dtype="str")


def _message_fault(messages: Any) -> tuple[str, str] | None:
    """What is wrong with a conversation, and what to do about it."""
    if len(messages) == 0:
        return "an empty list", "A response has at least one message. Fill it in or drop the row."
    for message in messages:
        if not isinstance(message, dict):
            return (
                f"{type(message).__name__} instead of a message",
                "Other chat formats list bare texts. Make each one a dict with both fields.",
            )
        for field in ("role", "content"):
            if field not in message:
                return (
                    f"a message without {field!r} (its fields: {', '.join(map(shown, message))})",
                    "Other chat formats use other names, such as 'from' and 'value'. "
                    "Rename the fields.",
                )
            if not isinstance(message[field], str):
                return (
                    f"a message whose {field!r} is {type(message[field]).__name__}",
                    "Images and tool calls are not read. Keep the text, or drop the row.",
                )
    return None


def _look_at_text(values: pd.Series, name: str, rows: Rows) -> None:
    text = values.astype("str").str
    written = text.startswith(("[{", "[ {", "[\n")).to_numpy(dtype=bool, copy=True)
    # The slow search looks only where the quick one found something.
    opening = values[written].astype("str").str.match(r"\[\s*\{\s*['\"](role|content)['\"]")
    written[written] = opening.to_numpy(dtype=bool)
    if written.any():
        raise InputError(
            f"Column {name!r} should hold the messages as lists; got lists written out as text "
            f"in {rows.where(written)}. CSV cannot hold lists. "
            "Save the conversations as JSONL or Parquet."
        )
    empty = text.strip().eq("").to_numpy(dtype=bool)
    if empty.any():
        warn(
            f"Column {name!r} has an empty text in {rows.where(empty)}; they are kept. "
            "Check that the responses were really empty."
        )
