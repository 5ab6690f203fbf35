"""NUTS on population and choosers together: the reference, for any model."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS, init_to_median

from prefstrength.inference.nuts import STATISTICS, sample_statistics
from prefstrength.likelihood import LikelihoodData
from prefstrength.logit import log_choice
from prefstrength.mixing import PointMass
from prefstrength.models import Population
from prefstrength.quantiles import CellLaws

__all__ = ["CHOOSER_SAMPLES", "every_kth", "latent_sample", "tastes"]

#: Most draws that are kept of every chooser, over all chains.
CHOOSER_SAMPLES = 400


def every_kth(chains: int, draws: int, keep: int) -> slice:
    """Draws of each chain to be kept, so that at most ``keep`` remain in all."""
    return slice(None, None, max(1, -(-chains * draws // max(keep, 1))))


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

    Returns
    -------
    variables, statistics : dict
        Each (chain, draw, …); ``_chooser_draws`` (chain, kept draw, chooser, random attribute),
        of :func:`every_kth` draw, as choosers are many.
    """
    families = list(population.families.values())
    random = [a for a, family in enumerate(families) if family is not PointMass]
    values, chosen = jnp.asarray(data.values), jnp.asarray(data.chosen)
    available, weight = jnp.asarray(data.available), jnp.asarray(data.weight)
    cell, unit = jnp.asarray(data.cell), jnp.asarray(data.unit)
    # With errors in the rewards the true differences are integrated out, given each strength.
    measured = None if data.truth is None else data.truth.in_jax(data.differences(), data.cell)

    def model() -> None:
        laws = population.sample()
        z = numpyro.sample(
            "_chooser_draws", dist.Normal(0.0, 1.0).expand([data.units, len(random)]).to_event(2)
        )
        if measured is not None:
            (taste,) = tastes(laws, z)
            numpyro.factor("choices", weight @ measured(taste[unit, cell]))
            return
        utility = jnp.zeros(values.shape[:2])
        for a, taste in enumerate(tastes(laws, z)):
            utility = utility + taste[unit, cell][:, None] * values[:, :, a]
        numpyro.factor("choices", weight @ log_choice(utility, chosen, available))

    sampler = MCMC(
        NUTS(model, target_accept_prob=0.9, init_strategy=init_to_median(num_samples=25)),
        num_warmup=warmup,
        num_samples=draws,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=progress,
    )
    sampler.run(jax.random.PRNGKey(seed), extra_fields=tuple(STATISTICS))
    samples = dict(sampler.get_samples(group_by_chain=True))
    kept = every_kth(chains, draws, CHOOSER_SAMPLES)
    samples["_chooser_draws"] = samples["_chooser_draws"][:, kept]
    return {k: np.asarray(v) for k, v in samples.items()}, sample_statistics(sampler)


def tastes(laws: tuple[CellLaws, ...], z: jax.Array) -> list[jax.Array]:
    """Coefficient of every attribute in every cell (…, cell), at draws z (…, random attribute)."""
    out, column = [], 0
    for law in laws:
        random = law.dispersion is not None
        out.append(law.tastes(z[..., column] if random else jnp.zeros(z.shape[:-1])))
        column += random
    return out
