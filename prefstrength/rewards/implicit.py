"""The implicit reward of a policy that was trained by preferences, against its reference."""

import math
import os
from dataclasses import KW_ONLY, dataclass
from typing import Any

from prefstrength.errors import InputError
from prefstrength.rewards.engine.outcome import Run
from prefstrength.rewards.engine.responses import Responses
from prefstrength.rewards.language_models.causal import ImplicitSource
from prefstrength.rewards.model_reward import ModelReward, check_name
from prefstrength.rewards.score import Scores


@dataclass(frozen=True)
class ImplicitReward(ModelReward):
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
        As of :class:`HFReward`, except that longer responses lose their end, and that control
        tokens inside the texts are read as such, both as in training: ``sanitize=True`` reads them
        as ordinary text. The output layers stay in float32. Both models are in memory together.

    Warns
    -----
    DataWarning
        If texts hold control tokens, which end turns or begin others for whoever wrote them.

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
    sanitize: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name("ImplicitReward", self.reference)
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise InputError(f"ImplicitReward expects beta above 0; got {self.beta}.")

    def source(self) -> ImplicitSource:
        """Look at both models, without their weights."""
        return ImplicitSource(self, reference=self.reference, revision=self.reference_revision)

    def identity(self) -> dict[str, Any]:
        """Say what scores depend on, as of :meth:`HFReward.identity`; the cache is free of beta."""
        return {**super().identity(), "beta": self.beta}

    def read(self, found: Run, asked: Responses) -> Scores:
        """Implicit rewards: the log-ratios, which are what is kept, times ``beta``."""
        reward = self.beta * found.values[:, 0]
        return Scores(reward[asked.chosen], reward[asked.rejected])
