"""A tiny world for training: pairs of made-up words, arguments, and what two runs are compared by.

The policy is the fixture ``model_path`` of ``tests/mixdpo/conftest.py``.
"""

import math
import random
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

from prefstrength import StrengthPrior
from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
from prefstrength.mixdpo.reference import StartAtReference

LOGNORMAL = StrengthPrior("LogNormal", math.log(0.1), 0.2, math.log(0.7), 0.3)
GAMMA = StrengthPrior("Gamma", math.log(0.1), 0.2, math.log(0.5), 0.3)

USUAL = {
    "max_steps": 20,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "bf16": False,
    "use_cpu": True,
    "activation_checkpointing": False,
    "disable_tqdm": True,
    "max_length": 32,
}

TEMPLATE = "{% for m in messages %}{{ m['content'] + ' <eos> ' }}{% endfor %}"


def make_policy(folder: Path) -> str:
    """Save a model of 29 words with random weights; the path is what trainers take."""
    words = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(29))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)


def rows(n: int = 32, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)

    def words(k: int) -> str:
        return " ".join(f"w{draw.randrange(29)}" for _ in range(k))

    return [
        {
            "prompt": words(4) + " ",
            "chosen": words(draw.randrange(3, 7)),
            "rejected": words(draw.randrange(3, 7)),
        }
        for _ in range(n)
    ]


def arguments(folder: Any, **changes: Any) -> MixDPOConfig:
    return MixDPOConfig(str(folder), **{**USUAL, **changes})


def trainer_of(
    folder: Any,
    model: Any,
    dataset: Any,
    *,
    eval_dataset: Any = None,
    callbacks: Any = None,
    peft_config: Any = None,
    **changes: Any,
) -> MixDPOTrainer:
    extra = {"peft_config": peft_config} if peft_config else {}
    return MixDPOTrainer(
        model,
        args=arguments(folder, **changes),
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        callbacks=callbacks,
        **extra,
    )


def lora() -> LoraConfig:
    return LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "v_proj"])


class Worse(TrainerCallback):
    """Makes every evaluation after the first look worse; ``best`` is what the first was."""

    best: float | None = None

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any
    ) -> None:
        if self.best is None:
            self.best = metrics["eval_loss"]
        else:
            metrics["eval_loss"] = float(state.global_step)


def moved(trainer: MixDPOTrainer) -> MixDPOTrainer:
    """A trainer whose policy is no longer its reference, and is not expected to be."""
    trainer._start = StartAtReference(applies=False, half=False)
    with torch.no_grad():
        torch.manual_seed(1)
        for each in trainer.model.parameters():
            each += 0.3 * torch.randn_like(each)
    return trainer


def log_probabilities(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Of every response (2 pair,), without anything of TRL."""
    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    each = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (each * batch["completion_mask"][:, 1:]).sum(1)


def delta_of(
    trainer: MixDPOTrainer, batch: dict[str, torch.Tensor], normalized: bool = False
) -> torch.Tensor:
    """Log-ratio differences of a batch, without anything of TRL."""
    with torch.no_grad():
        base = log_probabilities(trainer.ref_model, batch)
    ratio = log_probabilities(trainer.model, batch) - base
    if normalized:
        ratio = ratio / batch["completion_mask"].sum(1)
    chosen, rejected = ratio.chunk(2)
    return chosen - rejected


def trained_parameters(trainer: MixDPOTrainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}


def assert_same(
    first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], tolerance: float
) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0.0, atol=tolerance)
