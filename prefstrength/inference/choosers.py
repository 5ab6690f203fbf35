r"""Choosers' own strengths given their choices: exact conditionals, averaged over posterior draws.

Given a draw of the population level a chooser's strength has a distribution on nodes of the mixing
distribution, by likelihood; averaged over draws it is the chooser's posterior. What is kept of it
are its quantiles at equally spaced probabilities, so that means, sds and intervals carry no error
of sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prefstrength.likelihood.lattice import interpolation
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.strength import Shared, StrengthLikelihood, runs

__all__ = ["ChooserPosterior", "chooser_posteriors", "shared_draw_posteriors"]

#: Quantiles kept of every chooser.
QUANTILES = 200
# How far nodes of a mixing distribution reach, in its sds, and their widest and narrowest step.
_REACH, _STEP, _FINEST = 7.0, 0.4, 0.02
_POINTS = 8
_BLOCK = 20_000_000


@dataclass(frozen=True)
class ChooserPosterior:
    """Posteriors of choosers.

    Parameters
    ----------
    quantiles : numpy.ndarray, shape (quantile, chooser)
        Strengths at the probabilities (i + 1/2) / 200.
    kind : numpy.ndarray, shape (kind, chooser)
        Probability of every kind of choosers, that of strength 0 last where there is one.
    """

    quantiles: np.ndarray
    kind: np.ndarray


def chooser_posteriors(
    likelihood: StrengthLikelihood,
    blends: Sequence[Blend],
    shared: Shared,
    rng: np.random.Generator,
) -> ChooserPosterior:
    """Posterior of every chooser, averaged over the given draws.

    Parameters
    ----------
    likelihood : StrengthLikelihood
        Of choosers in one cell each.
    blends : sequence of Blend
        One for each cell, of the same number of draws.
    shared : mapping
        What all choosers share, of every draw.
    """
    units, parts = likelihood.units, len(blends[0].parts)
    quantiles = np.empty((QUANTILES, units))
    kind = np.zeros((parts, units))
    for c, blend in enumerate(blends):
        rows = np.flatnonzero(likelihood.cell == c)
        # Those of whom most is known ask for the finest nodes.
        rows = rows[np.argsort(likelihood.information[rows])]
        start = 0
        while start < len(rows):
            step = _step(blend, likelihood, float(likelihood.information[rows[start]]) * 2 + 1)
            nodes = blend.size * (2 * _REACH / step) * parts
            stop = start + max(1, int(_BLOCK / nodes))
            most = float(likelihood.information[rows[start]]) * 2 + 1
            known = np.searchsorted(likelihood.information[rows], most, side="right")
            some = rows[start : min(stop, max(int(known), start + 1))]
            own = likelihood.unit[some]
            quantiles[:, own], kind[:, own] = _of_rows(likelihood, some, blend, shared, step, rng)
            start += len(some)
    return ChooserPosterior(quantiles, kind)


def shared_draw_posteriors(
    likelihood: StrengthLikelihood,
    blends: Sequence[Blend],
    shared: Shared,
    unit: np.ndarray,
    cell: np.ndarray,
    share: np.ndarray,
    rng: np.random.Generator,
) -> ChooserPosterior:
    """Posterior of choosers who are in several cells, with one draw z in all of them.

    A chooser's strength is then the mean over their situations, of which ``share`` lie in each
    ``cell``; one draw of it for every draw of the population level.
    """
    parts, points = len(blends[0].parts), blends[0].size
    drawn = np.empty((points, likelihood.units))
    kind = np.zeros((parts, likelihood.units))
    for m in range(points):
        at = np.array([m])
        values = {name: float(np.broadcast_to(v, points)[m]) for name, v in shared.items()}
        tables, here = likelihood.tables(values), [blend.take(at) for blend in blends]
        z = np.arange(
            -_REACH, _REACH, _step(blends[0], likelihood, float(likelihood.of_unit.max()))
        )
        log = np.full((parts, likelihood.units, len(z)), -np.inf)
        strength = np.zeros((parts, len(here), len(z)))
        for k in range(parts):
            if here[0].parts[k] is None:
                total = np.bincount(likelihood.unit, tables.at_zero, likelihood.units)
                log[k, :, 0] = total + here[0].log_share[k]
                continue
            total = np.zeros((likelihood.units, len(z)))
            for c, blend in enumerate(here):
                law = blend.parts[k]
                assert law is not None
                strength[k, c] = law.at(z)[0]
                rows = np.flatnonzero(likelihood.cell == c)
                place = likelihood.grid.position(strength[k, c])
                rule = interpolation(place, tables.log.shape[1], _POINTS)
                np.add.at(total, likelihood.unit[rows], tables.log[rows] @ rule)
            weight = -(z**2) / 2 + np.log((z[1] - z[0]) / np.sqrt(2 * np.pi))
            log[k] = total + weight + here[0].log_share[k]
        weight = np.exp(log - log.max(axis=(0, 2), keepdims=True))
        weight /= weight.sum(axis=(0, 2), keepdims=True)
        kind += weight.sum(axis=2) / points
        flat = np.cumsum(weight.transpose(1, 0, 2).reshape(likelihood.units, -1), axis=1)
        pick = (
            (flat < rng.random(likelihood.units)[:, None]).sum(axis=1).clip(max=flat.shape[1] - 1)
        )
        own = strength[pick[unit] // len(z), cell, pick[unit] % len(z)]
        drawn[m] = np.bincount(unit, own * share, likelihood.units)
    return ChooserPosterior(drawn, kind)


def _step(blend: Blend, likelihood: StrengthLikelihood, information: float) -> float:
    """Step in z at which a chooser of that information is resolved."""
    widths = [
        float(np.quantile(part.spread_in(likelihood.grid), 0.9))
        for part in blend.parts
        if part is not None
    ]
    wanted = 0.8 / np.sqrt(1 + information * max(widths, default=0.0) ** 2)
    return float(np.clip(wanted, _FINEST, _STEP))


def _of_rows(
    likelihood: StrengthLikelihood,
    rows: np.ndarray,
    blend: Blend,
    shared: Shared,
    step: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    z = np.arange(-_REACH, _REACH + step / 2, step)
    atoms, weights, kinds = [], [], []
    for which, values in runs(shared, blend.size):
        tables = likelihood.tables(values)
        log_zero = tables.at_zero[rows]
        here = blend.take(which)
        found = []
        for k, part in enumerate(here.parts):
            if part is None:
                strength = np.zeros((here.size, 1))
                log = np.broadcast_to(log_zero[:, None, None], (len(rows), here.size, 1))
            else:
                strength, log_weight = _nodes(part, z, step * (rng.random(here.size) - 0.5))
                place = likelihood.grid.position(strength).ravel()
                log = tables.log[rows] @ interpolation(place, tables.log.shape[1], _POINTS)
                log = log.reshape(len(rows), *strength.shape) + log_weight
            found.append((strength, log + here.log_share[k][:, None], np.full(strength.shape, k)))
        strength, log, code = (np.concatenate(each, axis=-1) for each in zip(*found, strict=True))
        log = log - log.max(axis=2, keepdims=True)
        weight = np.exp(log)
        weight /= weight.sum(axis=2, keepdims=True)
        atoms.append(strength.ravel())
        kinds.append(code.ravel())
        weights.append(weight.reshape(len(rows), -1))
    strength, code = np.concatenate(atoms), np.concatenate(kinds)
    weight = np.concatenate(weights, axis=1) / blend.size
    order = np.argsort(strength, kind="stable")
    kind = np.stack([weight[:, code == k].sum(axis=1) for k in range(len(blend.parts))])
    strength, total = strength[order], np.cumsum(weight[:, order], axis=1)
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    place = np.stack([np.searchsorted(row, levels * row[-1]) for row in total], axis=1)
    return strength[np.minimum(place, len(strength) - 1)], kind


def _nodes(laws: Laws, z: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strengths (law, node) and their log weights, at draws z moved a little for each law."""
    if laws.dispersion is None:
        return laws.at(np.zeros(1)), np.zeros(1)
    own = z + shift[:, None]
    return laws.at_own(own), -(own**2) / 2
