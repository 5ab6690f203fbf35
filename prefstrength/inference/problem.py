"""A model on given data as a potential over a flat vector of unconstrained numbers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro.infer import init_to_median
from numpyro.infer.util import constrain_fn, initialize_model

from prefstrength.likelihood import Likelihood
from prefstrength.models import Population
from prefstrength.quantiles import CellLaws

__all__ = ["Problem", "laws_of"]


class Problem:
    """Potential, gradient and constraining of the population level.

    Must be made and used where JAX computes in float64.

    Parameters
    ----------
    population : Population
    likelihood : PairSketch, PanelTables or DirectLikelihood
        May be replaced by one with other nodes: it is an argument of the compiled functions.
    """

    def __init__(self, population: Population, likelihood: Likelihood) -> None:
        self.population = population
        self.likelihood = likelihood

        def model(likelihood: Likelihood) -> None:
            numpyro.factor("choices", likelihood.total(population.sample()))

        info = initialize_model(
            jax.random.PRNGKey(0),
            model,
            init_strategy=init_to_median(num_samples=25),
            model_args=(likelihood,),
            dynamic_args=True,
            validate_grad=False,
        )
        start, self._unravel = ravel_pytree(info.param_info.z)
        self.start = np.asarray(start)
        self.size = len(self.start)

        self._potential_of_tree = info.potential_fn
        self._value_and_gradient = jax.jit(jax.value_and_grad(self.potential_of))

        def constrained(flat: jax.Array) -> dict[str, jax.Array]:
            return constrain_fn(
                population.sample, (), {}, self._unravel(flat), return_deterministic=True
            )

        self._constrain = jax.jit(jax.vmap(constrained))

    def potential(self, flat: jax.Array) -> jax.Array:
        """Minus the log of the unnormalised posterior density (unconstrained)."""
        return self.potential_of(flat, self.likelihood)

    def potential_of(self, flat: jax.Array, likelihood: Likelihood) -> jax.Array:
        """The same with the likelihood as an argument, so that compiled code can be reused."""
        return self._potential_of_tree(likelihood)(self._unravel(flat))

    def value_and_gradient(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Potential and its gradient, compiled."""
        value, gradient = self._value_and_gradient(jnp.asarray(flat), self.likelihood)
        return float(value), np.asarray(gradient)

    def constrain(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Named variables of draws, each (draw, …)."""
        return {name: np.asarray(v) for name, v in self._constrain(jnp.asarray(flat)).items()}


def laws_of(families: dict[str, type], draw: dict[str, Any]) -> tuple[CellLaws, ...]:
    """Laws in every cell from the named parameters of one draw (arrays of shape (cell,))."""
    laws = []
    for name, family in families.items():
        if family.__name__ == "PointMass":
            laws.append(CellLaws(family, jnp.atleast_1d(draw[f"{name}_value"]), None))
        elif family.__name__ == "Gamma":
            shape = jnp.atleast_1d(draw[f"{name}_shape"])
            mean = shape / jnp.atleast_1d(draw[f"{name}_rate"])
            laws.append(CellLaws(family, jnp.log(mean), shape**-0.5))
        else:
            laws.append(
                CellLaws(
                    family,
                    jnp.atleast_1d(draw[f"{name}_mu"]),
                    jnp.atleast_1d(draw[f"{name}_sigma"]),
                )
            )
    return tuple(laws)
