"""Page of the report: one HTML file, no scripts, nothing from elsewhere."""

import base64
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from prefstrength.plots.style import percent
from prefstrength.report.answer import answers
from prefstrength.report.facts import Facts
from prefstrength.report.figures import Drawing
from prefstrength.report.limits import limits
from prefstrength.report.tables import Table, check_name
from prefstrength.report.words import label, number

__all__ = ["render"]

# A page is no place for thousands of rows; the CSV has them all.
_MOST_ROWS = 60


def render(
    facts: Facts,
    title: str,
    figures: list[Drawing],
    tables: dict[str, Table],
    record: dict[str, Any],
) -> str:
    """The report as one HTML page.

    Every text comes through Jinja's escaping: labels are other people's.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    here = resources.files("prefstrength.report")
    template = environment.from_string((here / "template.html.j2").read_text(encoding="utf-8"))
    spec = facts.fit.spec
    return template.render(
        title=title,
        style=(here / "style.css").read_text(encoding="utf-8"),
        simulated=facts.truth is not None,
        summary=_summary(facts),
        failed=[
            {
                **row,
                "check": check_name(row["check"]),
                "value": number(row["value"]),
                "threshold": number(row["threshold"]),
            }
            for row in facts.failed.to_dict("records")
        ],  # fmt: skip
        number_of_checks=len(facts.checks),
        answers=answers(facts),
        notes=facts.notes,
        tables=tables,
        most_rows=_MOST_ROWS,
        figures={
            section: [_embedded(each) for each in figures if each.section == section]
            for section in ("data", "strength", "groups", "choosers", "diagnostics", "training")
        },
        recovery=_recovery(facts),
        trained=facts.learned is not None,
        no_comparison=facts.no_comparison,
        no_models=facts.no_models,
        limits=limits(facts),
        spec=spec,
        method=_method(facts),
        likelihood_error=number(spec["likelihood"]["error"], 1),
        record=record,
        reward=_reward(facts),
        prob=percent(facts.prob),
        rope=f"{facts.rope:g}",
    )


def _embedded(drawing: Drawing) -> dict[str, Any]:
    return {
        "name": drawing.name,
        "title": drawing.title,
        "caption": drawing.caption,
        "alt": drawing.alt,
        "wide": drawing.wide,
        "data": base64.b64encode(drawing.png).decode("ascii"),
    }


def _summary(facts: Facts) -> str:
    data = facts.fit.spec["data"]
    who = f"of {data['choosers']:,} choosers" if data["choosers"] else "by choosers not known"
    text = f"{data['situations']:,} choices {who}"
    if facts.fit.groups:
        levels = data["levels"]
        said = [f"{label(name)} ({len(levels[name])})" for name in facts.fit.groups]
        text += f"; groups: {', '.join(said)}"
    return text + "."


def _recovery(facts: Facts) -> dict[str, Any] | None:
    """How many true values lie inside their intervals, and which do not."""
    if facts.recovered is None or not len(facts.recovered):
        return None
    outside = facts.recovered[~facts.recovered["inside"]]
    return {
        "total": len(facts.recovered),
        "inside": int(facts.recovered["inside"].sum()),
        "outside": [
            f"{row['quantity']} of {label(row['where'], 60)}: true {number(row['truth'])}, "
            f"interval {number(row['low'])} to {number(row['high'])}"
            for row in outside.to_dict("records")
        ],
        "unit": None if facts.truth is None else facts.truth.unit,
    }


def _method(facts: Facts) -> str:
    spec = facts.fit.spec
    how = {
        "importance": "importance sampling around the mode",
        "nuts": "NUTS on the population level, the choosers' strengths integrated out",
        "latent": "NUTS on population and choosers together",
        "laplace": "a Gaussian at the mode",
        "svi": "a Gaussian on population and choosers, fitted by mini-batches",
    }.get(spec["method"], spec["method"])
    sampled = f"{spec['chains']} chains of {spec['draws']:,} draws"
    if spec["warmup"]:
        sampled += f" after {spec['warmup']:,} to adapt"
    return f"{how} ({spec['reason']}); {sampled}"


def _reward(facts: Facts) -> list[tuple[str, str]]:
    """What is known of the reward, as names and values."""
    reward = facts.reward
    if not reward:
        return []
    found = [("reward", label(reward.get("name", "not recorded"), 80))]
    if isinstance(reward.get("agreement"), int | float):
        found.append(("agrees with the choice in", percent(round(reward["agreement"], 3))))
    if isinstance(reward.get("unit"), int | float):
        found.append(("one sd of differences, in raw units", number(reward["unit"])))
    return found
