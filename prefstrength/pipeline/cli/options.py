"""Options of the commands, each declared once."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from prefstrength.rewards import HFReward
from prefstrength.rewards.named import kinds_explained, settings_types


def _debug(context: typer.Context, value: bool) -> None:
    context.obj.debug = value


def _quiet(value: bool) -> bool:
    if value:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm loads, so for other libraries' bars too
    return value


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
        help=f"{kinds_explained()} auto, the default: columns where they exist, else text. Repeat "
        "for an ensemble, which shows how large the error of a reward is.",
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
        "started: `torchrun --nproc-per-node 8 -m prefstrength score PAIRS --divide`.",
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
