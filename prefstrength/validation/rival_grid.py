"""All explanations of the same answers on one grid: each is a slice, with a marginal likelihood.

The log-likelihood is known at few nodes of every parameter, interpolated by splines, and integrated
over fine nodes: it is close to quadratic where it matters, and its exponential is not.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np
from scipy import special
from scipy.interpolate import make_interp_spline

from prefstrength.validation.rival_parts import LOCATION, Part

__all__ = ["CUTS", "Axis", "Grid", "Rule", "location_rule", "spline_matrix"]

# Fine nodes on an axis, or on each side of its cut.
_FINE = 24
# First coordinate of a share that is told from 0 where the log-likelihood is steep: 4 in 10,000.
_NEXT_TO_OFF = 0.02
#: Where axes are cut for the probabilities of the verdict: the sd of log strength at a coefficient
#: of variation of .25, and shares of 5 %.
CUTS = {"spread": float(np.sqrt(np.log1p(0.25**2))), "zero": 0.05, "reversed": 0.05}

#: Which of lapse, spread, zero and reversed are on.
Pattern = tuple[bool, bool, bool, bool]


@dataclass(frozen=True)
class Rule:
    """An integral over one axis.

    Parameters
    ----------
    value : numpy.ndarray, shape (fine,)
        Parameter at the fine nodes.
    interpolation : numpy.ndarray, shape (node, fine)
        How to get there from the axis's nodes.
    log_weight : numpy.ndarray, shape (fine,)
        Log of prior density and quadrature weight.
    """

    value: np.ndarray
    interpolation: np.ndarray
    log_weight: np.ndarray


@dataclass(frozen=True)
class Axis:
    """Nodes of one part's parameter.

    Parameters
    ----------
    part : Part
    nodes : numpy.ndarray
        In the part's coordinate; the first is 0 where the part can be off.
    low : float
        Where the range begins in which the part is on.
    knee : float
        Below it the log-likelihood goes with the logarithm of the coordinate rather than with the
        coordinate, down to the first node, and from there in a line; 0 where it is smooth.
    """

    part: Part
    nodes: np.ndarray
    low: float
    knee: float = 0.0

    @classmethod
    def over(cls, part: Part, low: float, high: float, count: int) -> "Axis":
        """So many nodes over a range, and the one at which the part is off."""
        if part.can_be_off and low > 0:
            return cls(part, np.r_[0.0, np.linspace(low, high, count)], low)
        return cls(part, np.linspace(low, high, count + part.can_be_off), low)

    @classmethod
    def steep(cls, part: Part, high: float, count: int) -> "Axis":
        """The same from 0 on, where a few choosers are out of the question without the part.

        Each adds the logarithm of its share to the log-likelihood: no spline through 0 follows it.
        """
        space = high / count
        low, knee = min(_NEXT_TO_OFF, 0.2 * high), 2 * space
        start = float(_bent(np.array(low), knee))
        place = np.linspace(start, high, 1 + int(np.ceil((high - start) / space)))
        nodes = np.where(place < knee, knee * np.exp(place / knee - 1), place)
        return cls(part, np.r_[0.0, nodes], float(nodes[0]), knee)

    @property
    def high(self) -> float:
        """Where the range ends."""
        return float(self.nodes[-1])

    @property
    def space(self) -> float:
        """Distance of the nodes where the part is on."""
        return float(self.nodes[-1] - self.nodes[-2])

    @property
    def values(self) -> np.ndarray:
        """Parameter at the nodes."""
        return self.part.value(self.nodes)

    def at(self, coordinate: np.ndarray) -> np.ndarray:
        """Interpolation from nodes to coordinates, (node, coordinate)."""
        if self.nodes[0] == 0 and self.low == 0 and self.part.coordinate.even:
            # The log-likelihood goes on beyond 0 as in a mirror.
            both = spline_matrix(np.r_[-self.nodes[:0:-1], self.nodes], coordinate)
            last = len(self.nodes) - 1
            matrix = both[last:]
            matrix[1:] += both[:last][::-1]
            return matrix
        off = int(self.part.can_be_off)
        on = spline_matrix(_bent(self.nodes[off:], self.knee), _bent(coordinate, self.knee))
        return np.concatenate([np.zeros((off, len(coordinate))), on])

    @cached_property
    def rule(self) -> Rule:
        """Integral over the range in which the part is on."""
        ends = [self.low, self.high]
        if self.part.name in CUTS:
            cut = float(self.part.coordinate.of(np.array(CUTS[self.part.name])))
            if self.low < cut < self.high:
                ends.insert(1, cut)
        x, weight = _legendre(tuple(ends))
        value, at = self.part.value(x), self.at(x)
        log_weight = np.log(weight) + self.part.log_density(x)
        if not self.knee:
            return Rule(value, at, log_weight)
        below, weight = _legendre((0.0, self.low))
        line = np.zeros((len(self.nodes), len(below)))
        line[:2] = 1 - below / self.low, below / self.low
        return Rule(
            np.r_[self.part.value(below), value],
            np.concatenate([line, at], axis=1),
            np.r_[np.log(weight) + self.part.log_density(below), log_weight],
        )


def _bent(x: np.ndarray, knee: float) -> np.ndarray:
    """The same above a knee, if there is one, and its logarithm below."""
    if not knee:
        return x
    return np.where(x < knee, knee * (1 + np.log(np.maximum(x, 1e-300) / knee)), x)


def spline_matrix(nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Interpolation by a quintic spline, (node, at)."""
    spline = make_interp_spline(nodes, np.eye(len(nodes)), k=min(5, (len(nodes) - 1) // 2 * 2 - 1))
    return np.asarray(spline(at)).T


def _legendre(ends: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights on neighbouring intervals."""
    x, weight = np.polynomial.legendre.leggauss(_FINE)
    pieces = list(zip(ends[:-1], ends[1:], strict=True))
    place = [a + (b - a) * (x + 1) / 2 for a, b in pieces]
    return np.concatenate(place), np.concatenate([(b - a) / 2 * weight for a, b in pieces])


@lru_cache
def location_rule(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fine places in a window of so many nodes, interpolation (node, fine), and log weights."""
    x, weight = _legendre((0.0, 1.0))
    return x, spline_matrix(np.linspace(0.0, 1.0, count), x), np.log(weight)


@dataclass(frozen=True)
class _Integral:
    """One integral that was taken: what it takes to share a weight out over its nodes."""

    axis: int
    share: np.ndarray
    interpolation: np.ndarray

    @classmethod
    def over(
        cls, log: np.ndarray, axis: int, interpolation: np.ndarray, log_weight: np.ndarray
    ) -> "tuple[np.ndarray, _Integral]":
        """Log integral of ``exp(log)`` over an axis, which goes."""
        fine = np.moveaxis(log, axis, -1) @ interpolation
        fine += log_weight
        top = fine.max(axis=-1)
        fine -= top[..., None]
        share = np.exp(fine, out=fine)
        total = share.sum(axis=-1)
        return np.log(total) + top, cls(axis, share / total[..., None], interpolation)

    def shared_out(self, weight: np.ndarray) -> np.ndarray:
        """Weights of what was integrated, as weights of its nodes."""
        fine = weight[..., None] * self.share
        return np.moveaxis(fine @ self.interpolation.T, -1, self.axis)


@dataclass(frozen=True)
class Grid:
    """Log-likelihood at nodes, for one bend of the utility.

    Parameters
    ----------
    bend : str
        Name of the utility.
    axes : tuple of Axis or None, length 5
        Bend, lapse, spread, zero, reversed; None where the part is off throughout.
    mu : numpy.ndarray, shape (bend, lapse, spread, location)
    log : numpy.ndarray, shape (bend, lapse, spread, location, zero, reversed)
    shared : numpy.ndarray, shape (bend, lapse, number)
        The response's own numbers there.
    """

    bend: str
    axes: tuple[Axis | None, ...]
    mu: np.ndarray
    log: np.ndarray
    shared: np.ndarray

    @property
    def values(self) -> list[np.ndarray]:
        """Parameters at the nodes of every axis."""
        return [np.zeros(1) if axis is None else axis.values for axis in self.axes]

    def patterns(self) -> list[Pattern]:
        """All combinations of parts that are on here or off."""
        return list(product(*[(False,) if a is None else (False, True) for a in self.axes[1:]]))  # type: ignore[arg-type]

    def log_evidence(self, pattern: Pattern) -> float:
        """Log marginal likelihood of an explanation."""
        return float(self._integrals(pattern, ())[0].reshape(()))

    def index(self, pattern: Pattern) -> tuple[slice, ...]:
        """Where an explanation lies in ``log``: the first node of every axis whose part is off."""
        bend, lapse, spread, zero, negative = (
            slice(None) if each else slice(0, 1) for each in self._on(pattern)
        )
        return bend, lapse, spread, slice(None), zero, negative

    def log_evidences(self, log: np.ndarray, pattern: Pattern) -> np.ndarray:
        """Log marginal likelihoods of an explanation under other log-likelihoods.

        Parameters
        ----------
        log : numpy.ndarray, shape (bend, lapse, spread, location, zero, reversed, set)
            At the explanation's own nodes, see :meth:`index`.
        pattern : Pattern
        """
        _, interpolation, _ = location_rule(self.mu.shape[-1])
        log_weight = self._location_weight[self.index(pattern)[:3]]
        log, _ = _Integral.over(log, 3, interpolation, log_weight[:, :, :, None, None, None])
        for k, on in enumerate(self._on(pattern)):
            if on:
                rule = self._rule(k)
                log, _ = _Integral.over(log, k, rule.interpolation, rule.log_weight)
                log = np.expand_dims(log, k)
        return log.reshape(-1)

    def weights(self, pattern: Pattern) -> np.ndarray:
        """Posterior weights of the nodes under an explanation, shaped like ``log``.

        They sum to 1, and give the mean of whatever is interpolated between nodes; a few are
        slightly negative.
        """
        log, integrals, index = self._integrals(pattern, ())
        weight = np.ones(log.shape)
        for integral in reversed(integrals[1:]):
            weight = integral.shared_out(np.take(weight, 0, axis=integral.axis))
        whole = np.zeros(self._over_location[0].shape)
        whole[index] = weight
        return integrals[0].shared_out(whole)

    def posterior(
        self, pattern: Pattern, keep: tuple[int, ...]
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Posterior of some axes, the others integrated out, at fine nodes.

        Returns
        -------
        values : list of numpy.ndarray
            Parameter at the fine nodes of each kept axis; 0 where the part is off.
        probability : numpy.ndarray
            One axis for each that is kept.
        """
        log, _, _ = self._integrals(pattern, keep)
        values = []
        for k in keep:
            if not self._on(pattern)[k]:
                values.append(np.zeros(1))
                continue
            rule = self._rule(k)
            fine = np.moveaxis(log, k, -1) @ rule.interpolation + rule.log_weight
            log = np.moveaxis(fine, -1, k)
            values.append(rule.value)
        log = log.reshape([len(value) for value in values])
        return values, np.asarray(special.softmax(log))

    def _on(self, pattern: Pattern) -> tuple[bool, ...]:
        return (self.axes[0] is not None, *pattern)

    def _rule(self, k: int) -> Rule:
        axis = self.axes[k]
        assert axis is not None
        return axis.rule

    @cached_property
    def _location_weight(self) -> np.ndarray:
        """Log of prior density and quadrature weight, (bend, lapse, spread, fine)."""
        x, _, log_weight = location_rule(self.mu.shape[-1])
        width = self.mu[..., -1:] - self.mu[..., :1]
        return log_weight + np.log(width) + LOCATION.log_density(self.mu[..., :1] + width * x)

    @cached_property
    def _over_location(self) -> tuple[np.ndarray, _Integral]:
        _, interpolation, _ = location_rule(self.mu.shape[-1])
        log_weight = self._location_weight[:, :, :, None, None]
        return _Integral.over(self.log, 3, interpolation, log_weight)

    def _integrals(
        self, pattern: Pattern, keep: tuple[int, ...]
    ) -> tuple[np.ndarray, list[_Integral], tuple[slice, ...]]:
        """Log integral over all axes but some, of length 1 where taken; what was taken; where."""
        log, first = self._over_location
        on, index = self._on(pattern), self.index(pattern)
        index = (*index[:3], *index[4:])
        log, integrals = log[index], [first]
        for k in range(len(on)):
            if on[k] and k not in keep:
                rule = self._rule(k)
                log, integral = _Integral.over(log, k, rule.interpolation, rule.log_weight)
                log = np.expand_dims(log, k)
                integrals.append(integral)
        return log, integrals, index
