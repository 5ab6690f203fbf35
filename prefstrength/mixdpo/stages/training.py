"""Stages of an experiment: supervised fine-tuning, preference training, evaluation, judging.

Each works on folders: it reads a model from one and writes one, goes on from what is there, and,
judging apart, runs the same in one process and in many (``accelerate launch``).
"""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate.utils import gather_object
from datasets import (
    Dataset,
)
from trl import SFTTrainer

from prefstrength.errors import InputError
from prefstrength.mixdpo.checkpoints import last_checkpoint
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.session import show_progress
from prefstrength.mixdpo.stages.checks import dataset, made
from prefstrength.mixdpo.trainer import MixDPOTrainer

__all__ = ["train_preferences", "train_sft"]


# -- training --------------------------------------------------------------------------------------


def train_sft(model: str, args: Any, texts: pd.DataFrame) -> None:
    """Fine-tune a model on preferred responses, and write it to ``args.output_dir``.

    Parameters
    ----------
    model : str
        Name or folder.
    args : SFTConfig
        As of :func:`sft_arguments`.
    texts : DataFrame
        Columns ``prompt`` and ``completion``.

    Raises
    ------
    InputError
        If there is no such model, no text fits into ``args.max_length``, or training diverged.
    """
    trainer = made(
        model,
        lambda: SFTTrainer(
            model, args=args, train_dataset=Dataset.from_pandas(texts, preserve_index=False)
        ),
    )
    if not len(trainer.train_dataset):
        raise InputError(
            f"Expected texts that fit into max_length; got {len(texts)} whose prompt alone has "
            f"{args.max_length} tokens or more. Raise sft.max_length."
        )
    show_progress(trainer, not args.disable_tqdm)
    trainer.train(resume_from_checkpoint=last_checkpoint(args.output_dir, strength=False))
    _save(trainer)


def train_preferences(
    model: str, args: MixDPOConfig, train: pd.DataFrame, evaluation: pd.DataFrame
) -> None:
    """Train a model on pairs, and write it with its ``learned_strength.json``.

    Parameters
    ----------
    model : str
        Name or folder: where the policy starts, and the reference.
    args : MixDPOConfig
        As of :func:`preference_arguments`.
    train, evaluation : DataFrame
        Columns ``prompt``, ``chosen``, ``rejected``, ``args.group_columns``, and those of
        :func:`columns_asked_for`.

    Raises
    ------
    InputError
        As of :class:`~prefstrength.mixdpo.MixDPOTrainer`, or if training diverged.
    """
    trainer = made(
        model,
        lambda: MixDPOTrainer(
            model,
            args=args,
            train_dataset=dataset(train),
            eval_dataset=dataset(evaluation),
        ),
    )
    show_progress(trainer, not args.disable_tqdm)
    trainer.train(resume_from_checkpoint=last_checkpoint(str(args.output_dir)))
    _save(trainer)


def _save(trainer: Any) -> None:
    _check_finite(trainer)
    with _whole_state(trainer):
        trainer.save_model()
    trainer.accelerator.wait_for_everyone()
    if trainer.args.should_save:
        # A pickle of the arguments, which nobody should load; they are in the record.
        (Path(trainer.args.output_dir) / "training_args.bin").unlink(missing_ok=True)
    trainer.accelerator.free_memory()
    trainer.model = trainer.model_wrapped = trainer.optimizer = None
    if hasattr(trainer, "ref_model"):
        trainer.ref_model = None
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()


def _check_finite(trainer: Any) -> None:
    """Stop, in all processes, where weights are no numbers; the logs hide it (logging_nan_inf)."""
    broken = 0
    for weight in trainer.model.parameters():
        mine = weight.to_local() if hasattr(weight, "to_local") else weight  # a shard
        broken += not bool(torch.isfinite(mine.detach()).all())
    if sum(gather_object([broken])):
        raise InputError(
            f"Expected finite weights after training in {trainer.args.output_dir}; got NaN or "
            "infinity. It diverged. Remove that folder and lower the learning rate."
        )


@contextlib.contextmanager
def _whole_state(trainer: Any) -> Iterator[None]:
    """Let FSDP save a model that can be loaded, whatever its checkpoints are."""
    plugin = trainer.accelerator.state.fsdp_plugin if trainer.is_fsdp_enabled else None
    if plugin is None:
        yield
        return
    before = plugin.state_dict_type  # the plugin is that of the next stage, too
    plugin.set_state_dict_type("FULL_STATE_DICT")
    try:
        yield
    finally:
        plugin.set_state_dict_type(before)
