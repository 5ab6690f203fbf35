"""NUTS on the population level, the coefficients being integrated out."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import NUTS
from numpyro.infer.hmc import HMCState
from tqdm.auto import tqdm

from prefstrength.inference.mode import Mode, not_ruled_out
from prefstrength.inference.problem import Problem, Structure, potential

__all__ = ["ChainDraws", "advance", "first_state", "nuts_sample"]

_TARGET = 0.95
#: Where the round coordinates have their centre, and the factor of the covariance there.
Place = tuple[jax.Array, jax.Array]
# Transitions between two looks at the progress bar and at an interruption.
_CHUNK = 50


@dataclass(frozen=True)
class ChainDraws:
    """Draws (chain, draw, parameter) and the sampler's statistics, each (chain, draw).

    ``latent`` (chain, kept draw, number) are draws of what the likelihood leaves to be sampled.
    """

    flat: np.ndarray
    statistics: dict[str, np.ndarray]
    latent: np.ndarray


def nuts_sample(
    problem: Problem,
    mode: Mode,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
    progress: bool,
    kept: slice = slice(0),
) -> ChainDraws:
    """Run NUTS from around the mode, in coordinates that the curvature there makes round.

    In these a scale for each direction is learned. A whole covariance would have to be learned
    from fewer draws than it has rows, once there are a dozen groups. Numbers that the likelihood
    leaves to be sampled, such as those of latent choosers, are standard Normal a priori, and
    round as they are.

    One program is compiled for a structure of models and shapes of data, and runs the chains on
    as many threads as there are cores.

    Parameters
    ----------
    problem, mode
    draws, warmup, chains, seed, progress
    kept : slice
        Draws of a chain of which the likelihood's own numbers are kept, with a step.
    """
    factor = np.linalg.cholesky(mode.covariance)
    rng = np.random.default_rng(seed)
    starts = _starts(problem, mode, factor, chains, rng)
    z = getattr(problem.likelihood, "z", None)
    if z is not None:
        starts = np.concatenate([starts, 0.1 * rng.standard_normal((chains, z.size))], axis=1)
    keys = jax.random.split(jax.random.PRNGKey(seed), chains)
    stop = threading.Event()
    total = -(-(warmup + draws) // _CHUNK) * _CHUNK  # whole chunks; what is too much is cut off
    keep = np.arange(draws)[kept] + warmup
    bar = tqdm(total=chains * total, desc="NUTS", disable=not progress)

    def one(chain: int) -> dict[str, np.ndarray]:
        parts = []
        with jax.enable_x64(True):  # the setting is the thread's own
            place = (jnp.asarray(mode.at), jnp.asarray(factor))
            data = (problem.numbers, problem.likelihood, place)
            state = first_state(
                problem.structure, warmup, keys[chain], jnp.asarray(starts[chain]), *data
            )
            for first in range(0, total, _CHUNK):
                if stop.is_set():
                    break
                state, part = advance(problem.structure, warmup, state, *data)
                some = keep[(keep >= first) & (keep < first + _CHUNK)] - first
                part["latent"] = part["latent"][some]
                parts.append({name: np.asarray(value) for name, value in part.items()})
                bar.update(_CHUNK)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    with bar, ThreadPoolExecutor(min(chains, os.cpu_count() or 1)) as pool:
        try:
            found = list(pool.map(one, range(chains)))
        except BaseException:
            stop.set()  # so that an interruption does not wait for the chains' ends
            raise
    latent = np.stack([part.pop("latent") for part in found])
    after = slice(warmup, warmup + draws)
    statistics = {name: np.stack([part[name][after] for part in found]) for name in found[0]}
    return ChainDraws(statistics.pop("flat"), _with_depth(statistics), latent)


def _starts(
    problem: Problem, mode: Mode, factor: np.ndarray, chains: int, rng: np.random.Generator
) -> np.ndarray:
    """Round coordinates of points that the posterior does not rule out, one for each chain.

    Where the posterior is no Gaussian, some points of the Gaussian at the mode lie so far out
    that a chain started there would never move.
    """
    found = np.empty((0, problem.size))
    for narrower in (1.0, 0.5, 0.25, 0.125, 0.0):
        points = narrower * rng.standard_normal((8 * chains, problem.size))
        kept = points[not_ruled_out(problem, mode, mode.at + points @ factor.T)]
        found = np.concatenate([found, kept])[:chains]
        if len(found) == chains:
            break
    return found


def _kernel(structure: Structure, numbers: dict[str, Any], likelihood: Any, place: Place) -> NUTS:
    def round_potential(round_: jax.Array) -> jax.Array:
        flat, latent = _split(round_, place)
        at = likelihood.at(latent) if len(latent) else likelihood
        return potential(structure, flat, numbers, at)

    return NUTS(potential_fn=round_potential, target_accept_prob=_TARGET)


def _split(round_: jax.Array, place: Place) -> tuple[jax.Array, jax.Array]:
    """The flat vector of the population level, and the likelihood's own numbers."""
    at, factor = place
    return at + factor @ round_[: len(at)], round_[len(at) :]


@partial(jax.jit, static_argnums=(0, 1))
def first_state(
    structure: Structure,
    warmup: int,
    key: jax.Array,
    start: jax.Array,
    numbers: dict[str, Any],
    likelihood: Any,
    place: Place,
) -> HMCState:
    """State of a chain before its first step."""
    kernel = _kernel(structure, numbers, likelihood, place)
    return kernel.init(key, warmup, start, (), {})


@partial(jax.jit, static_argnums=(0, 1))
def advance(
    structure: Structure,
    warmup: int,
    state: HMCState,
    numbers: dict[str, Any],
    likelihood: Any,
    place: Place,
) -> tuple[HMCState, dict[str, jax.Array]]:
    """A chunk of transitions; ``state`` counts them, so that the kernel knows its phase."""
    kernel = _kernel(structure, numbers, likelihood, place)
    kernel.init(state.rng_key, warmup, state.z, (), {})  # sets the kernel up; its state is unused

    def step(state: HMCState, _: None) -> tuple[HMCState, dict[str, jax.Array]]:
        state = kernel.sample(state, (), {})
        flat, latent = _split(state.z, place)
        shown = {
            "flat": flat,
            "latent": latent,
            "diverging": state.diverging,
            "energy": state.energy,
            "n_steps": state.num_steps,
            "acceptance_rate": state.accept_prob,
            "step_size": state.adapt_state.step_size,
        }
        return state, shown

    return jax.lax.scan(step, state, length=_CHUNK)


def _with_depth(statistics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    depth = np.ceil(np.log2(statistics["n_steps"] + 1)).astype(int)
    return {**statistics, "tree_depth": depth}
