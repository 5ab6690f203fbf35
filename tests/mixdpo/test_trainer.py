"""MixDPO training on tiny models: runs that must be the same, and what one run must do."""

import json
import logging
import math
import random
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

import trl  # noqa: E402
from datasets import Dataset, IterableDataset  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from peft import get_peft_model  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    TrainerCallback,
)
from transformers.integrations import integration_utils  # noqa: E402
from trl.trainer.dpo_trainer import DataCollatorForPreference, use_adapter  # noqa: E402

from prefstrength.choice.learned_strength import LearnedStrength  # noqa: E402
from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.choice.strength_prior import StrengthPrior  # noqa: E402
from prefstrength.errors import DataWarning, InputError  # noqa: E402
from prefstrength.mixdpo import (  # noqa: E402
    MixDPOConfig,
    MixDPOTrainer,
    evaluate_preferences,
    last_checkpoint,
    mixdpo_loss,
    win_rate,
)
from prefstrength.mixdpo.hosted_strength import HostedStrength  # noqa: E402
from prefstrength.plots import plot_trajectory  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    GAMMA,
    LOGNORMAL,
    USUAL,
    Worse,
    arguments,
    assert_same,
    delta_of,
    lora,
    moved,
    rows,
    trained_parameters,
    trainer_of,
)


@pytest.fixture(scope="module")
def pairs():
    return Dataset.from_list(rows())


# -- runs that must be the same ----------------------------------------------------------------


@pytest.mark.parametrize("variant", ["full", "lora", "precomputed"])
def test_point_mass_is_trls_sigmoid(tmp_path, model_path, pairs, variant):
    changes = {"precompute_ref_log_probs": True} if variant == "precomputed" else {}
    extra = {"peft_config": lora()} if variant == "lora" else {}
    ours = trainer_of(
        tmp_path / "ours",
        model_path,
        pairs,
        beta=0.3,
        peft_config=extra.get("peft_config"),
        **changes,
    )
    theirs = trl.DPOTrainer(
        model_path,
        args=trl.DPOConfig(str(tmp_path / "theirs"), beta=0.3, **{**USUAL, **changes}),
        train_dataset=pairs,
        **extra,
    )
    ours.train()
    theirs.train()
    assert len(theirs.state.log_history) == 21
    for mine, other in zip(ours.state.log_history, theirs.state.log_history, strict=True):
        for key, value in other.items():
            if not key.startswith("train_") or key == "train_loss":
                assert mine[key] == pytest.approx(value, rel=1e-6, abs=1e-6), key
    assert_same(trained_parameters(ours), trained_parameters(theirs), 1e-6)
    assert theirs.state.log_history[-2]["rewards/margins"] > 0.01  # it was no standstill


def test_a_batch_of_eight_is_eight_of_one(tmp_path, model_path, pairs):
    runs = []
    for size, accumulation in ((8, 1), (1, 8)):
        runs.append(
            trainer_of(
                tmp_path / f"{size}",
                model_path,
                pairs,
                strength=LOGNORMAL,
                strength_learning_rate=1e-2,
                per_device_train_batch_size=size,
                gradient_accumulation_steps=accumulation,
                learning_rate=1e-3,
            )
        )
        runs[-1].train()
    first, second = runs
    assert_same(trained_parameters(first), trained_parameters(second), 1e-6)
    assert_same(first.strength.state_dict(), second.strength.state_dict(), 1e-6)
    for mine, other in zip(first.state.log_history, second.state.log_history, strict=True):
        for key in ("loss", "strength/mean", "strength/cv", "strength/grad_norm"):
            if key in other:
                assert mine[key] == pytest.approx(other[key], abs=1e-6), key
    assert first.strength.location.item() != pytest.approx(LOGNORMAL.location, abs=1e-3)


@pytest.mark.parametrize("prior", [LOGNORMAL, GAMMA], ids=lambda prior: prior.family)
def test_resumed_is_uninterrupted(tmp_path, model_path, pairs, prior):
    changes = {
        "strength": prior,
        "strength_learning_rate": 1e-2,
        "save_strategy": "steps",
        "save_steps": 5,
        "logging_steps": 2,
        "max_steps": 12,
    }
    whole = trainer_of(tmp_path / "whole", model_path, pairs, **changes)
    whole.train()
    resumed = trainer_of(tmp_path / "resumed", model_path, pairs, **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert_same(trained_parameters(resumed), trained_parameters(whole), 0.0)
    assert_same(resumed.strength_learner.state(), whole.strength_learner.state(), 0.0)
    assert "location.exp_avg" in whole.strength_learner.state()
    assert resumed.strength.learned() == whole.strength.learned()
    assert [p["step"] for p in whole.strength.trajectory] == list(range(13))


def test_a_checkpoint_cut_short_is_passed_over(tmp_path, model_path, pairs):
    changes = {
        "strength": LOGNORMAL,
        "save_strategy": "steps",
        "save_steps": 3,
        "max_steps": 9,
    }
    whole = trainer_of(tmp_path, model_path, pairs, **changes)
    whole.train()
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text('{"global_step": ')
    (tmp_path / "checkpoint-6" / "strength_state.safetensors").unlink()
    (tmp_path / "checkpoint-of-mine").mkdir()
    resumed = trainer_of(tmp_path, model_path, pairs, **changes)
    with (
        pytest.warns(DataWarning, match="checkpoint-9 is not complete"),
        pytest.warns(DataWarning, match="checkpoint-6 has no strength_state.*save_only_model"),
    ):
        resumed.train(resume_from_checkpoint=True)
    assert_same(trained_parameters(resumed), trained_parameters(whole), 0.0)
    assert_same(resumed.strength_learner.state(), whole.strength_learner.state(), 0.0)
    for number in (3, 6, 9):
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").unlink()
    with (
        pytest.warns(DataWarning, match="is not complete"),
        pytest.raises(InputError, match="a complete checkpoint in .* to resume from; got none"),
    ):
        resumed.train(resume_from_checkpoint=True)


KILLED = """
import os, signal, sys, threading
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
import torch
from datasets import Dataset
from transformers import TrainerCallback
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer, last_checkpoint
from prefstrength.choice.strength_prior import StrengthPrior

model, folder, usual, rows = {model!r}, {folder!r}, {usual!r}, {rows!r}
torch.set_num_threads(1)
wait = float(sys.argv[1])  # seconds after the first step, then the process is killed

class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if wait >= 0 and not hasattr(self, "timer"):
            self.timer = threading.Timer(wait, os.kill, (os.getpid(), signal.SIGKILL))
            self.timer.daemon = True
            self.timer.start()

prior = StrengthPrior("LogNormal", -2.3, 0.2, -0.4, 0.3)
args = MixDPOConfig(folder, strength=prior, strength_learning_rate=1e-2, **usual)
trainer = MixDPOTrainer(
    model, args=args, train_dataset=Dataset.from_list(rows), callbacks=[Kill()]
)
trainer.train(resume_from_checkpoint=last_checkpoint(folder))
trainer.save_model()
"""


@pytest.mark.slow
def test_killed_at_random_and_resumed_is_uninterrupted(tmp_path, model_path):
    draw = random.Random(3)
    usual = USUAL | {
        "max_steps": 40,
        "save_strategy": "steps",
        "save_steps": 1,
        "save_total_limit": 3,
    }
    kills = 0
    for name in ("whole", "killed"):
        script = tmp_path / f"{name}.py"
        script.write_text(
            KILLED.format(model=model_path, folder=str(tmp_path / name), usual=usual, rows=rows())
        )
        waits = [draw.uniform(0.0, 0.6) for _ in range(4)] if name == "killed" else []
        for wait in [*waits, -1.0]:
            done = subprocess.run(
                [sys.executable, str(script), str(wait)],
                capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode in ((0, -9) if wait >= 0 else (0,)), done.stderr[-3000:]
            kills += done.returncode == -9
    assert kills >= 3
    assert_same(
        load_file(tmp_path / "whole" / "model.safetensors"),
        load_file(tmp_path / "killed" / "model.safetensors"),
        1e-6,
    )
    states = [
        load_file(tmp_path / name / "checkpoint-40" / "strength_state.safetensors")
        for name in ("whole", "killed")
    ]
    assert_same(*states, 1e-6)
    assert "location.exp_avg" in states[0]


TWO = """
import sys
import torch
from datasets import Dataset
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
from prefstrength.choice.strength_prior import StrengthPrior

model, folder, usual, rows = {model!r}, {folder!r}, {usual!r}, {rows!r}
torch.set_num_threads(1)
prior = StrengthPrior("LogNormal", -2.3, 0.2, -0.4, 0.3)
args = MixDPOConfig(folder, strength=prior, strength_learning_rate=1e-2, **usual)
trainer = MixDPOTrainer(model, args=args, train_dataset=Dataset.from_list(rows))
trainer.train()
trainer.save_model()
"""


@pytest.mark.slow
def test_two_processes_are_one_with_two_accumulation_steps(tmp_path, model_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    for name, start, steps in (("one", [sys.executable], 2), ("two", launch, 1)):
        usual = USUAL | {
            "max_steps": 8,
            "gradient_accumulation_steps": steps,
            "learning_rate": 1e-3,
        }
        script = tmp_path / f"{name}.py"
        script.write_text(
            TWO.format(model=model_path, folder=str(tmp_path / name), usual=usual, rows=rows())
        )
        done = subprocess.run(
            [*start, str(script)], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (LearnedStrength.load(tmp_path / name) for name in ("one", "two"))
    assert one.parameters == pytest.approx(two.parameters, abs=1e-9)
    assert one.parameters["mu"] != pytest.approx(one.trajectory[0]["mu"], abs=1e-3)
    assert_same(
        load_file(tmp_path / "one" / "model.safetensors"),
        load_file(tmp_path / "two" / "model.safetensors"),
        1e-6,
    )


SHARDED = """
import sys
import torch
sys.path.insert(0, {root!r})
from tests.helpers.fsdp_on_cpu import allow_fsdp_on_cpu
allow_fsdp_on_cpu()
from datasets import Dataset
from torch.distributed.tensor import DTensor
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer, last_checkpoint
from prefstrength.choice.strength_prior import StrengthPrior

model, usual, rows, fsdp = {model!r}, {usual!r}, {rows!r}, {fsdp!r}
folder = sys.argv[1]
torch.set_num_threads(1)
prior = StrengthPrior("LogNormal", -2.3, 0.2, -0.4, 0.3)
args = MixDPOConfig(
    folder, strength=prior, strength_learning_rate=1e-2, fsdp=True, fsdp_config=fsdp, **usual
)
trainer = MixDPOTrainer(model, args=args, train_dataset=Dataset.from_list(rows))
trainer.train(resume_from_checkpoint=last_checkpoint(folder))
shard = trainer.model.model.layers[0].mlp.up_proj.weight
assert isinstance(shard, DTensor) and 2 * shard.to_local().numel() == shard.numel()
trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
trainer.save_model()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["FULL_STATE_DICT", "SHARDED_STATE_DICT"])
def test_sharded_over_two_processes_is_one_process(tmp_path, model_path, kind):
    usual = {
        "max_steps": 8,
        "learning_rate": 1e-3,
        "save_strategy": "steps",
        "save_steps": 4,
    }
    one = trainer_of(
        tmp_path / "one", model_path, Dataset.from_list(rows()),
        strength=StrengthPrior("LogNormal", -2.3, 0.2, -0.4, 0.3), strength_learning_rate=1e-2,
        gradient_accumulation_steps=2, **usual,
    )  # fmt: skip
    one.train()
    one.save_model()
    script = tmp_path / "sharded.py"
    layer = {"version": 2, "transformer_layer_cls_to_wrap": "LlamaDecoderLayer"}
    script.write_text(
        SHARDED.format(
            root=str(Path(__file__).parents[2]), model=model_path, usual=USUAL | usual,
            rows=rows(), fsdp=layer | {"state_dict_type": kind},
        )
    )  # fmt: skip
    for name in ("whole", "resumed"):
        if name == "resumed":
            shutil.copytree(
                tmp_path / "whole" / "checkpoint-4", tmp_path / "resumed" / "checkpoint-4"
            )
        done = subprocess.run(
            [
                sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2",
                str(script), str(tmp_path / name),
            ],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    shards = tmp_path / "whole" / "checkpoint-4" / "pytorch_model_fsdp_0"
    assert shards.is_dir() == (kind == "SHARDED_STATE_DICT")
    reloaded = {
        name: dict(AutoModelForCausalLM.from_pretrained(tmp_path / name).named_parameters())
        for name in ("one", "whole", "resumed")
    }
    records = {name: LearnedStrength.load(tmp_path / name) for name in reloaded}
    assert_same(reloaded["whole"], reloaded["one"], 1e-5)
    assert_same(reloaded["resumed"], reloaded["whole"], 1e-7)
    assert records["whole"].parameters == pytest.approx(records["one"].parameters, abs=1e-9)
    assert records["resumed"] == records["whole"]
    assert records["whole"].parameters["mu"] != pytest.approx(
        records["whole"].trajectory[0]["mu"], abs=1e-3
    )


# -- what is learned -------------------------------------------------------------------------


def test_joint_learns_both(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=GAMMA, strength_learning_rate=1e-2)
    trainer.train()
    assert trainer.strength.mean != pytest.approx(0.1, rel=1e-3)
    assert trainer.strength.cv != pytest.approx(0.5, rel=1e-4)


def test_anchored_keeps_the_mean_exactly(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        strength=LOGNORMAL,
        strength_mode="anchored",
        strength_learning_rate=1e-2,
    )
    before = trainer.strength.mean
    trainer.train()
    assert trainer.strength.mean == before
    assert {point["mean"] for point in trainer.strength.trajectory} == {before}
    assert trainer.strength.current().parameters["sigma"] != pytest.approx(0.7, abs=1e-3)


def test_frozen_changes_nothing(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=LOGNORMAL, strength_mode="frozen")
    before = trainer.strength.summary()
    trainer.train()
    assert trainer.strength.summary() == before
    assert "strength/grad_norm" not in trainer.state.log_history[0]


def test_strength_drifts_up_without_a_prior_and_a_strong_one_holds_it(tmp_path, model_path, pairs):
    shifts = {}
    tight = StrengthPrior("LogNormal", math.log(0.1), 0.005, math.log(0.7), 0.005)
    for name, changes in {
        "none": {"strength_family": "LogNormal", "strength_start_cv": LOGNORMAL.mixing().cv()},
        "weak": {"strength": LOGNORMAL},
        "tight": {"strength": tight},
    }.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Strength .* is learned without a prior")
            trainer = trainer_of(
                tmp_path / name,
                model_path,
                pairs,
                strength_learning_rate=1e-2,
                max_steps=60,
                lr_scheduler_type="constant",
                **changes,
            )
        trainer.train()
        shifts[name] = trainer.strength.location.item() - LOGNORMAL.location
    assert shifts["none"] > shifts["weak"] > abs(shifts["tight"])
    assert shifts["none"] > 0.2


@pytest.mark.parametrize("prior", [LOGNORMAL, GAMMA], ids=lambda prior: prior.family)
def test_the_gradient_is_that_of_the_objective(tmp_path, model_path, pairs, prior):
    trainer = moved(trainer_of(tmp_path, model_path, pairs, strength=prior))
    with torch.no_grad():
        trainer.strength.location += 0.3
        trainer.strength.dispersion -= 0.2
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    learned = [trainer.strength.location, trainer.strength.dispersion]
    some = trainer.model.model.layers[0].mlp.up_proj.weight
    got = torch.autograd.grad(loss, [*learned, some])

    delta = delta_of(trainer, batch)
    # The prior weighs one part in N = 32 pairs, whatever the batch.
    objective = (
        mixdpo_loss(delta, trainer.strength.mixing()).mean()
        + trainer.strength.negative_log_prior() / 32
    )
    want = torch.autograd.grad(objective, [*learned, some])
    assert loss.item() == pytest.approx(objective.item(), rel=1e-5)
    for mine, other in zip(got, want, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-7)
    assert delta.abs().max() > 1.0


def test_evaluation_leaves_strength_alone_and_reports_it(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        eval_dataset={
            "a": Dataset.from_list(rows(8, seed=1)),
            "b": Dataset.from_list(rows(8, seed=2)),
        },
        strength=LOGNORMAL,
        max_steps=4,
        eval_strategy="steps",
        eval_steps=2,
    )
    trainer.train()
    before = trainer.strength.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    result = trainer.evaluate()
    assert_same(trainer.strength.state_dict(), before, 0.0)
    assert result["eval_a_loss"] == pytest.approx(math.log(2), abs=0.2)
    shown = [log for log in trainer.state.log_history if "eval_strength/mean" in log]
    assert shown[-1]["eval_strength/mean"] == trainer.strength.mean
    assert all(each.grad is None or each.grad == 0 for each in trainer.strength.parameters())


# -- what is written ---------------------------------------------------------------------------


def test_logged_saved_and_read_again(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path, model_path, pairs, strength=LOGNORMAL, max_steps=6, logging_steps=2
    )
    trainer.train()
    trainer.save_model()
    logs = [log for log in trainer.state.log_history if "loss" in log]
    for key in ("mean", "cv", "mu", "sigma", "grad_norm", "negative_log_prior"):
        assert all(math.isfinite(log[f"strength/{key}"]) for log in logs)
    record = LearnedStrength.load(tmp_path)
    assert record == trainer.strength.learned()
    assert (record.model, record.steps, record.prior) == (model_path, 6, LOGNORMAL)
    assert [point["step"] for point in record.trajectory] == list(range(7))
    for log, point in zip(logs, record.trajectory[2::2], strict=True):
        assert point["mean"] == log["strength/mean"]
        for name in ("location", "dispersion"):
            assert point[f"gradient/{name}"] == log[f"strength/gradient/{name}"]
    assert record.mixing().mean() == pytest.approx(trainer.strength.mean)
    # The policy does not carry the strength.
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "strength" in name]


@pytest.mark.parametrize(
    ("changes", "learned"),
    [
        ({"strength": GAMMA}, ["location", "dispersion"]),
        ({"strength": GAMMA, "strength_mode": "anchored"}, ["dispersion"]),
        ({"strength": GAMMA, "strength_mode": "frozen"}, []),
    ],
)
def test_every_step_has_a_point_with_its_gradient(tmp_path, model_path, pairs, changes, learned):
    trainer = trainer_of(
        tmp_path, model_path, pairs, max_steps=6, logging_steps=3, learning_rate=1e-3, **changes
    )
    used = []
    if learned:  # what the optimizer was given
        trainer.strength_learner.optimizer.register_step_pre_hook(
            lambda *_: used.append(
                {name: getattr(trainer.strength, name).grad.item() for name in learned}
            )
        )
    trainer.train()
    first, *points = trainer.strength.trajectory
    assert not [key for key in first if key.startswith("gradient/")]
    assert [point["step"] for point in points] == [1, 2, 3, 4, 5, 6]
    got = [
        {key.split("/")[1]: value for key, value in point.items() if key.startswith("gradient/")}
        for point in points
    ]
    assert got == (used or [{}] * 6)
    # In the first step the policy is its reference, and strength moves nothing.
    assert all(value != 0 for each in got[1:] for value in each.values())
    logs = [log for log in trainer.state.log_history if "loss" in log]
    for log, gradient in zip(logs, (got[2], got[5]), strict=True):
        shown = {k.split("/")[2]: v for k, v in log.items() if k.startswith("strength/gradient/")}
        assert shown == gradient
        if gradient:
            norm = math.hypot(*gradient.values())
            assert log["strength/grad_norm"] == pytest.approx(norm)
    record = trainer.strength.learned()
    assert LearnedStrength.load(record.save(tmp_path / "learned_strength.json")) == record
    quantities = plot_trajectory(record, axes=Figure().subplots(1, 2))
    assert [len(ax.lines[-1].get_xdata()) for ax in quantities] == [7, 7]


def test_a_long_run_keeps_every_kth_step(tmp_path, model_path, pairs, monkeypatch):
    monkeypatch.setattr("prefstrength.mixdpo.strength_learner.MOST_POINTS", 4)
    changes = {"strength": GAMMA, "max_steps": 11, "save_strategy": "steps", "save_steps": 4}
    whole = trainer_of(tmp_path / "whole", model_path, pairs, **changes)
    whole.train()
    assert [p["step"] for p in whole.strength.trajectory] == [0, 3, 4, 6, 8, 9, 11]
    assert all("gradient/location" in point for point in whole.strength.trajectory[1:])
    resumed = trainer_of(tmp_path / "resumed", model_path, pairs, **changes)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert resumed.strength.learned() == whole.strength.learned()


def test_rewards_are_log_ratios_times_the_mean_strength(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=LOGNORMAL, max_steps=1)
    with torch.no_grad():
        for each in trainer.model.parameters():
            each += 0.1
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    with pytest.warns(DataWarning, match="log-ratios of 0 before the first step"):
        trainer.compute_loss(trainer.model, batch)
    metrics = {}
    trainer.log(metrics)
    reference = trainer.compute_ref_log_probs(trainer.ref_model, batch)
    for name, base in zip(("chosen", "rejected"), reference, strict=True):
        want = trainer.strength.mean * (metrics[f"logps/{name}"] - base.mean().item())
        assert metrics[f"rewards/{name}"] == pytest.approx(want, abs=1e-5)


def test_the_best_checkpoint_brings_its_strength(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        eval_dataset=Dataset.from_list(rows(8, seed=1)),
        callbacks=[Worse()],
        strength=LOGNORMAL,
        strength_learning_rate=1e-2,
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    trainer.train()
    assert trainer.state.best_global_step == 2
    best = LearnedStrength.load(tmp_path / "checkpoint-2")
    learned = trainer.strength.learned()
    assert learned.parameters == pytest.approx(best.parameters, rel=1e-12)
    assert learned.steps == 2
    assert learned.trajectory[-1]["step"] == 6
    assert learned.trajectory[-1]["mu"] != pytest.approx(best.parameters["mu"], rel=1e-6)


def test_training_again_begins_a_new_trajectory(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=LOGNORMAL, max_steps=2)
    trainer.train()
    trainer.train()
    assert [point["step"] for point in trainer.strength.trajectory] == [0, 1, 2]


def test_the_model_card_names_the_method(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        strength=GAMMA,
        max_steps=1,
        save_strategy="steps",
        save_steps=1,
    )
    trainer.train()
    card = (tmp_path / "README.md").read_text()
    assert "MixDPO: Modeling Preference Strength" in card
    assert "2601.06180" in card


def test_training_needs_nothing_of_jax(tmp_path, model_path):
    code = f"""
        import sys
        for name in ("jax", "jaxlib", "numpyro", "arviz"):
            sys.modules[name] = None  # an import of it fails
        import prefstrength
        from datasets import Dataset
        from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
        from prefstrength.choice.strength_prior import StrengthPrior

        args = MixDPOConfig(
            {str(tmp_path)!r},
            strength=StrengthPrior("LogNormal", -2.3, 0.2, -0.4, 0.3),
            **{USUAL | {"max_steps": 2}!r},
        )
        pairs = Dataset.from_list({rows(8)!r})
        trainer = MixDPOTrainer({model_path!r}, args=args, train_dataset=pairs)
        trainer.train()
        trainer.save_model()
        assert not [name for name, each in sys.modules.items() if each and name[:3] == "jax"]
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert LearnedStrength.load(tmp_path).steps == 2


# -- inputs that work ----------------------------------------------------------------------------


def test_an_adapter_on_a_model_object_and_conversations(tmp_path, model_path):
    trainer = trainer_of(
        tmp_path,
        AutoModelForCausalLM.from_pretrained(model_path),
        chats(),
        strength=GAMMA,
        max_steps=3,
        peft_config=lora(),
    )
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert LearnedStrength.load(tmp_path).steps == 3


def chats(n=16):
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": row["prompt"].strip()}],
                "chosen": [{"role": "assistant", "content": row["chosen"]}],
                "rejected": [{"role": "assistant", "content": row["rejected"]}],
            }
            for row in rows(n)
        ]
    )


def test_conversations_are_what_the_chat_template_writes(tmp_path, model_path):
    trainer = trainer_of(tmp_path, model_path, chats(), strength=GAMMA)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    for messages, row in zip(chats(), trainer.train_dataset, strict=True):
        for name in ("chosen", "rejected"):
            whole = tokenizer.apply_chat_template(
                messages["prompt"] + messages[name], tokenize=True, return_dict=False
            )
            assert row["prompt_ids"] + row[f"{name}_ids"] == whole
        prompt = tokenizer.apply_chat_template(
            messages["prompt"], tokenize=True, return_dict=False, add_generation_prompt=True
        )
        assert row["prompt_ids"] == prompt


def test_a_prompt_inside_the_responses_is_extracted_as_the_error_says(tmp_path, model_path):
    explicit = chats()
    implicit = Dataset.from_list(
        [{name: row["prompt"] + row[name] for name in ("chosen", "rejected")} for row in explicit]
    )
    with pytest.raises(InputError, match=r"got no prompt among .* map trl\.extract_prompt over"):
        trainer_of(tmp_path / "implicit", model_path, implicit, strength=GAMMA)
    trainers = [
        trainer_of(tmp_path / str(i), model_path, dataset, strength=GAMMA, max_steps=3)
        for i, dataset in enumerate((explicit, implicit.map(trl.extract_prompt)))
    ]
    for trainer in trainers:
        trainer.train()
    assert_same(*(trained_parameters(trainer) for trainer in trainers), 0.0)


def test_padding_free_is_trls_to_bring_back(tmp_path, model_path, pairs, caplog, monkeypatch):
    """TRL 1.16 has no packing for pairs: it says so, and trains with padding."""
    monkeypatch.setattr(logging.getLogger("trl"), "propagate", True)
    trainers = []
    for free in (False, True):
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            trainers.append(
                trainer_of(
                    tmp_path / str(free), model_path, pairs, strength=GAMMA, max_steps=3,
                    padding_free=free,
                )
            )  # fmt: skip
        said = "padding_free=True` is temporarily unavailable" in caplog.text
        assert said == free
        trainers[-1].train()
    assert_same(*(trained_parameters(trainer) for trainer in trainers), 0.0)
    assert_same(*(trainer.strength.state_dict() for trainer in trainers), 0.0)
    assert "packing" not in MixDPOConfig.__dataclass_fields__


def test_callbacks_and_integrations_see_the_strength(tmp_path, model_path, pairs, monkeypatch):
    class Recorder(TrainerCallback):
        seen = []

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.seen.append((state.global_step, dict(logs)))

    class Integration(Recorder):
        seen = []

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Integration)
    trainer = trainer_of(
        tmp_path, model_path, pairs, strength=GAMMA, max_steps=3, report_to=["tensorboard"],
        callbacks=[Recorder()],
    )  # fmt: skip
    trainer.train()
    for seen in (Recorder.seen, Integration.seen):
        logs = [log for _, log in seen if "loss" in log]
        assert len(logs) == 3
        for key in ("strength/mean", "strength/cv", "strength/grad_norm", "rewards/margins"):
            assert all(math.isfinite(log[key]) for log in logs)
    assert Recorder.seen == Integration.seen


def test_bf16_and_activation_checkpointing(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        strength=LOGNORMAL,
        max_steps=3,
        bf16=True,
        activation_checkpointing=True,
    )
    trainer.train()
    assert trainer.strength.location.dtype == torch.float64
    assert math.isfinite(trainer.state.log_history[-2]["loss"])


def test_a_stream_needs_the_number_of_pairs(tmp_path, model_path):
    def stream():
        yield from rows(16)

    dataset = IterableDataset.from_generator(stream)
    with pytest.raises(InputError, match="Expected strength_num_pairs with a streaming"):
        trainer_of(tmp_path, model_path, dataset, strength=GAMMA, max_steps=2)
    trainer = trainer_of(
        tmp_path, model_path, dataset, strength=GAMMA, max_steps=2, strength_num_pairs=16
    )
    trainer.train()
    assert trainer.strength_learner.prior_weight == 1 / 16


def stream_of(table):
    """Rows as they come, of which nothing is known before."""

    def stream():
        yield from table

    return IterableDataset.from_generator(stream)


def streamed(value, column="reward_chosen"):
    """Six pairs with numbers, of which the fifth has another."""
    numbers = {"reward_chosen": 1.0, "reward_rejected": 0.0, "weight": 1.0}
    table = [{**row, **numbers} for row in rows(6)]
    table[4][column] = value
    return stream_of(table)


@pytest.mark.parametrize("value", [math.nan, None, math.inf])
@pytest.mark.parametrize("objective", ["odpo", "smpo"])
def test_a_reward_in_a_stream_that_is_no_number(tmp_path, model_path, value, objective):
    changes = {"objective": objective, "per_device_train_batch_size": 2, "max_steps": 6}
    trainer = trainer_of(tmp_path, model_path, streamed(value), **changes)
    with pytest.raises(InputError, match=rf"chosen of a batch; got {value!r} in row 0 \(1 of 2"):
        trainer.train()
    whole = trainer_of(tmp_path, model_path, streamed(2.0), **changes)
    whole.train()
    assert whole.state.global_step == 6


@pytest.mark.parametrize(
    ("value", "shown"), [(-5.0, "-5.0"), (math.nan, "nan"), (None, "nan"), (math.inf, "inf")]
)
def test_a_weight_in_a_stream_that_is_none(tmp_path, model_path, value, shown):
    changes = {"weight_column": "weight", "per_device_train_batch_size": 2, "max_steps": 6}
    trainer = trainer_of(tmp_path, model_path, streamed(value, "weight"), **changes)
    with pytest.raises(
        InputError, match=rf"weight of the batch at step 3; got {shown} in row 0 \(1 of 2"
    ):
        trainer.train()
    assert trainer.state.global_step == 2
    # An evaluation counts every pair once, whatever its weight.
    assert math.isfinite(trainer.evaluate(streamed(value, "weight"))["eval_loss"])
    whole = trainer_of(tmp_path, model_path, streamed(0.0, "weight"), **changes)
    whole.train()
    assert whole.state.global_step == 6


def test_a_stream_without_a_pair_to_train_on(tmp_path, model_path):
    long = {**rows(1)[0], "prompt": " ".join(["w1"] * 40) + " "}
    with pytest.raises(InputError, match=r"got a stream .* has 32 tokens .* or more in all"):
        trainer_of(tmp_path, model_path, stream_of([long] * 5))
    trainer_of(tmp_path, model_path, stream_of([long, rows(1)[0]]), max_steps=1).train()
    # One that can be read at the door alone.
    table = rows(3)
    trainer = trainer_of(tmp_path, model_path, stream_of(table), max_steps=2)
    table.clear()
    with pytest.raises(InputError, match="at least one batch of training pairs; got none"):
        trainer.train()


# -- inputs that cannot work -----------------------------------------------------------------------


def changed(**columns):
    table = rows(6)
    for name, value in columns.items():
        for row in table:
            if value is None:
                row.pop(name)
            else:
                row[name] = value
    return Dataset.from_list(table)


def with_a_hole():
    table = rows(6)
    table[4]["rejected"] = None
    return Dataset.from_list(table)


def with_ties():
    table = rows(6)
    for number, row in enumerate(table):
        row["tie"] = number in (1, 2)
    return Dataset.from_list(table)


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (
            lambda: changed(rejected=None),
            "columns prompt, chosen and rejected .* got no rejected among",
        ),
        (lambda: changed(prompt=None), "got no prompt among chosen, rejected"),
        (lambda: changed(chosen=3), "three texts, .* got prompt str, chosen int, rejected str"),
        (lambda: Dataset.from_list([]), "Expected preference pairs in train_dataset; got none"),
        (with_a_hole, r"column rejected of every pair .* got none in 1 of 6 \(first rows: 4\)"),
        (with_ties, r"got 2 of 6 marked as ties \(first rows: 1, 2\)"),
        (
            lambda: changed(prompt=" ".join(["w1"] * 40) + " "),
            r"got 6 of 6 pairs, whose prompt alone has 32 tokens \(max_length\) or more",
        ),
    ],
)
def test_pairs_that_cannot_be_trained_on(tmp_path, model_path, dataset, text):
    with pytest.raises(InputError, match=text):
        trainer_of(tmp_path / "run", model_path, dataset())
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_some_prompts_that_are_too_long_are_counted(tmp_path, model_path):
    table = [*rows(6), {**rows(1)[0], "prompt": " ".join(["w1"] * 40) + " "}]
    with pytest.warns(DataWarning, match="Left out 1 of 7 pairs"):
        trainer_of(tmp_path, model_path, Dataset.from_list(table))


def test_datasets_of_a_wrong_type(tmp_path, model_path):
    import pandas as pd

    with pytest.raises(TypeError, match=r"got DataFrame\. Give datasets\.Dataset\.from_pandas"):
        trainer_of(tmp_path, model_path, pd.DataFrame(rows(3)))
    with pytest.raises(TypeError, match="Expected train_dataset as a .* got NoneType"):
        trainer_of(tmp_path, model_path, None)
    with pytest.raises(TypeError, match="Expected eval_dataset as a .* got list"):
        MixDPOTrainer(
            model_path, args=arguments(tmp_path), train_dataset=changed(), eval_dataset=rows(2)
        )


def test_models_that_cannot_be_a_policy(tmp_path, model_path, pairs):
    config = AutoModelForCausalLM.from_pretrained(model_path).config
    config._name_or_path = ""
    in_memory = LlamaForCausalLM(config)
    with pytest.raises(InputError, match="reference is loaded too; got a LlamaForCausalLM that"):
        trainer_of(tmp_path, in_memory, pairs)
    with pytest.raises(InputError, match="its tokenizer is loaded too"):
        trainer_of(tmp_path, in_memory, pairs, peft_config=lora())
    with pytest.raises(InputError, match="where there is no folder"):
        trainer_of(tmp_path, str(tmp_path / "no" / "model"), pairs)
    with pytest.raises(TypeError, match="Expected model as a name, a path or .* got int"):
        trainer_of(tmp_path, 3, pairs)


@pytest.fixture
def pickled(tmp_path, model_path):
    """The policy as older programs saved it."""
    folder = shutil.copytree(model_path, tmp_path / "pickled")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def test_weights_in_a_pickle_are_not_read(tmp_path, model_path, pairs, pickled):
    text = r"Expected weights in safetensors .*pickled'; got pytorch_model\.bin, a pickle, which"
    loaded = AutoModelForCausalLM.from_pretrained(model_path)
    loaded.config._name_or_path = str(pickled)  # from where its reference would be loaded
    for model in (str(pickled), pickled, loaded):
        with pytest.raises(InputError, match=text) as refused:
            trainer_of(tmp_path / "run", model, pairs)
        assert "\n" not in str(refused.value)
    for both in ((pickled, model_path), (model_path, pickled)):
        with pytest.raises(InputError, match=text):
            evaluate_preferences(*both, pairs, PointMass(0.1))
        with pytest.raises(InputError, match=text):
            win_rate(*both, ["w1 w2"], SimpleNamespace(score_pairs=lambda pairs: None))
    (pickled / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="pickled'; got none. Check the path"):
        trainer_of(tmp_path / "run", pickled, pairs)


def test_what_loads_a_model_is_told_to_take_safetensors(tmp_path, model_path, pairs, monkeypatch):
    asked = []
    load = LlamaForCausalLM.from_pretrained.__func__

    def listening(cls, *names, **options):
        asked.append(options.get("use_safetensors"))
        return load(cls, *names, **options)

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", classmethod(listening))
    trainer_of(tmp_path / "a", model_path, pairs, model_init_kwargs={"dtype": "float32"})
    assert asked == [True, True, True]  # a look at the weights, policy and reference
    asked.clear()
    evaluate_preferences(model_path, model_path, pairs.select(range(2)), PointMass(0.1))
    assert asked == [True, True]
    asked.clear()
    # Who asks for something else gets it.
    trainer_of(tmp_path / "b", model_path, pairs, model_init_kwargs={"use_safetensors": None})
    assert asked == [None, None, None]


def test_with_a_tokenizer_an_adapter_may_live_in_memory(tmp_path, model_path, pairs):
    config = AutoModelForCausalLM.from_pretrained(model_path).config
    config._name_or_path = ""
    MixDPOTrainer(
        LlamaForCausalLM(config),
        args=arguments(tmp_path),
        train_dataset=pairs,
        processing_class=AutoTokenizer.from_pretrained(model_path),
        peft_config=lora(),
    )


def test_arguments_of_another_trainer(tmp_path, model_path, pairs):
    args = trl.DPOConfig(str(tmp_path), **USUAL)
    with pytest.raises(TypeError, match="Expected args as a MixDPOConfig; got DPOConfig"):
        MixDPOTrainer(model_path, args=args, train_dataset=pairs)


def test_a_policy_that_diverges_stops_with_its_step(tmp_path, model_path, pairs):
    class Poison(TrainerCallback):
        def on_step_end(self, args, state, control, model, **kwargs):
            if state.global_step == 2:
                with torch.no_grad():
                    model.lm_head.weight[3, 3] = math.nan

    trainer = trainer_of(tmp_path, model_path, pairs, strength=GAMMA, callbacks=[Poison()])
    with pytest.raises(InputError, match="finite loss; got nan at step 3, .* in 4 of 4 pairs"):
        trainer.train()
    assert math.isfinite(trainer.strength.mean)


def test_checkpoints_of_other_training(tmp_path, model_path, pairs):
    saving = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2}
    trl.DPOTrainer(
        model_path,
        args=trl.DPOConfig(str(tmp_path / "dpo"), **{**USUAL, **saving}),
        train_dataset=pairs,
    ).train()
    trainer_of(tmp_path / "lognormal", model_path, pairs, strength=LOGNORMAL, **saving).train()
    trainer = trainer_of(tmp_path / "gamma", model_path, pairs, strength=GAMMA, **saving)
    with pytest.raises(InputError, match="Expected strength_state.safetensors in the checkpoint"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "dpo" / "checkpoint-1"))
    with pytest.raises(
        InputError, match="same strength family as this run 'Gamma'; got 'LogNormal'"
    ):
        trainer.train(resume_from_checkpoint=str(tmp_path / "lognormal" / "checkpoint-1"))


@pytest.mark.filterwarnings("ignore:The mean strength is 0.1 per nat of log-ratio per token")
@pytest.mark.filterwarnings("ignore:The `'keep_end'` truncation mode is deprecated:FutureWarning")
def test_a_run_is_not_resumed_with_another_objective(tmp_path, model_path, pairs):
    rewards = pairs.add_column("reward_chosen", [1.0] * len(pairs))
    rewards = rewards.add_column("reward_rejected", [0.0] * len(pairs))
    saving = {"strength": LOGNORMAL, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    trainer_of(tmp_path, model_path, rewards, **saving).train()
    for changes, text in (
        ({"objective": "smpo"}, "same objective as this run, 'smpo'; got 'mixdpo'"),
        ({"loss_type": "sigmoid_norm"}, "same loss_type as this run, 'sigmoid_norm'; got 'sigm"),
        ({"truncation_mode": "keep_end"}, "truncation_mode.*Give truncation_mode='keep_start'"),
        ({"ld_alpha": 0.5}, "same ld_alpha as this run, 0.5; got None"),
    ):
        trainer = trainer_of(tmp_path, model_path, rewards, **{**saving, "max_steps": 2, **changes})
        with pytest.raises(InputError, match=text):
            trainer.train(resume_from_checkpoint=True)
        assert trainer.state.global_step < 2
    # A checkpoint from before this was written down goes on.
    path = tmp_path / "checkpoint-1" / "learned_strength.json"
    record = json.loads(path.read_text())
    assert record.pop("delta")["max_length"] == 32
    path.write_text(json.dumps(record))
    trainer = trainer_of(tmp_path, model_path, rewards, **{**saving, "max_steps": 2})
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 2


@pytest.mark.filterwarnings("ignore:Strength .* is learned without a prior")
@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"objective": "odpo"}, {"odpo_alpha": 0.5}, "same odpo_alpha as this run, 0.5; got 1.0"),
        ({"objective": "smpo"}, {"smpo_gamma": 2.0}, "same smpo_gamma as this run, 2.0; got 1.0"),
        ({"objective": "beta-dpo"}, {"beta_dpo_a": 0.1}, "Give beta_dpo_a=0.6, or start anew"),
        ({}, {"estimator": "monte-carlo"}, "same estimator as this run, 'monte-carlo'; got 'exact"),
        ({"estimator": "monte-carlo"}, {"samples": 8}, "same samples as this run, 8; got 16"),
        ({}, {"weight_column": "weight"}, "same weight_column as this run, 'weight'; got None"),
        ({}, {"use_weighting": True}, "same use_weighting as this run, True; got False"),
        ({}, {"strength_num_pairs": 64}, "Give strength_num_pairs=32, or start anew"),
        (
            {"strength": None, "beta": 0.1},
            {"beta": 0.2},
            "same mean of strength as this run, 0.2; got 0.1, .*'frozen'.* Give beta=0.1",
        ),
        (
            {"strength": None, "strength_family": "Gamma", "strength_mode": "anchored"},
            {"beta": 0.2},
            "same mean of strength as this run, 0.2; got 0.1, .*'anchored'",
        ),
        (
            {"strength": None, "strength_family": "LogNormal", "strength_mode": "frozen"},
            {"strength_start_cv": 0.8},
            "same cv of strength as this run, 0.8; got 0.5, .* Give strength_start_cv=0.5",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_run_is_not_resumed_with_other_arguments_of_the_loss(
    tmp_path, model_path, pairs, first, second, text
):
    data = pairs
    for name in ("reward_chosen", "reward_rejected", "weight"):
        data = data.add_column(name, [1.0 + (name == "reward_chosen")] * len(data))
    first = {"strength": LOGNORMAL} | first
    run = trainer_of(tmp_path / "first", model_path, data, **first).strength
    path = run.learned().save(tmp_path / "learned_strength.json")
    run.restore(LearnedStrength.load(path), "the checkpoint")
    other = trainer_of(tmp_path / "second", model_path, data, **{**first, **second}).strength
    with pytest.raises(InputError, match=text):
        other.restore(LearnedStrength.load(path), "the checkpoint")


@pytest.mark.filterwarnings("ignore:Strength .* is learned without a prior")
def test_a_learned_mean_may_begin_elsewhere_when_resumed(tmp_path, model_path, pairs):
    first, again = (
        trainer_of(tmp_path, model_path, pairs, strength_family="Gamma", beta=beta).strength
        for beta in (0.1, 0.3)
    )
    again.restore(first.learned(), "the checkpoint")
    assert again.mean == pytest.approx(0.1, rel=1e-12)


# -- what of TRL we lean on ------------------------------------------------------------------------


def test_a_loss_that_multiplies_otherwise_is_noticed(tmp_path, model_path, pairs, monkeypatch):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=GAMMA)
    delta, chosen = torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.25])

    def hosting():
        law = trainer.strength.mixing()
        return HostedStrength(trainer.strength.mean, lambda delta: mixdpo_loss(delta, law))

    hosted = hosting()
    for log_ratio in (delta, chosen, chosen - delta):
        hosted * log_ratio
    hosted.check()
    with pytest.raises(RuntimeError, match="got 3 products"):
        hosted.check(lengths=(torch.tensor([2.0, 2.0]), torch.tensor([4.0, 4.0])))
    with pytest.raises(RuntimeError, match="no longer takes the log-sigmoid.*but sigmoid"):
        torch.sigmoid(hosting() * delta)

    for products in ([delta], [chosen, delta, chosen - delta], [delta, chosen, chosen, delta]):
        hosted = hosting()
        for log_ratio in products:
            log_ratio * hosted
        with pytest.raises(RuntimeError, match=f"got {len(products)} products"):
            hosted.check()

    # The whole loss, as it would be if TRL took the rewards first.
    def rewards_first(self, model, inputs, return_outputs):
        self.beta * chosen, self.beta * (chosen - delta)
        return -torch.nn.functional.logsigmoid(self.beta * delta).mean()

    monkeypatch.setattr(trl.DPOTrainer, "_compute_loss", rewards_first)
    with pytest.raises(RuntimeError, match="no longer multiplies beta"):
        trainer.compute_loss(trainer.model, {"completion_mask": torch.ones(4, 3)})


def test_trls_loss_cannot_take_the_hosted_strength_for_a_number(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=GAMMA)
    with pytest.raises(TypeError):
        float(HostedStrength(trainer.strength.mean, lambda delta: delta))


def test_the_signatures_that_are_overridden():
    import inspect

    def names(method):
        found = inspect.signature(method).parameters.values()
        return [each.name for each in found if each.kind == each.POSITIONAL_OR_KEYWORD]

    base = trl.DPOTrainer
    assert names(base._compute_loss) == ["self", "model", "inputs", "return_outputs"]
    assert names(base.log) == ["self", "logs", "start_time"]
    assert names(base.save_model) == ["self", "output_dir", "_internal_call"]
    assert names(base._save_optimizer_and_scheduler) == ["self", "output_dir"]
    assert names(base._load_optimizer_and_scheduler) == ["self", "checkpoint"]
    assert names(base._load_best_model) == ["self"]
    assert names(base._prepare_dataset) == [
        "self", "dataset", "processing_class", "args", "dataset_name",
    ]  # fmt: skip
    assert names(base.train) == [
        "self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval",
    ]  # fmt: skip
    assert names(base.evaluate) == ["self", "eval_dataset", "ignore_keys", "metric_key_prefix"]
    assert names(base.evaluation_loop) == [
        "self", "dataloader", "description", "prediction_loss_only", "ignore_keys",
        "metric_key_prefix",
    ]  # fmt: skip
    assert names(base.compute_ref_log_probs) == ["self", "model", "inputs"]
    assert names(base._set_signature_columns_if_needed) == ["self"]
    assert names(base.create_scheduler) == ["self", "num_training_steps", "optimizer"]
    constructor = names(base.__init__)
    assert constructor[:7] == [
        "self",
        "model",
        "ref_model",
        "args",
        "data_collator",
        "train_dataset",
        "eval_dataset",
    ]
    assert names(MixDPOTrainer.__init__)[:7] == constructor[:7]
    for name, method in vars(MixDPOTrainer).items():  # what is overridden can be called as theirs
        if name in dir(base) and inspect.isfunction(method) and name != "__init__":
            theirs = names(getattr(base, name))
            mine = names(method)
            assert mine == theirs[: len(mine)], name


def test_the_metrics_that_trl_keeps(tmp_path, model_path, pairs):
    """Lists by mode and name, of which the mean is logged and which are then forgotten."""
    trainer = trl.DPOTrainer(
        model_path,
        args=trl.DPOConfig(str(tmp_path), **{**USUAL, "max_steps": 1}),
        train_dataset=pairs,
    )
    assert set(trainer._metrics) == {"train", "eval"}
    for mode in ("train", "eval"):
        assert not trainer._metrics[mode]
        trainer._metrics[mode]["new"].append(1.0)  # without being made before
        trainer._metrics[mode]["set"] = [2.0]
        trainer._metrics[mode]["new"].append(4.0)
        trainer.model.train(mode == "train")
        logs = {}
        trainer.log(logs)
        prefix = "" if mode == "train" else "eval_"
        assert (logs[f"{prefix}new"], logs[f"{prefix}set"]) == (2.5, 2.0)
        assert not trainer._metrics[mode]
    trainer._set_signature_columns_if_needed()
    assert isinstance(trainer._signature_columns, list)
    chosen, rejected = trainer.compute_ref_log_probs(
        trainer.ref_model, next(iter(trainer.get_train_dataloader()))
    )
    assert chosen.shape == rejected.shape == (4,)


def test_what_evaluation_takes_of_trl(model_path):
    """Preparation with a stand-in for the trainer, the collator, and adapters by name."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    row = {"prompt": "w1 w2 ", "chosen": "w3", "rejected": "w4 w5 w6", "row": 7}
    long = {**row, "prompt": "w1 " * 9, "row": 8}
    prepared = trl.DPOTrainer._prepare_dataset(
        SimpleNamespace(_tokenizer=tokenizer),
        Dataset.from_list([row, long]),
        tokenizer,
        SimpleNamespace(dataset_num_proc=None, max_length=8, truncation_mode="keep_start"),
        "evaluation",
    )
    (got,) = list(prepared)  # what fills max_length is left out, other columns stay

    def ids(text):
        return tokenizer(text)["input_ids"]

    assert (got["row"], got["prompt_ids"]) == (7, ids("w1 w2"))
    assert (got["chosen_ids"], got["rejected_ids"]) == (ids("w3 <eos>"), ids("w4 w5 w6 <eos>"))

    batch = DataCollatorForPreference(0, max_length=5)([got, got])
    assert {"input_ids", "attention_mask", "completion_mask"} <= set(batch)
    first, _, third, _ = batch["input_ids"].tolist()  # chosen of all, then rejected of all
    assert first == [*ids("w1 w2 w3 <eos>"), 0]
    assert third == ids("w1 w2 w4 w5 w6")
    assert batch["completion_mask"].tolist()[::2] == [[0, 0, 1, 1, 0], [0, 0, 1, 1, 1]]
    assert batch["attention_mask"].tolist()[::2] == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), lora())
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "lora" in name:
                each.fill_(0.1)
    model.add_adapter("ref", lora())
    tokens = torch.tensor([ids("w1 w2 w3")])

    def logits():
        return model(input_ids=tokens).logits.detach()

    mine = logits()
    with use_adapter(model, None), model.disable_adapter():
        bare = logits()
    with use_adapter(model, None):
        assert torch.equal(logits(), bare)
    with use_adapter(model, "ref"):  # whose B is 0
        assert torch.equal(logits(), bare)
    assert torch.equal(logits(), mine)
    assert not torch.equal(mine, bare)


def test_the_record_is_plain_json(tmp_path, model_path, pairs):
    trainer = trainer_of(tmp_path, model_path, pairs, strength=GAMMA, max_steps=1)
    trainer.train()
    trainer.save_model()
    record = json.loads((tmp_path / "learned_strength.json").read_text())
    assert record["schema"] == "prefstrength/learned-strength/1"
    assert set(record["versions"]) >= {"torch", "transformers", "trl"}
