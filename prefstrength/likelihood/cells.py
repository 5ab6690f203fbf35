r"""Coefficients as functions of a standard normal draw: :math:`\beta = F^{-1}(\Phi(z))`.

One z for each chooser makes a panel: the same z gives the chooser's coefficient in every
group, however location and dispersion differ between groups. In JAX, smooth in every parameter.

A law is described by two numbers that mean the same kind of thing in every family:

=============== ======================= ==============================
family          location                dispersion
=============== ======================= ==============================
PointMass       value                   (none)
Normal          mu                      sigma
LogNormal       mu                      sigma
Gamma           log of the mean         coefficient of variation
InverseGaussian log of the mean         coefficient of variation
=============== ======================= ==============================
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev
from scipy import special

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.inverse_gaussian_quantiles import log_quantile
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.errors import InputError
from prefstrength.likelihood.chebyshev import chebyshev_basis, chebyshev_coefficients, clenshaw

__all__ = ["CellLaws", "coefficient", "coefficient_at", "law", "location_dispersion", "parameters"]

# Gamma shapes covered by the table: coefficients of variation 0.003 to 15, far beyond what data
# can tell apart; a cv outside is taken for the nearest inside.
_LOG_SHAPE = (float(np.log(0.004)), float(np.log(1e5)))
_DEGREE = 128
# The same for the inverse Gaussian, in log cv. Its log quantile is smoother: error 1e-12.
_LOG_CV = (float(np.log(0.003)), float(np.log(15.0)))
_DEGREE_IN_LOG_CV = 72
# Draws z for which a law's quantile is a series in z as well; beyond lies 1e-23 of the law.
_MOST_Z = 10.0
_DEGREE_IN_Z = 96


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CellLaws:
    """The laws of one attribute's coefficient, one for each cell of the groups.

    Parameters
    ----------
    family : type
        A leaf of :class:`~prefstrength.choice.mixing.base.Mixing`.
    location, dispersion : array, shape (cell,)
        ``dispersion`` is ``None`` for :class:`~prefstrength.choice.mixing.point_mass.PointMass`.
    """

    family: type[Mixing] = field(metadata={"static": True})
    location: jax.Array
    dispersion: jax.Array | None

    def at(self, z: np.ndarray) -> jax.Array:
        """Coefficients at standard normal nodes, shape (cell, node)."""
        return coefficient(self.family, z, self.location, self.dispersion)

    def tastes(self, z: jax.Array) -> jax.Array:
        """Coefficients of any, also traced, draws z (…) in every cell, shape (…, cell)."""
        if self.dispersion is None:
            return jnp.broadcast_to(self.location, (*z.shape, *jnp.shape(self.location)))
        z = z[..., None]
        if self.family in (Gamma, InverseGaussian):
            series = _series_in_z(self.family, jnp.asarray(self.dispersion))
            over_mean = clenshaw(series, jnp.clip(z / _MOST_Z, -1.0, 1.0))
            return jnp.exp(self.location + over_mean)
        value = self.location + self.dispersion * z
        return jnp.exp(value) if self.family is LogNormal else value

    def mixing(self, cell: Any) -> Mixing:
        """Known mixing distributions of the given cells."""
        dispersion = None if self.dispersion is None else self.dispersion[cell]
        return law(self.family, self.location[cell], dispersion)


def coefficient(
    family: type[Mixing], z: np.ndarray, location: jax.Array, dispersion: jax.Array | None
) -> jax.Array:
    """Coefficient at standard normal nodes.

    Parameters
    ----------
    family : type
        A leaf of :class:`~prefstrength.choice.mixing.base.Mixing`.
    z : numpy.ndarray, shape (node,)
        Fixed nodes (not traced: tables are built for them).
    location, dispersion : array, shape (...)
        See the module's table.

    Returns
    -------
    jax.Array, shape (..., node)

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np
    >>> coefficient(LogNormal, np.array([0.0]), jnp.array(0.0), jnp.array(0.5)).tolist()
    [1.0]
    """
    location = jnp.asarray(location)
    if family is PointMass:
        return jnp.broadcast_to(location[..., None], (*location.shape, len(z)))
    _check_family(family)
    assert dispersion is not None
    dispersion = jnp.asarray(dispersion)
    if family is Gamma:
        return jnp.exp(location[..., None] + _log_gamma_over_mean(z, dispersion))
    if family is InverseGaussian:
        return jnp.exp(location[..., None] + _log_inverse_gaussian_over_mean(z, dispersion))
    value = location[..., None] + dispersion[..., None] * jnp.asarray(z)
    return jnp.exp(value) if family is LogNormal else value


def _check_family(family: type[Mixing]) -> None:
    if family not in MIXINGS.values():
        raise InputError(
            f"Expected a family with a location and a dispersion ({', '.join(MIXINGS)}); got "
            f"{family.__name__}, a law made of laws. Take its main part alone."
        )


def parameters(family: type[Mixing], location: Any, dispersion: Any | None) -> dict[str, Any]:
    """Parameters under the names that NumPyro gives them, from location and dispersion.

    Works on any array type.

    Examples
    --------
    >>> parameters(Gamma, 0.0, 0.5)
    {'shape': 4.0, 'rate': 4.0}
    """
    if family is PointMass:
        return {"value": location}
    _check_family(family)
    if family in (Gamma, InverseGaussian):
        shape = dispersion**-2.0  # type: ignore[operator]
        exp: Callable[[Any], Any] = jnp.exp
        if isinstance(location, float | np.ndarray):
            exp = np.exp if isinstance(location, np.ndarray) else lambda value: float(np.exp(value))
        if family is Gamma:
            return {"shape": shape, "rate": shape * exp(-location)}
        return {"mu": exp(location), "shape": shape * exp(location)}
    return {"mu": location, "sigma": dispersion}


def location_dispersion(family: type[Mixing], values: Mapping[str, Any]) -> tuple[Any, Any | None]:
    """Location and dispersion from the named parameters; the inverse of :func:`parameters`.

    Works on any array type.

    Examples
    --------
    >>> location_dispersion(Gamma, {"shape": np.array(4.0), "rate": np.array(4.0)})
    (np.float64(0.0), np.float64(0.5))
    """
    if family is PointMass:
        return values["value"], None
    _check_family(family)
    if family in (Gamma, InverseGaussian):
        shape = values["shape"]
        mean = shape / values["rate"] if family is Gamma else values["mu"]
        log = jnp.log if isinstance(mean, jax.Array) else np.log
        return log(mean), (shape if family is Gamma else shape / mean) ** -0.5
    return values["mu"], values["sigma"]


def law(family: type[Mixing], location: Any, dispersion: Any | None) -> Mixing:
    """Known mixing distribution from location and dispersion."""
    return family(**parameters(family, location, dispersion))


def _log_gamma_over_mean(z: np.ndarray, cv: jax.Array) -> jax.Array:
    """Log of the quantile of a Gamma law of mean 1, by a Chebyshev series in log shape.

    For each node the log quantile is an analytic function of log shape (nearest singularity at
    distance pi), so 129 coefficients give about 1e-12.
    """
    low, high = _LOG_SHAPE
    log_shape = jnp.clip(-2 * jnp.log(cv), low, high)
    t = (2 * log_shape - low - high) / (high - low)
    table = jnp.asarray(_gamma_coefficients(z.tobytes()))  # (degree + 1, node)
    shape = jnp.exp(log_shape)
    damped = chebyshev_basis(t, _DEGREE) @ table
    return damped * ((1 + shape) / shape)[..., None]


def _log_inverse_gaussian_over_mean(z: np.ndarray, cv: jax.Array) -> jax.Array:
    """Log of the quantile of an inverse Gaussian law of mean 1, by a Chebyshev series in log cv."""
    low, high = _LOG_CV
    log_cv = jnp.clip(jnp.log(cv), low, high)
    t = (2 * log_cv - low - high) / (high - low)
    table = jnp.asarray(_inverse_gaussian_coefficients(z.tobytes()))
    return chebyshev_basis(t, _DEGREE_IN_LOG_CV) @ table


def _series_in_z(family: type[Mixing], dispersion: jax.Array) -> jax.Array:
    """Chebyshev coefficients in z of the log quantile of a law of mean 1, (cell, degree + 1).

    The nearest singularities, zeros of the normal distribution function, lie 2.8 off the real
    line. With 97 coefficients on [-10, 10] the error is below 1e-12 up to a coefficient of
    variation of 1, where laws of strength are, and grows to 3e-7 at 3 and 1e-4 at 10.
    """
    t = chebyshev.chebpts1(_DEGREE_IN_Z + 1)
    over_mean = _log_gamma_over_mean if family is Gamma else _log_inverse_gaussian_over_mean
    to_series = chebyshev_coefficients(t, np.eye(len(t)))
    return over_mean(_MOST_Z * t, dispersion) @ to_series.T


@cache
def _gamma_coefficients(nodes: bytes) -> np.ndarray:
    z = np.frombuffer(nodes)
    low, high = _LOG_SHAPE

    t = chebyshev.chebpts1(_DEGREE + 1)
    shape = np.exp((t * (high - low) + low + high) / 2)[:, None]
    with np.errstate(divide="ignore", under="ignore"):
        # Close to 0, P(v) = v^shape/Gamma(shape + 1) to full accuracy, without underflow.
        small = (special.log_ndtr(z) + special.gammaln(shape + 1)) / shape
        lower = np.log(special.gammaincinv(shape, special.ndtr(z)))
        upper = np.log(special.gammainccinv(shape, special.ndtr(-z)))
    log_quantile = np.where(small < -36, small, np.where(z < 0, lower, upper))
    # Damped by shape/(1+shape): for small shapes the log quantile grows as 1/shape.
    values = (log_quantile - np.log(shape)) * shape / (1 + shape)
    return chebyshev_coefficients(t, values)


@cache
def _inverse_gaussian_coefficients(nodes: bytes) -> np.ndarray:
    low, high = _LOG_CV
    t = chebyshev.chebpts1(_DEGREE_IN_LOG_CV + 1)
    cv = np.exp((t * (high - low) + low + high) / 2)[:, None]
    return chebyshev_coefficients(t, log_quantile(np.frombuffer(nodes), cv))


def coefficient_at(
    family: type[Mixing], z: np.ndarray, location: np.ndarray, dispersion: np.ndarray | None
) -> np.ndarray:
    """Coefficients at any draws z, outside of JAX; arguments broadcast.

    Examples
    --------
    >>> import numpy as np
    >>> from prefstrength.choice.mixing.base import Normal
    >>> float(coefficient_at(Normal, np.array(1.0), np.array(2.0), np.array(0.5)))
    2.5
    """
    if family is PointMass:
        return np.broadcast_to(location, np.broadcast_shapes(np.shape(z), np.shape(location)))
    _check_family(family)
    assert dispersion is not None
    if family is Gamma:
        shape = dispersion**-2.0
        lower = special.gammaincinv(shape, special.ndtr(z))
        upper = special.gammainccinv(shape, special.ndtr(-z))
        return np.where(z < 0, lower, upper) / shape * np.exp(location)
    if family is InverseGaussian:
        return np.exp(location + log_quantile(z, dispersion))
    value = location + dispersion * z
    return np.exp(value) if family is LogNormal else value
