"""Content hash of choices: a SHA-256 that is the same on every machine."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from prefstrength.choice.responses.base import Response
from prefstrength.data.factor import Dropped


def feed(digest: Any, name: str, value: Any) -> None:
    """Add one field; lengths and names go in, so that neighbours cannot be confused."""
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
        digest.update(json.dumps([name, little.dtype.str, little.shape]).encode())
        digest.update(little.tobytes())
    elif isinstance(value, Mapping):
        digest.update(json.dumps([name, len(value)]).encode())
        for key, factor in value.items():
            feed(digest, key, factor.codes)
            feed(digest, key, factor.levels)
    else:
        digest.update(json.dumps([name, _plain(value)]).encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Response):
        return [value.name, value.settings]
    if isinstance(value, Dropped):
        return [value.reason, value.count, list(value.rows)]
    if isinstance(value, Iterable) and not isinstance(value, str):
        if set(map(type, value)) == {str}:  # labels, by the million
            return list(value)
        return [_plain(part) for part in value]
    return value
