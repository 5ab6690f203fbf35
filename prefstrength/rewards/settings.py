"""Settings that all rewards from models share, checked at the door."""

import os
from typing import Any

from prefstrength.errors import InputError

TEMPLATES = ("chat", "plain", "trl", "pair")
DTYPES = ("float32", "bfloat16", "float16")


def check_settings(reward: Any, templates: tuple[str, ...] = TEMPLATES) -> None:
    """Check what every reward from a model has: name, dtype, batch, length, truncation."""
    kind = type(reward).__name__
    check_name(kind, reward.name_or_path)
    check_one_of(kind, "dtype", reward.dtype, DTYPES)
    if hasattr(reward, "template"):
        check_one_of(kind, "template", reward.template, templates)
    check_whole(kind, "batch_size", reward.batch_size, 1)
    check_whole(kind, "max_length", reward.max_length, 2)
    if not 0 <= reward.max_truncated <= 1:
        raise InputError(
            f"{kind} expects max_truncated as a share between 0 and 1; got "
            f"{reward.max_truncated}. One per cent is 0.01."
        )


def check_name(kind: str, name_or_path: Any) -> None:
    """Refuse a model object, which has no place from which to load it again."""
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(
            f"{kind} expects a name on the hub or a folder; got "
            f"{type(name_or_path).__name__}. Save a model first: model.save_pretrained()."
        )


def check_one_of(kind: str, name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is none of the allowed ones."""
    if value not in allowed:
        raise InputError(
            f"{kind} expects {name} to be one of {', '.join(map(repr, allowed))}; got {value!r}."
        )


def check_whole(kind: str, name: str, value: Any, least: int) -> None:
    """Refuse what is no whole number, or too small; None stands for the default."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{kind} expects a whole number for {name}; got {value!r}.")
    if value is not None and value < least:
        raise InputError(f"{kind} expects {name} of at least {least}; got {value}.")
