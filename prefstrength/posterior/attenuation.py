"""Attenuation: what errors in the rewards do to strength, with and without a correction."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from prefstrength.errors import InputError

if TYPE_CHECKING:
    from prefstrength.posterior.fit import Fit

__all__ = ["attenuation"]


def attenuation(naive: "Fit", corrected: "Fit", prob: float = 0.9) -> pd.DataFrame:
    """What errors in the rewards did to the estimates: a fit that ignores them and one that not.

    Parameters
    ----------
    naive : Fit
        Of the model without ``errors``.
    corrected : Fit
        Of the same model with ``errors``, on the same choices.
    prob : float
        Probability of the (equal-tailed) intervals.

    Returns
    -------
    pandas.DataFrame
        One row for each quantity of :func:`prefstrength.heterogeneity` (overall): mean, median,
        cv, sd_log. Columns quantity, naive and corrected, each with ``_low`` and ``_high``,
        ratio (naive over corrected) and reliability (of the observed differences: the ratio that
        a linear regression would have).

    Raises
    ------
    InputError
        If the first fit has errors, the second none, or they differ in data or model.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=60, situations=10)
    >>> law = {"reward": ps.LogNormal()}
    >>> naive = ps.MixedLogit(law).fit(choices, progress=False)
    >>> error = {"reward": ps.RewardError(sd=0.7)}
    >>> corrected = ps.MixedLogit(law, errors=error).fit(choices, progress=False)
    >>> table = ps.attenuation(naive, corrected)
    >>> bool((table["ratio"] < 1).all())
    True
    """
    from prefstrength.posterior.heterogeneity import heterogeneity

    if naive.errors or not corrected.errors:
        raise InputError(
            "Expected a fit without errors and one with; got "
            f"{_with(naive)} and {_with(corrected)}. Give attenuation(naive, corrected)."
        )
    for what, of in (("data", "hash"), ("coefficients", None), ("groups", None)):
        first, second = naive.spec[what], corrected.spec[what]
        if of is not None:
            first, second = first[of], second[of]
        if first != second:
            raise InputError(
                f"Expected two fits of the same model and data; got different {what}. Fit the "
                "same MixedLogit to the same choices with and without errors."
            )
    tables = [heterogeneity(fit, prob=prob).iloc[0] for fit in (naive, corrected)]
    (error,) = corrected.errors.values()
    rows = []
    for quantity in ("mean", "median", "cv", "sd_log"):
        row: dict[str, Any] = {"quantity": quantity}
        for name, table in zip(("naive", "corrected"), tables, strict=True):
            for end in ("", "_low", "_high"):
                row[f"{name}{end}"] = float(table[f"{quantity}{end}"])
        row["ratio"] = row["naive"] / row["corrected"] if row["corrected"] else float("nan")
        row["reliability"] = error["reliability_here"]
        rows.append(row)
    return pd.DataFrame(rows)


def _with(fit: "Fit") -> str:
    errors: Mapping[str, Any] = fit.errors
    return f"one with errors of {list(errors)}" if errors else "one without errors"
