"""Conversations as lists of messages, however a file format hands them over."""

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
            if not isinstance(message[field], str):
                return (
                    f"a message whose {field!r} is {type(message[field]).__name__}",
                    "Images and tool calls are not read. Keep the text, or drop the row.",
                )
    return None
