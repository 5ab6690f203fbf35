"""What makes a score wrong without an error: looked for, counted, warned of or refused."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from prefstrength._shared.words import warn
from prefstrength.errors import InputError
from prefstrength.rewards.engine.outcome import Run
from prefstrength.rewards.engine.responses import Responses, Text, messages
from prefstrength.rewards.engine.source import Source

#: Texts of which the opening and the boundary are looked at; a template treats all alike.
SAMPLE = 256
#: Rows that a result names.
ROWS = 20
#: Responses that share a score may be this many times those expected of float32, and a few more.
TIES_FACTOR, TIES_SPARE = 5.0, 10
#: Fewer responses than these say nothing about how often scores should tie.
TIES_LEAST = 50


def sample(responses: Responses) -> list[int]:
    """Responses that are looked at, spread evenly."""
    count = min(SAMPLE, len(responses))
    return [int(i) for i in np.unique(np.linspace(0, len(responses) - 1, count).astype(int))]


def check_bos(tokenizer: Any, openings: Sequence[Sequence[int]], *, owner: str) -> dict[str, Any]:
    """Look at how texts begin, before what repeats was dropped: one BOS is right.

    Parameters
    ----------
    tokenizer
        Says which token is BOS, and whether it opens plain texts with it.
    openings : sequence of token ids
        The texts of a sample.
    owner : str
        The reward that asks.

    Warns
    -----
    DataWarning
        If BOS is written twice, or is missing where the tokenizer writes one itself.
    """
    bos = tokenizer.bos_token_id
    if bos is None:
        return {"token": None, "checked": len(openings), "doubled": 0, "absent": 0}
    doubled = sum(list(ids[:2]) == [bos, bos] for ids in openings)
    absent = sum(list(ids[:1]) != [bos] for ids in openings)
    if doubled:
        warn(
            f"{owner}: texts begin with {tokenizer.bos_token!r} twice in {doubled} of "
            f"{len(openings)} that were looked at, once from the template or the text and once "
            "more. No model is trained on two, so all but the first were dropped. Mend the chat "
            "template to be rid of this warning."
        )
    # a tokenizer that never writes a BOS of its own belongs to a model that may do without
    if absent and tokenizer("a")["input_ids"][:1] == [bos]:
        warn(
            f"{owner}: texts begin without {tokenizer.bos_token!r} in {absent} of {len(openings)} "
            "that were looked at, though the tokenizer opens plain texts with it. The chat "
            "template leaves it out, and the model may have been trained with it. Compare with "
            "the model's documentation, and mend the template."
        )
    return {
        "token": str(tokenizer.bos_token),
        "checked": len(openings),
        "doubled": doubled,
        "absent": absent,
    }


def check_padding(
    texts: Sequence[Sequence[int]], pad: int | None, *, named_by: str | None, owner: str
) -> dict[str, Any]:
    """Look for texts that end with the padding token, of which the last token is not read.

    Where the model itself names such a token, training read its texts in the same way; where
    somebody else chose it, it is a likely mistake: a model that names none is read at the end.

    Parameters
    ----------
    texts : sequence of token ids
        A sample.
    pad : int or None
        The padding token.
    named_by : str or None
        Who says so, for the sentence; None where the model does.
    owner : str
        The reward that asks.

    Warns
    -----
    DataWarning
        If texts end with the token and the model does not name it.
    """
    ending = sum(list(ids[-1:]) == [pad] for ids in texts)
    if ending and named_by is not None:
        warn(
            f"{owner}: {ending} of {len(texts)} texts that were looked at end with the token "
            f"{pad}, which {named_by} names as padding. Their scores are read before their end. "
            "Give a padding token that no text ends with: `pad_token_id=...`."
        )
    return {"id": pad, "ends_texts": ending}


def check_date(dated: bool, *, held: bool, owner: str, name: str) -> bool:
    """Say that a template writes the date, and whether it is held fixed.

    Warns
    -----
    DataWarning
        If it does.
    """
    if not held:
        warn(
            f"{owner}: the chat template of {name!r} writes today's date into every text, in a "
            "format that is made up on the way. Scores change from day to day, and kept ones are "
            "those of the day that they were made. Write the date into the template."
        )
    elif dated:
        warn(
            f"{owner}: the chat template of {name!r} writes today's date into every text, so that "
            "scores would change from day to day. It is told 26 July 2024 on all days. Scores may "
            "differ a little from those of the model's own recipe."
        )
    return dated


def check_system(
    render: Callable[[list[dict[str, str]]], str], responses: Responses, *, owner: str, name: str
) -> dict[str, Any]:
    """Refuse conversations whose system message the template leaves out.

    A message is left out where another one in its place gives the same text.

    Raises
    ------
    InputError
        Names the rows and says how to fold the message into the user's.
    """
    known: dict[tuple[tuple[str, str], ...], bool] = {}
    rows: dict[str, None] = {}
    asked: dict[str, None] = {}
    for prompt, text, row in zip(responses.prompts, responses.texts, responses.rows, strict=True):
        if not any(turn[0] == "system" for turn in _turns(prompt) + _turns(text)):
            continue
        asked[row] = None
        chat = messages(prompt, text)
        # a template goes by roles and by what the system says, not by what is asked
        pattern = tuple((m["role"], m["content"] if m["role"] == "system" else "") for m in chat)
        if pattern not in known:
            known[pattern] = _ignored(render, chat)
        if known[pattern]:
            rows[row] = None
    if rows:
        first = ", ".join(list(rows)[:3])
        raise InputError(
            f"{owner} expects a chat template that shows the model every system message; the "
            f"template of {name!r} leaves them out in {len(rows):,} rows (first rows: {first}). "
            "The scores would be those of conversations without them. Write the system message "
            "at the beginning of the first user message and drop the system role: "
            "{'role': 'user', 'content': system + '\\n\\n' + user}."
        )
    return {"rows": len(asked), "ignored": 0}


def _turns(text: Text) -> tuple[tuple[str, ...], ...]:
    return () if isinstance(text, str) else text


def _ignored(render: Callable[[list[dict[str, str]]], str], chat: list[dict[str, str]]) -> bool:
    try:
        whole = render(chat)
        for place, message in enumerate(chat):
            if message["role"] == "system":
                other = {**message, "content": f"{message['content']} and not otherwise"}
                if render([*chat[:place], other, *chat[place + 1 :]]) == whole:
                    return True
    except Exception:  # a template that refuses says so when the row is encoded, with its label
        return False
    return False


def check_boundary(kinds: Sequence[str | None], *, owner: str, all_matter: bool) -> dict[str, Any]:
    """Count where the tokens of the prompt do not go over into those of the whole.

    Parameters
    ----------
    kinds : sequence of {"kept", "inside", "otherwise", None}
        For each text of a sample: the tokens of the prompt open the whole; the response would
        begin inside a token; the template writes the prompt alone otherwise; unknown.
    owner : str
        The reward that asks.
    all_matter : bool
        Whether a prompt that is written otherwise changes the score, as it does where only the
        tokens of the response count.

    Warns
    -----
    DataWarning
        If there is any that matters.
    """
    found = Counter(kind for kind in kinds if kind is not None)
    checked, inside, otherwise = found.total(), found["inside"], found["otherwise"]
    if inside:
        warn(
            f"{owner}: the response begins inside a token in {inside} of {checked} texts that were "
            "looked at, because its first characters merge with the end of the prompt. The model "
            "sees other tokens than when it answers. End prompts, or begin responses, where "
            "a token ends: with a blank or a line break on one side alone."
        )
    if otherwise and all_matter:
        warn(
            f"{owner}: the chat template writes the prompt alone otherwise than before a response "
            f"in {otherwise} of {checked} texts that were looked at. The response is counted from "
            "where the two part ways, as TRL does. Check whether the template adds a default "
            "system message or a thinking block."
        )
    return {"checked": checked, "inside_token": inside, "otherwise": otherwise}


def boundary(alone: Sequence[int], whole: Sequence[int], *, text_goes_on: bool) -> str:
    """Say how the tokens of a prompt stand to those of the whole.

    Examples
    --------
    >>> boundary([1, 5], [1, 5, 8], text_goes_on=True)
    'kept'
    >>> boundary([1, 5], [1, 9], text_goes_on=True)  # 5 and what follows became 9
    'inside'
    """
    if list(whole[: len(alone)]) == list(alone):
        return "kept"
    return "inside" if text_goes_on else "otherwise"


def check_ties(
    values: np.ndarray, ids: Callable[[int], Sequence[int]], *, output: str
) -> dict[str, Any]:
    """Look for scores that low precision made equal.

    Parameters
    ----------
    values : ndarray of float64, shape (response,)
        Scores of one output.
    ids : callable
        From the index of a response to the tokens that the model saw; called for tied ones.
        Responses that are the same to the model may have the same score.
    output : str
        What the sentence calls it.

    Warns
    -----
    DataWarning
        If many more different responses share a score than rounding to float32 explains, or if
        all scores are numbers that half precision can write.

    Notes
    -----
    Of n scores of a normal distribution with sd s, about n (n - 1) / 2 · h / (2 √π s) pairs fall on
    one step of width h.
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    tied = np.flatnonzero(counts[group] > 1)
    looked_at = tied[:SAMPLE]
    seen = {(int(group[i]), tuple(ids(int(i)))) for i in looked_at}
    groups = Counter(place for place, _ in seen)
    pairs = sum(count * (count - 1) // 2 for count in groups.values())
    n, spread = len(values), float(np.std(values))
    step = float(np.spacing(np.float32(np.median(np.abs(values)))))
    expected = n * (n - 1) / 2 * step / (2 * math.sqrt(math.pi) * spread) if spread > 0 else 0.0
    written = _half_precision(values)
    often = n >= TIES_LEAST and pairs > TIES_SPARE + TIES_FACTOR * expected
    if written is not None or often:
        steps = f"All are numbers that {written} can write. " if written else ""
        warn(
            f"Different responses share their {output} more often than they should: {pairs:,} "
            f"pairs of {n:,} responses, where {expected:.2g} are expected. {steps}Scores in half "
            "precision come in steps and make ties. Use `dtype='float32'`; where the model's own "
            "code turns its head to half precision, change that."
        )
    return {"pairs": pairs, "expected": expected, "written_in": written}


def _half_precision(values: np.ndarray) -> str | None:
    """Format in half precision that can write all values, if there are enough to tell."""
    if len(np.unique(values)) < 8:
        return None
    single = values.astype(np.float32)
    if not np.array_equal(single.astype(np.float64), values):
        return None
    if not (single.view(np.uint32) & 0xFFFF).any():
        return "bfloat16"
    with np.errstate(over="ignore"):
        half = single.astype(np.float16)
    return "float16" if np.array_equal(half.astype(np.float64), values) else None


def of_run(source: Source, responses: Responses, found: Run, *, in_steps: bool) -> dict[str, Any]:
    """Gather what the guards of a finished run found.

    Parameters
    ----------
    source : Source
        The model.
    responses : Responses
        What was scored.
    found : Run
        What the run found out.
    in_steps : bool
        Whether ties in half precision are looked for.
    """
    cut = np.flatnonzero(found.truncated)
    guards: dict[str, Any] = {
        "truncation": {
            "max_length": source.max_length,
            "responses": len(cut),
            "longest": int(found.tokens.max()),
            "rows": [responses.rows[i] for i in cut[:ROWS]],
        },
        # the run refuses scores that are no numbers, or the same for all
        "finite": True,
        "distinct": True,
        "alone": found.alone,
        "training_mode": source.set_back,
        "unused_weights": source.unused,
    }
    if in_steps:

        def ids(i: int) -> list[int]:
            return list(source.encode(responses.prompts[i], responses.texts[i])["input_ids"])

        guards["ties"] = {
            output: check_ties(values, ids, output="score" if output == "reward" else output)
            for output, values in zip(source.outputs, found.values.T, strict=True)
        }
    return guards
