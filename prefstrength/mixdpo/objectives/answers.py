r"""Losses of answers that say more than which of two was chosen: grades, ties, rankings.

The mathematics is that of the analysis: the response's own lines in
:mod:`prefstrength.choice.responses`, averaged over strength by :mod:`prefstrength.choice.kernel`.
"""

from collections.abc import Mapping
from typing import Any

import torch

from prefstrength.choice.kernel import log_pair_answer, log_set_answer
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.responses.base import PairResponse
from prefstrength.choice.responses.ranking import Ranking
from prefstrength.errors import InputError
from prefstrength.mixdpo.objectives.probability import TORCH, prepare

__all__ = ["answer_loss", "ranking_loss"]


def answer_loss(
    delta: torch.Tensor,
    mixing: Mixing,
    answers: torch.Tensor,
    response: PairResponse,
    shared: Mapping[str, Any],
) -> torch.Tensor:
    r"""Loss of graded and tied pairs, averaged over strength.

    .. math:: -\log E_{\beta \sim F}[P(\text{answer} \mid \beta\Delta)]

    Parameters
    ----------
    delta : torch.Tensor, shape (...)
        Log-ratio difference chosen minus rejected, in nats.
    mixing : Mixing
        Mixing distribution of strength; with PointMass this is the loss of an ordered logit, or of
        Davidson.
    answers : torch.Tensor of int, shape (...)
        Codes of answers, places in ``response.answers``: 0 is the most in favour of the chosen
        response.
    response : Graded, Ties, RaoKupper or Pair
        The kind of answer.
    shared : mapping
        Values of ``response.shared`` by name, in natural-log units of utility βΔ; numbers, or
        tensors that may require gradients.

    Returns
    -------
    torch.Tensor, shape (...)
        Not reduced; differentiable in ``delta``, the mixing distribution's parameters and
        ``shared``.

    Raises
    ------
    InputError
        If a code is none of the response's.

    References
    ----------
    .. [1] P. McCullagh (1980), Regression models for ordinal data, JRSS B 42(2).
    .. [2] R. R. Davidson (1970), On extending the Bradley-Terry model to accommodate ties in paired
       comparison experiments, JASA 65(329).

    Examples
    --------
    >>> from prefstrength import Graded, PointMass
    >>> delta, grades = torch.tensor([20.0, 20.0, 20.0]), torch.tensor([0, 1, 2])
    >>> answer_loss(delta, PointMass(value=0.1), grades, Graded(3), {"cut_1": 1.0})
    tensor([0.3133, 1.5073, 3.0486])
    """
    delta, mixing = prepare(delta, mixing)
    answers = torch.as_tensor(answers, device=delta.device)
    wrong = (answers < 0) | (answers >= len(response.answers))
    if bool(wrong.any()):
        raise InputError(
            f"Expected codes of answers from 0 to {len(response.answers) - 1}; got "
            f"{int(answers[wrong][0])}. Code 0 is {response.answers[0]!r}."
        )
    wide = TORCH.double(delta)
    values = {
        name: value.to(wide) if isinstance(value, torch.Tensor) else value
        for name, value in shared.items()
    }
    return -log_pair_answer(TORCH, delta, answers, mixing, response, values)


def ranking_loss(
    log_ratios: torch.Tensor,
    mixing: Mixing,
    ranks: torch.Tensor | None = None,
    *,
    ties: str = "exact",
    available: torch.Tensor | None = None,
) -> torch.Tensor:
    r"""Plackett-Luce loss of rankings, averaged over strength.

    .. math:: -\log E_{\beta \sim F}\Bigl[\prod_k
        \frac{e^{\beta\rho_k}}{\sum_{j \ge k} e^{\beta\rho_j}}\Bigr]

    for responses of log-ratios :math:`\rho_1, \rho_2, \dots` in the order of the ranking. The
    product stands inside the expectation: one strength has made all of a ranking.

    Parameters
    ----------
    log_ratios : torch.Tensor, shape (..., response)
        Log-ratio of every response to one prompt, in nats.
    mixing : Mixing
        Mixing distribution of strength; with PointMass this is the Plackett-Luce loss of DPO.
    ranks : torch.Tensor of int, shape (..., response), optional
        1 for the best; equal ranks tie, and 0 is not ranked, below all that are. By default the
        responses stand in their order, the best first.
    ties : {"exact", "efron", "breslow"}
        What a tie says, as of :class:`~prefstrength.Ranking`.
    available : torch.Tensor of bool, shape (..., response), optional
        Which responses there are, where rankings differ in length; their others have rank 0.

    Returns
    -------
    torch.Tensor, shape (...)
        Not reduced. Of two responses the loss of MixDPO.

    References
    ----------
    .. [1] arXiv:2305.18290, DPO, appendix A.3, whose β is a point.

    Examples
    --------
    >>> from prefstrength import PointMass
    >>> ranking_loss(torch.tensor([[20.0, 10.0, 0.0]]), PointMass(value=0.1))
    tensor([0.7209])
    """
    log_ratios, mixing = prepare(log_ratios, mixing)
    device = log_ratios.device
    if ranks is None:
        ranks = torch.arange(1, log_ratios.shape[-1] + 1, device=device).expand(log_ratios.shape)
    ranks = torch.as_tensor(ranks, device=device)
    if ranks.shape != log_ratios.shape:
        raise InputError(
            f"Expected a rank for each of {tuple(log_ratios.shape)} responses; got shape "
            f"{tuple(ranks.shape)}."
        )
    if available is not None:
        available = torch.as_tensor(available, device=device)
        if bool(((ranks > 0) & ~available).any()):
            raise InputError(
                "Expected ranks of responses that are there; got one of a response that is not "
                "available. Give it rank 0."
            )
        # What is not there must not stretch the differences that strength multiplies.
        log_ratios = torch.where(available, log_ratios, log_ratios[..., :1].detach())
    response = Ranking(ties)
    return -log_set_answer(TORCH, log_ratios, ranks, mixing, response, available)
