r"""Responses: what a chooser was seen to answer, given the utilities of what was shown.

A response says how probable each answer is. It knows nothing of how strength is spread over
choosers: utilities come in, log probabilities go out, in NumPy, JAX and torch alike. What it has to
be told beside utilities are a few numbers that all choosers share (cut points, the width of a tie).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefstrength.choice.arrays import Array, Library

__all__ = ["PairResponse", "Response", "Shared"]


@dataclass(frozen=True)
class Shared:
    """A number that all choosers share, with its prior.

    Parameters
    ----------
    name : str
        Name of the variable.
    prior : str
        Family of its prior as NumPyro calls it: ``"Normal"``, ``"HalfNormal"``, ``"LogNormal"`` or
        ``"Beta"``.
    arguments : tuple of float
        Arguments of the prior.
    off : float
        The value at which it does nothing.
    meaning : str
        In words, for summaries.
    """

    name: str
    prior: str
    arguments: tuple[float, ...]
    off: float
    meaning: str


class Response(ABC):
    """The kind of answer that was observed; use one of the leaves."""

    #: Answers in the order of their codes, in words.
    answers: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the kind of response, such as ``"Graded"``."""
        return type(self).__name__

    @property
    def shared(self) -> tuple[Shared, ...]:
        """Numbers that all choosers share."""
        return ()


class PairResponse(Response):
    r"""A response to two alternatives that hangs on the difference v of their utilities alone.

    Swapping the two turns v into -v and the answers around: the answer with code k becomes the one
    with code ``len(answers) - 1 - k``.
    """

    @abstractmethod
    def log_probabilities(
        self, lib: Library, v: Array, shared: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        """Log probability of every answer, each shaped like ``v``.

        Parameters
        ----------
        lib : Library
        v : Array
            Utility of the first alternative minus that of the second, in natural-log units.
        shared : mapping
            Values of :attr:`shared` by name.

        Returns
        -------
        tuple of Array
            In the order of :attr:`answers`, the most in favour of the first alternative first.
        """
