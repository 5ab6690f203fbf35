"""Folders of results: nobody else's file is touched, one run at a time, nothing stale is read."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import prefstrength as ps
from prefstrength import pipeline
from prefstrength._shared.lock import alone_in
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.pipeline import stages
from tests.pipeline.test_cli import call, few_rivals, files, frame, out, pairs, quick

__all__ = ["few_rivals", "frame", "out", "pairs", "quick"]  # fixtures


def state(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def stage(out: Path, name: str, content: dict[str, str], **given: Any) -> None:
    """One stage that writes these files."""

    def work(new: Path) -> None:
        for path, text in content.items():
            (new / path).parent.mkdir(parents=True, exist_ok=True)
            (new / path).write_text(text)

    settings, inputs = given.pop("settings", {}), given.pop("inputs", {})
    force = given.pop("force", False)
    stages.perform(out, name, settings, inputs, work, lambda: None, force, None, **given)


# -- users' files --------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_score_into_the_folder_of_its_own_input(force, frame: pd.DataFrame, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    frame.to_parquet(data / "pairs.parquet")
    before = state(data)
    result = call("score", data / "pairs.parquet", "--out", data, *force)
    assert result.exit_code == 2
    assert "pairs.parquet" in result.stderr
    assert state(data) == before


THEIRS = (
    "fit/thesis.txt", "fit_point_mass/x", "models.csv", "heterogeneity.csv", "attenuation.csv",
    "strength_prior.json", "train/model.safetensors", "comparison.csv", "learned_strength.json",
    "report.html", "provenance.json", "choices.json",
)  # fmt: skip


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_files_that_no_stage_wrote_are_named_and_kept(
    force, name: str, quick, pairs: Path, out: Path
) -> None:
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    result = call("run", pairs, "--out", out, *force)
    assert result.exit_code == 2
    assert name.split("/")[0] in result.stderr
    assert state(out) == {name: b"mine"}
    assert quick.calls == 0


def test_files_that_came_after_scoring_are_named_and_kept(quick, pairs: Path, out: Path) -> None:
    assert call("score", pairs, "--out", out).exit_code == 0
    (out / "models.csv").write_text("mine")
    before = state(out)
    for force in ((), ("--force",)):
        result = call("fit", out, *force)
        assert result.exit_code == 2
        assert "models.csv" in result.stderr
        assert state(out) == before


def test_files_in_folders_of_results_stay(quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out).exit_code == 0
    for name in ("fit/notes.txt", "figures/mine.png"):
        (out / name).write_text("mine")
    assert call("score", pairs, "--out", out, "--force").exit_code == 0
    for name in ("fit/notes.txt", "figures/mine.png"):
        assert (out / name).read_text() == "mine"
    assert not (out / "fit" / "fit.json").exists()


def test_compress_leaves_what_no_stage_wrote(tmp_path: Path) -> None:
    rows = pd.DataFrame({"reward_chosen": [1.0, 2.0, 0.5], "reward_rejected": [0.0, 2.5, 0.1]})
    rows.to_parquet(tmp_path / "p.parquet")
    out = tmp_path / "out"
    for name in ("fit/thesis.txt", "models.csv", "compressed.parts/mine"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    before = state(out)
    result = call("compress", tmp_path / "p.parquet", "--out", out, "--force", "-q")
    assert result.exit_code == 2
    assert "fit/" in result.stderr
    assert state(out) == before


@pytest.mark.parametrize("fails", [True, False])
def test_a_model_stays_until_another_is_whole(fails: bool, out: Path) -> None:
    stage(out, "train", {"train/model": "old", "train/old": "old"})
    (out / "train" / "notes.txt").write_text("mine")

    def work(new: Path) -> None:
        assert (out / "train" / "model").read_text() == "old"
        (new / "train").mkdir()
        (new / "train" / "model").write_text("new")
        if fails:
            raise ps.InputError("No space.")

    def again() -> None:
        stages.perform(out, "train", {"seed": 1}, {}, work, lambda: None, True, None)

    if fails:
        with pytest.raises(ps.InputError, match="No space"):
            again()
        assert pipeline.finished(out, "train")
    else:
        again()
    assert {name: text for name, text in state(out).items() if name.startswith("train")} == {
        "train/notes.txt": b"mine",
        "train/model": b"old" if fails else b"new",
        **({"train/old": b"old"} if fails else {}),
    }
    assert not (out / ".prefstrength").exists()


def test_the_demo_replaces_no_truth_of_others(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("mine")
    result = call("demo", "--out", tmp_path, "--no-train", "--force", "--quiet")
    assert result.exit_code == 2
    assert "truth.json" in result.stderr
    assert files(tmp_path) == {"truth.json"}


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_file_operation_and_run_again(every: int, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.helpers.killed_stages"]
    done = subprocess.run(
        [*command, str(tmp_path), str(every)], capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert found["points"] >= 300 // every
    assert found["wrong"] == []


@pytest.mark.parametrize("name", ["score", "fit", "train", "compare", "report"])
def test_a_full_disk_keeps_what_was_there(name: str, out: Path) -> None:
    first = stages.FILES[name][0]
    path = first if "." in first else f"{first}/file"
    stage(out, name, {path: "old"})
    before = state(out)

    def work(new: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        stages.perform(out, name, {"seed": 1}, {}, work, lambda: None, True, None)
    assert state(out) == before


# -- one run at a time ---------------------------------------------------------------------------


def hold(folder: Path, ready: Any, go: Any) -> None:
    with alone_in(folder, folder / ".prefstrength"):
        ready.set()
        go.wait(60)


def test_two_runs_at_once_do_not_mix(quick, pairs: Path, out: Path) -> None:
    assert call("score", pairs, "--out", out).exit_code == 0
    before = state(out)
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(out, ready, go))
    other.start()
    try:
        assert ready.wait(60)
        result = call("fit", out)
        assert result.exit_code == 2
        assert f"(process {other.pid})" in result.stderr
        # Killed, it leaves the file and no lock.
        other.kill()
        other.join(60)
    finally:
        other.kill()
    assert (out / ".prefstrength" / "lock").is_file()
    assert quick.calls == 0
    assert call("fit", out).exit_code == 0
    assert not (out / ".prefstrength").exists()
    assert before.keys() < state(out).keys()


def test_a_folder_is_held_by_one_thread_and_entered_again(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folder = tmp_path / "a" / "b"

    def enter() -> None:
        with alone_in(folder, folder / ".w"):
            pass

    with alone_in(folder, folder / ".w"):
        enter()
        with ThreadPoolExecutor(1) as other, pytest.raises(ps.InputError, match=str(os.getpid())):
            other.submit(enter).result()
    enter()
    assert not (tmp_path / "a").exists()


# -- what was written is what is there -----------------------------------------------------------


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["heterogeneity.csv", "fit/fit.json", "report.html", "models.csv"])
def test_a_changed_result_is_named(name: str, quick, pairs: Path, out: Path) -> None:
    assert call("run", pairs, "--out", out).exit_code == 0
    damage(out / name)
    before = state(out)
    result = call("run", pairs, "--out", out)
    assert result.exit_code == 2
    assert name in result.stderr
    assert state(out) == before
    assert not pipeline.finished(out, "report" if name == "report.html" else "fit")
    assert call("run", pairs, "--out", out, "--force").exit_code == 0
    assert pipeline.finished(out, "report")


@pytest.mark.parametrize(
    "name", ["heterogeneity.csv", "fit", "report.html", "figures", "choices.json"]
)
def test_a_result_that_is_gone_is_made_again(name: str, quick, pairs: Path, out: Path) -> None:
    import shutil

    assert call("run", pairs, "--out", out).exit_code == 0
    before = files(out)
    shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
    result = call("run", pairs, "--out", out)
    assert result.exit_code == 0, result.output
    assert "made again" in result.stderr
    assert name in result.stderr
    assert files(out) == before


def test_edited_pairs_are_not_fitted(quick, pairs: Path, out: Path) -> None:
    assert call("score", pairs, "--out", out).exit_code == 0
    edited = pd.read_parquet(out / "pairs.parquet")
    edited.iloc[1:].to_parquet(out / "pairs.parquet")
    result = call("fit", out)
    assert result.exit_code == 2
    assert "another content of pairs.parquet than the stage score wrote" in result.stderr
    assert quick.calls == 0


def learned(strength: float) -> str:
    record = LearnedStrength("PointMass", {"value": strength}, mode="frozen")
    return json.dumps(record.to_dict())


def test_an_older_training_is_not_compared_with_a_new_fit(
    quick, frame: pd.DataFrame, pairs: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call("run", pairs, "--out", out).exit_code == 0
    train: Callable[[], None] = lambda: stage(  # noqa: E731
        out,
        "train",
        {"train/learned_strength.json": learned(0.1), "train/model": "weights"},
        inputs={"pairs": out / "pairs.parquet", "prior": out / "strength_prior.json"},
    )
    train()
    other = pairs.with_name("other.jsonl")
    frame.iloc[5:].to_json(other, orient="records", lines=True)
    assert call("score", other, "--out", out, "--force").exit_code == 0
    assert call("fit", out).exit_code == 0
    # The model stays, and nobody takes it for one of this fit.
    assert (out / "train" / "model").read_text() == "weights"
    result = call("compare", out)
    assert result.exit_code == 2
    assert "train" in result.stderr
    # Another training takes its place without being forced.
    train()
    assert pipeline.finished(out, "train")
    (out / "strength_prior.json").write_text("{}")
    assert not pipeline.finished(out, "train")
    result = call("compare", out)
    assert result.exit_code == 2
