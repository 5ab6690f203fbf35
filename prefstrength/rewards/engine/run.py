"""One run over distinct responses: tokenise, batch by length, score, keep."""

import math
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from prefstrength.errors import InputError
from prefstrength.rewards.engine.batches import Row, computed, plan, shared_rows, single_rows
from prefstrength.rewards.engine.cache import ScoreCache
from prefstrength.rewards.engine.decoder import Sharing
from prefstrength.rewards.engine.memory import default_tokens, free_memory, out_of_memory
from prefstrength.rewards.engine.model import as_written, refuse_uncompiled
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.outcome import (
    Run,
    called,
    count_of,
    refuse_truncation,
    score_alone,
)
from prefstrength.rewards.engine.responses import Responses, flatten
from prefstrength.rewards.engine.source import Source
from prefstrength.rewards.engine.team import ALONE_AT_WORK, Team, team
from prefstrength.rewards.engine.windows import AHEAD, in_windows, spread

#: Seconds between two looks at what other processes have scored.
WAIT = 1.0


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
            "scores to each other; got none. Give one that all of them see: `cache='scores/'`."
        )
    keys = [store.key(key) if store else key for key in responses.keys]
    known = store.find(keys) if store else pd.DataFrame()
    table, engine = known, {}
    if len(known) < len(keys):
        loop = Loop(source, responses, keys, us, batch_size, batch_tokens, max_truncated)
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
    most = source.max_length
    cut = [] if most is None else [responses.rows[i] for i in np.flatnonzero(tokens > most)]
    refuse_truncation(cut, len(tokens), int(tokens.max()), most, max_truncated)
    values = table[list(source.outputs)].to_numpy(np.float64)
    for output, column in zip(source.outputs, values.T, strict=True):
        if len(column) > 1 and np.ptp(column) == 0:
            raise InputError(
                f"A reward model expects to tell responses apart; got the {called(output)} "
                f"{column[0]:.6g} for all {len(column)} responses. Its head may be untrained or "
                "the texts cut before they differ. Check the model, `head=...` and "
                "`max_length=...`."
            )
    return Run(
        values=values,
        tokens=tokens,
        truncated=table["truncated"].to_numpy(bool),
        alone={output: score_alone(table, output) for output in source.outputs},
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


class Loop:
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
        self.batch_tokens = self.first_tokens = batch_tokens or default_tokens(source.device)
        numbers: dict[Any, int] = {}
        self.groups = [numbers.setdefault(prompt, len(numbers)) for prompt in responses.prompts]
        both = zip(responses.prompts, responses.texts, strict=True)
        #: By these, texts are sorted before they are tokenised.
        self.letters = [len(flatten(prompt)) + len(flatten(text)) for prompt, text in both]
        self.shares = self.packs = False
        self.cut: list[str] = []
        self.longest = 0

    def run(self, known: pd.DataFrame, store: ScoreCache | None, progress: bool) -> pd.DataFrame:
        """Score what is not known, and keep every batch as soon as it is scored."""
        missing = {i for i, key in enumerate(self.keys) if key not in known.index}
        alone = self._sample(missing, known)
        done: list[pd.DataFrame] = []
        text_tokens = computed_tokens = 0
        with (
            store or nullcontext(),
            tqdm(
                total=0,
                desc="reward model",
                unit="token",
                unit_scale=True,
                disable=not progress,
                leave=None,  # a bar inside another goes when it is full
            ) as bar,
            closing(self._windows(missing)) as windows,
        ):
            for queue, later in windows:
                bar.total = bar.n + self._text_tokens(queue) + later
                bar.refresh()
                while queue:
                    batch = queue.popleft()
                    values = self.forward(batch)
                    if values is None:
                        queue = deque(self._smaller(batch, queue))
                        continue
                    table = self._table(batch, values, alone)
                    if store is not None:
                        store.add(table)
                    done.append(table)
                    tokens = self._text_tokens([batch])
                    text_tokens += tokens
                    computed_tokens += computed(batch, self.packs)
                    bar.update(tokens)
        self.engine = {
            "batches": len(done),
            "batch_tokens": self.batch_tokens,
            "text_tokens": text_tokens,
            "computed_tokens": computed_tokens,
            "shared_beginnings": self.shares,
            "padded": not self.packs,
            "processes": self.us.size,
        }
        if not done:  # everything was left to the other processes
            return pd.DataFrame(index=pd.Index([], name="key"))
        return pd.concat(done).set_index("key")

    def _windows(self, missing: set[int]) -> Generator[tuple[deque[list[Row]], int]]:
        """Batches of a window at a time, and about how many tokens come behind it.

        A thread tokenises the windows to come, so that the device does not wait for them; where the
        device is the CPU itself, each in its turn, because two that want all cores hinder each
        other. The longest texts come first: too many that the model must cut are found at the
        beginning, and so is what a template refuses for its roles.
        """
        ahead_of = 0 if str(self.source.device).startswith("cpu") else AHEAD
        windows = [
            (number, window)
            for number, window in enumerate(in_windows(self.groups, self.letters))
            if not missing.isdisjoint(window)
        ]
        self._check_roles(windows[0][1], missing)
        left = sum(self.letters[i] for _, window in windows for i in window if i in missing)
        with ThreadPoolExecutor(1, thread_name_prefix="tokens") as thread:
            ahead: deque[Future[dict[int, dict[str, Any]]]] = deque()
            coming = iter(windows)
            try:
                for place, (number, window) in enumerate(windows):
                    for _, later in islice(coming, ahead_of + 1 - len(ahead)):
                        ahead.append(thread.submit(self._encode, later))
                    self.items = ahead.popleft().result()
                    self.ids = {i: item["input_ids"] for i, item in self.items.items()}
                    self._check_truncation()
                    if place == 0:
                        self._load()
                    queue = self._plan(number, window, missing)
                    here = sum(self.letters[i] for i in window if i in missing)
                    tokens = sum(len(self.ids[i]) for i in window if i in missing)
                    left -= here
                    yield deque(queue), round(tokens / here * left / self.us.size)
            finally:
                for one in ahead:
                    one.cancel()

    def _check_roles(self, first: Sequence[int], missing: set[int]) -> None:
        """Tokenise one response of each order of roles that the first window lacks.

        Templates refuse a response for its roles, mostly: not to be found hours later.
        """

        def roles(i: int) -> tuple[Any, ...]:
            both = self.responses.prompts[i], self.responses.texts[i]
            return tuple(None if isinstance(t, str) else tuple(turn[0] for turn in t) for t in both)

        seen = {roles(i) for i in first}
        for i in sorted(missing):
            if (order := roles(i)) not in seen:
                seen.add(order)
                self._encode_one(i)

    def _load(self) -> None:
        self.model = once(self.source, self.source.load)
        if isinstance(self.source, Sharing):
            self.shares = self.source.shares(self.model)
            self.packs = self.shares and self.source.packs(self.model)

    def _check_truncation(self) -> None:
        """Count what was cut, up to here, among all responses."""
        most = self.source.max_length
        long = [i for i, item in self.items.items() if most is not None and item["tokens"] > most]
        self.longest = max(self.longest, *(item["tokens"] for item in self.items.values()))
        self.cut += [self.responses.rows[i] for i in sorted(long)]
        refuse_truncation(self.cut, len(self.keys), self.longest, most, self.max_truncated)

    def _text_tokens(self, batches: Iterable[list[Row]]) -> int:
        return sum(len(self.ids[i]) for batch in batches for row in batch for i in row.responses)

    def _encode(self, window: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Tokenise every response of a window once."""
        prompts = [self.responses.prompts[i] for i in window]
        texts = [self.responses.texts[i] for i in window]
        try:
            found = self.source.encode_all(prompts, texts)
        except Exception:
            for i in sorted(window):  # which row it was is found out one by one
                self._encode_one(i)
            raise
        return {
            # a list of Python's numbers would take ten times the memory
            i: {
                name: np.array(value, np.int32) if isinstance(value, list) else value
                for name, value in item.items()
            }
            for i, item in zip(window, found, strict=True)
        }

    def _encode_one(self, i: int) -> None:
        try:
            self.source.encode(self.responses.prompts[i], self.responses.texts[i])
        except Exception as error:  # templates raise what they like, such as for wrong roles
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                "The tokenizer expects texts that its template accepts; got "
                f"{type(error).__name__} in row {self.responses.rows[i]}: {reason[:300]} "
                "Roles may not alternate as this model wants. Correct that row, or use "
                "another `template=...`."
            ) from error

    def _plan(self, number: int, window: Sequence[int], missing: set[int]) -> list[list[Row]]:
        """Batches of what is missing of a window, the longest first.

        Formed from all responses, known ones too, so that a resumed run forms the same ones as
        an uninterrupted run; what is left of batches that are known in part is put together.
        For the same reason several processes, which may begin at different times and have
        memory for different batches, agree on who scores what: this one takes every n-th batch.
        """
        whole: list[list[Row]] = []
        rest: list[int] = []
        batches = self._batches(self._rows(window), self.first_tokens)
        for batch in batches[(self.us.rank + number) % self.us.size :: self.us.size]:
            members = [i for row in batch for i in row.responses]
            left = [i for i in members if i in missing]
            if len(left) == len(members):
                whole.append(batch)
            else:
                rest.extend(left)
        whole += self._batches(self._rows(sorted(rest)), self.first_tokens)
        if self.batch_tokens < self.first_tokens:  # memory did not suffice in an earlier window
            return self._batches((row for batch in whole for row in batch), self.batch_tokens)
        return sorted(whole, key=lambda batch: -batch[0].width)

    def _batches(self, rows: Iterable[Row], most_tokens: int) -> list[list[Row]]:
        return plan(rows, most_tokens, self.batch_size, packed=self.packs)

    def _rows(self, indices: Iterable[int]) -> list[Row]:
        if not self.shares:
            return single_rows(indices, self.ids)
        return shared_rows(indices, self.ids, self.groups, self.batch_size)

    def _smaller(self, batch: list[Row], queue: Iterable[list[Row]]) -> list[list[Row]]:
        """Plan what is left with half the tokens of a batch that did not fit into memory."""
        members = [i for row in batch for i in row.responses]
        if len(members) == 1:
            raise InputError(
                "A reward model expects memory for one response at a time; got a response of "
                f"{len(self.ids[members[0]]):,} tokens (row {self.responses.rows[members[0]]}) "
                f"for which {self.source.device} has too little. Use another device, "
                "`dtype='bfloat16'`, or a smaller `max_length=...` with `max_truncated=...`."
            )
        rows = [row for later in queue for row in later]
        if len(batch) == 1:  # one prompt with many responses
            rows += single_rows(members, self.ids)
        else:
            rows += batch
            self.batch_tokens = computed(batch, self.packs) // 2
        return self._batches(rows, self.batch_tokens)

    def forward(self, batch: list[Row]) -> np.ndarray | None:
        """Outputs of a batch, shape (response, output), or None where memory does not suffice."""
        try:
            if self.shares:
                assert isinstance(self.source, Sharing)
                rows = [(row.shared, [self.items[i] for i in row.responses]) for row in batch]
                return self.source.forward_shared(self.model, rows)
            return self.source.forward(self.model, [self.items[row.responses[0]] for row in batch])
        except Exception as error:
            if not out_of_memory(error):
                refuse_uncompiled(error)
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
                f"{count_of(rows, len(indices))} of one batch. Its weights may be "
                "damaged, or float16 overflows. Check the model, or use `dtype='float32'`."
            )
        again = np.full(values.shape, math.nan)
        for place, i in enumerate(indices):
            if i in alone:
                with as_written():
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
        order = sorted(range(len(self.keys)), key=lambda i: -self.letters[i])
        drawn = {order[k] for k in spread(len(order))} & missing
        if not drawn and not (known.size and known.filter(like="_alone").notna().any(axis=None)):
            left = [i for i in order if i in missing]
            drawn = {left[k] for k in spread(len(left))}
        return drawn
