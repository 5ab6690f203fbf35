"""Log choice probabilities of the logit model, the utilities being known."""

import jax
import jax.numpy as jnp

__all__ = ["log_choice"]


def log_choice(
    utility: jax.Array, chosen: jax.Array, available: jax.Array | None = None
) -> jax.Array:
    r"""Log probability of the chosen alternative.

    .. math:: \log P = V_c - \log \sum_{j \in \text{available}} e^{V_j}

    Parameters
    ----------
    utility : jax.Array, shape (..., alternative)
        Systematic utilities; the error is Gumbel with scale 1.
    chosen : jax.Array of int, shape (...)
        Index of the chosen alternative.
    available : jax.Array of bool, shape (..., alternative), optional
        The choice set; all alternatives when left out.

    Returns
    -------
    jax.Array, shape (...)
        ``-inf`` where the chosen alternative is not available.

    References
    ----------
    .. [1] Train (2009), Discrete Choice Methods with Simulation, eq. 3.6.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> round(float(log_choice(jnp.array([1.0, 0.0, 5.0]), 0, jnp.array([True, True, False]))), 4)
    -0.3133
    """
    if available is not None:
        utility = jnp.where(available, utility, -jnp.inf)
    index = jnp.asarray(chosen)[..., None]
    return jnp.take_along_axis(utility, index, axis=-1)[..., 0] - jax.scipy.special.logsumexp(
        utility, axis=-1
    )
