"""Answer of the report in plain language: what a colleague wants to know first."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.choice.mixing.base import SPREADS
from prefstrength.choice.mixing.families import family_named
from prefstrength.plots.style import attribute_unit, percent
from prefstrength.posterior.heterogeneity import CONFIDENCE, ERRORS, VERDICTS
from prefstrength.report.facts import Facts
from prefstrength.report.words import (
    fixed,
    interval,
    label,
    listing,
    number,
    probability,
    share,
    times,
    with_interval,
)
from prefstrength.validation.verdict import VERDICTS as RIVAL_VERDICTS

__all__ = ["Answer", "answers", "best_model", "judged_index", "training_advice"]

HETEROGENEOUS, HOMOGENEOUS, UNCERTAIN, ASSUMED = VERDICTS
#: Verdicts of rivals that say that choosers differ, but not, or not only, by how strongly.
IN_KIND, DIFFER = RIVAL_VERDICTS[1:3]

# Probability from which a part is allowed for.
_ALLOWED = 0.8
# Of so many levels each is named; beyond, they are counted.
_MOST_NAMED = 6


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, and what stands behind it.

    ``tone`` is one of yes, no, unsure and plain; it colours the answer, the words carry it.
    """

    question: str
    short: str
    text: tuple[str, ...]
    tone: str = "plain"


def answers(facts: Facts) -> list[Answer]:
    """Answer the questions that people come with, in their order."""
    found = [_vary(facts)]
    if facts.rivals is not None:
        found.append(_what_else(facts))
    if facts.varies:
        found.append(_how_much(facts))
    if len(facts.levels):
        found.append(_where(facts))
    found += [_train(facts), _prior(facts)]
    if len(facts.failed):
        found = [_of_a_failed_fit(each) for each in found]
    return [*found, _learned(facts)]


def _of_a_failed_fit(answer: Answer) -> Answer:
    """The same, as what it is: said by a fit that failed its checks."""
    return replace(answer, short=f"Of a fit that failed its checks: {answer.short}", tone="unsure")


def _vary(facts: Facts) -> Answer:
    question = "Does strength of preference vary between choosers?"
    row = facts.overall
    if not facts.varies:
        return Answer(
            question,
            "This model cannot say: it assumes that it does not.",
            (
                "It gives all choosers of a group one strength (PointMass), the assumption of "
                "plain DPO. To ask the question, fit LogNormal(), Gamma() or Normal().",
            ),
            "unsure",
        )
    if facts.rivals is not None:
        return _by_rivals(facts, question)
    region = (
        f"Strength counts as practically homogeneous where its standard deviation is less than "
        f"{facts.rope:g} of its mean (the region of practical equivalence)."
    )
    spread = f"sd/mean of strength is {with_interval(row, 'cv')}, a {percent(facts.prob)} interval."
    p = float(row["p_heterogeneous"])
    chance = (
        f"The posterior probability that it exceeds {facts.rope:g} is {probability(p)} (Monte "
        f"Carlo error {fixed(float(row['p_mcse']), 3)}); before the data it was "
        f"{probability(float(row['prior_heterogeneous']))}."
    )
    short, tone = {
        HETEROGENEOUS: ("Yes: some weigh rewards much more heavily than others.", "yes"),
        HOMOGENEOUS: ("No, not by enough to matter.", "no"),
        UNCERTAIN: ("The data cannot tell.", "unsure"),
    }[str(row["verdict"])]
    text = [f"Over all data, {spread} {region} {chance}"]
    if abs(max(p, 1 - p) - CONFIDENCE) < ERRORS * float(row["p_mcse"]):
        text.append(
            f"That is within two errors of {CONFIDENCE:g}, so that another seed could say "
            "otherwise: fit with more draws (`draws=...`) to decide it."
        )
    told = float(row["data_share"])
    if told < 0.5:
        text.append(
            f"Take this with care: only {share(told)} of what is known about the spread comes "
            "from the data, the rest is the prior."
        )
    return Answer(question, short, tuple(text), tone)


def _by_rivals(facts: Facts, question: str) -> Answer:
    """The verdict that is averaged over all explanations of the same choices."""
    assert (rivals := facts.rivals) is not None
    short, tone = {
        HETEROGENEOUS: ("Yes: some weigh rewards much more heavily than others.", "yes"),
        IN_KIND: ("Yes, in kind: some do not follow the reward as the others do.", "yes"),
        DIFFER: ("Yes, but the data do not say how.", "yes"),
        HOMOGENEOUS: ("No, not by enough to matter.", "no"),
        UNCERTAIN: ("The data cannot tell.", "unsure"),
    }[rivals.label]
    text = [rivals.verdict, *([rivals.advice] if rivals.advice else []), *rivals.notes]
    others = rivals.under_other_priors
    priors = listing([number(p) for p in others["prior_spread"]])
    if others["verdict"].nunique() > 1:
        said = listing(list(others["verdict"]))
        text.append(f"If spread had a probability of {priors} before the data, it would be {said}.")
    elif not rivals.single:
        text.append(f"It is the same whether spread had a probability of {priors} before the data.")
    if facts.fit.groups:
        text.append("All choosers are one population here; the tables below have groups apart.")
    return Answer(question, short, tuple(text), tone)


def _what_else(facts: Facts) -> Answer:
    """What a referee would ask: the explanations of the same choices, and their weights."""
    assert (rivals := facts.rivals) is not None
    # The last row may be the others together.
    told = rivals.table[rivals.table["log_evidence"].notna()].head(3).to_dict("records")
    said = [f"{row['explanation']} ({probability(row['weight'])})" for row in told]
    on = rivals.parts[rivals.parts["on"] >= _ALLOWED]
    parts = [
        f"{row['meaning']} {fixed(row['mean'])} ({interval(row['low'], row['high'])})"
        for row in on.to_dict("records")
    ]
    first = (
        f"Weighed by how probable they make these choices: {listing(said)}. Each is a combination "
        "of spread, a utility that bends, random answers, a class that does not care and one that "
        "is reversed; the verdict above is averaged over all of them."
    )
    second = f"Parts that the data ask for or allow for: {'; '.join(parts)}." if parts else (
        "No part is asked for by the data."
    )  # fmt: skip
    alone = facts.heterogeneity["verdict_alone"].iloc[0]
    third = (
        f"The model fitted below, {label(facts.fit.family(facts.attribute), 40)} alone, would have "
        f"said: {_verdict(alone)}."
    )
    best = told[0]["explanation"]
    short = f"Most of all: {best}." if told[0]["weight"] >= 0.5 else "Several explanations do."
    return Answer("What else could explain these choices?", short, (first, second, third))


def _how_much(facts: Facts) -> Answer:
    tenths = facts.tenths
    assert tenths is not None
    row = facts.overall
    attribute = label(facts.attribute, 30)
    unit = attribute_unit(facts.fit.spec["scales"][facts.attribute])
    if tenths.ratio is None:
        short = f"The weakest tenth of choosers pay no heed to the {attribute}, or go against it."
        first = (
            f"Strength at the border of the weakest tenth is {fixed(tenths.weak[0])} "
            f"({interval(*tenths.weak[1:])}), of the strongest tenth {fixed(tenths.strong[0])} "
            f"({interval(*tenths.strong[1:])})."
        )
    else:
        short = (
            f"The strongest tenth of choosers weigh a {attribute} difference at least "
            f"{times(tenths.ratio[0])} as heavily as the weakest tenth."
        )
        low, high = tenths.ratio[1:]
        first = (
            f"That is the ratio of the 90th to the 10th percentile of strength, with a "
            f"{percent(facts.prob)} interval of {interval(low, high, 1)}."
        )
    second = (
        f"Between two responses one sd of {attribute} apart, a chooser at the 10th percentile "
        f"takes the higher one in {percent(round(tenths.weak_choice, 2))} of cases, one at the "
        f"90th in {percent(round(tenths.strong_choice, 2))}."
    )
    mean = (
        f"Mean strength is {with_interval(row, 'mean')} per {unit} of {attribute} difference, "
        f"the median {with_interval(row, 'median')}."
    )
    if np.isfinite(row["share"]):
        mean += (
            f" Differences between choosers make up {share(row['share'])} "
            f"({share(row['share_low'])} to {share(row['share_high'])}) of the variance of single "
            "choices; the rest is chance within a chooser."
        )
    question = (
        "By how much?" if facts.rivals is None else "By how much, in the model that was fitted?"
    )
    return Answer(question, short, (f"{first} {second}", mean))


def _where(facts: Facts) -> Answer:
    text = []
    differing = []
    for factor in facts.fit.groups:
        rows = facts.levels[facts.levels["factor"] == factor]
        records = rows.to_dict("records")
        if len({row["verdict"] for row in records}) > 1:
            differing.append(factor)
        text.append(f"{label(factor)}: {_of_factor(records)}.")
    if not facts.varies:
        short = "Means of the groups are in the tables below."
    elif differing:
        short = f"That differs by {listing([label(each) for each in differing])}."
    else:
        verdict = facts.levels["verdict"].iloc[0]
        short = {
            HETEROGENEOUS: "In every group.",
            HOMOGENEOUS: "In no group by enough to matter.",
            UNCERTAIN: "In no group can the data tell.",
        }.get(verdict, f"In every group: {_verdict(verdict)}.")
    question = "In which groups?" if facts.varies else "And the groups?"
    return Answer(question, short, tuple(text))


def _of_factor(records: list[dict[str, Any]]) -> str:
    if len(records) <= _MOST_NAMED:
        return "; ".join(
            f"{label(row['level'])} {_verdict(row['verdict'])} "
            f"(sd/mean {with_interval(row, 'cv')}, mean {fixed(row['mean'])})"
            for row in records
        )
    counts = []
    for verdict in dict.fromkeys((*VERDICTS, *RIVAL_VERDICTS)):
        number_of = sum(row["verdict"] == verdict for row in records)
        if number_of:
            counts.append(f"{number_of} {_verdict(verdict)}")
    ordered = sorted(records, key=lambda row: row["cv"])
    start = "all " if len(counts) == 1 else f"of {len(records)} levels "
    start += listing(counts)
    return (
        f"{start}; strength varies least in "
        f"{label(ordered[0]['level'])} (sd/mean {with_interval(ordered[0], 'cv')}) and most in "
        f"{label(ordered[-1]['level'])} ({with_interval(ordered[-1], 'cv')})"
    )


def _verdict(verdict: Any) -> str:
    return "undecided" if verdict == UNCERTAIN else str(verdict)


def training_advice(facts: Facts) -> str:
    """What to train with: ``"MixDPO"``, ``"DPO"``, or ``""`` where the data do not say.

    They do not where a check failed, the comparison of models says otherwise than the verdict,
    or there is no prior for MixDPO.
    """
    advice = _by_verdict(facts)
    if len(facts.failed) or _says_otherwise(facts, advice):
        return ""
    return "" if advice == "MixDPO" and facts.prior is None else advice


def _by_verdict(facts: Facts) -> str:
    if not facts.varies:
        return ""
    if {HETEROGENEOUS, IN_KIND, DIFFER} & set(facts.heterogeneity["verdict"]):
        return "MixDPO"
    return "DPO" if facts.overall["verdict"] == HOMOGENEOUS else ""


def _says_otherwise(facts: Facts, advice: str) -> bool:
    """Whether models that predict choices left out clearly better are not those of the advice."""
    if facts.models is None or not facts.alike or not advice or _bent(facts):
        return False
    ordered = facts.models.sort_values("elpd", ascending=False)
    alike = ordered["model"].isin(facts.alike).to_numpy()
    if alike.all() or not alike.any() or alike[0] == (advice == "DPO"):
        return False
    best, other = ordered.iloc[0], ordered[alike != alike[0]].iloc[0]
    return bool(best["elpd"] - other["elpd"] > 2 * other["dse"])


def _bent(facts: Facts) -> bool:
    """Whether all choosers share what the models compared lack, so that either may be ahead."""
    return facts.rivals is not None and bool(
        max(facts.rivals.beliefs.on[part] for part in ("bend", "lapse")) >= _ALLOWED
    )


def _train(facts: Facts) -> Answer:
    question = "Train with plain DPO or with MixDPO?"
    advice, compared = _by_verdict(facts), tuple(_models_sentence(facts))
    if not facts.varies:
        short = "This model alone gives no reason for either."
        return Answer(question, short, compared, "unsure")
    if _says_otherwise(facts, advice):
        verdict, models = ("varies", "one strength for all") if advice == "MixDPO" else (
            "is practically the same for everybody", "strengths that vary"
        )  # fmt: skip
        text = (
            f"By its posterior strength {verdict}, and yet the model with {models} predicts "
            "choices left out clearly better. Both cannot be right: the family, its prior or the "
            "few choices that decide may be to blame. Look at the choice curve and at the prior "
            "against the posterior before training on either."
        )
        return Answer(question, "Not settled: two answers contradict.", (*compared, text), "unsure")
    if advice == "DPO":
        text = (
            "Strength is practically the same for everybody: one strength, which is plain DPO, "
            "describes these choosers."
        )
        if UNCERTAIN in set(facts.levels["verdict"]):
            text += " In some groups there are too few data to be sure of that."
        return Answer(question, "Plain DPO is enough.", (text, *compared), "no")
    if advice == "MixDPO":
        text = (
            "Strength varies by more than is practically nothing. MixDPO averages the probability "
            "of each choice over the distribution of strength, where DPO takes one strength for "
            "all and reads the choices of the unsure as if they were meant as firmly as the rest."
        )
        if facts.prior is None:
            short = "With MixDPO, but there is no prior to train it under."
            return Answer(question, short, (text, facts.no_prior, *compared), "unsure")
        return Answer(question, "With MixDPO, under the prior below.", (text, *compared), "yes")
    if facts.prior is None:
        text = "The data do not settle whether strength varies, and give no prior for MixDPO."
        return Answer(question, "Plain DPO, for want of a prior.", (text, *compared), "unsure")
    text = (
        "The data do not settle whether strength varies. MixDPO under the prior below is the "
        "cautious choice: where the spread is small it trains almost as plain DPO does. More "
        "choices for each chooser would settle it."
    )
    return Answer(question, "Either; MixDPO is the safer.", (text, *compared), "unsure")


def best_model(models: Any) -> tuple[str, str, float, float] | None:
    """Names of the best and the second model by PSIS-LOO, the difference of elpd and its se."""
    if models is None or len(models) < 2:
        return None
    ordered = models.sort_values("elpd", ascending=False)
    first, second = ordered.iloc[0], ordered.iloc[1]
    gap = float(first["elpd"] - second["elpd"])
    return str(first["model"]), str(second["model"]), gap, float(second["dse"])


def _models_sentence(facts: Facts) -> list[str]:
    found = best_model(facts.models)
    if found is None:
        return []
    best, other, gap, error = found
    unit = "choosers" if facts.fit.spec["data"]["choosers"] else "choices"
    how = (
        f"In predicting {unit} left out (PSIS-LOO), {label(best)} is better than {label(other)} "
        f"by {number(gap, 3)} nats, with a standard error of {number(error, 2)}"
    )
    if np.isfinite(error) and gap < 2 * error:
        return [f"{how}: too close to call."]
    return [f"{how}."]


def _prior(facts: Facts) -> Answer:
    question = "Which prior was passed on to training?"
    if facts.learned is None:
        question = "Which prior do the data hand to training?"
    elif facts.learned.prior is None:
        text = "The record of the training holds no prior: strength was learned without one."
        return Answer(question, "None.", (text,), "unsure")
    prior = facts.prior
    if prior is None:
        return Answer(question, "None.", (facts.no_prior,), "unsure")
    if prior.dispersion is None or prior.dispersion_sd is None:
        if prior.zero_share:
            text = f"One strength of {number(math.exp(prior.location))} for those who weigh it."
        else:
            text = (
                f"One strength of {number(prior.mean_strength)} for all (PointMass), as plain DPO."
            )
        return Answer(question, text, _besides(prior))
    ends = prior.dispersion + 1.645 * prior.dispersion_sd * np.array([-1.0, 1.0])
    spread = family_named(prior.family).spread
    name, middle, (low, high) = SPREADS[spread], math.exp(prior.dispersion), np.exp(ends)
    short = (
        f"{prior.family} with mean strength {number(prior.mean_strength)} and {name} "
        f"{fixed(middle)}."
    )
    text = (
        f"The spread comes from the data (90% interval of {name} {interval(low, high)}); the mean "
        "does not: it plays the part of DPO's β, which anchors the scale. How far training may "
        "move it is a choice as well: the prior leaves it a 90% interval of "
        f"{_mean_interval(prior)}. "
        "These are the numbers at the prior's centre (plug-in)."
    )
    if spread == "sd_log" and facts.fit.groups:
        text += (
            " It is one mixing distribution for all groups together, matched to them in the sd of "
            "log strength; its sd/mean can be smaller than theirs, whose mixture has a longer tail."
        )
    return Answer(question, short, (text, *_besides(prior)))


def _besides(prior: Any) -> tuple[str, ...]:
    """What else a prior says: of choosers who do not weigh the reward, and where it comes from."""
    found = []
    if prior.zero_share:
        found.append(
            f"{share(prior.zero_share)} of the choosers hardly weigh this reward: training holds "
            "that share at strength 0 and learns the strength of the others; the mean is over all."
        )
    words = prior.source.get("words")
    return (*found, words) if isinstance(words, str) else tuple(found)


def _mean_interval(prior: Any) -> str:
    low, high = prior.mean_over_all * np.exp(1.645 * prior.location_sd * np.array([-1, 1]))
    return f"{number(low, 2)} to {number(high, 2)}"


def judged_index(learned: LearnedStrength) -> str:
    """Index of the spread by which learned and posterior are held against each other.

    The one in which the prior takes its spread from the posterior: a single mixing distribution
    can match a mixture of groups in one index only. Where some are at zero, log strength has none.
    """
    return "cv" if learned.zero_share else family_named(learned.family).spread


def _stayed_at_prior(learned: LearnedStrength) -> bool:
    prior = learned.prior
    if prior is None or prior.dispersion is None or prior.dispersion_sd is None:
        return False
    if prior.family != learned.family or learned.mode == "frozen":
        return False
    _, dispersion = learned.mixing().apart_from_zero[1].log_mean_spread()
    return dispersion is not None and abs(dispersion - prior.dispersion) < prior.dispersion_sd


def _learned(facts: Facts) -> Answer:
    question = "Did training learn what the data support?"
    learned = facts.learned
    if learned is None:
        return Answer(
            question,
            "Nothing was trained.",
            (
                "Training was skipped, so this report ends with the prior for it. There is no "
                "learned strength to hold against the posterior.",
            ),
            "unsure",
        )
    law = learned.mixing()
    how = {
        "joint": "mean and spread were both learned",
        "anchored": "the mean was held, the spread learned",
        "frozen": "nothing about the strength was learned: it stayed at the prior's centre",
    }[learned.mode]
    index = judged_index(learned)
    name, value = SPREADS[index], getattr(law, index)()
    start = f"After {learned.steps:,} steps ({how}) {name} is {fixed(value)}"
    if facts.comparison is None:
        return Answer(question, "They could not be compared.", (f"{start}. {facts.no_comparison}",))
    row = facts.overall
    if not facts.varies:
        return Answer(question, "The model here has no spread to compare with.", (f"{start}.",))
    low, high = float(row[f"{index}_low"]), float(row[f"{index}_high"])
    inside = low <= value <= high
    where = "below" if value < low else "above"
    text = f"{start}; the data support {with_interval(row, index)}."
    if _stayed_at_prior(learned):
        text += (
            " It stayed within one sd of the prior's centre: that it agrees with the data is the "
            "prior's doing as much as the training's."
        )
    position = (
        "Relative to their means, the two distributions lie "
        f"{number(facts.comparison.wasserstein, 2)} apart (Wasserstein distance: the average "
        "shift of relative strength that turns one into the other)."
    )
    if learned.mode == "frozen":
        short = "It was not meant to: the strength was frozen."
    elif inside:
        short = "Yes: the learned spread lies inside the interval that the data support."
    else:
        short = f"No: the learned spread lies {where} the interval that the data support."
    tone = "plain" if learned.mode == "frozen" else ("yes" if inside else "unsure")
    return Answer(question, short, (text, position), tone)
