"""Arguments of the stages, read as TRL reads them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from trl import SFTConfig, TrlParser

from prefstrength.errors import InputError
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.evaluation.win_rates import WIN_COLUMNS
from prefstrength.mixdpo.objectives.registry import OBJECTIVES

__all__ = ["columns_asked_for", "preference_arguments", "processes", "sft_arguments"]

# Columns of an evaluation's pairs that are no groups.
_TAKEN = (
    "chosen", "rejected", "row", "delta", "chosen_log_ratio", "rejected_log_ratio",
    "chosen_tokens", "rejected_tokens",
)  # fmt: skip


def processes() -> PartialState:
    """The processes that share the work, and which of them this is.

    To be asked after the arguments are made: they say whether the processes are on a CPU.

    Examples
    --------
    >>> args = sft_arguments({"use_cpu": True, "bf16": False}, "runs/sft", batch_size=8)
    >>> processes().num_processes
    1
    """
    return PartialState()


# -- arguments -------------------------------------------------------------------------------------


def sft_arguments(
    values: Mapping[str, Any], folder: str | os.PathLike[str], batch_size: int, seed: int = 0
) -> Any:
    """Arguments of supervised fine-tuning as ``trl.SFTConfig``, from what a YAML file holds.

    Parameters
    ----------
    values : mapping
        Arguments by name; texts are converted as on a command line (``1e-6`` is a text in YAML).
    folder : path
        Where model and checkpoints go.
    batch_size : int
        Texts of an optimizer step over all processes; the steps of gradient accumulation follow.
    seed : int
        Of the order of the texts.

    Returns
    -------
    SFTConfig

    Raises
    ------
    InputError
        If an argument is unknown or not accepted, would run code that comes with a model, or read
        a pickle, ``batch_size`` cannot be reached, or an evaluation is asked for.

    Examples
    --------
    >>> cpu = {"use_cpu": True, "bf16": False, "per_device_train_batch_size": 2}
    >>> args = sft_arguments(cpu | {"learning_rate": "1e-6"}, "runs/sft", batch_size=8)
    >>> args.learning_rate, args.gradient_accumulation_steps
    (1e-06, 4)
    """
    args = _arguments(SFTConfig, values, folder, batch_size, seed, "supervised fine-tuning")
    if args.eval_strategy != "no":
        raise InputError(
            "Expected no eval_strategy for supervised fine-tuning, which has nothing to evaluate; "
            f"got {args.eval_strategy.value!r}. Give it to the methods alone."
        )
    return args


def preference_arguments(
    values: Mapping[str, Any],
    folder: str | os.PathLike[str],
    batch_size: int,
    seed: int = 0,
    groups: Sequence[str] = (),
) -> MixDPOConfig:
    """Arguments of preference training, as :func:`sft_arguments` makes them.

    Parameters
    ----------
    values, folder, batch_size, seed
        As of :func:`sft_arguments`.
    groups : sequence of str
        ``group_columns``.

    Returns
    -------
    MixDPOConfig

    Raises
    ------
    InputError
        As of :func:`sft_arguments`, or if a group has the name of a column that an evaluation or a
        win rate writes itself.

    Examples
    --------
    >>> args = preference_arguments(
    ...     {"use_cpu": True, "bf16": False, "beta": 0.05}, "runs/dpo", batch_size=16
    ... )
    >>> args.strength_family, args.beta, args.gradient_accumulation_steps
    ('PointMass', 0.05, 2)
    """
    taken = [name for name in groups if name in (*_TAKEN, *WIN_COLUMNS)]
    if taken:
        raise InputError(
            f"Expected groups with names that the results do not use themselves; got {taken[0]!r}. "
            "Rename that column."
        )
    if values.get("answer_column") is not None:
        raise InputError(
            "Expected pairs of which one was chosen in the stages of an experiment, whose data are "
            f"read without ties; got answer_column {values['answer_column']!r}. Leave it out, or "
            "train on grades and ties with MixDPOTrainer."
        )
    given = {**values, "group_columns": list(groups) or None}
    args = _arguments(MixDPOConfig, given, folder, batch_size, seed, Path(folder).name)
    if not isinstance(args, MixDPOConfig):
        raise TypeError(f"Expected a MixDPOConfig of the parser; got {type(args).__name__}.")
    return args


class _Parser(TrlParser):
    """TRL's reader of YAML, that says what is wrong instead of printing its usage."""

    def error(self, message: str) -> Any:
        raise InputError(message)


def _arguments(
    config: Any,
    values: Mapping[str, Any],
    folder: str | os.PathLike[str],
    batch_size: int,
    seed: int,
    stage: str,
) -> Any:
    parser = _Parser([config])
    unknown = parser.set_defaults_with_config(
        **{**values, "output_dir": os.fspath(folder), "seed": seed}
    )
    if unknown:
        raise InputError(
            f"Expected arguments of {config.__name__} for {stage}; got {unknown[0][2:]}. Check "
            "the spelling."
        )
    try:
        (args,) = parser.parse_args_into_dataclasses(args=[], look_for_args_file=False)
    except InputError as error:
        raise InputError(f"The arguments for {stage} cannot be taken. {error}") from error
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"Expected arguments that {config.__name__} accepts for {stage}; got: {reason}"
        ) from error
    if args.per_device_train_batch_size < 1:
        raise InputError(
            f"Expected per_device_train_batch_size of at least 1 for {stage}; got "
            f"{args.per_device_train_batch_size}."
        )
    at_once = args.train_batch_size * args.world_size
    if batch_size % at_once:
        raise InputError(
            f"Expected a batch_size that processes share evenly; got {batch_size} for "
            f"{args.world_size} of {args.train_batch_size} (per_device_train_batch_size) each. "
            f"Take a multiple of {at_once}, or another per_device_train_batch_size."
        )
    args.gradient_accumulation_steps = batch_size // at_once
    options = args.model_init_kwargs or {}
    code = args.trust_remote_code or options.get("trust_remote_code")
    if code or not options.get("use_safetensors", True):
        raise InputError(
            f"Expected a model for {stage} that is read from safetensors and brings no code of its "
            f"own; got {'trust_remote_code' if code else 'use_safetensors'}: {bool(code)}. What "
            "comes with a model is not run. Take it out."
        )
    args.model_init_kwargs = {**options, "use_safetensors": True}
    return args


# -- pairs -----------------------------------------------------------------------------------------


def columns_asked_for(args: MixDPOConfig) -> tuple[list[str], list[str]]:
    """Columns that preference training asks for beside texts and ``group_columns``.

    Parameters
    ----------
    args : MixDPOConfig

    Returns
    -------
    groups, numbers : list of str
        That by whose levels strength differs, if any; rewards, weights and covariates.

    Examples
    --------
    >>> args = preference_arguments(
    ...     {"use_cpu": True, "bf16": False, "objective": "odpo", "weight_column": "weight"},
    ...     "runs/odpo", batch_size=8,
    ... )  # fmt: skip
    >>> columns_asked_for(args)
    ([], ['reward_chosen', 'reward_rejected', 'weight'])
    """
    groups = [args.strength_group_column] if args.strength_group_column else []
    weights = [args.weight_column] if args.weight_column else []
    covariates = args.strength_covariates or []
    numbers = [*OBJECTIVES[args.objective].columns, *weights, *covariates]
    return groups, list(dict.fromkeys(numbers))
