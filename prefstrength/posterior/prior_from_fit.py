"""Strength prior for training: the one that a fit supports."""

from typing import Any

import numpy as np

from prefstrength.errors import InputError
from prefstrength.posterior.interface import Fitted
from prefstrength.posterior.laws import Laws, Selection, indices, labelled, selection_of

__all__ = ["strength_prior_summary"]


def strength_prior_summary(
    fit: Fitted, mean_strength: float, group: str | None = None
) -> dict[str, Any]:
    """Fields of a :class:`~prefstrength.StrengthPrior`: shape from the data, scale given.

    The mixture over cells is summarised by one law of the fitted family with the same sd of
    log strength (LogNormal) or the same coefficient of variation (the others).
    """
    attribute = fit.attributes[0]
    laws = Laws.of(fit, attribute)
    if not (np.isfinite(mean_strength) and mean_strength > 0):
        raise InputError(
            f"Expected mean_strength > 0, such as DPO's beta 0.1; got {mean_strength}."
        )
    selections = labelled(fit)
    chosen = selection_of(fit, group)
    overall_mean = laws.moments()[0] @ selections["overall"].share

    def shape(selection: Selection) -> dict[str, float | None]:
        index = indices(laws.take(selection.cells), selection.share)
        if laws.dispersion is None:
            return {"dispersion": None, "dispersion_sd": None}
        value = np.log(index["sd_log"] if laws.family == "LogNormal" else index["cv"])
        return {"dispersion": float(value.mean()), "dispersion_sd": float(value.std())}

    mean = laws.take(chosen.cells).moments()[0] @ chosen.share
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
        own = laws.take(selection.cells).moments()[0] @ selection.share
        groups[label] = {
            **shape(selection),
            "relative_mean": float(np.mean(own / overall_mean)),
        }
    return {
        "family": laws.family,
        "location": float(np.log(mean_strength)),
        "location_sd": float(np.log(mean).std()),
        **shape(chosen),
        "mean_strength": float(mean_strength),
        "source": {
            "attribute": attribute,
            "group": "overall" if group is None else group,
            "fitted_mean": float(mean.mean()),
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
    }
