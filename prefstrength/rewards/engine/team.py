"""Which of several processes this is, and whether they divide the work of scoring."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Team:
    """Processes that score together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        How many there are.
    """

    rank: int
    size: int

    def share(self, numbers: Iterable[int]) -> list[int]:
        """Those of some numbers that are this process's, whenever it looks and at which ones.

        Examples
        --------
        >>> Team(1, 2).share([0, 3, 4, 7])
        [3, 7]
        """
        return [number for number in numbers if number % self.size == self.rank]


ALONE_AT_WORK = Team(0, 1)

#: Who divides the work of a run. A variable of the context, not an argument, because rewards of
#: any kind stand between :func:`prefstrength.rewards.score` and the run, and need not know.
team: ContextVar[Team] = ContextVar("team", default=ALONE_AT_WORK)


def launched() -> Team:
    """Which process this is of those that ``accelerate launch`` or ``torchrun`` have started.

    Examples
    --------
    >>> launched().size
    1
    """
    return Team(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def local_rank() -> int:
    """Number of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def divided(among: Team) -> Iterator[None]:
    """Divide the work of the runs inside."""
    token = team.set(among)
    try:
        yield
    finally:
        team.reset(token)
