"""Messages of the command line: progress, warnings, errors and exit codes."""

import re
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from prefstrength.errors import DataWarning, InputError, SamplingWarning
from prefstrength.rewards import HFReward
from prefstrength.rewards.engine.team import launched
from prefstrength.rewards.named import settings_types

#: Settings of rewards by which sentences name them.
_SETTINGS = "|".join([*settings_types(HFReward), "labels"])

#: Everything went well; a defect or the system; the user's mistake; results that failed a
#: diagnostic; stopped with Ctrl-C.
OK, UNEXPECTED, MISTAKE, DOUBTFUL, INTERRUPTED = 0, 1, 2, 3, 130
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

    def __call__(self, stage: str, event: str, detail: str | float | None) -> None:
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


class Group(TyperGroup):
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
