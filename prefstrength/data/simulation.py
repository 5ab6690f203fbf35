"""Simulated choices: choosers drawn from a known mixing distribution."""

import numpy as np
import pandas as pd
from scipy import special

from prefstrength.choice.mixing.base import Mixing
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError

__all__ = ["simulate"]


def simulate(
    mixing: Mixing,
    choosers: int = 500,
    situations: int = 20,
    spread: float = 1.5,
    seed: int = 0,
) -> Choices:
    """Simulate a panel of binary choices with one attribute, ``reward``.

    Chooser a draws one strength from ``mixing``; in each situation the reward difference is
    Normal(0, spread²) and the first alternative is chosen with probability σ(strength·Δr); under
    a :class:`~prefstrength.Lapse` its share of the choices is made at random.

    Parameters
    ----------
    mixing : Mixing
        Known law of the strength.
    choosers : int
        Number of choosers.
    situations : int
        Situations for each chooser. With one situation each, the choices carry no chooser
        that repeats, and are treated as pairs.
    spread : float
        Standard deviation of the reward differences.
    seed : int
        Seed of NumPy's default generator.

    Returns
    -------
    Choices
        ``choosers * situations`` pairs, ``rejected`` reward 0, so that the chosen reward is
        the difference.

    Raises
    ------
    InputError
        If the mixing distribution has no parameters or a size is not positive.

    Examples
    --------
    >>> from prefstrength import LogNormal, simulate
    >>> choices = simulate(LogNormal(mu=0.0, sigma=0.7), choosers=50, situations=4, seed=0)
    >>> choices.n_choosers, choices.n_situations
    (50, 200)
    """
    mixing.require_known()
    for name, size in (("choosers", choosers), ("situations", situations)):
        if size < 1:
            raise InputError(f"Expected {name} of at least 1; got {size}.")
    if not spread > 0:
        raise InputError(f"Expected spread > 0; got {spread}.")
    rng = np.random.default_rng(seed)
    strength = mixing.sample(rng, choosers)
    difference = rng.normal(0.0, spread, size=(choosers, situations))
    probability = special.expit(strength[:, None] * difference)
    first = rng.random(difference.shape) < probability
    if mixing.lapse_share:
        lapsed = rng.random(difference.shape) < float(mixing.lapse_share)
        first = np.where(lapsed, rng.random(difference.shape) < 0.5, first)
    signed = np.where(first, difference, -difference).ravel()
    width = len(str(choosers))
    frame = pd.DataFrame(
        {
            "annotator": np.repeat([f"c{a:0{width}d}" for a in range(choosers)], situations),
            "reward_chosen": signed,
            "reward_rejected": np.zeros(signed.size),
        }
    )
    return Choices.from_pairs(frame, chooser="annotator" if situations > 1 else None)
