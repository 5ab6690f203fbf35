"""The command line: ``prefstrength run|score|fit|train|compare|report|demo|plan|calibrate``."""

from collections.abc import Callable
from typing import Any

from prefstrength.pipeline.cli import commands, study_commands  # they register themselves
from prefstrength.pipeline.cli.app import app

__all__ = ["app", "commands", "main", "study_commands"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    run_app: Callable[..., Any] = app
    run_app(args=arguments, prog_name="prefstrength")
