"""What a command says at its end: verdicts, files, failed checks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import prefstrength as ps
from prefstrength._shared.records import read_json
from prefstrength._shared.words import printable
from prefstrength.pipeline.cli.messages import DOUBTFUL, say
from prefstrength.pipeline.stages import finished

# Results go to stdout, what happens meanwhile to stderr.
console = Console()
# Explanations that are named.
_MOST_RIVALS = 5


def say_reward(out: Path) -> None:
    """Name the reward of a finished stage score."""
    if not (out / "choices.json").is_file():
        return  # compressed pairs, whose rewards came with them
    summary = read_json(out / "choices.json", "summary of the choices")
    say_agreement(summary.get("reward") or {})


def say_agreement(reward: dict[str, Any]) -> None:
    """Say how often the reward agrees with the choice."""
    agreement = reward.get("agreement")
    said = "" if agreement is None else f", higher for the chosen response in {agreement:.1%}"
    say(f"Reward: {reward.get('name', 'not recorded')}{said}")


def _say_attenuation(out: Path) -> None:
    """What the error of the rewards does, where the fit has accounted for it."""
    import pandas as pd

    if not (out / "attenuation.csv").is_file():
        return
    table = pd.read_csv(out / "attenuation.csv").set_index("quantity")
    said = " and ".join(
        f"{name} {table.loc[quantity, 'corrected']:.2f}, not {table.loc[quantity, 'naive']:.2f}"
        for quantity, name in (("mean", "the mean strength is"), ("cv", "sd/mean"))
    )
    say(
        f"Errors in the rewards: accounted for, {said}. Their reliability is at most "
        f"{table['reliability'].iloc[0]:.2f}."
    )


def _say_rivals(out: Path) -> None:
    """The verdict, what else explains the choices, and what would settle it."""
    if not (out / "rivals.json").is_file():
        return
    rivals = ps.Rivals.load(out / "rivals.json")
    console.print(f"[bold]{escape(printable(rivals.verdict))}[/bold]")
    if rivals.advice:
        console.print(escape(printable(rivals.advice)))
    shown = Table(title="What else could explain these choices", box=None)
    for heading in ("", "weight", "elpd difference", "alone it says"):
        shown.add_column(heading, overflow="fold")
    # The last row may be the others together.
    told = rivals.table[rivals.table["log_evidence"].notna()].head(_MOST_RIVALS)
    for row in told.to_dict("records"):
        gap = f"{row['elpd_diff']:.1f} (se {row['dse']:.1f})"
        shown.add_row(row["explanation"], f"{row['weight']:.2f}", gap, str(row["verdict"]))
    console.print(shown)


def conclude(fitted: "ps.Fit", out: Path, as_options: Callable[[str], str]) -> None:
    """Print the verdicts and where the files are; exit with 3 where a diagnostic failed.

    ``as_options`` says what a diagnostic advises as it is typed.
    """
    import pandas as pd

    _say_rivals(out)
    table = pd.read_csv(out / "heterogeneity.csv", keep_default_na=False)
    shown = Table(
        title="Strength in the fitted model, per sd of reward difference (90% intervals)", box=None
    )
    for heading in ("", "mean", "sd/mean", "verdict"):
        # Long names of levels fold, so that the numbers stay whole.
        number = heading in ("mean", "sd/mean")
        shown.add_column(heading, no_wrap=number, overflow="fold", min_width=21 if number else None)
    for row in table.to_dict("records"):
        label = f"{row['factor']}: {row['level']}" if row["level"] else str(row["factor"])
        shown.add_row(
            escape(printable(label)),
            *(_interval(row, quantity) for quantity in ("mean", "cv")),
            str(row["verdict"]),
        )
    console.print(shown)
    say_reward(out)
    _say_attenuation(out)
    if (out / "report.html").is_file() and finished(out, "report"):
        say(f"Report: {out / 'report.html'}")
    if (out / "strength_prior.json").is_file():
        say(f"Prior for training: {out / 'strength_prior.json'}")
    exit_if_doubtful(fitted, as_options)


def exit_if_doubtful(fitted: "ps.Fit", as_options: Callable[[str], str]) -> None:
    """Name the diagnostics that failed, and exit with 3; go on where none did."""
    checks = fitted.check()
    if checks.passed:
        return
    failed = checks.table[~checks.table["passed"].astype(bool)]
    for row in failed.to_dict("records"):
        of = f" of {row['variable']}" if row["variable"] else ""
        say(
            f"Diagnostic failed: {row['check']}{of} is {row['value']:.4g}, "
            f"threshold {row['threshold']:.4g}. {row['meaning']} {as_options(row['advice'])}",
            err=True,
        )
    raise typer.Exit(DOUBTFUL)


def _interval(row: dict[str, Any], quantity: str) -> str:
    middle, low, high = (float(row[f"{quantity}{part}"]) for part in ("", "_low", "_high"))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
