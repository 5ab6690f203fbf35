"""Sampling without a compiler: coordinates, surrogates, weights, and what they must refuse."""

import numpy as np
import pytest
from scipy import stats

import prefstrength as ps
from prefstrength.inference import target_sampling
from prefstrength.inference.coordinates import Coordinate
from prefstrength.inference.locate import locate
from prefstrength.inference.priors import Prior
from prefstrength.inference.sampling import scalar_likelihood
from prefstrength.inference.single import Single
from prefstrength.inference.surrogate import Ball, design, fit_surrogate
from prefstrength.inference.target import Parameter, Target
from prefstrength.inference.target_sampling import laplace_target, sample_target, smoothed
from prefstrength.likelihood import strength
from prefstrength.models.fitting import Work

COORDINATES = [
    Coordinate("real"),
    Coordinate("positive", 0.05),
    Coordinate("spread", 0.2),
    Coordinate("share", 0.03),
]


@pytest.mark.parametrize("coordinate", COORDINATES, ids=lambda c: c.kind)
def test_coordinates_lead_there_and_back(coordinate):
    p = {"real": [-3.0, 0.0, 2.0], "share": [0.0, 1e-4, 0.3, 0.99, 1.0]}.get(
        coordinate.kind, [0.0, 1e-4, 0.1, 4.0]
    )
    p = np.array(p)
    np.testing.assert_allclose(coordinate.parameter(coordinate.round(p)), p, atol=1e-9)
    np.testing.assert_allclose(coordinate.of_smooth(coordinate.smooth(p)), p, atol=1e-6)
    low, high = coordinate.ends
    v = coordinate.round(p)
    assert ((v >= low - 1e-12) & (v <= high + 1e-12)).all()


@pytest.mark.parametrize("coordinate", COORDINATES, ids=lambda c: c.kind)
def test_the_slope_of_a_coordinate_is_its_derivative(coordinate):
    p = np.array([0.05, 0.3, 0.8])
    v, h = coordinate.round(p), 1e-6
    numeric = (coordinate.parameter(v + h) - coordinate.parameter(v - h)) / (2 * h)
    np.testing.assert_allclose(np.exp(coordinate.log_slope(v)), numeric, rtol=1e-6)


def known(kind, prior, log_likelihood=lambda p: 0.0 * p, start=0.4):
    """A posterior of one number whose density is known."""
    parameter = Parameter("p", prior, Coordinate(kind, 0.1), start)
    return Target((parameter,), 0, lambda values: log_likelihood(values["p"]))


@pytest.mark.parametrize(
    ("target", "law"),
    [
        (known("real", Prior("Normal", (0.3, 2.0))), stats.norm(0.3, 2.0)),
        (known("positive", Prior("HalfNormal", (0.7,))), stats.halfnorm(scale=0.7)),
        (known("spread", Prior("HalfNormal", (0.7,))), stats.halfnorm(scale=0.7)),
        (known("share", Prior("Beta", (1.0, 4.0))), stats.beta(1.0, 4.0)),
        (
            known("share", Prior("Beta", (1.0, 1.0)), lambda p: 3 * np.log(p) + 9 * np.log1p(-p)),
            stats.beta(4.0, 10.0),
        ),
        (
            known("positive", Prior("Flat"), lambda p: 4 * np.log(p + 1e-300) - 2 * p, 2.0),
            stats.gamma(5.0, scale=0.5),
        ),
    ],
    ids=["Normal", "HalfNormal", "spread", "Beta", "binomial", "Gamma"],
)
def test_draws_of_a_known_density(target, law):
    """The density of the parameter, not of its coordinate: no Jacobian is forgotten."""
    with np.errstate(divide="ignore"):
        found = sample_target(target, 4000, 0)
    draws = target.values(found.v)["p"]
    assert found.pareto_k < 0.7
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert (draws < law.ppf(q)).mean() == pytest.approx(q, abs=0.03)


def test_the_ball_is_where_a_gaussian_lies():
    covariance = np.array([[0.5, 0.3], [0.3, 0.4]])
    precision, centre = np.linalg.inv(covariance), np.array([1.0, -2.0])

    def log_likelihood(values):
        away = np.stack([values["a"], values["b"]], axis=1) - centre
        return -np.einsum("mi,ij,mj->m", away, precision, away) / 2

    flat = Prior("Normal", (0.0, 1e3))
    parameters = tuple(Parameter(name, flat, Coordinate("real"), 0.0) for name in "ab")
    target = Target(parameters, 0, log_likelihood)
    ball = locate(target)
    np.testing.assert_allclose(ball.centre, centre, atol=1e-3)
    np.testing.assert_allclose(ball.factor @ ball.factor.T, covariance, rtol=1e-3)
    gauss = laplace_target(target, 8000, 0)
    np.testing.assert_allclose(np.cov(gauss.v.T), covariance, rtol=0.1)
    assert gauss.effective > 7000
    assert gauss.pareto_k < 0.3


def test_a_polynomial_is_its_own_surrogate():
    rng = np.random.default_rng(0)
    ball = Ball(np.array([0.3, -1.0]), np.array([[0.5, 0.0], [0.2, 0.3]]), -np.full(2, np.inf),
                np.full(2, np.inf))  # fmt: skip

    def cubic(v):
        return 1 + v[:, 0] - 2 * v[:, 1] ** 2 + 0.3 * v[:, 0] ** 2 * v[:, 1]

    points = design(ball, 4, 0, rng)
    surrogate = fit_surrogate(ball, 4, points, cubic(points))
    new = ball.v(rng.normal(size=(50, 2)))
    np.testing.assert_allclose(surrogate(new), cubic(new), rtol=1e-8, atol=1e-8)
    assert np.isneginf(surrogate(ball.v(np.array([[6.0, 0.0]])))).all()


def test_points_of_a_design_share_slow_coordinates_in_runs():
    ball = Ball(np.zeros(3), np.eye(3), np.array([-0.5, -np.inf, -np.inf]), np.full(3, np.inf))
    points = design(ball, 4, 1, np.random.default_rng(0))
    assert points[:, 0].min() >= -0.5
    assert ((points**2).sum(axis=1) <= 5.5**2 + 1e-9).all()
    slow = np.unique(points[:, 0])
    assert 5 <= len(slow) < len(points) / 3


def single_of(mixing, choices, **more):
    work = Work.of(ps.MixedLogit({"reward": mixing}, **more), choices)
    likelihood = scalar_likelihood(work.population, work.data, work.reading)
    return Single(work.population, likelihood)


@pytest.fixture(scope="module")
def choices():
    return ps.simulate(ps.LogNormal(mu=0.1, sigma=0.7), choosers=60, situations=10, spread=1.5)


def test_a_surrogate_is_the_target_where_the_draws_lie(choices):
    single = single_of(ps.LogNormal(), choices)
    found = sample_target(single.target, 2000, 0)
    assert found.surrogate is not None
    assert 0 < found.error < target_sampling.TOLERANCE
    values = single.target.values(found.v[::40])
    off = found.surrogate(single.target.smooth(values)) - single.log_likelihood(values)
    assert np.abs(off - np.median(off)).max() < 4 * target_sampling.TOLERANCE


def test_a_surrogate_of_too_low_a_degree_is_not_taken(choices, monkeypatch):
    monkeypatch.setattr(target_sampling, "_DEGREES", {2: (1, 1)})
    single = single_of(ps.LogNormal(), choices)
    usual = sample_target(single.target, 2000, 0)
    assert usual.surrogate is None  # the likelihood itself, at every proposal
    monkeypatch.undo()
    want = sample_target(single.target, 2000, 1)
    for each in (0, 1):
        assert usual.v[:, each].mean() == pytest.approx(
            want.v[:, each].mean(), abs=0.15 * want.v[:, each].std()
        )
        assert usual.v[:, each].std() == pytest.approx(want.v[:, each].std(), rel=0.15)


def test_a_degree_that_is_too_low_is_raised(choices, monkeypatch):
    monkeypatch.setattr(target_sampling, "_DEGREES", {3: (2, 9)})
    single = single_of(ps.LogNormal(), choices, utility="power")
    found = sample_target(single.target, 500, 0)
    assert found.surrogate.degree == 9
    assert found.error < target_sampling.TOLERANCE


def test_tables_that_are_kept_are_those_that_would_be_made(choices, monkeypatch):
    single = single_of(ps.LogNormal(), choices, lapse=True)
    points = design(locate(single.target), 3, single.target.slow, np.random.default_rng(0))
    values = single.target.values_of_smooth(points)
    first = single.log_likelihood(values)
    monkeypatch.setattr(type(single.likelihood.source), "__call__", lambda *_: 1 / 0)
    np.testing.assert_array_equal(single.log_likelihood(values), first)  # nothing is made again
    monkeypatch.undo()
    monkeypatch.setattr(strength, "_KEPT", 0)
    np.testing.assert_array_equal(
        single_of(ps.LogNormal(), choices, lapse=True).log_likelihood(values), first
    )


def test_values_of_draws_are_found_again(choices):
    for mixing in (
        ps.LogNormal(),
        ps.ZeroMass(ps.LogNormal()),
        ps.FiniteMixture([ps.PointMass(), ps.PointMass(), ps.PointMass()]),
        ps.ZeroMass(ps.FiniteMixture([ps.LogNormal(), ps.LogNormal()])),
    ):
        target = (single := single_of(mixing, choices)).target
        low, high = np.maximum(target.ends[0], -1.0), np.minimum(target.ends[1], 1.0)
        v = low + np.random.default_rng(0).uniform(0.1, 0.9, (7, target.size)) * (high - low)
        values = target.values(v)
        again = single.values_of(single.variables(values))
        for name, value in values.items():
            np.testing.assert_allclose(again[name], value, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(single.shares(values).sum(axis=0), 1.0, rtol=1e-12)


def test_equal_weights_have_no_tail_and_one_weight_is_all_tail():
    weight, k = smoothed(np.zeros(1000))
    np.testing.assert_allclose(weight, 1e-3)
    assert k == 0
    rng = np.random.default_rng(0)
    for shape in (0.3, 0.9, 1.5):
        weight, k = smoothed(np.log(rng.pareto(1 / shape, 20_000) + 1))
        assert weight.sum() == pytest.approx(1.0)
        assert k == pytest.approx(shape, abs=0.2)
    # Warnings are errors here: weights over hundreds of nats overflow nowhere.
    weight, k = smoothed(300 * rng.standard_normal(5000))
    assert np.isfinite(weight).all()
    assert k > 0.7
