"""Options of the commands: made from the fields of the stages' options, or declared here once."""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, replace
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from prefstrength.pipeline.options import Reading, Rewarding, Training

# -- options from classes ------------------------------------------------------------------------


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Make one option of every field, where a parameter is a class of options.

    With ``Annotated[Reading, "chooser"]`` of the named fields alone. Their defaults are those of
    the parameter's default, else of the class. Every command gets the option ``--debug``.

    Examples
    --------
    >>> @with_options
    ... def command(reading: Annotated[Reading, "chooser", "ties"]) -> None:
    ...     print(reading.chooser, reading.ties)
    >>> list(inspect.signature(command).parameters)
    ['chooser', 'ties', 'debug']
    >>> command(chooser="annotator", ties="drop")
    annotator drop
    """
    signature = inspect.signature(function)
    taken: dict[str, tuple[Any, list[Field[Any]]]] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameter = parameter.replace(kind=_KIND)
        cls, *only = get_args(parameter.annotation) or (parameter.annotation,)
        if not hasattr(cls, "panel"):
            parameters.append(parameter)
            continue
        default = cls() if parameter.default is parameter.empty else parameter.default
        wanted = [each for each in fields(cls) if not only or each.name in only]
        wanted = [each for each in wanted if "typed" in each.metadata]
        taken[name] = default, wanted
        parameters += [_parameter(default, each) for each in wanted]
    parameters.append(inspect.Parameter("debug", _KIND, default=False, annotation=Debug))

    @wraps(function)
    def flat(debug: bool = False, **given: Any) -> None:
        for name, (default, wanted) in taken.items():
            typed = {each.name: given.pop(each.name) for each in wanted}
            read = {each.name: each.metadata["typed"].get("read", _as_is) for each in wanted}
            # An option of which there may be several is None or empty where none is given.
            found = {key: read[key](value) for key, value in typed.items() if value not in _NONE}
            given[name] = replace(default, **found)
        function(**given)

    flat.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {each.name: each.annotation for each in parameters}
    return flat


_NONE: tuple[Any, ...] = (None, [])
_KIND = inspect.Parameter.KEYWORD_ONLY


def _as_is(value: Any) -> Any:
    return value


def _parameter(options: Any, field: Field[Any]) -> inspect.Parameter:
    """A field as typer wants to have an option declared."""
    typed = {name: value for name, value in field.metadata["typed"].items() if name != "read"}
    flag = typed.pop("flag", f"--{field.name.replace('_', '-')}")
    choices = typed.pop("choices", ())
    kind: Any = get_type_hints(type(options))[field.name]
    default = getattr(options, field.name)
    if choices:
        kind = Literal[(default, *(each for each in choices if each != default))]
    elif get_origin(kind) in (tuple, Mapping):
        kind, default = list[str] | None, None
    elif isinstance(kind, UnionType) and len(set(get_args(kind)) - {NoneType}) > 1:
        kind = str | None  # of which the field makes one of its kinds
    said = {"help": field.metadata["meaning"], "rich_help_panel": options.panel}
    annotation = Annotated[kind, typer.Option(flag, **said, **typed)]
    return inspect.Parameter(field.name, _KIND, default=default, annotation=annotation)


def _debug(context: typer.Context, value: bool) -> None:
    context.obj.debug = value


def _quiet(value: bool) -> bool:
    if value:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm loads, so for other libraries' bars too
    return value


# -- options that no class has -------------------------------------------------------------------

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
        rich_help_panel=Reading.panel,
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
Divide = Annotated[
    bool,
    typer.Option(
        "--divide",
        help="Divide the scoring between the processes that torchrun or accelerate launch has "
        "started: `torchrun --nproc-per-node 8 -m prefstrength score PAIRS --divide`.",
        rich_help_panel=Rewarding.panel,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Causal language model to train: a folder, or a name on the Hugging Face hub. "
        "Without it, the analysis and its report are all there is.",
        rich_help_panel=Training.panel,
    ),
]
Title = Annotated[str | None, typer.Option(help="Title of the report.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same numbers.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace results made with other settings or edited since, and all that followed from "
        "them; write into a folder that holds other files (they are left alone).",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_quiet, is_eager=True, help="No progress bars.")
]
Debug = Annotated[
    bool,
    typer.Option("--debug", callback=_debug, is_eager=True, help="Show the traceback of an error."),
]
