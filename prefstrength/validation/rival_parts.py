r"""Parts of a choice that can look like each other: what each one is, and what is believed of it.

A chooser of strength :math:`\beta` answers at the utility difference :math:`v = \beta\, s\, g(x/s)`
with probability :math:`\lambda / K + (1 - \lambda)\, p(y \mid v)`, where K answers can be given and
s is the root mean square of the differences x. Strengths are spread as

.. math::
    \beta \sim \pi\, \delta_0 + (1 - \pi) \left[(1 - \nu)\, \mathrm{LogNormal}(\mu, \sigma)
        + \nu\, (-\mathrm{LogNormal}(\mu, \sigma))\right].

Each part can be off: no spread (:math:`\sigma = 0`), a straight utility, no answers at random, no
class at zero, none that is reversed. Strengths are counted in units of 1/s.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from prefstrength.choice.utility import UTILITIES
from prefstrength.inference.priors import Prior

__all__ = ["BENDS", "LOCATION", "PARTS", "Coordinate", "Part"]

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Coordinate:
    """A parameter's coordinate in which the log-likelihood is smooth.

    Parameters
    ----------
    of, value : callable
        The coordinate of a value, and back.
    log_slope : callable
        Log of the derivative of the value by the coordinate, without its sign.
    even : bool
        Whether the log-likelihood is even in it, so that it is flat at 0.
    """

    of: Function
    value: Function
    log_slope: Function
    even: bool


def _log_cap(c: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 2 / np.sqrt(np.expm1(c))


_ITSELF = Coordinate(np.asarray, np.asarray, np.zeros_like, even=True)
_ROOT = Coordinate(np.sqrt, np.square, lambda c: np.log(2 * c), even=True)
_LOG = Coordinate(np.log, np.exp, np.asarray, even=False)
# log(1 + 4 / cap^2): 0 is a straight utility, which it approaches like the square, and it goes with
# the log of a low cap.
_CAP = Coordinate(
    lambda cap: np.log1p(4 / cap**2),
    _log_cap,
    lambda c: c - 1.5 * np.log(np.expm1(c)),
    even=True,
)


@dataclass(frozen=True)
class Part:
    """A part that can be on or off.

    Parameters
    ----------
    name : str
    prior : Prior
        Of its parameter, where the part is on.
    prior_on : float
        Probability that it is on.
    coordinate : Coordinate
    nodes : tuple of float
        Coordinates that are looked at first.
    ends : tuple of float
        Smallest and largest coordinate.
    can_be_off : bool
        Whether the coordinate 0 is the part that is off, on one grid with those where it is on.
    """

    name: str
    prior: Prior
    prior_on: float
    coordinate: Coordinate
    nodes: tuple[float, ...]
    ends: tuple[float, float]
    can_be_off: bool = True

    def value(self, coordinate: np.ndarray) -> np.ndarray:
        """Value at a coordinate."""
        return self.coordinate.value(coordinate)

    def log_density(self, coordinate: np.ndarray) -> np.ndarray:
        """Log prior density of the coordinate."""
        value = self.value(coordinate)
        return self.prior.log_density(value) + self.coordinate.log_slope(coordinate)


#: Parts in the order of the axes of a grid, after the bend.
PARTS = (
    Part("lapse", Prior("Beta", (1.0, 9.0)), 0.5, _ROOT, (0.0, 0.2, 0.36, 0.52, 0.68), (0.0, 0.95)),
    Part(
        "spread", Prior("HalfNormal", (1.0,)), 0.5, _ITSELF, (0.0, 0.3, 0.7, 1.3, 2.3), (0.0, 5.0)
    ),
    Part("zero", Prior("Beta", (1.0, 4.0)), 0.5, _ROOT, (0.0, 0.3, 0.55, 0.8), (0.0, 0.99)),
    Part("reversed", Prior("Beta", (1.0, 9.0)), 0.5, _ROOT, (0.0, 0.22, 0.45, 0.65), (0.0, 0.99)),
)


def _bend(
    name: str, coordinate: Coordinate, nodes: tuple[float, ...], ends: tuple[float, float]
) -> Part:
    (shared,) = UTILITIES[name]().shared
    prior = Prior(shared.prior, shared.arguments)
    return Part(name, prior, 0.25, coordinate, nodes, ends, can_be_off=False)


#: Bends by the name of their utility, which is straight with the probability that is left.
BENDS = {
    "power": _bend("power", _LOG, (-1.3, -0.8, -0.4, 0.0, 0.35, 0.7), (-3.0, 2.0)),
    "capped": _bend("capped", _CAP, (0.0, 1.0, 2.0, 3.0, 4.5), (0.0, 9.0)),
}
#: Prior of the mean of log strength, in units of 1/s.
LOCATION = Prior("Normal", (0.0, 1.0))
