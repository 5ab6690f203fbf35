r"""Answers of choosers, and how likely they are at any strength.

The bend acts on differences. Of a pair it is that of its two alternatives, x; among more each
alternative has the mean of its bent differences to all that are offered,

.. math:: V_j = \beta\, s\, \frac1J \sum_k \operatorname{sign}(x_j - x_k)\, g(|x_j - x_k| / s),

which is a pair's :math:`\beta s g` for two, and :math:`\beta (x_j - \bar x)` where nothing is bent.
Coefficients of further attributes are given, and add to the utilities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol, Self

import numpy as np
from scipy import optimize, sparse

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.responses.base import PairResponse, Response, SetResponse
from prefstrength.choice.utility import utility_of
from prefstrength.likelihood.counts import Counts, PairObservations
from prefstrength.likelihood.data import LikelihoodData

__all__ = ["Answers", "CountedPairs", "Setting", "Situations", "decisions", "weakened"]

# Of a logit averaged over Normal errors: approximately one with a smaller slope.
_LOGIT_NORMAL = 0.346
# Counts are a full matrix above this share of entries that are not 0, up to so many entries.
_FULL, _MOST = 0.05, 100_000_000
# Numbers in the largest temporary array, and in what is kept for other shares of random answers.
_BLOCK, _KEPT = 2_000_000, 10_000_000
# Sd of the prior that keeps coefficients from running away, in units of one over the scale.
_WIDE = 10.0


@dataclass(frozen=True)
class Setting:
    """What all choosers share.

    Parameters
    ----------
    bend : str
        Name of the utility.
    value : float
        Of its parameter.
    lapse : float
        Share of answers at random.
    shared : mapping
        Values of the response's own numbers.
    """

    bend: str
    value: float
    lapse: float
    shared: Mapping[str, float]

    def bent(self, size: np.ndarray) -> np.ndarray:
        """Bent sizes, in units of s."""
        utility = utility_of(self.bend)
        own = {each.name: self.value for each in utility.shared}
        return np.asarray(utility.bent(NUMPY, size, own))


#: ``look(rows)``: log-likelihoods of some choosers, (2, chooser, strength); of the two the second
#: is with the sign of the strengths turned.
Look = Callable[[np.ndarray | slice], np.ndarray]


class Answers(Protocol):
    """Answers of all choosers."""

    @property
    def scale(self) -> float:
        """Scale s of the differences, in their unit."""

    @property
    def error(self) -> float:
        """Sd of the error of a difference, in units of s."""

    @property
    def times(self) -> np.ndarray:
        """How often every chooser counts."""

    @property
    def choices(self) -> np.ndarray:
        """Number of choices of every chooser."""

    @property
    def median(self) -> float:
        """Median size of the differences, in units of s."""

    def take(self, rows: np.ndarray) -> "Answers":
        """Those of some choosers."""

    def at(self, setting: Setting, strength: np.ndarray) -> Look:
        """Log-likelihoods at strengths in units of 1/s."""


@dataclass(frozen=True)
class CountedPairs:
    """Answers to pairs, counted by the size of the difference; who stood first is left out.

    Parameters
    ----------
    response : PairResponse
    scale : float
        Scale s of the differences, in their unit.
    error : float
        Sd of the error of a difference, in units of s.
    matrix : array or sparse array, shape (chooser, answer * node)
    size : numpy.ndarray, shape (node,)
        In units of s.
    times : numpy.ndarray, shape (chooser,)
        How often each chooser counts; of nodes that stand for pairs, where they are not known.
    """

    response: PairResponse
    scale: float
    error: float
    matrix: np.ndarray | sparse.csr_array
    size: np.ndarray
    times: np.ndarray

    @classmethod
    def of(
        cls,
        observations: PairObservations,
        response: PairResponse,
        scale: float,
        times: np.ndarray | None = None,
        error: float = 0.0,
    ) -> Self:
        """Count observations of one cell; ``error`` is in the attribute's unit."""
        nobody = np.zeros_like(observations.shown_first)
        counts = Counts.of(replace(observations, shown_first=nobody))
        answers, nodes = len(response.answers), len(counts.node)
        column = np.arange(counts.matrix.shape[1])
        place = counts.kind[column // nodes, 0] * nodes + column % nodes
        shape = len(column), answers * nodes
        gather = sparse.csr_array((np.ones(len(column)), (column, place)), shape=shape)
        matrix = counts.matrix @ gather
        entries = matrix.shape[0] * matrix.shape[1]
        full = matrix.nnz > _FULL * entries and entries < _MOST
        own = counts.times
        if counts.panel and times is not None:
            own = np.asarray(times, float)[counts.unit]
        matrix = matrix.toarray() if full else matrix
        return cls(response, scale, error / scale, matrix, counts.size / scale, own)

    @property
    def choices(self) -> np.ndarray:
        """Number of answers of every chooser."""
        return np.asarray(self.matrix.sum(axis=1)).ravel()

    @property
    def median(self) -> float:
        """Median of the nodes, in units of s."""
        size = self.size[self.size > 0]
        return float(np.median(size)) if len(size) else 1.0

    def take(self, rows: np.ndarray) -> "CountedPairs":
        """Those of some choosers."""
        return replace(self, matrix=self.matrix[rows], times=self.times[rows])

    def at(self, setting: Setting, strength: np.ndarray) -> Look:
        """Log-likelihoods at strengths in units of 1/s."""
        # Log probability of every answer at every node, (answer * node, 2 * strength).
        v = setting.bent(self.size)[:, None] * weakened(strength, self.error)
        found = np.stack(self.response.log_probabilities(NUMPY, v, setting.shared))
        if setting.lapse:
            found = np.log(setting.lapse / len(found) + (1 - setting.lapse) * np.exp(found))
        # With its sign turned a strength answers as if the two alternatives had been swapped.
        both = np.concatenate([found, found[::-1]], axis=2)
        table = both.reshape(-1, 2 * len(strength))
        return lambda rows: _by_sign(self.matrix[rows] @ table)


@dataclass(frozen=True)
class Situations:
    """Answers situation by situation: of several alternatives, or with further attributes.

    Parameters
    ----------
    response : PairResponse or SetResponse
    scale : float
        Scale s of the differences, in their unit.
    error : float
        Sd of the error of a difference, in units of s.
    values : numpy.ndarray, shape (situation, alternative)
        The attribute in units of s.
    offset : numpy.ndarray, shape (situation, alternative)
        What further attributes add to the utilities; -inf where an alternative is not available.
    answers : numpy.ndarray, shape (situation, ...)
        As the response takes them.
    weight : numpy.ndarray, shape (situation,)
    decided : numpy.ndarray, shape (situation,)
        How many choices an answer is made of.
    start : numpy.ndarray of int, shape (chooser + 1,)
        Where the situations of every chooser begin.
    times : numpy.ndarray, shape (chooser,)
    """

    response: Response
    scale: float
    error: float
    values: np.ndarray
    offset: np.ndarray
    answers: np.ndarray
    weight: np.ndarray
    decided: np.ndarray
    start: np.ndarray
    times: np.ndarray
    # By bend and number of strengths: what it was made for, and log probabilities by choosers.
    _kept: dict[tuple[str, int], tuple[bytes, dict[bytes, np.ndarray]]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(
        cls, data: LikelihoodData, scale: float, error: float = 0.0
    ) -> "tuple[Situations, tuple[float, ...]]":
        """Of data whose first attribute is the one that strength is about.

        Coefficients of the others, which are returned, are estimated with one strength for all;
        ``error`` is in the attribute's unit.
        """
        order = np.argsort(data.unit, kind="stable")
        unit, first = np.unique(data.unit[order], return_index=True)
        values, others = data.values[order, :, 0] / scale, data.values[order, :, 1:]
        available, answers = data.available[order], data.answers[order]
        if data.response.answers_in == "chosen" and isinstance(data.response, PairResponse):
            # The chosen one first: it is then answer 0.
            place = np.stack([data.chosen, 1 - data.chosen], axis=1)[order]
            values = np.take_along_axis(values, place, axis=1)
            others = np.take_along_axis(others, place[:, :, None], axis=1)
            answers = np.zeros_like(answers)
        weight = data.weight[order]
        plain = cls(
            response=data.response,
            scale=scale,
            error=error / scale,
            values=values,
            offset=np.where(available, 0.0, -np.inf),
            answers=answers,
            weight=weight if data.panel else np.ones_like(weight),
            decided=decisions(data)[order],
            start=np.r_[first, len(order)],
            times=data.unit_weight[unit] if data.panel else weight,
        )
        if not others.shape[2]:
            return plain, ()
        found = plain._coefficients(others)
        offset = plain.offset + others @ found
        return replace(plain, offset=offset, _kept={}), tuple(found.tolist())

    @cached_property
    def choices(self) -> np.ndarray:
        """Number of choices of every chooser."""
        return np.add.reduceat(self.weight * self.decided, self.start[:-1])

    @property
    def median(self) -> float:
        """Median distance from the best to the worst, in units of s."""
        offered = self.offset > -np.inf
        most = np.where(offered, self.values, -np.inf).max(axis=1)
        size = most - np.where(offered, self.values, np.inf).min(axis=1)
        return float(np.median(size[size > 0])) if (size > 0).any() else 1.0

    def take(self, rows: np.ndarray) -> "Situations":
        """Those of some choosers."""
        where, start = self._situations(rows)
        names = ("values", "offset", "answers", "weight", "decided")
        own = {name: getattr(self, name)[where] for name in names}
        return replace(self, start=start, times=self.times[rows], _kept={}, **own)

    def at(self, setting: Setting, strength: np.ndarray) -> Look:
        """Log-likelihoods at strengths in units of 1/s."""
        key = setting.bend, len(strength)
        own = repr((setting.value, sorted(setting.shared.items()))).encode() + strength.tobytes()
        if key not in self._kept or self._kept[key][0] != own:
            self._kept[key] = own, {}
        kept = self._kept[key][1]
        keep = len(self.weight) * 2 * len(strength) < _KEPT

        def look(rows: np.ndarray | slice) -> np.ndarray:
            rows = np.arange(len(self.times))[rows]
            where, start = self._situations(rows)
            log = kept.get(rows.tobytes())
            if log is None:
                log = self._log_probability(setting, strength, where)
                if keep:
                    kept[rows.tobytes()] = log
            if setting.lapse:
                random = (setting.lapse * np.exp(self._random[where])).astype(np.float32)
                log = np.log(random[:, None] + np.float32(1 - setting.lapse) * np.exp(log))
            if not self._equal:
                log = log * self.weight[where, None]
            return _by_sign(np.add.reduceat(log, start[:-1], axis=0, dtype=float))

        return look

    def _situations(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Situations of some choosers, and where those of each begin."""
        count = np.diff(self.start)[rows]
        start = np.r_[0, np.cumsum(count)]
        where = np.repeat(self.start[:-1][rows] - start[:-1], count) + np.arange(start[-1])
        return where, start

    @cached_property
    def _equal(self) -> bool:
        return bool(np.all(self.weight == 1))

    @cached_property
    def _random(self) -> np.ndarray:
        """Log probability of every answer if it is given at random."""
        if isinstance(self.response, PairResponse):
            return np.full(len(self.weight), -np.log(len(self.response.answers)))
        assert isinstance(self.response, SetResponse)
        utility = np.where(self.offset > -np.inf, 0.0, -np.inf)
        return np.asarray(self.response.log_likelihood(NUMPY, utility, self.answers, {}))

    def _log_probability(
        self, setting: Setting, strength: np.ndarray, where: np.ndarray
    ) -> np.ndarray:
        """Log probability of answers, (situation, 2 * strength).

        In single precision, in which it takes half the time: errors of 1e-7 of a log probability.
        """
        signed = np.r_[strength, -strength].astype(np.float32)
        weaker = 1 / np.sqrt(1 + _LOGIT_NORMAL * (self.error * signed) ** 2)
        size = max(1, _BLOCK // (len(signed) * self.values.shape[1]))
        out = np.empty((len(where), len(signed)), np.float32)
        for first in range(0, len(where), size):
            part = where[first : first + size]
            # Alternatives come last, and lie farthest apart in memory: sums over few are then fast.
            bent, offset = (
                each.T[:, :, None].astype(np.float32)
                for each in (self._bent(setting, part), self.offset[part])
            )
            utility = np.moveaxis(bent * signed + offset, 0, -1)
            if self.error:
                utility *= weaker[:, None]
            out[first : first + size] = self._answered(utility, part, setting.shared)
        return out

    def _bent(self, setting: Setting, where: np.ndarray) -> np.ndarray:
        """Mean bent difference of every alternative to all that are offered."""
        values, offered = self.values[where], self.offset[where] > -np.inf
        values = values - np.where(offered, values, 0).sum(axis=1, keepdims=True) / offered.sum(
            axis=1, keepdims=True
        )
        if setting.bend == "linear":
            return values
        away = values[:, :, None] - values[:, None, :]
        bent = np.sign(away) * setting.bent(np.abs(away)) * offered[:, None, :]
        return bent.sum(axis=2) / offered.sum(axis=1, keepdims=True)

    def _answered(
        self, utility: np.ndarray, where: np.ndarray, shared: Mapping[str, float]
    ) -> np.ndarray:
        """Log probability of answers at utilities (situation, strength, alternative)."""
        answers, response = self.answers[where][:, None], self.response
        if isinstance(response, PairResponse):
            v = utility[..., 0] - utility[..., 1]
            return np.asarray(response.log_likelihood(NUMPY, v, answers, shared))
        assert isinstance(response, SetResponse)
        # Strengths first: a response reads one answer for all of them.
        by_strength = np.moveaxis(utility, 1, 0)
        found = response.log_likelihood(NUMPY, by_strength, self.answers[where], shared)
        return np.asarray(found).T

    def _coefficients(self, others: np.ndarray) -> np.ndarray:
        """Coefficients of further attributes where all choosers have one strength."""
        names = [each.name for each in self.response.shared]
        unit = np.sqrt(np.mean((others - others.mean(axis=1, keepdims=True)) ** 2, axis=(0, 1)))
        unit = np.where(unit > 0, unit, 1.0)
        weight = np.repeat(self.times, np.diff(self.start)) * self.weight
        every = np.arange(len(weight))

        def loss(x: np.ndarray) -> float:
            strength, own, log_shared = np.split(x, [1, 1 + len(unit)])
            utility = self.values * strength + others @ (own / unit) + self.offset
            shared = dict(zip(names, np.exp(log_shared), strict=True))
            log = self._answered(utility[:, None, :], every, shared)[:, 0]
            return float(-(weight @ log) + np.sum(x**2) / (2 * _WIDE**2))

        start = np.r_[np.zeros(1 + len(unit)), np.full(len(names), -0.7)]
        return np.asarray(optimize.minimize(loss, start).x[1 : 1 + len(unit)] / unit)


def weakened(strength: np.ndarray, error: float | np.ndarray) -> np.ndarray:
    """Strengths that answer without error as these do with error of so large an sd."""
    return strength / np.sqrt(1 + _LOGIT_NORMAL * (error * strength) ** 2)


def decisions(data: LikelihoodData) -> np.ndarray:
    """How many choices every answer is made of: a ranking of n of n - 1."""
    if data.response.answers_in != "ranks":
        return np.ones(len(data.weight))
    ranks = np.sort(np.where(data.available, data.answers, -1), axis=1)
    levels = 1 + (np.diff(ranks, axis=1) > 0).sum(axis=1) - (ranks[:, 0] < 0)
    return np.maximum(levels - 1.0, 0.0)


def _by_sign(log: np.ndarray) -> np.ndarray:
    """(chooser, 2 * strength) as (2, chooser, strength)."""
    return np.moveaxis(log.reshape(len(log), 2, -1), 1, 0)
