"""Stages of an experiment: supervised fine-tuning, preference training, evaluation, judging.

Each works on folders: it reads a model from one and writes one, goes on from what is there, and,
judging apart, runs the same in one process and in many (``accelerate launch``).
"""

import contextlib
import gc
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import (
    Dataset,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers import AutoConfig
from trl import DPOTrainer, SFTConfig, SFTTrainer, TrlParser

from prefstrength._files import atomic_write_bytes, atomic_write_text
from prefstrength.errors import DataWarning, InputError
from prefstrength.learned import LearnedStrength
from prefstrength.mixdpo.columns import (
    check_columns,
    check_covariates,
    check_group,
    check_level_names,
    group_sizes,
    levels_of,
    standardisation,
)
from prefstrength.mixdpo.config import MixDPOConfig
from prefstrength.mixdpo.evaluate import evaluate_preferences
from prefstrength.mixdpo.generate import prompts_that_fit, read_prompts
from prefstrength.mixdpo.metrics import preference_metrics
from prefstrength.mixdpo.models import load_tokenizer
from prefstrength.mixdpo.registry import OBJECTIVES
from prefstrength.mixdpo.session import show_progress
from prefstrength.mixdpo.trainer import MixDPOTrainer, last_checkpoint
from prefstrength.mixdpo.win_rates import WIN_COLUMNS, WinRate, win_rate

__all__ = [
    "check_preferences",
    "columns_asked_for",
    "evaluate_policy",
    "judge_policy",
    "preference_arguments",
    "processes",
    "sft_arguments",
    "train_preferences",
    "train_sft",
]

#: What an evaluation writes: metrics by group, and the log-ratios that they are made of.
METRICS_FILE, PAIRS_FILE = "metrics.csv", "pairs.parquet"

# Columns of an evaluation's pairs that are no groups.
_TAKEN = (
    "chosen", "rejected", "row", "delta", "chosen_log_ratio", "rejected_log_ratio",
    "chosen_tokens", "rejected_tokens",
)  # fmt: skip

# Pairs of which the length is looked at together, until one fits.
_TOGETHER = 256


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
    sets = {"train_dataset": _dataset(train), "eval_dataset": _dataset(evaluation)}
    trained, held = sets.values()
    rewards = OBJECTIVES[args.objective].columns
    weights = (args.weight_column,) if args.weight_column else ()
    check_columns(trained, "train_dataset", rewards, weights)
    check_columns(held, "eval_dataset", rewards, ())
    check_level_names(levels_of([("eval_dataset", held)], args.group_columns or ()))
    groups = covariates = None
    if args.strength_group_column is not None:
        groups = group_sizes(trained, args.strength_group_column)
        check_group(held, "eval_dataset", args.strength_group_column, list(groups))
    if args.strength_covariates:
        covariates = standardisation(
            trained, args.strength_covariates, args.strength_covariate_scale
        )
        check_covariates(held, "eval_dataset", args.strength_covariates)
    with warnings.catch_warnings():  # training says it again
        warnings.simplefilter("ignore", DataWarning)
        args.build_strength(groups, covariates)
    tokenizer = _made(model, lambda: load_tokenizer(None, model))
    for label, pairs in sets.items():
        _check_length(pairs, label, tokenizer, args)


def _dataset(pairs: pd.DataFrame) -> Dataset:
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
    trainer: Any = SimpleNamespace(_tokenizer=tokenizer)
    how: Any = SimpleNamespace(
        dataset_num_proc=None, max_length=args.max_length, truncation_mode="keep_start"
    )
    # The shortest first: all but always the first look is enough.
    order = np.argsort([len(str(prompt)) for prompt in pairs["prompt"]], kind="stable")
    texts = pairs.select_columns(["prompt", "chosen", "rejected"])
    for at in range(0, len(order), _TOGETHER):
        some = Dataset.from_list(texts.select(order[at : at + _TOGETHER]).to_list())
        with _no_bars():
            fitting = DPOTrainer._prepare_dataset(trainer, some, tokenizer, how, label)
        if len(fitting):
            return
    raise InputError(
        f"Expected pairs in {label} that fit into max_length; got {len(pairs)} whose prompt alone "
        f"has {args.max_length} tokens or more. Raise max_length."
    )


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


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
    trainer = _made(
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
    trainer = _made(
        model,
        lambda: MixDPOTrainer(
            model,
            args=args,
            train_dataset=_dataset(train),
            eval_dataset=_dataset(evaluation),
        ),
    )
    show_progress(trainer, not args.disable_tqdm)
    trainer.train(resume_from_checkpoint=last_checkpoint(str(args.output_dir)))
    _save(trainer)


def _made(model: str, make: Any) -> Any:
    try:
        return make()
    except OSError as error:  # what transformers raises for a name or folder without a model
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"Expected a causal language model in safetensors; got {model!r}, which transformers "
            f"could not load ({reason}). Name a folder that holds config.json, "
            " the weights and the tokenizer, or a model on the hub."
        ) from error


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


# -- evaluation ------------------------------------------------------------------------------------


def evaluate_policy(
    policy: str | os.PathLike[str],
    reference: str,
    pairs: pd.DataFrame,
    groups: Sequence[str],
    *,
    batch_size: int = 8,
    max_length: int | None = 1024,
    clusters: Sequence[Any] | None = None,
    progress: bool = True,
) -> None:
    """Evaluate a trained policy under the strength that lies beside it, in all processes.

    Every pair has the law of its group and covariates, where strength was learned by them.

    Writes ``evaluation/metrics.csv`` (as of :func:`~prefstrength.mixdpo.preference_metrics`) and
    ``evaluation/pairs.parquet`` into the policy's folder, the first of them last. Goes on after
    an interruption.

    Parameters
    ----------
    policy : path
        Folder of the policy.
    reference : str
        What it was trained against.
    pairs : DataFrame
        Columns ``prompt``, ``chosen``, ``rejected``, ``groups``, and those on which the learned
        strength depends.
    groups : sequence of str
        Columns to report by.
    batch_size, max_length
        As of :func:`~prefstrength.mixdpo.evaluate_preferences`; ``batch_size`` is for each
        process.
    clusters : sequence, optional
        What every pair shares with others, as of ``preference_metrics``: the intervals count it.
    progress : bool
        Show a progress bar.

    Raises
    ------
    InputError
        If there are fewer pairs than processes, or as of ``evaluate_preferences``.
    """
    state = processes()
    index, count = state.process_index, state.num_processes
    if len(pairs) < count:
        raise InputError(
            f"Expected at least one pair for each of {count} processes to evaluate; got "
            f"{len(pairs)}. Hold out more."
        )
    policy = Path(policy)
    folder = policy / "evaluation"
    strength = LearnedStrength.load(policy)
    mine = evaluate_preferences(
        policy,
        reference,
        pairs.iloc[index::count],
        strength,
        groups,
        batch_size=batch_size,
        max_length=max_length,
        directory=folder / f"process-{index + 1}-of-{count}",
        progress=progress and state.is_main_process,
    ).pairs
    mine["row"] = index + count * mine["row"]
    records = gather_object(mine.to_dict("records"))
    if state.is_main_process:
        found = pd.DataFrame(records).sort_values("row").reset_index(drop=True)
        by = {factor: found[factor] for factor in groups}
        law = strength.of_pairs(pairs.iloc[found["row"]])
        together = None if clusters is None else np.asarray(clusters)[found["row"]]
        metrics = preference_metrics(found["delta"], law, by, clusters=together)
        atomic_write_bytes(folder / PAIRS_FILE, found.to_parquet(index=False))
        atomic_write_text(folder / METRICS_FILE, metrics.to_csv(index=False))
    state.wait_for_everyone()


# -- judging ---------------------------------------------------------------------------------------


def judge_policy(
    policy: str | os.PathLike[str],
    opponent: str | os.PathLike[str],
    judge: Any,
    prompts: pd.DataFrame,
    groups: Sequence[str],
    *,
    most: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    out: str | os.PathLike[str],
    batch_size: int = 8,
    progress: bool = True,
) -> WinRate:
    """Let a policy and its opponent answer prompts and a judge compare them, in this process.

    Parameters
    ----------
    policy, opponent : path
        Folders of two models with the same tokenizer. The win rates are those of the policy.
    judge : HFReward, or any object with its method ``score_pairs``
    prompts : DataFrame
        Columns ``prompt`` and ``groups``. Those that leave no room for a response within the
        policy's context are left out.
    groups : sequence of str
        Columns to report by.
    most : int
        How many prompts are answered: the first of those that are left.
    max_new_tokens, temperature, seed, out, batch_size, progress
        As of :func:`~prefstrength.mixdpo.win_rate`.

    Returns
    -------
    WinRate

    Raises
    ------
    InputError
        If no prompt leaves room for a response, or as of ``win_rate``.

    Warns
    -----
    DataWarning
        If prompts are left out.
    """
    policy = os.fspath(policy)
    fits = prompts_that_fit(
        AutoConfig.from_pretrained(policy),
        load_tokenizer(None, policy),
        read_prompts(prompts["prompt"]),
        max_new_tokens,
    )
    said = f"{(~fits).sum()} of {len(fits)} prompts that leave no room for {max_new_tokens} tokens"
    if not fits.any():
        raise InputError(
            f"Expected prompts that fit into the context of {policy} with a response; got "
            f"{said}. Lower max_new_tokens."
        )
    if not fits.all():
        warnings.warn(f"Left out {said}.", DataWarning, stacklevel=2)
    some = prompts[fits].head(most)
    return win_rate(
        policy,
        os.fspath(opponent),
        some["prompt"].tolist(),
        judge,
        {name: some[name] for name in groups},
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        batch_size=batch_size,
        out=out,
        seed=seed,
        progress=progress,
    )
