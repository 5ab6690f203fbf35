"""Log choice probabilities of the logit model, the utilities being known."""

import math

from prefstrength.choice.arrays import Array, library_of, logsumexp

__all__ = ["log_choice"]


def log_choice(utility: Array, chosen: Array, available: Array | None = None) -> Array:
    r"""Log probability of the chosen alternative.

    .. math:: \log P = V_c - \log \sum_{j \in \text{available}} e^{V_j}

    Parameters
    ----------
    utility : Array, shape (..., alternative)
        Systematic utilities, of NumPy, JAX or torch; the error is Gumbel with scale 1.
    chosen : Array of int, shape (...)
        Index of the chosen alternative.
    available : Array of bool, shape (..., alternative), optional
        The choice set; all alternatives when left out.

    Returns
    -------
    Array, shape (...)
        ``-inf`` where the chosen alternative is not available.

    References
    ----------
    .. [1] Train (2009), Discrete Choice Methods with Simulation, eq. 3.6.

    Examples
    --------
    >>> import numpy as np
    >>> float(log_choice(np.array([1.0, 0.0, 5.0]), 0, np.array([True, True, False])).round(4))
    -0.3133
    """
    lib = library_of(utility, chosen)
    if available is not None:
        utility = lib.xp.where(available, utility, -math.inf)
    index = lib.xp.asarray(chosen)[..., None]
    return lib.take(utility, index)[..., 0] - logsumexp(lib, utility)
