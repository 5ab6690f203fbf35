"""What the stages can be told, stated once; the command line makes its options of it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from inspect import formatannotation
from typing import Any, ClassVar, Literal, dataclass_transform

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength._shared.words import listed
from prefstrength.choice.learned_parts import MODES
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.expressions import mixing_of
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.choice.mixing.zero_mass import ZeroMass
from prefstrength.choice.utility import UTILITIES
from prefstrength.data.reading import choices_of
from prefstrength.data.texts import Texts
from prefstrength.errors import InputError
from prefstrength.inference.methods import METHODS
from prefstrength.models.mixed_logit import POSITIONS
from prefstrength.rewards import HFReward
from prefstrength.rewards.named import kinds_explained, read_settings, settings_types

__all__ = ["FAMILIES", "Reading", "Rewarding", "Sampler", "Specification", "Training", "option"]

#: Mixing distributions whose strength varies, as the command line names them.
FAMILIES = {name.lower(): name for name, law in MIXINGS.items() if law.varies} | {
    law.family.lower(): law.expression
    for law in (ZeroMass(LogNormal()), FiniteMixture([LogNormal(), LogNormal()]))
}


def option(meaning: str, **typed: Any) -> Any:
    """A field that is an option of the command line.

    Parameters
    ----------
    meaning : str
        What is said of it in the help of the command line and in the docstring of its class.
    **typed
        ``default`` or ``default_factory`` of the field; ``flag`` where the option has another
        name; ``choices``; ``read``, which makes something of what was typed; what else
        :class:`typer.Option` takes.
    """
    made = {name: typed.pop(name) for name in ("default", "default_factory") if name in typed}
    return field(**made, metadata={"meaning": meaning, "typed": typed})


@dataclass_transform(frozen_default=True, field_specifiers=(option, field))
def options[C](cls: type[C]) -> type[C]:
    """A frozen dataclass whose docstring says what its fields mean."""
    made = dataclass(frozen=True)(cls)
    lines = [
        f"{each.name} : {formatannotation(each.type)}\n    {each.metadata['meaning']}"
        for each in fields(made)  # type: ignore[arg-type]
    ]
    made.__doc__ = "\n".join([f"{cls.__doc__}\n", "Parameters", "----------", *lines])
    return made


#: Grades in order, how many there are, or either as text.
Scale = tuple[Any, ...] | list[Any] | int | str | None

_LATER = ("grade", "grades", "tie", "first", "pair", "chooser_weights", "rank", "situation",
          "alternative")  # fmt: skip


def read_scale(grades: Scale) -> Scale:
    """Grades as they were typed: a number, numbers or words in order.

    Examples
    --------
    >>> read_scale("5"), read_scale("-1,0,1"), read_scale("worse, same, better")
    (5, (-1, 0, 1), ('worse', 'same', 'better'))
    """
    if not isinstance(grades, str):
        return tuple(grades) if isinstance(grades, list) else grades
    parts = [part.strip() for part in grades.split(",")]
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        return tuple(parts)
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


@options
class Reading:
    """How a table is read as choices; the keywords of ``prefstrength.read_choices``."""

    panel: ClassVar[str] = "How the file is read"

    chooser: str | None = option(
        "Column that says who decided. Repeated choices of one chooser are what identifies "
        "heterogeneity best; without it, only the curvature of the choice curve speaks.",
        default=None,
        metavar="COLUMN",
    )
    groups: tuple[str, ...] = option(
        "Column of subgroups or datasets that may differ in mean and spread of the strength; "
        "repeat for several.",
        default=(),
        flag="--group",
        metavar="COLUMN",
    )
    attributes: tuple[str, ...] = option(
        "A further attribute to hold constant, such as length, in the columns NAME_chosen and "
        "NAME_rejected; repeat for several. Its coefficient is shared by all choosers.",
        default=(),
        flag="--attribute",
        metavar="NAME",
    )
    weights: str | None = option(
        "Column of weights: how many choices a row stands for.", default=None, metavar="COLUMN"
    )
    ties: Literal["raise", "drop", "split"] = option(
        "Pairs without a preference (column tie): stop and say so, leave them out, or count each "
        "as half a choice either way.",
        default="raise",
    )
    identical: Literal["raise", "drop"] = option("Pairs of identical responses.", default="raise")
    duplicates: Literal["raise", "drop", "keep"] = option(
        "The same choice of the same chooser again.", default="raise"
    )
    grade: str | None = option(
        "Column that says how much better the chosen response is: whole numbers that rise in its "
        "favour (-3 to 3), or words in the order of --grades. The middle of an odd number of "
        "grades is a tie.",
        default=None,
        metavar="COLUMN",
    )
    grades: Scale = option(
        "All grades in order, the least in favour of the chosen response first, separated by "
        "commas; a number L alone stands for 1 to L.",
        default=None,
        metavar="A,B,...",
        read=read_scale,
    )
    tie: str | None = option(
        "Column of ties (true or false) that are to be answers of their own.",
        default=None,
        metavar="COLUMN",
    )
    first: str | None = option(
        "Column that says which response was shown first, chosen or rejected.",
        default=None,
        metavar="COLUMN",
    )
    pair: str | None = option(
        "Column that is equal where the same two responses were judged.",
        default=None,
        metavar="COLUMN",
    )
    chooser_weights: str | None = option(
        "Column of weights of choosers: how often a person counts with all they chose.",
        default=None,
        metavar="COLUMN",
    )
    rank: str | None = option(
        "Column of ranks, 1 for the best, of a file of rankings with one row for each response "
        "and its reward in a column reward; with --situation and --alternative.",
        default=None,
        metavar="COLUMN",
    )
    situation: str | None = option(
        "With --rank: which ranking a row belongs to.", default=None, metavar="COLUMN"
    )
    alternative: str | None = option(
        "With --rank: which response a row describes.", default=None, metavar="COLUMN"
    )

    def __post_init__(self) -> None:
        for name in ("groups", "attributes"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        object.__setattr__(self, "grades", read_scale(self.grades))

    def settings(self) -> dict[str, Any]:
        """Return what is told, by name; of what came later only what is given."""
        # The settings of runs without answers of other kinds stay what they were.
        return {k: v for k, v in asdict(self).items() if k not in _LATER or v is not None}

    @property
    def answers(self) -> list[str]:
        """Columns that say more than which of two was chosen."""
        return [name for name in ("grade", "tie", "rank") if getattr(self, name) is not None]

    def choices(self, frame: pd.DataFrame, texts: Texts | None = None) -> "ps.Choices":
        """Return the :class:`~prefstrength.Choices` of ``frame``, reward first.

        ``texts`` are those of the frame, where they were read and checked before.
        """
        named = {**asdict(self), "attributes": ("reward", *self.attributes)}
        return choices_of(frame, named, texts)


@options
class Rewarding:
    """What gives the responses their rewards; several rewards are an ensemble."""

    panel: ClassVar[str] = "Reward"

    reward: tuple[str, ...] = option(
        f"{kinds_explained()} auto, the default: columns where they exist, else text. Repeat for "
        "an ensemble, which shows how large the error of a reward is.",
        default=("auto",),
        metavar="auto|columns|text|hf:NAME|...",
    )
    reward_settings: Mapping[str, str] = option(
        "A setting of the rewards, for all that have it; repeat for several. Of hf:NAME: "
        f"{', '.join(settings_types(HFReward))}. Such as batch_tokens=32768, dtype=bfloat16, "
        "head=0, heads=reward:0,safety:1. Well-known models come with their makers' settings. "
        "trust_remote_code=true runs code that comes with a model: read it first.",
        default_factory=dict,
        flag="--reward-setting",
        metavar="NAME=VALUE",
        read=read_settings,
    )

    def __post_init__(self) -> None:
        names = (self.reward,) if isinstance(self.reward, str) else tuple(self.reward)
        object.__setattr__(self, "reward", names)


@options
class Specification:
    """Which model is fitted, and the scale of the prior that training gets from it."""

    panel: ClassVar[str] = "Model"

    family: str = option(
        "Mixing distribution of strength over choosers. zeromass: some choosers are "
        "indifferent, the others LogNormal; finitemixture: two kinds of choosers, each LogNormal.",
        default="lognormal",
        choices=tuple(FAMILIES),
    )
    attribute: str = option(
        "Attribute whose coefficient is the strength: what varies between choosers, and what "
        "verdicts, report and prior are about. One of --attribute, in the place of the reward, "
        "whose coefficient is then shared by all.",
        default="reward",
        flag="--strength-of",
        metavar="NAME",
    )
    mean_strength: float = option(
        "Mean strength in the prior for training. It plays the part of DPO's beta: the data "
        "give the shape, this gives the scale.",
        default=0.1,
    )
    force_prior: bool = option(
        "Write a prior for training also where the choices support none: from single choices, or "
        "where some choosers prefer the lower reward.",
        default=False,
    )
    measurement_error: bool = option(
        "Rewards are estimates. With several rewards: take how far they disagree for the error "
        "of their mean, and integrate the true differences out (errors in variables). "
        "attenuation.csv says what ignoring the error does.",
        default=False,
    )
    lapse: bool = option(
        "A share of everybody's answers is given at random, whatever the rewards.", default=False
    )
    utility: str = option(
        "How utility grows with the size of a difference in reward, alike for all choosers.",
        default="linear",
        choices=tuple(UTILITIES),
    )
    position: str | None = option(
        "Whether the response that was shown first (--first) is preferred for that: by all alike, "
        "or by each chooser's own preference.",
        default=None,
        choices=POSITIONS,
    )
    pair_effects: bool = option(
        "The same pair, judged by several choosers (--pair), differs by more than its rewards say. "
        "Samples choosers and pairs, which takes minutes.",
        default=False,
    )

    def __post_init__(self) -> None:
        if self.family.lower() not in FAMILIES:
            raise InputError(
                f"Expected a family out of {', '.join(FAMILIES)}; got {self.family!r}. "
                "The model with one strength for all is fitted beside it in any case."
            )
        if not (np.isfinite(self.mean_strength) and self.mean_strength > 0):
            raise InputError(
                f"Expected a mean strength above 0; got {self.mean_strength}. "
                "It plays the part of DPO's beta; 0.1 is the usual value."
            )

        bends = self.bends()
        if self.measurement_error and bends:
            raise InputError(
                f"Errors in the rewards are accounted for without {listed(bends)}; got both. "
                "Leave one of the two out."
            )

    @property
    def mixing(self) -> Mixing:
        """Mixing distribution of strength, to be inferred."""
        return mixing_of(FAMILIES[self.family.lower()])

    def coefficients(self, others: Sequence[str], strength: Mixing) -> dict[str, Mixing]:
        """Return a model's coefficients: the strength, and one for all of every other attribute."""
        names = ("reward", *others)
        if self.attribute not in names:
            raise InputError(
                f"Expected the strength of one of {listed(names)}; got {self.attribute!r}. Name "
                "it among the further attributes too, or leave `attribute=...` out."
            )
        return {name: strength if name == self.attribute else PointMass() for name in names}

    def bends(self) -> dict[str, Any]:
        """Return what is asked for beside strength, as arguments of ``MixedLogit``."""
        plain = {each.name: each.default for each in fields(type(self))}
        asked = ("lapse", "utility", "position", "pair_effects")
        return {name: getattr(self, name) for name in asked if getattr(self, name) != plain[name]}


@options
class Sampler:
    """How the posterior is found; the arguments of ``MixedLogit.fit``."""

    panel: ClassVar[str] = "Model"

    method: str = option(
        "Way to the posterior; auto chooses and says so.", default="auto", choices=METHODS
    )
    draws: int = option("Posterior draws of each chain.", default=500, min=50)
    warmup: int = option("Draws to warm up each chain.", default=300, min=50)
    chains: int = option("Chains.", default=4, min=1)


@options
class Training:
    """How a language model is trained; apart from ``steps`` arguments of ``MixDPOConfig``."""

    panel: ClassVar[str] = "Training"

    steps: int = option("Optimiser steps.", default=200, min=1)
    strength_mode: str = option(
        "What training may change: mean and spread of the strength, the spread alone, or neither.",
        default="joint",
        choices=MODES,
    )
    strength_group_column: str | None = option(
        "Column of the pairs of which each level gets a strength of its own, shrunk to the common "
        "one; it starts where the fit has it if the column is one of its groups.",
        default=None,
        flag="--strength-group",
        metavar="COLUMN",
    )
    learning_rate: float = option("Learning rate of the language model.", default=1e-6)
    per_device_train_batch_size: int = option(
        "Pairs in a step on each device.", default=8, flag="--batch-size", min=1
    )
    more: Mapping[str, Any] = field(
        default_factory=dict, metadata={"meaning": "Further arguments of ``MixDPOConfig``."}
    )

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"Expected at least one training step; got {self.steps}.")

    def arguments(self) -> dict[str, Any]:
        """Return what ``MixDPOConfig`` is told apart from the number of steps."""
        given = {name: value for name, value in vars(self).items() if name not in ("steps", "more")}
        if self.strength_group_column is None:  # settings of runs without it stay what they were
            del given["strength_group_column"]
        return {**given, **self.more}
