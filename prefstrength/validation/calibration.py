"""Simulation-based calibration, and coverage of intervals at a known truth.

Parameters are drawn from the model's own prior (or held at a known truth), choices are simulated
in the design of given data, and the model is fitted to them, many times over
(:mod:`prefstrength.validation.replicates`). If prior, likelihood and sampler belong together, the
rank of the true value among posterior draws is uniform, for every parameter and for every function
of parameters and data.
"""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from prefstrength.choice.mixing.base import Mixing
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from prefstrength.models.mixed_logit import MixedLogit
from prefstrength.validation.folder import load, save
from prefstrength.validation.many import replicate
from prefstrength.validation.replicates import LOG_LIKELIHOOD, Replicates, Sampler
from prefstrength.validation.uniformity import chi_square_test, ecdf_band, ecdf_test, holm

__all__ = ["Calibration", "Coverage", "calibrate", "coverage"]


# -- results -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of true values among posterior draws, over many simulated data sets.

    Parameters
    ----------
    ranks : pandas.DataFrame
        One row for each simulation and variable. Columns: simulation, variable, truth; rank
        (how many of the ``most`` thinned draws are below the truth), below (share of all draws
        below it), mean and sd (posterior), and method (how the posterior was computed).
    spec : dict
        Model, design, settings and versions, as JSON holds them.
    """

    ranks: pd.DataFrame
    spec: dict[str, Any]

    @property
    def simulations(self) -> int:
        """Number of simulated data sets."""
        return int(self.ranks["simulation"].nunique())

    @property
    def most(self) -> int:
        """Number of thinned draws among which was ranked: ranks lie between 0 and this."""
        return int(self.spec["thinned"])

    @cached_property
    def table(self) -> pd.DataFrame:
        """P-values of uniformity for each variable.

        Returns
        -------
        pandas.DataFrame
            Columns variable; p_chi_square, p_ecdf (see :mod:`prefstrength.validation.uniformity`);
            p_adjusted: twice the smaller of the two, adjusted for the number of variables by
            Holm's method; mean_rank (0.5 where right; below it the posterior lies too high)
            and coverage_90 with its 95 % Monte Carlo interval.
        """
        rows = []
        for variable, mine in self.ranks.groupby("variable", sort=False):
            ranks = mine["rank"].to_numpy()
            rows.append(
                {
                    "variable": variable,
                    "p_chi_square": chi_square_test(ranks, self.most),
                    "p_ecdf": ecdf_test(ranks, self.most),
                    "mean_rank": float((ranks.mean() + 0.5) / (self.most + 1)),
                    **_covered("coverage_90", mine["below"].to_numpy(), 0.9),
                }
            )
        table = pd.DataFrame(rows)
        both = np.minimum(2 * table[["p_chi_square", "p_ecdf"]].min(axis=1).to_numpy(), 1.0)
        table.insert(3, "p_adjusted", holm(both))
        return table

    def passed(self, level: float = 0.01) -> bool:
        """Whether no variable departs from uniformity at the given level.

        A model and sampler that are right fail this with probability ``level`` at most.
        """
        return bool((self.table["p_adjusted"] >= level).all())

    def raise_if_failed(self, level: float = 0.01) -> None:
        """Raise ``RuntimeError`` that names the variables whose ranks are not uniform."""
        bad = self.table[self.table["p_adjusted"] < level]
        if len(bad):
            named = ", ".join(f"{v} (p = {p:.2g})" for v, p in
                              zip(bad["variable"], bad["p_adjusted"], strict=True))  # fmt: skip
            raise RuntimeError(
                f"Simulation-based calibration expects uniform ranks; got {named} in "
                f"{self.simulations} simulations. Prior, likelihood and sampler do not belong "
                "together. Look at plot_calibration for the direction of the error."
            )

    def coverage(self, probs: Sequence[float] = (0.5, 0.8, 0.9)) -> pd.DataFrame:
        """Coverage of central intervals over the prior; columns as :meth:`Coverage.intervals`."""
        return _coverage_table(self.ranks, probs)

    def band(self, prob: float = 0.95) -> tuple[np.ndarray, ...]:
        """Band of the distribution function of uniform ranks; see :func:`ecdf_band`."""
        return ecdf_band(self.simulations, self.most, prob)

    def plot(self, **options: Any) -> np.ndarray:
        """Draw the ranks; see :func:`prefstrength.plot_calibration`."""
        from prefstrength.plots import plot_calibration

        return plot_calibration(self, **options)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``simulations.parquet`` and ``settings.json`` into a directory of that name."""
        return save(directory, self.ranks, self.spec, "Calibration")

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Calibration":
        """Read what :meth:`save` wrote, or :func:`calibrate` in its ``directory``."""
        return cls(*load(directory, "Calibration"))

    def __repr__(self) -> str:
        worst = self.table.nsmallest(1, "p_adjusted").iloc[0]
        return "\n".join(
            [
                f"Calibration of {self.spec['model']}",
                f"  design:      {self.spec['design']}",
                f"  simulations: {self.simulations}, ranked among {self.most} draws; "
                f"{_methods(self.ranks)}",
                f"  uniform:     {'yes' if self.passed() else 'NO'}; smallest adjusted p "
                f"{worst['p_adjusted']:.3g} ({worst['variable']}) of {len(self.table)} variables",
            ]
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>" + self.table.to_html(
            index=False, float_format=lambda v: f"{v:.3g}"
        )


@dataclass(frozen=True, eq=False)
class Coverage:
    """How often intervals hold the truth, and how far estimates lie off.

    Parameters
    ----------
    estimates : pandas.DataFrame
        One row for each simulation and variable; columns as :class:`Calibration` has them.
    spec : dict
        Model, design, settings and versions, as JSON holds them.
    """

    estimates: pd.DataFrame
    spec: dict[str, Any]

    @property
    def simulations(self) -> int:
        """Number of simulated data sets."""
        return int(self.estimates["simulation"].nunique())

    @cached_property
    def table(self) -> pd.DataFrame:
        """Coverage of 50, 80 and 90 % intervals, bias and error: :meth:`intervals`."""
        return self.intervals()

    def intervals(self, probs: Sequence[float] = (0.5, 0.8, 0.9)) -> pd.DataFrame:
        """Coverage of central intervals, bias and root mean square error.

        Parameters
        ----------
        probs : sequence of float
            Nominal probabilities.

        Returns
        -------
        pandas.DataFrame
            One row for each variable and probability. Columns: variable, prob; coverage with
            its 95 % Monte Carlo interval ``_low``, ``_high`` (Jeffreys); bias (mean of posterior
            mean minus truth) and its standard error; rmse; posterior_sd (mean); simulations.
        """
        return _coverage_table(self.estimates, probs)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``simulations.parquet`` and ``settings.json`` into a directory of that name."""
        return save(directory, self.estimates, self.spec, "Coverage")

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> "Coverage":
        """Read what :meth:`save` wrote, or :func:`coverage` in its ``directory``."""
        return cls(*load(directory, "Coverage"))

    def __repr__(self) -> str:
        table = self.intervals((0.9,))
        shown = ", ".join(
            f"{row.variable} {row.coverage:.1%}" for row in table.head(4).itertuples()
        )
        return "\n".join(
            [
                f"Coverage of {self.spec['model']} at {self.spec['truth']}",
                f"  design:      {self.spec['design']}",
                f"  simulations: {self.simulations}; {_methods(self.estimates)}",
                f"  90% intervals hold the truth: {shown}" + (" ..." if len(table) > 4 else ""),
            ]
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>" + self.table.to_html(
            index=False, float_format=lambda v: f"{v:.3g}"
        )


def _methods(frame: pd.DataFrame) -> str:
    counts = frame.groupby("method", sort=False)["simulation"].nunique()
    return ", ".join(f"{count} by {method}" for method, count in counts.items())


def _covered(name: str, below: np.ndarray, prob: float) -> dict[str, float]:
    """Share of central intervals that hold the truth, with Jeffreys' 95 % interval."""
    tail = (1 - prob) / 2
    inside = int(np.sum((below > tail) & (below < 1 - tail)))
    low, high = stats.beta(inside + 0.5, len(below) - inside + 0.5).ppf([0.025, 0.975])
    return {name: inside / len(below), f"{name}_low": float(low), f"{name}_high": float(high)}


def _coverage_table(frame: pd.DataFrame, probs: Sequence[float]) -> pd.DataFrame:
    for prob in probs:
        if not 0 < prob < 1:
            raise InputError(f"Expected probabilities between 0 and 1; got {prob}.")
    rows = []
    for variable, mine in frame.groupby("variable", sort=False):
        if variable == LOG_LIKELIHOOD:
            continue  # no parameter: its truth moves with the data
        error = (mean := mine["mean"].to_numpy()) - mine["truth"].to_numpy()
        for prob in probs:
            rows.append(
                {
                    "variable": variable,
                    "prob": prob,
                    **_covered("coverage", mine["below"].to_numpy(), prob),
                    "bias": float(error.mean()),
                    "bias_se": float(error.std(ddof=1) / np.sqrt(len(mean))),
                    "rmse": float(np.sqrt((error**2).mean())),
                    "posterior_sd": float(mine["sd"].mean()),
                    "simulations": len(mean),
                }
            )
    return pd.DataFrame(rows)


# -- the two doors -------------------------------------------------------------------------------


def calibrate(
    model: MixedLogit,
    choices: Choices,
    simulations: int = 500,
    seed: int = 0,
    *,
    draws: int = 1000,
    thinned: int = 99,
    sampler: Sampler | None = None,
    directory: str | os.PathLike[str] | None = None,
    cores: int | None = None,
    progress: bool = True,
) -> Calibration:
    r"""Simulation-based calibration of a model in the design of given data.

    Population parameters are drawn from the model's prior, every chooser's coefficients from
    the mixing distributions, and choices made among the alternatives of ``choices``, whose own
    outcomes are not used. The model is fitted to each simulated data set, and the true values
    are ranked among thinned posterior draws: all population-level parameters, in every group,
    and the log-likelihood of the data, which sees errors that single parameters do not.

    Parameters
    ----------
    model : MixedLogit
    choices : Choices
        The design: alternatives, choosers, groups, weights (whole numbers).
    simulations : int
        Data sets to simulate.
    seed : int
        Same seed, same numbers, whatever the number of cores; more simulations continue fewer.
    draws : int
        Posterior draws of each fit, at least 200 (100 of a ``sampler`` of yours).
    thinned : int
        Draws among which is ranked, spread evenly over all draws.
    sampler : callable, optional
        ``sampler(model, choices, seed)`` returns posterior draws by variable, each
        (draw, ...), in place of the package's own inference: a way to check another sampler,
        or this check itself.
    directory : path, optional
        Keeps finished simulations there. The same call again goes on where it was interrupted,
        or adds simulations.
    cores : int, optional
        Processes; all cores that are free to use when left out. One runs in this process.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If a setting is out of range, the weights are not whole numbers, or ``directory`` holds
        simulations with other settings.

    References
    ----------
    .. [1] Talts, Betancourt, Simpson, Vehtari, Gelman (2018), Validating Bayesian inference
       algorithms with simulation-based calibration, arXiv:1804.06788.
    .. [2] Modrak, Moon, Kim, Buerkner, Huurre, Faltejskova, Gelman, Vehtari (2023),
       Simulation-based calibration checking for Bayesian computation: the choice of test
       quantities shapes sensitivity, Bayesian Analysis, arXiv:2211.02383.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.PointMass(value=1.0), choosers=20, situations=5)
    >>> model = ps.MixedLogit({"reward": ps.PointMass()})
    >>> done = ps.calibrate(model, choices, simulations=20, cores=1, progress=False)
    >>> done.table["variable"].tolist()
    ['reward_value', 'log_likelihood']
    """
    task = Replicates.of(model, choices, seed, draws, thinned, sampler, likelihood=True)
    frame = replicate(task, simulations, directory, cores, progress, "Calibration")
    return Calibration(frame, task.spec())


def coverage(
    model: MixedLogit,
    choices: Choices,
    truth: Mixing | Mapping[str, Any] | None = None,
    simulations: int = 200,
    seed: int = 0,
    *,
    draws: int = 1000,
    sampler: Sampler | None = None,
    directory: str | os.PathLike[str] | None = None,
    cores: int | None = None,
    progress: bool = True,
) -> Coverage:
    """Coverage of posterior intervals over many simulated data sets, at a known truth.

    Parameters
    ----------
    model : MixedLogit
    choices : Choices
        The design: alternatives, choosers, groups, weights (whole numbers).
    truth : Mixing or mapping, optional
        Known mixing distribution of the model's one coefficient; or a value for every parameter by
        variable, such as ``{"reward_mu": 0.0, "reward_sigma": [0.3, 0.9]}``, one value for all
        cells of the groups or one for each. Drawn from the prior in every simulation when left out.
    simulations, seed, draws, sampler, directory, cores, progress
        As in :func:`calibrate`.

    Returns
    -------
    Coverage

    Raises
    ------
    InputError
        As in :func:`calibrate`, and if the truth is not of the model's families.

    Notes
    -----
    Over the prior, intervals of a Bayesian posterior cover exactly as they say. At one fixed
    truth they need not: a prior pulls towards itself, by less the more data there are.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.PointMass(value=1.0), choosers=20, situations=5)
    >>> model = ps.MixedLogit({"reward": ps.PointMass()})
    >>> done = ps.coverage(model, choices, ps.PointMass(value=1.0), simulations=20, cores=1,
    ...                    progress=False)
    >>> done.table["prob"].tolist()
    [0.5, 0.8, 0.9]
    """
    task = Replicates.of(model, choices, seed, draws, 99, sampler, truth=truth)
    frame = replicate(task, simulations, directory, cores, progress, "Coverage")
    return Coverage(frame, task.spec())
