"""Ways to the posterior that compile: NUTS and importance sampling of the NumPyro program."""

from typing import Any

import jax
import numpy as np

from prefstrength._shared.words import warn
from prefstrength.errors import SamplingWarning
from prefstrength.inference.groups import prepare_groups, surface_error
from prefstrength.inference.importance import importance_sample, laplace_sample
from prefstrength.inference.latent import latent_sample
from prefstrength.inference.mode import Mode, find_mode
from prefstrength.inference.named_draws import blends_of, shared_of
from prefstrength.inference.nuts import nuts_sample
from prefstrength.inference.population import Population
from prefstrength.inference.problem import Problem
from prefstrength.inference.sampled import TOLERANCE, Options, Sampled, holds, weights_said
from prefstrength.inference.several import prepare_several
from prefstrength.inference.single import Single
from prefstrength.inference.svi import svi_sample
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.sources import Reading
from prefstrength.likelihood.strength import StrengthLikelihood
from prefstrength.likelihood.traced_tables import TracedTables

__all__ = ["sample_choosers", "sample_several", "sample_traced"]

# Parameters up to which importance sampling is tried first.
_IMPORTANCE_PARAMETERS = 24
# Dispersion, in units of the prior, that tables must follow before the posterior is known.
_WIDEST = 3.0
_ON_SURFACES = 0.998
_COMPARED = 12


def sample_traced(
    population: Population, likelihood: StrengthLikelihood, separable: bool, options: Options
) -> Sampled:
    """Posterior of one random strength by the NumPyro program.

    Surfaces of cells stand for simple choosers who are in one cell each, and are compared with
    the tables where the draws lie; else, and where they do not hold, the tables themselves.
    """
    with jax.enable_x64(True):
        if separable and population.factors:
            problem, mode = prepare_groups(population, likelihood)
            fields, flat = _drawn(problem, mode, options)
            inside, error = surface_error(problem, likelihood, flat)
            if inside > _ON_SURFACES and error < TOLERANCE / 2:
                return _sampled(problem, fields, flat, options, likelihood, error)
        for widest in (_widest(population, likelihood), _WIDEST):
            problem = Problem(population, TracedTables.of(likelihood, widest))
            fields, flat = _drawn(problem, find_mode(problem), options)
            error = _tables_error(problem, likelihood, flat)
            if error < TOLERANCE / 2:
                break  # else draws lie where distributions are wider than was foreseen
        return _sampled(problem, fields, flat, options, likelihood, error)


def _widest(population: Population, likelihood: StrengthLikelihood) -> float:
    """Dispersion of strength that tables must follow, in the coordinate of their grid."""
    if population.factors:
        return _WIDEST
    single = Single(population, likelihood)
    return min(_WIDEST, single.widest())


def _tables_error(problem: Problem, likelihood: StrengthLikelihood, flat: np.ndarray) -> float:
    """Error of tables in JAX against the likelihood that they were made of, at some draws."""
    some = flat[np.linspace(0, len(flat) - 1, min(_COMPARED, len(flat))).astype(int)]
    population, draws = problem.population, problem.constrain(some)
    blends = blends_of(population, population.first, draws)
    exact = likelihood.totals(blends, shared_of(population, draws))
    return float(np.max(np.abs(problem.log_likelihoods(some) - exact)))


def sample_several(population: Population, data: LikelihoodData, options: Options) -> Sampled:
    """Posterior of several random coefficients by quadrature.

    Raises
    ------
    NotIntegrableError
        If quadrature is out of reach, or its certificate fails and another way may be taken.
    """
    with jax.enable_x64(True):
        problem, mode, error = prepare_several(population, data, options.method == "auto")
        fields, flat = _drawn(problem, mode, options)
        if error > TOLERANCE:
            warn(
                f"The likelihood expects an error below {TOLERANCE} nats; got {error:.2g} with "
                f"the most nodes ({problem.likelihood.how}). Look for attributes that are far "
                "larger than the rest, or use `method='latent'`.",
                SamplingWarning,
            )
        return _sampled(problem, fields, flat, options, problem.likelihood, error)


def sample_choosers(
    population: Population,
    data: LikelihoodData,
    reading: Reading,
    likelihood: StrengthLikelihood | None,
    method: str,
    reason: str,
    options: Options,
) -> Sampled:
    """Choosers sampled beside the population level, by NUTS or by mini-batches."""
    with jax.enable_x64(True):
        extra: dict[str, Any] = {}
        statistics: dict[str, np.ndarray] = {}
        if method == "latent":
            mode = None
            if likelihood is not None:
                mode = find_mode(Problem(population, TracedTables.of(likelihood, _WIDEST)))
            variables, statistics = latent_sample(population, data, reading, mode, options)
        else:
            variables, extra = svi_sample(
                population, data, options.draws, options.chains, options.seed, options.progress
            )
    how = "latent choosers, nothing integrated"
    return Sampled(variables, statistics, method, reason, how, 0.0, likelihood, extra=extra)


def _drawn(problem: Problem, mode: Mode, options: Options) -> tuple[dict[str, Any], np.ndarray]:
    """Fields of :class:`Sampled`, and the draws (chain * draw, parameter)."""
    count = options.draws * options.chains
    method, reason = options.method, "asked for"
    if method == "laplace":
        found = laplace_sample(problem, mode, count, options.seed)
        extra = {"pareto_k": found.pareto_k, "effective": found.effective}
        return _fields(method, reason, {}, extra), found.flat
    if method == "auto":
        method = "importance" if problem.size <= _IMPORTANCE_PARAMETERS else "nuts"
        reason = f"{problem.size} population-level parameters"
    if method == "importance":
        found = importance_sample(problem, mode, count, options.seed, options.progress)
        said = weights_said(options.method, found.pareto_k, found.effective, problem.size)
        extra = {"pareto_k": found.pareto_k, "effective": found.effective}
        if holds(found.pareto_k, found.effective) or options.method == "importance":
            return _fields(method, said, {}, extra), found.flat
        reason = f"{said} from importance sampling, which is too few or too uneven"
    run = nuts_sample(
        problem, mode, options.draws, options.warmup, options.chains, options.seed, options.progress
    )
    return _fields("nuts", reason, run.statistics, {}), run.flat.reshape(-1, problem.size)


def _fields(
    method: str, reason: str, statistics: dict[str, np.ndarray], extra: dict[str, Any]
) -> dict[str, Any]:
    return {"method": method, "reason": reason, "statistics": statistics, "extra": extra}


def _sampled(
    problem: Problem,
    fields: dict[str, Any],
    flat: np.ndarray,
    options: Options,
    likelihood: Any,
    error: float,
) -> Sampled:
    return Sampled(
        variables=options.by_chain(problem.constrain(flat)),
        how=problem.likelihood.how,
        error=error,
        likelihood=likelihood,
        **fields,
    )
