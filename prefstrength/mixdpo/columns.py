"""Columns of numbers and groups carried beside a pair's tokens, from dataset to loss."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from datasets import Dataset

from prefstrength.errors import InputError

__all__ = [
    "UNKNOWN",
    "CarriedColumns",
    "check_columns",
    "check_levels",
    "levels_of",
    "split_columns",
]

# Before a column's name in a batch, where TRL's own names must not be met.
_NUMBER, _LEVEL = "pair_number/", "pair_level/"
#: Level of pairs whose level is not known.
UNKNOWN = -1


class CarriedColumns:
    """A data collator that adds columns to the batches of another.

    Parameters
    ----------
    collator : callable
        Makes a batch of a list of examples.
    names : sequence of str
        Columns of numbers, added as the bits of float32 tensors (pair,): DeepSpeed casts floating
        batches to half precision.
    levels : dict
        Columns of groups and their levels, added as int64 tensors (pair,); ``UNKNOWN`` for
        another level, as training data may have.
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
            if name in examples[0]:  # an evaluation set may lack weights, or have empty ones
                values = [math.nan if e[name] is None else float(e[name]) for e in examples]
                batch[_NUMBER + name] = torch.tensor(values, dtype=torch.float32).view(torch.int32)
        for factor, codes in self.codes.items():
            if factor in examples[0]:
                found = [codes.get(str(example[factor]), UNKNOWN) for example in examples]
                batch[_LEVEL + factor] = torch.tensor(found)
        return batch


def split_columns(
    inputs: dict[str, Any],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    """The carried numbers by name, the codes of levels by factor, and what the model is to see."""
    numbers, codes, rest = {}, {}, {}
    for key, value in inputs.items():
        if key.startswith(_NUMBER):
            numbers[key.removeprefix(_NUMBER)] = value.view(torch.float32)
        elif key.startswith(_LEVEL):
            codes[key.removeprefix(_LEVEL)] = value
        else:
            rest[key] = value
    return numbers, codes, rest


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


def check_levels(dataset: Any, label: str, levels: Mapping[str, Sequence[str]]) -> None:
    """Stop where a dataset to be evaluated has a level that the trainer does not know."""
    for factor, known in levels.items():
        if not isinstance(dataset, Dataset) or factor not in dataset.column_names:
            continue
        for row, value in enumerate(dataset[factor]):
            if str(value) not in known:
                raise InputError(
                    f"Expected a level of {factor!r} that the evaluation sets of the trainer have "
                    f"({', '.join(known)}); got {value!r} in row {row} of {label}. Give the "
                    "dataset as eval_dataset when the trainer is made."
                )


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
