"""Causal language models as rewards: log probabilities of labels, and of whole responses."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from prefstrength._shared.files import REFERENCE_NAME
from prefstrength._shared.words import listed, warn
from prefstrength.data.messages import options_of
from prefstrength.errors import InputError
from prefstrength.rewards.engine.batches import beginning
from prefstrength.rewards.engine.decoder import Shared, last_hidden
from prefstrength.rewards.engine.guards import boundary
from prefstrength.rewards.engine.model import output_in_float32, padded, ready
from prefstrength.rewards.engine.responses import (
    Responses,
    Text,
    flatten,
    messages,
)
from prefstrength.rewards.language_models.checkpoint import Checkpoint
from prefstrength.rewards.language_models.encoding import (
    Ids,
    chat_ids,
    cut,
    followed,
    one_bos,
    render,
)
from prefstrength.rewards.language_models.source import CheckpointSource
from prefstrength.rewards.model_reward import ModelReward

#: Part of the identity of a score: raise it when the way of scoring changes.
SCORING = 1
#: Tokens whose logits are in memory at a time: the vocabulary is large.
LOGITS = 1024


class CausalSource(CheckpointSource):
    """A causal language model, its output layer in float32."""

    what = "a causal language model"

    def weights(self, checkpoint: Checkpoint) -> tuple[Any, list[str], list[str]]:
        """Load a language model; parts set back to evaluation; weights left unused."""
        kind = checkpoint.transformers.AutoModelForCausalLM
        model, unused = checkpoint.weights(kind, besides=("v_head.",))
        torch, name = checkpoint.torch, checkpoint.name
        if self.reward.dtype != "float32":
            output_in_float32(torch, model, name)
        return *ready(torch, model, checkpoint.device, name, self.reward.compile), unused


class JudgeSource(CausalSource):
    """A language model that is shown two responses; log probabilities of its two labels."""

    joins = False
    #: Of the label of the response that was shown first, and of the other.
    outputs = ("first", "second")

    def __init__(
        self, reward: ModelReward, *, prompt: str, labels: tuple[str, str], template: str = "chat"
    ) -> None:
        super().__init__(reward)
        self.prompt, self.labels, self.template = prompt, labels, template
        self._chat: Callable[..., Ids] | None = None
        #: The verdict is read where the answer begins: a model that may think first must not.
        self._at_once: dict[str, Any] = {}
        if template == "chat":
            tokenizer = self.checkpoint.tokenizer
            self._chat = chat_ids(
                tokenizer,
                sanitize=reward.sanitize,
                owner=self.owner,
                name=self.name,
                otherwise="Ask in plain text: `template='plain'`",
            )
            if "enable_thinking" in tokenizer.get_chat_template():
                self._at_once = {"enable_thinking": False}
        self.label_tokens = self._label_tokens()

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {
            "reward": "JudgeReward",
            "scoring": SCORING,
            **self.checkpoint.identity,
            **super().identity,
            "prompt": self.prompt,
            "labels": list(self.labels),
            "template": self.template,
            **self._at_once,
        }

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids of the question; ``response`` holds the two texts in the order shown."""
        bos = self.checkpoint.tokenizer.bos_token_id
        item = one_bos({"input_ids": self._as_written(prompt, response)}, bos)
        return {**cut(item, self.max_length), "tokens": len(item["input_ids"])}

    def in_chats(self, responses: Responses) -> bool:
        """Whether the chat template writes the questions."""
        return self._chat is not None

    def written(self, prompt: Any, response: Any) -> tuple[list[int], str | None]:
        """Token ids of the question before what repeats was dropped; it joins nothing."""
        return self._as_written(prompt, response), None

    def _as_written(self, prompt: Any, response: Any) -> list[int]:
        (_, first), (_, second) = response
        text = self.prompt.format(prompt=flatten(prompt), first=first, second=second)
        if self._chat is not None:
            asked = [{"role": "user", "content": text}]
            return self._chat(asked, add_generation_prompt=True, **self._at_once)["input_ids"]
        tokenizer = self.checkpoint.tokenizer
        return list(tokenizer(text, split_special_tokens=self.reward.sanitize)["input_ids"])

    def load(self) -> Any:
        """Load the language model, its output layer in float32."""
        model, self.set_back, self.unused = self.weights(self.checkpoint)
        return model

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Log probabilities of both labels as the next token, shape (item, 2)."""
        torch = self.checkpoint.torch
        inputs = padded(torch, items, self.pad_token_id, self.device)
        last = inputs["attention_mask"].sum(dim=1) - 1
        places = torch.unique(last)
        with torch.inference_mode():
            logits = _logits(model, inputs, places)
            rows = torch.arange(len(items), device=self.device)
            return self.verdict(logits[rows, torch.searchsorted(places, last)])

    def forward_shared(self, model: Any, rows: Sequence[Shared]) -> np.ndarray:
        """Log probabilities of both labels for questions that begin alike, shape (item, 2)."""
        torch = self.checkpoint.torch
        places = [[len(item["input_ids"]) - 1] for _, items in rows for item in items]
        with torch.inference_mode():
            hidden = last_hidden(torch, model, rows, places, self.pad_token_id, self.device)
            return self.verdict(model.get_output_embeddings()(hidden))

    def verdict(self, logits: Any) -> np.ndarray:
        """Log probabilities of both labels among all tokens, shape (item, 2)."""
        logits = logits.double()
        found = logits[:, self.label_tokens] - logits.logsumexp(dim=-1, keepdim=True)
        return np.asarray(found.cpu().numpy())

    def _label_tokens(self) -> list[int]:
        tokenizer, labels = self.checkpoint.tokenizer, self.labels
        tokens = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
        unknown = [
            label
            for label, ids in zip(labels, tokens, strict=True)
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id
        ]
        if unknown or tokens[0] == tokens[1]:
            raise InputError(
                f"{self.owner} expects two labels that are one token each, and not the same; got "
                f"{listed(labels)}, which {self.name!r} reads as {tokens[0]} and {tokens[1]}. "
                "Use single letters or digits: `labels=('A', 'B')`; mind the blank before them "
                "where the prompt does not end with one."
            )
        return [ids[0] for ids in tokens]


class ImplicitSource(CausalSource):
    """A policy, the model of the reward, and its reference; log-ratio of a response's tokens."""

    counts_response = True
    outputs = ("log_ratio",)

    def __init__(self, reward: ModelReward, *, reference: Any, revision: str | None = None) -> None:
        super().__init__(reward)
        self.reference = Checkpoint(reward, reference, revision, self.what)
        policy = self.checkpoint
        moved = Path(reward.name_or_path, REFERENCE_NAME)
        if (moved / "config.json").is_file() and Path(reference).resolve() != moved.resolve():
            warn(
                f"{self.owner}: {self.name!r} was trained against a reference that moved, which "
                f"lies in {str(moved)!r}; got another one, so that the rewards are not those of "
                "training. Give that folder as reference."
            )
        self.fingerprint = f"{policy.fingerprint} {self.reference.fingerprint}"
        limits = (self.max_length, self.reference.max_length(reward.max_length))
        self.max_length = min((limit for limit in limits if limit is not None), default=None)
        if policy.identity == self.reference.identity:
            raise InputError(
                f"{self.owner} expects a policy and the model that its training started from; "
                f"got the same weights for both from {self.name!r}, whose log-ratios are "
                "all 0. Give the untrained model as reference."
            )
        if policy.tokenizer.get_vocab() != self.reference.tokenizer.get_vocab():
            raise InputError(
                f"{self.owner} expects policy and reference with the same tokens, because it "
                f"compares their probabilities token by token; got other vocabularies at "
                f"{self.name!r} and {self.reference.name!r}. Give the model that training "
                "started from."
            )

    @cached_property
    def _chat(self) -> Callable[..., Ids]:
        """From messages to token ids; plain texts need none."""
        return chat_ids(
            self.checkpoint.tokenizer,
            sanitize=self.reward.sanitize,
            owner=self.owner,
            name=self.name,
            otherwise="Give its tokenizer the template that training used, or plain texts",
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {
            "reward": "ImplicitReward",
            "scoring": SCORING,
            "policy": self.checkpoint.identity,
            "reference": self.reference.identity,
            **super().identity,
        }

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids, cut at the end, and where the response starts: as TRL's DPO has them."""
        bos = self.checkpoint.tokenizer.bos_token_id
        written: list[Ids] = [{"input_ids": ids} for ids in self._as_written(prompt, response)]
        alone, whole = (one_bos(ids, bos)["input_ids"] for ids in written)
        start = max(1, beginning(np.array(alone), np.array(whole)))
        most = self.max_length
        if start >= len(whole) or (most is not None and start >= most):
            raise ValueError(
                f"no token of the response is left: the prompt has {len(alone)} tokens, the whole "
                f"{len(whole)}, and the model takes {most}."
            )
        return {"input_ids": whole[:most], "start": start, "tokens": len(whole)}

    def _as_written(self, prompt: Text, response: Text) -> tuple[list[int], list[int]]:
        """Token ids of the prompt alone, as generation would see it, and of all."""
        if isinstance(prompt, str) and isinstance(response, str):
            return followed(self.checkpoint.tokenizer, prompt, response, self.reward.sanitize)
        whole = messages(prompt, response)
        count = 1 if isinstance(prompt, str) else len(prompt)
        options = options_of(prompt)
        alone = self._chat(whole[:count], add_generation_prompt=True, **options)
        return alone["input_ids"], self._chat(whole, **options)["input_ids"]

    def in_chats(self, responses: Responses) -> bool:
        """Whether some are conversations; refuses a tokenizer without a template for them."""
        if all(isinstance(text, str) for text in (*responses.prompts, *responses.texts)):
            return False
        _ = self._chat  # which says where there is no template
        return True

    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """As of every model, and for control tokens inside the texts, which training reads."""
        found = super().check_texts(responses)
        tokenizer = self.checkpoint.tokenizer
        control = [token for token in tokenizer.all_special_tokens if len(token) > 2]
        ending = tokenizer.eos_token or ""
        rows = [
            row
            for prompt, text, row in zip(
                responses.prompts, responses.texts, responses.rows, strict=True
            )
            if any(
                token in part
                for part in (flatten(prompt), flatten(text).removesuffix(ending))
                for token in control
            )
        ]
        if rows:
            how = (
                "as ordinary text, otherwise than in training"
                if self.reward.sanitize
                else "as such, as in training: they end a turn, or begin another"
            )
            warn(
                f"{self.owner}: {len(rows):,} of {len(responses):,} responses or their prompts "
                f"hold control tokens of the template (first rows: {', '.join(rows[:3])}). They "
                f"are read {how}. Take them out of the texts before training."
            )
        return {**found, "control_tokens": len(rows)}

    def written(self, prompt: Any, response: Any) -> tuple[list[int], str | None]:
        """Token ids before what repeats was dropped, and how those of the prompt stand to them."""
        alone, whole = self._as_written(prompt, response)
        if alone[-1:] == [self.checkpoint.tokenizer.eos_token_id]:
            alone = alone[:-1]  # some tokenizers end every text with EOS
        return whole, boundary(alone, whole, text_goes_on=self._goes_on(prompt, response))

    def _goes_on(self, prompt: Text, response: Text) -> bool:
        """Whether the whole begins, as text, with the prompt as generation would see it."""
        if isinstance(prompt, str) and isinstance(response, str):
            return True
        chat = messages(prompt, response)
        count = 1 if isinstance(prompt, str) else len(prompt)
        tokenizer = self.checkpoint.tokenizer
        options = options_of(prompt)
        start = render(tokenizer, chat[:count], add_generation_prompt=True, **options)
        return render(tokenizer, chat, **options).startswith(start)

    def load(self) -> Any:
        """Load policy and reference."""
        loaded = [self.weights(part) for part in (self.checkpoint, self.reference)]
        self.set_back = [part for _, parts, _ in loaded for part in parts]
        self.unused = [name for _, _, names in loaded for name in names]
        return tuple(model for model, _, _ in loaded)

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Log-ratio of each response in nats, summed over its tokens, shape (item, 1)."""
        torch = self.checkpoint.torch
        inputs = padded(torch, items, self.pad_token_id, self.device)
        starts = torch.tensor([item["start"] for item in items], device=self.device)
        width = inputs["input_ids"].shape[1]
        # the token at a place is predicted at the place before it
        places = torch.arange(int(starts.min()) - 1, width - 1, device=self.device)
        label = inputs["input_ids"][:, places + 1]
        counted = (places + 1 >= starts[:, None]) & inputs["attention_mask"][:, places + 1].bool()
        sums = []
        with torch.inference_mode():
            for part in model:
                logits = _logits(part, inputs, places).float()
                each = logits.gather(-1, label[..., None])[..., 0] - logits.logsumexp(dim=-1)
                sums.append((each.double() * counted).sum(dim=1))
        return np.asarray((sums[0] - sums[1])[:, None].cpu().numpy())

    def bodies(self, model: Any) -> Sequence[Any]:
        """Policy and reference."""
        return tuple(model)

    def forward_shared(self, model: Any, rows: Sequence[Shared]) -> np.ndarray:
        """Log-ratios of responses to prompts that begin alike, row after row, shape (item, 1)."""
        torch = self.checkpoint.torch
        items = [item for _, items in rows for item in items]
        # the token at a place is predicted at the place before it
        places = [range(item["start"] - 1, len(item["input_ids"]) - 1) for item in items]
        label = torch.from_numpy(np.concatenate([i["input_ids"][i["start"] :] for i in items]))
        lengths = [len(place) for place in places]
        sums = []
        with torch.inference_mode():
            for part in model:
                hidden = last_hidden(torch, part, rows, places, self.pad_token_id, self.device)
                each = [
                    _log_probability(part, h, t)
                    for h, t in zip(
                        hidden.split(LOGITS),
                        label.to(self.device, torch.long).split(LOGITS),
                        strict=True,
                    )
                ]
                of_items = torch.cat(each).double().split(lengths)
                sums.append(torch.stack([of_item.sum() for of_item in of_items]))
        return np.asarray((sums[0] - sums[1])[:, None].cpu().numpy())


def _log_probability(model: Any, hidden: Any, label: Any) -> Any:
    """Log probability of the tokens that follow hidden states, shape (token,)."""
    logits = model.get_output_embeddings()(hidden).float()
    return logits.gather(-1, label[:, None])[:, 0] - logits.logsumexp(dim=-1)


def _logits(model: Any, inputs: dict[str, Any], places: Any) -> Any:
    """Logits at some places alone, shape (item, place, token): the vocabulary is large."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(**inputs, logits_to_keep=places).logits
    return model(**inputs).logits[:, places]
