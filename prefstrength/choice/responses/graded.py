r"""Graded pairs: how much better one of two is, in ordered words, as an ordered logit."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from prefstrength.choice.arrays import Array, Library, log_sigmoids, number
from prefstrength.choice.responses.base import PairResponse, Shared
from prefstrength.errors import InputError

__all__ = ["Graded"]


class Graded(PairResponse):
    r"""Ordered grades from much better to much worse, with cut points symmetric about 0.

    .. math::
        P(\text{grade} \ge k) = \sigma(v - c_k), \qquad c_{-k} = -c_k,

    so that swapping the two alternatives turns the grades around. An odd number of grades has one
    in the middle, *about the same*; with two grades it is the binary logit.

    Parameters
    ----------
    answers : sequence of str, or int
        Grades in words, the most in favour of the first alternative first; or their number.

    Raises
    ------
    InputError
        If there are fewer than two grades, or two are called alike.

    References
    ----------
    .. [1] P. McCullagh (1980), Regression models for ordinal data, JRSS B 42(2).

    Examples
    --------
    >>> [each.name for each in Graded(5).shared]
    ['cut_1', 'cut_2']
    """

    def __init__(self, answers: Sequence[str] | int) -> None:
        if isinstance(answers, int):
            middle = (answers - 1) / 2
            answers = tuple(f"{middle - k:+g}" if k != middle else "0" for k in range(answers))
        self.answers = tuple(answers)
        if len(self.answers) < 2 or len(set(self.answers)) < len(self.answers):
            raise InputError(
                f"Graded expects two or more grades, each of its own name; got {self.answers}. "
                "Name them in order, the most in favour of the first response first."
            )

    @property
    def shared(self) -> tuple[Shared, ...]:
        """Distances between neighbouring cut points above 0, so that they are in order."""
        return tuple(
            Shared(
                f"cut_{k}", "HalfNormal", (2.0,), 0.0, f"distance of cut point {k} from the last"
            )
            for k in range(1, 1 + (len(self.answers) - 1) // 2)
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The grades."""
        return {"answers": list(self.answers)}

    def cuts(self, shared: Mapping[str, Any]) -> list[Any]:
        """Cut points in rising order, ``len(answers) - 1`` of them."""
        above, last = [], 0.0
        for each in self.shared:
            last = last + shared[each.name]
            above.append(last)
        middle = [] if len(self.answers) % 2 else [0.0]
        return [-c for c in reversed(above)] + middle + above

    def log_probabilities(
        self, lib: Library, v: Array, shared: Mapping[str, Any]
    ) -> tuple[Array, ...]:
        xp = lib.xp
        cuts = self.cuts(shared)
        above = [log_sigmoids(lib, v - cut) for cut in reversed(cuts)]
        found = [above[0][0]]
        for k, (high, low) in enumerate(pairwise(reversed(cuts))):
            # s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)), in which nothing cancels.
            width = xp.log(-xp.expm1(number(lib, low - high, v)))
            found.append(above[k + 1][0] + above[k][1] + width)
        return (*found, above[-1][1])
