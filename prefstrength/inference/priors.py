"""Priors of the population level, evaluated without a compiler; NumPyro's on demand.

The model is a NumPyro program, and its priors are NumPyro distributions. The handful that the
defaults are made of has its density here too, so that a fit by importance sampling neither loads
NumPyro nor compiles; any other NumPyro distribution is asked itself.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

__all__ = ["Prior", "prior_of"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_SUPPORTS = {"Normal": "real", "HalfNormal": "positive", "LogNormal": "positive", "Beta": "share"}


@dataclass(frozen=True)
class Prior:
    """Prior of one number.

    Parameters
    ----------
    family : str
        Its name in NumPyro.
    arguments : tuple of float
        As NumPyro takes them.
    given : numpyro distribution, optional
        What a user gave; it is asked for its own density.
    """

    family: str
    arguments: tuple[float, ...] = ()
    given: Any = None

    def numpyro(self) -> Any:
        """The NumPyro distribution."""
        if self.given is not None:
            return self.given
        import numpyro.distributions as dist

        return getattr(dist, self.family)(*self.arguments)

    @property
    def support(self) -> str:
        """Kind of number: ``"real"``, ``"positive"`` or a ``"share"``; of NumPyro's families."""
        return _SUPPORTS[self.family]

    def log_density(self, value: np.ndarray) -> np.ndarray:
        """Log density at values of any shape; minus infinity outside of the support."""
        value = np.asarray(value, float)
        if self.given is not None:
            return _asked(self.given, value)
        if self.family == "Flat":
            return np.zeros(value.shape)
        a, b = (*self.arguments, 0.0)[:2]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.family == "Normal":
                return -(((value - a) / b) ** 2) / 2 - math.log(b) - _HALF_LOG_2PI
            if self.family == "HalfNormal":
                out = -((value / a) ** 2) / 2 - math.log(a) - _HALF_LOG_2PI + math.log(2)
                return np.where(value >= 0, out, -np.inf)
            if self.family == "LogNormal":
                log = np.log(value)
                out = -(((log - a) / b) ** 2) / 2 - math.log(b) - _HALF_LOG_2PI - log
                return np.where(value > 0, out, -np.inf)
            if self.family == "Beta":
                out = special.xlogy(a - 1, value) + special.xlog1py(b - 1, -value)
                return np.where((value >= 0) & (value <= 1), out - special.betaln(a, b), -np.inf)
        raise TypeError(f"No density here for {self.family}.")

    def sample(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Draws."""
        if self.given is not None:
            import jax

            key = jax.random.PRNGKey(int(rng.integers(2**31)))
            return np.asarray(self.given.sample(key, (size,)), float)
        a, b = (*self.arguments, 0.0)[:2]
        if self.family == "Beta":
            return rng.beta(a, b, size)
        z = rng.standard_normal(size)
        if self.family == "HalfNormal":
            return np.abs(a * z)
        return a + b * z if self.family == "Normal" else np.exp(a + b * z)

    @property
    def variance(self) -> float:
        """Variance."""
        if self.given is not None:
            return float(np.asarray(self.given.variance))
        a, b = (*self.arguments, 0.0)[:2]
        if self.family == "Normal":
            return b**2
        if self.family == "HalfNormal":
            return a**2 * (1 - 2 / math.pi)
        if self.family == "LogNormal":
            return math.expm1(b**2) * math.exp(2 * a + b**2)
        return a * b / ((a + b) ** 2 * (a + b + 1))

    def quantile(self, q: float) -> float:
        """Quantile; of a user's distribution the sample one."""
        if self.given is not None:
            return float(np.quantile(self.sample(np.random.default_rng(0), 1001), q))
        a, b = (*self.arguments, 0.0)[:2]
        if self.family == "Beta":
            return float(special.betaincinv(a, b, q))
        if self.family == "HalfNormal":
            return float(a * special.ndtri((1 + q) / 2))
        value = a + b * float(special.ndtri(q))
        return value if self.family == "Normal" else math.exp(value)

    def __str__(self) -> str:
        arguments = ", ".join(f"{round(a, 9) + 0.0:.2g}" for a in self.arguments)
        return f"{self.family}({arguments})"


def prior_of(given: Any) -> Prior:
    """Prior of what a user gave: a NumPyro distribution of one number."""
    names = [n for n in given.arg_constraints if np.ndim(getattr(given, n)) == 0]
    arguments = tuple(float(getattr(given, n)) for n in names)
    family = type(given).__name__
    plain = family in ("Normal", "HalfNormal", "LogNormal")
    return Prior(family, arguments, None if plain else given)


def _asked(given: Any, value: np.ndarray) -> np.ndarray:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        supported = np.asarray(given.support(jnp.asarray(value)))
        inside = np.where(supported, value, float(np.asarray(given.sample(jax.random.PRNGKey(0)))))
        return np.where(supported, np.asarray(given.log_prob(jnp.asarray(inside))), -np.inf)
