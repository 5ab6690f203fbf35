"""The commands and their options, against a stored list: what somebody types stays what it is."""

import inspect
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.main import get_command
from typer.models import ArgumentInfo, OptionInfo

from prefstrength.pipeline.cli import app

STORED = Path(__file__).with_name("options.json")


def described(command: str, parameter: Any, annotation: Any) -> dict[str, Any]:
    """All of a parameter that its user meets; what it has not is left out."""
    kind, info = get_args(annotation)
    assert isinstance(info, ArgumentInfo | OptionInfo), command
    found = {
        "typed": parameter.opts if isinstance(info, OptionInfo) else [],
        "metavar": parameter.metavar,
        "type": list(get_args(kind)) if get_origin(kind) is Literal else str(kind),
        "least": info.min,
        "most": info.max,
        "required": parameter.required,
        "default": None if parameter.default is None else str(parameter.default),
        "several": bool(getattr(parameter, "multiple", parameter.nargs != 1)),
        "flag": getattr(parameter, "is_flag", False),
        "eager": parameter.is_eager,
        "panel": info.rich_help_panel,
        "help": parameter.help,
    }
    return {k: v for k, v in found.items() if v is not None and v is not False and v != []}


def all_options() -> dict[str, Any]:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = {}
    for registered in app.registered_commands:
        assert registered.callback is not None
        name = registered.callback.__name__.replace("_", "-")
        kinds = inspect.signature(registered.callback, eval_str=True).parameters
        found[name] = {
            "help": commands[name].help,
            "parameters": [
                described(name, one, kinds[one.name].annotation) for one in commands[name].params
            ],
        }
    return found


def test_options_are_those_that_are_stored() -> None:
    """Where one is to change, write the list anew: ``python -m tests.pipeline.test_options``."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(all_options()))
    assert sorted(now) == sorted(stored)
    for command, about in stored.items():
        assert now[command]["help"] == about["help"], command
        names = [one.get("typed") for one in about["parameters"]]
        assert [one.get("typed") for one in now[command]["parameters"]] == names, command
        for one, other in zip(now[command]["parameters"], about["parameters"], strict=True):
            assert one == other, command


def as_text(options: dict[str, Any]) -> str:
    """JSON with a line for each parameter."""
    commands = []
    for name, about in options.items():
        lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in about["parameters"])
        head = f'{json.dumps(name)}: {{\n"help": {json.dumps(about["help"], ensure_ascii=False)}'
        commands.append(f'{head},\n"parameters": [\n{lines}\n]}}')
    return "{\n" + ",\n".join(commands) + "\n}\n"


if __name__ == "__main__":
    STORED.write_text(as_text(all_options()), encoding="utf-8")
