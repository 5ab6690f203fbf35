"""Names in files are text as it stands there; what a file cannot say twice or whole is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prefstrength import pipeline
from prefstrength.data.parquet_files import require_storable
from prefstrength.data.reading import read_choices, read_pairs
from prefstrength.errors import InputError
from prefstrength.pipeline.options import Reading, Rewarding

LONG = ("1234567890123456788", "1234567890123456789")


def csv(folder: Path, cells: tuple[str, ...], *, rewards: tuple[str, ...] = ()) -> Path:
    path = folder / "pairs.csv"
    lines = ["who,reward_chosen,reward_rejected"]
    for i, cell in enumerate(cells):
        reward = rewards[i] if rewards else f"{i}.5"
        lines.append(f"{cell},{reward},{100 * np.sin(i):.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "cells",
    [
        ("007", "07", "7"),
        ("1e3", "1000", "1000.0"),
        ("+7", "7"),
        ("12345678901234567890123", "12345678901234567890124"),
        ("0x1f", "31"),
    ],
)
def test_ids_that_differ_are_different_choosers(cells: tuple[str, ...], tmp_path: Path) -> None:
    path = csv(tmp_path, cells * 3)
    choices = read_choices(path, chooser="who")
    assert choices.n_choosers == len(cells)
    assert set(choices.choosers) == set(cells)
    # Also where nobody says beforehand that they are ids.
    assert set(read_pairs(path)["who"].astype(str)) == set(cells)
    pipeline.score(
        path, tmp_path / "out", Reading(chooser="who"), Rewarding(reward=("columns",)),
        progress=False,
    )  # fmt: skip
    assert set(pipeline.choices(tmp_path / "out").choosers) == set(cells)


def test_long_ids_beside_an_empty_cell_stay_whole(tmp_path: Path) -> None:
    frame = read_pairs(csv(tmp_path, (*LONG, "")))
    assert frame["who"].dropna().tolist() == list(LONG)
    with pytest.raises(InputError, match=r"got no id in 1 of 3 rows \(first: 2\)"):
        read_choices(tmp_path / "pairs.csv", chooser="who")


@pytest.mark.parametrize("cells", [("1e3", "2000"), ("1.0", "2.0"), ("True", "False")])
def test_a_named_column_is_text_as_it_stands(cells: tuple[str, ...], tmp_path: Path) -> None:
    choices = read_choices(csv(tmp_path, cells * 20), groups=["who"])
    assert set(choices.groups["who"].levels) == set(cells)


def test_whole_numbers_keep_their_order(tmp_path: Path) -> None:
    choices = read_choices(csv(tmp_path, ("10", "9", "8") * 2), chooser="who")
    assert choices.choosers == ("8", "9", "10")


def test_rewards_stay_numbers_however_they_are_written(tmp_path: Path) -> None:
    path = csv(tmp_path, ("a", "b", "c", "d"), rewards=("1", "1.0", "1e0", "02"))
    assert read_pairs(path)["reward_chosen"].tolist() == [1.0, 1.0, 1.0, 2.0]
    assert read_choices(path, chooser="who").n_choosers == 4


# -- JSON ----------------------------------------------------------------------------------------

ROW = {"chosen": "yes", "rejected": "no", "reward_chosen": 1.0, "reward_rejected": 0.0}


def row(**more: object) -> str:
    return json.dumps({**ROW, **more})


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize("twice", ['"who": "a", "who": "b"', '"meta": {"x": 1, "x": 2}'])
def test_a_repeated_key_is_refused(ending: str, twice: str, tmp_path: Path) -> None:
    path = tmp_path / f"pairs.{ending}"
    broken = row()[:-1] + f", {twice}}}"
    path.write_text(f"[{row()}, {broken}]" if ending == "json" else f"{row()}\n{broken}\n")
    with pytest.raises(InputError, match=r"got '(who|x)' 2 times") as error:
        read_pairs(path)
    assert ("in line 2" in str(error.value)) == (ending == "jsonl")


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_nesting_without_end_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"pairs.{ending}"
    path.write_text('{"chosen": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(InputError, match="nested too deep"):
        read_pairs(path)


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize("value", ["half \\ud83d", ["half \\udE00"], {"half \\ud83d": 1}])
def test_half_a_character_is_refused(ending: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / f"pairs.{ending}"
    text = row(note=value).replace("\\\\", "\\")
    path.write_text(f"[{row()}, {text}]" if ending == "json" else f"{row()}\n{text}\n")
    with pytest.raises(InputError, match="got half of one, .* in row 1"):
        read_pairs(path)
    path.write_text(row(note="whole 😀") + "\n")  # written as two halves, which is right
    assert read_pairs(path)["note"].tolist() == ["whole 😀"]


@pytest.mark.parametrize("digits", [20, 400])
@pytest.mark.parametrize("column", ["reward_chosen", "n"])
def test_numbers_of_any_length_are_read_or_refused(
    digits: int, column: str, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [row(n=1, reward_chosen=float(i)) for i in range(3)]
    lines.append(row(**{"n": 1, "reward_chosen": 9.0, column: int("9" * digits)}))
    path.write_text("\n".join(lines))
    call = {"weights": "n"} if column == "n" else {}
    if digits == 20:  # a number like any other
        assert read_choices(path, duplicates="keep", **call).n_situations == 4
    else:
        with pytest.raises(InputError, match="infinite values"):
            read_choices(path, duplicates="keep", **call)


# -- columns that nothing reads ------------------------------------------------------------------

EXTRA = {
    "integers of 2^64": [2**64, 1],
    "numbers beside text": [1, "a"],
    "maps of several types": [{"a": 1}, {"a": "x"}],
    "lists of several types": [[1], ["a"]],
    "empty maps": [{}, {}],
    "400 digits": [10**400, 1],
    "half a character": ["\ud83d", "a"],
    "complex numbers": [1 + 2j, 1],
}


@pytest.mark.parametrize("name", EXTRA)
def test_an_extra_column_that_cannot_be_kept_is_named_before_any_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame(
        {
            "reward_chosen": [1.0, 2.0],
            "reward_rejected": [0.0, 3.0],
            "extra": pd.Series(EXTRA[name], dtype=object),
        }
    )
    with pytest.raises(InputError, match="got column 'extra', which cannot be"):
        require_storable(frame)
    monkeypatch.setattr("prefstrength.data.reading.read_file", lambda path, names: frame)
    (tmp_path / "pairs.jsonl").write_text("{}")
    with pytest.raises(InputError, match="got column 'extra', which cannot be"):
        pipeline.score(tmp_path / "pairs.jsonl", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_columns_of_one_type_can_be_kept() -> None:
    frame = pd.DataFrame({"a": ["x", None], "b": [[1], [2, 3]], "c": [{"k": 1}, {"k": 2}]})
    require_storable(frame.assign(d=pd.Categorical(["u", "v"]), e=[1, 2], f=[True, None]))
