"""Where the answers can have come from: ranges of all parameters, found on part of the choosers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from prefstrength.validation.rival_answers import Setting
from prefstrength.validation.rival_grid import Axis, Grid, spline_matrix
from prefstrength.validation.rival_parts import BENDS, LOCATION, PARTS, Part
from prefstrength.validation.rival_shared import SharedNumbers
from prefstrength.validation.rival_tables import RivalLikelihood

__all__ = ["explore"]

# Nodes over the narrowest range that an explanation needs, and how many times as many at most; in
# search of ranges, and at the end.
_FEW = {"power": 4, "capped": 4, "lapse": 3, "spread": 4, "zero": 3, "reversed": 3}
_NODES = {"power": 4, "capped": 4, "lapse": 4, "spread": 5, "zero": 4, "reversed": 4}
_FEW_TIMES, _TIMES = 1.5, 2.5
_FEW_LOCATIONS, _LOCATIONS = 10, 8
# Nats below an explanation's best at which its range ends; below the best of all at which it is
# given up; and at which it does not ask for finer nodes.
_REACH, _HOPELESS, _LIKELY = 8.5, 10.0, 5.0
# Share of its nodes' range at which a range is much narrower, and of all choices that are enough to
# find ranges.
_NARROWER, _ENOUGH = 0.3, 0.25
# Nats by which the log-likelihood rises to the first node where it is steep.
_STEEP = 2.0
# How many times as far apart as wanted nodes may be.
_COARSE = 1.4
# Choices that are looked at first, how many times as many next, and fewest choosers.
_FIRST, _NEXT, _FEWEST = 3000, 8, 60
_ROUNDS = 8
# Lowest log prior density that draws a range together.
_FAINT = -8.0
# First window of mu around the best strength without spread.
_BELOW, _ABOVE = 1.0, 2.5

#: ``windows(nodes, count)``: mu at the nodes of bend, lapse and spread.
Windows = Callable[[Sequence[np.ndarray], int], np.ndarray]
Axes = Sequence[Axis | None]


def explore(
    likelihood: RivalLikelihood,
    shared: SharedNumbers,
    bend: str,
    parts: Sequence[Part | None] = PARTS,
) -> Grid:
    """Grid for one bend, over the ranges from which the answers can have come.

    Parameters
    ----------
    likelihood : RivalLikelihood
    shared : SharedNumbers
        Of the response.
    bend : str
        Name of the utility.
    parts : sequence of Part or None, length 4
        Lapse, spread, zero, reversed; None where the part is off throughout.
    """
    axes: Axes = [
        None if part is None else Axis(part, np.array(part.nodes), part.nodes[0])
        for part in (BENDS.get(bend), *parts)
    ]
    windows: Windows | None = None
    seen = 0.0
    for sample in _samples(likelihood, shared):
        numbers = shared.found_in(sample)
        if windows is not None and seen >= _ENOUGH * sample.choices.sum():
            break
        windows = windows or _first_windows(sample, numbers, bend, axes)
        for _ in range(_ROUNDS):
            found = _narrowed(_scan(sample, numbers, bend, axes, windows, _FEW_LOCATIONS))
            axes, windows, seen = found.axes(_FEW, _FEW_TIMES), found.windows, sample.choices.sum()
            if found.inside and not found.narrower:
                break
    for _ in range(_ROUNDS):
        axes = found.axes(_NODES, _TIMES)
        grid = _scan(likelihood, numbers, bend, axes, found.windows, _LOCATIONS)
        found = _narrowed(grid)
        if found.inside and found.resolved_by(axes):
            break
    return grid


@dataclass(frozen=True)
class _Range:
    """Where a part's parameter can be.

    Parameters
    ----------
    part : Part
    low, high : float
        In its coordinate.
    narrowest : float
        Width of the narrowest range in which a likely explanation puts it.
    inside : bool
        Whether it lies within the nodes that it was found on.
    narrower : bool
        Whether it is much narrower than they reach.
    steep : bool
        Whether a few choosers are out of the question without the part.
    """

    part: Part
    low: float
    high: float
    narrowest: float
    inside: bool
    narrower: bool
    steep: bool


@dataclass(frozen=True)
class _Found:
    """Ranges and windows outside of which little is left."""

    ranges: tuple[_Range | None, ...]
    windows: Windows
    in_windows: bool

    @property
    def inside(self) -> bool:
        return self.in_windows and all(each is None or each.inside for each in self.ranges)

    @property
    def narrower(self) -> bool:
        return any(each is not None and each.narrower for each in self.ranges)

    def axes(self, nodes: Mapping[str, int], times: float) -> Axes:
        """Axes with so many nodes over the narrowest range, and at most so many times as many."""
        axes: list[Axis | None] = []
        for each in self.ranges:
            if each is None:
                axes.append(None)
                continue
            ratio = min(max((each.high - each.low) / each.narrowest, 1.0), times)
            count = int(np.ceil(nodes[each.part.name] * ratio))
            if each.steep and each.low == 0:
                axes.append(Axis.steep(each.part, each.high, count))
            else:
                axes.append(Axis.over(each.part, each.low, each.high, count))
        return axes

    def resolved_by(self, axes: Axes) -> bool:
        """Whether nodes are close enough for what was found on them."""
        pairs = zip(axes, self.axes(_NODES, _TIMES), strict=True)
        return all(
            old is None or new is None or old.space < _COARSE * new.space for old, new in pairs
        )


def _samples(likelihood: RivalLikelihood, shared: SharedNumbers) -> Iterator[RivalLikelihood]:
    """Growing parts of the choosers, evenly over how consistent they are; the last is all."""
    total, count = likelihood.choices.sum(), likelihood.units
    if likelihood.panel and _FIRST < 0.7 * total and _FEWEST < 0.7 * count:
        setting = Setting("linear", 0.0, 0.0, shared.values(shared.middle))
        log, _ = likelihood.log(setting, np.exp(likelihood.t))
        order = np.argsort(log[:, np.argmax(likelihood.times @ log)], kind="stable")
        some = max(_FEWEST, int(count * _FIRST / total))
        while some < 0.7 * count:
            place = np.linspace(0, count - 1, some).astype(int)
            yield likelihood.take(np.sort(order[place]))
            some *= _NEXT
    yield likelihood


def _scan(
    likelihood: RivalLikelihood,
    numbers: SharedNumbers,
    bend: str,
    axes: Axes,
    windows: Windows,
    locations: int,
) -> Grid:
    """Evaluate the log-likelihood at all nodes."""
    nodes = [np.zeros(1) if axis is None else axis.nodes for axis in axes]
    values = [np.zeros(1) if axis is None else axis.values for axis in axes]
    mu = windows(nodes[:3], locations)
    log = np.empty((*mu.shape, len(values[3]), len(values[4])))
    shared = np.empty((*mu.shape[:2], len(numbers.names)))
    sigma = np.repeat(values[2], locations)
    middle = numbers.middle
    for i in range(len(values[0])):
        for j in range(len(values[1])):

            def totals(own: Mapping[str, float], at: tuple[int, int] = (i, j)) -> np.ndarray:
                setting = Setting(bend, float(values[0][at[0]]), float(values[1][at[1]]), own)
                place = mu[at].ravel()
                return likelihood.totals(setting, place, sigma, values[3], values[4])

            middle = _expected(nodes[:2], shared, i, j, middle)
            found, middle = numbers.integrated(totals, middle)
            log[i, j], shared[i, j] = found.reshape(log.shape[2:]), middle
    return Grid(bend, tuple(axes), mu, log, shared)


def _expected(
    nodes: Sequence[np.ndarray], shared: np.ndarray, i: int, j: int, last: np.ndarray
) -> np.ndarray:
    """Where a response's own numbers will be, by where they were at the nodes before."""
    if i > 0 and j > 0:
        return shared[i - 1, j] + shared[i, j - 1] - shared[i - 1, j - 1]
    axis, k, seen = (nodes[0], i, shared[:, 0]) if j == 0 else (nodes[1], j, shared[i])
    if k < 2:
        return seen[k - 1] if k else last
    return seen[k - 1] + (seen[k - 1] - seen[k - 2]) * (
        (axis[k] - axis[k - 1]) / (axis[k - 1] - axis[k - 2])
    )


def _first_windows(
    likelihood: RivalLikelihood, numbers: SharedNumbers, bend: str, axes: Axes
) -> Windows:
    """Windows of mu around the best strength without spread."""
    own = numbers.values(numbers.middle)

    def windows(nodes: Sequence[np.ndarray], count: int) -> np.ndarray:
        bends, lapses = (
            [0.0] if axis is None else axis.part.value(n)
            for axis, n in zip(axes[:2], nodes[:2], strict=True)
        )
        out = np.empty((len(nodes[0]), len(nodes[1]), len(nodes[2]), count))
        for i, value in enumerate(bends):
            for j, lapse in enumerate(lapses):
                setting = Setting(bend, float(value), float(lapse), own)
                log = likelihood.times @ likelihood.log(setting, np.exp(likelihood.t))[0]
                best = likelihood.t[np.argmax(log + LOCATION.log_density(likelihood.t))]
                out[i, j] = np.linspace(best - _BELOW, best + _ABOVE, count)
        return out

    return windows


def _narrowed(grid: Grid) -> _Found:
    """Ranges and windows outside of which little is left."""
    x = np.linspace(0.0, 1.0, 60)
    count = grid.mu.shape[-1]
    interpolation = spline_matrix(np.linspace(0.0, 1.0, count), x)
    mu = grid.mu[..., :1] + (grid.mu[..., -1:] - grid.mu[..., :1]) * x
    fine = np.moveaxis(grid.log, 3, -1) @ interpolation
    fine += LOCATION.log_density(mu)[:, :, :, None, None]
    log = fine.max(axis=-1)
    for k, axis in enumerate(grid.axes):
        if axis is not None:
            prior = np.maximum(axis.part.prior.log_density(axis.values), _FAINT)
            log += prior.reshape([-1 if each == k else 1 for each in range(5)])
    parts: dict[tuple[bool, ...], np.ndarray] = {}
    for pattern in grid.patterns():
        on = (True, *pattern)
        parts[on] = log[tuple(slice(None) if each else slice(0, 1) for each in on)]
    best = max(part.max() for part in parts.values())
    parts = {on: part for on, part in parts.items() if part.max() > best - _HOPELESS}
    ranges = tuple(
        None if axis is None else _narrowed_axis(axis, k, parts, best)
        for k, axis in enumerate(grid.axes)
    )
    windows, inside = _narrowed_windows(grid, fine, x)
    return _Found(ranges, windows, inside)


def _narrowed_axis(
    axis: Axis, k: int, parts: dict[tuple[bool, ...], np.ndarray], best: float
) -> _Range:
    """Range of one axis in which some explanation has not lost too much."""
    fine = np.linspace(axis.low, axis.high, 200)
    interpolation = axis.at(fine)
    ranges, narrowest, steep = [], np.inf, False
    for on, log in parts.items():
        if not on[k]:
            continue
        slices = np.moveaxis(log, k, -1).reshape(-1, log.shape[k])
        profile = slices.max(axis=0) @ interpolation
        inside = fine[profile > min(log.max(), profile.max()) - _REACH]
        ranges.append((inside[0], inside[-1]))
        if axis.part.can_be_off and axis.part.name != "spread":
            rise = slices[:, 1] - slices[:, 0]
            steep |= bool(np.any(rise[slices.max(axis=1) > best - _LIKELY] > _STEEP))
        if log.max() > best - _LIKELY:
            # Given all else, what a spline has to follow.
            likely = slices[slices.max(axis=1) > slices.max() - _LIKELY] @ interpolation
            width = (likely > likely.max(axis=1, keepdims=True) - _REACH).sum(axis=1).min()
            narrowest = min(narrowest, width * (fine[1] - fine[0]))
    if not ranges:
        width = axis.high - axis.low
        return _Range(axis.part, axis.low, axis.high, width, True, False, False)
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    narrowest = min(narrowest, high - low)
    space = (axis.high - axis.nodes[0]) / len(axis.nodes)
    least, most = axis.part.ends
    first = 0.0 if axis.knee else axis.low  # below the knee's first node the range goes on to 0
    below, above = low <= first and low > least, high >= axis.high and high < most
    narrower = high - low < _NARROWER * (axis.high - axis.low)
    margin = 0.1 * (high - low) + 0.2 * space
    low = max(least, low - (3 * space if below else margin))
    high = min(most, high + (3 * space if above else margin))
    if least == 0 and low < 0.2 * high:
        low = 0.0
    inside = not below and not above
    return _Range(axis.part, low, high, max(narrowest, 1e-9), inside, narrower, steep)


def _narrowed_windows(grid: Grid, fine: np.ndarray, x: np.ndarray) -> tuple[Windows, bool]:
    """Windows of mu, interpolated between those of a grid's nodes; whether within those."""
    inside = np.zeros((*fine.shape[:3], len(x)), bool)
    best = fine.max(axis=(3, 4, 5))[..., None]
    for zero in (slice(0, 1), slice(None)):
        for negative in (slice(0, 1), slice(None)):
            own = fine[:, :, :, zero, negative].max(axis=(3, 4))
            top = own.max(axis=-1, keepdims=True)
            inside |= (own > top - _REACH) & (top > best - _HOPELESS)
    first, last = inside.argmax(axis=-1), len(x) - 1 - inside[..., ::-1].argmax(axis=-1)
    likely = best[..., 0] > best.max() - _LIKELY
    within = bool(np.all((first > 0) & (last < len(x) - 1) | ~likely))
    width = grid.mu[..., -1] - grid.mu[..., 0]
    margin = 0.1 * (x[last] - x[first]) + 0.02
    low = grid.mu[..., 0] + width * (x[first] - np.where(first == 0, 0.4, margin))
    high = grid.mu[..., 0] + width * (x[last] + np.where(last == len(x) - 1, 0.4, margin))
    known = [k for k in range(3) if grid.axes[k] is not None]
    points = [axis.nodes for axis in grid.axes[:3] if axis is not None]
    table = np.stack([low, high], axis=-1).reshape(*[len(p) for p in points], 2)

    def windows(nodes: Sequence[np.ndarray], count: int) -> np.ndarray:
        ends = table
        if known:
            ranges = zip(known, points, strict=True)
            place = [np.clip(nodes[k], p[0], p[-1]) for k, p in ranges]
            mesh = np.stack(np.meshgrid(*place, indexing="ij"), axis=-1)
            ends = RegularGridInterpolator(points, table)(mesh)
        ends = ends.reshape(*[len(n) for n in nodes], 2)
        return ends[..., :1] + (ends[..., 1:] - ends[..., :1]) * np.linspace(0.0, 1.0, count)

    return windows, within
