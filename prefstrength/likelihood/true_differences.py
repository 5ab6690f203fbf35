r"""True reward differences: their distribution, and that of a choice given the observed one.

Observed is w = x + e: the true difference and an error e ~ Normal(0, s²) that has nothing to do
with the choice. Which response is named first is arbitrary, so that x is symmetric about 0, and
its distribution is taken for a scale mixture of normals,

.. math:: x \sim \sum_k \pi_k N(0, v_k), \qquad w \sim \sum_k \pi_k N(0, v_k + s^2),

fitted to the observed differences by EM, where s is known. Only w² enters: data are recorded as
chosen minus rejected, and the sign of w *is* the choice. Given w,

.. math:: x \mid w \sim \sum_k r_k(w)\, N(\lambda_k w, \lambda_k s^2), \qquad
          \lambda_k = v_k / (v_k + s^2),

so that a chooser of strength b chooses as observed with probability
:math:`\sum_k r_k(w) E[\sigma(b x_k)]`, each part of which is the mixed choice probability of a
Normal distribution at a utility difference of b (:mod:`prefstrength.choice.kernel`).
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from prefstrength.choice.arrays import NUMPY, Library
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.normal import Normal
from prefstrength.errors import InputError

__all__ = ["TINY", "TrueDifferences"]

# Components tried; the Bayesian information criterion chooses.
_MOST_COMPONENTS = 3
# Pairs in a cell of the groups from which it has a distribution of its own.
_FEWEST = 100
# The distribution is fitted to this many classes of differences of like size at most.
_CLASSES = 500
_ITERATIONS, _SETTLED = 1000, 1e-9
# Numbers in the largest temporary array of an evaluation without splines.
_BLOCK = 20_000


@dataclass(frozen=True)
class TrueDifferences:
    r"""Distribution of the true differences in every cell of the groups, and the errors' sd.

    Parameters
    ----------
    sd : float
        Standard deviation s of the errors, in units of the attribute.
    shares, variances : numpy.ndarray, shape (cell, component)
        :math:`\pi_k` and :math:`v_k`; a component that a cell does not have has share 0.
    """

    sd: float
    shares: np.ndarray
    variances: np.ndarray

    @classmethod
    def fit(
        cls, difference: np.ndarray, weight: np.ndarray, cell: np.ndarray, sd: float, name: str
    ) -> "TrueDifferences":
        """Fit the distribution of each cell; a cell of fewer than 100 pairs takes that of all.

        Parameters
        ----------
        difference, weight, cell : numpy.ndarray, shape (pair,)
            Observed differences in either orientation, weights and cell codes.
        sd : float
            Positive.
        name : str
            Of the attribute, for the sentence of an error.

        Raises
        ------
        InputError
            If the errors are as large as the differences: nothing is left to be true.
        """
        squares = difference**2
        everything = _scale_mixture(squares, weight, sd)
        if not everything[1].max() > 1e-6 * sd**2:
            rms = float(np.sqrt(np.average(squares, weights=weight)))
            raise InputError(
                f"Expected errors of {name!r} smaller than its differences, whose root mean square "
                f"is {rms:.4g}; got an error sd of {sd:.4g}, which leaves nothing to be true. "
                "Check that both are in the same unit: measurement_error(...).combine(pairs) "
                "gives the rewards that its sd belongs to."
            )
        cells = int(cell.max()) + 1
        shares = np.zeros((cells, _MOST_COMPONENTS))
        variances = np.zeros((cells, _MOST_COMPONENTS))
        for c in range(cells):
            mine = cell == c
            own = mine.sum() >= _FEWEST and cells > 1
            found = _scale_mixture(squares[mine], weight[mine], sd) if own else everything
            shares[c, : len(found[0])], variances[c, : len(found[1])] = found
        used = int((shares > 0).any(axis=0).sum())
        return cls(float(sd), shares[:, :used], variances[:, :used])

    def of_cell(self, cell: int) -> "TrueDifferences":
        """The distribution of one cell alone."""
        return replace(self, shares=self.shares[[cell]], variances=self.variances[[cell]])

    @property
    def reliabilities(self) -> np.ndarray:
        """Share of the variance of w that is x's, of each component (cell, component)."""
        return self.variances / (self.variances + self.sd**2)

    @property
    def reliability_of_cells(self) -> np.ndarray:
        """Share of the variance of w that is x's (cell,)."""
        true = (self.shares * self.variances).sum(axis=1)
        return np.asarray(true / (true + self.sd**2))

    def given(
        self, difference: np.ndarray, cell: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log share, mean and sd of each component of x given w, each (component, pair)."""
        total = (self.variances + self.sd**2)[cell].T
        with np.errstate(divide="ignore"):
            log_share = np.log(self.shares)[cell].T
        log_share = log_share - np.log(total) / 2 - difference**2 / (2 * total)
        log_share = log_share - special.logsumexp(log_share, axis=0)
        reliability = self.reliabilities[cell].T
        return log_share, reliability * difference, np.sqrt(reliability) * self.sd

    def draw(
        self, difference: np.ndarray, cell: np.ndarray, rng: np.random.Generator, draws: int
    ) -> np.ndarray:
        """Draws of the true differences given the observed ones alone, (draw, pair)."""
        log_share, mean, sd = self.given(difference, cell)
        cumulative = np.cumsum(np.exp(log_share), axis=0)
        component = np.zeros((draws, len(difference)), dtype=np.int64)
        uniform = rng.random((draws, len(difference)))
        for row in cumulative[:-1]:
            component += uniform > row
        pair = np.arange(len(difference))
        return mean[component, pair] + sd[component, pair] * rng.standard_normal(component.shape)

    def log_probability(
        self, difference: np.ndarray, cell: np.ndarray, beta: np.ndarray
    ) -> np.ndarray:
        """Log probability of the choices at strengths ``beta`` (node,), shape (pair, node).

        Each evaluated by quadrature, as exactly as :func:`prefstrength.log_choice_probability`.
        """
        out = np.empty((len(difference), len(beta)))
        size = max(1, _BLOCK // max(1, len(beta)))
        for start in range(0, len(difference), size):
            part = slice(start, start + size)
            of_each = self.given(difference[part], cell[part])
            out[part] = _mixed(NUMPY, *of_each, beta)
        return out


#: The kernel divides by the sd; where a component's is 0 this stands for it.
TINY = 1e-12


def _mixed(
    lib: Library, log_share: np.ndarray, mean: np.ndarray, sd: np.ndarray, beta: np.ndarray
) -> np.ndarray:
    law = Normal(mu=mean[:, :, None], sigma=sd[:, :, None] + TINY)
    parts = log_probability(lib, np.broadcast_to(beta, (*mean.shape, len(beta))), law)
    return special.logsumexp(log_share[:, :, None] + parts, axis=0)


# -- fitting -------------------------------------------------------------------------------------


def _scale_mixture(
    squares: np.ndarray, weight: np.ndarray, sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Shares and variances of x from the squares of w, as few components as the data ask for."""
    squares, weight = _classed(squares, weight)
    best, least = None, np.inf
    for components in range(1, _MOST_COMPONENTS + 1):
        found, log_likelihood = _by_em(squares, weight, sd, components)
        criterion = (2 * components - 1) * np.log(weight.sum()) - 2 * log_likelihood
        if criterion < least:
            best, least = found, criterion
    assert best is not None
    return best


def _classed(squares: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Few squares that stand for many: the means of neighbours."""
    if len(squares) <= _CLASSES:
        return squares, weight
    order = np.argsort(squares)
    starts = np.unique(np.linspace(0, len(order), _CLASSES + 1)[:-1].astype(int))
    total = np.add.reduceat(weight[order], starts)
    keep = total > 0
    means = np.add.reduceat((weight * squares)[order], starts)[keep] / total[keep]
    return means, total[keep]


def _by_em(
    squares: np.ndarray, weight: np.ndarray, sd: float, components: int
) -> tuple[tuple[np.ndarray, np.ndarray], float]:
    total = np.average(squares, weights=weight) * 4.0 ** (
        np.arange(components) - (components - 1) / 2
    )
    total = np.maximum(total, sd**2)
    shares = np.full(components, 1 / components)
    before = -np.inf
    for _ in range(_ITERATIONS):
        with np.errstate(divide="ignore"):
            logs = (
                np.log(shares)[:, None]
                - (np.log(2 * np.pi * total)[:, None] + squares / total[:, None]) / 2
            )
        each = special.logsumexp(logs, axis=0)
        log_likelihood = float(weight @ each)
        responsible = np.exp(logs - each) * weight
        counts = responsible.sum(axis=1)
        shares = counts / counts.sum()
        total = np.where(counts > 0, responsible @ squares / np.maximum(counts, 1e-300), total)
        # The variance of w is at least that of the errors.
        total = np.maximum(total, sd**2)
        if log_likelihood - before < _SETTLED * max(1.0, abs(log_likelihood)):
            break
        before = log_likelihood
    return (shares, total - sd**2), log_likelihood
