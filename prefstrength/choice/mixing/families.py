"""Families of mixing distributions by name."""

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass

__all__ = ["MIXINGS"]


#: Families by name.
MIXINGS: dict[str, type[Mixing]] = {
    law.__name__: law for law in (PointMass, Normal, LogNormal, Gamma, InverseGaussian)
}
