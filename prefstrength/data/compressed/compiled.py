"""Functions compiled by numba, kept on disk where there is a place for that."""

from typing import Any

import numba

__all__ = ["compiled"]


def compiled(function: Any) -> Any:
    """Compile a function on its first call, without Python's lock.

    The machine code is kept beside the package or in the user's cache; where neither can be
    written, as in some containers, each process compiles it anew.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no place for it
        return numba.njit(nogil=True)(function)
