"""Density of strength and the choice curve, with bands."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength.errors import InputError
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.laws import (
    Selection,
    check_probability,
    draws_of,
    in_cells,
    mixture,
    probability_moments,
    selected,
    situation_differences,
)

__all__ = ["choice_curve", "strength_density"]


def strength_density(
    fit: Fit,
    grid: Any | None = None,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
) -> pd.DataFrame:
    """Density of strength with a posterior band, overall or for every level of a factor.

    Where a share of choosers has strength 0, the rest is what the density holds.

    Parameters
    ----------
    fit : Fit
    grid : array-like, optional
        Strengths; by default a grid that covers the middle 99 % of the distribution.
    by : str, optional
        Factor; overall when left out.
    attribute : str, optional
    prob : float
        Probability of the pointwise band.

    Returns
    -------
    pandas.DataFrame
        Columns factor, level, strength, density (posterior mean), low, high.

    Raises
    ------
    InputError
        For a PointMass, which has no density, or an unknown factor.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> ps.strength_density(fit, grid=[0.5, 1.0]).shape
    (2, 6)
    """
    attribute = fit.attribute(attribute)
    check_probability(prob)
    laws = draws_of(fit, attribute)
    cares, laws = laws.apart_from_zero
    if not laws.has_density:
        raise InputError(
            f"Expected a mixing distribution with a density; got {fit.family(attribute)}: choosers "
            "of a kind share one strength. Fit LogNormal(), Gamma(), InverseGaussian() or Normal()."
        )
    if grid is None:
        low, high = (np.median(laws.quantile(q), axis=0) for q in (0.002, 0.99))
        low, high = low.min(), high.max()
        grid = np.linspace(max(low, 1e-6) if laws.positive else low, high, 300)
    grid = np.asarray(grid, dtype=float)
    parts = []
    for selection in selected(fit, by):
        law = mixture(in_cells(laws, selection.cells), selection.share)
        density = np.asarray(np.reshape(cares, -1) * law.pdf(grid[:, None])).T
        parts.append(_band(selection, "strength", grid, "density", density, prob))
    return pd.concat(parts, ignore_index=True)


def choice_curve(
    fit: Fit,
    differences: Any | None = None,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
) -> pd.DataFrame:
    """Probability of choosing an alternative against its difference, averaged over strength.

    Parameters
    ----------
    fit : Fit
    differences : array-like, optional
        Attribute differences, true ones where the model has errors in the attribute; by default
        0 to the 99th percentile of the data.
    by : str, optional
        Factor; overall when left out.
    attribute : str, optional
    prob : float
        Probability of the pointwise band.

    Returns
    -------
    pandas.DataFrame
        Columns factor, level, difference, probability (posterior mean), low, high.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=60, situations=10)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> ps.choice_curve(fit, differences=[0.0])["probability"].tolist()
    [0.5]
    """
    attribute = fit.attribute(attribute)
    check_probability(prob)
    if differences is None:
        data = situation_differences(fit, attribute)
        top = 3 * fit.spec["scales"][attribute] if data is None else np.quantile(data, 0.99)
        differences = np.linspace(0.0, float(top), 100)
    x = np.asarray(differences, dtype=float)
    laws = draws_of(fit, attribute)
    parts = []
    for selection in selected(fit, by):
        curve, _ = probability_moments(in_cells(laws, selection.cells), selection.share, x)
        parts.append(_band(selection, "difference", x, "probability", curve, prob))
    return pd.concat(parts, ignore_index=True)


def _band(
    selection: Selection, x_name: str, x: np.ndarray, name: str, draws: np.ndarray, prob: float
) -> pd.DataFrame:
    tail = (1 - prob) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return pd.DataFrame(
        {
            "factor": selection.factor,
            "level": selection.level,
            x_name: x,
            name: draws.mean(axis=0),
            "low": low,
            "high": high,
        }
    )
