"""From (prompt, response) to token ids: templates, segments, one BOS, and what is cut."""

import inspect
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from prefstrength.data.messages import options_of
from prefstrength.errors import InputError
from prefstrength.rewards.engine.guards import boundary
from prefstrength.rewards.engine.responses import flatten, messages

#: What templates that write today's date are told, so that a score does not depend on the day: the
#: date that Llama's templates fall back to.
TODAY = datetime(2024, 7, 26)

#: How templates ask for it; where the format is written there, it is the second group.
_ASKED = re.compile(r"strftime_now\s*\(")
_DATE = re.compile(r"""strftime_now\s*\(\s*(["'])(.*?)\1\s*\)""")

#: Token ids by the name under which a model takes them; all of one length.
Ids = dict[str, list[int]]
#: The same of several texts.
ManyIds = dict[str, list[list[int]]]


class Reader:
    """Reads (prompt, response) as a reward model takes it: one text, one number.

    Parameters
    ----------
    tokenizer
        A tokenizer of transformers.
    template : {"chat", "plain", "trl", "pair"}
        How prompt and response are joined.
    sanitize : bool
        Read control tokens inside the texts as ordinary text.
    segments : bool
        Whether the model tells the two texts of a pair apart.
    max_length : int or None
        Tokens that are kept.
    owner, name : str
        The reward that asks and the model, for the sentences.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        template: str,
        sanitize: bool,
        segments: bool,
        max_length: int | None,
        owner: str,
        name: str,
    ) -> None:
        self.tokenizer, self.template, self.max_length = tokenizer, template, max_length
        self.sanitize, self.segments = sanitize, segments
        self._owner, self._name = owner, name
        # only cross-encoders are asked for segments; others would score differently with them
        self._taken = ("input_ids", "token_type_ids") if template == "pair" else ("input_ids",)
        if template == "chat":
            self.require_chat_template()

    def __call__(self, prompt: Any, response: Any) -> dict[str, Any]:
        """Return ids as the model takes them, cut to its length, and ``tokens`` before that."""
        return self.many([prompt], [response])[0]

    def many(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[dict[str, Any]]:
        """Read many at once, which the tokenizer divides between its threads."""
        found = []
        for written in self._written(prompts, responses):
            ids = one_bos(written, self.tokenizer.bos_token_id)
            found.append({**cut(ids, self.max_length), "tokens": len(ids["input_ids"])})
        return found

    def as_written(self, prompt: Any, response: Any) -> Ids:
        """Return all ids as template and tokenizer write them."""
        return self._written([prompt], [response])[0]

    def _written(self, prompts: Sequence[Any], responses: Sequence[Any]) -> list[Ids]:
        chats = list(map(self.is_chat, prompts, responses))
        found: list[Ids] = [{} for _ in chats]
        for join, chat in ((self._chats, True), (self._texts, False)):
            places = [i for i, is_chat in enumerate(chats) if is_chat is chat]
            if places:
                ids = join([prompts[i] for i in places], [responses[i] for i in places])
                for number, i in enumerate(places):
                    taken = (name for name in self._taken if name in ids)
                    found[i] = {name: list(ids[name][number]) for name in taken}
        return found

    def boundary(self, prompt: Any, response: Any) -> str | None:
        """Say how the tokens of the prompt go over into the whole, as of ``guards.boundary``."""
        if self.template == "pair":
            return None  # two texts, which cannot merge
        tokenizer = self.tokenizer
        if not self.is_chat(prompt, response):
            alone = flatten(prompt) + ("\n" if self.template == "plain" else "")
            text = alone + flatten(response)
            ids = [
                tokenizer(each, add_special_tokens=False, split_special_tokens=self.sanitize)
                for each in (alone, text)
            ]
            return boundary(ids[0]["input_ids"], ids[1]["input_ids"], text_goes_on=True)
        chat = messages(prompt, response)
        count = 1 if isinstance(prompt, str) else len(prompt)
        options = options_of(prompt)
        text = self.render(chat, **options)
        whole = tokenizer(text, add_special_tokens=False)["input_ids"]
        for add in (True, False):
            try:
                start = self.render(chat[:count], add_generation_prompt=add, **options)
            except Exception:  # a template may refuse a conversation without an answer
                return None
            if text.startswith(start):
                alone = tokenizer(start, add_special_tokens=False)["input_ids"]
                return boundary(alone, whole, text_goes_on=True)
        return "otherwise"

    def render(self, conversation: list[dict[str, str]], **options: Any) -> str:
        """Text that the chat template writes."""
        return render(self.tokenizer, conversation, **options)

    def is_chat(self, prompt: Any, response: Any) -> bool:
        """Whether the chat template writes the two: TRL asks it for conversations alone."""
        plain = isinstance(prompt, str) and isinstance(response, str)
        return self.template == "chat" or (self.template == "trl" and not plain)

    def require_chat_template(self) -> None:
        """Refuse a tokenizer without one."""
        _ = self._chat

    @cached_property
    def _chat(self) -> Callable[..., Any]:
        """From messages, or lists of them, to token ids."""
        return chat_ids(
            self.tokenizer,
            sanitize=self.sanitize,
            owner=self._owner,
            name=self._name,
            otherwise="Say how to join prompt and response: `template='plain'`, or "
            "`template='pair'` for a cross-encoder"
            if self.template == "chat"
            else "Give its tokenizer the template that training used, or plain texts",
        )

    def _chats(self, prompts: Sequence[Any], responses: Sequence[Any]) -> ManyIds:
        chats = list(map(messages, prompts, responses))
        options = list(map(options_of, prompts))
        if not any(options):
            return self._chat(chats)
        each = [self._chat(chat, **given) for chat, given in zip(chats, options, strict=True)]
        return {name: [ids[name] for ids in each] for name in each[0]}

    def _texts(self, prompts: Sequence[Any], responses: Sequence[Any]) -> ManyIds:
        tokenizer, sanitize = self.tokenizer, self.sanitize
        if self.template == "pair":
            return dict(
                tokenizer(
                    list(map(flatten, prompts)),
                    list(map(flatten, responses)),
                    return_token_type_ids=self.segments,
                    split_special_tokens=sanitize,
                )
            )
        if self.template == "plain":
            texts = [f"{flatten(p)}\n{flatten(r)}" for p, r in zip(prompts, responses, strict=True)]
            return dict(tokenizer(texts, split_special_tokens=sanitize))
        texts = [_before_eos(tokenizer, p, r) for p, r in zip(prompts, responses, strict=True)]
        ids = tokenizer(texts, split_special_tokens=sanitize)["input_ids"]
        return {"input_ids": [_with_eos(tokenizer, each) for each in ids]}


def followed(
    tokenizer: Any, prompt: str, response: str, sanitize: bool
) -> tuple[list[int], list[int]]:
    """Token ids of a prompt, and of the prompt with its response and EOS, as TRL has them."""
    texts = [prompt, _before_eos(tokenizer, prompt, response)]
    alone, whole = tokenizer(texts, split_special_tokens=sanitize)["input_ids"]
    return list(alone), _with_eos(tokenizer, whole)


def _before_eos(tokenizer: Any, prompt: str, response: str) -> str:
    eos = tokenizer.eos_token or ""
    return prompt + (response.removesuffix(eos) if eos else response)


def _with_eos(tokenizer: Any, ids: Sequence[int]) -> list[int]:
    # by its id: inside a text that is not trusted it would be read as ordinary text
    return [*ids, tokenizer.eos_token_id] if tokenizer.eos_token else list(ids)


def chat_ids(
    tokenizer: Any, *, sanitize: bool, owner: str, name: str, otherwise: str
) -> Callable[..., Any]:
    """Build the function from messages, or lists of them, to token ids by the chat template.

    ``otherwise`` is what to do where there is no template.
    """
    if not tokenizer.chat_template:
        raise InputError(
            f"{owner} expects a chat template in the tokenizer of {name!r}; got "
            f"none. The model may have been trained on plain texts. {otherwise}."
        )
    known = inspect.signature(tokenizer.apply_chat_template).parameters
    if sanitize and "sanitize_control_tokens" not in known:
        raise InputError(
            f"{owner} with `sanitize=True` expects a transformers whose chat templates can "
            "sanitize control tokens; got an older one. Upgrade transformers, or use "
            "`sanitize=False` for texts that you trust."
        )
    options: dict[str, Any] = {"sanitize_control_tokens": True} if sanitize else {}
    options |= _the_date(tokenizer)

    # the template writes all special tokens itself: tokenising its text in the ordinary
    # way would begin it with a second BOS
    def ids(conversation: Any, **more: Any) -> Any:
        return dict(
            tokenizer.apply_chat_template(
                conversation, tokenize=True, return_dict=True, **options, **more
            )
        )

    return ids


def render(tokenizer: Any, conversation: list[dict[str, str]], **options: Any) -> str:
    """Text that the chat template writes."""
    return str(
        tokenizer.apply_chat_template(
            conversation, tokenize=False, **_the_date(tokenizer), **options
        )
    )


def is_dated(tokenizer: Any) -> bool:
    """Whether the chat template writes today's date."""
    return bool(tokenizer.chat_template) and bool(_ASKED.search(tokenizer.get_chat_template()))


def date_is_held(tokenizer: Any) -> bool:
    """Whether every date that the chat template writes can be filled in."""
    return not (is_dated(tokenizer) and _ASKED.search(_DATE.sub("", tokenizer.get_chat_template())))


def _the_date(tokenizer: Any) -> dict[str, Any]:
    """Option that holds the date of a dated template fixed: the template with the date filled in.

    A function of another name cannot be handed over: sanitising turns it into text.
    """
    if not is_dated(tokenizer):
        return {}
    template = tokenizer.get_chat_template()
    return {"chat_template": _DATE.sub(lambda call: repr(TODAY.strftime(call[2])), template)}


def one_bos(item: Ids, bos: int | None) -> Ids:
    """Drop what repeats an opening BOS: no model was trained on two.

    Examples
    --------
    >>> one_bos({"input_ids": [1, 1, 7, 1]}, 1)
    {'input_ids': [1, 7, 1]}
    """
    ids = item["input_ids"]
    extra = 0
    while bos is not None and ids[extra : extra + 2] == [bos, bos]:
        extra += 1
    return {name: values[extra:] for name, values in item.items()} if extra else item


def cut(item: Ids, most: int | None) -> Ids:
    """Keep the first token and the end: what opens the text, and the response that is scored."""
    if most is None or len(item["input_ids"]) <= most:
        return item
    return {name: [*ids[:1], *ids[len(ids) - most + 1 :]] for name, ids in item.items()}
