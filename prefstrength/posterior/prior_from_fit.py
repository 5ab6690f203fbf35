"""Strength prior for training: the one that a fit supports."""

from typing import Any

import numpy as np

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

__all__ = ["strength_prior_summary"]


def strength_prior_summary(
    fit: Fitted, mean_strength: float, group: str | None = None
) -> dict[str, Any]:
    """Fields of a :class:`~prefstrength.StrengthPrior`: shape from the data, scale given.

    The mixture over cells is summarised by one mixing distribution of the fitted family with the
    same spread: the sd of log strength (LogNormal) or the coefficient of variation (the others). Of
    several kinds of choosers it is a LogNormal, or a Normal where strengths may be negative, with
    the same coefficient of variation; ``source`` says so.
    """
    attribute = fit.attributes[0]
    laws = draws_of(fit, attribute)
    family = type(laws)
    if family not in MIXINGS.values():
        family = LogNormal if fit.mixing(attribute).kinds.positive else Normal
    if not (np.isfinite(mean_strength) and mean_strength > 0):
        raise InputError(
            f"Expected mean_strength > 0, such as DPO's beta 0.1; got {mean_strength}."
        )
    selections = labelled(fit)
    chosen = selection_of(fit, group)
    means = laws.mean()
    overall_mean = means @ selections["overall"].share

    def shape(selection: Selection) -> dict[str, float | None]:
        if not laws.varies:
            return {"dispersion": None, "dispersion_sd": None}
        found = indices(in_cells(laws, selection.cells), selection.share)
        if family is type(laws):
            value = np.log(found[family.spread])
        else:
            value = np.array([family.log_spread_from_cv(cv) for cv in found["cv"]])
        return {"dispersion": float(value.mean()), "dispersion_sd": float(value.std())}

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
        "location_sd": float(np.log(mean).std()),
        **shape(chosen),
        "mean_strength": float(mean_strength),
        "source": {
            "attribute": attribute,
            **({"summary_of": fit.family(attribute)} if family is not type(laws) else {}),
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
