"""Families of mixing distributions by name."""

import inspect

import numpy as np
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.base import SPREADS, Mixing
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.mixing.positive_point_mass import PositivePointMass
from prefstrength.errors import InputError

__all__ = ["MIXINGS", "family_named", "register", "without_spread"]

#: Families by name.
MIXINGS: dict[str, type[Mixing]] = {
    family.__name__: family
    for family in (PointMass, PositivePointMass, Normal, LogNormal, Gamma, InverseGaussian)
}


def family_named(name: object) -> type[Mixing]:
    """Family of this name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in MIXINGS:
        raise InputError(
            f"Expected a family of mixing distributions ({', '.join(MIXINGS)}); got {name!r}. "
            "Check the spelling; a family of your own is registered before it is named."
        )
    return MIXINGS[str(name)]


def without_spread(mixing: Mixing) -> Mixing:
    """One strength for all, under the prior on location that this mixing distribution has.

    Examples
    --------
    >>> without_spread(LogNormal()), without_spread(Normal())
    (PositivePointMass(), PointMass())
    """
    return PositivePointMass() if mixing.kinds.positive else PointMass()


def register[Family: type[Mixing]](family: Family) -> Family:
    """Make a family known by its name, so that it can be inferred, saved and trained with.

    Parameters
    ----------
    family : subclass of Mixing
        A frozen dataclass with every abstract method; its fields are its parameters.

    Returns
    -------
    type
        The family itself, so that this decorates a class.

    Raises
    ------
    TypeError
        If the family lacks a method.
    InputError
        If its name is another's, a parameter has the name of another variable of a fit, or what
        it knows of itself does not agree.
    """
    name = family.__name__
    if inspect.isabstract(family):
        lacking = ", ".join(sorted(family.__abstractmethods__))
        raise TypeError(
            f"Expected a family that knows all of itself; got {name} without {lacking}. "
            "Write what prefstrength.choice.mixing.base.Mixing says of them."
        )
    if MIXINGS.get(name, family) is not family:
        raise InputError(
            f"Expected a name that no other family has; got {name}. Give the class another name."
        )
    if taken := {"location", "dispersion", "strength"} & set(family().parameters):
        raise InputError(
            f"Expected parameters of {name} under names of their own; got {', '.join(taken)}, "
            "which variables of every fit have. Choose others."
        )
    if family.spread not in SPREADS:
        raise InputError(
            f"Expected the spread of {name} to be one of {', '.join(SPREADS)}; got "
            f"{family.spread!r}. Name the one that its dispersion is."
        )
    if family.varies:
        _check_agreement(family)
    MIXINGS[name] = family
    return family


def _check_agreement(family: type[Mixing]) -> None:
    """Refuse a family whose parts contradict each other, and that a fit would take for another."""
    pair, z = (0.3, 0.5), np.array([-1.5, 0.0, 0.5])
    law = family.from_location_dispersion(*pair)
    spread = getattr(law, family.spread)() if family.positive else law.sd()
    agreeing = {
        "location and dispersion": (law.location_dispersion(), pair),
        f"dispersion and {family.spread if family.positive else 'sd'}": (spread, pair[1]),
        "quantiles and probabilities": (law.cdf(law.at(NUMPY, z)), special.ndtr(z)),
    }
    for what, (found, wanted) in agreeing.items():
        if not np.allclose(found, wanted, rtol=1e-6):
            raise InputError(
                f"Expected {what} of {family.__name__} to agree; got {found} for {wanted} at "
                f"location {pair[0]} and dispersion {pair[1]}. Correct one of the methods."
            )
