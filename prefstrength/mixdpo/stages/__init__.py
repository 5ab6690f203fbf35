"""Stages of a training run: fine-tuning, preference training, evaluation, judging."""

from prefstrength.mixdpo.stages.arguments import (
    columns_asked_for,
    preference_arguments,
    processes,
    sft_arguments,
)
from prefstrength.mixdpo.stages.checks import check_preferences
from prefstrength.mixdpo.stages.evaluation import (
    METRICS_FILE,
    PAIRS_FILE,
    evaluate_policy,
    judge_policy,
)
from prefstrength.mixdpo.stages.training import train_preferences, train_sft

__all__ = [
    "METRICS_FILE",
    "PAIRS_FILE",
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
