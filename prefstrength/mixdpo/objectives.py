r"""Objectives: pure functions of the log-ratio difference Δ and the law of strength.

The mathematics is :mod:`prefstrength.kernel`'s, the same lines as in the analysis; here they
run on torch tensors. An objective maps Δ of any shape to the loss of each pair; its *logit*
:math:`u` is the number with :math:`-\log\sigma(u)` = loss, through which a trainer that was
written for DPO can host it.
"""

from typing import Any

import torch

from prefstrength.errors import InputError
from prefstrength.kernel import Library, log_probability, log_tails
from prefstrength.mixing import Mixing, PointMass

__all__ = ["TORCH", "log_choice_probability", "mixdpo_logit", "mixdpo_loss"]

#: Torch as a :class:`~prefstrength.kernel.Library`.
TORCH = Library(
    xp=torch,
    hold=lambda x: x.detach(),
    constant=lambda values, like: torch.as_tensor(values, dtype=like.dtype, device=like.device),
    single=lambda x: x.dtype != torch.float64,
)


def log_choice_probability(delta: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    r"""Log probability of the chosen response, averaged over strength.

    .. math:: \log p(\Delta) = \log E_{\beta \sim F}[\sigma(\beta \Delta)]

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats, free of β.
    mixing : Mixing
        Law of strength: PointMass, Normal, LogNormal, Gamma, InverseGaussian, FiniteMixture,
        ZeroMass or Lapse, with parameters: numbers, or tensors that broadcast against ``delta``
        and may require gradients.

    Returns
    -------
    torch.Tensor, shape (...)
        At most 0; float64 where ``delta`` is float64, else float32 (half precision is raised to
        it). Differentiable in ``delta`` and in the parameters.

    Raises
    ------
    InputError
        If the mixing distribution has no parameters.

    Notes
    -----
    The method for each family is in :mod:`prefstrength.kernel`; nothing is drawn at random. For
    coefficients of variation 0.01 to 10, mean strengths 0.1 to 10 and \|Δ\| from 1e-6 to 1e4,
    log p and every gradient (times the size of its input) err by less than 1e-10
    max(1, \|log p\|) in float64 and 2e-6 max(1, \|log p\|) in float32; gradients of a
    FiniteMixture in float32 where log p < -50 by less than 2e-5 max(1, \|log p\|).

    References
    ----------
    .. [1] arXiv:2601.06180, MixDPO.

    Examples
    --------
    >>> from prefstrength import LogNormal
    >>> round(log_choice_probability(torch.tensor(2.0), LogNormal(mu=0.0, sigma=0.7)).item(), 4)
    -0.1504
    """
    delta, mixing = _prepare(delta, mixing)
    return log_probability(TORCH, delta, mixing)


def mixdpo_loss(delta: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    r"""MixDPO loss of each pair, :math:`-\log E_{\beta \sim F}[\sigma(\beta\Delta)]`.

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Law of strength; with PointMass this is the loss of DPO.

    Returns
    -------
    torch.Tensor, shape (...)
        Not reduced.

    References
    ----------
    .. [1] arXiv:2601.06180, MixDPO; arXiv:2305.18290, DPO.

    Examples
    --------
    >>> delta = torch.tensor([-60.0, 0.0, 60.0])
    >>> mixdpo_loss(delta, PointMass(value=0.1))
    tensor([6.0025, 0.6931, 0.0025])
    """
    return -log_choice_probability(delta, mixing)


def mixdpo_logit(delta: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    r"""Logit u of the mixed choice probability: :math:`-\log\sigma(u)` is the MixDPO loss.

    .. math:: u(\Delta) = \log p(\Delta) - \log p(-\Delta)

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Law of strength.

    Returns
    -------
    torch.Tensor, shape (...)
        An odd function of ``delta``; βΔ for PointMass.

    Examples
    --------
    >>> from prefstrength import Gamma
    >>> delta, law = torch.tensor([-3.0, 20.0]), Gamma(shape=2.0, rate=20.0)
    >>> u = mixdpo_logit(delta, law)
    >>> torch.allclose(-torch.nn.functional.logsigmoid(u), mixdpo_loss(delta, law))
    True
    """
    delta, mixing = _prepare(delta, mixing)
    if isinstance(mixing, PointMass):
        return mixing.value * delta
    ahead, behind = log_tails(TORCH, delta, mixing)
    return ahead - behind


def _prepare(delta: Any, mixing: Mixing) -> tuple[torch.Tensor, Mixing]:
    if not isinstance(mixing, Mixing):
        raise TypeError(f"Expected a mixing distribution; got {type(mixing).__name__}.")
    if not mixing.known:
        raise InputError(
            f"Expected a known {mixing.family}; got one without parameters. "
            f"Give {', '.join(mixing.parameters)}."
        )
    delta = torch.as_tensor(delta)
    if not delta.is_floating_point():
        delta = delta.to(torch.get_default_dtype())
    delta = delta.to(torch.promote_types(delta.dtype, torch.float32))
    parameters = {
        name: torch.as_tensor(value, dtype=delta.dtype, device=delta.device)
        for name, value in mixing.parameters.items()
    }
    return delta, mixing.with_parameters(parameters)
