"""Functions compiled by numba, kept on disk where there is a place for that."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

__all__ = ["compiled"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call, without Python's lock; before, numba is not loaded.

    The machine code is kept beside the package or in the user's cache; where neither can be
    written, as in some containers, each process compiles it anew.
    """

    @cache
    def machine_code() -> Callable[..., Any]:
        import numba

        try:
            return numba.njit(nogil=True, cache=True)(function)
        except RuntimeError:  # no place for it
            return numba.njit(nogil=True)(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return machine_code()(*arguments)

    return call
