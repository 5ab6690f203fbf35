"""Small data for likelihoods, and the sums that define what a likelihood of them is."""

import math

import numpy as np
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.responses.pair import Pair
from prefstrength.likelihood.build_strength import strength_likelihood
from prefstrength.likelihood.cells import coefficient_at
from prefstrength.likelihood.certificate import certified_error
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.sources import Reading
from tests.helpers.reference import Z, log_panel

#: Pairs alone are read so.
PLAIN = Reading(Pair())


def choose(rng, attribute, strength):
    """Differences signed by who was chosen."""
    first = rng.random(attribute.shape) < special.expit(strength * attribute)
    return np.where(first, attribute, -attribute)


def pairs(x, *, unit=None, cell=None, weight=None, scale=None):
    """One attribute, two alternatives, the first chosen; ``unit`` None: no choosers."""
    n = len(x)
    units = n if unit is None else int(np.max(unit)) + 1
    return LikelihoodData(
        values=np.stack([x, np.zeros(n)], axis=1)[:, :, None],
        chosen=np.zeros(n, dtype=int),
        available=np.ones((n, 2), dtype=bool),
        weight=np.ones(n) if weight is None else np.asarray(weight, dtype=float),
        cell=np.zeros(n, dtype=int) if cell is None else np.asarray(cell),
        unit=np.arange(n) if unit is None else np.asarray(unit),
        units=units,
        panel=unit is not None,
        scales=(float(np.sqrt(np.mean(x**2))) if scale is None else scale,),
        response=Pair(),
        answers=np.zeros(n, dtype=int),
        shown_first=np.zeros(n, dtype=int),
        unit_weight=np.ones(units),
        pair=np.zeros(0, dtype=int),
    )


def panels(sizes, cells=1, seed=0, tail=None, sigma=0.7, apart=False):
    """Choosers with the given numbers of choices; cells mixed within choosers, or ``apart``."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(len(sizes)), sizes)
    n = len(unit)
    attribute = rng.standard_normal(n) if tail is None else rng.standard_t(tail, n)
    strength = np.exp(sigma * rng.standard_normal(len(sizes)))[unit]
    x = choose(rng, attribute, strength)
    shuffled = rng.permutation(n)
    cell = rng.integers(cells, size=n)[shuffled]
    unit = unit[shuffled]
    return pairs(x[shuffled], unit=unit, cell=unit % cells if apart else cell)


def many_pairs(n, tail, seed=0, cells=3):
    """Pairs of choosers who are not known, with weights, in cells."""
    rng = np.random.default_rng(seed)
    attribute = 3.0 * (rng.standard_normal(n) if tail is None else rng.standard_t(tail, n))
    x = choose(rng, attribute, np.exp(-1 + 0.7 * rng.standard_normal(n)))
    return pairs(x, cell=rng.integers(cells, size=n), weight=rng.choice([0.5, 1.0, 2.0], n))


def blends(family, location, dispersion):
    """Mixing distributions of every cell (cell,), or of many points too (point, cell)."""
    location = np.atleast_2d(np.asarray(location, float))
    dispersion = np.broadcast_to(np.atleast_2d(np.asarray(dispersion, float)), location.shape)
    return [
        Blend.of(Laws(family, location[:, c], None if family is PointMass else dispersion[:, c]))
        for c in range(location.shape[1])
    ]


def plausible(family, cells=1, scale=1.0):
    """Mixing distributions from the range that a posterior may visit; cells differ."""
    shift = np.linspace(-0.3, 0.4, cells) if cells > 1 else np.zeros(1)
    for location, dispersion in [(0.0, 0.7), (-0.7, 0.25), (0.7, 0.4), (0.3, 1.5)]:
        spread = dispersion * np.exp(shift)
        if family.positive and family is not PointMass:
            yield blends(family, location - math.log(scale) + shift, spread)
        else:
            yield blends(family, np.exp(location + shift) / scale, spread / scale)


def likelihood_of(data, family, reading=PLAIN, at=None):
    """The tables that a fit makes of data."""
    return strength_likelihood(data, reading, family.positive, at or {})


def error_of(likelihood, data, laws, shared=None):
    """What the certificate says."""
    return certified_error(likelihood, data, likelihood.reading, laws, shared or {})


def by_definition(data, laws):
    """Log-likelihood of each unit at one point: one draw z for each, whatever its cells."""
    x, out, of_cell = data.differences(), [], {}
    for cell in np.unique(data.cell):
        (law,) = laws[cell].parts
        spread = None if law.dispersion is None else law.dispersion[0]
        of_cell[cell] = np.broadcast_to(
            coefficient_at(law.family, Z, law.location[0], spread), Z.shape
        )
    for unit in range(data.units):
        mine = np.flatnonzero(data.unit == unit)
        strengths = (of_cell[c] for c in data.cell[mine])
        out.append(log_panel(x[mine], data.weight[mine], strengths))
    return np.array(out)


def total_of_pairs(data, laws):
    """Of pairs one by one, at one point."""
    x, total = data.differences(), 0.0
    for cell in np.unique(data.cell):
        law = laws[cell].mixing(0)
        mine = np.flatnonzero(data.cell == cell)
        for part in np.array_split(mine, max(1, len(mine) // 20_000)):
            total += data.weight[part] @ log_probability(NUMPY, x[part], law)
    return float(total)
