"""What replicates and the prior say against a fit: how far off, and in words."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from prefstrength.posterior.interface import Fitted

__all__ = ["Finding", "against_the_prior", "against_replicates"]

# A bin in which no replicate differs from another is as uncertain as half an answer.
_LEAST_ANSWER = 0.5


@dataclass(frozen=True)
class Finding:
    """One number to be held against its threshold.

    Parameters
    ----------
    check, variable : str
    value : float
    seen, predicted : float
        What the data show and what the model predicts, where that is what is compared.
    words : str
        What was found, in a sentence; empty where the number says it.
    """

    check: str
    variable: str
    value: float
    seen: float = np.nan
    predicted: float = np.nan
    words: str = ""


def against_replicates(fit: Fitted) -> list[Finding]:
    """Statistics of the answers against new choosers of the same population, as far as kept."""
    if "predictive_checks" not in fit.tree.children:  # a fit of an earlier version
        return []
    kept = fit.tree["predictive_checks"].to_dataset()
    found = [_weak_choosers, _agreement, _first_chosen, _first_chosen_spread]
    return [finding for each in found if (finding := each(fit, kept)) is not None]


def _weak_choosers(fit: Fitted, kept: xr.Dataset) -> Finding | None:
    if "weak_choosers" not in kept:
        return None
    seen, replicates = _of(kept, "weak_choosers")
    low, high = np.quantile(replicates, [0.05, 0.95])
    pairs = fit.spec["data"]["alternatives"] == 2
    rarely = "in fewer than 40% of their answers" if pairs else "clearly less often than by chance"
    words = (
        f"{seen:.0f} choosers go along with {fit.attributes[0]} {rarely}; the model predicts "
        f"{replicates.mean():.1f} ({low:.0f} to {high:.0f})."
    )
    value = _above(float(seen), replicates)
    return Finding(
        "weak_choosers", fit.attributes[0], value, float(seen), float(replicates.mean()), words
    )


def _agreement(fit: Fitted, kept: xr.Dataset) -> Finding | None:
    seen, replicates = _of(kept, "agreement")
    answers = np.asarray(kept["answers"])
    mean, sd = replicates.mean(axis=0), replicates.std(axis=0, ddof=1)
    sd = np.maximum(sd, _LEAST_ANSWER / answers)
    far, others = (seen - mean) / sd, (replicates - mean) / sd
    worst = int(np.argmax(np.abs(far)))
    words = (
        f"Farthest off where the difference is about {float(kept['difference'][worst]):.3g}: "
        f"{seen[worst]:.0%} of {answers[worst]} answers go along with {fit.attributes[0]}, the "
        f"model predicts {mean[worst]:.0%}."
    )
    if not fit.spec["data"]["choosers"]:
        words += (
            " With one answer of each chooser this check is blind to most bends, because a spread "
            "of strengths draws them too: that it passes supports neither the curve nor a spread."
        )
    value = _above(float((far**2).sum()), (others**2).sum(axis=1))
    return Finding(
        "agreement_by_difference", fit.attributes[0], value, float(seen[worst]),
        float(mean[worst]), words,
    )  # fmt: skip


def _first_chosen(fit: Fitted, kept: xr.Dataset) -> Finding | None:
    if "first_chosen" not in kept:
        return None
    seen, replicates = _of(kept, "first_chosen")
    value = min(1.0, 2 * min(_above(float(seen), replicates), _above(-float(seen), -replicates)))
    predicted = float(replicates.mean())
    words = (
        f"{seen:.1%} of the answers are for what stood first; the model predicts {predicted:.1%}."
    )
    return Finding("position", "", value, float(seen), predicted, words)


def _first_chosen_spread(fit: Fitted, kept: xr.Dataset) -> Finding | None:
    if "first_chosen_spread" not in kept:
        return None
    seen, replicates = _of(kept, "first_chosen_spread")
    predicted = float(replicates.mean())
    words = (
        "The share of answers for what stood first varies "
        f"{seen / predicted:.2g} times as much between choosers as the model predicts."
    )
    value = _above(float(seen), replicates)
    return Finding("position_by_chooser", "", value, float(seen), predicted, words)


def _of(kept: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(kept[f"{name}_seen"]), np.asarray(kept[name])


def _above(seen: float, replicates: np.ndarray) -> float:
    """Probability of what was seen or more, the data counted among the replicates."""
    return float((1 + np.sum(replicates >= seen - 1e-12 * abs(seen))) / (1 + len(replicates)))


def against_the_prior(fit: Fitted) -> list[Finding]:
    """Where the posterior of location and dispersion lies in the prior, and what the data add."""
    if "prior" not in fit.tree.children:
        return []
    name, conflicts, shares = fit.attributes[0], [], []
    for what in ("location", "dispersion"):
        variable = f"{name}_{what}"
        if any(variable not in fit.tree[group] for group in ("prior", "posterior")):
            continue
        posterior, prior = (
            (array := np.asarray(fit.tree[group][variable])).reshape(
                array.shape[0] * array.shape[1], -1
            )
            for group in ("posterior", "prior")
        )
        for after, before in zip(posterior.T, prior.T, strict=True):
            middle = float(np.median(after))
            above = _above(middle, before)
            # A dispersion is never too small for its prior, whose mode is 0.
            tail = above if what == "dispersion" else 2 * min(above, _above(-middle, -before))
            usual = np.quantile(before, [0.05, 0.95])
            words = (
                f"The posterior's median of {variable} is {middle:.3g}; nine tenths of the prior "
                f"lie from {usual[0]:.3g} to {usual[1]:.3g}."
            )
            centre = float(np.median(before))
            conflicts.append(
                Finding("prior_conflict", variable, min(1.0, tail), middle, centre, words)
            )
            if (width := float(stats.iqr(before))) > 0:
                share = float(np.clip(1 - (stats.iqr(after) / width) ** 2, 0.0, 1.0))
                shares.append(Finding("prior_weight", variable, share))
    return [min(each, key=lambda one: one.value) for each in (conflicts, shares) if each]
