"""The same model under other rewards: refits, matching by labels, length correction, the figure."""

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from matplotlib.figure import Figure

import prefstrength as ps
from prefstrength.validation.sensitivity import choices_and_model


@pytest.fixture(scope="module")
def pairs():
    """Pairs of 60 choosers; a reward, a noisy copy of it, and one that is mostly length."""
    rng = np.random.default_rng(0)
    n = 60 * 12
    strength = np.repeat(np.exp(0.8 * rng.standard_normal(60)), 12)
    true, log_ratio = rng.standard_normal(n), rng.standard_normal(n)
    sign = np.where(rng.random(n) < 1 / (1 + np.exp(-strength * true)), 1.0, -1.0)
    frame = pd.DataFrame({"annotator": np.repeat([f"c{a}" for a in range(60)], 12)})
    noisy = true + rng.standard_normal(n)
    for name, values in (("reward", true), ("noisy", noisy), ("long", true + 2 * log_ratio)):
        frame[f"{name}_chosen"], frame[f"{name}_rejected"] = sign * values, 0.0
    frame["words_chosen"] = 100 * np.exp(sign * log_ratio / 2)
    frame["words_rejected"] = 100 * np.exp(-sign * log_ratio / 2)
    frame.index = [f"row {i}" for i in range(n)]
    return frame


def difference(frame, name):
    return frame[f"{name}_chosen"] - frame[f"{name}_rejected"]


@pytest.fixture(scope="module")
def fit(pairs):
    choices = ps.Choices.from_pairs(pairs, chooser="annotator")
    return ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, progress=False)


@pytest.fixture(scope="module")
def table(fit, pairs):
    rewards = {
        "twice": 2 * difference(pairs, "reward").sample(frac=1, random_state=1),
        "noisy": difference(pairs, "noisy"),
        "long": difference(pairs, "long"),
        "long, corrected": ps.length_corrected(pairs, "long", length="words"),
    }
    return ps.sensitivity(fit, rewards, progress=False).set_index("reward")


def test_a_change_of_scale_changes_nothing(table):
    """Rows of a shuffled Series are matched by their labels."""
    quantities = ["agreement", "standardised_mean", "cv", "sd_log", "cv_low", "cv_high"]
    own, twice = (table.loc[name, quantities].astype(float) for name in ("reward", "twice"))
    np.testing.assert_allclose(own, twice, rtol=0.05)
    assert table.loc["twice", "correlation"] == pytest.approx(1.0)


def test_noise_and_length_attenuate_and_the_correction_restores(table):
    mean = table["standardised_mean"]
    assert mean["noisy"] < 0.75 * mean["reward"]
    assert mean["long"] < 0.75 * mean["reward"]
    assert mean["long, corrected"] == pytest.approx(mean["reward"], rel=0.05)
    assert table.loc["long, corrected", "correlation"] > 0.99
    assert table.loc["noisy", "correlation"] == pytest.approx(np.sqrt(0.5), abs=0.05)
    assert table.loc["noisy", "agreement"] < table.loc["reward", "agreement"]


def test_refits_equal_fits_of_the_rewards_themselves(table, pairs):
    choices = ps.Choices.from_pairs(pairs, chooser="annotator", attributes=("noisy",))
    direct = ps.heterogeneity(ps.MixedLogit({"noisy": ps.LogNormal()}).fit(choices, progress=False))
    for name in ("cv", "sd_log", "p_heterogeneous"):
        assert table.loc["noisy", name] == pytest.approx(direct[name].iloc[0])


def test_groups_are_kept():
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"reward_chosen": rng.normal(0.5, 1, 200), "reward_rejected": 0.0})
    frame["topic"] = np.repeat(["a", "b"], 100)
    choices = ps.Choices.from_pairs(frame, groups=["topic"])
    model = ps.MixedLogit({"reward": ps.PointMass()}, groups=["topic"])
    fit = model.fit(choices, method="laplace", draws=50, progress=False)
    again, same = choices_and_model(fit)
    assert same.groups == ("topic",)
    np.testing.assert_array_equal(again.groups["topic"].codes, choices.groups["topic"].codes)
    np.testing.assert_array_equal(again.differences("reward"), choices.differences("reward"))


def test_ties_that_were_split_are_matched_by_the_label_of_their_pair():
    """Either half counts the pair one way round: the second has the difference turned."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"reward_chosen": rng.normal(0.5, 1, 120), "reward_rejected": 0.0})
    frame["tie"] = np.arange(120) % 5 == 0
    choices = ps.Choices.from_pairs(frame, ties="split")
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    fit = model.fit(choices, method="laplace", draws=50, progress=False)
    twice = 2 * difference(frame, "reward")
    table = ps.sensitivity(fit, {"twice": twice}, progress=False)
    assert table["correlation"].tolist() == pytest.approx([1.0, 1.0])
    assert table["agreement"].nunique() == 1


def test_length_correction_is_blind_to_orientation(pairs):
    one = ps.length_corrected(pairs, "long", length="words")
    swapped = pairs.rename(
        columns=lambda c: (
            c.replace("chosen", "x").replace("rejected", "chosen").replace("x", "rejected")
        )
    )
    other = ps.length_corrected(swapped, "long", length="words")
    np.testing.assert_allclose(one, -other)
    texts = pd.DataFrame(
        {"reward_chosen": [1.0, 0.0, 2.0], "reward_rejected": [0.0, 1.0, 0.0],
         "chosen": ["a b", "a", "a b c"], "rejected": ["a", "b c", "a b c"]}
    )  # fmt: skip
    assert ps.length_corrected(texts).tolist() == pytest.approx([0.0, 0.0, 2.0])


def test_what_cannot_be_compared_is_refused(fit, pairs):
    good = difference(pairs, "noisy")
    cases = [
        ({}, "Expected rewards as a mapping"),
        ({"reward": good}, "other rewards than the fit's own"),
        ({"noisy": good.iloc[1:]}, "first: 'row 0'"),
        ({"noisy": np.ones(3)}, "720 differences"),
        ({"noisy": 0 * good}, "not all 0"),
        ({"noisy": good.where(good.index != "row 3")}, "1 that are not"),
        ({"noisy": good.astype(str) + "x"}, "differences of 'noisy' as numbers"),
    ]
    for rewards, sentence in cases:
        with pytest.raises(ps.InputError, match=sentence):
            ps.sensitivity(fit, rewards)
    choices = ps.Choices.from_pairs(pairs, chooser="annotator")
    shared = {"reward": ps.PointMass()}
    own = {"reward_value": dist.HalfNormal(0.3)}
    for model, sentence in (
        (
            ps.MixedLogit(shared, errors={"reward": ps.RewardError(sd=0.2)}),
            "without errors in the rewards",
        ),
        (ps.MixedLogit(shared, priors=own), "priors of its own"),
    ):
        other = model.fit(choices, method="laplace", draws=50, progress=False)
        with pytest.raises(ps.InputError, match=sentence):
            ps.sensitivity(other, {"noisy": good})
    with pytest.raises(ps.InputError, match="positive lengths"):
        ps.length_corrected(pairs.assign(words_chosen=0.0), "long", length="words")
    missing = pairs.assign(long_chosen=pairs["long_chosen"].where(pairs.index != "row 3"))
    with pytest.raises(ps.InputError, match=r"'long_chosen' .*\(first: row 3\)"):
        ps.length_corrected(missing, "long", length="words")
    with pytest.raises(ps.InputError, match="plain texts in a column"):
        ps.length_corrected(pairs, "long")


def test_the_figure_shows_every_reward_and_its_verdict(table):
    axes = ps.plot_sensitivity(table.reset_index(), axes=Figure().subplots(1, 2))
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert len(labels) == len(table) == 5
    assert labels[0].startswith("reward (chosen")
    verdicts = [text.get_text() for text in axes[1].texts]
    assert all(verdict in verdicts for verdict in table["verdict"])
