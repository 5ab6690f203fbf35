"""Responses of a language model: batched, the same for any batch size, kept as they come."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from prefstrength._shared.files import require_folder, write_json, write_parquet
from prefstrength.errors import InputError
from prefstrength.mixdpo.models import evaluating, weights_fingerprint

__all__ = [
    "Decoding",
    "ends_of",
    "generate_responses",
    "prompts_that_fit",
    "read_prompts",
    "responses_of_batch",
    "token_ids",
]

#: A text, or a conversation.
Prompt = str | list[dict[str, Any]]

# Part of the identity of a response: raise it when the way of generating changes.
_GENERATING = 1


@dataclass(frozen=True)
class Decoding:
    """How a response is made from a model.

    Parameters
    ----------
    max_new_tokens : int
        Tokens after which a response is cut off.
    temperature : float
        0 takes the most probable token each time; above, tokens are drawn.
    seed : int
        Of the draws. They belong to the prompt, not to its batch or to the model.

    Examples
    --------
    >>> Decoding(max_new_tokens=64)
    Decoding(max_new_tokens=64, temperature=0.0, seed=0)
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"Expected max_new_tokens of at least 1; got {self.max_new_tokens}.")
        if not 0 <= self.temperature < np.inf:
            raise InputError(
                f"Expected a temperature of 0 (greedy) or more; got {self.temperature}."
            )


def generate_responses(
    policy: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    directory: str | os.PathLike[str] | None = None,
    label: str = "responses",
    progress: bool = True,
) -> pd.DataFrame:
    """Let a model answer prompts.

    Parameters
    ----------
    policy : PreTrainedModel or PeftModel
        Where it is and as it is.
    tokenizer : PreTrainedTokenizerBase
        Of the model. A text is tokenised as it is, a conversation by the chat template.
    prompts : sequence
        As of :func:`read_prompts`. Where one occurs several times it is answered once, or with
        ``temperature`` once for each time.
    decoding : Decoding
        How.
    chat_template_kwargs : dict, optional
        What the chat template is given besides, as the column of that name gives it in training:
        ``{"enable_thinking": False}``, or ``tools``.
    batch_size : int
        Prompts of a batch. Batches are sorted by length.
    directory : path, optional
        Where responses are kept, each batch as soon as it is there; those that are there already
        are not made again. Responses of any number of models and settings go side by side.
    label : str
        Of the progress bar.
    progress : bool
        Show it.

    Returns
    -------
    pandas.DataFrame
        One row for each prompt, in their order: ``response``, ``tokens`` (without the one that
        ends it), ``truncated`` (cut off at ``max_new_tokens``).

    Raises
    ------
    InputError
        If a prompt has no tokens, there is no chat template, or prompt and response do not fit
        into the model's context.

    Examples
    --------
    >>> import tempfile
    >>> from transformers import AutoModelForCausalLM, AutoTokenizer
    >>> from prefstrength.mixdpo.tiny import make_tiny_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = make_tiny_model([("Say hello.", "Hello there.")], folder, steps=60, hidden=16)
    ...     model = AutoModelForCausalLM.from_pretrained(folder)
    ...     tokenizer = AutoTokenizer.from_pretrained(folder)
    >>> done = generate_responses(model, tokenizer, ["Say hello."], Decoding(8), progress=False)
    >>> done["response"].tolist(), done["tokens"].tolist()
    (['Hello there .'], [3])
    """
    if batch_size < 1:
        raise InputError(f"Expected batch_size of at least 1; got {batch_size}.")
    given = dict(chat_template_kwargs or {})
    ids = token_ids(tokenizer, prompts, given)
    _check_fits(policy, ids, decoding.max_new_tokens)
    ends = ends_of(policy, tokenizer, given if not isinstance(prompts[0], str) else None)
    kept = None if directory is None else _Kept(Path(directory), _identity(policy, ends, decoding))
    keys = _keys(ids, sampling=decoding.temperature > 0)
    wanted = dict(zip(keys, ids, strict=True))
    found = {} if kept is None else kept.load(set(wanted))
    # The longest first: what does not fit into memory shows at once. Batches are formed of all,
    # so that a resumed run forms the same ones.
    order = sorted(wanted, key=lambda key: -len(wanted[key]))
    pad = next(i for i in (tokenizer.pad_token_id, *ends, 0) if i is not None)
    with (
        evaluating(policy),
        _plain_generation(policy, ends, pad, decoding.max_new_tokens),
        tqdm(
            total=len(wanted), initial=len(found), desc=label, unit="response",
            disable=not progress,
        ) as bar,
    ):  # fmt: skip
        for start in range(0, len(order), batch_size):
            batch = [key for key in order[start : start + batch_size] if key not in found]
            if not batch:
                continue
            made = responses_of_batch(
                policy, [wanted[key] for key in batch], batch, ends, pad, decoding
            )
            part = dict(zip(batch, made, strict=True))
            if kept is not None:
                kept.add(part)
            found |= part
            bar.update(len(batch))
    texts = tokenizer.batch_decode([found[key][0] for key in keys], skip_special_tokens=True)
    return pd.DataFrame(
        {
            "response": texts,
            "tokens": [len(found[key][0]) for key in keys],
            "truncated": [found[key][1] for key in keys],
        }
    )


# -- prompts ---------------------------------------------------------------------------------------


def read_prompts(prompts: Any) -> list[Prompt]:
    """Read prompts: a list or column of texts, or one of conversations.

    Raises
    ------
    InputError
        If there is none, one is empty, or texts and conversations are mixed.

    Examples
    --------
    >>> read_prompts(pd.Series(["Say hello.", "Say goodbye."]))
    ['Say hello.', 'Say goodbye.']
    """
    if isinstance(prompts, str | pd.DataFrame | Mapping):
        raise TypeError(
            "Expected prompts as a list or a column of texts or conversations; got one "
            f"{type(prompts).__name__}. Give a list, or the column: frame['prompt']."
        )
    read = [_read(value) for value in prompts]
    if not read:
        raise InputError("Expected prompts; got none. A filter may have removed them.")
    wrong = [row for row, prompt in enumerate(read) if prompt is None]
    if wrong:
        raise InputError(
            "Expected every prompt as a text that is not empty, or as a list of messages with "
            f"role and content; got something else in {len(wrong)} of {len(read)} prompts "
            f"(first: {', '.join(map(str, wrong[:3]))}). Correct or drop these."
        )
    kinds = {type(prompt) for prompt in read}
    if len(kinds) > 1:
        raise InputError(
            "Expected prompts that are all texts or all conversations; got both. Write a text as "
            "[{'role': 'user', 'content': text}]."
        )
    return [prompt for prompt in read if prompt is not None]


def prompts_that_fit(
    config: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Which prompts leave room for a response within a model's context.

    Parameters
    ----------
    config : PretrainedConfig
        Of the model.
    tokenizer, prompts
        As of :func:`generate_responses`.
    max_new_tokens : int
        Tokens of the longest response.
    chat_template_kwargs : dict, optional
        As of :func:`generate_responses`.

    Returns
    -------
    ndarray of bool, shape (prompt,)

    Examples
    --------
    >>> import tempfile
    >>> from transformers import AutoConfig, AutoTokenizer
    >>> from prefstrength.mixdpo.tiny import make_tiny_model
    >>> with tempfile.TemporaryDirectory() as folder:  # a context of 256 tokens
    ...     _ = make_tiny_model([("Say hello.", "Hello there.")], folder, steps=0)
    ...     config = AutoConfig.from_pretrained(folder)
    ...     tokenizer = AutoTokenizer.from_pretrained(folder)
    >>> prompts_that_fit(config, tokenizer, ["Say hello.", "Hello there"], 254).tolist()
    [False, True]
    """
    ids = token_ids(tokenizer, prompts, dict(chat_template_kwargs or {}))
    return _fits(config, ids, max_new_tokens)


def _read(value: Any) -> Prompt | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        return None
    messages = []
    for message in value:
        if not isinstance(message, Mapping):
            return None
        # Templates write more than these: tool calls, the name of a tool.
        kept = {key: part for key, part in message.items() if part is not None}
        if not isinstance(kept.get("role"), str):
            return None
        if not isinstance(kept.setdefault("content", ""), str):
            return None
        messages.append(kept)
    return messages if any(m["content"].strip() or len(m) > 2 for m in messages) else None


def token_ids(tokenizer: Any, prompts: Sequence[Prompt], given: dict[str, Any]) -> list[list[int]]:
    """Token ids of each prompt, as training would tokenise it."""
    chat = not isinstance(prompts[0], str)
    if chat and not tokenizer.chat_template:
        raise InputError(
            "Expected a chat template for prompts that are conversations; got a tokenizer without "
            "one. Give the prompts as texts, or a tokenizer with a template."
        )
    out = []
    for row, prompt in enumerate(prompts):
        try:
            ids = (
                tokenizer.apply_chat_template(
                    prompt, tokenize=True, add_generation_prompt=True, return_dict=True, **given
                )["input_ids"]
                if chat
                else tokenizer(prompt)["input_ids"]
            )
        except Exception as error:  # templates raise what they like, such as for wrong roles
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(
                f"Expected prompts that the chat template accepts; got {type(error).__name__} in "
                f"prompt {row}: {reason[:300]} Roles may not alternate as this model wants. "
                "Correct that prompt."
            ) from error
        if not len(ids):
            raise InputError(
                f"Expected prompts of at least one token; got none from prompt {row}. Drop it."
            )
        out.append([int(i) for i in ids])
    return out


def _context(config: Any) -> float:
    """Tokens that a model can hold."""
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    return np.inf if most is None else most


def _fits(config: Any, ids: list[list[int]], new: int) -> np.ndarray:
    return np.array([len(each) for each in ids]) + new <= _context(config)


def _check_fits(policy: Any, ids: list[list[int]], new: int) -> None:
    long = np.flatnonzero(~_fits(policy.config, ids, new))
    if len(long):
        raise InputError(
            f"Expected prompts that leave room for {new} new tokens within the "
            f"{_context(policy.config)} that the model has; got {max(map(len, ids))} tokens in the "
            f"longest, and {len(long)} of {len(ids)} prompts that do not (first: {long[0]}). Lower "
            "max_new_tokens, or drop these."
        )


def _keys(ids: list[list[int]], sampling: bool) -> list[str]:
    """A key for every prompt by its tokens, and when sampling by how often it was there before."""
    seen: dict[str, int] = {}
    keys = []
    for each in ids:
        key = hashlib.sha256(json.dumps(each).encode()).hexdigest()
        seen[key] = seen.get(key, -1) + 1
        keys.append(f"{key}-{seen[key]}" if sampling else key)
    return keys


# -- one batch -------------------------------------------------------------------------------------


def ends_of(policy: Any, tokenizer: Any, given: dict[str, Any] | None) -> list[int]:
    """Tokens that end a response: what the model, its tokenizer and its chat template say.

    They differ where a base model was trained on conversations: it ends a turn as the template
    does, and would go on with invented turns until the end of text that its config still names.
    """
    said = getattr(policy.generation_config, "eos_token_id", None)
    ends = set(said if isinstance(said, list | tuple | set) else [said])
    ends |= {tokenizer.eos_token_id, None if given is None else _end_of_turn(tokenizer, given)}
    return sorted(int(end) for end in ends if end is not None)


def _end_of_turn(tokenizer: Any, given: dict[str, Any]) -> int | None:
    """First special token that the template writes behind an answer, whatever it says."""
    try:
        one, other = (
            tokenizer.apply_chat_template(
                [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}],
                tokenize=True,
                return_dict=True,
                **given,
            )["input_ids"]
            for answer in ("b", "c d")
        )
    except Exception:  # a template that wants other roles; those of the prompts are said of there
        return None
    same = 0
    while same < min(len(one), len(other)) and one[-1 - same] == other[-1 - same]:
        same += 1
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    return next((int(token) for token in one[len(one) - same :] if token in special), None)


@contextmanager
def _plain_generation(policy: Any, ends: list[int], pad: int, new: int) -> Iterator[None]:
    """Both models by the same rules: none of the penalties and cut-offs that came with one."""
    models = [policy]
    if hasattr(policy, "get_base_model"):
        models.append(policy.get_base_model())
    before = [model.generation_config for model in models]
    plain = GenerationConfig(
        do_sample=False, max_new_tokens=new, pad_token_id=pad, eos_token_id=ends or None
    )
    try:
        for model in models:
            model.generation_config = plain
        yield
    finally:
        for model, its in zip(models, before, strict=True):
            model.generation_config = its


def responses_of_batch(
    policy: Any,
    prompts: list[list[int]],
    keys: list[str],
    ends: list[int],
    pad: int,
    decoding: Decoding,
) -> list[tuple[list[int], bool]]:
    """Tokens of each response, and whether it was cut off."""
    width = max(len(ids) for ids in prompts)
    tokens = torch.full((len(prompts), width), pad, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, ids in enumerate(prompts):
        tokens[row, width - len(ids) :] = torch.tensor(ids)
        mask[row, width - len(ids) :] = 1
    processors = LogitsProcessorList()
    if decoding.temperature > 0:
        processors.append(Drawn(keys, width, decoding))
    output = policy.generate(
        input_ids=tokens.to(policy.device),
        attention_mask=mask.to(policy.device),
        logits_processor=processors,
    )
    made = []
    for new in output[:, width:].tolist():
        end = next((place for place, token in enumerate(new) if token in ends), None)
        made.append((new if end is None else new[:end], end is None))
    return made


class Drawn(LogitsProcessor):
    """Draws tokens by numbers that belong to the prompt, so that no other prompt changes them.

    The token is where the cumulative distribution passes the number; only it is left to choose.
    """

    def __init__(self, keys: list[str], width: int, decoding: Decoding) -> None:
        self.width, self.temperature = width, decoding.temperature
        draws = []
        for key in keys:
            digest = hashlib.sha256(f"{decoding.seed} {key}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest))
            draws.append(rng.random(decoding.max_new_tokens))
        self.draws = torch.as_tensor(np.stack(draws))

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        # Not every accelerator has float64.
        wide = scores.cpu() if scores.device.type == "mps" else scores
        upto = torch.softmax(wide.double() / self.temperature, dim=-1).cumsum(dim=-1)
        draw = self.draws[:, input_ids.shape[1] - self.width].to(upto.device)
        token = torch.searchsorted(upto, (draw * upto[:, -1])[:, None], right=True)
        token = token.clamp(max=scores.shape[-1] - 1).to(scores.device)
        out = torch.full_like(scores, -torch.inf)
        return out.scatter_(1, token, 0.0)


# -- what is kept ----------------------------------------------------------------------------------


def _identity(policy: Any, ends: list[int], decoding: Decoding) -> dict[str, Any]:
    settings = asdict(decoding)
    if decoding.temperature == 0:
        settings.pop("seed")  # of no effect
    return {
        "generating": _GENERATING,
        "model": weights_fingerprint(policy),
        "ends": ends,
        **settings,
    }


class _Kept:
    """Responses under one identity: Parquet files, each of one batch and whole."""

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        require_folder(folder, "responses")
        self._identity = json.dumps(identity, sort_keys=True)
        self.folder = folder / hashlib.sha256(self._identity.encode()).hexdigest()[:16]

    def load(self, keys: set[str]) -> dict[str, tuple[list[int], bool]]:
        found: dict[str, tuple[list[int], bool]] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                part = pd.read_parquet(path, columns=["key", "ids", "truncated"])
            except (OSError, ValueError, KeyError) as error:
                raise InputError(
                    f"Expected responses of an earlier run in {path}; got a file that cannot be "
                    "read. It may have been damaged. Delete it; its responses are made again."
                ) from error
            for key, ids, truncated in part.itertuples(index=False):
                if key in keys:
                    found[key] = ([int(i) for i in ids], bool(truncated))
        return found

    def add(self, made: dict[str, tuple[list[int], bool]]) -> None:
        about = self.folder / "identity.json"
        if not about.is_file():
            write_json(about, json.loads(self._identity))
        part = pd.DataFrame(
            [(key, ids, truncated) for key, (ids, truncated) in made.items()],
            columns=["key", "ids", "truncated"],
        )
        name = hashlib.sha256("\n".join(made).encode()).hexdigest()[:16]
        write_parquet(self.folder / f"{name}.parquet", part)
