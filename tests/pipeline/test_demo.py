"""The demo from end to end without torch, and its numbers against stored ones."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.helpers.demo import NUMBERS, STORED, made_with, run_small_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small_demo(tmp_path_factory.mktemp("demo"))


def test_the_analysis_runs_without_torch(demo: Path) -> None:
    for name in ("report.html", "strength_prior.json", "heterogeneity.csv", "provenance.json"):
        assert (demo / name).is_file()


def numbers_of(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of a record, but for what says which versions made it from which bits."""
    if not isinstance(value, dict):
        return {path: value}
    found: dict[str, Any] = {}
    for name, each in value.items():
        if name not in ("versions", "data"):
            found |= numbers_of(each, f"{path}.{name}")
    return found


def apart(one: Any, other: Any, rel: float) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one != other)
    return bool(one != pytest.approx(other, rel=rel, abs=1e-12, nan_ok=True))


def differences(folder: Path, *, rel: float) -> list[str]:
    """Files of which a byte differs from the stored ones; or numbers that differ by ``rel``."""
    if not rel:
        return [
            name for name in NUMBERS if (folder / name).read_bytes() != (STORED / name).read_bytes()
        ]
    found, kept = (
        numbers_of(pd.read_csv(each / "heterogeneity.csv").to_dict("index"))
        | numbers_of(json.loads((each / "strength_prior.json").read_text("utf-8")))
        for each in (folder, STORED)
    )
    return [
        name
        for name in sorted(found.keys() | kept.keys())
        if apart(found.get(name, "missing"), kept.get(name, "missing"), rel)
    ]


def test_the_numbers_of_the_demo_are_the_stored_ones(demo: Path) -> None:
    """Every bit on the machine and with the versions that stored them, 1e-6 elsewhere."""
    same = made_with() == json.loads((STORED / "made_with.json").read_text("utf-8"))
    changed = differences(demo, rel=0.0 if same else 1e-6)
    assert not changed, (
        f"The demo's numbers changed: {', '.join(changed)}. Where that is meant, say so in "
        "CHANGELOG.md under *Changed numbers* and store them: python -m tests.helpers.demo"
    )


def test_a_changed_number_is_seen(tmp_path: Path) -> None:
    def altered(name: str, before: str, after: str) -> Path:
        for each in NUMBERS:
            (tmp_path / each).write_bytes((STORED / each).read_bytes())
        text = (STORED / name).read_text("utf-8")
        assert before in text
        (tmp_path / name).write_text(text.replace(before, after, 1), "utf-8")
        return tmp_path

    cv = pd.read_csv(STORED / "heterogeneity.csv", dtype=str).loc[0, "cv"]
    table = "heterogeneity.csv", cv
    prior = json.loads((STORED / "strength_prior.json").read_text("utf-8"))
    assert differences(altered(*table, cv), rel=0.0) == []
    last = cv[:-1] + str((int(cv[-1]) + 1) % 10)
    assert differences(altered(*table, last), rel=0.0) == ["heterogeneity.csv"]
    assert differences(altered(*table, last), rel=1e-6) == []
    assert differences(altered(*table, repr(float(cv) * (1 + 2e-6))), rel=1e-6) == [".0.cv"]
    sd = prior["dispersion_sd"]
    changed = altered("strength_prior.json", repr(sd), repr(sd * (1 - 2e-6)))
    assert differences(changed, rel=1e-6) == [".dispersion_sd"]
    assert differences(altered("strength_prior.json", '"label"', '"mean"'), rel=1e-6) == [
        ".source.label",
        ".source.mean",
    ]
