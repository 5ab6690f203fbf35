"""Draws of the population level by the way that suits the problem."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from prefstrength._shared.words import warn
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError, SamplingWarning
from prefstrength.inference.importance import PARETO_K, importance_sample, laplace_sample
from prefstrength.inference.latent import latent_sample
from prefstrength.inference.methods import METHODS
from prefstrength.inference.nuts import nuts_sample
from prefstrength.inference.population import Population
from prefstrength.inference.prepare import TOLERANCE, Prepared, prepare
from prefstrength.inference.svi import svi_sample
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError

__all__ = ["Sampled", "sample"]


# Importance sampling is tried by "auto" up to this many parameters, and accepted with at least
# this many effective draws. On surfaces NUTS costs little, and less than the many rounds that
# weights of more parameters need.
_IMPORTANCE_PARAMETERS, _ON_SURFACES = 60, 24
_EFFECTIVE = 1000
_MOST_MOVES = 5
_PILOT = 50
# Draws of choosers that NUTS is asked for beside the population level; beyond, mini-batches.
_CHOOSER_DRAWS = 20_000


@dataclass(frozen=True)
class Sampled:
    """Named draws (chain, draw, …), how they were made, and what they rest on.

    Parameters
    ----------
    variables, statistics : dict
        Each (chain, draw, …).
    method, reason : str
    prepared : Prepared or None
        ``None`` where the choosers were sampled.
    error : float
        Error of the log-likelihood over the draws in nats.
    extra : dict
        Diagnostics of the method.
    """

    variables: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    method: str
    reason: str
    prepared: Prepared | None
    error: float
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """The likelihood in words."""
        return self.prepared.how if self.prepared else "latent choosers, nothing integrated"


def sample(
    population: Population,
    data: LikelihoodData,
    families: tuple[type[Mixing], ...],
    method: str,
    seed: int,
    draws: int,
    warmup: int,
    chains: int,
    progress: bool,
) -> Sampled:
    """Draw from the posterior of the population level; see :func:`prefstrength.models.fitting.fit`.

    Must run where JAX computes in float64.
    """
    if method not in METHODS:
        raise InputError(f"Expected method to be one of {list(METHODS)}; got {method!r}.")
    for name, value, least in (("draws", draws, 50), ("warmup", warmup, 50), ("chains", chains, 1)):
        if value < least:
            raise InputError(f"Expected {name} of at least {least}; got {value}.")
    if method in ("latent", "svi"):
        return _with_choosers(
            population, data, method, "asked for", seed, draws, warmup, chains, progress
        )
    try:
        prepared = prepare(population, data, families)
    except NotIntegrableError:
        if method != "auto":
            raise
        random = sum(family.varies for family in families)
        way = "latent" if data.units * random <= _CHOOSER_DRAWS else "svi"
        reason = (
            f"{random} random attributes and {len(data.chosen)} situations are too many to "
            f"integrate the coefficients of {data.units} choosers out"
        )
        return _with_choosers(population, data, way, reason, seed, draws, warmup, chains, progress)
    for attempt in range(_MOST_MOVES + 1):
        sampled, flat, prepared = _on(prepared, method, seed, draws, warmup, chains, progress)
        inside, error = prepared.suits(flat)
        if inside and error < TOLERANCE / 2:
            break
        last = attempt >= _MOST_MOVES - 1
        prepared = prepared.without_surfaces() if last else prepared.moved(flat)
    return Sampled(
        variables={
            name: v.reshape(chains, -1, *v.shape[1:])
            for name, v in prepared.problem.constrain(flat).items()
        },
        prepared=prepared,
        error=prepared.error + error,
        **sampled,
    )


def _with_choosers(
    population: Population,
    data: LikelihoodData,
    method: str,
    reason: str,
    seed: int,
    draws: int,
    warmup: int,
    chains: int,
    progress: bool,
) -> Sampled:
    """Choosers sampled beside the population level, by NUTS or by mini-batches."""
    if isinstance(data, CompressedData):
        raise InputError(
            f"`method={method!r}` needs the choices themselves; got compressed choices, of which "
            "sums are left. Use another method, or fit Choices."
        )
    if method == "svi" and data.truth is not None:
        raise InputError(
            "`method='svi'` expects rewards without errors; got a model with errors. "
            "Use `method='auto'`, `method='nuts'` or `method='latent'`."
        )
    extra: dict[str, Any] = {}
    if method == "latent":
        variables, statistics = latent_sample(
            population, data, draws, warmup, chains, seed, progress
        )
    else:
        variables, extra = svi_sample(population, data, draws, chains, seed, progress)
        statistics = {}
    return Sampled(variables, statistics, method, reason, None, 0.0, extra)


def _on(
    prepared: Prepared,
    method: str,
    seed: int,
    draws: int,
    warmup: int,
    chains: int,
    progress: bool,
) -> tuple[dict[str, Any], np.ndarray, Prepared]:
    """Fields of :class:`Sampled`, the draws (chain * draw, parameter), and what they rest on."""
    problem, mode = prepared.problem, prepared.mode
    reason = "asked for"
    if method == "laplace":
        found = laplace_sample(problem, mode, draws * chains, seed)
        extra = {"pareto_k": found.pareto_k, "effective": found.effective}
        fields = {"statistics": {}, "method": method, "reason": reason, "extra": extra}
        return fields, found.flat, prepared
    chosen = method
    if method == "auto":
        most = _ON_SURFACES if prepared.box is not None else _IMPORTANCE_PARAMETERS
        chosen = "importance" if problem.size <= most else "nuts"
        reason = f"{problem.size} population-level parameters"
    if chosen == "importance":
        found = importance_sample(problem, mode, draws * chains, seed, progress)
        holds = found.pareto_k < PARETO_K and found.effective >= _EFFECTIVE
        verdict = f"Pareto k {found.pareto_k:.2f}, {found.effective:.0f} effective draws"
        reason = f"{reason}; {verdict}"
        if holds or method == "importance":
            if not holds:
                warn(
                    f"Importance sampling expects Pareto k < {PARETO_K} and {_EFFECTIVE} effective "
                    f"draws; got {verdict}. Use `method='nuts'`.",
                    SamplingWarning,
                )
            extra = {"pareto_k": found.pareto_k, "effective": found.effective}
            fields = {"statistics": {}, "method": chosen, "reason": reason, "extra": extra}
            return fields, found.flat, prepared
        chosen = "nuts"
        reason = f"{reason} from importance sampling, which is too few or too uneven"
    prepared = _settled(prepared, warmup, seed)
    run = nuts_sample(prepared.problem, prepared.mode, draws, warmup, chains, seed, progress)
    fields = {"statistics": run.statistics, "method": chosen, "reason": reason}
    return fields, run.flat.reshape(-1, problem.size), prepared


def _settled(prepared: Prepared, warmup: int, seed: int) -> Prepared:
    """Surfaces on a box that two short chains do not leave.

    With groups the posterior is wider than the Gaussian at the mode, from which the first box
    comes; to find that out with the full run would cost the full run. Where no box will do, none.
    """
    for _ in range(_MOST_MOVES):
        if prepared.box is None:
            return prepared
        pilot = nuts_sample(prepared.problem, prepared.mode, _PILOT, warmup, 2, seed, False)
        flat = pilot.flat.reshape(-1, prepared.problem.size)
        inside, error = prepared.suits(flat, well=True)
        if inside and error < TOLERANCE / 2:
            return prepared
        prepared = prepared.moved(flat)
    return prepared.without_surfaces() if prepared.box is not None else prepared
