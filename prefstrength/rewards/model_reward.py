"""Rewards from models: what they have in common, whatever the model is asked."""

import json
import os
from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import Any, ClassVar

import pandas as pd

from prefstrength._shared.records import versions
from prefstrength.errors import InputError
from prefstrength.rewards.engine.guards import of_run
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.outcome import Run
from prefstrength.rewards.engine.responses import Responses, distinct_responses
from prefstrength.rewards.engine.run import run
from prefstrength.rewards.engine.source import Source
from prefstrength.rewards.score import Scores

DTYPES = ("float32", "bfloat16", "float16")


class ModelReward(ABC):
    """A reward from a model: a subclass says which source asks it, and how its answer is read.

    A subclass is a frozen dataclass, and its fields are the settings that it offers. Those which
    stand here mean what they mean for :class:`HFReward`; one that a subclass does not offer stays
    as it is here.
    """

    name_or_path: str | os.PathLike[str]
    revision: str | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    max_length: int | None = None
    max_truncated: float = 0.01
    dtype: str = "float32"
    compile: bool = False
    device: str | None = None
    sanitize: bool = True
    trust_remote_code: bool = False

    #: Whether the model's outputs are looked at for the steps of half precision.
    in_steps: ClassVar[bool] = True

    def __post_init__(self) -> None:
        kind = type(self).__name__
        check_name(kind, self.name_or_path)
        check_one_of(kind, "dtype", self.dtype, DTYPES)
        check_whole(kind, "batch_size", self.batch_size, 1)
        check_whole(kind, "batch_tokens", self.batch_tokens, 1)
        check_whole(kind, "max_length", self.max_length, 2)
        if not 0 <= self.max_truncated <= 1:
            raise InputError(
                f"{kind} expects max_truncated as a share between 0 and 1; got "
                f"{self.max_truncated}. One per cent is 0.01."
            )

    @abstractmethod
    def source(self) -> Source:
        """Look at the model, without its weights."""

    def asks(self, pairs: pd.DataFrame) -> Responses:
        """Collect what the model is asked, here every distinct response."""
        return distinct_responses(pairs)

    def read(self, found: Run, asked: Responses) -> Scores:
        """Rewards of the pairs, from the model's outputs; here the first output.

        Parameters
        ----------
        found : Run
            Outputs for all that was asked.
        asked : Responses
            What was asked, and where each pair finds its two.

        Returns
        -------
        Scores
            With what is to be said besides what all models say in ``provenance``.
        """
        reward = found.values[:, 0]
        return Scores(reward[asked.chosen], reward[asked.rejected])

    def attributes(self) -> tuple[str, ...]:
        """Names of what it gives numbers for."""
        return ("reward",)

    def identity(self) -> dict[str, Any]:
        """Say what scores are kept under, from the model's configuration and tokenizer alone.

        To see before long work that the model is there, and afterwards whether it is the same.

        Returns
        -------
        dict
            Everything that can change a score by more than rounding; JSON types only.

        Raises
        ------
        InputError
            If configuration or tokenizer cannot be loaded, or do not say how to score.
        """
        return once(self, self.source).identity

    def score_pairs(
        self,
        pairs: pd.DataFrame,
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> Scores:
        """Ask the model once about every distinct text, or the cache where the answer is there.

        Parameters
        ----------
        pairs : DataFrame, one row a pair
            Columns ``prompt``, ``chosen``, ``rejected``: texts or lists of messages.
        cache : path, optional
            Folder of the model's outputs; every batch is kept as soon as it is scored, so that a
            process killed at any moment loses at most the batch it was at.
        progress : bool
            Show a progress bar over the texts.

        Returns
        -------
        Scores
            Raw rewards, shape (pair,), or (pair, attribute) where there are several.
        """
        asked = self.asks(pairs)
        source = once(self, self.source)
        texts = source.check_texts(asked)
        found = run(
            source,
            asked,
            batch_size=self.batch_size,
            batch_tokens=self.batch_tokens,
            max_truncated=self.max_truncated,
            cache=cache,
            progress=progress,
        )
        scores = self.read(found, asked)
        one = len(found.alone) == 1 and scores.chosen.ndim == 1
        about = {
            "name": type(self).__name__,
            "settings": self._settled(source),
            "fingerprint": source.fingerprint,
            "template_sha256": source.template_sha256,
            **scores.provenance,
            **found.provenance(),
            "alone": next(iter(found.alone.values())) if one else found.alone,
            "guards": {**texts, **of_run(source, asked, found, in_steps=self.in_steps)},
            "versions": versions("torch", "transformers", "tokenizers"),
        }
        return replace(scores, provenance=about)

    def _settled(self, source: Source) -> dict[str, Any]:
        """Settings as JSON types, and what came of those that were left open."""
        given = json.dumps(asdict(self), default=os.fspath)  # type: ignore[call-overload]
        settings: dict[str, Any] = json.loads(given)
        settled = {
            "device": str(source.device),
            "max_length": source.max_length,
            "pad_token_id": source.pad_token_id,
        }
        return settings | {name: settled[name] for name in settled if name in settings}


def check_name(kind: str, name_or_path: Any) -> None:
    """Refuse a model object, which has no place from which to load it again."""
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(
            f"{kind} expects a name on the hub or a folder; got "
            f"{type(name_or_path).__name__}. Save a model first: model.save_pretrained()."
        )


def check_one_of(kind: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is none of the allowed ones."""
    if value not in allowed:
        raise InputError(
            f"{kind} expects {name} to be one of {', '.join(map(repr, allowed))}; got {value!r}."
        )


def check_whole(kind: str, name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or too small; None stands for the default."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{kind} expects a whole number for {name}; got {value!r}.")
    if value is not None and value < least:
        raise InputError(f"{kind} expects {name} of at least {least}; got {value}.")
