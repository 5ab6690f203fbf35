"""Weights outside of the integral over strength: units that count several times are several."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.direct import direct_likelihood
from prefstrength.models.fitting import Work

MODEL = ps.MixedLogit({"reward": ps.LogNormal(), "length": ps.Normal()})


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def frame():
    rng = np.random.default_rng(3)
    found = pd.DataFrame(
        {
            "reward_chosen": rng.normal(size=12) + 0.4,
            "length_chosen": rng.normal(size=12),
            "who": [f"p{i}" for i in np.arange(12) // 3],
            "n": rng.integers(1, 5, 12),
            "w": np.array([1, 3, 2, 1])[np.arange(12) // 3],
        }
    )
    return found.assign(reward_rejected=0.0, length_rejected=0.0)


def data(table, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choices = ps.Choices.from_pairs(
            table, attributes=["reward", "length"], duplicates="keep", **more
        )
    return Work.of(MODEL, choices).data


def pairs():
    """Data with weights, and those of all rows one by one."""
    given = frame()
    rows = given.loc[given.index.repeat(given["n"])].reset_index(drop=True)
    own = [given[given["who"] == who] for who in given["who"].unique()]
    people = pd.concat(
        [part.assign(who=part["who"] + str(k)) for part in own for k in range(part["w"].iloc[0])]
    ).reset_index(drop=True)
    return {
        "rows": (data(given, weights="n"), data(rows)),
        "choosers": (
            data(given, chooser="who", chooser_weights="w"),
            data(people, chooser="who"),
        ),
        "both": (
            data(given, chooser="who", weights="n", chooser_weights="w"),
            data(people, chooser="who", weights="n"),
        ),
    }


@pytest.mark.parametrize("kind", ["rows", "choosers", "both"])
def test_one_by_one_they_are_all_there(kind):
    weighted, want = pairs()[kind]
    found = weighted.one_by_one()
    for name in ("values", "chosen", "available", "weight", "cell", "unit_weight"):
        np.testing.assert_array_equal(getattr(found, name), getattr(want, name), err_msg=name)
    same = found.unit[:, None] == found.unit
    np.testing.assert_array_equal(same, want.unit[:, None] == want.unit)


@pytest.mark.parametrize("kind", ["rows", "choosers", "both"])
def test_several_random_coefficients(kind):
    """Not the mean of the probability's power, which people who answer several times have."""
    laws = (
        CellLaws(ps.LogNormal, jnp.array([0.2]), jnp.array([0.8])),
        CellLaws(ps.Normal, jnp.array([0.5]), jnp.array([1.2])),
    )
    totals = []
    for each in pairs()[kind]:
        likelihood = direct_likelihood(each, (ps.LogNormal, ps.Normal))
        totals.append(float(likelihood.times @ likelihood.by_unit(laws)))
    assert totals[0] == pytest.approx(totals[1], rel=1e-9)
