r"""Tables of the report: CSV with every digit, LaTeX for the paper, and cells for the page.

A :class:`Table` holds the full frame and, beside it, the few columns that people read, as text.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.choice.mixing.base import SPREADS
from prefstrength.plots.style import attribute_unit, percent
from prefstrength.report.answer import judged_index
from prefstrength.report.facts import Facts
from prefstrength.report.words import cell, fixed, label, number, share

__all__ = ["Table", "escape_latex", "latex", "tables"]

# A LaTeX table that nobody would print is left out.
_MOST_LATEX = 200


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name : str
        Of its files.
    caption : str
        What it shows, in a sentence.
    frame : pandas.DataFrame
        Everything, for CSV.
    header : tuple of str
        Columns that are shown.
    rows : tuple of tuple of str
        Cells that are shown.
    marked : tuple of int
        Rows that need attention.
    headings : tuple of int
        Rows that head those below.
    words : tuple of int
        Columns of text, set flush left.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: tuple[int, ...] = ()
    headings: tuple[int, ...] = ()
    words: tuple[int, ...] = (0,)


def tables(facts: Facts) -> dict[str, Table]:
    """Every table of the report, by name."""
    found = [_heterogeneity(facts), _checks(facts), _population(facts)]
    if facts.rivals is not None:
        found.append(_rivals(facts))
    if facts.models is not None:
        found.append(_models(facts))
    if facts.attenuation is not None:
        found.append(_attenuation(facts))
    if facts.choosers is not None:
        found.append(_choosers(facts))
    if facts.comparison is not None:
        found += _comparison(facts)
    if facts.recovered is not None and len(facts.recovered):
        found.append(_truth(facts))
    return {table.name: table for table in found}


def _heterogeneity(facts: Facts) -> Table:
    records = facts.heterogeneity.to_dict("records")
    known = bool(facts.heterogeneity["choosers"].any())
    spread = bool(np.isfinite(facts.heterogeneity["sd_log"]).any())
    shared = bool(np.isfinite(facts.heterogeneity["share"]).any())
    unit = attribute_unit(facts.fit.spec["scales"][facts.attribute])
    header = ["group", *(["choosers"] if known else []), "choices", f"mean strength (per {unit})"]
    header += ["sd/mean", *(["sd of log strength"] if spread else [])]
    header += [*(["share of variance"] if shared else []), "P(varies)", "verdict", "from data"]
    rows: list[tuple[str, ...]] = []
    headings, factor = [], "overall"
    for row in records:
        if row["factor"] != factor:
            factor = row["factor"]
            headings.append(len(rows))
            rows.append((label(factor),) + ("",) * (len(header) - 1))
        cells = [label(row["level"]) or "all data"]
        cells += [f"{row['choosers']:,}"] if known else []
        cells += [f"{row['situations']:,}", cell(row, "mean"), cell(row, "cv")]
        cells += [cell(row, "sd_log")] if spread else []
        cells += [share(row["share"])] if shared else []
        told = row["data_share"]
        chance = f"{fixed(row['p_heterogeneous'], 3)} ± {fixed(row['p_mcse'], 3)}"
        cells += [chance, str(row["verdict"])]
        cells += [percent(round(told, 2)) if np.isfinite(told) else "–"]
        rows.append(tuple(cells))
    caption = (
        f"Strength of preference by group: posterior medians and {percent(facts.prob)} intervals. "
        f"P(varies) is the posterior probability that sd/mean exceeds {facts.rope:g}, with its "
        "Monte Carlo error; 'from data' is how much narrower than the prior the posterior of "
        "sd/mean is."
    )
    return Table(
        "heterogeneity", caption, facts.heterogeneity, tuple(header), tuple(rows),
        headings=tuple(headings), words=(0, len(header) - 2),
    )  # fmt: skip


def _rivals(facts: Facts) -> Table:
    assert facts.rivals is not None
    frame = facts.rivals.table
    rows = [
        (
            str(row["explanation"]), fixed(row["weight"]), number(row["elpd"]),
            number(row["elpd_diff"], 2), number(row["dse"], 2), fixed(row["stacking"]),
            "" if pd.isna(row["verdict"]) else str(row["verdict"]),
        )
        for row in frame.to_dict("records")
    ]  # fmt: skip
    unit = "chooser" if facts.fit.spec["data"]["choosers"] else "choice"
    caption = (
        "Explanations of the same choices. The weight is the posterior probability of each; elpd "
        f"the log probability of every {unit} given the others, and its difference to the best "
        "with a standard error; stacking the weights that predict best together, which name no "
        "truth. "
        "The verdict is what would be said if that explanation were the only one."
    )
    header = ("explanation", "weight", "elpd", "difference", "se", "stacking", "verdict")
    return Table("rivals", caption, frame, header, tuple(rows), words=(0, 6))


def _checks(facts: Facts) -> Table:
    order = facts.checks["passed"].astype(bool).sort_values(kind="stable").index
    frame = facts.checks.loc[order]  # failed ones first
    named = bool(frame["variable"].astype(str).str.len().any())
    advised = bool(len(facts.failed))
    header = ["check", *(["of"] if named else []), "value", "threshold", "result", "what it means"]
    header += ["what to do"] if advised else []
    rows = []
    for row in frame.to_dict("records"):
        cells = [check_name(row["check"]), *([label(row["variable"])] if named else [])]
        cells += [number(row["value"]), number(row["threshold"])]
        cells += ["passed" if row["passed"] else "FAILED", str(row["meaning"])]
        cells += ["" if row["passed"] else str(row["advice"])] if advised else []
        rows.append(tuple(cells))
    return Table(
        "checks",
        "Diagnostics against their thresholds" + (", failed ones first." if advised else "."),
        frame,
        tuple(header),
        tuple(rows),
        marked=tuple(range(len(facts.failed))),
        words=tuple(i for i, name in enumerate(header) if name not in ("value", "threshold")),
    )


def check_name(name: str) -> str:
    """Name of a check in words.

    Examples
    --------
    >>> check_name("ess_bulk"), check_name("tree_depth")
    ('ESS bulk', 'tree depth')
    """
    words = {"ess": "ESS", "rhat": "R-hat", "bfmi": "BFMI", "pareto": "Pareto"}
    return " ".join(words.get(part, part) for part in str(name).split("_"))


def _population(facts: Facts) -> Table:
    frame = facts.fit.summary()
    frame.index.name = "variable"
    named: dict[str, str] = {}
    for column in frame.columns:
        ends = re.fullmatch(r"[a-z]+(\d+)_(lb|ub)", str(column))
        if ends:  # such as eti89_lb
            named[column] = f"{ends[1]}% {'low' if ends[2] == 'lb' else 'high'}"
        elif column in ("mean", "sd"):
            named[column] = str(column)
        elif column in ("ess_bulk", "ess_tail", "r_hat"):
            named[column] = check_name(str(column).replace("r_hat", "rhat"))
    rows = tuple(
        (label(name, 60), *(number(row[c], 4 if c == "r_hat" else 3) for c in named))
        for name, row in frame.iterrows()
    )
    return Table(
        "population", "Variables of the population level, as ArviZ summarises them.",
        frame.reset_index(), ("variable", *named.values()), rows,
    )  # fmt: skip


def _models(facts: Facts) -> Table:
    assert facts.models is not None
    named = {
        "elpd": "elpd", "se": "se", "elpd_diff": "difference", "dse": "se of difference",
        "p": "effective parameters", "weight": "stacking weight", "high_k": "k > 0.7",
    }  # fmt: skip
    rows = tuple(
        (label(row["model"]), *(_nats(row[column], column) for column in named))
        for row in facts.models.to_dict("records")
    )
    unit = "choosers" if facts.fit.spec["data"]["choosers"] else "choices"
    caption = (
        f"Models compared by how well they predict {unit} left out: elpd in nats by PSIS-LOO, "
        f"higher is better. k > 0.7: share of {unit} for which it is a rough estimate."
    )
    return Table("models", caption, facts.models, ("model", *named.values()), rows)


def _attenuation(facts: Facts) -> Table:
    assert facts.attenuation is not None
    said = {"mean": "mean strength", "median": "median strength", "cv": "sd/mean"}
    records = facts.attenuation.to_dict("records")
    rows = tuple(
        (
            said.get(row["quantity"], "sd of log strength"),
            cell(row, "naive"),
            cell(row, "corrected"),
            fixed(row["ratio"]),
        )
        for row in records
        if np.isfinite(row["corrected"])
    )
    caption = (
        "What errors in the rewards do: estimates that take the rewards for true, those of this "
        f"report, which account for a reliability of {fixed(records[0]['reliability'])}, and the "
        "first over the second. In a linear regression the ratio would be the reliability."
    )
    header = ("all data", "errors ignored", "errors accounted for", "ratio")
    return Table("attenuation", caption, facts.attenuation, header, rows)


def _nats(value: Any, column: str) -> str:
    if column == "high_k":
        return share(value)
    return fixed(value, 2 if column == "weight" else 1)


def _choosers(facts: Facts) -> Table:
    assert facts.choosers is not None
    rows = tuple(
        (
            label(row["chooser"], 32),
            f"{row['choices']:,}",
            cell({**row, "mean_low": row["low"], "mean_high": row["high"]}, "mean"),
        )
        for row in facts.choosers.to_dict("records")
    )
    caption = f"Strength of every chooser: posterior mean and {percent(facts.prob)} interval."
    header = ("chooser", "choices", "strength")
    return Table("choosers", caption, facts.choosers, header, rows)


def _comparison(facts: Facts) -> list[Table]:
    comparison = facts.comparison
    rows = tuple(
        (
            SPREADS.get(row["index"], str(row["index"])),
            fixed(row["learned"]),
            _posterior(row, "posterior"),
            fixed(row["position"]),
            "inside" if row["inside"] else "outside",
        )
        for row in comparison.table.to_dict("records")
    )
    mixed = ""
    if facts.fit.groups and judged_index(comparison.learned) == "sd_log":
        mixed = (
            f"One {comparison.learned.family} can match a mixture of groups in one measure only; "
            "the sd of log strength is the one that the prior takes from the data. "
        )
    shape = Table(
        "comparison",
        "The spread that training learned, and what the data support. Position is the posterior "
        f"probability of a spread below the learned one. {mixed}{comparison.scale}",
        comparison.table,
        ("spread", "learned", "the data support", "position", "learned is"),
        rows,
        marked=tuple(
            i
            for i, row in enumerate(comparison.table.to_dict("records"))
            if not row["inside"] and row["index"] == judged_index(comparison.learned)
        ),
        words=(0, 4),
    )
    quantiles = Table(
        "quantiles",
        "Percentiles of strength relative to the mean strength.",
        comparison.quantiles,
        ("percentile", "learned", "the data support"),
        tuple(
            (
                percent(row["probability"]),
                fixed(row["learned"]),
                _posterior(row, "posterior"),
            )
            for row in comparison.quantiles.to_dict("records")
        ),
    )
    return [shape, quantiles]


def _posterior(row: Any, name: str) -> str:
    return cell({name: row[name], f"{name}_low": row["low"], f"{name}_high": row["high"]}, name)


def _truth(facts: Facts) -> Table:
    assert facts.recovered is not None
    rows = tuple(
        (
            label(row["where"], 60), str(row["quantity"]), fixed(row["truth"]),
            _posterior(row, "median"),
            "inside" if row["inside"] else "OUTSIDE",
        )
        for row in facts.recovered.sort_values("inside", kind="stable").to_dict("records")
    )  # fmt: skip
    return Table(
        "truth",
        f"True values of the simulation against posterior {percent(facts.prob)} intervals.",
        facts.recovered,
        ("where", "quantity", "truth", "posterior", "truth is"),
        rows,
        marked=tuple(i for i, row in enumerate(rows) if row[-1] == "OUTSIDE"),
        words=(0, 1, 4),
    )


# -- LaTeX ---------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    # At the beginning of a row they would be taken for an option of the line above.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "−": r"\ensuremath{-}",
    "–": "--",
    "∞": r"\ensuremath{\infty}",
    "β": r"\ensuremath{\beta}",
    "σ": r"\ensuremath{\sigma}",
    "Δ": r"\ensuremath{\Delta}",
    "±": r"\ensuremath{\pm}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "…": r"\ldots{}",
}


def escape_latex(text: str) -> str:
    r"""Text that LaTeX sets as it is read.

    Examples
    --------
    >>> print(escape_latex("50% of a_b & c"))
    50\% of a\_b \& c
    """
    kept = (" " if unicodedata.category(c).startswith("C") else c for c in text)
    return "".join(_LATEX.get(c, c) for c in kept)


def latex(table: Table) -> str | None:
    r"""The shown columns as a LaTeX table (``booktabs``); ``None`` where it is too long to print.

    Examples
    --------
    >>> table = Table("t", "A table.", pd.DataFrame(), ("group", "mean"), (("a_b", "1.0"),))
    >>> print(latex(table))
    % \usepackage{booktabs}
    \begin{table}
      \centering
      \caption{A table.}
      \label{tab:t}
      \begin{tabular}{lr}
        \toprule
        group & mean \\
        \midrule
        a\_b & 1.0 \\
        \bottomrule
      \end{tabular}
    \end{table}
    """
    if len(table.rows) > _MOST_LATEX:
        return None
    columns = range(len(table.header))
    kinds = "".join("l" if i in table.words else "r" for i in columns)
    lines = [r"    \toprule", "    " + _row(table.header), r"    \midrule"]
    for index, row in enumerate(table.rows):
        if index in table.headings:
            lines.append(rf"    \addlinespace \multicolumn{{{len(row)}}}{{l}}"
                         rf"{{\emph{{{escape_latex(row[0])}}}}} \\")  # fmt: skip
        else:
            lines.append("    " + _row(row))
    lines.append(r"    \bottomrule")
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape_latex(table.caption)}}}",
            rf"  \label{{tab:{table.name}}}",
            rf"  \begin{{tabular}}{{{kinds}}}",
            *lines,
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escape_latex(cell) for cell in cells) + r" \\"
