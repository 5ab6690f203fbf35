"""NUTS on population and choosers together: the reference, for any model and any response."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.responses.base import PairResponse, SetResponse
from prefstrength.inference.mode import Mode
from prefstrength.inference.nuts import nuts_sample
from prefstrength.inference.population import Level, Population
from prefstrength.inference.problem import Problem
from prefstrength.inference.sampled import Options
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.mixed import JAX
from prefstrength.likelihood.sources import Reading, with_lapse
from prefstrength.likelihood.true_differences import TINY

__all__ = ["CHOOSER_SAMPLES", "every_kth", "latent_sample", "tastes"]

#: Most draws that are kept of every chooser, over all chains.
CHOOSER_SAMPLES = 400


def every_kth(chains: int, draws: int, keep: int) -> slice:
    """Draws of each chain to be kept, so that at most ``keep`` remain in all."""
    return slice(None, None, max(1, -(-chains * draws // max(keep, 1))))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LatentChoosers:
    """Log density of the answers and of everything about choosers and pairs that is sampled.

    That are standard Normal draws z: one for each chooser, random attribute and kind of choosers;
    one for a chooser's own position effect; one for the effect of each pair. Which kind a chooser
    is of is summed over.
    """

    z: jax.Array  # (number,)
    values: jax.Array  # (situation, alternative, attribute)
    answers: jax.Array  # (situation, …)
    available: jax.Array  # (situation, alternative)
    shown_first: jax.Array  # (situation,)
    weight: jax.Array  # (situation,)
    times: jax.Array  # (unit,)
    cell: jax.Array  # (situation,)
    unit: jax.Array  # (situation,)
    pair: jax.Array  # (situation,), empty without effects of pairs
    scale: jax.Array
    #: Log probability of the answers at a strength each, where the differences have errors.
    measured: Any
    reading: Reading = field(metadata={"static": True})
    units: int = field(metadata={"static": True})
    pairs: int = field(metadata={"static": True})
    draws: int = field(metadata={"static": True})  # of z for each unit
    how: str = field(default="latent choosers, nothing integrated", metadata={"static": True})

    @classmethod
    def of(cls, data: LikelihoodData, reading: Reading, population: Population) -> "LatentChoosers":
        """With every draw at 0."""
        own = sum(family.varies for kinds in population.kinds.values() for family in kinds.families)
        draws = own + (reading.position == "chooser")
        pairs = int(data.pair.max()) + 1 if reading.pair_effects else 0
        # With errors in the rewards the true differences are integrated out, given each strength.
        errors = None if data.truth is None else _measured(data)
        arrays = {
            name: jnp.asarray(getattr(data, name))
            for name in ("values", "answers", "available", "shown_first", "weight", "cell", "unit")
        }
        return cls(
            z=jnp.zeros(data.units * draws + pairs),
            times=jnp.asarray(data.times, float),
            pair=jnp.asarray(data.pair if pairs else np.zeros(0, int)),
            scale=jnp.asarray(data.scales[0]),
            measured=errors,
            reading=reading,
            units=data.units,
            pairs=pairs,
            draws=draws,
            **arrays,
        )

    def at(self, z: jax.Array) -> "LatentChoosers":
        """The same at other draws (number,)."""
        return replace(self, z=z)

    def total(self, level: Level) -> jax.Array:
        """Of all answers and draws."""
        of_units = self.z[: self.units * self.draws].reshape(self.units, self.draws)
        of_pairs = self.z[self.units * self.draws :]
        offset = jnp.zeros(len(self.unit))
        if self.reading.position is not None:
            own = level.shared["position"]
            if self.reading.position == "chooser":
                own = own + (level.shared["position_sd"] * of_units[:, -1])[self.unit]
            offset = offset + own * self.shown_first
        if self.pairs:
            offset = offset + (level.shared["pair_sd"] * of_pairs)[self.pair]
        kinds, column = [], 0
        coefficients = []
        for laws in level.kinds:
            own_kinds = []
            for law in laws:
                random = law.dispersion is not None
                z = of_units[:, column] if random else jnp.zeros(self.units)
                own_kinds.append(law.tastes(z)[self.unit, self.cell])
                column += random
            coefficients.append(own_kinds)
        first = coefficients[0] + ([jnp.zeros(len(self.unit))] if self._zero(level) else [])
        for strength in first:
            each = self._log_probability(
                [strength, *(c[0] for c in coefficients[1:])], offset, level.shared
            )
            kinds.append(jax.ops.segment_sum(self.weight * each, self.unit, self.units))
        found = kinds[0]
        if len(kinds) > 1:
            share = level.log_shares[0][:, None]
            found = jax.scipy.special.logsumexp(jnp.stack(kinds) + share, axis=0)
        return self.times @ found - (self.z**2).sum() / 2

    def _zero(self, level: Level) -> bool:
        return len(level.log_shares[0]) > len(level.kinds[0])

    def _log_probability(
        self, coefficients: list[jax.Array], offset: jax.Array, shared: dict[str, Any]
    ) -> jax.Array:
        """Log probability of every answer (situation,)."""
        if self.measured is not None:
            return self.measured(coefficients[0])
        response = self.reading.response
        if isinstance(response, SetResponse):
            utility = sum(
                (b[:, None] * self.values[:, :, a] for a, b in enumerate(coefficients)),
                jnp.zeros(self.values.shape[:2]),
            )
            utility = jnp.where(self.available, utility, -jnp.inf)
            return response.log_likelihood(JAX, utility, self.answers, shared)
        x = self.values[:, 0, :] - self.values[:, 1, :]
        size = jnp.abs(x[:, 0]) / self.scale
        bent = self.scale * self.reading.utility.bent(JAX, size, shared)
        v = offset + coefficients[0] * jnp.sign(x[:, 0]) * bent
        for a, b in enumerate(coefficients[1:], 1):
            v = v + b * x[:, a]
        assert isinstance(response, PairResponse)
        found = response.log_probabilities(JAX, v, shared)
        out = found[0]
        for answer in range(1, len(found)):
            out = jnp.where(self.answers == answer, found[answer], out)
        if "lapse" in shared:
            out = with_lapse(JAX, out, shared["lapse"], len(found))
        return out


def _measured(data: LikelihoodData) -> Any:
    """Log probability of the answers as a function of one strength for each, and a pytree."""
    assert data.truth is not None
    log_share, mean, sd = (jnp.asarray(v) for v in data.truth.given(data.differences(), data.cell))
    # A component without a share adds nothing: not -inf, whose gradient is NaN.
    return jax.tree_util.Partial(_log_measured, jnp.maximum(log_share, -1e4), mean, sd + TINY)


def _log_measured(
    log_share: jax.Array, mean: jax.Array, sd: jax.Array, beta: jax.Array
) -> jax.Array:
    parts = log_probability(JAX, jnp.broadcast_to(beta, mean.shape), Normal(mu=mean, sigma=sd))
    return jax.scipy.special.logsumexp(log_share + parts, axis=0)


def latent_sample(
    population: Population,
    data: LikelihoodData,
    reading: Reading,
    mode: Mode | None,
    options: Options,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Sample every chooser's draw z (non-centred) beside the population level.

    Parameters
    ----------
    mode : Mode or None
        Where chains start, on the population level; around the priors' medians without one, as
        with choosers at their centres the mode of their spreads is 0, and says nothing.

    Returns
    -------
    variables, statistics : dict
        Each (chain, draw, …); ``_chooser_draws`` (chain, kept draw, chooser, draw of z), of
        :func:`every_kth` draw, as choosers are many.
    """
    latent = LatentChoosers.of(data, reading, population)
    problem = Problem(population, latent)
    if mode is None:
        mode = Mode(problem.start, np.eye(problem.size))
    chains, draws = options.chains, options.draws
    kept = every_kth(chains, draws, CHOOSER_SAMPLES)
    run = nuts_sample(
        problem, mode, draws, options.warmup, chains, options.seed, options.progress, kept
    )
    variables = {
        name: value.reshape(chains, draws, *value.shape[1:])
        for name, value in problem.constrain(run.flat.reshape(-1, problem.size)).items()
    }
    own = run.latent[:, :, : data.units * latent.draws]
    variables["_chooser_draws"] = own.reshape(*own.shape[:2], data.units, latent.draws)
    return variables, run.statistics


def tastes(laws: tuple[CellLaws, ...], z: jax.Array) -> list[jax.Array]:
    """Coefficient of every attribute in every cell (…, cell), at draws z (…, random attribute)."""
    out, column = [], 0
    for law in laws:
        random = law.dispersion is not None
        out.append(law.tastes(z[..., column] if random else jnp.zeros(z.shape[:-1])))
        column += random
    return out
