"""From (prompt, response) to token ids: templates, segments, and what is cut."""

import inspect
from collections.abc import Callable
from typing import Any

from prefstrength.errors import InputError
from prefstrength.rewards._responses import flatten, messages

#: Token ids by the name under which a model takes them; all of one length.
Ids = dict[str, list[int]]


def encoder(
    tokenizer: Any, *, template: str, sanitize: bool, segments: bool, name: str
) -> Callable[[Any, Any], Ids]:
    """Build the function from (prompt, response) to token ids and, for pairs, segments."""
    if template == "chat":
        if not tokenizer.chat_template:
            raise InputError(
                f"HFReward expects a chat template in the tokenizer of {name!r}; got "
                "none. The model may have been trained on plain texts. Say how to join prompt "
                "and response: template='plain', or template='pair' for a cross-encoder."
            )
        known = inspect.signature(tokenizer.apply_chat_template).parameters
        if sanitize and "sanitize_control_tokens" not in known:
            raise InputError(
                "HFReward(sanitize=True) expects a transformers whose chat templates can "
                "sanitize control tokens; got an older one. Upgrade transformers, or use "
                "sanitize=False for texts that you trust."
            )
        options = {"sanitize_control_tokens": True} if sanitize else {}

        # the template writes all special tokens itself: tokenising its text in the ordinary
        # way would begin it with a second BOS
        def encode(prompt: Any, response: Any) -> Ids:
            return dict(
                tokenizer.apply_chat_template(
                    messages(prompt, response), tokenize=True, return_dict=True, **options
                )
            )

    elif template == "plain":

        def encode(prompt: Any, response: Any) -> Ids:
            joined = f"{flatten(prompt)}\n{flatten(response)}"
            return dict(tokenizer(joined, split_special_tokens=sanitize))

    else:

        def encode(prompt: Any, response: Any) -> Ids:
            return dict(
                tokenizer(
                    flatten(prompt),
                    flatten(response),
                    return_token_type_ids=segments,
                    split_special_tokens=sanitize,
                )
            )

    return encode


def cut(item: Ids, most: int | None) -> Ids:
    """Keep the first token and the end: what opens the text, and the response that is scored."""
    if most is None or len(item["input_ids"]) <= most:
        return item
    return {name: [*ids[:1], *ids[len(ids) - most + 1 :]] for name, ids in item.items()}
