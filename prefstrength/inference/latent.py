"""NUTS on population and choosers together: the reference, for any model."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

from prefstrength.choice.logit import log_choice
from prefstrength.choice.mixing.base import Mixing
from prefstrength.inference.mode import Mode
from prefstrength.inference.nuts import nuts_sample
from prefstrength.inference.population import Population
from prefstrength.inference.prepare import prepare
from prefstrength.inference.problem import Problem
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError

__all__ = ["CHOOSER_SAMPLES", "every_kth", "latent_sample", "tastes"]

#: Most draws that are kept of every chooser, over all chains.
CHOOSER_SAMPLES = 400


def every_kth(chains: int, draws: int, keep: int) -> slice:
    """Draws of each chain to be kept, so that at most ``keep`` remain in all."""
    return slice(None, None, max(1, -(-chains * draws // max(keep, 1))))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LatentChoosers:
    """Log density of the choices and of every chooser's standard Normal draw z."""

    z: jax.Array  # (unit, random attribute)
    values: jax.Array  # (situation, alternative, attribute)
    chosen: jax.Array  # (situation,)
    available: jax.Array  # (situation, alternative)
    weight: jax.Array  # (situation,)
    cell: jax.Array  # (situation,)
    unit: jax.Array  # (situation,)
    #: Log probability of the choices at a strength each, where the differences have errors.
    measured: Callable[[jax.Array], jax.Array] | None = None

    how: str = field(default="latent choosers, nothing integrated", metadata={"static": True})

    @classmethod
    def of(cls, data: LikelihoodData, families: tuple[type[Mixing], ...]) -> "LatentChoosers":
        """With every chooser's draw at 0."""
        random = sum(family.varies for family in families)
        # With errors in the rewards the true differences are integrated out, given each strength.
        errors = None if data.truth is None else data.truth.in_jax(data.differences(), data.cell)
        arrays = {
            name: jnp.asarray(getattr(data, name))
            for name in ("values", "chosen", "available", "weight", "cell", "unit")
        }
        return cls(z=jnp.zeros((data.units, random)), measured=errors, **arrays)

    def at(self, z: jax.Array) -> "LatentChoosers":
        """The same at other draws (unit * random attribute,)."""
        return replace(self, z=z.reshape(self.z.shape))

    def total(self, laws: tuple[CellLaws, ...]) -> jax.Array:
        """Of all choices and draws."""
        of_draws = -(self.z**2).sum() / 2
        if self.measured is not None:
            (taste,) = tastes(laws, self.z)
            return of_draws + self.weight @ self.measured(taste[self.unit, self.cell])
        utility = jnp.zeros(self.values.shape[:2])
        for a, taste in enumerate(tastes(laws, self.z)):
            utility = utility + taste[self.unit, self.cell][:, None] * self.values[:, :, a]
        return of_draws + self.weight @ log_choice(utility, self.chosen, self.available)


def latent_sample(
    population: Population,
    data: LikelihoodData,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
    progress: bool,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Sample every chooser's draw z (non-centred) beside the population level.

    Chains start around the mode of the population level where the choosers can be integrated
    out, else around the priors' medians.

    Returns
    -------
    variables, statistics : dict
        Each (chain, draw, …); ``_chooser_draws`` (chain, kept draw, chooser, random attribute),
        of :func:`every_kth` draw, as choosers are many.
    """
    families = tuple(population.families.values())
    mode = _warm(population, data, families)
    latent = LatentChoosers.of(data, families)
    problem = Problem(population, latent)
    kept = every_kth(chains, draws, CHOOSER_SAMPLES)
    run = nuts_sample(problem, mode, draws, warmup, chains, seed, progress, kept)
    variables = {
        name: value.reshape(chains, draws, *value.shape[1:])
        for name, value in problem.constrain(run.flat.reshape(-1, problem.size)).items()
    }
    variables["_chooser_draws"] = run.latent.reshape(*run.latent.shape[:2], *latent.z.shape)
    return variables, run.statistics


def _warm(population: Population, data: LikelihoodData, families: tuple[type[Mixing], ...]) -> Mode:
    """Where chains start and how far apart, on the population level."""
    try:
        return prepare(population, data, families).mode
    except NotIntegrableError:
        # Choosers at their centres: the mode of their spreads is 0, and says nothing.
        problem = Problem(population, LatentChoosers.of(data, families))
        return Mode(problem.start, np.eye(problem.size))


def tastes(laws: tuple[CellLaws, ...], z: jax.Array) -> list[jax.Array]:
    """Coefficient of every attribute in every cell (…, cell), at draws z (…, random attribute)."""
    out, column = [], 0
    for law in laws:
        random = law.dispersion is not None
        out.append(law.tastes(z[..., column] if random else jnp.zeros(z.shape[:-1])))
        column += random
    return out
