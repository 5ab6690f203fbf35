"""A family of mixing distributions is one class: what it must know, and that it alone does."""

import ast
import inspect
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import prefstrength as ps
from prefstrength.choice.arrays import NUMPY, library, library_of
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import SPREADS, Mixing
from prefstrength.choice.mixing.compound import Compound
from prefstrength.choice.mixing.families import MIXINGS, family_named, register
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.lapse import Lapse
from prefstrength.choice.mixing.zero_mass import ZeroMass
from prefstrength.errors import InputError
from tests.helpers.enumeration import assert_enumerated
from tests.helpers.weibull import Weibull

PACKAGE = Path(ps.__file__).parent
FAMILIES = [*MIXINGS.values(), Weibull]
of_each = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
#: What is asked of every mixing distribution, and of two that are arrays alike.
ASKED = ("mean", "log_mean", "sd", "mean_square", "median", "cv", "sd_log")


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def weibull(monkeypatch):
    """Registered for one test."""
    monkeypatch.setitem(MIXINGS, "Weibull", Weibull)
    return Weibull


def member(family, location=0.3, dispersion=0.6):
    """A known one of the family; PointMass has no dispersion."""
    return family.from_location_dispersion(location, dispersion if family.varies else None)


# -- branches on a family's name -----------------------------------------------------------------

#: Where each is defined; there it may be named in a condition.
HOMES = {
    family.__name__: Path(inspect.getfile(family))
    for family in (*MIXINGS.values(), FiniteMixture, ZeroMass, Lapse)
}


def named(node: ast.AST | None) -> set[str]:
    """Families that an expression names, as classes or as strings, in any case of letters."""
    found: set[str] = set()
    for each in ast.walk(node) if node else ():
        text = getattr(each, "id", getattr(each, "attr", getattr(each, "value", None)))
        found |= {family for family in HOMES if text == family}
        if isinstance(each, ast.Constant):
            # "lapse" alone is the name of a number, the share of answers at random.
            lower = {family for family in HOMES if text == family.lower() != "lapse"}
            found |= lower
    return found


def branches(source: str) -> list[tuple[int, set[str]]]:
    """Lines that decide by a family's name, and the families."""
    found = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
            if isinstance(node.ops[0], ast.In | ast.NotIn) and isinstance(asked[1], ast.Name):
                asked = []  # whether a name is there
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            asked = list(node.args)
        elif isinstance(node, ast.Dict):
            asked = list(node.keys)
        elif isinstance(node, ast.match_case):
            asked = [node.pattern]
        families = set().union(*map(named, asked))
        if families:
            found.append((getattr(node, "lineno", 0), families))
    return found


@pytest.mark.parametrize(
    "planted",
    [
        "x = 1 if family == 'LogNormal' else 2",
        "while mixing.Gamma is not family: pass",
        "if family in (Normal, LogNormal): pass",
        "if isinstance(law, PointMass | ZeroMass): pass",
        "assert issubclass(family, ps.InverseGaussian)",
        "title = {'LogNormal': 'sd of log', 'Normal': 'sd'}[family]",
        "how = {Gamma: gamma_tail}.get(family, normal_tail)",
        "match family:\n    case 'Normal': pass",
        "match law:\n    case Lapse(mixing=inner): pass",
        "if name == 'inversegaussian': pass",
    ],
)
def test_a_planted_branch_is_seen(planted):
    assert branches(planted)


def test_what_is_no_branch_is_let_through():
    assert not branches("fit = {'reward': LogNormal()}; law = PointMass(value=1.0)  # LogNormal")
    assert not branches("if 'lapse' in shared: pass")  # what all choosers share, by name


#: Priors have families, too, which are NumPyro's and bear the same names.
PRIORS = "inference/priors.py"


def test_nobody_decides_by_the_name_of_a_family():
    found = [
        f"{path.relative_to(PACKAGE)}:{line} {', '.join(families)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() != PRIORS
        for line, families in branches(path.read_text(encoding="utf-8"))
        if any(HOMES[family] != path for family in families)
    ]
    assert found == []


# -- what a family must know ---------------------------------------------------------------------

LACKING = sorted(Mixing.__abstractmethods__)


@pytest.mark.parametrize("method", LACKING)
def test_a_family_that_lacks_a_method_cannot_be_made(method):
    body = {name: getattr(Weibull, name) for name in LACKING if name != method}
    lacking = type("Lacking", (Mixing,), body)
    with pytest.raises(TypeError, match=f"abstract class Lacking .*'{method}'"):
        lacking()
    with pytest.raises(TypeError, match=f"knows all of itself; got Lacking without {method}"):
        register(lacking)


def test_a_family_is_registered_under_a_name_of_its_own(monkeypatch):
    for name, family in MIXINGS.items():
        assert family_named(name) is register(family) is family
    other = type("Gamma", (Weibull,), {})
    with pytest.raises(InputError, match="a name that no other family has; got Gamma"):
        register(other)
    with pytest.raises(InputError, match=r"families of|family of .* got 'Weibull'\. Check the spe"):
        family_named("Weibull")
    monkeypatch.setattr(Weibull, "parameters", {"location": None, "shape": None})
    with pytest.raises(InputError, match="under names of their own; got location"):
        register(Weibull)
    assert "Weibull" not in MIXINGS


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("spread", "cv"),
        ("spread", "sd"),
        ("location_dispersion", lambda self: (self.scale, self.shape)),
        ("standard", classmethod(lambda cls, lib, z, dispersion: dispersion * z)),
        ("moments", lambda self, lib: (self.scale, self.scale)),
    ],
)
def test_a_family_whose_parts_contradict_each_other_is_refused(name, wrong, monkeypatch):
    monkeypatch.setattr(Weibull, "spread", "cv" if name == "moments" else "sd_log")
    monkeypatch.setattr(Weibull, name, wrong)
    with pytest.raises(InputError, match="Expected .* Weibull"):
        register(Weibull)
    assert "Weibull" not in MIXINGS


# -- that it is one distribution: one table for all families -------------------------------------

Z = np.linspace(-4.0, 4.0, 25)
FINE = np.arange(-8.0, 8.005, 0.01)
WEIGHT = np.exp(-(FINE**2) / 2) * 0.01 / math.sqrt(2 * math.pi)


@of_each
@pytest.mark.parametrize("dispersion", [0.05, 0.6, 1.5])
def test_draws_quantiles_and_probabilities_are_of_one_distribution(family, dispersion):
    law = member(family, 0.3, dispersion)
    at = law.at(NUMPY, Z)
    np.testing.assert_allclose(law.quantile(special.ndtr(Z)), at, rtol=1e-9)
    assert law.median() == pytest.approx(float(law.at(NUMPY, np.zeros(1))[0]), rel=1e-12)
    if not law.has_density:
        with pytest.raises(TypeError, match="no density"):
            law.pdf(at)
        return
    np.testing.assert_allclose(law.cdf(at), special.ndtr(Z), rtol=1e-7)
    step = 1e-6 * np.abs(at).clip(1e-3)
    slope = (law.cdf(at + step) - law.cdf(at - step)) / (2 * step)
    np.testing.assert_allclose(law.pdf(at)[3:-3], slope[3:-3], rtol=1e-6)
    np.testing.assert_allclose(law.log_density(NUMPY, at), np.log(law.pdf(at)), rtol=1e-12)


@of_each
@pytest.mark.parametrize("dispersion", [0.05, 0.6, 1.2])
def test_moments_are_those_of_the_draws(family, dispersion):
    law = member(family, 0.3, dispersion)
    beta = law.at(NUMPY, FINE)
    assert law.mean() == pytest.approx(WEIGHT @ beta, rel=1e-8)
    assert law.log_mean() == pytest.approx(math.log(WEIGHT @ beta), rel=1e-8)
    assert law.mean_square() == pytest.approx(WEIGHT @ beta**2, rel=1e-6)
    assert law.sd() == pytest.approx(math.sqrt(WEIGHT @ (beta - law.mean()) ** 2), rel=1e-6)
    if law.positive:
        log = np.log(beta)
        centre = WEIGHT @ log
        assert law.log_moments(NUMPY)[0] == pytest.approx(centre, rel=1e-8)
        assert law.sd_log() == pytest.approx(math.sqrt(WEIGHT @ (log - centre) ** 2), rel=1e-7)


@of_each
@pytest.mark.parametrize("dispersion", [0.05, 0.6, 1.2])
def test_probabilities_of_choices_are_averages_over_the_draws(family, dispersion):
    law = member(family, 0.3, dispersion)
    x = np.array([-20.0, -3.0, -0.2, 0.0, 0.2, 3.0])
    p = special.expit(np.multiply.outer(x, law.at(NUMPY, FINE))) @ WEIGHT
    ahead, behind = law.in_library(NUMPY, x).log_tails(NUMPY, x)
    np.testing.assert_allclose(ahead, np.log(p), rtol=2e-4)
    np.testing.assert_allclose(np.exp(ahead) + np.exp(behind), 1.0, rtol=1e-12)
    np.testing.assert_allclose(law.in_library(NUMPY, x).logit(NUMPY, x), ahead - behind, atol=1e-12)
    tail = law.in_library(NUMPY, x).lower_tail(NUMPY, -x[:4])
    np.testing.assert_allclose(tail, ahead[:4], rtol=1e-10)


@of_each
def test_two_pairs_of_numbers_name_a_member(family):
    law = member(family)
    location, dispersion = law.location_dispersion()
    again = family.from_location_dispersion(location, dispersion)
    assert again.parameters == pytest.approx(law.parameters, rel=1e-12)
    log_mean, log_spread = law.log_mean_spread()
    again = family.from_log_mean_spread(log_mean, log_spread)
    assert again.parameters == pytest.approx(law.parameters, rel=1e-12)
    assert log_mean == pytest.approx(math.log(law.mean()), rel=1e-12)
    assert family.spread in SPREADS
    if not family.varies:
        assert (dispersion, log_spread, law.cv()) == (None, None, 0.0)
        return
    assert math.exp(log_spread) == pytest.approx(getattr(law, family.spread)(), rel=1e-12)
    assert family.cv_from_log_spread(log_spread) == pytest.approx(law.cv(), rel=1e-12)
    assert family.log_spread_from_cv(law.cv()) == pytest.approx(log_spread, rel=1e-9)
    if family.positive:  # location is a scale, and the dispersion the spread
        assert dispersion == pytest.approx(math.exp(log_spread), rel=1e-12)
        wider = family.from_location_dispersion(location + 2.0, dispersion)
        np.testing.assert_allclose(wider.at(NUMPY, Z), math.exp(2) * law.at(NUMPY, Z), rtol=1e-9)


# -- arrays of any library -----------------------------------------------------------------------

ROWS = (np.array([[0.3], [1.4]]), np.array([0.2, 0.6, 1.1]))


def compounds(law):
    """What can be made of a mixing distribution."""
    parts = (law, law.mapped(lambda value: value * 1.25))
    out = [Lapse(law, share=0.125), FiniteMixture(parts, (0.25, 0.75))]
    return [*out, ZeroMass(law, share=0.25)]


def everything(lib, law, convert):
    """Answers of a mixing distribution to all that can be asked in every library."""
    strength, x = (convert(np.array(v)) for v in (0.9, -1.7))
    found = {name: getattr(law, name)() for name in ASKED if name != "median"}
    if not isinstance(law, Compound):
        found |= {
            "median": law.median(),
            "quantile": law.quantile(convert(np.array(0.3))),
            "at": law.at(lib, convert(np.array(0.4))),
            **dict(zip(("log mean", "log spread"), law.log_mean_spread(), strict=True)),
            **dict(zip(("location", "dispersion"), law.location_dispersion(), strict=True)),
        }
    if law.has_density:
        found |= {"pdf": law.pdf(strength), "log density": law.log_density(lib, strength)}
    found |= {"cdf": law.cdf(strength), "log p": log_probability(lib, x, law)}
    return {name: value for name, value in found.items() if value is not None}


@of_each
def test_arrays_of_numpy_jax_and_torch_alike(family):
    torch = pytest.importorskip("torch")
    location, dispersion = np.broadcast_arrays(*ROWS)
    for base in [member(family, location, dispersion), *compounds(member(family, *ROWS))]:
        alone = base.mapped(lambda value: float(np.broadcast_to(value, (2, 3))[1, 2]))
        of_numbers = everything(NUMPY, alone, np.asarray)
        want = everything(NUMPY, base, np.asarray)
        for name, value in of_numbers.items():
            assert isinstance(value, float | np.ndarray), name
            np.testing.assert_allclose(
                np.broadcast_to(want[name], (2, 3))[1, 2], value, rtol=1e-12, err_msg=name
            )
        for name, convert in (("jax", jnp.asarray), ("torch", torch.as_tensor)):
            lib = library(name)
            given = base.mapped(convert)
            assert library_of(*given.parameters.values()) is lib
            for what, value in everything(lib, given, convert).items():
                assert library_of(value) is lib, (name, what)
                np.testing.assert_allclose(
                    np.asarray(value), want[what], rtol=1e-9, atol=1e-12, err_msg=f"{name} {what}"
                )


@pytest.mark.parametrize("what", [*ASKED, "quantile", "cdf", "pdf"])
@of_each
def test_gradients_reach_the_parameters(family, what):
    """By JAX and by torch, against differences of NumPy's."""
    torch = pytest.importorskip("torch")
    law = member(family)
    arguments = {"quantile": (0.3,), "cdf": (0.9,), "pdf": (0.9,)}.get(what, ())
    if (what in ("pdf", "cdf") and not law.has_density) or (what == "sd_log" and not law.positive):
        return
    names, values = list(law.parameters), list(law.parameters.values())

    def ask(values):
        made = law.with_parameters(dict(zip(names, values, strict=True)))
        return getattr(made, what)(*arguments)

    steps = 1e-5 * np.eye(len(values))
    want = [float(ask(values + h) - ask(values - h)) / 2e-5 for h in steps]
    found = jax.grad(lambda values: ask(list(values)))(jnp.array(values))
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-8)
    if (family.__name__, what) == ("Gamma", "cdf"):
        return  # torch has no derivative of it in the shape
    inputs = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in values]
    found = torch.autograd.grad(ask(inputs), inputs, allow_unused=True)
    found = [0.0 if each is None else each.item() for each in found]
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-8)


def test_a_library_that_is_not_loaded_stays_so():
    code = """
import sys
import numpy as np
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.logit import log_choice
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.families import MIXINGS
for family in MIXINGS.values():
    law = family.from_location_dispersion(np.zeros(2), np.ones(2) if family.varies else None)
    law.mean(), law.median(), law.cdf(0.5), law.sample(np.random.default_rng(0), (3, 2))
    log_probability(NUMPY, np.ones(2), FiniteMixture((law, law), (0.5, 0.5)))
log_choice(np.zeros((2, 3)), np.zeros(2, int))
print(*sorted({"jax", "torch", "numpyro", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# -- what is made of others ----------------------------------------------------------------------

MADE = compounds(ps.LogNormal(mu=0.0, sigma=0.7))


@pytest.mark.parametrize("law", MADE, ids=lambda law: law.family)
def test_what_is_made_of_others_says_what_it_lacks(law):
    for ask in (
        law.location_dispersion,
        law.log_mean_spread,
        lambda: law.from_location_dispersion(0.0, 1.0),
        lambda: law.coefficient(NUMPY, Z, 0.0, 1.0),
    ):
        with pytest.raises(InputError, match=f"{law.family}.* main part alone"):
            ask()
    with pytest.raises(InputError, match=f"got {law.family}, which has them in NumPy alone"):
        law.at(library("jax"), jnp.zeros(1))


@pytest.mark.parametrize("law", MADE, ids=lambda law: law.family)
def test_what_is_made_of_others_has_draws_in_numpy(law):
    np.testing.assert_allclose(law.at(NUMPY, Z), law.quantile(special.ndtr(Z)))
    beta = law.at(NUMPY, FINE)
    assert law.mean() == pytest.approx(WEIGHT @ beta, rel=1e-3)
    assert law.sd() == pytest.approx(math.sqrt(WEIGHT @ (beta - law.mean()) ** 2), rel=1e-2)


def test_quantiles_of_mixtures_whose_parts_are_arrays():
    law = FiniteMixture(
        (
            ps.LogNormal(mu=np.array([0.0, 1.0, -2.0]), sigma=np.array([0.3, 1.0, 0.7])),
            ps.PointMass(value=np.array([1.0, 0.2, 3.0])),
            ps.Gamma(shape=2.0, rate=1.5),
        ),
        (0.5, 0.2, 0.3),
    )
    q = np.linspace(0.02, 0.98, 49)[:, None]
    found = law.quantile(q)
    assert found.shape == (49, 3)
    assert (np.diff(found, axis=0) >= 0).all()
    for column in range(3):
        one = law.mapped(lambda value: float(np.broadcast_to(value, 3)[column]))  # noqa: B023
        np.testing.assert_allclose(found[:, column], one.quantile(q[:, 0]), rtol=1e-13)
        assert (one.cdf(found[:, column]) >= q[:, 0] - 1e-12).all()
        assert (one.cdf(found[:, column] * (1 - 1e-9)) <= q[:, 0]).all()


def test_quantiles_at_the_ends():
    law = FiniteMixture((ps.LogNormal(mu=0, sigma=1), ps.PointMass(value=2)), (0.5, 0.5))
    assert law.quantile([0.0, 1.0]).tolist() == [0.0, math.inf]
    law = FiniteMixture((ps.Normal(mu=0, sigma=1), ps.Normal(mu=2, sigma=1)), (0.5, 0.5))
    assert law.quantile([0.0, 1.0]).tolist() == [-math.inf, math.inf]
    for family in (ps.Gamma, ps.InverseGaussian, ps.LogNormal):
        assert member(family).quantile([0.0, 1.0]).tolist() == [0.0, math.inf]


# -- a family from outside ------------------------------------------------------------------------


def test_a_family_from_outside_is_unknown_until_it_is_registered():
    with pytest.raises(InputError, match=r"got Weibull\(\) for 'reward'.* is registered first"):
        ps.MixedLogit({"reward": Weibull()})
    with pytest.raises(InputError, match="Expected a family of mixing distributions"):
        ps.StrengthPrior("Weibull", 0.0, 1.0, 0.0, 1.0)


@pytest.mark.parametrize("choosers", [0, 100])
def test_a_family_from_outside_is_fitted_summarised_drawn_and_saved(weibull, choosers, tmp_path):
    truth = weibull(scale=1.3, shape=1.8)
    sizes = (choosers, 15) if choosers else (1500, 1)
    choices = ps.simulate(truth, *sizes, spread=1.5, seed=1)
    fit = ps.MixedLogit({"reward": weibull()}).fit(choices, seed=0, progress=False)
    assert_enumerated(choices, fit, weibull)
    draws = weibull(**{n: np.asarray(fit.posterior[f"reward_{n}"]) for n in truth.parameters})
    assert abs(draws.mean().mean() - truth.mean()) < 3.5 * draws.mean().std()
    row = ps.heterogeneity(fit).iloc[0]
    assert row["mean"] == pytest.approx(np.median(draws.mean()), rel=0.02)
    assert row["sd_log"] == pytest.approx(np.median(draws.sd_log()), rel=0.05)
    assert {"reward_scale", "reward_shape"} <= set(fit.summary().index)
    if choosers:
        assert row["verdict"] == "heterogeneous"
        assert len(ps.chooser_strengths(fit)) == choosers
    again = ps.load_fit(fit.save(tmp_path / "fit"))
    assert again.family() == "Weibull"
    assert ps.heterogeneity(again).equals(ps.heterogeneity(fit))
    grid = np.linspace(0.01, 12.0, 600)
    density = ps.strength_density(fit, grid=grid)["density"]
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)
    curve = ps.choice_curve(fit, differences=[-1.0, 0.0, 1.0])["probability"].tolist()
    want = np.exp(log_probability(NUMPY, np.array([-1.0, 0.0, 1.0]), truth))
    assert curve == pytest.approx(want.tolist(), abs=0.05)
    prior = ps.StrengthPrior.from_fit(fit, mean_strength=0.1)
    assert (prior.family, prior.mixing().mean()) == ("Weibull", pytest.approx(0.1))
    assert math.exp(prior.dispersion) == pytest.approx(row["sd_log"], rel=0.1)


def test_a_family_from_outside_in_figures(weibull):
    from matplotlib.figure import Figure

    truth = weibull(scale=1.3, shape=1.8)
    choices = ps.simulate(truth, choosers=40, situations=10, seed=2)
    fit = ps.MixedLogit({"reward": weibull()}).fit(choices, seed=0, progress=False)
    axes = ps.plot_prior_posterior(fit, axes=Figure().subplots(1, 2), truth=truth)
    titles = [ax.get_title("left") for ax in axes]
    assert titles == ["log of the scale of β", "sd of log β"]
    [ax] = ps.plot_strength(fit, axes=Figure().subplots(), truth=truth)
    dashed = next(line for line in ax.lines if line.get_linestyle() != "-")
    x, y = dashed.get_data()
    np.testing.assert_allclose(y, truth.pdf(x), rtol=1e-12)


def test_a_family_from_outside_with_choosers_sampled(weibull):
    """Draws that are traced, not nodes: the posterior is the same."""
    choices = ps.simulate(weibull(scale=1.3, shape=1.8), choosers=40, situations=15, seed=4)
    model, few = ps.MixedLogit({"reward": weibull()}), {"draws": 300, "warmup": 200, "chains": 2}
    found = [
        np.log(model.fit(choices, method=way, progress=False, **few).posterior["reward_shape"])
        for way in ("importance", "latent")
    ]
    one, other = (float(each.mean()) for each in found)
    assert one == pytest.approx(other, abs=0.5 * float(found[0].std()))


def test_a_family_from_outside_in_training(weibull):
    torch = pytest.importorskip("torch")
    pytest.importorskip("trl")
    from prefstrength.mixdpo import MixDPOConfig, Strength, mixdpo_logit, mixdpo_loss

    law = weibull(scale=0.1, shape=1.5)
    delta = torch.tensor([-30.0, -2.0, 0.0, 5.0, 60.0], dtype=torch.float64)
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.1, 1.5)]
    given = weibull(*values)
    loss = mixdpo_loss(delta, given)
    want = -np.log(special.expit(np.multiply.outer(delta.numpy(), law.at(NUMPY, FINE))) @ WEIGHT)
    np.testing.assert_allclose(loss.detach().numpy(), want, rtol=1e-4)
    u = mixdpo_logit(delta, given)
    torch.testing.assert_close(-torch.nn.functional.logsigmoid(u), loss)
    assert torch.autograd.gradcheck(lambda *v: mixdpo_loss(delta, weibull(*v)), values)
    torch.manual_seed(0)
    drawn = mixdpo_loss(delta, given, estimator="monte-carlo", samples=50_000)
    torch.testing.assert_close(drawn, loss, rtol=0.04, atol=2e-3)
    assert all(torch.autograd.grad(drawn.sum(), values))

    usual = {"report_to": "none", "strength_mode": "frozen", "use_cpu": True, "bf16": False}
    args = MixDPOConfig("out", strength_family="Weibull", **usual)
    assert args.strength_family == "Weibull"
    prior = ps.StrengthPrior("Weibull", math.log(0.1), 0.2, math.log(0.7), 0.3)
    strength = Strength.from_prior(prior)
    assert strength.mean == pytest.approx(0.1)
    assert strength.current().sd_log() == pytest.approx(0.7)
    again = Strength.from_start("Weibull", mean=0.1, cv=strength.cv)
    assert again.current().parameters == pytest.approx(strength.current().parameters, rel=1e-9)
    learned = strength.learned()
    assert learned.mixing().mean() == pytest.approx(0.1)
