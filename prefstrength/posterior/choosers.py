"""Chooser-level strengths, with intervals."""

import numpy as np
import pandas as pd

from prefstrength.errors import InputError
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.laws import check_probability, situations_of_choosers

__all__ = ["chooser_strengths"]


def chooser_strengths(fit: Fit, attribute: str | None = None, prob: float = 0.9) -> pd.DataFrame:
    """Strength of every chooser, given that chooser's own choices and the population.

    Returns
    -------
    pandas.DataFrame
        Columns chooser, choices, mean, median, low, high; sorted by mean. A chooser's strength
        is the mean over the chooser's own situations, which matters only where groups differ
        within a chooser.

    Raises
    ------
    InputError
        If choosers were not known, or the coefficient is a PointMass.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> len(ps.chooser_strengths(fit))
    60
    """
    attribute = fit.attribute(attribute)
    check_probability(prob)
    name = f"{attribute}_strength"
    if "chooser_level" not in fit.tree or name not in fit.tree["chooser_level"]:
        raise InputError(
            f"Expected a fit with choosers and a random coefficient on {attribute!r}; got none. "
            "Name the column that identifies the chooser: `Choices.from_pairs(frame, chooser=...)`."
        )
    draws = fit.tree["chooser_level"][name]
    values = np.asarray(draws)
    tail = (1 - prob) / 2
    low, median, high = np.quantile(values, [tail, 0.5, 1 - tail], axis=0)
    counts = situations_of_choosers(fit)
    table = pd.DataFrame(
        {
            "chooser": np.asarray(draws["chooser"]),
            "choices": counts,
            "mean": values.mean(axis=0),
            "median": median,
            "low": low,
            "high": high,
        }
    )
    return table.sort_values("mean", ignore_index=True)
