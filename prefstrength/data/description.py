"""Description of Choices, as text and as HTML: the same rows twice."""

from html import escape

import numpy as np

from prefstrength.data.interface import ChoiceTable

#: Levels of a group and choosers' labels shown before "and so many more".
MOST_SHOWN = 6


def describe(choices: ChoiceTable) -> list[tuple[str, list[str]]]:
    """Return what there is to say as (heading, lines)."""
    many = choices.n_alternatives
    offered = choices.available.sum(axis=1)
    if choices.is_pairs:
        alternatives = "2 in each situation, chosen and rejected (pairs)"
    elif choices.answer is not None:
        alternatives = f"2 in each situation, {' and '.join(map(_name, choices.alternatives))}"
    elif offered.min() == offered.max():
        alternatives = f"{many}, {offered.min()} available in each situation"
    else:
        alternatives = (
            f"{many}, {offered.min()} to {offered.max()} available in a situation "
            f"(mean {offered.mean():.3g})"
        )
    out = [
        ("response", [_response(choices)]),
        ("situations", [f"{choices.n_situations:,}"]),
        ("choosers", [_choosers(choices)]),
        ("alternatives", [alternatives]),
        (
            "attributes",
            [
                f"{_name(a)}: sd of the differences {choices.scale(a):.4g}"
                for a in choices.attributes
            ],
        ),
    ]
    if choices.shown_first is not None:
        first, second, unknown = (int((choices.shown_first == k).sum()) for k in (1, -1, 0))
        text = f"{_name(choices.alternatives[0])} {first:,}, "
        text += f"{_name(choices.alternatives[1])} {second:,}"
        out.append(("shown first", [text + (f", not known {unknown:,}" if unknown else "")]))
    if choices.pair is not None:
        times = np.unique(choices.pair, return_counts=True)[1]
        text = f"{len(times):,}; judged {times.min():,} to {times.max():,} times"
        out.append(("pairs", [text]))
    if choices.groups:
        out.append(("groups", [_levels(n, f.counts()) for n, f in choices.groups.items()]))
    if np.ptp(choices.weights) > 0 or choices.weights[0] != 1:
        w = choices.weights
        out.append(("weights", [f"{w.min():.4g} to {w.max():.4g}, sum {w.sum():,.6g}"]))
    own = choices.chooser_weights
    if own is not None:
        text = f"{own.min():.4g} to {own.max():.4g}, sum {own.sum():,.6g}"
        out.append(("their weights", [text]))
    dropped = [
        f"{d.count:,} {_name(d.reason)} (first: {', '.join(map(_name, d.rows))})"
        for d in choices.dropped
    ]
    out.append(("dropped", dropped or ["nothing"]))
    if choices.notes:
        out.append(("notes", [_name(note) for note in choices.notes]))
    return out


def as_text(choices: ChoiceTable) -> str:
    """Return the description as aligned lines."""
    lines = ["Choices"]
    for heading, entries in describe(choices):
        for i, entry in enumerate(entries):
            lines.append(f"  {heading if i == 0 else '':<14}{entry}")
    return "\n".join(lines)


def as_html(choices: ChoiceTable) -> str:
    """Return the description as an HTML table; every text from the data is escaped."""
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(heading)}</th>'
        f'<td style="text-align:left">{"<br>".join(escape(entry) for entry in entries)}</td></tr>'
        for heading, entries in describe(choices)
    )
    return f"<table><caption>Choices</caption><tbody>{rows}</tbody></table>"


def _response(choices: ChoiceTable) -> str:
    """Kind of answer, and how many of each; in plain pairs all are for the first."""
    name, counts = choices.response.name, list(choices.answer_counts().items())
    if choices.is_pairs:
        return name
    if choices.answer is None:
        counts = counts[:MOST_SHOWN]
    parts = ", ".join(f"{_name(word, 30)}: {count:,}" for word, count in counts)
    more = len(choices.answer_counts()) - len(counts)
    return f"{name} ({parts}" + (f" and {more:,} more)" if more else ")")


def _choosers(choices: ChoiceTable) -> str:
    if choices.chooser is None:
        return "unknown (no chooser given)"
    counts = choices.situation_counts()
    return (
        f"{choices.n_choosers:,}; choices per chooser: median {np.median(counts):g}, "
        f"range {counts.min():,} to {counts.max():,}"
    )


def _levels(name: str, counts: dict[str, int]) -> str:
    parts = [f"{_name(level, 30)} {count:,}" for level, count in list(counts.items())[:MOST_SHOWN]]
    more = len(counts) - MOST_SHOWN
    return f"{_name(name)}: {', '.join(parts)}" + (f" and {more:,} more levels" if more > 0 else "")


def _name(text: str, width: int = 80) -> str:
    """One printable line of bounded length: names come from files."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= width else text[: width - 3] + "..."
