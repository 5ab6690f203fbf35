"""Comparison of models of the same choices by leave-one-out predictions (PSIS-LOO)."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import special, stats

from prefstrength._shared.words import warn
from prefstrength.choice.mixing.families import without_spread
from prefstrength.errors import DataWarning, InputError, SamplingWarning
from prefstrength.posterior.checks import relative_densities
from prefstrength.posterior.fit import Fit

__all__ = ["compare"]

# Range of a unit's log-likelihood over the draws, in nats, below which it counts as the same.
_TIED = 1e-12
# Nats by which another prior may move a model before it is said.
_MOVED = 1.0


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

    Warns
    -----
    SamplingWarning
        If a few units decide.
    DataWarning
        If the priors of location decide: that of ``PointMass`` lies around 0, those of positive
        families around 1/s. ``PositivePointMass`` has theirs.

    References
    ----------
    .. [1] Vehtari, Gelman, Gabry (2017), Practical Bayesian model evaluation using
       leave-one-out cross-validation and WAIC, Statistics and Computing 27.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=1.0), choosers=100, situations=20)
    >>> laws = {"DPO": ps.PositivePointMass(), "MixDPO": ps.LogNormal()}
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
        loo = {name: az.loo(_without_ties(fit), pointwise=True) for name, fit in fits.items()}
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
    _look_at_priors(fits)
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


def _without_ties(fit: Fit) -> Any:
    """The tree for ArviZ, whose PSIS refuses a unit that is equally likely under all draws."""
    found = fit.tree["log_likelihood"].to_dataset()
    (name,) = found.data_vars
    own = ("chain", "draw")
    value = found[name]
    tied = value.max(own) - value.min(own) < _TIED
    if not tied.any():
        return fit.tree
    count = value.sizes["chain"] * value.sizes["draw"]
    tilt = _TIED * np.linspace(0.0, 1.0, count).reshape(value.sizes["chain"], -1)
    tree = fit.tree.copy()
    tree["log_likelihood"] = xr.DataTree(
        found.assign({name: value + xr.DataArray(tilt, dims=own) * tied})
    )
    return tree


def _look_at_priors(fits: Mapping[str, Fit]) -> None:
    """Say where one strength for all loses, or wins, by the prior of its location alone.

    Its draws are weighted as if they had come from the prior of the positive families.
    """
    attributes = {fit.attributes[0] for fit in fits.values()}
    laws = {name: fit.mixing(fit.attributes[0]).kinds for name, fit in fits.items()}
    positive = [name for name, kinds in laws.items() if kinds.positive and kinds.varies]
    signed = [name for name, kinds in laws.items() if not kinds.positive and not kinds.random]
    if len(attributes) > 1 or not positive:
        return
    (attribute,) = attributes
    for name in signed:
        fit = fits[name]
        scale = fit.spec["scales"][attribute]
        own = stats.norm(0.0, 2.0 / scale)
        value = np.asarray(fit.posterior[f"{attribute}_location"]).ravel()
        unit = fit.tree["log_likelihood"].to_dataset().to_dataarray()
        log = np.asarray(unit).reshape(len(value), -1)
        with np.errstate(divide="ignore"):
            theirs = stats.lognorm(1.0, scale=1.0 / scale).logpdf(value)
        weight = special.log_softmax(theirs - own.logpdf(value))[:, None]
        moved = special.logsumexp(log + weight, axis=0).sum()
        moved -= (special.logsumexp(log, axis=0) - np.log(len(value))).sum()
        if abs(moved) > _MOVED:
            other = without_spread(fits[positive[0]].mixing(attribute))
            warn(
                f"{name!r} is compared with {positive[0]!r} under another prior of location, which "
                f"alone moves its expected log predictive density by about {moved:+.1f} nats. Fit "
                f"it with `{other}` in the place of `{fit.mixing(attribute)}`, whose prior is that "
                f"of {positive[0]!r}.",
                DataWarning,
            )
