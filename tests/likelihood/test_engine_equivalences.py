"""What is the same under two names has the same log-likelihood, to ten digits."""

import numpy as np
import pytest

import prefstrength as ps
from prefstrength.data.choices import Choices
from prefstrength.inference.sampling import scalar_likelihood
from prefstrength.inference.single import Single
from prefstrength.models.fitting import Work

#: In nats, of all data together.
SAME = 1e-10
#: Where one is counted on the lattice and the other not, or both on other nodes: of each choice.
EACH_CHOICE = 1e-10

RNG = np.random.default_rng(5)
CHOOSERS, EACH = 8, 5
OTHER_NODES = EACH_CHOICE * CHOOSERS * EACH
X = np.round(RNG.normal(0.0, 1.5, (CHOOSERS * EACH, 2)), 3)
X[3] = 40.0, 0.0
X[7] = 1.0, 1.0
CHOOSER = np.repeat(np.arange(CHOOSERS), EACH)
SECOND = RNG.random(len(X)) < 0.4  # prefers the second of the two
FIRST = RNG.choice([1, -1], len(X))
LABELS = [f"c{a}" for a in range(CHOOSERS)]
PLACE = {"location 0": np.array([0.1, -0.4, 0.3]), "dispersion 0": np.array([0.7, 0.04, 2.5])}


def made(values, chosen=None, **fields):
    """Choices of the same people."""
    if "chooser" not in fields:
        fields |= {"chooser": CHOOSER, "choosers": LABELS}
    values = values if values.ndim == 3 else values[:, :, None]
    names = ["reward", "length"][: values.shape[2]]
    return Choices(values, chosen, names, **fields)


def turned(values):
    return np.where(SECOND.reshape(-1, *[1] * (values.ndim - 1)), values[:, ::-1], values)


def as_pairs(**fields):
    return made(turned(X), np.zeros(len(X), int), **fields)


def total(choices, mixing=None, values=PLACE, more=None, **options):
    """Log-likelihood of all data at three mixing distributions."""
    model = ps.MixedLogit({"reward": mixing or ps.LogNormal()} | (more or {}), **options)
    work = Work.of(model, choices)
    likelihood = scalar_likelihood(work.population, work.data, work.reading)
    single = Single(work.population, likelihood)
    given = {name: np.broadcast_to(np.asarray(value, float), 3) for name, value in values.items()}
    return likelihood.totals((single.blend(given),), single.shared(given))


def same(one, other, nats=SAME):
    assert np.isfinite(other).all()
    assert np.abs(one - other).max() <= nats
    assert np.ptp(other) > 0.1  # and the three differ


# -- responses -------------------------------------------------------------------------------------

ANSWER = SECOND.astype(int)


@pytest.mark.parametrize(
    ("response", "answer", "shared"),
    [
        (ps.Graded(2), ANSWER, {}),
        (ps.Ties(), 2 * ANSWER, {"tie": 0.0}),
        (ps.RaoKupper(), 2 * ANSWER, {"cut_1": 0.0}),
        (ps.Graded(3), 2 * ANSWER, {"cut_1": 0.0}),
        (ps.Graded(4), 3 * ANSWER, {"cut_1": 0.0}),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")  # nobody ties: log 0
def test_answers_that_are_pairs(response, answer, shared):
    choices = made(X, None, response=response, answer=answer)
    same(total(choices, values=PLACE | shared), total(as_pairs()))


@pytest.mark.parametrize("rule", ["exact", "efron", "breslow"])
def test_rankings_of_two_are_pairs_and_so_are_choices_among_two(rule):
    ranks = np.stack([1 + ANSWER, 2 - ANSWER], axis=1)
    ranked = total(made(X, None, response=ps.Ranking(rule), ranks=ranks))
    chosen = total(made(X, ANSWER, response=ps.Multinomial()))
    same(ranked, chosen)
    # Pairs are counted on a lattice, the others are evaluated one by one.
    same(ranked, total(as_pairs()), OTHER_NODES)


@pytest.mark.parametrize("rule", ["exact", "efron", "breslow"])
def test_the_best_alone_is_a_choice_among_several(rule):
    values = np.c_[X, X[::-1]]
    ranks = np.zeros(values.shape, int)
    ranks[:, 2] = 1
    best = total(made(values, None, response=ps.Ranking(rule), ranks=ranks))
    same(best, total(made(values, np.full(len(X), 2))))


def test_the_last_of_a_ranking_goes_without_saying():
    values = np.c_[X, X[::-1, :1]]
    full = np.argsort(np.argsort(RNG.random(values.shape), axis=1), axis=1) + 1
    first_two = np.where(full == 3, 0, full)
    both = [total(made(values, None, response=ps.Ranking(), ranks=r)) for r in (full, first_two)]
    same(*both)


def test_an_alternative_that_is_not_offered_is_not_there():
    values = np.c_[X, np.zeros(len(X))]
    offered = np.broadcast_to([True, True, False], values.shape)
    same(
        total(made(values, ANSWER, available=offered)),
        total(made(X, ANSWER, response=ps.Multinomial())),
    )


def test_swapping_the_two_turns_the_answers_around():
    answer = RNG.integers(0, 5, len(X))
    shared = {"cut_1": 0.3, "cut_2": 0.9}
    graded = {"response": ps.Graded(5)}
    one = total(made(X, None, answer=answer, **graded), values=PLACE | shared)
    same(total(made(X[:, ::-1], None, answer=4 - answer, **graded), values=PLACE | shared), one)


# -- what all choosers share -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({"lapse": True}, {"lapse": 0.0}),
        ({"utility": "power"}, {"power": 1.0}),
        ({"utility": "capped"}, {"cap": np.inf}),
        ({"utility": "spline"}, {"slope_2": 0.0, "slope_3": 0.0, "slope_4": 0.0}),
        ({"position": "shared"}, {"position": 0.0}),
        ({"position": "chooser"}, {"position": 0.0, "position_sd": 0.0}),
    ],
    ids=lambda each: "-".join(map(str, each.values())) if "0" not in str(each) else "off",
)
@pytest.mark.parametrize("kind", ["pair", "graded"])
def test_what_is_off_changes_nothing(options, shared, kind):
    first = {"shown_first": np.where(SECOND, -FIRST, FIRST)}
    choices, cuts = as_pairs(**first), {}
    if kind == "graded":
        answer = np.where(SECOND, 3, 1)
        choices = made(X, None, response=ps.Graded(5), answer=answer, shown_first=FIRST)
        cuts = {"cut_1": 0.3, "cut_2": 0.9}
    with np.errstate(divide="ignore"):
        found = total(choices, values=PLACE | cuts | shared, **options)
    same(found, total(choices, values=PLACE | cuts), OTHER_NODES)


def test_a_lapse_of_the_mixing_distribution_is_that_of_the_model():
    values = PLACE | {"lapse": 0.1}
    same(
        total(as_pairs(), ps.Lapse(ps.LogNormal()), values),
        total(as_pairs(), None, values, lapse=True),
    )


def test_a_position_of_no_spread_is_shared():
    choices = as_pairs(shown_first=np.where(SECOND, -FIRST, FIRST))
    values = PLACE | {"position": 0.4}
    own = total(choices, values=values | {"position_sd": 0.0}, position="chooser")
    same(own, total(choices, values=values, position="shared"))


def test_an_attribute_without_a_coefficient_is_not_there():
    values = np.stack([X, RNG.normal(size=X.shape)], axis=2)
    choices = made(turned(values), np.zeros(len(X), int))
    found = total(choices, more={"length": ps.PointMass()}, values=PLACE | {"length_value": 0.0})
    same(found, total(as_pairs()), OTHER_NODES)  # one by one, and on the lattice


# -- mixing distributions --------------------------------------------------------------------------


@pytest.mark.parametrize("family", [ps.LogNormal, ps.Gamma, ps.Normal, ps.InverseGaussian])
def test_mixtures_of_one(family):
    choices = as_pairs()
    alone = total(choices, family())
    same(total(choices, ps.FiniteMixture((family(),))), alone)
    same(total(choices, ps.ZeroMass(family()), PLACE | {"zero": 0.0}), alone)
    both = PLACE | {"part 0": 1.0, "location 1": 1.0, "dispersion 1": 0.5}
    same(total(choices, ps.FiniteMixture((family(), family())), both), alone)
    both = PLACE | {"part 0": 0.3} | {name.replace("0", "1"): PLACE[name] for name in PLACE}
    same(total(choices, ps.FiniteMixture((family(), family())), both), alone)


def test_a_mixture_of_points():
    """By hand: the mean of what the parts say of each chooser, not of each choice."""
    values = {"part 0": 0.3, "location 0": [0.5, 0.4, 0.3], "location 1": [1.5, 1.4, 1.3]}
    found = total(as_pairs(), ps.FiniteMixture((ps.PointMass(), ps.PointMass())), values)
    x = (turned(X) @ [1, -1]).reshape(CHOOSERS, EACH)
    strength = np.array([values["location 0"], values["location 1"]])
    log = -np.logaddexp(0, -strength[:, :, None, None] * x).sum(axis=3)
    expected = np.logaddexp(np.log(0.3) + log[0], np.log(0.7) + log[1]).sum(axis=1)
    same(found, expected, 2e-7)  # interpolated between nodes of strength


def test_without_spread_all_are_alike():
    spread = PLACE | {"dispersion 0": 1e-7}
    point = {"location 0": np.exp(PLACE["location 0"])}
    same(total(as_pairs(), None, spread), total(as_pairs(), ps.PointMass(), point), 2e-7)


# -- weights ---------------------------------------------------------------------------------------

KINDS = {
    "pair": ({"values": turned(X), "chosen": np.zeros(len(X), int)}, {}),
    "graded": (
        {
            "values": X,
            "chosen": None,
            "response": ps.Graded(3),
            "answer": RNG.integers(0, 3, len(X)),
        },
        {"cut_1": 0.5},
    ),
    "ranking": (
        {
            "values": np.c_[X, X[::-1, :1]],
            "chosen": None,
            "response": ps.Ranking(),
            "ranks": RNG.permuted(np.tile([1, 2, 3], (len(X), 1)), axis=1),
        },
        {},
    ),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
TWICE = np.arange(len(X)) % 3 == 0


def repeated(fields, rows):
    return {n: v[rows] if isinstance(v, np.ndarray) else v for n, v in fields.items()}


@every_kind
@pytest.mark.parametrize("panel", [True, False])
def test_a_weight_of_two_is_a_row_twice(kind, panel):
    fields, shared = KINDS[kind]
    who = {"chooser": CHOOSER, "choosers": LABELS} if panel else {"chooser": None}
    weighted = made(**fields, **who, weights=1.0 + TWICE)
    fields = repeated(fields | who, np.r_[np.arange(len(X)), np.flatnonzero(TWICE)])
    same(total(weighted, values=PLACE | shared), total(made(**fields), values=PLACE | shared))


@every_kind
def test_a_chooser_weight_of_two_is_a_chooser_twice(kind):
    fields, shared = KINDS[kind]
    weighted = made(**fields, chooser_weights=[2.0, *[1.0] * (CHOOSERS - 2), 0.0])
    rows = np.r_[np.flatnonzero(CHOOSER < CHOOSERS - 1), np.flatnonzero(CHOOSER == 0)]
    again = np.where(np.arange(len(rows)) >= len(rows) - EACH, CHOOSERS - 1, CHOOSER[rows])
    twice = made(**repeated(fields, rows), chooser=again, choosers=LABELS)
    same(total(weighted, values=PLACE | shared), total(twice, values=PLACE | shared))


@every_kind
def test_rows_and_choosers_in_another_order(kind):
    fields, shared = KINDS[kind]
    order = RNG.permutation(len(X))
    moved = repeated(fields, order) | {"chooser": CHOOSERS - 1 - CHOOSER[order], "choosers": LABELS}
    same(total(made(**moved), values=PLACE | shared), total(made(**fields), values=PLACE | shared))


@every_kind
def test_the_unit_of_the_rewards_does_not_matter(kind):
    fields, shared = KINDS[kind]
    scaled = fields | {"values": fields["values"] * 10}
    place = PLACE | shared | {"location 0": PLACE["location 0"] - np.log(10)}
    same(
        total(made(**scaled), values=place),
        total(made(**fields), values=PLACE | shared),
        OTHER_NODES,
    )
