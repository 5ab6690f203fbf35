r"""MixDPO, and DPO where strength is a point: the loss is the mixed choice's own.

An objective maps Δ of any shape to the loss of each pair; its *logit* :math:`u` is the number with
:math:`-\log\sigma(u)` = loss, through which a trainer that was written for DPO can host it.
"""

import math
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.mixdpo.objectives.answers import answer_loss
from prefstrength.mixdpo.objectives.base import Argument, Batch, Found, Objective, check_one_of
from prefstrength.mixdpo.objectives.probability import TORCH, log_choice_probability, prepare

__all__ = ["MixDPO", "mixdpo_logit", "mixdpo_loss"]

# How the expectation over strength is computed.
_ESTIMATORS = ("exact", "monte-carlo")


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
        Mixing distribution of strength; with PointMass this is the loss of DPO.
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
        If the mixing distribution cannot be drawn from with gradients, or an argument is not one
        of the above.

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
    check_one_of("estimator", estimator, _ESTIMATORS)
    if samples < 1:
        raise InputError(f"Expected samples of at least 1; got {samples}. The paper has 16.")
    delta, mixing = prepare(delta, mixing)
    strength = mixing.draws(TORCH, (samples, *delta.shape), delta, generator)
    return math.log(samples) - torch.logsumexp(logsigmoid(strength * delta), dim=0)


def mixdpo_logit(delta: torch.Tensor, mixing: Mixing) -> torch.Tensor:
    r"""Logit u of the mixed choice probability: :math:`-\log\sigma(u)` is the MixDPO loss.

    .. math:: u(\Delta) = \log p(\Delta) - \log p(-\Delta)

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Mixing distribution of strength.

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
    delta, mixing = prepare(delta, mixing)
    return mixing.logit(TORCH, delta)


class MixDPO(Objective):
    """The loss of MixDPO, by name."""

    name, paper, takes_answers = "mixdpo", "2601.06180", True
    arguments = (
        Argument(
            "estimator",
            "exact",
            "Expectation over strength in training: exact, or by draws as in the MixDPO paper",
            choices=_ESTIMATORS,
        ),
        Argument("samples", 16, "Draws for each pair, with estimator monte-carlo", least=1),
    )

    def loss(self, batch: Batch) -> Found:
        if batch.answers is not None and batch.codes is not None:
            known, codes = batch.answers.known, batch.codes.to(batch.delta.device)
            tied = batch.answers.lead(batch.delta, codes)[1].logical_not()
            response = batch.answers.response
            loss = answer_loss(batch.delta, batch.mixing, codes, response, known.shared)
            return loss, {"tied_share": batch.share(tied)}
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

    def check(self, args: Any) -> None:
        super().check(args)
        if args.estimator != "exact" and args.objective != self.name:
            raise InputError(
                f"Expected estimator 'exact' with objective {args.objective!r}; got "
                f"{args.estimator!r}, which is MixDPO's. Leave it out."
            )

    def settings(self, args: Any) -> dict[str, Any]:
        own = super().settings(args)
        if args.estimator == "exact":
            del own["samples"]  # nothing is drawn
        return own
