"""Draws of the population level from its prior, and the prior's density at other draws."""

import numpy as np
import xarray as xr

from prefstrength.inference.named_draws import laws_of_draws
from prefstrength.inference.population import Population

__all__ = ["log_priors", "prior_draws"]


def prior_draws(
    population: Population, rng: np.random.Generator, draws: int
) -> dict[str, np.ndarray]:
    """Draws of every variable that a fit shows, each (1, draw, …)."""
    prior = population.prior()
    found: dict[str, np.ndarray] = {}
    for name, kinds in population.kinds.items():
        many = len(kinds.families)
        for what in ("location", "dispersion") if kinds.varies else ("location",):
            own = prior[f"{name}_{what}"].sample(rng, draws * many).reshape(draws, many)
            if what == "location" and kinds.ordered:
                own = np.sort(own, axis=1)
            found[f"{name}_{what}"] = own if many > 1 else own[:, 0]
            for factor, levels in population.factors.items():
                sd = prior[f"{name}_{what}_sd_{factor}"].sample(rng, draws)
                shift = sd[:, None] * rng.standard_normal((draws, levels))
                found[f"{name}_{what}_sd_{factor}"] = sd
                found[f"{name}_{what}_{factor}"] = shift - shift.mean(axis=1, keepdims=True)
        if many > 1:
            found[f"{name}_share"] = rng.dirichlet(np.ones(many), draws)
        if kinds.zero:
            zero = prior[f"{name}_zero_share"].sample(rng, draws)
            found[f"{name}_zero_share"] = zero
            if many > 1:
                found[f"{name}_share"] *= (1 - zero)[:, None]
        found |= named_parameters(population, name, found)
    for each in population.shared:
        found[each.name] = prior[each.name].sample(rng, draws)
    return {name: value[None] for name, value in found.items()}


def log_priors(population: Population, posterior: xr.Dataset) -> xr.Dataset:
    """Log prior density of every variable with a prior of its own, at draws of it.

    ArviZ raises each to a power, to say what the prior decides (``arviz.psense``).
    """
    return xr.Dataset(
        {
            name: posterior[name].copy(data=prior.log_density(posterior[name].values))
            for name, prior in population.prior().items()
            if name in posterior
        }
    )


def named_parameters(
    population: Population, name: str, draws: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Parameters of an attribute's mixing distribution under their own names, each (draw, …)."""
    families = population.kinds[name].families
    if len(set(families)) > 1:
        return {}
    each = [
        families[0].from_location_dispersion(location, spread).parameters
        for location, spread in laws_of_draws(population, name, draws)
    ]
    out = {}
    for parameter in each[0]:
        value = np.stack([np.asarray(known[parameter]) for known in each], axis=1)
        value = value if population.factors else value[:, :, 0]
        out[f"{name}_{parameter}"] = value if len(families) > 1 else value[:, 0]
    return out
