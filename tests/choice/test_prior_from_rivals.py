"""The prior from all explanations averaged: one for each verdict, and what is refused."""

import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from prefstrength import DataWarning, InputError, LogNormal, StrengthPrior, ZeroMass

Z = 1.6448536269514722  # of the 95 % quantile


def rivals(
    label: str,
    sigma: Any,
    weight: Any = None,
    zero: Any = 0.0,
    reversed_: Any = 0.0,
    on: dict[str, float] | None = None,
    spread: float = 1.0,
    **more: Any,
) -> SimpleNamespace:
    """What ``ps.rivals`` gives, made by hand."""
    sigma = np.asarray(sigma, dtype=float)
    weight = np.full(len(sigma), 1 / len(sigma)) if weight is None else np.asarray(weight)
    nodes = {"sigma": sigma, "zero_share": zero, "reversed_share": reversed_, "weight": weight}
    on = {"spread": spread, "zero": 0.1, "reversed": 0.1, **(on or {})}
    parts = [{"part": p, "on": v, "mean": 0.2, "low": 0.1, "high": 0.3} for p, v in on.items()]
    return SimpleNamespace(
        attribute="reward",
        label=label,
        verdict=f"{label}, in a sentence.",
        single=False,
        by_level={},
        beliefs=SimpleNamespace(differ=0.9, same=0.05, spread=spread, on=on),
        parts=pd.DataFrame(parts),
        sigma=pd.DataFrame(nodes),
        **more,
    )


def log_normal_nodes(centre: float, sd: float, count: int = 4001) -> np.ndarray:
    """Equally likely values of a log-normal posterior of sigma."""
    grid = LogNormal(mu=math.log(centre), sigma=sd)
    return grid.quantile((np.arange(count) + 0.5) / count)


HETEROGENEOUS = rivals("heterogeneous", log_normal_nodes(0.7, 0.2))
#: One strength with probability .6; else a spread of .3.
UNTOLD = rivals("the data cannot tell", [0.0, 0.3], [0.6, 0.4], spread=0.4)


def test_heterogeneous_matches_the_quantiles_of_the_averaged_posterior():
    prior = StrengthPrior.from_rivals(HETEROGENEOUS, mean_strength=0.05)
    assert prior.family == "LogNormal"
    assert prior.dispersion == pytest.approx(math.log(0.7), abs=1e-3)
    assert prior.dispersion_sd == pytest.approx(0.2, abs=1e-3)
    assert (prior.mean_strength, prior.zero_share) == (0.05, 0.0)
    assert prior.mixing().mean() == pytest.approx(0.05)
    assert prior.location_sd == 0.1
    assert prior.source["sigma"]["low"] == pytest.approx(0.7 * math.exp(-0.2 * Z), abs=1e-3)
    assert prior.source["sigma"]["none"] == 0.0
    assert prior.source["words"].startswith(
        "Averaged over every explanation of the choices: the sd of log strength is 0.71 [0.50, 0.97"
    )
    json.dumps(prior.to_dict())


def test_skewed_posteriors_are_matched_by_least_squares_in_the_log():
    found = rivals("heterogeneous", np.linspace(0.2, 1.2, 10_001))
    prior = StrengthPrior.from_rivals(found)
    logs = np.log([0.25, 0.7, 1.15])
    assert prior.dispersion == pytest.approx(logs.mean(), abs=1e-3)
    assert prior.dispersion_sd == pytest.approx((logs[2] - logs[0]) / (2 * Z), abs=1e-3)


def test_weights_of_nodes_count():
    sigma = log_normal_nodes(0.7, 0.2)
    chosen = np.random.default_rng(0).permutation(len(sigma))  # in no order, and not alike
    whole = StrengthPrior.from_rivals(rivals("heterogeneous", sigma[chosen]))
    twice = np.concatenate([sigma, sigma[sigma > 0.7]])
    weight = np.where(sigma > 0.7, 2.0, 1.0)
    one = StrengthPrior.from_rivals(rivals("heterogeneous", twice))
    other = StrengthPrior.from_rivals(rivals("heterogeneous", sigma, weight / weight.sum()))
    assert other.dispersion == pytest.approx(one.dispersion, abs=1e-3)
    assert other.dispersion > whole.dispersion + 0.02


def test_a_named_class_at_zero_is_held_beside_those_who_weigh_the_reward():
    found = rivals("heterogeneous", [0.7, 0.7], zero=[0.1, 0.3], on={"zero": 0.97})
    prior = StrengthPrior.from_rivals(found, mean_strength=0.1)
    assert prior.zero_share == pytest.approx(0.2)
    law = prior.mixing()
    assert isinstance(law, ZeroMass)
    assert law.mean() == pytest.approx(0.1)
    assert law.mixing.mean() == pytest.approx(0.125)
    assert law.mixing.sd_log() == pytest.approx(0.7)
    assert "20.0% of the choosers answer at random or hardly weigh" in prior.source["words"]
    assert prior.source["parts"]["zero"] == {"on": 0.97, "mean": 0.2, "low": 0.1, "high": 0.3}
    unnamed = rivals("heterogeneous", [0.7, 0.7], zero=[0.1, 0.3], on={"zero": 0.94})
    assert StrengthPrior.from_rivals(unnamed).zero_share == 0.0


def test_differ_in_kind_is_a_point_or_the_spread_of_the_others():
    sigma, weight = [0.0, 0.4], [0.97, 0.03]
    on = {"zero": 0.99}
    point = rivals("differ in kind", sigma, weight, zero=0.25, on=on, spread=0.03)
    prior = StrengthPrior.from_rivals(point, mean_strength=0.09)
    assert prior.family == "PointMass"
    assert prior.mixing().parameters == pytest.approx({"zero_share": 0.25, "value": 0.12})
    untold = rivals("differ in kind", [0.0, 0.4], [0.7, 0.3], zero=0.25, on=on, spread=0.3)
    prior = StrengthPrior.from_rivals(untold)
    assert prior.family == "LogNormal"
    assert prior.zero_share == 0.25
    assert (
        "One strength for those who weigh the reward has probability 0.70"
        in (prior.source["words"])
    )


def test_homogeneous_is_a_point_with_the_upper_end_of_the_spread():
    sigma = np.concatenate([np.zeros(800), np.linspace(0.001, 0.2, 200)])
    prior = StrengthPrior.from_rivals(rivals("homogeneous", sigma, spread=0.0))
    assert prior.mixing().parameters == pytest.approx({"value": 0.1})
    assert prior.dispersion is None
    assert prior.source["sigma"]["high"] == pytest.approx(0.15, abs=1e-3)
    assert "an sd of log strength above 0.15 has less than 5 %" in prior.source["words"]


@pytest.mark.parametrize("label", ["the data cannot tell", "differ"])
def test_what_the_data_do_not_tell_is_wide_and_says_so(label):
    found = rivals(label, [0.0, 0.3], [0.6, 0.4], spread=0.4)
    prior = StrengthPrior.from_rivals(found)
    assert prior.dispersion == pytest.approx(math.log(0.4 * 0.3))
    # The upper end is that of the posterior, and the lower one as good as no spread.
    assert prior.dispersion + Z * prior.dispersion_sd == pytest.approx(math.log(0.3))
    assert math.exp(prior.dispersion - Z * prior.dispersion_sd) < 0.05
    told = dict(prior.source["sigma"])
    assert told.pop("where_spread") == pytest.approx({"mean": 0.3, "low": 0.3, "high": 0.3})
    assert told == pytest.approx(
        {"mean": 0.12, "low": 0.0, "high": 0.3, "none": 0.6, "predictive": math.sqrt(0.4) * 0.3}
    )
    assert prior.source["label"] == label
    assert (
        "this prior is wide. One strength for all has probability 0.60; else the sd of log"
        in (prior.source["words"])
    )
    assert "assumes Δ = c·Δr with one c for all pairs and no error" in prior.source["assumes"]
    assert prior.source["law"] == "plug-in"
    assert prior.source["probabilities"]["parts"]["zero"] == 0.1


def test_nothing_but_one_strength_is_a_point_whatever_the_verdict():
    prior = StrengthPrior.from_rivals(
        rivals("the data cannot tell", [0.0, 0.4], [0.97, 0.03], spread=0.03)
    )
    assert prior.family == "PointMass"


def single() -> SimpleNamespace:
    found = rivals(
        "the data cannot tell", [0.0, 0.3, 1.8], [0.3, 0.3, 0.4], zero=0.2, on={"zero": 0.99}
    )
    found.single = True
    return found


def test_single_choices_are_refused():
    with pytest.raises(InputError, match="Expected repeated choices of the same choosers; got sin"):
        StrengthPrior.from_rivals(single())


def test_single_choices_by_force_say_both_ends():
    with pytest.warns(DataWarning, match=r"from 0\.00 to 1\.80, none at all with probability 0\.3"):
        prior = StrengthPrior.from_rivals(single(), force=True)
    assert prior.dispersion == pytest.approx(math.log(0.3 * 0.3 + 0.4 * 1.8))
    assert prior.zero_share == 0.0  # of single choices no class can be named
    assert prior.source["forced"]
    assert "made from single choices, which cannot tell" in prior.source["words"]


def backward() -> SimpleNamespace:
    on = {"reversed": 0.99, "zero": 0.98}
    return rivals("differ in kind", [0.0], zero=0.2, reversed_=0.2, on=on, spread=0.0)


def test_a_reversed_class_is_refused_and_counted():
    text = r"got 20% \[20%, 20%\] of them who prefer the lower one, whom a positive strength"
    with pytest.raises(InputError, match=text):
        StrengthPrior.from_rivals(backward())
    found = backward()
    found.beliefs.on["reversed"] = 0.94
    assert StrengthPrior.from_rivals(found).zero_share == pytest.approx(0.2)


def test_a_reversed_class_by_force_is_left_out_and_never_negative():
    with pytest.warns(DataWarning, match=r"20% \[20%, 20%\] of them prefer the lower one, and tra"):
        prior = StrengthPrior.from_rivals(backward(), force=True)
    assert prior.zero_share == pytest.approx(0.25)  # .2 of the .8 who are not reversed
    assert prior.mixing().quantile(1e-9) == 0.0
    assert prior.mixing().mean() == pytest.approx(0.1)
    assert "Choosers who prefer the lower reward are left out of it." in prior.source["words"]
    assert prior.source["forced"]


def test_levels_have_their_own_spread_and_can_be_asked_for():
    found = rivals("heterogeneous", log_normal_nodes(0.7, 0.2))
    alone = rivals("the data cannot tell", [0.4])
    alone.single = True
    found.by_level = {
        ("region", "east"): rivals("heterogeneous", log_normal_nodes(1.0, 0.1)),
        ("region", "west"): rivals("homogeneous", [0.0, 0.2], [0.97, 0.03]),
        ("region", "rare"): alone,
    }
    prior = StrengthPrior.from_rivals(found)
    assert set(prior.groups) == {"region=east", "region=west"}
    assert prior.groups["region=east"] == {
        "dispersion": pytest.approx(0.0, abs=1e-3),
        "dispersion_sd": pytest.approx(0.1, abs=1e-3),
    }
    assert math.exp(prior.groups["region=west"]["dispersion"]) == pytest.approx(0.05)
    east = StrengthPrior.from_rivals(found, group="region=east")
    assert east.dispersion == pytest.approx(0.0, abs=1e-3)
    assert east.source["group"] == "region=east"
    assert east.groups == {}
    with pytest.raises(InputError, match=r"rivals were asked for \('region=east', .*got 'east'"):
        StrengthPrior.from_rivals(found, group="east")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mean_strength": 0.0}, r"Expected mean_strength > 0, .* got 0\.0"),
        ({"mean_strength": math.nan}, "Expected mean_strength > 0, .* got nan"),
        ({"mean_strength_sd": -1.0}, r"Expected mean_strength_sd > 0, .* got -1\.0"),
    ],
)
def test_numbers_that_cannot_be(changes, text):
    with pytest.raises(InputError, match=text):
        StrengthPrior.from_rivals(HETEROGENEOUS, **changes)


def test_a_fit_is_no_rivals():
    with pytest.raises(TypeError, match="got SimpleNamespace, without single, .*from_fit"):
        StrengthPrior.from_rivals(SimpleNamespace(attribute="reward"))


def test_the_record_is_read_again(tmp_path):
    found = rivals("heterogeneous", [0.7, 0.8], zero=0.2, on={"zero": 0.99})
    prior = StrengthPrior.from_rivals(found)
    assert StrengthPrior.load(prior.save(tmp_path / "strength_prior.json")) == prior
