"""Heterogeneity of strength: index, interval and verdict, overall and by group.

Everything here reads a :class:`~prefstrength.Fit`, never a model's insides. A level of a factor
(or all data) is a mixture of the mixing distributions in its cells, each weighted by its share of
situations.
"""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.laws import (
    Selection,
    all_selections,
    check_probability,
    draws_of,
    in_cells,
    indices,
    nodes,
    probability_moments,
    situation_differences,
)

__all__ = ["VERDICTS", "bayes_factor", "heterogeneity", "verdict_of"]

#: The three verdicts, and the one of a model that assumes the answer.
VERDICTS = ("heterogeneous", "homogeneous", "the data cannot tell", "assumed homogeneous")
#: Posterior probability that a verdict asks for.
CONFIDENCE = 0.95
#: Bayes factor, or else share of data, that a verdict asks for besides, so that no prior can give
#: a verdict by itself.
EVIDENCE = 3.0
LEARNED = 0.5


def heterogeneity(
    fit: Fit, attribute: str | None = None, rope: float = 0.25, prob: float = 0.9
) -> pd.DataFrame:
    """How much strength varies, overall and in every level of every group.

    Parameters
    ----------
    fit : Fit
    attribute : str, optional
        Attribute whose coefficient is the strength; the model's first when left out.
    rope : float
        Region of practical equivalence: a coefficient of variation below it counts as
        homogeneous. At 0.25 heterogeneity explains about one per cent of the variance of
        choices, and the strongest tenth of choosers is less than twice as strong as the weakest.
    prob : float
        Probability of the (equal-tailed) intervals.

    Returns
    -------
    pandas.DataFrame
        One row overall and one for each level. Columns: factor, level, choosers, situations;
        mean, median, cv (sd/mean), sd_log (sd of log strength, ``nan`` for Normal), share (of
        the variance of choices that is due to heterogeneity, ``nan`` with more than two
        alternatives), each with ``_low`` and ``_high``; p_heterogeneous and p_homogeneous, the
        posterior probabilities of cv above and below ``rope``; prior_heterogeneous, the same
        before the data; bayes_factor, how the data have moved the odds of heterogeneity; verdict;
        data_share, how much narrower than the prior the posterior
        of sd_log (of cv, for Normal) is: one minus the ratio of squared interquartile ranges
        (0: all prior, 1: all data). Means and medians are in units of one over the
        attribute; cv, sd_log and share are free of its scale.

    Raises
    ------
    InputError
        If the attribute is not in the model or a number is out of range.

    Notes
    -----
    The verdict is *heterogeneous* where p_heterogeneous >= 0.95, *homogeneous* where
    p_homogeneous >= 0.95, else *the data cannot tell*. With several groups the prior alone makes
    heterogeneity likely, so either verdict asks besides that the data speak: that they moved
    the odds by a factor of 3, or that data_share >= 0.5.
    The share is E[Var(σ(βx) | x)] / E[p(x)(1-p(x))], averaged
    over the reward differences of the data (law of total variance of a choice). A level with
    several cells, and the whole, are mixtures: differences between their cells count as
    heterogeneity.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=150, situations=20)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> ps.heterogeneity(fit)["verdict"].tolist()
    ['heterogeneous']
    """
    attribute = fit.attribute(attribute)
    if not rope > 0:
        raise InputError(f"Expected rope > 0, a coefficient of variation; got {rope}.")
    check_probability(prob)
    posterior, prior = draws_of(fit, attribute), draws_of(fit, attribute, "prior")
    differences = situation_differences(fit, attribute)
    rows = []
    for selection in all_selections(fit):
        laws = in_cells(posterior, selection.cells)
        draws = indices(laws, selection.share)
        before = indices(in_cells(prior, selection.cells), selection.share)
        index = "sd_log" if laws.positive else "cv"
        draws["share"] = _variance_share(laws, selection, differences)
        row: dict[str, Any] = {
            "factor": selection.factor,
            "level": selection.level,
            "choosers": selection.choosers,
            "situations": selection.situations,
        }
        for name in ("mean", "median", "cv", "sd_log", "share"):
            row |= _interval(name, draws[name], prob)
        row["p_heterogeneous"] = float(np.mean(draws["cv"] > rope))
        row["p_homogeneous"] = 1 - row["p_heterogeneous"]
        row["prior_heterogeneous"] = float(np.mean(before["cv"] > rope))
        row["bayes_factor"] = bayes_factor(draws["cv"] > rope, before["cv"] > rope)
        row["data_share"] = _data_share(draws[index], before[index])
        row["verdict"] = verdict_of(row) if laws.varies else VERDICTS[3]
        rows.append(row)
    return pd.DataFrame(rows)


def verdict_of(row: dict[str, Any]) -> str:
    """Word of :data:`VERDICTS` for a row of the table."""
    p, factor = row["p_heterogeneous"], row["bayes_factor"]
    learned = row["data_share"] >= LEARNED
    if p >= CONFIDENCE and (factor >= EVIDENCE or learned):
        return VERDICTS[0]
    if 1 - p >= CONFIDENCE and (factor <= 1 / EVIDENCE or learned):
        return VERDICTS[1]
    return VERDICTS[2]


def bayes_factor(posterior: np.ndarray, prior: np.ndarray) -> float:
    """Posterior odds over prior odds, a half added to every count so that neither is infinite."""

    def odds(hits: np.ndarray) -> float:
        return (hits.sum() + 0.5) / ((~hits).sum() + 0.5)

    return float(odds(posterior) / odds(prior))


def _data_share(posterior: np.ndarray, prior: np.ndarray) -> float:
    """One minus the ratio of squared interquartile ranges, held to [0, 1]."""
    before = _middle_half(prior)
    if before == 0:
        return float("nan")
    return float(np.clip(1 - (_middle_half(posterior) / before) ** 2, 0.0, 1.0))


def _middle_half(draws: np.ndarray) -> float:
    """Distance of the quartiles (SciPy's takes a third of a second to import)."""
    low, high = np.quantile(draws, [0.25, 0.75])
    return float(high - low)


def _interval(name: str, draws: np.ndarray, prob: float) -> dict[str, float]:
    tail = (1 - prob) / 2
    low, middle, high = (float(v) for v in np.quantile(draws, [tail, 0.5, 1 - tail]))
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def _variance_share(
    laws: Mixing, selection: Selection, differences: np.ndarray | None
) -> np.ndarray:
    strength, weight = nodes(laws)
    if differences is None:
        return np.full(len(strength), np.nan)
    x = np.quantile(differences[selection.rows], (np.arange(24) + 0.5) / 24)
    first, second = probability_moments(strength, weight, selection.share, x)
    between = (second - first**2).mean(axis=1)
    total = (first * (1 - first)).mean(axis=1)
    return np.maximum(between, 0.0) / total
