"""Heterogeneity of strength: index, interval and verdict, overall and by group.

Everything here reads a :class:`~prefstrength.Fit`, never a model's insides. A level of a factor
(or all data) is a mixture of the mixing distributions in its cells, each weighted by its share of
situations.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import stats

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
    probability_moments,
    situation_differences,
)
from prefstrength.posterior.monte_carlo import probability_error

__all__ = ["VERDICTS", "bayes_factor", "heterogeneity", "verdict_of"]

#: The three verdicts, and the one of a model that assumes the answer.
VERDICTS = ("heterogeneous", "homogeneous", "the data cannot tell", "assumed homogeneous")
#: Posterior probability that a verdict asks for.
CONFIDENCE = 0.95
#: Bayes factor, or else share of data, that a verdict asks for besides, so that no prior can give
#: a verdict by itself.
EVIDENCE = 3.0
LEARNED = 0.5
#: Monte Carlo errors by which a probability is to clear what a verdict asks for: nearer than that,
#: another seed may say otherwise.
ERRORS = 2.0


class Verdicts(Protocol):
    """Verdicts that are averaged over explanations, such as :func:`prefstrength.rivals` gives."""

    @property
    def attribute(self) -> str:
        """Attribute whose coefficient is the strength."""

    @property
    def label(self) -> str:
        """Verdict on all data, in a word."""

    @property
    def by_level(self) -> Mapping[tuple[str, str], "Verdicts"]:
        """The same for every level, by factor and level."""


def heterogeneity(
    fit: Fit,
    attribute: str | None = None,
    rope: float = 0.25,
    prob: float = 0.9,
    rivals: Verdicts | None = None,
) -> pd.DataFrame:
    """How much strength varies, overall and in every level of every group.

    Parameters
    ----------
    fit : Fit
    attribute : str, optional
        Attribute whose coefficient is the strength; may be left out where there is one, or where
        one varies.
    rope : float
        Region of practical equivalence: a coefficient of variation below it counts as
        homogeneous. At 0.25 heterogeneity explains about one per cent of the variance of
        choices, and the strongest tenth of choosers is less than twice as strong as the weakest.
    prob : float
        Probability of the (equal-tailed) intervals.
    rivals : Rivals, optional
        What :func:`prefstrength.rivals` says of the same choices. The verdict is then theirs,
        averaged over what else explains the choices; that of this model alone is in the column
        ``verdict_alone``.

    Returns
    -------
    pandas.DataFrame
        One row overall and one for each level. Columns: factor, level, choosers, situations; mean,
        median, cv (sd/mean), sd_log (sd of log strength, ``nan`` for Normal), share (of the
        variance of choices that is due to heterogeneity, ``nan`` with more than two alternatives),
        each with ``_low`` and ``_high``; p_heterogeneous and p_homogeneous, the posterior
        probabilities of cv above and below ``rope``; p_mcse, the Monte Carlo standard error of
        both; prior_heterogeneous, the same before the data; bayes_factor, how the data have moved
        the odds of heterogeneity; verdict; data_share, how much narrower than the prior the
        posterior of sd_log (of cv, for Normal) is: one minus the ratio of squared interquartile
        ranges (0: all prior, 1: all data). Means and medians are in units of one over the
        attribute; cv, sd_log and share are free of its scale.

    Raises
    ------
    InputError
        If the attribute is not in the model or a number is out of range.

    Notes
    -----
    Without ``rivals`` the verdict takes the model for true: a reward that saturates, or choosers
    who answer at random, look like spread to it. It is *heterogeneous* where p_heterogeneous >=
    0.95, *homogeneous* where p_homogeneous >= 0.95, else *the data cannot tell*. Where no chooser
    of a level chose twice between two, any choice curve can come from spread as well as from a
    bend of the utility, and the data cannot tell whatever the model says; nor is a probability
    within two of its Monte Carlo errors of 0.95 decided (more draws settle it). With several groups
    the prior alone makes heterogeneity likely, so either verdict asks besides that the data speak:
    that they moved the odds by a factor of 3, or that data_share >= 0.5.
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
        above = draws["cv"] > rope
        row["p_heterogeneous"] = float(np.mean(above))
        row["p_homogeneous"] = 1 - row["p_heterogeneous"]
        row["p_mcse"] = probability_error(fit, above, draws["cv"])
        row["prior_heterogeneous"] = float(np.mean(before["cv"] > rope))
        row["bayes_factor"] = bayes_factor(above, before["cv"] > rope)
        row["data_share"] = _data_share(draws[index], before[index])
        if laws.varies:
            # Between two alternatives, one answer each: the choice curve is all that is seen.
            repeated = differences is None or 0 < selection.choosers < selection.situations
            row["verdict"] = verdict_of(row) if repeated else VERDICTS[2]
        else:
            row["verdict"] = VERDICTS[3]
        if rivals is not None:
            row["verdict_alone"] = row["verdict"]
            row["verdict"] = _by_rivals(rivals, attribute, selection)
        rows.append(row)
    return pd.DataFrame(rows)


def _by_rivals(rivals: Verdicts, attribute: str, selection: Selection) -> str:
    if rivals.attribute != attribute:
        raise InputError(
            f"Expected rivals of the attribute {attribute!r}; got those of {rivals.attribute!r}. "
            f"Make them with `ps.rivals(choices, attribute={attribute!r})`."
        )
    if not selection.level:
        return rivals.label
    level = rivals.by_level.get((selection.factor, selection.level))
    if level is None:
        raise InputError(
            f"Expected rivals for the level {selection.level!r} of {selection.factor!r}; got none. "
            f"Make them with `ps.rivals(choices, groups={[selection.factor]})`."
        )
    return level.label


def verdict_of(row: dict[str, Any]) -> str:
    """Word of :data:`VERDICTS` for a row of the table."""
    p, factor, error = row["p_heterogeneous"], row["bayes_factor"], row["p_mcse"]
    learned = row["data_share"] >= LEARNED
    # As many errors of the log of the odds; the error of a share of 0 or 1 is of half a draw.
    doubt = np.exp(ERRORS * error / max(p * (1 - p), 0.7 * error))
    if p - ERRORS * error >= CONFIDENCE and (factor >= EVIDENCE * doubt or learned):
        return VERDICTS[0]
    if 1 - p - ERRORS * error >= CONFIDENCE and (factor * doubt <= 1 / EVIDENCE or learned):
        return VERDICTS[1]
    return VERDICTS[2]


def bayes_factor(posterior: np.ndarray, prior: np.ndarray) -> float:
    """Posterior odds over prior odds, a half added to every count so that neither is infinite."""

    def odds(hits: np.ndarray) -> float:
        return (hits.sum() + 0.5) / ((~hits).sum() + 0.5)

    return float(odds(posterior) / odds(prior))


def _data_share(posterior: np.ndarray, prior: np.ndarray) -> float:
    """One minus the ratio of squared interquartile ranges, held to [0, 1]."""
    before = float(stats.iqr(prior))
    if before == 0:
        return float("nan")
    return float(np.clip(1 - (stats.iqr(posterior) / before) ** 2, 0.0, 1.0))


def _interval(name: str, draws: np.ndarray, prob: float) -> dict[str, float]:
    tail = (1 - prob) / 2
    low, middle, high = (float(v) for v in np.quantile(draws, [tail, 0.5, 1 - tail]))
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def _variance_share(
    laws: Mixing, selection: Selection, differences: np.ndarray | None
) -> np.ndarray:
    if differences is None:
        return np.full(len(next(iter(laws.parameters.values()))), np.nan)
    x = np.quantile(differences[selection.rows], (np.arange(24) + 0.5) / 24)
    first, second = probability_moments(laws, selection.share, x)
    between = (second - first**2).mean(axis=1)
    total = (first * (1 - first)).mean(axis=1)
    return np.maximum(between, 0.0) / total
