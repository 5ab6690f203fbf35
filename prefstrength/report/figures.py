"""Figures of the report: drawn, captioned, described, as PNG and PDF in memory."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from prefstrength.plots import (
    plot_choice_curve,
    plot_choosers,
    plot_comparison,
    plot_data,
    plot_groups,
    plot_prior_posterior,
    plot_rivals,
    plot_strength,
    plot_trajectory,
)
from prefstrength.plots.levels import MOST_PANELS
from prefstrength.plots.style import DOUBLE, detached, percent, style
from prefstrength.report.facts import Facts
from prefstrength.report.words import fixed, label, listing, number, share, with_interval

__all__ = ["Drawing", "drawings", "file_names"]

# Dots an inch on the page: sharp on a screen with two pixels a point, and small enough to embed.
_DPI = 180


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Parameters
    ----------
    name : str
        Of its files.
    section : {"data", "strength", "groups", "choosers", "diagnostics", "training"}
    title : str
    caption : str
        What to see in it.
    alt : str
        What a reader who does not see it should know.
    png, pdf : bytes
    wide : bool
        Two columns of a page rather than one.
    """

    name: str
    section: str
    title: str
    caption: str
    alt: str
    png: bytes
    pdf: bytes
    wide: bool


def drawings(facts: Facts) -> list[Drawing]:
    """Draw every figure that these data have."""
    fit, truth = facts.fit, facts.truth
    pairs = f"{facts.attribute}_difference" in fit.tree["constant_data"]
    common: dict[str, Any] = {"attribute": facts.attribute, "prob": facts.prob, "truth": truth}
    first = fit.groups[0] if fit.groups else None
    return [
        _draw(*each)
        for each in (
            *_of_data(facts, first, pairs, common),
            *_of_rivals(facts),
            *_of_strength(facts, common),
            *_of_groups(facts, common),
            *_of_choosers(facts, first, common),
            *_of_diagnostics(facts, common),
            *_of_training(facts),
        )
    ]


Plan = tuple[str, str, str, str, str, Callable[[], Any]]


def _draw(name: str, section: str, title: str, caption: str, alt: str, plot: Any) -> Drawing:
    with style(), detached():
        figure = np.ravel(plot())[0].figure
        png, pdf = io.BytesIO(), io.BytesIO()
        # No dates in the files: the same numbers give the same bytes.
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
        figure.set_layout_engine("none")  # it is laid out; once more would take as long again
        figure.savefig(pdf, format="pdf", metadata={"CreationDate": None})
        wide = figure.get_figwidth() > DOUBLE / 1.5
    return Drawing(name, section, title, caption, alt, png.getvalue(), pdf.getvalue(), wide)


def _of_data(facts: Facts, first: str | None, pairs: bool, common: dict[str, Any]) -> list[Plan]:
    if not pairs:
        return []
    fit = facts.fit
    attribute = label(facts.attribute, 30)
    data = fit.spec["data"]
    difference = np.asarray(fit.tree["constant_data"][f"{facts.attribute}_difference"])
    higher = float(np.mean((difference > 0) + 0.5 * (difference == 0)))
    who = f"{data['choosers']:,} choosers" if data["choosers"] else "choosers that are not known"
    caption = (
        f"Left: {attribute} of the chosen minus {attribute} of the rejected response; where the "
        f"{attribute} says nothing about choices, it is symmetric around 0. Middle: how many "
        "choices each chooser made; many are what identifies heterogeneity. Right: how often the "
        f"response with the higher {attribute} was chosen, the surer the larger the difference."
    )
    alt = (
        f"Three panels. {data['situations']:,} choices by {who}; the response with the higher "
        f"{attribute} was chosen in {share(higher)} of them."
    )
    return [("data", "data", "The data", caption, alt, lambda: plot_data(fit, by=first, **common))]


def _of_rivals(facts: Facts) -> list[Plan]:
    rivals = facts.rivals
    if rivals is None or not len(rivals.seen):
        return []
    caption = (
        "Left: how each explanation draws the choice curve through the binned data (points, "
        "intervals). Right: the weight of each, by how probable it makes all choices, who made "
        "them included; blue where strength is spread. Curves that lie on each other are told "
        "apart only by how consistent each chooser is."
    )
    told = rivals.table[rivals.table["log_evidence"].notna()].head(6).to_dict("records")
    alt = "Weights: " + ", ".join(f"{r['explanation']} {fixed(r['weight'])}" for r in told) + "."
    return [
        (
            "rivals", "data", "What else could explain these choices", caption, alt,
            lambda: plot_rivals(rivals),
        )
    ]  # fmt: skip


def _of_strength(facts: Facts, common: dict[str, Any]) -> list[Plan]:
    fit, row = facts.fit, facts.overall
    attribute = label(facts.attribute, 30)
    true = " Dashed: the truth of the simulation." if facts.truth is not None else ""
    if facts.varies:
        caption = (
            "The distribution of strength over choosers, with its "
            f"{percent(facts.prob)} posterior band. A narrow peak would mean that all weigh the "
            f"{attribute} alike.{true}"
        )
    else:
        caption = f"The one strength of this model, with its posterior interval.{true}"
    alt = f"Mean strength {with_interval(row, 'mean')}, sd/mean {with_interval(row, 'cv')}."
    curve = (
        f"How often the higher {attribute} is chosen, by the size of the difference: data (points, "
        f"{percent(facts.prob)} intervals) and model (line, band). The dotted curve has one "
        "strength for all and a utility that is linear; where strength varies, and likewise where "
        "the reward saturates, the data rise faster than it at small differences and stay below it "
        f"at large ones.{true}"
    )
    partial_ = len(fit.attributes) > 1
    if partial_:
        curve = (
            f"How often the higher {attribute} is chosen, by the size of the difference, between "
            "responses that are alike in the other attributes: the model (line, band). In the data "
            f"the others differ too, so there are no points to compare with.{true}"
        )
    elif facts.attribute in fit.errors:
        curve = (
            f"How often the higher {attribute} is chosen, by the size of the true difference: the "
            "model (line, band). The differences are measured with error, and true ones are not "
            f"seen: there are no points to compare with.{true}"
        )
    seen = "A curve that rises from one half at no difference; the model's band follows the points."
    if partial_ or facts.attribute in fit.errors:
        seen = "A curve that rises from one half at no difference."
    return [
        (
            "strength", "strength", "How strength is distributed", caption, alt,
            lambda: plot_strength(fit, **common),
        ),
        (
            "choice_curve", "strength", "How choices follow the reward", curve, seen,
            lambda: plot_choice_curve(fit, **common),
        ),
    ]  # fmt: skip


def _of_groups(facts: Facts, common: dict[str, Any]) -> list[Plan]:
    fit = facts.fit
    if not fit.groups:
        return []
    mark = (
        "filled where it is heterogeneous, open where homogeneous, half filled where the data "
        "cannot tell"
        if facts.varies
        else "open: this model assumes one strength in each cell"
    )
    caption = (
        "Left: mean strength. Right: sd/mean of strength, the measure of heterogeneity; below "
        f"{facts.rope:g}, in the grey region, it is practically homogeneous. Points are "
        f"{mark}. Bars are {percent(facts.prob)} intervals."
    )
    if facts.truth is not None:
        caption += " Diamonds: the truth of the simulation."
    found: list[Plan] = [
        (
            "groups", "groups", "Groups side by side", caption, _forest_in_words(facts),
            lambda: plot_groups(fit, rope=facts.rope, **common),
        )
    ]  # fmt: skip
    for factor, name in file_names(fit.groups).items():
        shown = label(factor)
        number_of = len(fit.spec["data"]["levels"][factor])
        most = f" Of {number_of} levels those with most data." if number_of > MOST_PANELS else ""
        found += [
            (
                f"strength_by_{name}", "groups", f"Strength by {shown}",
                f"The distribution of strength in the levels of {shown}.{most}",
                f"Densities of strength by {shown}; the numbers are in the table of groups.",
                partial(plot_strength, fit, by=factor, **common),
            ),
            (
                f"choice_curve_by_{name}", "groups", f"Choices by {shown}",
                f"Data and model in the levels of {shown}. A steeper start is a larger strength."
                f"{most}",
                f"Choice curves by {shown}; the numbers are in the table of groups.",
                partial(plot_choice_curve, fit, by=factor, **common),
            ),
        ]  # fmt: skip
    return found


def _forest_in_words(facts: Facts) -> str:
    rows = facts.levels.to_dict("records")
    parts = [
        f"{label(r['factor'])} {label(r['level'])}: mean {fixed(r['mean'])}, sd/mean "
        f"{with_interval(r, 'cv')}, {r['verdict']}"
        for r in rows[:12]
    ]
    more = f"; and {len(rows) - 12} more in the table" if len(rows) > 12 else ""
    return "; ".join(parts) + more + "."


def _of_choosers(facts: Facts, first: str | None, common: dict[str, Any]) -> list[Plan]:
    if facts.choosers is None:
        return []
    fit, table = facts.fit, facts.choosers
    caption = (
        f"Every chooser's strength with a {percent(facts.prob)} interval, in order. Choosers with "
        "few choices are drawn towards the others. Where intervals at the two ends do not "
        "overlap, these choosers very probably differ."
    )
    if facts.truth is not None and facts.truth.choosers:
        caption += " Diamonds: each chooser's true strength."
    alt = (
        f"{len(table):,} choosers from {fixed(table['median'].min())} to "
        f"{fixed(table['median'].max())} in posterior median."
    )
    return [
        (
            "choosers", "choosers", "Choosers one by one", caption, alt,
            lambda: plot_choosers(fit, by=first, **common),
        )
    ]  # fmt: skip


def _of_diagnostics(facts: Facts, common: dict[str, Any]) -> list[Plan]:
    fit = facts.fit
    caption = (
        "Before the data (grey) and after (line; the bar is the "
        f"{percent(facts.prob)} interval). Where the two are alike, the answer is the assumption."
    )
    informed = [f"{number(v, 2)}" for v in facts.heterogeneity["data_share"] if np.isfinite(v)]
    alt = "Prior and posterior densities of the population-level variables."
    if informed:
        alt += f" Share of the knowledge of sd/mean that is data: {listing(informed[:6])}."
    return [
        (
            "prior_posterior", "diagnostics", "Prior and posterior", caption, alt,
            lambda: plot_prior_posterior(fit, **common),
        )
    ]  # fmt: skip


def _of_training(facts: Facts) -> list[Plan]:
    learned = facts.learned
    if learned is None:
        return []
    found: list[Plan] = []
    law = learned.mixing()
    if facts.comparison is not None:
        caption = (
            "What the data support (blue, with band) and what training learned (orange). The "
            "learned strength is per nat of log-ratio, so it is scaled to the same mean first: "
            "only shapes can be compared."
        )
        alt = f"Learned sd/mean {fixed(law.cv())}; the data support "
        alt += f"{with_interval(facts.overall, 'cv')}."
        found.append(
            (
                "comparison", "training", "Posterior against learned", caption, alt,
                lambda: plot_comparison(facts.comparison),
            )
        )  # fmt: skip
    if learned.trajectory:
        start, end = learned.trajectory[0], learned.trajectory[-1]
        caption = "Mean and spread of the strength while the model was trained." + (
            " Grey: the prior that training started from and was held by."
            if learned.prior is not None
            else " Training had no prior."
        )
        alt = (
            f"Over {learned.steps:,} steps the mean went from {number(start['mean'])} to "
            f"{number(end['mean'])}, sd/mean from {fixed(start['cv'])} to {fixed(end['cv'])}."
        )
        found.append(
            (
                "trajectory", "training", "Strength during training", caption, alt,
                lambda: plot_trajectory(learned, prob=facts.prob),
            )
        )  # fmt: skip
    return found


def file_names(factors: list[str]) -> dict[str, str]:
    """Somebody's column names as parts of file names.

    Numbered where little of a name is left, or where another has the same: some disks do not tell
    capitals from small letters.
    """
    kept = {each: re.sub(r"[^a-z0-9]+", "_", each.lower()).strip("_")[:30] for each in factors}
    names = {}
    for index, (factor, name) in enumerate(kept.items(), 1):
        alone = name == factor.lower() and list(kept.values()).count(name) == 1
        names[factor] = name if alone else f"{index}_{name}".rstrip("_")
    return names
