"""What a library's sentence advises, said as it is typed on the command line."""

import ast
from collections.abc import Mapping
from typing import Any

from typer.core import TyperGroup

from prefstrength.rewards import HFReward, JudgeReward
from prefstrength.rewards.named import settings_types

__all__ = ["as_options", "options_of"]

#: Settings of rewards by which sentences name them.
_SETTINGS = {*settings_types(HFReward), *settings_types(JudgeReward)}
#: Arguments of which the option has another name.
_OTHERWISE_NAMED = {"backend": "ray", "weight": "weights"}


def options_of(group: TyperGroup, *commands: str | None) -> dict[str, Any]:
    """Options of some commands by name; of those named alike the last."""
    found = [group.commands[name] for name in commands if name]
    return {str(each.name): each for command in found for each in command.params}


def as_options(text: str, options: Mapping[str, Any]) -> str:
    """Say arguments in a library's sentence (`ties='drop'`) as options (``--ties drop``).

    They stand between backticks. What is not among the options stays as it is.
    """
    parts = text.split("`")
    for place in range(1, len(parts) - 1, 2):
        parts[place] = _typed(parts[place], options) or f"`{parts[place]}`"
    unclosed = "`" if len(parts) % 2 == 0 else ""
    return "".join(parts[:-1]) + unclosed + parts[-1]


def _typed(code: str, options: Mapping[str, Any]) -> str | None:
    """What is typed in the place of arguments, or of a call with some; None if it cannot be."""
    try:
        call: Any = ast.parse(f"f({code})", mode="eval").body
    except SyntaxError:
        return None
    if not call.keywords and [type(each) for each in call.args] == [ast.Call]:
        call = call.args[0]
    typed = [_option(str(each.arg), each.value, options) for each in call.keywords]
    return None if not typed or None in typed else " ".join(map(str, typed))


def _option(name: str, value: ast.expr, options: Mapping[str, Any]) -> str | None:
    """An option with its value; the name alone where the value is left open."""
    option = options.get(_OTHERWISE_NAMED.get(name, name))
    try:
        given = ast.literal_eval(value)
    except ValueError:  # an expression, such as the name of a variable
        given = ...
    if option is None:
        if name not in _SETTINGS or "reward_settings" not in options:
            return None
        return f"--reward-setting {name}={'...' if given is ... else _as_text(given)}"
    typed = str(option.opts[0])
    if given is None or given is False:
        return f"no {typed}"
    if given is ... or getattr(option, "is_flag", False):
        return typed
    several = given if isinstance(given, list | tuple) else [given]
    return " ".join(f"{typed} {one}" for one in several)


def _as_text(value: object) -> str:
    """A value in Python (``{'a': 0, 'b': 1}``) as it is typed (``a:0,b:1``)."""
    if isinstance(value, dict):
        return ",".join(f"{name}:{_as_text(one)}" for name, one in value.items())
    if isinstance(value, tuple | list):
        return ",".join(map(_as_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
