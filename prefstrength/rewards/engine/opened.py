"""What is made once for all runs: models that stay open, and texts that were read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

#: What was made for whom, while it is kept; by the owner's id, beside the owner, so that the id
#: stays its own.
Kept = dict[int, tuple[Any, Any]]

#: Models that are kept open. A variable of the context for the reason that
#: :data:`prefstrength.rewards.engine.team.team` is one.
_kept: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def kept_open(kept: Kept, of: ContextVar[Kept | None] = _kept) -> Iterator[None]:
    """Look at every model once for all runs inside, and load it once."""
    token = of.set(kept)
    try:
        yield
    finally:
        of.reset(token)


def opened(of: ContextVar[Kept | None] = _kept) -> Kept:
    """Copy what is open; what is added to the copy goes with it."""
    return dict(of.get() or {})


def once[Made](owner: Any, make: Callable[[], Made], of: ContextVar[Kept | None] = _kept) -> Made:
    """What ``make`` gives; inside :func:`kept_open` the same for the same owner.

    Examples
    --------
    >>> owner, made = object(), iter(range(9))
    >>> with kept_open({}):
    ...     once(owner, lambda: next(made)), once(owner, lambda: next(made))
    (0, 0)
    >>> once(owner, lambda: next(made)), once(owner, lambda: next(made))
    (1, 2)
    """
    kept = of.get()
    if kept is None:
        return make()
    if id(owner) not in kept:
        kept[id(owner)] = (owner, make())
    made: Made = kept[id(owner)][1]
    return made
