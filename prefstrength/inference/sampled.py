"""Draws of the population level, how they were asked for and how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefstrength._shared.words import warn
from prefstrength.errors import SamplingWarning
from prefstrength.inference.single import Single
from prefstrength.inference.target_sampling import PARETO_K, TargetDraws

__all__ = ["TOLERANCE", "Options", "Sampled", "holds", "weights_said"]

#: Error of the total log-likelihood, in nats, that a fit should stay below.
TOLERANCE = 0.01
# Effective draws that weights must be worth.
_EFFECTIVE = 1000


@dataclass(frozen=True)
class Sampled:
    """Named draws (chain, draw, …), how they were made, and what they rest on.

    Parameters
    ----------
    variables, statistics : dict
        Each (chain, draw, …).
    method, reason : str
    how : str
        The likelihood in words.
    error : float
        Error of the log-likelihood over the draws in nats.
    likelihood : StrengthLikelihood or DirectLikelihood or None
        ``None`` where the choosers were sampled and cannot be integrated out.
    single : Single, optional
        With the points at which its surrogate was fitted.
    extra : dict
        Diagnostics of the method.
    """

    variables: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    method: str
    reason: str
    how: str
    error: float
    likelihood: Any
    surrogate: tuple[Single, TargetDraws] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    method: str
    seed: int
    draws: int
    warmup: int
    chains: int
    progress: bool

    def by_chain(self, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Draws (draw, …) as (chain, draw, …)."""
        return {n: v.reshape(self.chains, -1, *v.shape[1:]) for n, v in variables.items()}


def holds(pareto_k: float, effective: float) -> bool:
    """Whether importance weights may be trusted and are worth enough draws."""
    return pareto_k < PARETO_K and effective >= _EFFECTIVE


def weights_said(method: str, pareto_k: float, effective: float, parameters: int) -> str:
    """Say what the weights of importance sampling are like; warn of bad ones asked for."""
    verdict = f"Pareto k {pareto_k:.2f}, {effective:.0f} effective draws"
    if method == "importance" and not holds(pareto_k, effective):
        warn(
            f"Importance sampling expects Pareto k < {PARETO_K} and {_EFFECTIVE} effective "
            f"draws; got {verdict}. Use `method='nuts'`.",
            SamplingWarning,
        )
    return f"{parameters} population-level parameters; {verdict}"
