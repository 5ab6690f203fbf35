"""Known mixing distributions: their summaries by formulas, their draws, their errors."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, optimize, special

from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.lapse import Lapse
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.mixing.zero_mass import ZeroMass
from prefstrength.errors import InputError


def inverse_gaussian_cdf(b, mu, shape):
    root = math.sqrt(shape / b)
    first = special.ndtr(root * (b / mu - 1))
    return first + math.exp(2 * shape / mu) * special.ndtr(-root * (b / mu + 1))


def log_sd(density):
    first, second = (
        integrate.quad(lambda b, k=k: math.log(b) ** k * density(b), 0, 60, epsabs=1e-13, limit=200)
        for k in (1, 2)
    )
    return math.sqrt(second[0] - first[0] ** 2)


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
    (
        InverseGaussian(mu=2.0, shape=8.0),
        2.0,
        1.0,
        float(optimize.brentq(lambda b: inverse_gaussian_cdf(b, 2.0, 8.0) - 0.5, 0.1, 9.0)),
        # Mean and variance of the log by quadrature of its density.
        log_sd(lambda b: math.sqrt(8 / (2 * math.pi * b**3)) * math.exp(-((b - 2) ** 2) / b)),
    ),
    (
        FiniteMixture((LogNormal(mu=0.0, sigma=0.5), LogNormal(mu=2.0, sigma=0.5)), (0.5, 0.5)),
        (math.exp(0.125) + math.exp(2.125)) / 2,
        math.sqrt(
            (math.exp(0.5) + math.exp(4.5)) / 2 - ((math.exp(0.125) + math.exp(2.125)) / 2) ** 2
        ),
        math.e,  # by symmetry of the log
        math.sqrt(0.25 + 1.0),
    ),
    (
        FiniteMixture((PointMass(value=1.0), Normal(mu=-3.0, sigma=1.0)), (0.75, 0.25)),
        0.0,
        math.sqrt(0.75 + 0.25 * 10.0),
        1.0,
        math.nan,
    ),
    (
        ZeroMass(Gamma(shape=1.0, rate=1.0), share=0.2),
        0.8,
        math.sqrt(0.96),
        math.log(1.6),
        math.nan,
    ),
    (ZeroMass(Normal(mu=0.0, sigma=1.0), share=0.3), 0.0, math.sqrt(0.7), 0.0, math.nan),
    (Lapse(Gamma(shape=1.0, rate=1.0), share=0.2), 1.0, 1.0, math.log(2), math.pi / math.sqrt(6)),
]
LAWS = [row[0] for row in SUMMARIES]
#: Laws with single strengths that have a probability of their own.
ATOMS = {repr(law) for law in LAWS if isinstance(law, ZeroMass | PointMass) or "Point" in repr(law)}
CONTINUOUS = [law for law in LAWS if repr(law) not in ATOMS]


@pytest.mark.parametrize(("law", "mean", "sd", "median", "sd_log"), SUMMARIES, ids=repr)
def test_summaries(law, mean, sd, median, sd_log):
    assert law.mean() == pytest.approx(mean, rel=1e-12)
    assert law.sd() == pytest.approx(sd, rel=1e-12)
    assert law.median() == pytest.approx(median, rel=1e-12)
    assert law.cv() == pytest.approx(sd / abs(mean) if mean else math.inf, rel=1e-12)
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
    for at in (*law.quantile([0.1, 0.5, 0.9]), -0.5, 0.0, 1.0):
        q = float(law.cdf(at))
        assert np.mean(draws <= at) == pytest.approx(
            q, abs=4 * math.sqrt(q * (1 - q) / 40_000) + 1e-12
        )
    assert draws.mean() == pytest.approx(law.mean(), abs=4 * law.sd() / 200)
    assert (draws > 0).all() or not law.positive


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_same_generator_same_draws(law):
    first, again, other = (law.sample(np.random.default_rng(s), (3, 2)) for s in (7, 7, 8))
    assert first.shape == (3, 2)
    np.testing.assert_array_equal(first, again)
    assert isinstance(law, PointMass) or (first != other).any()


def test_point_mass_is_a_point():
    law = PointMass(value=0.1)
    np.testing.assert_array_equal(law.quantile([0.1, 0.9]), [0.1, 0.1])
    with pytest.raises(TypeError, match="PointMass has no density"):
        law.pdf(0.1)


def test_a_law_around_zero_has_no_finite_cv():
    assert Normal(mu=0.0, sigma=1.0).cv() == math.inf


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_quantiles_are_the_least_strengths_of_enough_probability(law):
    for q in (0.03, 0.2, 0.5, 0.74, 0.76, 0.97):
        at = float(law.quantile(q))
        assert law.cdf(at) >= q - 1e-12
        assert law.cdf(at - 1e-6) < q
    assert (np.diff(law.quantile(np.linspace(0.01, 0.99, 99))) >= 0).all()


@pytest.mark.parametrize("law", [law for law in LAWS if repr(law) in ATOMS], ids=repr)
def test_an_atom_has_no_density(law):
    with pytest.raises(TypeError, match="no density"):
        law.pdf(0.1)


def test_parameters_of_the_parts():
    inner = FiniteMixture((LogNormal(mu=0.1, sigma=0.2), PointMass(value=3.0)), (0.25, 0.75))
    law = Lapse(ZeroMass(inner, share=0.4), share=0.5)
    assert law.parameters == {
        "lapse_share": 0.5,
        "zero_share": 0.4,
        "share_1": 0.25,
        "share_2": 0.75,
        "mu_1": 0.1,
        "sigma_1": 0.2,
        "value_2": 3.0,
    }
    doubled = law.with_parameters(
        {n: v * 0.5 for n, v in law.parameters.items()} | {"share_2": 0.875}
    )
    assert repr(doubled) == (
        "Lapse(ZeroMass(FiniteMixture(components=(LogNormal(mu=0.05, sigma=0.1), "
        "PointMass(value=1.5)), shares=(0.125, 0.875)), share=0.2), share=0.25)"
    )
    assert repr(ZeroMass(Gamma())) == "ZeroMass(Gamma())"
    assert not Lapse(ZeroMass(Gamma())).known
    assert (Lapse(Gamma()).positive, Lapse(Normal()).positive, ZeroMass(Gamma()).positive) == (
        True,
        False,
        False,
    )


def test_families_by_name():
    assert list(MIXINGS) == [
        "PointMass",
        "PositivePointMass",
        "Normal",
        "LogNormal",
        "Gamma",
        "InverseGaussian",
    ]
    for name, family in MIXINGS.items():
        assert family().family == name
        assert not family().known
        assert repr(family()) == f"{name}()"
        assert set(family().parameters.values()) == {None}
    assert Gamma(shape=2.0, rate=3.0).parameters == {"shape": 2.0, "rate": 3.0}
    signed = {name for name, family in MIXINGS.items() if not family.positive}
    assert signed == {"PointMass", "Normal"}


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
            "LogNormal expects sigma > 0; got 0. One strength for all is `PointMass(value=...)`.",
        ),
        (
            lambda: Gamma(shape=np.float64(-1.0), rate=1.0),
            "Gamma expects shape > 0; got -1.0. One strength for all is `PointMass(value=...)`.",
        ),
        (
            lambda: InverseGaussian(mu=-1.0, shape=1.0),
            "InverseGaussian expects mu > 0; got -1.0. "
            "One strength for all is `PointMass(value=...)`.",
        ),
        (
            lambda: ZeroMass(Gamma(shape=1.0, rate=1.0)),
            "ZeroMass expects all of its parameters (zero_share, shape, rate) or none; got shape, "
            "rate alone. Give zero_share too, or leave all out to have them inferred.",
        ),
        (
            lambda: Lapse(Gamma(shape=1.0, rate=1.0), share=1),
            "Lapse expects share from 0 to below 1; got 1. "
            "A share is a part of the whole: 0.05 for 5 %.",
        ),
        (
            lambda: ZeroMass(Lapse(Gamma())),
            "ZeroMass expects PointMass, PositivePointMass, Normal, LogNormal, Gamma, "
            "InverseGaussian, FiniteMixture as a part; got Lapse. A lapse belongs to the choice, "
            "not to its strength: put it outermost, Lapse(ZeroMass(...)).",
        ),
        (
            lambda: FiniteMixture((PointMass(value=1), PointMass(value=2)), (0.3, 0.3)),
            "FiniteMixture expects shares that add up to 1; got 0.6. Divide them by their sum.",
        ),
        (
            lambda: FiniteMixture((PointMass(value=1), PointMass(value=2)), (1.0,)),
            "FiniteMixture expects one share for each of 2 components; got 1. "
            "Give one for each; they add up to 1.",
        ),
        (
            lambda: FiniteMixture(),
            "FiniteMixture expects at least one component; got none. "
            "Give `components=(LogNormal(mu=0, sigma=0.5), PointMass(value=0))`.",
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
    with pytest.raises(TypeError, match="Lapse expects a number as share; got '5 %'"):
        Lapse(Gamma(), share="5 %")
    with pytest.raises(TypeError, match="Lapse expects mixing distributions, such as"):
        Lapse(Gamma, share=0.1)
    with pytest.raises(TypeError, match="expects a sequence of components; got a single one"):
        FiniteMixture(Gamma())


@pytest.mark.parametrize("family", MIXINGS.values(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("ask", ["mean", "sd", "median", "cv", "sd_log"])
def test_a_law_to_be_inferred_has_no_summaries(family, ask):
    with pytest.raises(InputError, match=f"Expected a known {family.__name__}; got one without"):
        getattr(family(), ask)()
    with pytest.raises(InputError, match="fit a model first"):
        family().sample(np.random.default_rng(0), 3)
    with pytest.raises(InputError, match="fit a model first"):
        family().quantile(0.5)
