"""Ways to the posterior; each gives the same :class:`~prefstrength.Fit`."""

import warnings
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
from scipy import stats

from prefstrength.choices import Choices
from prefstrength.errors import InputError, SamplingWarning
from prefstrength.fit import Fit
from prefstrength.inference.assemble import assemble, cell_labels, named
from prefstrength.inference.importance import PARETO_K, importance_sample
from prefstrength.inference.latent import latent_sample
from prefstrength.inference.mode import Mode, find_mode
from prefstrength.inference.nuts import nuts_sample
from prefstrength.inference.problem import Problem, laws_of
from prefstrength.likelihood import LikelihoodData, build_likelihood, likelihood_error
from prefstrength.mixing import Mixing, PointMass
from prefstrength.models import MixedLogit, Population, cell_codes, describe
from prefstrength.quantiles import CellLaws

__all__ = ["METHODS", "fit"]

METHODS = ("auto", "importance", "nuts", "latent")

#: Error of the total log-likelihood, in nats, above which nodes are added.
TOLERANCE = 0.01
_MOST_REFINEMENTS = 4
# Importance sampling is tried by "auto" up to this many parameters, and accepted with at least
# this many effective draws.
_IMPORTANCE_PARAMETERS = 60
_EFFECTIVE = 1000
# Random attributes that a product rule integrates out.
_INTEGRABLE = 2


def fit(
    model: MixedLogit,
    choices: Choices,
    method: str = "auto",
    seed: int = 0,
    *,
    draws: int = 500,
    warmup: int = 300,
    chains: int = 4,
    progress: bool = True,
) -> Fit:
    """Infer the posterior of a mixed logit model.

    Parameters
    ----------
    model : MixedLogit
    choices : Choices
    method : {"auto", "importance", "nuts", "latent"}
        ``"importance"``: importance sampling around the mode, for a few parameters; its Pareto
        k says whether it holds. ``"nuts"``: NUTS on the population level, the coefficients
        being integrated out. ``"latent"``: NUTS on population and choosers together, for any
        number of random attributes. ``"auto"``: importance sampling where there are at most 60
        parameters, k < 0.7 and 1000 effective draws, else NUTS; the fit says which and why.
    seed : int
        Same seed, same numbers.
    draws, warmup, chains : int
        Posterior draws of each chain, adaptation steps, chains.
    progress : bool
        Show progress bars.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        If the model asks for what the data do not hold, or an option is out of range.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10)
    >>> model = ps.MixedLogit({"reward": ps.LogNormal()})
    >>> dict(model.fit(choices, seed=0, progress=False).posterior.sizes)
    {'chain': 4, 'draw': 500}
    """
    if method not in METHODS:
        raise InputError(f"Expected method to be one of {list(METHODS)}; got {method!r}.")
    for name, value, least in (("draws", draws, 50), ("warmup", warmup, 50), ("chains", chains, 1)):
        if value < least:
            raise InputError(f"Expected {name} of at least {least}; got {value}.")
    with jax.enable_x64(True):
        return _fit(model, choices, method, seed, draws, warmup, chains, progress)


def _fit(
    model: MixedLogit,
    choices: Choices,
    method: str,
    seed: int,
    draws: int,
    warmup: int,
    chains: int,
    progress: bool,
) -> Fit:
    population = model.population(choices)
    _, codes = cell_codes(choices, model.groups)
    data = LikelihoodData.of(choices, tuple(model.coefficients), codes)
    families = tuple(population.families.values())
    extra: dict[str, Any] = {}

    if method == "latent":
        variables, statistics = latent_sample(
            population, data, draws, warmup, chains, seed, progress
        )
        how, error, reason = "latent choosers, nothing integrated", 0.0, "asked for"
        likelihood: Any = None
        if sum(family is not PointMass for family in families) <= _INTEGRABLE:
            likelihood = build_likelihood(data, families, refine=1)
    else:
        problem, mode, error = _certified(population, data, families)
        likelihood, how = problem.likelihood, problem.likelihood.how
        reason = "asked for"
        chosen = method
        if method == "auto":
            small = problem.size <= _IMPORTANCE_PARAMETERS
            chosen = "importance" if small else "nuts"
            reason = f"{problem.size} population-level parameters"
        if chosen == "importance":
            sampled = importance_sample(problem, mode, draws * chains, seed, progress)
            extra = {"pareto_k": sampled.pareto_k, "effective": sampled.effective}
            holds = sampled.pareto_k < PARETO_K and sampled.effective >= _EFFECTIVE
            verdict = f"Pareto k {sampled.pareto_k:.2f}, {sampled.effective:.0f} effective draws"
            reason = f"{reason}; {verdict}"
            if not holds and method == "auto":
                chosen, extra = "nuts", {}
                reason = f"{reason} from importance sampling, which is too few or too uneven"
            elif not holds:
                warnings.warn(
                    f"Importance sampling expects Pareto k < {PARETO_K} and {_EFFECTIVE} effective "
                    f'draws; got {verdict}. Use method="nuts".',
                    SamplingWarning,
                    stacklevel=4,
                )
        if chosen == "importance":
            variables, statistics = named(problem.constrain(sampled.flat), chains), {}
        else:
            run = nuts_sample(problem, mode, draws, warmup, chains, seed, progress)
            flat = run.flat.reshape(-1, problem.size)
            variables, statistics = named(problem.constrain(flat), chains), run.statistics
        method = chosen

    tree = assemble(population, choices, data, likelihood, variables, statistics, seed)
    spec = {
        "coefficients": {name: family.__name__ for name, family in population.families.items()},
        "groups": list(model.groups),
        "cells": cell_labels(population, choices),
        "priors": {name: describe(prior) for name, prior in population.prior().items()},
        "scales": population.scales,
        "method": method,
        "reason": reason,
        "likelihood": {"how": how, "error": error, "tolerance": TOLERANCE},
        "seed": seed,
        "draws": draws,
        "warmup": warmup if method != "importance" else 0,
        "chains": chains,
        **extra,
        "data": {
            "situations": choices.n_situations,
            "choosers": choices.n_choosers,
            "alternatives": choices.n_alternatives,
            "levels": {name: list(choices.groups[name].levels) for name in model.groups},
            "dropped": [{"reason": d.reason, "count": int(d.count)} for d in choices.dropped],
            "hash": choices.content_hash(),
        },
        "versions": {
            name: version(name)
            for name in ("prefstrength", "jax", "numpyro", "arviz", "numpy", "xarray")
        },
    }
    return Fit(tree, spec)


def _certified(
    population: Population, data: LikelihoodData, families: tuple[type[Mixing], ...]
) -> tuple[Problem, Mode, float]:
    """Problem and mode with a likelihood whose error is known, refined until it is small."""
    problem = Problem(population, build_likelihood(data, families))
    mode = find_mode(problem)
    laws = _plausible(problem, mode)
    needed = _largest_dispersions(laws, data, families)
    # Nodes were placed for a dispersion of 1; compile again only if that was far off.
    if not all(0.4 <= relative <= 1.0 for relative, _ in needed):
        problem.likelihood = build_likelihood(data, families, tuple(d for _, d in needed))
        mode = find_mode(problem, mode.at)
        laws = _plausible(problem, mode)
    error = likelihood_error(problem.likelihood, data, laws)
    for refine in range(1, _MOST_REFINEMENTS + 1):
        if error <= TOLERANCE:
            break
        needed = _largest_dispersions(laws, data, families)
        finer = build_likelihood(data, families, tuple(d for _, d in needed), refine)
        finer_error = likelihood_error(finer, data, laws)
        if finer_error > error / 2:
            break  # more nodes do not help
        problem.likelihood, error = finer, finer_error
    if error > TOLERANCE:
        warnings.warn(
            f"The likelihood expects an error below {TOLERANCE} nats; got {error:.2g} with the "
            f"most nodes ({problem.likelihood.how}). Look for reward differences that are far "
            'larger than the rest, or use method="latent".',
            SamplingWarning,
            stacklevel=5,
        )
    return problem, mode, error


def _plausible(problem: Problem, mode: Mode) -> list[tuple[CellLaws, ...]]:
    """Laws at the mode and at points around it that the posterior does not rule out."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(mode.covariance)
    candidates = mode.at + 1.3 * rng.standard_normal((30, problem.size)) @ factor.T
    best = problem.value_and_gradient(mode.at)[0]
    # A drop in log density that 99.9 % of a Gaussian posterior stays within.
    drop = stats.chi2(problem.size).ppf(0.999) / 2
    kept = [c for c in candidates if problem.value_and_gradient(c)[0] - best < drop][:6]
    points = np.stack([mode.at, *kept])
    variables = problem.constrain(points)
    return [
        laws_of(problem.population.families, {k: v[i] for k, v in variables.items()})
        for i in range(len(points))
    ]


def _largest_dispersions(
    laws: list[tuple[CellLaws, ...]], data: LikelihoodData, families: tuple[type[Mixing], ...]
) -> list[tuple[float, float]]:
    """For each attribute the largest dispersion, relative to its unit and as it is."""
    out = []
    for a, family in enumerate(families):
        unit = 1.0 if family.positive else 1.0 / data.scales[a]
        sizes = [float(np.max(d)) / unit for law in laws if (d := law[a].dispersion) is not None]
        relative = float(np.clip(max(sizes, default=1.0), 0.3, 6.0))
        out.append((relative, relative * unit))
    return out
