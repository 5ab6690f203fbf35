r"""Likelihoods of all choosers in every class, for one bend of the utility and one lapse share.

A chooser's strength is positive, zero, or negative (the class that is reversed). For a given bend,
lapse share and cut points the log-likelihood of a chooser is one function of log strength for the
positive and one for the reversed strengths.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from prefstrength.likelihood.lattice import interpolation
from prefstrength.likelihood.tables import steps_of
from prefstrength.validation.rival_answers import Answers, Setting

__all__ = ["Classes", "RivalLikelihood"]

# Log strength in units of 1/s: the grid, in steps that are finer for choosers with many choices.
_LOW, _HIGH, _STEP = -6.0, 6.5, 0.125
# A Normal is summed over the grid where its sd is so many steps of it, and else at its own nodes.
_NARROW = 1.15
_Z = np.arange(-5.0, 5.5)
_POINTS = 12
# Choosers whose likelihoods are multiplied before the logarithm is taken, and the least that each
# may have for that; below the other number a likelihood is found in logs.
_HALVINGS, _SMALL, _TINY = 3, 1e-35, 1e-290
_TOGETHER = 2**_HALVINGS
# Choosers at a time, and pairs of a chooser and a law.
_BLOCK, _PAIRS = 128, 512


@dataclass(frozen=True)
class Classes:
    """Likelihoods of some choosers in every class, in units of ``exp(top)``.

    Parameters
    ----------
    top : numpy.ndarray, shape (chooser,)
    positive, negative : numpy.ndarray, shape (chooser, law)
        Averaged over LogNormal strengths, and the same reversed.
    zero : numpy.ndarray, shape (chooser,)
    hard : tuple of numpy.ndarray of int, shape (hard,)
        Choosers and laws of which the positive likelihood is too small for a number.
    log_hard : numpy.ndarray, shape (3, hard)
        Logarithms there: positive, negative, zero.
    """

    top: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    zero: np.ndarray
    hard: tuple[np.ndarray, np.ndarray]
    log_hard: np.ndarray

    def totals(
        self, zeros: np.ndarray, negatives: np.ndarray, times: np.ndarray | None
    ) -> np.ndarray:
        """Log-likelihood of all choosers for all shares of classes, shape (zero, reversed, law).

        ``times`` says how often each chooser counts, once by default.
        """
        out = np.empty((len(zeros), len(negatives), self.positive.shape[1]))
        quick = times is None and self.positive.min() > _SMALL
        for m, negative in enumerate(negatives):
            if quick:
                out[:, m] = self._quick_totals(zeros, negative)
                continue
            for k, zero in enumerate(zeros):
                log = self.each(zero, negative)
                out[k, m] = log.sum(axis=0) if times is None else times @ log
        return out

    def _quick_totals(self, zeros: np.ndarray, negative: float) -> np.ndarray:
        """Totals for many shares at zero, (zero, law): some likelihoods are multiplied first."""
        count, laws = self.positive.shape
        mixed = np.empty((len(zeros), -(-count // _TOGETHER) * _TOGETHER, laws))
        mixed[:, count:] = 1.0
        ahead = (1 - negative) * self.positive + negative * self.negative
        away = ahead - self.zero[:, None]
        np.multiply(zeros[:, None, None], away, out=mixed[:, :count])
        np.subtract(ahead, mixed[:, :count], out=mixed[:, :count])
        for _ in range(_HALVINGS):
            half = mixed.shape[1] // 2
            mixed = mixed[:, :half] * mixed[:, half:]
        return np.log(mixed).sum(axis=1) + self.top.sum()

    def each(self, zero: float, negative: float) -> np.ndarray:
        """Log-likelihood of every chooser for given shares of classes, shape (chooser, law)."""
        rest, negative = (1 - zero) * (1 - negative), (1 - zero) * negative
        mixed = rest * self.positive + zero * self.zero[:, None] + negative * self.negative
        log = np.log(np.maximum(mixed, _TINY))
        if self.log_hard.size:
            with np.errstate(divide="ignore"):
                shares = np.log([[rest], [negative], [zero]])
            log[self.hard] = _log_sum_exp(self.log_hard + shares, axis=0)
        return log + self.top[:, None]


class RivalLikelihood:
    """Answers, ready for any bend, lapse share and cut points.

    Parameters
    ----------
    answers : Answers
    panel : bool
        Whether units are choosers; else they are nodes that stand for pairs.
    at : mapping
        Plausible values of the response's own numbers.
    """

    def __init__(
        self, answers: Answers, panel: bool = True, at: Mapping[str, float] | None = None
    ) -> None:
        self.answers, self.panel = answers, panel
        # Where few differences are large, strengths per unit of their root mean square are large.
        high = _HIGH + max(0.0, -np.log(answers.median))
        self.t = np.arange(_LOW, high + _STEP / 2, _STEP)
        plain = Setting("linear", 0.0, 0.0, at or {})
        steps = [steps_of(log, True) for log in self.log(plain, np.exp(self.t))]
        self._blocks = _blocks(np.minimum(np.min(steps, axis=0), 1.0))

    @property
    def scale(self) -> float:
        """Scale s of the differences, in their unit."""
        return self.answers.scale

    @property
    def error(self) -> float:
        """Sd of the error of a difference, in units of s."""
        return self.answers.error

    @property
    def times(self) -> np.ndarray:
        """How often each chooser counts."""
        return self.answers.times

    @property
    def choices(self) -> np.ndarray:
        """Number of choices of every chooser."""
        return self.answers.choices

    @property
    def units(self) -> int:
        """Number of choosers; of nodes that stand for pairs, where choosers are not known."""
        return len(self.times)

    def take(self, rows: np.ndarray) -> "RivalLikelihood":
        """Some of the choosers."""
        other = object.__new__(RivalLikelihood)
        other.__dict__.update(self.__dict__)
        step = np.empty(self.units)
        for own, each in self._blocks:
            step[own] = each
        other._blocks = _blocks(step[rows])
        other.answers = self.answers.take(rows)
        return other

    def log(self, setting: Setting, strength: np.ndarray) -> np.ndarray:
        """Log-likelihood of every chooser at strengths, (2, chooser, strength).

        Strengths are in units of 1/s; of the two the second is with their sign turned.
        """
        return self.answers.at(setting, strength)(slice(None))

    def classes(
        self, setting: Setting, mu: np.ndarray, sigma: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Classes]]:
        """Likelihoods averaged over LogNormals: some choosers after others, and their classes.

        Parameters
        ----------
        setting : Setting
        mu, sigma : numpy.ndarray, shape (law,)
            Of log strength, in units of 1/s; sigma rises.
        """
        last = 0.0
        for rows, step in self._blocks:
            if step != last:
                t = np.arange(self.t[0], self.t[-1] + _STEP * step / 2, _STEP * step)
                look = self.answers.at(setting, np.r_[0.0, np.exp(t)])
                laws, last = _Laws.of(t, mu, sigma), step
            log = look(rows)
            top = log.max(axis=2).max(axis=0)
            log -= top[:, None]
            zero = np.exp(log[0, :, 0])
            positive, negative = laws.averages(log)
            # Beside a positive likelihood that is a number the others may be taken for 0.
            hard = np.nonzero(positive < _TINY)
            log_hard = np.empty((3, len(hard[0])))
            if log_hard.size:
                log_hard[:2] = laws.log_averages(log, hard)
                log_hard[2] = log[0, hard[0], 0]
            yield rows, Classes(top, positive, negative, zero, hard, log_hard)

    def totals(
        self,
        setting: Setting,
        mu: np.ndarray,
        sigma: np.ndarray,
        zeros: np.ndarray,
        negatives: np.ndarray,
    ) -> np.ndarray:
        """Log-likelihood of all choosers, (law, zero, reversed); see :meth:`classes`."""
        total = np.zeros((len(zeros), len(negatives), len(mu)))
        times = None if np.all(self.times == 1) else self.times
        for rows, classes in self.classes(setting, mu, sigma):
            total += classes.totals(zeros, negatives, None if times is None else times[rows])
        return np.moveaxis(total, -1, 0)


def _blocks(step: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Choosers with the same step, in parts that stay near the processor."""
    out = []
    for each in np.unique(step):
        rows = np.flatnonzero(step == each)
        out += [(rows[k : k + _BLOCK], float(each)) for k in range(0, len(rows), _BLOCK)]
    return out


def _log_sum_exp(log: np.ndarray, axis: int) -> np.ndarray:
    """SciPy's, for numbers of which one at least is finite, without what it does for others."""
    top = log.max(axis=axis, keepdims=True)
    return np.log(np.exp(log - top).sum(axis=axis)) + top.squeeze(axis)


@dataclass(frozen=True)
class _Laws:
    """LogNormals, ready to average over: those without spread, narrow ones, wide ones.

    Parameters
    ----------
    count : int
    own : list of tuple
        Of those without spread and the narrow ones: which they are, interpolation (strength, law *
        node) and log weights of their own nodes.
    wide : slice
    weights : numpy.ndarray, shape (1 + strength, wide)
        Of strength 0 and of the grid.
    """

    count: int
    own: list[tuple[slice, np.ndarray, np.ndarray]]
    wide: slice
    weights: np.ndarray

    @classmethod
    def of(cls, t: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> "_Laws":
        """Those on a grid; sigma rises."""
        none, some = np.searchsorted(sigma, [1e-12, _NARROW * (t[1] - t[0])])
        own = []
        for which, z in ((slice(0, none), np.zeros(1)), (slice(none, some), _Z)):
            if which.stop > which.start:
                place = mu[which, None] + sigma[which, None] * z
                position = (place.ravel() - t[0]) / (t[1] - t[0])
                log_weight = -(z**2) / 2 - np.log(np.exp(-(z**2) / 2).sum())
                matrix = interpolation(position, len(t), _POINTS).toarray()
                own.append((which, matrix, log_weight))
        wide = slice(some, len(mu))
        return cls(len(mu), own, wide, _weights(t, mu[wide], sigma[wide]))

    def averages(self, log: np.ndarray) -> np.ndarray:
        """Likelihoods averaged, (class, chooser, law), of logs at strength 0 and on the grid."""
        out = np.empty((*log.shape[:2], self.count))
        for which, matrix, log_weight in self.own:
            out[:, :, which] = np.exp(self._at(log, matrix, log_weight)) @ np.exp(log_weight)
        out[:, :, self.wide] = np.exp(log) @ self.weights
        return out

    def log_averages(self, log: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Logs of some of them, whatever the size: of pairs of chooser and law, (class, pair)."""
        chooser, law = pairs
        out = np.empty((len(log), len(law)))
        for which, matrix, log_weight in self.own:
            here = np.flatnonzero((law >= which.start) & (law < which.stop))
            used, place = np.unique(chooser[here], return_inverse=True)
            at = self._at(log[:, used], matrix, log_weight)[:, place, law[here] - which.start]
            out[:, here] = _log_sum_exp(at + log_weight, axis=-1)
        wide = np.flatnonzero(law >= self.wide.start)
        for start in range(0, len(wide), _PAIRS):
            here = wide[start : start + _PAIRS]
            at = log[:, chooser[here]] + self._log_weights[law[here] - self.wide.start]
            out[:, here] = _log_sum_exp(at, axis=-1)
        return out

    @cached_property
    def _log_weights(self) -> np.ndarray:
        """Log weights of the wide, (law, 1 + strength)."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights.T)

    def _at(self, log: np.ndarray, matrix: np.ndarray, log_weight: np.ndarray) -> np.ndarray:
        """Logs at the laws' own nodes, (class, chooser, law, node).

        Logs are interpolated, not likelihoods: those of an unusual chooser fall by orders of
        magnitude between two nodes.
        """
        laws = matrix.shape[1] // len(log_weight)  # there may be no choosers to tell it from
        return (log[:, :, 1:] @ matrix).reshape(*log.shape[:2], laws, len(log_weight))


def _weights(t: np.ndarray, mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Weights of wide LogNormals on strength 0 and on the grid, (1 + node, law).

    Below the grid a likelihood is linear in strength, and beyond it the answers are certain.
    """
    step = t[1] - t[0]
    z = (t[:, None] - mu) / sigma
    out = np.empty((1 + len(t), len(mu)))
    out[1:] = np.exp(-(z**2) / 2) * (step / np.sqrt(2 * np.pi) / sigma)
    least, most = t[0] - step / 2, t[-1] + step / 2
    nearer = np.exp(mu + sigma**2 / 2 - t[0]) * special.ndtr((least - mu) / sigma - sigma)
    out[0] = special.ndtr((least - mu) / sigma) - nearer
    out[1] += nearer
    out[-1] += special.ndtr((mu - most) / sigma)
    return out
