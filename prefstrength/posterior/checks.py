"""Diagnostics against named thresholds, each with what it means and what to do next."""

import copy
import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.errors import InputError
from prefstrength.posterior.interface import Fitted
from prefstrength.posterior.replicated import Finding, against_replicates, against_the_prior

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
    "weak_choosers": 0.025,
    "agreement_by_difference": 0.025,
    # Two that look at the same thing share one probability of a false alarm.
    "position": 0.0125,
    "position_by_chooser": 0.0125,
    "prior_conflict": 0.01,
    "prior_weight": 0.5,
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
    "weak_choosers": (
        "Probability of as many choosers who go against the attribute, among new choosers of the "
        "same population.",
        "Some may prefer less of it, or choose at random: `ps.rivals` names them; "
        "`ps.ZeroMass(...)` lets some not care, `ps.Normal()` some prefer less. Look at these "
        "choosers before training on them.",
    ),
    "agreement_by_difference": (
        "Probability that the share of answers that go along with the attribute, in ten bins of "
        "its difference, is as far off as this.",
        "The utility may be bent: `utility='power'` or `utility='capped'`, or `lapse=True` where "
        "some answer at random. `ps.rivals` says which of them the data ask for.",
    ),
    "position": (
        "Probability that as many or as few answers are for what stood first.",
        "Let the model know of it: `position='shared'`.",
    ),
    "position_by_chooser": (
        "Probability that choosers differ as much in how often they take what stood first.",
        "Let the model know of it: `position='chooser'`; choosers who take nothing else may be "
        "clicking through.",
    ),
    "prior_conflict": (
        "Probability of a value as far out as the posterior's median, under the prior.",
        "Look at the unit of the attribute and at the choices; if both are right, state a prior "
        "of your own: `MixedLogit(..., priors={...})`.",
    ),
    "prior_weight": (
        "How much of what is known comes from the data: one minus the ratio of squared "
        "interquartile ranges of posterior and prior; below one half the prior knows more than "
        "the data do.",
        "Collect more, four to eight answers of each chooser rather than more choosers, or take "
        "the numbers for what they are: mostly the prior's.",
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
    "prior_weight",
}  # fmt: skip
_BELOW = {"tree_depth", "separation"}
_ABOVE = {"weak_choosers", "agreement_by_difference", "position", "position_by_chooser",
          "prior_conflict"}  # fmt: skip
#: Checks whose value is a probability under the model.
_PROBABILITIES = _ABOVE | {"predicted_agreement"}
# Fewer situations than these may well all point one way.
_SEPARATION_FROM = 20


@dataclass(frozen=True, eq=False)
class Checks:
    """Outcome of :func:`check`.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns check, variable, seen, predicted, p, value, threshold, passed, meaning, advice.
        ``seen`` and ``predicted`` are what the data show and what the model predicts, ``p`` the
        probability of that under the model; ``nan`` where a check is of another kind. ``value``
        is what is held against ``threshold``.
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

    @property
    def words(self) -> list[str]:
        """What failed, a sentence each with what to do, and what a passed check does not say."""
        found = []
        for row in self.table.to_dict("records"):
            if not row["passed"]:
                of = f" of {row['variable']}" if row["variable"] else ""
                found.append(f"{row['check']}{of} failed. {row['meaning']} {row['advice']}")
            elif "is blind to" in row["meaning"]:
                found.append(f"{row['check']} passed. {row['meaning']}")
        return found

    def __repr__(self) -> str:
        head = "all checks passed" if self.passed else "CHECKS FAILED"
        shown = self.table.drop(columns=["p", "meaning", "advice"], errors="ignore")
        return "\n".join([head, shown.to_string(index=False, na_rep=""), *self.words])

    def _repr_html_(self) -> str:
        head = "all checks passed" if self.passed else "<b>checks failed</b>"
        said = "".join(f"<li>{html.escape(each)}</li>" for each in self.words)
        table = self.table.to_html(index=False, escape=True, na_rep="")
        return f"<p>{head}</p>{f'<ul>{said}</ul>' if said else ''}{table}"


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
    found: list[Finding] = []
    if fit.method == "svi":
        found.append(Finding("elbo_change", "", float(fit.spec["elbo_change"])))
    elif fit.method in ("importance", "laplace"):
        found.append(Finding("pareto_k", "", float(fit.spec["pareto_k"])))
        found.append(Finding("effective_draws", "", float(fit.spec["effective"])))
    else:
        found += _convergence(fit)
    found.append(Finding("likelihood_error", "", float(fit.spec["likelihood"]["error"])))
    found.append(_predictive_tail(fit))
    found += [*against_replicates(fit), *against_the_prior(fit)]
    directions = fit.spec["data"].get("direction", {})
    found += [
        Finding("separation", name, max(each["higher"], each["lower"]))
        for name, each in directions.items()
        if each["situations"] >= _SEPARATION_FROM
    ]
    if (against := _against(fit, directions)) is not None:
        name, thresholds["higher_chosen"] = against, directions[against]["least"]
        found.append(Finding("higher_chosen", name, directions[name]["higher"]))
    return Checks(pd.DataFrame([_judged(each, thresholds[each.check]) for each in found]))


def _judged(found: Finding, threshold: float) -> dict[str, Any]:
    """A row of the table."""
    if found.check in _AT_LEAST:
        passed = found.value >= threshold
    elif found.check in _ABOVE:
        passed = found.value > threshold
    elif found.check in _BELOW:
        passed = found.value < threshold
    else:
        passed = found.value <= threshold
    meaning, advice = _MEANING[found.check]
    return {
        "check": found.check,
        "variable": found.variable,
        "seen": found.seen,
        "predicted": found.predicted,
        "p": found.value if found.check in _PROBABILITIES else np.nan,
        "value": found.value,
        "threshold": threshold,
        "passed": bool(passed),
        "meaning": f"{meaning} {found.words}".rstrip(),
        "advice": advice,
    }


def _against(fit: Fitted, directions: dict[str, Any]) -> str | None:
    """The attribute that most of all goes against the choices, of those that should not.

    A reward should not, nor what the model takes for positive; a price rightly does.
    """
    kinds = {name: fit.mixing(name).kinds for name in directions}
    asked = [
        name
        for name, each in kinds.items()
        if "reward" in name.casefold() or (each.random and each.positive)
    ]
    margin = {name: directions[name]["higher"] - directions[name]["least"] for name in asked}
    return min(margin, key=lambda name: margin[name]) if margin else None


def _convergence(fit: Fitted) -> list[Finding]:
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
        found.append(Finding(name, names[worst], float(extreme[worst])))
    statistics = fit.tree["sample_stats"]
    found.append(Finding("divergences", "", float(np.sum(np.asarray(statistics["diverging"])))))
    found.append(Finding("tree_depth", "", float(np.max(np.asarray(statistics["tree_depth"])))))
    found.append(Finding("bfmi", "", float(az.bfmi(fit.tree)["energy"].min())))
    return found


def _predictive_tail(fit: Fitted) -> Finding:
    """Two-sided tail probability of the observed share of agreeing choices."""
    observed = np.asarray(fit.tree["observed_data"]["agreement"]).mean()
    simulated = np.asarray(fit.tree["posterior_predictive"]["agreement"]).mean(axis=-1).ravel()
    below = (np.sum(simulated <= observed) + 1) / (simulated.size + 1)
    above = (np.sum(simulated >= observed) + 1) / (simulated.size + 1)
    value = float(min(1.0, 2 * min(below, above)))
    return Finding("predicted_agreement", "", value, float(observed), float(simulated.mean()))


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
