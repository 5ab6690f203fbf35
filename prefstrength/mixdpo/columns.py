"""Columns of numbers and groups carried beside a pair's tokens, from dataset to loss."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from prefstrength.errors import InputError

__all__ = ["CarriedColumns", "check_columns", "levels_of", "split_columns"]

# Before a column's name in a batch, where TRL's own names must not be met.
_PREFIX = "pair_column/"


class CarriedColumns:
    """A data collator that adds columns to the batches of another.

    Parameters
    ----------
    collator : callable
        Makes a batch of a list of examples.
    names : sequence of str
        Columns of numbers, added as float32 tensors (pair,).
    levels : dict
        Columns of groups and their levels, added as int64 tensors (pair,).
    """

    def __init__(
        self,
        collator: Callable[[list[dict[str, Any]]], Any],
        names: Sequence[str],
        levels: Mapping[str, Sequence[str]],
    ):
        self.collator = collator
        self.names = tuple(names)
        self.codes = {
            factor: {level: code for code, level in enumerate(known)}
            for factor, known in levels.items()
        }

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        batch = self.collator(examples)
        for name in self.names:
            if name in examples[0]:  # an evaluation set may lack weights
                values = [float(example[name]) for example in examples]
                batch[_PREFIX + name] = torch.tensor(values, dtype=torch.float32)
        for factor, codes in self.codes.items():
            if factor in examples[0]:  # training goes on without groups
                labels = [str(example[factor]) for example in examples]
                unknown = [label for label in labels if label not in codes]
                if unknown:
                    raise InputError(
                        f"Expected a level of {factor!r} that the evaluation sets of the trainer "
                        f"have ({', '.join(codes)}); got {unknown[0]!r}. Give the dataset as "
                        "eval_dataset when the trainer is made."
                    )
                batch[_PREFIX + factor] = torch.tensor([codes[label] for label in labels])
        return batch


def split_columns(inputs: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The carried columns by name, and what the model is to see."""
    columns = {k.removeprefix(_PREFIX): v for k, v in inputs.items() if k.startswith(_PREFIX)}
    return columns, {k: v for k, v in inputs.items() if not k.startswith(_PREFIX)}


def levels_of(datasets: Sequence[tuple[str, Any]], factors: Sequence[str]) -> dict[str, list[str]]:
    """Levels of every factor in all of the evaluation sets."""
    if factors and not datasets:
        raise InputError(
            f"Expected an eval_dataset with group_columns {', '.join(factors)}; got none. Groups "
            "are reported in evaluation. Give one, or leave group_columns out."
        )
    levels: dict[str, set[str]] = {factor: set() for factor in factors}
    for label, dataset in datasets:
        for factor in factors:
            if not isinstance(dataset, Dataset):
                raise InputError(
                    f"Expected {label} as a datasets.Dataset with group_columns; got a stream, "
                    "whose levels are not known before its end. Load it, or leave group_columns "
                    "out."
                )
            if factor not in dataset.column_names:
                raise InputError(
                    f"Expected a column {factor} in {label}, named in group_columns; got "
                    f"{', '.join(dataset.column_names)}. Correct the name."
                )
            values = list(dataset[factor])
            empty = [i for i, value in enumerate(values) if value is None or value != value]
            if empty:
                raise InputError(
                    f"Expected a level in column {factor} of every pair in {label}; got none in "
                    f"row {empty[0]} ({len(empty)} of {len(values)} rows). Name them, for example "
                    "'not stated'."
                )
            levels[factor] |= {str(value) for value in values}
    return {factor: sorted(found) for factor, found in levels.items()}


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
