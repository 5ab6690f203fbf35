r"""The certificate: tables against every choice by itself, for units that would show errors.

Direct evaluation knows neither lattice nor grid. A unit's choices are evaluated one by one at
strengths of fine, equally spaced standard normal draws, as far out as its integrand reaches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.sources import PairSource, Reading, SituationSource
from prefstrength.likelihood.strength import Shared, StrengthLikelihood

__all__ = ["certified_error", "exact_units", "telling_units"]

_MIDDLE = np.zeros(1)  # of a distribution without spread
# How far out integrands are looked at; farther the probability of a draw is no number, and a
# quantile of Gamma infinite.
_LOOKS, _COARSE = (9.0, 37.0), 0.25
_REACHES = 40.0
# Quantiles that far out may be infinite; probabilities of choices change no more before.
_LARGEST = 1e100
# Evaluations of a choice that a certificate may cost, and the fewest units it looks at.
_BUDGET, _FEWEST = 3e6, 8
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
    count = int(np.clip(_BUDGET / (points * 800 * typical) - len(first), _FEWEST, 32))
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

    assert isinstance(likelihood.source, PairSource)
    own, truth = data.take(chosen), likelihood.source.truth
    alone = strength_likelihood(
        replace(own, panel=True, weight=np.ones(len(own.weight)), truth=truth),
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
    points = blends[0].size
    values = {name: np.broadcast_to(value, points) for name, value in shared.items()}
    out = np.empty((points, len(units)))
    for u, unit in enumerate(units):
        own = _Unit(data, reading, np.flatnonzero(data.unit == unit))
        parts = [
            own.integrated([blend.parts[k] for blend in blends], points, values)
            for k in range(len(blends[0].parts))
        ]
        out[:, u] = special.logsumexp(np.array(parts) + blends[0].log_share, axis=0)
    return out


class _Unit:
    """One unit's choices, evaluated one by one."""

    def __init__(self, data: LikelihoodData, reading: Reading, mine: np.ndarray) -> None:
        self.cells, self.truth = data.cell[mine], data.truth
        self.difference = data.differences()[mine] if data.truth is not None else np.zeros(0)
        self.weight = data.weight[mine] if data.panel else np.ones(len(mine))
        self.source = SituationSource(
            data.values[mine][:, :, 0], data.values[mine][:, :, 1:], data.available[mine],
            data.answers[mine], data.shown_first[mine], self.weight, np.arange(len(mine)),
            len(mine), reading, data.scales[0],
        )  # fmt: skip

    def integrated(self, laws: Sequence[Laws | None], points: int, shared: Shared) -> np.ndarray:
        """Log-likelihood averaged over mixing distributions, one for each cell (point,)."""
        if laws[0] is None or laws[0].dispersion is None:
            alone = np.stack([np.zeros(points) if x is None else x.at(_MIDDLE)[:, 0] for x in laws])
            return self._log(alone[:, :, None], shared)[:, 0]

        def log_integrand(z: np.ndarray) -> np.ndarray:
            strength = np.stack([law.at(z) for law in laws if law is not None])
            log = self._log(np.clip(strength, -_LARGEST, _LARGEST), shared)
            return np.maximum(log, -_LARGEST) - z**2 / 2

        for look in _LOOKS:
            z = np.arange(-look, look + _COARSE, _COARSE)
            values = log_integrand(z)
            there = (values > values.max(axis=1, keepdims=True) - _REACHES).any(axis=0)
            if not there[[0, -1]].any():
                break
        ends = z[there][[0, -1]]
        # The second difference where the integrand lies says how narrow it is.
        with np.errstate(invalid="ignore"):  # far out there may be nothing left
            curved = -np.diff(values, 2, axis=1) / _COARSE**2
        near = (values > values.max(axis=1, keepdims=True) - 10.0)[:, 1:-1]
        most = float(np.where(near, curved, 0.0).max(initial=1.0))
        step = min(0.1, 0.4 / np.sqrt(most))
        z = np.arange(ends[0] - _COARSE, ends[1] + _COARSE, step)
        return np.asarray(
            special.logsumexp(log_integrand(z), axis=1) + np.log(step / np.sqrt(2 * np.pi))
        )

    def _log(self, strength: np.ndarray, shared: Shared) -> np.ndarray:
        """Log probability of all choices at strengths (cell, point, node), (point, node)."""
        out = np.zeros(strength.shape[1:])
        if not shared:
            return self._at(strength.reshape(len(strength), -1), {}).reshape(out.shape)
        for m in range(len(out)):
            values = {name: float(v[m]) for name, v in shared.items()}
            out[m] = self._over_positions(strength[:, m], values)
        return out

    def _over_positions(self, strength: np.ndarray, shared: dict[str, float]) -> np.ndarray:
        """The same at strengths (cell, node), averaged over a position effect of the unit's own."""
        sd = shared.get("position_sd", 0.0)
        if sd == 0:
            return self._at(strength, shared)
        known = float(self.weight @ np.abs(self.source.shown_first))
        step = min(0.25, 0.6 / np.sqrt(1 + known / 4 * sd**2))
        z = np.arange(-8.0, 8.0 + step / 2, step)
        each = [self._at(strength, shared | {"position": shared["position"] + sd * a}) for a in z]
        log_weight = -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))
        return np.asarray(special.logsumexp(np.array(each) + log_weight[:, None], axis=0))

    def _at(self, strength: np.ndarray, shared: Mapping[str, Any]) -> np.ndarray:
        """The same at strengths (cell, node), (node,)."""
        total = np.zeros(strength.shape[1])
        for c in np.unique(self.cells):
            rows = np.flatnonzero(self.cells == c)
            if self.truth is not None:
                each = self.truth.log_probability(
                    self.difference[rows], self.cells[rows], strength[c]
                ).T
            else:
                with np.errstate(divide="ignore"):
                    each = self.source.log_probability(NUMPY, strength[c], shared, rows)
            total += each @ self.weight[rows]
        return total
