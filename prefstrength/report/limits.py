"""Limits of identification that apply to these data: what they cannot tell."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from prefstrength.plots.style import percent
from prefstrength.posterior.laws import situations_of_choosers
from prefstrength.report.facts import Facts
from prefstrength.report.words import fixed, label, listing, share

__all__ = ["Limit", "limits"]


@dataclass(frozen=True)
class Limit:
    """A limit in a few words, and what it means here."""

    title: str
    text: str


def limits(facts: Facts) -> list[Limit]:
    """Limits that apply, the gravest for these data first."""
    found = [*_prior_speaks(facts), *_evidence(facts), *_other_explanations(facts)]
    found += [_scale(facts), *_reward(facts)]
    found += [*_errors(facts), *_training(facts), *_length(facts), *_family(facts)]
    return [*found, *_groups(facts), *_left_out(facts)]


#: What the median number of choices of a chooser means, where it is below a number.
_CHOICES = (
    (
        2.0,
        "Hardly any chooser chose twice",
        ": for most of them heterogeneity shows only in the bend of the choice curve, which a "
        "reward that saturates and random answers bend in the same way.",
    ),
    (
        6.0,
        "Few choices for each chooser",
        ". A chooser's consistency over so few choices says a little about that chooser's "
        "strength; the bend of the choice curve, which a reward that saturates also bends, says "
        "the rest.",
    ),
    (
        np.inf,
        "Choices for each chooser",
        ", so heterogeneity is seen in how consistent each chooser is, which is good evidence. A "
        "single chooser's strength remains uncertain; the intervals of the choosers say how much.",
    ),
)


def _prior_speaks(facts: Facts) -> list[Limit]:
    weak = facts.heterogeneity[facts.heterogeneity["data_share"] < 0.5]
    if not facts.varies or not len(weak):
        return []
    names = [
        f"{label(row['factor'])} {label(row['level'])}" if row["level"] else "all data"
        for row in weak.to_dict("records")
    ]
    shown = listing(names[:4]) if len(names) <= 4 else ", ".join(names[:4]) + " and others"
    text = (
        f"In {shown} less than half of what is known about the spread of strength comes from the "
        "data. With another prior the answer there would be another."
    )
    return [Limit("Where the prior speaks louder than the data", text)]


def _evidence(facts: Facts) -> list[Limit]:
    if not facts.varies:
        return []
    number = facts.fit.spec["data"]["choosers"]
    if not number:
        text = (
            "Each choice counts as that of another person. Heterogeneity then shows only in the "
            "bend of the choice curve, and a reward that saturates and random answers bend it in "
            "the same way. No amount of such data tells them apart; repeated choices of the same "
            "choosers do, four to eight of each."
        )
        return [Limit("Who chose is not known", text)]
    counts = situations_of_choosers(facts.fit)
    median = float(np.median(counts[counts > 0]))
    if counts.min() == counts.max():
        start = f"Each of the {number:,} choosers made {median:g} choices"
    else:
        start = f"Half of the {number:,} choosers made {median:g} choices or fewer"
    title, meaning = next((title, text) for most, title, text in _CHOICES if median < most)
    return [Limit(title, start + meaning)]


def _other_explanations(facts: Facts) -> list[Limit]:
    """What looks like spread, or hides it, and is not in the model."""
    if not facts.varies:
        return []
    attribute, data = label(facts.attribute, 30), facts.fit.spec["data"]
    text = (
        f"Strength is the slope of utility in the {attribute}. Where utility is not linear in it "
        "(a reward that saturates, or counts only when large), and where some answers are given at "
        "random, the choice curve bends as it does when strength varies"
    )
    text += (
        "; the explanations of the same choices, above, weigh these against each other."
        if facts.rivals is not None
        else f"; `ps.rivals(choices, attribute={facts.attribute!r})` weighs these explanations."
    )
    found = [Limit("Utility that is not linear, and random answers", text)]
    others = [name for name in facts.fit.attributes if name != facts.attribute]
    held = f"{label(listing(others))} held constant, others not" if others else "none held constant"
    found.append(
        Limit(
            "Attributes left out",
            f"What choosers see beside the {attribute} ({held}) adds noise to their choices. Noise "
            "flattens the choices of those with a large strength more than those of the others: it "
            "hides spread, it does not make it.",
        )
    )
    if not facts.fit.spec.get("response", {}).get("position", False):
        found.append(
            Limit(
                "Position",
                "Who was shown first is not in the model. One habit of all choosers averages out "
                "where the order was drawn by lot; habits of their own look like noise in each.",
            )
        )
    if data["choosers"] and not facts.fit.spec.get("pair_effects"):
        found.append(
            Limit(
                "Shared pairs",
                "Answers of several choosers on one and the same pair count as independent. What "
                "that pair has beside its rewards is common to them: intervals of the mean are too "
                "narrow where many choosers saw few pairs, unless the pair is named "
                "(`pair_effects`).",
            )
        )
    return found


def _scale(facts: Facts) -> Limit:
    text = (
        "Strength and the scale of the reward model are known only as a product: twice the "
        "rewards and half the strength give the same choices. Mean strengths can be compared "
        "only where the rewards come from one and the same reward model. sd/mean, the sd of log "
        "strength and the share of variance do not depend on the scale; the prior for training "
        "takes its shape from them and its mean from DPO's β."
    )
    if facts.fit.groups:
        text += (
            " A reward model that is sharper for one group than for another looks like a "
            "difference in mean strength between the groups."
        )
    return Limit("The scale of strength", text)


def _reward(facts: Facts) -> list[Limit]:
    name = (facts.reward or {}).get("name")
    corrected = facts.attribute in facts.fit.errors
    error = (
        ""
        if corrected
        else " Errors of the reward model make all choosers look weaker than they are, and "
        "choosers or groups that it fits badly weaker than others."
    )
    if name == "TextReward":
        folds = (facts.reward or {}).get("settings", {}).get("folds")
        text = (
            "The rewards were learned from the words of these very pairs, cross-fitted by prompt"
            + (f" in {folds} folds" if folds else "")
            + ": no pair was scored by a model that saw it, so strength is not inflated. It is a "
            "simple model of words, not of quality."
        )
        return [Limit("A reward learned here", text + error)]
    if name == "ColumnReward" or name is None:
        text = (
            "Nothing is known here of how the rewards were made. If their model was trained on "
            "these choices, strength is inflated: use a model that saw other data, or one that is "
            "cross-fitted."
        )
    else:
        text = (
            f"The rewards come from {label(_reward_name(facts.reward or {}), 80)}. If it was "
            "trained on these choices, strength is inflated: use one that saw other data."
        )
    return [Limit("Where the rewards come from", text + error)]


def _errors(facts: Facts) -> list[Limit]:
    error = facts.fit.errors.get(facts.attribute)
    if error is None:
        return []
    text = (
        "The rewards are measured with error, and the model accounts for it: the error of a "
        f"difference is taken to have a standard deviation of {error['sd']:.3g}, which leaves "
        f"the differences a reliability of {fixed(error['reliability_here'])}. That number is "
        "taken for known. Errors that the reward models of an ensemble share cannot be seen in "
        "it: the true reliability may be lower, never higher for that reason, and the strengths "
        "larger still."
    )
    return [Limit("Errors in the rewards", text)]


def _reward_name(reward: dict[str, Any]) -> str:
    settings = reward.get("settings") or {}
    for key in ("name_or_path", "model", "name"):
        if isinstance(settings.get(key), str):
            return f"{reward.get('name')} {settings[key]}"
    return str(reward.get("name"))


def _training(facts: Facts) -> list[Limit]:
    learned = facts.learned
    if learned is None:
        return []
    text = (
        "In training, strength multiplies the log-ratio difference Δ, which grows as the model "
        "learns: the scale of the two cannot be told apart. Left alone, strength drifts upward "
        "and its spread shrinks as the pairs become separable, so a small learned spread is no "
        "evidence that choosers are alike."
    )
    if learned.mode == "frozen":
        text += " Here the strength was frozen, so none of this could happen."
    elif learned.prior is None:
        text += " Here training had no prior against that: do not read what was learned as data."
    else:
        text += " The prior from the analysis is what holds it here."
    return [Limit("Strength in training", text)]


def _length(facts: Facts) -> list[Limit]:
    named = [name for name in facts.fit.attributes if "length" in name.lower()]
    base = (
        "Δ in training is a sum over tokens, so what looks like heterogeneity of strength can be "
        "heterogeneity of length."
    )
    if named:
        text = f"{base} {label(listing(named))} is in the model and held constant."
        return [Limit("Length", text)]
    lengths = facts.lengths
    if lengths is None:
        return []
    text = f"{base} The longer response was chosen in {share(lengths['longer_chosen'])} of pairs"
    if "correlation" in lengths:
        text += (
            ", and differences in length and in reward have a correlation of "
            f"{fixed(lengths['correlation'])}"
        )
    advice = "Offer length as an attribute to hold it constant."
    return [Limit("Length", f"{text}. {advice}")]


def _family(facts: Facts) -> list[Limit]:
    family = facts.fit.mixing(facts.attribute)
    if not family.varies:
        return []
    if family.positive:
        return [
            Limit(
                "The shape of the distribution",
                f"{family.family} gives every chooser a positive strength. A chooser who prefers "
                "the lower reward, or picks at random, can only appear as a weak one. The far "
                "tails are the family's, not the data's.",
            )
        ]
    return [
        Limit(
            "The shape of the distribution",
            f"{family.family} lets strength be negative. The far tails are the family's, not "
            "the data's.",
        )
    ]


def _groups(facts: Facts) -> list[Limit]:
    if not len(facts.levels):
        return []
    text = (
        "Levels of a group are pooled in part: those with little data are drawn towards the "
        "others. Differences between groups are not the effect of belonging to one: who is in "
        "which group, and which prompts they saw, was not decided by lot."
    )
    number = len(facts.levels)
    if number >= 10 and facts.varies:
        text += f" With {number} verdicts at 95% probability each, one or the other may be wrong."
    return [Limit("Groups", text)]


def _left_out(facts: Facts) -> list[Limit]:
    dropped = [part for part in facts.fit.spec["data"]["dropped"] if part["count"]]
    if not dropped:
        return []
    said = listing([f"{part['count']:,} ({label(part['reason'])})" for part in dropped])
    total = sum(part["count"] for part in dropped)
    of = total / (total + facts.fit.spec["data"]["situations"])
    text = (
        f"Left out on request: {said}, {percent(round(of, 3))} of what there was. Strength is that "
        "of the choices that remain; without ties, choosers look surer than they are."
    )
    return [Limit("What was left out", text)]
