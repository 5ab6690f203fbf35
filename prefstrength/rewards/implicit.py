"""The implicit reward of a policy that was trained by preferences, against its reference."""

import math
import os
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any

import pandas as pd

from prefstrength._shared.records import versions
from prefstrength.errors import InputError
from prefstrength.rewards.engine.guards import of_run
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.responses import distinct_responses
from prefstrength.rewards.engine.run import run
from prefstrength.rewards.language_models.causal import ImplicitSource
from prefstrength.rewards.score import Scores
from prefstrength.rewards.settings import check_name, check_settings


@dataclass(frozen=True)
class ImplicitReward:
    r"""The implicit reward of a DPO-trained policy: β times its log-ratio to the reference.

    .. math:: r(x, y) = \beta \left( \log \pi(y \mid x) - \log \pi_\text{ref}(y \mid x) \right)

    summed over the tokens of the response, which are those that TRL's ``DPOTrainer`` counts:
    conversations go through the chat template, plain texts follow each other and end with EOS,
    and the response begins where the tokens of the prompt and of the whole part ways.

    Parameters
    ----------
    name_or_path : str or path
        The policy: name on the hub, or a folder with safetensors. An adapter must be merged.
    reference : str or path
        The model that training started from; the same tokenizer.
    beta : float
        Strength, above 0. :func:`score` divides by the sd of the differences, so it matters for
        the raw rewards alone.
    revision, reference_revision : str, optional
        Branch, tag or commit on the hub.
    batch_size, max_length, max_truncated, dtype, compile, device, sanitize, trust_remote_code
        As of :class:`HFReward`, except that longer responses lose their end, as in training. The
        output layers stay in float32. Both models are in memory together.

    Raises
    ------
    InputError
        For other vocabularies, a reference that is the policy itself, prompts that leave no room
        for the response, and as :class:`HFReward`.

    Notes
    -----
    The log-ratio is a sum over tokens, so it grows with length: add length as an attribute of its
    own before reading a difference in strength from it.

    Training takes one beginning for both responses of a pair, the earlier of the two. Here each
    response has its own; they differ only where the prompt's last token merges with one response
    and not with the other, which is warned of.

    References
    ----------
    Rafailov et al. (2023), Direct Preference Optimization, arXiv:2305.18290, section 4.

    Examples
    --------
    >>> from prefstrength.rewards import ImplicitReward
    >>> ImplicitReward("runs/prism", "EleutherAI/pythia-2.8b", beta=0.1).beta
    0.1
    """

    name_or_path: str | os.PathLike[str]
    reference: str | os.PathLike[str]
    _: KW_ONLY
    beta: float = 1.0
    revision: str | None = None
    reference_revision: str | None = None
    batch_size: int = 16
    max_length: int | None = None
    max_truncated: float = 0.01
    dtype: str = "float32"
    compile: bool = False
    device: str | None = None
    sanitize: bool = True
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        check_name("ImplicitReward", self.reference)
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise InputError(f"ImplicitReward expects beta above 0; got {self.beta}.")

    def identity(self) -> dict[str, Any]:
        """Say what scores depend on, as of :meth:`HFReward.identity`; the cache is free of beta."""
        return {**once(self, lambda: ImplicitSource(self)).identity, "beta": self.beta}

    def score_pairs(
        self,
        pairs: pd.DataFrame,
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> Scores:
        """Score every distinct response once, from the cache where it is there.

        Parameters
        ----------
        pairs : DataFrame, one row a pair
            Columns ``prompt``, ``chosen``, ``rejected``: texts or lists of messages.
        cache : path, optional
            Folder of log-ratios, which do not depend on ``beta``.
        progress : bool
            Show a progress bar over the responses.

        Returns
        -------
        Scores
            Implicit rewards, shape (pair,).
        """
        responses = distinct_responses(pairs)
        source = once(self, lambda: ImplicitSource(self))
        texts = source.check_texts(responses)
        found = run(
            source,
            responses,
            batch_size=self.batch_size,
            max_truncated=self.max_truncated,
            cache=cache,
            progress=progress,
        )
        reward = self.beta * found.values[:, 0]
        return Scores(
            chosen=reward[responses.chosen],
            rejected=reward[responses.rejected],
            provenance={
                "name": "ImplicitReward",
                "settings": {
                    **asdict(self),
                    "name_or_path": os.fspath(self.name_or_path),
                    "reference": os.fspath(self.reference),
                    "device": str(source.device),
                    "max_length": source.max_length,
                },
                "fingerprint": source.fingerprint,
                "template_sha256": source.policy.template_sha256,
                **found.provenance(),
                "alone": found.alone["log_ratio"],
                "guards": {**texts, **of_run(source, responses, found, rounded=True)},
                "versions": versions("torch", "transformers", "tokenizers"),
            },
        )
