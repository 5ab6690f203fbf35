r"""Tables three ways: CSV with every digit, LaTeX for the paper, and cells for the page.

A :class:`Table` holds the full frame and, beside it, the few columns that people read, as text.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength.plots._style import attribute_unit, percent
from prefstrength.report.facts import Facts
from prefstrength.report.words import fixed, label, number, share, with_interval

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
    if facts.models is not None:
        found.append(_models(facts))
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
    rows, headings, factor = [], [], "overall"
    for row in records:
        if row["factor"] != factor:
            factor = row["factor"]
            headings.append(len(rows))
            rows.append((label(factor),) + ("",) * (len(header) - 1))
        cells = [label(row["level"]) or "all data"]
        cells += [f"{row['choosers']:,}"] if known else []
        cells += [f"{row['situations']:,}", with_interval(row, "mean"), with_interval(row, "cv")]
        cells += [with_interval(row, "sd_log")] if spread else []
        cells += [share(row["share"])] if shared else []
        told = row["data_share"]
        cells += [fixed(row["p_heterogeneous"]), str(row["verdict"])]
        cells += [percent(round(told, 2)) if np.isfinite(told) else "–"]
        rows.append(tuple(cells))
    caption = (
        f"Strength of preference by group: posterior medians and {percent(facts.prob)} intervals. "
        f"P(varies) is the posterior probability that sd/mean exceeds {facts.rope:g}; 'from data' "
        "is how much narrower than the prior the posterior of sd/mean is."
    )
    return Table(
        "heterogeneity", caption, facts.heterogeneity, tuple(header), tuple(rows),
        headings=tuple(headings), words=(0, len(header) - 2),
    )  # fmt: skip


def _checks(facts: Facts) -> Table:
    order = facts.checks["passed"].astype(bool)
    frame = facts.checks.loc[order.sort_values(kind="stable").index]  # failed ones first
    rows = tuple(
        (
            str(row["check"]),
            str(row["variable"]),
            number(row["value"]),
            number(row["threshold"]),
            "passed" if row["passed"] else "FAILED",
            str(row["meaning"]),
            "" if row["passed"] else str(row["advice"]),
        )
        for row in frame.to_dict("records")
    )
    return Table(
        "checks",
        "Diagnostics against their thresholds, failed ones first.",
        frame,
        ("check", "of", "value", "threshold", "result", "what it means", "what to do"),
        rows,
        marked=tuple(i for i, row in enumerate(rows) if row[4] == "FAILED"),
        words=(0, 1, 4, 5, 6),
    )


def _population(facts: Facts) -> Table:
    frame = facts.fit.summary()
    frame.index.name = "variable"
    wanted = [c for c in frame.columns if c in ("mean", "sd", "ess_bulk", "ess_tail", "r_hat")]
    ends = [
        c for c in frame.columns if "ci" in c.lower() or "hdi" in c.lower() or "eti" in c.lower()
    ]
    wanted = [*wanted[:2], *ends, *wanted[2:]]
    digits = {"ess_bulk": 4, "ess_tail": 4, "r_hat": 4}
    rows = tuple(
        (label(name, 60), *(number(row[c], digits.get(c, 3)) for c in wanted))
        for name, row in frame.iterrows()
    )
    shown = {"ess_bulk": "ESS bulk", "ess_tail": "ESS tail", "r_hat": "R-hat"}
    header = ("variable", *(shown.get(c, c.replace("_", " ")) for c in wanted))
    return Table(
        "population", "Variables of the population level, as ArviZ summarises them.",
        frame.reset_index(), header, rows,
    )  # fmt: skip


def _models(facts: Facts) -> Table:
    assert facts.models is not None
    frame = facts.models
    named = {
        "elpd": "elpd", "se": "se", "elpd_diff": "difference", "dse": "se of difference",
        "p": "effective parameters", "weight": "stacking weight",
    }  # fmt: skip
    columns = [c for c in named if c in frame.columns]
    rows = tuple(
        (label(name), *(_nats(row[c], c) for c in columns)) for name, row in frame.iterrows()
    )
    unit = "choosers" if facts.fit.spec["data"]["choosers"] else "choices"
    caption = (
        f"Models compared by how well they predict {unit} left out: elpd in nats by PSIS-LOO, "
        "higher is better."
    )
    return Table(
        "models", caption, frame.rename_axis("model").reset_index(),
        ("model", *(named[c] for c in columns)), rows,
    )  # fmt: skip


def _nats(value: Any, column: str) -> str:
    return fixed(value, 2 if column == "weight" else 1)


def _choosers(facts: Facts) -> Table:
    assert facts.choosers is not None
    frame = facts.choosers
    rows = tuple(
        (label(row["chooser"], 32), f"{row['choices']:,}", with_interval({**row, "mean_low": row["low"], "mean_high": row["high"]}, "mean"))
        for row in frame.to_dict("records")
    )  # fmt: skip
    return Table(
        "choosers",
        f"Strength of every chooser: posterior mean and {percent(facts.prob)} interval.",
        frame, ("chooser", "choices", "strength"), rows,
    )  # fmt: skip


def _comparison(facts: Facts) -> list[Table]:
    found = []
    for name, frame, caption in (
        ("comparison", facts.comparison.table, "What the data support, and what training learned."),
        ("quantiles", facts.comparison.quantiles, "Quantiles of strength, means aligned."),
    ):
        if not isinstance(frame, pd.DataFrame):
            continue
        rows = tuple(
            tuple(_cell(value) for value in record) for record in frame.itertuples(index=False)
        )
        header = tuple(str(c).replace("_", " ") for c in frame.columns)
        texts = tuple(i for i, c in enumerate(frame.columns) if frame[c].map(type).eq(str).any())
        found.append(Table(name, caption, frame, header, rows, words=texts))
    return found


def _truth(facts: Facts) -> Table:
    assert facts.recovered is not None
    rows = tuple(
        (
            label(row["where"], 60), str(row["quantity"]), fixed(row["truth"]),
            f"{fixed(row['median'])} ({fixed(row['low'])} to {fixed(row['high'])})",
            "inside" if row["inside"] else "OUTSIDE",
        )
        for row in facts.recovered.to_dict("records")
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


def _cell(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return number(value)
    return label(value, 120)


# -- LaTeX ---------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
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
