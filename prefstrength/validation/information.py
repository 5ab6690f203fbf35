r"""Fisher information of a chooser's choices on the mixing distribution.

One chooser's sequence of choices with reward differences :math:`x_1 \dots x_T` has probability

.. math:: E_{\beta \sim F}\Big[\prod_t \sigma(\pm\beta x_t)\Big],

and its information on location and dispersion of F is the expected outer product of the score of
its logarithm. For one choice it is a one-dimensional integral over x; for sequences it is
averaged over simulated choosers, with scores by quadrature over β. Information adds over
choosers.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.likelihood.cells import coefficient_at

__all__ = ["chooser_information", "information"]

# Simulated choosers: as many as this many evaluations allow, within limits.
_EVALUATIONS = 1.5e7
_CHOOSERS = (2_000, 20_000)
# How far nodes reach, in sds.
_REACH = 7.0


def chooser_information(
    mixing: Mixing, situations: Sequence[int], spread: float = 1.5, seed: int = 0
) -> np.ndarray:
    """Fisher information of one chooser's choices on location and dispersion.

    Parameters
    ----------
    mixing : Mixing
        Known mixing distribution of the strength, with a dispersion.
    situations : sequence of int
        Numbers of choices T of the chooser.
    spread : float
        Standard deviation of the reward differences, which are Normal(0, spread²).
    seed : int
        Of the simulated choosers; the same choosers serve every T.

    Returns
    -------
    numpy.ndarray, shape (len(situations), 2, 2)
        Location and dispersion are mu and sigma (Normal, LogNormal), or log of the mean and
        coefficient of variation (other positive families). For T = 1 by quadrature, relative
        error below 1e-6; else a Monte Carlo mean, relative standard error about 0.02 on the
        diagonal.

    Examples
    --------
    The sd of the estimated sigma, for N pairs without repeated choosers:

    >>> import numpy as np
    >>> from prefstrength import LogNormal
    >>> one = chooser_information(LogNormal(mu=0.0, sigma=0.7), [1], spread=1.5)[0]
    >>> round(float(np.sqrt(np.linalg.inv(one)[1, 1])), 1)  # over sqrt(N)
    8.9
    """
    mixing.require_known()
    family = type(mixing)
    if not family.varies:
        raise InputError(
            f"Expected a mixing distribution with a dispersion; got {mixing!r}, at which the "
            "information on it is 0. plan() takes it as the limit of another family."
        )
    if not spread > 0:
        raise InputError(f"Expected spread > 0; got {spread}.")
    if not len(situations) or min(situations) < 1:
        raise InputError(f"Expected situations of at least 1; got {list(situations)}.")
    return information(family, *mixing.location_dispersion(), situations, spread, seed)


def information(
    family: type[Mixing],
    location: float,
    dispersion: float,
    situations: Sequence[int],
    spread: float,
    seed: int,
) -> np.ndarray:
    """The work of :func:`chooser_information`, for a family and two numbers."""
    most = max(situations)
    relative = dispersion if family.positive else dispersion * spread
    # As the likelihood places its nodes: 0.2 is the information a choice holds at its best.
    step = min(0.25, 1.1 / np.sqrt(1 + 0.2 * most * relative**2), 0.8 / relative)
    z = np.arange(-np.ceil(_REACH / step), np.ceil(_REACH / step) + 1) * step
    log_weight = -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))
    beta, slopes = _coefficients(family, z, location, dispersion)
    out = np.empty((len(situations), 2, 2))
    for place in (i for i, number in enumerate(situations) if number == 1):
        out[place] = _one_choice(beta, slopes, log_weight, spread)
    if most == 1:
        return out

    size = int(np.clip(_EVALUATIONS / (len(z) * most), *_CHOOSERS))
    rng = np.random.default_rng(seed)
    own = coefficient_at(
        family, rng.standard_normal(size), np.asarray(location), np.asarray(dispersion)
    )
    total, slope = np.zeros((size, len(z))), np.zeros((size, len(z)))
    for number in range(1, most + 1):
        x = rng.normal(0.0, spread, size)
        x = np.where(rng.random(size) < special.expit(own * x), x, -x)
        u = x[:, None] * beta
        total -= np.logaddexp(0.0, -u)
        slope += special.expit(-u) * x[:, None]
        if number > 1 and number in situations:
            share = special.softmax(total + log_weight, axis=1)
            score = np.stack([(share * slope) @ part for part in slopes], axis=1)
            for place in (i for i, wanted in enumerate(situations) if wanted == number):
                out[place] = score.T @ score / size
    return out


def _coefficients(
    family: type[Mixing], z: np.ndarray, location: float, dispersion: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients at nodes (node,), and their slopes in location and dispersion (2, node)."""

    def at(location: float, dispersion: float) -> np.ndarray:
        return coefficient_at(family, z, np.asarray(location), np.asarray(dispersion))

    # Central differences, relative error about 1e-9: enough for every family without compiling.
    small = 1e-5
    by_location = (at(location + small, dispersion) - at(location - small, dispersion)) / 2
    by_dispersion = at(location, dispersion * (1 + small)) - at(location, dispersion * (1 - small))
    slopes = np.stack([by_location, by_dispersion / (2 * dispersion)]) / small
    return at(location, dispersion), slopes


def _one_choice(
    beta: np.ndarray, slopes: np.ndarray, log_weight: np.ndarray, spread: float
) -> np.ndarray:
    """Information of a single choice, E_x[∇p ∇p' / (p (1 - p))]."""
    step = 0.02
    z = np.arange(step, _REACH + step / 2, step)  # p(1 - p) is even in x, and x = 0 says nothing
    x, mass = spread * z, 2 * np.exp(-(z**2) / 2) * step / np.sqrt(2 * np.pi)
    u = x[:, None] * beta
    low = special.expit(-u) @ np.exp(log_weight)
    density = special.expit(u) * special.expit(-u) * x[:, None] * np.exp(log_weight)
    gradient = np.stack([density @ part for part in slopes], axis=1)
    weight = mass / (low * (1 - low))
    return np.einsum("x,xi,xj->ij", weight, gradient, gradient)
