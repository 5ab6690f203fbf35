"""Columns of numbers carried beside the tokens of a pair, from the dataset to the loss."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset

from prefstrength.errors import InputError

__all__ = ["CarriedColumns", "check_columns", "split_columns"]

# Before a column's name in a batch, where TRL's own names must not be met.
_PREFIX = "pair_column/"


class CarriedColumns:
    """A data collator that adds columns of numbers to the batches of another.

    Parameters
    ----------
    collator : callable
        Makes a batch of a list of examples.
    names : sequence of str
        Columns of numbers, added as float32 tensors (pair,).
    """

    def __init__(self, collator: Callable[[list[dict[str, Any]]], Any], names: Sequence[str]):
        self.collator = collator
        self.names = tuple(names)

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        batch = self.collator(examples)
        for name in self.names:
            if name in examples[0]:  # an evaluation set may lack weights
                values = [float(example[name]) for example in examples]
                batch[_PREFIX + name] = torch.tensor(values, dtype=torch.float32)
        return batch


def split_columns(inputs: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The carried columns by name, and what the model is to see."""
    columns = {k.removeprefix(_PREFIX): v for k, v in inputs.items() if k.startswith(_PREFIX)}
    return columns, {k: v for k, v in inputs.items() if not k.startswith(_PREFIX)}


def check_columns(dataset: Any, label: str, rewards: Sequence[str], weights: Sequence[str]) -> None:
    """Stop where a column is missing, or holds no number, or a negative weight."""
    present = list(next(iter(dataset)))
    missing = [name for name in (*rewards, *weights) if name not in present]
    if missing:
        hint = (
            "Score the pairs with prefstrength.score, or give the rewards of your own reward model."
            if set(missing) & set(rewards)
            else "Add it, or leave weight_column out."
        )
        raise InputError(
            f"Expected columns {', '.join(missing)} in {label} for this objective; got "
            f"{', '.join(present)}. {hint}"
        )
    if not isinstance(dataset, Dataset):
        return  # a stream cannot be looked through
    for name in (*rewards, *weights):
        values = list(dataset[name])
        wrong = [i for i, value in enumerate(values) if not _is_number(value, name in weights)]
        if wrong:
            kind = "weights >= 0" if name in weights else "numbers"
            raise InputError(
                f"Expected {kind} in column {name} of {label}; got {values[wrong[0]]!r} in row "
                f"{wrong[0]} ({len(wrong)} of {len(values)} rows). Drop these pairs."
            )
        if name in weights and not any(values):
            raise InputError(
                f"Expected weights of which some are > 0 in column {name} of {label}; got 0 in "
                "all rows. Leave weight_column out to count every pair once."
            )


def _is_number(value: Any, weight: bool) -> bool:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return value >= 0 if weight else True
