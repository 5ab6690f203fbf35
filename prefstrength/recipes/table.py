"""One table of what recipes wrote: margins, win rates, learned strengths.

``python -m prefstrength.recipes.table FOLDER [...] [--out FOLDER]``
"""

import argparse
import html
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.files import atomic_write_text, require_own_tables
from prefstrength._shared.words import listed
from prefstrength.choice.learned_strength import LearnedStrength
from prefstrength.errors import InputError
from prefstrength.recipes.recipe import WIN_RATE
from prefstrength.recipes.train import CHANGES, SETTINGS_FILE, told

__all__ = ["collect_results", "collect_strengths", "main", "write_table"]

#: Kind of a row in metrics.csv -> its metrics that the table holds.
_TAKEN = {
    "micro": ("accuracy", "margin", "negative_log_likelihood"),
    "macro": ("accuracy", "margin", "negative_log_likelihood"),
    "worst": ("accuracy", "margin"),
}
_WIN_RATES = ("win_rate", "length_controlled_win_rate")

_CAPTION = (
    "Evaluation on held-out pairs, with 90 % intervals. Margin: mean strength times log-ratio "
    "difference, in nats; with another mean strength it is another unit. Micro: every pair counts "
    "once; macro: every group; worst: the worst group. Where strength differs by group or "
    "covariate, mean and sd/mean are those of the common mixing distribution."
)
_CAPTION_STRENGTHS = (
    "Learned strength by group, in order of mean strength; of a covariate the change of the log "
    "mean strength for one standard deviation."
)
_CAPTION_RUNS = "Runs: what was changed against the recipe's file, output_dir and seed apart."
_CAPTION_WINS = (
    "Win rate: share of held-out prompts on which a reward model prefers the method's response to "
    "the opponent's, ties counting one half; length-controlled: predicted for equal length."
)


def collect_results(folders: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """Gather what methods of recipes wrote below some folders.

    Parameters
    ----------
    folders : sequence of path
        ``output_dir`` of recipes, or folders above them.

    Returns
    -------
    DataFrame
        One row for each method of each run and each factor of its groups: ``recipe``, ``run``
        (its folder), ``seed``, ``changes`` (what was laid over the file), ``model``, ``data``,
        ``method``, ``family``, ``mean_strength``, ``cv_strength``,
        ``factor``, ``pairs``, and with ``_low`` and ``_high``: ``micro_accuracy``,
        ``micro_margin``, ``micro_negative_log_likelihood``, the same with ``macro_``,
        ``worst_accuracy``, ``worst_margin``, ``win_rate``, ``length_controlled_win_rate``; the
        last two over all prompts and ``nan``, with an empty ``opponent`` and no ``prompts``,
        where a method has no ``win_rate/`` as :meth:`~prefstrength.mixdpo.WinRate.save` writes it.

    Raises
    ------
    InputError
        If there is no finished evaluation, or a file lacks what it should hold.
    """
    return pd.DataFrame([row for stage in _stages(folders) for row in _rows(stage)])


def collect_strengths(folders: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """Gather the strengths that methods of recipes learned, of groups and covariates, too.

    Parameters
    ----------
    folders : sequence of path
        As of :func:`collect_results`.

    Returns
    -------
    DataFrame
        For each method of each run a row of the common strength (with an empty ``column``), one for
        each group (in order of mean strength) and one for each covariate: ``recipe``, ``run``,
        ``seed``, ``method``, ``family``, ``column``, ``level``, ``pairs`` (training pairs of the
        group), ``mean``, ``cv``, ``coefficient`` (of the covariate).

    Raises
    ------
    InputError
        As of :func:`collect_results`.
    """
    rows = [row for stage in _stages(folders) for row in _strengths(stage)]
    frame = pd.DataFrame(rows)
    return frame.astype({"pairs": "Int64", "coefficient": float})


def _stages(folders: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Folders of methods that were evaluated, each once, though folders may lie in each other."""
    found: dict[Path, Path] = {}
    for folder in folders:
        for path in sorted(Path(folder).rglob("evaluation/metrics.csv")):
            found.setdefault(path.resolve(), path.parent.parent)
    if not found:
        raise InputError(
            f"Expected evaluations of a recipe below {listed(map(str, folders))}; got no "
            "evaluation/metrics.csv. Run the recipe to its end, or name its output_dir."
        )
    return list(found.values())


def write_table(
    folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]
) -> tuple[Path, ...]:
    """Write ``results.csv`` with every digit, ``results.md`` and ``results.tex`` for reading.

    Of more rows than anybody prints there is no ``results.tex``, nor an earlier one any more.
    ``strengths.csv`` has the learned strengths; where they differ by group or covariate, the other
    two hold them, too. ``results.md`` says what was changed in each run.

    Parameters
    ----------
    folders : sequence of path
        As of :func:`collect_results`.
    out : path
        Where the files go.

    Returns
    -------
    tuple of Path

    Raises
    ------
    InputError
        As of :func:`collect_results`, or if files of these names are somebody else's.

    Examples
    --------
    >>> import tempfile
    >>> from prefstrength.mixdpo import preference_metrics
    >>> run = Path(tempfile.mkdtemp()) / "dpo"
    >>> (run / "evaluation").mkdir(parents=True)
    >>> learned = LearnedStrength("PointMass", {"value": 0.1}, mode="frozen")
    >>> _ = learned.save(run)
    >>> table = preference_metrics([3.0, -1.0, 2.0, 4.0], learned.mixing())
    >>> table.to_csv(run / "evaluation" / "metrics.csv", index=False)
    >>> record = {"recipe": "mine", "model": "m", "data": "d", "stage": "dpo", "groups": []}
    >>> record |= {"seed": 0, "changes": ["preference.beta=0.1"]}
    >>> _ = atomic_write_text(run / "settings.json", json.dumps(record))
    >>> collect_results([run])[["method", "micro_accuracy", "micro_margin"]].to_dict("records")
    [{'method': 'dpo', 'micro_accuracy': 0.75, 'micro_margin': 0.2}]
    >>> [path.name for path in write_table([run], run)]
    ['results.csv', 'results.md', 'results.tex', 'strengths.csv']
    """
    from prefstrength.report.tables import latex

    frame, strengths = collect_results(folders), collect_strengths(folders)
    runs = _run_names(frame)
    shown = [_table(frame, runs)]
    if strengths["column"].ne("").any():
        shown.append(_strength_table(strengths, runs))
    names = ("results.csv", "results.md", "results.tex", "strengths.csv")
    require_own_tables(out, names, list(frame.columns)[:3])
    contents = {
        "results.csv": frame.to_csv(index=False),
        "results.md": "\n".join(map(_markdown, [*shown, _run_table(frame, runs)])),
    }
    texts = [latex(table) for table in shown]
    if texts[0] is not None:
        contents["results.tex"] = "\n".join(f"{text}\n" for text in texts if text is not None)
    else:  # nobody would print it, and one of fewer runs would say something else
        (Path(out) / "results.tex").unlink(missing_ok=True)
    contents["strengths.csv"] = strengths.to_csv(index=False)
    return tuple(atomic_write_text(Path(out) / name, each) for name, each in contents.items())


def _rows(folder: Path) -> list[dict[str, Any]]:
    settings = _settings(folder)
    learned = LearnedStrength.load(folder)
    law = learned.mixing()
    shared = {
        "recipe": settings["recipe"],
        "run": str(folder.parent),
        "seed": settings["seed"],
        "changes": "; ".join(settings[CHANGES]),
        "model": settings["model"],
        "data": settings["data"],
        "method": settings["stage"],
        "family": learned.family,
        "mean_strength": law.mean(),
        "cv_strength": law.cv(),
    }
    metrics = _metrics(folder / "evaluation" / "metrics.csv")
    wins = _win_rate(folder)
    micro = metrics[metrics["kind"] == "micro"]
    rows = []
    for factor in settings["groups"] or ["all"]:
        found = {"micro": micro}
        for kind in ("macro", "worst") if settings["groups"] else ():
            found[kind] = metrics[(metrics["factor"] == factor) & (metrics["kind"] == kind)]
        lacking = [kind for kind, table in found.items() if len(table) != 1]
        if lacking:
            raise InputError(
                f"Expected one {' and one '.join(lacking)} row for {factor!r} in "
                f"{folder}/evaluation/metrics.csv; got another number. Evaluate again: remove "
                "that file and run the recipe."
            )
        row = {**shared, "factor": factor, "pairs": int(micro["pairs"].iloc[0])}
        for kind, names in _TAKEN.items():
            for name in names:
                for end in ("", "_low", "_high"):
                    value = float(found[kind][name + end].iloc[0]) if kind in found else math.nan
                    row[f"{kind}_{name}{end}"] = value
        rows.append({**row, **wins})
    return rows


def _strengths(folder: Path) -> list[dict[str, Any]]:
    settings, learned = _settings(folder), LearnedStrength.load(folder)
    law = learned.mixing()
    shared = {
        "recipe": settings["recipe"],
        "run": str(folder.parent),
        "seed": settings["seed"],
        "method": settings["stage"],
        "family": learned.family,
        "column": "",
        "level": "all",
        "pairs": None,
        "mean": law.mean(),
        "cv": law.cv(),
        "coefficient": None,
    }
    groups = []
    for level, group in learned.groups.items():
        law = learned.of_group(level).mixing()
        place = {"column": learned.group_column, "level": level, "pairs": group.pairs}
        groups.append({**shared, **place, "mean": law.mean(), "cv": law.cv()})
    none = {"level": "", "mean": math.nan, "cv": math.nan}
    covariates = [
        {**shared, **none, "column": name, "coefficient": each.coefficient}
        for name, each in learned.covariates.items()
    ]
    return [shared, *sorted(groups, key=lambda row: row["mean"]), *covariates]


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / SETTINGS_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"Expected {SETTINGS_FILE} of a recipe in {folder}; got none that can be read. The "
            "evaluation is not a recipe's. Name the output_dir of recipes."
        ) from error
    expected = ("recipe", CHANGES, "model", "data", "seed", "stage", "groups")
    lacking = [name for name in expected if name not in record]
    if lacking:
        raise InputError(
            f"Expected {', '.join(lacking)} in {path}; got none. Train the recipe anew."
        )
    return record


def _metrics(path: Path) -> pd.DataFrame:
    """Metrics as they were saved: an empty cell is missing, a level named NA is none."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _win_rate(folder: Path) -> dict[str, Any]:
    """Win rates over all prompts, against one opponent; empty cells where none were measured."""
    found: dict[str, Any] = {"opponent": "", "prompts": 0}
    columns = [name + end for name in _WIN_RATES for end in ("", "_low", "_high")]
    path = folder / WIN_RATE
    if not path.exists():
        return found | dict.fromkeys(columns, math.nan)
    try:
        settings = json.loads((path / "settings.json").read_text(encoding="utf-8"))
        metrics = _metrics(path / "metrics.csv")
        (row,) = metrics[metrics["kind"] == "micro"].to_dict("records")
        found = {"opponent": str(settings["model_b"]), "prompts": int(row["prompts"])}
        return found | {name: float(row[name]) for name in columns}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"Expected the settings.json and metrics.csv of a win rate in {path}; got a problem "
            f"with {error}. Remove the folder and run the recipe."
        ) from error


# -- for reading -----------------------------------------------------------------------------------


def _run_names(frame: pd.DataFrame) -> dict[str, str]:
    """Folders of runs, as short as they tell the runs apart."""
    whole = {run: Path(os.path.abspath(run)) for run in frame["run"].unique()}
    common = Path(os.path.commonpath(list(whole.values())))
    above = common.parent if common in whole.values() else common
    return {run: path.relative_to(above).as_posix() for run, path in whole.items()}


def _run_table(frame: pd.DataFrame, runs: dict[str, str]) -> Any:
    from prefstrength.report.tables import Table

    keys = ["run", "recipe", "seed", "changes"]
    rows = []
    for (run, recipe, seed, changes), part in frame.groupby(keys, sort=False):
        said = [c for c in changes.split("; ") if not c.startswith(("output_dir=", "seed="))]
        methods = ", ".join(part["method"].unique())
        rows.append((runs[run], recipe, str(seed), methods, "; ".join(said) or "nothing"))
    header = ("run", "recipe", "seed", "methods", "changed")
    return Table("runs", _CAPTION_RUNS, frame, header, tuple(rows), words=(0, 1, 3, 4))


def _strength_table(frame: pd.DataFrame, runs: dict[str, str]) -> Any:
    from prefstrength.report.tables import Table
    from prefstrength.report.words import number

    rows = []
    for record in frame.to_dict("records"):
        pairs = "–" if pd.isna(record["pairs"]) else f"{record['pairs']:,}"
        law = [number(record[name]) for name in ("mean", "cv", "coefficient")]
        start = [runs[record["run"]], str(record["seed"]), record["method"], record["family"]]
        rows.append((*start, record["column"] or "–", record["level"] or "–", pairs, *law))
    header = (
        "run", "seed", "method", "strength", "column", "level", "pairs", "mean", "sd/mean",
        "coefficient",
    )  # fmt: skip
    words = (0, 2, 3, 4, 5)
    return Table("strengths", _CAPTION_STRENGTHS, frame, header, tuple(rows), words=words)


def _table(frame: pd.DataFrame, runs: dict[str, str]) -> Any:
    from prefstrength.report.tables import Table
    from prefstrength.report.words import number

    columns = {
        "accuracy": "micro_accuracy",
        "micro margin": "micro_margin",
        "macro margin": "macro_margin",
        "worst margin": "worst_margin",
        "neg. log-likelihood": "micro_negative_log_likelihood",
    }
    won = bool(frame["win_rate"].notna().any())
    if won:
        columns |= {"win rate": "win_rate", "length-controlled": "length_controlled_win_rate"}
    header = [
        "recipe",
        "run",
        "seed",
        "method",
        "groups",
        "pairs",
        *columns,
        "strength",
        "mean",
        "sd/mean",
    ]
    header += ["opponent"] if won else []
    rows = []
    for record in frame.to_dict("records"):
        cells = [_cell(record, name) for name in columns.values()]
        law = [record["family"], number(record["mean_strength"]), number(record["cv_strength"])]
        last = [Path(record["opponent"]).name or "–"] if won else []
        start = [record["recipe"], runs[record["run"]], str(record["seed"]), record["method"]]
        start += [record["factor"], f"{record['pairs']:,}"]
        rows.append((*start, *cells, *law, *last))
    words = {"recipe", "run", "method", "groups", "strength", "opponent"}
    return Table(
        "results",
        f"{_CAPTION} {_CAPTION_WINS}" if won else _CAPTION,
        frame,
        tuple(header),
        tuple(rows),
        words=tuple(i for i, name in enumerate(header) if name in words),
    )


def _cell(record: dict[str, Any], name: str) -> str:
    """A number with its interval, or alone where a group is too small for one."""
    from prefstrength.report.words import cell, fixed

    return fixed(record[name]) if math.isnan(record[f"{name}_low"]) else cell(record, name)


def _markdown(table: Any) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_escaped(each) for each in cells) + " |"

    rule = [":--" if i in table.words else "--:" for i in range(len(table.header))]
    lines = [line(table.header), "|" + "|".join(rule) + "|", *map(line, table.rows)]
    return "\n".join([*lines, "", table.caption]) + "\n"


def _escaped(text: str) -> str:
    flat = html.escape(" ".join(text.split()), quote=False)
    for mark in "\\|`*_[]":
        flat = flat.replace(mark, "\\" + mark)
    return flat


# -- command line ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table from the command line, show it, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m prefstrength.recipes.table",
        description="One table of what recipes wrote: results.csv, .md, .tex, strengths.csv.",
    )
    parser.add_argument("folders", nargs="+", help="output_dir of recipes, or folders above")
    parser.add_argument("--out", default="reports/recipes", help="where the table goes")
    given = parser.parse_args(arguments)

    def work() -> None:
        files = write_table(given.folders, given.out)
        print(files[1].read_text(encoding="utf-8"))
        print("Written:", ", ".join(map(str, files)))

    return told(work)


if __name__ == "__main__":
    sys.exit(main())
