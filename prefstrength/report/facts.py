"""Facts of the report: all its numbers, computed once, before a word is written."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.plots.observed import cell_weights
from prefstrength.plots.truth import Truth
from prefstrength.posterior.choosers import chooser_strengths
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import heterogeneity
from prefstrength.posterior.laws import mixture_draws
from prefstrength.validation.rivals import Rivals

__all__ = ["Facts", "Tenths", "collect", "tenths"]


@dataclass(frozen=True)
class Tenths:
    """Strength at the border of the weakest and of the strongest tenth of the choosers.

    Each number is (posterior median, low, high); ``ratio`` is ``None`` where the weakest tenth
    reaches down to 0 or below. ``weak_choice`` and ``strong_choice`` are the probabilities of
    choosing the higher reward at a difference of one sd.
    """

    ratio: tuple[float, float, float] | None
    weak: tuple[float, float, float]
    strong: tuple[float, float, float]
    weak_choice: float
    strong_choice: float


@dataclass(frozen=True)
class Facts:
    """What the report is made from.

    Parameters
    ----------
    fit : Fit
    attribute : str
    prob, rope : float
    heterogeneity : pandas.DataFrame
    tenths : Tenths or None
        ``None`` for a PointMass.
    checks : pandas.DataFrame
    models : pandas.DataFrame or None
        Comparison of models by PSIS-LOO.
    no_models : str
        Why there is none though several were given.
    choosers : pandas.DataFrame or None
    prior : StrengthPrior or None
    no_prior : str
        Why there is none.
    learned : LearnedStrength or None
    comparison : StrengthComparison or None
    no_comparison : str
        Why there is none though something was learned.
    truth : Truth or None
    recovered : pandas.DataFrame or None
        True values against posterior intervals.
    reward : dict or None
        Provenance of the reward.
    lengths : dict or None
        How response length goes with choice and reward.
    attenuation : pandas.DataFrame or None
        What ignoring the errors in the rewards would do.
    rivals : Rivals or None
        What else explains the same choices.
    alike : tuple of str
        Models of the comparison that give all choosers one strength.
    """

    fit: Fit
    attribute: str
    prob: float
    rope: float
    heterogeneity: pd.DataFrame
    tenths: Tenths | None
    checks: pd.DataFrame
    models: pd.DataFrame | None
    no_models: str
    choosers: pd.DataFrame | None
    prior: StrengthPrior | None
    no_prior: str
    learned: LearnedStrength | None
    comparison: Any
    no_comparison: str
    truth: Truth | None
    recovered: pd.DataFrame | None
    reward: dict[str, Any] | None
    lengths: dict[str, float] | None
    attenuation: pd.DataFrame | None = None
    rivals: Rivals | None = None
    notes: tuple[str, ...] = field(default=())
    alike: tuple[str, ...] = ()

    @property
    def overall(self) -> pd.Series:
        """Row of the heterogeneity table for all data."""
        return self.heterogeneity.iloc[0]

    @property
    def levels(self) -> pd.DataFrame:
        """Rows of the heterogeneity table for the levels of the groups."""
        return self.heterogeneity.iloc[1:]

    @property
    def failed(self) -> pd.DataFrame:
        """Checks that failed."""
        return self.checks[~self.checks["passed"].astype(bool)]

    @property
    def varies(self) -> bool:
        """Whether the model lets strength vary."""
        return self.fit.mixing(self.attribute).varies


def collect(
    fit: Fit,
    learned: LearnedStrength | None,
    comparison_fits: dict[str, Fit] | None,
    truth: Any,
    pairs: pd.DataFrame | None,
    prior: StrengthPrior | None,
    prob: float,
    rope: float,
    notes: tuple[str, ...],
    attenuation: pd.DataFrame | None = None,
    attribute: str | None = None,
    rivals: Rivals | None = None,
) -> Facts:
    """Compute everything."""
    from prefstrength.posterior.checks import check
    from prefstrength.posterior.compare_models import compare
    from prefstrength.validation.learned_comparison import compare_strength

    attribute = fit.attribute(attribute)
    table = heterogeneity(fit, attribute=attribute, rope=rope, prob=prob, rivals=rivals)
    varies = fit.mixing(attribute).varies
    no_prior = ""
    if prior is None and learned is not None:
        prior = learned.prior
    if prior is None:
        try:
            if rivals is None:
                prior = StrengthPrior.from_fit(fit, attribute=attribute)
            else:
                prior = StrengthPrior.from_rivals(rivals)
        except InputError as error:
            no_prior = str(error)
    comparison, no_comparison = None, ""
    if learned is not None:
        try:
            comparison = compare_strength(fit, learned, prob=prob)
        except InputError as error:
            no_comparison = str(error)
    models, no_models = None, ""
    if comparison_fits:
        try:
            models = compare(comparison_fits)
        except InputError as error:
            no_models = str(error)
    known = None if truth is None else Truth.of(truth, fit.groups)
    try:
        choosers = chooser_strengths(fit, attribute=attribute, prob=prob)
    except InputError:
        choosers = None
    return Facts(
        fit=fit,
        attribute=attribute,
        prob=prob,
        rope=rope,
        heterogeneity=table,
        tenths=tenths(fit, attribute, prob) if varies else None,
        checks=check(fit).table,
        models=models,
        no_models=no_models,
        choosers=choosers,
        prior=prior,
        no_prior=no_prior,
        learned=learned,
        comparison=comparison,
        no_comparison=no_comparison,
        truth=known,
        recovered=None if known is None else recovered(fit, attribute, known, table, prob),
        reward=None if pairs is None else pairs.attrs.get("reward"),
        lengths=None if pairs is None else _lengths(pairs, attribute),
        attenuation=attenuation,
        rivals=rivals,
        notes=notes,
        alike=tuple(
            name
            for name, each in (comparison_fits or {}).items()
            if not each.mixing(attribute).kinds.random
        ),
    )


def tenths(fit: Fit, attribute: str, prob: float) -> Tenths:
    """Strength at the borders of the weakest and the strongest tenth of all choosers."""
    unit = float(fit.spec["scales"][attribute])
    weak, strong = mixture_draws(fit, attribute).quantiles(np.array([0.1, 0.9])).T
    return Tenths(
        ratio=_summary(strong / weak, prob) if (weak > 0).all() else None,
        weak=_summary(weak, prob),
        strong=_summary(strong, prob),
        weak_choice=float(np.median(expit(weak * unit))),
        strong_choice=float(np.median(expit(strong * unit))),
    )


def _summary(draws: np.ndarray, prob: float) -> tuple[float, float, float]:
    tail = (1 - prob) / 2
    low, middle, high = np.quantile(draws, [tail, 0.5, 1 - tail])
    return float(middle), float(low), float(high)


def recovered(
    fit: Fit, attribute: str, truth: Truth, table: pd.DataFrame, prob: float
) -> pd.DataFrame:
    """True values against posterior intervals.

    Mean and spread of all data and of every level, and the parameters of every cell where the
    families agree.

    Returns
    -------
    pandas.DataFrame
        Columns where, quantity, truth, median, low, high, inside.
    """
    rows = []

    def add(where: str, quantity: str, true: float, middle: float, low: float, high: float) -> None:
        inside = bool(low <= true <= high)
        rows.append(
            {"where": where, "quantity": quantity, "truth": true, "median": middle, "low": low,
             "high": high, "inside": inside}
        )  # fmt: skip

    for row in table.to_dict("records"):
        where = f"{row['factor']}: {row['level']}" if row["level"] else "all data"
        true = truth.summary(cell_weights(fit, row["factor"], row["level"]))
        for quantity, name in (
            ("mean", "mean strength"),
            ("cv", "sd/mean"),
            ("sd_log", "sd of log strength"),
        ):
            if quantity in true and np.isfinite(row[quantity]):
                add(
                    where, name, true[quantity], *(row[quantity + e] for e in ("", "_low", "_high"))
                )
    tail = (1 - prob) / 2
    for index, cell in enumerate(fit.spec["cells"]):
        law = truth.law(cell)
        if law is None or law.family != fit.family(attribute):
            continue
        for parameter, true_value in law.parameters.items():
            draws = np.asarray(fit.posterior[f"{attribute}_{parameter}"])
            draws = draws[..., index].ravel() if fit.groups else draws.ravel()
            low, middle, high = np.quantile(draws, [tail, 0.5, 1 - tail])
            add(
                " | ".join(cell.values()) or "all data", parameter, float(true_value),
                float(middle), float(low), float(high),
            )  # fmt: skip
    return pd.DataFrame(
        rows, columns=["where", "quantity", "truth", "median", "low", "high", "inside"]
    )


def _lengths(pairs: pd.DataFrame, attribute: str) -> dict[str, float] | None:
    """How often the longer response was chosen, and how length goes with the reward."""
    if not {"chosen", "rejected"} <= set(pairs.columns):
        return None
    chosen, rejected = (pairs[side].map(_size).to_numpy(float) for side in ("chosen", "rejected"))
    difference = chosen - rejected
    unequal = difference != 0
    if not unequal.any():
        return None
    out = {"longer_chosen": float(np.mean(difference[unequal] > 0))}
    columns = [f"{attribute}_chosen", f"{attribute}_rejected"]
    if set(columns) <= set(pairs.columns):
        reward = pairs[columns[0]].to_numpy(float) - pairs[columns[1]].to_numpy(float)
        if np.std(reward) > 0 and np.isfinite(reward).all():
            # Around 0, since either order of a pair counts alike.
            norm = np.sqrt(np.mean(reward**2) * np.mean(difference**2))
            out["correlation"] = float(np.mean(reward * difference) / norm)
    return out


def _size(response: Any) -> int:
    """Characters of a text, or of the messages of a conversation."""
    if isinstance(response, str):
        return len(response)
    return sum(len(str(message.get("content", ""))) for message in response)
