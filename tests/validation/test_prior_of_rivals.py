"""The prior for training from real explanations of choices whose strengths are known."""

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps


def panel(
    sigma: float = 0.0, zero: float = 0.0, backward: float = 0.0, seed: int = 0
) -> ps.Choices:
    """200 choosers of 20 pairs each."""
    rng = np.random.default_rng(seed)
    difference = rng.normal(0, 1.5, (200, 20))
    kind = rng.random((200, 1))
    strength = np.exp(sigma * rng.standard_normal((200, 1)))
    strength = np.where(kind < zero, 0.0, np.where(kind > 1 - backward, -strength, strength))
    won = rng.random(difference.shape) < 1 / (1 + np.exp(-strength * difference))
    frame = pd.DataFrame(
        {
            "reward_chosen": np.where(won, difference, 0).ravel(),
            "reward_rejected": np.where(won, 0, difference).ravel(),
            "chooser": np.repeat(np.arange(200), 20).astype(str),
        }
    )
    frame["half"] = np.where(frame["chooser"].str.len() < 3, "first", "second")
    return ps.Choices.from_pairs(frame, chooser="chooser", groups=["half"])


def test_strengths_that_are_spread_are_handed_over():
    prior = ps.StrengthPrior.from_rivals(ps.rivals(panel(0.7), groups=["half"]))
    assert prior.family == "LogNormal"
    assert prior.mixing().sd_log() == pytest.approx(0.7, abs=0.1)
    assert 0.05 < prior.dispersion_sd < 0.2
    assert set(prior.groups) == {"half=first", "half=second"}
    for each in prior.groups.values():
        assert np.exp(each["dispersion"]) == pytest.approx(0.7, abs=0.2)


def test_one_strength_is_a_point():
    prior = ps.StrengthPrior.from_rivals(ps.rivals(panel()))
    assert prior.family == "PointMass"
    assert prior.source["label"] == "homogeneous"


def test_indifferent_choosers_are_a_share_and_no_spread():
    """A LogNormal alone hands over a spread beyond 1 here."""
    prior = ps.StrengthPrior.from_rivals(ps.rivals(panel(zero=0.4)))
    assert prior.zero_share == pytest.approx(0.4, abs=0.08)
    others = prior.mixing().apart_from_zero[1]
    assert others.cv() < 0.15


def test_reversed_choosers_are_not_trained_on():
    found = ps.rivals(panel(backward=0.15))
    with pytest.raises(ps.InputError, match="who prefer the lower one"):
        ps.StrengthPrior.from_rivals(found)
    with pytest.warns(ps.DataWarning, match="prefer the lower one"):
        prior = ps.StrengthPrior.from_rivals(found, force=True)
    assert prior.family == "PointMass"
    assert prior.mean_strength == 0.1
