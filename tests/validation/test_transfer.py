"""After training: Δ on Δr, with links whose answer is known, and the prior under them."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import special, stats

import prefstrength as ps
from tests.helpers.made_up import made_up_fit

SIGMA = math.sqrt(math.log(1 + 0.8**2))


@pytest.fixture(scope="module")
def reward():
    return np.random.default_rng(0).normal(0, 1.5, 2000)


@pytest.fixture(scope="module")
def fit():
    return made_up_fit(cv=0.8, uncertainty=0.0)


def noise(sd, size=2000, seed=1):
    return np.random.default_rng(seed).normal(0, sd, size)


def test_an_exact_link_changes_nothing_but_the_scale(reward, fit):
    found = ps.check_transfer(3.0 * reward, reward, fit=fit)
    assert found.value("slope") == pytest.approx(3.0)
    assert found.value("power") == pytest.approx(1.0, abs=1e-4)
    assert found.value("explained") == pytest.approx(1.0)
    assumed, linked = (found.strengths.loc[row] for row in ("assumed", "linked"))
    assert assumed["mean"] == pytest.approx(1 / 3, rel=1e-3)
    assert linked["mean"] == pytest.approx(assumed["mean"], rel=1e-3)
    assert linked["value"] == pytest.approx(SIGMA, rel=2e-3)
    law = found.prior.mixing()
    assert (law.mean(), law.sd_log()) == pytest.approx((1 / 3, SIGMA), rel=5e-3)
    assert "bent" not in " ".join(found.words)
    assert "leans" not in " ".join(found.words)


def test_the_regression_is_that_of_textbooks(reward):
    delta = 0.7 + 2.0 * reward + noise(1.0)
    table = ps.check_transfer(delta, reward).table.set_index("quantity")
    own = stats.linregress(reward, delta)
    assert table.loc["slope", "value"] == pytest.approx(own.slope)
    assert table.loc["toward_chosen", "value"] == pytest.approx(own.intercept)
    width = special.ndtri(0.95) * own.stderr  # the noise is the same everywhere
    assert table.loc["slope", "high"] - own.slope == pytest.approx(width, rel=0.1)
    assert table.loc["noise", "value"] == pytest.approx(1.0, rel=0.05)
    assert table.loc["explained", "value"] == pytest.approx(9 / 10, abs=0.01)


@pytest.mark.parametrize("power", [0.4, 1.0, 1.7])
def test_the_power_of_a_bend_is_found(reward, power):
    covered = []
    for seed in range(40):
        bent = 2.0 * np.sign(reward) * np.abs(reward) ** power
        found = ps.check_transfer(bent + noise(1.0, seed=seed), reward).table
        row = found.set_index("quantity").loc["power"]
        covered.append(row["low"] <= power <= row["high"])
    assert row["value"] == pytest.approx(power, abs=0.1)
    assert 30 <= sum(covered) <= 40  # of intervals that hold nine tenths


def test_a_bend_is_said(reward):
    bent = ps.check_transfer(np.sign(reward) * np.sqrt(np.abs(reward)) + noise(0.1), reward)
    assert "It is bent" in bent.words[1]
    assert "count less than in proportion" in bent.words[1]


def test_noise_flattens_the_strong_as_the_closed_form_says(reward, fit):
    """A chooser of strength β, where Δ = c(Δr + e): β averaged over Δr given Δ, 16√3/15π."""
    sd = 1.5
    delta = 3.0 * (reward + noise(sd))
    found = ps.check_transfer(delta, reward, fit=fit)
    reliability = 1.5**2 / (1.5**2 + sd**2)
    z, weight = np.polynomial.hermite_e.hermegauss(41)
    beta = np.exp(-(SIGMA**2) / 2 + SIGMA * z)
    left = 1.5**2 * (1 - reliability)
    own = beta * reliability / 3.0 / np.sqrt(1 + (16 * math.sqrt(3) / (15 * math.pi)) ** 2
                                             * beta**2 * left)  # fmt: skip
    weight = weight / weight.sum()
    mean, log = weight @ own, np.log(own)
    linked = found.strengths.loc["linked"]
    assert linked["mean"] == pytest.approx(mean, rel=0.05)
    assert linked["value"] == pytest.approx(math.sqrt(weight @ (log - weight @ log) ** 2), rel=0.05)
    assert linked["value"] < 0.85 * SIGMA
    assert found.prior.mixing().sd_log() == pytest.approx(linked["value"], rel=0.01)


def test_slopes_that_differ_between_levels_are_told_from_chance(reward):
    by = np.arange(2000) % 40
    alike = ps.check_transfer(2.0 * reward + noise(2.0), reward, by=by)
    row = alike.table.set_index("quantity").loc["slope_spread"]
    assert row["low"] == 0.0
    assert row["value"] < 0.08
    own = 2.0 * np.exp(0.4 * np.random.default_rng(3).normal(size=40))
    differ = ps.check_transfer(own[by] * reward + noise(2.0), reward, by=by)
    row = differ.table.set_index("quantity").loc["slope_spread"]
    assert row["low"] < own.std() / own.mean() < row["high"]
    assert row["low"] > 0.2
    assert "there is no one c" in " ".join(differ.words)
    levels = differ.levels.set_index("level")
    assert levels["pairs"].sum() == 2000
    assert np.corrcoef(levels.loc[[str(k) for k in range(40)], "slope"], own)[0, 1] > 0.95


def test_pairs_that_were_trained_on_lean_toward_what_was_chosen(reward):
    found = ps.check_transfer(1.2 + 2.0 * reward + noise(1.0), reward)
    assert found.value("toward_chosen") == pytest.approx(1.2, abs=0.1)
    assert any("leans by" in each and "toward what was chosen" in each for each in found.words)


def test_training_against_the_reward_gives_no_strength(reward, fit):
    found = ps.check_transfer(-1.0 * reward + noise(0.5), reward, fit=fit)
    assert found.prior is None
    assert found.strengths.empty
    assert "Δ does not rise with the reward" in found.words[-1]


@pytest.mark.parametrize("family", ["PointMass", "Normal", "Gamma"])
def test_every_family_is_carried_over(reward, family):
    fit = made_up_fit(family=family, cv=0.5, uncertainty=0.05)
    found = ps.check_transfer(2.0 * reward + noise(1.0), reward, fit=fit)
    assert found.prior.family == family
    assert found.prior.mixing().mean() == pytest.approx(0.45, abs=0.06)
    if family != "PointMass":
        assert found.strengths.loc["linked", "value"] == pytest.approx(0.45, abs=0.07)


def test_the_order_of_a_pair_does_not_matter(reward, fit):
    delta = 2.0 * reward + noise(1.0)
    turned = np.where(np.arange(2000) % 2, 1, -1)
    one = ps.check_transfer(delta, reward, fit=fit)
    other = ps.check_transfer(delta * turned, reward * turned, fit=fit)
    assert one.strengths.loc["linked", "mean"] == pytest.approx(
        other.strengths.loc["linked", "mean"], rel=1e-6
    )


@pytest.mark.parametrize(
    ("delta", "reward", "by", "text"),
    [
        (np.ones(30), np.ones(29), None, "same pairs; got 30 and 29"),
        (np.r_[np.nan, np.ones(29)], np.ones(30), None, r"1 of 30 pairs.*\(first: 0\)"),
        (np.ones(10), np.ones(10), None, "20 pairs or more whose rewards differ; got 10"),
        (np.ones(30), np.zeros(30), None, "of which 0 differ"),
        (np.ones(30), np.ones(30), ["a"] * 29, "each of 30 pairs; got 29 labels"),
        (np.ones(30), np.ones(30), [None] * 30, "30 of them missing"),
    ],
)
def test_what_cannot_be_held_together_is_refused(delta, reward, by, text):
    with pytest.raises(ps.InputError, match=text):
        ps.check_transfer(delta, reward, by=by)


def test_the_figure_and_the_page_show_it(reward):
    by = np.where(np.arange(2000) % 2, "<b>$x_1$", "other")
    found = ps.check_transfer(2.0 * reward + noise(1.0), reward, by=by)
    pairs, slopes = found.plot(axes=Figure().subplots(1, 2))
    assert pairs.get_ylabel() == "log-ratio difference Δ (nats)"
    assert [line.get_label() for line in pairs.get_lines()][1:] != []
    assert len(slopes.get_yticks()) == 2
    slopes.figure.savefig("/dev/null", format="png")
    hostile = found.table.assign(meaning="<script>")
    page = type(found)(**{**vars(found), "table": hostile})._repr_html_()
    assert "<script>" not in page
    [alone] = ps.plot_transfer(ps.check_transfer(reward, reward), axes=Figure().subplots())
    assert alone.get_xlabel() == "reward difference Δr"


def test_rows_of_the_table_are_named():
    x = np.linspace(-1, 1, 50)
    table = ps.check_transfer(x, x).table
    assert list(table.columns) == ["quantity", "value", "low", "high", "meaning"]
    assert pd.Series(table["meaning"]).str.len().min() > 10
