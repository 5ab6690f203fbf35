"""A model on given data as a potential over a flat vector of unconstrained numbers.

The functions are compiled once for each structure (families, factors, shapes of the data's
summary) and not for each data set: scales, cells, priors and the likelihood are arguments.
"""

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.distributions import biject_to, constraints
from numpyro.infer.util import constrain_fn, potential_energy

from prefstrength.choice.mixing.kinds import Kinds
from prefstrength.choice.responses.base import Shared
from prefstrength.inference.population import Population
from prefstrength.inference.population_program import sample
from prefstrength.inference.priors import Prior
from prefstrength.likelihood.cells import CellLaws, location_dispersion
from prefstrength.likelihood.surfaces import CellSurfaces

__all__ = [
    "Problem",
    "Shifts",
    "Structure",
    "gradients_at",
    "laws_of",
    "potential",
    "potential_and_gradient",
    "potentials",
    "prior_draws",
]

Likelihood = Any  # anything with .total(level), as a JAX pytree


@dataclass(frozen=True)
class Structure:
    """What compiled code depends on, beside the shapes of its arguments."""

    kinds: tuple[tuple[str, Kinds], ...]
    factors: tuple[tuple[str, int], ...]
    shared: tuple[Shared, ...]

    def population(self, numbers: dict[str, Any]) -> Population:
        """The population level, from the structure and :func:`_numbers`."""
        priors = {
            name: Prior(type(given).__name__, given=given)
            for name, given in numbers["priors"].items()
        }
        return Population(
            kinds=dict(self.kinds),
            factors=dict(self.factors),
            shared=self.shared,
            **{**numbers, "priors": priors},
        )


def _numbers(population: Population) -> dict[str, Any]:
    """What may change from one data set to the next without compiling again."""
    return {
        "scales": {k: float(v) for k, v in population.scales.items()},
        "cells": population.cells,
        "centring": {k: float(v) for k, v in population.centring.items()},
        "priors": {name: prior.numpyro() for name, prior in population.priors.items()},
    }


def _likelihood_model(population: Population, likelihood: Likelihood) -> None:
    numpyro.factor("choices", likelihood.total(sample(population)))


def potential(
    structure: Structure, flat: jax.Array, numbers: dict[str, Any], likelihood: Likelihood
) -> jax.Array:
    """Minus the log of the unnormalised posterior density (unconstrained)."""
    population = structure.population(numbers)
    tree = _unravel(structure, numbers, flat)
    return potential_energy(_likelihood_model, (population, likelihood), {}, tree)


potential_and_gradient = jax.jit(jax.value_and_grad(potential, argnums=1), static_argnums=0)


@partial(jax.jit, static_argnums=0)
def potentials(
    structure: Structure, flat: jax.Array, numbers: dict[str, Any], likelihood: Likelihood
) -> jax.Array:
    """Potential at each of many points (point, parameter)."""

    def at(one: jax.Array) -> jax.Array:
        return potential(structure, one, numbers, likelihood)

    # A table is a product for each point as it is; surfaces are too small to go one by one.
    if isinstance(likelihood, CellSurfaces):
        return jax.vmap(at)(flat)
    return jax.lax.map(at, flat)


@partial(jax.jit, static_argnums=0)
def _log_likelihoods(
    structure: Structure, flat: jax.Array, numbers: dict[str, Any], likelihood: Likelihood
) -> jax.Array:
    population = structure.population(numbers)

    def at(one: jax.Array) -> jax.Array:
        values = constrain_fn(sample, (population,), {}, _unravel(structure, numbers, one))
        with handlers.block(), handlers.substitute(data=values):
            return likelihood.total(sample(population))

    return jax.lax.map(at, flat)


@partial(jax.jit, static_argnums=0)
def gradients_at(
    structure: Structure, flat: jax.Array, numbers: dict[str, Any], likelihood: Likelihood
) -> jax.Array:
    """Gradient of the potential at each of many points (point, parameter)."""
    gradient = jax.grad(potential, argnums=1)
    return jax.lax.map(lambda one: gradient(structure, one, numbers, likelihood), flat)


@partial(jax.jit, static_argnums=0)
def _constrained(
    structure: Structure, flat: jax.Array, numbers: dict[str, Any]
) -> dict[str, jax.Array]:
    population = structure.population(numbers)

    def one(flat: jax.Array) -> dict[str, jax.Array]:
        tree = _unravel(structure, numbers, flat)
        return constrain_fn(sample, (population,), {}, tree, return_deterministic=True)

    return jax.vmap(one)(flat)


def _sites(structure: Structure, numbers: dict[str, Any]) -> dict[str, Any]:
    population = structure.population(numbers)
    with handlers.block(), handlers.seed(rng_seed=0):
        trace = handlers.trace(sample).get_trace(population)
    return {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}


def _unconstrained(site: dict[str, Any]) -> jax.Array:
    """Where a search may start: the prior's median, or 0 for shifts."""
    prior = site["fn"]
    if prior.event_shape:
        return jnp.zeros_like(biject_to(prior.support).inv(site["value"]))
    draws = prior.sample(jax.random.PRNGKey(0), (101,))
    return biject_to(prior.support).inv(jnp.median(draws, axis=0))


@partial(jax.jit, static_argnums=0)
def _spreads(structure: Structure, numbers: dict[str, Any]) -> dict[str, jax.Array]:
    """1 for logarithms of standard deviations and dispersions, 0 elsewhere."""
    flags = {}
    for name, site in _sites(structure, numbers).items():
        start = _unconstrained(site)
        positive = site["fn"].support is constraints.positive
        flags[name] = jnp.full_like(start, 1.0 if positive else 0.0)
    return flags


@partial(jax.jit, static_argnums=0)
def _start(structure: Structure, numbers: dict[str, Any]) -> dict[str, jax.Array]:
    return {name: _unconstrained(site) for name, site in _sites(structure, numbers).items()}


def _unravel(structure: Structure, numbers: dict[str, Any], flat: jax.Array) -> dict[str, Any]:
    shapes = jax.eval_shape(partial(_start, structure), numbers)
    zeros = {name: jnp.zeros(leaf.shape, flat.dtype) for name, leaf in shapes.items()}
    return ravel_pytree(zeros)[1](flat)


@partial(jax.jit, static_argnums=(0, 3))
def _prior(
    structure: Structure, numbers: dict[str, Any], key: jax.Array, draws: int
) -> dict[str, jax.Array]:
    population = structure.population(numbers)

    def one(key: jax.Array) -> dict[str, jax.Array]:
        with handlers.block(), handlers.seed(rng_seed=key):
            trace = handlers.trace(sample).get_trace(population)
        return {name: site["value"] for name, site in trace.items()}

    return jax.vmap(one)(jax.random.split(key, draws))


@dataclass(frozen=True)
class Shifts:
    """Where the flat vector holds the shifts of a factor, and the logarithm of their sd.

    Parameters
    ----------
    log_sd : int
    raw : numpy.ndarray of int, shape (shift,)
    centring : float
        A shift is sd^(1 - centring) times the number in the flat vector.
    """

    log_sd: int
    raw: np.ndarray
    centring: float


def structure_of(population: Population) -> Structure:
    """What compiled code depends on."""
    return Structure(
        tuple(population.kinds.items()), tuple(population.factors.items()), population.shared
    )


def prior_draws(population: Population, seed: int, draws: int) -> dict[str, np.ndarray]:
    """Draws of the population level from its prior, each (draw, …)."""
    key = jax.random.PRNGKey(seed)
    found = _prior(structure_of(population), _numbers(population), key, draws)
    return {name: np.asarray(value) for name, value in found.items()}


class Problem:
    """Potential, gradient and constraining of the population level.

    Must be made and used where JAX computes in float64.

    Parameters
    ----------
    population : Population
    likelihood : pytree with ``total(level)``
        Such as :class:`~prefstrength.likelihood.traced_tables.TracedTables`; may be replaced.
    """

    def __init__(self, population: Population, likelihood: Likelihood) -> None:
        self.population = population
        self.likelihood = likelihood
        self.structure = structure_of(population)
        self.numbers = _numbers(population)
        self.start = np.asarray(ravel_pytree(_start(self.structure, self.numbers))[0])
        self.size = len(self.start)
        flags = _spreads(self.structure, self.numbers)
        #: Which numbers are logarithms of spreads: towards 0 spread the density may only rise.
        self.spreads = np.asarray(ravel_pytree(flags)[0]) > 0
        #: Of every factor of the groups, for locations and for dispersions.
        self.shifts = self._shifts()

    def _shifts(self) -> list[Shifts]:
        places = _unravel(self.structure, self.numbers, jnp.arange(self.size))
        found = []
        for name, factor, what in product(
            self.population.kinds, self.population.factors, ("location", "dispersion")
        ):
            sd = places.get(f"{name}_{what}_sd_{factor}")
            # A prior of the user's own may have bounds; its unconstrained number is no logarithm.
            if sd is not None and self.spreads[int(sd)]:
                raw = np.asarray(places[f"{name}_{what}_raw_{factor}"]).ravel()
                c = self.population.centring_of(factor, what)
                found.append(Shifts(int(sd), raw, c))
        return found

    def value_and_gradient(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Potential and its gradient."""
        value, gradient = potential_and_gradient(
            self.structure, jnp.asarray(flat), self.numbers, self.likelihood
        )
        return float(value), np.asarray(gradient)

    def values(self, flat: np.ndarray) -> np.ndarray:
        """Potential at each of many points (point, parameter)."""
        return np.asarray(
            potentials(self.structure, jnp.asarray(flat), self.numbers, self.likelihood)
        )

    def log_likelihoods(self, flat: np.ndarray) -> np.ndarray:
        """Log-likelihood of all data at each of many points (point, parameter)."""
        return np.asarray(
            _log_likelihoods(self.structure, jnp.asarray(flat), self.numbers, self.likelihood)
        )

    def gradients(self, flat: np.ndarray) -> np.ndarray:
        """Gradient at each of many points (point, parameter)."""
        return np.asarray(
            gradients_at(self.structure, jnp.asarray(flat), self.numbers, self.likelihood)
        )

    def constrain(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Named variables of draws, each (draw, …)."""
        constrained = _constrained(self.structure, jnp.asarray(flat), self.numbers)
        return {name: np.asarray(v) for name, v in constrained.items()}


def laws_of(families: dict[str, type], draw: dict[str, Any]) -> tuple[CellLaws, ...]:
    """Mixing distributions of all cells from the named parameters of one draw, each (cell,)."""
    laws = []
    for name, family in families.items():
        values = {each: jnp.atleast_1d(draw[f"{name}_{each}"]) for each in family().parameters}
        laws.append(CellLaws(family, *location_dispersion(family, values)))
    return tuple(laws)
