"""Columns of numbers and groups carried beside a pair's tokens, from dataset to loss."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset

from prefstrength._shared.words import listed
from prefstrength.choice.learned_parts import LearnedCovariate
from prefstrength.errors import InputError
from prefstrength.mixdpo.objectives.base import REWARDS

__all__ = [
    "UNKNOWN",
    "Carried",
    "CarriedColumns",
    "check_columns",
    "check_covariates",
    "check_group",
    "check_level_names",
    "check_levels",
    "check_weights",
    "group_sizes",
    "levels_of",
    "split_columns",
    "standardisation",
]

# Before a column's name in a batch, where TRL's own names must not be met.
_NUMBER, _LEVEL, _COVARIATES = "pair_number/", "pair_level/", "pair_covariates"
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
    group : str, optional
        The one of ``levels`` by which strength differs: another level there is an error.
    covariates : dict, optional
        Columns on which strength depends, with their mean and sd: added standardised, as the
        bits of one float32 tensor (pair, covariate).
    needed : sequence of str
        Those of ``names`` that every pair must have, in evaluation too: another value than a
        finite number is an error.
    """

    def __init__(
        self,
        collator: Callable[[list[dict[str, Any]]], Any],
        names: Sequence[str],
        levels: Mapping[str, Sequence[str]],
        group: str | None = None,
        covariates: Mapping[str, LearnedCovariate] | None = None,
        needed: Sequence[str] = (),
    ):
        self.collator = collator
        self.names, self.needed = tuple(names), tuple(needed)
        self.group, self.covariates = group, dict(covariates or {})
        self.codes = {
            factor: {level: code for code, level in enumerate(known)}
            for factor, known in levels.items()
        }

    def __call__(self, examples: list[dict[str, Any]]) -> Any:
        for name in self.needed:  # of a stream this is the first sight
            _require_numbers([example.get(name) for example in examples], "a batch", name)
        batch = self.collator(examples)
        for name in self.names:
            if name in examples[0]:  # an evaluation set may lack weights, or have empty ones
                values = [math.nan if e[name] is None else float(e[name]) for e in examples]
                batch[_NUMBER + name] = torch.tensor(values, dtype=torch.float32).view(torch.int32)
        for factor, codes in self.codes.items():
            if factor in examples[0]:
                found = [codes.get(str(example[factor]), UNKNOWN) for example in examples]
                batch[_LEVEL + factor] = torch.tensor(found)
        self._add_what_strength_depends_on(batch, examples)
        return batch

    def _add_what_strength_depends_on(self, batch: Any, examples: list[dict[str, Any]]) -> None:
        # Datasets were looked through before; of a stream this is the first sight.
        if self.group is not None:
            values = [example.get(self.group) for example in examples]
            _require_known(values, "a batch", self.group, list(self.codes[self.group]))
        if self.covariates:
            columns = []
            for name, each in self.covariates.items():
                values = [example.get(name) for example in examples]
                _require_numbers(values, "a batch", name)
                columns.append((np.array(values, dtype=float) - each.mean) / each.sd)
            table = torch.tensor(np.stack(columns, axis=1), dtype=torch.float32)
            batch[_COVARIATES] = table.view(torch.int32)


class Carried(NamedTuple):
    """What :func:`split_columns` found in a batch.

    Parameters
    ----------
    numbers : dict
        Column to its numbers, float32 (pair,).
    codes : dict
        Column of groups to the numbers of the levels, int64 (pair,).
    rest : dict
        What the model is to see.
    covariates : torch.Tensor, shape (pair, covariate), optional
        Standardised, float32.
    """

    numbers: dict[str, torch.Tensor]
    codes: dict[str, torch.Tensor]
    rest: dict[str, Any]
    covariates: torch.Tensor | None


def split_columns(inputs: dict[str, Any]) -> Carried:
    """Part what was carried beside the tokens from what the model is to see."""
    numbers, codes, rest, covariates = {}, {}, {}, None
    for key, value in inputs.items():
        if key.startswith(_NUMBER):
            numbers[key.removeprefix(_NUMBER)] = value.view(torch.float32)
        elif key.startswith(_LEVEL):
            codes[key.removeprefix(_LEVEL)] = value
        elif key == _COVARIATES:
            covariates = value.view(torch.float32)
        else:
            rest[key] = value
    return Carried(numbers, codes, rest, covariates)


def levels_of(datasets: Sequence[tuple[str, Any]], factors: Sequence[str]) -> dict[str, list[str]]:
    """Levels of every factor in all of the evaluation sets."""
    if factors and not datasets:
        raise InputError(
            f"Expected an eval_dataset with group_columns {', '.join(factors)}; got none. Groups "
            "are reported in evaluation. Give one, or leave group_columns out."
        )
    return {
        factor: sorted(
            set().union(*(_levels(d, name, factor, "group_columns") for name, d in datasets))
        )
        for factor in factors
    }


def check_level_names(levels: Mapping[str, Sequence[str]]) -> None:
    """Stop where a level has a name that the logs give to something else."""
    for factor, names in levels.items():
        taken = [name for name in names if name in ("macro", "worst")]
        if taken:
            raise InputError(
                f"Expected levels of {factor!r} under names of their own in the logs; got "
                f"{' and '.join(map(repr, taken))}, where the mean over levels (macro) and the "
                f"worst of them stand. Rename {'them' if len(taken) > 1 else 'it'}."
            )


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


# -- what strength depends on ----------------------------------------------------------------------


def group_sizes(dataset: Any, column: str) -> dict[str, int]:
    """Levels of the training pairs' groups, sorted, with their numbers of pairs."""
    levels = _levels(dataset, "train_dataset", column, "strength_group_column")
    return dict(sorted(Counter(levels).items()))


def check_group(dataset: Any, label: str, column: str, levels: Sequence[str]) -> None:
    """Stop where pairs to be evaluated are of a group whose strength is not learned."""
    if column not in next(iter(dataset)):
        raise InputError(
            f"Expected a column {column} in {label}, by whose levels strength differs; got none. "
            "Add it."
        )
    if isinstance(dataset, Dataset):
        _require_known(dataset[column], label, column, levels)


def standardisation(
    dataset: Any, columns: Sequence[str], scale: float
) -> dict[str, LearnedCovariate]:
    """Mean and sd of covariates in the training pairs; ``scale`` is their coefficients' prior."""
    out = {}
    for name in columns:
        values = _looked_through(dataset, "train_dataset", name, "strength_covariates")
        _require_numbers(values, "train_dataset", name)
        numbers = np.array(values, dtype=float)
        mean, sd = float(numbers.mean()), float(numbers.std())
        # What is left of a constant is rounding.
        if not sd > 1e-12 * np.abs(numbers).max():
            raise InputError(
                f"Expected a covariate that varies in column {name} of train_dataset; got "
                f"{values[0]!r} in all rows. Leave it out of strength_covariates."
            )
        out[name] = LearnedCovariate(mean, sd, scale)
    return out


def check_covariates(dataset: Any, label: str, columns: Sequence[str]) -> None:
    """Stop where pairs to be evaluated lack a covariate of strength."""
    first = next(iter(dataset))
    for name in columns:
        if name not in first:
            raise InputError(
                f"Expected a column {name} in {label}, on which strength depends; got none. Add it."
            )
        if isinstance(dataset, Dataset):
            _require_numbers(list(dataset[name]), label, name)


def _looked_through(dataset: Any, label: str, column: str, argument: str) -> list[Any]:
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"Expected {label} as a datasets.Dataset with {argument}; got a stream, of which not "
            f"all pairs are known before its end. Load it, or leave {argument} out."
        )
    if column not in dataset.column_names:
        raise InputError(
            f"Expected a column {column} in {label}, named in {argument}; got "
            f"{', '.join(dataset.column_names)}. Correct the name."
        )
    return list(dataset[column])


def _levels(dataset: Any, label: str, column: str, argument: str) -> list[str]:
    """Level of every pair."""
    values = _looked_through(dataset, label, column, argument)
    empty = [i for i, value in enumerate(values) if value is None or value != value]
    if empty:
        raise InputError(
            f"Expected a level in column {column} of every pair in {label}; got none in row "
            f"{empty[0]} ({len(empty)} of {len(values)} rows). Name them, for example 'not stated'."
        )
    return [str(value) for value in values]


def _require_known(values: Sequence[Any], label: str, column: str, levels: Sequence[str]) -> None:
    known = set(levels)
    for row, value in enumerate(values):
        if str(value) not in known:
            raise InputError(
                f"Expected a level of {column!r} that train_dataset has ({listed(levels)}); got "
                f"{value!r} in row {row} of {label}. Strength is learned for each level of the "
                "training pairs: leave such pairs out, or train on some."
            )


def _require_numbers(
    values: Sequence[Any], label: str, column: str, kind: str = "numbers", least: float = -math.inf
) -> None:
    wrong = [
        i
        for i, value in enumerate(values)
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= least)
    ]
    if wrong:
        raise InputError(
            f"Expected {kind} in column {column} of {label}; got {values[wrong[0]]!r} in row "
            f"{wrong[0]} ({len(wrong)} of {len(values)} rows). Drop these pairs."
        )


# -- numbers of the objective ----------------------------------------------------------------------


def check_columns(dataset: Any, label: str, needed: Sequence[str], weights: Sequence[str]) -> None:
    """Stop where a column is missing, or holds no number, or a negative weight."""
    present = list(next(iter(dataset)))
    missing = [name for name in (*needed, *weights) if name not in present]
    if missing:
        hint = "Add it, or take another objective."
        if set(missing) & set(REWARDS):
            hint = (
                "Score the pairs with prefstrength.score, or give the rewards of your own reward "
                "model."
            )
        elif set(missing) & set(weights):
            hint = "Add it, or leave weight_column out."
        raise InputError(
            f"Expected columns {', '.join(missing)} in {label} for this objective; got "
            f"{', '.join(present)}. {hint}"
        )
    if not isinstance(dataset, Dataset):
        return  # a stream cannot be looked through
    for name in needed:
        _require_numbers(list(dataset[name]), label, name)
    for name in weights:
        _require_numbers(list(dataset[name]), label, name, "weights >= 0", least=0)
        if not any(dataset[name]):
            raise InputError(
                f"Expected weights of which some are > 0 in column {name} of {label}; got 0 in "
                "all rows. Leave weight_column out to count every pair once."
            )


def check_weights(weights: torch.Tensor, column: str, step: int) -> None:
    """Stop where a batch of a stream has a weight that no loss can be multiplied with."""
    _require_numbers(weights.tolist(), f"the batch at step {step}", column, "weights >= 0", least=0)
