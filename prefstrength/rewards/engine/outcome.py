"""Outcome of scoring: values, and what the run says of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import warn
from prefstrength.errors import InputError

#: A score may move by this share of the sd of all scores when scored alone.
ALONE_TOLERANCE = 0.02


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
        run, tokens of the texts, tokens computed (padding included, common beginnings once),
        whether common beginnings were shared, and whether there was padding. JSON types only; empty
        where all were there.
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


def refuse_truncation(
    cut: Sequence[str], count: int, longest: int, most: int | None, allowed: float
) -> None:
    """Refuse when too many responses (their rows) would be cut, of a number of them."""
    if len(cut) > allowed * count:
        raise InputError(
            f"A reward model expects at most {allowed:.3g} of the responses to be longer than "
            f"{most} tokens; got {count_of(cut, count)}, the longest "
            f"with {longest} tokens. Their scores would rest on cut texts. Drop these "
            "rows, raise `max_length=...` if the model allows, or allow more with "
            "`max_truncated=...`."
        )


def count_of(rows: Sequence[str], total: int) -> str:
    """Say how many responses, of how many, and the rows of the first three."""
    return f"{len(rows):,} of {total:,} responses (first rows: {', '.join(rows[:3])})"


def called(output: str) -> str:
    """How a sentence calls an output: the score, or the score of one head of several."""
    return "score" if output == "reward" else f"{output} score"


def score_alone(table: pd.DataFrame, output: str) -> dict[str, Any]:
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
            "Padding or half precision may cause it. Use `batch_size=1` or `dtype='float32'`."
        )
    return {"responses": len(sample), "max_difference": largest}
