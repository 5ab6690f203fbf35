"""What a reward model is: config, tokenizer, device, padding, length, and its identity."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prefstrength.errors import InputError
from prefstrength.rewards._cache import folder_fingerprint
from prefstrength.rewards._encode import cut, encoder
from prefstrength.rewards._model import classify, head_in_float32, load_classifier, padded

if TYPE_CHECKING:
    from prefstrength.rewards.hf import HFReward

#: Part of the identity of a score: raise it when the way of scoring changes.
SCORING = 2
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py")


class ClassifierSource:
    """A sequence classifier as the scoring run sees it: light until :meth:`load` is called."""

    #: Names of the numbers that come out for every response.
    outputs: tuple[str, ...] = ("reward",)

    def __init__(self, reward: "HFReward") -> None:
        self.reward = reward
        self.name = os.path.expanduser(os.fspath(reward.name_or_path))
        self.torch, transformers = _import()
        where = {"revision": reward.revision or "main"}
        code = {"trust_remote_code": reward.trust_remote_code}
        folder = Path(self.name)
        self.local = folder.is_dir()
        if not self.local and _looks_local(self.name):
            raise InputError(
                f"HFReward expects a folder with a reward model; got {self.name!r}, which does "
                "not exist. Check the path, or give a name on the hub such as "
                "'Skywork/Skywork-Reward-V2-Qwen3-0.6B'."
            )
        config_class, tokenizer_class = transformers.AutoConfig, transformers.AutoTokenizer
        self.config = self._load("config", config_class.from_pretrained, **where, **code)
        self.tokenizer = self._load("tokenizer", tokenizer_class.from_pretrained, **where, **code)
        self.model_class = transformers.AutoModelForSequenceClassification
        self.where, self.code = where, code
        self.device = self._device()
        self.head = self._head()
        self.pad_token_id = self._pad()
        self.max_length = self._max_length()
        # segments: by what the model has, because a saved tokenizer may have lost the setting
        self._encode = encoder(
            self.tokenizer,
            template=reward.template,
            sanitize=reward.sanitize,
            segments=getattr(self.config, "type_vocab_size", 0) > 1,
            name=self.name,
        )
        self.fingerprint = (
            folder_fingerprint(folder, MODEL_FILES)
            if self.local
            else str(getattr(self.config, "_commit_hash", None) or where["revision"])
        )

    def _load(self, what: str, from_pretrained: Callable[..., Any], **options: Any) -> Any:
        """Load one part, with one sentence for everything that can go wrong on the way."""
        try:
            return from_pretrained(self.name, **options)
        # whatever a hub client, a parser or a missing package raises, the user's next step is
        # the same, and the cause is kept in the traceback
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"HFReward expects a sequence-classification model with {what} and safetensors "
                f"weights at {self.name!r}; got {type(error).__name__}: {reason[:300]} The name "
                "may be misspelt, the network absent, or the weights pickled. Check the name, or "
                "give a local folder."
            ) from error

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {
            "reward": "HFReward",
            "scoring": SCORING,
            # the same model is the same wherever its folder lies
            "model": "" if self.local else self.name,
            "fingerprint": self.fingerprint,
            "head": self.head,
            "template": self.reward.template,
            "sanitize": self.reward.sanitize,
            "max_length": self.max_length,
            "pad_token_id": self.pad_token_id,
            "dtype": self.reward.dtype,
        }

    def _device(self) -> Any:
        name = self.reward.device or ("cuda" if self.torch.cuda.is_available() else "cpu")
        try:
            device = self.torch.device(name)
            self.torch.empty(1, device=device)
        except Exception as error:  # AssertionError, RuntimeError or more, by kind of device
            raise InputError(
                f"HFReward expects a device that this computer has; got {name!r}. "
                "Use device='cpu', or leave it out."
            ) from error
        return device

    def _head(self) -> int:
        heads, head = int(self.config.num_labels), self.reward.head
        if heads == 1 and head is None:
            return 0
        if head is None:
            labels = getattr(self.config, "id2label", None) or {}
            names = [f"{i} ({labels.get(i, '?')})" for i in range(heads)]
            raise InputError(
                f"A reward model expects one output; got {heads} from {self.name!r}: "
                f"{', '.join(names[:3])}{', ...' if heads > 3 else ''}. It may be a classifier or "
                "have one head for each aspect. Say which is the reward: HFReward(..., head=0)."
            )
        if head >= heads:
            raise InputError(
                f"HFReward expects head below {heads}, the number of outputs of {self.name!r}; "
                f"got {head}. Outputs count from 0."
            )
        return head

    def _pad(self) -> int | None:
        if self.reward.pad_token_id is not None:
            return self.reward.pad_token_id
        model = self.config.get_text_config().pad_token_id
        tokenizer = self.tokenizer.pad_token_id
        if model is not None and tokenizer is not None and model != tokenizer:
            tokens = self.tokenizer.convert_ids_to_tokens([model, tokenizer])
            raise InputError(
                "HFReward expects model and tokenizer to agree on the padding token; got "
                f"{model} ({tokens[0]!r}) in the model's config and {tokenizer} ({tokens[1]!r}) in "
                f"the tokenizer of {self.name!r}. The score would be read at the wrong token, "
                "without an error. Say which is right: HFReward(..., pad_token_id=...)."
            )
        pad = model if model is not None else tokenizer
        if pad is None and self.reward.batch_size > 1:
            raise InputError(
                f"HFReward expects a padding token to score in batches; got none from {self.name!r}"
                ". Give one that no text ends with (HFReward(..., pad_token_id=...)), or use "
                "batch_size=1."
            )
        return None if pad is None else int(pad)

    def _max_length(self) -> int | None:
        limits = (
            getattr(self.config.get_text_config(), "max_position_embeddings", None),
            self.tokenizer.model_max_length,
        )
        # tokenizers without a limit say 1e30
        known = [int(limit) for limit in limits if limit is not None and 0 < limit < 1e9]
        most, asked = min(known, default=None), self.reward.max_length
        if asked is not None and most is not None and asked > most:
            raise InputError(
                f"HFReward expects max_length of at most {most}, which {self.name!r} allows; got "
                f"{asked}. Leave it out to use all the model allows."
            )
        return asked if asked is not None else most

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids as the model takes them, cut to its length, and ``tokens`` before that."""
        ids = self._encode(prompt, response)
        # only cross-encoders were asked for segments; others would score differently with them
        taken = (
            ("input_ids", "token_type_ids") if self.reward.template == "pair" else ("input_ids",)
        )
        item = {name: ids[name] for name in taken if name in ids}
        return {**cut(item, self.max_length), "tokens": len(ids["input_ids"])}

    def _load_here(self, what: str, from_pretrained: Callable[..., Any], **options: Any) -> Any:
        return self._load(what, from_pretrained, **self.where, **self.code, **options)

    def load(self) -> Any:
        """Load the weights, the head in float32, in evaluation mode, on the device."""
        model = load_classifier(
            self._load_here,
            self.model_class,
            name=self.name,
            dtype=getattr(self.torch, self.reward.dtype),
            pad_token_id=self.pad_token_id,
        )
        if self.reward.dtype != "float32":
            head_in_float32(model, self.name)
        return model.to(self.device).eval()

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Rewards of encoded items, shape (item, output)."""
        inputs = padded(self.torch, items, self.pad_token_id, self.device)
        return classify(self.torch, model, inputs)[:, [self.head]]


def _import() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise InputError(
            f"HFReward expects torch and transformers; got none of {error.name!r}. "
            "Install them: pip install 'prefstrength[rewards]'."
        ) from error
    return torch, transformers


def _looks_local(name: str) -> bool:
    """Whether a name can only be a path: the hub knows ``name`` and ``owner/name``."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
