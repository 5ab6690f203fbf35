"""MixDPO where the strengths are known: learned spread, DPO beside MixDPO, and no prior at all.

``python -m benchmarks.study [--seeds 20] [--quick] [--out FOLDER]``

In every seed invented choosers decide between invented texts, with strengths that vary much
(heterogeneous) or hardly (homogeneous). A mixed logit is fitted to the training pairs, a tiny
language model is trained on them three times (DPO, MixDPO under the fitted prior, MixDPO without
a prior), and held-out pairs are evaluated. Then strength is followed, without and with the prior,
on pairs that can be separated. Every seed is kept in FOLDER/study/, and an interrupted run goes on
from there.
"""

import argparse
import contextlib
import json
import math
import os
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd

from benchmarks.common import RESULTS, machine, rounded, store, table

#: The demo's datasets by what is true of them: sd of log strength about 0.9 and 0.16 over all.
DATASETS = {"heterogeneous": "stories", "homogeneous": "howto"}
ARMS = ("DPO", "MixDPO", "no prior")
#: Of the drift: under the prior with the mean learned, with the mean fixed, and without a prior.
DRIFTING = ("no prior", "MixDPO", "anchored")
FACTORS = ("region", "strength")
#: The learned spreads must be in the right order in this share of the seeds.
TARGET = 19 / 20
FULL = {
    "choosers": 240, "situations": 24, "held_out": 6, "steps": 100, "batch": 16,
    "learning_rate": 1e-3, "strength_learning_rate": 1e-2, "warm_up": 60,
    "drift_steps": 300, "drift_seeds": 3,
}  # fmt: skip
QUICK = {**FULL, "choosers": 48, "steps": 6, "warm_up": 10, "drift_steps": 8, "drift_seeds": 1}


def pairs_of(seed, settings):
    """Pairs of both datasets with the true rewards, and what is true of them.

    The strength factor sets the fifth of the choosers with the lowest strengths apart, and the
    fifth with the highest.
    """
    from prefstrength.pipeline.demo_data import make_demo_data, response_quality

    made = make_demo_data(settings["choosers"], settings["situations"], seed=seed)
    frame, words = made.pairs, made.truth["words"]
    for side in ("chosen", "rejected"):
        frame[f"reward_{side}"] = [response_quality(text, words) for text in frame[side]]
    strength = frame["annotator"].map(made.truth["choosers"])
    rank = strength.groupby(frame["dataset"]).rank(method="dense", pct=True)
    frame["strength"] = np.select([rank <= 0.2, rank <= 0.8], ["weak", "middle"], "strong")
    frame["held_out"] = frame.groupby("annotator").cumcount() < settings["held_out"]
    return frame, made.truth["datasets"]


def fitted_prior(pairs, seed):
    """Prior that a mixed logit of the pairs supports, and whether its diagnostics passed."""
    import prefstrength as ps

    choices = ps.Choices.from_pairs(pairs, chooser="annotator")
    fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=seed, progress=False)
    return ps.StrengthPrior.from_fit(fit, mean_strength=0.1), fit.check().passed


def tiny_model(pairs, folder, settings, seed):
    from prefstrength.mixdpo.tiny import make_tiny_model

    texts = [
        (prompt, response)
        for side in ("chosen", "rejected")
        for prompt, response in zip(pairs["prompt"], pairs[side], strict=True)
    ]
    make_tiny_model(texts, folder, steps=settings["warm_up"], seed=seed)


def trained(model, pairs, arm, prior, steps, settings, seed):
    """Trainer after training on the pairs, as one of ARMS or DRIFTING."""
    from datasets import Dataset

    from prefstrength.mixdpo import MixDPOConfig, MixDPOTrainer
    from prefstrength.mixdpo.session import show_progress

    strength = {
        "DPO": {"beta": 0.1},
        "MixDPO": {"strength": prior},
        "anchored": {"strength": prior, "strength_mode": "anchored"},
        "no prior": {"strength_family": "LogNormal", "beta": 0.1},
    }[arm]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of what is studied here: that without a prior strength drifts.
        warnings.filterwarnings("ignore", message=".*[Pp]rior.*")
        args = MixDPOConfig(
            folder,
            max_steps=steps,
            per_device_train_batch_size=settings["batch"],
            learning_rate=settings["learning_rate"],
            strength_learning_rate=settings["strength_learning_rate"],
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            use_cpu=True,  # where it is fast enough, and the same numbers everywhere
            bf16=False,
            activation_checkpointing=False,
            seed=seed,
            **strength,
        )
        columns = Dataset.from_pandas(pairs[["prompt", "chosen", "rejected"]], preserve_index=False)
        trainer = MixDPOTrainer(str(model), args=args, train_dataset=columns)
        show_progress(trainer, False)
        trainer.train()
    return trainer


def one_seed(seed, settings):
    """Learned spreads and metrics of both datasets and all arms."""
    from prefstrength.mixdpo import evaluate_preferences

    pairs, truth = pairs_of(seed, settings)
    found = {"spread": [], "metrics": []}
    with tempfile.TemporaryDirectory() as folder:
        tiny_model(pairs, f"{folder}/model", settings, seed)
        for name, dataset in DATASETS.items():
            mine = pairs[pairs["dataset"] == dataset]
            train, test = mine[~mine["held_out"]], mine[mine["held_out"]]
            prior, passed = fitted_prior(train, seed)
            spread = {
                "dataset": name,
                "fit passed its checks": passed,
                "true cv": truth[dataset]["cv"],
                "prior cv": prior.mixing().cv(),
            }
            for arm in ARMS:
                trainer = trained(
                    f"{folder}/model", train, arm, prior, settings["steps"], settings, seed
                )
                if arm != "DPO":
                    spread |= {
                        f"{arm}: cv": trainer.strength.cv,
                        f"{arm}: mean": trainer.strength.mean,
                    }
                done = evaluate_preferences(
                    trainer.model,
                    f"{folder}/model",
                    test,
                    trainer.strength.current(),
                    FACTORS,
                    tokenizer=trainer.processing_class,
                    batch_size=32,
                    progress=False,
                )
                rows = done.metrics.assign(dataset=name, arm=arm)
                found["metrics"] += rows.to_dict("records")
            found["spread"].append(spread)
    return found


def drift(seed, settings):
    """Mean and spread at every log, with and without a prior, on pairs that can be separated.

    In every pair the better text is the chosen one: as if all choosers were infinitely decided.
    The prior is the one that the choices as they were made support.
    """
    pairs, _ = pairs_of(seed, settings)
    mine = pairs[(pairs["dataset"] == DATASETS["heterogeneous"]) & ~pairs["held_out"]]
    prior, _ = fitted_prior(mine, seed)
    swap = mine["reward_chosen"] < mine["reward_rejected"]
    better = mine.assign(
        chosen=mine["chosen"].where(~swap, mine["rejected"]),
        rejected=mine["rejected"].where(~swap, mine["chosen"]),
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tiny_model(pairs, f"{folder}/model", settings, seed)
        for arm in DRIFTING:
            trainer = trained(
                f"{folder}/model", better, arm, prior, settings["drift_steps"], settings, seed
            )
            rows += [{"arm": arm, **point} for point in trainer.strength.trajectory]
    return {"trajectory": rows}


# -- one seed after another ----------------------------------------------------------------------


def kept(folder, name, settings, make):
    """What a seed gave: from its file, or made now and written to it."""
    from prefstrength._shared.files import atomic_write_text

    path = folder / f"{name}.json"
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        if there["settings"] != settings:
            raise SystemExit(
                f"Expected {path} to be of a run with the same settings; got others. "
                "Give another --out, or delete that folder."
            )
        return there
    start = time.perf_counter()
    with contextlib.redirect_stdout(None):  # transformers prints its logs
        found = {"settings": settings, **make()}
    found["seconds"] = time.perf_counter() - start
    atomic_write_text(path, json.dumps(rounded(found, 8), indent=1) + "\n")
    print(f"{name}: {found['seconds']:.0f} s", flush=True)
    return json.loads(path.read_text(encoding="utf-8"))


def study(seeds, settings, folder):
    """Results of the seeds, and of the drift."""
    from prefstrength.mixdpo.tiny import one_thread

    folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        drifted = [
            kept(folder, f"drift-{seed:03d}", settings, lambda seed=seed: drift(seed, settings))
            for seed in range(min(seeds, settings["drift_seeds"]))
        ]
        done = [
            kept(folder, f"seed-{seed:03d}", settings, lambda seed=seed: one_seed(seed, settings))
            for seed in range(seeds)
        ]
    return {
        "settings": settings,
        "seeds": seeds,
        "seconds of a seed": float(np.median([one["seconds"] for one in done])),
        **spreads(done),
        "metrics": compared(done),
        "drift": drifts(drifted),
    }


def spreads(done):
    """How often the learned spreads are in the right order, and what they are."""
    rows = pd.DataFrame([{"seed": k, **row} for k, one in enumerate(done) for row in one["spread"]])
    columns = ["prior cv", "MixDPO: cv", "no prior: cv"]
    wide = rows.pivot(index="seed", columns="dataset")
    ranked = {
        name: int((wide[name]["heterogeneous"] > wide[name]["homogeneous"]).sum())
        for name in columns
    }
    numbers = ["true cv", *columns, "MixDPO: mean", "no prior: mean"]
    summary = [
        {"dataset": name}
        | {f"{n}": float(part[n].mean()) for n in numbers}
        | {f"sd of {n}": float(part[n].std()) for n in columns if len(part) > 1}
        for name, part in rows.groupby("dataset")
    ]
    failed = int((~rows["fit passed its checks"]).sum())
    return {
        "fits that failed a check": failed,
        "ranked": ranked,
        "spread": summary,
        "spread by seed": rows.to_dict("records"),
    }


def compared(done, prob=0.9):
    """Metrics of DPO and MixDPO over seeds, and their differences with intervals over seeds.

    An interval is mean and t over seeds; the median width of the interval of a single
    seed stands beside it.
    """
    from scipy.stats import t

    whole = pd.concat([pd.DataFrame(one["metrics"]).assign(seed=k) for k, one in enumerate(done)])
    shown = whole[whole["kind"] != "level"]
    rows = []
    for (dataset, factor, kind), part in shown.groupby(["dataset", "factor", "kind"], sort=False):
        for metric in ("accuracy", "margin", "negative_log_likelihood", "calibration_error"):
            wide = part.pivot(index="seed", columns="arm", values=metric)
            difference = wide["MixDPO"] - wide["DPO"]
            row = {"dataset": dataset, "factor": factor, "kind": kind, "metric": metric}
            row |= {arm: float(wide[arm].mean()) for arm in ARMS}
            row["MixDPO - DPO"] = float(difference.mean())
            if len(wide) > 1:
                half = (
                    t.ppf((1 + prob) / 2, len(wide) - 1) * difference.std() / math.sqrt(len(wide))
                )
                row |= {"low": row["MixDPO - DPO"] - half, "high": row["MixDPO - DPO"] + half}
            mine = part[part["arm"] == "MixDPO"]
            row["width in a seed"] = float(
                (mine[f"{metric}_high"] - mine[f"{metric}_low"]).median()
            )
            rows.append(row)
    return rows


def drifts(done):
    """First and last mean and spread of every arm, and the trajectories."""
    rows = [{"seed": k, **point} for k, one in enumerate(done) for point in one["trajectory"]]
    ends = []
    for (seed, arm), part in pd.DataFrame(rows).groupby(["seed", "arm"], sort=False):
        row = {"seed": int(seed), "arm": arm, "steps": int(part["step"].iloc[-1])}
        for name in ("mean", "sigma"):
            row |= {f"{name}, first": part[name].iloc[0], f"{name}, last": part[name].iloc[-1]}
        ends.append(row)
    return {"ends": ends, "trajectory": rows}


def draw(trajectory, path):
    """Mean and sd of log strength against steps, with and without a prior."""
    from matplotlib.figure import Figure

    from prefstrength.plots.style import DOUBLE, GREY, LEARNED, POSTERIOR, style

    rows = pd.DataFrame(trajectory)
    lines = {
        "no prior": ("without a prior", LEARNED, "-"),
        "MixDPO": ("with the prior", POSTERIOR, "--"),
        "anchored": ("with the prior, mean fixed", GREY, ":"),
    }
    with style():
        figure = Figure(figsize=(DOUBLE, 2.5), layout="constrained")
        axes = figure.subplots(1, 2)
        for ax, name, label in zip(
            axes, ("mean", "sigma"), ("mean strength β (per nat)", "sd of log strength σ"),
            strict=True,
        ):  # fmt: skip
            for arm, (said, colour, dash) in lines.items():
                for seed, part in rows[rows["arm"] == arm].groupby("seed"):
                    ax.plot(part["step"], part[name], color=colour, linestyle=dash,
                            label=said if seed == 0 else None)  # fmt: skip
            ax.set_ylim(bottom=0)
            ax.set_xlabel("training step")
            ax.set_ylabel(label)
        axes[0].legend(loc="best")
    figure.savefig(path, dpi=150)


def _quiet():
    """No bars of the libraries: one line for each seed is enough."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*is deprecated")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="two seeds of a few steps")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    _quiet()
    before = machine()
    settings = QUICK if options.quick else FULL
    results = study(2 if options.quick else options.seeds, settings, options.out / "study")
    store("study", results, before, options.out)
    draw(results["drift"]["trajectory"], options.out / "why_a_prior.png")
    for name, count in results["ranked"].items():
        print(f"{name}: heterogeneous above homogeneous in {count} of {results['seeds']} seeds")
    print()
    print(table(results["spread"]))
    print()
    micro = [row for row in results["metrics"] if row["metric"] != "calibration_error"]
    print(table(micro))
    print()
    print(table(results["drift"]["ends"]))


if __name__ == "__main__":
    main()
