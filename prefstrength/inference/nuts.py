"""NUTS on the population level, the coefficients being integrated out."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

from prefstrength.inference.mode import Mode
from prefstrength.inference.problem import Problem

__all__ = ["STATISTICS", "ChainDraws", "nuts_sample", "sample_statistics"]

#: NumPyro's fields and the names that ArviZ gives them.
STATISTICS = {
    "diverging": "diverging",
    "energy": "energy",
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "adapt_state.step_size": "step_size",
}


@dataclass(frozen=True)
class ChainDraws:
    """Draws (chain, draw, parameter) and the sampler's statistics, each (chain, draw)."""

    flat: np.ndarray
    statistics: dict[str, np.ndarray]


def nuts_sample(
    problem: Problem, mode: Mode, draws: int, warmup: int, chains: int, seed: int, progress: bool
) -> ChainDraws:
    """Run NUTS from around the mode, in the metric of the curvature there.

    Chains advance together in one compiled program, so that it is compiled once for all.
    """
    rng = np.random.default_rng(seed)
    factor = np.linalg.cholesky(mode.covariance)
    start = mode.at + rng.standard_normal((chains, problem.size)) @ factor.T
    kernel = NUTS(
        potential_fn=_one_chain_at_a_time(problem),
        inverse_mass_matrix=jnp.asarray(mode.covariance),
        dense_mass=True,
        target_accept_prob=0.95,
    )
    sampler = MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=progress,
    )
    first = jnp.asarray(start if chains > 1 else start[0])
    sampler.run(jax.random.PRNGKey(seed), init_params=first, extra_fields=tuple(STATISTICS))
    flat = np.asarray(sampler.get_samples(group_by_chain=True))
    return ChainDraws(flat, sample_statistics(sampler))


def _one_chain_at_a_time(problem: Problem) -> Callable[[jax.Array], jax.Array]:
    """The potential, evaluated for one chain after another when chains are vectorised.

    The products of a panel table batch badly over chains: measured, four chains together cost
    seven to thirty times one chain.
    """

    @jax.custom_batching.sequential_vmap
    def both(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(problem.potential)(flat)

    @jax.custom_vjp
    def potential(flat: jax.Array) -> jax.Array:
        return both(flat)[0]

    potential.defvjp(both, lambda gradient, cotangent: (cotangent * gradient,))
    return potential


def sample_statistics(sampler: MCMC) -> dict[str, np.ndarray]:
    """Statistics of a finished run under ArviZ's names, with the tree depth."""
    fields = sampler.get_extra_fields(group_by_chain=True)
    statistics = {ours: np.asarray(fields[theirs]) for theirs, ours in STATISTICS.items()}
    statistics["tree_depth"] = np.ceil(np.log2(statistics["n_steps"] + 1)).astype(int)
    return statistics
