"""Rewards by the names and the settings that the command line gives as text."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib.metadata import entry_points
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from prefstrength._shared.words import nearest
from prefstrength.errors import InputError
from prefstrength.rewards.columns import ColumnReward
from prefstrength.rewards.hf import HFReward
from prefstrength.rewards.implicit import ImplicitReward
from prefstrength.rewards.judge import JudgeReward
from prefstrength.rewards.model_reward import ModelReward
from prefstrength.rewards.registry import REGISTRY, settings_of
from prefstrength.rewards.text import TextReward

#: Fields that are no settings although they have defaults: the name says them, or an option does.
_SAID = {"chosen", "rejected", "seed"}


class Kind(NamedTuple):
    """A kind of reward: how it is named, its class, and what it is."""

    usage: str
    reward: type[Any]
    about: str


#: Kinds by the word that a name begins with.
KINDS: dict[str, Kind] = {}


def register_kind(usage: str, reward: type[Any], about: str) -> None:
    """Let the command line take a reward: ``--reward KIND:NAME``.

    A package whose rewards ``prefstrength`` should find by itself names the module that calls this
    as an entry point of the group ``prefstrength.rewards``, under the name of the kind.

    Parameters
    ----------
    usage : str
        How it is named: the kind, and behind a colon a word for each field of the class that has
        no default, with commas between.
    reward : type
        A dataclass with the method ``score_pairs``, such as a :class:`ModelReward`. Its fields
        with defaults are what ``--reward-setting`` sets.
    about : str
        What it is, for the help of the command line.
    """
    kind = re.split(r"\W", usage)[0]
    if kind in KINDS and KINDS[kind].reward.__name__ != reward.__name__:
        raise InputError(
            f"A kind of reward expects a word of its own; got {kind!r} for {reward.__name__}, "
            f"which is {KINDS[kind].reward.__name__}'s. Choose another."
        )
    KINDS[kind] = Kind(usage, reward, about)


register_kind(
    "columns, columns:NAME",
    ColumnReward,
    "reward_chosen and reward_rejected (columns:NAME for NAME_chosen and NAME_rejected)",
)
register_kind(
    "text", TextReward, "a model of the words, fitted here and cross-fitted by prompt; no download"
)
register_kind("hf:NAME", HFReward, "a Hugging Face reward model, by name or folder")
register_kind(
    "judge:NAME", JudgeReward, "a language model that compares both responses, in both orders"
)
register_kind(
    "implicit:POLICY,REFERENCE",
    ImplicitReward,
    "a policy trained by DPO against the model it started from",
)


def kinds_explained() -> str:
    """What each kind is, for the help of the command line."""
    return " ".join(f"{kind.usage.split(', ')[0]}: {kind.about}." for kind in KINDS.values())


@dataclass(frozen=True)
class NamedReward:
    """A reward and how it was named.

    Attributes
    ----------
    kind : str
        What the name begins with, such as columns, text or hf.
    reward : Reward
        The reward itself.
    registered : dict
        Settings that came from :func:`registered_rewards`; empty for most.
    """

    kind: str
    reward: Any
    registered: dict[str, Any] = field(default_factory=dict)

    @property
    def from_model(self) -> bool:
        """Whether a model gives the scores, which are then kept as they come."""
        return bool(getattr(self.reward, "scores_responses", True))

    @property
    def reads_texts(self) -> bool:
        """Whether it is known to score prompts and responses."""
        return isinstance(self.reward, ModelReward | TextReward)

    def attributes(self) -> tuple[str, ...]:
        """What it gives numbers for: ``reward``, or the outputs of a model with several."""
        reward = self.reward
        return reward.attributes() if isinstance(reward, ModelReward) else ("reward",)


def named_rewards(
    names: Sequence[str],
    columns: Iterable[str],
    *,
    seed: int,
    settings: Mapping[str, str],
) -> list[NamedReward]:
    """Make the rewards that are named.

    Parameters
    ----------
    names : sequence of str
        ``"columns"``, ``"columns:NAME"``, ``"text"``, ``"hf:NAME"``, ``"judge:NAME"``,
        ``"implicit:POLICY,REFERENCE"``, what else :func:`register_kind` was told, or ``"auto"``.
    columns : iterable of str
        Columns of the pairs, by which ``"auto"`` goes.
    seed : int
        Of the text reward.
    settings : mapping of str to str
        Fields of the rewards' classes as text; each goes to all rewards that have it, in place of
        what :func:`registered_rewards` says of a model.

    Returns
    -------
    list of NamedReward

    Raises
    ------
    InputError
        For a name or a setting that is none, a value of another type, the same reward twice, and
        what the rewards themselves refuse.

    Examples
    --------
    >>> settings = {"batch_tokens": "4096", "heads": "helpfulness:0,safety:1"}
    >>> (named,) = named_rewards(["hf:folder"], [], seed=0, settings=settings)
    >>> named.reward.batch_tokens, named.reward.heads
    (4096, {'helpfulness': 0, 'safety': 1})
    """
    columns = set(columns)
    split = [_split(name, columns) for name in names]
    _check_settings([kind for kind, _ in split], settings)
    found: list[NamedReward] = []
    for name, (kind, arguments) in zip(names, split, strict=True):
        made = _make(kind, arguments, seed, settings)
        if any(made.reward == before.reward for before in found):
            raise InputError(
                f"An ensemble expects different rewards; got {name!r} twice. What agrees with "
                "itself says nothing of its error. Leave one out."
            )
        found.append(made)
        if len(names) > 1 and getattr(made.reward, "heads", None) is not None:
            raise InputError(
                f"An ensemble expects rewards with one number each; got heads {settings['heads']} "
                f"for {name!r}. Choose one output: `head=0`."
            )
    return found


def _split(name: str, columns: set[str]) -> tuple[str, tuple[str, ...]]:
    """Kind of a reward, and what its class is called with."""
    if name == "auto":
        name = "columns" if {"reward_chosen", "reward_rejected"} <= columns else "text"
    kind, colon, rest = name.partition(":")
    if kind == "columns":
        column = rest or "reward"
        return kind, (f"{column}_chosen", f"{column}_rejected")
    if kind not in KINDS:
        for point in entry_points(group="prefstrength.rewards", name=kind):
            point.load()  # which registers it
    if kind in KINDS:
        names = _without_default(KINDS[kind].reward)
        given = tuple(rest.split(",", len(names) - 1)) if names or colon else ()
        if len(given) == len(names) and all(given):
            return kind, given
    raise InputError(
        f"Expected a reward out of auto, {', '.join(each.usage for each in KINDS.values())}; "
        f"got {name!r}. "
        "Use text where there is no reward model: it needs no download."
    )


def _make(
    kind: str, arguments: tuple[str, ...], seed: int, settings: Mapping[str, str]
) -> NamedReward:
    owner = KINDS[kind].reward
    types = settings_types(owner)
    given = {
        name: _value(owner, name, types[name], text)
        for name, text in settings.items()
        if name in types
    }
    registered: dict[str, Any] = {}
    if owner is HFReward and arguments[0] in REGISTRY:
        trusted = given.get("trust_remote_code", False)
        registered = settings_of(arguments[0], trust_remote_code=trusted)
        if "heads" in given:  # all outputs, in place of the one that is the reward
            registered.pop("head", None)
        registered = {name: value for name, value in registered.items() if name not in given}
    if "seed" in {each.name for each in fields(owner)}:
        given["seed"] = seed
    try:
        return NamedReward(kind, owner(*arguments, **registered, **given), registered)
    except TypeError as error:  # what code would get wrong, and here a text does
        raise InputError(str(error)) from error


# -- settings ------------------------------------------------------------------------------------


def settings_types(owner: type[Any]) -> dict[str, Any]:
    """Settings of a reward's class, and of which type each is.

    Examples
    --------
    >>> settings_types(HFReward)["sanitize"]
    <class 'bool'>
    """
    hints = get_type_hints(owner)
    said = _SAID.union(_without_default(owner))
    return {each.name: hints[each.name] for each in fields(owner) if each.name not in said}


def _without_default(owner: type[Any]) -> list[str]:
    """Fields of a class that must be said."""
    return [
        each.name
        for each in fields(owner)
        if each.default is MISSING and each.default_factory is MISSING
    ]


def _check_settings(kinds: Sequence[str], settings: Mapping[str, str]) -> None:
    """Refuse settings that no reward has."""
    owners = list(dict.fromkeys(KINDS[kind].reward for kind in kinds))
    known = list(dict.fromkeys(name for owner in owners for name in settings_types(owner)))
    for name in settings:
        if name in known:
            continue
        near = nearest(name, known)
        raise InputError(
            f"Expected a setting of {' or '.join(owner.__name__ for owner in owners)}: "
            f"{', '.join(known) or 'there are none'}; got {name!r}."
            + (f" Did you mean {near!r}?" if near else " Correct it, or leave it out.")
        )


def _value(owner: type[Any], name: str, hint: Any, text: str) -> Any:
    """A setting of the type that its class wants."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for kind, (_, read) in _READ.items():
        for one in kinds:
            if (get_origin(one) or one) is kind:
                try:
                    return read(one, text)
                except ValueError:
                    continue
    wanted = [_READ[get_origin(one) or one][0] for one in kinds]
    raise InputError(
        f"{owner.__name__} expects {' or '.join(wanted)} for the setting {name}; got {text!r}."
    )


def _none(kind: Any, text: str) -> None:
    if text != "none":
        raise ValueError


def _flag(kind: Any, text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _finite(kind: Any, text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _several(kind: Any, text: str) -> tuple[Any, ...]:
    """Values between commas."""
    return tuple(_value_of(get_args(kind)[0], part) for part in text.split(","))


def _by_name(kind: Any, text: str) -> dict[str, Any]:
    """Names with their values, ``a:0,b:1``."""
    parts = [part.rpartition(":") for part in text.split(",")]
    if not all(name and value for name, _, value in parts):
        raise ValueError
    return {name.strip(): _value_of(get_args(kind)[1], value) for name, _, value in parts}


def _value_of(kind: Any, text: str) -> Any:
    return _READ[kind][1](kind, text.strip())


#: Types of settings, the narrow ones first: what to call each, and how it is read.
_READ: dict[Any, tuple[str, Callable[[Any, str], Any]]] = {
    NoneType: ("none", _none),
    bool: ("true or false", _flag),
    int: ("a whole number", lambda kind, text: int(text)),
    float: ("a number", _finite),
    Mapping: ("names with their numbers, a:0,b:1,", _by_name),
    tuple: ("values with commas between", _several),
    Sequence: ("values with commas between", _several),
    str: ("a text", lambda kind, text: text),
}


def read_settings(texts: Iterable[str]) -> dict[str, str]:
    """Settings of options such as ``batch_tokens=4096``, by name.

    Examples
    --------
    >>> read_settings(["dtype=bfloat16", "device=cuda:1"])
    {'dtype': 'bfloat16', 'device': 'cuda:1'}
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not (name and equals and value):
            raise InputError(
                f"Expected settings of the reward as NAME=VALUE; got {text!r}. Such as "
                "`batch_tokens=4096` or `sanitize=False`."
            )
        if name in found:
            raise InputError(
                f"Expected each setting of the reward once; got {name} as {found[name]!r} and as "
                f"{value!r}. Leave one out."
            )
        found[name] = value
    return found
