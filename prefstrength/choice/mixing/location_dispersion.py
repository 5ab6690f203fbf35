"""Mixing distributions by log mean and log spread, as priors for training describe them."""

import math
from collections.abc import Callable
from typing import Any

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.gamma import Gamma
from prefstrength.choice.mixing.inverse_gaussian import InverseGaussian
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.errors import InputError

# -- a family by location and dispersion -----------------------------------------------------


def mixing_from(
    family: str, location: Any, dispersion: Any, exp: Callable[[Any], Any] = math.exp
) -> Mixing:
    """Mixing distribution of log mean ``location`` and log spread ``dispersion``.

    ``exp`` is the exponential of the numbers' library, such as ``torch.exp``.

    Examples
    --------
    >>> mixing_from("Gamma", math.log(0.5), math.log(0.5))
    Gamma(shape=4, rate=8)
    """
    if family == "PointMass":
        return PointMass(value=exp(location))
    if family == "Normal":
        return Normal(mu=exp(location), sigma=exp(location + dispersion))
    if family == "LogNormal":
        sigma = exp(dispersion)
        return LogNormal(mu=location - sigma * sigma / 2, sigma=sigma)
    if family == "Gamma":
        return Gamma(shape=exp(-2 * dispersion), rate=exp(-2 * dispersion - location))
    if family == "InverseGaussian":
        return InverseGaussian(mu=exp(location), shape=exp(location - 2 * dispersion))
    raise unknown_family(family)


def location_dispersion(mixing: Mixing) -> tuple[float, float | None]:
    """Location and dispersion of a known law; the inverse of :func:`mixing_from`.

    Raises
    ------
    InputError
        If the mean strength is not positive.
    """
    parameters = {name: float(value) for name, value in mixing.parameters.items()}
    if isinstance(mixing, PointMass):
        return math.log(_positive_mean(parameters["value"])), None
    if isinstance(mixing, Normal):
        mean = _positive_mean(parameters["mu"])
        return math.log(mean), math.log(parameters["sigma"] / mean)
    if isinstance(mixing, LogNormal):
        return parameters["mu"] + parameters["sigma"] ** 2 / 2, math.log(parameters["sigma"])
    if isinstance(mixing, Gamma):
        return (
            math.log(parameters["shape"] / parameters["rate"]),
            -math.log(parameters["shape"]) / 2,
        )
    if isinstance(mixing, InverseGaussian):
        location = math.log(parameters["mu"])
        return location, (location - math.log(parameters["shape"])) / 2
    raise unknown_family(type(mixing).__name__)


def cv_from_dispersion(family: str, dispersion: float | None) -> float:
    """Coefficient of variation (sd/mean) that belongs to a dispersion."""
    if dispersion is None:
        return 0.0
    if family == "LogNormal":
        return math.sqrt(math.expm1(math.exp(2 * dispersion)))
    return math.exp(dispersion)


def dispersion_from_cv(family: str, cv: float) -> float | None:
    """Dispersion that belongs to a coefficient of variation; ``None`` for PointMass.

    Examples
    --------
    >>> round(cv_from_dispersion("LogNormal", dispersion_from_cv("LogNormal", 0.5)), 12)
    0.5
    """
    if family == "PointMass":
        return None
    if family == "LogNormal":
        return math.log(math.log1p(cv * cv)) / 2
    return math.log(cv)


def _positive_mean(mean: float) -> float:
    if mean <= 0:
        raise InputError(
            f"Expected a positive mean strength; got {mean:.6g}. A negative mean says that "
            "choosers prefer the lower reward. Check the sign of the rewards, and which response "
            "is `chosen`."
        )
    return mean


def unknown_family(family: object) -> InputError:
    """Error for a family that is not among the known ones."""
    return InputError(
        f"Expected a family of mixing distributions ({', '.join(MIXINGS)}); got {family!r}."
    )
