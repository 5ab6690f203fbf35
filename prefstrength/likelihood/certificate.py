r"""The certificate: tables against every choice by itself, for units that would show an error first.

Direct evaluation knows neither lattice nor grid. A unit's choices are evaluated one by one at
strengths of fine, equally spaced standard normal draws, as far out as its integrand reaches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special

from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.laws import Blend
from prefstrength.likelihood.sources import Reading, SituationSource
from prefstrength.likelihood.strength import Shared, StrengthLikelihood

__all__ = ["certified_error", "exact_units", "telling_units"]

_COARSE = np.arange(-40.0, 40.25, 0.25)
_REACHES = 40.0
# Evaluations of a choice that a certificate may cost, and the fewest units it looks at.
_BUDGET, _FEWEST = 4e6, 8
_SPECIAL = 3


def certified_error(
    likelihood: StrengthLikelihood,
    data: LikelihoodData,
    reading: Reading,
    blends: Sequence[Blend],
    shared: Shared,
) -> float:
    """Error of the total log-likelihood in nats, the worst of the given points.

    Units with most choices, with the largest and the smallest differences count with their own
    errors, a random sample of the rest with its mean for all of the rest.
    """
    points = blends[0].size
    chosen, special_units = telling_units(data, points)
    exact = exact_units(data, reading, blends, shared, chosen)
    found = _found(likelihood, data, blends, shared, chosen)
    each = np.abs(found - exact) * data.unit_weight[chosen]
    if not data.panel:
        each = each * data.weight[chosen]
    own, rest = each[:, :special_units], each[:, special_units:]
    total = own.sum(axis=1)
    if rest.shape[1]:
        total = total + rest.mean(axis=1) * (data.units - special_units)
    return float(total.max())


def telling_units(data: LikelihoodData, points: int, seed: int = 0) -> tuple[np.ndarray, int]:
    """Units to look at, those on which an error would show first in front, and how many these."""
    sizes = np.bincount(data.unit, minlength=data.units)
    relative = np.abs(data.values[:, :, 0] - data.values[:, :1, 0]).max(axis=1)
    largest = np.zeros(data.units)
    np.maximum.at(largest, data.unit, relative)
    orders = [np.argsort(order)[::-1][:_SPECIAL] for order in (sizes, largest)]
    first = np.unique(np.concatenate([*orders, np.argsort(largest)[:_SPECIAL]]))
    typical = max(1.0, float(np.median(sizes)))
    count = int(np.clip(_BUDGET / (points * 800 * typical) - len(first), _FEWEST, 48))
    rest = np.setdiff1d(np.arange(data.units), first)
    rng = np.random.default_rng(seed)
    return np.r_[first, rng.choice(rest, min(count, len(rest)), replace=False)], len(first)


def _found(
    likelihood: StrengthLikelihood,
    data: LikelihoodData,
    blends: Sequence[Blend],
    shared: Shared,
    chosen: np.ndarray,
) -> np.ndarray:
    """What the tables say of units (point, unit)."""
    if data.panel or isinstance(likelihood.source, SituationSource):
        return likelihood.by_unit(blends, shared)[:, chosen]
    # Pairs are summed up by size: their own are laid on the same nodes.
    from prefstrength.likelihood.build_strength import strength_likelihood

    own = data.take(chosen)
    alone = strength_likelihood(
        replace(own, panel=True, weight=np.ones(len(own.weight))),
        likelihood.reading,
        likelihood.grid.positive,
        likelihood.at,
        grid=likelihood.grid,
    )
    return alone.by_unit(blends, shared)


def exact_units(
    data: LikelihoodData,
    reading: Reading,
    blends: Sequence[Blend],
    shared: Shared,
    units: np.ndarray,
) -> np.ndarray:
    """Log marginal likelihood of units, directly (point, unit)."""
    out = np.empty((blends[0].size, len(units)))
    for m in range(blends[0].size):
        values = {name: float(np.broadcast_to(v, blends[0].size)[m]) for name, v in shared.items()}
        here = [blend.take(np.array([m])) for blend in blends]
        for u, unit in enumerate(units):
            mine = np.flatnonzero(data.unit == unit)
            own = _Unit(data, reading, mine, values)
            parts = [_part(own, here, k) for k in range(len(here[0].parts))]
            out[m, u] = special.logsumexp(np.array(parts) + here[0].log_share[:, 0])
    return out


def _part(own: "_Unit", blends: Sequence[Blend], k: int) -> float:
    laws = [blend.parts[k] for blend in blends]
    if laws[0] is None:
        return float(own.log(np.zeros((len(laws), 1)))[0])
    if laws[0].dispersion is None:
        return float(own.log(np.stack([law.location for law in laws]))[0])

    def log_integrand(z: np.ndarray) -> np.ndarray:
        return own.log(np.stack([law.at(z)[0] for law in laws])) - z**2 / 2  # type: ignore[union-attr]

    values = log_integrand(_COARSE)
    there = _COARSE[values > values.max() - _REACHES]
    near = np.flatnonzero(values > values.max() - 10.0)
    around = values[max(near[0] - 1, 0) : near[-1] + 2]
    curved = -np.diff(around, 2).min(initial=0.0) / 0.25**2
    step = min(0.05, 0.3 / np.sqrt(max(curved, 1.0)))
    z = np.arange(there[0] - 0.25, there[-1] + 0.25, step)
    return float(special.logsumexp(log_integrand(z)) + np.log(step / np.sqrt(2 * np.pi)))


class _Unit:
    """One unit's choices, at strengths in every cell."""

    def __init__(
        self, data: LikelihoodData, reading: Reading, mine: np.ndarray, shared: Mapping[str, Any]
    ) -> None:
        self.cells = data.cell[mine]
        self.weight = data.weight[mine] if data.panel else np.ones(len(mine))
        self.data, self.shared, self.mine = data, shared, mine
        self.source = SituationSource(
            data.values[mine][:, :, 0], data.values[mine][:, :, 1:], data.available[mine],
            data.answers[mine], data.shown_first[mine], self.weight, np.arange(len(mine)),
            len(mine), reading, data.scales[0],
        )  # fmt: skip

    def log(self, strength: np.ndarray) -> np.ndarray:
        """Log probability of all of the unit's choices at strengths (cell, point)."""
        total = np.zeros(strength.shape[1])
        for c in np.unique(self.cells):
            rows = np.flatnonzero(self.cells == c)
            if self.data.truth is not None:
                at = self.mine[rows]
                x = self.data.differences()[at]
                each = self.data.truth.log_probability(x, self.data.cell[at], strength[c])
            else:
                each = self.source(strength[c], self.shared, rows)
            total += self.weight[rows] @ each if self.data.truth is not None else each.sum(axis=0)
        return total


