"""Warnings point at the line from which the package was called, whatever stands between."""

import ast
import warnings
from pathlib import Path
from typing import Any

import pytest

from prefstrength._shared.words import warn
from prefstrength.errors import DataWarning, SamplingWarning

PACKAGE = Path(__file__).parents[2] / "prefstrength"


def defined(filename: str, source: str, **names: Any) -> Any:
    """The function ``f`` of a source, as if it were written in that file."""
    exec(compile(source, filename, "exec"), names)
    return names["f"]


@pytest.mark.parametrize("between", ["<string>", "/elsewhere/library/trainer.py", None])
def test_a_warning_points_at_the_line_that_called_the_package(between: str | None) -> None:
    inner = defined(str(PACKAGE / "inner.py"), "def f():\n warn('Mind this.', kind)", warn=warn,
                    kind=SamplingWarning)  # fmt: skip
    if between is not None:  # a dataclass's __init__, or a class of theirs that calls ours
        inner = defined(between, "def f():\n inner()", inner=inner)
    outer = defined(str(PACKAGE / "outer.py"), "def f():\n inner()", inner=inner)
    with pytest.warns(SamplingWarning, match="Mind this") as caught:
        outer()
    assert caught[0].filename == __file__
    line = Path(__file__).read_text(encoding="utf-8").splitlines()[caught[0].lineno - 1]
    assert line.strip() == "outer()"


def test_a_warning_of_data_is_the_usual_one() -> None:
    with pytest.warns(DataWarning) as caught:
        warn("Mind this.")
    assert caught[0].filename == __file__


def test_a_folder_of_a_like_name_is_not_the_package() -> None:
    other = defined(f"{PACKAGE}_of_mine/script.py", "def f():\n warn('Mind this.')", warn=warn)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        other()
    assert caught[0].filename.endswith("script.py")


def test_all_warnings_are_given_in_this_way() -> None:
    others = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
        and ast.unparse(node) in ("warnings.warn", "stacklevel")
        and path != PACKAGE / "_shared" / "words.py"
    ]
    assert others == []
