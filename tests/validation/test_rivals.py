"""Rivals: evidence against dense quadrature, laws that it keeps, and verdicts on planted truths."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import prefstrength as ps
from prefstrength.inference.priors import Prior
from prefstrength.validation.rival_parts import PARTS
from prefstrength.validation.rival_predictions import leave_one_out
from prefstrength.validation.rival_ranges import explore
from prefstrength.validation.rival_weighing import Weighed, weigh
from prefstrength.validation.verdict import VERDICTS

LAPSE, SPREAD, ZERO, REVERSED = PARTS
#: Priors of the shares for which the table of known answers was made.
TIGHT = (
    LAPSE,
    SPREAD,
    replace(ZERO, prior=Prior("Beta", (1.0, 9.0))),
    replace(REVERSED, prior=Prior("Beta", (1.0, 19.0))),
)
#: Log marginal likelihoods by dense Gauss-Legendre quadrature: utility and part, without and with
#: spread.
KNOWN = {
    ("linear", None): (-393.4576, -383.3360),
    ("linear", 0): (-393.2502, -384.1846),
    ("linear", 2): (-383.3626, -382.4737),
    ("linear", 3): (-387.3781, -382.7901),
    ("power", None): (-393.7091, -383.3260),
    ("capped", None): (-393.7585, -384.5298),
}
#: What evidence may be wrong by, in nats: a twentieth of what changes a mind.
CLOSE = 0.02


def choices_of(x, **more) -> ps.Choices:
    """Signed differences (chooser, situation) as choices."""
    names = [f"c{a:04d}" for a in range(len(x))]
    frame = pd.DataFrame({"reward_chosen": np.ravel(x), "reward_rejected": 0.0})
    frame["annotator"] = np.repeat(names, np.shape(x)[1])
    return ps.Choices.from_pairs(frame, chooser="annotator", **more)


def signed(rng, strength, shape, bend=lambda size: size):
    """Differences, chosen less rejected, of choosers with these strengths."""
    d = rng.normal(0.0, 1.5, shape)
    higher = rng.random(shape) < special.expit(strength * np.sign(d) * bend(np.abs(d)))
    return np.where(higher, d, -d)


def weighed(choices: ps.Choices, scale: float | None = None) -> Weighed:
    return weigh(choices, "reward", scale or choices.scale("reward"), 0.0, 0.9)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    d = rng.normal(0, 1.5, (60, 12))
    strength = np.exp(0.6 * rng.normal(size=(60, 1)))
    x = np.where(rng.random((60, 12)) < special.expit(strength * d), d, -d)
    assert x.sum() == pytest.approx(545.4921227487)
    return x


@pytest.fixture(scope="module")
def known(data):
    return weighed(choices_of(data))


def evidence(found: Weighed, bend: str, part: int | None, parts=TIGHT) -> np.ndarray:
    """Log marginal likelihoods without and with spread, of one part beside it."""
    kept = tuple(each if k in (1, part) else None for k, each in enumerate(parts))
    grid = explore(found.likelihood, found.shared, bend, kept)
    patterns = [tuple(k == part or (k == 1 and on) for k in range(4)) for on in (False, True)]
    return np.array([grid.log_evidence(pattern) for pattern in patterns])


# -- evidence -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bend", "part"), KNOWN)
def test_evidence_is_that_of_dense_quadrature(known, bend, part):
    np.testing.assert_allclose(evidence(known, bend, part), KNOWN[bend, part], atol=CLOSE)


def test_evidence_of_several_parts_at_once_by_direct_sums(known, data):
    """One strength, answers at random and a class at zero, without splines or coordinates."""
    gauss, weight = np.polynomial.legendre.leggauss(40)
    share, dense = (gauss + 1) / 2 * 0.7, weight * 0.35
    scale = np.sqrt(np.mean(data**2))
    mu, log_weight = 2.5 * gauss - np.log(scale), np.log(2.5 * weight)
    p = special.expit(np.exp(mu)[:, None, None] * data)
    total = np.empty((40, 40, 40))  # lapse, zero share, mu
    for k, lapse in enumerate(share):
        each = np.log(lapse / 2 + (1 - lapse) * p).sum(axis=-1)  # (mu, chooser)
        for m, zero in enumerate(share):
            one = np.logaddexp(np.log1p(-zero) + each, np.log(zero) + 12 * np.log(0.5))
            total[k, m] = one.sum(axis=-1)
    total += log_weight + stats.norm.logpdf(mu, -np.log(scale), 1)
    total += (np.log(dense) + stats.beta.logpdf(share, 1, 9))[:, None, None]
    total += (np.log(dense) + stats.beta.logpdf(share, 1, 4))[:, None]
    (found,) = (e for e in known.explanations.all if e.name == ONE_ZERO_LAPSE)
    assert found.log_evidence == pytest.approx(special.logsumexp(total), abs=CLOSE)


ONE_ZERO_LAPSE = "one strength + random answers + class at zero"


@pytest.mark.parametrize("kind", ["reversed", "zero"])
def test_evidence_where_one_chooser_is_out_of_the_question(kind):
    """One of fifty answers the other way round: log-likelihoods rise steeply from a share of 0."""
    rng = np.random.default_rng(1)
    x = signed(rng, 1.0, (50, 40))
    x[0] = -x[0] if kind == "reversed" else np.abs(x[0]) * rng.choice([-1, 1], 40)
    scale = np.sqrt(np.mean(x**2))
    gauss, weight = np.polynomial.legendre.leggauss(60)
    mu, dense = 0.5 * gauss, 0.5 * weight
    share = np.exp(np.linspace(-14.0, np.log(0.9), 600))
    each, other = (special.log_expit(s * np.exp(mu)[:, None, None] * x).sum(-1) for s in (1, -1))
    if kind == "zero":
        other = np.full_like(each, 40 * np.log(0.5))
    mixed = [np.logaddexp(np.log1p(-v) + each, np.log(v) + other).sum(-1) for v in share]
    prior = stats.beta.logpdf(share, 1, 9 if kind == "reversed" else 4)
    total = np.array(mixed) + np.log(dense) + stats.norm.logpdf(mu, -np.log(scale), 1)
    total += (prior + np.log(share * np.log(share[1] / share[0])))[:, None]
    part = 3 if kind == "reversed" else 2
    found = evidence(weighed(choices_of(x)), "linear", part, PARTS)
    assert found[0] == pytest.approx(special.logsumexp(total), abs=CLOSE)


def test_spread_alone_is_the_posterior_of_a_lognormal(known, data):
    """P(sd/mean > .25) and the mean of sigma of a dense table, and of a fit by another way."""
    (alone,) = (each for each in known.explanations.all if each.name == "spread")
    assert alone.claims[2] == pytest.approx(0.9999, abs=2e-4)
    sigma, _, _, weight = alone.classes
    assert weight @ sigma == pytest.approx(0.837, abs=2e-3)
    fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices_of(data), seed=0, progress=False)
    draws = np.ravel(fit.posterior["reward_sigma"])
    assert draws.mean() == pytest.approx(weight @ sigma, abs=0.02)


def test_a_forgotten_slope_of_a_coordinate_is_seen(known):
    """Shares are integrated over their square root; without its slope the evidence is another."""
    flat = replace(ZERO.coordinate, log_slope=np.zeros_like)
    parts = (LAPSE, SPREAD, replace(TIGHT[2], coordinate=flat), REVERSED)
    away = np.abs(evidence(known, "linear", 2, parts) - KNOWN["linear", 2])
    assert np.all(away > 10 * CLOSE)


@pytest.mark.parametrize(("name", "value"), [("_REACH", 0.5), ("_STEEP", np.inf)])
def test_ranges_that_are_too_narrow_and_splines_through_zero_are_seen(
    known, monkeypatch, name, value
):
    monkeypatch.setattr(f"prefstrength.validation.rival_ranges.{name}", value)
    away = np.abs(evidence(known, "linear", 3) - KNOWN["linear", 3])
    assert away.max() > 2 * CLOSE


# -- laws -----------------------------------------------------------------------------------------


def test_leaving_one_out_is_refitting_without_them(known, data):
    scale = np.sqrt(np.mean(data**2))
    for name in ("spread", "one strength + class at zero"):
        (each,) = (e for e in known.explanations.all if e.name == name)
        left = leave_one_out(known.likelihood, known.shared.names, each.grid, each.pattern)
        for a in (3, 17):
            others = weighed(choices_of(np.delete(data, a, axis=0)), scale)
            (other,) = (e for e in others.explanations.all if e.name == name)
            assert left[a] == pytest.approx(each.log_evidence - other.log_evidence, abs=5e-3)
        (row,) = known.table[known.table["explanation"] == name].itertuples()
        assert row.elpd == pytest.approx(left.sum())


def test_neither_unit_nor_order_changes_a_weight(known, data):
    order = np.random.default_rng(1).permutation(len(data))
    for other in (choices_of(1000 * data), choices_of(data[order])):
        found = weighed(other)
        np.testing.assert_allclose(
            found.explanations.weights, known.explanations.weights, atol=2e-4
        )


def test_a_chooser_who_counts_twice_is_two_choosers(data):
    some = data[:25]
    frame = pd.DataFrame({"reward_chosen": some.ravel(), "reward_rejected": 0.0, "times": 2.0})
    frame["annotator"] = np.repeat([f"c{a}" for a in range(25)], 12)
    twice = ps.Choices.from_pairs(frame, chooser="annotator", chooser_weights="times")
    both = choices_of(np.concatenate([some, some]), duplicates="keep")
    found, expected = weighed(twice), weighed(both)
    np.testing.assert_allclose(found.explanations.weights, expected.explanations.weights, atol=2e-3)


def test_in_single_choices_indifference_is_a_random_answer(data):
    """A share of choosers at zero and of answers at random have the same likelihood."""
    found = weighed(choices_of(data.reshape(-1, 1)))
    zero = replace(ZERO, prior=LAPSE.prior)
    grids = [
        explore(found.likelihood, found.shared, "linear", parts)
        for parts in ((LAPSE, None, None, None), (None, None, zero, None))
    ]
    a, b = (
        grids[0].log_evidence((True, False, False, False)),
        grids[1].log_evidence((False, False, True, False)),
    )
    assert a == pytest.approx(b, abs=2e-3)
    assert set(found.parts["part"]) == {"lapse", "spread", "power", "capped"}


def test_who_chose_once_does_not_decide_how_choosers_differ():
    """Curves of single choices can come from spread: beside repeated ones they are left out."""
    rng = np.random.default_rng(0)
    once = signed(rng, 1.0, (300, 1), np.sqrt)
    again = signed(rng, 1.0, (30, 2), np.sqrt)
    frame = pd.DataFrame({"reward_chosen": np.r_[once.ravel(), again.ravel()]})
    frame["annotator"] = [f"c{a}" for a in range(300)] + [f"d{a // 2:04d}" for a in range(60)]
    both = ps.Choices.from_pairs(frame.assign(reward_rejected=0.0), chooser="annotator")
    scale = both.scale("reward")
    found, expected = weighed(both), weighed(choices_of(again), scale)
    assert found.beliefs.choosers == 30
    assert found.notes == ("300 choices of those who chose once are left out.",)
    np.testing.assert_allclose(found.explanations.weights, expected.explanations.weights, atol=1e-6)


# -- verdicts -------------------------------------------------------------------------------------


def test_the_reversed_are_named_with_their_share():
    rng = np.random.default_rng(4)
    x = signed(rng, 1.0, (100, 20))
    x[:15] *= -1
    found = weighed(choices_of(x))
    assert found.beliefs.on["reversed"] >= 0.95
    assert found.beliefs.spread <= 0.05
    mean, low, high = found.beliefs.values["reversed"]
    assert low < 0.15 < high
    assert mean == pytest.approx(0.15, abs=0.05)


@pytest.fixture(scope="module")
def groups():
    """Choosers of two groups: with one strength, and with strengths that differ."""
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [signed(rng, np.exp(s * rng.normal(size=(40, 1))), (40, 15)) for s in (0.0, 1.2)]
    )
    frame = pd.DataFrame({"reward_chosen": x.ravel(), "reward_rejected": 0.0})
    frame["annotator"] = np.repeat([f"c{a}" for a in range(80)], 15)
    frame["kind"] = np.repeat(["<b>alike</b>", "apart"], 600)
    return ps.Choices.from_pairs(frame, chooser="annotator", groups=["kind"])


def test_every_level_has_a_verdict_of_its_own(groups):
    found = ps.rivals(groups, "kind")
    assert found.label == "heterogeneous"
    alike, apart = (found.by_level["kind", level] for level in ("<b>alike</b>", "apart"))
    assert apart.label == "heterogeneous"
    assert alike.label not in VERDICTS[:3]
    assert found.levels["choosers"].tolist() == [80, 40, 40]
    assert found.sigma["weight"].sum() == pytest.approx(1.0)
    shown = replace(found, table=found.table.assign(explanation="<script>"))
    assert "<script>" not in shown._repr_html_()


def test_spread_is_likelier_where_it_was_thought_likelier(known):
    other = known.under_other_priors
    assert other["prior_spread"].tolist() == [0.2, 0.5, 0.8]
    assert other["spread"].is_monotonic_increasing
    assert other["spread"][1] == pytest.approx(known.beliefs.spread)


@pytest.mark.parametrize("bend", [np.sqrt, lambda size: np.minimum(size, 1.0)])
def test_single_choices_never_get_a_yes_or_a_no(bend):
    """A bend is seen; whether it is spread is not told."""
    x = signed(np.random.default_rng(5), 1.0, (3000, 1), bend)
    found = weighed(choices_of(x)).beliefs
    assert found.single
    assert found.straight < 0.05


# -- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"groups": "region"}, "Expected groups among"),
        ({"attribute": "length"}, "Expected one of the attributes"),
        ({"prob": 1.0}, r"Expected prob between 0 and 1; got 1\.0"),
        ({"error": -1.0}, r"Expected the error as a standard deviation, 0 or more; got -1\.0"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(data, arguments, said):
    with pytest.raises(ps.InputError, match=said):
        ps.rivals(choices_of(data), **arguments)


# -- many data sets -------------------------------------------------------------------------------

PLANTED = {
    "nothing": (0.0, {}, ("homogeneous",)),
    "square root": (0.0, {"bend": np.sqrt}, ("homogeneous", VERDICTS[4])),
    "careless": (0.0, {"zero": 0.1}, ("differ in kind",)),
    "reversed": (0.0, {"negative": 0.15}, ("differ in kind",)),
    "spread": (0.7, {}, ("heterogeneous",)),
    "spread, convex": (0.7, {"bend": lambda size: size**1.5}, ("heterogeneous",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_verdicts_on_planted_truths(name):
    sigma, (sets, wrong) = PLANTED[name][0], (8, 0)
    more, right = dict(PLANTED[name][1]), PLANTED[name][2]
    bend = more.pop("bend", lambda size: size)
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        strength = np.exp(sigma * rng.normal(size=(200, 1)))
        place = rng.random((200, 1))
        strength = np.where(place < more.get("zero", 0.0), 0.0, strength)
        strength = np.where(place < more.get("negative", 0.0), -strength, strength)
        found = ps.rivals(choices_of(signed(rng, strength, (200, 20), bend)))
        wrong += found.label not in right
    assert wrong <= 1
