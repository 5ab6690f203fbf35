"""DPO whose strength follows the batch: larger where its pairs are far apart."""

import torch

from prefstrength.choice.mixing.base import Mixing
from prefstrength.mixdpo.objectives.base import Argument, Batch, Found, Objective
from prefstrength.mixdpo.objectives.mixdpo import mixdpo_loss

__all__ = ["BetaDPO", "beta_dpo_loss", "beta_dpo_scale"]

# A batch does not scale strength below this share.
_LEAST_SCALE = 1e-2
# Of the running threshold.
_MOMENTUM = 0.9


def beta_dpo_scale(
    batch_mean: torch.Tensor, threshold: torch.Tensor | float, *, a: float = 0.6
) -> torch.Tensor:
    r"""What β-DPO multiplies strength with in a batch, :math:`1 + a(\bar M - M_0)`.

    Parameters
    ----------
    batch_mean : torch.Tensor, shape ()
        Mean log-ratio difference of the batch, in nats; no gradient goes through it.
    threshold : float or torch.Tensor
        :math:`M_0`, in nats.
    a : float
        How much strength follows the batch; the paper has 0.6.

    Returns
    -------
    torch.Tensor, shape ()
        At least 0.01.

    References
    ----------
    .. [1] Wu et al. (2024), arXiv:2407.08639.

    Examples
    --------
    >>> beta_dpo_scale(torch.tensor(2.0), 1.5)
    tensor(1.3000)
    """
    return (1 + a * (batch_mean.detach() - threshold)).clamp(min=_LEAST_SCALE)


def beta_dpo_loss(
    delta: torch.Tensor,
    mixing: Mixing,
    threshold: torch.Tensor | float,
    *,
    a: float = 0.6,
    batch_mean: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""β-DPO: strength follows the batch, larger where the pairs are far apart.

    .. math:: -\log E_\beta\,\sigma(c\,\beta\,\Delta), \qquad c = 1 + a(\bar M - M_0)

    Parameters
    ----------
    delta : torch.Tensor, shape (pair,)
        Log-ratio differences of a batch, in nats.
    mixing : Mixing
        Mixing distribution of strength; PointMass at β₀ is the paper's.
    threshold, a : float
        As in :func:`beta_dpo_scale`.
    batch_mean : torch.Tensor, shape (), optional
        Mean of all of the batch, if ``delta`` is a part of it.

    Returns
    -------
    torch.Tensor, shape (pair,)

    References
    ----------
    .. [1] Wu et al. (2024), arXiv:2407.08639.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> delta = torch.tensor([1.0, 3.0])
    >>> beta_dpo_loss(delta, PointMass(value=0.1), threshold=2.0)  # the batch's own mean: DPO
    tensor([0.6444, 0.5544])
    """
    mean = delta.mean() if batch_mean is None else batch_mean
    return mixdpo_loss(beta_dpo_scale(mean, threshold, a=a) * delta, mixing)


class BetaDPO(Objective):
    """The loss of β-DPO, by name; its threshold M0, in nats, goes from batch to batch."""

    name, paper = "beta-dpo", "2407.08639"
    arguments = (
        Argument("beta_dpo_a", 0.6, "How much beta-DPO's strength follows the batch", least=0),
    )

    def loss(self, batch: Batch) -> Found:
        delta, running, a = batch.delta, batch.running, batch.arguments.beta_dpo_a
        mean = running.mean(delta.detach().mean())
        before = running.state.get("threshold", torch.zeros((), dtype=torch.float64))
        if batch.learning:
            before = _MOMENTUM * before + (1 - _MOMENTUM) * mean.cpu().to(before)
            running.state["threshold"] = before
        threshold = before.to(delta.dtype).to(delta.device)
        scale = beta_dpo_scale(mean, threshold, a=a)
        loss = beta_dpo_loss(delta, batch.mixing, threshold, a=a, batch_mean=mean)
        return loss, {"scale": scale.item(), "threshold": before.item()}
