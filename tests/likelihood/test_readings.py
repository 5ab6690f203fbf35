"""How answers are read: every number that all choosers share, against formulas written out here."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import special

from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.responses.graded import Graded
from prefstrength.choice.responses.pair import Pair
from prefstrength.choice.responses.ties import RaoKupper, Ties
from prefstrength.choice.utility import utility_of
from prefstrength.likelihood.certificate import exact_units
from prefstrength.likelihood.sources import Reading
from tests.helpers.likelihoods import blends, error_of, likelihood_of, pairs, panels

Z = np.linspace(-9.0, 9.0, 1_801)
_WEIGHT = -(Z**2) / 2 + np.log((Z[1] - Z[0]) / np.sqrt(2 * np.pi))


sigma = special.expit


def of_pair(v, answer, _):
    return sigma(v) if answer == 0 else sigma(-v)


def of_ties(v, answer, shared):
    """Davidson (1970): the weight of a tie is the geometric mean of the sides', times nu."""
    ahead, behind = np.exp(np.clip(v / 2, -300, 300)), np.exp(np.clip(-v / 2, -300, 300))
    weights = (ahead, shared["tie"], behind)
    return weights[answer] / sum(weights)


def of_rao_kupper(v, answer, shared):
    c = shared["cut_1"]
    return (sigma(v - c), 1 - sigma(v - c) - sigma(-v - c), sigma(-v - c))[answer]


def of_five_grades(v, answer, shared):
    inner, outer = shared["cut_1"], shared["cut_1"] + shared["cut_2"]
    at_least = [0.0, sigma(v - outer), sigma(v - inner), sigma(v + inner), sigma(v + outer), 1.0]
    return at_least[answer + 1] - at_least[answer]


def of_four_grades(v, answer, shared):
    at_least = [0.0, sigma(v - shared["cut_1"]), sigma(v), sigma(v + shared["cut_1"]), 1.0]
    return at_least[answer + 1] - at_least[answer]


RESPONSES = {
    "pair": (Pair(), of_pair, {}),
    "ties": (Ties(), of_ties, {"tie": 0.8}),
    "Rao-Kupper": (RaoKupper(), of_rao_kupper, {"cut_1": 0.6}),
    "four grades": (Graded(4), of_four_grades, {"cut_1": 0.7}),
    "five grades": (Graded(5), of_five_grades, {"cut_1": 0.4, "cut_2": 0.9}),
}
MORE = {
    "plain": {},
    "lapse": {"lapse": 0.15},
    "position": {"position": 0.7},
    "own position": {"position": -0.4, "position_sd": 0.8},
    "power": {"power": 0.6},
    "lapse and position": {"lapse": 0.1, "position": -0.5},
}
combinations = pytest.mark.parametrize(
    ("response", "more"), list(itertools.product(RESPONSES, MORE))
)


def reading_of(response, more):
    return Reading(
        RESPONSES[response][0],
        utility=utility_of("power" if more == "power" else "linear"),
        lapse="lapse" in MORE[more],
        position=None if "position" not in MORE[more]
        else "chooser" if "position_sd" in MORE[more] else "shared",
    )  # fmt: skip


def data_of(response, seed=0, sizes=(1, 4, 9)):
    """Answers of every kind to differences of either sign; first, second or neither stood first."""
    data = panels(list(sizes), seed=seed)
    rng, n = np.random.default_rng(seed), len(data.unit)
    answers = rng.integers(len(response.answers), size=n)
    plain = isinstance(response, Pair)
    return dataclasses.replace(
        data,
        response=response,
        chosen=answers if plain else np.zeros(n, int),
        answers=answers,
        shown_first=rng.choice([-1, 0, 1], n),
        weight=rng.choice([1.0, 2.0], n),
    )


def by_formula(data, response, more, mu=0.2, sd=0.7):
    """Log-likelihood of every chooser, LogNormal strengths: loops over choosers and answers."""
    _, probability, shared = RESPONSES[response]
    values = shared | MORE[more]
    own_z = np.linspace(-8.0, 8.0, 161)
    own_weight = np.exp(-(own_z**2) / 2)
    if "position_sd" not in values:
        own_z, own_weight = np.zeros(1), np.ones(1)
    out = np.zeros(data.units)
    beta, s = np.exp(mu + sd * Z), data.scales[0]
    for unit in range(data.units):
        total = np.zeros((len(own_z), len(Z)))
        for i in np.flatnonzero(data.unit == unit):
            x = data.values[i, 0, 0] - data.values[i, 1, 0]
            bent = np.sign(x) * s * (np.abs(x) / s) ** values.get("power", 1.0)
            place = values.get("position", 0.0) + values.get("position_sd", 0.0) * own_z
            v = beta * bent + (place * data.shown_first[i])[:, None]
            p = probability(v, data.answers[i], values)
            lapse = values.get("lapse", 0.0)
            p = (1 - lapse) * p + lapse / len(data.response.answers)
            total += data.weight[i] * np.log(np.maximum(p, 1e-250))
        log = special.logsumexp(total, axis=0, b=(own_weight / own_weight.sum())[:, None])
        out[unit] = special.logsumexp(log + _WEIGHT)
    return out


@combinations
def test_tables_are_the_formulas(response, more):
    data, reading = data_of(RESPONSES[response][0]), reading_of(response, more)
    values = RESPONSES[response][2] | MORE[more]
    shared = {name: np.array([value]) for name, value in values.items()}
    likelihood = likelihood_of(data, LogNormal, reading, values)
    assert {each.name for each in reading.shared} == set(values)
    found = likelihood.by_unit(blends(LogNormal, 0.2, 0.7), shared)[0]
    np.testing.assert_allclose(found, by_formula(data, response, more), rtol=0, atol=1e-7)


@pytest.mark.parametrize("response", list(RESPONSES))
@pytest.mark.parametrize("more", ["plain", "lapse and position", "own position", "power"])
def test_direct_evaluation_and_its_certificate_know_of_them(response, more):
    data, reading = data_of(RESPONSES[response][0]), reading_of(response, more)
    values = RESPONSES[response][2] | MORE[more]
    shared = {name: np.array([value]) for name, value in values.items()}
    laws = blends(LogNormal, 0.2, 0.7)
    exact = exact_units(data, reading, laws, shared, np.arange(3))[0]
    np.testing.assert_allclose(exact, by_formula(data, response, more), rtol=0, atol=1e-9)
    likelihood = likelihood_of(data, LogNormal, reading, values)
    assert error_of(likelihood, data, laws, shared) < 1e-7
    # A planted fault: tables of other numbers.
    for name, value in values.items():
        other = shared | {name: np.array([1.3 * value])}
        wrong = np.abs(likelihood.by_unit(laws, other)[0] - exact).sum()
        assert wrong > 1e-3


@pytest.mark.parametrize("response", list(RESPONSES))
@pytest.mark.parametrize("panel", [True, False], ids=["panels", "pairs"])
def test_turned_around_alternatives_are_the_same_data(response, panel):
    """Answers, who stood first, and differences turn together; each alone is another data set."""
    reading = reading_of(response, "lapse and position")
    values = RESPONSES[response][2] | MORE["lapse and position"]
    data = data_of(reading.response)
    if not panel:
        n = len(data.unit)
        data = dataclasses.replace(
            data, panel=False, unit=np.arange(n), units=n, unit_weight=np.ones(n)
        )
    last = len(reading.response.answers) - 1
    parts = {
        "values": data.values[:, ::-1],
        "answers": last - data.answers,
        "shown_first": -data.shown_first,
    }
    if isinstance(reading.response, Pair):
        parts["chosen"] = 1 - data.chosen
    shared = {name: np.array([value]) for name, value in values.items()}

    def total(**changed):
        made = dataclasses.replace(data, **changed)
        return likelihood_of(made, Normal, reading, values).totals(
            blends(Normal, 0.8, 0.9), shared
        )[0]

    want = total()
    assert total(**parts) == pytest.approx(want, abs=1e-8)
    for name in ("values", "shown_first"):
        assert abs(total(**{name: parts[name]}) - want) > 1e-3


def test_pairs_without_choosers_count_as_often_as_they_weigh():
    """Any response, in cells: the same as situation by situation."""
    for response in ("ties", "five grades"):
        data = data_of(RESPONSES[response][0], sizes=(60,))
        n = 60
        data = dataclasses.replace(
            data, panel=False, unit=np.arange(n), units=n, unit_weight=np.ones(n),
            cell=np.arange(n) % 2,
        )  # fmt: skip
        reading = reading_of(response, "position")
        values = RESPONSES[response][2] | MORE["position"]
        shared = {name: np.array([value]) for name, value in values.items()}
        laws = blends(LogNormal, [0.2, -0.5], [0.7, 0.3])
        likelihood = likelihood_of(data, LogNormal, reading, values)
        each = exact_units(data, reading, laws, shared, np.arange(n))[0]
        assert likelihood.totals(laws, shared)[0] == pytest.approx(data.weight @ each, abs=1e-7)
        found = likelihood.by_situation(data, laws, shared)[0]
        np.testing.assert_allclose(found, each, atol=1e-7)


@pytest.mark.parametrize("sd", [0.3, 1.5])
def test_a_position_of_each_choosers_own_with_many_answers(sd):
    """The more answers, the narrower what is summed over."""
    data, reading = data_of(Pair(), sizes=(1, 20, 150)), reading_of("pair", "own position")
    values = {"position": 0.5, "position_sd": sd}
    shared = {name: np.array([value]) for name, value in values.items()}
    likelihood = likelihood_of(data, LogNormal, reading, values)
    laws = blends(LogNormal, 0.2, 0.7)
    assert error_of(likelihood, data, laws, shared) < 1e-3
    other = shared | {"position_sd": np.array([1.3 * sd])}
    assert np.abs(likelihood.totals(laws, other) - likelihood.totals(laws, shared)) > 1e-3


def test_values_that_differ_from_point_to_point():
    """Two points of one law and different shared numbers are not mixed up, in any order."""
    data, reading = data_of(Ties()), reading_of("ties", "lapse")
    likelihood = likelihood_of(data, PointMass, reading, {"tie": 1.0, "lapse": 0.1})
    ties, lapses = np.array([0.5, 1.0, 0.5, 2.0]), np.array([0.1, 0.0, 0.1, 0.3])
    location = np.array([[0.5], [1.0], [2.0], [0.5]])
    found = likelihood.by_unit(blends(PointMass, location, 0.0), {"tie": ties, "lapse": lapses})
    for m in range(4):
        one = {"tie": ties[[m]], "lapse": lapses[[m]]}
        want = likelihood.by_unit(blends(PointMass, location[m], 0.0), one)[0]
        np.testing.assert_allclose(found[m], want, rtol=1e-12)


def test_a_wrong_pair_is_one_that_no_strength_explains():
    """Without lapses one answer against a large difference costs its size; with them log share."""
    x = np.r_[np.full(9, 3.0), -400.0]
    data = pairs(x, unit=np.zeros(10, int), scale=1.0)
    laws = blends(PointMass, 1.0, 0.0)
    plain = likelihood_of(data, PointMass).totals(laws)[0]
    lapsing = likelihood_of(data, PointMass, Reading(Pair(), lapse=True), {"lapse": 0.1})
    found = lapsing.totals(laws, {"lapse": np.array([0.1])})[0]
    assert plain == pytest.approx(-400 - 9 * np.log1p(np.exp(-3)), rel=1e-7)
    want = np.log(0.05) + 9 * np.log(0.05 + 0.9 / (1 + np.exp(-3.0)))
    assert found == pytest.approx(want, rel=1e-7)
