"""The texts of pairs: plain strings, or TRL's lists of messages.

What a cell may hold is said here, once. What else a door asks of the texts, such as one format for
all or no blanks, is the door's own.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, nearest, shown, warn
from prefstrength.data.columns import column, refuse_half_characters
from prefstrength.data.messages import message_fault
from prefstrength.errors import InputError

#: A text, or a conversation as a tuple of (role, content).
Text = str | tuple[tuple[str, str], ...]

TEXT_COLUMNS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True, eq=False)
class Texts:
    """The different texts of N pairs, and where each pair finds its own.

    Attributes
    ----------
    rows : Rows
        Labels of the pairs.
    different : pandas array of Text, shape (text,)
        Every text once, in whichever columns it stands.
    places : dict of str to ndarray of int64, shape (pair,)
        By column, where the text of each pair stands among them; equal place: equal text.
    """

    rows: Rows
    different: Any
    places: dict[str, np.ndarray]

    def mask(self, kind: str, name: str) -> np.ndarray:
        """Pairs whose text in a column is a "conversation", "written out" as text, or "blank"."""
        return self._kinds[kind][self.places[name]]

    @cached_property
    def _kinds(self) -> dict[str, np.ndarray]:
        texts = pd.Series(self.different)
        chat = np.zeros(len(texts), bool)
        if pd.api.types.infer_dtype(texts) != "string":
            chat = np.array([not isinstance(text, str) for text in texts])
            texts = texts.map(flatten)
        written = texts.str.startswith(("[{", "[ {", "[\n")).to_numpy(bool) & ~chat
        # The slow search looks only where the quick one found something.
        opening = texts[written].str.match(r"\[\s*\{\s*['\"](role|content)['\"]")
        written[written] = opening.to_numpy(bool)
        blank = texts.str.strip().eq("").to_numpy(bool)
        return {"conversation": chat, "written out": written, "blank": blank}


def flatten(text: Text) -> str:
    r"""Text of a conversation: the content of one message, or all with their roles.

    Examples
    --------
    >>> flatten((("assistant", "Hello."),))
    'Hello.'
    >>> flatten((("user", "Hi!"), ("assistant", "Hello.")))
    'user: Hi!\nassistant: Hello.'
    """
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return text[0][1]
    return "\n".join(f"{role}: {content}" for role, content in text)


def read_texts(frame: pd.DataFrame, rows: Rows) -> Texts | None:
    """Read ``prompt``, ``chosen`` and ``rejected``; None where the frame has no responses.

    Raises
    ------
    InputError
        One of chosen and rejected without the other; a missing text; something else than texts
        and lists of messages; messages without role and content.
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
    columns = [_read(column(frame, name, "text"), name, rows) for name in present]
    places, different = pd.factorize(pd.concat(columns, ignore_index=True).array)
    parts = np.split(places.astype(np.int64), len(present))
    texts = Texts(rows, different, dict(zip(present, parts, strict=True)))
    _refuse_prompt_twice(texts)
    return texts


def _refuse_prompt_twice(texts: Texts) -> None:
    """Stop where the prompt stands in its column and again where the responses begin."""
    if "prompt" not in texts.places:
        return
    conversations = texts.mask("conversation", "chosen") & texts.mask("conversation", "rejected")
    # A text may begin as its prompt does by chance; that nearly all do is none. So a few tell.
    few = np.arange(len(texts.rows)) < 50
    twice = _twice(texts, conversations | few)
    if len(twice) < 5 or twice[few].mean() < 0.9:
        twice &= conversations
    else:
        twice = _twice(texts, np.ones(len(twice), dtype=bool))
    if twice.any():
        raise InputError(
            "'chosen' and 'rejected' should hold responses alone where there is a column 'prompt'; "
            f"got the prompt again at their beginning in {texts.rows.where(twice)}. The question "
            "would be read twice. Leave it out of the responses, as in "
            "`{'prompt': chosen[:-1], 'chosen': chosen[-1:], 'rejected': rejected[-1:]}` for "
            "conversations."
        )


def _twice(texts: Texts, where: np.ndarray) -> np.ndarray:
    """Of the pairs ``where`` that is asked, those of which both responses begin with the prompt."""
    out = where.copy()
    for name in ("chosen", "rejected"):
        at = np.flatnonzero(out)
        both = np.stack([texts.places["prompt"][at], texts.places[name][at]], axis=1)
        different, index = np.unique(both, axis=0, return_inverse=True)
        found = [_begins(texts.different[a], texts.different[b]) for a, b in different.tolist()]
        out[at] = np.array(found, dtype=bool)[index.reshape(-1)]
    return out


def _begins(prompt: Text, response: Text) -> bool:
    """Whether a response begins with its prompt, and goes on."""
    if isinstance(response, str):
        return (
            isinstance(prompt, str)
            and 0 < len(prompt.strip())
            and (len(response) > len(prompt) and response.startswith(prompt))
        )
    if isinstance(prompt, str):
        return (
            len(response) > 1
            and response[0][0] == "user"
            and (response[0][1].strip() == prompt.strip())
        )
    return len(response) > len(prompt) and response[: len(prompt)] == prompt


def _read(values: pd.Series, name: str, rows: Rows) -> pd.Series:
    """A column of texts and conversations."""
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
        refuse_half_characters(values, name, rows)
        return values
    other = np.fromiter(
        (not isinstance(v, str | list | tuple | np.ndarray) for v in values), bool, len(values)
    )
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
    faults = [None if isinstance(value, str) else message_fault(value) for value in values]
    faulty = np.array([fault is not None for fault in faults])
    if faulty.any():
        what, step = next(fault for fault in faults if fault is not None)
        raise InputError(
            f"Column {name!r} should hold lists of messages with the text fields 'role' and "
            f"'content'; got {what} in {rows.where(faulty)}. {step}"
        )
    texts = [
        v if isinstance(v, str) else tuple((m["role"], m["content"]) for m in v) for v in values
    ]
    refuse_half_characters(pd.Series(map(flatten, texts), dtype=object), name, rows)
    return pd.Series(texts, dtype=object)


def check_format(texts: Texts) -> None:
    """Refuse two formats in one table, and conversations written out; warn of empty responses."""
    is_chat = {name: texts.mask("conversation", name) for name in texts.places}
    for name, mask in is_chat.items():
        if mask.any() and not mask.all():
            raise InputError(
                f"Column {name!r} should hold either texts or lists of messages; got both: "
                f"messages in {texts.rows.where(mask)}. Two sources may have been glued together. "
                "Write all rows in one format."
            )
    words = ("plain text", "lists of messages")
    chosen = int(is_chat["chosen"][0])
    for name, mask in is_chat.items():
        if mask[0] != chosen:
            raise InputError(
                f"Columns 'chosen' and {name!r} should both be text or both be messages; got "
                f"{words[chosen]} in 'chosen' and {words[1 - chosen]} in {name!r} "
                f"(first row: {texts.rows.first(np.ones(len(mask), bool), 1)[0]}). "
                "TRL's two formats cannot be mixed. Write all of them in one."
            )
    for name in ("chosen", "rejected"):
        if (written := texts.mask("written out", name)).any():
            raise InputError(
                f"Column {name!r} should hold the messages as lists; got lists written out as text "
                f"in {texts.rows.where(written)}. CSV cannot hold lists. "
                "Save the conversations as JSONL or Parquet."
            )
        if (empty := texts.mask("blank", name)).any():
            warn(
                f"Column {name!r} has an empty text in {texts.rows.where(empty)}; they are kept. "
                "Check that the responses were really empty."
            )
