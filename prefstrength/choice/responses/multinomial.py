r"""Multinomial: one of any number of alternatives is chosen, the multinomial logit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from prefstrength.choice.arrays import Array, Library, log_sigmoid, logsumexp, number
from prefstrength.choice.responses.base import SetResponse

__all__ = ["Multinomial"]

#: Utility of what is not available, where a number has to be finite.
OUT = -1e30


class Multinomial(SetResponse):
    r"""One of several is chosen: :math:`P(c) = e^{V_c} / \sum_j e^{V_j}`.

    References
    ----------
    .. [1] Train (2009), Discrete Choice Methods with Simulation, eq. 3.6.

    Examples
    --------
    >>> import numpy as np
    >>> from prefstrength.choice.arrays import NUMPY
    >>> utilities = np.array([[1.0, 0.0, -np.inf]])
    >>> Multinomial().log_likelihood(NUMPY, utilities, np.array([0]), {})
    array([-0.313])
    """

    answers_in = "chosen"

    def log_likelihood(
        self, lib: Library, utilities: Array, answers: Array, shared: Mapping[str, Any]
    ) -> Array:
        places = lib.constant(np.arange(utilities.shape[-1]), utilities)
        first = number(lib, answers, utilities)[..., None] == places
        offered = finite(lib, utilities)
        others = logsumexp(lib, lib.xp.where(first, OUT, offered))
        return possible(
            lib, utilities, first, log_sigmoid(lib, marked(lib, offered, first) - others)
        )


def finite(lib: Library, utilities: Array) -> Array:
    """Utilities with a finite number in place of -inf."""
    return lib.xp.where(utilities > OUT, utilities, OUT)


def marked(lib: Library, utilities: Array, which: Array) -> Array:
    """Utility of the one alternative that is marked; 0 where none is."""
    return lib.xp.sum(lib.xp.where(which, utilities, 0.0 * utilities), axis=-1)


def possible(lib: Library, utilities: Array, named: Array, log_probability: Array) -> Array:
    """The log probability, or -inf where the answer names what is not available."""
    missing = (named & (utilities <= OUT)).any(-1)
    return lib.xp.where(missing, -np.inf, log_probability)
