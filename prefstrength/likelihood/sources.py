r"""Sources of tables: the log-likelihood of every chooser at any strength, from counts or situations.

Everything that all choosers share enters here: the response with its cut points, the bend of the
utility, answers at random, who stood first, the coefficients of further attributes, errors in the
rewards. What comes out is a function of strength alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse, special

from prefstrength.choice.responses.base import PairResponse, Response, Shared
from prefstrength.choice.utility import Linear, Utility
from prefstrength.likelihood.batch import NUMPY
from prefstrength.likelihood.counts import Counts
from prefstrength.likelihood.true_differences import TrueDifferences

__all__ = ["PairSource", "Reading", "SituationSource"]

# Gauss-Hermite nodes over a position effect of each chooser.
_POSITIONS = 12
# Numbers in the largest temporary array.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Reading:
    """How answers are read: what all choosers share beside their strengths.

    Parameters
    ----------
    response : Response
    utility : Utility
    lapse : bool
        Whether a share of the answers is given at random.
    position : {None, "shared", "chooser"}
        Whether who stood first matters, alike to all or to each chooser in their own way.
    fixed : tuple of Shared
        Coefficients of further attributes that all choosers share.
    """

    response: Response
    utility: Utility = field(default_factory=Linear)
    lapse: bool = False
    position: str | None = None
    fixed: tuple[Shared, ...] = ()

    @property
    def shared(self) -> tuple[Shared, ...]:
        """All numbers that all choosers share, with their priors."""
        more = [*self.response.shared, *self.utility.shared]
        if self.lapse:
            more.append(Shared("lapse", "Beta", (1.0, 9.0), 0.0, "share of answers at random"))
        if self.position is not None:
            more.append(Shared("position", "Normal", (0.0, 1.0), 0.0, "log odds of standing first"))
        if self.position == "chooser":
            more.append(
                Shared("position_sd", "HalfNormal", (1.0,), 0.0, "its sd over choosers")
            )
        return (*more, *self.fixed)


def with_lapse(log_probability: np.ndarray, lapse: float, answers: int) -> np.ndarray:
    """Log probability of an answer of which a share is given at random among so many."""
    if lapse <= 0:
        return log_probability
    at_random = np.log(lapse) - np.log(answers)
    return np.logaddexp(at_random, np.log1p(-lapse) + log_probability)


@dataclass(frozen=True)
class PairSource:
    """Log-likelihoods from counts.

    Parameters
    ----------
    counts : Counts
    reading : Reading
        Of a :class:`~prefstrength.choice.responses.base.PairResponse`.
    scale : float
        Root mean square of the differences, the unit of the bend.
    truth : TrueDifferences, optional
        Where the differences are measured with error; counts are then by cell.
    """

    counts: Counts
    reading: Reading
    scale: float
    truth: TrueDifferences | None = None

    def __call__(
        self, strength: np.ndarray, shared: Mapping[str, Any], rows: np.ndarray | None
    ) -> np.ndarray:
        """Log-likelihood of some rows, or all, at strengths; shape (row, strength)."""
        if self.reading.position != "chooser":
            return self._at(strength, shared, rows, shared.get("position", 0.0))
        # A chooser's own position effect is integrated out before strength is.
        z, weight = np.polynomial.hermite_e.hermegauss(_POSITIONS)
        each = [
            self._at(strength, shared, rows, shared["position"] + shared["position_sd"] * one)
            for one in z
        ]
        return np.asarray(special.logsumexp(each, axis=0, b=(weight / weight.sum())[:, None, None]))

    def _at(
        self,
        strength: np.ndarray,
        shared: Mapping[str, Any],
        rows: np.ndarray | None,
        position: float,
    ) -> np.ndarray:
        matrix = self.counts.matrix if rows is None else self.counts.matrix[rows]
        return np.asarray(matrix @ self._log_probabilities(strength, shared, position))

    def _log_probabilities(
        self, strength: np.ndarray, shared: Mapping[str, Any], position: float
    ) -> np.ndarray:
        """Log probability of every kind at every node, (kind * node, strength)."""
        kind, size = self.counts.kind, self.counts.size
        response = self.reading.response
        assert isinstance(response, PairResponse)
        out = np.empty((len(kind), len(size), len(strength)))
        if self.truth is not None:
            for k, (answer, _, cell) in enumerate(kind):
                signed = size if answer == 0 else -size
                cells = np.full(len(size), cell)
                out[k] = self.truth.log_probability(signed, cells, strength)
        else:
            bent = self.scale * self.reading.utility.bent(size / self.scale, shared)
            v = bent[:, None] * strength
            with np.errstate(divide="ignore"):
                for first in np.unique(kind[:, 1]):
                    found = response.log_probabilities(NUMPY, v + position * first, shared)
                    for k in np.flatnonzero(kind[:, 1] == first):
                        out[k] = found[kind[k, 0]]
        out = with_lapse(out, shared.get("lapse", 0.0), len(response.answers))
        return out.reshape(-1, len(strength))


@dataclass(frozen=True)
class SituationSource:
    """Log-likelihoods situation by situation: several alternatives, rankings, further attributes.

    Parameters
    ----------
    values : numpy.ndarray, shape (situation, alternative)
        The attribute that strength is about.
    others : numpy.ndarray, shape (situation, alternative, fixed)
        Further attributes, in the order of ``reading.fixed``.
    available : numpy.ndarray of bool, shape (situation, alternative)
    answers : numpy.ndarray
        As the response takes them.
    weight : numpy.ndarray, shape (situation,)
    row : numpy.ndarray of int, shape (situation,)
    rows : int
    reading : Reading
    """

    values: np.ndarray
    others: np.ndarray
    available: np.ndarray
    answers: np.ndarray
    shown_first: np.ndarray
    weight: np.ndarray
    row: np.ndarray
    rows: int
    reading: Reading
    scale: float

    @cached_property
    def _sum(self) -> sparse.csr_array:
        index = self.row, np.arange(len(self.row))
        return sparse.csr_array((self.weight, index), shape=(self.rows, len(self.row)))

    def __call__(
        self, strength: np.ndarray, shared: Mapping[str, Any], rows: np.ndarray | None
    ) -> np.ndarray:
        """Log-likelihood of some rows, or all, at strengths; shape (row, strength)."""
        matrix = self._sum if rows is None else self._sum[rows]
        used = slice(None) if rows is None else np.unique(matrix.indices)
        matrix = matrix if rows is None else matrix[:, used]
        out = np.empty((matrix.shape[0], len(strength)))
        size = max(1, _BLOCK // max(1, self.values[used].size))
        for start in range(0, len(strength), size):
            some = strength[start : start + size]
            out[:, start : start + size] = matrix @ self.log_probability(some, shared, used).T
        return out

    def log_probability(
        self, strength: np.ndarray, shared: Mapping[str, Any], used: Any = slice(None)
    ) -> np.ndarray:
        """Log probability of every answer at strengths (strength, situation)."""
        response = self.reading.response
        others = self.others[used]
        offset = np.zeros(others.shape[:2])
        for column, each in enumerate(self.reading.fixed):
            offset = offset + shared[each.name] * others[:, :, column]
        with np.errstate(divide="ignore"):
            if isinstance(response, PairResponse):
                x = self.values[used][:, 0] - self.values[used][:, 1]
                size = self.scale * self.reading.utility.bent(np.abs(x) / self.scale, shared)
                fixed = offset[:, 0] - offset[:, 1]
                fixed = fixed + shared.get("position", 0.0) * self.shown_first[used]
                v = strength[:, None] * (np.sign(x) * size) + fixed
                found = np.stack(response.log_probabilities(NUMPY, v, shared))
                out = np.take_along_axis(found, self.answers[used][None, None], axis=0)[0]
                many = len(response.answers)
                return with_lapse(out, shared.get("lapse", 0.0), many)
            utility = strength[:, None, None] * self.values[used] + offset
            utility = np.where(self.available[used], utility, -np.inf)
            return np.asarray(
                response.log_likelihood(NUMPY, utility, self.answers[used], shared)
            )
