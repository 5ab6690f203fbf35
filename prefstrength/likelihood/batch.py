"""Log-likelihoods at many laws at once, in NumPy: nothing to compile."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.polynomial import chebyshev
from scipy.interpolate import CubicSpline

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.cells import coefficient_at, law
from prefstrength.likelihood.nodes import Rows, normal_nodes

__all__ = ["NUMPY", "draws_by_chooser", "log_probabilities", "pairs_by_cell", "panels_by_chooser"]

# Numbers in the largest temporary array: small enough to stay near the processor.
_BLOCK = 2_000_000
# Step of the splines in log utility difference: error 4e-10 times the utility difference.
_SPLINE_STEP = 0.02
# Below this log utility difference log p is linear to single precision.
_SMALLEST = -20.0
# Chebyshev nodes in the squared dispersion, over the range of a posterior.
_DISPERSIONS = 20


def pairs_by_cell(
    x: np.ndarray,
    weight: np.ndarray,
    cell: np.ndarray,
    family: type[Mixing],
    location: np.ndarray,
    dispersion: np.ndarray | None,
) -> np.ndarray:
    r"""Weighted log-likelihood of the pairs of every cell under every given law.

    Parameters
    ----------
    x, weight, cell : numpy.ndarray, shape (pair,)
        Differences, weights and cell codes, of data or of the nodes that stand for them.
    family : type
        Family of the coefficient.
    location, dispersion : numpy.ndarray, shape (law, cell)
        See :mod:`prefstrength.likelihood.cells`.

    Returns
    -------
    numpy.ndarray, shape (law, cell)

    Notes
    -----
    A positive coefficient is its mean or median times a law of one parameter, so that the
    log probability is a function of log \|x\| + location for each dispersion: where many laws
    share a dispersion it is evaluated once on a grid and interpolated.
    """
    out = np.zeros(location.shape)
    mine = [np.flatnonzero(cell == c) for c in range(location.shape[1])]
    if dispersion is None or not family.positive:
        for c, own in enumerate(mine):
            spread = None if dispersion is None else dispersion[:, c]
            out[:, c] = _directly(x[own], weight[own], family, location[:, c], spread)
        return out
    for spread in np.unique(dispersion):
        which = dispersion == spread
        laws = which.sum(axis=0)
        if laws.max() * max(map(len, mine)) < 2000:
            for c, own in enumerate(mine):
                at = np.flatnonzero(which[:, c])
                if len(at):
                    out[at, c] = _directly(
                        x[own], weight[own], family, location[at, c], dispersion[at, c]
                    )
            continue
        with np.errstate(divide="ignore"):
            size = np.log(np.abs(x))
        low = max(_SMALLEST, np.min(size[size > -np.inf], initial=0.0) + location[which].min())
        high = max(size.max(), 0.0) + location[which].max()
        grid = np.arange(low, high + 5 * _SPLINE_STEP, _SPLINE_STEP)
        both = np.stack([np.exp(grid), -np.exp(grid)])
        curve = CubicSpline(grid, log_probability(NUMPY, both, law(family, 0.0, spread)), axis=1)
        for c, own in enumerate(mine):
            at = np.flatnonzero(which[:, c])
            if len(at) and len(own):
                utility = np.clip(size[own] + location[at, c, None], low, high)
                sides = curve(utility)
                out[at, c] = np.where(x[own] > 0, sides[0], sides[1]) @ weight[own]
    return out


def _directly(
    x: np.ndarray,
    weight: np.ndarray,
    family: type[Mixing],
    location: np.ndarray,
    dispersion: np.ndarray | None,
) -> np.ndarray:
    """Weighted log-likelihood under each of the laws (law,)."""
    size = max(1, _BLOCK // (200 * max(1, len(x))))
    out = np.empty(len(location))
    for start in range(0, len(location), size):
        part = slice(start, start + size)
        spread = None if dispersion is None else dispersion[part, None]
        mixing = law(family, location[part, None], spread)
        out[part] = log_probability(NUMPY, x[None, :], mixing) @ weight
    return out


def panels_by_chooser(
    rows: Rows,
    family: type[Mixing],
    location: np.ndarray,
    dispersion: np.ndarray | None,
    steps: np.ndarray,
    reaches: np.ndarray,
    precise: bool = False,
) -> np.ndarray:
    """Log-likelihood of every chooser under every given law.

    Parameters
    ----------
    rows : PanelRows or SplineRows
    family : type
        Family of the coefficient.
    location, dispersion : numpy.ndarray, shape (law, cell)
        See :mod:`prefstrength.likelihood.cells`.
    steps, reaches : numpy.ndarray, shape (chooser,)
        The trapezoid rule of each chooser, as :meth:`PanelRows.steps` gives them.
    precise : bool
        Products in double precision; else in single, as in
        :class:`~prefstrength.likelihood.panels.PanelTables`, with errors about 1e-7 of a chooser's
        number of choices.

    Returns
    -------
    numpy.ndarray, shape (law, chooser)
    """
    precision = np.float64 if precise else np.float32
    out = np.empty((len(location), len(rows.information)))
    for part, members, _, log_weight, values in _integrands(
        rows, family, location, dispersion, steps, reaches, precision
    ):
        values += log_weight
        top = values.max(axis=-1)
        with np.errstate(over="ignore"):  # beyond single precision: no mass there
            mass = np.exp((values - top[..., None]).astype(precision)).sum(-1, dtype=np.float64)
        out[part, members] = (top + np.log(mass)).T
    return out


def draws_by_chooser(
    rows: Rows,
    family: type[Mixing],
    location: np.ndarray,
    dispersion: np.ndarray | None,
    steps: np.ndarray,
    reaches: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """One draw of every chooser's standard normal z given the choices, under every law.

    By inverting the distribution function on nodes four times as fine as the trapezoid rule's.

    Returns
    -------
    numpy.ndarray, shape (law, chooser)
    """
    out = np.empty((len(location), len(rows.information)))
    for part, members, z, _, values in _integrands(
        rows, family, location, dispersion, steps / 4, reaches
    ):
        values -= z**2 / 2
        values -= values.max(axis=-1, keepdims=True)
        with np.errstate(over="ignore"):
            density = np.exp(values.astype(np.float32))
        cdf = np.cumsum(density[..., 1:] + density[..., :-1], axis=-1)
        wanted = rng.random(cdf.shape[:-1], dtype=np.float32)[..., None] * cdf[..., -1:]
        right = np.minimum((cdf < wanted).sum(axis=-1), len(z) - 2)[..., None]
        above = np.take_along_axis(cdf, right, axis=-1)
        below = np.where(right > 0, np.take_along_axis(cdf, np.maximum(right - 1, 0), -1), 0.0)
        share = np.clip((wanted - below) / np.maximum(above - below, 1e-30), 0.0, 1.0)
        out[part, members] = (z[right] + share * (z[1] - z[0]))[..., 0].T
    return out


def _integrands(
    rows: Rows,
    family: type[Mixing],
    location: np.ndarray,
    dispersion: np.ndarray | None,
    steps: np.ndarray,
    reaches: np.ndarray,
    precision: type = np.float32,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Parts of the laws, choosers, nodes, log weights, log-likelihoods (chooser, law, node)."""
    laws, choosers = len(location), len(rows.information)
    for step, reach in sorted(set(zip(steps, reaches, strict=True))):
        members = np.flatnonzero((steps == step) & (reaches == reach))
        place = np.full(choosers, -1)
        place[members] = np.arange(len(members))
        mine = np.flatnonzero(place[rows.chooser] >= 0)
        z, log_weight = np.zeros(1), np.zeros(1)
        if family.varies:
            z, log_weight = normal_nodes(float(step), float(reach))
        by_cell = [(c, mine[rows.cell[mine] == c]) for c in np.unique(rows.cell[mine])]
        coefficients = {
            c: _coefficients(
                family, z, location[:, c], None if dispersion is None else dispersion[:, c]
            )
            for c, _ in by_cell
        }
        evaluators = {c: rows.evaluator(own, precision) for c, own in by_cell}
        size = max(1, _BLOCK // (len(members) * len(z)))
        for start in range(0, laws, size):
            part = slice(start, min(start + size, laws))
            values = None
            for c, own in by_cell:
                beta = coefficients[c](part)
                at_nodes = np.broadcast_to(beta, (len(beta), len(z))).ravel()
                found = evaluators[c](at_nodes)
                # A chooser has one row in a cell, so that no index repeats.
                at = place[rows.chooser[own]]
                if len(by_cell) == 1 and np.array_equal(at, np.arange(len(members))):
                    values = found
                    continue
                if values is None:
                    values = np.zeros((len(members), found.shape[1]))
                values[at] += found
            assert values is not None
            yield part, members, z, log_weight, values.reshape(len(members), -1, len(z))


def _coefficients(
    family: type[Mixing], z: np.ndarray, location: np.ndarray, dispersion: np.ndarray | None
) -> Callable[[slice], np.ndarray]:
    """Coefficients at the nodes for parts of the laws (law, node).

    Quantiles may be dear, as those of a Gamma law are. Laws on a grid have few dispersions, and for
    each it is evaluated once.
    """
    if family.positive and not family.linear and dispersion is not None:
        distinct, which = np.unique(dispersion, return_inverse=True)
        if 2 * len(distinct) <= len(dispersion):
            unit = coefficient_at(family, z[None, :], np.zeros(1), distinct[:, None])
            return lambda part: unit[which[part]] * np.exp(location[part, None])

    def directly(part: slice) -> np.ndarray:
        spread = None if dispersion is None else dispersion[part, None]
        return coefficient_at(family, z[None, :], location[part, None], spread)

    return directly


def log_probabilities(
    x: np.ndarray, family: type[Mixing], location: np.ndarray, dispersion: np.ndarray | None
) -> np.ndarray:
    """Log probability of each difference under each law (law,), shape (law, difference).

    For a positive coefficient by a Chebyshev series in the squared dispersion between splines.
    """
    if dispersion is None or not family.positive or len(location) < 40:
        spread = None if dispersion is None else dispersion[:, None]
        mixing = law(family, location[:, None], spread)
        return np.asarray(log_probability(NUMPY, x[None, :], mixing))
    with np.errstate(divide="ignore"):
        utility = np.log(np.abs(x))[None, :] + location[:, None]
    low = max(_SMALLEST, float(utility[utility > -np.inf].min(initial=0.0)))
    high = max(float(utility.max()), low) + _SPLINE_STEP
    utility = np.clip(utility, low, high)
    grid = np.arange(low, high + 5 * _SPLINE_STEP, _SPLINE_STEP)
    both = np.stack([np.exp(grid), -np.exp(grid)])
    points = chebyshev.chebpts1(_DISPERSIONS)
    least, most = dispersion.min() ** 2, dispersion.max() ** 2 * (1 + 1e-9)
    spreads = np.sqrt(least + (points + 1) / 2 * (most - least))
    transform = chebyshev.chebvander(points, _DISPERSIONS - 1).T * 2 / _DISPERSIONS
    transform[0] /= 2
    # Weight of each node's spline for each law.
    u = 2 * (dispersion**2 - least) / (most - least) - 1
    share = chebyshev.chebvander(u, _DISPERSIONS - 1) @ transform
    out = np.zeros(utility.shape)
    for k, spread in enumerate(spreads):
        values = log_probability(NUMPY, both, law(family, 0.0, spread))
        for side, here in ((0, x > 0), (1, x <= 0)):
            out[:, here] += share[:, k, None] * CubicSpline(grid, values[side])(utility[:, here])
    return out
