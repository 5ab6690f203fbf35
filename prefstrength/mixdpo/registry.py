"""The objectives that a trainer can take by name: their papers, columns and state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from prefstrength.mixdpo.objectives import (
    LEAST_REWARD_DIFFERENCE,
    beta_dpo_loss,
    beta_dpo_scale,
    capo_loss,
    mixdpo_loss,
    odpo_loss,
    smpo_loss,
)
from prefstrength.mixing import Mixing

__all__ = ["OBJECTIVES", "REWARDS", "Objective", "Running"]

#: Columns of the rewards of both responses.
REWARDS = ("reward_chosen", "reward_rejected")

# Momentum of β-DPO's threshold.
_MOMENTUM = 0.9


@dataclass
class Running:
    """What an objective keeps from batch to batch; saved with every checkpoint.

    Parameters
    ----------
    threshold : torch.Tensor, shape ()
        β-DPO's M0 in nats (float64, CPU).
    mean : callable
        Mean of a number over all processes.
    """

    threshold: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    mean: Callable[[torch.Tensor], torch.Tensor] = lambda value: value


@dataclass(frozen=True)
class Objective:
    """An objective by name.

    Parameters
    ----------
    loss : callable
        ``loss(delta, columns, mixing, arguments, running, learning)``: loss of every pair (pair,)
        and numbers to be logged. ``columns`` holds the columns by name, ``arguments`` are those
        of the trainer, ``learning`` is false in evaluation.
    columns : tuple of str
        Columns of numbers that every pair must have.
    paper : str
        arXiv number.
    regression : bool
        Whether the loss is no likelihood of the choice, so that strength cannot be learned.
    """

    loss: Callable[..., tuple[torch.Tensor, dict[str, float]]]
    paper: str
    columns: tuple[str, ...] = ()
    regression: bool = False


Columns = Mapping[str, torch.Tensor]


def _difference(columns: Columns) -> torch.Tensor:
    return columns["reward_chosen"] - columns["reward_rejected"]


def _mixdpo(
    delta: torch.Tensor,
    columns: Columns,
    mixing: Mixing,
    arguments: Any,
    running: Running,
    learning: bool,
) -> tuple[torch.Tensor, dict[str, float]]:
    # The paper's draws are for training; what is reported in evaluation is exact.
    estimator = arguments.estimator if learning else "exact"
    return mixdpo_loss(delta, mixing, estimator=estimator, samples=arguments.samples), {}


def _odpo(
    delta: torch.Tensor,
    columns: Columns,
    mixing: Mixing,
    arguments: Any,
    running: Running,
    learning: bool,
) -> tuple[torch.Tensor, dict[str, float]]:
    difference = _difference(columns)
    guarded = running.mean((difference < LEAST_REWARD_DIFFERENCE).float().mean()).item()
    loss = odpo_loss(delta, mixing, difference, alpha=arguments.odpo_alpha)
    return loss, {"guarded_share": guarded}


def _beta_dpo(
    delta: torch.Tensor,
    columns: Columns,
    mixing: Mixing,
    arguments: Any,
    running: Running,
    learning: bool,
) -> tuple[torch.Tensor, dict[str, float]]:
    mean = running.mean(delta.detach().mean())
    if learning:
        before = running.threshold
        running.threshold = _MOMENTUM * before + (1 - _MOMENTUM) * mean.cpu().to(before)
    threshold = running.threshold.to(delta.dtype).to(delta.device)
    scale = beta_dpo_scale(mean, threshold, a=arguments.beta_dpo_a)
    loss = beta_dpo_loss(delta, mixing, threshold, a=arguments.beta_dpo_a, batch_mean=mean)
    return loss, {"scale": scale.item(), "threshold": running.threshold.item()}


def _smpo(
    delta: torch.Tensor,
    columns: Columns,
    mixing: Mixing,
    arguments: Any,
    running: Running,
    learning: bool,
) -> tuple[torch.Tensor, dict[str, float]]:
    difference = _difference(columns)
    contradicted = running.mean((difference < 0).float().mean()).item()
    loss = smpo_loss(delta, mixing, difference, gamma=arguments.smpo_gamma)
    return loss, {"contradicted_share": contradicted}


def _capo(
    delta: torch.Tensor,
    columns: Columns,
    mixing: Mixing,
    arguments: Any,
    running: Running,
    learning: bool,
) -> tuple[torch.Tensor, dict[str, float]]:
    return capo_loss(delta, mixing, _difference(columns)), {}


#: Name -> objective.
OBJECTIVES: dict[str, Objective] = {
    "mixdpo": Objective(_mixdpo, "2601.06180"),
    "odpo": Objective(_odpo, "2402.10571", REWARDS),
    "beta-dpo": Objective(_beta_dpo, "2407.08639"),
    "smpo": Objective(_smpo, "2506.02698", REWARDS),
    "capo": Objective(_capo, "2502.02588", REWARDS, regression=True),
}
