"""What users may call: every public name with its signature, a line each, without annotations.

``python -m tests.helpers.public_api`` writes the list that ``tests/test_public_api.py`` compares
with. Write it where a change of the public names is meant.
"""

import dataclasses
import inspect
from abc import ABC
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

KEPT = Path(__file__).parents[1] / "public_api.txt"


def signature(function: Callable[..., Any]) -> str:
    """Names, kinds and defaults of the arguments: ``(frame, *, seed=0)``."""
    found = inspect.signature(function)
    plain = [each.replace(annotation=each.empty) for each in found.parameters.values()]
    return str(found.replace(parameters=plain, return_annotation=found.empty))


def is_ours(part: type) -> bool:
    return part.__module__.split(".")[0] == "prefstrength"


def fields(kind: type) -> str:
    """Fields that a dataclass adds to one of another library, as arguments."""
    own = {name for part in kind.__mro__ if is_ours(part) for name in vars(part)}
    own &= {each.name for each in dataclasses.fields(kind)}
    taken = inspect.signature(kind).parameters
    plain = [each.replace(annotation=each.empty) for name, each in taken.items() if name in own]
    return str(inspect.Signature(plain))[:-1] + ", ...)"


def call_of(kind: type) -> str:
    """How an object is made; of errors, and of other libraries' arguments, nothing."""
    if issubclass(kind, BaseException):
        return ""
    if all(is_ours(part) or part in (object, ABC) for part in kind.__mro__):
        return signature(kind)
    return fields(kind) if dataclasses.is_dataclass(kind) else signature(kind)


def members(kind: type) -> Iterator[str]:
    """Public methods and attributes that a class has from this package, inherited or its own."""
    ours = [part for part in kind.__mro__ if is_ours(part)]
    for name in sorted({name for part in ours for name in vars(part)}):
        if not name.startswith("_"):
            value = inspect.getattr_static(kind, name)
            method = isinstance(value, staticmethod | classmethod) or inspect.isfunction(value)
            yield f".{name}{signature(getattr(kind, name)) if method else ''}"


def lines_of(module: ModuleType) -> Iterator[str]:
    for name in sorted(module.__all__):
        value = getattr(module, name)
        where = f"{module.__name__}.{name}"
        if inspect.isclass(value):
            yield where + call_of(value)
            yield from (where + member for member in members(value))
        else:
            yield where + (signature(value) if callable(value) else f": {type(value).__name__}")


def public_api() -> list[str]:
    """Of the analysis and, after it, of training."""
    import prefstrength
    from prefstrength import mixdpo

    return [*lines_of(prefstrength), *lines_of(mixdpo)]


if __name__ == "__main__":
    KEPT.write_text("\n".join(public_api()) + "\n", encoding="utf-8")
