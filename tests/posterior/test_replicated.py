"""Checks against replicates and the prior: each fails on its own planted defect."""

import dataclasses
import json
import math

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr

import prefstrength as ps
from prefstrength.inference.predictive import agreement
from prefstrength.inference.replication import Design, replicated_rows
from prefstrength.likelihood.data import LikelihoodData
from tests.helpers.made_up import made_up_fit

REPLICATED = ("weak_choosers", "agreement_by_difference", "position", "position_by_chooser")


def panel(defect="", choosers=150, situations=20, seed=0):
    """Answers of equals, with one defect planted."""
    rng = np.random.default_rng(seed)
    d = rng.normal(0, 1.5, (choosers, situations))
    first = np.where(rng.random(d.shape) < 0.5, 1, -1)
    who = np.arange(choosers)[:, None] / choosers
    v = {
        "bent": np.clip(d, -1, 1),
        "reversed": np.where(who < 0.15, -d, d),
        "position": d + 0.5 * first,
        "own position": d + rng.normal(size=(choosers, 1)) * first,
    }.get(defect, d)
    y = rng.random(d.shape) < 1 / (1 + np.exp(-v))
    return pd.DataFrame(
        {
            "reward_chosen": np.where(y, d, -d).ravel(),
            "reward_rejected": 0.0,
            "who": np.repeat([f"c{i:03d}" for i in range(choosers)], situations),
            "shown": np.where((first > 0) == y, "chosen", "rejected").ravel(),
        }
    )


def fitted(frame, law=None, **options):
    choices = ps.Choices.from_pairs(frame, chooser="who", first="shown")
    model = ps.MixedLogit({"reward": law or ps.LogNormal()}, **options)
    return model.fit(choices, seed=0, progress=False)


def failing(fit):
    table = fit.check().table
    return set(table.loc[~table["passed"], "check"])


@pytest.fixture(scope="module")
def clean():
    return fitted(panel())


@pytest.fixture(scope="module")
def reversed_():
    return fitted(panel("reversed"))


def test_answers_as_the_model_has_them_pass_every_check(clean):
    checks = clean.check()
    assert checks.passed, checks
    assert set(REPLICATED) <= set(checks.table["check"])
    assert checks.words == []


@pytest.mark.parametrize(
    ("defect", "check"),
    [
        ("bent", "agreement_by_difference"),
        ("position", "position"),
        ("own position", "position_by_chooser"),
    ],
)
def test_every_check_fails_on_its_own_defect(defect, check):
    assert failing(fitted(panel(defect))) == {check}


def test_choosers_who_go_against_the_reward_are_counted(reversed_):
    table = reversed_.check().table.set_index("check")
    row = table.loc["weak_choosers"]
    assert not row["passed"]
    assert row["p"] == row["value"] == pytest.approx(1 / 301)
    assert row["seen"] > 5 * row["predicted"] > 0
    # By hand.
    frame = panel("reversed")
    agreed = (frame["reward_chosen"] > 0).groupby(frame["who"]).mean()
    assert row["seen"] == (agreed < 0.4).sum()
    assert f"{row['seen']:.0f} choosers go along with reward in fewer than 40%" in row["meaning"]
    assert np.isnan(table.loc["pareto_k", ["seen", "predicted", "p"]].astype(float)).all()


def test_a_model_that_knows_of_the_defect_passes():
    known = fitted(panel("position"), position="shared")
    assert failing(known) == set()
    bent = fitted(panel("bent"), utility="capped")
    assert failing(bent) == set()


def test_what_failed_is_said_in_words_and_escaped(reversed_):
    checks = reversed_.check()
    [words] = checks.words
    assert words.startswith("weak_choosers of reward failed. Probability of as many choosers")
    assert "`ps.rivals` names them" in words
    assert words in repr(checks)
    with pytest.raises(ps.InputError, match="weak_choosers of reward 0.003"):
        checks.raise_if_failed()
    hostile = type(checks)(checks.table.assign(meaning="<script>"))
    assert "<script>" not in hostile._repr_html_()


def test_what_failed_reaches_the_report_and_its_provenance(reversed_, tmp_path):
    folder = tmp_path / "report"
    ps.write_report(folder, fit=reversed_)
    record = json.loads((folder / "provenance.json").read_text())
    assert record["all_checks_passed"] is False
    rows = {row["check"]: row for row in record["checks"]}
    table = reversed_.check().table.set_index("check")
    assert rows["weak_choosers"]["passed"] is False
    assert rows["weak_choosers"]["seen"] == table.loc["weak_choosers", "seen"]
    assert rows["weak_choosers"]["predicted"] == table.loc["weak_choosers", "predicted"]
    assert rows["pareto_k"]["seen"] is None
    page = (folder / "report.html").read_text()
    alarm = page.index("Do not rely on this report yet: 1 of")
    assert alarm < page.index("choosers go along with reward in fewer than 40%")
    assert page.index("go along with reward in fewer") < page.index("Does strength of preference")


def test_single_answers_never_take_a_passed_check_for_support():
    """A spread of strengths draws a cap: the check passes on data that it should refuse."""
    frame = panel("bent", choosers=1500, situations=1).drop(columns=["who", "shown"])
    fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(
        ps.Choices.from_pairs(frame), seed=0, progress=False
    )
    checks = fit.check()
    names = set(checks.table["check"])
    assert "agreement_by_difference" in names
    assert not names & {"weak_choosers", "position", "position_by_chooser"}
    row = checks.table.set_index("check").loc["agreement_by_difference"]
    assert row["passed"]
    assert any("supports neither the curve nor a spread" in each for each in checks.words)
    assert "supports neither" in repr(checks)
    assert "supports neither" not in str(fitted(panel()).check().table["meaning"].tolist())


def test_several_kinds_of_choosers_are_checked_like_one():
    checks = fitted(panel(choosers=60), ps.ZeroMass(ps.LogNormal())).check()
    assert set(REPLICATED) <= set(checks.table["check"])
    assert "higher_chosen" in set(checks.table["check"])


def test_saved_and_loaded_it_says_the_same(reversed_, tmp_path):
    again = ps.load_fit(reversed_.save(tmp_path / "fit"))
    pd.testing.assert_frame_equal(again.check().table, reversed_.check().table)


def test_a_fit_of_before_has_what_it_has(clean):
    children = {name: each for name, each in clean.tree.children.items()}
    del children["predictive_checks"]
    earlier = dataclasses.replace(clean, tree=xr.DataTree.from_dict(children))
    assert not set(REPLICATED) & set(earlier.check().table["check"])


# -- the statistics, by hand ----------------------------------------------------------------------


def design_of(choices):
    data = LikelihoodData.of(choices, choices.attributes, np.zeros(choices.n_situations, int))
    rows = replicated_rows(data, np.random.default_rng(0))
    return data, rows, Design.of(data, rows)


def statistics_of(choices):
    data, rows, design = design_of(choices)
    sums = design.sums(np.repeat(agreement(data, rows, data.answers[rows])[None], 2, axis=0))
    return {name: value[0] for name, value in design.statistics(sums).items()}, design


def test_statistics_are_those_counted_by_hand():
    frame = panel("position", choosers=12, situations=15)
    found, design = statistics_of(ps.Choices.from_pairs(frame, chooser="who", first="shown"))
    agreed = frame["reward_chosen"] > 0
    size = frame["reward_chosen"].abs()
    bins = pd.qcut(size, 10, labels=False)
    assert found["agreement"] == pytest.approx(agreed.groupby(bins).mean().to_numpy())
    assert design.bins()["difference"][1] == pytest.approx(size.groupby(bins).mean().to_numpy())
    assert found["first_chosen"] == pytest.approx((frame["shown"] == "chosen").mean())
    assert found["weak_choosers"] == (agreed.groupby(frame["who"]).mean() < 0.4).sum()


def test_weights_are_answers():
    frame = panel("reversed", choosers=20, situations=12)
    times = np.random.default_rng(1).integers(0, 4, len(frame))
    one = ps.Choices.from_pairs(
        frame.assign(times=times), chooser="who", first="shown", weights="times"
    )
    expanded = frame.loc[np.repeat(frame.index, times)]
    each = ps.Choices.from_pairs(expanded, chooser="who", first="shown", duplicates="keep")
    (weighted, _), (expanded, _) = statistics_of(one), statistics_of(each)
    assert weighted.keys() == expanded.keys()
    for name, value in weighted.items():
        assert value == pytest.approx(expanded[name]), name


def test_several_alternatives_are_judged_by_chance():
    """One in three agrees by chance: nobody is weak who agrees in a third of the answers."""
    rng = np.random.default_rng(0)
    values, place = rng.normal(size=(60, 3)), np.arange(60)
    every = np.where(place < 30, 10, 3)  # how often the first and the second chooser agree
    best = values.argmax(axis=1)
    chosen = np.where(place % every == 0, best, (best + 1) % 3)
    frame = pd.DataFrame(
        {
            "situation": np.repeat(place, 3),
            "alternative": np.tile(np.arange(3), 60),
            "reward": values.ravel(),
            "chosen": (np.arange(3) == chosen[:, None]).ravel(),
            "who": np.repeat(np.where(place < 30, "rarely", "by chance"), 3),
        }
    )
    choices = ps.Choices.from_long(frame, "situation", "alternative", "chosen", chooser="who")
    found, design = statistics_of(choices)
    assert found["weak_choosers"] == 1
    assert design.chance == pytest.approx(1 / 3)
    assert "first_chosen" not in found


# -- the prior ------------------------------------------------------------------------------------


def test_strengths_that_the_prior_rules_out_are_a_conflict():
    frame = panel().assign(reward_chosen=lambda f: f["reward_chosen"] * 0.004)
    fit = fitted(frame, priors={"reward_location": dist.Normal(0.0, 1.0)})
    table = fit.check().table.set_index("check")
    row = table.loc["prior_conflict"]
    assert not row["passed"]
    assert row["variable"] == "reward_location"
    assert row["seen"] == pytest.approx(np.median(np.asarray(fit.posterior["reward_location"])))
    assert row["seen"] > math.log(50)


def test_few_data_leave_the_prior_to_speak():
    rows = fitted(panel(choosers=4, situations=4)).check().table.set_index("check")
    row = rows.loc["prior_weight"]
    assert not row["passed"]
    assert row["variable"] == "reward_dispersion"
    assert 0 <= row["value"] < 0.5


def test_a_small_dispersion_is_no_conflict_with_a_prior_whose_mode_is_nothing():
    fit = made_up_fit(cv=0.01)
    tree = fit.tree.copy()
    prior = tree["prior"].to_dataset()
    prior["reward_dispersion"] = np.abs(prior["reward_dispersion"] * 0 + 1.0)
    tree["prior"] = xr.DataTree(prior)
    table = dataclasses.replace(fit, tree=tree).check().table.set_index("check")
    assert table.loc["prior_conflict", "passed"]
