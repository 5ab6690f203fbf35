"""Metrics of preference pairs by group, alone and in the trainer."""

import json
import math
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from scipy import stats

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset, IterableDataset  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from prefstrength.choice.learned_strength import LearnedStrength  # noqa: E402
from prefstrength.choice.mixing.log_normal import LogNormal  # noqa: E402
from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import METRICS, MixDPOTrainer, evaluate_preferences, preference_metrics  # noqa: E402
from prefstrength.mixdpo.evaluation.intervals import mean_interval  # noqa: E402
from prefstrength.mixdpo.stages.evaluation import evaluate_policy  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    LOGNORMAL,
    arguments,
    lora,
    rows,
)

LAW = LogNormal(mu=-2.5, sigma=0.6)


def grouped(n=32, seed=0):
    return [
        {**row, "region": ["east", "north", "west"][i % 3], "age": 20 + 10 * (i % 2)}
        for i, row in enumerate(rows(n, seed))
    ]


# -- the numbers -----------------------------------------------------------------------------------


def by_hand(delta, law):
    q = (np.arange(100_000) + 0.5) / 100_000
    p = np.array([np.mean(1 / (1 + np.exp(-law.quantile(q) * d))) for d in delta])
    return {
        "accuracy": np.mean(np.where(delta == 0, 0.5, delta > 0)),
        "margin": law.mean() * delta.mean(),
        "negative_log_likelihood": -np.log(p).mean(),
    }


def test_overall_by_level_macro_and_worst():
    rng = np.random.default_rng(0)
    region = rng.choice(["a", "b", "c"], 60, p=[0.7, 0.2, 0.1])
    delta = rng.normal(3.0 * (region == "a"), 10.0)
    delta[5] = 0.0
    table = preference_metrics(delta, LAW, {"region": region}).set_index(["factor", "level"])
    assert list(table.index) == [
        ("all", "all"), ("region", "a"), ("region", "b"), ("region", "c"),
        ("region", "macro"), ("region", "worst"),
    ]  # fmt: skip
    levels = [by_hand(delta[region == level], LAW) for level in "abc"]
    for name in ("accuracy", "margin", "negative_log_likelihood"):
        assert table.loc[("all", "all"), name] == pytest.approx(by_hand(delta, LAW)[name], rel=1e-3)
        for level, want in zip("abc", levels, strict=True):
            assert table.loc[("region", level), name] == pytest.approx(want[name], rel=1e-3)
        each = [level[name] for level in levels]
        assert table.loc[("region", "macro"), name] == pytest.approx(np.mean(each), rel=1e-3)
        worst = max(each) if name == "negative_log_likelihood" else min(each)
        assert table.loc[("region", "worst"), name] == pytest.approx(worst, rel=1e-3)
    # Micro counts every pair once, macro every level: with unequal levels they differ.
    assert table.loc[("all", "all"), "margin"] != pytest.approx(
        table.loc[("region", "macro"), "margin"], rel=0.05
    )
    assert table["pairs"].tolist() == [60, *(int((region == x).sum()) for x in "abc"), 60, 60]
    for name in METRICS:
        micro = table.drop(index=("region", "worst"))
        if name != "calibration_error":
            assert (micro[f"{name}_low"] <= micro[name]).all()
            assert (micro[name] <= micro[f"{name}_high"]).all()


def test_calibration_error_sees_overconfidence():
    rng = np.random.default_rng(1)
    delta = rng.normal(0, 30, 20_000)
    right = rng.random(len(delta)) < 1 / (1 + np.exp(-0.1 * delta))
    oriented = np.where(right, delta, -delta)
    honest = preference_metrics(oriented, PointMass(value=0.1), draws=100).iloc[0]
    sure = preference_metrics(oriented, PointMass(value=0.5), draws=100).iloc[0]
    assert honest["calibration_error"] < 0.015
    assert sure["calibration_error"] > 0.08
    # The same orderings, so the same accuracy: only the probabilities are wrong.
    assert honest["accuracy"] == sure["accuracy"]


def test_intervals_cover():
    rng = np.random.default_rng(2)
    covered = {"accuracy": 0, "margin": 0}
    for _ in range(200):
        delta = rng.normal(4.0, 10.0, 150)
        row = preference_metrics(delta, PointMass(value=0.1), draws=300, seed=3).iloc[0]
        truth = {"accuracy": 0.6554, "margin": 0.4}
        for name, value in truth.items():
            covered[name] += row[f"{name}_low"] <= value <= row[f"{name}_high"]
    # 90 % intervals, 200 data sets: within four standard errors.
    for count in covered.values():
        assert 0.81 < count / 200 < 0.98


def coverage(draw, truth, datasets=300):
    """How often the intervals hold what is true of (level, metric)."""
    held = dict.fromkeys(truth, 0)
    for seed in range(datasets):
        delta, levels, clusters = draw(np.random.default_rng(seed))
        table = preference_metrics(
            delta, PointMass(value=0.1), {"g": levels}, clusters=clusters, draws=100
        ).set_index("level")
        for (level, metric), value in truth.items():
            low, high = (table.loc[level, f"{metric}_{end}"] for end in ("low", "high"))
            held[level, metric] += low <= value <= high
    return {key: count / datasets for key, count in held.items()}


def test_intervals_cover_in_small_levels():
    mean, code = np.array([14.0, 6.0, 10.0, 2.0]), np.repeat(np.arange(4), [4, 5, 6, 8])
    right = stats.norm.cdf(mean / 10)
    truth = {
        ("all", "accuracy"): right[code].mean(), ("all", "margin"): mean[code].mean() / 10,
        ("macro", "accuracy"): right.mean(), ("macro", "margin"): mean.mean() / 10,
        ("worst", "accuracy"): right.min(), ("worst", "margin"): mean.min() / 10,
        ("0", "accuracy"): right[0], ("0", "margin"): mean[0] / 10,
    }  # fmt: skip
    held = coverage(lambda rng: (rng.normal(mean[code], 10.0), code, None), truth)
    # Percentiles of a bootstrap hold 0.24 to 0.82 of macro and level 0 (of 90 % intervals).
    assert min(held.values()) > 0.84
    # Worst is a bound, the others are neither too short nor far too long.
    assert max(held[level, "margin"] for level in ("all", "macro", "0")) < 0.97


def test_intervals_count_clusters():
    people, times = 12, 5
    who, topic = np.repeat(np.arange(people), times), np.tile(np.arange(times), people)
    right = stats.norm.cdf(6 / np.hypot(7, 7))
    truth = {
        (level, metric): value
        for level in ("all", "macro")
        for metric, value in (("accuracy", right), ("margin", 0.6))
    }

    def draw(rng):
        delta = rng.normal(6.0 + rng.normal(0, 7.0, people)[who], 7.0)
        return delta, topic, [f"annotator {each}" for each in who]

    assert min(coverage(draw, truth).values()) > 0.84
    alone = coverage(lambda rng: (*draw(rng)[:2], None), truth)
    assert max(alone.values()) < 0.8  # the same pairs, taken for independent


def test_intervals_cover_where_one_annotator_gave_most_of_the_pairs():
    who = np.repeat(np.arange(8), [1, 1, 2, 2, 3, 3, 8, 40])
    truth = {("all", "accuracy"): stats.norm.cdf(6 / np.hypot(7, 7)), ("all", "margin"): 0.6}

    def draw(rng):
        return rng.normal(6.0 + rng.normal(0, 7.0, 8)[who], 7.0), 0 * who, who

    # With the degrees of freedom of eight clusters of one size they hold 0.56 and 0.52.
    assert min(coverage(draw, truth).values()) > 0.76


def test_degrees_of_freedom_are_those_of_bell_and_mccaffrey():
    """Of the quadratic form itself, for independent rows: (tr B)^2 / tr B^2."""
    sizes = np.array([1, 2, 5, 12])
    cluster = np.repeat(np.arange(4), sizes)
    share = sizes / sizes.sum()
    root = np.sqrt(1 - share)
    form = (np.diag(sizes) - np.outer(sizes, sizes) / sizes.sum()) / np.outer(root, root)
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    off = np.arange(20.0) - 9.5
    variance = sum(off[cluster == g].sum() ** 2 / (1 - share[g]) for g in range(4)) / 20**2
    for prob in (0.5, 0.9):  # two of them tell both numbers
        low, high = mean_interval(np.arange(20.0), cluster, prob)
        half = stats.t(freedom).ppf((1 + prob) / 2) * math.sqrt(variance)
        assert (low, high) == pytest.approx((9.5 - half, 9.5 + half))
    # Of five clusters of one size there are four.
    sums = [off[np.arange(20) % 5 == g].sum() for g in range(5)]
    half = stats.t(4).ppf(0.95) * math.sqrt(np.square(sums).sum() / 0.8) / 20
    assert mean_interval(np.arange(20.0), np.arange(20) % 5, 0.9)[1] == pytest.approx(9.5 + half)


def test_the_same_pairs_again_say_nothing_more():
    delta = np.random.default_rng(0).normal(1, 5, 60)
    once = preference_metrics(delta, LAW).iloc[0]
    four = preference_metrics(np.tile(delta, 4), LAW, clusters=[*range(60)] * 4).iloc[0]
    for name in METRICS:
        width = [row[f"{name}_high"] - row[f"{name}_low"] for row in (once, four)]
        assert width[1] == pytest.approx(width[0], rel=0.15 if "calib" in name else 0.03)


def test_nothing_is_certain_of_one_pair():
    table = preference_metrics([1.0, 2, 3, -4, 9], LAW, {"g": list("aaaab")}).set_index("level")
    assert table.loc["b", "accuracy_low"] == pytest.approx(0.27, abs=0.01)
    for level in ("b", "macro", "worst"):
        for name in set(METRICS) - {"accuracy"}:
            assert math.isfinite(table.loc[level, name])
            assert math.isnan(table.loc[level, f"{name}_low"])
            assert math.isnan(table.loc[level, f"{name}_high"])
    assert math.isfinite(table.loc["a", "margin_low"])
    # Pairs of one annotator are one cluster, however many they are.
    one = preference_metrics([1.0, 2.0, -1.0], LAW, clusters=[7, 7, 7]).iloc[0]
    assert math.isnan(one["margin_low"])
    assert one["accuracy_high"] - one["accuracy_low"] > 0.6
    sure = preference_metrics([1.0, 2, 3, 4], LAW, {"g": list("aabb")}).set_index("level")
    wilson = stats.binomtest(4, 4).proportion_ci(0.9, method="wilson")
    assert sure.loc["all", "accuracy_low"] == pytest.approx(wilson.low)
    level = sure.loc["a", "accuracy_low"]
    wilson = stats.binomtest(2, 2).proportion_ci(0.9, method="wilson")
    assert level == pytest.approx(wilson.low)
    # Of two levels that are equally sure, the mean errs by their distance over the root of two.
    assert sure.loc["macro", "accuracy_low"] == pytest.approx(1 - (1 - level) / math.sqrt(2))
    assert sure.loc["worst", "accuracy_low"] == level


def test_many_pairs_are_resampled_in_pieces(monkeypatch):
    from prefstrength.mixdpo.evaluation import metrics

    delta = np.random.default_rng(3).normal(2.0, 10.0, 500)
    whole = preference_metrics(delta, LAW, draws=200)
    monkeypatch.setattr(metrics, "_MOST_AT_ONCE", 5_000)
    pieces = preference_metrics(delta, LAW, draws=200)
    pd.testing.assert_frame_equal(whole, pieces)


@pytest.mark.parametrize(
    ("delta", "groups", "options", "text"),
    [
        ([], {}, {}, "some pairs.*got shape \\(0,\\)"),
        ([[1.0]], {}, {}, "shape \\(1, 1\\)"),
        ([1.0, math.nan], {}, {}, "got nan in row 1 \\(1 of 2 rows\\)"),
        ([1.0, 2.0], {"g": ["a"]}, {}, "'g' for each of 2 pairs; got 1"),
        ([1.0, 2.0], {"g": ["a", None]}, {}, "none in row 1"),
        ([1.0, 2.0], {}, {"clusters": [1]}, "a cluster for each of 2 pairs; got 1"),
        ([1.0, 2.0], {}, {"clusters": [1, None]}, "a cluster for every pair; got none in row 1"),
        ([1.0], {}, {"prob": 1.0}, "prob between 0 and 1"),
        ([1.0], {}, {"draws": 10}, "draws of at least 100"),
    ],
)
def test_what_metrics_refuse(delta, groups, options, text):
    with pytest.raises(InputError, match=text):
        preference_metrics(delta, LAW, groups, **options)


# -- the function of its own -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, model_path):
    """A policy that moved, saved, with the trainer that moved it."""
    folder = tmp_path_factory.mktemp("trained")
    data = Dataset.from_list(grouped())
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(
            folder,
            strength=LOGNORMAL,
            group_columns=["region", "age"],
            per_device_eval_batch_size=5,
        ),
        train_dataset=data,
        eval_dataset=data,
    )
    trainer.train()
    trainer.save_model(str(folder / "policy"))
    return trainer, str(folder / "policy"), data


def test_rewards_stay_beside_the_log_ratios_of_their_pairs(trained, model_path):
    _, policy, data = trained
    rewards = np.arange(32) / 10
    scored = data.add_column("reward_chosen", rewards).add_column("reward_rejected", -rewards)
    options = {"max_length": 32, "progress": False}
    pairs = evaluate_preferences(policy, model_path, scored, LAW, **options).pairs
    assert pairs["reward_chosen"].tolist() == rewards[pairs["row"]].tolist()
    assert pairs["reward_rejected"].tolist() == (-rewards[pairs["row"]]).tolist()
    half = scored.remove_columns("reward_rejected")
    assert (
        "reward_chosen" not in evaluate_preferences(policy, model_path, half, LAW, **options).pairs
    )


def test_the_function_and_the_trainer_agree_with_saved_pairs(trained, model_path):
    trainer, policy, data = trained
    strength = trainer.strength.current()
    done = evaluate_preferences(
        policy, model_path, data, strength, ["region", "age"], max_length=32, progress=False
    )
    assert done.pairs["row"].tolist() == list(range(32))
    assert done.pairs["delta"].abs().max() > 1
    np.testing.assert_allclose(
        done.pairs["delta"],
        done.pairs["chosen_log_ratio"] - done.pairs["rejected_log_ratio"],
        atol=1e-9,
    )
    logged = trainer.evaluate()
    for factor in ("region", "age"):
        for level, mine in done.pairs.groupby(factor):
            want = by_hand(mine["delta"].to_numpy(), strength)
            table = done.metrics.set_index(["factor", "level"]).loc[(factor, str(level))]
            for name, value in want.items():
                assert table[name] == pytest.approx(value, rel=1e-3)
                assert logged[f"eval_{factor}/{level}/{name}"] == pytest.approx(value, rel=1e-3)
        for kind in ("macro", "worst"):
            row = done.metrics.set_index(["factor", "level"]).loc[(factor, kind)]
            for name in METRICS:
                found = logged[f"eval_{factor}/{kind}/{name}"]
                assert found == pytest.approx(row[name], rel=1e-4, abs=1e-6)
    for name in METRICS:  # of all pairs, whose number is no multiple of the batches'
        assert logged[f"eval_{name}"] == pytest.approx(done.metrics.iloc[0][name], rel=1e-4)
    assert logged["eval_loss"] == pytest.approx(
        done.metrics.iloc[0]["negative_log_likelihood"], rel=0.05
    )
    assert "Evaluation of 32 pairs" in repr(done)


LONG = [
    {**row, "prompt": row["prompt"] * 4, "chosen": " ".join([row["chosen"]] * (1 + i % 5))}
    for i, row in enumerate(grouped(12))
]


@pytest.mark.filterwarnings("ignore:The `'keep_end'` truncation mode is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "changes",
    [
        {"loss_type": "sigmoid_norm", "beta": 5.0},
        {"truncation_mode": "keep_end", "max_length": 14},
        {"ld_alpha": 0.1},
        {"loss_type": "sigmoid_norm", "beta": 5.0, "ld_alpha": 0.5, "truncation_mode": "keep_end",
         "max_length": 20},
    ],
    ids=["per token", "keep_end", "ld_alpha", "all"],
)  # fmt: skip
def test_the_function_evaluates_what_was_trained(tmp_path, model_path, changes):
    data = Dataset.from_list(LONG)
    options = {"max_length": 48, "per_device_eval_batch_size": 12, **changes}
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(tmp_path, group_columns=["region"], **options),
        train_dataset=data,
        eval_dataset=data,
    )
    trainer.train()
    logged = trainer.evaluate()
    trainer.save_model(str(tmp_path / "policy"))

    def done(strength, **more):
        return evaluate_preferences(
            str(tmp_path / "policy"), model_path, data, strength, ["region"], progress=False, **more
        ).metrics.set_index("level")

    def agrees(table):
        for level in ("east", "macro", "worst"):
            for name in METRICS:
                want = logged[f"eval_region/{level}/{name}"]
                assert table.loc[level, name] == pytest.approx(want, rel=1e-3, abs=1e-5)
        loss = table.loc["all", "negative_log_likelihood"]
        assert loss == pytest.approx(logged["eval_loss"], rel=1e-3)

    agrees(done(trainer.strength))
    record = LearnedStrength.load(tmp_path / "policy")
    agrees(done(record))
    evaluate_policy(
        tmp_path / "policy", model_path, data.to_pandas(), ["region"],
        max_length=options["max_length"], progress=False,
    )  # fmt: skip
    agrees(pd.read_csv(tmp_path / "policy" / "evaluation" / "metrics.csv").set_index("level"))
    del options["per_device_eval_batch_size"]
    options.pop("beta", None)
    law = trainer.strength.current()
    agrees(done(law, **options))
    # A law alone does not know, and DPO's Δ is another.
    plain = done(law, max_length=48).loc["all", "negative_log_likelihood"]
    assert abs(plain - logged["eval_loss"]) > 0.01 * logged["eval_loss"]
    name, value = next(iter(changes.items()))
    other = {"loss_type": "sigmoid", "truncation_mode": "keep_start", "ld_alpha": 0.9}[name]
    with pytest.raises(InputError, match=f"{name} {value!r}, with which .* was trained; got"):
        done(record, **{name: other})


def test_another_delta_has_a_folder_of_its_own(tmp_path, trained, model_path):
    _, policy, data = trained
    options = {"directory": tmp_path, "max_length": 32, "progress": False}
    evaluate_preferences(policy, model_path, data, LAW, **options)
    with pytest.raises(InputError, match="got others .loss_type was .*Choose another folder"):
        evaluate_preferences(policy, model_path, data, LAW, loss_type="sigmoid_norm", **options)
    # Folders from before this was written down go on.
    path = tmp_path / "settings.json"
    there = json.loads(path.read_text())
    for name in ("loss_type", "truncation_mode", "ld_alpha"):
        del there[name]
    path.write_text(json.dumps(there))
    evaluate_preferences(policy, model_path, data, LAW, **options)
    with pytest.raises(InputError, match="one of sigmoid, sigmoid_norm; got 'hinge'"):
        evaluate_preferences(policy, model_path, data, LAW, loss_type="hinge")


def test_batches_do_not_matter(trained, model_path):
    trainer, policy, data = trained
    one, other = (
        evaluate_preferences(
            policy, model_path, data, LAW, max_length=32, batch_size=size, progress=False
        )
        for size in (1, 7)
    )
    np.testing.assert_allclose(one.pairs["delta"], other.pairs["delta"], atol=2e-5)
    # A DataFrame is as good, and an index of its own changes nothing.
    frame = data.to_pandas().set_index("region", drop=False).iloc[:9]
    again = evaluate_preferences(
        policy, model_path, frame, LAW, ["region"], max_length=32, progress=False
    )
    np.testing.assert_allclose(again.pairs["delta"], one.pairs["delta"][:9], atol=2e-5)


def test_a_law_that_is_being_learned_will_do(trained, model_path):
    trainer, policy, data = trained
    live, plain = (
        evaluate_preferences(policy, model_path, data, law, max_length=32, progress=False).metrics
        for law in (trainer.strength.mixing(), trainer.strength.current())
    )
    pd.testing.assert_frame_equal(live, plain)
    own = PointMass(value=torch.full((3,), 0.1, requires_grad=True))
    assert preference_metrics([1.0, 2.0, 3.0], own)["margin"][0] == pytest.approx(0.2)


def test_pairs_of_one_prompt_are_a_cluster(trained, model_path):
    _, policy, data = trained
    whole = Dataset.from_list([row for row in data for _ in range(3)])
    options = {"max_length": 32, "progress": False}
    once = evaluate_preferences(policy, model_path, data, LAW, ["age"], **options).metrics
    again, alone = (
        evaluate_preferences(
            policy, model_path, whole, LAW, ["age"], clusters=clusters, **options
        ).metrics
        for clusters in ("prompt", None)
    )
    for table, factor in ((again, 1.0), (alone, 3**-0.5)):
        width = table["margin_high"] - table["margin_low"]
        ratio = width / (once["margin_high"] - once["margin_low"])
        assert ratio[table["kind"] != "worst"].tolist() == pytest.approx([factor] * 4, rel=0.1)
    chats = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in whole]
    chats = [
        {**row, **{s: [{"role": "assistant", "content": row[s]}] for s in ("chosen", "rejected")}}
        for row in chats
    ]
    of_chats = evaluate_preferences(
        policy, model_path, Dataset.from_list(chats), LAW, clusters="prompt", **options
    ).metrics
    assert of_chats["accuracy_high"][0] - of_chats["accuracy_low"][0] > 0.05
    with pytest.raises(InputError, match="got no annotator among"):
        evaluate_preferences(policy, model_path, data, LAW, clusters="annotator", **options)


def test_an_adapter_is_measured_against_its_base(tmp_path, model_path):
    data = Dataset.from_list(grouped(8))
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(tmp_path, max_steps=4, learning_rate=0.1),
        train_dataset=data,
        peft_config=lora(),
    )
    trainer.train()
    alone = evaluate_preferences(
        trainer.model, None, data, LAW, tokenizer=trainer.processing_class, max_length=32,
        progress=False,
    )  # fmt: skip
    against = evaluate_preferences(
        trainer.model, model_path, data, LAW, tokenizer=trainer.processing_class, max_length=32,
        progress=False,
    )  # fmt: skip
    assert alone.pairs["delta"].abs().max() > 0.01
    np.testing.assert_allclose(alone.pairs["delta"], against.pairs["delta"], atol=1e-5)
    # From disk, and against an adapter of its own name, as TRL continues one.
    trainer.save_model(str(tmp_path / "adapter"))
    saved = evaluate_preferences(
        tmp_path / "adapter", None, data, LAW, max_length=32, progress=False
    )
    np.testing.assert_allclose(saved.pairs["delta"], alone.pairs["delta"], atol=1e-5)
    model = trainer.model
    model.add_adapter("ref", lora())
    model.load_state_dict(
        {
            key.replace(".default.", ".ref."): value
            for key, value in model.state_dict().items()
            if ".default." in key
        },
        strict=False,
    )
    same = evaluate_preferences(
        model, None, data, LAW, tokenizer=trainer.processing_class, max_length=32, progress=False
    )
    np.testing.assert_allclose(same.pairs["delta"], 0.0, atol=1e-6)
    plain = AutoModelForCausalLM.from_pretrained(model_path)
    with pytest.raises(InputError, match="a reference, or a model with a PEFT adapter"):
        evaluate_preferences(plain, None, data, LAW)


def test_a_checkpoint_in_half_precision_is_read_in_single(tmp_path, model_path, trained):
    _, policy, data = trained
    half = AutoModelForCausalLM.from_pretrained(model_path).to(torch.bfloat16)
    half.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32)
    done = evaluate_preferences(model, tmp_path, data, LAW, max_length=32, progress=False)
    assert done.pairs["chosen_log_ratio"].dtype == float
    single = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    want = evaluate_preferences(model, single, data, LAW, max_length=32, progress=False)
    np.testing.assert_array_equal(done.pairs["delta"], want.pairs["delta"])


def test_it_goes_on_where_it_was_interrupted(tmp_path, trained, model_path):
    _, policy, data = trained
    options = {"max_length": 32, "batch_size": 1, "progress": False}
    whole = evaluate_preferences(policy, model_path, data, LAW, ["region"], **options)
    model, folder, calls = AutoModelForCausalLM.from_pretrained(policy), tmp_path / "kept", []

    def counted(module, args):
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt

    model.register_forward_pre_hook(counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_preferences(model, model_path, data, LAW, ["region"], directory=folder, **options)
    assert len(list(folder.glob("part-*.parquet"))) == 1
    again = evaluate_preferences(
        model, model_path, data, LAW, ["region"], directory=folder, **options
    )
    # 16 batches of 32 were kept; the next three were not.
    assert len(calls) == 20 + 16
    np.testing.assert_allclose(again.pairs["delta"], whole.pairs["delta"], atol=2e-5)
    evaluate_preferences(model, model_path, data, LAW, ["age"], directory=folder, **options)
    assert len(calls) == 20 + 16
    with pytest.raises(InputError, match="got others .the content of model changed"):
        evaluate_preferences(model_path, model_path, data, LAW, directory=folder, **options)
    other = data.select(range(5))
    with pytest.raises(InputError, match="got others .pairs was .*; the content of tokens changed"):
        evaluate_preferences(policy, model_path, other, LAW, directory=folder, **options)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="which holds something else"):
        evaluate_preferences(policy, model_path, data, LAW, directory=tmp_path / "full", **options)


def test_pairs_that_do_not_fit_are_counted(trained, model_path):
    trainer, policy, data = trained
    long = {**data[0], "prompt": "w1 " * 40}
    some = Dataset.from_list([data[1], long, data[2]])
    with pytest.warns(DataWarning, match="Left out 1 of 3 pairs, whose prompt alone has 32"):
        done = evaluate_preferences(
            policy, model_path, some, LAW, ["region"], max_length=32, progress=False
        )
    assert done.pairs["row"].tolist() == [0, 2]
    assert done.pairs["region"].tolist() == [some[0]["region"], some[2]["region"]]
    with pytest.raises(InputError, match="fit into max_length; got 1 of 1"):
        evaluate_preferences(policy, model_path, some.select([1]), LAW, max_length=32)


def test_what_the_evaluation_refuses(model_path):
    data = Dataset.from_list(grouped(3))
    with pytest.raises(TypeError, match="data as a datasets.Dataset or DataFrame; got list"):
        evaluate_preferences(model_path, model_path, [], LAW)
    with pytest.raises(TypeError, match=r"Write \['region'\]"):
        evaluate_preferences(model_path, model_path, data, LAW, "region")
    with pytest.raises(InputError, match="got no country among"):
        evaluate_preferences(model_path, model_path, data, LAW, ["country"])
    with pytest.raises(InputError, match="preference pairs; got none"):
        evaluate_preferences(model_path, model_path, data.select([]), LAW)
    frame = data.to_pandas()
    frame.loc[1, "chosen"] = None
    with pytest.raises(InputError, match="column chosen of every pair; got none in 1 of 3 rows"):
        evaluate_preferences(model_path, model_path, frame, LAW)
    with pytest.raises(TypeError, match="Expected reference as a name.*got float"):
        evaluate_preferences(model_path, 0.5, data, LAW)


# -- in the trainer --------------------------------------------------------------------------------


def test_every_evaluation_set_has_its_own_prefix(tmp_path, model_path):
    first, second = (Dataset.from_list(grouped(9, seed)) for seed in (1, 2))
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(tmp_path, strength=LOGNORMAL, group_columns=["region"], max_steps=3),
        train_dataset=first,
        eval_dataset={"mine": first, "yours": second},
    )
    trainer.train()
    logged = trainer.evaluate()
    name = "region/east/margin"
    assert logged[f"eval_mine_{name}"] != logged[f"eval_yours_{name}"]
    only = trainer.evaluate(first)
    assert only[f"eval_{name}"] == pytest.approx(logged[f"eval_mine_{name}"], rel=1e-5)
    strange = Dataset.from_list([{**row, "region": "moon"} for row in grouped(2)])
    with pytest.raises(InputError, match="level of 'region'.*east, north, west.*got 'moon' in row"):
        trainer.evaluate(strange)


def test_training_pairs_may_have_other_levels(tmp_path, model_path):
    seen = Dataset.from_list([row for row in grouped(12) if row["region"] != "west"])
    unseen = [{**row, "region": "moon" if i else None} for i, row in enumerate(grouped(4))]
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(
            tmp_path,
            group_columns=["region", "age"],
            max_steps=2,
            eval_strategy="steps",
            eval_steps=1,
        ),
        train_dataset=Dataset.from_list(unseen),
        eval_dataset=seen,
    )
    trainer.train()
    assert "eval_region/worst/accuracy" in trainer.state.log_history[1]
    with pytest.warns(DataWarning, match="got no age, so that their metrics are missing"):
        some = trainer.evaluate(seen.remove_columns("age"))
    assert "eval_region/macro/margin" in some
    assert not any(key.startswith("eval_age") for key in some)
    with pytest.warns(DataWarning, match="got no region and no age") as caught:
        none = trainer.evaluate({"mine": seen.remove_columns(["region", "age"])})
    assert len([each for each in caught if each.category is DataWarning]) == 1
    assert "eval_mine_negative_log_likelihood" in none
    assert not any("macro" in key for key in none)


@pytest.mark.parametrize("name", ["macro", "worst"])
def test_a_level_must_not_bear_the_name_of_a_summary(tmp_path, model_path, name):
    data = Dataset.from_list([{**row, "region": name} for row in grouped(4)])
    with pytest.raises(InputError, match=f"of 'region' under names of their own.*got '{name}'"):
        MixDPOTrainer(
            model_path,
            args=arguments(tmp_path, group_columns="region"),
            train_dataset=data,
            eval_dataset=data,
        )
    # Where nothing is reported by it, it is a name like another.
    MixDPOTrainer(model_path, args=arguments(tmp_path), train_dataset=data, eval_dataset=data)


def test_an_evaluation_of_nothing_finite_stops(tmp_path, model_path):
    data = Dataset.from_list(grouped(6))
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(tmp_path, group_columns=["region"]),
        train_dataset=data,
        eval_dataset=data,
    )
    with torch.no_grad():
        trainer.model.lm_head.weight[3, 3] = math.nan
    with pytest.raises(InputError, match="got nan in evaluation, .* in 6 of 6 pairs.*policy has"):
        trainer.evaluate()


@pytest.mark.parametrize("evaluated", [False, True])
def test_a_precomputed_reference_that_is_not_finite_is_named(tmp_path, model_path, evaluated):
    data = Dataset.from_list(grouped(4))
    trainer = MixDPOTrainer(
        model_path,
        args=arguments(tmp_path, precompute_ref_log_probs=True, per_device_eval_batch_size=4),
        train_dataset=data,
        eval_dataset=data,
    )
    batch = trainer.data_collator([dict(each) for each in trainer.train_dataset])
    batch["ref_rejected_logps"][2] = math.nan
    trainer.model.train(not evaluated)
    when = "in evaluation" if evaluated else "at step 1"
    text = f"column ref_rejected_logps of 1 of 4 pairs of a batch {when}. The policy is not"
    with pytest.raises(InputError, match=text):
        trainer.compute_loss(trainer.model, batch)


@pytest.mark.parametrize(
    ("evaluated", "text"),
    [
        (None, "an eval_dataset with group_columns region; got none"),
        (IterableDataset.from_generator(lambda: iter(grouped(4))), "got a stream"),
        (Dataset.from_list(rows(4)), "a column region in eval_dataset"),
        (Dataset.from_list([{**grouped(1)[0], "region": None}]), "got none in row 0"),
    ],
    ids=["none", "stream", "no column", "no level"],
)
def test_groups_that_cannot_be_reported(tmp_path, model_path, evaluated, text):
    with pytest.raises(InputError, match=text):
        MixDPOTrainer(
            model_path,
            args=arguments(tmp_path, group_columns="region"),
            train_dataset=Dataset.from_list(rows(4)),
            eval_dataset=evaluated,
        )


PROCESSES = """
import json, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
from datasets import Dataset
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
folder, model, rows = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
data = Dataset.from_list(rows)
args = MixDPOConfig(folder, strength_family="LogNormal", strength_mode="frozen", max_steps=1,
    per_device_train_batch_size=2, per_device_eval_batch_size=3, learning_rate=1e-2,
    save_strategy="no", report_to="none", bf16=False, use_cpu=True, optim="sgd",
    disable_tqdm=True, max_length=32, group_columns=["region"], activation_checkpointing=False)
trainer = MixDPOTrainer(model, args=args, train_dataset=data, eval_dataset=data)
# No step: the policy as it is, against another reference, so that the differences are not 0.
import torch
with torch.no_grad():
    generator = torch.Generator().manual_seed(1)
    for each in trainer.ref_model.parameters():
        each += 0.3 * torch.randn(each.shape, generator=generator)
found = trainer.evaluate()
if trainer.accelerator.is_main_process:
    kept = {k: v for k, v in found.items() if k.startswith(("eval_region/", "eval_loss"))}
    json.dump(kept, open(sys.argv[4], "w"))
"""


@pytest.mark.slow
def test_two_processes_report_what_one_does(tmp_path, model_path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(PROCESSES))
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(grouped(11)))  # of unequal batches, filled up across processes
    found = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.json"
        launch = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
        done = subprocess.run(
            [
                sys.executable, *(launch if processes > 1 else []), str(script),
                str(tmp_path / f"run{processes}"), model_path, str(data), str(out),
            ],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(out.read_text()))
    assert found[0].keys() == found[1].keys()
    assert abs(found[0]["eval_region/east/margin"]) > 0.01
    assert abs(found[0]["eval_loss"] - math.log(2)) > 1e-3
    for key, value in found[0].items():
        assert found[1][key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
