"""The model: its priors on the scale of the data, its groups, its geometry, its errors."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.data.choices import Choices
from prefstrength.data.factor import Factor
from prefstrength.errors import InputError
from prefstrength.inference.population import Population, cell_codes, describe
from prefstrength.models.mixed_logit import MixedLogit

FAMILIES = [PointMass, Normal, LogNormal, Gamma, InverseGaussian]
families = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def make(n=60, factor=1.0, seed=0, chooser=True):
    """Pairs with two attributes and two crossed groups: three data sets, two regions."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2)) * [1.5, 4.0]
    values = np.stack([x, np.zeros((n, 2))], axis=1)
    values[:, :, 0] *= factor
    dataset, region = np.arange(n) % 3, (np.arange(n) // 3) % 2
    codes = np.arange(n) % 10
    return Choices(
        values,
        np.zeros(n, dtype=int),
        ["reward", "length"],
        chooser=codes if chooser else None,
        choosers=[f"c{i}" for i in range(10)] if chooser else (),
        groups={
            "dataset": Factor("dataset", dataset, ("hh", "prism", "ukp")),
            "region": Factor("region", region, ("east", "west")),
        },
    )


@pytest.fixture(scope="module")
def choices():
    return make()


def draws_of(population, n=400, key=0):
    """Everything that the population level samples and derives, in prior draws."""

    def model():
        population.sample()

    samples = Predictive(model, num_samples=n)(jax.random.PRNGKey(key))
    return {name: np.asarray(value) for name, value in samples.items()}


# -- priors ----------------------------------------------------------------------------------------


def rows(model, choices):
    table = model.prior_table(choices)
    assert list(table.columns) == ["variable", "prior"]
    return dict(zip(table["variable"], table["prior"], strict=True))


@pytest.mark.parametrize("factor", [1.0, 10.0])
def test_priors_are_stated_on_the_scale_of_the_data(factor):
    choices = make(factor=factor)
    s = choices.scale("reward")
    unit = f"{1 / s:.2g}"
    assert rows(MixedLogit({"reward": LogNormal()}), choices) == {
        "reward_location": f"Normal({-math.log(s):.2g}, 1)",
        "reward_dispersion": "HalfNormal(1)",
    }
    assert rows(MixedLogit({"reward": Gamma()}), choices) == {
        "reward_location": f"Normal({-math.log(s):.2g}, 1)",
        "reward_dispersion": "HalfNormal(1)",
    }
    assert rows(MixedLogit({"reward": Normal()}), choices) == {
        "reward_location": f"Normal(0, {2 / s:.2g})",
        "reward_dispersion": f"HalfNormal({unit})",
    }
    assert rows(MixedLogit({"reward": PointMass()}), choices) == {
        "reward_location": f"Normal(0, {2 / s:.2g})"
    }


def test_every_attribute_has_its_own_scale_and_every_group_its_own_sd(choices):
    model = MixedLogit({"reward": LogNormal(), "length": PointMass()}, groups=["dataset", "region"])
    length = choices.scale("length")
    assert rows(model, choices) == {
        "reward_location": f"Normal({-math.log(choices.scale('reward')):.2g}, 1)",
        "reward_dispersion": "HalfNormal(1)",
        "reward_location_sd_dataset": "HalfNormal(0.5)",
        "reward_dispersion_sd_dataset": "HalfNormal(0.5)",
        "reward_location_sd_region": "HalfNormal(0.5)",
        "reward_dispersion_sd_region": "HalfNormal(0.5)",
        "length_location": f"Normal(0, {2 / length:.2g})",
        "length_location_sd_dataset": f"HalfNormal({0.5 / length:.2g})",
        "length_location_sd_region": f"HalfNormal({0.5 / length:.2g})",
    }


@families
def test_the_unit_of_the_rewards_does_not_matter(family):
    """Rewards in other units: the same prior draws of strength times difference."""
    model = MixedLogit({"reward": family()}, groups=["dataset"])
    once = draws_of(model.population(make()))
    tenfold = draws_of(model.population(make(factor=10.0)))
    if family in (PointMass, Normal):
        for name in ("reward_value",) if family is PointMass else ("reward_mu", "reward_sigma"):
            np.testing.assert_allclose(tenfold[name] * 10, once[name], rtol=1e-9)
    elif family is LogNormal:
        np.testing.assert_allclose(
            tenfold["reward_mu"] + math.log(10), once["reward_mu"], rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(tenfold["reward_sigma"], once["reward_sigma"], rtol=1e-9)
    elif family is InverseGaussian:
        for name in ("reward_mu", "reward_shape"):
            np.testing.assert_allclose(tenfold[name] * 10, once[name], rtol=1e-9)
    else:
        np.testing.assert_allclose(tenfold["reward_rate"] / 10, once["reward_rate"], rtol=1e-9)
        np.testing.assert_allclose(tenfold["reward_shape"], once["reward_shape"], rtol=1e-9)


def test_draws_follow_the_printed_priors(choices):
    s = choices.scale("reward")
    draws = draws_of(MixedLogit({"reward": LogNormal()}).population(choices), 4000)
    assert draws["reward_mu"].mean() == pytest.approx(-math.log(s), abs=4 / math.sqrt(4000))
    assert draws["reward_mu"].std() == pytest.approx(1.0, rel=0.06)
    # HalfNormal(1): mean sqrt(2/pi)
    assert draws["reward_sigma"].mean() == pytest.approx(math.sqrt(2 / math.pi), rel=0.05)
    assert draws["reward_mu"].shape == draws["reward_sigma"].shape == (4000,)


def test_gamma_is_drawn_by_its_mean_and_cv(choices):
    draws = draws_of(MixedLogit({"reward": Gamma()}).population(choices))
    mean = draws["reward_shape"] / draws["reward_rate"]
    np.testing.assert_allclose(np.log(mean), draws["reward_location"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(draws["reward_shape"] ** -0.5, draws["reward_dispersion"], rtol=1e-9)


@pytest.mark.parametrize(
    ("family", "own", "stands_for"),
    [
        (LogNormal, "reward_mu", "reward_location"),
        (LogNormal, "reward_sigma", "reward_dispersion"),
        (LogNormal, "reward_dispersion", "reward_dispersion"),
        (Normal, "reward_sigma", "reward_dispersion"),
        (PointMass, "reward_value", "reward_location"),
        (Gamma, "reward_location", "reward_location"),
    ],
)
def test_own_priors_take_the_place_of_the_defaults(choices, family, own, stands_for):
    model = MixedLogit({"reward": family()}, priors={own: dist.LogNormal(-1.0, 0.25)})
    table = rows(model, choices)
    assert table[stands_for] == "LogNormal(-1, 0.25)"
    assert len(table) == (1 if family is PointMass else 2)
    others = MixedLogit({"reward": family()}).prior_table(choices)
    assert list(table) == others["variable"].tolist()


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        (dist.Normal(0.0, 2.5), "Normal(0, 2.5)"),
        (dist.HalfNormal(1 / 3), "HalfNormal(0.33)"),
        (dist.StudentT(3.0, 0.0, 1.0), "StudentT(3, 0, 1)"),
        (dist.Gamma(2.0, 4.0), "Gamma(2, 4)"),
    ],
)
def test_priors_in_a_few_characters(prior, text):
    assert describe(prior) == text


# -- groups ----------------------------------------------------------------------------------------


def test_cells_are_the_observed_combinations(choices):
    cells, codes = cell_codes(choices, ["dataset", "region"])
    assert cells.tolist() == [[d, r] for d in range(3) for r in range(2)]
    for situation in range(choices.n_situations):
        dataset, region = cells[codes[situation]]
        assert choices.groups["dataset"].codes[situation] == dataset
        assert choices.groups["region"].codes[situation] == region
    some = choices.subset(
        (choices.groups["dataset"].codes != 0) | (choices.groups["region"].codes == 1)
    )
    assert cell_codes(some, ["dataset", "region"])[0].tolist() == [
        [0, 1], [1, 0], [1, 1], [2, 0], [2, 1],
    ]  # fmt: skip
    cells, codes = cell_codes(choices, [])
    assert cells.shape == (1, 0)
    assert not codes.any()


def test_groups_shift_location_and_dispersion(choices):
    population = MixedLogit({"reward": LogNormal()}, ["dataset", "region"]).population(choices)
    draws = draws_of(population)
    assert draws["reward_mu"].shape == draws["reward_sigma"].shape == (400, 6)
    dataset, region = population.cells.T
    for what, shown in (("location", "reward_mu"), ("dispersion", "reward_sigma")):
        base = draws[f"reward_{what}"]
        shift = (
            draws[f"reward_{what}_dataset"][:, dataset] + draws[f"reward_{what}_region"][:, region]
        )
        for factor in ("dataset", "region"):
            levels = draws[f"reward_{what}_{factor}"]
            np.testing.assert_allclose(levels.sum(axis=1), 0.0, atol=1e-12)
        if what == "location":
            want = base[:, None] + shift
        else:
            want = base[:, None] * np.exp(shift)
        np.testing.assert_allclose(draws[shown], want, rtol=1e-9, atol=1e-12)


def test_the_sd_of_the_shifts_is_the_sd(choices):
    population = MixedLogit({"reward": LogNormal()}, ["dataset"]).population(choices)
    draws = draws_of(population, 6000)
    for what in ("location", "dispersion"):
        relative = draws[f"reward_{what}_dataset"] / draws[f"reward_{what}_sd_dataset"][:, None]
        # Zero-sum over three levels: each has variance 1 - 1/3.
        assert relative.std() == pytest.approx(math.sqrt(2 / 3), rel=0.03)


def test_without_groups_there_is_no_group_dimension(choices):
    draws = draws_of(MixedLogit({"reward": LogNormal()}).population(choices))
    assert set(draws) == {"reward_location", "reward_dispersion", "reward_mu", "reward_sigma"}
    assert {value.shape for value in draws.values()} == {(400,)}


def test_one_group_may_be_given_by_its_name(choices):
    assert MixedLogit({"reward": LogNormal()}, "dataset").groups == ("dataset",)


# -- geometry --------------------------------------------------------------------------------------


def log_joint(population, values):
    """Log density of the population level and of some data that know the laws only."""

    def model():
        for law in population.sample():
            numpyro.factor("data", -jnp.sum((law.location - 0.3) ** 2) - jnp.sum(law.dispersion**2))

    return float(log_density(model, (), {}, values)[0])


@pytest.mark.parametrize("centring", [0.3, 0.9, 1.0])
def test_partial_centring_changes_the_geometry_only(choices, centring):
    """Another coordinate of the same posterior: densities differ by the Jacobian."""
    population = MixedLogit({"reward": LogNormal()}, ["dataset"]).population(choices)
    plain = dataclasses.replace(population, centring={"dataset": 0.0})
    centred = dataclasses.replace(population, centring={"dataset": centring})
    rng = np.random.default_rng(1)
    for _ in range(5):
        shared = {
            "reward_location": rng.normal(),
            "reward_dispersion": rng.uniform(0.2, 2.0),
            "reward_location_sd_dataset": rng.uniform(0.05, 1.0),
            "reward_dispersion_sd_dataset": rng.uniform(0.05, 1.0),
        }
        other, jacobian = dict(shared), 0.0
        for what, c in (("location", centring), ("dispersion", 0.5 * centring)):
            sd = shared[f"reward_{what}_sd_dataset"]
            raw = rng.standard_normal(3)
            shared[f"reward_{what}_raw_dataset"] = raw - raw.mean()
            other[f"reward_{what}_raw_dataset"] = (raw - raw.mean()) * sd**c
            jacobian += 2 * c * math.log(sd)  # two free shifts of three
        assert log_joint(centred, other) + jacobian == pytest.approx(
            log_joint(plain, shared), rel=1e-9
        )


def test_centring_follows_the_information_of_a_level():
    few = MixedLogit({"reward": LogNormal()}, ["dataset"]).population(make(60)).centring["dataset"]
    more = MixedLogit({"reward": LogNormal()}, ["dataset"]).population(make(6000)).centring
    pairs = MixedLogit({"reward": LogNormal()}, ["dataset"]).population(make(6000, chooser=False))
    assert 0 < few < more["dataset"] < pairs.centring["dataset"] < 1


def test_the_numpyro_model_adds_the_log_likelihood(choices):
    class Known:
        def total(self, laws):
            return 17.0 + 0 * jnp.sum(laws[0].location)

    model = MixedLogit({"reward": LogNormal()}).numpyro_model(choices)
    values = {"reward_location": 0.1, "reward_dispersion": 0.5}
    total = float(log_density(model, (Known(),), {}, values)[0])
    prior = Population.prior(MixedLogit({"reward": LogNormal()}).population(choices))
    want = sum(float(prior[name].log_prob(value)) for name, value in values.items())
    assert total == pytest.approx(17.0 + want, rel=1e-12)


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: MixedLogit({}),
            InputError,
            "Expected at least one attribute with a mixing distribution; got none. "
            'Give for example {"reward": LogNormal()}.',
        ),
        (
            lambda: MixedLogit({"reward": LogNormal(mu=0.0, sigma=1.0)}),
            InputError,
            "Expected a mixing distribution to be inferred for 'reward'; got "
            "LogNormal(mu=0, sigma=1), which is known. Leave its parameters out.",
        ),
        (
            lambda: MixedLogit({"reward": LogNormal}),
            TypeError,
            "Expected a mixing distribution for 'reward', such as LogNormal(); "
            "got <class 'prefstrength.choice.mixing.log_normal.LogNormal'>.",
        ),
        (
            lambda: MixedLogit({"reward": "LogNormal"}),
            TypeError,
            "Expected a mixing distribution for 'reward', such as LogNormal(); got 'LogNormal'.",
        ),
        (
            lambda: MixedLogit({"reward": LogNormal()}, ["dataset", "dataset"]),
            InputError,
            "Expected each group once; got ['dataset', 'dataset'].",
        ),
    ],
)
def test_models_that_cannot_be(make, error, text):
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("model", "error", "text"),
    [
        (
            MixedLogit({"rewards": LogNormal()}),
            InputError,
            "Expected attributes among ['reward', 'length']; got ['rewards']. Name them when the "
            "choices are made: `Choices.from_pairs(frame, attributes=['rewards'])`.",
        ),
        (
            MixedLogit({"reward": LogNormal()}, ["datasets"]),
            InputError,
            "Expected groups among ['dataset', 'region']; got ['datasets']. Name them when the "
            "choices are made: `Choices.from_pairs(frame, groups=['datasets'])`.",
        ),
        (
            MixedLogit({"reward": LogNormal()}, priors={"reward_scale": dist.Normal()}),
            InputError,
            "Expected priors for ['reward_location', 'reward_dispersion']; got ['reward_scale']. "
            "Correct the names.",
        ),
        (
            MixedLogit({"reward": Gamma()}, priors={"reward_shape": dist.Gamma(1.0, 1.0)}),
            InputError,
            "Expected priors for ['reward_location', 'reward_dispersion']; got ['reward_shape']. "
            "Correct the names.",
        ),
        (
            MixedLogit({"reward": LogNormal()}, priors={"reward_mu": 0.5}),
            TypeError,
            "Expected a NumPyro distribution for reward_location; got 0.5.",
        ),
        (
            MixedLogit({"reward": LogNormal()}, priors={"reward_mu": dist.Normal(jnp.zeros(2))}),
            InputError,
            "Expected a prior on a single number for reward_location; got one of shape (2,). "
            "Groups are pooled by the model.",
        ),
    ],
)
def test_models_that_do_not_suit_the_choices(choices, model, error, text):
    for ask in (model.population, model.prior_table, model.fit):
        with pytest.raises(error) as caught:
            ask(choices)
        assert str(caught.value) == text


def test_a_table_is_not_yet_choices(choices):
    frame = choices.to_long()
    for ask in (MixedLogit({"reward": LogNormal()}).fit, MixedLogit({"a": Gamma()}).prior_table):
        with pytest.raises(
            TypeError,
            match=r"Expected Choices or CompressedChoices; got DataFrame. Make them of a table",
        ):
            ask(frame)


def test_a_group_of_one_level_explains_nothing(choices):
    one = choices.subset(choices.groups["dataset"].codes == 1)
    with pytest.raises(InputError) as caught:
        MixedLogit({"reward": LogNormal()}, ["dataset", "region"]).population(one)
    assert str(caught.value) == (
        "Expected groups with at least two levels; got one level in ['dataset']. "
        "A group of one level explains nothing: leave it out."
    )


@pytest.mark.parametrize("name", ["reward_sigma", "reward_location_sd_dataset"])
def test_a_spread_is_positive(choices, name):
    model = MixedLogit({"reward": LogNormal()}, "dataset", {name: dist.Normal(0.0, 1.0)})
    variable = name.replace("sigma", "dispersion")
    with pytest.raises(InputError) as caught:
        model.population(choices)
    assert str(caught.value) == (
        f"Expected a prior on positive numbers for {variable}; got Normal(0, 1). "
        "Take for example a HalfNormal or a LogNormal."
    )
    for prior in (dist.HalfCauchy(1.0), dist.Uniform(0.1, 2.0), dist.Gamma(2.0, 2.0)):
        MixedLogit({"reward": LogNormal()}, "dataset", {name: prior}).population(choices)
