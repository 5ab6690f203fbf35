"""Hugging Face sequence-classification reward models; torch loads when something is scored."""

import os
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from prefstrength.errors import InputError
from prefstrength.rewards.engine.opened import once
from prefstrength.rewards.engine.outcome import Run
from prefstrength.rewards.engine.responses import Responses
from prefstrength.rewards.language_models.classifier import (
    ClassifierSource,
    TextSource,
    ValueHeadSource,
)
from prefstrength.rewards.model_reward import ModelReward, check_one_of, check_whole
from prefstrength.rewards.registry import settings_of
from prefstrength.rewards.score import Scores

TEMPLATES = ("chat", "plain", "trl", "pair")


@dataclass(frozen=True)
class HFReward(ModelReward):
    r"""A reward model of the Hugging Face kind: a sequence classifier with one head or several.

    Prompt and response are put through the tokenizer's chat template, in length-sorted batches
    without gradients; every distinct (prompt, response) is scored once.

    Parameters
    ----------
    name_or_path : str or path
        Name on the Hugging Face hub, or a local folder with ``config.json``, tokenizer and
        ``*.safetensors`` (no pickles are read).
    revision : str, optional
        Branch, tag or commit on the hub.
    head : int or "value", optional
        Which output is the reward, for models with several; needed only there. ``"value"``: the
        value head of a causal language model, in the layout of TRL's
        ``AutoModelForCausalLMWithValueHead`` (``v_head.summary.weight`` in the safetensors files
        beside the base model), read at the last token.
    heads : dict or "all", optional
        Several outputs at once, by the name of the attribute that each becomes:
        ``{"helpfulness": 0, "safety": 1}``, or all under the names in the model's config.
        :func:`score` then writes ``helpfulness_chosen``, ``helpfulness_rejected`` and so on, for
        ``Choices.from_pairs(attributes=["helpfulness", "safety"])``.
    template : {"chat", "plain", "trl", "pair"}
        ``"chat"``: the tokenizer's chat template, a plain prompt as user message and the
        response as assistant message. ``"plain"``: prompt, line break, response. ``"trl"``:
        as TRL's ``RewardTrainer`` reads them: plain texts as prompt, response and EOS without
        anything between, conversations as ``"chat"`` does. ``"pair"``: prompt and response as the
        tokenizer's two segments, as cross-encoders expect.
    batch_size : int, optional
        Most responses of a forward pass; by default as many as ``batch_tokens`` allow. 1 scores
        every response by itself, without padding.
    batch_tokens : int, optional
        Tokens of a forward pass, padding included: by default 4,096 on a CPU and 16,384 on
        another device. Halved whenever the memory does not suffice.
    max_length : int, optional
        Tokens a response with its prompt may have; by default what the model allows. Longer
        ones keep their first token and their end.
    max_truncated : float
        Share of responses that may be truncated, in [0, 1].
    dtype : {"float32", "bfloat16", "float16"}
        Number format of the model's body. The head stays in float32, because bfloat16 scores
        come in steps (0.125 between 16 and 32) and make ties.
    compile : bool
        Compile the model's body with ``torch.compile`` before the first batch, which takes up to a
        minute and pays off in long runs. Scores stay the same but for rounding.
    device : str, optional
        Such as ``"cpu"`` or ``"cuda:1"``; by default the first GPU where there is one.
    pad_token_id : int, optional
        Which padding token is right, where model and tokenizer disagree or have none.
    sanitize : bool
        Read control tokens inside the texts (such as ``<|im_end|>``) as ordinary text, so that
        a text cannot end its own message. Only the template writes control tokens then.
    trust_remote_code : bool
        Run code that comes with the model. Leave it off unless you have read that code.

    Raises
    ------
    InputError
        When scoring: a model that cannot be loaded or has no trained head, a head that is not
        named, a missing chat template or one that leaves out system messages (names the rows),
        padding tokens that disagree, too many truncated responses (names the rows), batch norm or
        dropout in training mode, scores that are not finite or all the same.

    Warns
    -----
    DataWarning
        If scores move by more than 2 % of their sd when scored alone instead of in a batch, tie
        as in half precision, or texts begin with BOS twice or without one, break a token where the
        response begins, carry today's date, or end with a padding token that the model itself does
        not name; if the files hold weights that the model does not use; and if code that comes with
        the model does not run, as it is not trusted.

    Notes
    -----
    ``score(...).attrs["reward"]`` reports the model's fingerprint, dtype, how the batches were
    formed (``engine``), how many responses were truncated, and by how much the scores of a sample
    moved at batch size 1 (``alone``: number and largest difference). Numbers in bfloat16 depend
    on the batch; a resumed run forms the same batches as an uninterrupted one, while responses
    that other data sets have brought into the cache leave batches of their own to the rest.

    Where responses to one prompt begin with the same tokens, a decoder without sliding windows
    (Llama, Qwen 2 and 3, Mistral, Gemma) computes that beginning once; scores in float32 are the
    same to 1e-5, and the sample at batch size 1 checks it in every run.

    Why the padding token is checked: a decoder's score is read at the last token that is not
    ``config.pad_token_id``. With a wrong one it is read in the wrong place, without an error. What
    this check and the others found is in ``score(...).attrs["reward"]["guards"]``.

    References
    ----------
    Malik et al. (2025), RewardBench 2, arXiv:2506.01937.

    Examples
    --------
    >>> from prefstrength.rewards import HFReward
    >>> HFReward("Skywork/Skywork-Reward-V2-Qwen3-0.6B", batch_size=8).template
    'chat'
    """

    name_or_path: str | os.PathLike[str]
    _: KW_ONLY
    revision: str | None = None
    head: int | str | None = None
    heads: Mapping[str, int] | str | None = None
    template: str = "chat"
    batch_size: int | None = None
    batch_tokens: int | None = None
    max_length: int | None = None
    max_truncated: float = 0.01
    dtype: str = "float32"
    compile: bool = False
    device: str | None = None
    pad_token_id: int | None = None
    sanitize: bool = True
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of("HFReward", "template", self.template, TEMPLATES)
        check_whole("HFReward", "pad_token_id", self.pad_token_id, 0)
        if self.head != "value":
            check_whole("HFReward", "head", self.head, 0)
        self._check_heads()

    def _check_heads(self) -> None:
        heads = self.heads
        if heads is None or heads == "all":
            wrong = None
        elif not isinstance(heads, Mapping) or not heads:
            wrong = repr(heads)
        else:
            names = [name for name in heads if not isinstance(name, str) or not name.strip()]
            # `safety_raw_chosen` holds the raw rewards of `safety`
            names += [name for name in heads if str(name).endswith("_raw")]
            wrong = repr(names[0]) if names else None
            for name, head in heads.items():
                check_whole("HFReward", f"heads[{name!r}]", head, 0)
        if wrong is not None:
            raise InputError(
                "HFReward expects heads as names of attributes with their outputs, such as "
                f"{{'helpfulness': 0, 'safety': 1}}, or 'all'; got {wrong}."
            )
        if isinstance(heads, Mapping):  # a copy, which nobody else changes
            object.__setattr__(self, "heads", dict(heads))
        if heads is not None and self.head is not None:
            raise InputError(
                f"HFReward expects head or heads; got `head={self.head!r}` and `heads={heads!r}`. "
                "Name the one that is the reward among the others: "
                "`heads={'reward': 0, 'other': 1}`."
            )

    @classmethod
    def from_registry(
        cls, name: str, *, trust_remote_code: bool = False, **changes: Any
    ) -> "HFReward":
        """Take the settings of a well-known model from :func:`registered_rewards`.

        Parameters
        ----------
        name : str
            Name on the hub.
        trust_remote_code : bool
            As of the class.
        **changes
            Further arguments of the class, in place of the registered ones.

        Returns
        -------
        HFReward

        Raises
        ------
        InputError
            If the model is not registered, cannot be loaded by transformers 5, or needs its own
            code and ``trust_remote_code`` is off.

        Examples
        --------
        >>> HFReward.from_registry("Skywork/Skywork-Reward-V2-Qwen3-0.6B", batch_size=4).dtype
        'bfloat16'
        """
        settings = settings_of(name, trust_remote_code=trust_remote_code)
        return cls(name, **{**settings, "trust_remote_code": trust_remote_code, **changes})

    def source(self) -> TextSource:
        """Look at the model, without its weights."""
        read: dict[str, Any] = {"template": self.template, "pad_token_id": self.pad_token_id}
        if self.head == "value":
            return ValueHeadSource(self, **read)
        head = None if self.head is None else int(self.head)
        return ClassifierSource(self, head=head, heads=self.heads, **read)

    def attributes(self) -> tuple[str, ...]:
        """Names of what it gives numbers for: ``reward``, or its heads."""
        if self.heads == "all":
            return once(self, self.source).outputs
        return super().attributes() if self.heads is None else tuple(self.heads)

    def read(self, found: Run, asked: Responses) -> Scores:
        """Rewards of the pairs: the one output, or an attribute for every head."""
        if self.heads is None:
            return super().read(found, asked)
        values = found.values
        return Scores(values[asked.chosen], values[asked.rejected], attributes=tuple(found.alone))
