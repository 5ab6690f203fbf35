"""The likelihood evaluated situation by situation: any model, any number of alternatives.

The reference that the summaries of :mod:`prefstrength.likelihood.panels` are checked against, and
the way for models that cannot be compressed (several attributes, more than two alternatives).
"""

from dataclasses import dataclass, field
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from prefstrength.choice.logit import log_choice
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.nodes import normal_nodes

__all__ = ["DirectLikelihood"]


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

    def total(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Log-likelihood of all data."""
        return jnp.sum(self.by_unit(laws))
