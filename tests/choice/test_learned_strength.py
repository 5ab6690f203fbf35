"""The record of what training learned."""

import json
import math

import numpy as np
import pytest

from prefstrength.choice.learned_parts import DeltaSettings, LearnedCovariate
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError

PRIOR = StrengthPrior("Gamma", math.log(0.1), 0.2, -0.5, 0.3)


def learned(**changes):
    fields = {
        "family": "Gamma",
        "parameters": {"shape": 4.0, "rate": 40.0},
        "mode": "joint",
        "prior": PRIOR,
        "steps": 7,
        "trajectory": (
            {"step": 0, "shape": 3.0, "rate": 30.0, "mean": 0.1, "cv": 0.577},
            {"step": 7, "shape": 4.0, "rate": 40.0, "mean": 0.1, "cv": 0.5},
        ),
        "model": "a/model",
        "versions": {"torch": "2"},
    }
    return LearnedStrength(**{**fields, **changes})


def test_the_law():
    assert learned().mixing().mean() == pytest.approx(0.1)
    assert learned().mixing().cv() == pytest.approx(0.5)


def test_a_record_stands_for_itself():
    record = learned()
    assert record.learned() is record


@pytest.mark.parametrize("prior", [PRIOR, None])
def test_saved_is_loaded_by_file_or_folder(tmp_path, prior):
    record = learned(prior=prior)
    path = record.save(tmp_path)
    assert path == tmp_path / "learned_strength.json"
    assert LearnedStrength.load(path) == record
    assert LearnedStrength.load(tmp_path) == record
    assert json.loads(path.read_text())["schema"] == "prefstrength/learned-strength/1"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"family": "Cauchy"}, "got 'Cauchy'"),
        ({"mode": "free"}, r"Expected a mode \(joint, anchored, frozen\); got 'free'"),
        ({"parameters": {"mu": 0.0}}, "Gamma has the parameters shape, rate; got mu"),
        ({"parameters": {"shape": -1.0, "rate": 1.0}}, "Gamma expects shape > 0; got -1"),
        ({"parameters": {"shape": math.nan, "rate": 1.0}}, "Expected shape to be finite; got nan"),
        ({"trajectory": [{"step": 0}]}, "in each point of the trajectory; got step in point 0"),
        ({"delta": {"loss_type": "ipo"}}, "loss_type to be one of sigmoid, sigmoid_norm; got"),
        ({"delta": {"truncation_mode": "middle"}}, "truncation_mode to be one of keep_start"),
        ({"delta": {"ld_alpha": 2.0}}, "ld_alpha between 0 and 1; got 2.0"),
        ({"delta": {"max_length": 0}}, "max_length as a number of tokens > 0, or None; got 0"),
        ({"prior": {"schema": "else"}}, "Expected schema 'prefstrength/strength-prior/1'"),
    ],
)
def test_records_that_do_not_hold_together(changes, text):
    with pytest.raises(InputError, match=text):
        learned(**changes)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("groups", [1], r"groups of a learned strength as a mapping; got \[1\]"),
        ("groups", {"a": 1}, "group 'a' as a mapping; got 1"),
        ("groups", {"a": {"parameters": 1, "shift": {"location": 0.0, "location_scale": 1.0}}},
         "parameters of group 'a' as a mapping; got 1"),
        ("covariates", "x", "covariates of a learned strength as a mapping; got 'x'"),
        ("covariates", {"x": 1}, "covariate 'x' as a mapping; got 1"),
        ("parameters", [1], "parameters of a learned strength as a mapping"),
    ],
)  # fmt: skip
def test_files_with_something_else_in_a_field(tmp_path, field, value, text):
    record = {**learned().to_dict(), field: value}
    record["group_column"] = "g" if field == "groups" else None
    path = tmp_path / "learned_strength.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"{path} cannot be read: .*{text}"):
        LearnedStrength.load(path)


@pytest.mark.parametrize("value", ["high", None, math.nan, [1.0]])
def test_covariates_that_are_no_numbers(value):
    record = learned(covariates={"x": LearnedCovariate(0.0, 1.0, 0.3, 0.5)})
    with pytest.raises(InputError, match=r"numbers in column x, .* in row 1 \(1 of 2 rows\)"):
        record.of_pairs({"x": [True, value]})
    law = record.of_pairs({"x": np.array([0, 1])})
    assert law.rate[0] / law.rate[1] == pytest.approx(math.exp(0.5))


def test_the_delta_is_written_down_and_old_records_do_not_tell(tmp_path):
    delta = DeltaSettings("sigmoid_norm", "keep_end", 512, 0.5, "odpo")
    path = learned(delta=delta).save(tmp_path)
    assert LearnedStrength.load(path).delta == delta
    record = json.loads(path.read_text())
    del record["delta"]
    path.write_text(json.dumps(record))
    assert LearnedStrength.load(path) == learned()


def test_files_that_are_no_record(tmp_path):
    with pytest.raises(InputError, match="got no such file"):
        LearnedStrength.load(tmp_path)
    path = PRIOR.save(tmp_path / "learned_strength.json")
    with pytest.raises(InputError, match="got 'prefstrength/strength-prior/1'"):
        LearnedStrength.load(path)
