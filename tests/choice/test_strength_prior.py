"""The strength prior: its law, its file, and what a file can have wrong."""

import json
import math

import pytest

from prefstrength import Gamma, InverseGaussian, LogNormal, Normal, PointMass
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError

LAWS = [
    PointMass(value=0.3),
    Normal(mu=0.2, sigma=0.05),
    LogNormal(mu=-2.0, sigma=0.6),
    Gamma(shape=3.0, rate=20.0),
    InverseGaussian(mu=0.2, shape=0.7),
]


def prior(**changes):
    fields = {
        "family": "LogNormal",
        "location": math.log(0.1),
        "location_sd": 0.2,
        "dispersion": math.log(0.7),
        "dispersion_sd": 0.3,
        "mean_strength": 0.1,
        "source": {"model": "LogNormal", "choices": 120},
        "groups": {"eu": {"dispersion": -0.2, "dispersion_sd": 0.4, "relative_mean": 1.1}},
    }
    return StrengthPrior(**{**fields, **changes})


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.family)
def test_location_and_dispersion_name_the_law(law):
    location, dispersion = law.log_mean_spread()
    again = law.from_log_mean_spread(location, dispersion)
    assert again.parameters == pytest.approx(law.parameters, rel=1e-12)
    assert math.exp(location) == pytest.approx(law.mean(), rel=1e-12)
    assert law.cv_from_log_spread(dispersion) == pytest.approx(law.cv(), rel=1e-12)
    assert law.log_spread_from_cv(law.cv() or 1.0) == (
        None if dispersion is None else pytest.approx(dispersion, rel=1e-12)
    )


def test_dispersion_is_the_log_of_the_spread():
    assert LogNormal(mu=0.0, sigma=0.7).log_mean_spread()[1] == pytest.approx(math.log(0.7))
    assert Gamma(shape=4.0, rate=1.0).log_mean_spread()[1] == pytest.approx(-math.log(4.0) / 2)
    assert Normal(mu=2.0, sigma=0.5).log_mean_spread()[1] == pytest.approx(math.log(0.25))


def test_mixing_is_the_centre_of_the_prior():
    law = prior().mixing()
    assert law.mean() == pytest.approx(0.1)
    assert law.sd_log() == pytest.approx(0.7)


def test_the_mean_strength_is_taken_from_the_location_when_left_out():
    assert prior(mean_strength=None).mean_strength == pytest.approx(0.1)


def test_a_share_at_zero_is_beside_those_who_weigh_the_reward():
    held = prior(zero_share=0.2, mean_strength=None)
    law = held.mixing()
    assert law.share == 0.2
    assert law.mixing.mean() == pytest.approx(0.1)
    assert law.mixing.sd_log() == pytest.approx(0.7)
    assert held.mean_strength == pytest.approx(0.08)
    assert law.mean() == pytest.approx(held.mean_over_all)
    assert StrengthPrior.from_dict(held.to_dict()) == held


def test_a_record_without_a_share_reads_and_writes_as_before():
    record = prior().to_dict()
    assert "zero_share" not in record
    assert StrengthPrior.from_dict(record).zero_share == 0.0
    assert isinstance(prior().mixing(), LogNormal)


def test_saved_is_loaded(tmp_path):
    path = prior().save(tmp_path / "folder" / "strength_prior.json")
    assert StrengthPrior.load(path) == prior()
    assert json.loads(path.read_text())["schema"] == "prefstrength/strength-prior/1"


def test_callers_dicts_are_copied():
    source = {"choices": 1}
    made = prior(source=source)
    source["choices"] = 2
    assert made.source == {"choices": 1}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"family": "Cauchy"}, "Expected a family of mixing distributions .* got 'Cauchy'"),
        ({"location": math.nan}, "Expected location to be finite; got nan"),
        ({"location_sd": 0.0}, r"Expected location_sd to be finite and > 0; got 0\.0"),
        ({"dispersion_sd": -1.0}, "Expected dispersion_sd to be finite and > 0; got -1"),
        ({"family": "PointMass"}, "A PointMass prior has no dispersion; got dispersion"),
        ({"mean_strength": 0}, "Expected mean_strength to be finite and > 0; got 0"),
        ({"groups": {"eu": {"dispersion": math.inf}}}, "Expected finite numbers in groups"),
        ({"zero_share": 1.0}, r"Expected zero_share from 0 to below 1; got 1\.0\. It is the part"),
        ({"zero_share": -0.1}, r"Expected zero_share from 0 to below 1; got -0\.1"),
        ({"zero_share": math.nan}, "Expected zero_share to be finite; got nan"),
    ],
)
def test_numbers_that_cannot_be(changes, text):
    with pytest.raises(InputError, match=text):
        prior(**changes)


@pytest.mark.parametrize("changes", [{"dispersion": None}, {"location": "0.1"}, {"source": []}])
def test_wrong_types(changes):
    with pytest.raises(TypeError, match=r"Expected (dispersion|location|source) as a"):
        prior(**changes)


def record(**changes):
    return json.dumps({**prior().to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (record()[:40], "got text that is not JSON"),
        ("[1, 2]", "as a JSON object in .* got a list"),
        ("{}", "Expected schema 'prefstrength/strength-prior/1' in .* got None"),
        (record(schema="prefstrength/strength-prior/9"), "got 'prefstrength/strength-prior/9'"),
        (record(scale=1), r"got 1 unknown \(scale\)"),
        (record(location="low"), "cannot be read: Expected location as a number; got 'low'"),
        (record(location=math.nan), "cannot be read: Expected location to be finite"),
        ('{"schema": "prefstrength/strength-prior/1"}', "cannot be read: .*missing 3 required"),
    ],
)
def test_files_that_are_no_prior(tmp_path, text, message):
    path = tmp_path / "strength_prior.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        StrengthPrior.load(path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match=r"Expected a strength prior at .* got no such file"):
        StrengthPrior.load(tmp_path / "strength_prior.json")
    with pytest.raises(InputError, match="got a folder"):
        StrengthPrior.load(tmp_path)


def test_a_negative_mean_has_no_location():
    with pytest.raises(InputError, match="Expected a positive mean strength; got -1"):
        Normal(mu=-1.0, sigma=0.5).log_mean_spread()
