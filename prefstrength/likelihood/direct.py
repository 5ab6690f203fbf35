"""The likelihood of several random coefficients: quadrature over all of them, in JAX.

Every situation is evaluated at every node of a product rule, for any number of alternatives.
"""

from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefstrength.choice.logit import log_choice
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.certificate import telling_units
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError

__all__ = ["DirectLikelihood", "direct_error", "direct_likelihood"]

# Above this many evaluations of a utility the product rule stops being sensible.
_LIMIT = 2e8


def normal_nodes(step: float, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of the trapezoid rule in a standard normal draw, and their log weights."""
    z = np.arange(-np.ceil(reach / step) * step, reach + step / 2, step)
    return z, -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DirectLikelihood:
    """Quadrature over every random coefficient for every situation.

    Parameters
    ----------
    values : array, shape (situation, alternative, attribute)
        Attributes of the alternatives.
    chosen : array of int, shape (situation,)
        Index of the chosen alternative.
    available : array of bool, shape (situation, alternative)
        The choice set.
    cell, unit : array of int, shape (situation,)
        Cell of the groups; chooser, or the situation itself where there are no choosers.
    weight : array, shape (situation,)
    times : array, shape (unit,)
        How often a unit counts.
    units : int
        Number of units.
    step, reach : float
        Step of the trapezoid rule in each random coefficient's standard normal draw, and how
        far its nodes reach.
    """

    values: jax.Array
    chosen: jax.Array
    available: jax.Array
    cell: jax.Array
    unit: jax.Array
    weight: jax.Array
    times: jax.Array
    units: int = field(metadata={"static": True})
    step: float = field(metadata={"static": True})
    reach: float = field(metadata={"static": True})
    how: str = field(metadata={"static": True})

    def log_choice(self, coefficients: list[jax.Array]) -> jax.Array:
        """Log probability of the choices, shape (situation, node).

        ``coefficients`` holds for each attribute an array (situation, node).
        """
        utility = reduce(
            jnp.add,
            (self.values[:, None, :, a] * beta[:, :, None] for a, beta in enumerate(coefficients)),
        )
        return log_choice(
            utility,
            jnp.broadcast_to(self.chosen[:, None], utility.shape[:2]),
            self.available[:, None, :],
        )

    def nodes(self, laws: tuple[CellLaws, ...]) -> tuple[list[np.ndarray], np.ndarray]:
        """Draw of every attribute at the nodes of the product rule, and the log weights."""
        z, log_weight = normal_nodes(self.step, self.reach)
        random = [a for a, law in enumerate(laws) if law.family.varies]
        grids = np.meshgrid(*([z] * len(random)), indexing="ij")
        weights = np.meshgrid(*([log_weight] * len(random)), indexing="ij")
        total = np.sum([w.ravel() for w in weights], axis=0) if random else np.zeros(1)
        size = len(total)
        draws = [
            grids[random.index(a)].ravel() if a in random else np.zeros(size)
            for a in range(len(laws))
        ]
        return draws, total

    def by_node(self, laws: tuple[CellLaws, ...]) -> tuple[jax.Array, np.ndarray]:
        """Log-likelihood of each unit at the nodes, shape (unit, node), and the log weights."""
        draws, log_weight = self.nodes(laws)
        coefficients = [law.at(z)[self.cell] for law, z in zip(laws, draws, strict=True)]
        values = self.weight[:, None] * self.log_choice(coefficients)
        return jax.ops.segment_sum(values, self.unit, num_segments=self.units), log_weight

    @jax.jit
    def by_unit(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of each unit."""
        values, log_weight = self.by_node(laws)
        return jax.scipy.special.logsumexp(values + log_weight, axis=-1)

    def total(self, level: Any) -> jax.Array:
        """Log-likelihood of all data under one draw of the population level."""
        return self.times @ self.by_unit(level.laws)


def direct_likelihood(
    data: LikelihoodData,
    families: tuple[type[Mixing], ...],
    dispersions: tuple[float, ...] | None = None,
    refine: int = 0,
) -> DirectLikelihood:
    """Quadrature for a model on given data.

    Parameters
    ----------
    data : LikelihoodData
    families : tuple of type
        Family of each attribute's coefficient.
    dispersions : tuple of float, optional
        Largest dispersion of each coefficient to be resolved; 1 (in units of 1/scale for
        Normal) when left out.
    refine : int
        How many times nodes are to be doubled beyond the default.

    Raises
    ------
    NotIntegrableError
        If there are more than two random attributes, or too many evaluations.
    """
    data.refuse_errors()
    if dispersions is None:
        dispersions = tuple(
            1.0 if family.positive else 1.0 / scale
            for family, scale in zip(families, data.scales, strict=True)
        )
    random = sum(family.varies for family in families)
    per_unit = np.bincount(data.unit, weights=data.weight if data.panel else None).max()
    relative = max(
        d if family.positive else d * scale
        for d, family, scale in zip(dispersions, families, data.scales, strict=True)
    )
    # 0.2: information on log strength that a choice holds where it holds much.
    step = min(0.5, 1.1 / np.sqrt(1 + 0.2 * per_unit * relative**2)) / 2**refine
    reach = 8.0 + 4.0 * refine
    nodes = len(normal_nodes(step, reach)[0]) ** random
    size = float(np.prod(data.values.shape[:2])) * nodes
    if random > 2 or size > _LIMIT:
        raise NotIntegrableError(
            "Integrating the coefficients out expects at most two random attributes and a "
            f"moderate size; got {random} random attributes and {len(data.chosen)} situations. "
            "Make some attributes PointMass(), or sample the choosers: `method='latent'`, or "
            "`method='svi'` for many."
        )
    how = f"not compressed: {nodes} quadrature nodes for every situation"
    return _on(data, step, reach, how)


def _on(data: LikelihoodData, step: float, reach: float, how: str) -> DirectLikelihood:
    return DirectLikelihood(
        values=jnp.asarray(data.values),
        chosen=jnp.asarray(data.chosen),
        available=jnp.asarray(data.available),
        cell=jnp.asarray(data.cell),
        unit=jnp.asarray(data.unit),
        # A situation of somebody's own counts as often as its weight says; it is not answered
        # several times by one person.
        weight=jnp.asarray(data.weight if data.panel else np.ones_like(data.weight)),
        times=jnp.asarray(data.times, float),
        units=data.units,
        step=float(step),
        reach=float(reach),
        how=how,
    )


def direct_error(
    likelihood: DirectLikelihood,
    data: LikelihoodData,
    laws: list[tuple[CellLaws, ...]],
    sample: int = 48,
) -> float:
    """Error of the total log-likelihood in nats, the worst of the given mixing distributions.

    Twice the nodes, and twice the reach, for units with most situations and the largest
    attributes, and for a random sample whose mean stands for the rest.
    """
    nodes = len(likelihood.nodes(laws[0])[1]) * 4
    per_unit = nodes * data.values.shape[1] * len(data.unit) / data.units
    chosen, special = telling_units(data, len(laws))
    chosen = chosen[: special + int(np.clip(1e7 / per_unit, 8, sample))]
    part = data.take(chosen)
    step, reach = likelihood.step, likelihood.reach
    worst = 0.0
    for law in laws:
        found, finer, wider = (
            np.asarray(_on(part, *nodes, "").by_unit(law))
            for nodes in ((step, reach), (step / 2, reach), (step, 2 * reach))
        )
        error = (np.abs(finer - found) + np.abs(wider - found)) * part.times
        rest = error[special:].mean() * (data.units - special) if len(chosen) > special else 0.0
        worst = max(worst, float(error[:special].sum() + rest))
    return worst
