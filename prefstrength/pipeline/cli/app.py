"""The command ``prefstrength`` itself: its help, exit codes and error handling."""

from collections.abc import Callable

import typer

from prefstrength.pipeline.cli.messages import Group
from prefstrength.pipeline.cli.options import with_options

__all__ = ["app", "command"]

_EPILOG = (
    "Exit codes: 0 done; 1 unexpected error (--debug shows where); 2 a mistake in the file or "
    "the arguments, named in one sentence, and nothing written; 3 done, but a diagnostic failed; "
    "130 interrupted: the same command goes on with the stage it was in."
)


app = typer.Typer(
    cls=Group,
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


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command, with the options of its parameters."""
    app.command()(with_options(function))
    return function
