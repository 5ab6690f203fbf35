"""The reference that compressed likelihoods are certified against: every chooser by itself."""

from typing import TYPE_CHECKING

import numpy as np

from prefstrength.likelihood.cells import CellLaws, coefficient_at
from prefstrength.likelihood.nodes import changing_beyond, log_sigmoid
from prefstrength.likelihood.true_differences import TrueDifferences

if TYPE_CHECKING:
    pass
from prefstrength.likelihood.data import LikelihoodData

__all__ = ["error_of_all", "exact_panels", "telling_pairs", "telling_units"]
# Pairs that a certificate compares, and the largest differences among them.
_SAMPLED_PAIRS, _LARGEST_PAIRS = 20_000, 2_000


def telling_pairs(data: LikelihoodData, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences, cells and weights of a sample of pairs that stands for all.

    All pairs, or the 2,000 largest differences as they are, which set the range that nodes must
    cover, and a random sample of the rest with weights raised to match.
    """
    x, cell, weight = data.differences(), data.cell, data.weight
    if len(x) <= _SAMPLED_PAIRS:
        return x, cell, weight
    order = np.argpartition(np.abs(x), len(x) - _LARGEST_PAIRS)
    largest, rest = order[-_LARGEST_PAIRS:], order[:-_LARGEST_PAIRS]
    count = _SAMPLED_PAIRS - _LARGEST_PAIRS
    sampled = np.random.default_rng(seed).choice(rest, count, replace=False)
    keep = np.r_[largest, sampled]
    factor = np.r_[np.ones(len(largest)), np.full(count, len(rest) / count)]
    return x[keep], cell[keep], weight[keep] * factor


def telling_units(
    data: LikelihoodData, seed: int = 0, sample: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """Units on which an error would show first, and a random sample of the rest."""
    sizes = np.bincount(data.unit, minlength=data.units)
    extreme = np.zeros(data.units)
    relative = np.abs(data.values / np.array(data.scales)).max(axis=(1, 2))
    np.maximum.at(extreme, data.unit, relative)
    orders = [sizes, extreme]
    if data.scalar:
        orders.append(changing_beyond(data.differences(), data.unit, data.weight, data.scales[0]))
    special = np.unique(np.concatenate([np.argsort(order)[::-1][:4] for order in orders]))
    rest = np.setdiff1d(np.arange(data.units), special)
    rng = np.random.default_rng(seed)
    return special, rng.choice(rest, min(sample, len(rest)), replace=False)


def error_of_all(error: np.ndarray, special: int, units: int) -> float:
    """Error of the total from the absolute errors of special units and a sample, in this order."""
    own, of_rest = error[:special], error[special:]
    return float(own.sum() + ((units - special) * of_rest.mean() if len(of_rest) else 0.0))


def exact_panels(data: LikelihoodData, laws: tuple[CellLaws, ...]) -> np.ndarray:
    """Log-likelihood of panels without tables, on nodes that surely are enough.

    A first look on a coarse grid, far wider than any chooser lies, finds where the integrand is.
    """
    x, out = data.differences(), np.empty(data.units)
    for unit in range(data.units):
        mine = data.unit == unit
        own = x[mine], data.cell[mine], data.weight[mine], data.truth
        if not laws[0].family.varies:
            out[unit] = _log_integrand(*own, laws[0], np.zeros(1))[0]
            continue
        coarse = np.arange(-36.0, 36.25, 0.25 if data.truth is None else 1.0)
        values = _log_integrand(*own, laws[0], coarse) - coarse**2 / 2
        there = coarse[values > values.max() - 40.0]
        step = 0.05 / np.sqrt(1 + 0.5 * data.weight[mine].sum())
        if data.truth is not None:
            step = _coarser(step, laws[0])
        if not laws[0].family.positive:
            # A choice is a step in z, as sharp as the utility's spread is wide.
            spread = np.max(np.abs(x[mine])) * np.max(np.asarray(laws[0].dispersion))
            step = min(step, 0.3 / float(spread))
        margin = coarse[1] - coarse[0]
        z = np.arange(there[0] - margin, there[-1] + margin, step)
        values = _log_integrand(*own, laws[0], z) - z**2 / 2
        top = values.max()
        out[unit] = top + np.log(np.exp(values - top).sum() * step / np.sqrt(2 * np.pi))
    return out


def _coarser(step: float, law: CellLaws) -> float:
    """As few nodes as give seven digits, for choices that are dear to evaluate.

    Ten times the step is enough for a Gaussian integrand, and that the poles of the logit, where
    log strength is linear in z pi/(2 sigma) off the real axis, are told apart.
    """
    if not law.family.positive:
        return 10 * step
    closest = 0.4 / float(np.max(np.asarray(law.dispersion))) if law.family.linear else 0.1
    return min(10 * step, closest)


def _log_integrand(
    x: np.ndarray,
    cell: np.ndarray,
    weight: np.ndarray,
    truth: TrueDifferences | None,
    law: CellLaws,
    z: np.ndarray,
) -> np.ndarray:
    """Log probability of one chooser's choices at draws z."""
    total = np.zeros(len(z))
    for c in np.unique(cell):
        dispersion = None if law.dispersion is None else np.asarray(law.dispersion[c])
        beta = coefficient_at(law.family, z, np.asarray(law.location[c]), dispersion)
        if truth is not None:
            mine = cell == c
            beta = np.broadcast_to(beta, z.shape)
            total += weight[mine] @ truth.log_probability(x[mine], cell[mine], beta)
            continue
        for part in np.array_split(np.flatnonzero(cell == c), 1 + len(x) * len(z) // 2_000_000):
            total += weight[part] @ log_sigmoid(x[part][:, None] * beta)
    return total
