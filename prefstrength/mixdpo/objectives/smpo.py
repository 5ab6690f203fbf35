"""DPO with smoothed preferences: strength is scaled by how sure a reward model is of the pair."""

import torch

from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.mixdpo.objectives.base import REWARDS, Argument, Batch, Found, Objective
from prefstrength.mixdpo.objectives.probability import TORCH, prepare

__all__ = ["SmPO", "smpo_loss"]


def smpo_loss(
    delta: torch.Tensor, mixing: Mixing, reward_difference: torch.Tensor, *, gamma: float = 1.0
) -> torch.Tensor:
    r"""Smoothed preferences: strength is scaled by how sure a reward model is of the pair.

    .. math:: -\log E_\beta\,\sigma\bigl(\gamma\,(2 q - 1)\,\beta\,\Delta\bigr),
        \qquad q = \sigma(r_w - r_l)

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Mixing distribution of strength; PointMass is the paper's.
    reward_difference : torch.Tensor, shape (...)
        Reward of the chosen minus that of the rejected response, in logits. Where it is negative
        the reward model contradicts the label, and the pair is learned the other way round.
    gamma : float
        Sensitivity, > 0.

    Returns
    -------
    torch.Tensor, shape (...)

    References
    ----------
    .. [1] Lu et al. (2025), arXiv:2506.02698, eq. 9.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> delta, reward = torch.tensor([5.0, 5.0]), torch.tensor([0.0, 2.0])
    >>> smpo_loss(delta, PointMass(value=0.2), reward)  # a pair that looks even teaches nothing
    tensor([0.6931, 0.3832])
    """
    delta, mixing = prepare(delta, mixing)
    difference = torch.as_tensor(reward_difference, dtype=delta.dtype, device=delta.device)
    # 2 sigmoid(d) - 1, without cancellation near 0.
    return -log_probability(TORCH, gamma * torch.tanh(difference / 2) * delta, mixing)


class SmPO(Objective):
    """The loss of SmPO, by name."""

    name, paper, columns = "smpo", "2506.02698", REWARDS
    arguments = (
        Argument("smpo_gamma", 1.0, "Sensitivity of SmPO's smoothed preferences", above=0),
    )

    def loss(self, batch: Batch) -> Found:
        difference, gamma = batch.reward_difference, batch.arguments.smpo_gamma
        loss = smpo_loss(batch.delta, batch.mixing, difference, gamma=gamma)
        return loss, {"contradicted_share": batch.share(difference < 0)}
