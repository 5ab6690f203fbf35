"""Causal language models as rewards: log probabilities of labels, and of whole responses."""

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from prefstrength._shared.words import listed
from prefstrength.errors import InputError
from prefstrength.rewards.engine.decoder import Shared, Sharing, last_hidden
from prefstrength.rewards.engine.guards import (
    boundary,
    check_bos,
    check_boundary,
    check_date,
    check_system,
    sample,
)
from prefstrength.rewards.engine.model import output_in_float32, padded, ready
from prefstrength.rewards.engine.responses import Responses, Text, flatten, messages
from prefstrength.rewards.language_models.checkpoint import Checkpoint
from prefstrength.rewards.language_models.encoding import (
    Ids,
    chat_ids,
    cut,
    date_is_held,
    followed,
    is_dated,
    one_bos,
    render,
)

if TYPE_CHECKING:
    from prefstrength.rewards.implicit import ImplicitReward
    from prefstrength.rewards.judge import JudgeReward

#: Part of the identity of a score: raise it when the way of scoring changes.
SCORING = 1
#: Tokens whose logits are in memory at a time: the vocabulary is large.
LOGITS = 1024


class JudgeSource(Sharing):
    """A language model that is shown two responses; log probabilities of its two labels."""

    #: Of the label of the response that was shown first, and of the other.
    outputs = ("first", "second")

    def __init__(self, reward: "JudgeReward") -> None:
        self.reward = reward
        self.checkpoint = _checkpoint("JudgeReward", reward, reward.name_or_path, reward.revision)
        self.name, self.device = self.checkpoint.name, self.checkpoint.device
        self.set_back: list[str] | None = None
        self.unused: list[str] | None = None
        self.fingerprint = self.checkpoint.fingerprint
        self.max_length = self.checkpoint.max_length(reward.max_length)
        self.pad_token_id = self.checkpoint.pad_token_id
        tokenizer = self.checkpoint.tokenizer
        self._chat = (
            chat_ids(
                tokenizer,
                sanitize=reward.sanitize,
                owner="JudgeReward",
                name=self.name,
                otherwise="Ask in plain text: `template='plain'`",
            )
            if reward.template == "chat"
            else None
        )
        #: The verdict is read where the answer begins: a model that may think first must not.
        self._at_once: dict[str, Any] = (
            {"enable_thinking": False}
            if self._chat is not None and "enable_thinking" in tokenizer.get_chat_template()
            else {}
        )
        self.labels = self._label_tokens()

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        reward = self.reward
        return {
            "reward": "JudgeReward",
            "scoring": SCORING,
            **self.checkpoint.identity,
            "prompt": reward.prompt,
            "labels": list(reward.labels),
            "template": reward.template,
            **self._at_once,
            "sanitize": reward.sanitize,
            "max_length": self.max_length,
            "dtype": reward.dtype,
        }

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids of the question; ``response`` holds the two texts in the order shown."""
        bos = self.checkpoint.tokenizer.bos_token_id
        item = one_bos({"input_ids": self._as_written(prompt, response)}, bos)
        return {**cut(item, self.max_length), "tokens": len(item["input_ids"])}

    def encode_all(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """:meth:`encode` for many."""
        return list(map(self.encode, prompts, responses))

    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """Look at how questions begin; they have no system message and no response to join."""
        tokenizer, found, openings = self.checkpoint.tokenizer, dict[str, Any](), []
        for i in sample(responses):
            try:
                openings.append(self._as_written(responses.prompts[i], responses.texts[i]))
            except Exception:  # the run names the row of what a template refuses
                continue
        if self._chat is not None:
            held = date_is_held(tokenizer)
            found["date"] = check_date(
                is_dated(tokenizer), held=held, owner="JudgeReward", name=self.name
            )
        found["bos"] = check_bos(tokenizer, openings, owner="JudgeReward")
        return found

    def _as_written(self, prompt: Any, response: Any) -> list[int]:
        (_, first), (_, second) = response
        text = self.reward.prompt.format(prompt=flatten(prompt), first=first, second=second)
        if self._chat is not None:
            asked = [{"role": "user", "content": text}]
            return self._chat(asked, add_generation_prompt=True, **self._at_once)["input_ids"]
        tokenizer = self.checkpoint.tokenizer
        return list(tokenizer(text, split_special_tokens=self.reward.sanitize)["input_ids"])

    def load(self) -> Any:
        """Load the language model, its output layer in float32."""
        model, self.set_back, self.unused = _load(self.checkpoint, self.reward)
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
            return self._verdict(logits[rows, torch.searchsorted(places, last)])

    def forward_shared(self, model: Any, rows: Sequence[Shared]) -> np.ndarray:
        """Log probabilities of both labels for questions that begin alike, shape (item, 2)."""
        torch = self.checkpoint.torch
        places = [[len(item["input_ids"]) - 1] for _, items in rows for item in items]
        with torch.inference_mode():
            hidden = last_hidden(torch, model, rows, places, self.pad_token_id, self.device)
            return self._verdict(model.get_output_embeddings()(hidden))

    def _verdict(self, logits: Any) -> np.ndarray:
        """Log probabilities of both labels among all tokens, shape (item, 2)."""
        logits = logits.double()
        found = logits[:, self.labels] - logits.logsumexp(dim=-1, keepdim=True)
        return np.asarray(found.cpu().numpy())

    def _label_tokens(self) -> list[int]:
        tokenizer, labels = self.checkpoint.tokenizer, self.reward.labels
        tokens = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
        unknown = [
            label
            for label, ids in zip(labels, tokens, strict=True)
            if len(ids) != 1 or ids[0] == tokenizer.unk_token_id
        ]
        if unknown or tokens[0] == tokens[1]:
            raise InputError(
                "JudgeReward expects two labels that are one token each, and not the same; got "
                f"{listed(labels)}, which {self.name!r} reads as {tokens[0]} and {tokens[1]}. "
                "Use single letters or digits: `labels=('A', 'B')`; mind the blank before them "
                "where the prompt does not end with one."
            )
        return [ids[0] for ids in tokens]


class ImplicitSource(Sharing):
    """A policy and its reference; log-ratio of the tokens of a response."""

    outputs = ("log_ratio",)

    def __init__(self, reward: "ImplicitReward") -> None:
        self.reward = reward
        owner = "ImplicitReward"
        self.policy = _checkpoint(owner, reward, reward.name_or_path, reward.revision)
        self.reference = _checkpoint(owner, reward, reward.reference, reward.reference_revision)
        self.name, self.device = self.policy.name, self.policy.device
        self.set_back: list[str] | None = None
        self.unused: list[str] | None = None
        self.fingerprint = f"{self.policy.fingerprint} {self.reference.fingerprint}"
        limits = [part.max_length(reward.max_length) for part in (self.policy, self.reference)]
        self.max_length = min((limit for limit in limits if limit is not None), default=None)
        self.pad_token_id = self.policy.pad_token_id
        if self.policy.identity == self.reference.identity:
            raise InputError(
                "ImplicitReward expects a policy and the model that its training started from; "
                f"got the same weights for both from {self.policy.name!r}, whose log-ratios are "
                "all 0. Give the untrained model as reference."
            )
        if self.policy.tokenizer.get_vocab() != self.reference.tokenizer.get_vocab():
            raise InputError(
                "ImplicitReward expects policy and reference with the same tokens, because it "
                f"compares their probabilities token by token; got other vocabularies at "
                f"{self.policy.name!r} and {self.reference.name!r}. Give the model that training "
                "started from."
            )

    @cached_property
    def _chat(self) -> Callable[..., Ids]:
        """From messages to token ids; plain texts need none."""
        return chat_ids(
            self.policy.tokenizer,
            sanitize=self.reward.sanitize,
            owner="ImplicitReward",
            name=self.name,
            otherwise="Give its tokenizer the template that training used, or plain texts",
        )

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that can change a score by more than rounding."""
        return {
            "reward": "ImplicitReward",
            "scoring": SCORING,
            "policy": self.policy.identity,
            "reference": self.reference.identity,
            "sanitize": self.reward.sanitize,
            "max_length": self.max_length,
            "dtype": self.reward.dtype,
        }

    def encode(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Token ids, cut at the end, and where the response starts: as TRL's DPO has them."""
        alone, whole = self.prompt_and_whole(prompt, response)
        start = max(1, common_prefix(alone, whole))
        most = self.max_length
        if start >= len(whole) or (most is not None and start >= most):
            raise ValueError(
                f"no token of the response is left: the prompt has {len(alone)} tokens, the whole "
                f"{len(whole)}, and the model takes {most}."
            )
        return {"input_ids": whole[:most], "start": start, "tokens": len(whole)}

    def encode_all(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """:meth:`encode` for many."""
        return list(map(self.encode, prompts, responses))

    def prompt_and_whole(self, prompt: Text, response: Text) -> tuple[list[int], list[int]]:
        """Token ids of the prompt alone, as generation would see it, and of all."""
        bos = self.policy.tokenizer.bos_token_id
        alone, whole = self._as_written(prompt, response)
        ids: list[Ids] = [one_bos({"input_ids": each}, bos) for each in (alone, whole)]
        return ids[0]["input_ids"], ids[1]["input_ids"]

    def _as_written(self, prompt: Text, response: Text) -> tuple[list[int], list[int]]:
        tokenizer = self.policy.tokenizer
        if isinstance(prompt, str) and isinstance(response, str):
            return followed(tokenizer, prompt, response, self.reward.sanitize)
        chat = self._chat
        whole = messages(prompt, response)
        count = 1 if isinstance(prompt, str) else len(prompt)
        parts = [
            chat(whole[:count], add_generation_prompt=True)["input_ids"],
            chat(whole)["input_ids"],
        ]
        return parts[0], parts[1]

    def check_texts(self, responses: Responses) -> dict[str, Any]:
        """Look for what goes wrong between texts and tokens, before the models are loaded."""
        tokenizer, found = self.policy.tokenizer, dict[str, Any]()
        if any(not isinstance(text, str) for text in (*responses.prompts, *responses.texts)):
            _ = self._chat  # which says where there is no template
            held = date_is_held(tokenizer)
            found["date"] = check_date(
                is_dated(tokenizer), held=held, owner="ImplicitReward", name=self.name
            )
            found["system_prompt"] = check_system(
                partial(render, tokenizer),
                responses,
                owner="ImplicitReward",
                name=self.name,
            )
        openings, kinds = [], []
        for i in sample(responses):
            prompt, text = responses.prompts[i], responses.texts[i]
            try:
                alone, whole = self._as_written(prompt, text)
            except Exception:  # the run names the row of what a template refuses
                continue
            openings.append(whole)
            if alone[-1:] == [tokenizer.eos_token_id]:
                alone = alone[:-1]  # some tokenizers end every text with EOS
            kinds.append(boundary(alone, whole, text_goes_on=self._goes_on(prompt, text)))
        found["bos"] = check_bos(tokenizer, openings, owner="ImplicitReward")
        found["boundary"] = check_boundary(kinds, owner="ImplicitReward", all_matter=True)
        return found

    def _goes_on(self, prompt: Text, response: Text) -> bool:
        """Whether the whole begins, as text, with the prompt as generation would see it."""
        if isinstance(prompt, str) and isinstance(response, str):
            return True
        chat = messages(prompt, response)
        count = 1 if isinstance(prompt, str) else len(prompt)
        tokenizer = self.policy.tokenizer
        start = render(tokenizer, chat[:count], add_generation_prompt=True)
        return render(tokenizer, chat).startswith(start)

    def load(self) -> Any:
        """Load policy and reference."""
        loaded = [_load(part, self.reward) for part in (self.policy, self.reference)]
        self.set_back = [part for _, parts, _ in loaded for part in parts]
        self.unused = [name for _, _, names in loaded for name in names]
        return tuple(model for model, _, _ in loaded)

    def forward(self, model: Any, items: Sequence[dict[str, Any]]) -> np.ndarray:
        """Log-ratio of each response in nats, summed over its tokens, shape (item, 1)."""
        torch = self.policy.torch
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
        torch = self.policy.torch
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


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that two texts begin with alike.

    Examples
    --------
    >>> common_prefix([1, 5, 6], [1, 5, 7, 8])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _checkpoint(owner: str, reward: Any, name_or_path: Any, revision: str | None) -> Checkpoint:
    return Checkpoint(
        name_or_path,
        owner=owner,
        what="a causal language model",
        revision=revision,
        device=reward.device,
        dtype=reward.dtype,
        trust_remote_code=reward.trust_remote_code,
    )


def _load(checkpoint: Checkpoint, reward: Any) -> tuple[Any, list[str], list[str]]:
    """Load a language model; parts set back to evaluation; weights left unused."""
    kind = checkpoint.transformers.AutoModelForCausalLM
    model, unused = checkpoint.weights(kind, besides=("v_head.",))
    if reward.dtype != "float32":
        output_in_float32(checkpoint.torch, model, checkpoint.name)
    made = ready(checkpoint.torch, model, checkpoint.device, checkpoint.name, reward.compile)
    return *made, unused


def _logits(model: Any, inputs: dict[str, Any], places: Any) -> Any:
    """Logits at some places alone, shape (item, place, token): the vocabulary is large."""
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        return model(**inputs, logits_to_keep=places).logits
    return model(**inputs).logits[:, places]
