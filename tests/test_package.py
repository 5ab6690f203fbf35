"""The package as it is handed out: metadata, public names, the files around the code."""

import importlib.metadata
import inspect
import re
import tomllib
from pathlib import Path

import pytest

import prefstrength as ps

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("benchmarks", "data", "docs", "notebooks", "prefstrength", "recipes", "tests")
TORCH = {"torch", "transformers", "trl", "accelerate", "peft", "safetensors", "datasets"}


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in requirements}


def test_version_is_the_same_everywhere() -> None:
    assert ps.__version__ == importlib.metadata.version("prefstrength") == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {PROJECT['version']}\n" in citation


def test_the_analysis_installs_without_torch() -> None:
    assert not names_of(PROJECT["dependencies"]) & TORCH
    extras = PROJECT["optional-dependencies"]
    assert set(extras) == {"rewards", "mixdpo", "ray", "all"}
    assert {"torch", "transformers"} <= names_of(extras["rewards"])
    assert {"torch", "transformers", "trl"} <= names_of(extras["mixdpo"])


def test_a_floor_does_not_exceed_what_is_installed() -> None:
    """Every requirement holds in the environment that the tests run in."""
    from packaging.requirements import Requirement

    stated = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["mixdpo"]]
    for requirement in map(Requirement, stated):
        installed = importlib.metadata.version(requirement.name)
        assert requirement.specifier.contains(installed, prereleases=True), requirement


def test_typed_and_licensed() -> None:
    assert (ROOT / "prefstrength" / "py.typed").is_file()
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "### Changed numbers" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_documents_name_files_that_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(page for f in FOLDERS for page in (ROOT / f).rglob("*.md"))]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text(encoding="utf-8")
        named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./]*)`", text)
        for name in named:
            assert (ROOT / name).exists(), f"{page} names {name}"
        for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text):
            assert page.parent.joinpath(link).exists(), f"{page} links to {link}"


def test_the_documents_name_tests_that_exist() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
            assert f"def {name}(" in tests, f"{page.name} names {name}"


def test_the_architecture_is_that_of_the_code() -> None:
    """Every room has its line, and the figure was drawn from today's imports."""
    from docs.images.make_architecture import ROOMS, between_rooms, described

    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in set(ROOMS) - {"__main__"}:
        assert re.search(rf"^\| `prefstrength/{room}[/.]", text, flags=re.MULTILINE), room
    figure = (ROOT / "docs" / "images" / "architecture.svg").read_text(encoding="utf-8")
    assert described(between_rooms()) in figure, "run python -m docs.images.make_architecture"


def test_the_readme_shows_options_that_exist() -> None:
    from typer.main import get_command

    from prefstrength.pipeline.cli import app

    commands = get_command(app).commands
    text = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^\$ prefstrength (\w+)(.*)$", text, flags=re.MULTILINE)
    assert lines
    for command, rest in lines:
        known = {option for parameter in commands[command].params for option in parameter.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= known


def test_the_readme_uses_names_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"\bps\.(\w+)", text)):
        assert hasattr(ps, name), f"README.md uses ps.{name}"


# -- public names --------------------------------------------------------------------------------


def test_names_that_scripts_elsewhere_call() -> None:
    promised = {
        "PointMass", "Normal", "LogNormal", "Gamma", "log_choice_probability", "Choices",
        "simulate", "MixedLogit", "load_fit", "heterogeneity", "StrengthPrior", "read_pairs",
        "read_choices", "load_pairs", "score", "TextReward", "HFReward", "ColumnReward",
        "compare", "compare_strength", "plot_strength", "write_report", "chooser_strengths",
    }  # fmt: skip
    assert promised <= set(ps.__all__)
    assert set(ps.__all__) <= set(dir(ps))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = ps.nonsense


#: Records that a function returns: the example stands with the function.
RETURNED = {
    "Calibration": "calibrate",
    "Checks": "check",
    "Coverage": "coverage",
    "Plan": "plan",
    "StrengthComparison": "compare_strength",
}


@pytest.mark.parametrize("name", ps.__all__)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(ps, name)
    text = inspect.getdoc(value) or ""
    assert len(text) > 40, f"{name} has no docstring"
    if isinstance(value, type) and issubclass(value, Warning | Exception):
        return
    shown = inspect.getdoc(getattr(ps, RETURNED.get(name, name))) or ""
    assert "Examples\n--------" in shown, f"{name} has no example"
    if not isinstance(value, type):
        assert "Returns\n-------" in text, f"{name} does not say what it returns"
        return
    for method, function in inspect.getmembers(value, callable):
        if not method.startswith("_") and getattr(function, "__module__", "").startswith(
            "prefstrength"
        ):
            assert inspect.getdoc(function), f"{name}.{method} has no docstring"
