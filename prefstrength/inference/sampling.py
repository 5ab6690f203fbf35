"""Draws of the population level by the way that suits the problem."""

from dataclasses import replace

import numpy as np

from prefstrength._shared.words import warn
from prefstrength.errors import InputError, SamplingWarning
from prefstrength.inference.levels import Levels
from prefstrength.inference.methods import METHODS
from prefstrength.inference.named_draws import blends_of, flat_draws, shared_of
from prefstrength.inference.population import Population
from prefstrength.inference.sampled import TOLERANCE, Options, Sampled, holds, weights_said
from prefstrength.inference.single import Single
from prefstrength.inference.target_sampling import sample_target
from prefstrength.likelihood.build_strength import strength_likelihood
from prefstrength.likelihood.certificate import certified_error
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError
from prefstrength.likelihood.sources import Reading
from prefstrength.likelihood.strength import StrengthLikelihood

__all__ = ["TOLERANCE", "Sampled", "sample"]

# Draws of choosers that NUTS is asked for beside the population level; beyond, mini-batches.
_CHOOSER_DRAWS = 20_000
# Draws at which the likelihood is compared with direct evaluation.
_CERTIFIED = 5


def sample(
    population: Population,
    data: LikelihoodData,
    reading: Reading,
    method: str,
    seed: int,
    draws: int,
    warmup: int,
    chains: int,
    progress: bool,
) -> Sampled:
    """Draw from the posterior of the population level; see ``models.fitting.fit``."""
    if method not in METHODS:
        raise InputError(f"Expected method to be one of {list(METHODS)}; got {method!r}.")
    for name, value, least in (("draws", draws, 50), ("warmup", warmup, 50), ("chains", chains, 1)):
        if value < least:
            raise InputError(f"Expected {name} of at least {least}; got {value}.")
    options = Options(method, seed, draws, warmup, chains, progress)
    likelihood = scalar_likelihood(population, data, reading)
    if method in ("latent", "svi"):
        return _with_choosers(population, data, reading, likelihood, options, "asked for")
    if likelihood is None:
        return _several(population, data, reading, options)
    found = _scalar(population, likelihood, options)
    flat = flat_draws(found.variables, _CERTIFIED)
    blends = blends_of(population, population.first, flat)
    shared = shared_of(population, flat)
    if isinstance(data, CompressedData):
        error = data.certified_error(likelihood, blends)
    else:
        error = certified_error(likelihood, data, reading, blends, shared)
    total = found.error + error
    if not total <= TOLERANCE:  # nor where it is no number
        warn(
            f"The likelihood expects an error below {TOLERANCE} nats; got {total:.2g} "
            f"({found.how}). Look for reward differences that are far larger than the rest, or use "
            "`method='latent'`.",
            SamplingWarning,
        )
    return replace(found, error=total)


def scalar_likelihood(
    population: Population, data: LikelihoodData, reading: Reading
) -> StrengthLikelihood | None:
    """Tables of choosers where one coefficient at most differs between them; else ``None``."""
    first = population.first
    if reading.pair_effects or next(iter(population.kinds)) != first:
        return None  # judged by many choosers at once; or not the first attribute
    if any(name != first for name in population.random):
        return None
    if len(population.kinds) > 1 and population.factors:
        return None  # groups shift every coefficient
    prior = population.prior()
    at = {each.name: prior[each.name].quantile(0.5) for each in population.shared}
    at |= {f"{name}_value": 0.0 for name in population.kinds if name != first}
    positive = population.kinds[first].positive
    if isinstance(data, CompressedData) and data.panel:
        return data.likelihood(reading, positive)
    return strength_likelihood(data, reading, positive, at)


def _scalar(population: Population, likelihood: StrengthLikelihood, options: Options) -> Sampled:
    plain = not (likelihood.reading.shared or likelihood.reading.fixed)
    simple = population.kinds[population.first].simple and plain
    if options.method in ("auto", "importance", "laplace") and not population.factors:
        found = _of_single(population, likelihood, options)
        if found is not None:
            return found
    elif (
        options.method in ("auto", "importance")
        and len(population.factors) == 1
        and simple
        and likelihood.separable
    ):
        found = _of_levels(population, likelihood, options)
        if found is not None:
            return found
    from prefstrength.inference.traced import sample_traced

    return sample_traced(population, likelihood, simple and likelihood.separable, options)


def _of_single(
    population: Population, likelihood: StrengthLikelihood, options: Options
) -> Sampled | None:
    single = Single(population, likelihood)
    count = options.draws * options.chains
    if options.method == "laplace":
        drawn = single.laplace(count, options.seed)
    else:
        drawn = sample_target(single.target, count, options.seed)
    reason = weights_said(options.method, drawn.pareto_k, drawn.effective, single.target.size)
    if options.method == "auto" and not holds(drawn.pareto_k, drawn.effective):
        return None
    variables = single.variables(single.target.values(drawn.v))
    return Sampled(
        variables=options.by_chain(variables),
        statistics={},
        method="laplace" if options.method == "laplace" else "importance",
        reason="asked for" if options.method == "laplace" else reason,
        how=likelihood.how,
        error=drawn.error,
        likelihood=likelihood,
        surrogate=(single, drawn) if drawn.surrogate is not None else None,
        extra={"pareto_k": drawn.pareto_k, "effective": drawn.effective},
    )


def _of_levels(
    population: Population, likelihood: StrengthLikelihood, options: Options
) -> Sampled | None:
    levels = Levels(population, likelihood)
    drawn = levels.sample(options.draws * options.chains, options.seed)
    if options.method == "auto" and not holds(drawn.pareto_k, drawn.effective):
        return None
    reason = weights_said(options.method, drawn.pareto_k, drawn.effective, levels.target.size)
    return Sampled(
        variables=options.by_chain(drawn.variables),
        statistics={},
        method="importance",
        reason=f"{reason}, the levels integrated out",
        how=likelihood.how,
        error=drawn.error,
        likelihood=likelihood,
        extra={"pareto_k": drawn.pareto_k, "effective": drawn.effective},
    )


def _several(
    population: Population, data: LikelihoodData, reading: Reading, options: Options
) -> Sampled:
    from prefstrength.inference.traced import sample_several

    _refuse_with_several(reading)
    try:
        return sample_several(population, data, options)
    except NotIntegrableError as error:
        if options.method != "auto":
            raise
        reason = str(error).split(". ")[0]
    return _with_choosers(population, data, reading, None, options, reason)


def _refuse_with_several(reading: Reading) -> None:
    """Refuse what only a model of one random strength knows."""
    asked = [each.name for each in reading.shared]
    if asked:
        raise InputError(
            "Several random coefficients, or groups beside further attributes, expect plain "
            f"choices; got a model with {', '.join(asked)}. Make the other attributes PointMass() "
            "and leave groups out, or leave these out."
        )


def _with_choosers(
    population: Population,
    data: LikelihoodData,
    reading: Reading,
    likelihood: StrengthLikelihood | None,
    options: Options,
    reason: str,
) -> Sampled:
    """Choosers sampled beside the population level, by NUTS or by mini-batches."""
    from prefstrength.inference.traced import sample_choosers

    method = options.method
    if isinstance(data, CompressedData):
        raise InputError(
            f"`method={method!r}` needs the choices themselves; got compressed choices, of which "
            "sums are left. Use another method, or fit Choices."
        )
    if method == "auto":
        most = data.units * len(population.random) <= _CHOOSER_DRAWS
        method = "latent" if most else "svi"
    if method == "svi" and (data.truth is not None or reading.shared):
        raise InputError(
            "`method='svi'` expects plain choices without errors; got a model with "
            f"{'errors' if data.truth is not None else 'shared numbers'}. "
            "Use `method='auto'`, `method='nuts'` or `method='latent'`."
        )
    if (data.times == 1).all():
        return sample_choosers(population, data, reading, likelihood, method, reason, options)
    first = np.cumsum(data.times).astype(int) - data.times.astype(int)
    own = data.one_by_one()
    found = sample_choosers(population, own, reading, likelihood, method, reason, options)
    if (draws := found.variables.get("_chooser_draws")) is not None:
        # Of copies of a chooser the first is shown.
        found.variables["_chooser_draws"] = draws[:, :, first]
    return found
