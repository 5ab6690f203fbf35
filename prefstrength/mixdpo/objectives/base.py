"""An objective of preference training: its loss, columns, own arguments and paper."""

import abc
import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from prefstrength.choice.mixing.base import Mixing
from prefstrength.errors import InputError

__all__ = ["REWARDS", "Argument", "Batch", "Found", "Objective", "Running", "check_one_of"]

#: Columns of the rewards of both responses.
REWARDS = ("reward_chosen", "reward_rejected")

#: Loss of every pair (pair,), and numbers to be logged as ``objective/<name>``.
Found = tuple[torch.Tensor, dict[str, float]]


def check_one_of(name: str, value: Any, known: Collection[str]) -> None:
    """Stop at a word that is none of those which an argument may be."""
    if value not in known:
        raise InputError(
            f"Expected {name} to be one of {', '.join(known)}; got {value!r}. Check the spelling."
        )


@dataclass(frozen=True)
class Argument:
    """An argument that one objective has for itself: a field of ``MixDPOConfig``.

    A number is at least ``least``, or greater than ``above``; a text is one of ``choices``. ``doc``
    is a sentence without its full stop.

    Examples
    --------
    >>> Argument("odpo_alpha", 1.0, "Scale of ODPO's offset", least=0).check(-1.0)
    Traceback (most recent call last):
    prefstrength.errors.InputError: Expected odpo_alpha >= 0; got -1.0. Scale of ODPO's offset. ...
    """

    name: str
    default: Any
    doc: str
    least: float | None = None
    above: float | None = None
    choices: tuple[str, ...] | None = None

    @property
    def bound(self) -> str:
        """Such as ``">= 0"``; empty where there is none."""
        if self.above is not None:
            return f"> {self.above:g}"
        return "" if self.least is None else f">= {self.least:g}"

    def field(self) -> Any:
        """Field of a dataclass, with what a command line says of it."""
        said = {"help": f"{self.doc}{', ' if self.bound else ''}{self.bound}."}
        words = {} if self.choices is None else {"choices": self.choices}
        return dataclasses.field(default=self.default, metadata={**said, **words})

    def check(self, value: Any) -> None:
        """Stop at a value that it cannot have."""
        if self.choices is not None:
            check_one_of(self.name, value, self.choices)
        elif not isinstance(self.default, str | bool) and not (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
        ):
            raise InputError(
                f"Expected {self.name} {self.bound or 'to be finite'}; got {value}. {self.doc}. "
                f"Leave it out for {self.default}."
            )


@dataclass
class Running:
    """What an objective keeps from batch to batch, and what it may ask of all processes.

    Parameters
    ----------
    state : dict
        Tensors on the CPU by name, the same in all processes; saved with every checkpoint.
    mean : callable
        Mean of a number over all processes.
    process : int
        Number of this process.
    """

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    mean: Callable[[torch.Tensor], torch.Tensor] = lambda value: value
    process: int = 0

    def generator(self, device: torch.device) -> torch.Generator:
        """Draws of this process alone: trainers seed torch's own generator alike in all.

        Its seed comes from that one, whose state is saved with every checkpoint.
        """
        seed = int(torch.randint(2**62, ()).item()) + self.process
        return torch.Generator(device).manual_seed(seed)


@dataclass(frozen=True)
class Batch:
    """What an objective sees.

    Parameters
    ----------
    delta : torch.Tensor, shape (pair,)
        Log-ratio differences, in nats.
    columns : mapping
        Columns of numbers by name, each (pair,).
    mixing : Mixing
        Mixing distribution of strength, with gradients; parameters of shape () or (pair,).
    arguments : MixDPOConfig
    running : Running
    learning : bool
        False in evaluation.
    """

    delta: torch.Tensor
    columns: Mapping[str, torch.Tensor]
    mixing: Mixing
    arguments: Any
    running: Running
    learning: bool

    @property
    def reward_difference(self) -> torch.Tensor:
        """Reward of the chosen minus that of the rejected response."""
        return self.columns["reward_chosen"] - self.columns["reward_rejected"]

    def share(self, of_pairs: torch.Tensor) -> float:
        """Share of the pairs, over all processes."""
        return self.running.mean(of_pairs.float().mean()).item()


class Objective(abc.ABC):
    """What is minimised: a function of Δ and the mixing distribution, by name.

    Attributes
    ----------
    name : str
        ``MixDPOConfig(objective=...)`` takes it.
    paper : str
        arXiv number.
    columns : tuple of str
        Columns of numbers that every pair must have, in evaluation too.
    arguments : tuple of Argument
    regression : bool
        Whether it is no likelihood of the choice, so that strength cannot be learned.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    arguments: ClassVar[tuple[Argument, ...]] = ()
    regression: ClassVar[bool] = False

    @abc.abstractmethod
    def loss(self, batch: Batch) -> Found:
        """Loss of every pair, and numbers to be logged."""

    def check(self, args: Any) -> None:
        """Stop at own arguments that cannot be, whichever objective is chosen."""
        for each in self.arguments:
            each.check(getattr(args, each.name))

    def settings(self, args: Any) -> dict[str, Any]:
        """Own arguments on which the loss depends: a resumed run must have the same."""
        return {each.name: getattr(args, each.name) for each in self.arguments}
