"""Calibrated margins: the implicit reward difference is to equal that of the win rates."""

import torch

from prefstrength.choice.mixing.base import Mixing
from prefstrength.mixdpo.objectives.base import REWARDS, Batch, Found, Objective
from prefstrength.mixdpo.objectives.probability import prepare

__all__ = ["CaPO", "capo_loss"]


def capo_loss(delta: torch.Tensor, mixing: Mixing, reward_difference: torch.Tensor) -> torch.Tensor:
    r"""Calibrated margins: the implicit reward difference is to equal the win rates' difference.

    .. math:: \bigl(2 q - 1 - E\beta\,\Delta\bigr)^2, \qquad q = \sigma(r_w - r_l)

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Mixing distribution of strength, of which the mean counts; PointMass is the paper's.
    reward_difference : torch.Tensor, shape (...)
        Reward of the chosen minus that of the rejected response, in logits: q is the rate at
        which the one wins against the other, and 1 - q the other's.

    Returns
    -------
    torch.Tensor, shape (...)
        Not a likelihood: with a learned mean strength it has a trivial minimum at strength 0 and
        infinite Δ, so that strength should be frozen.

    References
    ----------
    .. [1] Lee et al. (2025), arXiv:2502.02588.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> delta, reward = torch.tensor([5.0]), torch.tensor([2.0])
    >>> capo_loss(delta, PointMass(value=0.2), reward)
    tensor([0.0568])
    """
    delta, mixing = prepare(delta, mixing)
    difference = torch.as_tensor(reward_difference, dtype=delta.dtype, device=delta.device)
    return (torch.tanh(difference / 2) - mixing.mean() * delta) ** 2


class CaPO(Objective):
    """The loss of CaPO, by name."""

    name, paper, columns, regression = "capo", "2502.02588", REWARDS, True

    def loss(self, batch: Batch) -> Found:
        return capo_loss(batch.delta, batch.mixing, batch.reward_difference), {}
