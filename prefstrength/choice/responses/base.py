r"""Responses: what a chooser was seen to answer, given the utilities of what was shown.

A response says how probable each answer is. It knows nothing of how strength is spread over
choosers: utilities come in, log probabilities go out, in NumPy, JAX and torch alike. What it has to
be told beside utilities are a few numbers that all choosers share (cut points, the width of a tie).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prefstrength.choice.arrays import Array, Library

__all__ = ["PairResponse", "Response", "SetResponse", "Shared"]


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


class Response:
    """The kind of answer that was observed; use one of the leaves."""

    #: Answers in the order of their codes, in words; none where the answer is the alternatives.
    answers: tuple[str, ...] = ()
    #: Which array of :class:`prefstrength.Choices` holds them: chosen, answer or ranks.
    answers_in: ClassVar[str]

    @property
    def name(self) -> str:
        """Name of the kind of response, such as ``"Graded"``."""
        return type(self).__name__

    @property
    def shared(self) -> tuple[Shared, ...]:
        """Numbers that all choosers share."""
        return ()

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, as JSON: ``type(response)(**settings)`` is the same again."""
        return {}

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, Response)
            and self.settings == other.settings
        )

    def __hash__(self) -> int:
        return hash((self.name, repr(self.settings)))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{self.name}({given})"


class PairResponse(Response, ABC):
    r"""A response to two alternatives that hangs on the difference v of their utilities alone.

    Swapping the two turns v into -v and the answers around: the answer with code k becomes the one
    with code ``len(answers) - 1 - k``.
    """

    answers_in = "answer"

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

    def log_likelihood(
        self, lib: Library, v: Array, answers: Array, shared: Mapping[str, Any]
    ) -> Array:
        """Log probability of the answers that were observed.

        Parameters
        ----------
        lib, v, shared
            As of :meth:`log_probabilities`.
        answers : array of int
            Codes of answers, which broadcast against ``v``.

        Returns
        -------
        Array, shaped like ``v``
        """
        first, *others = self.log_probabilities(lib, v, shared)
        for code, other in enumerate(others, 1):
            first = lib.xp.where(answers == code, other, first)
        return first


class SetResponse(Response, ABC):
    """A response to any number of alternatives, of which the answer names one or puts in order."""

    @abstractmethod
    def log_likelihood(
        self, lib: Library, utilities: Array, answers: Array, shared: Mapping[str, Any]
    ) -> Array:
        """Log probability of the answers that were observed.

        Parameters
        ----------
        lib : Library
        utilities : Array, shape (..., situation, alternative)
            In natural-log units; -inf where an alternative is not available.
        answers : array of int
            The array that :attr:`answers_in` names.
        shared : mapping
            Values of :attr:`shared` by name.

        Returns
        -------
        Array, shape (..., situation)
            ``-inf`` for an answer with an alternative that is not available.
        """
