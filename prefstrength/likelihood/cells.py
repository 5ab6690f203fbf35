r"""Coefficients as functions of a standard normal draw: :math:`\beta = F^{-1}(\Phi(z))`.

One z for each chooser makes a panel: the same z gives the chooser's coefficient in every
group, however location and dispersion differ between groups. In JAX, smooth in every parameter.

A mixing distribution is described by its location and dispersion, which mean the same kind of
thing in every family (:mod:`prefstrength.choice.mixing.base`): mu and sigma of Normal and
LogNormal, log of the mean and coefficient of variation of Gamma and InverseGaussian.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.mixed import JAX

__all__ = ["CellLaws", "coefficient_at", "law", "location_dispersion", "parameters"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CellLaws:
    """The mixing distributions of one attribute's coefficient, one for each cell of the groups.

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
        spread = None if self.dispersion is None else self.dispersion[..., None]
        return self.family.coefficient(JAX, z, self.location[..., None], spread)

    def tastes(self, z: jax.Array) -> jax.Array:
        """Coefficients of any, also traced, draws z (…) in every cell, shape (…, cell)."""
        return self.family.coefficient(JAX, z[..., None], self.location, self.dispersion)

    def mixing(self, cell: Any) -> Mixing:
        """Known mixing distributions of the given cells."""
        dispersion = None if self.dispersion is None else self.dispersion[cell]
        return law(self.family, self.location[cell], dispersion)


def law(family: type[Mixing], location: Any, dispersion: Any | None) -> Mixing:
    """Known mixing distribution from location and dispersion."""
    return family.from_location_dispersion(location, dispersion)


def parameters(family: type[Mixing], location: Any, dispersion: Any | None) -> dict[str, Any]:
    """Parameters by name, from location and dispersion."""
    return law(family, location, dispersion).parameters


def location_dispersion(family: type[Mixing], values: Mapping[str, Any]) -> tuple[Any, Any | None]:
    """Location and dispersion from the named parameters; the inverse of :func:`parameters`."""
    return family(**values).location_dispersion()


def coefficient_at(
    family: type[Mixing], z: Any, location: Any, dispersion: Any | None
) -> np.ndarray:
    """Coefficients at any draws z, outside of JAX; arguments broadcast."""
    return family.coefficient(NUMPY, z, location, dispersion)
