"""One run over distinct responses: tokenise, batch by length, score, keep."""

import math
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from prefstrength._words import warn
from prefstrength.errors import InputError
from prefstrength.rewards._batches import Row, plan, shared_rows, single_rows
from prefstrength.rewards._cache import ScoreCache
from prefstrength.rewards._memory import default_tokens, free_memory, out_of_memory
from prefstrength.rewards._open import once
from prefstrength.rewards._responses import Responses
from prefstrength.rewards._team import ALONE_AT_WORK, Team, team

#: Responses that are scored a second time, alone and without padding: one of so many, ...
ONE_ALONE = 128
#: ... but at least and at most as many.
ALONE, MOST_ALONE = 4, 64
#: Seconds between two looks at what other processes have scored.
WAIT = 1.0
#: A score may move by this share of the sd of all scores when scored alone.
ALONE_TOLERANCE = 0.02


class Source(Protocol):
    """A model as the run sees it; what it is and how it reads a text are its own business."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding; JSON types only."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the numbers that come out for every response."""
        ...

    @property
    def pad_token_id(self) -> int | None:
        """Token that fills a batch."""
        ...

    @property
    def max_length(self) -> int | None:
        """Tokens an item may have; :meth:`encode` has cut what was longer."""
        ...

    @property
    def device(self) -> Any:
        """Where the model lies."""
        ...

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """``input_ids``, ``token_type_ids`` where taken, and ``tokens`` before the cut."""
        ...

    def load(self) -> Any:
        """Load the model: long work, and only called when something is to be scored."""
        ...

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Numbers of the items in float64, shape (item, output)."""
        ...


@runtime_checkable
class SharingSource(Source, Protocol):
    """A model that can compute the common beginning of several texts once."""

    def shares(self, model: Any) -> bool:
        """Whether the loaded model is of a kind for which that gives the same scores."""
        ...

    def forward_shared(
        self, model: Any, rows: Sequence[tuple[int, Sequence[dict[str, Any]]]]
    ) -> np.ndarray:
        """Numbers of the items of all rows, (tokens in common, items), shape (item, output)."""
        ...


@dataclass(frozen=True, eq=False)
class Run:
    """What a run found out about N responses.

    Attributes
    ----------
    values : ndarray of float64, shape (response, output)
        Outputs of the model.
    tokens : ndarray of int64, shape (response,)
        Length before truncation.
    truncated : ndarray of bool, shape (response,)
        What was longer than the model takes.
    alone : dict
        By output: how many responses were scored a second time at batch size 1, and the largest
        difference.
    from_cache : int
        Responses whose scores were there before.
    engine : dict
        How the others were scored: batches, the tokens that a batch may have at the end of the
        run, tokens of the texts, tokens computed (padding included, common beginnings once), and
        whether common beginnings were shared. JSON types only; empty where all were there.
    kept_in : str or None
        Folder of the cache that holds the scores.
    """

    values: np.ndarray
    tokens: np.ndarray
    truncated: np.ndarray
    alone: dict[str, dict[str, Any]]
    from_cache: int
    engine: dict[str, Any]
    kept_in: str | None

    def provenance(self) -> dict[str, Any]:
        """Return what every reward says of its run; JSON types only."""
        return {
            "responses": len(self.tokens),
            "from_cache": self.from_cache,
            "engine": self.engine,
            "kept_in": self.kept_in,
            "truncated": int(self.truncated.sum()),
            "longest": int(self.tokens.max()),
            "alone": self.alone,
        }


def run(
    source: Source,
    responses: Responses,
    *,
    max_truncated: float,
    cache: str | os.PathLike[str] | None,
    progress: bool,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
) -> Run:
    """Score every distinct response once, from the cache where it is there.

    Parameters
    ----------
    source : Source
        The model.
    responses : Responses
        What to score.
    max_truncated : float
        Share of responses that may be truncated, in [0, 1].
    cache : path or None
        Folder of scores.
    progress : bool
        Show progress bars.
    batch_size : int, optional
        Most responses of a forward pass; as many as ``batch_tokens`` allow when left out.
    batch_tokens : int, optional
        Tokens of a forward pass, padding included; by default what suits the device. Halved
        whenever memory does not suffice.
    """
    store = ScoreCache(cache, source.identity, source.outputs) if cache is not None else None
    us = team.get()
    if store is None and us != ALONE_AT_WORK:
        raise InputError(
            f"Work divided between {us.size} processes expects a folder in which they leave their "
            "scores to each other; got none. Give one that all of them see: cache='scores/'."
        )
    keys = [store.key(key) if store else key for key in responses.keys]
    known = store.find(keys) if store else pd.DataFrame()
    table, engine = known, {}
    if len(known) < len(keys):
        loop = _Loop(source, responses, keys, us, batch_size, batch_tokens, max_truncated)
        fresh = loop.run(known, store, progress and us.rank == 0)
        engine = loop.engine
        if store is not None and us != ALONE_AT_WORK:
            done = {*known.index, *fresh.index}
            others = _wait(
                store, [key for key in keys if key not in done], progress and us.rank == 0
            )
            fresh = pd.concat([part for part in (fresh, others) if len(part)])
        table = fresh if known.empty else pd.concat([known, fresh])
    table = table.loc[keys]
    tokens = table["tokens"].to_numpy(np.int64)
    check_truncation(tokens, source.max_length, max_truncated, responses.rows)
    values = table[list(source.outputs)].to_numpy(np.float64)
    for output, column in zip(source.outputs, values.T, strict=True):
        if len(column) > 1 and np.ptp(column) == 0:
            raise InputError(
                f"A reward model expects to tell responses apart; got the {_called(output)} "
                f"{column[0]:.6g} for all {len(column)} responses. Its head may be untrained or "
                "the texts cut before they differ. Check the model, head= and max_length=."
            )
    return Run(
        values=values,
        tokens=tokens,
        truncated=table["truncated"].to_numpy(bool),
        alone={output: _alone(table, output) for output in source.outputs},
        from_cache=len(known),
        engine=engine,
        kept_in=store.folder.name if store else None,
    )


def _wait(store: ScoreCache, keys: list[str], progress: bool) -> pd.DataFrame:
    """Wait for the scores that other processes are at, and read them."""
    found = [store.find(keys)]
    with tqdm(
        total=len(keys), desc="other processes", unit="response", disable=not progress
    ) as bar:
        while True:
            bar.update(len(found[-1]))
            there = {key for part in found for key in part.index}
            left = [key for key in keys if key not in there]
            if not left:
                return pd.concat(found)
            time.sleep(WAIT)
            found.append(store.find(left))


def check_truncation(
    tokens: np.ndarray, most: int | None, allowed: float, rows: Sequence[str]
) -> None:
    """Refuse when too many responses (their tokens, their rows) would be cut."""
    if most is None:
        return
    long = [row for row, length in zip(rows, tokens, strict=True) if length > most]
    if len(long) > allowed * len(tokens):
        raise InputError(
            f"A reward model expects at most {allowed:.3g} of the responses to be longer than "
            f"{most} tokens; got {_count(long, len(tokens))}, the longest "
            f"with {tokens.max()} tokens. Their scores would rest on cut texts. Drop these "
            "rows, raise max_length= if the model allows, or allow more with max_truncated=."
        )


class _Loop:
    """The part of a run that needs the model."""

    def __init__(
        self,
        source: Source,
        responses: Responses,
        keys: Sequence[str],
        us: Team,
        batch_size: int | None,
        batch_tokens: int | None,
        max_truncated: float,
    ) -> None:
        self.source, self.responses, self.keys, self.us = source, responses, keys, us
        self.batch_size, self.max_truncated = batch_size, max_truncated
        self.batch_tokens = batch_tokens or default_tokens(source.device)

    def run(self, known: pd.DataFrame, store: ScoreCache | None, progress: bool) -> pd.DataFrame:
        """Score what is not known, and keep every batch as soon as it is scored."""
        self._encode(progress)
        tokens = np.array([item["tokens"] for item in self.items], np.int64)
        check_truncation(tokens, self.source.max_length, self.max_truncated, self.responses.rows)
        self.ids = [item["input_ids"] for item in self.items]
        self.model = once(self.source, self.source.load)
        self.shares = isinstance(self.source, SharingSource) and self.source.shares(self.model)
        missing = {i for i, key in enumerate(self.keys) if key not in known.index}
        alone = self._sample(missing, known)
        done: list[pd.DataFrame] = []
        text_tokens = computed = 0
        queue = deque(self._plan(missing))
        with (
            store or nullcontext(),
            tqdm(
                total=sum(
                    len(self.ids[i]) for batch in queue for row in batch for i in row.responses
                ),
                desc="reward model",
                unit="token",
                unit_scale=True,
                disable=not progress,
                leave=None,  # a bar inside another goes when it is full
            ) as bar,
        ):
            while queue:
                batch = queue.popleft()
                values = self._forward(batch)
                if values is None:
                    queue = deque(self._smaller(batch, queue))
                    continue
                table = self._table(batch, values, alone)
                if store is not None:
                    store.add(table)
                done.append(table)
                tokens_here = sum(len(self.ids[i]) for row in batch for i in row.responses)
                text_tokens += tokens_here
                computed += len(batch) * batch[0].width
                bar.update(tokens_here)
        self.engine = {
            "batches": len(done),
            "batch_tokens": self.batch_tokens,
            "text_tokens": text_tokens,
            "computed_tokens": computed,
            "shared_beginnings": self.shares,
            "processes": self.us.size,
        }
        if not done:  # everything was left to the other processes
            return pd.DataFrame(index=pd.Index([], name="key"))
        return pd.concat(done).set_index("key")

    def _encode(self, progress: bool) -> None:
        """Tokenise every response once."""
        self.items: list[dict[str, Any]] = []
        for i in tqdm(
            range(len(self.keys)), desc="tokens", unit="response", disable=not progress, leave=None
        ):
            prompt, response = self.responses.prompts[i], self.responses.texts[i]
            try:
                item = self.source.encode(prompt, response)
            except Exception as error:  # templates raise what they like, such as for wrong roles
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise InputError(
                    "The tokenizer expects texts that its template accepts; got "
                    f"{type(error).__name__} in row {self.responses.rows[i]}: {reason[:300]} "
                    "Roles may not alternate as this model wants. Correct that row, or use "
                    "another template=."
                ) from error
            # a list of Python's numbers would take ten times the memory
            self.items.append(
                {
                    name: np.array(value, np.int32) if isinstance(value, list) else value
                    for name, value in item.items()
                }
            )

    def _plan(self, missing: set[int]) -> list[list[Row]]:
        """Batches of what is missing, the longest first.

        Formed from all responses, known ones too, so that a resumed run forms the same ones as
        an uninterrupted run; what is left of batches that are known in part is put together.
        For the same reason several processes, which may begin at different times, agree on who
        scores what: this one takes every n-th batch.
        """
        whole: list[list[Row]] = []
        rest: list[int] = []
        batches = plan(self._rows(range(len(self.keys))), self.batch_tokens, self.batch_size)
        for batch in batches[self.us.rank :: self.us.size]:
            members = [i for row in batch for i in row.responses]
            left = [i for i in members if i in missing]
            if len(left) == len(members):
                whole.append(batch)
            else:
                rest.extend(left)
        whole += plan(self._rows(sorted(rest)), self.batch_tokens, self.batch_size)
        return sorted(whole, key=lambda batch: -batch[0].width)

    def _rows(self, indices: Iterable[int]) -> list[Row]:
        if not self.shares:
            return single_rows(indices, self.ids)
        return shared_rows(indices, self.ids, self.groups, self.batch_size)

    @cached_property
    def groups(self) -> list[int]:
        """Number of every response's prompt, shape (response,)."""
        numbers: dict[Any, int] = {}
        return [numbers.setdefault(prompt, len(numbers)) for prompt in self.responses.prompts]

    def _smaller(self, batch: list[Row], queue: Iterable[list[Row]]) -> list[list[Row]]:
        """Plan what is left with half the tokens of a batch that did not fit into memory."""
        members = [i for row in batch for i in row.responses]
        if len(members) == 1:
            raise InputError(
                "A reward model expects memory for one response at a time; got a response of "
                f"{len(self.ids[members[0]]):,} tokens (row {self.responses.rows[members[0]]}) "
                f"for which {self.source.device} has too little. Use another device, "
                "dtype='bfloat16', or a smaller max_length= with max_truncated=."
            )
        rows = [row for later in queue for row in later]
        if len(batch) == 1:  # one prompt with many responses
            rows += single_rows(members, self.ids)
        else:
            rows += batch
            self.batch_tokens = len(batch) * batch[0].width // 2
        return plan(rows, self.batch_tokens, self.batch_size)

    def _forward(self, batch: list[Row]) -> np.ndarray | None:
        """Outputs of a batch, shape (response, output), or None where memory does not suffice."""
        try:
            if any(len(row.responses) > 1 for row in batch):
                assert isinstance(self.source, SharingSource)
                rows = [(row.shared, [self.items[i] for i in row.responses]) for row in batch]
                return self.source.forward_shared(self.model, rows)
            return self.source.forward(self.model, [self.items[row.responses[0]] for row in batch])
        except Exception as error:
            if not out_of_memory(error):
                raise
        # past the except clause, because the error's traceback holds the tensors of the batch
        free_memory()
        return None

    def _table(self, batch: list[Row], values: np.ndarray, alone: set[int]) -> pd.DataFrame:
        """Rows for the store."""
        indices = [i for row in batch for i in row.responses]
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            rows = [self.responses.rows[i] for i, ok in zip(indices, finite, strict=True) if not ok]
            raise InputError(
                "A reward model expects to give finite scores; got NaN or infinity in "
                f"{_count(rows, len(indices))} of one batch. Its weights may be "
                "damaged, or float16 overflows. Check the model, or use dtype='float32'."
            )
        again = np.full(values.shape, math.nan)
        for place, i in enumerate(indices):
            if i in alone:
                again[place] = self.source.forward(self.model, [self.items[i]])[0]
        tokens = np.array([self.items[i]["tokens"] for i in indices], np.int64)
        most = self.source.max_length
        return pd.DataFrame(
            {
                "key": [self.keys[i] for i in indices],
                "tokens": tokens,
                "truncated": np.zeros(len(tokens), bool) if most is None else tokens > most,
                **dict(zip(self.source.outputs, values.T, strict=True)),
                **{f"{o}_alone": a for o, a in zip(self.source.outputs, again.T, strict=True)},
            }
        )

    def _sample(self, missing: set[int], known: pd.DataFrame) -> set[int]:
        """Responses to score a second time, alone, from the longest to the shortest.

        Drawn from all responses, so that a resumed run has the same; from the missing ones only
        where none was ever scored alone.
        """
        order = sorted(range(len(self.keys)), key=lambda i: -len(self.ids[i]))
        drawn = {order[k] for k in _spread(len(order))} & missing
        if not drawn and not (known.size and known.filter(like="_alone").notna().any(axis=None)):
            left = [i for i in order if i in missing]
            drawn = {left[k] for k in _spread(len(left))}
        return drawn


def _spread(count: int) -> list[int]:
    """Places of a sample among ``count``, evenly from the first to the last."""
    size = min(count, max(ALONE, min(MOST_ALONE, count // ONE_ALONE)))
    return sorted({round(place) for place in np.linspace(0, count - 1, size)})


def _count(rows: Sequence[str], total: int) -> str:
    """Say how many responses, of how many, and the rows of the first three."""
    return f"{len(rows):,} of {total:,} responses (first rows: {', '.join(rows[:3])})"


def _called(output: str) -> str:
    """How a sentence calls an output: the score, or the score of one head of several."""
    return "score" if output == "reward" else f"{output} score"


def _alone(table: pd.DataFrame, output: str) -> dict[str, Any]:
    """Compare the sample that was scored alone with its scores in a batch; warn where they move."""
    sample = table[table[f"{output}_alone"].notna()]
    if sample.empty:
        return {"responses": 0, "max_difference": None}
    largest = float((sample[output] - sample[f"{output}_alone"]).abs().max())
    spread = float(table[output].std(ddof=0))
    if largest > ALONE_TOLERANCE * spread:
        warn(
            f"Scores move by up to {largest:.3g} when a response is scored alone instead of in a "
            f"batch, against a sd of {spread:.3g} over all responses ({len(sample)} compared). "
            "Padding or half precision may cause it. Use batch_size=1 or dtype='float32'."
        )
    return {"responses": len(sample), "max_difference": largest}
