"""What the stages can be told, stated once; the command line makes its options of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from inspect import formatannotation
from typing import Any, ClassVar, Literal, dataclass_transform

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength.choice.learned_parts import MODES
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.data.from_pairs import pairs_fields
from prefstrength.data.texts import Texts
from prefstrength.errors import InputError
from prefstrength.inference.methods import METHODS
from prefstrength.rewards import HFReward
from prefstrength.rewards.named import kinds_explained, read_settings, settings_types

__all__ = ["FAMILIES", "Reading", "Rewarding", "Sampler", "Specification", "Training", "option"]

#: Families whose strength varies, as the command line names them.
FAMILIES = {name.lower(): name for name, law in MIXINGS.items() if law.varies}


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


@options
class Reading:
    """How a table of pairs is read as choices; the keywords of ``Choices.from_pairs``."""

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

    def __post_init__(self) -> None:
        for name in ("groups", "attributes"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))

    def choices(self, frame: pd.DataFrame, texts: Texts | None = None) -> "ps.Choices":
        """Return the :class:`~prefstrength.Choices` of ``frame``, reward first.

        ``texts`` are those of the frame, where they were read and checked before.
        """
        settings = asdict(self)
        settings["attributes"] = ("reward", *self.attributes)
        return ps.Choices(**pairs_fields(frame, **settings, texts=texts))


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
        "Mixing distribution of strength over choosers.",
        default="lognormal",
        choices=tuple(FAMILIES),
    )
    mean_strength: float = option(
        "Mean strength in the prior for training. It plays the part of DPO's beta: the data "
        "give the shape, this gives the scale.",
        default=0.1,
    )
    measurement_error: bool = option(
        "Rewards are estimates. With several rewards: take how far they disagree for the error "
        "of their mean, and integrate the true differences out (errors in variables). "
        "attenuation.csv says what ignoring the error does.",
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

    @property
    def mixing(self) -> type[Mixing]:
        """Family of the mixing distribution of strength."""
        return MIXINGS[FAMILIES[self.family.lower()]]


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
