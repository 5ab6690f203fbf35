"""What is looked at of the pairs when a trainer is made: form, columns, ties."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset, IterableDataset

from prefstrength._shared.words import warn
from prefstrength.errors import InputError
from prefstrength.mixdpo.answers import Answers
from prefstrength.mixdpo.columns import (
    check_columns,
    check_covariates,
    check_group,
    group_sizes,
    standardisation,
)
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.evaluation.metrics import METRICS
from prefstrength.mixdpo.objectives.registry import OBJECTIVES
from prefstrength.mixdpo.strength import Strength


def strength_for(args: MixDPOConfig, train: Any, evaluation: Sequence[tuple[str, Any]]) -> Strength:
    """Look through all pairs for what would stop training, and build the strength to learn.

    Parameters
    ----------
    args : MixDPOConfig
    train : datasets.Dataset or datasets.IterableDataset
    evaluation : sequence of (str, dataset)
        What errors call them, and the sets.
    """
    weights = () if args.weight_column is None else (args.weight_column,)
    objective = OBJECTIVES[args.objective]
    for label, dataset in (("train_dataset", train), *evaluation):
        check_pairs(dataset, label, args.answers)
        also = weights if label == "train_dataset" else ()
        check_columns(dataset, label, objective.columns, also)
    pairs = covariates = None
    if args.strength_group_column is not None:
        pairs = group_sizes(train, args.strength_group_column)
    if args.strength_covariates:
        covariates = standardisation(train, args.strength_covariates, args.strength_covariate_scale)
    strength = args.build_strength(pairs, covariates)
    for label, dataset in evaluation:
        check_strength_columns(dataset, label, strength)
    return strength


def check_strength_columns(dataset: Any, label: str, strength: Strength) -> None:
    """Find in pairs to be evaluated what leaves their strength unknown."""
    if strength.group_column is not None:
        check_group(dataset, label, strength.group_column, list(strength.groups))
    check_covariates(dataset, label, list(strength.covariates))


def warn_of_missing(dataset: Any, label: str, factors: tuple[str, ...]) -> None:
    """Warn of group columns that a data set lacks."""
    present = list(next(iter(dataset)))
    missing = [factor for factor in factors if factor not in present]
    if missing:
        warn(
            f"Expected the group_columns {', '.join(factors)} in {label}; got no "
            f"{' and no '.join(missing)}, so that their metrics are missing. Add the columns.",
        )


def named(dataset: Any) -> list[tuple[str, Any]]:
    """Evaluation sets with the words that errors call them by."""
    if dataset is None:
        return []
    if isinstance(dataset, dict):
        return [(f"eval_dataset[{key!r}]", value) for key, value in dataset.items()]
    return [("eval_dataset", dataset)]


def is_tokenized(dataset: Any) -> bool:
    """Whether a dataset went through TRL's preparation, as those of a trainer have."""
    columns = getattr(dataset, "column_names", None)
    return columns is not None and "prompt_ids" in columns


def check_pairs(dataset: Any, label: str, answers: Answers | None = None) -> None:
    """Find in the pairs what would stop training later, in words that do not help."""
    if not isinstance(dataset, Dataset | IterableDataset):
        hint = (
            " Give datasets.Dataset.from_pandas(pairs[['prompt', 'chosen', 'rejected']])."
            if hasattr(dataset, "to_dict") and hasattr(dataset, "columns")
            else ""
        )
        raise TypeError(
            f"Expected {label} as a datasets.Dataset or IterableDataset; got "
            f"{type(dataset).__name__}.{hint}"
        )
    first = next(iter(dataset), None)
    if first is None:
        raise InputError(
            f"Expected preference pairs in {label}; got none. A filter may have removed all of "
            "them. Check how it was made."
        )
    if answers is not None:
        answers.check(dataset, label)
    names = ("prompt", "chosen", "rejected")
    if "image" in first or "images" in first:
        return  # TRL's own checks know pictures better
    missing = [name for name in names if name not in first]
    if missing:
        raise InputError(
            f"Expected columns prompt, chosen and rejected in {label}; got no "
            f"{' and no '.join(missing)} among {', '.join(first)}. Rename the columns; where the "
            "prompt is part of both responses, map trl.extract_prompt over the dataset."
        )
    kinds = {name: type(first[name]) for name in names}
    if set(kinds.values()) not in ({str}, {list}):
        shown = ", ".join(f"{name} {kind.__name__}" for name, kind in kinds.items())
        raise InputError(
            f"Expected prompt, chosen and rejected in {label} as three texts, or as three lists "
            f"of messages; got {shown} in the first pair. A value may be missing. "
            "Bring all pairs into one form."
        )
    if isinstance(dataset, Dataset):
        _check_rows(dataset, label, names)
        if "tie" in dataset.column_names and answers is None:
            refuse_ties(dataset["tie"], label)


def _check_rows(dataset: Dataset, label: str, names: tuple[str, ...]) -> None:
    for name in names:
        if dataset.data.column(name).null_count:
            empty = [index for index, value in enumerate(dataset[name]) if value is None]
            if empty:
                raise InputError(
                    f"Expected a text in column {name} of every pair in {label}; got none in "
                    f"{len(empty)} of {len(dataset)} (first rows: "
                    f"{', '.join(map(str, empty[:3]))}). Drop these pairs."
                )


def refuse_ties(marks: Any, label: str) -> None:
    """Stop at pairs of which neither response was chosen."""
    ties = [index for index, tie in enumerate(marks) if tie]
    if ties:
        raise InputError(
            f"Expected a preference in every pair of {label}; got {len(ties)} of "
            f"{len(marks)} marked as ties (first rows: {', '.join(map(str, ties[:3]))}). "
            "In a tie, chosen and rejected are arbitrary. Drop these pairs, or train on ties as "
            "answers, `answer_column='tie'`, with the prior of a fit of them."
        )


def check_best_is_evaluated(args: MixDPOConfig, own: bool) -> None:
    """Stop where the best checkpoint is to go by a metric that no evaluation will have.

    Parameters
    ----------
    args : MixDPOConfig
    own : bool
        Whether the user computes metrics of their own.
    """
    name = args.metric_for_best_model
    if name is None or own or args.group_columns:
        return
    ours = next((each for each in METRICS if name.endswith(each)), None)
    if ours is not None and not name.endswith("token_accuracy"):
        raise InputError(
            f"Expected group_columns with metric_for_best_model {name!r}, which evaluations hold "
            "along with the metrics of groups; got none. Name a column, or go by 'eval_loss'."
        )
