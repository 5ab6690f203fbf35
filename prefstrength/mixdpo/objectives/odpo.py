"""DPO with an offset: the log-ratio is to lead by more where the rewards do."""

import torch

from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.mixdpo.objectives.base import REWARDS, Argument, Batch, Found, Objective
from prefstrength.mixdpo.objectives.probability import TORCH, prepare

__all__ = ["LEAST_REWARD_DIFFERENCE", "ODPO", "odpo_loss"]

#: Reward differences below this count as this, for the offset is their logarithm.
LEAST_REWARD_DIFFERENCE = 1e-3


def odpo_loss(
    delta: torch.Tensor, mixing: Mixing, reward_difference: torch.Tensor, *, alpha: float = 1.0
) -> torch.Tensor:
    r"""DPO with an offset: the log-ratio is to lead by more where the rewards do.

    .. math:: -\log E_\beta\,\sigma\Bigl(\beta\bigl(\Delta - o / E\beta\bigr)\Bigr),
        \qquad o = \alpha \log(r_w - r_l)

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Mixing distribution of strength; PointMass is the paper's.
    reward_difference : torch.Tensor, shape (...)
        Reward of the chosen minus that of the rejected response. Differences below
        ``LEAST_REWARD_DIFFERENCE``, negative ones included, count as that: such a pair asks for
        next to no lead, and hardly counts.
    alpha : float
        Scale of the offset, >= 0; 0 gives the loss without offset.

    Returns
    -------
    torch.Tensor, shape (...)

    References
    ----------
    .. [1] Amini, Vieira, Cotterell (2024), arXiv:2402.10571.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> delta, reward = torch.tensor([5.0, 5.0]), torch.tensor([1.0, 4.0])
    >>> odpo_loss(delta, PointMass(value=0.2), reward)
    tensor([0.3133, 0.9048])
    """
    delta, mixing = prepare(delta, mixing)
    difference = torch.as_tensor(reward_difference, dtype=delta.dtype, device=delta.device)
    offset = alpha * difference.clamp(min=LEAST_REWARD_DIFFERENCE).log()
    return -log_probability(TORCH, delta - offset / mixing.mean(), mixing)


class ODPO(Objective):
    """The loss of ODPO, by name."""

    name, paper, columns = "odpo", "2402.10571", REWARDS
    arguments = (Argument("odpo_alpha", 1.0, "Scale of ODPO's offset", least=0),)

    def loss(self, batch: Batch) -> Found:
        difference, alpha = batch.reward_difference, batch.arguments.odpo_alpha
        loss = odpo_loss(batch.delta, batch.mixing, difference, alpha=alpha)
        return loss, {"guarded_share": batch.share(difference < LEAST_REWARD_DIFFERENCE)}
