"""Messages of the command line: progress, warnings, errors and exit codes."""

import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from prefstrength._shared.words import printable
from prefstrength.errors import DataWarning, InputError, SamplingWarning
from prefstrength.pipeline.cli.advice import as_options, options_of
from prefstrength.rewards.engine.team import launched

#: Everything went well; a defect or the system; the user's mistake; results that failed a
#: diagnostic; stopped with Ctrl-C.
OK, UNEXPECTED, MISTAKE, DOUBTFUL, INTERRUPTED = 0, 1, 2, 3, 130
_err = Console(stderr=True)


def say(text: str, err: bool = False) -> None:
    """Print a line to stdout, or to stderr, in which other people's labels cannot steer."""
    typer.echo(printable(text), err=err)


class _Progress:
    """Tell of stages as they pass, and remember where we are for an interruption."""

    def __init__(self, group: TyperGroup, context: Any) -> None:
        self.group, self.context = group, context
        self.stage: str | None = None
        self.finished: list[str] = []
        self.debug = False
        self.choices: Any = None
        self.speaks = True
        self.noted: set[str] = set()

    def __call__(self, stage: str, event: str, detail: Any) -> None:
        if event == "note":
            self.note(str(detail))
            return
        if event == "choices":
            self.choices = detail
            return
        if event == "starts":
            self.stage = stage
            _err.print(f"[bold]{stage}[/bold] ...")
            return
        if event == "done":
            _err.print(f"[bold]{stage}[/bold] done in {detail:.1f} s")
        elif event == "kept":
            _err.print(f"[bold]{stage}[/bold] kept from before: nothing changed")
        else:
            _err.print(f"[bold]{stage}[/bold] skipped: {escape(printable(str(detail)))}")
        self.stage = None
        if event != "skipped":
            self.finished.append(stage)

    def note(self, text: str) -> None:
        """Say something that is worth knowing, once."""
        if self.speaks and text not in self.noted:
            self.noted.add(text)
            said = escape(printable(self.as_options(text)))
            _err.print(f"[yellow]Note:[/yellow] {said}", highlight=False, soft_wrap=True)

    def as_options(self, text: str) -> str:
        """A library's sentence with options in the place of arguments.

        Those of the command and of ``score``, by which the file is read for later stages too.
        """
        return as_options(text, options_of(self.group, "score", self.context.invoked_subcommand))

    def one_of_several(self) -> bool:
        """Whether another process says what there is to say."""
        self.speaks = launched().rank == 0
        return not self.speaks


class Group(TyperGroup):
    """Turn whatever goes wrong in a command into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        progress = ctx.obj = _Progress(self, ctx)

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
    say(text, err=True)
    raise typer.Exit(code)


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
        say(warnings.formatwarning(message, category, filename, lineno), err=True)
    else:
        library = next((p for p in reversed(Path(filename).parts) if p in sys.modules), "Python")
        text = printable(" ".join(str(message).split()))
        _err.print(f"[dim]{library}: {escape(text)}[/dim]", highlight=False, soft_wrap=True)
