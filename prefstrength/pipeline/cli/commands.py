"""Commands over a folder: run, or one stage of it; scores and sums of data of any size."""

from pathlib import Path
from typing import Annotated

import typer

import prefstrength as ps
from prefstrength import pipeline
from prefstrength.pipeline.cli.app import command
from prefstrength.pipeline.cli.messages import say
from prefstrength.pipeline.cli.options import (
    Divide,
    Files,
    Folder,
    Force,
    Model,
    OnRay,
    Out,
    Pairs,
    Quiet,
    Scale,
    Seed,
    Title,
)
from prefstrength.pipeline.cli.summaries import (
    conclude,
    exit_if_doubtful,
    say_agreement,
    say_reward,
)
from prefstrength.pipeline.options import Reading, Rewarding, Sampler, Specification, Training


@command
def run(
    context: typer.Context,
    pairs: Pairs,
    out: Out,
    *,
    reading: Reading,
    rewarding: Rewarding,
    specification: Specification,
    sampler: Sampler,
    model: Model = None,
    training: Training,
    title: Title = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Go the whole way: score, fit, train (with --model), compare, report.

    The same command again keeps the stages that are finished, so an interrupted run goes on
    where it stopped.

    Example: `prefstrength run votes.jsonl --out runs/votes --chooser annotator --group region`
    """
    fitted = pipeline.run(
        pairs,
        out,
        reading,
        rewarding,
        specification,
        sampler,
        model=model,
        training=training,
        title=title,
        seed=seed,
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    conclude(fitted, out, context.obj.as_options)


@command
def score(
    context: typer.Context,
    pairs: Pairs,
    out: Out,
    *,
    reading: Reading,
    rewarding: Rewarding,
    divide: Divide = False,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Read the pairs, give every response a reward, check all, and keep it in DIR.

    Writes pairs.parquet (with reward_chosen and reward_rejected in units of the sd of their
    differences, raw units beside them) and choices.json. How the file is read is settled here;
    the later stages read it the same way.
    """
    silent = divide and context.obj.one_of_several()
    pipeline.score(
        pairs,
        out,
        reading,
        rewarding,
        divide=divide,
        seed=seed,
        force=force,
        progress=not (quiet or silent),
        tell=None if silent else context.obj,
    )
    if silent:
        return
    found = context.obj.choices
    say(repr(pipeline.choices(out) if found is None else found))
    say_reward(out)


@command
def score_parquet(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES",
            help="Parquet files of the same columns, folders of them, or globs in quotes.",
        ),
    ],
    out: Out,
    *,
    rewarding: Rewarding,
    divide: Divide = False,
    ray: OnRay = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --ray: how many workers; one for each GPU by default or, without GPUs, for "
            "each machine.",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Score pairs of any number, part by part, into Parquet files in DIR.

    For files too large to be read at once. Every row is written with reward_chosen and
    reward_rejected, in units of the sd of all differences; reward.json says how they came about.
    The reward text learns from all pairs together, and is left to `prefstrength score`. The same
    command again, after an interruption, goes on where it was.
    """
    silent = divide and context.obj.one_of_several()
    about = pipeline.score_parquet(
        files,
        out,
        rewarding,
        divide=divide,
        backend="ray" if ray else None,
        workers=workers,
        force=force,
        progress=not (quiet or silent),
        tell=context.obj,
    )
    if silent:
        return
    say(f"Pairs: {about['pairs']:,} in {about['parts']:,} files")
    say_agreement(about)
    say(f"Next: prefstrength compress {out} --out RESULTS")


@command
def compress(
    context: typer.Context,
    files: Files,
    out: Out,
    *,
    reading: Annotated[Reading, "chooser", "groups", "weights"],
    scale: Scale = None,
    ray: OnRay = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Sum up scored pairs of any number in one pass, and keep the sums in DIR/compressed.

    For files too large to be read at once, with reward_chosen and reward_rejected. The stage fit
    goes on from the sums; texts are not read, and the report needs the pairs themselves. The same
    command again, after an interruption, goes on with the next file.
    """
    compressed = pipeline.compress(
        files,
        out,
        reading,
        scale=scale,
        backend="ray" if ray else None,
        force=force,
        progress=not quiet,
    )
    say(repr(compressed))
    say(f"Next: prefstrength fit {out}")


@command
def fit(
    context: typer.Context,
    folder: Folder,
    *,
    specification: Specification,
    sampler: Sampler,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Fit the mixed logit to the scored pairs, and the model with one strength for all.

    Writes fit/, fit_point_mass/, models.csv (which of the two predicts better),
    heterogeneity.csv (the verdicts), strength_prior.json (for training) and, with
    --measurement-error, attenuation.csv.
    """
    fitted = pipeline.fit(
        folder,
        specification,
        sampler,
        seed=seed,
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    conclude(fitted, folder, context.obj.as_options)


@command
def train(
    context: typer.Context,
    folder: Folder,
    *,
    model: Annotated[
        str,
        typer.Option(metavar="PATH", help="Causal language model: a folder, or a name on the hub."),
    ],
    training: Training,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Train a language model with MixDPO under the prior that the fit gave.

    Writes train/: the model, its tokenizer, and learned_strength.json. Needs the extra mixdpo.
    For long training, call prefstrength.mixdpo from your own script with strength_prior.json,
    and bring its learned_strength.json back with `prefstrength compare DIR --learned FILE`.
    """
    learned = pipeline.train(
        folder,
        model,
        training,
        seed=seed,
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    say(f"Learned strength: {learned.mixing()!r} after {learned.steps} steps")
    for level, group in learned.groups.items():
        law = learned.of_group(level).mixing()
        say(f"  {learned.group_column}={level}: {law!r} ({group.pairs} pairs)")
    say(f"Model: {folder / 'train'}")


@command
def compare(
    context: typer.Context,
    folder: Folder,
    learned: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A learned_strength.json from elsewhere; that in DIR by default."
        ),
    ] = None,
    evaluated: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Pairs after training with the columns delta, reward_chosen, reward_rejected.",
        ),
    ] = None,
) -> None:
    """Hold the strength that training learned against what the data support.

    Writes comparison.csv. The two live on different scales, so the learned one is aligned first
    and the table says how. Where log-ratio differences and rewards of the same pairs are there,
    says how far the ones are proportional to the others, which the prior assumes (transfer.csv).
    """
    comparison = pipeline.compare(folder, learned, evaluated=evaluated, tell=context.obj)
    say(repr(comparison))


@command
def report(
    context: typer.Context,
    folder: Folder,
    title: Title = None,
) -> None:
    """Write report.html, figures/, tables/ and provenance.json from the finished stages."""
    path = pipeline.report(folder, title=title, tell=context.obj)
    say(f"Report: {path}")
    exit_if_doubtful(ps.load_fit(folder / "fit"), context.obj.as_options)
