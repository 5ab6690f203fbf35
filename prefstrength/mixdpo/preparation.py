"""Pairs as TRL prepares them for its trainer, and those that it leaves out."""

from types import SimpleNamespace
from typing import Any

from datasets import Dataset
from trl import DPOTrainer

from prefstrength._shared.words import warn
from prefstrength.errors import InputError

__all__ = ["prepared_pairs", "tell_left_out"]


def prepared_pairs(
    rows: Dataset, tokenizer: Any, max_length: int | None, truncation_mode: str
) -> Dataset:
    """Token numbers of every pair that fits, by TRL's own preparation without its trainer."""
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    args: Any = SimpleNamespace(
        dataset_num_proc=None, max_length=max_length, truncation_mode=truncation_mode
    )
    return DPOTrainer._prepare_dataset(trainer, rows, tokenizer, args, "pairs")


def tell_left_out(prepared: Dataset, rows: Dataset, max_length: int | None) -> None:
    """Warn of pairs that TRL dropped without a word; stop where it dropped all of them."""
    if len(prepared) == len(rows):
        return
    dropped = (
        f"{len(rows) - len(prepared)} of {len(rows)} pairs, whose prompt alone has "
        f"{max_length} tokens (max_length) or more"
    )
    if len(prepared) == 0:
        raise InputError(
            f"Expected pairs that fit into max_length; got {dropped}. Raise max_length."
        )
    warn(f"Left out {dropped}.")
