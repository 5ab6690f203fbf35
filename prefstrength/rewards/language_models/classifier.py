"""Reward models that give one text its numbers: sequence classifiers, and value heads."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from prefstrength._shared.words import listed
from prefstrength.errors import InputError
from prefstrength.rewards.engine.cache import columns
from prefstrength.rewards.engine.decoder import Shared, last_hidden, pooled
from prefstrength.rewards.engine.guards import check_padding
from prefstrength.rewards.engine.model import head_in_float32, padded, ready
from prefstrength.rewards.engine.responses import Responses
from prefstrength.rewards.language_models.encoding import Reader
from prefstrength.rewards.language_models.source import CheckpointSource
from prefstrength.rewards.model_reward import ModelReward

#: Part of the identity of a score: raise it when the way of scoring changes.
SCORING = 2
#: The value head of a causal language model, as TRL's AutoModelForCausalLMWithValueHead saved it.
VALUE_HEAD = ("v_head.summary.weight", "v_head.summary.bias")


class TextSource(CheckpointSource):
    """What both kinds share: prompt and response become one text by ``template``.

    Arguments besides the reward are those of :class:`~prefstrength.rewards.HFReward`.
    """

    def __init__(
        self, reward: ModelReward, *, template: str = "chat", pad_token_id: int | None = None
    ) -> None:
        super().__init__(reward)
        #: The padding token that somebody has named.
        self.named_pad = pad_token_id
        if pad_token_id is not None:
            self.pad_token_id = pad_token_id
        self.read = Reader(
            self.checkpoint.tokenizer,
            template=template,
            sanitize=reward.sanitize,
            # by what the model has, because a saved tokenizer may have lost the setting
            segments=getattr(self.checkpoint.config, "type_vocab_size", 0) > 1,
            max_length=self.max_length,
            owner=self.owner,
            name=self.name,
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        template = self.read.template
        return {
            "reward": "HFReward",
            "scoring": SCORING,
            **self.checkpoint.identity,
            **super().identity,
            "template": template,
            # TRL's conversations were once read as plain texts
            **({"conversations": "chat"} if template == "trl" else {}),
            "pad_token_id": self.pad_token_id,
        }

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids as the model takes them, cut to its length, and ``tokens`` before that."""
        return self.read(prompt, response)

    def encode_all(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """:meth:`encode` for many at once, on all cores."""
        return self.read.many(prompts, responses)

    def in_chats(self, responses: Responses) -> bool:
        """Whether the chat template writes some of them; refuses a tokenizer that lacks it."""
        if not any(map(self.read.is_chat, responses.prompts, responses.texts)):
            return False
        self.read.require_chat_template()
        return True

    def written(self, prompt: Any, response: Any) -> tuple[list[int], str | None]:
        """Token ids before what repeats was dropped, and how those of the prompt stand to them."""
        ids = self.read.as_written(prompt, response)["input_ids"]
        return ids, self.read.boundary(prompt, response)


class ClassifierSource(TextSource):
    """A sequence classifier: one output, one of several, or several with names."""

    what = "a sequence-classification model"

    def __init__(
        self,
        reward: ModelReward,
        *,
        head: int | None = None,
        heads: Mapping[str, int] | str | None = None,
        **read: Any,
    ) -> None:
        super().__init__(reward, **read)
        self.heads = self._heads(head, heads)
        self.outputs = tuple(self.heads)
        if self.named_pad is None:
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

    def check_openings(self, openings: Sequence[list[int]]) -> dict[str, Any]:
        """Look for texts that end with the padding token."""
        model = self.checkpoint.config.get_text_config().pad_token_id
        named_by = "the tokenizer alone" if model is None else None
        if self.named_pad is not None:
            named_by = "`pad_token_id=...`"
        pad = self.pad_token_id
        found = check_padding(openings, pad, named_by=named_by, owner=self.owner)
        return {"padding_token": found}

    def _heads(self, head: int | None, heads: Mapping[str, int] | str | None) -> dict[str, int]:
        """Outputs of the model by the name of the attribute that they become."""
        config = self.checkpoint.config
        count = int(config.num_labels)
        labels = getattr(config, "id2label", None) or {}
        names = [str(labels.get(i, f"head_{i}")) for i in range(count)]
        if heads is None:
            if head is None and count > 1:
                shown = [f"{i} ({name})" for i, name in enumerate(names)]
                raise InputError(
                    f"A reward model expects one output; got {count} from {self.name!r}: "
                    f"{', '.join(shown[:3])}{', ...' if count > 3 else ''}. It may be a classifier "
                    "or have one head for each aspect. Say which is the reward: "
                    "`head=0`, or take all as attributes: `heads='all'`."
                )
            wanted = {"reward": int(head or 0)}
        elif isinstance(heads, str):
            attributes = [re.sub(r"\W+", "_", name).strip("_").lower() for name in names]
            wanted = {name: i for i, name in enumerate(attributes) if name}
            if len(wanted) < count:
                raise InputError(
                    f"`HFReward(name, heads='all')` expects outputs with different names; got "
                    f"{listed(names)} from {self.name!r}. Name them: `heads={{'helpfulness': 0}}`."
                )
        else:
            wanted = dict(heads)
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


class ValueHeadSource(TextSource):
    """A causal language model whose reward is a value head, read at the last token."""

    what = "a causal language model with a value head"
    outputs = ("reward",)

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
