"""Tables of pairs and panels against the sums that define them, and what must not matter."""

import dataclasses
import math

import mpmath as mp
import numpy as np
import pytest
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.data.choices import Choices
from prefstrength.likelihood.certificate import exact_units
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.laws import Blend
from tests.helpers.likelihoods import (
    PLAIN,
    blends,
    by_definition,
    likelihood_of,
    many_pairs,
    pairs,
    panels,
    plausible,
    total_of_pairs,
)
from tests.helpers.reference import mixed_probability

FAMILIES = [PointMass, Normal, LogNormal, Gamma, InverseGaussian]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
random_families = pytest.mark.parametrize("family", FAMILIES[1:], ids=lambda f: f.__name__)


# -- pairs -----------------------------------------------------------------------------------------


@families
@pytest.mark.parametrize("tail", [2.5, None])
def test_counts_keep_the_total_of_all_pairs(family, tail):
    data = many_pairs(4_000, tail)
    likelihood = likelihood_of(data, family)
    assert likelihood.times.sum() == pytest.approx(data.weight.sum(), rel=1e-12)
    for laws in plausible(family, 3, data.scales[0]):
        want = total_of_pairs(data, laws)
        # PointMass: nothing smooths what a far strength makes of the lattice in log |x|; a Gamma
        # just wide enough for the grid's nodes falls steeply on their upper side.
        bound = 2e-5 if family in (PointMass, Gamma) else 1e-6
        assert abs(likelihood.totals(laws)[0] - want) < bound
        assert likelihood.by_cell(laws)[0].sum() == pytest.approx(want, abs=2e-5)


def test_classes_of_pairs_do_not_grow_with_the_pairs():
    few, many = (likelihood_of(many_pairs(n, None), LogNormal) for n in (4_000, 40_000))
    assert len(many.unit) < 1.3 * len(few.unit)
    assert (
        many.how == f"log-likelihoods of {len(many.unit)} classes of pairs tabulated over strength"
    )


@pytest.mark.slow
@random_families
def test_counts_of_a_million_pairs(family):
    data = many_pairs(1_000_000, 2.5)
    likelihood = likelihood_of(data, family)
    for laws in list(plausible(family, 3, data.scales[0]))[2:]:
        assert abs(likelihood.totals(laws)[0] - total_of_pairs(data, laws)) < 1e-3


@families
def test_few_distinct_differences_and_none_at_all(family):
    """Differences of 0 are certain halves; those of one value are one class of pairs."""
    rng = np.random.default_rng(0)
    data = pairs(rng.integers(-3, 4, 5000).astype(float), weight=rng.random(5000))
    laws = blends(family, 0.2, 0.9)
    likelihood = likelihood_of(data, family)
    assert likelihood.totals(laws)[0] == pytest.approx(total_of_pairs(data, laws), rel=1e-9)
    nothing = likelihood_of(pairs(np.zeros(7), scale=1.0), family)
    assert nothing.totals(laws)[0] == pytest.approx(-7 * math.log(2), rel=1e-12)


@pytest.mark.parametrize(
    ("family", "location", "dispersion", "parameters"),
    [
        (LogNormal, 0.2, 0.7, (0.2, 0.7)),
        (LogNormal, -1.0, 3.0, (-1.0, 3.0)),
        (Normal, -0.4, 1.2, (-0.4, 1.2)),
        (Gamma, math.log(0.8), 2.0, (0.25, 0.3125)),
        (InverseGaussian, math.log(0.8), 1.5, (0.8, 0.8 / 1.5**2)),
    ],
)
def test_pairs_against_thirty_digits(family, location, dispersion, parameters):
    x = np.array([-40.0, -3.0, -0.02, 1e-5, 0.7, 5.0, 300.0])
    data = pairs(x, unit=np.arange(len(x)))
    found = likelihood_of(data, family).by_unit(blends(family, location, dispersion))[0]
    for at, log in zip(x, found, strict=True):
        want = mp.log(mixed_probability(family.__name__, parameters, at))
        assert abs(log - float(want)) < 1e-7


# -- panels ----------------------------------------------------------------------------------------

SIZES = [1, 1, 2, 3, 7, 60, 700]


@families
def test_panels_of_every_length(family):
    data = panels(SIZES, cells=3)
    likelihood = likelihood_of(data, family)
    assert not likelihood.separable
    for laws in list(plausible(family, 3, data.scales[0]))[1:3]:
        got = likelihood.by_unit(laws)[0]
        np.testing.assert_allclose(got, by_definition(data, laws), rtol=0, atol=2e-5)
        assert likelihood.totals(laws)[0] == pytest.approx(got.sum(), rel=1e-12)


@families
@pytest.mark.parametrize("apart", [True, False], ids=["cells apart", "cells mixed"])
def test_many_short_panels(family, apart):
    data = panels([6] * 60, cells=2, tail=2.5, apart=apart)
    likelihood = likelihood_of(data, family)
    assert likelihood.separable == apart
    for laws in plausible(family, 2, data.scales[0]):
        want = by_definition(data, laws)
        # In several cells a Gamma of cv 2 is a power of z that equally spaced draws feel.
        bound = 1e-4 if family is Gamma and not apart else 1e-6
        assert np.abs(likelihood.by_unit(laws)[0] - want).max() < bound
        if apart:
            assert likelihood.by_cell(laws)[0, 1] == pytest.approx(want[1::2].sum(), abs=1e-5)


@random_families
@pytest.mark.parametrize("dispersion", [1e-3, 0.02, 0.1, 0.3, 1.0, 3.0])
def test_laws_of_every_width(family, dispersion):
    """Narrow laws have nodes of their own, wide ones the grid's; at the border both are right."""
    data = panels([1, 3, 10, 80], seed=3)
    laws = blends(family, 0.5 if family is Normal else -0.2, dispersion)
    found = likelihood_of(data, family).by_unit(laws)[0]
    np.testing.assert_allclose(found, by_definition(data, laws), rtol=0, atol=1e-6)


@pytest.mark.parametrize("location", [0.0, 0.3, 1.0, -3.0])
@pytest.mark.parametrize("dispersion", [0.03, 0.1, 0.3, 0.5, 1.0, 3.0])
def test_laws_of_both_signs_are_followed_where_the_grid_is_dense(location, dispersion):
    """Two sds out a Normal is narrower in asinh than in its middle."""
    rng = np.random.default_rng(0)
    x = np.r_[3 * rng.standard_normal(60), 1e-3, 50.0, -50.0]
    likelihood = likelihood_of(pairs(x, unit=np.arange(len(x))), Normal)
    unit = 1 / likelihood.grid.scale
    laws = blends(Normal, location * unit, dispersion * unit)
    want = log_probability(NUMPY, x, laws[0].mixing(0))
    np.testing.assert_allclose(likelihood.by_unit(laws)[0], want, rtol=0, atol=3e-8)


@families
def test_panels_far_from_the_plausible_stay_right(family):
    """What a mode search may pass through: strengths a thousand times too large or small."""
    data = panels([4] * 10, seed=1)
    likelihood = likelihood_of(data, family)
    for location in (-7.0, 5.0):
        grows = family.positive and family is not PointMass
        laws = blends(family, location if grows else math.copysign(100.0, location), 1.0)
        want = by_definition(data, laws)
        np.testing.assert_allclose(likelihood.by_unit(laws)[0], want, rtol=1e-6, atol=1e-6)


@random_families
def test_single_choices_are_the_mixed_choice_probability(family):
    data = panels([1] * 40)
    laws = blends(family, 0.2, 0.8)
    want = log_probability(NUMPY, data.differences(), laws[0].mixing(0))
    got = likelihood_of(data, family).by_unit(laws)[0]
    np.testing.assert_allclose(got, want[np.argsort(data.unit)], atol=1e-8)


@random_families
def test_a_panel_is_not_independent_rows(family):
    data = panels([20] * 20, sigma=1.0)
    laws = blends(family, 1.6 if family is Normal else 0.2, 1.0)
    table = likelihood_of(data, family)
    independent = likelihood_of(pairs(data.differences()), family)
    assert table.totals(laws)[0] > independent.totals(laws)[0] + 5.0
    # Where nothing varies over choosers, it is.
    alike = blends(family, 0.2, 1e-5)
    assert table.totals(alike)[0] == pytest.approx(independent.totals(alike)[0], abs=1e-5)


@random_families
def test_a_chooser_has_one_draw_in_all_cells(family):
    data = panels([12], cells=2, seed=3)
    laws = blends(family, [0.1, 0.5], [0.9, 0.4])
    together = likelihood_of(data, family).totals(laws)[0]
    assert together == pytest.approx(by_definition(data, laws).sum(), abs=1e-7)
    apart = dataclasses.replace(data, unit=data.cell, units=2, unit_weight=np.ones(2))
    assert abs(likelihood_of(apart, family).totals(laws)[0] - together) > 0.01


def contrarian(n=1000, seed=0):
    """Ordinary choosers, and one that chose against the reward nine times in ten."""
    rng = np.random.default_rng(seed)
    ordinary = panels([20] * 10, seed=seed, sigma=0.3)
    against = -np.abs(rng.standard_normal(n)) * np.where(rng.random(n) < 0.9, 1.0, -1.0)
    return pairs(
        np.r_[ordinary.differences(), against],
        unit=np.r_[ordinary.unit, np.full(n, ordinary.units)],
        scale=1.0,
    )


@random_families
@pytest.mark.parametrize("dispersion", [0.02, 0.1, 0.2, 0.5])
def test_a_chooser_far_out_is_integrated_where_it_lies(family, dispersion):
    data = contrarian()
    laws = blends(family, 1.0 if family is Normal else 0.0, dispersion)
    last = np.array([data.units - 1])
    exact = exact_units(data, PLAIN, laws, {}, last)[0, 0]
    if dispersion >= 0.1:  # else beyond the twenty sds of the defining sum
        assert exact == pytest.approx(by_definition(data.take(last), laws)[0], abs=1e-6)
    found = likelihood_of(data, family).by_unit(laws)[0, -1]
    assert found == pytest.approx(exact, abs=1e-4)


# -- kinds of choosers -----------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 2], ids=["one cell", "two cells"])
def test_a_blend_is_the_weighted_sum_of_its_parts(cells):
    data = panels([1, 4, 15], cells=cells, seed=2)
    likelihood = likelihood_of(data, LogNormal)
    location, shift = np.array([-1.0, 0.8]), np.linspace(0.0, 0.3, cells)
    parts = [blends(LogNormal, at + shift, 0.5) for at in location]
    share = np.array([0.5, 0.3, 0.2])
    together = [
        Blend((first.parts[0], second.parts[0], None), np.log(share)[:, None])
        for first, second in zip(*parts, strict=True)
    ]
    own = [by_definition(data, laws) for laws in parts]
    indifferent = -np.bincount(data.unit) * math.log(2)
    want = special.logsumexp([*own, indifferent], axis=0, b=share[:, None])
    np.testing.assert_allclose(likelihood.by_unit(together)[0], want, atol=1e-7)
    np.testing.assert_allclose(
        exact_units(data, PLAIN, together, {}, np.arange(3))[0], want, atol=1e-9
    )


# -- what must not matter --------------------------------------------------------------------------


@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_weights_are_repetitions(panel):
    rng = np.random.default_rng(2)
    data = panels([1, 5, 30], cells=2)
    if not panel:
        data = pairs(data.differences(), cell=data.cell)
    times = rng.integers(0, 4, len(data.weight))
    weighted = dataclasses.replace(data, weight=times.astype(float))
    rows = np.repeat(np.arange(len(times)), times)
    unit = np.unique(data.unit[rows], return_inverse=True)[1] if panel else None
    repeated = pairs(data.differences()[rows], unit=unit, cell=data.cell[rows])
    laws = blends(LogNormal, [0.0, 0.3], [0.5, 1.0])
    found = likelihood_of(weighted, LogNormal)
    again = likelihood_of(repeated, LogNormal)
    assert found.totals(laws)[0] == pytest.approx(again.totals(laws)[0], abs=1e-7)
    if panel:
        np.testing.assert_allclose(found.by_unit(laws)[0], by_definition(weighted, laws), atol=1e-7)
    else:
        assert found.totals(laws)[0] == pytest.approx(total_of_pairs(weighted, laws), abs=1e-7)


def test_weights_of_choosers_are_repetitions_of_choosers():
    data = panels([2, 5, 9], seed=1)
    laws = blends(LogNormal, 0.1, 0.8)
    each = likelihood_of(data, LogNormal).by_unit(laws)[0]
    weighted = dataclasses.replace(data, unit_weight=np.array([2.0, 0.0, 0.5]))
    found = likelihood_of(weighted, LogNormal)
    np.testing.assert_allclose(found.by_unit(laws)[0], each, rtol=1e-12)
    want = 2 * each[0] + 0.5 * each[2]
    assert found.totals(laws)[0] == pytest.approx(want, rel=1e-12)
    assert found.by_cell(laws)[0, 0] == pytest.approx(want, rel=1e-12)


def test_order_of_rows_and_names_of_choosers_do_not_matter():
    data = panels([3, 50, 8, 400, 1], cells=2)
    laws = blends(Gamma, [0.0, 0.3], [0.5, 1.0])
    first = likelihood_of(data, Gamma).by_unit(laws)[0]
    name = np.array([4, 2, 0, 3, 1])
    order = np.random.default_rng(0).permutation(len(data.unit))
    moved = dataclasses.replace(
        data, values=data.values[order], cell=data.cell[order], unit=name[data.unit[order]]
    )
    np.testing.assert_allclose(likelihood_of(moved, Gamma).by_unit(laws)[0][name], first, atol=1e-9)


@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_the_log_likelihood_knows_differences_and_who_was_chosen_only(panel):
    data = panels([5, 9], seed=4)
    if not panel:
        data = pairs(data.differences())
    laws = blends(LogNormal, 0.1, 0.6)
    want = likelihood_of(data, LogNormal).totals(laws)[0]
    flipped = dataclasses.replace(data, values=data.values[:, ::-1] + 17.0, chosen=1 - data.chosen)
    assert likelihood_of(flipped, LogNormal).totals(laws)[0] == pytest.approx(want, rel=1e-10)


@families
def test_the_unit_of_the_rewards_does_not_matter(family):
    data = panels([3, 20], seed=4)
    grows = family.positive and family is not PointMass
    one = blends(family, 0.1 if grows else 0.9, 0.6)
    tenfold = blends(family, 0.1 - math.log(10) if grows else 0.09, 0.6 if grows else 0.06)
    larger = pairs(10 * data.differences(), unit=data.unit)
    want = likelihood_of(data, family).by_unit(one)[0]
    np.testing.assert_allclose(likelihood_of(larger, family).by_unit(tenfold)[0], want, atol=1e-7)


def test_points_one_by_one_and_together():
    data = panels([2, 7, 40], cells=2, apart=True)
    rng = np.random.default_rng(0)
    location, dispersion = rng.normal(0, 0.3, (9, 2)), np.exp(rng.normal(-1, 1.0, (9, 2)))
    likelihood = likelihood_of(data, LogNormal)
    together = likelihood.by_unit(blends(LogNormal, location, dispersion))
    for row, a, b in zip(together, location, dispersion, strict=True):
        np.testing.assert_allclose(likelihood.by_unit(blends(LogNormal, a, b))[0], row, atol=1e-10)


def test_situations_by_themselves_add_up_to_the_total():
    data = many_pairs(500, None)
    laws = blends(LogNormal, [0.0, 0.2, -0.3], [0.5, 1.0, 0.1])
    likelihood = likelihood_of(data, LogNormal)
    each = data.weight * likelihood.by_situation(data, laws)[0]
    assert each.sum() == pytest.approx(likelihood.totals(laws)[0], rel=1e-12)
    for c in range(3):
        mine = data.cell == c
        want = data.weight[mine] * log_probability(
            NUMPY, data.differences()[mine], laws[c].mixing(0)
        )
        np.testing.assert_allclose(each[mine], want, atol=1e-7)


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
    np.testing.assert_array_equal(data.unit_weight, [1.0, 1.0])
    np.testing.assert_array_equal(data.shown_first, [0, 0, 0])


def test_data_without_choosers_has_situations_as_units():
    choices = dataclasses.replace(some_choices(), chooser=None, choosers=())
    data = LikelihoodData.of(choices, ("reward",), np.zeros(3, dtype=int))
    assert (data.units, data.panel) == (3, False)
    np.testing.assert_array_equal(data.unit, [0, 1, 2])


def test_taking_units_renumbers_them_in_the_given_order():
    data = dataclasses.replace(
        panels([2, 3, 1, 4], cells=2), unit_weight=np.array([1.0, 2.0, 3.0, 4.0])
    )
    part = data.take(np.array([3, 0]))
    assert part.units == 2
    assert np.bincount(part.unit).tolist() == [4, 2]
    assert part.unit_weight.tolist() == [4.0, 1.0]
    laws = blends(LogNormal, [0.0, 0.5], [0.5, 0.5])
    whole = likelihood_of(data, LogNormal).by_unit(laws)[0]
    found = likelihood_of(part, LogNormal).by_unit(laws)[0]
    np.testing.assert_allclose(found, whole[np.array([3, 0])], atol=1e-8)
