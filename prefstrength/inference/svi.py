"""Stochastic variational inference by mini-batches of choosers: many random attributes."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.scipy.special import ndtri
from jax.scipy.stats import norm
from numpyro import handlers
from numpyro.distributions import constraints
from numpyro.infer import SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal
from numpyro.infer.initialization import init_to_median
from numpyro.optim import Adam
from scipy.stats import qmc
from tqdm.auto import tqdm

from prefstrength.choice.logit import log_choice
from prefstrength.errors import InputError
from prefstrength.inference.latent import CHOOSER_SAMPLES, every_kth, tastes
from prefstrength.inference.population import Population
from prefstrength.inference.population_program import sample
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData

__all__ = ["svi_sample"]

_BATCH = 256
_STEPS = 4000
_CHUNK = 500
_RATES = (0.03, 0.0003)  # of Adam, falling geometrically from the first step to the last
# Points at which a chooser's draw is integrated: from its proposal, and from the mixing
# distribution itself so that no weight is unbounded; fewer for one draw out of them. Powers of two,
# for Sobol's points.
_OWN, _LAW = 16, 4
_FEW = 8, 2
# Numbers in the padded panels above which choosers are too unequal to be stacked.
_LARGEST = 2e8
# Choosers whose points are weighed at once.
_AT_ONCE = 1024

Panels = dict[str, jax.Array]


def svi_sample(
    population: Population,
    data: LikelihoodData,
    draws: int,
    chains: int,
    seed: int,
    progress: bool,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fit a Gaussian to the population level by maximising the evidence lower bound.

    The likelihood of a chooser is integrated over the chooser's draw by importance sampling, at
    quasi-random points anew in every step, so that it is unbiased and nearly free of noise. The
    proposal stands for the chooser's choices by a Gaussian likelihood of each coefficient (its
    logarithm, under a LogNormal law), whose centre and width are fitted along the way, and
    conditions it on the population level. A step sees 256 choosers.

    Returns
    -------
    variables : dict
        Each (chain, draw, …), independent draws of the fitted Gaussian; of choosers as
        :func:`~prefstrength.inference.latent.latent_sample` gives them.
    diagnostics : dict
        ``elbo``: the mean bound over the last tenth of the steps, in nats; ``elbo_change``: how
        far it still moved over the tenth before, relative to its noise.

    Notes
    -----
    What is approximated is the shape of the posterior of the population level, Gaussian with a
    full covariance where its variables are unconstrained, and nothing about choosers.

    References
    ----------
    .. [1] Hoffman, Blei, Wang, Paisley (2013), Stochastic variational inference, JMLR 14.
    .. [2] Burda, Grosse, Salakhutdinov (2016), Importance weighted autoencoders, ICLR.
    .. [3] Hesterberg (1995), Weighted average importance sampling and defensive mixture
       distributions, Technometrics 37.
    """
    families = [kinds.families[0] for kinds in population.kinds.values()]
    panels = _stacked(data)
    random = [a for a, family in enumerate(families) if family.varies]
    positive = np.array([families[a].positive for a in random], dtype=bool)
    scale = np.array([data.scales[a] for a in random])
    starts = jnp.asarray(np.where(positive, -np.log(scale), 0.0))
    units = jnp.asarray(np.where(positive, 1.0, 1.0 / scale))
    points = _Points.of(_OWN, _LAW, len(random))
    batch = min(_BATCH, data.units)

    def model(panels: Panels) -> None:
        laws = sample(population).laws
        centre = numpyro.param("chooser_centre", jnp.tile(starts, (data.units, 1)))
        width = numpyro.param(
            "chooser_width", jnp.tile(units, (data.units, 1)), constraint=constraints.positive
        )
        with numpyro.plate("choosers", data.units, subsample_size=batch) as index:
            own = {name: values[index] for name, values in panels.items()}
            held = jax.lax.stop_gradient
            key = numpyro.prng_key()
            # The population level through the integral, the proposals through their own bound.
            at = points.at(key, *_conditional(laws, own, held(centre[index]), held(width[index])))
            value = jax.nn.logsumexp(at.log_weights(laws, own), axis=-1) - np.log(points.count)
            still = held(laws)
            at = points.at(key, *_conditional(still, own, centre[index], width[index]))
            bound = at.bound(still, own)
            numpyro.factor("choices", value + bound - held(bound))

    def only_population(panels: Panels) -> None:
        sample(population)

    guide = AutoMultivariateNormal(
        only_population, init_loc_fn=init_to_median(num_samples=25), init_scale=0.05
    )
    first, last = _RATES
    decay = (last / first) ** (1 / _STEPS)
    svi = SVI(model, guide, Adam(lambda step: first * decay**step), Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(seed), panels)

    @jax.jit
    def advance(state: Any, panels: Panels) -> tuple[Any, jax.Array]:
        return jax.lax.scan(lambda s, _: svi.update(s, panels), state, length=_CHUNK)

    losses = []
    for _ in tqdm(range(_STEPS // _CHUNK), desc="SVI", unit_scale=_CHUNK, disable=not progress):
        state, loss = advance(state, panels)
        losses.append(np.asarray(loss))
    bound = -np.concatenate(losses)
    params = svi.get_params(state)
    return _drawn(population, guide, params, panels, draws, chains, seed), _moved(bound)


@dataclass(frozen=True)
class _Points:
    """Sobol's points in the unit cube: ``own`` for the proposal, ``law`` for N(0, 1) itself."""

    own: np.ndarray
    law: np.ndarray

    @classmethod
    def of(cls, own: int, law: int, dimensions: int) -> "_Points":
        if not dimensions:  # nothing to integrate
            return cls(np.empty((1, 0)), np.empty((0, 0)))
        sobol = [qmc.Sobol(dimensions, scramble=False).random(n) + 0.5 / n for n in (own, law)]
        return cls(*sobol)

    @property
    def count(self) -> int:
        return len(self.own) + len(self.law)

    def at(self, key: jax.Array, mean: jax.Array, sd: jax.Array) -> "_Draws":
        """Draws for every chooser, each with a random shift of the cube of its own."""
        shifts = jax.random.uniform(key, (2, *mean.shape[:-1], 1, mean.shape[-1]))
        own, law = (
            # Away from 0 and 1, where the quantile is infinite.
            ndtri(jnp.clip((cube + shift) % 1.0, 1e-12, 1 - 1e-12))
            for cube, shift in zip((self.own, self.law), shifts, strict=True)
        )
        own = mean[..., None, :] + sd[..., None, :] * own
        z = jnp.concatenate([own, law], axis=-2)
        return _Draws(z, mean[..., None, :], sd[..., None, :], len(self.own))


@dataclass(frozen=True)
class _Draws:
    """Draws (chooser, point, random attribute), the first ``own`` points from the proposal."""

    z: jax.Array
    mean: jax.Array
    sd: jax.Array
    own: int

    def log_joint(self, laws: tuple[CellLaws, ...], own: Panels) -> jax.Array:
        """Log density of draw and choices (chooser, point)."""
        utility = jnp.zeros((*self.z.shape[:-1], *own["values"].shape[-3:-1]))
        cell = own["cell"][..., None, :]
        for a, taste in enumerate(tastes(laws, self.z)):
            here = jnp.take_along_axis(taste, cell, axis=-1)
            utility = utility + here[..., None] * own["values"][..., None, :, :, a]
        chosen, available = own["chosen"][..., None, :], own["available"][..., None, :, :]
        chosen = jnp.broadcast_to(chosen, utility.shape[:-1])
        log_p = log_choice(utility, chosen, jnp.broadcast_to(available, utility.shape))
        of_choices = (own["weight"][..., None, :] * log_p).sum(-1)
        return norm.logpdf(self.z).sum(-1) + of_choices

    def log_proposal(self) -> jax.Array:
        return norm.logpdf(self.z, self.mean, self.sd).sum(-1)

    def log_weights(self, laws: tuple[CellLaws, ...], own: Panels) -> jax.Array:
        """Log of joint density over the density of all points together."""
        share = self.own / self.z.shape[-2]
        log_law = norm.logpdf(self.z).sum(-1)
        mixture = self.log_proposal() + np.log(share)
        if share < 1:
            mixture = jnp.logaddexp(mixture, log_law + np.log1p(-share))
        return self.log_joint(laws, own) - mixture

    def bound(self, laws: tuple[CellLaws, ...], own: Panels) -> jax.Array:
        """Evidence lower bound of the proposal (chooser,)."""
        part = _Draws(self.z[..., : self.own, :], self.mean, self.sd, self.own)
        return (part.log_joint(laws, own) - part.log_proposal()).mean(-1)


def _stacked(data: LikelihoodData) -> dict[str, jax.Array]:
    """Panels filled up to one length (chooser, situation, …), what is added having weight 0."""
    order = np.argsort(data.unit, kind="stable")
    sizes = np.bincount(data.unit, minlength=data.units)
    length = int(sizes.max())
    if data.units * length * np.prod(data.values.shape[1:]) > _LARGEST:
        raise InputError(
            "Mini-batches of choosers expect panels of similar length; got one of "
            f"{length} situations among {data.units} choosers. "
            "Use `method='nuts'`, or leave out most situations of the longest panels."
        )
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = (data.unit[order], place)

    def fill(values: np.ndarray, empty: Any) -> jax.Array:
        full = np.full((data.units, length, *values.shape[1:]), empty, dtype=values.dtype)
        full[at] = values[order]
        return jnp.asarray(full)

    return {
        "values": fill(data.values, 0.0),
        "chosen": fill(data.chosen, 0),
        "available": fill(data.available, True),
        "weight": fill(data.weight, 0.0),
        "cell": fill(data.cell, 0),
    }


def _drawn(
    population: Population,
    guide: AutoMultivariateNormal,
    params: dict[str, jax.Array],
    panels: Panels,
    draws: int,
    chains: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Draws of the fitted Gaussian, and for some of them one draw for every chooser."""
    key, other = jax.random.split(jax.random.PRNGKey(seed + 1))
    found = dict(guide.sample_posterior(key, params, sample_shape=(chains * draws,)))
    found.update(Predictive(partial(sample, population), posterior_samples=found)(key))
    centre, width = params["chooser_centre"], params["chooser_width"]
    points = _Points.of(*_FEW, centre.shape[-1])

    @jax.jit
    def of_choosers(values: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        with handlers.block(), handlers.substitute(data=values):
            laws = sample(population).laws

        def one(chooser: tuple[Panels, jax.Array, jax.Array, jax.Array]) -> jax.Array:
            own, centre, width, key = chooser
            first, second = jax.random.split(key)
            at = points.at(first, *_conditional(laws, own, centre, width))
            return at.z[jax.random.categorical(second, at.log_weights(laws, own))]

        each = jax.random.split(key, len(centre))
        return jax.lax.map(one, (panels, centre, width, each), batch_size=_AT_ONCE)

    out = {name: np.asarray(v).reshape(chains, draws, *v.shape[1:]) for name, v in found.items()}
    # Only of the draws that are kept: choosers may be a million.
    kept = every_kth(chains, draws, CHOOSER_SAMPLES)
    some = {n: jnp.asarray(v[:, kept].reshape(-1, *v.shape[2:])) for n, v in out.items()}
    keys = jax.random.split(other, len(next(iter(some.values()))))
    z = np.asarray(jax.lax.map(lambda both: of_choosers(*both), (some, keys)))
    out["_chooser_draws"] = z.reshape(chains, len(keys) // chains, *z.shape[1:])
    return out


def _conditional(
    laws: tuple[CellLaws, ...], own: dict[str, jax.Array], centre: jax.Array, width: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean and sd (chooser, random attribute) of draws given laws and Gaussian likelihoods."""
    share = own["weight"] / own["weight"].sum(axis=-1, keepdims=True)

    def mean_over_situations(of_cells: list[jax.Array]) -> jax.Array:
        return jnp.stack([(share * values[own["cell"]]).sum(-1) for values in of_cells], -1)

    random = [(law.location, law.dispersion) for law in laws if law.dispersion is not None]
    if not random:
        return centre, width
    location = mean_over_situations([at for at, _ in random])
    spread = mean_over_situations([spread for _, spread in random])
    precision = 1 + (spread / width) ** 2
    return spread * (centre - location) / (width**2 * precision), precision**-0.5


def _moved(bound: np.ndarray) -> dict[str, Any]:
    tenth = len(bound) // 10
    last, before = bound[-tenth:], bound[-2 * tenth : -tenth]
    noise = np.sqrt(last.var() / tenth + before.var() / tenth)
    change = abs(float(last.mean() - before.mean())) / max(float(noise), 1e-12)
    return {"elbo": float(last.mean()), "elbo_change": change}
