"""Strength prior for training: the one that a fit supports."""

import math
from typing import Any

import numpy as np
from scipy import special

from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.normal import Normal
from prefstrength.choice.responses.named import RESPONSES, KnownResponse
from prefstrength.errors import InputError
from prefstrength.posterior.interface import Fitted
from prefstrength.posterior.laws import (
    Selection,
    draws_of,
    in_cells,
    indices,
    labelled,
    selection_of,
)

__all__ = ["MATCHED", "matched", "strength_prior_summary"]

#: Probabilities at which the Normal of the log spread has the quantiles of the posterior. Its ends
#: and not its mean and sd: near homogeneity the log of a spread has a long lower tail, which would
#: widen the upper end to twice what the data support.
MATCHED = (0.05, 0.95)
# A spread below it (in log strength, or sd/mean) is none: strengths within one per cent.
_LEAST_SPREAD = 0.01
_LEAST_SD = 0.01


def matched(spread: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Ends at which a record matches the posterior of a spread: its quantiles at ``MATCHED``.

    Parameters
    ----------
    spread : numpy.ndarray, shape (draw,)
        Not negative; zeros, of a posterior that holds one strength possible, count as 0.01.
    weights : numpy.ndarray, shape (draw,), optional
        Of the draws, where they do not count alike.

    Returns
    -------
    tuple of float

    Examples
    --------
    >>> [round(end, 3) for end in matched(np.linspace(0.0, 0.25, 1001))]
    [0.013, 0.238]
    """
    if weights is None:
        found = np.quantile(spread, MATCHED)
    else:
        found = np.quantile(spread, MATCHED, weights=weights, method="inverted_cdf")
    low, high = np.maximum(found, _LEAST_SPREAD)
    return float(low), float(high)


def strength_prior_summary(
    fit: Fitted,
    mean_strength: float,
    group: str | None = None,
    mean_strength_sd: float = 0.1,
    attribute: str | None = None,
) -> dict[str, Any]:
    """Fields of a :class:`~prefstrength.StrengthPrior`: shape from the data, scale given.

    The mixture over cells is summarised by one mixing distribution of the fitted family with the
    same spread: the sd of log strength (LogNormal) or the coefficient of variation (the others). Of
    several kinds of choosers it is a LogNormal, or a Normal where strengths may be negative, with
    the same coefficient of variation; ``source`` says so. The 5 % and 95 % quantiles of the log
    spread are those of the posterior. How sure the data are of the mean strength per unit of reward
    is in ``source``; it says nothing of the strength per nat of log-ratio.
    """
    attribute = fit.attribute(attribute)
    laws = draws_of(fit, attribute)
    family = type(laws)
    if family not in MIXINGS.values():
        family = LogNormal if fit.mixing(attribute).kinds.positive else Normal
    if not (np.isfinite(mean_strength) and mean_strength > 0):
        raise InputError(
            f"Expected mean_strength > 0, such as DPO's beta 0.1; got {mean_strength}."
        )
    if not (np.isfinite(mean_strength_sd) and mean_strength_sd > 0):
        raise InputError(
            "Expected mean_strength_sd > 0, the sd of the log of the mean strength that training "
            f"may move; got {mean_strength_sd}. Leave it out for 0.1."
        )
    selections = labelled(fit)
    chosen = selection_of(fit, group)
    means = laws.mean()
    overall_mean = means @ selections["overall"].share

    def shape(selection: Selection) -> dict[str, float | None]:
        if not laws.varies:
            return {"dispersion": None, "dispersion_sd": None}
        low, high = (np.log(end) for end in ends(selection))
        sd = (high - low) / (2 * special.ndtri(MATCHED[1]))
        return {"dispersion": float((low + high) / 2), "dispersion_sd": max(float(sd), _LEAST_SD)}

    def ends(selection: Selection) -> list[float]:
        found = indices(in_cells(laws, selection.cells), selection.share)
        if family is type(laws):
            return list(matched(found[family.spread]))
        logs = [family.log_spread_from_cv(cv) for cv in matched(found["cv"])]
        return [math.exp(each) for each in logs if each is not None]

    mean = means[:, chosen.cells] @ chosen.share
    if not (mean > 0).all():
        raise InputError(
            "A strength prior expects a positive mean strength; got draws with a mean of 0 or less "
            f"({float(np.mean(mean <= 0)):.0%} of them). Higher rewards are not preferred in these "
            "data: check the sign of the rewards, or fit LogNormal()."
        )
    groups = {}
    for label, selection in selections.items():
        if label == "overall":
            continue
        own = means[:, selection.cells] @ selection.share
        groups[label] = {
            **shape(selection),
            "relative_mean": float(np.mean(own / overall_mean)),
        }
    return {
        "family": family.__name__,
        "location": float(np.log(mean_strength)),
        "location_sd": float(mean_strength_sd),
        **shape(chosen),
        "mean_strength": float(mean_strength),
        "source": {
            "attribute": attribute,
            **({"summary_of": fit.family(attribute)} if family is not type(laws) else {}),
            "group": "overall" if group is None else group,
            "fitted_mean": float(mean.mean()),
            "fitted_mean_log_sd": float(np.log(mean).std()),
            "law": "plug-in",
            **({"spread_90": ends(chosen)} if laws.varies else {}),
            "method": fit.method,
            "seed": fit.spec["seed"],
            "situations": fit.spec["data"]["situations"],
            "choosers": fit.spec["data"]["choosers"],
            "data": fit.spec["data"]["hash"],
            "errors": {
                name: {"sd": error["sd"], "reliability": error["reliability_here"]}
                for name, error in fit.errors.items()
            },
            "versions": fit.spec["versions"],
        },
        "groups": groups,
        **_response(fit),
    }


def _response(fit: Fitted) -> dict[str, Any]:
    """Kind of the answers, where they were more than choices, with posterior means of the shared.

    Means of a distance or a weight, which are positive, on the scale on which they are known.
    """
    about = fit.spec.get("response", {})
    if "settings" not in about:  # of a fit from before answers were anything but choices
        return {}
    response = RESPONSES[about["name"]](**about["settings"])
    if response.answers_in == "chosen":
        return {}
    shared = {each.name: float(fit.posterior[each.name].mean()) for each in response.shared}
    return {"response": KnownResponse(response, shared).to_dict()}
