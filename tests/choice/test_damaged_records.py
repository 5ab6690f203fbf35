"""Records of strength with one absurd value: read as a whole or refused in one sentence."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import prefstrength as ps
from prefstrength.choice.learned_parts import (
    DeltaSettings,
    LearnedCovariate,
    LearnedGroup,
    ShiftPrior,
)
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.strength_prior import StrengthPrior

ABSURD = (
    "x", None, 1e308, -1, 0, 800, -800, True, [], {}, [1], {"a": 1}, math.nan, math.inf, 10**400,
)  # fmt: skip

PRIOR = StrengthPrior(
    "Gamma",
    math.log(0.1),
    0.2,
    math.log(0.5),
    0.3,
    source={"attribute": "reward"},
    groups={"a": {"dispersion": 0.1, "relative_mean": 1.0}},
    zero_share=0.2,
)
POINT = {"step": 0, "shape": 4.0, "rate": 40.0, "mean": 0.1, "cv": 0.5}
LEARNED = LearnedStrength(
    "Gamma",
    {"shape": 4.0, "rate": 40.0},
    "joint",
    prior=PRIOR,
    steps=3,
    trajectory=(POINT,),
    model="m",
    versions={"torch": "2"},
    group_column="g",
    groups={"a": LearnedGroup({"shape": 4.0, "rate": 4.0}, ShiftPrior(0.0, 0.3, 0.0, 0.2), 3)},
    covariates={"length": LearnedCovariate(0.0, 1.0, 0.5, 0.1)},
    delta=DeltaSettings(),
)


def places(record: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if before:
        yield before
    if isinstance(record, dict | list):
        for key in record if isinstance(record, dict) else range(len(record)):
            yield from places(record[key], (*before, key))


def with_value(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    record = copy.deepcopy(record)
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return record


@pytest.mark.parametrize("whole", [PRIOR, LEARNED], ids=["prior", "learned"])
def test_any_absurd_value_is_read_or_refused(whole: Any, tmp_path: Path) -> None:
    path = whole.save(tmp_path / "record.json")
    record = json.loads(path.read_text())
    refused = 0
    for place in places(record):
        for value in ABSURD:
            path.write_text(json.dumps(with_value(record, place, value)))
            try:
                found = type(whole).load(path)
            except ps.InputError:
                refused += 1
                continue
            # What is read can be used, shown and written again.
            assert math.isfinite(found.mixing().mean())
            if isinstance(found, LearnedStrength):
                assert isinstance(found.steps, int)
                assert math.isfinite(found.of_group("a").mixing().mean())
            assert type(whole).load(found.save(tmp_path / "again.json")) == found
    assert refused > 100


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("location",), 800, "Expected location between -100 and 100"),
        (("dispersion",), -800, "Expected dispersion between -100 and 100"),
        (("location_sd",), 10**400, "one of 401 digits"),
        (("groups", "a"), "x", "Expected group 'a' as a mapping"),
    ],
)
def test_absurd_values_of_a_prior_are_named(place, value, said: str, tmp_path: Path) -> None:
    path = PRIOR.save(tmp_path / "prior.json")
    path.write_text(json.dumps(with_value(json.loads(path.read_text()), place, value)))
    with pytest.raises(ps.InputError, match=said):
        StrengthPrior.load(path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("steps",), "x", "Expected steps as a whole number"),
        (("prior",), "x", "Expected prior as a mapping"),
        (("trajectory", 0, "mean"), "x", "Expected mean in point 0 of the trajectory as a number"),
        (("groups", "a", "shift", "location"), None, "Expected location of a shift as a number"),
        (("groups", "a", "pairs"), -1, "Expected pairs of group 'a' as a whole number"),
    ],
)
def test_absurd_values_of_a_learned_strength_are_named(
    place, value, said: str, tmp_path: Path
) -> None:
    path = LEARNED.save(tmp_path / "learned.json")
    path.write_text(json.dumps(with_value(json.loads(path.read_text()), place, value)))
    with pytest.raises(ps.InputError, match=said):
        LearnedStrength.load(path)


@pytest.mark.parametrize("kind", [StrengthPrior, LearnedStrength])
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, b"9" * 10_000])
def test_files_that_are_no_record_are_refused(kind: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(ps.InputError, match=r"record\.json"):
        kind.load(path)
