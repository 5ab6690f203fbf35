r"""Sources of tables: log-likelihoods of choosers at any strength, from counts or situations.

Everything that all choosers share enters here: the response with its cut points, the bend of the
utility, answers at random, who stood first, the coefficients of further attributes, errors in the
rewards. What comes out is a function of strength alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from prefstrength.choice.arrays import NUMPY, Array, Library, number
from prefstrength.choice.responses.base import PairResponse, Response, SetResponse, Shared
from prefstrength.choice.utility import Linear, Utility
from prefstrength.likelihood.counts import Counts
from prefstrength.likelihood.true_differences import TrueDifferences

__all__ = ["PairSource", "Reading", "SituationSource"]

# Draws of a chooser's own position effect: how far they reach, and their widest step.
_REACH, _WIDEST = 7.0, 0.5
# Numbers in the largest temporary array.
_BLOCK = 4_000_000
# Zeros for a count at which a dense product is still the faster one, and numbers in one at most.
_DENSE, _BIG = 20, 2e7


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
    pair_effects : bool
        Whether the two responses of a pair differ by more than the attributes say, alike to all
        who judge the pair.
    fixed : tuple of str
        Further attributes, whose coefficients all choosers share.
    """

    response: Response
    utility: Utility = field(default_factory=Linear)
    lapse: bool = False
    position: str | None = None
    pair_effects: bool = False
    fixed: tuple[str, ...] = ()

    @property
    def shared(self) -> tuple[Shared, ...]:
        """All numbers that all choosers share, coefficients apart, with their priors."""
        more = [*self.response.shared, *self.utility.shared]
        if self.lapse:
            more.append(Shared("lapse", "Beta", (1.0, 9.0), 0.0, "share of answers at random"))
        if self.position is not None:
            more.append(Shared("position", "Normal", (0.0, 1.0), 0.0, "log odds of standing first"))
        if self.position == "chooser":
            more.append(Shared("position_sd", "HalfNormal", (1.0,), 0.0, "its sd over choosers"))
        if self.pair_effects:
            more.append(Shared("pair_sd", "HalfNormal", (1.0,), 0.0, "sd of the effects of pairs"))
        return tuple(more)


def with_lapse(lib: Library, log_probability: Array, lapse: Any, answers: int) -> Array:
    """Log probability of an answer of which a share is given at random among so many."""
    xp = lib.xp
    lapse = number(lib, lapse, log_probability)
    return xp.logaddexp(
        xp.log(lapse / answers) + 0.0 * log_probability, xp.log1p(-lapse) + log_probability
    )


class Source(Protocol):
    """Log-likelihoods of rows, choosers in cells, at strengths."""

    @property
    def reading(self) -> Reading:
        """How answers are read."""

    def __call__(
        self, strength: np.ndarray, shared: Mapping[str, Any], rows: np.ndarray | None
    ) -> np.ndarray:
        """Log-likelihood of some rows, or all, at strengths; shape (row, strength)."""


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
        matrix = self._matrix if rows is None else self._matrix[rows]
        with np.errstate(divide="ignore"):
            return np.asarray(self.log(NUMPY, strength, shared, lambda table: matrix @ table))

    def log(
        self, lib: Library, strength: Array, shared: Mapping[str, Any], sum_up: Callable[..., Array]
    ) -> Array:
        """The same in any library; ``sum_up`` takes log probabilities of kinds to rows."""
        if self.reading.position != "chooser":
            position = shared.get("position", 0.0)
            return sum_up(self._log_probabilities(lib, strength, shared, position))
        # A chooser's own position effect is integrated out before strength is.
        z, log_weight = self._positions
        xp, many = lib.xp, len(strength)
        rows = self.counts.matrix.shape[0] + self.counts.matrix.shape[1]
        blocks = -(-len(z) * many * rows // (4 * _BLOCK))
        total = None
        for part in np.array_split(np.arange(len(z)), blocks):
            at = shared["position"] + shared["position_sd"] * lib.constant(z[part], strength)
            table = self._log_probabilities(
                lib, xp.tile(strength, len(part)), shared, xp.repeat(at, many)
            )
            each = sum_up(table).reshape(-1, len(part), many)
            each = each + lib.constant(log_weight[part], strength)[:, None]
            top = each.max(axis=1)
            here = top + xp.log(xp.exp(each - top[:, None]).sum(axis=1))
            total = here if total is None else xp.logaddexp(total, here)
        return total

    @cached_property
    def _matrix(self) -> Any:
        """The counts, with their zeros where these are too few for a sparse product to pay."""
        counts = self.counts.matrix
        size = float(np.prod(counts.shape))
        return counts.toarray() if size < min(_DENSE * counts.nnz, _BIG) else counts

    @cached_property
    def _positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws of a chooser's own position effect, as dense as most answers ask, and log weights.

        An answer holds a quarter of information at most on an effect whose sd is of the order of 1.
        """
        known = np.repeat(np.abs(self.counts.kind[:, 1]), len(self.counts.node))
        most = float((self.counts.matrix @ known).max(initial=0.0))
        step = min(_WIDEST, 0.7 / np.sqrt(1 + most / 4))
        z = np.arange(-_REACH, _REACH + step / 2, step)
        return z, -(z**2) / 2 + np.log(step / np.sqrt(2 * np.pi))

    def _log_probabilities(
        self, lib: Library, strength: Array, shared: Mapping[str, Any], position: Any
    ) -> Array:
        """Log probability of every kind at every node, (kind * node, strength)."""
        kind, size = self.counts.kind, self.counts.size
        response = self.reading.response
        assert isinstance(response, PairResponse)
        if self.truth is not None:
            out = [
                self.truth.log_probability(
                    size if answer == 0 else -size, np.full(len(size), cell), np.asarray(strength)
                )
                for answer, _, cell in kind
            ]
            out = [lib.constant(each, strength) for each in out]
        else:
            sizes = lib.constant(size / self.scale, strength)
            v = self.scale * self.reading.utility.bent(lib, sizes, shared)[:, None] * strength
            found = {
                first: response.log_probabilities(lib, v + position * int(first), shared)
                for first in np.unique(kind[:, 1])
            }
            out = [found[first][answer] for answer, first, _ in kind]
        if "lapse" in shared:
            many = len(response.answers)
            out = [with_lapse(lib, each, shared["lapse"], many) for each in out]
        return lib.xp.concatenate(out, axis=0)


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
    def sum(self) -> sparse.csr_array:
        index = self.row, np.arange(len(self.row))
        return sparse.csr_array((self.weight, index), shape=(self.rows, len(self.row)))

    def __call__(
        self, strength: np.ndarray, shared: Mapping[str, Any], rows: np.ndarray | None
    ) -> np.ndarray:
        """Log-likelihood of some rows, or all, at strengths; shape (row, strength)."""
        matrix = self.sum if rows is None else self.sum[rows]
        used = slice(None) if rows is None else np.unique(matrix.indices)
        matrix = matrix if rows is None else matrix[:, used]
        out = np.empty((matrix.shape[0], len(strength)))
        size = max(1, _BLOCK // max(1, self.values[used].size))
        for start in range(0, len(strength), size):
            some = strength[start : start + size]
            with np.errstate(divide="ignore"):
                each = self.log_probability(NUMPY, some, shared, used)
            out[:, start : start + size] = matrix @ each.T
        return out

    def log_probability(
        self, lib: Library, strength: Array, shared: Mapping[str, Any], used: Any = slice(None)
    ) -> Array:
        """Log probability of every answer at strengths (strength, situation)."""
        response, xp = self.reading.response, lib.xp
        assert isinstance(response, PairResponse | SetResponse)
        others = self.others[used]
        offset = lib.constant(np.zeros(others.shape[:2]), strength)
        for column, each in enumerate(self.reading.fixed):
            offset = offset + shared[f"{each}_value"] * lib.constant(others[:, :, column], strength)
        values = self.values[used]
        if not isinstance(response, PairResponse):
            # Alternatives first in memory, where NumPy sums over them in whole rows.
            columns = lib.constant(values.T[:, None], strength)
            utility = xp.moveaxis(strength[:, None] * columns, 0, -1) + offset
            if not self.available[used].all():
                utility = xp.where(self.available[used], utility, -np.inf)
            return response.log_likelihood(lib, utility, self.answers[used], shared)
        x = values[:, 0] - values[:, 1]
        sizes = lib.constant(np.abs(x) / self.scale, strength)
        bent = self.scale * self.reading.utility.bent(lib, sizes, shared)
        fixed = offset[:, 0] - offset[:, 1] + shared.get("position", 0.0) * self.shown_first[used]
        v = strength[:, None] * (lib.constant(np.sign(x), strength) * bent) + fixed
        out = response.log_likelihood(lib, v, self.answers[used], shared)
        if "lapse" not in shared:
            return out
        return with_lapse(lib, out, shared["lapse"], len(response.answers))
