"""The demo: simulated pairs with known truth, taken the whole way."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import prefstrength as ps
from prefstrength import pipeline
from prefstrength._shared.files import write_json, write_parquet
from prefstrength.errors import InputError
from prefstrength.pipeline.demo_data import DemoData, make_demo_data
from prefstrength.pipeline.options import Reading, Rewarding, Sampler, Training
from prefstrength.pipeline.stages import perform

__all__ = ["run_demo", "write_demo_data"]

# A tiny model from scratch learns at rates that would ruin a pretrained one.
_TRAINING = Training(
    learning_rate=1e-3,
    per_device_train_batch_size=16,
    more={
        "logging_steps": 10,
        "use_cpu": True,  # where it is fast enough, and the same numbers everywhere
        "bf16": False,
        "gradient_checkpointing": False,
    },
)


def write_demo_data(
    data: DemoData, pairs: str | os.PathLike[str], truth: str | os.PathLike[str]
) -> None:
    """Write the pairs as Parquet and the truth as JSON.

    Parameters
    ----------
    data : DemoData
        What to write.
    pairs, truth : path
        Where to.
    """
    write_parquet(pairs, data.pairs)
    write_json(truth, data.truth)


def run_demo(
    out: str | os.PathLike[str] = "reports/demo",
    *,
    choosers: int = 240,
    situations: int = 24,
    steps: int = 150,
    train: bool = True,
    seed: int = 0,
    sampler: Sampler | None = None,
    force: bool = False,
    progress: bool = True,
    tell: pipeline.Tell | None = None,
) -> "ps.Fit":
    """Simulate, score, fit, train a tiny model, compare, and report with the truth drawn in.

    Parameters
    ----------
    out : path
        Folder for the results; what was simulated goes to ``demo/`` in it.
    choosers, situations : int
        Size of the simulated data.
    steps : int
        Training steps of the tiny language model.
    train : bool
        Without training, no torch is needed.
    seed : int
        Of the data and of every stage.
    sampler : Sampler, optional
        How the posterior is found.
    force, progress, tell
        As in :func:`prefstrength.pipeline.score.score`.

    Returns
    -------
    Fit
    """
    out = Path(out)
    pipeline.refuse_foreign(out, force)
    given = {"choosers": choosers, "situations": situations, "seed": seed}
    data = make_demo_data(choosers=choosers, situations=situations, seed=seed)
    made = out / "demo"
    model = made / "model"

    def write_data(new: Path) -> None:
        write_demo_data(data, new / "demo" / "pairs.parquet", new / "truth.json")

    def write_model(new: Path) -> None:
        texts = [
            (prompt, response)
            for name in ("chosen", "rejected")
            for prompt, response in zip(data.pairs["prompt"], data.pairs[name], strict=True)
        ]
        tiny.make_tiny_model(texts, new / "demo" / "model", seed=seed)

    one_thread: Callable[[], AbstractContextManager[None]] = nullcontext
    if train:
        # Before anything is written: whoever lacks torch hears of it now.
        tiny = _tiny()
        one_thread = tiny.one_thread
    perform(out, "demo", given, {}, write_data, lambda: None, force, None)
    if train:
        perform(out, "demo_model", given, {}, write_model, lambda: None, force, None)
    with one_thread():
        return pipeline.run(
            made / "pairs.parquet",
            out,
            Reading(chooser="annotator", groups=("dataset", "region")),
            Rewarding(reward=("text",)),
            sampler=sampler,
            model=model if train else None,
            training=replace(_TRAINING, steps=steps),
            title="Demo: simulated preferences with known strengths",
            seed=seed,
            force=force,
            progress=progress,
            tell=tell,
        )


def _tiny() -> ModuleType:
    try:
        from prefstrength.mixdpo import tiny
    except ModuleNotFoundError as error:
        raise InputError(
            f"The demo trains a tiny model and expects torch and trl; got no module named "
            f"{error.name}. Install them with `pip install 'prefstrength[mixdpo]'`, or leave the "
            "training out, `prefstrength demo --no-train`."
        ) from error
    return tiny
