"""The command line: ``prefstrength run|score|fit|train|compare|report|demo|plan|calibrate``."""

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from prefstrength import pipeline
from prefstrength.errors import DataWarning, InputError, SamplingWarning
from prefstrength.rewards import HFReward
from prefstrength.rewards._named import read_settings, settings_types
from prefstrength.rewards._team import launched

__all__ = ["app", "main"]

#: Settings of rewards by which sentences name them.
_SETTINGS = "|".join([*settings_types(HFReward), "labels"])

#: Everything went well; a defect or the system; the user's mistake; results that failed a
#: diagnostic; stopped with Ctrl-C.
OK, UNEXPECTED, MISTAKE, DOUBTFUL, INTERRUPTED = 0, 1, 2, 3, 130

_EPILOG = (
    "Exit codes: 0 done; 1 unexpected error (--debug shows where); 2 a mistake in the file or "
    "the arguments, named in one sentence, and nothing written; 3 done, but a diagnostic failed; "
    "130 interrupted: the same command goes on with the stage it was in."
)

# Results go to stdout, what happens meanwhile to stderr.
_out = Console()
_err = Console(stderr=True)


class _Progress:
    """Tell of stages as they pass, and remember where we are for an interruption."""

    def __init__(self) -> None:
        self.stage: str | None = None
        self.finished: list[str] = []
        self.debug = False
        self.scoring = False
        self.speaks = True
        self.noted: set[str] = set()

    def __call__(self, stage: str, event: str, detail: Any) -> None:
        if event == "note":
            self.note(str(detail))
            return
        self.scoring = (stage, event) == ("score", "starts")
        if event == "starts":
            self.stage = stage
            _err.print(f"[bold]{stage}[/bold] ...")
            return
        if event == "done":
            _err.print(f"[bold]{stage}[/bold] done in {detail:.1f} s")
        elif event == "kept":
            _err.print(f"[bold]{stage}[/bold] kept from before: nothing changed")
        else:
            _err.print(f"[bold]{stage}[/bold] skipped: {escape(str(detail))}")
        self.stage = None
        if event != "skipped":
            self.finished.append(stage)

    def note(self, text: str) -> None:
        """Say something that is worth knowing, once."""
        if self.speaks and text not in self.noted:
            self.noted.add(text)
            said = escape(self.as_options(text))
            _err.print(f"[yellow]Note:[/yellow] {said}", highlight=False, soft_wrap=True)

    def as_options(self, text: str) -> str:
        """A library's sentence with options in the place of keywords."""
        return _as_options(text, scoring=self.scoring)

    def one_of_several(self) -> bool:
        """Whether another process says what there is to say."""
        self.speaks = launched().rank == 0
        return not self.speaks


class _Group(TyperGroup):
    """Turn whatever goes wrong in a command into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        progress = ctx.obj = _Progress()

        def show(message, category, filename, lineno, file=None, line=None) -> None:  # type: ignore[no-untyped-def]
            _show_warning(message, category, filename, lineno, progress)

        try:
            with warnings.catch_warnings():
                for category in (DataWarning, SamplingWarning):
                    warnings.simplefilter("default", category)
                warnings.showwarning = show
                return super().invoke(ctx)
        except InputError as error:
            _fail(f"Error: {progress.as_options(str(error))}", MISTAKE, error, progress)
        except KeyboardInterrupt as error:
            where = f" in the stage {progress.stage}" if progress.stage else ""
            kept = ", ".join(progress.finished) or "none"
            _fail(
                f"Interrupted{where}. Finished stages: {kept}. The same command keeps them and "
                "goes on from there.",
                INTERRUPTED,
                error,
                progress,
            )
        except OSError as error:
            _fail(
                f"Error: {error}. Check the path, its permissions and the disk.",
                UNEXPECTED,
                error,
                progress,
            )
        except Exception as error:
            if type(error).__module__.startswith("typer"):
                raise  # a usage error or an exit, which typer shows itself
            _fail(
                f"Unexpected {type(error).__name__}: {error}. This is a defect, or a library that "
                "changed. Run again with --debug to see where it came from.",
                UNEXPECTED,
                error,
                progress,
            )
        return None


def _fail(text: str, code: int, error: BaseException, progress: _Progress) -> None:
    if progress.debug:
        traceback.print_exception(error)
    typer.echo(text, err=True)
    raise typer.Exit(code)


def _as_options(text: str, *, scoring: bool = False) -> str:
    """Turn keywords in a library's sentence (``ties='drop'``) into options (``--ties drop``).

    While scoring, settings of a reward, too (``dtype='float32'``).
    """
    text = re.sub(r"\b(ties|identical|duplicates|method)=(['\"])(\w+)\2", r"--\1 \3", text)
    text = re.sub(r"\b(force|divide)=True", r"--\1", text).replace("backend='ray'", "--ray")
    text = text.replace("measurement_error=True", "--measurement-error")
    if not scoring:
        return text
    call = re.compile(rf"HFReward(?:\.\w+)?\((?:\.\.\.|\w+), ((?:{_SETTINGS})=[^)]*)\)")
    return re.sub(
        rf"\b({_SETTINGS})=('\w+'|True|False|\([^)]*\)|{{[^}}]*}})?",
        lambda found: f"--reward-setting {found[1]}={_as_typed(found[2] or '')}",
        call.sub(r"\1", text),
    )


def _as_typed(value: str) -> str:
    """Turn a value in Python (``{'a': 0, 'b': 1}``) into what is typed (``a:0,b:1``)."""
    if value in ("True", "False"):
        return value.lower()
    return re.sub(r"([:,]) ", r"\1", re.sub(r"['(){}]", "", value)).rstrip(",")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    progress: _Progress,
) -> None:
    if isinstance(message, DataWarning | SamplingWarning):
        progress.note(str(message))  # once: a later stage reads the same data
        return
    if str(message) in progress.noted or not progress.speaks:
        return
    progress.noted.add(str(message))
    if progress.debug:
        typer.echo(warnings.formatwarning(message, category, filename, lineno), err=True)
    else:
        library = next((p for p in reversed(Path(filename).parts) if p in sys.modules), "Python")
        text = " ".join(str(message).split())
        _err.print(f"[dim]{library}: {escape(text)}[/dim]", highlight=False, soft_wrap=True)


def _debug(context: typer.Context, value: bool) -> None:
    context.obj.debug = value


def _quiet(value: bool) -> bool:
    if value:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm loads, so for other libraries' bars too
    return value


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=_EPILOG,
    help=(
        "How strongly do the people behind preference data prefer, how much does that vary "
        "between them, and what should preference training do about it?\n\n"
        "`prefstrength demo` shows the whole way on simulated data. "
        "`prefstrength run PAIRS --out DIR --chooser COLUMN` goes it with yours. "
        "The other commands are its stages, each reading what the one before wrote: "
        "score → fit → train → compare → report."
    ),
)

# -- options that several commands share -----------------------------------------------------

_DATA, _REWARD, _MODEL, _TRAINING = "How the file is read", "Reward", "Model", "Training"

Pairs = Annotated[
    Path,
    typer.Argument(
        metavar="PAIRS",
        help="Preference pairs: Parquet (a file or a folder), JSONL or CSV, also .gz. Columns "
        "prompt, chosen, rejected, and reward_chosen, reward_rejected where there are rewards "
        "(then the texts may be missing).",
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="Folder for the results; made if missing."),
]
Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILES",
        help="Parquet files, folders of them, or globs in quotes. Each row is a choice with the "
        "columns reward_chosen and reward_rejected.",
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="With --chooser: typical difference of the rewards, if the sums are to be merged "
        "with those of other files. Taken from the first rows otherwise.",
        rich_help_panel=_DATA,
    ),
]
OnRay = Annotated[
    bool,
    typer.Option(
        "--ray",
        help="Divide the work between the workers of a Ray cluster: the one at RAY_ADDRESS, or a "
        "local one. Needs the extra ray.",
    ),
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder in which the stage before has finished.")
]
Chooser = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column that says who decided. Repeated choices of one chooser are what identifies "
        "heterogeneity best; without it, only the curvature of the choice curve speaks.",
        rich_help_panel=_DATA,
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Column of subgroups or datasets that may differ in mean and spread of the "
        "strength; repeat for several.",
        rich_help_panel=_DATA,
    ),
]
Attributes = Annotated[
    list[str] | None,
    typer.Option(
        "--attribute",
        metavar="NAME",
        help="A further attribute to hold constant, such as length, in the columns NAME_chosen "
        "and NAME_rejected; repeat for several. Its coefficient is shared by all choosers.",
        rich_help_panel=_DATA,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of weights: how many choices a row stands for.",
        rich_help_panel=_DATA,
    ),
]
Ties = Annotated[
    Literal["raise", "drop", "split"],
    typer.Option(
        help="Pairs without a preference (column tie): stop and say so, leave them out, or count "
        "each as half a choice either way.",
        rich_help_panel=_DATA,
    ),
]
Identical = Annotated[
    Literal["raise", "drop"],
    typer.Option(help="Pairs of identical responses.", rich_help_panel=_DATA),
]
Duplicates = Annotated[
    Literal["raise", "drop", "keep"],
    typer.Option(help="The same choice of the same chooser again.", rich_help_panel=_DATA),
]
RewardNames = Annotated[
    list[str] | None,
    typer.Option(
        "--reward",
        metavar="auto|columns|text|hf:NAME|...",
        help="columns: reward_chosen and reward_rejected (columns:NAME for NAME_chosen and "
        "NAME_rejected). text: a model of the words, fitted here and cross-fitted by prompt; no "
        "download. hf:NAME: a Hugging Face reward model, by name or folder. judge:NAME: a language "
        "model that compares both responses, in both orders. implicit:POLICY,REFERENCE: a policy "
        "trained by DPO against the model it started from. auto, the default: columns where they "
        "exist, else text. Repeat for an ensemble, which shows how large the error of a reward is.",
        rich_help_panel=_REWARD,
    ),
]
RewardSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--reward-setting",
        metavar="NAME=VALUE",
        help="A setting of the rewards, for all that have it; repeat for several. Of hf:NAME: "
        f"{', '.join(settings_types(HFReward))}. Such as batch_tokens=32768, dtype=bfloat16, "
        "head=0, heads=reward:0,safety:1. Well-known models come with their makers' settings. "
        "trust_remote_code=true runs code that comes with a model: read it first.",
        rich_help_panel=_REWARD,
    ),
]
Divide = Annotated[
    bool,
    typer.Option(
        "--divide",
        help="Divide the scoring between the processes that torchrun or accelerate launch has "
        "started: `torchrun --nproc-per-node 8 -m prefstrength.cli score PAIRS --divide`.",
        rich_help_panel=_REWARD,
    ),
]
Family = Annotated[
    Literal["lognormal", "normal", "gamma", "inversegaussian"],
    typer.Option(help="Law of the strength over choosers.", rich_help_panel=_MODEL),
]
MeanStrength = Annotated[
    float,
    typer.Option(
        help="Mean strength in the prior for training. It plays the part of DPO's beta: the data "
        "give the shape, this gives the scale.",
        rich_help_panel=_MODEL,
    ),
]
MeasurementError = Annotated[
    bool,
    typer.Option(
        "--measurement-error",
        help="Rewards are estimates. With several rewards: take how far they disagree for the "
        "error of their mean, and integrate the true differences out (errors in variables). "
        "attenuation.csv says what ignoring the error does.",
        rich_help_panel=_MODEL,
    ),
]
Method = Annotated[
    Literal["auto", "importance", "nuts", "latent", "laplace", "svi"],
    typer.Option(help="Way to the posterior; auto chooses and says so.", rich_help_panel=_MODEL),
]
Draws = Annotated[
    int, typer.Option(min=50, help="Posterior draws of each chain.", rich_help_panel=_MODEL)
]
Warmup = Annotated[
    int, typer.Option(min=50, help="Draws to warm up each chain.", rich_help_panel=_MODEL)
]
Chains = Annotated[int, typer.Option(min=1, help="Chains.", rich_help_panel=_MODEL)]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Causal language model to train: a folder, or a name on the Hugging Face hub. "
        "Without it, the analysis and its report are all there is.",
        rich_help_panel=_TRAINING,
    ),
]
Steps = Annotated[int, typer.Option(min=1, help="Optimiser steps.", rich_help_panel=_TRAINING)]
Mode = Annotated[
    Literal["joint", "anchored", "frozen"],
    typer.Option(
        "--strength-mode",
        help="What training may change: mean and spread of the strength, the spread alone, or "
        "neither.",
        rich_help_panel=_TRAINING,
    ),
]
StrengthGroup = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN",
        help="Column of the pairs of which each level gets a strength of its own, shrunk to the "
        "common one; it starts where the fit has it if the column is one of its groups.",
        rich_help_panel=_TRAINING,
    ),
]
LearningRate = Annotated[
    float, typer.Option(help="Learning rate of the language model.", rich_help_panel=_TRAINING)
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Pairs in a step on each device.", rich_help_panel=_TRAINING)
]
Title = Annotated[str | None, typer.Option(help="Title of the report.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace results made with other settings, and all that followed from them; write "
        "into a folder that holds other files (they are left alone).",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, is_eager=True, help="No progress bars.")
]
Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_debug, is_eager=True, help="Show the traceback of an error."),
]


# -- the commands ----------------------------------------------------------------------------


@app.command()
def run(
    context: typer.Context,
    pairs: Pairs,
    out: Out,
    chooser: Chooser = None,
    group: Groups = None,
    attribute: Attributes = None,
    weights: Weights = None,
    ties: Ties = "raise",
    identical: Identical = "raise",
    duplicates: Duplicates = "raise",
    reward: RewardNames = None,
    reward_setting: RewardSettings = None,
    family: Family = "lognormal",
    mean_strength: MeanStrength = 0.1,
    measurement_error: MeasurementError = False,
    method: Method = "auto",
    draws: Draws = 500,
    warmup: Warmup = 300,
    chains: Chains = 4,
    model: Model = None,
    steps: Steps = 200,
    strength_mode: Mode = "joint",
    strength_group: StrengthGroup = None,
    learning_rate: LearningRate = 1e-6,
    batch_size: BatchSize = 8,
    title: Title = None,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Go the whole way: score, fit, train (with --model), compare, report.

    The same command again keeps the stages that are finished, so an interrupted run goes on
    where it stopped.

    Example: `prefstrength run votes.jsonl --out runs/votes --chooser annotator --group region`
    """
    fitted = pipeline.run(
        pairs,
        out,
        _reading(chooser, group, attribute, weights, ties, identical, duplicates),
        reward=reward or "auto",
        reward_settings=read_settings(reward_setting or ()),
        family=family,
        mean_strength=mean_strength,
        measurement_error=measurement_error,
        model=model,
        steps=steps,
        title=title,
        seed=seed,
        sampler={"method": method, "draws": draws, "warmup": warmup, "chains": chains},
        training=_training(strength_mode, strength_group, learning_rate, batch_size),
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    _conclude(fitted, out)


@app.command()
def score(
    context: typer.Context,
    pairs: Pairs,
    out: Out,
    chooser: Chooser = None,
    group: Groups = None,
    attribute: Attributes = None,
    weights: Weights = None,
    ties: Ties = "raise",
    identical: Identical = "raise",
    duplicates: Duplicates = "raise",
    reward: RewardNames = None,
    reward_setting: RewardSettings = None,
    divide: Divide = False,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
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
        _reading(chooser, group, attribute, weights, ties, identical, duplicates),
        reward or "auto",
        reward_settings=read_settings(reward_setting or ()),
        divide=divide,
        seed=seed,
        force=force,
        progress=not (quiet or silent),
        tell=None if silent else context.obj,
    )
    if silent:
        return
    typer.echo(repr(pipeline.choices(out)))
    _say_reward(out)


@app.command()
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
    reward: RewardNames = None,
    reward_setting: RewardSettings = None,
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
    debug: Debug = False,
) -> None:
    """Score pairs of any number, part by part, into Parquet files in DIR.

    For files too large to be read at once. Every row is written with reward_chosen and
    reward_rejected, in units of the sd of all differences; reward.json says how they came about.
    The reward text learns from all pairs together, and is left to `prefstrength score`. The same
    command again, after an interruption, goes on where it was.
    """
    context.obj.scoring = True
    silent = divide and context.obj.one_of_several()
    about = pipeline.score_parquet(
        files,
        out,
        reward or "auto",
        reward_settings=read_settings(reward_setting or ()),
        divide=divide,
        backend="ray" if ray else None,
        workers=workers,
        force=force,
        progress=not (quiet or silent),
        tell=context.obj,
    )
    if silent:
        return
    typer.echo(f"Pairs: {about['pairs']:,} in {about['parts']:,} files")
    _say_agreement(about)
    typer.echo(f"Next: prefstrength compress {out} --out RESULTS")


@app.command()
def compress(
    context: typer.Context,
    files: Files,
    out: Out,
    chooser: Chooser = None,
    group: Groups = None,
    weights: Weights = None,
    scale: Scale = None,
    ray: OnRay = False,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Sum up scored pairs of any number in one pass, and keep the sums in DIR/compressed.

    For files too large to be read at once, with reward_chosen and reward_rejected. The stage fit
    goes on from the sums; texts are not read, and the report needs the pairs themselves. The same
    command again, after an interruption, goes on with the next file.
    """
    compressed = pipeline.compress(
        files,
        out,
        chooser=chooser,
        groups=group or (),
        weights=weights,
        scale=scale,
        backend="ray" if ray else None,
        force=force,
        progress=not quiet,
    )
    typer.echo(repr(compressed))
    typer.echo(f"Next: prefstrength fit {out}")


@app.command()
def fit(
    context: typer.Context,
    folder: Folder,
    family: Family = "lognormal",
    mean_strength: MeanStrength = 0.1,
    measurement_error: MeasurementError = False,
    method: Method = "auto",
    draws: Draws = 500,
    warmup: Warmup = 300,
    chains: Chains = 4,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit the mixed logit to the scored pairs, and the model with one strength for all.

    Writes fit/, fit_point_mass/, models.csv (which of the two predicts better),
    heterogeneity.csv (the verdicts), strength_prior.json (for training) and, with
    --measurement-error, attenuation.csv.
    """
    fitted = pipeline.fit(
        folder,
        family,
        mean_strength=mean_strength,
        measurement_error=measurement_error,
        method=method,
        draws=draws,
        warmup=warmup,
        chains=chains,
        seed=seed,
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    _conclude(fitted, folder)


@app.command()
def train(
    context: typer.Context,
    folder: Folder,
    model: Annotated[
        str,
        typer.Option(metavar="PATH", help="Causal language model: a folder, or a name on the hub."),
    ],
    steps: Steps = 200,
    strength_mode: Mode = "joint",
    strength_group: StrengthGroup = None,
    learning_rate: LearningRate = 1e-6,
    batch_size: BatchSize = 8,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a language model with MixDPO under the prior that the fit gave.

    Writes train/: the model, its tokenizer, and learned_strength.json. Needs the extra mixdpo.
    For long training, call prefstrength.mixdpo from your own script with strength_prior.json,
    and bring its learned_strength.json back with `prefstrength compare DIR --learned FILE`.
    """
    learned = pipeline.train(
        folder,
        model,
        steps=steps,
        options=_training(strength_mode, strength_group, learning_rate, batch_size),
        seed=seed,
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    typer.echo(f"Learned strength: {learned.mixing()!r} after {learned.steps} steps")
    for level, group in learned.groups.items():
        law = learned.of_group(level).mixing()
        typer.echo(f"  {learned.group_column}={level}: {law!r} ({group.pairs} pairs)")
    typer.echo(f"Model: {folder / 'train'}")


@app.command()
def compare(
    context: typer.Context,
    folder: Folder,
    learned: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A learned_strength.json from elsewhere; that in DIR by default."
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Hold the strength that training learned against what the data support.

    Writes comparison.csv. The two live on different scales, so the learned one is aligned first
    and the table says how.
    """
    comparison = pipeline.compare(folder, learned, tell=context.obj)
    typer.echo(repr(comparison))


@app.command()
def report(
    context: typer.Context,
    folder: Folder,
    title: Title = None,
    debug: Debug = False,
) -> None:
    """Write report.html, figures/, tables/ and provenance.json from the finished stages."""
    path = pipeline.report(folder, title=title, tell=context.obj)
    typer.echo(f"Report: {path}")


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")
    ] = Path("reports/demo"),
    choosers: Annotated[int, typer.Option(min=6, help="How many choosers to simulate.")] = 240,
    situations: Annotated[int, typer.Option(min=1, help="Choices of each chooser.")] = 24,
    steps: Steps = 150,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="The analysis alone; needs no torch.")
    ] = False,
    draws: Draws = 500,
    warmup: Warmup = 300,
    chains: Chains = 4,
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Go the whole way on simulated data, with the truth drawn into the figures.

    Two invented datasets, one whose choosers prefer equally strongly and one whose do not, three
    regions, rewards learned from the texts, a language model small enough for a laptop. No
    download, a few minutes.
    """
    from prefstrength.demo import run_demo

    fitted = run_demo(
        out,
        choosers=choosers,
        situations=situations,
        steps=steps,
        train=not no_train,
        seed=seed,
        sampler={"draws": draws, "warmup": warmup, "chains": chains},
        force=force,
        progress=not quiet,
        tell=context.obj,
    )
    _conclude(fitted, out)


@app.command()
def plan(
    context: typer.Context,
    mean: Annotated[
        float, typer.Option(help="Mean strength, per unit of the reward difference.")
    ] = 1.0,
    cv: Annotated[
        float,
        typer.Option(min=0.0, help="Its sd/mean over choosers; 0 for one strength for all."),
    ] = 0.8,
    family: Family = "lognormal",
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
    debug: Debug = False,
) -> None:
    """Say how many annotations it takes to tell how much strength varies. Needs no data.

    Example: `prefstrength plan --cv 0.5 --situations 1 --situations 10`
    """
    from prefstrength.planning import law_of_mean, plan

    law = law_of_mean(pipeline.FAMILIES[family], mean, cv)
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
    _out.print(shown)
    for row in needed.to_dict("records"):
        number = row["annotations"]
        takes = f"{number:,.0f} annotations" if number < float("inf") else "more than anyone has"
        each = "choice" if row["situations"] == 1 else "choices"
        typer.echo(f"With {row['situations']} {each} each, {probability:.0%} takes {takes}.")
    typer.echo(f"The right verdict would be: {planned.designs[0].verdict}.")
    if out is not None:
        from prefstrength.plots._style import detached

        out.mkdir(parents=True, exist_ok=True)
        planned.table.to_csv(out / "plan.csv", index=False)
        needed.to_csv(out / "needed.csv", index=False)
        with detached():
            planned.plot(probability=probability)[0].figure.savefig(out / "plan.png", dpi=200)
        typer.echo(f"Plan: {out}")


@app.command()
def calibrate(
    context: typer.Context,
    folder: Folder,
    family: Family = "lognormal",
    simulations: Annotated[int, typer.Option(min=20, help="Data sets to simulate.")] = 500,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Processes; all free cores by default.")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check the inference by simulation in the design of the scored pairs.

    Draws parameters from the prior, simulates choices among the same alternatives by the same
    choosers, fits, and looks whether the true values rank uniformly among posterior draws.
    Writes calibration/ with all simulations, table.csv and ranks.png; the same command again
    goes on where it was interrupted. Exit code 3 where the ranks are not uniform.
    """
    from prefstrength.plots._style import detached

    done = pipeline.calibrate(
        folder, family, simulations=simulations, cores=cores, seed=seed, progress=not quiet
    )
    where = folder / "calibration"
    done.table.to_csv(where / "table.csv", index=False)
    with detached():
        done.plot()[0].figure.savefig(where / "ranks.png", dpi=200)
    typer.echo(repr(done))
    typer.echo(f"Calibration: {where}")
    if not done.passed():
        raise typer.Exit(DOUBTFUL)


# -- what the commands share -----------------------------------------------------------------


def _reading(
    chooser: str | None,
    groups: list[str] | None,
    attributes: list[str] | None,
    weights: str | None,
    ties: str,
    identical: str,
    duplicates: str,
) -> pipeline.Reading:
    return pipeline.Reading(
        chooser=chooser,
        groups=tuple(groups or ()),
        attributes=tuple(attributes or ()),
        weights=weights,
        ties=ties,
        identical=identical,
        duplicates=duplicates,
    )


def _training(
    mode: str, group: str | None, learning_rate: float, batch_size: int
) -> dict[str, Any]:
    return {
        "strength_mode": mode,
        "learning_rate": learning_rate,
        "per_device_train_batch_size": batch_size,
        # The settings of runs without it stay what they were.
        **({} if group is None else {"strength_group_column": group}),
    }


def _say_reward(out: Path) -> None:
    if not (out / "choices.json").is_file():
        return  # compressed pairs, whose rewards came with them
    summary = pipeline.read_json(out / "choices.json")
    _say_agreement(summary.get("reward") or {})


def _say_agreement(reward: dict[str, Any]) -> None:
    agreement = reward.get("agreement")
    said = "" if agreement is None else f", higher for the chosen response in {agreement:.1%}"
    typer.echo(f"Reward: {reward.get('name', 'not recorded')}{said}")


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
    typer.echo(
        f"Errors in the rewards: accounted for, {said}. Their reliability is at most "
        f"{table['reliability'].iloc[0]:.2f}."
    )


def _conclude(fitted: Any, out: Path) -> None:
    """Print the verdicts and where the files are; exit with 3 where a diagnostic failed."""
    import pandas as pd

    table = pd.read_csv(out / "heterogeneity.csv", keep_default_na=False)
    shown = Table(
        title="Strength of preference, per sd of reward difference (90% intervals)", box=None
    )
    for heading in ("", "mean", "sd/mean", "verdict"):
        # Long names of levels fold, so that the numbers stay whole.
        number = heading in ("mean", "sd/mean")
        shown.add_column(heading, no_wrap=number, overflow="fold", min_width=21 if number else None)
    for row in table.to_dict("records"):
        label = f"{row['factor']}: {row['level']}" if row["level"] else str(row["factor"])
        shown.add_row(
            escape(label),
            *(_interval(row, quantity) for quantity in ("mean", "cv")),
            str(row["verdict"]),
        )
    _out.print(shown)
    _say_reward(out)
    _say_attenuation(out)
    if (out / "report.html").is_file() and pipeline.finished(out, "report"):
        typer.echo(f"Report: {out / 'report.html'}")
    if (out / "strength_prior.json").is_file():
        typer.echo(f"Prior for training: {out / 'strength_prior.json'}")

    checks = fitted.check()
    if checks.passed:
        return
    failed = checks.table[~checks.table["passed"].astype(bool)]
    for row in failed.to_dict("records"):
        of = f" of {row['variable']}" if row["variable"] else ""
        typer.echo(
            f"Diagnostic failed: {row['check']}{of} is {row['value']:.4g}, "
            f"threshold {row['threshold']:.4g}. {row['meaning']} {row['advice']}",
            err=True,
        )
    raise typer.Exit(DOUBTFUL)


def _interval(row: dict[str, Any], quantity: str) -> str:
    middle, low, high = (float(row[f"{quantity}{part}"]) for part in ("", "_low", "_high"))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    run_app: Callable[..., Any] = app
    run_app(args=arguments, prog_name="prefstrength")


if __name__ == "__main__":
    main()
