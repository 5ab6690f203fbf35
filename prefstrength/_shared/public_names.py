"""Public names of a package: read from its stub, the one list, and loaded on first use."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lazy_loader

__all__ = ["attach"]


def attach(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the stub beside its file.

    What ``lazy_loader.attach_stub`` does, but ``from .room import *`` is allowed, too: the names
    of that room's own stub, so that a name is written down once.
    """
    return lazy_loader.attach(package, *_read(Path(file).with_suffix(".pyi")))


def _read(stub: Path) -> tuple[set[str], dict[str, list[str]]]:
    """Submodules, and names by the submodule they come from."""
    submodules: set[str] = set()
    names: dict[str, list[str]] = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        found = [alias.name for alias in node.names]
        if node.module is None:
            submodules |= set(found)
        elif found == ["*"]:
            _, inner = _read(stub.parent.joinpath(*node.module.split("."), "__init__.pyi"))
            names |= {f"{node.module}.{part}": theirs for part, theirs in inner.items()}
        else:
            names.setdefault(node.module, []).extend(found)
    return submodules, names
