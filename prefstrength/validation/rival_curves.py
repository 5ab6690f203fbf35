"""Choice curves: how each explanation draws the probability that the higher one is chosen."""

import numpy as np
from scipy import special

from prefstrength.validation.rival_answers import Setting, weakened
from prefstrength.validation.rival_explanations import Explanation
from prefstrength.validation.rival_tables import RivalLikelihood

__all__ = ["choice_curve"]

# Nodes over log strength.
_Z, _WEIGHT = np.polynomial.hermite_e.hermegauss(21)


def choice_curve(
    likelihood: RivalLikelihood, explanation: Explanation, difference: np.ndarray
) -> np.ndarray:
    """Posterior mean probability of choosing the higher of two, (difference,).

    Parameters
    ----------
    likelihood : RivalLikelihood
    explanation : Explanation
    difference : numpy.ndarray, shape (difference,)
        Sizes, in the attribute's unit.
    """
    grid = explanation.grid
    weight = grid.weights(explanation.pattern)  # (bend, lapse, spread, location, zero, reversed)
    bends, lapses, sigmas, zeros, negatives = grid.values
    cares = 1 - zeros[:, None]
    # Over the classes: how many follow their strength, and how many go against it.
    ahead, away = (
        np.sum(weight * cares * share, axis=(4, 5)) for share in (1 - negatives, negatives)
    )
    whole = weight.sum(axis=(4, 5))
    out = np.zeros(len(difference))
    for b, bend in enumerate(bends):
        g = Setting(grid.bend, float(bend), 0.0, {}).bent(difference / likelihood.scale)
        log_strength = grid.mu[b][..., None] + sigmas[:, None, None] * _Z
        strength = weakened(np.exp(log_strength), likelihood.error)
        follow = special.expit(strength[..., None] * g)  # (lapse, spread, location, z, difference)
        mean = np.einsum("lsmzd,z->lsmd", follow, _WEIGHT / _WEIGHT.sum())
        at_zero = (whole[b] - ahead[b] - away[b]) / 2
        chosen = ahead[b][..., None] * mean + away[b][..., None] * (1 - mean) + at_zero[..., None]
        lapse = lapses[:, None, None, None]
        out += np.sum(lapse / 2 * whole[b][..., None] + (1 - lapse) * chosen, axis=(0, 1, 2))
    return out
