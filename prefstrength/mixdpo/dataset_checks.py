"""What is looked at when a trainer is made: the model, and the pairs with their columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedModel

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
from prefstrength.mixdpo.objectives.registry import OBJECTIVES
from prefstrength.mixdpo.strength import Strength
from prefstrength.mixdpo.weights import require_safetensors


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


def model_name(model: Any) -> str:
    """Name or path of a model; empty where it has none."""
    if isinstance(model, str):
        return model
    if not hasattr(model, "config"):
        raise TypeError(
            f"Expected model as a name, a path or a transformers model; got {type(model).__name__}."
        )
    return getattr(model.config, "_name_or_path", "")


def check_model(
    model: Any, name: str, ref_model: Any, args: MixDPOConfig, kwargs: dict[str, Any]
) -> None:
    """Find the model that cannot be a policy."""
    if isinstance(model, str):
        local = model.startswith((".", "/", "~")) or model.count("/") > 1
        if local and not Path(model).is_dir():
            raise InputError(
                f"Expected a model's folder or its name on the hub; got {model!r}, where there is "
                "no folder. Check the path."
            )
        options: Any = args.model_init_kwargs or {}
        if options.get("use_safetensors", True):
            require_safetensors(model)
        return
    reloads = isinstance(model, PreTrainedModel) and not (
        ref_model is not None or kwargs.get("peft_config") or args.precompute_ref_log_probs
    )
    if not name and (reloads or kwargs.get("processing_class") is None):
        raise InputError(
            "Expected a model that was loaded from a path, from where its "
            f"{'reference' if reloads else 'tokenizer'} is loaded too; got a "
            f"{type(model).__name__} that exists in memory alone. Save model and tokenizer with "
            "save_pretrained(folder) and give the folder."
        )
    if reloads:
        require_safetensors(name)


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
