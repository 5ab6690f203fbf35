"""Commands that need no data of yours: demo, plan, calibrate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from prefstrength import pipeline
from prefstrength._shared.files import require_own_tables, write_csv
from prefstrength.pipeline.cli.app import command
from prefstrength.pipeline.cli.messages import DOUBTFUL
from prefstrength.pipeline.cli.options import Folder, Force, Quiet, Seed
from prefstrength.pipeline.cli.summaries import conclude, console
from prefstrength.pipeline.options import Sampler, Specification, Training

# A tiny language model learns within few steps.
_FEW_STEPS = Training(steps=150)


@command
def demo(
    context: typer.Context,
    *,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")
    ] = Path("reports/demo"),
    choosers: Annotated[int, typer.Option(min=6, help="How many choosers to simulate.")] = 240,
    situations: Annotated[int, typer.Option(min=1, help="Choices of each chooser.")] = 24,
    training: Annotated[Training, "steps"] = _FEW_STEPS,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="The analysis alone; needs no torch.")
    ] = False,
    sampler: Annotated[Sampler, "draws", "warmup", "chains"],
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Go the whole way on simulated data, with the truth drawn into the figures.

    Two invented datasets, one whose choosers prefer equally strongly and one whose do not, three
    regions, rewards learned from the texts, a language model small enough for a laptop. No
    download, a few minutes.
    """
    from prefstrength.pipeline.demo import run_demo

    fitted = run_demo(
        out,
        choosers=choosers,
        situations=situations,
        steps=training.steps,
        train=not no_train,
        seed=seed,
        sampler=sampler,
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    conclude(fitted, out, context.obj.as_options)


@command
def plan(
    context: typer.Context,
    *,
    mean: Annotated[
        float, typer.Option(help="Mean strength, per unit of the reward difference.")
    ] = 1.0,
    cv: Annotated[
        float,
        typer.Option(min=0.0, help="Its sd/mean over choosers; 0 for one strength for all."),
    ] = 0.8,
    specification: Annotated[Specification, "family"],
    choosers: Annotated[
        list[int] | None, typer.Option(min=1, help="Number of choosers; repeat for several.")
    ] = None,
    situations: Annotated[
        list[int] | None, typer.Option(min=1, help="Choices of each; repeat for several.")
    ] = None,
    spread: Annotated[float, typer.Option(help="Sd of the reward differences.")] = 1.0,
    probability: Annotated[
        float, typer.Option(help="Wanted probability that the right verdict is reached.")
    ] = 0.8,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Write plan.csv, needed.csv, plan.png."),
    ] = None,
) -> None:
    """Say how many annotations it takes to tell how much strength varies. Needs no data.

    Example: `prefstrength plan --cv 0.5 --situations 1 --situations 10`
    """
    from prefstrength.validation.planning import law_of_mean, plan

    law = law_of_mean(specification.mixing.family, mean, cv)
    planned = plan(law, choosers or (30, 100, 300, 1000, 3000), situations or (1, 5, 20), spread)
    needed = planned.needed(probability)
    shown = Table(title=f"{planned.designs[0].label}: what to expect", box=None)
    columns = ("choices each", "choosers", "annotations", "sd of location", "sd of dispersion")
    for heading in (*columns, "P(verdict)"):
        shown.add_column(heading, justify="right")
    for row in planned.table.to_dict("records"):
        shown.add_row(
            *(f"{row[name]:,}" for name in ("situations", "choosers", "annotations")),
            *(f"{row[name]:.3f}" for name in ("location_sd", "dispersion_sd")),
            f"{row['probability']:.0%}",
        )
    console.print(shown)
    for row in needed.to_dict("records"):
        number = row["annotations"]
        takes = f"{number:,.0f} annotations" if number < float("inf") else "more than anyone has"
        each = "choice" if row["situations"] == 1 else "choices"
        typer.echo(f"With {row['situations']} {each} each, {probability:.0%} takes {takes}.")
    typer.echo(f"The right verdict would be: {planned.designs[0].verdict}.")
    if out is not None:
        from prefstrength.plots.style import detached

        names = ("plan.csv", "needed.csv", "plan.png")
        require_own_tables(out, names, list(planned.table.columns))
        write_csv(out / "plan.csv", planned.table)
        write_csv(out / "needed.csv", needed)
        with detached():
            planned.plot(probability=probability)[0].figure.savefig(out / "plan.png", dpi=200)
        typer.echo(f"Plan: {out}")


@command
def calibrate(
    context: typer.Context,
    folder: Folder,
    *,
    specification: Annotated[Specification, "family"],
    simulations: Annotated[int, typer.Option(min=20, help="Data sets to simulate.")] = 500,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Processes; all free cores by default.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Check the inference by simulation in the design of the scored pairs.

    Draws parameters from the prior, simulates choices among the same alternatives by the same
    choosers, fits, and looks whether the true values rank uniformly among posterior draws.
    Writes calibration/ with all simulations, table.csv and ranks.png; the same command again
    goes on where it was interrupted. Exit code 3 where the ranks are not uniform.
    """
    from prefstrength.plots.style import detached

    done = pipeline.calibrate(
        folder, specification, simulations=simulations, cores=cores, seed=seed, progress=not quiet
    )
    where = folder / "calibration"
    done.table.to_csv(where / "table.csv", index=False)
    with detached():
        done.plot()[0].figure.savefig(where / "ranks.png", dpi=200)
    typer.echo(repr(done))
    typer.echo(f"Calibration: {where}")
    if not done.passed():
        raise typer.Exit(DOUBTFUL)
