"""Strengths of single choosers, as a fit keeps them."""

from typing import Any

import numpy as np
import xarray as xr

from prefstrength.choice.arrays import NUMPY
from prefstrength.inference.choosers import chooser_posteriors, shared_draw_posteriors
from prefstrength.inference.named_draws import blends_of, flat_draws, laws_of_draws, shared_of
from prefstrength.inference.population import Population
from prefstrength.inference.sampled import Sampled
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.strength import StrengthLikelihood

__all__ = ["chooser_level"]

# Posterior draws over which choosers' conditionals are averaged, at most, at least, and where each
# costs tables. The more choosers are in a cell, the less of their uncertainty is the population's.
_DRAWS, _FEWEST, _DEAR, _CHOOSERS = 60, 12, 24, 500
# Draws of choosers on quadrature nodes.
_SAMPLES = 400


def chooser_level(
    population: Population, data: LikelihoodData, sampled: Sampled, rng: np.random.Generator
) -> xr.Dataset | None:
    """Posterior of every chooser's coefficient; ``None`` where choosers are not known or alike.

    ``<attribute>_strength`` (sample, chooser): quantiles of the chooser's posterior at equally
    spaced probabilities, or draws where choosers were sampled. ``<attribute>_kind_probability``
    where there are several kinds of choosers.
    """
    if not data.panel or not population.random:
        return None
    if "_chooser_draws" in sampled.variables:
        return _sampled_choosers(population, data, sampled)
    likelihood = sampled.likelihood
    if not isinstance(likelihood, StrengthLikelihood):
        from prefstrength.inference.several_results import chooser_strengths

        draws = flat_draws(sampled.variables, _SAMPLES)
        return chooser_strengths(likelihood, population, data, draws, rng)
    keep = np.clip(_DRAWS * _CHOOSERS * likelihood.cells // data.units, _FEWEST, _DRAWS)
    draws = flat_draws(sampled.variables, min(int(keep), _DEAR if population.shared else _DRAWS))
    name = population.first
    blends, shared = blends_of(population, name, draws), shared_of(population, draws)
    if likelihood.separable:
        found = chooser_posteriors(likelihood, blends, shared, rng)
    else:
        found = shared_draw_posteriors(likelihood, blends, shared, *data.shares_of_cells(), rng)
    out: dict[str, Any] = {
        f"{name}_strength": (("sample", "chooser"), found.quantiles.astype(np.float32))
    }
    if len(found.kind) > 1:
        out[f"{name}_kind_probability"] = (("kind", "chooser"), found.kind)
    dataset = xr.Dataset(out)
    if len(found.kind) > 1:
        names = [f"kind {k + 1}" for k in range(len(population.kinds[name].families))]
        names += ["zero"] if population.kinds[name].zero else []
        dataset = dataset.assign_coords(kind=names)
    return dataset


def _sampled_choosers(
    population: Population, data: LikelihoodData, sampled: Sampled
) -> xr.Dataset | None:
    """Of choosers that were sampled beside the population level, of one kind each."""
    stored = sampled.variables["_chooser_draws"]
    samples = stored.shape[0] * stored.shape[1]
    z = stored.reshape(samples, data.units, -1)
    draws = {
        name: value[:, :: max(1, value.shape[1] // stored.shape[1])][:, : stored.shape[1]].reshape(
            samples, *value.shape[2:]
        )
        for name, value in sampled.variables.items()
        if name != "_chooser_draws"
    }
    unit, cell, share = data.shares_of_cells()
    out, column = {}, 0
    for name, kinds in population.kinds.items():
        if not kinds.simple:
            return None  # which kind a chooser is of was summed over
        if not kinds.varies:
            continue
        ((location, dispersion),) = laws_of_draws(population, name, draws)
        assert dispersion is not None
        family = kinds.families[0]
        own = z[:, unit, column]
        beta = family.coefficient(NUMPY, own, location[:, cell], dispersion[:, cell])
        total = np.zeros((data.units, samples))
        np.add.at(total, unit, (beta * share).T)
        out[f"{name}_strength"] = (("sample", "chooser"), total.T.astype(np.float32))
        column += 1
    return xr.Dataset(out)
