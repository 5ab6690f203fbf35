"""Prompts and responses of a pairs frame: read, checked, and each distinct response once."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, shown
from prefstrength.data.columns import column
from prefstrength.data.messages import to_messages
from prefstrength.errors import InputError

#: A text, or a conversation as a tuple of (role, content).
Text = str | tuple[tuple[str, str], ...]

TEXT_COLUMNS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True, eq=False)
class Responses:
    """The distinct (prompt, response) of N pairs, and where each pair finds its two.

    Attributes
    ----------
    prompts, texts : tuple of Text, length (response,)
        Prompt and response of every distinct response.
    keys : tuple of str, length (response,)
        Canonical content of (prompt, response), the same for the same texts.
    rows : tuple of str, length (response,)
        Row label of the first pair that holds the response; errors name it.
    chosen, rejected : ndarray of int64, shape (pair,)
        Index of the pair's chosen and rejected response.
    """

    prompts: tuple[Text, ...]
    texts: tuple[Text, ...]
    keys: tuple[str, ...]
    rows: tuple[str, ...]
    chosen: np.ndarray
    rejected: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def distinct_responses(frame: pd.DataFrame) -> Responses:
    """Collect every distinct (prompt, response) of ``frame``, in order of appearance."""
    missing = [name for name in TEXT_COLUMNS if name not in frame.columns]
    if missing:
        raise InputError(
            "A reward from texts expects the columns prompt, chosen and rejected; got no "
            f"{' and no '.join(missing)} among {listed(frame.columns)}. Rename the columns, or use "
            "`ColumnReward(chosen=..., rejected=...)` where rewards are already there."
        )
    labels = Rows(frame.index)
    rows = labels.labels()
    columns = {name: read_texts(column(frame, name, "text"), labels, name) for name in TEXT_COLUMNS}
    prompts: list[Text] = []
    texts: list[Text] = []
    first_rows: list[str] = []
    index: dict[str, int] = {}
    found = {"chosen": np.empty(len(frame), np.int64), "rejected": np.empty(len(frame), np.int64)}
    for position, prompt in enumerate(columns["prompt"]):
        for side, places in found.items():
            text = columns[side][position]
            key = content_key(prompt, text)
            if key not in index:
                index[key] = len(index)
                prompts.append(prompt)
                texts.append(text)
                first_rows.append(rows[position])
            places[position] = index[key]
    return Responses(
        prompts=tuple(prompts),
        texts=tuple(texts),
        keys=tuple(index),
        rows=tuple(first_rows),
        chosen=found["chosen"],
        rejected=found["rejected"],
    )


def read_texts(values: pd.Series, rows: Rows, name: str) -> list[Text]:
    """Read a column of texts or conversations; one error names every row that is neither."""
    read = [_read(value) for value in values]
    wrong = np.array([text is None for text in read])
    if wrong.any():
        example = values.iloc[int(np.argmax(wrong))]
        raise InputError(
            f"Column {name!r} should hold texts, or lists of messages with role and content; got "
            f"{shown(example)} in {rows.where(wrong)}. A missing value or a number may stand "
            "where a text should. Correct or drop these rows."
        )
    texts = [text for text in read if text is not None]
    blank = np.array([not flatten(text).strip() for text in texts])
    if blank.any():
        raise InputError(
            f"Column {name!r} should hold a text in every row; got nothing but blanks in "
            f"{rows.where(blank)}. An empty text has no words to score. Drop these rows."
        )
    return texts


def _read(value: Any) -> Text | None:
    if isinstance(value, str):
        return value
    messages = to_messages(value)
    if messages is None:
        return None
    return tuple((message["role"], message["content"]) for message in messages)


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


def messages(prompt: Text, response: Text) -> list[dict[str, str]]:
    """Join prompt and response into chat messages; plain texts become user and assistant."""
    start = (("user", prompt),) if isinstance(prompt, str) else prompt
    end = (("assistant", response),) if isinstance(response, str) else response
    return [{"role": role, "content": content} for role, content in (*start, *end)]


def opening(prompt: Text) -> str:
    """Return the text that all turns of one conversation share: its first user message."""
    if isinstance(prompt, str):
        text = prompt
    else:
        text = next((content for role, content in prompt if role == "user"), flatten(prompt))
    return " ".join(text.split())


def content_key(prompt: Text, response: Text) -> str:
    """Return one string that is the same exactly where prompt and response are the same."""
    return json.dumps([prompt, response], ensure_ascii=False, separators=(",", ":"))
