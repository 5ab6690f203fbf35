"""Diagnostics against named thresholds, each with what it means and what to do next."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.choice.mixing.families import family_named
from prefstrength.errors import InputError
from prefstrength.posterior.interface import Fitted

__all__ = ["Checks", "THRESHOLDS", "check"]

#: Thresholds by the name of the check.
THRESHOLDS = {
    "rhat": 1.01,
    "ess_bulk": 400.0,
    "ess_tail": 400.0,
    "divergences": 0.0,
    "tree_depth": 10.0,
    "bfmi": 0.3,
    "pareto_k": 0.7,
    "effective_draws": 400.0,
    "elbo_change": 4.0,
    "likelihood_error": 0.01,
    "predicted_agreement": 0.005,
    "separation": 1.0,
    "higher_chosen": 0.5,
}

_MEANING = {
    "rhat": (
        "Chains agree: variance between chains over variance within (Vehtari et al. 2021).",
        "Draw more (`draws=...`, `warmup=...`); if it stays, the model asks more than the data "
        "hold: fewer groups or stronger priors.",
    ),
    "ess_bulk": (
        "Independent draws that the means and medians are worth.",
        "Draw more: `draws=...`.",
    ),
    "ess_tail": (
        "Independent draws that the ends of the intervals are worth.",
        "Draw more: `draws=...`.",
    ),
    "divergences": (
        "Places that the sampler could not enter; the posterior there is missing.",
        "Lengthen the warm-up (`warmup=1000`); if they stay, a group has too few data to be "
        "pooled: drop it or merge levels.",
    ),
    "tree_depth": (
        "Longest path of the sampler; at the limit it is cut short and mixes slowly.",
        "Lengthen the warm-up (`warmup=1000`).",
    ),
    "bfmi": (
        "How well the sampler explores the energy of the posterior (Betancourt 2016).",
        "Stronger priors on the dispersions of small groups.",
    ),
    "pareto_k": (
        "Tail of the importance weights; below 0.7 they may be trusted (Vehtari et al. 2024).",
        "Use `method='nuts'`.",
    ),
    "effective_draws": (
        "Independent draws that the importance weights are worth.",
        "Use `method='nuts'`, or more draws.",
    ),
    "elbo_change": (
        "How far the variational bound still rose between the last two tenths of the steps, in "
        "standard errors of their difference.",
        "Use `method='nuts'` or `method='latent'`.",
    ),
    "likelihood_error": (
        "Error of the compressed log-likelihood against the direct one, in nats.",
        "Look for reward differences far larger than the rest; `method='latent'` has no such "
        "error.",
    ),
    "predicted_agreement": (
        "Tail probability of the observed share of choices that agree with the reward, under the "
        "posterior predictive distribution.",
        "The model misses how often choosers follow the reward: look at the choice curve; label "
        "noise or another family may fit.",
    ),
    "separation": (
        "Share of the situations in which the attribute points one way; where that is all, "
        "strength has no upper bound, and the prior alone says how large it is.",
        "It may be made from these very choices: use one that is not.",
    ),
    "higher_chosen": (
        "Share of the situations in which the chosen alternative has the higher value; the "
        "threshold is what chance leaves of one half. Below it, higher ones are rejected more "
        "often.",
        "The sign may be reversed, the two columns exchanged, or less of it better, as of a "
        "price: check it, and give it with the other sign.",
    ),
}
_AT_LEAST = {
    "ess_bulk", "ess_tail", "bfmi", "effective_draws", "predicted_agreement", "higher_chosen",
}  # fmt: skip
_BELOW = {"tree_depth", "separation"}
# Fewer situations than these may well all point one way.
_SEPARATION_FROM = 20


@dataclass(frozen=True, eq=False)
class Checks:
    """Outcome of :func:`check`.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns check, variable, value, threshold, passed, meaning, advice.
    """

    table: pd.DataFrame

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return bool(self.table["passed"].all())

    def raise_if_failed(self) -> "Checks":
        """Raise an ``InputError`` that names every failed check and what to do.

        Returns
        -------
        Checks
            Itself, if all passed.
        """
        failed = self.table[~self.table["passed"]]
        if len(failed):
            found = "; ".join(
                f"{row.check} of {row.variable} {row.value:.3g} (threshold {row.threshold:g})"
                if row.variable
                else f"{row.check} {row.value:.3g} (threshold {row.threshold:g})"
                for row in failed.itertuples()
            )
            advice = " ".join(dict.fromkeys(failed["advice"]))
            raise InputError(f"Expected a fit that passes its checks; got {found}. {advice}")
        return self

    def __repr__(self) -> str:
        head = "all checks passed" if self.passed else "CHECKS FAILED"
        shown = self.table[["check", "variable", "value", "threshold", "passed"]]
        return f"{head}\n{shown.to_string(index=False)}"

    def _repr_html_(self) -> str:
        head = "all checks passed" if self.passed else "<b>checks failed</b>"
        return f"<p>{head}</p>{self.table.to_html(index=False, escape=True)}"


def check(fit: Fitted) -> Checks:
    """Diagnose a fit.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    Checks
        For each check the worst variable.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> ps.check(fit).passed
    True
    """
    thresholds = dict(THRESHOLDS)
    found: list[tuple[str, str, float]] = []
    if fit.method == "svi":
        found.append(("elbo_change", "", float(fit.spec["elbo_change"])))
    elif fit.method in ("importance", "laplace"):
        found.append(("pareto_k", "", float(fit.spec["pareto_k"])))
        found.append(("effective_draws", "", float(fit.spec["effective"])))
    else:
        found += _convergence(fit)
    found.append(("likelihood_error", "", float(fit.spec["likelihood"]["error"])))
    found.append(("predicted_agreement", "", _predictive_tail(fit)))
    directions = fit.spec["data"].get("direction", {})
    found += [
        ("separation", name, max(each["higher"], each["lower"]))
        for name, each in directions.items()
        if each["situations"] >= _SEPARATION_FROM
    ]
    if (against := _against(fit, directions)) is not None:
        name, thresholds["higher_chosen"] = against, directions[against]["least"]
        found.append(("higher_chosen", name, directions[name]["higher"]))
    rows = []
    for name, variable, value in found:
        threshold = thresholds[name]
        if name in _AT_LEAST:
            passed = value >= threshold
        elif name in _BELOW:
            passed = value < threshold
        else:
            passed = value <= threshold
        meaning, advice = _MEANING[name]
        rows.append(
            {
                "check": name,
                "variable": variable,
                "value": value,
                "threshold": threshold,
                "passed": bool(passed),
                "meaning": meaning,
                "advice": advice,
            }
        )
    return Checks(pd.DataFrame(rows))


def _against(fit: Fitted, directions: dict[str, Any]) -> str | None:
    """The attribute that most of all goes against the choices, of those that should not.

    A reward should not, nor what the model takes for positive; a price rightly does.
    """
    families = {name: family_named(fit.family(name)) for name in directions}
    asked = [name for name, law in families.items() if "reward" in name.casefold() or law.positive]
    margin = {name: directions[name]["higher"] - directions[name]["least"] for name in asked}
    return min(margin, key=lambda name: margin[name]) if margin else None


def _convergence(fit: Fitted) -> list[tuple[str, str, float]]:
    """Worst variable of every diagnostic of chains.

    ``arviz.diagnose`` computes the same, but tells values only of what fails, by thresholds of
    its own; here a report shows how far from its threshold a good fit is.
    """
    import arviz as az

    posterior = fit.posterior.to_dataset()
    found = []
    for name, worst_of, values in (
        ("rhat", np.argmax, az.rhat(posterior)),
        ("ess_bulk", np.argmin, az.ess(posterior, method="bulk")),
        ("ess_tail", np.argmin, az.ess(posterior, method="tail")),
    ):
        flat = {str(k): np.asarray(v, dtype=float).ravel() for k, v in values.data_vars.items()}
        names = list(flat)
        extreme = np.array([v[worst_of(v)] for v in flat.values()])
        worst = int(worst_of(extreme))
        found.append((name, names[worst], float(extreme[worst])))
    statistics = fit.tree["sample_stats"]
    found.append(("divergences", "", float(np.sum(np.asarray(statistics["diverging"])))))
    found.append(("tree_depth", "", float(np.max(np.asarray(statistics["tree_depth"])))))
    found.append(("bfmi", "", float(az.bfmi(fit.tree)["energy"].min())))
    return found


def _predictive_tail(fit: Fitted) -> float:
    """Two-sided tail probability of the observed share of agreeing choices."""
    observed = np.asarray(fit.tree["observed_data"]["agreement"]).mean()
    simulated = np.asarray(fit.tree["posterior_predictive"]["agreement"]).mean(axis=-1).ravel()
    below = (np.sum(simulated <= observed) + 1) / (simulated.size + 1)
    above = (np.sum(simulated >= observed) + 1) / (simulated.size + 1)
    return float(min(1.0, 2 * min(below, above)))


def relative_densities(loo: dict[str, Any]) -> dict[str, Any]:
    """The same with every unit's densities divided by the largest among the models.

    Stacking does not change by that, but it takes exponentials: of a chooser with hundreds of
    choices nothing would be left, and the weights would stay where the search began.
    """
    most = np.max([value.elpd_i.values for value in loo.values()], axis=0)
    out = {}
    for name, value in loo.items():
        shifted = copy.copy(value)
        shifted.elpd_i = value.elpd_i - most
        out[name] = shifted
    return out
