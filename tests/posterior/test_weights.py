"""Weights stand for rows: what a fit of aggregated rows says is what a fit of all rows says."""

import warnings

import numpy as np
import pandas as pd
import pytest

import prefstrength as ps
from prefstrength.errors import InputError

MODEL = ps.MixedLogit({"reward": ps.LogNormal()})


def aggregated(rows=20, choosers=0, most=30):
    """Pairs with whole weights, chosen by strengths that differ."""
    rng = np.random.default_rng(1)
    gap = np.round(rng.normal(size=rows), 2)
    frame = pd.DataFrame({"reward_chosen": gap, "reward_rejected": 0.0})
    if choosers:
        frame["who"] = [f"p{i % choosers}" for i in range(rows)]
    strength = np.exp(0.3 + 0.5 * rng.normal(size=(rows, most)))
    agree = (rng.random((rows, most)) < 1 / (1 + np.exp(-strength * np.abs(gap)[:, None]))).sum(1)
    both = pd.concat([frame, frame], ignore_index=True)
    sign = np.r_[np.ones(rows), -np.ones(rows)]
    both["reward_chosen"] = np.abs(both["reward_chosen"]) * sign
    both["n"] = np.r_[agree, most - agree]
    return both


def expanded(frame):
    return frame.loc[frame.index.repeat(frame["n"])].reset_index(drop=True)


def choices(frame, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ps.Choices.from_pairs(frame, duplicates="keep", **more)


def both_fits(frame, chooser=None, **fit):
    given = choices(frame, weights="n", chooser=chooser), choices(expanded(frame), chooser=chooser)
    return [MODEL.fit(each, seed=0, progress=False, **fit) for each in given]


@pytest.mark.parametrize("chooser", [None, "who"])
def test_checks_predictions_and_comparison_are_those_of_the_rows_one_by_one(chooser):
    frame = aggregated(choosers=8 if chooser else 0)
    short, long = both_fits(frame, chooser)
    total = int(frame["n"].sum())
    for fit in (short, long):
        assert fit.tree["observed_data"].sizes["situation"] == total
        table = fit.check().table.set_index("check")
        # A prior of nine pairs is rightly named as what speaks.
        assert table.drop(index="prior_weight", errors="ignore")["passed"].all(), table
    shares = [float(f.tree["observed_data"]["agreement"].mean()) for f in (short, long)]
    assert shares[0] == shares[1] == pytest.approx((frame["n"][:20].sum()) / total)
    one = [ps.MixedLogit({"reward": ps.PositivePointMass()}).fit(
        choices(f, chooser=chooser, **w), seed=0, progress=False
    ) for f, w in ((frame, {"weights": "n"}), (expanded(frame), {}))]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no complaint of PSIS
        tables = [
            ps.compare({"a": a, "b": b}).set_index("model")
            for a, b in zip((short, long), one, strict=True)
        ]
    for column in ("elpd", "se", "high_k", "elpd_diff"):
        np.testing.assert_allclose(tables[0][column], tables[1][column], rtol=1e-6, atol=1e-6)


def test_a_true_model_of_many_aggregated_rows_passes():
    """More copies than predictions are kept of: a sample of them is the same share."""
    frame = aggregated(rows=60, most=400)
    fit = MODEL.fit(choices(frame, weights="n"), seed=0, progress=False)
    shown = fit.tree["observed_data"]["agreement"]
    assert shown.sizes["situation"] == 2_000
    assert float(shown.mean()) == pytest.approx(frame["n"][:60].sum() / frame["n"].sum(), abs=0.02)
    assert fit.check().passed


def test_who_has_weight_0_is_not_there():
    frame = aggregated(choosers=8)
    frame["n"] = np.where(frame["who"].isin(["p0", "p3"]), 0, frame["n"])
    frame.loc[1, "n"] = 0
    fit = MODEL.fit(choices(frame, chooser="who", weights="n"), seed=0, progress=False)
    left = frame[frame["n"] > 0]
    about = fit.spec["data"]
    assert (about["choosers"], about["situations"]) == (6, len(left))
    assert {"reason": "weight 0", "count": len(frame) - len(left)} in about["dropped"]
    assert set(ps.chooser_strengths(fit)["chooser"]) == set(left["who"])
    row = ps.heterogeneity(fit).iloc[0]
    assert (row["choosers"], row["situations"]) == (6, len(left))
    same = MODEL.fit(choices(left, chooser="who", weights="n"), seed=0, progress=False)
    assert np.array_equal(fit.posterior["reward_mu"], same.posterior["reward_mu"])


def people(weights):
    rng = np.random.default_rng(4)
    gap, who = rng.normal(size=160), np.arange(160) // 8
    chosen = rng.random(160) < 1 / (1 + np.exp(-1.5 * gap))
    return pd.DataFrame(
        {
            "reward_chosen": np.where(chosen, gap, -gap),
            "reward_rejected": 0.0,
            "who": [f"p{i:02d}" for i in who],
            "w": np.asarray(weights)[who],
        }
    )


def test_choosers_that_count_twice_are_two():
    frame = people([3, 1] * 10)
    heavy = frame[frame["w"] == 3]
    twin = pd.concat([frame, *(heavy.assign(who=heavy["who"] + each) for each in "xy")])
    twin = twin.reset_index(drop=True)
    short = choices(frame, chooser="who", chooser_weights="w")
    fits = [
        MODEL.fit(each, seed=0, progress=False) for each in (short, choices(twin, chooser="who"))
    ]
    for group, name in (("log_likelihood", "chooser"), ("observed_data", "situation")):
        sizes = [fit.tree[group].sizes[name] for fit in fits]
        assert sizes[0] == sizes[1]
    means = [float(fit.tree["observed_data"]["agreement"].mean()) for fit in fits]
    assert means[0] == pytest.approx(means[1])


def test_choosers_cannot_be_sampled_one_and_a_half_times():
    frame = people([1.5, 0.5] * 10)
    made = choices(frame, chooser="who", chooser_weights="w")
    with pytest.raises(InputError, match=r"weights of choosers such as 1\.5\. Use `method='imp"):
        MODEL.fit(made, method="latent", draws=50, warmup=50, progress=False)


def test_weights_that_look_like_those_of_persons_are_said():
    frame = people(np.linspace(0.4, 2.1, 20))
    with pytest.warns(ps.DataWarning, match=r"\(column 'w'\).*Pass `chooser_weights='w'` instead"):
        ps.Choices.from_pairs(frame, chooser="who", weights="w")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ps.Choices.from_pairs(frame, chooser="who", chooser_weights="w")
        ps.Choices.from_pairs(people([2, 1] * 10), chooser="who", weights="w")
        rows = frame.assign(w=np.linspace(0.4, 2.1, len(frame)))
        ps.Choices.from_pairs(rows, chooser="who", weights="w")


def test_shares_of_groups_count_persons_by_their_weight():
    frame = people([3, 1] * 10)
    frame["region"] = np.where(frame["w"] == 3, "north", "south")
    made = choices(frame, chooser="who", chooser_weights="w", groups=["region"])
    fit = ps.MixedLogit({"reward": ps.PointMass()}, groups=["region"]).fit(
        made, seed=0, progress=False
    )
    own = {
        level: float(np.asarray(fit.posterior["reward_value"].sel(cell=level)).mean())
        for level in ("north", "south")
    }
    row = ps.heterogeneity(fit).iloc[0]
    assert row["mean"] == pytest.approx(0.75 * own["north"] + 0.25 * own["south"], abs=0.05)
