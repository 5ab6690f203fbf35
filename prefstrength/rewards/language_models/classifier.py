"""Reward models that give one text its numbers: sequence classifiers, and value heads."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from prefstrength._shared.words import listed
from prefstrength.errors import InputError
from prefstrength.rewards.engine.cache import columns
from prefstrength.rewards.engine.decoder import Shared, Sharing, last_hidden, pooled
from prefstrength.rewards.engine.guards import (
    check_bos,
    check_boundary,
    check_date,
    check_padding,
    check_system,
    sample,
)
from prefstrength.rewards.engine.model import head_in_float32, padded, ready
from prefstrength.rewards.engine.responses import Responses
from prefstrength.rewards.language_models.checkpoint import Checkpoint
from prefstrength.rewards.language_models.encoding import Reader, date_is_held, is_dated

if TYPE_CHECKING:
    from prefstrength.rewards.hf import HFReward

#: Part of the identity of a score: raise it when the way of scoring changes.
SCORING = 2
#: The value head of a causal language model, as TRL's AutoModelForCausalLMWithValueHead saved it.
VALUE_HEAD = ("v_head.summary.weight", "v_head.summary.bias")


def open_source(reward: "HFReward") -> "ClassifierSource | ValueHeadSource":
    """Look at a reward model, without its weights."""
    return ValueHeadSource(reward) if reward.head == "value" else ClassifierSource(reward)


class _TextSource(Sharing):
    """What both kinds share: a checkpoint, and one text for every response."""

    _what: str
    pad_token_id: int | None

    def __init__(self, reward: "HFReward") -> None:
        self.reward = reward
        self.checkpoint = Checkpoint(
            reward.name_or_path,
            owner="HFReward",
            what=self._what,
            revision=reward.revision,
            device=reward.device,
            dtype=reward.dtype,
            trust_remote_code=reward.trust_remote_code,
        )
        self.name, self.device = self.checkpoint.name, self.checkpoint.device
        #: Parts that had to be taken out of training mode; None until the weights are loaded.
        self.set_back: list[str] | None = None
        #: Weights in the files that the model does not use; None until they are loaded.
        self.unused: list[str] | None = None
        self.fingerprint = self.checkpoint.fingerprint
        self.max_length = self.checkpoint.max_length(reward.max_length)
        self.read = Reader(
            self.checkpoint.tokenizer,
            template=reward.template,
            sanitize=reward.sanitize,
            # by what the model has, because a saved tokenizer may have lost the setting
            segments=getattr(self.checkpoint.config, "type_vocab_size", 0) > 1,
            max_length=self.max_length,
            owner="HFReward",
            name=self.name,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {
            "reward": "HFReward",
            "scoring": SCORING,
            **self.checkpoint.identity,
            "template": self.reward.template,
            # TRL's conversations were once read as plain texts
            **({"conversations": "chat"} if self.reward.template == "trl" else {}),
            "sanitize": self.reward.sanitize,
            "max_length": self.max_length,
            "pad_token_id": self.pad_token_id,
            "dtype": self.reward.dtype,
        }

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids as the model takes them, cut to its length, and ``tokens`` before that."""
        return self.read(prompt, response)

    def encode_all(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """:meth:`encode` for many at once, on all cores."""
        return self.read.many(prompts, responses)

    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """Look for what goes wrong between texts and tokens, before the model is loaded."""
        return self._check_texts(responses)[0]

    def _check_texts(self, responses: Responses) -> tuple[dict[str, Any], list[list[int]]]:
        """What was found, and the tokens of the sample that was looked at."""
        read, found = self.read, dict[str, Any]()
        chats = map(read.is_chat, responses.prompts, responses.texts)
        if any(chats):
            read.require_chat_template()
            found["date"] = check_date(
                is_dated(read.tokenizer),
                held=date_is_held(read.tokenizer),
                owner="HFReward",
                name=self.name,
            )
            found["system_prompt"] = check_system(
                read.render, responses, owner="HFReward", name=self.name
            )
        texts: list[list[int]] = []
        kinds = []
        for i in sample(responses):
            prompt, text = responses.prompts[i], responses.texts[i]
            try:
                texts.append(read.as_written(prompt, text)["input_ids"])
                kinds.append(read.boundary(prompt, text))
            except Exception:  # the run names the row of what a template refuses
                continue
        found["bos"] = check_bos(read.tokenizer, texts, owner="HFReward")
        found["boundary"] = check_boundary(kinds, owner="HFReward", all_matter=False)
        return found, texts


class ClassifierSource(_TextSource):
    """A sequence classifier: one output, one of several, or several with names."""

    _what = "a sequence-classification model"

    def __init__(self, reward: "HFReward") -> None:
        super().__init__(reward)
        self.heads = self._heads()
        #: Names of the numbers that come out for every response.
        self.outputs = tuple(self.heads)
        self.pad_token_id = self._pad()

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {**super().identity, "heads": self.heads}

    def load(self) -> Any:
        """Load the weights, the head in float32, in evaluation mode, on the device."""
        here = self.checkpoint
        # the output layer of the language model that it was made from is in many files
        kind = here.transformers.AutoModelForSequenceClassification
        model, self.unused = here.weights(kind, besides=("lm_head.",))
        # pooling reads the config, padding is ours: both follow the one token that was settled
        model.config.get_text_config().pad_token_id = self.pad_token_id
        if self.reward.dtype != "float32":
            head_in_float32(model, self.name)
        model, self.set_back = ready(here.torch, model, self.device, self.name, self.reward.compile)
        return model

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Outputs of encoded items, shape (item, output)."""
        torch = self.checkpoint.torch
        with torch.inference_mode():
            logits = model(**padded(torch, items, self.pad_token_id, self.device)).logits
        return self._outputs(logits, len(items))

    def forward_shared(self, model: Any, rows: Sequence[Shared]) -> np.ndarray:
        """Outputs of items that begin alike, row after row, shape (item, output)."""
        torch, pad = self.checkpoint.torch, self.pad_token_id
        places = [[pooled(item["input_ids"], pad)] for _, items in rows for item in items]
        with torch.inference_mode():
            logits = model.score(last_hidden(torch, model, rows, places, pad, self.device))
        return self._outputs(logits, len(logits))

    def _outputs(self, logits: Any, items: int) -> np.ndarray:
        """Outputs that were asked for, in float64."""
        # some code that comes with a model returns (item,) instead of (item, 1)
        logits = logits.reshape(items, -1)
        if max(self.heads.values()) >= logits.shape[1]:
            raise InputError(
                f"HFReward expects {max(self.heads.values()) + 1} outputs or more from "
                f"{self.name!r}; got {logits.shape[1]}. Its config names more than its code "
                "returns. Use `head=0`, or `heads=...` with the outputs that there are."
            )
        return np.asarray(logits.double().cpu().numpy()[:, list(self.heads.values())])

    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """Look for what goes wrong between texts and tokens, before the model is loaded."""
        found, texts = self._check_texts(responses)
        if self.reward.pad_token_id is not None:
            named_by: str | None = "`pad_token_id=...`"
        else:
            model = self.checkpoint.config.get_text_config().pad_token_id
            named_by = "the tokenizer alone" if model is None else None
        padding = check_padding(texts, self.pad_token_id, named_by=named_by, owner="HFReward")
        return {"padding_token": padding, **found}

    def _heads(self) -> dict[str, int]:
        """Outputs of the model by the name of the attribute that they become."""
        config, reward = self.checkpoint.config, self.reward
        count = int(config.num_labels)
        labels = getattr(config, "id2label", None) or {}
        names = [str(labels.get(i, f"head_{i}")) for i in range(count)]
        if reward.heads is None:
            if reward.head is None and count > 1:
                shown = [f"{i} ({name})" for i, name in enumerate(names)]
                raise InputError(
                    f"A reward model expects one output; got {count} from {self.name!r}: "
                    f"{', '.join(shown[:3])}{', ...' if count > 3 else ''}. It may be a classifier "
                    "or have one head for each aspect. Say which is the reward: "
                    "`head=0`, or take all as attributes: `heads='all'`."
                )
            wanted = {"reward": int(reward.head or 0)}
        elif isinstance(reward.heads, str):
            attributes = [re.sub(r"\W+", "_", name).strip("_").lower() for name in names]
            wanted = {name: i for i, name in enumerate(attributes) if name}
            if len(wanted) < count:
                raise InputError(
                    f"`HFReward(name, heads='all')` expects outputs with different names; got "
                    f"{listed(names)} from {self.name!r}. Name them: `heads={{'helpfulness': 0}}`."
                )
        else:
            wanted = dict(reward.heads)
        written = columns(tuple(wanted))
        if taken := [name for name in wanted if written.count(name) > 1]:
            raise InputError(
                "HFReward expects names of heads that mean nothing else where scores are kept; got "
                f"{listed(taken)} from {self.name!r}. Choose other names: "
                "`heads={'helpfulness': 0}`."
            )
        beyond = [i for i in wanted.values() if i >= count]
        if beyond:
            raise InputError(
                f"HFReward expects head below {count}, the number of outputs of {self.name!r}; "
                f"got {beyond[0]}. Outputs count from 0."
            )
        return wanted

    def _pad(self) -> int | None:
        if self.reward.pad_token_id is not None:
            return self.reward.pad_token_id
        config, tokenizer = self.checkpoint.config, self.checkpoint.tokenizer
        model, own = config.get_text_config().pad_token_id, tokenizer.pad_token_id
        if model is not None and own is not None and model != own:
            tokens = tokenizer.convert_ids_to_tokens([model, own])
            raise InputError(
                "HFReward expects model and tokenizer to agree on the padding token; got "
                f"{model} ({tokens[0]!r}) in the model's config and {own} ({tokens[1]!r}) in "
                f"the tokenizer of {self.name!r}. The score would be read at the wrong token, "
                "without an error. Say which is right: `pad_token_id=...`."
            )
        pad = model if model is not None else own
        if pad is None and self.reward.batch_size != 1:
            raise InputError(
                f"HFReward expects a padding token to score in batches; got none from {self.name!r}"
                ". Give one that no text ends with (`pad_token_id=...`), or use "
                "`batch_size=1`."
            )
        return None if pad is None else int(pad)


class ValueHeadSource(_TextSource):
    """A causal language model whose reward is a value head, read at the last token."""

    _what = "a causal language model with a value head"
    outputs = ("reward",)

    def __init__(self, reward: "HFReward") -> None:
        super().__init__(reward)
        # the place of the last token comes from lengths, so any padding token will do
        given = reward.pad_token_id
        self.pad_token_id = self.checkpoint.pad_token_id if given is None else given

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {**super().identity, "heads": "value"}

    def load(self) -> Any:
        """Load the body and the value head, which stays in float32."""
        here = self.checkpoint
        torch = here.torch
        found = here.tensors(VALUE_HEAD)
        weight = found.get(VALUE_HEAD[0])
        if weight is None or weight.ndim != 2 or weight.shape[0] != 1:
            got = "none" if weight is None else f"a tensor of shape {tuple(weight.shape)}"
            raise InputError(
                f"`HFReward(name, head='value')` expects {VALUE_HEAD[0]!r} of shape (1, hidden "
                f"size) in the safetensors files of {self.name!r}; got {got}. Leave `head='value'` "
                "out where the model is a sequence classifier."
            )
        kind = here.transformers.AutoModel
        body, self.unused = here.weights(kind, besides=("lm_head.", "v_head."))
        bias = found.get(VALUE_HEAD[1])
        head = torch.nn.Linear(weight.shape[1], 1, bias=bias is not None, dtype=torch.float32)
        with torch.no_grad():
            head.weight.copy_(weight)
            if bias is not None:
                head.bias.copy_(bias)
        body, self.set_back = ready(torch, body, self.device, self.name, self.reward.compile)
        return body, head.to(self.device)

    def bodies(self, model: Any) -> Sequence[Any]:
        """All but the value head."""
        return model[:1]

    def forward_shared(self, model: Any, rows: Sequence[Shared]) -> np.ndarray:
        """Values of items that begin alike, row after row, shape (item, 1)."""
        torch, (body, head) = self.checkpoint.torch, model
        places = [[len(item["input_ids"]) - 1] for _, items in rows for item in items]
        with torch.inference_mode():
            hidden = last_hidden(torch, body, rows, places, self.pad_token_id, self.device)
            return np.asarray(head(hidden.float()).double().cpu().numpy())

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Value at the last token of encoded items, shape (item, 1)."""
        torch = self.checkpoint.torch
        body, head = model
        inputs = padded(torch, items, self.pad_token_id, self.device)
        with torch.inference_mode():
            hidden = body(**inputs).last_hidden_state
            last = inputs["attention_mask"].sum(dim=1) - 1
            rows = torch.arange(len(items), device=self.device)
            return np.asarray(head(hidden[rows, last].float()).double().cpu().numpy())
