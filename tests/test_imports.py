"""Imports go one way, and each half of the package works without the other's libraries."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "prefstrength"

TORCH = {"torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "safetensors"}
JAX = {"jax", "jaxlib", "numpyro"}
#: Loaded where they are used, so that importing the package stays light.
HEAVY = JAX | TORCH | {"sklearn", "matplotlib", "arviz", "arviz_base", "arviz_plots", "datasets"}

#: The only modules of ours that the trainer may use.
TRAINER_MAY_USE = {"mixing", "compound", "kernel", "prior", "learned", "errors", "_files", "mixdpo"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """``prefstrength/mixdpo/trainer.py`` -> ``mixdpo.trainer``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level: bool = False) -> set[str]:
    """Full dotted names that a module imports; those under ``if TYPE_CHECKING`` do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in walk(tree, top_level=top_level):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def walk(node: ast.AST, *, top_level: bool) -> Iterator[ast.AST]:
    """Every node that runs: none for type checkers alone; none in a function at top level."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
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


def ours(path: Path) -> set[str]:
    """Modules of the package, as ``mixdpo.trainer``; the package's root is ``""``."""
    known = {name_of(other) for other in modules()}
    found = set()
    for name in imports(path):
        if name.split(".")[0] == "prefstrength":
            rest = name.split(".")[1:]
            while ".".join(rest) not in known:
                rest = rest[:-1]  # the last part is what is imported from the module
            found.add(".".join(rest))
    return found - {name_of(path)}


def layer(module: str) -> str:
    return module.split(".")[0]


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
    assert libraries(path) == {"typing", "numpy", "scipy", "json", "torch"}
    assert libraries(path, top_level=True) == {"typing", "numpy", "scipy", "json"}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_torch_stays_in_mixdpo_and_the_reward_models(path: Path) -> None:
    if layer(name_of(path)) == "mixdpo" or name_of(path) in (
        "rewards._checkpoint",
        "rewards._packed",
    ):
        return
    assert not libraries(path) & TORCH


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_jax_stays_out_of_training(path: Path) -> None:
    if layer(name_of(path)) not in TRAINER_MAY_USE | {"rewards", "sources", ""}:
        return
    assert not libraries(path) & JAX


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_libraries_that_few_modules_may_know(path: Path) -> None:
    name = name_of(path)
    if name != "rewards.text":
        assert "sklearn" not in libraries(path), "scikit-learn belongs to rewards/text.py"
    if layer(name) != "mixdpo":
        assert "datasets" not in libraries(path, top_level=True), "datasets only inside functions"


@pytest.mark.parametrize(
    "path", [p for p in modules() if layer(name_of(p)) == "mixdpo"], ids=name_of
)
def test_the_trainer_uses_only_the_bridge(path: Path) -> None:
    assert {layer(module) for module in ours(path)} <= TRAINER_MAY_USE


#: module -> layers that it must not import, directly or through others of ours.
MUST_NOT_REACH = {
    "mixing": {"kernel", "choices", "models", "inference", "fit", "strength", "mixdpo"},
    "kernel": {"choices", "models", "inference", "fit", "strength", "mixdpo"},
    "logit": {"choices", "models", "inference", "fit", "strength", "mixdpo"},
    "choices": {"mixed", "compress", "models", "inference", "fit", "strength", "mixdpo"},
    "mixed": {"models", "inference", "fit", "strength", "mixdpo"},
    "compress": {"models", "inference", "fit", "strength", "mixdpo"},
    "fit": {"models", "inference", "mixdpo"},
    "strength": {"models", "inference", "mixdpo"},
    "checks": {"models", "inference", "mixdpo"},
    "comparison": {"models", "inference", "mixdpo"},
    "plots": {"models", "inference", "mixdpo"},
    "report": {"models", "inference", "mixdpo"},
    "models": {"strength", "checks", "plots", "report", "mixdpo"},
    "inference": {"strength", "checks", "plots", "report", "mixdpo"},
    "rewards": {"models", "inference", "fit", "strength", "mixdpo"},
    "sources": {"models", "inference", "fit", "strength", "mixdpo"},
    "recipes": {"models", "inference", "fit", "strength", "checks", "mixdpo", "report", "plots"},
    "prior": {"models", "inference", "mixdpo", "plots", "report"},
    "learned": {"models", "inference", "mixdpo", "plots", "report"},
}  # fmt: skip


def top_level_ours(path: Path) -> set[str]:
    """Modules of ours that loading ``path`` loads; those inside functions load on use."""
    inside = imports(path) - imports(path, top_level=True)
    return {m for m in ours(path) if not any(n.startswith(f"prefstrength.{m}") for n in inside)}


@pytest.mark.parametrize("source", sorted(MUST_NOT_REACH))
def test_imports_go_one_way(source: str) -> None:
    graph = {name_of(path): top_level_ours(path) - {""} for path in modules()}
    start = {module for module in graph if layer(module) == source}
    if not start:
        pytest.fail(f"the package has no module {source}; mend the table of this test")
    seen, queue = set(start), list(start)
    while queue:
        for module in graph[queue.pop()] - seen:
            seen.add(module)
            queue.append(module)
    assert not {layer(module) for module in seen} & MUST_NOT_REACH[source]


# -- in processes of their own -------------------------------------------------------------------

HIDE = """
import sys
class Hidden:
    # A finder that does not find some libraries, as if they were not installed.
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Hidden(finder) for finder in sys.meta_path]
"""


def python(code: str, hidden: set[str] | None = None, cwd: Path | None = None) -> str:
    """Run ``code`` in a fresh interpreter that does not find the ``hidden`` libraries."""
    prelude = HIDE.format(hidden=sorted(hidden)) if hidden else ""
    done = subprocess.run(
        [sys.executable, "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


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


def test_the_analysis_runs_without_torch(tmp_path: Path) -> None:
    said = python(
        """
        from prefstrength.demo import run_demo
        fit = run_demo(
            "out", choosers=120, situations=12, train=False, progress=False,
            sampler={"draws": 200, "warmup": 200, "chains": 2},
        )
        print(fit.method)
        """,
        hidden=TORCH | {"datasets"},
        cwd=tmp_path,
    )
    assert said.strip()
    for name in ("report.html", "strength_prior.json", "heterogeneity.csv", "provenance.json"):
        assert (tmp_path / "out" / name).is_file()


def test_the_trainer_runs_without_jax(tmp_path: Path) -> None:
    """From the same data: the demo's pairs, and a prior as the analysis writes it."""
    said = python(
        """
        import math, sys
        from datasets import Dataset
        from prefstrength.demo_data import make_demo_data
        from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
        from prefstrength.mixdpo.tiny import make_tiny_model
        from prefstrength.prior import StrengthPrior

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
