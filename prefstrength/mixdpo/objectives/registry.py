"""The objectives that a trainer can take by name: their papers, columns and state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from prefstrength.choice.mixing.base import Mixing
from prefstrength.mixdpo.objectives.losses import (
    LEAST_REWARD_DIFFERENCE,
    beta_dpo_loss,
    beta_dpo_scale,
    capo_loss,
    mixdpo_loss,
    odpo_loss,
    smpo_loss,
)

__all__ = ["OBJECTIVES", "REWARDS", "Batch", "Objective", "Running"]

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
    process : int
        Number of this process.
    """

    threshold: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    mean: Callable[[torch.Tensor], torch.Tensor] = lambda value: value
    process: int = 0

    def generator(self, device: torch.device) -> torch.Generator:
        """Draws of this process alone: trainers seed torch's own generator alike in all.

        Its seed comes from that one, whose state is saved with every checkpoint.
        """
        seed = int(torch.randint(2**62, ()).item()) + self.process
        return torch.Generator(device).manual_seed(seed)


@dataclass(frozen=True)
class Batch:
    """What an objective sees.

    Parameters
    ----------
    delta : torch.Tensor, shape (pair,)
        Log-ratio differences, in nats.
    columns : mapping
        Columns of numbers by name, each (pair,).
    mixing : Mixing
        Law of strength, with gradients.
    arguments : MixDPOConfig
    running : Running
    learning : bool
        False in evaluation.
    """

    delta: torch.Tensor
    columns: Mapping[str, torch.Tensor]
    mixing: Mixing
    arguments: Any
    running: Running
    learning: bool

    @property
    def reward_difference(self) -> torch.Tensor:
        """Reward of the chosen minus that of the rejected response."""
        return self.columns["reward_chosen"] - self.columns["reward_rejected"]

    def share(self, of_pairs: torch.Tensor) -> float:
        """Share of the pairs, over all processes."""
        return self.running.mean(of_pairs.float().mean()).item()


#: Loss of every pair, and numbers to be logged.
Found = tuple[torch.Tensor, dict[str, float]]


@dataclass(frozen=True)
class Objective:
    """An objective by name.

    Parameters
    ----------
    loss : callable
        Of a :class:`Batch`: loss of every pair (pair,), and numbers to be logged.
    columns : tuple of str
        Columns of numbers that every pair must have.
    arguments : tuple of str
        Those of ``MixDPOConfig`` on which the loss depends.
    paper : str
        arXiv number.
    regression : bool
        Whether the loss is no likelihood of the choice, so that strength cannot be learned.
    """

    loss: Callable[[Batch], Found]
    paper: str
    columns: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    regression: bool = False


def _mixdpo(batch: Batch) -> Found:
    # The paper's draws are for training; what is reported in evaluation is exact.
    if not batch.learning or batch.arguments.estimator == "exact":
        return mixdpo_loss(batch.delta, batch.mixing), {}
    loss = mixdpo_loss(
        batch.delta,
        batch.mixing,
        estimator=batch.arguments.estimator,
        samples=batch.arguments.samples,
        generator=batch.running.generator(batch.delta.device),
    )
    return loss, {}


def _odpo(batch: Batch) -> Found:
    difference, alpha = batch.reward_difference, batch.arguments.odpo_alpha
    loss = odpo_loss(batch.delta, batch.mixing, difference, alpha=alpha)
    return loss, {"guarded_share": batch.share(difference < LEAST_REWARD_DIFFERENCE)}


def _beta_dpo(batch: Batch) -> Found:
    delta, running, a = batch.delta, batch.running, batch.arguments.beta_dpo_a
    mean = running.mean(delta.detach().mean())
    if batch.learning:
        before = running.threshold
        running.threshold = _MOMENTUM * before + (1 - _MOMENTUM) * mean.cpu().to(before)
    threshold = running.threshold.to(delta.dtype).to(delta.device)
    scale = beta_dpo_scale(mean, threshold, a=a)
    loss = beta_dpo_loss(delta, batch.mixing, threshold, a=a, batch_mean=mean)
    return loss, {"scale": scale.item(), "threshold": running.threshold.item()}


def _smpo(batch: Batch) -> Found:
    difference, gamma = batch.reward_difference, batch.arguments.smpo_gamma
    loss = smpo_loss(batch.delta, batch.mixing, difference, gamma=gamma)
    return loss, {"contradicted_share": batch.share(difference < 0)}


def _capo(batch: Batch) -> Found:
    return capo_loss(batch.delta, batch.mixing, batch.reward_difference), {}


#: Name -> objective.
OBJECTIVES: dict[str, Objective] = {
    "mixdpo": Objective(_mixdpo, "2601.06180", arguments=("estimator", "samples")),
    "odpo": Objective(_odpo, "2402.10571", REWARDS, ("odpo_alpha",)),
    "beta-dpo": Objective(_beta_dpo, "2407.08639", arguments=("beta_dpo_a",)),
    "smpo": Objective(_smpo, "2506.02698", REWARDS, ("smpo_gamma",)),
    "capo": Objective(_capo, "2502.02588", REWARDS, regression=True),
}
