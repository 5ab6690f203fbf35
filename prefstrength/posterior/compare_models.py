"""Comparison of models of the same choices by leave-one-out predictions (PSIS-LOO)."""

import warnings
from collections.abc import Mapping

import numpy as np
import pandas as pd

from prefstrength._shared.words import warn
from prefstrength.errors import InputError, SamplingWarning
from prefstrength.posterior.checks import relative_densities
from prefstrength.posterior.fit import Fit

__all__ = ["compare"]


def compare(fits: Mapping[str, Fit]) -> pd.DataFrame:
    """Compare models of the same data by PSIS-LOO over choosers.

    Parameters
    ----------
    fits : dict
        Name to fit. A unit that is left out is a chooser with all its choices, or a situation
        where choosers are not known.

    Returns
    -------
    pandas.DataFrame
        Best first; columns model, rank, elpd (expected log predictive density of a new chooser's
        choices, summed), se, p (effective number of parameters), elpd_diff and dse against the
        best, weight (stacking), high_k (share of units with Pareto k > 0.7).

    Raises
    ------
    InputError
        With fewer than two fits, different data, or a fit without pointwise log-likelihood.

    References
    ----------
    .. [1] Vehtari, Gelman, Gabry (2017), Practical Bayesian model evaluation using
       leave-one-out cross-validation and WAIC, Statistics and Computing 27.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=1.0), choosers=100, situations=20)
    >>> laws = {"DPO": ps.PointMass(), "MixDPO": ps.LogNormal()}
    >>> fits = {
    ...     name: ps.MixedLogit({"reward": law}).fit(choices, seed=0, progress=False)
    ...     for name, law in laws.items()
    ... }
    >>> ps.compare(fits)["model"].tolist()
    ['MixDPO', 'DPO']
    """
    import arviz as az

    if len(fits) < 2:
        raise InputError(f"Expected at least two fits to compare; got {len(fits)}.")
    hashes = {name: fit.spec["data"]["hash"] for name, fit in fits.items()}
    if len(set(hashes.values())) > 1:
        raise InputError(
            f"Expected fits of the same data; got {len(set(hashes.values()))} different data sets "
            f"in {list(fits)}. Fit every model to the same Choices."
        )
    without = [name for name, fit in fits.items() if "log_likelihood" not in fit.tree]
    if without:
        raise InputError(
            f"Expected fits with a pointwise log-likelihood; got none in {without}. It is left out "
            "for more than 200,000 units, for compressed pairs without choosers, and with more "
            "than two random attributes."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # high k: reported below, with what to do
        loo = {name: az.loo(fit.tree, pointwise=True) for name, fit in fits.items()}
        table = az.compare(relative_densities(loo), round_to="none")
    high = {name: float(np.mean(np.asarray(value.pareto_k) > 0.7)) for name, value in loo.items()}
    worst = max(high, key=lambda name: high[name])
    if high[worst] > 0.02:
        unit = "choosers" if fits[worst].spec["data"]["choosers"] else "choices"
        warn(
            f"PSIS-LOO expects Pareto k < 0.7; got {high[worst]:.0%} of units above it in "
            f"{worst!r}. A few {unit} decide the comparison: read elpd_diff with care.",
            SamplingWarning,
        )
    diff = {
        name: loo[name].elpd_i.values.ravel() - loo[table.index[0]].elpd_i.values.ravel()
        for name in fits
    }
    return pd.DataFrame(
        {
            "model": list(table.index),
            "rank": range(len(table)),
            "elpd": [float(loo[name].elpd) for name in table.index],
            "se": [float(loo[name].se) for name in table.index],
            "p": [float(loo[name].p) for name in table.index],
            "elpd_diff": [float(diff[name].sum()) for name in table.index],
            "dse": [float(np.sqrt(diff[name].size * diff[name].var())) for name in table.index],
            "weight": [float(table.loc[name, "weight"]) for name in table.index],
            "high_k": [high[name] for name in table.index],
        }
    )
