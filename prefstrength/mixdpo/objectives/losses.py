r"""Objectives: pure functions of the log-ratio difference Δ and the law of strength.

The mathematics is :mod:`prefstrength.choice.kernel`'s, the same lines as in the analysis; here they
run on torch tensors. An objective maps Δ of any shape to the loss of each pair; its *logit*
:math:`u` is the number with :math:`-\log\sigma(u)` = loss, through which a trainer that was
written for DPO can host it.

Four objectives of others are here for comparison, each with a law of strength in the place of
their β: at a point they are the papers' own.
"""

import math
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from prefstrength.choice.arrays import library
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError

__all__ = [
    "ESTIMATORS",
    "LEAST_REWARD_DIFFERENCE",
    "TORCH",
    "beta_dpo_loss",
    "beta_dpo_scale",
    "capo_loss",
    "log_choice_probability",
    "mixdpo_logit",
    "mixdpo_loss",
    "odpo_loss",
    "smpo_loss",
]

#: How the expectation over strength is computed.
ESTIMATORS = ("exact", "monte-carlo")

#: Reward differences below this count as this in ODPO, whose offset is their logarithm.
LEAST_REWARD_DIFFERENCE = 1e-3

# β-DPO does not let a batch scale strength below this share.
_LEAST_SCALE = 1e-2


#: Torch as a :class:`~prefstrength.choice.arrays.Library`.
TORCH = library("torch")


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
    The method for each family is in :mod:`prefstrength.choice.kernel`; nothing is drawn at random.
    For coefficients of variation 0.01 to 10, mean strengths 0.1 to 10 and \|Δ\| from 1e-6 to 1e4,
    log p and every gradient (times the size of its input) err by less than 1e-10 max(1, \|log p\|)
    in float64 and 2e-6 max(1, \|log p\|) in float32; a FiniteMixture is computed in float64 for
    that.

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


def mixdpo_loss(
    delta: torch.Tensor,
    mixing: Mixing,
    *,
    estimator: str = "exact",
    samples: int = 16,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    r"""MixDPO loss of each pair, :math:`-\log E_{\beta \sim F}[\sigma(\beta\Delta)]`.

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Law of strength; with PointMass this is the loss of DPO.
    estimator : {"exact", "monte-carlo"}
        ``"monte-carlo"``: the paper's, the mean over ``samples`` draws for each pair, through
        which gradients reach the parameters. For every family; not for FiniteMixture, ZeroMass
        and Lapse.
    samples : int
        Draws for each pair, > 0; the paper has 16.
    generator : torch.Generator, optional
        Source of the draws; torch's own by default.

    Returns
    -------
    torch.Tensor, shape (...)
        Not reduced.

    Raises
    ------
    InputError
        If the law cannot be drawn from with gradients, or an argument is not one of the above.

    Notes
    -----
    By Jensen's inequality the Monte Carlo loss is too high on average, by about
    :math:`\operatorname{var}[\sigma(\beta\Delta)] / (2 K p(\Delta)^2)` with K draws.

    References
    ----------
    .. [1] arXiv:2601.06180, MixDPO; arXiv:2305.18290, DPO.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> delta = torch.tensor([-60.0, 0.0, 60.0])
    >>> mixdpo_loss(delta, PointMass(value=0.1))
    tensor([6.0025, 0.6931, 0.0025])
    """
    if estimator == "exact":
        return -log_choice_probability(delta, mixing)
    if estimator != "monte-carlo":
        raise InputError(
            f"Expected estimator to be one of {', '.join(ESTIMATORS)}; got {estimator!r}. "
            "Check the spelling."
        )
    if samples < 1:
        raise InputError(f"Expected samples of at least 1; got {samples}. The paper has 16.")
    delta, mixing = _prepare(delta, mixing)
    strength = mixing.draws(TORCH, (samples, *delta.shape), delta, generator)
    return math.log(samples) - torch.logsumexp(logsigmoid(strength * delta), dim=0)


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
        Law of strength; PointMass is the paper's.
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
    delta, mixing = _prepare(delta, mixing)
    difference = torch.as_tensor(reward_difference, dtype=delta.dtype, device=delta.device)
    offset = alpha * difference.clamp(min=LEAST_REWARD_DIFFERENCE).log()
    return -log_probability(TORCH, delta - offset / mixing.mean(), mixing)


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
        Law of strength; PointMass at β₀ is the paper's.
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
        Law of strength; PointMass is the paper's.
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
    delta, mixing = _prepare(delta, mixing)
    difference = torch.as_tensor(reward_difference, dtype=delta.dtype, device=delta.device)
    # 2 sigmoid(d) - 1, without cancellation near 0.
    return -log_probability(TORCH, gamma * torch.tanh(difference / 2) * delta, mixing)


def capo_loss(delta: torch.Tensor, mixing: Mixing, reward_difference: torch.Tensor) -> torch.Tensor:
    r"""Calibrated margins: the implicit reward difference is to equal the win rates' difference.

    .. math:: \bigl(2 q - 1 - E\beta\,\Delta\bigr)^2, \qquad q = \sigma(r_w - r_l)

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Law of strength, of which the mean counts; PointMass is the paper's.
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
    delta, mixing = _prepare(delta, mixing)
    difference = torch.as_tensor(reward_difference, dtype=delta.dtype, device=delta.device)
    return (torch.tanh(difference / 2) - mixing.mean() * delta) ** 2


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
    return mixing.logit(TORCH, delta)


def _prepare(delta: Any, mixing: Mixing) -> tuple[torch.Tensor, Mixing]:
    if not isinstance(mixing, Mixing):
        raise TypeError(f"Expected a mixing distribution; got {type(mixing).__name__}.")
    mixing.require_known()
    delta = torch.as_tensor(delta)
    if not delta.is_floating_point():
        delta = delta.to(torch.get_default_dtype())
    delta = delta.to(torch.promote_types(delta.dtype, torch.float32))
    parameters = {
        name: torch.as_tensor(value, dtype=delta.dtype, device=delta.device)
        for name, value in mixing.parameters.items()
    }
    return delta, mixing.with_parameters(parameters)
