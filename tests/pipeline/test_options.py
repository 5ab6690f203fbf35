"""The commands and their options, against a stored list: what somebody types stays what it is."""

import ast
import dataclasses
import inspect
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from typer.main import get_command
from typer.models import ArgumentInfo, OptionInfo

from prefstrength import pipeline
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.errors import InputError
from prefstrength.inference.methods import METHODS
from prefstrength.pipeline import (
    FAMILIES,
    Reading,
    Rewarding,
    Sampler,
    Specification,
    Training,
)
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


def test_the_docstrings_say_what_the_help_says() -> None:
    for cls in (Reading, Rewarding, Sampler, Specification, Training):
        assert cls.__doc__ is not None
        for each in dataclasses.fields(cls):
            assert f"{each.name} : " in cls.__doc__
            assert each.metadata["meaning"] in cls.__doc__


def test_choices_are_those_of_the_registries() -> None:
    families = [name for name, family in MIXINGS.items() if family.varies]
    made_of_others = {"zeromass", "finitemixture"}
    assert set(FAMILIES) == {name.lower() for name in families} | made_of_others
    for name in families:
        for typed in (name, name.lower()):
            assert type(Specification(family=typed).mixing) is MIXINGS[name]
    assert all(not Specification(family=name).mixing.known for name in made_of_others)
    typed = {one["typed"][0]: one["type"] for one in all_options()["fit"]["parameters"][1:]}
    assert set(typed["--method"]) == set(METHODS)
    assert set(typed["--family"]) == set(FAMILIES)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Specification(family="PointMass"), "Expected a family out of .*; got 'PointMass'"),
        (lambda: Specification(mean_strength=math.nan), "mean strength above 0; got nan"),
        (
            lambda: Specification(lapse=True, measurement_error=True),
            "without .*lapse",
        ),
        (lambda: Training(steps=0), "at least one training step; got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        wrong()


def test_one_name_is_a_sequence_of_one() -> None:
    assert Reading(groups="region").groups == ("region",)  # type: ignore[arg-type]
    assert Rewarding(reward="text").reward == ("text",)  # type: ignore[arg-type]


def test_the_stages_say_what_they_take_and_return() -> None:
    """``Any`` tells a reader nothing; a field of options alone has to be declared with it."""
    folder = Path(pipeline.__file__).parent
    vague = [
        f"{path.name} {function.name}"
        for path in folder.glob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef) and function.name != "option"
        for given in [function.returns, *(each.annotation for each in ast.walk(function.args)
                                          if isinstance(each, ast.arg))]
        if given is not None and ast.unparse(given) == "Any"
    ]  # fmt: skip
    assert vague == []


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
