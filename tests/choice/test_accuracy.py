"""Log p and every gradient against fifty digits: every law, JAX and torch, both precisions.

An error is measured against max(1, |log p|). That of a gradient is first multiplied by the
natural scale of its input: the own value of a share and of a positive parameter, 1 for the mu of
LogNormal, the larger of |mu| and sigma for the mu of Normal, the value of PointMass, and for the
difference the larger of |x| and 1/(mean strength).
"""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.lapse import Lapse
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.mixing.zero_mass import ZeroMass
from prefstrength.errors import InputError
from prefstrength.likelihood.mixed import choice_score, log_choice_probability
from tests.helpers.reference import log_tails_and_slopes

#: What the docstrings promise.
BOUND = {np.float64: 1e-10, np.float32: 2e-6}
SIZES = (1e-6, 1e-3, 0.1, 1.0, 7.0, 60.0, 1e3, 1e4)
DENSE = tuple(float(f"{size:.3g}") for size in np.geomspace(1e-6, 1e4, 31))


def lognormal(cv, mean=1.0):
    sigma = math.sqrt(math.log1p(cv**2))
    return LogNormal(mu=math.log(mean) - sigma**2 / 2, sigma=sigma)


def gamma(cv, mean=1.0):
    return Gamma(shape=cv**-2, rate=cv**-2 / mean)


def inverse_gaussian(cv, mean=1.0):
    return InverseGaussian(mu=mean, shape=mean * cv**-2)


def normal(cv, mean=1.0):
    return Normal(mu=mean, sigma=cv * abs(mean))


LAWS = {
    "PointMass": lambda cv, mean=1.0: PointMass(value=mean),
    "LogNormal": lognormal,
    "Gamma": gamma,
    "InverseGaussian": inverse_gaussian,
    "Normal": normal,
    "FiniteMixture": lambda cv, mean=1.0: FiniteMixture(
        (lognormal(cv, mean), gamma(1.0, mean / 9), PointMass(value=mean / 64)), (0.5, 0.375, 0.125)
    ),
    "MixtureWithNegative": lambda cv, mean=1.0: FiniteMixture(
        (normal(cv, mean), inverse_gaussian(cv, mean)), (0.0625, 0.9375)
    ),
    "ZeroMass": lambda cv, mean=1.0: ZeroMass(gamma(cv, mean), share=0.25),
    "Lapse": lambda cv, mean=1.0: Lapse(lognormal(cv, mean), share=1e-7),
    "LapseOfZeroMass": lambda cv, mean=1.0: Lapse(
        ZeroMass(inverse_gaussian(cv, mean), share=0.75), share=0.125
    ),
}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def in_single(law):
    """The law with parameters that single precision holds, so that only arithmetic can err."""
    return law.with_parameters({n: float(np.float32(v)) for n, v in law.parameters.items()})


def scales(law, x):
    """Natural scale of x and of every parameter."""
    size = abs(law.mean() if law.family == "FiniteMixture" else getattr(law, "mixing", law).mean())
    out = [max(abs(x), 1 / size)]
    parts = law.components if law.family == "FiniteMixture" else [law]
    out += [parameter for name, parameter in law.parameters.items() if "share" in name]
    for part in parts:
        part = part.mixing if part.family == "Lapse" else part
        part = part.mixing if part.family == "ZeroMass" else part
        first, *rest = map(abs, part.parameters.values())
        first = {"LogNormal": 1.0, "Normal": max(first, *rest, 0.0)}.get(part.family, first)
        out += [first, *rest]
    return out


@cache
def table(kind, cvs, sizes, means):
    """Differences, parameters, references and scales of one kind of law, each (case, …)."""
    xs, parameters, wanted, natural = [], [], [], []
    for cv in cvs:
        for mean in means:
            law = in_single(LAWS[kind](cv, mean))
            for size in sizes:
                size = float(np.float32(size))
                for x, side in zip((size, -size), log_tails_and_slopes(law, size), strict=True):
                    xs.append(x)
                    parameters.append(list(law.parameters.values()))
                    wanted.append(side)
                    natural.append([1.0, *scales(law, x)])
    return np.array(xs), np.array(parameters), np.array(wanted), np.array(natural)


def by_jax(law, x, parameters):
    """log p, its slope in x, the score of each parameter: (case, number)."""
    names = list(law.parameters)

    @jax.jit
    def evaluate(x, parameters):
        given = law.with_parameters(dict(zip(names, parameters, strict=True)))
        value, pull = jax.vjp(lambda x: log_choice_probability(x, given), x)
        score = choice_score(x, given)
        assert list(score) == names
        return [value, *pull(jnp.ones_like(value)), *score.values()]

    found = evaluate(jnp.asarray(x), [jnp.asarray(column) for column in parameters.T])
    assert all(each.dtype == x.dtype for each in found)
    return np.stack(found, axis=1).astype(float)


def by_torch(law, x, parameters):
    torch = pytest.importorskip("torch")
    from prefstrength.mixdpo import log_choice_probability

    inputs = [torch.tensor(each, requires_grad=True) for each in (x, *parameters.T)]
    given = law.with_parameters(dict(zip(law.parameters, inputs[1:], strict=True)))
    value = log_choice_probability(inputs[0], given)
    slopes = torch.autograd.grad(value.sum(), inputs)
    assert value.dtype == inputs[0].dtype
    return np.stack([each.detach().numpy() for each in (value, *slopes)], axis=1).astype(float)


def error(found, wanted, natural):
    """Of log p and of every gradient, in natural scales, relative to max(1, |log p|)."""
    return np.abs(found - wanted) * natural / np.maximum(1.0, np.abs(wanted[:, :1]))


def check(kind, cvs, sizes, means, libraries=(by_jax, by_torch)):
    x, parameters, wanted, natural = table(kind, cvs, sizes, means)
    law = LAWS[kind](1.0)
    for dtype in BOUND:
        found = [each(law, x.astype(dtype), parameters.astype(dtype)) for each in libraries]
        limit = BOUND[dtype]
        for each in found:
            assert np.isfinite(each).all()
            part = error(each, wanted, natural) / limit
            assert part.max() <= 1, (
                f"{dtype.__name__}, in parts of the bound: {part.max(axis=0)} "
                f"at x = {x[part.argmax(axis=0)]}"
            )
        apart = error(*found, natural) / limit  # two libraries, one arithmetic
        assert apart.max() <= (0.01 if dtype is np.float64 else 1), apart.max(axis=0)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.slow) if kind == "MixtureWithNegative" else kind
        for kind in LAWS
    ],
)
def test_log_probability_and_every_gradient(kind):
    # The reference of Normal is slow, and its law has two signs.
    sizes = SIZES[1::2] if kind == "Normal" else SIZES
    check(kind, (0.01, 1.0, 10.0), sizes, (1, -1) if kind == "Normal" else (1,))


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.1, 1.0, 10.0, -1.0])
@pytest.mark.parametrize("kind", LAWS)
def test_log_probability_and_every_gradient_everywhere(kind, mean):
    if mean < 0 and kind != "Normal":
        pytest.skip("positive by definition")
    check(kind, (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0), DENSE, (mean,))


def test_a_planted_error_is_seen():
    x, parameters, wanted, natural = table("Gamma", (0.01, 1.0, 10.0), SIZES, (1,))
    found = by_jax(LAWS["Gamma"](1.0), x, parameters)
    for column in range(found.shape[1]):
        wrong = found.copy()
        wrong[:, column] *= 1 + 1e-8
        assert error(wrong, wanted, natural)[:, column].max() > BOUND[np.float64]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "law",
    [
        PointMass(value=0.0),
        FiniteMixture((lognormal(1.0), PointMass(value=0.0)), (0.5, 0.5)),
        FiniteMixture((normal(1.0), gamma(10.0)), (1.0, 0.0)),
        ZeroMass(inverse_gaussian(0.01), share=0.0),
        Lapse(Normal(mu=-1.0, sigma=0.01), share=1e-30),
    ],
    ids=repr,
)
def test_finite_at_the_edge_of_the_parameters(law, dtype):
    x = np.array([-1e4, -30.0, -1e-30, 0.0, 1e-6, 30.0, 1e4], dtype=dtype)
    parameters = np.tile(np.array(list(law.parameters.values()), dtype=dtype), (len(x), 1))
    assert np.isfinite(by_torch(law, x, parameters)).all()


def test_half_precision_is_raised():
    law = ZeroMass(gamma(1.0), share=0.25)
    x = jnp.array([-7.0, 0.5], dtype=jnp.bfloat16)
    score_of = jax.jit(lambda x: choice_score(x, law))
    score = score_of(x)
    assert {each.dtype for each in score.values()} == {jnp.float32.dtype}
    again = score_of(x.astype(jnp.float32))
    assert all((score[name] == again[name]).all() for name in score)


def test_scores_broadcast():
    law = Gamma(shape=np.array([[1.0], [4.0]]), rate=2.0)
    x = np.array([-1.0, 0.0, 3.0])
    score = jax.jit(lambda x: choice_score(x, law))(x)
    assert {name: each.shape for name, each in score.items()} == {"shape": (2, 3), "rate": (2, 3)}
    alone = choice_score(np.array(3.0), Gamma(shape=4.0, rate=2.0))
    assert float(score["shape"][1, 2]) == pytest.approx(float(alone["shape"]), rel=1e-13)
    # The two alternatives share all probability, so the expected score is 0.
    p = np.exp(log_choice_probability(x, law))
    other = jax.jit(lambda x: choice_score(x, law))(-x)
    for name in score:
        np.testing.assert_allclose(p * score[name] + (1 - p) * other[name], 0.0, atol=1e-15)


def test_shares_score_as_divided_by_their_sum():
    laws = (gamma(2.0), PointMass(value=0.3), gamma(0.1))
    law = FiniteMixture(laws, (0.5, 0.25, 0.25))
    score = jax.jit(lambda x: choice_score(x, law))(np.array([-5.0, 3.0]))
    total = sum(score[f"share_{k}"] * share for k, share in enumerate(law.shares, 1))
    np.testing.assert_allclose(total, 0.0, atol=1e-14)


def test_a_score_of_what_is_no_law():
    with pytest.raises(InputError, match="Expected a known Lapse; got one without parameters"):
        choice_score(1.0, Lapse(LogNormal()))
    with pytest.raises(TypeError, match="Expected a mixing distribution; got float"):
        choice_score(1.0, 0.1)
