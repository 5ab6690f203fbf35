"""Quadrature over several random coefficients, and situation by situation, against plain loops."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.errors import InputError
from prefstrength.likelihood.cells import CellLaws, coefficient_at
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.direct import (
    DirectLikelihood,
    direct_error,
    direct_likelihood,
    normal_nodes,
)
from prefstrength.likelihood.sources import Reading, SituationSource
from tests.helpers.likelihoods import blends, error_of, likelihood_of, pairs, panels

families = pytest.mark.parametrize(
    "family",
    [LogNormal, *(pytest.param(f, marks=pytest.mark.slow) for f in (Gamma, Normal, PointMass))],
    ids=lambda f: f.__name__,
)

#: Error of a total log-likelihood that the package promises to stay below, in nats.
PROMISED = 0.01


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("step", [0.5, 0.125])
def test_nodes_integrate_polynomials_against_the_normal(step):
    z, log_weight = normal_nodes(step, 8.0)
    weight = np.exp(log_weight)
    for power, moment in [(0, 1.0), (1, 0.0), (2, 1.0), (4, 3.0), (6, 15.0)]:
        assert weight @ z**power == pytest.approx(moment, abs=1e-6)


def many_alternatives(seed=0, situations=18, choosers=3, cells=2):
    """Three alternatives, two attributes, some alternatives not available."""
    rng = np.random.default_rng(seed)
    available = np.ones((situations, 3), dtype=bool)
    available[: situations // 3, 2] = False
    available[situations // 3 : situations // 2, 0] = False
    chosen = np.array([rng.choice(np.flatnonzero(row)) for row in available])
    values = np.where(available[:, :, None], rng.standard_normal((situations, 3, 2)), 0.0)
    weight = rng.choice([1.0, 2.0], situations)
    unit, cell = np.arange(situations) % choosers, rng.integers(cells, size=situations)
    return dataclasses.replace(
        pairs(np.zeros(situations), unit=unit, cell=cell, weight=weight),
        values=values,
        chosen=chosen,
        answers=chosen,
        available=available,
        scales=(1.0, 1.0),
        response=Multinomial(),
    )


def two_attributes(first=LogNormal, second=Normal):
    spread = None if first is PointMass else jnp.array([0.7, 0.4])
    other = None if second is PointMass else jnp.array([0.6, 1.1])
    return (
        CellLaws(first, jnp.array([0.1, 0.3]), spread),
        CellLaws(second, jnp.array([-0.5, 0.2]), other),
    )


def by_product_rule(data, laws, step=0.125):
    """Every unit, every pair of draws, every alternative: three loops."""
    z = np.arange(-9.0, 9.0 + step / 2, step)
    weight = np.exp(-(z**2) / 2) * step / math.sqrt(2 * math.pi)
    out = np.zeros(data.units)
    for unit in range(data.units):
        total = np.zeros((len(z), len(z)))
        for i in np.flatnonzero(data.unit == unit):
            beta = []
            for law in laws:
                c = data.cell[i]
                spread = None if law.dispersion is None else np.asarray(law.dispersion[c])
                beta.append(coefficient_at(law.family, z, np.asarray(law.location[c]), spread))
            utility = {
                j: beta[0][:, None] * data.values[i, j, 0] + beta[1][None] * data.values[i, j, 1]
                for j in np.flatnonzero(data.available[i])
            }
            denominator = np.logaddexp.reduce(list(utility.values()))
            total += data.weight[i] * (utility[data.chosen[i]] - denominator)
        out[unit] = np.log(weight @ np.exp(total) @ weight)
    return out


@pytest.mark.parametrize(
    "kinds",
    [
        (LogNormal, Normal),
        (Gamma, PointMass),
        (PointMass, PointMass),
        pytest.param((Normal, Gamma), marks=pytest.mark.slow),
    ],
)
def test_three_alternatives_and_two_attributes(kinds):
    data, laws = many_alternatives(), two_attributes(*kinds)
    likelihood = direct_likelihood(data, kinds)
    np.testing.assert_allclose(likelihood.by_unit(laws), by_product_rule(data, laws), atol=1e-4)
    assert direct_error(likelihood, data, [laws]) < PROMISED


@pytest.mark.parametrize("family", [LogNormal, Normal, Gamma], ids=lambda f: f.__name__)
def test_attributes_of_one_coefficient_for_all_are_shared_numbers(family):
    """The same model as tables over strength, situation by situation, for many alternatives."""
    data = many_alternatives(cells=1)
    value = 0.7
    first = CellLaws(family, np.array([0.2]), np.array([0.8]))
    want = by_product_rule(data, (first, CellLaws(PointMass, np.array([value]), None)))
    likelihood = likelihood_of(
        data, family, Reading(Multinomial(), fixed=("length",)), {"length_value": 0.0}
    )
    assert isinstance(likelihood.source, SituationSource)
    laws, shared = blends(family, 0.2, 0.8), {"length_value": np.array([value])}
    np.testing.assert_allclose(likelihood.by_unit(laws, shared)[0], want, atol=1e-7)
    assert error_of(likelihood, data, laws, shared) < 1e-6


def test_an_alternative_that_is_not_available_is_as_if_deleted():
    data, laws = many_alternatives(), two_attributes()
    likelihood = direct_likelihood(data, (LogNormal, Normal))
    want = likelihood.by_unit(laws)
    absurd = np.where(data.available[:, :, None], data.values, 1e6)
    masked = direct_likelihood(dataclasses.replace(data, values=absurd), (LogNormal, Normal))
    np.testing.assert_allclose(masked.by_unit(laws), want, rtol=1e-12)
    # Situations that lack the last alternative, without its column.
    rows = np.flatnonzero(~data.available[:, 2])
    two = dataclasses.replace(
        data,
        values=data.values[rows],
        chosen=data.chosen[rows],
        available=data.available[rows],
        weight=data.weight[rows],
        cell=data.cell[rows],
        unit=data.unit[rows],
    )
    without = dataclasses.replace(two, values=two.values[:, :2], available=two.available[:, :2])
    np.testing.assert_allclose(
        direct_likelihood(two, (LogNormal, Normal)).by_unit(laws),
        direct_likelihood(without, (LogNormal, Normal)).by_unit(laws),
        rtol=1e-12,
    )


def test_the_same_holds_for_tables_over_strength():
    data = many_alternatives()
    one = dataclasses.replace(data, values=data.values[:, :, :1], scales=(1.0,))
    reading, laws = Reading(Multinomial()), blends(LogNormal, [0.1, 0.3], [0.7, 0.4])
    want = likelihood_of(one, LogNormal, reading).by_unit(laws)
    absurd = np.where(one.available[:, :, None], one.values, 1e6)
    masked = likelihood_of(dataclasses.replace(one, values=absurd), LogNormal, reading)
    np.testing.assert_allclose(masked.by_unit(laws), want, rtol=1e-10)
    order = np.array([2, 0, 1])
    turned = dataclasses.replace(
        one,
        values=one.values[:, order],
        available=one.available[:, order],
        answers=np.argsort(order)[one.chosen],
    )
    np.testing.assert_allclose(
        likelihood_of(turned, LogNormal, reading).by_unit(laws), want, rtol=1e-10
    )


def test_the_order_of_alternatives_and_attributes_does_not_matter():
    data, laws = many_alternatives(), two_attributes()
    want = direct_likelihood(data, (LogNormal, Normal)).by_unit(laws)
    order = np.array([2, 0, 1])
    turned = dataclasses.replace(
        data,
        values=data.values[:, order][:, :, ::-1],
        available=data.available[:, order],
        chosen=np.argsort(order)[data.chosen],
    )
    np.testing.assert_allclose(
        direct_likelihood(turned, (Normal, LogNormal)).by_unit(laws[::-1]), want, rtol=1e-10
    )


@families
@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_direct_is_what_tables_are(family, panel):
    """Counts of pairs, sets of three of which nobody could choose one, and the product rule."""
    data = panels([1, 4, 12, 30], cells=2)
    if not panel:
        data = pairs(data.differences(), cell=data.cell)
    wider = dataclasses.replace(
        data,
        values=np.concatenate([data.values, np.zeros_like(data.values[:, :1])], axis=1),
        available=np.c_[data.available, np.zeros(len(data.chosen), dtype=bool)],
        response=Multinomial(),
    )
    direct = direct_likelihood(wider, (family,), (0.3,), refine=1)
    assert isinstance(direct, DirectLikelihood)
    location, dispersion = np.array([0.1, 0.4]), np.array([0.6, 0.9])
    spread = None if family is PointMass else jnp.asarray(dispersion)
    found = np.asarray(direct.by_unit((CellLaws(family, jnp.asarray(location), spread),)))
    laws = blends(family, location, dispersion)
    counted = likelihood_of(data, family)
    listed = likelihood_of(wider, family, Reading(Multinomial()))
    assert counted.totals(laws)[0] == pytest.approx(found.sum(), abs=1e-5)
    np.testing.assert_allclose(listed.by_unit(laws)[0], found, atol=1e-5)
    if panel:
        np.testing.assert_allclose(counted.by_unit(laws)[0], found, atol=1e-5)


def test_direct_gradient_with_masked_alternatives():
    data, laws = many_alternatives(), two_attributes()
    likelihood = direct_likelihood(data, (LogNormal, Normal))

    class Level:
        def __init__(self, shift):
            self.laws = tuple(
                CellLaws(
                    law.family, law.location + shift[k], law.dispersion * jnp.exp(shift[2 + k])
                )
                for k, law in enumerate(laws)
            )

    def total(shift):
        return likelihood.total(Level(shift))

    got, value = np.asarray(jax.grad(total)(jnp.zeros(4))), jax.jit(total)
    for i in range(4):
        h = 1e-5 * np.eye(4)[i]
        difference = (float(value(jnp.asarray(h))) - float(value(jnp.asarray(-h)))) / 2e-5
        assert got[i] == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_weights_of_choosers_count_in_the_total():
    data, laws = many_alternatives(), two_attributes()
    weighted = dataclasses.replace(data, unit_weight=np.array([2.0, 0.0, 0.5]))
    likelihood = direct_likelihood(weighted, (LogNormal, Normal))

    class Level:
        pass

    level = Level()
    level.laws = laws
    each = np.asarray(likelihood.by_unit(laws))
    assert float(likelihood.total(level)) == pytest.approx(2 * each[0] + 0.5 * each[2], rel=1e-12)


@pytest.mark.parametrize("planted", [{"step": 2.0}, {"reach": 1.0}], ids=["step", "reach"])
def test_the_certificate_finds_a_product_rule_with_too_few_nodes(planted):
    data, laws = many_alternatives(situations=60), two_attributes()
    good = direct_likelihood(data, (LogNormal, Normal))
    bad = dataclasses.replace(good, **planted)
    real = np.abs(np.asarray(bad.by_unit(laws)) - by_product_rule(data, laws)).sum()
    assert real > PROMISED
    assert direct_error(bad, data, [laws]) > max(PROMISED, 0.5 * real)


def test_refinement_lowers_the_error():
    data, laws = many_alternatives(situations=90, choosers=2), two_attributes()
    error = [
        direct_error(direct_likelihood(data, (LogNormal, Normal), (0.3, 0.3), refine), data, [laws])
        for refine in (0, 1)
    ]
    assert error[0] > PROMISED
    assert error[1] < error[0] / 10


@pytest.mark.parametrize(
    ("attributes", "situations", "text"),
    [
        (3, 5, "at most two random attributes and a moderate size; got 3 random attributes and 5"),
        (2, 40_000, "got 2 random attributes and 40000 situations"),
    ],
)
def test_what_is_too_large_to_integrate(attributes, situations, text):
    plain = pairs(np.zeros(situations), unit=np.zeros(situations, dtype=int), scale=1.0)
    data: LikelihoodData = dataclasses.replace(
        plain,
        values=np.ones((situations, 3, attributes)),
        available=np.ones((situations, 3), dtype=bool),
        scales=(1.0,) * attributes,
    )
    with pytest.raises(InputError, match=text) as error:
        direct_likelihood(data, (LogNormal,) * attributes)
    assert "method='latent'" in str(error.value)
