"""A folder of work that goes on: begun once, gone on with, kept from others' files and settings."""

import json
from pathlib import Path

import pytest

from prefstrength._shared.folder import Folder, differences
from prefstrength.errors import InputError

SETTINGS = {"seed": 0, "sampler": {"draws": 500, "chains": 4}, "data": "a" * 64}
FORCED = (None, False, True)


def contents(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.iterdir()} if path.is_dir() else {}


@pytest.mark.parametrize("forced", FORCED)
def test_what_is_begun_goes_on(tmp_path: Path, forced: bool | None) -> None:
    folder = Folder(tmp_path / "a", "results", forced=forced)
    assert not folder.begun
    assert folder.found_for(SETTINGS) == "new"
    assert contents(folder.path) == {}  # to look is not to begin
    folder.write(SETTINGS)
    (folder.path / "part").write_text("hours")
    assert folder.begun
    assert folder.read() == SETTINGS
    assert folder.found_for(SETTINGS) == "same"
    # As it is read again: JSON knows no tuples.
    folder.write(SETTINGS | {"groups": ["a"]})
    assert folder.found_for(SETTINGS | {"groups": ("a",)}) == "same"


@pytest.mark.parametrize("forced", FORCED)
def test_other_settings_are_named_and_replaced_by_force_alone(tmp_path, forced) -> None:
    folder = Folder(tmp_path, "results", "stages/fit.json", forced)
    folder.write(SETTINGS)
    other = {"seed": 1, "sampler": {"draws": 500, "chains": 2}, "data": "b" * 64}
    before = (tmp_path / "stages" / "fit.json").read_bytes()
    if forced:
        assert folder.found_for(other) == "other"
    else:
        with pytest.raises(InputError) as refused:
            folder.found_for(other)
        said = str(refused.value)
        assert "seed was 0, now 1; sampler.chains was 4, now 2; the content of data" in said
        assert ("force=True" in said) == (forced is False)  # nobody is sent where no way leads
    assert (tmp_path / "stages" / "fit.json").read_bytes() == before


def test_what_does_not_count_is_not_compared(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "results")
    folder.write({"seed": 0, "versions": {"jax": "1"}})
    now = {"seed": 0, "versions": {"jax": "2"}}
    assert folder.found_for(now, lambda one: {"seed": one["seed"]}) == "same"
    with pytest.raises(InputError, match=r"versions\.jax was '1', now '2'"):
        folder.found_for(now)
    # A setting that came later: what is without it was made by its default.
    later = now | {"mode": "usual"}
    folder.write(now)
    assert folder.found_for(later, lambda one: {"mode": "usual", **one}) == "same"


def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    before = contents(tmp_path)
    for forced in (None, False):
        with pytest.raises(InputError, match="holds something else \\('thesis.tex'\\)") as refused:
            Folder(tmp_path, "results", forced=forced).found_for(SETTINGS)
        assert ("force=True" in str(refused.value)) == (forced is False)
    folder = Folder(tmp_path, "results", forced=True)
    assert folder.found_for(SETTINGS) == "new"
    with pytest.raises(InputError, match="thesis.tex") as refused:
        folder.found_for(SETTINGS, never=lambda name: name.endswith(".tex"))
    assert "force=True" not in str(refused.value)
    assert contents(tmp_path) == before
    with pytest.raises(InputError, match=r"folder for results; got the file .*thesis\.tex"):
        Folder(tmp_path / "thesis.tex", "results", forced=True).found_for(SETTINGS)


def test_hidden_files_are_nobodys_work(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    assert Folder(tmp_path, "results").found_for(SETTINGS) == "new"


@pytest.mark.parametrize("damaged", ["{half", "5", "[]"])
def test_a_damaged_record_is_no_settings(tmp_path: Path, damaged: str) -> None:
    folder = Folder(tmp_path, "simulations")
    (tmp_path / "settings.json").write_text(damaged)
    for look in (folder.read, lambda: folder.found_for(SETTINGS)):
        with pytest.raises(InputError, match="Expected a record of simulations as"):
            look()
    assert (tmp_path / "settings.json").read_text() == damaged


def test_settings_are_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    folder = Folder(tmp_path, "results")
    folder.write(SETTINGS)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        folder.write(SETTINGS | {"seed": 1})
    assert json.loads((tmp_path / "settings.json").read_text()) == SETTINGS
    assert list(contents(tmp_path)) == ["settings.json"]
    with pytest.raises(TypeError):  # what JSON does not know would never be the same again
        folder.found_for({"model": object()})


def test_a_process_that_begins_while_another_looks_goes_on(tmp_path, monkeypatch) -> None:
    look = Folder.foreign

    def overtaken(folder: Folder, *arguments: object) -> list[str]:
        seen = look(folder, *arguments)
        folder.write(SETTINGS)
        return seen

    monkeypatch.setattr(Folder, "foreign", overtaken)
    assert Folder(tmp_path / "a", "results").found_for(SETTINGS) == "same"


def test_differences_in_words() -> None:
    assert differences({"a": None}, {}) == []
    assert differences({}, {"a": "x" * 100}) == [f"a was None, now '{'x' * 36}..."]
    assert differences({"files": ["0" * 32]}, {"files": ["1" * 32]}) == [
        "the content of files changed"
    ]
    assert differences({"sft": None}, {"sft": {}}) == ["sft was None, now {}"]
