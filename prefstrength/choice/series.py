"""Alternating series, accelerated: sums of moments of a distribution on [0, 1].

References
----------
.. [1] Cohen, Rodriguez Villegas, Zagier (2000), Convergence acceleration of alternating series,
   Experimental Mathematics 9(1), algorithm 1.
"""

import math
from functools import cache

import numpy as np

from prefstrength.choice.arrays import Array, Library

# Terms that are summed in single precision, and in double.
TERMS = {True: 11, False: 20}


@cache
def _series_weights(terms: int) -> np.ndarray:
    """Weights w_k with sum_k (-1)^k a_k ~ sum_k w_k a_k, error 5.83^-terms (algorithm 1 of [1])."""
    d = (3 + math.sqrt(8)) ** terms
    d = (d + 1 / d) / 2
    b, c = -1.0, -d
    weights = np.empty(terms)
    for k in range(terms):
        c = b - c
        weights[k] = c / d
        b *= (k + terms) * (k - terms) / ((k + 0.5) * (k + 1))
    return weights


def series_terms(lib: Library, x: Array) -> int:
    """Terms that reach the precision of ``x``."""
    return TERMS[bool(lib.single(x))]


def log_alternating_sum(lib: Library, log_terms: Array) -> Array:
    """Log of sum_{n>=1} (-1)^{n+1} a_n from the logs of the first terms, a_1 taken out."""
    xp = lib.xp
    weights = lib.constant(_series_weights(log_terms.shape[-1]), log_terms)
    first = log_terms[..., :1]
    return first[..., 0] + xp.log(xp.sum(weights * xp.exp(log_terms - first), axis=-1))


def log_laplace_sum(lib: Library, first: Array, ratio: Array, step: Array) -> Array:
    """Log of q = sum_{n>=1} (-1)^{n+1} L(ny) from differences of neighbours.

    Parameters
    ----------
    first : log L(y)
    ratio : log L(ny) - log L(y), n = 1, 2, … along the last axis
    step : log L((n+1)y) - log L(ny)
    """
    xp = lib.xp
    weights = lib.constant(_series_weights(step.shape[-1]), step)
    differences = -xp.exp(ratio) * xp.expm1(step)
    return first + xp.log1p(xp.sum(weights * differences, axis=-1)) - math.log(2)
