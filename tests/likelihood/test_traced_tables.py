"""Tables in JAX: the same numbers as in NumPy, with gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.multinomial import Multinomial
from prefstrength.choice.responses.pair import Pair
from prefstrength.inference.population import Level
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.laws import Blend
from prefstrength.likelihood.sources import Reading
from prefstrength.likelihood.traced_tables import TracedTables
from tests.helpers.likelihoods import PLAIN, blends, likelihood_of, pairs, panels

FAMILIES = [PointMass, Normal, LogNormal, Gamma, InverseGaussian]


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def level_of(parts, share=None, shared=None, others=()):
    """One draw of the population level: kinds of (family, location, dispersion)."""
    laws = tuple(
        CellLaws(
            family, jnp.asarray(location, float),
            None if family is PointMass else jnp.asarray(dispersion, float),
        )
        for family, location, dispersion in parts
    )  # fmt: skip
    log_share = jnp.log(jnp.asarray([1.0] if share is None else share))
    more = tuple((CellLaws(PointMass, jnp.asarray([value]), None),) for value in others)
    return Level((laws, *more), (log_share, *(jnp.zeros(1) for _ in others)), shared or {})


def by_unit(traced, level):
    """Compiled as one, not operation by operation."""
    return np.asarray(jax.jit(lambda: traced.by_unit(level))())


DATA = {
    "panels": panels([3, 1, 40, 6], cells=2, seed=5, apart=True),
    "crossed": panels([3, 1, 40, 6], cells=2, seed=5),
    "pairs": pairs(panels([50], cells=2, seed=5).differences(), cell=np.arange(50) % 2),
}


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        *((family, "panels") for family in FAMILIES),
        (LogNormal, "crossed"),
        (LogNormal, "pairs"),
    ],
)
def test_values_and_gradients_in_every_cell(family, kind):
    data = dataclasses.replace(
        DATA[kind], unit_weight=np.linspace(0.5, 2.0, DATA[kind].units)
    ) if kind != "pairs" else DATA[kind]  # fmt: skip
    likelihood = likelihood_of(data, family)
    traced = TracedTables.of(likelihood, 1.5)
    at = np.array([0.1, 0.4, 0.6, 0.9])
    want = likelihood.by_unit(blends(family, at[:2], at[2:]))[0]

    def total(v):
        level = level_of([(family, v[:2], v[2:])])
        return traced.total(level), traced.by_unit(level)

    (value, found), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(jnp.asarray(at))
    np.testing.assert_allclose(found, want, atol=2e-6)
    assert float(value) == pytest.approx(likelihood.times @ want, abs=1e-5)
    steps = np.concatenate([sign * 1e-4 * np.eye(4) for sign in (1, -1)])
    around = likelihood.totals(blends(family, (at + steps)[:, :2], (at + steps)[:, 2:]))
    numeric = (around[:4] - around[4:]) / 2e-4
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=2e-3)


READINGS = {
    "graded": (Reading(Graded(5)), {"cut_1": 0.4, "cut_2": 0.9}),
    "lapse": (Reading(Pair(), lapse=True), {"lapse": 0.1}),
    "position": (Reading(Pair(), position="shared"), {"position": 0.3}),
    "own position": (
        Reading(Pair(), position="chooser"), {"position": 0.3, "position_sd": 0.5},
    ),
}  # fmt: skip


def answered(reading):
    """Answers of any kind, and who stood first."""
    data = panels([3, 8, 20], seed=5)
    rng, n = np.random.default_rng(1), len(data.unit)
    return dataclasses.replace(
        data,
        response=reading.response,
        answers=rng.integers(len(reading.response.answers), size=n),
        shown_first=rng.choice([-1, 1], n),
    )


@pytest.mark.parametrize(
    "name",
    [
        "graded",
        "position",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("lapse", "own position")),
    ],
)
def test_what_all_choosers_share_is_traced(name):
    reading, shared = READINGS[name]
    data = answered(reading)
    likelihood = likelihood_of(data, LogNormal, reading, shared)
    traced, names = TracedTables.of(likelihood, 1.5), list(shared)

    def total(v):
        return traced.total(
            level_of([(LogNormal, [0.1], [0.7])], shared=dict(zip(names, v, strict=True)))
        )

    at = np.array(list(shared.values()))
    value, gradient = jax.jit(jax.value_and_grad(total))(jnp.asarray(at))
    steps = np.concatenate([sign * 1e-4 * np.eye(len(at)) for sign in (0, 1, -1)])[len(at) - 1 :]
    laws = [blend.take(np.zeros(len(steps), int)) for blend in blends(LogNormal, 0.1, 0.7)]
    around = likelihood.totals(laws, dict(zip(names, (at + steps).T, strict=True)))
    assert float(value) == pytest.approx(around[0], abs=1e-5)
    numeric = (around[1 : 1 + len(at)] - around[1 + len(at) :]) / 2e-4
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


def test_kinds_of_choosers_and_further_attributes():
    rng = np.random.default_rng(0)
    chosen = rng.integers(3, size=40)
    data = dataclasses.replace(
        pairs(np.zeros(40), unit=np.arange(40) % 6),
        values=rng.standard_normal((40, 3, 2)),
        available=np.ones((40, 3), bool),
        chosen=chosen,
        answers=chosen,
        scales=(1.0, 1.0),
        response=Multinomial(),
    )
    reading = Reading(Multinomial(), fixed=("length",))
    likelihood = likelihood_of(data, LogNormal, reading, {"length_value": 0.0})
    parts = [(LogNormal, [-0.5], [0.4]), (LogNormal, [0.9], [0.6])]
    level = level_of(parts, share=[0.5, 0.3, 0.2], others=[0.4])
    found = by_unit(TracedTables.of(likelihood, 1.5), level)
    blend = Blend(
        tuple(b.parts[0] for part in parts for b in blends(*part)) + (None,),
        np.log([[0.5], [0.3], [0.2]]),
    )
    want = likelihood.by_unit([blend], {"length_value": np.array([0.4])})[0]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_nodes_are_as_fine_as_the_widest_law_asks():
    likelihood = likelihood_of(panels([400, 5], seed=1), LogNormal, PLAIN)
    narrow, wide = (TracedTables.of(likelihood, widest) for widest in (0.1, 3.0))
    assert len(wide.nodes) > 2 * len(narrow.nodes)
    want = likelihood.by_unit(blends(LogNormal, 0.2, 3.0))[0]
    level = level_of([(LogNormal, [0.2], [3.0])])
    np.testing.assert_allclose(by_unit(wide, level), want, atol=1e-6)
    assert np.abs(by_unit(narrow, level) - want).max() > 0.01
