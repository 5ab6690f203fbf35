"""Comparison of the posterior of strength with what training learned."""

import html
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.laws import MixtureDraws, mixture_draws
from prefstrength.posterior.monte_carlo import probability_error

__all__ = ["StrengthComparison", "compare_strength"]

# Standard normal quantiles at which laws are compared: as far as probabilities tell them apart.
_REACH, _STEP = 7.0, 0.05
_LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True, eq=False)
class StrengthComparison:
    """Outcome of :func:`compare_strength`; strengths are relative to their own mean.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each index (sd_log, cv): learned, posterior median and interval, position
        (posterior probability below the learned value) and its Monte Carlo error position_mcse,
        inside (the interval).
    quantiles : pandas.DataFrame
        Columns probability, learned, posterior, low, high: quantiles of strength / mean.
    density : pandas.DataFrame
        Columns strength, learned, posterior, low, high: densities of strength / mean; empty
        where either mixing distribution has none. Of a learned strength with a share at zero that
        of the others, which holds the rest of the probability.
    wasserstein : float
        Distance between the learned and the posterior mean mixing distribution, strengths relative
        to the mean: the average shift of relative strength that turns one into the other.
    learned : LearnedStrength
    posterior_mean : float
        Mean strength of the posterior, in units of one over the attribute.
    learned_mean : float
        Mean strength that training ended with, in units of one over the log-ratio difference.
    prob : float
        Probability of the intervals.
    cells : int
        Cells of the groups that the posterior mixes.
    group : str, optional
        The group whose two mixing distributions are compared, as ``factor=level``; all data
        without.
    """

    table: pd.DataFrame
    quantiles: pd.DataFrame
    density: pd.DataFrame
    wasserstein: float
    learned: LearnedStrength
    posterior_mean: float
    learned_mean: float
    prob: float
    cells: int
    group: str | None = None

    @property
    def scale(self) -> str:
        """How the two scales were aligned, in a sentence."""
        held = self.learned.zero_share
        return (
            "Strengths are divided by their own mean, because the analysis measures strength per "
            f"unit of reward (mean {self.posterior_mean:.3g}) and training per nat of log-ratio "
            f"(mean {self.learned_mean:.3g}): only the shape can be compared."
            + (f" Training held {100 * held:.3g}% of the choosers at strength 0." if held else "")
        ) + self._mixed()

    def _mixed(self) -> str:
        groups = len(self.learned.groups)
        if groups:
            return (
                f" Training learned a strength for each of {groups} groups; here is the common "
                "one, to which they are shrunk. For one of them take "
                f"`group='{self.learned.group_column}=<level>'`."
            )
        if self.cells > 1:
            return (
                f" The posterior mixes {self.cells} groups, training learned one strength: a prior "
                "made from this fit matches the sd of log strength of the mixture (the coefficient "
                "of variation, for the other families), and the other index may differ."
            )
        return ""

    @property
    def position(self) -> float:
        """Posterior probability that the first index of the table is below the learned one."""
        return float(self.table["position"].iloc[0])

    def plot(self, **options: Any) -> Any:
        """Draw the comparison; see :func:`prefstrength.plots.plot_comparison`."""
        from prefstrength.plots import plot_comparison

        return plot_comparison(self, **options)

    def __repr__(self) -> str:
        return (
            f"{self.table.to_string(index=False)}\n"
            f"Wasserstein distance {self.wasserstein:.3g} (relative to the mean strength)\n"
            f"{self.scale}"
        )

    def _repr_html_(self) -> str:
        return (
            f"{self.table.to_html(index=False, escape=True)}"
            f"<p>Wasserstein distance {self.wasserstein:.3g} (relative to the mean strength). "
            f"{html.escape(self.scale)}</p>"
        )


def compare_strength(
    fit: Fit, learned: Any, prob: float = 0.9, group: str | None = None
) -> StrengthComparison:
    """Compare the strength distribution that the data support with the one training learned.

    Parameters
    ----------
    fit : Fit
    learned : LearnedStrength, path, or an object with ``.learned()``
        Such as ``trainer.strength``, or the ``learned_strength.json`` that training wrote.
    prob : float
        Probability of the intervals.
    group : str, optional
        ``factor=level`` of a group that both know, to compare its two mixing distributions; by
        default all data with the mixing distribution that training learned, the common one where
        groups have theirs.

    Returns
    -------
    StrengthComparison

    Raises
    ------
    InputError
        If ``learned`` is none of these, the file is not a learned strength, or there is no such
        group.

    Notes
    -----
    Scales are aligned by dividing each mixing distribution by its mean: strength and the scale of
    what it multiplies are identified only as a product. What is compared is therefore the shape.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> learned = ps.LearnedStrength("LogNormal", {"mu": -2.5, "sigma": 0.7}, "joint")
    >>> comparison = ps.compare_strength(fit, learned)
    >>> comparison.table["index"].tolist()
    ['sd_log', 'cv']
    """
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")
    record = _record(learned)
    if group is not None:
        record = _group_record(record, group)
    law = record.mixing()
    learned_mean = law.mean()
    if not learned_mean > 0:
        raise InputError(
            f"Expected a learned strength with a positive mean; got {law!r}. Training has turned "
            "the preferences round: check chosen and rejected, and lower the learning rate."
        )
    draws = mixture_draws(fit, group=group)
    mean = draws.index["mean"]
    tail = (1 - prob) / 2

    rows = []
    own = fit.mixing().spread
    indices = [("cv", law.cv()), ("sd_log", law.sd_log())]
    # First the index that a strength prior of this family carries.
    for name, value in sorted(indices, key=lambda each: each[0] != own):
        posterior = draws.index[name]
        if not np.isfinite(value) or not np.isfinite(posterior).all():
            continue
        low, median, high = np.quantile(posterior, [tail, 0.5, 1 - tail])
        rows.append(
            {
                "index": name,
                "learned": value,
                "posterior": median,
                "low": low,
                "high": high,
                "position": float(np.mean(posterior < value)),
                "position_mcse": probability_error(fit, posterior < value, posterior),
                "inside": bool(low <= value <= high),
            }
        )
    probabilities = np.array(_LEVELS)
    posterior_quantiles = draws.quantiles(probabilities) / mean[:, None]
    low, high = np.quantile(posterior_quantiles, [tail, 1 - tail], axis=0)
    quantiles = pd.DataFrame(
        {
            "probability": probabilities,
            "learned": law.quantile(probabilities) / learned_mean,
            "posterior": posterior_quantiles.mean(axis=0),
            "low": low,
            "high": high,
        }
    )
    return StrengthComparison(
        table=pd.DataFrame(rows),
        quantiles=quantiles,
        density=_densities(draws, law, learned_mean, mean, tail),
        wasserstein=_wasserstein(draws, law, learned_mean),
        learned=record,
        posterior_mean=float(np.median(mean)),
        learned_mean=float(learned_mean),
        prob=prob,
        cells=len(draws.share),
        group=group,
    )


def _group_record(record: LearnedStrength, group: str) -> LearnedStrength:
    """The learned mixing distribution of a group named ``factor=level``."""
    column, _, level = group.partition("=")
    if record.group_column != column:
        raise InputError(
            f"Expected a group that training learned, as '{record.group_column}=<level>'; got "
            f"{group!r}. Train with `strength_group_column={column!r}` to learn it."
            if record.group_column
            else f"Expected no group, because training learned one strength for all; got "
            f"{group!r}. Train with `strength_group_column={column!r}` to learn one for each."
        )
    return record.of_group(level)


def _record(learned: Any) -> LearnedStrength:
    if isinstance(learned, LearnedStrength):
        return learned
    if isinstance(learned, str | os.PathLike):
        return LearnedStrength.load(learned)
    if hasattr(learned, "learned"):
        return learned.learned()
    raise TypeError(
        "Expected a learned strength: trainer.strength, a LearnedStrength or the path of "
        f"learned_strength.json; got {type(learned).__name__}."
    )


def _wasserstein(draws: MixtureDraws, law: Mixing, learned_mean: float) -> float:
    r"""The integral of :math:`|Q(p) - \bar Q(p)|` over probabilities, with its tail.

    By the trapezoid rule in z, :math:`p = \Phi(z)`, each piece with a change of sign as two
    triangles. Beyond the last node the gap has one sign, and since both laws have mean 1 its
    integral is what is missing to 0: nothing is left out of a tail that no node reaches.
    """
    smooth = law.has_density and draws.law.has_density
    step = _STEP if smooth else _STEP / 4  # a jump is found within a step
    z = np.arange(-_REACH, _REACH + step / 2, step)
    p = special.ndtr(z)
    average = (draws.quantiles(p) / draws.index["mean"][:, None]).mean(axis=0)
    gap = (law.quantile(p) / learned_mean - average) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    size, turns = np.abs(gap), gap[1:] * gap[:-1] < 0
    both = size[1:] + size[:-1]
    triangles = (size[1:] ** 2 + size[:-1] ** 2) / np.where(turns, both, 1.0)
    inside = step / 2 * np.where(turns, triangles, both).sum()
    tail = abs(step * gap.sum()) if smooth else 0.0
    return float(inside + tail)


def _densities(
    draws: Any, law: Any, learned_mean: float, mean: np.ndarray, tail: float
) -> pd.DataFrame:
    columns = ["strength", "learned", "posterior", "low", "high"]
    share, law = law.apart_from_zero
    if not (law.has_density and draws.law.has_density):
        return pd.DataFrame({name: np.empty(0) for name in columns})
    grid = np.linspace(0.0, 4.0, 401)[1:]
    density = draws.pdf(grid[None, :] * mean[:, None]) * mean[:, None]
    low, high = np.quantile(density, [tail, 1 - tail], axis=0)
    learned = share * law.pdf(grid * learned_mean) * learned_mean
    values = (grid, learned, density.mean(axis=0), low, high)
    return pd.DataFrame(dict(zip(columns, values, strict=True)))
