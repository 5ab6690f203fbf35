"""Every kind of answer under every mixing distribution, against the sums that define them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import prefstrength as ps
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from prefstrength.inference.population import Level
from prefstrength.inference.sampling import scalar_likelihood
from prefstrength.inference.single import Single
from prefstrength.likelihood import marginal
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.certificate import certified_error, exact_units
from prefstrength.models.fitting import Work, traced_likelihood
from tests.helpers.by_definition import log_marginal, log_marginal_mp

#: Error of one chooser's log-likelihood, in nats, or of its size where it is more than 1.
BOUND = 1e-8
#: Where strengths may be negative, and with answers at random, whose log is less smooth.
WIDER = 1e-6
#: Where strengths of either sign are near 0 and differences forty times the median.
COARSE = 2e-3
#: Mixing distributions under which a chooser is this unlikely are visited by no posterior.
RULED_OUT = -100.0

# -- answers ---------------------------------------------------------------------------------------

PAIRS = {
    "pair": (ps.Pair(), {}),
    "graded 3": (ps.Graded(3), {"cut_1": 0.4}),
    "graded 5": (ps.Graded(5), {"cut_1": 0.3, "cut_2": 1.1}),
    "graded 6": (ps.Graded(6), {"cut_1": 0.5, "cut_2": 0.8}),
    "davidson": (ps.Ties(), {"tie": 0.7}),
    "rao-kupper": (ps.RaoKupper(), {"cut_1": 0.6}),
}
SETS = {
    "multinomial": ps.Multinomial(),
    "ranking exact": ps.Ranking(),
    "ranking efron": ps.Ranking("efron"),
    "ranking breslow": ps.Ranking("breslow"),
}
#: Full, the two best, the best alone, best and worst, ties above, in the middle and below.
RANKS = [
    (1, 2, 3, 4), (4, 2, 1, 3), (1, 2, 0, 0), (0, 0, 1, 0),
    (1, 2, 2, 3), (1, 1, 2, 3), (2, 1, 2, 2), (1, 1, 0, 0), (2, 2, 1, 0),
]  # fmt: skip
#: Of an ordinary chooser; of one whose differences are huge, tiny and 0; of one against them all.
DIFFERENCES = {
    "ordinary": [1.5, -0.7, 0.3, 2.2, -1.1, 0.9],
    "tails": [50.0, -50.0, 50.0, 0.02, 0.0, -1.3],
    "once": [1.2],
}


def answers_to_pairs(kind):
    """(chooser, (attributes, answer, weight)) that go through all answers in turn."""
    response, _ = PAIRS[kind]
    many, found = len(response.answers), []
    for chooser, differences in DIFFERENCES.items():
        for k, x in enumerate(differences):
            answer, weight = (2 * k + (x < 0)) % many, 1.0 + (k == 2)
            found.append((chooser, ((x, 0.0), answer, weight)))
    best = [((x, 0.0), 0 if x < 0 else many - 1, 1.0) for x in (1.5, -2.0, 1.0)]
    return found + [("against", each) for each in best]


def answers_to_sets(kind):
    rng = np.random.default_rng(3)
    found = []
    for chooser, size in (("ordinary", 1.0), ("tails", 12.0), ("once", 1.0)):
        ranks = RANKS[:1] if chooser == "once" else RANKS
        for k, each in enumerate(ranks):
            x = np.round(size * rng.standard_normal(4), 2).tolist()
            if k == 1:
                x, each = [*x[:3], None], (3, 2, 1, 0)  # one is not offered
            answer = int(np.argmin([r or 9 for r in each])) if kind == "multinomial" else each
            found.append((chooser, (tuple(x), answer, 1.0 + (k == 2))))
    return found


def asked(kind):
    return answers_to_pairs(kind) if kind in PAIRS else answers_to_sets(kind)


def choices_of(kind, answers):
    """The same as the package takes them."""
    choosers = list(dict.fromkeys(chooser for chooser, _ in answers))
    x = [each[0] for _, each in answers]
    given = [each[1] for _, each in answers]
    fields = {
        "chooser": [choosers.index(chooser) for chooser, _ in answers],
        "choosers": choosers,
        "weights": [each[2] for _, each in answers],
        "response": PAIRS[kind][0] if kind in PAIRS else SETS[kind],
        "available": [[one is not None for one in row] for row in x],
    }
    values = np.array([[one or 0.0 for one in row] for row in x])[:, :, None]
    if kind == "pair":
        turned = np.array(given) == 1
        values[turned] = values[turned, ::-1]
        return Choices(values, np.zeros(len(x), int), ["reward"], **fields)
    if kind == "multinomial":
        return Choices(values, given, ["reward"], **fields)
    return Choices(
        values, None, ["reward"], **fields, **{"answer" if kind in PAIRS else "ranks": given}
    )


# -- mixing distributions --------------------------------------------------------------------------

FAMILIES = {
    f.__name__: f for f in (ps.PointMass, ps.Normal, ps.LogNormal, ps.Gamma, ps.InverseGaussian)
}
LN = ps.LogNormal
MIXINGS = {
    **{name: family() for name, family in FAMILIES.items()},
    "ZeroMass": ps.ZeroMass(ps.LogNormal()),
    "ZeroMass(Normal)": ps.ZeroMass(ps.Normal()),
    "FiniteMixture": ps.FiniteMixture((ps.LogNormal(), ps.LogNormal())),
    "FiniteMixture(PointMass, Normal)": ps.FiniteMixture((ps.PointMass(), ps.Normal())),
    "Lapse": ps.Lapse(ps.LogNormal()),
    "Lapse(ZeroMass)": ps.Lapse(ps.ZeroMass(ps.Gamma())),
}


def points_of(name):
    """Values to look at, by the names that the posterior has them under."""
    first = {
        "PointMass": [(0.8, None), (-0.4, None), (0.01, None), (100.0, None), (-100.0, None)],
        "Normal": [(0.5, 0.8), (-0.3, 0.05), (0.0, 3.0), (0.01, 0.005), (100.0, 5.0), (1.0, 1e-3)],
        "LogNormal": [
            (0.0, 0.7), (-0.3, 0.05), (0.2, 0.01), (0.0, 3.0), (1.0, 6.0),
            (np.log(0.01), 0.5), (np.log(100), 0.5), (np.log(100), 0.05),
        ],
        "Gamma": [(0.2, 0.7), (0.0, 0.05), (0.3, 3.0), (np.log(0.01), 0.5), (np.log(100), 0.5)],
        "InverseGaussian": [
            (0.2, 0.7), (0.0, 0.05), (0.3, 3.0), (np.log(0.01), 0.5), (np.log(100), 0.5),
        ],
    }  # fmt: skip
    places = {n: [_place(*each) for each in values] for n, values in first.items()}
    two = [place | _place(0.9, 0.2, 1) for place in places["LogNormal"][:5]]
    return {
        **places,
        "ZeroMass": [{"zero": 0.2} | place for place in places["LogNormal"]],
        "ZeroMass(Normal)": [{"zero": 0.9} | place for place in places["Normal"]],
        "FiniteMixture": [{"part 0": 0.3} | place for place in two],
        "FiniteMixture(PointMass, Normal)": [
            {"part 0": 0.6} | _place(-0.4, None) | _place(1.0, spread, 1) for spread in (0.7, 0.02)
        ],
        "Lapse": [{"lapse": 0.1} | place for place in places["LogNormal"]],
        "Lapse(ZeroMass)": [{"lapse": 0.02, "zero": 0.3} | place for place in places["Gamma"]],
    }[name]


def _place(location, dispersion, k=0):
    spread = {} if dispersion is None else {f"dispersion {k}": dispersion}
    return {f"location {k}": location} | spread


def parts_of(name, point):
    """Shares, families and their parameters, for the sums."""
    inner = name.removeprefix("Lapse(").removesuffix(")") if name == "Lapse(ZeroMass)" else name
    families = {
        "ZeroMass": ["Gamma" if name == "Lapse(ZeroMass)" else "LogNormal"],
        "ZeroMass(Normal)": ["Normal"],
        "FiniteMixture": ["LogNormal", "LogNormal"],
        "FiniteMixture(PointMass, Normal)": ["PointMass", "Normal"],
        "Lapse": ["LogNormal"],
    }.get(inner, [inner])
    zero = point.get("zero", 0.0)
    shares = [point["part 0"], 1 - point["part 0"]] if len(families) == 2 else [1 - zero]
    found = [
        (share, family, point[f"location {k}"], point.get(f"dispersion {k}"))
        for k, (share, family) in enumerate(zip(shares, families, strict=True))
    ]
    return [*found, (zero, None, 0.0, None)] if zero else found


class Engine:
    """Log-likelihoods of choosers as a fit has them."""

    def __init__(self, kind, mixing):
        self.kind, self.answers = kind, asked(kind)
        self.choices = choices_of(kind, self.answers)
        self.model = ps.MixedLogit({"reward": mixing})
        work = Work.of(self.model, self.choices)
        self.population = work.population
        self.likelihood = scalar_likelihood(work.population, work.data, work.reading)
        self.single = Single(work.population, self.likelihood)

    def blend(self, points):
        """Mixing distributions, and what all choosers share."""
        values = {name: np.array([point[name] for point in points]) for name in points[0]}
        return self.single.blend(values), self.single.shared(values)

    def __call__(self, points):
        """(point, chooser)."""
        blend, shared = self.blend(points)
        return self.likelihood.by_unit((blend,), shared)

    def defined(self, name, point, chooser, log=log_marginal):
        own = [answer for who, answer in self.answers if who == chooser]
        shared = {each.name: point[each.name] for each in self.population.shared}
        return float(log(self.kind, own, parts_of(name, point), shared))

    @property
    def choosers(self):
        return self.choices.choosers


def with_shared(kind, points):
    return [point | PAIRS[kind][1] if kind in PAIRS else point for point in points]


KINDS = [*PAIRS, *SETS]
every = pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind}-{name}")
        for kind in KINDS
        for name in MIXINGS
        if kind in PAIRS or not name.startswith("Lapse")
    ],
)


def bound(name, point, chooser):
    if chooser == "tails" and abs(point["location 0"]) == 0.01:
        return COARSE
    return WIDER if "Lapse" in name or "Normal" in re.findall(r"\w+", name) else BOUND


@every
def test_values(kind, name):
    engine = Engine(kind, MIXINGS[name])
    points = with_shared(kind, points_of(name))
    found, seen = engine(points), 0
    assert np.isfinite(found).all()
    for m, point in enumerate(points):
        for c, chooser in enumerate(engine.choosers):
            exact = engine.defined(name, point, chooser)
            off = abs(found[m, c] - exact) / max(1.0, abs(exact))
            assert exact < RULED_OUT or off < bound(name, point, chooser), (point, chooser)
            seen += exact >= RULED_OUT
    assert seen > 4


# -- gradients -------------------------------------------------------------------------------------


def slopes(value, point):
    """Derivatives in every parameter, by differences of fourth order."""
    found = []
    for name in point:
        step = 2e-3 * min(1.0, 5 * abs(point[name]) or 1.0)
        moved = [value(point | {name: point[name] + k * step}) for k in (-2, -1, 1, 2)]
        found.append((moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * step))
    return np.array(found)


@every
def test_gradients(kind, name):
    """At two ordinary points: one that is summed over the grid, one that is narrow."""
    engine = Engine(kind, MIXINGS[name])
    column = engine.choosers.index("ordinary")
    for point in with_shared(kind, points_of(name)[:2]):
        found = slopes(lambda p: engine([p])[0, column], point)
        exact = slopes(lambda p: engine.defined(name, p, "ordinary"), point)
        wide = bound(name, point, "ordinary") > BOUND
        assert np.abs(found - exact).max() < (2e-4 if wide else 2e-6)


def traced(engine, point):
    """Log-likelihoods of choosers by the tables in JAX, as a function of the parameters."""
    tables = traced_likelihood(engine.model, engine.choices)
    kinds = engine.single.kinds

    def by_unit(values):
        laws = []
        for k, family in enumerate(kinds.families):
            spread = values.get(f"dispersion {k}")
            laws.append(
                CellLaws(
                    family, values[f"location {k}"][None], None if spread is None else spread[None]
                )
            )
        zero, part = values.get("zero", jnp.zeros(())), values.get("part 0", jnp.ones(()))
        shares = [part, 1 - part][: len(laws)] if len(laws) > 1 else [1 - zero]
        shares = jnp.log(jnp.stack([*shares, zero] if kinds.zero else shares))
        shared = {each.name: values[each.name] for each in engine.population.shared}
        return tables.by_unit(Level((tuple(laws),), (shares,), shared))

    return by_unit, {each: jnp.asarray(value) for each, value in point.items()}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("pair", "FiniteMixture"),
        ("ranking efron", "LogNormal"),
        ("graded 5", "ZeroMass(Normal)"),
        *(
            pytest.param(kind, name, marks=pytest.mark.slow)
            for kind, name in [
                *((kind, "LogNormal") for kind in KINDS if kind != "ranking efron"),
                *(("pair", name) for name in MIXINGS if name not in ("LogNormal", "FiniteMixture")),
            ]
        ),
    ],
)
def test_the_same_tables_in_jax(kind, name):
    """What NUTS samples: values, and gradients by tracing."""
    engine = Engine(kind, MIXINGS[name])
    column = engine.choosers.index("ordinary")
    (point,) = with_shared(kind, points_of(name)[:1])
    with jax.enable_x64(True):
        by_unit, values = traced(engine, point)
        both = jax.jit(lambda v: (by_unit(v), jax.grad(lambda v: by_unit(v)[column])(v)))
        found, gradient = jax.tree.map(np.asarray, both(values))
    for c, chooser in enumerate(engine.choosers):
        exact = engine.defined(name, point, chooser)
        assert abs(found[c] - exact) < (COARSE if chooser == "tails" else 2e-5), chooser
    exact = slopes(lambda p: engine.defined(name, p, "ordinary"), point)
    assert np.allclose([gradient[each] for each in point], exact, atol=2e-4)


# -- the references, and what answers for them in a fit --------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ranking efron", "PointMass"),
        *(
            pytest.param(kind, name, marks=pytest.mark.slow)
            for kind, name in [
                ("pair", "LogNormal"), ("graded 3", "Gamma"), ("graded 5", "Normal"),
                ("graded 6", "InverseGaussian"), ("davidson", "ZeroMass"),
                ("rao-kupper", "Lapse"), ("multinomial", "FiniteMixture"),
                ("ranking exact", "Normal"), ("ranking breslow", "LogNormal"),
            ]
        ),
    ],
)  # fmt: skip
def test_the_sums_are_those_of_mpmath(kind, name):
    engine = Engine(kind, MIXINGS[name])
    (point,) = with_shared(kind, points_of(name)[:1])
    exact = engine.defined(name, point, "ordinary", log_marginal_mp)
    assert abs(engine.defined(name, point, "ordinary") - exact) < 1e-13
    found = engine([point])[0, engine.choosers.index("ordinary")]
    assert abs(found - exact) < bound(name, point, "ordinary")


@every
def test_the_certificate_evaluates_what_the_sums_say(kind, name):
    """Directly, whatever the tables are worth, also at the far points."""
    engine = Engine(kind, MIXINGS[name])
    points = with_shared(kind, points_of(name))[:6:2]
    work = Work.of(engine.model, engine.choices)
    blend, shared = engine.blend(points)
    units = np.arange(len(engine.choosers))
    found = exact_units(work.data, work.reading, (blend,), shared, units)
    for m, point in enumerate(points):
        for c, chooser in enumerate(engine.choosers):
            exact = engine.defined(name, point, chooser)
            assert exact < RULED_OUT or abs(found[m, c] - exact) < 3e-6, (point, chooser)


def test_the_certificate_is_the_error(monkeypatch):
    """Of nodes that are too far apart for the largest differences."""
    monkeypatch.setattr(marginal, "_STEP", 3.0)
    engine = Engine("pair", ps.Normal())
    point = _place(0.01, 0.005)
    work = Work.of(engine.model, engine.choices)
    blend, shared = engine.blend([point])
    said = certified_error(engine.likelihood, work.data, work.reading, (blend,), shared)
    found = engine([point])[0]
    error = [
        abs(value - engine.defined("Normal", point, chooser))
        for value, chooser in zip(found, engine.choosers, strict=True)
    ]
    assert sum(error) > 1e-4
    assert said == pytest.approx(sum(error), rel=1e-3)


@pytest.mark.parametrize("kind", SETS)
def test_a_lapse_is_of_answers_to_pairs(kind):
    engine = Engine(kind, ps.LogNormal())
    with pytest.raises(InputError, match="expect answers to pairs"):
        ps.MixedLogit({"reward": MIXINGS["Lapse"]}).reading(engine.choices)
