"""What was put in comes out: lapses, bends, and the precision that grades add to signs."""

import numpy as np
import pytest
from scipy import special

import prefstrength as ps
from prefstrength.data.choices import Choices
from prefstrength.models.fitting import sample_population

KEEN = ps.LogNormal(mu=0.0, sigma=0.7)


def draws_of(model, choices, name):
    found = sample_population(model, choices, method="importance", draws=250)
    return found.variables[name]


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.2])
def test_the_share_of_lapses(share):
    model = ps.MixedLogit({"reward": ps.LogNormal()}, lapse=True)
    law = ps.Lapse(KEEN, share=share)
    found = [
        draws_of(model, ps.simulate(law, 60, 40, 3.0, seed=seed), "lapse").mean()
        for seed in range(40)
    ]
    assert abs(np.median(found) - share) < 0.03


def bent(power, seed, choosers=400, situations=30, spread=1.5):
    """Pairs whose utility is a power of their size, in units of the root mean square."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0, spread, (choosers, situations))
    strength = KEEN.sample(rng, choosers)[:, None]
    unit = np.sqrt(np.mean(x**2))
    v = strength * np.sign(x) * unit * (np.abs(x) / unit) ** power
    x = np.where(rng.random(x.shape) < special.expit(v), x, -x).ravel()
    return Choices(
        np.stack([x, np.zeros_like(x)], axis=1)[:, :, None],
        np.zeros(x.size, int),
        ["reward"],
        chooser=np.repeat(np.arange(choosers), situations),
        choosers=[f"c{a}" for a in range(choosers)],
    )


@pytest.mark.slow
@pytest.mark.parametrize("power", [0.5, 1.5])
def test_the_power_of_the_utility(power):
    model = ps.MixedLogit({"reward": ps.LogNormal()}, utility="power")
    found = [draws_of(model, bent(power, seed), "power").mean() for seed in range(8)]
    assert abs(np.median(found) - power) < 0.06


def errors(seed, mixing=ps.PointMass):
    """Posterior sd of the mean strength from five grades, and from their signs alone."""
    graded = ps.simulate(
        ps.PointMass(value=1.0), 16, 70, 1.5, seed=seed,
        response=ps.Graded(5), shared={"cut_1": 0.6, "cut_2": 1.4},
    )  # fmt: skip
    model = ps.MixedLogit({"reward": mixing()})
    signs = graded.as_pairs(reduce=True)
    return [draws_of(model, choices, "reward_value").std() for choices in (graded, signs)]


def test_grades_say_more_than_signs():
    both = np.array([errors(seed) for seed in range(3)])
    assert np.median(both[:, 0] / both[:, 1]) < 0.78


@pytest.mark.slow
def test_grades_say_more_than_signs_of_many():
    both = np.array([errors(seed) for seed in range(20)])
    assert np.median(both[:, 0] / both[:, 1]) < 0.78
