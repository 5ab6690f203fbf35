"""Checks of preference pairs before a long training."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from datasets import (
    Dataset,
)

from prefstrength.errors import DataWarning, InputError
from prefstrength.mixdpo.columns import check_level_names, levels_of
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.dataset_checks import strength_for
from prefstrength.mixdpo.models import load_tokenizer
from prefstrength.mixdpo.preparation import prepared_pairs
from prefstrength.mixdpo.stages.evaluation import no_bars

__all__ = ["check_preferences"]

# Pairs of which the length is looked at together, until one fits.
_TOGETHER = 256


def check_preferences(
    model: str, args: MixDPOConfig, train: pd.DataFrame, evaluation: pd.DataFrame
) -> None:
    """Find in pairs what would stop :func:`train_preferences`, without training.

    Parameters
    ----------
    model : str
        Name or folder with the tokenizer.
    args, train, evaluation
        As of :func:`train_preferences`.

    Raises
    ------
    InputError
        If columns are missing or hold what cannot be used, a group to be evaluated is not
        trained on, or no pair fits into ``args.max_length``.
    """
    sets = {"train_dataset": dataset(train), "eval_dataset": dataset(evaluation)}
    held = [("eval_dataset", sets["eval_dataset"])]
    with warnings.catch_warnings():  # training says it again
        warnings.simplefilter("ignore", DataWarning)
        strength_for(args, sets["train_dataset"], held)
    check_level_names(levels_of(held, args.group_columns or ()))
    tokenizer = made(model, lambda: load_tokenizer(None, model))
    for label, pairs in sets.items():
        _check_length(pairs, label, tokenizer, args)


def dataset(pairs: pd.DataFrame) -> Dataset:
    try:
        return Dataset.from_pandas(pairs, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"Expected values of one kind in every column of the pairs; got a mixture "
            f"({' '.join(map(str, error.args))}). Bring them into one form."
        ) from error


def _check_length(pairs: Dataset, label: str, tokenizer: Any, args: MixDPOConfig) -> None:
    """Stop where the trainer would leave out all pairs, whose prompts fill ``max_length``."""
    conversations = not isinstance(pairs[0]["prompt"], str)
    if args.max_length is None or args.truncation_mode != "keep_start":
        return
    if conversations and tokenizer.chat_template is None:
        return  # fine-tuning may bring one, or stop at once
    # The shortest first: all but always the first look is enough.
    order = np.argsort([len(str(prompt)) for prompt in pairs["prompt"]], kind="stable")
    texts = pairs.select_columns(["prompt", "chosen", "rejected"])
    for at in range(0, len(order), _TOGETHER):
        some = Dataset.from_list(texts.select(order[at : at + _TOGETHER]).to_list())
        with no_bars():
            if len(prepared_pairs(some, tokenizer, args.max_length, args.truncation_mode)):
                return
    raise InputError(
        f"Expected pairs in {label} that fit into max_length; got {len(pairs)} whose prompt alone "
        f"has {args.max_length} tokens or more. Raise max_length."
    )


def made(model: str, make: Any) -> Any:
    try:
        return make()
    except OSError as error:  # what transformers raises for a name or folder without a model
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"Expected a causal language model in safetensors; got {model!r}, which transformers "
            f"could not load ({reason}). Name a folder that holds config.json, "
            " the weights and the tokenizer, or a model on the hub."
        ) from error
