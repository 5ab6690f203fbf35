"""One run over distinct responses: tokenise, batch by length, score, keep."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from prefstrength._words import warn
from prefstrength.errors import InputError
from prefstrength.rewards._cache import ScoreCache
from prefstrength.rewards._responses import Responses

#: Responses in one shard of the cache, and in one stretch of the check at batch size 1.
SHARD = 512
#: Responses of each shard that are scored a second time, alone and without padding.
ALONE = 4
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
    """

    values: np.ndarray
    tokens: np.ndarray
    truncated: np.ndarray
    alone: dict[str, dict[str, Any]]
    from_cache: int


def run(
    source: Source,
    responses: Responses,
    *,
    batch_size: int,
    max_truncated: float,
    cache: str | os.PathLike[str] | None,
    progress: bool,
) -> Run:
    """Score every distinct response once, from the cache where it is there.

    Parameters
    ----------
    source : Source
        The model.
    responses : Responses
        What to score.
    batch_size : int
        Responses a forward pass.
    max_truncated : float
        Share of responses that may be truncated, in [0, 1].
    cache : path or None
        Folder of scores.
    progress : bool
        Show progress bars.
    """
    store = ScoreCache(cache, source.identity, source.outputs) if cache is not None else None
    keys = [store.key(key) if store else key for key in responses.keys]
    known = store.load() if store else pd.DataFrame()
    known = known.loc[known.index.intersection(keys)]
    table = known
    if len(known) < len(keys):
        loop = _Loop(source, responses, keys, batch_size, max_truncated)
        fresh = loop.run(set(known.index), store, progress)
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
    )


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
        batch_size: int,
        max_truncated: float,
    ) -> None:
        self.source, self.responses, self.keys = source, responses, keys
        self.batch_size, self.max_truncated = batch_size, max_truncated

    def run(self, known: set[str], store: ScoreCache | None, progress: bool) -> pd.DataFrame:
        lengths = self._lengths(progress)
        check_truncation(lengths, self.source.max_length, self.max_truncated, self.responses.rows)
        model = self.source.load()
        # longest first: memory that suffices for the first batch suffices for all. Batches are
        # formed from all responses, known ones too, so that a resumed run forms the same ones.
        order = np.argsort(-lengths, kind="stable")
        size = self.batch_size
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        done: list[pd.DataFrame] = []
        shard: list[dict[str, Any]] = []

        def keep(rescore: bool = True) -> None:
            if shard:
                if rescore:
                    self._rescore(model, shard)
                table = pd.DataFrame(shard)
                if store is not None:
                    store.add(table.drop(columns="index"))
                done.append(table.drop(columns="index").set_index("key"))
                shard.clear()

        with tqdm(
            total=len(self.keys), desc="reward model", unit="response", disable=not progress
        ) as bar:
            try:
                for batch in batches:
                    missing = [int(i) for i in batch if self.keys[i] not in known]
                    if missing:
                        shard.extend(self._score_batch(model, missing))
                    if len(shard) >= SHARD:
                        keep()
                    bar.update(len(batch))
            except BaseException:  # also Ctrl-C: what is scored is kept for the next run
                keep(rescore=False)
                raise
            keep()
        return pd.concat(done)

    def _lengths(self, progress: bool) -> np.ndarray:
        """Tokens of every response before truncation, shape (response,)."""
        return np.array(
            [
                self._encode(i)["tokens"]
                for i in tqdm(
                    range(len(self.keys)), desc="tokens", unit="response", disable=not progress
                )
            ],
            np.int64,
        )

    def _encode(self, index: int) -> dict[str, Any]:
        row = self.responses.rows[index]
        prompt, response = self.responses.prompts[index], self.responses.texts[index]
        try:
            return self.source.encode(prompt, response)
        except Exception as error:  # templates raise what they like, such as for wrong roles
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                "The tokenizer expects texts that its template accepts; got "
                f"{type(error).__name__} in row {row}: {reason[:300]} Roles may not alternate as "
                "this model wants. Correct that row, or use another template=."
            ) from error

    def _score_batch(self, model: Any, indices: list[int]) -> list[dict[str, Any]]:
        items = [self._encode(i) for i in indices]
        values = self.source.forward(model, items)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            rows = [self.responses.rows[i] for i, ok in zip(indices, finite, strict=True) if not ok]
            raise InputError(
                "A reward model expects to give finite scores; got NaN or infinity in "
                f"{_count(rows, len(indices))} of one batch. Its weights may be "
                "damaged, or float16 overflows. Check the model, or use dtype='float32'."
            )
        most = self.source.max_length
        return [
            {
                "key": self.keys[i],
                "tokens": item["tokens"],
                "truncated": most is not None and item["tokens"] > most,
                **dict(zip(self.source.outputs, map(float, value), strict=True)),
                **{f"{output}_alone": math.nan for output in self.source.outputs},
                "index": i,
            }
            for i, item, value in zip(indices, items, values, strict=True)
        ]

    def _rescore(self, model: Any, shard: list[dict[str, Any]]) -> None:
        """Score a few responses of a shard alone, from the longest to the shortest."""
        for place in np.unique(np.linspace(0, len(shard) - 1, ALONE).astype(int)):
            values = self.source.forward(model, [self._encode(shard[place]["index"])])[0]
            for output, value in zip(self.source.outputs, values, strict=True):
                shard[place][f"{output}_alone"] = float(value)


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
