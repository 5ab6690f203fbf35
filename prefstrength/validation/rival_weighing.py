"""All explanations of the same choices, weighed: what the verdict and its tables are made of."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd

from prefstrength.choice.responses.base import PairResponse
from prefstrength.choice.responses.pair import Pair
from prefstrength.data.choices import Choices
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.plots.observed import bins
from prefstrength.validation.rival_answers import CountedPairs, Situations, decisions
from prefstrength.validation.rival_curves import choice_curve
from prefstrength.validation.rival_explanations import Explanation, Explanations, apart, explain
from prefstrength.validation.rival_parts import BENDS, PARTS
from prefstrength.validation.rival_predictions import leave_one_out, pseudo_bma, stacking
from prefstrength.validation.rival_shared import SharedNumbers
from prefstrength.validation.rival_tables import RivalLikelihood
from prefstrength.validation.verdict import Beliefs, label

__all__ = ["Weighed", "weigh"]

# Weight from which an explanation has a row of its own, and below which it needs a grid of its own.
_SHOWN, _APART = 0.02, 1e-4
#: Prior probabilities of spread under which the verdict is reached again.
OTHER_PRIORS = (0.2, 0.5, 0.8)
# Differences at which choice curves are drawn, and bins of the data beside them.
_CURVE, _BINS = 61, 10
# Nodes that stand for the posterior of how strengths are spread.
_NODES = 2000

_MEANINGS = {
    "spread": "sd of log strength",
    "power": "power of the difference",
    "capped": "difference that saturates, in units of its root mean square",
    "lapse": "share of answers at random",
    "zero": "share of choosers who answer at random or hardly weigh this",
    "reversed": "share of those who weigh it who prefer the lower",
}


@dataclass(frozen=True, eq=False)
class Weighed:
    """Explanations of the same choices and their weights; made by :func:`weigh`.

    Parameters
    ----------
    likelihood : RivalLikelihood
    shared : SharedNumbers
    explanations : Explanations
    single : bool
        Whether every answer stands alone.
    prob : float
        Probability of the intervals.
    pairs : tuple of numpy.ndarray, or None
        Difference, chosen minus rejected, and weight of every pair; None where answers are more
        than choices.
    part : bool
        Whether this is a part of the data, of which only what is likely has a row, and not how well
        it predicts.
    notes : tuple of str
        What was held fixed or not looked at, in sentences.
    """

    likelihood: RivalLikelihood
    shared: SharedNumbers
    explanations: Explanations
    single: bool
    prob: float
    pairs: tuple[np.ndarray, np.ndarray] | None
    part: bool
    notes: tuple[str, ...]

    @cached_property
    def beliefs(self) -> Beliefs:
        """Probabilities that the verdict is made of."""
        return self._beliefs(self.explanations)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Explanations, the likeliest first; see :class:`~.rivals.Rivals`."""
        weights, shown, chosen = self.explanations.weights, self._shown, self._chosen
        rows = [self._row(each, float(weights[k])) for k, each in zip(shown, chosen, strict=True)]
        table = pd.DataFrame(rows)
        table["log_evidence"] -= max(each.log_evidence for each in self.explanations.all)
        if self.part:
            return table
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
        """What is believed of every part."""
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
        """The verdict under other prior probabilities that strengths are spread."""
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
        """Posterior of how strengths are spread, over all explanations, as weighted nodes."""
        sigma, zero, negative, weight = self.explanations.classes
        order = np.lexsort((negative, zero, sigma))
        # As many nodes of equal weight, in place of tens of thousands of different weights.
        place = np.searchsorted(np.cumsum(weight[order]), (np.arange(_NODES) + 0.5) / _NODES)
        kept = order[np.minimum(place, len(order) - 1)]
        return pd.DataFrame(
            {
                "sigma": sigma[kept],
                "zero_share": zero[kept],
                "reversed_share": ((1 - zero) * negative)[kept],
                "weight": 1 / _NODES,
            }
        )

    @cached_property
    def curves(self) -> pd.DataFrame:
        """How each explanation that is shown, and all together, draw the choice curve."""
        if self.pairs is None:
            return pd.DataFrame(columns=["explanation", "weight", "difference", "probability"])
        difference, weight = self.pairs
        most = float(np.quantile(np.abs(difference), 0.995))
        x = np.linspace(0.0, most if most > 0 else 1.0, _CURVE)
        weights = self.explanations.weights[self._shown]
        each = [choice_curve(self.likelihood, one, x) for one in self._chosen]
        rows = [("all", 1.0, np.average(each, axis=0, weights=weights))]
        names = [one.name for one in self._chosen]
        rows += list(zip(names, weights.tolist(), each, strict=True))
        return pd.concat(
            [
                pd.DataFrame({"explanation": n, "weight": w, "difference": x, "probability": y})
                for n, w, y in rows
            ],
            ignore_index=True,
        )

    @cached_property
    def seen(self) -> pd.DataFrame:
        """Shares of the higher one in bins of the size of the difference."""
        if self.pairs is None:
            return pd.DataFrame(columns=["difference", "share", "low", "high", "count"])
        found = bins(*self.pairs, self.prob, _BINS)
        return pd.DataFrame(
            {"difference": found.center, "share": found.share, "low": found.low,
             "high": found.high, "count": found.count}
        )  # fmt: skip

    # -- the pieces ------------------------------------------------------------------------------

    @cached_property
    def _shown(self) -> list[int]:
        """Explanations that have a row, the likeliest first."""
        weights = self.explanations.weights
        order = np.argsort(-weights, kind="stable").tolist()
        simple = [not self.part and each.simple for each in self.explanations.all]
        return [k for k in order if weights[k] >= _SHOWN or simple[k] or k == order[0]]

    @cached_property
    def _chosen(self) -> list[Explanation]:
        """The same, each on a grid that reaches it."""
        weights, every = self.explanations.weights, self.explanations.all
        return [
            every[k] if weights[k] > _APART else apart(self.likelihood, self.shared, every[k])
            for k in self._shown
        ]

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
        with ThreadPoolExecutor() as pool:
            found = pool.map(
                lambda each: leave_one_out(self.likelihood, names, each.grid, each.pattern), chosen
            )
            return np.stack(list(found), axis=1)

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


def weigh(
    choices: Choices,
    attribute: str,
    scale: float,
    error: float,
    prob: float,
    part: bool = False,
) -> Weighed:
    """Weigh all explanations of choices.

    Parameters
    ----------
    choices : Choices
    attribute : str
    scale : float
        Of the differences, by which the priors are made.
    error : float
        Sd of the error of a difference.
    prob : float
        Probability of the intervals.
    part : bool
        Whether these are a part of the data.
    """
    given, choices = choices.n_situations, _repeated(choices)
    others = tuple(name for name in choices.attributes if name != attribute)
    cell = np.zeros(choices.n_situations, np.int64)
    data = LikelihoodData.of(choices, (attribute, *others), cell)
    if data.scalar and data.response.answers_in == "chosen":
        data = replace(data, response=Pair())  # one of two, however it was read
    single = bool(np.bincount(data.unit, decisions(data)).max() <= 1)
    shared = SharedNumbers.of(data.response)
    at = shared.values(shared.middle)
    pairs, notes = None, _left_out_of(choices)
    if once := given - choices.n_situations:
        notes.append(f"{once:,} choices of those who chose once are left out.")
    if data.scalar and isinstance(data.response, PairResponse):
        observations = data.pair_observations()
        if single:
            observations = replace(
                observations,
                unit=np.arange(len(data.unit)),
                weight=data.weight * data.unit_weight[data.unit],
                panel=False,
            )
        counted = CountedPairs.of(observations, data.response, scale, data.unit_weight, error)
        likelihood = RivalLikelihood(counted, observations.panel, at)
        if isinstance(data.response, Pair):
            pairs = observations.difference, observations.weight
    else:
        situations, coefficients = Situations.of(data, scale, error)
        likelihood = RivalLikelihood(situations, at=at)
        held = [f"{name} {value:.3g}" for name, value in zip(others, coefficients, strict=True)]
        if held:
            notes = [f"Coefficients as where all have one strength: {', '.join(held)}.", *notes]
    explanations = explain(likelihood, shared, single, ("linear", *BENDS))
    return Weighed(likelihood, shared, explanations, single, prob, pairs, part, tuple(notes))


def _left_out_of(choices: Choices) -> list[str]:
    """What is known of choices and not looked at, in sentences."""
    notes = []
    if choices.shown_first is not None and np.any(choices.shown_first):
        notes.append("Who stood first is not looked at.")
    if choices.pair is not None and len(np.unique(choices.pair)) < choices.n_situations:
        notes.append("That the same pairs were judged several times is not looked at.")
    return notes


def _repeated(choices: Choices) -> Choices:
    """Choices of those who chose more than once, if there are any.

    Who chose once says how the choice curve is bent and nothing of how choosers differ, but any
    curve can come from spread too: many single choices beside a few repeated ones would decide the
    verdict, and wrongly.
    """
    if choices.chooser is None or choices.n_alternatives > 2:
        return choices
    again = np.bincount(choices.chooser)[choices.chooser] > 1
    return choices if again.all() or not again.any() else choices.subset(again)


def _interval(value: np.ndarray, weight: np.ndarray, prob: float) -> tuple[float, float, float]:
    """Mean and equal-tailed interval of weighted values."""
    order = np.argsort(value, kind="stable")
    value, weight = value[order], weight[order]
    place = np.cumsum(weight) - weight / 2
    low, high = np.interp([(1 - prob) / 2, (1 + prob) / 2], place, value)
    return float(weight @ value), float(low), float(high)
