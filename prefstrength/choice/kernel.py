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

from prefstrength.choice.arrays import Array, Library
from prefstrength.choice.mixing.base import Mixing

__all__ = ["log_probability"]


def log_probability(lib: Library, x: Array, mixing: Mixing) -> Array:
    """Log of the mixed choice probability; see :func:`prefstrength.log_choice_probability`."""
    return mixing.in_library(lib, x).log_tails(lib, x)[0]
