"""Public names and their signatures are those of the stored list: none changes by accident."""

import dataclasses
import difflib
import importlib
from dataclasses import dataclass

import pytest

from tests.helpers import public_api


@pytest.mark.parametrize("module", ["prefstrength", "prefstrength.mixdpo"])
def test_public_names_and_signatures_are_those_promised(module: str) -> None:
    if module.endswith("mixdpo"):
        pytest.importorskip("trl")
    promised = public_api.KEPT.read_text(encoding="utf-8").splitlines()
    others = "prefstrength.mixdpo." if module == "prefstrength" else "\n"
    kept = [line for line in promised if line.startswith(module) and not line.startswith(others)]
    found = list(public_api.lines_of(importlib.import_module(module)))
    changes = "\n".join(difflib.unified_diff(kept, found, "promised", "found", lineterm="", n=0))
    assert not changes, (
        f"{changes}\nPublic names changed. Where that is meant, say so in CHANGELOG.md and write "
        "the list anew: python -m tests.helpers.public_api"
    )


class Theirs:
    """As from another library."""

    def inherited(self) -> None:
        raise NotImplementedError


@dataclass
class TheirOptions:
    theirs: int = 1
    changed: int = 2


TheirOptions.__module__ = Theirs.__module__ = "elsewhere"


def test_the_list_sees_what_it_should() -> None:
    """Kinds of arguments, defaults, methods of bases of ours, and nothing of other libraries."""

    class Base:
        __module__ = "prefstrength.somewhere"

        def first(self, /, at: int, *, low: float = 0.5) -> float:
            raise NotImplementedError

        def _hidden(self) -> None:
            raise NotImplementedError

    class Leaf(Base, Theirs):
        __module__ = "prefstrength.somewhere"
        size: int = 3

        @classmethod
        def load(cls, *paths: str, **options: bool) -> None:
            raise NotImplementedError

        @property
        def shown(self) -> str:
            raise NotImplementedError

    assert list(public_api.members(Leaf)) == [
        ".first(self, /, at, *, low=0.5)",
        ".load(*paths, **options)",
        ".shown",
        ".size",
    ]

    @dataclass
    class Options(TheirOptions):
        changed: int = 5
        own: str = "all"

    Options.__module__ = "prefstrength.somewhere"
    assert [field.name for field in dataclasses.fields(Options)] == ["theirs", "changed", "own"]
    assert public_api.call_of(Options) == "(changed=5, own='all', ...)"
    assert public_api.call_of(Leaf) == "()"
    assert public_api.call_of(ValueError) == ""
