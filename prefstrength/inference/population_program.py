"""The NumPyro statements of the population level."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from prefstrength.inference.population import Level, Population
from prefstrength.inference.priors import Prior
from prefstrength.likelihood.cells import CellLaws, parameters

__all__ = ["sample"]

Priors = Mapping[str, Prior]


def sample(population: Population) -> Level:
    """Sample the population level: mixing distributions in every cell, and what all share."""
    prior = population.prior()
    found = [_sample_attribute(population, name, prior) for name in population.kinds]
    shared = {
        each.name: numpyro.sample(each.name, prior[each.name].numpyro())
        for each in population.shared
    }
    return Level(tuple(laws for laws, _ in found), tuple(log for _, log in found), shared)


def _sample_attribute(
    population: Population, name: str, prior: Priors
) -> tuple[tuple[CellLaws, ...], jax.Array]:
    """Sample the kinds of choosers of one attribute: mixing distributions and log shares."""
    kinds = population.kinds[name]
    many = len(kinds.families)
    location = _shifted(population, name, "location", _locations(population, name, prior), prior)
    dispersion = None
    if kinds.varies:
        own = prior[f"{name}_dispersion"].numpyro()
        base = numpyro.sample(f"{name}_dispersion", own.expand([many]) if many > 1 else own)
        log = jnp.log(jnp.reshape(base, (many, 1)))
        dispersion = jnp.exp(_shifted(population, name, "dispersion", log, prior))
    laws = tuple(
        CellLaws(family, location[k], dispersion[k] if family.varies else None)  # type: ignore[index]
        for k, family in enumerate(kinds.families)
    )
    if len(set(kinds.families)) == 1:
        known = [parameters(law.family, law.location, law.dispersion) for law in laws]
        for parameter in known[0]:
            value = jnp.stack([each[parameter] for each in known])
            value = value if population.factors else value[:, 0]
            numpyro.deterministic(f"{name}_{parameter}", value if many > 1 else value[0])
    return laws, _log_shares(population, name, prior)


def _locations(population: Population, name: str, prior: Priors) -> jax.Array:
    """Base locations (kind, 1), in order where nothing else tells the kinds apart."""
    kinds = population.kinds[name]
    many = len(kinds.families)
    own = prior[f"{name}_location"].numpyro()
    if many == 1:
        return jnp.reshape(numpyro.sample(f"{name}_location", own), (1, 1))
    if not kinds.ordered:
        return numpyro.sample(f"{name}_location", own.expand([many]))[:, None]
    first = numpyro.sample(f"{name}_location_first", own)
    apart = dist.HalfNormal(2.0 * population.unit(name)).expand([many - 1])
    gaps = numpyro.sample(f"{name}_location_gaps", apart)
    location = jnp.concatenate([first[None], first + jnp.cumsum(gaps)])
    # Draws of the prior in order, of which there are so many orders, in place of the gaps'.
    later = own.log_prob(location[1:]).sum() - apart.log_prob(gaps).sum()
    numpyro.factor(f"{name}_order", later + math.lgamma(many + 1))
    return numpyro.deterministic(f"{name}_location", location)[:, None]


def _log_shares(population: Population, name: str, prior: Priors) -> jax.Array:
    kinds = population.kinds[name]
    many = len(kinds.families)
    log = jnp.zeros(1)
    if many > 1:
        log = jnp.log(numpyro.sample(f"{name}_share_of_others", dist.Dirichlet(jnp.ones(many))))
    zero = 0.0
    if kinds.zero:
        zero = numpyro.sample(f"{name}_zero_share", prior[f"{name}_zero_share"].numpyro())
        log = jnp.append(log + jnp.log1p(-zero), jnp.log(zero))
    if many > 1:
        numpyro.deterministic(f"{name}_share", jnp.exp(log[:many]))
    return log


def _shifted(
    population: Population, name: str, what: str, base: jax.Array, prior: Priors
) -> jax.Array:
    """The bases (kind, 1), shifted by the levels of every factor; shape (kind, cell)."""
    cells = population.cells
    value = jnp.broadcast_to(base, (base.shape[0], len(cells)))
    for column, (factor, levels) in enumerate(population.factors.items()):
        sd = numpyro.sample(
            f"{name}_{what}_sd_{factor}", prior[f"{name}_{what}_sd_{factor}"].numpyro()
        )
        # Partly centred: raw ~ ZeroSumNormal(sd^c), shift = sd^(1-c) raw, the same for every c.
        # Papaspiliopoulos, Roberts, Skoeld (2007).
        c = population.centring_of(factor, what)
        raw = numpyro.sample(f"{name}_{what}_raw_{factor}", dist.ZeroSumNormal(sd**c, (levels,)))
        shift = numpyro.deterministic(f"{name}_{what}_{factor}", sd ** (1 - c) * raw)
        value = value + shift[cells[:, column]]
    return value
