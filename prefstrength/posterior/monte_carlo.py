"""Monte Carlo error of posterior probabilities: how far another seed would move them."""

import numpy as np

from prefstrength.posterior.interface import Fitted

__all__ = ["probability_error"]


def probability_error(fit: Fitted, hits: np.ndarray, of: np.ndarray) -> float:
    """Standard error of the share of posterior draws in which something holds.

    Parameters
    ----------
    fit : Fit
    hits : numpy.ndarray of bool, shape (draw,)
        All posterior draws, chain by chain.
    of : numpy.ndarray, shape (draw,)
        The quantity it hangs on, whose effective draws count where all hits agree.

    Returns
    -------
    float
        Never 0: half a draw is added to either side.

    Notes
    -----
    Effective draws are ArviZ's for chains. Draws resampled by importance weights carry the error of
    the weights and that of the resampling.
    """
    draws = float(len(hits))
    if "sample_stats" in fit.tree.children:
        import arviz as az

        chains = fit.posterior.sizes["chain"]
        mixed = 0 < hits.sum() < len(hits)
        shown = hits.astype(float) if mixed else of
        found = az.ess(shown.reshape(chains, -1), method="mean" if mixed else "bulk")
        draws = min(draws, float(np.asarray(found)))
    elif "effective" in fit.spec:
        draws = 1 / (1 / draws + 1 / float(fit.spec["effective"]))
    share = (draws * hits.mean() + 0.5) / (draws + 1)
    return float(np.sqrt(share * (1 - share) / draws))
