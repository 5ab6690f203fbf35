"""Choose the cheapest exact likelihood for given data, and certify it against the direct one."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.direct import DirectLikelihood
from prefstrength.likelihood.mixed import JAX
from prefstrength.likelihood.nodes import normal_nodes
from prefstrength.likelihood.pairs import PairSketch
from prefstrength.likelihood.panels import DEGREE, PanelTables

if TYPE_CHECKING:
    pass
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError
from prefstrength.likelihood.exact import error_of_all, exact_panels, telling_pairs, telling_units

__all__ = ["Likelihood", "build_likelihood", "likelihood_error"]

Likelihood = PairSketch | PanelTables | DirectLikelihood

# Above this many evaluations of a utility the product rule stops being sensible.
_DIRECT_LIMIT = 2e8


def build_likelihood(
    data: LikelihoodData,
    families: tuple[type[Mixing], ...],
    dispersions: tuple[float, ...] | None = None,
    refine: int = 0,
) -> Likelihood:
    """Cheapest exact likelihood for a model on given data.

    Parameters
    ----------
    data : LikelihoodData
    families : tuple of type
        Family of each attribute's coefficient.
    dispersions : tuple of float, optional
        Largest dispersion of each coefficient to be resolved; 1 (in units of 1/scale for
        Normal) when left out.
    refine : int
        How many times nodes are to be increased beyond the default.
    """
    data.refuse_errors()
    if dispersions is None:
        dispersions = tuple(
            1.0 if family.positive else 1.0 / scale
            for family, scale in zip(families, data.scales, strict=True)
        )
    if data.scalar:
        x = data.differences()
        if not data.panel:
            return PairSketch.build(
                x, data.cell, data.weight, data.scales[0], nodes=256 * 2**refine
            )
        return PanelTables.build(
            x,
            data.unit,
            data.cell,
            data.weight,
            data.scales[0],
            families[0],
            dispersion=dispersions[0] * 1.5**refine,
            degree=DEGREE + 32 * refine,
        )
    return _direct(data, families, dispersions, refine)


def _direct(
    data: LikelihoodData,
    families: tuple[type[Mixing], ...],
    dispersions: tuple[float, ...],
    refine: int,
) -> DirectLikelihood:
    random = sum(family.varies for family in families)
    per_unit = np.bincount(data.unit, weights=data.weight).max()
    relative = max(
        d if family.positive else d * scale
        for d, family, scale in zip(dispersions, families, data.scales, strict=True)
    )
    # 0.2: information on log strength that a choice holds where it holds much.
    step = min(0.5, 1.1 / np.sqrt(1 + 0.2 * per_unit * relative**2)) / 2**refine
    reach = 8.0 + 4.0 * refine
    nodes = len(normal_nodes(step, reach)[0]) ** random
    size = float(np.prod(data.values.shape[:2])) * nodes
    if random > 2 or size > _DIRECT_LIMIT:
        raise NotIntegrableError(
            "Integrating the coefficients out expects at most two random attributes and a "
            f"moderate size; got {random} random attributes and {len(data.chosen)} situations. "
            "Make some attributes PointMass(), or sample the choosers: `method='latent'`, or "
            "`method='svi'` for many."
        )
    how = f"not compressed: {nodes} quadrature nodes for every situation"
    return _direct_on(data, float(step), reach, how)


def _direct_on(data: LikelihoodData, step: float, reach: float, how: str) -> DirectLikelihood:
    return DirectLikelihood(
        values=jnp.asarray(data.values),
        chosen=jnp.asarray(data.chosen),
        available=jnp.asarray(data.available),
        cell=jnp.asarray(data.cell),
        unit=jnp.asarray(data.unit),
        weight=jnp.asarray(data.weight),
        units=data.units,
        step=step,
        reach=reach,
        how=how,
    )


def likelihood_error(
    likelihood: Likelihood,
    data: LikelihoodData,
    laws: list[tuple[CellLaws, ...]],
    seed: int = 0,
    sample: int = 48,
) -> float:
    """Error of the total log-likelihood against direct evaluation, in nats.

    Compared at each of the given laws on the units with most situations, on those with the
    largest attributes, and on a random sample of the rest, whose mean absolute error stands
    for all of the rest; the worst of the laws. Random signs make the error of the sum smaller
    than that.
    """
    data.refuse_errors()
    worst = 0.0
    if isinstance(likelihood, PairSketch):
        # A sketch has no units left: compare sums over all data, or over a large sample's own.
        x, cell, weight = telling_pairs(data, seed)
        if len(x) < len(data.cell):
            likelihood = PairSketch.build(x, cell, weight, data.scales[0], nodes=likelihood.nodes)
        for law in laws:
            direct = log_probability(JAX, jnp.asarray(x), law[0].mixing(jnp.asarray(cell)))
            error = jnp.abs(likelihood.total(law) - jnp.asarray(weight) @ direct)
            worst = max(worst, float(error))
        return worst
    special, sampled = telling_units(data, seed, sample)
    if isinstance(likelihood, DirectLikelihood):
        # Twice the nodes in every dimension: fewer units, so that this stays cheap.
        nodes = len(likelihood.nodes(laws[0])[1]) * 4
        per_unit = nodes * data.values.shape[1] * len(data.unit) / data.units
        sampled = sampled[: int(np.clip(1e7 / per_unit, 8, sample))]
    chosen = np.r_[special, sampled]
    part = data.take(chosen)

    def of_all(error: np.ndarray) -> float:
        return error_of_all(error, len(special), data.units)

    if isinstance(likelihood, DirectLikelihood):
        step, reach = likelihood.step, likelihood.reach
        for law in laws:
            found, finer, wider = (
                np.asarray(_direct_on(part, *nodes, "").by_unit(law))
                for nodes in ((step, reach), (step / 2, reach), (step, 2 * reach))
            )
            worst = max(worst, of_all(np.abs(finer - found) + np.abs(wider - found)))
        return worst
    by_unit = jax.jit(lambda law, tables: tables.by_unit(law))
    for law in laws:
        table = np.asarray(by_unit(law, likelihood))[chosen]
        worst = max(worst, of_all(np.abs(table - exact_panels(part, law))))
    return worst
