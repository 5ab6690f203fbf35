"""A strength inside TRL's DPO trainer: the logit that its losses are given."""

from collections.abc import Callable
from typing import Any

import torch

from prefstrength.errors import InputError


class HostedStrength:
    """Stands where TRL's DPO loss has β.

    TRL multiplies β with Δ for the loss, then with the detached log-ratios of chosen and rejected
    for the rewards it logs. The first product becomes the objective, the others the log-ratio
    times the mean strength, of all pairs or of each.
    """

    def __init__(
        self, mean: float | torch.Tensor, pair_loss: Callable[[torch.Tensor], torch.Tensor]
    ) -> None:
        self._mean = mean
        self._pair_loss = pair_loss
        self._seen: list[torch.Tensor] = []

    def __mul__(self, log_ratio: torch.Tensor) -> Any:
        self._seen.append(log_ratio.detach())
        if len(self._seen) == 1:
            # The gradient of the dispersion is a small difference of large parts, and Adam makes
            # its rounding as large as itself: in double precision it does not depend on how a
            # batch is cut. (Apple's GPUs have none.)
            exact = log_ratio if log_ratio.device.type == "mps" else log_ratio.double()
            return _Logit(self._pair_loss(exact).to(log_ratio.dtype))
        mean = self._mean.to(log_ratio) if isinstance(self._mean, torch.Tensor) else self._mean
        return mean * log_ratio

    __rmul__ = __mul__

    @property
    def delta(self) -> torch.Tensor:
        return self._seen[0]

    @property
    def log_ratios(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the chosen and the rejected responses, (pair,) each, detached."""
        return self._seen[1], self._seen[2]

    def require_finite(self, loss: torch.Tensor, inputs: dict[str, Any], step: int | None) -> None:
        """Stop where the loss of a batch is no number; steps done, or None in evaluation."""
        delta = self.delta
        bad = int((~torch.isfinite(delta)).sum())
        if not bad and torch.isfinite(loss):
            return
        when = "in evaluation" if step is None else f"at step {step + 1}"
        for name in ("ref_chosen_logps", "ref_rejected_logps"):
            lost = int((~torch.isfinite(inputs[name])).sum()) if name in inputs else 0
            if lost:
                raise InputError(
                    "Expected finite log-probabilities of the reference, which were computed "
                    f"beforehand; got others in column {name} of {lost} of {delta.numel()} pairs "
                    f"of a batch {when}. The policy is not to blame. Compute them again, or check "
                    "the reference."
                )
        why = (
            "The policy has probably diverged. Lower learning_rate, or resume from an earlier "
            "checkpoint."
            if step != 0
            else "No step was taken: weights of the policy or the reference are probably damaged, "
            "or half precision overflows. Check them."
        )
        raise InputError(
            f"Expected a finite loss; got {loss.item()} {when}, with log-ratio differences that "
            f"are not finite in {bad} of {delta.numel()} pairs of the batch. {why}"
        )

    def check(self, lengths: tuple[torch.Tensor, ...] | None = None) -> None:
        """Stop where TRL no longer multiplies as it did; lengths where log-ratios are divided."""
        if len(self._seen) == 3:
            delta, chosen, rejected = self._seen
            if lengths is not None:
                chosen, rejected = chosen / lengths[0], rejected / lengths[1]
            if torch.equal(torch.nan_to_num(delta), torch.nan_to_num(chosen - rejected)):
                return
        raise RuntimeError(
            "TRL's DPO loss no longer multiplies beta with the log-ratio difference, then with "
            f"the log-ratios of chosen and rejected; got {len(self._seen)} products. The loss "
            "would not be the objective's. Install the TRL that prefstrength's mixdpo extra asks "
            "for."
        )


class _Logit:
    """What stands for a logit whose log-sigmoid is minus the loss of every pair."""

    def __init__(self, loss: torch.Tensor) -> None:
        self._loss = loss

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        if function is not torch.nn.functional.logsigmoid:
            raise RuntimeError(
                "TRL's DPO loss no longer takes the log-sigmoid of beta times the log-ratio "
                f"difference, but {getattr(function, '__name__', function)}. Install the TRL that "
                "prefstrength's mixdpo extra asks for."
            )
        return -args[0]._loss
