"""A recipe: what is trained on what, how, and where it goes."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from prefstrength._shared.words import nearest, shown
from prefstrength.errors import InputError
from prefstrength.rewards.hf import HFReward

__all__ = ["SFT", "WIN_RATE", "DataSettings", "Recipe", "WinRateSettings", "read_recipe"]

#: Stage of supervised fine-tuning; the other stages are named by the recipe.
SFT = "sft"
#: Section of win rates, and the folders that hold them; no name of a stage.
WIN_RATE = "win_rate"

#: What a recipe may hold; ``training`` goes into every stage, ``preference`` into every method.
_KEYS = (
    "extends", "model", "output_dir", "batch_size", "seed", "data", "training", "sft",
    "preference", "methods", WIN_RATE,
)  # fmt: skip
#: Arguments of a trainer that follow from the rest of the recipe.
_DERIVED = {
    "output_dir": "output_dir of the recipe and the stage's name",
    "seed": "seed of the recipe",
    "gradient_accumulation_steps": "batch_size of the recipe and the number of processes",
    "group_columns": "data.groups",
}


@dataclass(frozen=True)
class DataSettings:
    """Which pairs are trained on, and which are held out.

    Parameters
    ----------
    source : str
        A name of :func:`~prefstrength.load_pairs` (``prism``, ``hh``, ``helpsteer3``), a file of
        pairs as :func:`~prefstrength.read_pairs` reads it, or a dataset on the hub.
    path : str, optional
        Local folder of a named source.
    revision : str, optional
        Commit, tag or branch on the hub.
    split : str
        What is trained on.
    eval_split : str, optional
        What is evaluated on, where the source has it; without one ``eval_fraction``.
    eval_fraction : float
        Part of the prompts, or of the levels of ``split_by``, that is held out, in (0, 1).
    split_by : str, optional
        Column of which no level is on both sides, such as a conversation; by default the prompt.
        The evaluation's intervals count its levels. Not with ``eval_split``, which is taken as it
        is.
    groups : tuple of str
        Columns to report by; an empty cell becomes the level ``not stated``.
    conversational : bool
        Lists of messages from a named source, instead of plain texts.
    options : dict
        Options of a named source, such as ``subset`` of ``hh``.
    """

    source: str
    path: str | None = None
    revision: str | None = None
    split: str = "train"
    eval_split: str | None = None
    eval_fraction: float = 0.1
    split_by: str | None = None
    groups: tuple[str, ...] = ()
    conversational: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("source", "path", "revision", "split", "eval_split", "split_by"):
            value, needed = getattr(self, name), name in ("source", "split")
            if not isinstance(value, str) and (needed or value is not None):
                raise InputError(
                    f"Expected data.{name} as a text; got {shown(value)}. Quote it where YAML "
                    "reads something else."
                )
        if self.eval_split is not None and self.split_by is not None:
            raise InputError(
                f"Expected either data.eval_split or data.split_by; got {self.eval_split!r} and "
                f"{self.split_by!r}. The source's own split is taken as it is. Set one to null."
            )
        groups = [self.groups] if isinstance(self.groups, str) else self.groups
        names = isinstance(groups, list | tuple) and all(isinstance(each, str) for each in groups)
        if not names:
            raise InputError(
                f"Expected data.groups as names of columns; got {shown(groups)}. Write "
                "[region, age]."
            )
        object.__setattr__(self, "groups", tuple(groups))
        object.__setattr__(self, "eval_fraction", _number(self.eval_fraction))
        part = self.eval_fraction
        if not isinstance(part, float) or not 0 < part < 1:
            raise InputError(
                f"Expected data.eval_fraction as a number between 0 and 1; got {shown(part)}. 0.1 "
                "holds out one pair in ten."
            )
        if not isinstance(self.conversational, bool):
            raise InputError(
                f"Expected data.conversational as true or false; got {shown(self.conversational)}."
            )
        if not isinstance(self.options, Mapping):
            raise InputError(
                "Expected data.options as names and values, such as {subset: helpful-base}; got "
                f"{shown(self.options)}."
            )


@dataclass(frozen=True)
class WinRateSettings:
    """Who judges the methods' models, against whom, and on how many held-out prompts.

    Parameters
    ----------
    judge : dict
        Arguments of :class:`~prefstrength.HFReward`; in a recipe also its ``name_or_path`` alone.
        Code that comes with a model is not run.
    opponent : str
        A stage; it is not judged itself.
    prompts : int
        At most so many, drawn from the held-out pairs by the recipe's seed.
    max_new_tokens, temperature
        As of :func:`~prefstrength.mixdpo.win_rate`.

    Examples
    --------
    >>> WinRateSettings(judge={"name_or_path": "path/to/judge", "batch_size": 4}).reward.batch_size
    4
    """

    judge: Mapping[str, Any]
    opponent: str = SFT
    prompts: int = 512
    max_new_tokens: int = 256
    temperature: float = 0.0

    def __post_init__(self) -> None:
        for name in ("prompts", "max_new_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(
                    f"Expected win_rate.{name} as a whole number >= 1; got {shown(value)}."
                )
        object.__setattr__(self, "temperature", _number(self.temperature))
        heat = self.temperature
        if not isinstance(heat, float) or not 0 <= heat < math.inf:
            raise InputError(
                "Expected win_rate.temperature as a number, 0 (greedy) or more; got "
                f"{shown(heat)}. Write 0.7."
            )
        if not isinstance(self.judge, Mapping):
            raise InputError(
                "Expected win_rate.judge as the name or path of a reward model, or as arguments of "
                f"HFReward; got {shown(self.judge)}."
            )
        allowed = [each.name for each in fields(HFReward) if each.name != "trust_remote_code"]
        _known(self.judge, allowed, "win_rate.judge")
        if not self.judge.get("name_or_path"):
            raise InputError(
                "Expected win_rate.judge.name_or_path; got none. Name a reward model, or turn win "
                "rates off: win_rate=null."
            )
        try:
            _ = self.reward
        except TypeError as error:  # a value of the wrong kind
            raise InputError(f"win_rate.judge cannot be taken. {error}") from error

    @property
    def reward(self) -> HFReward:
        """The judge; it loads when it scores."""
        return HFReward(**self.judge)


@dataclass(frozen=True)
class Recipe:
    """What :func:`read_recipe` reads.

    Parameters
    ----------
    name : str
        Of the file, without its ending.
    model : str
        Model to start from: a name on the hub, or a folder.
    output_dir : Path
        A folder for each stage goes here.
    batch_size : int
        Pairs (in supervised fine-tuning texts) of an optimizer step, over all processes.
    seed : int
        Of the split, the order of the pairs, and dropout.
    data : DataSettings
    sft : dict or None
        Arguments of ``trl.SFTConfig``; ``None`` leaves the stage out.
    methods : dict
        Name of a method to its arguments of ``mixdpo.MixDPOConfig``.
    win_rate : WinRateSettings, optional
        How the methods' models are judged; ``None`` leaves that out.
    changes : tuple of str
        What was laid over the file, as it was given.
    """

    name: str
    model: str
    output_dir: Path
    batch_size: int
    seed: int
    data: DataSettings
    sft: Mapping[str, Any] | None
    methods: Mapping[str, Mapping[str, Any]]
    win_rate: WinRateSettings | None = None
    changes: tuple[str, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in the order in which they run."""
        return (*(() if self.sft is None else (SFT,)), *self.methods)


def read_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from YAML.

    Parameters
    ----------
    path : path
        The file. With ``extends: <other file>``, relative to it, what it says is laid over the
        other, key by key.
    overrides : sequence of str
        ``key=value`` to lay over the file, the key with dots into sections, the value as in YAML:
        ``sft.max_steps=10``, ``methods.mixdpo-gamma.strength=strength_prior.json``,
        ``sft=null``, ``win_rate=null``.

    Returns
    -------
    Recipe
        Arguments of the trainers are as written: the trainers' own classes check them.

    Raises
    ------
    InputError
        If the file is missing or no mapping, or a key is missing, unknown, or given in a section
        although it follows from the rest.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine.yaml"
    >>> _ = path.write_text(
    ...     "{model: path/to/model, output_dir: runs/mine, batch_size: 8, sft: null, "
    ...     "data: {source: pairs.parquet}, preference: {beta: 0.1}, methods: {dpo: {}}}"
    ... )
    >>> recipe = read_recipe(path, ["preference.learning_rate=1e-6"])
    >>> recipe.stages, recipe.methods["dpo"]
    (('dpo',), {'beta': 0.1, 'learning_rate': '1e-6'})
    """
    path = Path(path)
    content = _read(path)
    for override in overrides:
        change = _override(override)
        if "extends" in change:
            raise InputError(
                f"Expected extends in a recipe's file alone; got {override!r}. Write a file that "
                "extends the other."
            )
        content = _laid_over(content, change)
    _known(content, _KEYS, f"recipe {path.name}")
    for name in ("model", "output_dir", "batch_size", "data", "methods"):
        if content.get(name) is None:
            raise InputError(f"Expected {name} in recipe {path}; got none. Add it.")
    for name in ("model", "output_dir"):
        if not isinstance(content[name], str):
            raise InputError(
                f"Expected {name} in recipe {path} as a text; got {shown(content[name])}. Quote it "
                "where YAML reads something else."
            )
    training = _section(content, "training", path)
    shared = _section(content, "preference", path)
    given = _section(content, "methods", path)
    methods = {}
    for name in given:
        plain = name and all(c.isalnum() or c in "-_." for c in name)
        if not plain or name.startswith((".", "-")) or name in (SFT, WIN_RATE):
            raise InputError(
                f"Expected names of methods as letters, digits and -_. (not . or - first), other "
                f"than {SFT!r} and {WIN_RATE!r}; got {name!r} in recipe {path}. Rename it."
            )
        methods[name] = _method({**training, **shared, **_section(given, name, path)})
    if not methods:
        raise InputError(
            f"Expected a method in recipe {path}; got none. Add methods: {{dpo: {{}}}}."
        )
    sft = content.get(SFT)
    sft = None if sft is None else {**training, **_section(content, SFT, path)}
    for stage, arguments in {SFT: sft or {}, **methods}.items():
        for name in _DERIVED.keys() & arguments.keys():
            raise InputError(
                f"Expected no {name} for stage {stage} in recipe {path}; got "
                f"{shown(arguments[name])}. It follows from {_DERIVED[name]}. Take it out."
            )
    batch_size, seed = content["batch_size"], content.get("seed", 0)
    for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(
                f"Expected {name} as a whole number >= {least} in recipe {path}; got {value!r}."
            )
    recipe = Recipe(
        name=path.stem,
        model=content["model"],
        output_dir=Path(content["output_dir"]),
        batch_size=batch_size,
        seed=seed,
        data=_data(_section(content, "data", path), path),
        sft=sft,
        methods=methods,
        win_rate=None if content.get(WIN_RATE) is None else _win_rate(content, path),
        changes=tuple(overrides),
    )
    if recipe.win_rate is not None and recipe.win_rate.opponent not in recipe.stages:
        raise InputError(
            f"Expected win_rate.opponent as a stage of recipe {path} ({', '.join(recipe.stages)}); "
            f"got {shown(recipe.win_rate.opponent)}. Name one, or turn win rates off: "
            "win_rate=null."
        )
    return recipe


def _number(value: Any) -> Any:
    """A number of a recipe, which YAML may have read as a text (``5e-2``); else what it was."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


class _Loader(yaml.SafeLoader):
    """YAML in which nothing is said twice; the second would quietly win."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no name, which is said later
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} a second time", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node


def _method(arguments: dict[str, Any]) -> dict[str, Any]:
    """A prior holds mean and spread: it takes the place of what the recipe says of them."""
    if arguments.get("strength") is not None:
        for name in ("beta", "strength_start_cv"):
            arguments.pop(name, None)
    return arguments


def _data(section: dict[str, Any], path: Path) -> DataSettings:
    _known(section, [each.name for each in fields(DataSettings)], f"data of recipe {path.name}")
    if not section.get("source"):
        raise InputError(
            f"Expected data.source in recipe {path}; got none. Name prism, hh, helpsteer3, a file "
            "of pairs or a dataset on the hub."
        )
    return DataSettings(**section)


def _win_rate(content: Mapping[str, Any], path: Path) -> WinRateSettings:
    section = _section(content, WIN_RATE, path)
    known = [each.name for each in fields(WinRateSettings)]
    _known(section, known, f"{WIN_RATE} of recipe {path.name}")
    if section.get("judge") is None:
        raise InputError(
            f"Expected win_rate.judge in recipe {path}; got none. Name a reward model, or turn win "
            "rates off: win_rate=null."
        )
    judge = section.pop("judge")
    judge = {"name_or_path": judge} if isinstance(judge, str) else judge
    return WinRateSettings(judge, **section)


def _read(path: Path, extended: tuple[Path, ...] = ()) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"Expected a recipe at {path}; got no file. Check the path.")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError) as error:  # no UTF-8, or no date of the calendar
        reason = " ".join(str(error).split())
        raise InputError(f"Expected YAML in {path}; got {reason}. Correct it.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"Expected names and values in recipe {path}; got {type(content).__name__}. "
            "Write model: ..., data: ... ."
        )
    other = content.pop("extends", None)
    if other is None:
        return content
    below = path.parent / str(other)
    if below.resolve() in (each.resolve() for each in (*extended, path)):
        raise InputError(f"Expected {path} to extend another recipe; got itself. Take it out.")
    return _laid_over(_read(below, (*extended, path)), content)


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    names = key.split(".")
    if not equals or not all(names):
        raise InputError(
            f"Expected what changes the recipe as key=value; got {text!r}. Write, for example, "
            "sft.max_steps=10."
        )
    try:
        content = yaml.load(value, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        problem = getattr(error, "problem", None) or str(error) or "no YAML"
        raise InputError(
            f"Expected a value as in YAML; got {text!r} ({problem}). Quote or correct it."
        ) from error
    for name in reversed(names):
        content = {name: content}
    return content


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(merged.get(name), Mapping) and isinstance(value, Mapping)
        merged[name] = _laid_over(merged[name], value) if both else value
    return merged


def _section(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    section = content.get(name)
    section = {} if section is None else section
    if not isinstance(section, Mapping):
        raise InputError(
            f"Expected names and values under {name} in recipe {path}; got {shown(section)}. "
            "Indent them below it."
        )
    return {str(key): value for key, value in section.items()}


def _known(content: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in content:
        if name not in names:
            close = nearest(str(name), names)
            hint = f"Did you mean {close!r}?" if close else "Take it out."
            raise InputError(f"Expected {', '.join(names)} in {where}; got {shown(name)}. {hint}")
