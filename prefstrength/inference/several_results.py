"""Pointwise and chooser-level results of several random coefficients, on quadrature nodes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.base import Mixing
from prefstrength.inference.named_draws import laws_of_draws
from prefstrength.inference.population import Population
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.direct import DirectLikelihood

__all__ = ["chooser_strengths", "log_likelihoods"]

Draws = Mapping[str, np.ndarray]
Families = tuple[type[Mixing], ...]


def log_likelihoods(
    likelihood: DirectLikelihood, population: Population, draws: Draws
) -> np.ndarray:
    """Log-likelihood of every unit under every draw (draw, unit)."""
    with jax.enable_x64(True):
        families, arrays = _arrays(population, draws)
        return np.asarray(_by_unit(families, arrays, likelihood))


def chooser_strengths(
    likelihood: DirectLikelihood,
    population: Population,
    data: LikelihoodData,
    draws: Draws,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Draws of every chooser's coefficients from the product rule's nodes, spread over cells."""
    with jax.enable_x64(True):
        families, arrays = _arrays(population, draws)
        evaluate = jax.jit(partial(_by_node, families))
        units = (CellLaws(f, jnp.zeros(1), jnp.ones(1) if f.varies else None) for f in families)
        nodes, log_weight = likelihood.nodes(tuple(units))
        count = len(arrays[0][0])
        z = np.zeros((len(families), count, likelihood.units))
        for s in range(count):
            one = [(a[s], None if d is None else d[s]) for a, d in arrays]
            values = np.asarray(evaluate(one, likelihood)) + log_weight
            pick = np.argmax(values + rng.gumbel(size=values.shape), axis=1)
            for a, family in enumerate(families):
                if family.varies:
                    jitter = (rng.random(likelihood.units) - 0.5) * likelihood.step
                    z[a, s] = nodes[a][pick] + jitter
    unit, cell, share = data.shares_of_cells()
    out: dict[str, Any] = {}
    for a, name in enumerate(population.kinds):
        family = families[a]
        if not family.varies:
            continue
        ((location, dispersion),) = laws_of_draws(population, name, draws)
        assert dispersion is not None
        beta = family.coefficient(NUMPY, z[a][:, unit], location[:, cell], dispersion[:, cell])
        total = np.zeros((data.units, count))
        np.add.at(total, unit, (beta * share).T)
        out[f"{name}_strength"] = (("sample", "chooser"), total.T.astype(np.float32))
    return xr.Dataset(out)


def _arrays(population: Population, draws: Draws) -> tuple[tuple[type[Mixing], ...], list[Any]]:
    families = tuple(kinds.families[0] for kinds in population.kinds.values())
    arrays = []
    for name in population.kinds:
        ((location, dispersion),) = laws_of_draws(population, name, draws)
        spread = None if dispersion is None else jnp.asarray(dispersion)
        arrays.append((jnp.asarray(location), spread))
    return families, arrays


def _laws(families: Families, one: list[Any]) -> tuple[CellLaws, ...]:
    return tuple(CellLaws(f, a, d) for f, (a, d) in zip(families, one, strict=True))


def _by_node(families: Families, one: list[Any], likelihood: DirectLikelihood) -> Any:
    return likelihood.by_node(_laws(families, one))[0]


@partial(jax.jit, static_argnums=0)
def _by_unit(families: Families, arrays: list[Any], likelihood: DirectLikelihood) -> Any:
    return jax.lax.map(lambda one: likelihood.by_unit(_laws(families, one)), arrays)
