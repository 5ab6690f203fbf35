"""The law of strength while it is learned."""

import math

import pytest

torch = pytest.importorskip("torch")

from prefstrength.choice.strength_prior import StrengthPrior  # noqa: E402
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo.strength import Strength  # noqa: E402

PRIORS = [
    StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.7), 0.3),
    StrengthPrior("Gamma", math.log(0.2), 0.1, math.log(0.5), 0.4),
    StrengthPrior("InverseGaussian", math.log(0.2), 0.1, math.log(0.5), 0.4),
    StrengthPrior("Normal", math.log(0.3), 0.5, math.log(0.4), 0.2),
    StrengthPrior("PointMass", math.log(0.1), 0.2),
]


def family(prior):
    return prior.family


@pytest.mark.parametrize("prior", PRIORS, ids=family)
def test_it_starts_at_the_centre_of_the_prior(prior):
    strength = Strength.from_prior(prior)
    assert strength.mean == pytest.approx(prior.mixing().mean())
    assert strength.cv == pytest.approx(prior.mixing().cv())
    assert strength.negative_log_prior().item() == 0.0
    for name, value in strength.mixing().parameters.items():
        assert value.requires_grad
        assert value.item() == pytest.approx(prior.mixing().parameters[name])


def test_the_negative_log_prior_is_that_of_two_normals():
    prior = PRIORS[0]
    strength = Strength.from_prior(prior)
    with torch.no_grad():
        strength.location += 2 * prior.location_sd
        strength.dispersion -= 3 * prior.dispersion_sd
    assert strength.negative_log_prior().item() == pytest.approx((2**2 + 3**2) / 2)
    strength.negative_log_prior().backward()
    assert strength.location.grad.item() == pytest.approx(2 / prior.location_sd)
    assert strength.dispersion.grad.item() == pytest.approx(-3 / prior.dispersion_sd)


@pytest.mark.parametrize(
    ("mode", "learned"),
    [("joint", [True, True]), ("anchored", [False, True]), ("frozen", [False, False])],
)
def test_modes(mode, learned):
    strength = Strength.from_prior(PRIORS[0], mode)
    assert [each.requires_grad for each in (strength.location, strength.dispersion)] == learned
    assert strength.learns == any(learned)
    with torch.no_grad():
        strength.location += 1.0
        strength.dispersion += 1.0
    held = strength.negative_log_prior().item()
    terms = [(1 / 0.2) ** 2 / 2, (1 / 0.3) ** 2 / 2]
    assert held == pytest.approx(sum(t for t, each in zip(terms, learned, strict=True) if each))


def test_without_a_prior_nothing_holds():
    strength = Strength.from_start("Gamma", mean=0.1, cv=0.5)
    with torch.no_grad():
        strength.location += 5.0
    assert strength.negative_log_prior().item() == 0.0
    assert strength.learned().prior is None


def test_the_trajectory_has_one_point_a_step():
    strength = Strength.from_prior(PRIORS[1])
    for step in (0, 0, 3, 5, 5):
        strength.record(step)
    assert [point["step"] for point in strength.trajectory] == [0, 3, 5]
    assert set(strength.trajectory[0]) == {"step", "shape", "rate", "mean", "cv"}
    strength.restart(3)
    assert [point["step"] for point in strength.trajectory] == [0, 3]


@pytest.mark.parametrize("prior", PRIORS, ids=family)
def test_restored_from_its_record(prior, tmp_path):
    strength = Strength.from_prior(prior)
    with torch.no_grad():
        for each in strength.parameters():
            each += 0.123
    strength.record(4)
    record = strength.learned()
    other = Strength.from_prior(prior)
    other.restore(record, "the run")
    assert other.current().parameters == pytest.approx(strength.current().parameters, rel=1e-12)
    assert other.trajectory == strength.trajectory
    assert other.learned().mixing().mean() == pytest.approx(strength.mean)


def test_a_record_of_other_training_is_refused():
    record = Strength.from_prior(PRIORS[0]).learned()
    with pytest.raises(InputError, match="same strength mode as this run 'anchored'; got 'joint'"):
        Strength.from_prior(PRIORS[0], "anchored").restore(record, "the run")
    with pytest.raises(InputError, match="same strength family as this run 'Gamma'"):
        Strength.from_prior(PRIORS[1]).restore(record, "the run")
    narrower = StrengthPrior("LogNormal", math.log(0.1), 0.1, math.log(0.7), 0.3)
    with pytest.raises(InputError, match="same strength prior as this run; got another"):
        Strength.from_prior(narrower).restore(record, "the run")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"family": "Cauchy"}, "got 'Cauchy'"),
        ({"mode": "free"}, "Expected a mode"),
        ({"dispersion": None}, "Expected a dispersion for every family but PointMass; got None"),
        ({"family": "PointMass"}, "Expected a dispersion for every family but PointMass"),
        (
            {"family": "PointMass", "dispersion": None, "mode": "anchored"},
            "mode 'anchored' learns the dispersion with the mean fixed; got PointMass",
        ),
        ({"prior": PRIORS[1]}, "Expected a prior of the family LogNormal; got one of Gamma"),
    ],
)
def test_what_cannot_be_learned(arguments, text):
    usual = {"family": "LogNormal", "location": -2.0, "dispersion": -0.5}
    with pytest.raises(InputError, match=text):
        Strength(**{**usual, **arguments})


def test_it_prints_its_law():
    assert "LogNormal(mu=-2.54759, sigma=0.7), mean=0.1" in repr(Strength.from_prior(PRIORS[0]))
