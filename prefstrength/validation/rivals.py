"""Rivals: what else could explain the same choices, and the verdict that survives it."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed
from prefstrength.choice.responses.base import PairResponse
from prefstrength.data.choices import Choices
from prefstrength.data.measurement_error import RewardError
from prefstrength.errors import InputError
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.validation.rival_explanations import Explanation, Explanations, apart, explain
from prefstrength.validation.rival_parts import BENDS, PARTS
from prefstrength.validation.rival_predictions import leave_one_out, pseudo_bma, stacking
from prefstrength.validation.rival_shared import SharedNumbers
from prefstrength.validation.rival_tables import RivalLikelihood
from prefstrength.validation.verdict import Beliefs, advice, label, sentence

__all__ = ["Rivals", "rivals"]

# Weight from which an explanation has a row of its own, and below which it needs a grid of its own.
_SHOWN, _APART = 0.02, 1e-4
#: Prior probabilities of spread under which the verdict is reached again.
OTHER_PRIORS = (0.2, 0.5, 0.8)

_MEANINGS = {
    "spread": "sd of log strength",
    "power": "power of the difference",
    "capped": "difference that saturates, in units of its root mean square",
    "lapse": "share of answers at random",
    "zero": "share of choosers who answer at random or hardly weigh this",
    "reversed": "share of choosers who prefer the lower",
}


@dataclass(frozen=True, eq=False)
class Rivals:
    """Explanations of the same choices; made by :func:`rivals`.

    Parameters
    ----------
    attribute : str
    likelihood : RivalLikelihood
    shared : SharedNumbers
    explanations : Explanations
    single : bool
        Whether every answer stands alone.
    prob : float
        Probability of the intervals.
    by_level : mapping of tuple to Rivals
        The same for every level of every group, by ``(group, level)``.
    """

    attribute: str
    likelihood: RivalLikelihood
    shared: SharedNumbers
    explanations: Explanations
    single: bool
    prob: float
    by_level: "Mapping[tuple[str, str], Rivals]"

    @cached_property
    def beliefs(self) -> Beliefs:
        """Probabilities that the verdict is made of."""
        return self._beliefs(self.explanations)

    @property
    def label(self) -> str:
        """The verdict in a word: one of :data:`prefstrength.validation.verdict.VERDICTS`."""
        return label(self.beliefs)

    @property
    def verdict(self) -> str:
        """The verdict in one or two sentences."""
        return sentence(self.beliefs)

    @property
    def advice(self) -> str:
        """What would settle what is open; empty where nothing is."""
        return advice(self.beliefs)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Explanations, the likeliest first.

        Returns
        -------
        pandas.DataFrame
            Every explanation with one part at most beside spread, and what else has a weight of
            .02 or more; the others in the last row. Columns: explanation; weight, its posterior
            probability; log_evidence, its log marginal likelihood less the largest; elpd, the log
            probability of every chooser given the others, summed; elpd_diff and dse, against the
            best, with its standard error; stacking and pseudo_bma, weights by prediction among
            these rows; differ and same, see :class:`~prefstrength.validation.verdict.Beliefs`;
            verdict, if it were the only explanation.
        """
        weights = self.explanations.weights
        order = np.argsort(-weights, kind="stable")
        shown = [k for k in order if weights[k] >= _SHOWN or self.explanations.all[k].simple]
        chosen = [
            each if weights[k] > _APART else apart(self.likelihood, self.shared, each)
            for k, each in ((k, self.explanations.all[k]) for k in shown)
        ]
        rows = [self._row(each, float(weights[k])) for k, each in zip(shown, chosen, strict=True)]
        table = pd.DataFrame(rows)
        table["log_evidence"] -= max(each.log_evidence for each in self.explanations.all)
        each, times = self._left_out(chosen), self.likelihood.times
        elpd = times @ each
        away = each - each[:, [np.argmax(elpd)]]
        count = times.sum()
        variance = times @ away**2 / count - (times @ away / count) ** 2
        table.insert(3, "elpd", elpd)
        table.insert(4, "elpd_diff", elpd - elpd.max())
        table.insert(5, "dse", np.sqrt(count * np.maximum(variance, 0.0)))
        table.insert(6, "stacking", stacking(each, times))
        table.insert(7, "pseudo_bma", pseudo_bma(each, times))
        rest = len(weights) - len(shown)
        if rest:
            others = {"explanation": f"{rest} others", "weight": 1 - weights[shown].sum()}
            table = pd.concat([table, pd.DataFrame([others])], ignore_index=True)
        return table

    @cached_property
    def parts(self) -> pd.DataFrame:
        """What is believed of every part.

        Returns
        -------
        pandas.DataFrame
            Columns part; on, the probability that it is on; prior_on; mean, low and high of its
            parameter where it is on; meaning.
        """
        rows = []
        for part in (*PARTS, *BENDS.values()):
            on = self.explanations.chance(part.name)
            if on == 0:  # not told apart in single choices
                continue
            mean, low, high = _interval(*self.explanations.of(part.name), self.prob)
            rows.append(
                {
                    "part": part.name,
                    "on": on,
                    "prior_on": part.prior_on,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "meaning": _MEANINGS[part.name],
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def under_other_priors(self) -> pd.DataFrame:
        """The verdict under other prior probabilities that strengths are spread.

        Returns
        -------
        pandas.DataFrame
            Columns prior_spread, differ, same, spread, verdict.
        """
        rows = []
        for prior in OTHER_PRIORS:
            beliefs = self._beliefs(self.explanations.with_prior(spread=prior))
            rows.append(
                {
                    "prior_spread": prior,
                    "differ": beliefs.differ,
                    "same": beliefs.same,
                    "spread": beliefs.spread,
                    "verdict": label(beliefs),
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def sigma(self) -> pd.DataFrame:
        """Posterior of how strengths are spread, over all explanations.

        Returns
        -------
        pandas.DataFrame
            Weighted nodes: columns sigma (sd of log strength), zero_share, reversed_share, weight,
            which sum to 1.
        """
        sigma, zero, negative, weight = self.explanations.classes
        table = pd.DataFrame(
            {"sigma": sigma, "zero_share": zero, "reversed_share": negative, "weight": weight}
        )
        table = table[table["weight"] > 1e-9].reset_index(drop=True)
        return table.assign(weight=table["weight"] / table["weight"].sum())

    @cached_property
    def levels(self) -> pd.DataFrame:
        """The verdict for all, and for every level of every group.

        Returns
        -------
        pandas.DataFrame
            Columns group, level, choosers, answers, label, differ, same, spread, zero, reversed,
            verdict. Levels share the scale of the differences and the priors, and nothing else.
        """
        found = {("all", "all"): self, **self.by_level}
        return pd.DataFrame(
            [
                {
                    "group": group,
                    "level": level,
                    "choosers": each.beliefs.choosers,
                    "answers": float(each.likelihood.choices @ each.likelihood.times)
                    if each.likelihood.panel
                    else float(each.likelihood.times.sum()),
                    "label": each.label,
                    "differ": each.beliefs.differ,
                    "same": each.beliefs.same,
                    "spread": each.beliefs.spread,
                    "zero": each.beliefs.on["zero"],
                    "reversed": each.beliefs.on["reversed"],
                    "verdict": each.verdict,
                }
                for (group, level), each in found.items()
            ]
        )

    def __repr__(self) -> str:
        shown = self.table[["explanation", "weight", "elpd_diff", "dse", "stacking", "verdict"]]
        table = shown.to_string(index=False, float_format=lambda v: f"{v:.3g}", na_rep="")
        return "\n".join([self.verdict, *([self.advice] if self.advice else []), "", table])

    def _repr_html_(self) -> str:
        shown = self.table.to_html(
            index=False, escape=True, float_format=lambda v: f"{v:.3g}", na_rep=""
        )
        texts = [f"<b>{html.escape(self.verdict)}</b>", html.escape(self.advice)]
        return "".join(f"<p>{text}</p>" for text in texts if text) + shown

    # -- the pieces ------------------------------------------------------------------------------

    def _row(self, explanation: Explanation, weight: float) -> dict[str, object]:
        alone = self._beliefs(Explanations((explanation,)))
        return {
            "explanation": explanation.name,
            "weight": weight,
            "log_evidence": explanation.log_evidence,
            "differ": alone.differ,
            "same": alone.same,
            "verdict": label(alone),
        }

    def _left_out(self, chosen: Sequence[Explanation]) -> np.ndarray:
        names = self.shared.names
        return np.stack(
            [leave_one_out(self.likelihood, names, each.grid, each.pattern) for each in chosen],
            axis=1,
        )

    def _beliefs(self, explanations: Explanations) -> Beliefs:
        weights = explanations.weights
        told = np.array([each.claims for each in explanations.all])
        differ, same, spread = np.minimum(weights @ told, 1.0)
        on = {part: explanations.chance(part) for part in _MEANINGS}
        on["bend"] = explanations.chance(*BENDS)
        sigma, _, _, weight = explanations.classes
        values = {"cv": _interval(np.sqrt(np.expm1(sigma**2)), weight, self.prob)}
        for part in _MEANINGS:
            if on[part]:
                values[part] = _interval(*explanations.of(part), self.prob)
        order = np.argsort(-weights, kind="stable")
        straight = [not each.on for each in explanations.all]
        panel = self.likelihood.panel
        return Beliefs(
            differ=float(differ),
            same=float(same),
            spread=float(spread),
            on=on,
            straight=float(weights @ straight),
            values=values,
            largest=tuple((explanations.all[k].name, float(weights[k])) for k in order[:2]),
            single=self.single,
            choosers=self.likelihood.units if panel else 0,
            answers=float(np.median(self.likelihood.choices)) if panel else 1.0,
            error=self.likelihood.error,
            prob=self.prob,
        )


def rivals(
    choices: Choices,
    groups: str | Sequence[str] = (),
    attribute: str | None = None,
    *,
    error: float | RewardError = 0.0,
    prob: float = 0.9,
) -> Rivals:
    """Explain the same choices in every way that a referee would name, and weigh the explanations.

    Do choosers differ in how strongly they prefer, or is the utility bent, are answers given at
    random, do some not care, do some prefer the lower reward? One model holds all of these as parts
    that can be on or off; the verdict is averaged over every combination.

    Parameters
    ----------
    choices : Choices
        Of two alternatives: one chosen, graded, or with ties.
    groups : str or sequence of str
        Groups of whose levels the verdict is wanted too, each by itself.
    attribute : str, optional
        Attribute whose coefficient is the strength; may be left out where there is one.
    error : float or RewardError
        Standard deviation of the error of a difference, in units of the attribute; it is given, and
        not inferred.
    prob : float
        Probability of the (equal-tailed) intervals.

    Returns
    -------
    Rivals
        ``.verdict`` in words, ``.table`` of explanations, ``.parts``, ``.advice``,
        ``.under_other_priors``, ``.sigma``, ``.levels``.

    Raises
    ------
    InputError
        If situations have more than two alternatives, an attribute has to be named, there is no
        such group, or a number is out of range.

    Notes
    -----
    Weights are marginal likelihoods with a prior probability of one half that each part is off;
    power and saturation are a quarter each. Priors of parameters, where a part is on: mean of log
    strength Normal(-log s, 1), its sd HalfNormal(1), log power Normal(0, .3), log of the
    saturation Normal(.4, .7) in units of s, random answers Beta(1, 9), class at zero Beta(1, 4),
    reversed class Beta(1, 9), with s the root mean square of the differences. Stacking and
    pseudo-BMA+ stand beside them as scores of prediction.

    Where every answer stands alone the choice curve is all there is, and any curve can come from
    spread as well as from a bend: the verdict is then never yes or no.

    References
    ----------
    .. [1] Hess, Train (2017), Correlation and scale in mixed logit models, Journal of Choice
       Modelling 23.
    .. [2] Wichmann, Hill (2001), The psychometric function I, Perception & Psychophysics 63.
    .. [3] Yao, Vehtari, Simpson, Gelman (2018), Using stacking to average Bayesian predictive
       distributions, Bayesian Analysis 13.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=100, situations=20)
    >>> found = ps.rivals(choices)
    >>> found.label, round(float(found.parts.set_index("part").loc["spread", "mean"]), 1)
    ('heterogeneous', 0.9)
    """
    attribute = _attribute(choices, attribute)
    factors = [groups] if isinstance(groups, str) else list(groups)
    unknown = [name for name in factors if name not in choices.groups]
    if unknown:
        raise InputError(
            f"Expected groups among {listed(choices.groups)}; got {listed(unknown)}. Name their "
            "columns when the choices are made."
        )
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")
    sd = float(error.sd if isinstance(error, RewardError) else error)
    if not 0 <= sd < np.inf:
        raise InputError(f"Expected the error as a standard deviation, 0 or more; got {error}.")
    scale = choices.scale(attribute)
    if not scale > 0:
        raise InputError(
            f"Expected differences of {attribute!r} that are not all 0; got nothing else. Nothing "
            "can be learned from them."
        )
    by_level = {}
    for name in factors:
        factor = choices.groups[name]
        for code, level in enumerate(factor.levels):
            rows = factor.codes == code
            if rows.any():
                by_level[name, level] = _of(choices.subset(rows), attribute, scale, sd, prob)
    return replace(_of(choices, attribute, scale, sd, prob), by_level=by_level)


def _of(choices: Choices, attribute: str, scale: float, error: float, prob: float) -> Rivals:
    """Rivals of all given choices."""
    data = LikelihoodData.of(choices, (attribute,), np.zeros(choices.n_situations, np.int64))
    if not data.scalar or not isinstance(data.response, PairResponse):
        raise InputError(
            "Expected choices between two alternatives; got up to "
            f"{choices.n_alternatives}, answered as {data.response.name}. Make pairs of them."
        )
    observations = data.pair_observations()
    single = not data.panel or int(np.bincount(data.unit).max()) == 1
    if single:
        observations = replace(
            observations,
            unit=np.arange(len(data.unit)),
            weight=data.weight * data.unit_weight[data.unit],
            panel=False,
        )
    shared = SharedNumbers.of(data.response)
    likelihood = RivalLikelihood(
        observations, data.response, scale, data.unit_weight, error, shared.values(shared.middle)
    )
    explanations = explain(likelihood, shared, single, ("linear", *BENDS))
    return Rivals(attribute, likelihood, shared, explanations, single, prob, {})


def _attribute(choices: Choices, attribute: str | None) -> str:
    if attribute is None and len(choices.attributes) > 1:
        raise InputError(
            f"Expected the attribute to be named; got choices with {listed(choices.attributes)}. "
            "Name the one whose coefficient is the strength; the others are left out."
        )
    name = choices.attributes[0] if attribute is None else attribute
    if name not in choices.attributes:
        raise InputError(
            f"Expected one of the attributes {listed(choices.attributes)}; got {name!r}."
        )
    return name


def _interval(value: np.ndarray, weight: np.ndarray, prob: float) -> tuple[float, float, float]:
    """Mean and equal-tailed interval of weighted values."""
    order = np.argsort(value, kind="stable")
    value, weight = value[order], weight[order]
    place = np.cumsum(weight) - weight / 2
    low, high = np.interp([(1 - prob) / 2, (1 + prob) / 2], place, value)
    return float(weight @ value), float(low), float(high)
