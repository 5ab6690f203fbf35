r"""The mixed choice probability, written once for every array library.

.. math:: p(x) = E_{\beta \sim F}[\sigma(\beta x)]

is the likelihood of a choice in the analysis and, with :math:`x = \Delta`, the MixDPO loss
:math:`-\log p(\Delta)`. Here it is written over a :class:`Library`, so that JAX
(:mod:`prefstrength.likelihood.mixed`) and torch (:mod:`prefstrength.mixdpo`) evaluate the same
lines.

Every family gives the *lower tail* :math:`q(y) = E[\sigma(-\beta y)]`, y = \|x\|, in its file in
:mod:`prefstrength.choice.mixing`: for x < 0 it is the answer itself, with full relative accuracy,
and for x > 0 the answer is log1p(-q). Families with a Laplace transform L sum the alternating
series :math:`\sum_{n \ge 1} (-1)^{n+1} L(ny)`. Its terms are moments of
:math:`e^{-\beta y} \in [0, 1]`, so the acceleration of Cohen, Rodriguez Villegas and Zagier [1]_
converges as 5.83^-n, with smooth gradients. What is summed is
:math:`2q = L(y) + \sum_{n \ge 1} (-1)^{n+1} [L(ny) - L((n+1)y)]`, the differences in closed form:
near y = 0, where the terms are all alike, nothing cancels in single precision either. Mixing
distributions made of others are shares of the parts' probabilities, of both tails at once.

References
----------
.. [1] Cohen, Rodriguez Villegas, Zagier (2000), Convergence acceleration of alternating series,
   Experimental Mathematics 9(1), algorithm 1.
.. [2] arXiv:2601.06180 (MixDPO), whose Lerch form of the Gamma case is the same number.
"""

import math
from collections.abc import Mapping
from typing import Any

from prefstrength.choice.arrays import Array, Library
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.responses.base import PairResponse, SetResponse
from prefstrength.choice.responses.pair import Pair

__all__ = ["log_pair_answer", "log_probability", "log_set_answer"]


def log_probability(lib: Library, x: Array, mixing: Mixing) -> Array:
    """Log of the mixed choice probability; see :func:`prefstrength.log_choice_probability`."""
    return mixing.in_library(lib, x).log_tails(lib, x)[0]


def log_pair_answer(
    lib: Library,
    x: Array,
    answers: Array,
    mixing: Mixing,
    response: PairResponse,
    shared: Mapping[str, Any],
) -> Array:
    """Log probability of answers to pairs, averaged over strength.

    Parameters
    ----------
    lib : Library
    x : Array, shape (...)
        What strength multiplies, first alternative less second.
    answers : Array of int, shape (...)
        Codes of answers.
    mixing : Mixing
    response : PairResponse
    shared : mapping
        Values of ``response.shared`` by name.
    """
    if isinstance(response, Pair):
        return log_probability(lib, lib.xp.where(answers == 0, x, -x), mixing)
    wide, law = lib.double(x), mixing.in_library(lib, x).mapped(lib.double)
    across, answers = wide[..., None], answers[..., None]

    def log_of(strength: Array) -> Array:
        return response.log_likelihood(lib, strength * across, answers, shared)

    at_random = 0.0 * wide - math.log(len(response.answers))
    return lib.like(law.log_average(lib, log_of, lib.xp.abs(wide), at_random), x)


def log_set_answer(
    lib: Library,
    x: Array,
    answers: Array,
    mixing: Mixing,
    response: SetResponse,
    available: Array | None = None,
) -> Array:
    """Log probability of choices and rankings, averaged over strength.

    Parameters
    ----------
    lib : Library
    x : Array, shape (..., alternative)
        What strength multiplies.
    answers : Array of int
        As the response takes them, shape (...) or (..., alternative).
    mixing : Mixing
    response : SetResponse
    available : Array of bool, shape (..., alternative), optional
        All by default.
    """
    xp = lib.xp
    wide, law = lib.double(x), mixing.in_library(lib, x).mapped(lib.double)
    size = xp.amax(wide, axis=-1) - xp.amin(wide, axis=-1)
    many = answers[..., None, :] if answers.ndim == x.ndim else answers[..., None]

    def log_of(strength: Array) -> Array:
        utilities = strength[..., None] * wide[..., None, :]
        if available is not None:
            utilities = xp.where(available[..., None, :], utilities, -math.inf)
        return response.log_likelihood(lib, utilities, many, {})

    at_random = log_of(0.0 * size[..., None])[..., 0]
    return lib.like(law.log_average(lib, log_of, size, at_random), x)
