"""The stage train: MixDPO from the prior of the stage fit."""

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.errors import InputError
from prefstrength.pipeline.answers import answers_of, refuse_answers
from prefstrength.pipeline.options import Reading, Training
from prefstrength.pipeline.reading import reading_of, scored_in
from prefstrength.pipeline.stages import Tell, perform, require

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["train"]


def train(
    out: str | os.PathLike[str],
    model: str | os.PathLike[str],
    training: Training | None = None,
    *,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    tell: Tell | None = None,
) -> LearnedStrength:
    """Train a causal language model with MixDPO under the prior that ``fit`` wrote.

    Parameters
    ----------
    out : path
        A folder in which ``fit`` has finished.
    model : path or str
        A model that ``transformers`` loads: a folder, or a name on the Hugging Face hub.
    training : Training, optional
        How it is trained.
    seed : int
        Of the order of the pairs and of dropout.
    force, progress, tell
        As in :func:`score`.

    Returns
    -------
    LearnedStrength
    """
    out = Path(out)
    require(out, "fit", "fit")
    require(out, "score", "pairs.parquet")
    if not (out / "strength_prior.json").is_file():
        raise InputError(
            f"Expected strength_prior.json in {out}; got a fit that gives no prior, for the reason "
            "it said: single choices, a class of choosers who prefer the lower reward, or a reward "
            "of the wrong sign. Fit again with `force_prior=True` for a prior all the same."
        )
    check_model(model)
    reading = reading_of(out)
    refuse_answers(reading)
    training = training or Training()
    arguments = training.arguments()
    settings = {"model": str(model), "steps": training.steps, "seed": seed, **arguments}

    def work(new: Path) -> LearnedStrength:
        dataset = training_pairs(scored_in(out), training.strength_group_column, reading)
        mixdpo = _mixdpo()
        from prefstrength.mixdpo.session import machine_arguments, show_progress

        name = str(Path(model).expanduser() if Path(model).expanduser().is_dir() else model)
        given = {
            "max_steps": training.steps,
            "seed": seed,
            "report_to": "none",
            "save_strategy": "no",
            "disable_tqdm": not progress,
            "answer_column": reading.grade or reading.tie,
            **machine_arguments(),
            **arguments,
        }
        args = mixdpo.MixDPOConfig(
            str(new / "train"), strength=str(out / "strength_prior.json"), **given
        )
        try:
            trainer = mixdpo.MixDPOTrainer(name, args=args, train_dataset=dataset)
        except OSError as error:  # what transformers raises for a name or folder without a model
            raise InputError(
                f"Expected a causal language model; got {name!r}, which transformers could "
                f"not load ({str(error).splitlines()[0]}). Name a folder that holds config.json, "
                "the weights and the tokenizer, or a model on the hub."
            ) from error
        show_progress(trainer, progress)
        trainer.train()
        trainer.save_model(str(new / "train"))
        # A pickle of the arguments, which nobody should load; they are in the record.
        (new / "train" / "training_args.bin").unlink(missing_ok=True)
        learned = trainer.strength.learned()
        learned.save(new / "train" / "learned_strength.json")
        return learned

    inputs = {
        "pairs": out / "pairs.parquet",
        "prior": out / "strength_prior.json",
        "model": Path(model).expanduser(),
    }
    return perform(
        out,
        "train",
        settings,
        inputs,
        work,
        lambda: LearnedStrength.load(out / "train" / "learned_strength.json"),
        force,
        tell,
    )


def check_model(model: str | os.PathLike[str]) -> None:
    """Find what can be found before hours of sampling: a missing library, a missing folder."""
    name = str(model)
    local = isinstance(model, Path) or name.startswith((".", "/", "~")) or name.count("/") > 1
    if local and not (Path(name).expanduser() / "config.json").is_file():
        raise InputError(
            f"Expected a folder with a language model; got {name!r}, where there is no "
            "config.json. Check the path, or name a model on the hub."
        )
    _mixdpo()


def training_pairs(
    frame: pd.DataFrame, group: str | None = None, reading: Reading | None = None
) -> "Dataset":
    """TRL's preference columns of the pairs that prefer one of two different responses.

    With a column of groups, a level of it for each as well; where grades or ties were read as
    answers, the answer of each, and ties stay.
    """
    from prefstrength.data.columns import tied

    missing = [name for name in ("prompt", "chosen", "rejected") if name not in frame.columns]
    if missing:
        raise InputError(
            f"Training expects the columns prompt, chosen and rejected; got none named "
            f"{', '.join(missing)}. Rewards alone are enough for the analysis: leave "
            "`model=...` out, "
            "or add the texts."
        )
    if group is not None and group not in frame.columns:
        raise InputError(
            f"Expected a column {group} in the pairs, of which each level is to have a strength; "
            f"got {', '.join(map(str, frame.columns))}. Correct "
            "`strength_group_column=...`."
        )
    texts = frame[["prompt", "chosen", "rejected"]]
    keep = np.array([a != b for a, b in zip(texts["chosen"], texts["rejected"], strict=True)])
    answers = answers_of(frame, reading or Reading())
    if answers is None:
        keep &= ~tied(frame)
    else:
        texts = texts.assign(**{answers[0]: answers[1]})
    if not keep.any():
        raise InputError(
            f"Training expects pairs with a preference; got {len(frame)} rows that are all ties "
            "or have identical responses. Check how the file marks ties."
        )
    from datasets import Dataset

    if group is None:
        return Dataset.from_pandas(texts[keep], preserve_index=False)
    from prefstrength.mixdpo.columns import group_sizes

    # Levels as they are, where a categorical column would become numbers.
    levels = frame[group].astype(object)
    dataset = Dataset.from_pandas(texts.assign(**{group: levels})[keep], preserve_index=False)
    group_sizes(dataset, group)  # a level for every pair, or it stops here
    return dataset


def _mixdpo() -> ModuleType:
    try:
        from prefstrength import mixdpo
    except ModuleNotFoundError as error:
        raise InputError(
            f"Training expects torch, transformers and trl; got no module named {error.name}. "
            "Install them with `pip install 'prefstrength[mixdpo]'`."
        ) from error
    return mixdpo
