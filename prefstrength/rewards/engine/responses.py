"""Prompts and responses of a pairs frame: read, checked, and each distinct response once."""

import json
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed
from prefstrength.data.messages import more_of
from prefstrength.data.texts import TEXT_COLUMNS, Text, Texts, flatten, read_texts
from prefstrength.errors import InputError
from prefstrength.rewards.engine.opened import Kept, kept_open, once, opened

_read: ContextVar[Kept | None] = ContextVar("read", default=None)


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


def read_once() -> AbstractContextManager[None]:
    """Read the texts of every frame once for all that ask for them inside."""
    return kept_open(opened(_read), _read)


def texts_of(frame: pd.DataFrame) -> Texts | None:
    """Read the texts of ``frame``, of which it may have none."""
    return once(frame, lambda: read_texts(frame, Rows(frame.index)), _read)


def distinct_responses(frame: pd.DataFrame) -> Responses:
    """Collect every distinct (prompt, response) of ``frame``, in order of appearance."""
    missing = [name for name in TEXT_COLUMNS if name not in frame.columns]
    if missing or (texts := texts_of(frame)) is None:
        raise InputError(
            "A reward from texts expects the columns prompt, chosen and rejected; got no "
            f"{' and no '.join(missing)} among {listed(frame.columns)}. Rename the columns, or use "
            "`ColumnReward(chosen=..., rejected=...)` where rewards are already there."
        )
    refuse_blank(texts)
    return once(texts, lambda: _distinct(texts), _read)


def refuse_blank(texts: Texts) -> None:
    """Refuse texts without a word to score."""
    for name in texts.places:
        if (blank := texts.mask("blank", name)).any():
            raise InputError(
                f"Column {name!r} should hold a text in every row; got nothing but blanks in "
                f"{texts.rows.where(blank)}. An empty text has no words to score. Drop these rows."
            )


def _distinct(texts: Texts) -> Responses:
    different = np.asarray(texts.different, object)
    prompt = np.repeat(texts.places["prompt"], 2)
    response = np.stack([texts.places["chosen"], texts.places["rejected"]], axis=1).ravel()
    index, _ = pd.factorize(prompt * len(different) + response)
    first = np.unique(index, return_index=True)[1]
    prompts, answers = tuple(different[prompt[first]]), tuple(different[response[first]])
    labels = texts.rows.labels()
    return Responses(
        prompts=prompts,
        texts=answers,
        keys=tuple(map(content_key, prompts, answers)),
        rows=tuple(labels[i // 2] for i in first),
        chosen=index[::2].astype(np.int64),
        rejected=index[1::2].astype(np.int64),
    )


def messages(prompt: Text, response: Text) -> list[dict[str, Any]]:
    """Join prompt and response into chat messages; plain texts become user and assistant."""
    start: Any = (("user", prompt),) if isinstance(prompt, str) else prompt
    end: Any = (("assistant", response),) if isinstance(response, str) else response
    return [
        {"role": message[0], "content": message[1], **more_of(message)}
        for message in (*start, *end)
    ]


def opening(prompt: Text) -> str:
    """Return the text that all turns of one conversation share: its first user message."""
    if isinstance(prompt, str):
        text = prompt
    else:
        text = next((each[1] for each in prompt if each[0] == "user"), flatten(prompt))
    return " ".join(text.split())


def content_key(prompt: Text, response: Text) -> str:
    """Return one string that is the same exactly where prompt and response are the same."""
    return json.dumps([prompt, response], ensure_ascii=False, separators=(",", ":"))
