"""What figures show of answers that are more than choices: who favoured which, ties apart."""

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength.plots.observed import observed


def answers(size=400):
    rng = np.random.default_rng(0)
    gap = rng.normal(size=size)
    first = rng.random(size) < 1 / (1 + np.exp(-2 * gap))
    tie = rng.random(size) < 0.3
    up = np.where(tie, gap, np.where(first, gap, -gap))  # of what counts as chosen
    return pd.DataFrame(
        {"reward_chosen": up, "reward_rejected": 0.0, "tie": tie, "grade": np.where(tie, 0, 1)}
    )


def test_ties_are_left_out_and_the_others_are_as_without_them():
    frame = answers()
    choices = ps.Choices.from_pairs(frame, tie="tie")
    fit = ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, seed=0, progress=False)
    seen = observed(fit, "reward")
    wanted = frame["reward_chosen"][~frame["tie"]].to_numpy()
    np.testing.assert_allclose(np.sort(seen.difference), np.sort(wanted))


def test_a_grade_against_what_counts_as_chosen_turns_the_difference_round():
    frame = answers()
    turned = frame.assign(
        reward_chosen=-frame["reward_chosen"], grade=-frame["grade"]
    )  # the same answers, told from the other side
    found = []
    for each in (frame, turned):
        choices = ps.Choices.from_pairs(each.drop(columns="tie"), grade="grade", grades=(-1, 0, 1))
        fit = ps.MixedLogit({"reward": ps.PointMass()}).fit(choices, seed=0, progress=False)
        found.append(np.sort(observed(fit, "reward").difference))
    np.testing.assert_allclose(*found)
    assert len(found[0]) == (~frame["tie"]).sum()
