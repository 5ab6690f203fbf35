"""Names of attributes and groups are the user's: no part of them says what a variable is."""

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.inference.distinct_names import require_distinct
from prefstrength.models.mixed_logit import MixedLogit


def choices(attribute: str, groups: tuple[str, str], nested: bool) -> ps.Choices:
    """Choices of 40 people with strength 1 in two regions, and in parts that cut or split them."""
    rng = np.random.default_rng(0)
    rows = 400
    who = np.arange(rows) % 40
    x = rng.normal(size=rows)
    better = rng.random(rows) < 1 / (1 + np.exp(-x))
    region = np.where(who % 2, "south", "north")
    part = np.where(who % 4 < 2, "east", "west")
    frame = pd.DataFrame(
        {
            f"{attribute}_chosen": np.where(better, x, 0.0),
            f"{attribute}_rejected": np.where(better, 0.0, x),
            "who": who.astype(str),
            groups[0]: region,
            groups[1]: np.char.add(region, part) if nested else part,
        }
    )
    return ps.Choices.from_pairs(frame, "who", groups, [attribute])


@pytest.mark.parametrize(
    ("attribute", "groups", "nested"),
    [
        ("reward", ("region", "sub_region"), True),
        pytest.param("reward", ("region", "sub_region"), False, marks=pytest.mark.slow),
        ("_my_raw_reward", ("_g", "raw_h"), False),
        pytest.param("raw_reward", ("raw_raw_g", "g_raw_"), False, marks=pytest.mark.slow),
        pytest.param("chosen_location", ("sd", "mu"), False, marks=pytest.mark.slow),
    ],
)
def test_every_coefficient_and_shift_has_its_own_labels(
    attribute: str, groups: tuple[str, str], nested: bool
) -> None:
    data = choices(attribute, groups, nested)
    model = MixedLogit({attribute: ps.PointMass()}, groups=groups)
    fit = model.fit(data, seed=0, draws=200, warmup=200, chains=1, progress=False)
    posterior = fit.posterior
    assert posterior[f"{attribute}_value"].dims == ("chain", "draw", "cell")
    for group in groups:
        shift = posterior[f"{attribute}_location_{group}"]
        assert shift.dims == ("chain", "draw", f"{group}_level")
        assert list(shift[f"{group}_level"].values) == list(data.groups[group].levels)
        # Shifts sum to 0 over the levels of their own group.
        assert np.allclose(shift.sum(f"{group}_level"), 0, atol=1e-6)
        assert f"{attribute}_location_raw_{group}" not in posterior
    shown = " ".join(fit.summary().index)
    for level in (*data.groups[groups[0]].levels, *data.groups[groups[1]].levels):
        assert level in shown
    table = ps.heterogeneity(fit)
    assert set(table["factor"]) == {"overall", *groups}
    assert np.isfinite(table["mean"]).all()


@pytest.mark.parametrize(
    ("attributes", "groups"),
    [
        (["reward"], ["region", "sd_region"]),
        (["reward"], ["region", "raw_region"]),
        (["reward", "reward_location"], ["mu"]),
        (["reward", "reward_dispersion"], ["location"]),
    ],
)
def test_names_that_would_be_one_are_refused(attributes: list[str], groups: list[str]) -> None:
    parameters = {name: ps.LogNormal().parameters for name in attributes}
    with pytest.raises(ps.InputError, match="should make different names"):
        require_distinct(parameters, groups)


@pytest.mark.parametrize("family", MIXINGS)
def test_names_that_differ_are_none_of_anybody_elses_business(family: str) -> None:
    parameters = {name: MIXINGS[family]().parameters for name in ("reward", "_reward", "raw_x")}
    require_distinct(parameters, ["region", "sub_region", "_raw_", "x_location"])


def test_a_model_refuses_them_before_it_is_fitted() -> None:
    data = choices("reward", ("region", "sd_region"), False)
    model = MixedLogit({"reward": ps.LogNormal()}, groups=["region", "sd_region"])
    with pytest.raises(ps.InputError, match="'reward_location_sd_region' for the"):
        model.population(data)
