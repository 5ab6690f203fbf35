"""The MixDPO loss in torch, against arithmetic of thirty digits."""

import math
from functools import cache

import mpmath
import pytest

torch = pytest.importorskip("torch")

from prefstrength import (  # noqa: E402
    FiniteMixture,
    Gamma,
    InverseGaussian,
    Lapse,
    LogNormal,
    Normal,
    PointMass,
    ZeroMass,
)
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo import log_choice_probability, mixdpo_logit, mixdpo_loss  # noqa: E402

LAWS = [
    PointMass(value=0.1),
    LogNormal(mu=math.log(0.1), sigma=0.3),
    LogNormal(mu=math.log(0.1), sigma=1.0),
    Gamma(shape=4.0, rate=40.0),
    Gamma(shape=0.5, rate=3.0),
    Normal(mu=0.1, sigma=0.05),
]
LEARNABLE = LAWS[1:5]
OTHERS = [
    InverseGaussian(mu=0.1, shape=0.2),
    ZeroMass(Gamma(shape=4.0, rate=40.0), share=0.25),
    Lapse(LogNormal(mu=-2.0, sigma=0.5), share=0.01),
    FiniteMixture((Normal(mu=-0.1, sigma=0.05), LogNormal(mu=-2.0, sigma=0.5)), (0.1, 0.9)),
]
DELTAS = [-60.0, -3.0, -0.01, 0.0, 0.5, 20.0, 200.0]


def name(law):
    return repr(law)


STEP = mpmath.mpf(1) / 10


@cache
def points(family, parameters):
    """Strength, weight and scores (d log density / d parameter) on a grid, at 30 digits.

    The trapezoid rule in z, or in t (log of a Gamma strength). Where the integrand is analytic
    in a strip of half-width w, its error is exp(-2 pi w / step): w is about pi/2 in t, pi/2
    /sigma in z for LogNormal, and pi/(sigma delta) = 0.3 at worst for Normal, hence a finer step.
    """
    with mpmath.workdps(30):
        first, second = (mpmath.mpf(value) for value in parameters)
        if family == "Gamma":
            table = []
            for k in range(-1600, 60):
                t = k * STEP
                strength = mpmath.exp(t)
                log_density = first * (mpmath.log(second) + t) - second * strength
                weight = STEP * mpmath.exp(log_density - mpmath.loggamma(first))
                scores = (mpmath.log(second) + t - mpmath.digamma(first), first / second - strength)
                table.append((strength, weight, scores))
            return table
        table = []
        step = STEP / 10 if family == "Normal" else STEP
        reach = int(14 / step)
        for k in range(-reach, reach + 1):
            z = k * step
            u = first + second * z
            scores = (z / second, (z**2 - 1) / second)
            table.append(
                (u if family == "Normal" else mpmath.exp(u), step * mpmath.npdf(z), scores)
            )
        return table


@cache
def reference(law_family, parameters, delta):
    """Loss, then its gradient in the parameters and in delta."""
    with mpmath.workdps(30):
        delta = mpmath.mpf(delta)
        if law_family == "PointMass":
            return [mpmath.log1p(mpmath.exp(-mpmath.mpf(parameters[0]) * delta))]
        p = slope = mpmath.mpf(0)
        by_parameter = [mpmath.mpf(0), mpmath.mpf(0)]
        for strength, weight, scores in points(law_family, parameters):
            sigmoid = 1 / (1 + mpmath.exp(-strength * delta))
            p += weight * sigmoid
            slope += weight * strength * sigmoid / (1 + mpmath.exp(strength * delta))
            for k in range(2):
                by_parameter[k] += weight * scores[k] * sigmoid
        return [-mpmath.log(p), *(-each / p for each in by_parameter), -slope / p]


def values(law):
    return tuple(law.parameters.values())


@pytest.mark.parametrize("law", LAWS, ids=name)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 5e-6)])
def test_loss(law, dtype, tolerance):
    loss = mixdpo_loss(torch.tensor(DELTAS, dtype=dtype), law)
    for got, delta in zip(loss.tolist(), DELTAS, strict=True):
        want = float(reference(law.family, values(law), delta)[0])
        # Small losses are 1 - p, of which the relative accuracy counts too.
        assert got == pytest.approx(want, rel=tolerance, abs=1e-30)


@pytest.mark.parametrize("law", LEARNABLE, ids=name)
@pytest.mark.parametrize("delta", [-60.0, -3.0, 0.5, 20.0])
def test_gradients(law, delta):
    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values(law)]
    x = torch.tensor(delta, dtype=torch.float64, requires_grad=True)
    mixdpo_loss(x, type(law)(*inputs)).backward()
    got = [each.grad.item() for each in (*inputs, x)]
    want = reference(law.family, values(law), delta)[1:]
    assert got == pytest.approx([float(each) for each in want], rel=1e-8, abs=1e-12)


def test_gamma_is_the_lerch_form_of_the_paper():
    shape, rate, delta = 4.0, 40.0, 20.0
    with mpmath.workdps(30):
        z = mpmath.mpf(rate) / mpmath.mpf(delta)
        lerch = -mpmath.log(z**shape * mpmath.lerchphi(-1, shape, z))
    got = mixdpo_loss(torch.tensor(delta, dtype=torch.float64), Gamma(shape=shape, rate=rate))
    assert got.item() == pytest.approx(float(lerch), rel=1e-12)
    assert float(reference("Gamma", (shape, rate), delta)[0]) == pytest.approx(float(lerch))


@pytest.mark.parametrize("law", [*LAWS, *OTHERS], ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_logit_hosts_the_loss(law, dtype):
    delta = torch.tensor(DELTAS, dtype=dtype, requires_grad=True)
    hosted = -torch.nn.functional.logsigmoid(mixdpo_logit(delta, law))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(hosted, mixdpo_loss(delta, law), rtol=tolerance, atol=0.0)
    (through_logit,) = torch.autograd.grad(hosted.sum(), delta)
    (direct,) = torch.autograd.grad(mixdpo_loss(delta, law).sum(), delta)
    torch.testing.assert_close(through_logit, direct, rtol=tolerance, atol=1e-30)


@pytest.mark.parametrize("law", [*LAWS, *OTHERS], ids=name)
def test_the_logit_is_odd(law):
    delta = torch.tensor(DELTAS)
    torch.testing.assert_close(
        mixdpo_logit(-delta, law), -mixdpo_logit(delta, law), rtol=0.0, atol=2e-6
    )


def test_point_mass_is_dpo():
    delta = torch.linspace(-50, 50, 101)
    assert torch.equal(mixdpo_logit(delta, PointMass(value=0.1)), 0.1 * delta)
    torch.testing.assert_close(
        mixdpo_loss(delta, PointMass(value=0.1)), -torch.nn.functional.logsigmoid(0.1 * delta)
    )


def test_at_the_start_of_training_the_slope_is_half_the_mean_strength():
    for law in [*LAWS, *OTHERS[:2], OTHERS[3]]:
        delta = torch.zeros((), dtype=torch.float64, requires_grad=True)
        mixdpo_loss(delta, law).backward()
        assert delta.grad.item() == pytest.approx(-law.mean() / 2, rel=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=name)
def test_finite_at_any_difference(law):
    inputs = [torch.tensor(v, requires_grad=True) for v in values(law)]
    delta = torch.tensor([-1e4, -1e3, 1e3, 1e4], requires_grad=True)
    loss = -torch.nn.functional.logsigmoid(mixdpo_logit(delta, type(law)(*inputs)))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert all(torch.isfinite(each.grad).all() for each in (*inputs, delta))


def test_half_precision_is_raised_and_gradients_reach_other_precisions():
    sigma = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    delta = torch.tensor([3.0, -2.0], dtype=torch.bfloat16, requires_grad=True)
    loss = mixdpo_loss(delta, LogNormal(mu=-2.0, sigma=sigma))
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert sigma.grad.dtype == torch.float64
    assert delta.grad.dtype == torch.bfloat16


def test_autocast_changes_nothing():
    delta, law = torch.tensor(DELTAS), LogNormal(mu=-2.0, sigma=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = mixdpo_loss(delta, law)
    assert torch.equal(inside, mixdpo_loss(delta, law))


def test_what_cannot_be_a_law():
    with pytest.raises(InputError, match="Expected a known LogNormal; got one without parameters"):
        log_choice_probability(torch.zeros(2), LogNormal())
    with pytest.raises(TypeError, match="Expected a mixing distribution; got float"):
        log_choice_probability(torch.zeros(2), 0.1)
