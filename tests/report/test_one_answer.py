"""Recommendation, comparison, checks and warnings of the report are one answer."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength._shared.files import as_csv
from prefstrength.report.answer import answers, training_advice
from prefstrength.report.facts import Facts, collect
from prefstrength.report.figures import file_names
from prefstrength.report.html import render
from prefstrength.report.provenance import provenance
from prefstrength.report.tables import escape_latex, tables
from tests.helpers.made_up import made_up_fit

TRAIN = "Train with plain DPO or with MixDPO?"


def facts_of(fit: ps.Fit, **changes) -> Facts:
    found = collect(fit, None, None, None, None, None, 0.9, 0.25, ())
    return replace(found, **changes)


def compared(first: str, gap: float, error: float) -> pd.DataFrame:
    second = "DPO" if first == "MixDPO" else "MixDPO"
    return pd.DataFrame(
        {"model": [first, second], "elpd": [-100.0, -100.0 - gap], "dse": [0.0, error]}
    )


def said(facts: Facts, question: str = TRAIN) -> str:
    return next(each.short for each in answers(facts) if each.question == question)


def test_a_verdict_and_a_comparison_that_contradict_are_no_advice():
    facts = facts_of(made_up_fit(cv=0.8), alike=("DPO",))
    assert (said(facts), training_advice(facts)) == (
        "With MixDPO, under the prior below.", "MixDPO"
    )  # fmt: skip
    against = replace(facts, models=compared("DPO", 101.0, 10.0))
    assert said(against) == "Not settled: two answers contradict."
    assert training_advice(against) == ""
    agreeing = (compared("MixDPO", 101.0, 10.0), compared("DPO", 1.0, 2.0))
    for models in agreeing:  # too close to call is no contradiction
        assert training_advice(replace(facts, models=models)) == "MixDPO"
    alike = facts_of(made_up_fit(cv=0.05), alike=("DPO",))
    assert training_advice(alike) == "DPO"
    assert training_advice(replace(alike, models=compared("MixDPO", 50.0, 5.0))) == ""
    assert training_advice(replace(alike, models=compared("DPO", 50.0, 5.0))) == "DPO"


def test_without_a_prior_nothing_is_trained_under_it():
    facts = facts_of(made_up_fit(cv=0.8), prior=None, no_prior="The mean is not positive.")
    assert said(facts) == "With MixDPO, but there is no prior to train it under."
    assert training_advice(facts) == ""
    page = " ".join(each.short + " ".join(each.text) for each in answers(facts))
    assert "under the prior below" not in page


@pytest.mark.parametrize(
    ("direction", "check"),
    [
        ({"higher": 1.0, "lower": 0.0, "situations": 400, "least": 0.42}, "separation"),
        ({"higher": 0.3, "lower": 0.7, "situations": 400, "least": 0.42}, "higher_chosen"),
        ({"higher": 0.7, "lower": 0.3, "situations": 400, "least": 0.42}, None),
        ({"higher": 1.0, "lower": 0.0, "situations": 9, "least": 0.0}, None),
    ],
)
def test_separation_and_sign_stand_in_the_first_lines_and_in_the_record(direction, check):
    fit = made_up_fit(cv=0.8)
    fit.spec["data"]["direction"] = {"reward": direction}
    facts = facts_of(fit)
    record = provenance(facts, "", {})
    failed = [each["check"] for each in record["checks"] if not each["passed"]]
    assert failed == ([] if check is None else [check])
    assert record["all_checks_passed"] is (check is None)
    assert record["answers"][TRAIN].startswith("Of a fit that failed") is (check is not None)
    assert record["train_with"] == ("MixDPO" if check is None else None)
    assert fit.check().passed is (check is None)
    if check is not None:
        page = render(facts, "", [], tables(facts), record)
        assert page.index("Do not rely on this report yet") < page.index('id="answer"')


def rewards(against: bool, name: str = "reward", seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.normal(size=(400, 2)), axis=1).T
    right = rng.random(400) < (0.35 if against else 0.65)
    return pd.DataFrame(
        {
            f"{name}_chosen": np.where(right, high, low),
            f"{name}_rejected": np.where(right, low, high),
        }
    )


def test_rewards_of_the_wrong_sign_are_named_at_the_door():
    with pytest.warns(ps.DataWarning, match=r"higher reward are rejected more often: in 6\d\.\d%"):
        ps.Choices.from_pairs(rewards(against=True))
    ps.Choices.from_pairs(rewards(against=False))
    few = rewards(against=True).head(12)
    ps.Choices.from_pairs(few)


def test_a_price_is_named_where_it_is_taken_for_positive():
    choices = ps.Choices.from_pairs(rewards(against=True, name="price"), attributes="price")
    with pytest.warns(ps.DataWarning, match="higher price are rejected more often"):
        fit = ps.MixedLogit({"price": ps.LogNormal()}).fit(
            choices, method="laplace", draws=50, progress=False
        )
    table = fit.check().table.set_index("check")
    assert not table.loc["higher_chosen", "passed"]
    assert fit.spec["data"]["direction"]["price"]["lower"] > 0.6
    fit = ps.MixedLogit({"price": ps.Normal()}).fit(  # a taste of either sign
        choices, method="laplace", draws=50, progress=False
    )
    assert "higher_chosen" not in set(fit.check().table["check"])


def test_rows_of_latex_begin_with_no_option():
    assert escape_latex("[x] *y") == "{[}x{]} {*}y"


def test_cells_are_no_formulas():
    levels = ["=1+1", "+cmd", "@SUM(A1)", "-x", "-3", "plain"]
    facts = facts_of(made_up_fit({"group": levels}, choosers=60))
    text = as_csv(tables(facts)["heterogeneity"].frame)
    shown = pd.read_csv(io.StringIO(text), dtype=str)["level"].dropna()
    assert set(shown) == {"'=1+1", "'+cmd", "'@SUM(A1)", "'-x", "-3", "plain"}


def test_files_of_figures_do_not_collide():
    names = list(file_names(["Region", "region", "re-gion", "data set", "topic"]).values())
    assert len({name.lower() for name in names}) == 5
    assert names[-1] == "topic"


def test_few_units_that_decide_are_choices_where_choosers_are_not_known():
    rng = np.random.default_rng(0)
    fits = {}
    for name in ("a", "b"):
        fit = made_up_fit(choosers=0, situations=40)
        wild = fit.tree["log_likelihood"]["choices"]
        heavy = np.minimum(np.abs(rng.standard_cauchy(wild.shape)), 40.0)
        fit.tree["log_likelihood"]["choices"] = wild - heavy
        fits[name] = fit
    with pytest.warns(ps.SamplingWarning, match="A few choices decide"):
        ps.compare(fits)
