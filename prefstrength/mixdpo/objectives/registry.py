"""Objectives by name, and the way for one from outside to be taken by its own."""

import functools
from collections.abc import Callable
from dataclasses import fields, make_dataclass
from typing import Any

from prefstrength.errors import InputError
from prefstrength.mixdpo.objectives.base import Argument, Objective
from prefstrength.mixdpo.objectives.beta_dpo import BetaDPO
from prefstrength.mixdpo.objectives.capo import CaPO
from prefstrength.mixdpo.objectives.mixdpo import MixDPO
from prefstrength.mixdpo.objectives.odpo import ODPO
from prefstrength.mixdpo.objectives.smpo import SmPO

__all__ = ["OBJECTIVES", "own_argument", "register", "takes_objectives", "unregister"]

#: Name -> objective.
OBJECTIVES: dict[str, Objective] = {
    each.name: each for each in (MixDPO(), ODPO(), BetaDPO(), SmPO(), CaPO())
}

_OURS = tuple(OBJECTIVES)
# Dataclasses that take the arguments of all objectives.
_CONFIGS: list[Any] = []


def register(objective: Objective) -> None:
    """Let ``MixDPOConfig`` take an objective from outside by its name, with its own arguments.

    They become fields, which YAML and command lines can give too. An objective that was registered
    under the same name is replaced.

    Raises
    ------
    InputError
        If the name is that of one of the package's objectives, or an argument has the name of
        another one.
    """
    if objective.name in _OURS:
        raise InputError(
            f"Expected an objective under a name of its own; got {objective.name!r}, which is the "
            "package's. Give it another name."
        )
    if objective.name in OBJECTIVES:
        unregister(objective.name)
    for config in _CONFIGS:
        _give(config, objective)
    OBJECTIVES[objective.name] = objective


def unregister(name: str) -> None:
    """Forget an objective from outside."""
    objective = OBJECTIVES.pop(name)
    for config in _CONFIGS:
        for each in objective.arguments:
            del config.__dataclass_fields__[each.name], config.__annotations__[each.name]


def own_argument(name: str) -> Any:
    """Field of a dataclass for an argument of an objective."""
    return _arguments()[name].field()


def takes_objectives[Config: type](config: Config) -> Config:
    """Class decorator: a dataclass has a field for every argument of every objective."""
    made: Callable[..., None] = config.__init__  # type: ignore[misc]
    written = {each.name for each in fields(config)}

    @functools.wraps(made)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        for name, each in _arguments().items():
            if name not in written:
                setattr(self, name, kwargs.pop(name, each.default))
        made(self, *args, **kwargs)

    config.__init__ = __init__  # type: ignore[misc]
    _CONFIGS.append(config)
    for objective in OBJECTIVES.values():
        _give(config, objective)
    return config


def _arguments() -> dict[str, Argument]:
    """Own arguments of all objectives by name."""
    return {a.name: a for each in OBJECTIVES.values() for a in each.arguments}


def _give(config: Any, objective: Objective) -> None:
    """Give a dataclass a field for every argument of an objective that it was not written with."""
    given = [each.name for each in objective.arguments if each.name in config.__dataclass_fields__]
    if given and objective.name not in _OURS:
        raise InputError(
            f"Expected arguments of objective {objective.name!r} under names of their own; got "
            f"{' and '.join(given)}, as {config.__name__} has already. Rename them."
        )
    lacking = [each for each in objective.arguments if each.name not in given]
    own = make_dataclass("Own", [(each.name, type(each.default), each.field()) for each in lacking])
    for each in fields(own):
        config.__dataclass_fields__[each.name] = each
        config.__annotations__[each.name] = each.type
