"""A comparison with DPO is about spread: the priors of location do not decide it."""

import warnings

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.choice.mixing.families import MIXINGS, without_spread
from prefstrength.errors import DataWarning, SamplingWarning

#: Nats that a comparison may be off by the noise of draws and of PSIS.
SMALL = 0.6


def separated():
    """400 pairs in which the reward points one way: strength has no upper bound."""
    better = np.abs(np.random.default_rng(0).normal(size=400))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return ps.Choices.from_pairs(
            pd.DataFrame({"reward_chosen": better, "reward_rejected": 0.0})
        )


def one_strength():
    return ps.simulate(ps.PointMass(value=20.0), choosers=400, situations=1, seed=1)


def pairs():
    """1.5 for the reward, -0.5 for the length, in every region."""
    rng = np.random.default_rng(2)
    reward, length = rng.normal(size=(2, 800))
    chosen = rng.random(800) < 1 / (1 + np.exp(-1.5 * reward + 0.5 * length))
    sign = np.where(chosen, 1.0, -1.0)
    return pd.DataFrame(
        {
            "reward_chosen": sign * reward,
            "reward_rejected": 0.0,
            "length_chosen": sign * length,
            "length_rejected": 0.0,
            "who": [f"p{i}" for i in np.arange(800) // 10],
            "region": np.repeat(["a", "b"], 400),
        }
    )


def fits(choices, *laws):
    return {
        law.family: ps.MixedLogit({"reward": law}).fit(choices, seed=0, progress=False)
        for law in laws
    }


def compared(found):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SamplingWarning)  # of separated pairs PSIS rightly says so
        return ps.compare(found).set_index("model")


@pytest.mark.parametrize("law", [ps.LogNormal(), ps.Gamma()], ids=repr)
@pytest.mark.parametrize("data", [separated, one_strength])
def test_one_strength_for_all_loses_nothing_by_its_prior(data, law):
    found = fits(data(), law, without_spread(law))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        table = compared(found)
    assert abs(table["elpd_diff"].min()) < SMALL + 2 * table["dse"].max()
    assert table["elpd_diff"].min() > -2.0


@pytest.mark.parametrize("data", [separated, one_strength])
def test_another_prior_that_decides_is_said(data):
    found = fits(data(), ps.LogNormal(), ps.PointMass())
    with pytest.warns(
        DataWarning, match=r"'PointMass' is compared .* by about \+.* nats. .*"
    ) as told:
        table = compared(found)
    assert table.loc["PointMass", "elpd_diff"] < -5
    assert "`PositivePointMass()` in the place of `PointMass()`" in str(told[0].message)


def test_where_the_data_decide_nothing_is_said():
    choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        table = compared(fits(choices, ps.LogNormal(), ps.PointMass(), ps.PositivePointMass()))
    assert table.loc["PointMass", "elpd"] == pytest.approx(
        table.loc["PositivePointMass", "elpd"], abs=0.3
    )


@pytest.mark.parametrize("family", [each for each in MIXINGS.values() if each.varies])
def test_one_strength_has_the_priors_of_the_family(family):
    choices = ps.Choices.from_pairs(pairs(), chooser="who", groups=["region"])
    tables = [
        ps.MixedLogit({"reward": law}, groups=["region"])
        .prior_table(choices)
        .set_index("variable")["prior"]
        for law in (family(), without_spread(family()))
    ]
    shared = ["reward_location", "reward_location_sd_region"]
    assert tables[0][shared].tolist() == tables[1].tolist()


@pytest.mark.parametrize("law", [ps.PositivePointMass(), ps.PointMass()], ids=repr)
def test_beside_another_attribute(law):
    """One number each, whatever its prior is stated on: the likelihood is the same."""
    choices = ps.Choices.from_pairs(pairs(), chooser="who", attributes=["reward", "length"])
    model = ps.MixedLogit({"length": ps.PointMass(), "reward": law})
    fit = model.fit(choices, seed=0, progress=False)
    value = np.asarray(fit.posterior["reward_value"]).mean()
    assert value == pytest.approx(1.5, abs=0.3)
    length = float(np.asarray(fit.posterior["length_location"]).mean())
    assert length == pytest.approx(-0.5, abs=0.2)


def test_one_positive_strength_alone():
    with pytest.raises(ps.InputError, match="got it for length besides. Make other attributes"):
        ps.MixedLogit({"reward": ps.LogNormal(), "length": ps.PositivePointMass()})


def test_a_unit_that_is_equally_likely_under_every_draw():
    """ArviZ refuses it; it counts as what it is."""
    found = fits(one_strength(), ps.LogNormal(), ps.PositivePointMass())
    elpd = []
    for value in (-0.25, -1.25):
        for fit in found.values():
            log = fit.tree["log_likelihood"].to_dataset().copy(deep=True)
            (name,) = log.data_vars
            log[name][..., 0] = value
            fit.tree["log_likelihood"] = type(fit.tree)(log)
        elpd.append(compared(found)["elpd"].sort_index())
    assert (elpd[0] - elpd[1]).tolist() == pytest.approx([1.0, 1.0], abs=1e-9)
