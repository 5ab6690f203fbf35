"""HH-RLHF: crowd workers choose the more helpful, or the more harmless, of two answers."""

import os
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from prefstrength._shared.words import Rows
from prefstrength.data.columns import option
from prefstrength.data.messages import Message
from prefstrength.data.sources.hub import DataSource, LeftOut, Place, finish, is_blank
from prefstrength.errors import InputError

SUBSETS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")

_ASSISTANT = "\n\nAssistant:"
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def load(place: Place, subset: str | Sequence[str] | None = None) -> pd.DataFrame:
    r"""Load HH-RLHF as pairs: the two transcripts, cut after the last turn they share.

    A transcript is one text of turns ``\n\nHuman:`` and ``\n\nAssistant:``. The prompt is what
    both transcripts share up to the last ``\n\nAssistant:``; what follows are the responses. A
    few transcripts part earlier, so that their responses hold several turns.

    Parameters
    ----------
    place : Place
        Folder with a folder for each subset, or a dataset on the hub. Plain texts are those of
        the data, so that prompt + response is the transcript.
    subset : str or sequence of str, optional
        Which of the four subsets; all of them by default, or those that a local folder holds.

    Returns
    -------
    DataFrame
        One row a pair; the columns are listed in docs/sources.md. Identical responses are kept
        and marked in ``identical``.

    Raises
    ------
    InputError
        If a file or a column is missing, or a subset does not exist.

    Warns
    -----
    DataWarning
        If transcripts share no turn of the assistant, or a response is empty; these are left
        out, and ``attrs["source"]["dropped"]`` has the counts.
    """
    names = [subset] if isinstance(subset, str) else subset
    if names is None:
        names = [name for name in SUBSETS if place.has(f"{name}/{place.split}")] or [SUBSETS[0]]
    for name in names:
        option(name, SUBSETS, "subset")
    labels: list[str] = []
    transcripts: list[tuple[str, Any, Any]] = []
    for name in names:
        part = place.read(f"{name}/{place.split}", ("chosen", "rejected"), ending=".jsonl.gz")
        transcripts += [(name, c, r) for c, r in zip(part["chosen"], part["rejected"], strict=True)]
        labels += [f"{name}-{row}" for row in Rows(part.index).labels()]
    left_out = LeftOut(labels)
    rows = []
    for number, (name, chosen, rejected) in enumerate(transcripts):
        cut = _cut(chosen, rejected)
        if cut is None:
            left_out.add("transcripts that share no turn of the assistant", number)
            continue
        prompt, first, second = cut
        if is_blank(first) or is_blank(second):
            left_out.add("pairs with an empty response", number)
            continue
        rows.append(
            {
                **_texts(prompt, first, second, place.conversational),
                "dataset": place.source.name,
                "subset": name,
                "criterion": name.partition("-")[0],
                "pair_id": labels[number],
                "identical": first == second,
            }
        )
    files = [f"{name}/{place.split}" for name in names]
    return finish(pd.DataFrame(rows), place, files, left_out)


def _cut(chosen: Any, rejected: Any) -> tuple[str, str, str] | None:
    """Prompt and both responses; None where there is no shared turn to answer."""
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return None
    shared = os.path.commonprefix([chosen, rejected])
    at = shared.rfind(_ASSISTANT)
    if at < 0:
        return None
    end = at + len(_ASSISTANT)
    return chosen[:end], chosen[end:], rejected[end:]


def _texts(prompt: str, chosen: str, rejected: str, conversational: bool) -> dict[str, Any]:
    if not conversational:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    return {
        "prompt": read_turns(prompt[: -len(_ASSISTANT)]),
        "chosen": read_turns(_ASSISTANT + chosen),
        "rejected": read_turns(_ASSISTANT + rejected),
    }


def read_turns(text: str) -> list[Message]:
    r"""Read a transcript as messages; text before the first turn is the user's.

    Examples
    --------
    >>> read_turns("\n\nHuman: Hi!\n\nAssistant: Hello.")[1]
    {'role': 'assistant', 'content': 'Hello.'}
    """
    parts = _TURN.split(text)
    messages = [
        {"role": _ROLES[name], "content": content.strip()}
        for name, content in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if parts[0].strip():
        messages.insert(0, {"role": "user", "content": parts[0].strip()})
    if not messages:
        raise InputError(f"A transcript should have turns; got {text[:40]!r}.")
    return messages


SOURCE = DataSource(
    name="hh",
    repository="Anthropic/hh-rlhf",
    licence="MIT",
    citation=(
        "Bai et al. (2022), Training a Helpful and Harmless Assistant with Reinforcement "
        "Learning from Human Feedback, arXiv:2204.05862"
    ),
    choosers="none named",
    groups="criterion",
    load=load,
    splits=("train", "test"),
)
