"""Conversations as lists of messages, however a file format hands them over."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from prefstrength._shared.words import shown

Message = dict[str, str]


def to_messages(value: Any) -> list[Message] | None:
    """Read a list of messages from what Arrow made of it; None where it is something else."""
    if not isinstance(value, list | tuple | np.ndarray) or message_fault(value) is not None:
        return None
    return [{"role": message["role"], "content": message["content"]} for message in value]


def message_fault(messages: Any) -> tuple[str, str] | None:
    """What is wrong with a conversation, and what to do about it."""
    if len(messages) == 0:
        return "an empty list", "A response has at least one message. Fill it in or drop the row."
    for message in messages:
        if not isinstance(message, Mapping):
            return (
                f"{type(message).__name__} instead of a message",
                "Other chat formats list bare texts. Make each one a dict with both fields.",
            )
        for field in ("role", "content"):
            if field not in message:
                return (
                    f"a message without {field!r} (its fields: {', '.join(map(shown, message))})",
                    "Other chat formats use other names, such as 'from' and 'value'. "
                    "Rename the fields.",
                )
            if field == "content" and message[field] is None and _calls(message):
                continue  # an assistant that calls a tool and says nothing
            if not isinstance(message[field], str):
                return (
                    f"a message whose {field!r} is {type(message[field]).__name__}",
                    "Images are not read. Keep the text, or drop the row.",
                )
    return None


#: Fields of a message besides role and content that chat templates write.
MORE_FIELDS = ("name", "reasoning_content", "thinking", "tool_call_id", "tool_calls")


def _calls(message: Mapping[str, Any]) -> bool:
    calls = message.get("tool_calls")
    return calls is not None and len(calls) > 0


# Under this name the last message of a prompt holds what its template is given besides.
_OF_TEMPLATE = "of the template"


def read_message(message: Mapping[str, Any]) -> tuple[str, ...]:
    """A message as (role, content); where a template writes more, the rest as JSON behind them."""
    content = message["content"]
    more = {name: message[name] for name in MORE_FIELDS if message.get(name) is not None}
    more = {name: value for name, value in more.items() if len(value)}
    if not more:
        return (message["role"], content)
    if content is None:
        more["content"] = None
    return (message["role"], content or "", _json(more))


def more_of(message: tuple[str, ...]) -> dict[str, Any]:
    """What a message has besides role and content, such as the tools it calls."""
    more: dict[str, Any] = json.loads(message[2]) if len(message) > 2 else {}
    more.pop(_OF_TEMPLATE, None)
    return more


def with_options(
    conversation: tuple[tuple[str, ...], ...], options: Mapping[str, Any]
) -> tuple[tuple[str, ...], ...]:
    """A prompt with what the chat template is given for it, such as tools."""
    *first, last = conversation
    more = {**more_of(last), _OF_TEMPLATE: dict(options)}
    return (*first, (*last[:2], _json(more)))


def options_of(prompt: Any) -> dict[str, Any]:
    """What the chat template is given besides the messages; see :func:`with_options`."""
    if isinstance(prompt, str) or len(prompt[-1]) < 3:
        return {}
    options: dict[str, Any] = json.loads(prompt[-1][2]).get(_OF_TEMPLATE, {})
    return options


def template_options(tools: Any, given: Any) -> dict[str, Any]:
    """What the columns tools and chat_template_kwargs give the template.

    As in training: tools as a list or as the JSON of one.
    """
    tools = json.loads(tools) if isinstance(tools, str) else tools
    options = {} if _missing(given) else {k: v for k, v in dict(given).items() if v is not None}
    if not _missing(tools):
        options["tools"] = tools
    return options


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Arrays and numbers of NumPy, as Parquet is read into."""
    return value.tolist()
