"""A MixDPO training step beside TRL's DPO step, and the objective alone beside 16 draws.

``python -m benchmarks.training [--quick] [--out FOLDER]``

Both trainers hold the same model (random weights) and take turns on the same batches, so that
whatever else the machine does befalls both. On a GPU if there is one, with a larger model.
"""

import argparse
import math
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.common import RESULTS, machine, store, table

FAMILIES = ("PointMass", "LogNormal", "Gamma", "InverseGaussian")
#: The step of MixDPO may cost this much more than TRL's.
TARGET = 1.01
#: Hidden size, layers, vocabulary, tokens of a response, pairs of a batch, turns.
ON_CPU = (320, 6, 4096, 96, 4, 100)
ON_GPU = (1024, 24, 50_304, 448, 8, 30)  # Pythia-410M's size
QUICK = (32, 2, 128, 16, 2, 4)


def world(folder, hidden, layers, vocabulary, tokens, pairs):
    """A model with its tokenizer on disk, and pairs of texts of the given length."""
    import random

    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(vocabulary - 3))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=max(2, hidden // 64),
            max_position_embeddings=2 * tokens + 64,
            bos_token_id=1,
            eos_token_id=1,
        )
    )
    model.save_pretrained(folder)
    draw = random.Random(0)

    def text(k):
        return " ".join(f"w{draw.randrange(vocabulary - 3)}" for _ in range(k))

    rows = [
        {"prompt": text(32) + " ", "chosen": text(tokens), "rejected": text(tokens)}
        for _ in range(4 * pairs)
    ]
    return sum(p.numel() for p in model.parameters()), Dataset.from_list(rows)


def steps(sizes):
    """Median seconds of a training step, TRL's and ours for every family."""
    import torch
    from trl import DPOConfig, DPOTrainer

    from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer

    hidden, layers, vocabulary, tokens, pairs, turns = sizes
    gpu = torch.cuda.is_available()
    common = {
        "per_device_train_batch_size": pairs,
        "learning_rate": 1e-6,
        "report_to": "none",
        "save_strategy": "no",
        "bf16": gpu,
        "use_cpu": not gpu,
        "disable_tqdm": True,
        "logging_steps": 10_000,
        "max_length": 2 * tokens + 64,
        "activation_checkpointing": False,
        "max_steps": turns,
    }
    with tempfile.TemporaryDirectory() as folder:
        size, data = world(f"{folder}/model", hidden, layers, vocabulary, tokens, pairs)
        trainers = {"TRL": DPOTrainer(
            f"{folder}/model", args=DPOConfig(f"{folder}/trl", **common), train_dataset=data
        )}  # fmt: skip
        for family in FAMILIES:
            learned = {} if family == "PointMass" else {"strength_family": family}
            args = MixDPOConfig(f"{folder}/{family}", **learned, **common)
            trainers[family] = MixDPOTrainer(f"{folder}/model", args=args, train_dataset=data)
        for trainer in trainers.values():
            trainer.create_optimizer_and_scheduler(turns)
            trainer.current_gradient_accumulation_steps = 1  # as its loop sets it
            trainer.model.train()
        batches = list(trainers["TRL"].get_train_dataloader())
        seconds = {name: [] for name in trainers}
        for turn in range(-2, turns):  # two turns to warm up
            batch = batches[turn % len(batches)]
            names = list(trainers)
            # In another order each time: the first after a pause is not always the same.
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                trainer = trainers[name]
                inputs = {k: v.to(trainer.model.device) for k, v in batch.items()}
                start = time.perf_counter()
                trainer.training_step(trainer.model, inputs)
                if name != "TRL":
                    trainer._step_strength()
                trainer.optimizer.step()
                trainer.optimizer.zero_grad()
                if gpu:
                    torch.cuda.synchronize()
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - start)
    theirs = seconds["TRL"]
    rows = []
    for name in FAMILIES:
        # Turn by turn: what slows the machine down slows both.
        ratios = [mine / other for mine, other in zip(seconds[name], theirs, strict=True)]
        rows.append(
            {
                "step": name,
                "seconds": median(seconds[name]),
                "TRL, seconds": median(theirs),
                "ratio": median(ratios),
                "standard error": 1.25 * _sd(ratios) / math.sqrt(len(ratios)),
                "target": f"<= {TARGET}",
                "met": bool(median(ratios) <= TARGET),
            }
        )
    return {"parameters": size, "device": "GPU" if gpu else "CPU", "steps": rows}


def objectives(pairs):
    """Seconds and memory of the objective and its gradient, exact and by the paper's draws."""
    import torch

    from prefstrength.choice.mixing.gamma import Gamma
    from prefstrength.choice.mixing.log_normal import LogNormal
    from prefstrength.mixdpo import mixdpo_loss

    delta = torch.randn(pairs, generator=torch.Generator().manual_seed(0)) * 20
    laws = {
        "LogNormal": LogNormal(mu=math.log(0.1), sigma=0.7),
        "Gamma": Gamma(shape=2.0, rate=20.0),
    }
    rows = []
    for name, law in laws.items():
        truth = mixdpo_loss(delta.double(), law)
        for estimator in ("exact", "monte-carlo"):

            def evaluate(law=law, estimator=estimator):
                x = delta.clone().requires_grad_()
                parameters = {
                    k: torch.tensor(v, requires_grad=True) for k, v in law.parameters.items()
                }
                loss = mixdpo_loss(x, law.with_parameters(parameters), estimator=estimator)
                loss.mean().backward()
                return loss.detach()

            evaluate()
            times = []
            for _ in range(15):
                start = time.perf_counter()
                found = evaluate()
                times.append(time.perf_counter() - start)
            with torch.profiler.profile(profile_memory=True) as profile:
                evaluate()
            events = profile.events()
            most, now = 0, 0
            for event in sorted(events, key=lambda e: e.time_range.start):
                now += event.self_cpu_memory_usage
                most = max(most, now)
            off = (found.double() - truth).abs().max().item()
            rows.append(
                {
                    "law": name,
                    "estimator": estimator if estimator == "exact" else "16 draws",
                    "pairs": pairs,
                    "milliseconds": 1e3 * median(times),
                    "peak MB": most / 1e6,
                    "largest error, nats": off,
                }
            )
    return rows


def _sd(values):
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    import torch

    before = machine()
    sizes = QUICK if options.quick else (ON_GPU if torch.cuda.is_available() else ON_CPU)
    results = steps(sizes)
    results["objectives"] = objectives(64 if options.quick else 4096)
    store("training", results, before, options.out)
    print(f"{results['parameters']:,} parameters on the {results['device']}\n")
    print(table(results["steps"]))
    print()
    print(table(results["objectives"]))


if __name__ == "__main__":
    main()
