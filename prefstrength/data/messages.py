"""Conversations as lists of messages, however a file format hands them over."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Message", "to_messages"]

Message = dict[str, str]


def to_messages(value: Any) -> list[Message] | None:
    """Read a list of messages from what Arrow made of it; None where it is something else."""
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) == 0:
        return None
    messages = []
    for message in value:
        if not isinstance(message, Mapping):
            return None
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        messages.append({"role": role, "content": content})
    return messages
