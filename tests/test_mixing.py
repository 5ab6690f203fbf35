"""Known mixing distributions: their summaries by formulas, their draws, their errors."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from prefstrength.errors import InputError
from prefstrength.mixing import MIXINGS, Gamma, LogNormal, Normal, PointMass

# (law, mean, sd, median, sd of the log)
SUMMARIES = [
    (PointMass(value=0.3), 0.3, 0.0, 0.3, 0.0),
    (PointMass(value=-2), -2.0, 0.0, -2.0, 0.0),
    (Normal(mu=1.5, sigma=0.5), 1.5, 0.5, 1.5, math.nan),
    (Normal(mu=-2.0, sigma=3.0), -2.0, 3.0, -2.0, math.nan),
    (
        LogNormal(mu=-1.0, sigma=0.7),
        math.exp(-1 + 0.49 / 2),
        math.exp(-1 + 0.49 / 2) * math.sqrt(math.expm1(0.49)),
        math.exp(-1),
        0.7,
    ),
    (
        LogNormal(mu=0.2, sigma=2.0),
        math.exp(2.2),
        math.exp(2.2) * math.sqrt(math.expm1(4.0)),
        math.exp(0.2),
        2.0,
    ),
    (Gamma(shape=1.0, rate=4.0), 0.25, 0.25, math.log(2) / 4, math.pi / math.sqrt(6)),
    (
        Gamma(shape=9.0, rate=3.0),
        3.0,
        1.0,
        float(special.gammaincinv(9.0, 0.5)) / 3,
        math.sqrt(special.polygamma(1, 9.0)),
    ),
]
LAWS = [row[0] for row in SUMMARIES]
CONTINUOUS = [law for law in LAWS if not isinstance(law, PointMass)]


@pytest.mark.parametrize(("law", "mean", "sd", "median", "sd_log"), SUMMARIES, ids=repr)
def test_summaries(law, mean, sd, median, sd_log):
    assert law.mean() == pytest.approx(mean, rel=1e-12)
    assert law.sd() == pytest.approx(sd, rel=1e-12)
    assert law.median() == pytest.approx(median, rel=1e-12)
    assert law.cv() == pytest.approx(sd / abs(mean), rel=1e-12)
    assert law.sd_log() == pytest.approx(sd_log, rel=1e-12, nan_ok=True)
    assert law.known


@pytest.mark.parametrize("law", CONTINUOUS, ids=repr)
def test_quantiles_invert_the_integral_of_the_density(law):
    for q in (0.05, 0.5, 0.9):
        start = 0.0 if law.positive else law.quantile(1e-14)
        area, _ = integrate.quad(law.pdf, start, float(law.quantile(q)), limit=200)
        assert area == pytest.approx(q, abs=1e-7)
    assert law.quantile([0.25, 0.75]).shape == (2,)
    assert (np.diff(law.quantile(np.linspace(0.01, 0.99, 9))) > 0).all()


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_draws_follow_the_law(law):
    draws = law.sample(np.random.default_rng(0), 40_000)
    assert draws.shape == (40_000,)
    if isinstance(law, PointMass):
        assert set(draws) == {law.mean()}
        return
    for q in (0.1, 0.5, 0.9):
        share = np.mean(draws < law.quantile(q))
        assert share == pytest.approx(q, abs=4 * math.sqrt(q * (1 - q) / 40_000))
    assert (draws > 0).all() or not law.positive


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_same_generator_same_draws(law):
    first, again, other = (law.sample(np.random.default_rng(s), (3, 2)) for s in (7, 7, 8))
    assert first.shape == (3, 2)
    np.testing.assert_array_equal(first, again)
    assert isinstance(law, PointMass) or (first != other).all()


def test_point_mass_is_a_point():
    law = PointMass(value=0.1)
    np.testing.assert_array_equal(law.quantile([0.1, 0.9]), [0.1, 0.1])
    with pytest.raises(TypeError, match="PointMass has no density"):
        law.pdf(0.1)


def test_a_law_around_zero_has_no_finite_cv():
    assert Normal(mu=0.0, sigma=1.0).cv() == math.inf


def test_families_by_name():
    assert list(MIXINGS) == ["PointMass", "Normal", "LogNormal", "Gamma"]
    for name, family in MIXINGS.items():
        assert family().family == name
        assert not family().known
        assert repr(family()) == f"{name}()"
        assert set(family().parameters.values()) == {None}
    assert Gamma(shape=2.0, rate=3.0).parameters == {"shape": 2.0, "rate": 3.0}
    assert [f.positive for f in MIXINGS.values()] == [False, False, True, True]


def test_shown():
    assert repr(LogNormal(mu=0.0, sigma=0.7)) == "LogNormal(mu=0, sigma=0.7)"
    assert repr(Normal(mu=jnp.zeros(2), sigma=1.0)) == "Normal(mu=<array>, sigma=1)"


def test_a_law_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LogNormal(mu=0.0, sigma=1.0).mu = 2.0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: LogNormal(mu=0.0),
            "LogNormal expects all of its parameters (mu, sigma) or none; got mu alone. "
            "Give sigma too, or leave all out to have them inferred.",
        ),
        (
            lambda: Gamma(rate=1.0),
            "Gamma expects all of its parameters (shape, rate) or none; got rate alone. "
            "Give shape too, or leave all out to have them inferred.",
        ),
        (
            lambda: Normal(mu=math.nan, sigma=1.0),
            "Normal expects a finite mu; got nan. Give a finite number.",
        ),
        (
            lambda: PointMass(value=math.inf),
            "PointMass expects a finite value; got inf. Give a finite number.",
        ),
        (
            lambda: LogNormal(mu=0.0, sigma=0),
            "LogNormal expects sigma > 0; got 0. A law without spread is PointMass(value=...).",
        ),
        (
            lambda: Gamma(shape=np.float64(-1.0), rate=1.0),
            "Gamma expects shape > 0; got -1.0. A law without spread is PointMass(value=...).",
        ),
    ],
)
def test_impossible_parameters(make, text):
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value) == text


def test_a_parameter_that_is_no_number():
    with pytest.raises(TypeError, match="Normal expects a number as mu; got 'one'"):
        Normal(mu="one", sigma=1.0)


@pytest.mark.parametrize("family", MIXINGS.values(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("ask", ["mean", "sd", "median", "cv", "sd_log"])
def test_a_law_to_be_inferred_has_no_summaries(family, ask):
    with pytest.raises(InputError, match=f"Expected a known {family.__name__}; got one without"):
        getattr(family(), ask)()
    with pytest.raises(InputError, match="fit a model first"):
        family().sample(np.random.default_rng(0), 3)
    with pytest.raises(InputError, match="fit a model first"):
        family().quantile(0.5)
