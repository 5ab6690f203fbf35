"""The stages after training: metrics on held-out pairs, and judged answers."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate.utils import gather_object
from datasets import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from transformers import AutoConfig

from prefstrength._shared.files import write_csv, write_parquet
from prefstrength._shared.words import warn
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.errors import InputError
from prefstrength.mixdpo.evaluation.evaluate import evaluate_preferences
from prefstrength.mixdpo.evaluation.generate import prompts_that_fit, read_prompts
from prefstrength.mixdpo.evaluation.metrics import preference_metrics
from prefstrength.mixdpo.evaluation.win_rates import WinRate, win_rate
from prefstrength.mixdpo.models import load_tokenizer
from prefstrength.mixdpo.stages.arguments import processes

__all__ = ["evaluate_policy", "judge_policy"]

#: What an evaluation writes: metrics by group, and the log-ratios that they are made of.
METRICS_FILE, PAIRS_FILE = "metrics.csv", "pairs.parquet"


@contextlib.contextmanager
def no_bars() -> Iterator[None]:
    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


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

    Every pair has the strength of its group and covariates, where strength was learned by them.

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
        write_parquet(folder / PAIRS_FILE, found)
        write_csv(folder / METRICS_FILE, metrics)
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
        warn(f"Left out {said}.")
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
