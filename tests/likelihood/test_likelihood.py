"""The compressed likelihoods against the sums that define them, and the certificate's honesty."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from prefstrength.likelihood import nodes
from prefstrength.likelihood.build import build_likelihood, likelihood_error
from prefstrength.likelihood.cells import CellLaws, coefficient_at
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.direct import DirectLikelihood
from prefstrength.likelihood.exact import exact_panels
from prefstrength.likelihood.mixed import log_choice_probability
from prefstrength.likelihood.nodes import normal_nodes
from prefstrength.likelihood.pairs import PairSketch
from prefstrength.likelihood.panels import PanelTables
from prefstrength.likelihood.summaries import summarise
from tests.helpers.reference import Z, log_panel

FAMILIES = [PointMass, Normal, LogNormal, Gamma]
RANDOM = FAMILIES[1:]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
random_families = pytest.mark.parametrize("family", RANDOM, ids=lambda f: f.__name__)
#: One family always, the others among the slow tests: every shape is compiled anew.
mostly = pytest.mark.parametrize(
    "family",
    [LogNormal, *(pytest.param(f, marks=pytest.mark.slow) for f in (Gamma, Normal, PointMass))],
    ids=lambda f: f.__name__,
)
mostly_random = pytest.mark.parametrize(
    "family",
    [LogNormal, *(pytest.param(f, marks=pytest.mark.slow) for f in (Gamma, Normal))],
    ids=lambda f: f.__name__,
)

#: Error of a total log-likelihood that the package promises to stay below, in nats.
PROMISED = 0.01


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def laws_of(family, location, dispersion):
    """Laws with one location and dispersion for each cell (floats: one cell)."""
    location, dispersion = np.atleast_1d(location), np.atleast_1d(dispersion)
    spread = None if family is PointMass else jnp.asarray(dispersion, dtype=float)
    return (CellLaws(family, jnp.asarray(location, dtype=float), spread),)


def plausible(family, cells=1, scale=1.0):
    """Laws from the range that a posterior may visit; cells differ."""
    shift = np.linspace(-0.3, 0.4, cells) if cells > 1 else np.zeros(1)
    for location, dispersion in [(0.0, 0.7), (-0.7, 0.25), (0.7, 0.4), (0.3, 1.5)]:
        if family in (LogNormal, Gamma):
            yield laws_of(family, location - math.log(scale) + shift, dispersion * np.exp(shift))
        else:
            mean = np.exp(location + shift)
            yield laws_of(family, mean / scale, dispersion * np.exp(shift) / scale)


def choose(rng, attribute, strength):
    """Differences signed by who was chosen."""
    first = rng.random(attribute.shape) < special.expit(strength * attribute)
    return np.where(first, attribute, -attribute)


def pairs(x, *, unit=None, cell=None, weight=None, scale=None):
    """One attribute, two alternatives; ``unit`` None: no choosers."""
    n = len(x)
    return LikelihoodData(
        values=np.stack([x, np.zeros(n)], axis=1)[:, :, None],
        chosen=np.zeros(n, dtype=int),
        available=np.ones((n, 2), dtype=bool),
        weight=np.ones(n) if weight is None else np.asarray(weight, dtype=float),
        cell=np.zeros(n, dtype=int) if cell is None else np.asarray(cell),
        unit=np.arange(n) if unit is None else np.asarray(unit),
        units=n if unit is None else int(np.max(unit)) + 1,
        panel=unit is not None,
        scales=(float(np.sqrt(np.mean(x**2))) if scale is None else scale,),
    )


def panels(sizes, cells=1, seed=0, tail=None, sigma=0.7):
    """Choosers with the given numbers of choices, cells mixed within choosers."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(len(sizes)), sizes)
    n = len(unit)
    attribute = rng.standard_normal(n) if tail is None else rng.standard_t(tail, n)
    strength = np.exp(sigma * rng.standard_normal(len(sizes)))[unit]
    x = choose(rng, attribute, strength)
    shuffled = rng.permutation(n)
    return pairs(x[shuffled], unit=unit[shuffled], cell=rng.integers(cells, size=n)[shuffled])


def by_definition(data, laws):
    """Log-likelihood of each unit: one draw z for each, whatever its cells."""
    (law,) = laws
    x, out, of_cell = data.differences(), [], {}
    for cell in np.unique(data.cell):
        spread = None if law.dispersion is None else np.asarray(law.dispersion[cell])
        of_cell[cell] = coefficient_at(law.family, Z, np.asarray(law.location[cell]), spread)
    for unit in range(data.units):
        mine = np.flatnonzero(data.unit == unit)
        strengths = (of_cell[c] for c in data.cell[mine])
        out.append(log_panel(x[mine], data.weight[mine], strengths))
    return np.array(out)


def certified(data, family, laws):
    """The likelihood that a fit uses: nodes for the largest dispersion, more where they lack."""
    spread = [1.0 if law[0].dispersion is None else float(law[0].dispersion.max()) for law in laws]
    for refine in range(4):
        likelihood = build_likelihood(data, (family,), (max(spread),), refine)
        if likelihood_error(likelihood, data, laws) < PROMISED:
            return likelihood
    raise AssertionError("refined in vain")


def tables(data, family, **options):
    return PanelTables.build(
        data.differences(), data.unit, data.cell, data.weight, data.scales[0], family, **options
    )


# -- pairs -----------------------------------------------------------------------------------------


def many_pairs(n, tail, seed=0):
    rng = np.random.default_rng(seed)
    attribute = 3.0 * (rng.standard_normal(n) if tail is None else rng.standard_t(tail, n))
    x = choose(rng, attribute, np.exp(-1 + 0.7 * rng.standard_normal(n)))
    return pairs(x, cell=rng.integers(3, size=n), weight=rng.choice([0.5, 1.0, 2.0], n))


@jax.jit
def _log_p(x, cell, laws):
    return log_choice_probability(x, laws[0].mixing(cell))


def total_of_pairs(data, laws):
    """In parts of one size, the last filled up."""
    size, x, total = 10_000, data.differences(), 0.0
    for start in range(0, len(x), size):
        part = np.arange(start, start + size) % len(x)
        weight = np.where(np.arange(size) < len(x) - start, data.weight[part], 0.0)
        total += weight @ np.asarray(_log_p(x[part], data.cell[part], laws))
    return float(total)


@families
@pytest.mark.parametrize("tail", [2.5, pytest.param(None, marks=pytest.mark.slow)])
def test_a_sketch_keeps_the_total_of_all_pairs(family, tail):
    data = many_pairs(10_000, tail)
    sketch = build_likelihood(data, (family,))
    assert isinstance(sketch, PairSketch)
    assert sketch.x.shape == (3 * 256,)
    assert float(sketch.weight.sum()) == pytest.approx(data.weight.sum(), rel=1e-12)
    for laws in plausible(family, 3, data.scales[0]):
        assert abs(float(sketch.total(laws)) - total_of_pairs(data, laws)) < PROMISED


@pytest.mark.slow
@random_families
def test_a_sketch_of_a_million_pairs(family):
    data = many_pairs(1_000_000, 2.5)
    several = list(plausible(family, 3, data.scales[0]))[2:]
    sketch = certified(data, family, several)
    for laws in several:
        assert abs(float(sketch.total(laws)) - total_of_pairs(data, laws)) < PROMISED


def test_few_distinct_differences_are_kept_as_they_are():
    rng = np.random.default_rng(0)
    data = pairs(rng.integers(-3, 4, 5000).astype(float), weight=rng.random(5000))
    sketch = build_likelihood(data, (LogNormal,))
    np.testing.assert_array_equal(sketch.x, np.arange(-3.0, 4.0))
    want = [data.weight[data.differences() == v].sum() for v in range(-3, 4)]
    np.testing.assert_allclose(sketch.weight, want, rtol=1e-12)
    assert sketch.how == "distinct pairs, each evaluated by quadrature"
    laws = laws_of(LogNormal, 0.2, 0.9)
    assert float(sketch.total(laws)) == pytest.approx(total_of_pairs(data, laws), rel=1e-13)


def test_the_error_of_a_sketch_falls_geometrically():
    data = many_pairs(3000, None)
    laws, want = next(plausible(LogNormal, 3, data.scales[0])), None
    want = total_of_pairs(data, laws)
    nodes = np.array([8, 16, 24, 32, 48, 64])
    x, error = data.differences(), []
    for n in nodes:
        sketch = PairSketch.build(x, data.cell, data.weight, data.scales[0], nodes=int(n))
        error.append(abs(float(sketch.total(laws)) - want))
    assert error[-1] < 1e-5 * error[0]
    slope = np.polyfit(nodes, np.log(error), 1)[0]
    assert slope < -0.15


# -- panels ----------------------------------------------------------------------------------------

SIZES = [1, 1, 2, 3, 7, 60, 2000]


@families
def test_panels_of_every_length(family):
    data = panels(SIZES, cells=3)
    laws = list(plausible(family, 3, data.scales[0]))[1:3]
    table = certified(data, family, laws)
    assert isinstance(table, PanelTables)
    for law in laws:
        got, want = np.asarray(table.by_unit(law)), by_definition(data, law)
        assert abs(got.sum() - want.sum()) < PROMISED
        # Small panels do not hide behind large ones.
        np.testing.assert_allclose(got[:5], want[:5], rtol=0, atol=1e-4)
        assert float(table.total(law)) == pytest.approx(got.sum(), rel=1e-12)


@mostly_random
def test_many_short_panels(family):
    data = panels([6] * 150, cells=2, tail=2.5)
    laws = list(plausible(family, 2, data.scales[0]))
    table = certified(data, family, laws)
    for law in laws:
        assert abs(float(table.total(law)) - by_definition(data, law).sum()) < PROMISED


@mostly
def test_panels_far_from_the_plausible_stay_right(family):
    """What a mode search may pass through: strengths a thousand times too large or small."""
    data = panels([4] * 10, seed=1)
    table = tables(data, family, dispersion=2.0)
    for location in (-7.0, 5.0):
        where = location if family in (LogNormal, Gamma) else math.copysign(100.0, location)
        laws = laws_of(family, where, 1.0)
        got, want = np.asarray(table.by_unit(laws)), by_definition(data, laws)
        np.testing.assert_allclose(got, want, rtol=0.02, atol=1e-3)


@mostly_random
def test_single_choices_are_the_mixed_choice_probability(family):
    data = panels([1] * 40)
    laws = laws_of(family, 0.2, 0.8)
    want = log_choice_probability(data.differences(), laws[0].mixing(0))
    got = tables(data, family, dispersion=2.0).by_unit(laws)
    np.testing.assert_allclose(got, want[np.argsort(data.unit)], atol=5e-5)


@mostly_random
def test_a_panel_is_not_independent_rows(family):
    data = panels([20] * 20, sigma=1.0)
    laws = laws_of(family, 1.6 if family is Normal else 0.2, 1.0)
    table = tables(data, family)
    independent = build_likelihood(pairs(data.differences()), (family,))
    assert float(table.total(laws)) > float(independent.total(laws)) + 5.0
    # Where nothing varies over choosers, it is.
    alike = laws_of(family, 0.2, 0.003)
    assert float(table.total(alike)) == pytest.approx(float(independent.total(alike)), abs=0.02)


@mostly_random
def test_a_chooser_has_one_draw_in_all_cells(family):
    data = panels([12], cells=2, seed=3)
    laws = laws_of(family, [0.1, 0.5], [0.9, 0.4])
    together = float(tables(data, family).total(laws))
    assert together == pytest.approx(float(by_definition(data, laws).sum()), abs=1e-3)
    apart = dataclasses.replace(data, unit=data.cell, units=2)
    assert abs(float(tables(apart, family).total(laws)) - together) > 0.01


def test_weights_are_repetitions():
    rng = np.random.default_rng(2)
    data = panels([1, 5, 30], cells=2)
    times = rng.integers(0, 4, len(data.weight))
    weighted = dataclasses.replace(data, weight=times.astype(float))
    rows = np.repeat(np.arange(len(times)), times)
    repeated = dataclasses.replace(
        data,
        values=data.values[rows],
        chosen=data.chosen[rows],
        available=data.available[rows],
        weight=np.ones(len(rows)),
        cell=data.cell[rows],
        unit=data.unit[rows],
    )
    laws = laws_of(LogNormal, [0.0, 0.3], [0.5, 1.0])
    present = np.unique(repeated.unit)
    found = build_likelihood(weighted, (LogNormal,)).by_unit(laws)
    np.testing.assert_allclose(found, by_definition(weighted, laws), atol=1e-3)
    again = build_likelihood(repeated.take(present), (LogNormal,)).by_unit(laws)
    np.testing.assert_allclose(np.asarray(found)[present], again, atol=1e-4)


def test_order_of_rows_and_names_of_choosers_do_not_matter():
    data = panels([3, 50, 8, 400, 1], cells=2)
    laws = laws_of(Gamma, [0.0, 0.3], [0.5, 1.0])
    first = np.asarray(tables(data, Gamma).by_unit(laws))
    name = np.array([4, 2, 0, 3, 1])
    order = np.random.default_rng(0).permutation(len(data.unit))
    moved = data.take(np.arange(5))
    moved = dataclasses.replace(
        moved,
        values=data.values[order],
        cell=data.cell[order],
        unit=name[data.unit[order]],
    )
    np.testing.assert_allclose(
        np.asarray(tables(moved, Gamma).by_unit(laws))[name], first, atol=1e-4
    )


def test_the_log_likelihood_knows_differences_and_who_was_chosen_only():
    data = panels([5, 9], seed=4)
    laws = laws_of(LogNormal, 0.1, 0.6)
    want = float(build_likelihood(data, (LogNormal,)).total(laws))
    flipped = dataclasses.replace(data, values=data.values[:, ::-1] + 17.0, chosen=1 - data.chosen)
    assert float(build_likelihood(flipped, (LogNormal,)).total(laws)) == pytest.approx(
        want, rel=1e-6
    )


@mostly
@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_gradient_in_every_cell(family, panel):
    data = panels([3, 1, 40, 6], cells=2, seed=5)
    if not panel:
        data = pairs(data.differences(), cell=data.cell)
    likelihood = build_likelihood(data, (family,))
    at = np.array([0.1, 0.4, 0.6, 0.9])

    def total(v):
        dispersion = None if family is PointMass else v[2:]
        return likelihood.total((CellLaws(family, v[:2], dispersion),))

    got = np.asarray(jax.grad(total)(jnp.asarray(at)))
    value = jax.jit(total)
    for i in range(2 if family is PointMass else 4):
        # Tables are in single precision: five points, far apart.
        h = 0.02
        f = {k: float(value(jnp.asarray(at + k * h * np.eye(4)[i]))) for k in (-2, -1, 1, 2)}
        difference = (f[-2] - 8 * f[-1] + 8 * f[1] - f[2]) / (12 * h)
        assert got[i] == pytest.approx(difference, rel=1e-4, abs=2e-3)


def contrarian(n=1000, seed=0):
    """Ordinary choosers, and one that chose against the reward nine times in ten."""
    rng = np.random.default_rng(seed)
    ordinary = panels([20] * 30, seed=seed, sigma=0.3)
    against = -np.abs(rng.standard_normal(n)) * np.where(rng.random(n) < 0.9, 1.0, -1.0)
    return pairs(
        np.r_[ordinary.differences(), against],
        unit=np.r_[ordinary.unit, np.full(n, ordinary.units)],
        scale=1.0,
    )


@mostly_random
@pytest.mark.parametrize("dispersion", [0.2, 0.5])
def test_a_chooser_far_out_is_integrated_where_it_lies(family, dispersion):
    data = contrarian()
    laws = laws_of(family, 1.0 if family is Normal else 0.0, dispersion)
    one = data.take(np.array([data.units - 1]))
    want = by_definition(one, laws)[0]
    table = tables(data, family, dispersion=0.5)
    assert float(table.by_unit(laws)[-1]) == pytest.approx(want, abs=1e-4)
    assert likelihood_error(table, data, [laws]) < PROMISED


def test_the_error_of_a_table_falls_geometrically_with_its_degree():
    data = panels([10] * 6)
    laws = laws_of(LogNormal, 0.0, 0.7)
    want = by_definition(data, laws)
    degrees = np.array([8, 16, 24, 32])
    error = [
        np.abs(np.asarray(tables(data, LogNormal, degree=int(d)).by_unit(laws)) - want).max()
        for d in degrees
    ]
    assert error[-1] < 1e-2 * error[0]
    assert np.polyfit(degrees, np.log(error), 1)[0] < -0.15


@pytest.mark.parametrize("step", [0.5, 0.125])
def test_nodes_integrate_polynomials_against_the_normal(step):
    z, log_weight = normal_nodes(step)
    weight = np.exp(log_weight)
    for power, moment in [(0, 1.0), (1, 0.0), (2, 1.0), (4, 3.0), (6, 15.0)]:
        assert weight @ z**power == pytest.approx(moment, abs=1e-6)


# -- the certificate -------------------------------------------------------------------------------


def real_error(likelihood, data, laws):
    """Sum of what is wrong with the units, without luck of signs."""
    return np.abs(np.asarray(likelihood.by_unit(laws)) - by_definition(data, laws)).sum()


@mostly_random
@pytest.mark.parametrize("planted", [{"degree": 8}, {"dispersion": 1e-3}], ids=["degree", "step"])
def test_the_certificate_finds_a_table_with_too_few_nodes(family, planted):
    data = panels([300, 200, 60, 60, 500], cells=2, seed=6)
    laws = laws_of(family, [0.0, 0.2], [0.7, 0.9])
    table = tables(data, family, **planted)
    real = real_error(table, data, laws)
    assert real > 10 * PROMISED  # the plant is one
    # All five choosers are in the certificate's sample, so it reports the error itself.
    assert likelihood_error(table, data, [laws]) == pytest.approx(real, rel=1e-3)


def test_the_certificate_reports_the_worst_of_the_laws():
    data = panels([10] * 5)
    table = tables(data, LogNormal, degree=12)
    laws = [laws_of(LogNormal, location, 0.5) for location in (0.0, 0.7, -0.7)]
    each = [likelihood_error(table, data, [law]) for law in laws]
    assert likelihood_error(table, data, laws) == max(each)


def test_the_certificate_scales_a_sample_up():
    data = panels([5] * 400, seed=7)
    laws = laws_of(LogNormal, 0.0, 0.7)
    table = tables(data, LogNormal, degree=10)
    real = real_error(table, data, laws)
    assert real > PROMISED
    assert likelihood_error(table, data, [laws]) == pytest.approx(real, rel=0.5)


def test_the_certificate_sees_choosers_beyond_the_nodes(monkeypatch):
    monkeypatch.setattr(nodes, "_reaches", lambda rows, _: np.full(len(rows.information), 7.0))
    data = contrarian()
    laws = laws_of(LogNormal, 0.0, 0.3)
    table = tables(data, LogNormal, dispersion=0.5)
    one = data.take(np.array([data.units - 1]))
    missed = by_definition(one, laws)[0] - float(table.by_unit(laws)[-1])
    assert missed > 0.5
    # The chooser with most choices is always in the sample.
    assert likelihood_error(table, data, [laws]) >= missed * 0.99


def test_nodes_for_a_dispersion_without_bound():
    # Warnings are errors here: nothing overflows on the way to the widest nodes.
    data = panels([10] * 5)
    steps, reaches = data.panel_rows(positive=True, degree=64).steps(InverseGaussian, 60.0)
    assert np.isfinite(steps).all()
    assert set(reaches) <= set(nodes._REACHES)


def test_choosers_who_always_follow_the_reward_under_a_wide_law(monkeypatch):
    # Some of 200 choosers agree with the reward five times of five, once where it hardly differs:
    # their log-likelihood rises up to strengths that are rare, but not with sigma = 3.
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1.5, (200, 5))
    strength = np.exp(3 * rng.standard_normal((200, 1)))
    x = np.where(rng.random(x.shape) < special.expit(strength * x), x, -x)
    x[7] = np.abs(x[7])
    x[7, 0] = 2e-3
    data = pairs(x.ravel(), unit=np.repeat(np.arange(200), 5))
    law = laws_of(LogNormal, 0.0, 3.0)
    exact = exact_panels(data, law)

    def errors():
        summary = summarise(data, LogNormal, 3.9)
        found = summary.by_chooser(np.zeros((1, 1)), np.full((1, 1), 3.0))[0]
        return abs(found.sum() - exact.sum()), summary.error(data, [law])

    real, certified = errors()
    assert real < 5e-4
    assert real <= certified < 5e-3
    monkeypatch.setattr(nodes, "_HIGHEST", 6.0)
    real, certified = errors()
    assert real > 3e-3
    assert real * 0.8 <= certified


@pytest.mark.parametrize("outlier", [1e5, 1e7, 1e8])
def test_the_certificate_knows_of_outliers_and_does_not_multiply_them(outlier):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1.5, 60_000)
    x[0] = outlier
    data = pairs(x)
    for sigma in (0.05, 0.7):
        laws = laws_of(LogNormal, 0.0, sigma)
        summary = summarise(data, LogNormal, sigma)
        real = abs(
            float(summary.total(np.zeros((1, 1)), np.full((1, 1), sigma))[0])
            - total_of_pairs(data, laws)
        )
        certified = summary.error(data, [laws])
        assert real / 5 - 1e-9 <= certified <= 5 * real + 1e-6
        sketch = PairSketch.build(x, data.cell, data.weight, data.scales[0])
        assert likelihood_error(sketch, data, [laws]) == pytest.approx(certified, abs=1e-6)


@mostly_random
def test_the_certificate_finds_a_sketch_with_too_few_nodes(family):
    data = many_pairs(3000, None)
    x = data.differences()
    laws = next(plausible(family, 3, data.scales[0]))
    sketch = PairSketch.build(x, data.cell, data.weight, data.scales[0], nodes=8)
    real = abs(float(sketch.total(laws)) - total_of_pairs(data, laws))
    assert real > PROMISED
    assert likelihood_error(sketch, data, [laws]) == pytest.approx(real, rel=1e-6)
    good = PairSketch.build(x, data.cell, data.weight, data.scales[0])
    assert likelihood_error(good, data, [laws]) < 1e-4


def test_the_certificate_of_a_large_sketch_is_of_the_right_size():
    data = many_pairs(40_000, None)
    x = data.differences()
    laws = next(plausible(LogNormal, 3, data.scales[0]))
    sketch = PairSketch.build(x, data.cell, data.weight, data.scales[0], nodes=12)
    real = abs(float(sketch.total(laws)) - total_of_pairs(data, laws))
    assert real > PROMISED
    assert 0.2 < likelihood_error(sketch, data, [laws]) / real < 5


def test_refinement_lowers_the_error():
    data = panels([40, 3, 3, 3, 800], cells=2, seed=8)
    laws = laws_of(LogNormal, [0.0, 0.2], [1.6, 2.0])
    error = [
        likelihood_error(build_likelihood(data, (LogNormal,), (0.6,), refine), data, [laws])
        for refine in (0, 4)
    ]
    assert error[0] > PROMISED > error[1]


# -- direct ----------------------------------------------------------------------------------------


def many_alternatives(seed=0, situations=18, choosers=3, cells=2):
    """Three alternatives, two attributes, some alternatives not available."""
    rng = np.random.default_rng(seed)
    available = np.ones((situations, 3), dtype=bool)
    available[: situations // 3, 2] = False
    available[situations // 3 : situations // 2, 0] = False
    chosen = np.array([rng.choice(np.flatnonzero(row)) for row in available])
    return LikelihoodData(
        values=np.where(available[:, :, None], rng.standard_normal((situations, 3, 2)), 0.0),
        chosen=chosen,
        available=available,
        weight=rng.choice([1.0, 2.0], situations),
        cell=rng.integers(cells, size=situations),
        unit=np.arange(situations) % choosers,
        units=choosers,
        panel=True,
        scales=(1.0, 1.0),
    )


def two_attributes(first=LogNormal, second=Normal):
    spread = None if first is PointMass else jnp.array([0.7, 0.4])
    return (
        CellLaws(first, jnp.array([0.1, 0.3]), spread),
        CellLaws(
            second, jnp.array([-0.5, 0.2]), None if second is PointMass else jnp.array([0.6, 1.1])
        ),
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
    likelihood = build_likelihood(data, kinds)
    assert isinstance(likelihood, DirectLikelihood)
    np.testing.assert_allclose(likelihood.by_unit(laws), by_product_rule(data, laws), atol=1e-4)
    assert likelihood_error(likelihood, data, [laws]) < PROMISED


def test_an_alternative_that_is_not_available_is_as_if_deleted():
    data, laws = many_alternatives(), two_attributes()
    likelihood = build_likelihood(data, (LogNormal, Normal))
    want = likelihood.by_unit(laws)
    absurd = np.where(data.available[:, :, None], data.values, 1e6)
    masked = build_likelihood(dataclasses.replace(data, values=absurd), (LogNormal, Normal))
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
        build_likelihood(two, (LogNormal, Normal)).by_unit(laws),
        build_likelihood(without, (LogNormal, Normal)).by_unit(laws),
        rtol=1e-12,
    )


def test_the_order_of_alternatives_and_attributes_does_not_matter():
    data, laws = many_alternatives(), two_attributes()
    want = build_likelihood(data, (LogNormal, Normal)).by_unit(laws)
    order = np.array([2, 0, 1])
    turned = dataclasses.replace(
        data,
        values=data.values[:, order][:, :, ::-1],
        available=data.available[:, order],
        chosen=np.argsort(order)[data.chosen],
    )
    np.testing.assert_allclose(
        build_likelihood(turned, (Normal, LogNormal)).by_unit(laws[::-1]), want, rtol=1e-10
    )


@mostly
@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_direct_is_what_the_summaries_are(family, panel):
    data = panels([1, 4, 12, 30], cells=2)
    if not panel:
        data = pairs(data.differences(), cell=data.cell)
    summary = build_likelihood(data, (family,))
    assert not isinstance(summary, DirectLikelihood)
    # A third alternative that nobody could choose makes the data too general to compress.
    wider = dataclasses.replace(
        data,
        values=np.concatenate([data.values, np.zeros_like(data.values[:, :1])], axis=1),
        available=np.c_[data.available, np.zeros(len(data.chosen), dtype=bool)],
    )
    direct = build_likelihood(wider, (family,), (0.3,), refine=1)
    assert isinstance(direct, DirectLikelihood)
    laws = laws_of(family, [0.1, 0.4], [0.6, 0.9])
    assert float(direct.total(laws)) == pytest.approx(float(summary.total(laws)), abs=1e-4)
    if panel:
        np.testing.assert_allclose(direct.by_unit(laws), summary.by_unit(laws), atol=1e-5)


def test_direct_gradient_with_masked_alternatives():
    data, laws = many_alternatives(), two_attributes()
    likelihood = build_likelihood(data, (LogNormal, Normal))

    def total(shift):
        return likelihood.total(
            tuple(
                CellLaws(
                    law.family, law.location + shift[k], law.dispersion * jnp.exp(shift[2 + k])
                )
                for k, law in enumerate(laws)
            )
        )

    got = np.asarray(jax.grad(total)(jnp.zeros(4)))
    for i in range(4):
        h = 1e-5 * np.eye(4)[i]
        difference = (float(total(jnp.asarray(h))) - float(total(jnp.asarray(-h)))) / 2e-5
        assert got[i] == pytest.approx(difference, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("planted", [{"step": 2.0}, {"reach": 1.0}], ids=["step", "reach"])
def test_the_certificate_finds_a_product_rule_with_too_few_nodes(planted):
    data, laws = many_alternatives(situations=60), two_attributes()
    good = build_likelihood(data, (LogNormal, Normal))
    bad = dataclasses.replace(good, **planted)
    real = np.abs(np.asarray(bad.by_unit(laws)) - by_product_rule(data, laws)).sum()
    assert real > PROMISED
    assert likelihood_error(bad, data, [laws]) > max(PROMISED, 0.5 * real)


@pytest.mark.parametrize(
    ("attributes", "situations", "text"),
    [
        (3, 5, "at most two random attributes and a moderate size; got 3 random attributes and 5"),
        (2, 40_000, "got 2 random attributes and 40000 situations"),
    ],
)
def test_what_is_too_large_to_integrate(attributes, situations, text):
    data = LikelihoodData(
        values=np.ones((situations, 3, attributes)),
        chosen=np.zeros(situations, dtype=int),
        available=np.ones((situations, 3), dtype=bool),
        weight=np.ones(situations),
        cell=np.zeros(situations, dtype=int),
        unit=np.zeros(situations, dtype=int),
        units=1,
        panel=True,
        scales=(1.0,) * attributes,
    )
    with pytest.raises(InputError, match=text) as error:
        build_likelihood(data, (LogNormal,) * attributes)
    assert "`method='latent'`" in str(error.value)


# -- what a likelihood takes of the choices --------------------------------------------------------


def some_choices():
    return Choices(
        [[[1.0, 5.0], [0.0, 2.0]], [[3.0, 0.0], [4.0, 1.0]], [[2.0, 2.0], [2.5, 0.0]]],
        [0, 1, 0],
        ["reward", "length"],
        chooser=[1, 0, 1],
        choosers=["ann", "ben"],
        weights=[1.0, 2.0, 0.5],
    )


def test_data_of_choices():
    choices = some_choices()
    data = LikelihoodData.of(choices, ("length",), np.array([0, 1, 0]))
    assert data.scalar
    np.testing.assert_array_equal(data.differences(), [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(data.unit, [1, 0, 1])
    assert (data.units, data.panel) == (2, True)
    assert data.scales == (pytest.approx(choices.scale("length")),)
    both = LikelihoodData.of(choices, ("length", "reward"), np.zeros(3, dtype=int))
    assert not both.scalar
    np.testing.assert_array_equal(both.values[..., 1], choices.values[..., 0])
    np.testing.assert_array_equal(data.weight, [1.0, 2.0, 0.5])


def test_data_without_choosers_has_situations_as_units():
    choices = dataclasses.replace(some_choices(), chooser=None, choosers=())
    data = LikelihoodData.of(choices, ("reward",), np.zeros(3, dtype=int))
    assert (data.units, data.panel) == (3, False)
    np.testing.assert_array_equal(data.unit, [0, 1, 2])


def test_taking_units_renumbers_them_in_the_given_order():
    data = panels([2, 3, 1, 4], cells=2)
    part = data.take(np.array([3, 0]))
    assert part.units == 2
    assert np.bincount(part.unit).tolist() == [4, 2]
    laws = laws_of(LogNormal, [0.0, 0.5], [0.5, 0.5])
    whole = tables(data, LogNormal).by_unit(laws)
    np.testing.assert_allclose(
        tables(part, LogNormal).by_unit(laws), whole[np.array([3, 0])], atol=1e-4
    )
