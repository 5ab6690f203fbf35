"""Win rates from judged responses: raw, and with the lengths of the responses held equal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from prefstrength._shared.words import warn
from prefstrength.errors import InputError
from prefstrength.mixdpo.evaluation.intervals import (
    between_levels,
    independent_rows,
    macro_interval,
    mean_interval,
    share_interval,
    worst_prob,
)
from prefstrength.mixdpo.evaluation.levels import check_prob, read_levels

__all__ = ["WIN_METRICS", "win_metrics"]

#: Metric -> what it is.
WIN_METRICS = {
    "win_rate": "share of prompts that a wins, ties counting one half",
    "length_controlled_win_rate": "win rate of a predicted for responses of equal length",
    "reward_difference": "mean reward of a's responses less that of b's, in the judge's units",
}

#: Standard deviation of the normal prior on both coefficients of the length regression, in logits:
#: next to nothing beside a few dozen prompts, and an end for coefficients that would run away.
PENALTY_SD = 5.0

_STEPS, _TOLERANCE = 100, 1e-10


def win_metrics(
    outcome: Any,
    reward_difference: Any,
    length_difference: Any,
    groups: Mapping[str, Sequence[Any]] | None = None,
    *,
    prompts: Sequence[Any] | None = None,
    prob: float = 0.9,
) -> pd.DataFrame:
    r"""Win rate, length-controlled win rate and reward difference, overall and by group.

    The length-controlled rate is :math:`\sigma(\theta)` of the logistic regression [1]_

    .. math:: P(a \succ b) = \sigma(\theta + \phi \tanh(d / \mathrm{sd}(d)))

    of the outcomes on the length differences d, with a slight penalty.

    Parameters
    ----------
    outcome : array-like, shape (prompt,)
        1 where a wins, 0 where b wins, 0.5 for a tie.
    reward_difference : array-like, shape (prompt,)
        Reward of a's response less that of b's; NaN where one has no reward.
    length_difference : array-like, shape (prompt,)
        Length of a's response less that of b's, in any unit.
    groups : dict, optional
        Factor name to the level of every prompt.
    prompts : sequence, optional
        What prompt each row is about; rows of one prompt may be alike, and the intervals count
        prompts. By default every row has a prompt of its own.
    prob : float
        Probability of the intervals, in (0, 1).

    Returns
    -------
    pandas.DataFrame
        Rows as :func:`~prefstrength.mixdpo.preference_metrics` has them: all, the levels of each
        factor, its ``macro`` (mean over levels) and ``worst`` (the lowest). Columns ``factor``,
        ``level``, ``kind``, ``prompts``, ``wins``, ``ties``, ``losses``, and for each of
        ``WIN_METRICS`` its value, ``<metric>_low`` and ``<metric>_high``.

    Raises
    ------
    InputError
        If there is no prompt, an outcome is none of the three, or a factor has another length.

    Warns
    -----
    DataWarning
        If all responses of one side are longer by the same amount, so that length and model
        cannot be told apart; the length-controlled rate is NaN there.

    Notes
    -----
    The interval of a win rate is Wilson's, with the number of independent prompts that its
    cluster-robust variance amounts to, at most the number of rows. That of the length-controlled
    rate holds the :math:`\theta` whose penalised likelihood, maximised over :math:`\phi`, with
    as many independent prompts is within :math:`z^2/2` of the largest. Neither collapses where one
    model wins everything. That of a reward difference is Student's, from the cluster-robust
    standard error. The last two are missing (NaN) where there are fewer than two prompts.

    The interval of macro is put together from the levels' [2]_ and is no surer than they are. That
    of worst goes from the lowest of the levels' lower ends to the lowest of their upper ends at
    ``1 - (1 - prob) / levels`` (Bonferroni). Both are missing where that of a level is.

    References
    ----------
    .. [1] Dubois, Galambosi, Liang, Hashimoto (2024), arXiv:2404.04475.
    .. [2] Zou, Huang, Zhang (2009), Computational Statistics & Data Analysis 53, 1080-1085.

    Examples
    --------
    >>> table = win_metrics([1, 1, 0, 0.5], [2.0, 1.0, -1.0, 0.0], [3, -1, 1, -2])
    >>> table[["prompts", "ties", "win_rate", "reward_difference"]].iloc[0].tolist()
    [4.0, 1.0, 0.625, 0.5]
    """
    y, each = _checked(outcome, reward_difference, length_difference, prob)
    codes = read_levels(groups, len(y), "prompt")
    cluster = np.arange(len(y)) if prompts is None else pd.factorize(np.asarray(prompts))[0]
    if len(cluster) != len(y):
        raise InputError(f"Expected prompts for each of {len(y)} rows; got {len(cluster)}.")
    whole = _Part(each, cluster)
    rows = [_row("all", "all", "micro", whole.counts, whole.value, *whole.interval(prob))]
    for factor, (levels, code) in codes.items():
        parts = [_Part(each[code == k], cluster[code == k]) for k in range(len(levels))]
        ends = [part.interval(prob) for part in parts]
        for level, part, (low, high) in zip(levels, parts, ends, strict=True):
            rows.append(_row(factor, level, "level", part.counts, part.value, low, high))
        value = np.stack([part.value for part in parts])
        macro = _macro(value, np.array(ends), each, code, cluster)
        rows.append(_row(factor, "macro", "macro", whole.counts, value.mean(axis=0), *macro))
        outer = np.array([part.interval(worst_prob(prob, len(parts))) for part in parts])
        worst = np.array(ends)[:, 0].min(axis=0), outer[:, 1].min(axis=0)
        rows.append(_row(factor, "worst", "worst", whole.counts, value.min(axis=0), *worst))
    table = pd.DataFrame(rows)
    lacking = table["length_controlled_win_rate"].isna() & table["kind"].isin(["micro", "level"])
    if lacking.any():
        where = table.loc[lacking, "level"]
        warn(
            "Expected length differences that vary; got the same one for all prompts of "
            f"{', '.join(where.head(3))}, so that length and model cannot be told apart there. "
            "The length-controlled win rate is missing.",
        )
    return table


# -- at the door -----------------------------------------------------------------------------------


def _checked(outcome: Any, reward: Any, length: Any, prob: float) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and outcome, reward difference and squashed length difference (prompt, 3)."""
    y, r, d = (np.asarray(value, dtype=float) for value in (outcome, reward, length))
    if y.ndim != 1 or not len(y) or not y.shape == r.shape == d.shape:
        raise InputError(
            "Expected outcomes, reward differences and length differences of the same prompts, "
            f"at least one; got shapes {y.shape}, {r.shape} and {d.shape}."
        )
    if not np.isin(y, (0.0, 0.5, 1.0)).all() or not np.isfinite(d).all():
        raise InputError(
            "Expected outcomes of 1, 0.5 or 0 and finite length differences; got others."
        )
    check_prob(prob)
    # Not about its mean, so that no difference stays none. Where all are the same, any unit does.
    unit = d.std() if d.std() > 0 else max(np.abs(d).max(), 1.0)
    return y, np.stack([y, r, np.tanh(d / unit)], axis=1)


# -- one level -------------------------------------------------------------------------------------


class _Part:
    """The rows of one level: outcome, reward difference and squashed length difference (row, 3)."""

    def __init__(self, each: np.ndarray, cluster: np.ndarray) -> None:
        self.y, self.reward, self.length = each.T
        _, self.cluster = np.unique(cluster, return_inverse=True)
        # A length difference that never changes is the intercept under another name.
        self.told_apart = bool(np.ptp(self.length) > 0 or self.length[0] == 0)
        given = np.isfinite(self.reward)
        reward = self.reward[given].mean() if given.any() else np.nan
        controlled = np.nan
        if self.told_apart:
            design = np.stack([np.ones(len(self.y)), self.length], axis=1)
            controlled = expit(_regression(self.y, design)[0][0])
        self.value = np.array([self.y.mean(), controlled, reward])
        wins, losses = int(np.sum(self.y == 1)), int(np.sum(self.y == 0))
        size = len(self.y)
        self.counts = {
            "prompts": size, "wins": wins, "ties": size - wins - losses, "losses": losses,
        }  # fmt: skip

    def interval(self, prob: float) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends (metric,)."""
        given = np.isfinite(self.reward)
        none = np.nan, np.nan
        several = self.told_apart and self.cluster.max() > 0
        ends = [
            share_interval(self.y, self.cluster, prob),
            self._controlled_interval(prob) if several else none,
            mean_interval(self.reward[given], self.cluster[given], prob) if given.any() else none,
        ]
        low, high = np.array(ends).T
        return low, high

    def _controlled_interval(self, prob: float) -> tuple[float, float]:
        """Ends of the length-controlled rate, by its profile likelihood."""
        y, x = self.y, self.length[:, None]
        weight = independent_rows(y, self.cluster, prob) / len(y)
        both = np.concatenate([np.ones_like(x), x], axis=1)
        (best, _), least = _regression(y, both, weight=weight)
        limit = least + ndtri((1 + prob) / 2) ** 2 / 2

        def above(theta: float) -> float:
            loss = _regression(y, x, np.full(len(y), theta), weight)[1]
            return loss + theta**2 / (2 * PENALTY_SD**2) - limit

        ends = []
        for way in (-1.0, 1.0):
            step = way
            while above(best + step) < 0:  # the penalty alone ends it
                step *= 2
            ends.append(expit(brentq(above, best, best + step)))
        middle = self.value[1]  # of all rows, whatever they have in common
        return float(min(ends[0], middle)), float(max(ends[1], middle))


def _macro(
    value: np.ndarray, ends: np.ndarray, each: np.ndarray, code: np.ndarray, cluster: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ends (metric,) of the means over levels from those of the levels (level, end, metric)."""
    rate = between_levels(each[:, 0], code, cluster)
    given, reward = np.isfinite(each[:, 1]), rate
    if len(np.unique(code[given])) == len(value):  # else it is missing
        reward = between_levels(each[given, 1], code[given], cluster[given])
    # The length-controlled rate is one of the same outcomes.
    out = [
        macro_interval(value[:, m], ends[:, 0, m], ends[:, 1, m], correlation)
        for m, correlation in enumerate((rate, rate, reward))
    ]
    low, high = np.array(out).T
    return low, high


def _row(
    factor: str,
    level: str,
    kind: str,
    counts: dict[str, int],
    value: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> dict[str, Any]:
    row: dict[str, Any] = {"factor": factor, "level": level, "kind": kind, **counts}
    for m, metric in enumerate(WIN_METRICS):
        row |= {metric: value[m], f"{metric}_low": low[m], f"{metric}_high": high[m]}
    return row


# -- the length regression -------------------------------------------------------------------------


def _regression(
    y: np.ndarray, design: np.ndarray, offset: Any = 0.0, weight: float = 1.0
) -> tuple[np.ndarray, float]:
    """Coefficients of a penalised logistic regression, and its loss.

    Every row counts ``weight`` times. Newton's steps, halved where they would not lower the loss,
    which is strictly convex, so that there is one minimum and they reach it.
    """
    penalty = 1 / PENALTY_SD**2

    def loss(at: np.ndarray) -> float:
        u = offset + design @ at
        return float(weight * np.sum(np.logaddexp(0.0, u) - y * u) + penalty / 2 * at @ at)

    at = np.zeros(design.shape[1])
    now = loss(at)
    for _ in range(_STEPS):
        p = expit(offset + design @ at)
        gradient = weight * design.T @ (p - y) + penalty * at
        curve = weight * (design.T * (p * (1 - p))) @ design + penalty * np.eye(len(at))
        step = np.linalg.solve(curve, gradient)
        # Newton's decrement: about twice what is left to gain.
        if gradient @ step < _TOLERANCE:
            break
        while (then := loss(at - step)) > now + 1e-12 * (1 + abs(now)):
            step /= 2
        at, now = at - step, then
    return at, now
