"""Imports go one way, and each half of the package works without the other's libraries."""

import ast
import graphlib
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.processes import JAX, TORCH, python

PACKAGE = Path(__file__).parents[1] / "prefstrength"

#: Loaded where they are used, so that importing the package stays light.
HEAVY = JAX | TORCH | {"sklearn", "matplotlib", "arviz", "arviz_base", "arviz_plots", "datasets"}

MAY_USE_TORCH = {"rewards.language_models.checkpoint", "rewards.engine.packed"}
#: Rooms that training loads, or that work where JAX is not wanted.
WITHOUT_JAX = {"errors", "_shared", "choice", "data", "rewards", "mixdpo", "recipes"}

#: Lines of the longest file.
LONGEST = 500

#: Each room and the rooms that it may import; what a room may not is what keeps it simple.
#: Imports inside functions and for type checkers count like all others.
BASE = {"errors", "_shared"}
CHOICES = BASE | {"choice", "data"}
ANALYSIS = CHOICES | {"likelihood", "inference", "posterior", "models"}
MAY_IMPORT = {
    "errors": set(),
    "_shared": {"errors"},
    "choice": BASE,
    "data": BASE | {"choice"},
    "likelihood": CHOICES,
    "inference": CHOICES | {"likelihood"},
    "posterior": BASE | {"choice"},
    "plots": CHOICES | {"posterior"},
    "models": CHOICES | {"likelihood", "inference", "posterior"},
    "validation": ANALYSIS | {"plots"},
    "report": ANALYSIS | {"plots", "validation"},
    "rewards": BASE | {"data"},
    "mixdpo": BASE | {"choice"},
    "recipes": CHOICES | {"rewards", "report", "mixdpo"},
    "pipeline": ANALYSIS | {"plots", "validation", "report", "rewards", "mixdpo", "recipes"},
    "__main__": {"pipeline"},
}
#: Rooms that use the package as its users do, by its public names.
USERS = {"pipeline", "recipes"}
#: Entries at the top of the package, rooms and files together.
MOST_ENTRIES = 20


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def entries() -> list[Path]:
    """Rooms and files at the top of the package."""
    return [p for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()]


def name_of(path: Path) -> str:
    """``prefstrength/mixdpo/trainer.py`` -> ``mixdpo.trainer``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Full dotted names that a module imports, anywhere; ``top_level``: when it is loaded."""
    found = set()
    for node in walk(ast.parse(path.read_text(encoding="utf-8")), top_level=top_level):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def walk(node: ast.AST, *, top_level: bool) -> Iterator[ast.AST]:
    """Every node; at top level none in a function and none for type checkers alone."""
    if top_level and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: list[ast.AST] = [*node.orelse]
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        if top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from walk(child, top_level=top_level)


def libraries(path: Path, *, top_level: bool = False) -> set[str]:
    """Libraries of others."""
    return {name.split(".")[0] for name in imports(path, top_level=top_level)} - {"prefstrength"}


def graph() -> dict[str, set[str]]:
    """Modules of ours with those they import; the package's public names are ``""``."""
    known = {name_of(path): path for path in modules()}
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        found[module] = set()
        for name in imports(path):
            first, *rest = name.split(".")
            if first == "prefstrength":
                while ".".join(rest) not in known:
                    rest = rest[:-1]  # the last part is what is imported from the module
                found[module].add(".".join(rest))
        found[module].discard(module)
    return found


def room(module: str) -> str:
    return module.split(".")[0]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, by way of any others."""
    sorter = graphlib.TopologicalSorter(edges)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        return [error.args[1]]
    return []


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path) -> None:
    """The rules below are worth nothing if the reader is blind."""
    path = tmp_path / "module.py"
    path.write_text(
        textwrap.dedent(
            """
            from typing import TYPE_CHECKING
            import numpy as np
            if TYPE_CHECKING:
                import pandas
            else:
                import scipy.stats
            class A:
                import json
                def f(self):
                    from torch import nn
            """
        ),
        encoding="utf-8",
    )
    assert libraries(path) == {"typing", "numpy", "pandas", "scipy", "json", "torch"}
    assert libraries(path, top_level=True) == {"typing", "numpy", "scipy", "json"}


def test_the_rules_are_seen_broken() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}})
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_imports_make_no_circle() -> None:
    edges = {module: found - {""} for module, found in graph().items()}
    assert circles(edges) == []


def test_imports_go_one_way() -> None:
    """Every room imports only what stands below it, and every room has its place."""
    rooms = {room(module) for module in graph()} - {""}
    assert rooms == set(MAY_IMPORT)
    upward = [
        f"{module} imports {other or 'the public names'}"
        for module, found in graph().items()
        for other in found
        if room(module) not in ({"", room(other)} if other else {"", *USERS})
        and (not other or room(other) not in MAY_IMPORT[room(module)])
    ]
    assert upward == []


def test_the_order_of_the_rooms_has_no_circle() -> None:
    assert circles(MAY_IMPORT) == []


def test_the_top_of_the_package_is_a_table_of_contents() -> None:
    assert len(entries()) <= MOST_ENTRIES
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= LONGEST, f"{name_of(path)} has {lines} lines: two jobs, or more"


def test_libraries_that_few_modules_may_know() -> None:
    """Analysis without torch, training without JAX, and what one module alone uses."""
    for path in modules():
        name, used = name_of(path), libraries(path)
        if room(name) != "mixdpo" and name not in MAY_USE_TORCH:
            assert not used & TORCH, name
        if room(name) in WITHOUT_JAX:
            assert not used & JAX, name
        if name != "rewards.text":
            assert "sklearn" not in used, f"{name}: scikit-learn belongs to rewards/text.py"
        if room(name) != "mixdpo":
            assert "datasets" not in libraries(path, top_level=True), name


# -- in processes of their own -------------------------------------------------------------------


def private_names(text: str) -> set[str]:
    """Names of the package that begin with an underscore and are used in a file."""
    tree, own, found = ast.parse(text), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            taken = [(a.name, a.asname or a.name.split(".")[0]) for a in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            taken = [(f"{node.module}.{a.name}", a.asname or a.name) for a in node.names]
        else:
            continue
        for whole, name in taken:
            if whole.split(".")[0] == "prefstrength":
                own.add(name)
                found |= {whole} if is_private(whole.split(".")[-1]) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            root = node.value
            if isinstance(root, ast.Attribute):  # ps.Choices._x; but not function._cache_size
                root = root.value if root.attr[0].isupper() else node
            if isinstance(root, ast.Name) and root.id in own:
                found.add(f"{root.id}.{node.attr}")
    return found


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_shared"


def test_tests_go_through_public_doors() -> None:
    planted = "import prefstrength as ps\nfrom prefstrength.x import _y\nps.Choices._z\nps.Choices"
    assert private_names(planted) == {"prefstrength.x._y", "ps._z"}
    found = {
        str(path.relative_to(PACKAGE.parent)): names
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        if (names := private_names(path.read_text()))
    }
    assert not found


def test_importing_the_package_is_light() -> None:
    loaded = python(
        f"""
        import sys
        import prefstrength
        print(*sorted({HEAVY!r} & {{name.split(".")[0] for name in sys.modules}}))
        """
    )
    assert loaded.split() == []


def test_hiding_hides() -> None:
    """A test that runs without torch proves nothing if torch was in reach."""
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        python("import torch", hidden=TORCH)


def test_the_trainer_runs_without_jax(tmp_path: Path) -> None:
    """From the same data: the demo's pairs, and a prior as the analysis writes it."""
    said = python(
        """
        import math, sys
        from datasets import Dataset
        from prefstrength.pipeline.demo_data import make_demo_data
        from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
        from prefstrength.mixdpo.tiny import make_tiny_model
        from prefstrength.choice.strength_prior import StrengthPrior

        pairs = make_demo_data(choosers=6, situations=8).pairs
        texts = list(zip(pairs["prompt"], pairs["chosen"], strict=True))
        make_tiny_model(texts, "model", steps=2, hidden=16, layers=1)
        StrengthPrior("LogNormal", math.log(0.1), 0.1, math.log(0.5), 0.2).save("prior.json")
        args = MixDPOConfig(
            "train", strength="prior.json", max_steps=2, per_device_train_batch_size=4,
            report_to="none", save_strategy="no", use_cpu=True, bf16=False, disable_tqdm=True,
        )
        columns = Dataset.from_pandas(pairs[["prompt", "chosen", "rejected"]])
        trainer = MixDPOTrainer("model", args=args, train_dataset=columns)
        trainer.train()
        print("learned", trainer.strength.learned().steps)
        assert not {"jax", "numpyro", "arviz"} & set(sys.modules)
        """,
        hidden=JAX | {"arviz", "arviz_base", "arviz_stats", "arviz_plots"},
        cwd=tmp_path,
    )
    assert "learned 2" in said
