"""The objectives by name: their formulas, in the trainer, with columns, weights and checkpoints."""

import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset, concatenate_datasets  # noqa: E402
from torch.nn.functional import logsigmoid  # noqa: E402

from prefstrength.choice.mixing.gamma import Gamma  # noqa: E402
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian  # noqa: E402
from prefstrength.choice.mixing.log_normal import LogNormal  # noqa: E402
from prefstrength.choice.mixing.normal import Normal  # noqa: E402
from prefstrength.choice.mixing.point_mass import PointMass  # noqa: E402
from prefstrength.choice.mixing.zero_mass import ZeroMass  # noqa: E402
from prefstrength.errors import InputError  # noqa: E402
from prefstrength.mixdpo import (  # noqa: E402
    MixDPOConfig,
    beta_dpo_loss,
    capo_loss,
    mixdpo_loss,
    odpo_loss,
    smpo_loss,
)
from prefstrength.mixdpo.columns import CarriedColumns, split_columns  # noqa: E402
from prefstrength.mixdpo.objectives import OBJECTIVES, Batch  # noqa: E402
from prefstrength.mixdpo.objectives.base import Running  # noqa: E402
from tests.helpers.tiny_training import (  # noqa: E402
    LOGNORMAL,
    USUAL,
    Worse,
    assert_same,
    delta_of,
    lora,
    moved,
    rows,
    trained_parameters,
    trainer_of,
)

LAWS = [
    PointMass(value=0.1),
    Normal(mu=0.1, sigma=0.04),
    LogNormal(mu=-2.4, sigma=0.7),
    Gamma(shape=2.0, rate=20.0),
    InverseGaussian(mu=0.1, shape=0.2),
]
DELTA = torch.tensor([-30.0, -2.0, 0.0, 0.5, 12.0, 70.0], dtype=torch.float64)
REWARD = torch.tensor([2.0, 0.3, -1.0, 1.0, 5.0, 0.0], dtype=torch.float64)


def averaged(law, x):
    """-log of the mean over strengths of sigma(strength x), by brute force."""
    q = (np.arange(200_000) + 0.5) / 200_000
    strength = law.quantile(q)
    x = x.numpy()
    return np.array([-np.log(np.mean(1 / (1 + np.exp(-strength * each)))) for each in x])


# -- the formulas ----------------------------------------------------------------------------------


def test_at_a_point_they_are_the_papers_own():
    beta = 0.1
    law = PointMass(value=beta)
    offset = 0.7 * torch.log(REWARD.clamp(min=1e-3))
    q = torch.sigmoid(REWARD)
    scale = 1 + 0.6 * (DELTA.mean() - 3.0)
    for got, want in (
        (mixdpo_loss(DELTA, law), -logsigmoid(beta * DELTA)),
        (odpo_loss(DELTA, law, REWARD, alpha=0.7), -logsigmoid(beta * DELTA - offset)),
        (beta_dpo_loss(DELTA, law, 3.0), -logsigmoid(scale * beta * DELTA)),
        (smpo_loss(DELTA, law, REWARD, gamma=3.0), -logsigmoid(3 * (2 * q - 1) * beta * DELTA)),
        (capo_loss(DELTA, law, REWARD), (2 * q - 1 - beta * DELTA) ** 2),
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.family)
def test_with_a_law_they_are_its_average(law):
    mean = law.mean()
    offset = torch.log(REWARD.clamp(min=1e-3))
    scale = 1 + 0.2 * (DELTA.mean() - 8.0)
    for got, x in (
        (odpo_loss(DELTA, law, REWARD), DELTA - offset / mean),
        (beta_dpo_loss(DELTA, law, 8.0, a=0.2), scale * DELTA),
        (smpo_loss(DELTA, law, REWARD, gamma=2.0), 2 * torch.tanh(REWARD / 2) * DELTA),
    ):
        np.testing.assert_allclose(got.numpy(), averaged(law, x), rtol=2e-3)
    margin = torch.tanh(REWARD / 2)
    torch.testing.assert_close(capo_loss(DELTA, law, REWARD), (margin - mean * DELTA) ** 2)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.family)
def test_gradients_reach_delta_and_every_parameter(law):
    values = [torch.tensor(v, dtype=torch.float64) for v in law.parameters.values()]

    def all_losses(delta, *values):
        given = law.with_parameters(dict(zip(law.parameters, values, strict=True)))
        return torch.stack(
            [
                odpo_loss(delta, given, REWARD),
                smpo_loss(delta, given, REWARD),
                capo_loss(delta, given, REWARD),
                # The scale of a batch is held: its mean is given.
                beta_dpo_loss(delta, given, 8.0, a=0.2, batch_mean=DELTA.mean()),
            ]
        )

    inputs = [each.clone().requires_grad_() for each in (DELTA, *values)]
    assert torch.autograd.gradcheck(all_losses, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_the_mean_of_a_mixing_distribution_made_of_others_is_its_own():
    """Half have strength 0, and so no offset; on average strength is 0.05."""
    found = odpo_loss(DELTA, ZeroMass(PointMass(value=0.1), share=0.5), REWARD)
    offset = REWARD.clamp(min=1e-3).log() / 0.05
    p = (torch.sigmoid(0.1 * (DELTA - offset)) + 0.5) / 2
    torch.testing.assert_close(found, -p.log())


def test_every_objective_has_its_entry_in_the_paper_index():
    page = Path(__file__).parents[2].joinpath("docs", "paper_index.md").read_text(encoding="utf-8")
    for name, objective in OBJECTIVES.items():
        entry = next(part for part in page.split("\n## ") if f"abs/{objective.paper}" in part)
        assert name == "mixdpo" or f'objective="{name}"' in entry
        for said in (*objective.columns, *(f"{each.name}=" for each in objective.arguments)):
            assert said in entry, f"{name}: {said}"


# -- the paper's estimator ---------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.family)
def test_monte_carlo_tends_to_the_exact_loss_from_above(law):
    delta = torch.tensor([-40.0, -8.0, 6.0], dtype=torch.float64)
    exact = mixdpo_loss(delta, law)
    torch.manual_seed(0)
    repeats = 4000
    many = delta.expand(repeats, -1)
    spread, bias = [], []
    for samples in (16, 64, 256):
        got = mixdpo_loss(many, law, estimator="monte-carlo", samples=samples)
        spread.append(got.std(dim=0))
        bias.append(got.mean(dim=0) - exact)
    if law.family == "PointMass":
        assert max(map(torch.max, spread)) < 1e-12
        return
    # A rate of -1/2: four times the draws, half the spread.
    for more, fewer in zip(spread[1:], spread, strict=False):
        assert (more / fewer).numpy() == pytest.approx(0.5, abs=0.06)
    # Jensen: too high by var / (2 K p^2), where that is small enough for an expansion.
    q = torch.as_tensor(law.quantile((np.arange(100_000) + 0.5) / 100_000))
    p = torch.sigmoid(q[:, None] * delta)
    predicted = p.var(dim=0) / (2 * 64 * p.mean(dim=0) ** 2)
    noise = spread[1] / math.sqrt(repeats)
    assert (bias[1] > 0).all()
    assert ((bias[1] - predicted).abs() < 4 * noise + 0.2 * predicted).all()


@pytest.mark.parametrize("law", LAWS[1:], ids=lambda law: law.family)
def test_monte_carlo_gradients_tend_to_the_exact_ones(law):
    values = [
        torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in law.parameters.values()
    ]
    given = law.with_parameters(dict(zip(law.parameters, values, strict=True)))
    delta = torch.tensor([-8.0, 6.0], dtype=torch.float64)
    want = torch.autograd.grad(mixdpo_loss(delta, given).sum(), values)
    torch.manual_seed(1)
    got = torch.autograd.grad(
        mixdpo_loss(delta, given, estimator="monte-carlo", samples=400_000).sum(), values
    )
    for mine, other in zip(got, want, strict=True):
        assert mine.item() == pytest.approx(other.item(), rel=0.03, abs=2e-3)


@pytest.mark.parametrize("law", LAWS[1:], ids=lambda law: law.family)
def test_monte_carlo_draws_from_the_generator_it_is_given(law):
    one, two, other = (
        mixdpo_loss(DELTA, law, estimator="monte-carlo", generator=torch.Generator().manual_seed(k))
        for k in (5, 5, 6)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_gamma_is_drawn_as_torchs_own_is():
    delta = torch.tensor([-8.0, 2.0, 6.0], dtype=torch.float64)
    values = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.3, 4.0)]
    torch.manual_seed(2)
    ours = mixdpo_loss(delta, Gamma(*values), estimator="monte-carlo", samples=50)
    torch.manual_seed(2)
    draws = torch.distributions.Gamma(*values).rsample((50, 3))
    theirs = -logsigmoid(draws * delta).exp().mean(dim=0).log()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0.0)
    for mine, other in zip(
        *(torch.autograd.grad(loss.sum(), values) for loss in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=0.0)


def test_every_process_draws_for_itself():
    """Trainers seed the generators of all processes alike."""
    arguments = SimpleNamespace(estimator="monte-carlo", samples=4)

    def losses(process, learning=True):
        torch.manual_seed(0)
        batch = Batch(DELTA, {}, LAWS[2], arguments, Running(process=process), learning)
        return [OBJECTIVES["mixdpo"].loss(batch)[0] for _ in range(2)]

    (first, second), again, other = losses(0), losses(0), losses(1)
    assert torch.equal(first, again[0])
    assert not torch.equal(first, second)
    for one in (first, second):
        assert all(not torch.equal(one, each) for each in other)
    exact = mixdpo_loss(DELTA, LAWS[2])
    assert all(torch.equal(each, exact) for each in losses(0, learning=False))


def test_what_the_estimators_refuse():
    with pytest.raises(InputError, match="one of exact, monte-carlo; got 'mc'"):
        mixdpo_loss(DELTA, LAWS[0], estimator="mc")
    with pytest.raises(InputError, match="samples of at least 1; got 0"):
        mixdpo_loss(DELTA, LAWS[0], estimator="monte-carlo", samples=0)
    law = ZeroMass(LAWS[1], share=0.5)
    with pytest.raises(InputError, match="draws with gradients; got ZeroMass, which has them in"):
        mixdpo_loss(DELTA, law, estimator="monte-carlo")


# -- in the trainer --------------------------------------------------------------------------------


def scored(n=32, seed=0):
    draw = np.random.default_rng(seed)
    return Dataset.from_list(
        [
            {
                **row,
                "reward_chosen": float(draw.normal(0.8)),
                "reward_rejected": float(draw.normal()),
                "weight": float(draw.integers(0, 4)),
            }
            for row in rows(n, seed)
        ]
    )


@pytest.fixture(scope="module")
def pairs():
    return scored()


BY_HAND = {
    "mixdpo": lambda delta, law, reward: mixdpo_loss(delta, law),
    "odpo": lambda delta, law, reward: odpo_loss(delta, law, reward, alpha=0.5),
    "smpo": lambda delta, law, reward: smpo_loss(delta, law, reward, gamma=2.0),
    "capo": lambda delta, law, reward: capo_loss(delta, law, reward),
    # The threshold of the first batch is a tenth of its mean.
    "beta-dpo": lambda delta, law, reward: beta_dpo_loss(
        delta, law, 0.1 * delta.detach().mean(), a=0.3
    ),
}
OPTIONS = {"odpo_alpha": 0.5, "smpo_gamma": 2.0, "beta_dpo_a": 0.3}


@pytest.mark.filterwarnings("ignore:The mean strength is 0.1 per nat of log-ratio per token")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("normalized", [False, True], ids=["", "normalized"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_the_trainer_minimises_the_objective(
    tmp_path, model_path, pairs, name, normalized, weighted
):
    trainer = moved(
        trainer_of(
            tmp_path,
            model_path,
            pairs,
            strength_family="LogNormal",
            strength_mode="frozen",
            objective=name,
            loss_type="sigmoid_norm" if normalized else "sigmoid",
            weight_column="weight" if weighted else None,
            **OPTIONS,
        )
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    some = trainer.model.model.layers[0].mlp.up_proj.weight
    (got,) = torch.autograd.grad(loss, [some])

    delta = delta_of(trainer, batch, normalized)
    columns = split_columns(batch)[0]
    reward = None
    if OBJECTIVES[name].columns:
        reward = columns["reward_chosen"] - columns["reward_rejected"]
        assert reward.abs().max() > 0.5
    each = BY_HAND[name](delta, trainer.strength.mixing(), reward)
    if weighted:
        each = each * columns["weight"]
        assert len(set(columns["weight"].tolist())) > 1
    objective = each.mean()
    (want,) = torch.autograd.grad(objective, [some])
    assert loss.item() == pytest.approx(objective.item(), rel=1e-5)
    torch.testing.assert_close(got, want.to(got.dtype), rtol=1e-4, atol=1e-7)
    # Without the weights, and without what the model does not know, evaluation runs as well.
    trainer.model.eval()
    with torch.no_grad():
        assert math.isfinite(trainer.compute_loss(trainer.model, batch).item())


@pytest.mark.parametrize("variant", ["lora", "precomputed"])
@pytest.mark.parametrize("name", ["odpo", "beta-dpo"])
def test_adapters_and_precomputed_references(tmp_path, model_path, pairs, name, variant):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        peft_config=lora() if variant == "lora" else None,
        eval_dataset=pairs,
        objective=name,
        strength=LOGNORMAL,
        weight_column="weight",
        max_steps=3,
        precompute_ref_log_probs=variant == "precomputed",
    )
    trainer.train()
    logged = trainer.state.log_history
    key = {"odpo": "objective/guarded_share", "beta-dpo": "objective/scale"}[name]
    assert all(math.isfinite(entry[key]) for entry in logged[:3])
    assert math.isfinite(trainer.evaluate()[f"eval_{key}"])


def test_a_batch_of_eight_is_eight_of_one_with_weights_and_offsets(tmp_path, model_path, pairs):
    runs = [
        trainer_of(
            tmp_path / str(size),
            model_path,
            pairs,
            strength=LOGNORMAL,
            objective="odpo",
            weight_column="weight",
            max_steps=4,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
            optim="sgd",
        )
        for size in (8, 1)
    ]
    for run in runs:
        run.train()
    assert_same(trained_parameters(runs[0]), trained_parameters(runs[1]), 1e-6)
    assert runs[0].strength.mean == pytest.approx(runs[1].strength.mean, rel=1e-6)


def test_a_weight_of_two_is_a_pair_twice(tmp_path, model_path, pairs):
    """The posterior of the strength: N times the objective, prior included."""
    ones, twos = (
        pairs.remove_columns("weight").add_column("weight", [value] * 32) for value in (1.0, 2.0)
    )
    twice = concatenate_datasets([ones, ones])
    found = []
    for name, data, size in (("twos", twos, 32), ("twice", twice, 64)):
        trainer = moved(
            trainer_of(
                tmp_path / name,
                model_path,
                data,
                strength=LOGNORMAL,
                weight_column="weight",
                per_device_train_batch_size=size,
            )
        )
        with torch.no_grad():
            trainer.strength.location += 0.4
        trainer.model.train()
        batch = next(iter(trainer.get_train_dataloader()))
        found.append(size * trainer.compute_loss(trainer.model, batch).item())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_half_precision_batches_leave_the_columns_alone():
    """DeepSpeed casts floating tensors of a batch."""
    collator = CarriedColumns(lambda examples: {"x": torch.ones(2)}, ["reward_chosen"], {})
    batch = collator([{"reward_chosen": 10.03}, {"reward_chosen": None}])
    cast = {k: v.half() if v.is_floating_point() else v for k, v in batch.items()}
    columns, codes, rest, *_ = split_columns(cast)
    assert columns["reward_chosen"][0].item() == pytest.approx(10.03, abs=1e-6)
    assert math.isnan(columns["reward_chosen"][1])
    assert codes == {}
    assert list(rest) == ["x"]


def test_a_dataset_given_to_evaluate_is_looked_at(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path, model_path, pairs, objective="odpo", weight_column="weight", eval_dataset=pairs
    )
    with pytest.raises(InputError, match="columns reward_chosen, reward_rejected in eval_dataset"):
        trainer.evaluate(Dataset.from_list(rows(4)))
    for dataset, error, text in (
        (pairs.select([]), InputError, "preference pairs in eval_dataset; got none"),
        (pairs.remove_columns("chosen"), InputError, "in eval_dataset; got no chosen among"),
        (pairs.to_pandas(), TypeError, "eval_dataset as a datasets.Dataset or Iter.*DataFrame"),
        ({"a": pairs, "b": pairs.select([])}, InputError, r"pairs in eval_dataset\['b'\]; got"),
    ):
        with pytest.raises(error, match=text):
            trainer.evaluate(dataset)
    assert math.isfinite(trainer.evaluate(trainer.eval_dataset)["eval_loss"])  # is tokenized
    empty = pairs.remove_columns("weight").add_column("weight", [None] * 32)
    assert math.isfinite(trainer.evaluate(empty)["eval_loss"])


def test_the_threshold_of_beta_dpo_is_resumed(tmp_path, model_path, pairs):
    def run(folder, **changes):
        return trainer_of(
            folder,
            model_path,
            pairs,
            objective="beta-dpo",
            beta_dpo_a=0.3,
            max_steps=6,
            save_strategy="steps",
            save_steps=3,
            **changes,
        )

    whole = run(tmp_path / "whole")
    whole.train()
    again = run(tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    first, second = (
        [log["objective/threshold"] for log in run.state.log_history if "loss" in log]
        for run in (whole, again)
    )
    assert first[-1] != 0
    assert second[-3:] == pytest.approx(first[-3:])
    assert_same(trained_parameters(whole), trained_parameters(again), 1e-6)


def test_the_best_checkpoint_brings_its_threshold(tmp_path, model_path, pairs):
    trainer = trainer_of(
        tmp_path,
        model_path,
        pairs,
        eval_dataset=pairs,
        objective="beta-dpo",
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    worse = Worse()
    trainer.add_callback(worse)
    trainer.train()
    trainer.remove_callback(worse)
    assert trainer.state.best_global_step == 2
    assert trainer.evaluate()["eval_loss"] == pytest.approx(worse.best, rel=1e-6)


def test_the_papers_estimator_trains(tmp_path, model_path, pairs):
    exact, drawn = (
        trainer_of(
            tmp_path / kind,
            model_path,
            pairs,
            strength=LOGNORMAL,
            estimator=kind,
            samples=2000,
            max_steps=2,
            optim="sgd",
        )
        for kind in ("exact", "monte-carlo")
    )
    exact.train()
    drawn.train()
    first, second = (run.state.log_history[1]["loss"] for run in (exact, drawn))
    assert first != second
    assert second == pytest.approx(first, rel=0.02)


def test_the_papers_estimator_is_resumed(tmp_path, model_path, pairs):
    changes = {
        "strength": LOGNORMAL, "estimator": "monte-carlo", "max_steps": 4,
        "save_strategy": "steps", "save_steps": 2,
    }  # fmt: skip
    whole = trainer_of(tmp_path / "whole", model_path, pairs, **changes)
    whole.train()
    again = trainer_of(tmp_path / "again", model_path, pairs, **changes)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert again.strength.learned() == whole.strength.learned()


DRAWING = """
import json, sys
from pathlib import Path
import torch
from datasets import Dataset
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
from prefstrength.mixdpo.objectives import mixdpo

torch.set_num_threads(1)
model, folder, usual, rows = {model!r}, {folder!r}, {usual!r}, {rows!r}
drawn, loss = [], mixdpo.mixdpo_loss

def at_one(delta, law, **options):  # what is drawn for the same pair everywhere
    drawn.append(loss(torch.ones(4).double(), law, **options).tolist())
    return loss(delta, law, **options)

mixdpo.mixdpo_loss = at_one
args = MixDPOConfig(folder, strength_family="LogNormal", estimator="monte-carlo", **usual)
trainer = MixDPOTrainer(model, args=args, train_dataset=Dataset.from_list(rows))
trainer.train()
Path(folder, f"{{trainer.accelerator.process_index}}.json").write_text(json.dumps(drawn))
"""


@pytest.mark.slow
def test_two_processes_draw_for_themselves(tmp_path, model_path):
    script = tmp_path / "drawing.py"
    usual = USUAL | {"max_steps": 2}
    script.write_text(
        DRAWING.format(model=model_path, folder=str(tmp_path), usual=usual, rows=rows())
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(script)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / f"{k}.json").read_text()) for k in range(2))
    assert len(one) == len(two) == 2
    assert not set(np.ravel(one)) & set(np.ravel(two))


# -- at the door -----------------------------------------------------------------------------------


def test_missing_and_broken_columns(tmp_path, model_path, pairs):
    plain = Dataset.from_list(rows())
    with pytest.raises(InputError, match="columns reward_chosen, reward_rejected in train_dataset"):
        trainer_of(tmp_path, model_path, plain, objective="odpo")
    with pytest.raises(InputError, match="reward_rejected in eval_dataset for this objective"):
        trainer_of(tmp_path, model_path, pairs, objective="smpo", eval_dataset=plain)
    with pytest.raises(InputError, match="columns w in train_dataset.*leave weight_column out"):
        trainer_of(tmp_path, model_path, pairs, weight_column="w")
    rewards = list(pairs["reward_chosen"])
    broken = pairs.remove_columns("reward_chosen")
    for wrong in (math.nan, None):
        column = [*rewards[:3], wrong, *rewards[4:]]
        with pytest.raises(InputError, match=r"numbers in column reward_chosen.*in row 3 \(1 of"):
            trainer_of(
                tmp_path, model_path, broken.add_column("reward_chosen", column), objective="odpo"
            )
    negative = pairs.remove_columns("weight").add_column("weight", [-1.0, *[1.0] * 31])
    with pytest.raises(InputError, match="weights >= 0 in column weight.*got -1.0 in row 0"):
        trainer_of(tmp_path, model_path, negative, weight_column="weight")
    nothing = pairs.remove_columns("weight").add_column("weight", [0.0] * 32)
    with pytest.raises(InputError, match="some are > 0"):
        trainer_of(tmp_path, model_path, nothing, weight_column="weight")
    # A filtered dataset is looked at as it is, not as it was.
    kept = broken.add_column("reward_chosen", [*rewards[:31], math.nan]).select(range(31))
    trainer_of(tmp_path, model_path, kept, objective="odpo")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"objective": "ipo"}, "objective to be one of mixdpo, odpo, beta-dpo, smpo, capo"),
        ({"estimator": "mc"}, "estimator to be one of exact, monte-carlo; got 'mc'"),
        ({"samples": 0}, "samples >= 1; got 0"),
        ({"odpo_alpha": -1.0}, "odpo_alpha >= 0; got -1.0"),
        ({"beta_dpo_a": math.inf}, "beta_dpo_a >= 0; got inf"),
        ({"smpo_gamma": 0.0}, "smpo_gamma > 0"),
        ({"objective": "odpo", "estimator": "monte-carlo"}, "estimator 'exact' with objective"),
        ({"objective": "capo", "strength": LOGNORMAL}, "strength_mode 'frozen' with objective"),
        ({"loss_type": "ipo"}, "or 'sigmoid_norm', the same with log-ratios divided"),
        ({"beta": 50.0}, "mean strength between 0.0001 and 5 "),
    ],
)  # fmt: skip
def test_arguments_that_contradict(changes, text):
    with pytest.raises(InputError, match=text):
        MixDPOConfig("unused", report_to="none", bf16=False, use_cpu=True, **changes)


def test_log_ratios_per_token_may_have_larger_strengths():
    args = MixDPOConfig(
        "unused", report_to="none", bf16=False, use_cpu=True, loss_type="sigmoid_norm", beta=50.0
    )
    assert args.beta == 50.0
