"""Planning: how many annotations are needed before one can tell.

The Fisher information of a chooser's choices (:mod:`prefstrength.validation.information`) and the
prior say how wide the posterior will be, and how probable it is that the verdict of
:func:`prefstrength.heterogeneity` is reached, for any number of choosers, of choices of each, and
any spread of the reward differences.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from scipy.interpolate import PchipInterpolator

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS, family_named
from prefstrength.choice.mixing.kinds import Kinds
from prefstrength.choice.mixing.log_normal import LogNormal
from prefstrength.choice.mixing.point_mass import PointMass
from prefstrength.errors import InputError
from prefstrength.inference.population import Population
from prefstrength.inference.priors import Prior, prior_of
from prefstrength.likelihood.cells import law
from prefstrength.models.mixed_logit import MixedLogit
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.heterogeneity import CONFIDENCE, EVIDENCE, LEARNED
from prefstrength.validation.information import information

__all__ = ["Plan", "law_of_mean", "plan"]

# Dispersions (in their unit) at which the information is computed, interpolated between.
_GRID = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.5, 4.0])
# Data sets over which a design is averaged: quantiles of the estimate.
_ESTIMATES = special.ndtri((np.arange(101) + 0.5) / 101)
# Below, estimates are far from Normal; above, nobody asks.
_FEWEST_CHOOSERS, _MOST_CHOOSERS = 10, 10**8


@dataclass(frozen=True, eq=False)
class _Design:
    """What one chooser tells in one design, and what is believed before."""

    label: str
    family: type[Mixing]
    location: float
    dispersion: float
    situations: int
    spread: float
    rope: float
    grid: np.ndarray  # (dispersion,)
    over_grid: np.ndarray  # information of a chooser, (dispersion, 2, 2)
    priors: Mapping[str, Any] | None

    @property
    def unit(self) -> float:
        return 1.0 if self.family.positive else 1.0 / self.spread

    @cached_property
    def at_truth(self) -> np.ndarray:
        """Information of a chooser as assumed; on no dispersion there is none."""
        if self.dispersion > 0:
            return self.over_grid[np.argmin(np.abs(self.grid - self.dispersion))]
        return np.diag([self.over_grid[0, 0, 0], 0.0])

    @cached_property
    def prior(self) -> tuple[Prior, Prior]:
        """Priors of location and dispersion."""
        table = _prior(self.family, self.spread, self.priors)
        return table["reward_location"], table["reward_dispersion"]

    @cached_property
    def prior_precision(self) -> np.ndarray:
        return np.array([1 / prior.variance for prior in self.prior])

    def _log_prior(self, dispersion: np.ndarray) -> np.ndarray:
        return self.prior[1].log_density(dispersion)

    @cached_property
    def _curves(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Dispersions, and there cv and the index of which the verdict asks what is learned."""
        at = self.unit * np.r_[np.geomspace(0.005, 0.05, 20), np.geomspace(0.06, 10.0, 100)]
        laws = [law(self.family, self.location, float(d)) for d in at]
        cv = np.array([each.cv() for each in laws])
        return at, cv, np.array([each.sd_log() for each in laws]) if self.family.positive else cv

    @cached_property
    def threshold(self) -> float:
        """Dispersion at which the coefficient of variation is at the rope."""
        at, cv, _ = self._curves
        return float(np.interp(self.rope, cv, at))

    @property
    def verdict(self) -> str:
        """The verdict that is right under the assumed mixing distribution."""
        return "heterogeneous" if self.dispersion > self.threshold else "homogeneous"

    def _metric(self, choosers: float) -> tuple[np.ndarray, np.ndarray]:
        """Dispersions and their lengths in the metric of the information, location profiled out.

        In this coordinate the estimate is Normal with variance 1/choosers, also close to no
        dispersion, where the information on it vanishes and that on its square does not.
        """
        own, cross, other = (self.over_grid[:, i, j] for i, j in ((1, 1), (0, 1), (0, 0)))
        effective = own - cross**2 / (other + self.prior_precision[0] / choosers)
        # Close to 0 the information is proportional to the squared dispersion.
        log_slope = PchipInterpolator(np.log(self.grid), np.log(np.sqrt(effective) / self.grid))
        at = self.unit * np.r_[0.0, np.geomspace(1e-4, 20.0, 2000)]
        inside = np.clip(at[1:], self.grid[0], self.grid[-1])
        speed = np.r_[0.0, np.exp(log_slope(np.log(inside))) * np.minimum(at[1:], inside)]
        # Beyond the grid a dispersion is known to a constant share of itself.
        speed[1:] *= np.where(at[1:] > self.grid[-1], self.grid[-1] / at[1:], 1.0)
        return at, np.r_[0.0, np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(at))]

    def posteriors(self, choosers: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Dispersions (grid,), posterior mass (data set, grid) and prior mass (grid,)."""
        error = 1 / np.sqrt(choosers)
        dispersions, lengths = self._metric(choosers)
        true = np.interp(self.dispersion, dispersions, lengths)
        near = np.clip(true + error * np.linspace(-8.0, 8.0, 201), lengths[1], lengths[-1])
        coarse = self.unit * np.r_[np.linspace(1e-3, 0.25, 100), np.geomspace(0.253, 8.0, 200)]
        at = np.sort(np.r_[coarse, np.interp(near, lengths, dispersions)])
        with np.errstate(divide="ignore"):  # a dispersion that occurs twice weighs nothing once
            prior = self._log_prior(at) + np.log(np.r_[at[1:], at[-1]] - np.r_[at[0], at[:-1]])
        distance = (true + error * _ESTIMATES)[:, None] - np.interp(at, dispersions, lengths)
        values = prior - choosers / 2 * distance**2
        mass = np.exp(values - values.max(axis=1, keepdims=True))
        before = np.exp(prior - prior.max())
        return at, mass / mass.sum(axis=1, keepdims=True), before / before.sum()

    def expect(self, choosers: float) -> dict[str, float]:
        """Widths, and the probability of the right verdict."""
        told = choosers * self.at_truth
        alone = np.array([told[0, 0] ** -0.5, np.inf])
        if self.dispersion > 0:
            alone = np.sqrt(np.diag(np.linalg.inv(told)))
        together = np.linalg.inv(told + np.diag(self.prior_precision))
        at, mass, before = self.posteriors(choosers)
        mean = mass @ at
        sd = np.sqrt(np.maximum(mass @ at**2 - mean**2, 0.0))
        return {
            "location_se": float(alone[0]),
            "dispersion_se": float(alone[1]),
            "location_sd": float(np.sqrt(together[0, 0])),
            "dispersion_sd": float(sd.mean()),
            "probability": float(self._reached(at, mass, before).mean()),
        }

    def _reached(self, at: np.ndarray, mass: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Whether each data set leads to the right verdict, by the rule of heterogeneity()."""
        if self.situations == 1:  # a bend of the utility explains single choices as well
            return np.zeros(len(mass), bool)
        wanted = (at > self.threshold) == (self.verdict == "heterogeneous")
        p, prior = mass @ wanted, float(before @ wanted)
        with np.errstate(divide="ignore"):
            factor = p / (1 - p) / (prior / (1 - prior)) if 0 < prior < 1 else np.ones(len(p))
        learned = 1 - (self._width(at, mass) / self._width(at, before[None])) ** 2
        return (p >= CONFIDENCE) & ((factor >= EVIDENCE) | (learned >= LEARNED))

    def _width(self, at: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Interquartile range of the index, (data set,)."""
        grid, _, index = self._curves
        value = np.interp(at, grid, index)
        cumulative = np.cumsum(mass, axis=1)
        low, high = (
            value[np.minimum((cumulative < q).sum(axis=1), len(at) - 1)] for q in (0.25, 0.75)
        )
        return high - low


@dataclass(frozen=True, eq=False)
class Plan:
    """What to expect of data that have not been collected yet.

    Parameters
    ----------
    designs : tuple
        One for each mixing distribution, number of situations and spread.
    choosers : tuple of int
        Numbers of choosers in the table.
    """

    designs: tuple[_Design, ...]
    choosers: tuple[int, ...]

    @cached_property
    def table(self) -> pd.DataFrame:
        """What to expect of each design.

        Returns
        -------
        pandas.DataFrame
            Columns mixing, spread, situations (of each chooser), choosers, annotations (choosers
            times situations); location_se and dispersion_se, standard errors from the data
            alone; location_sd and dispersion_sd, expected posterior sd, the prior included;
            verdict, the right one; probability that it is reached, 0 for single choices.
        """
        return pd.DataFrame(
            [
                {**_columns(design, choosers), **design.expect(choosers)}
                for design in self.designs
                for choosers in self.choosers
            ]
        )[[*_columns(self.designs[0], 1), *self.designs[0].expect(1)]].assign(
            verdict=[design.verdict for design in self.designs for _ in self.choosers]
        )

    def needed(
        self, probability: float = 0.8, *, sd: float | None = None, of: str = "dispersion"
    ) -> pd.DataFrame:
        """Fewest choosers with which one can tell.

        Parameters
        ----------
        probability : float
            That the right verdict is reached, where ``sd`` is left out.
        sd : float, optional
            Wanted posterior sd instead.
        of : {"dispersion", "location"}
            What the sd is of.

        Returns
        -------
        pandas.DataFrame
            Columns mixing, spread, situations, choosers, annotations; at least 10 choosers, and
            infinite where 10^8 are not enough, as where the strength's sd/mean is at the rope.

        Raises
        ------
        InputError
            If a number is out of range.
        """
        if not 0 < probability < 1:
            raise InputError(f"Expected probability between 0 and 1; got {probability}.")
        if sd is not None and not sd > 0:
            raise InputError(f"Expected sd > 0; got {sd}.")
        if of not in ("dispersion", "location"):
            raise InputError(f"Expected of to be 'dispersion' or 'location'; got {of!r}.")

        def enough(design: _Design, choosers: float) -> bool:
            expected = design.expect(choosers)
            if sd is None:
                return expected["probability"] >= probability
            return expected[f"{of}_sd"] <= sd

        rows = []
        for design in self.designs:
            choosers = _fewest(lambda number, design=design: enough(design, number))
            rows.append(_columns(design, choosers))
        return pd.DataFrame(rows)

    def plot(self, **options: Any) -> np.ndarray:
        """Draw it; see :func:`prefstrength.plot_plan`."""
        from prefstrength.plots import plot_plan

        return plot_plan(self, **options)

    def __repr__(self) -> str:
        return f"Plan\n{self.table.to_string(index=False, float_format=lambda v: f'{v:.3g}')}"

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, float_format=lambda v: f"{v:.3g}")
        return f"<p>{html.escape('Plan')}</p>{table}"


def _columns(design: _Design, choosers: float) -> dict[str, Any]:
    return {
        "mixing": design.label,
        "spread": design.spread,
        "situations": design.situations,
        "choosers": choosers,
        "annotations": choosers * design.situations,
    }


def _fewest(enough: Any) -> float:
    """Smallest number for which it holds, to half a per cent, by doubling and halving."""
    high = _FEWEST_CHOOSERS
    if enough(high):
        return high
    while not enough(high):
        high *= 2
        if high > _MOST_CHOOSERS:
            return np.inf
    low = high // 2
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def plan(
    assumed: "Mixing | Sequence[Mixing] | MixedLogit | Fit",
    choosers: Sequence[int] = (30, 100, 300, 1000, 3000),
    situations: Sequence[int] = (1, 5, 20),
    spread: float | Sequence[float] | None = None,
    *,
    priors: Mapping[str, Any] | None = None,
    rope: float = 0.25,
    seed: int = 0,
) -> Plan:
    """How wide the posterior will be, and whether one will be able to tell.

    Parameters
    ----------
    assumed : Mixing, sequence of Mixing, Fit or MixedLogit
        What is taken for true: known mixing distributions; the posterior medians of a fit to
        earlier data; the prior medians of a model with one coefficient. A
        :class:`~prefstrength.PointMass` is taken as a LogNormal without dispersion: how many
        annotations until homogeneous data are called so.
    choosers, situations : sequence of int
        Numbers of choosers, and of choices of each.
    spread : float or sequence of float, optional
        Standard deviations of the reward differences; 1.5, or that of a fit's data.
    priors : dict, optional
        As in :class:`~prefstrength.MixedLogit`, for an attribute called ``reward``; the default
        priors (or those of the given model) when left out.
    rope : float
        As in :func:`~prefstrength.heterogeneity`.
    seed : int
        Of the simulated choosers that give the information.

    Returns
    -------
    Plan
        ``.table``, ``.needed(...)``, ``.plot()``.

    Raises
    ------
    InputError
        If a number is out of range, or the mixing distribution is not known.

    Notes
    -----
    The estimated dispersion is taken as Normal in the coordinate in which its information is
    constant, and combined with the prior exactly; the location by its curvature alone. The
    reward differences are Normal(0, spread²), the choosers one group.

    Examples
    --------
    >>> import prefstrength as ps
    >>> planned = ps.plan(ps.LogNormal(mu=0.0, sigma=0.7), choosers=[10_000], situations=[1])
    >>> round(float(planned.table["dispersion_se"][0]), 3)  # 8.9 over the root of 10,000
    0.089
    """
    if spread is None:
        spread = (
            float(assumed.spec["scales"][assumed.attribute()]) if isinstance(assumed, Fit) else 1.5
        )
    spreads = [float(s) for s in np.atleast_1d(np.asarray(spread, dtype=float))]
    counts, lengths = _whole("choosers", choosers), _whole("situations", situations)
    if not spreads or not all(np.isfinite(s) and s > 0 for s in spreads):
        raise InputError(f"Expected spread > 0; got {spread}.")
    if not rope > 0:
        raise InputError(f"Expected rope > 0, a coefficient of variation; got {rope}.")
    designs = []
    for each in spreads:
        for label, family, location, dispersion, own in _assumed(assumed, each, priors):
            _prior(family, each, own)  # names are checked before the work begins
            unit = 1.0 if family.positive else 1.0 / each
            grid = unit * _GRID
            if dispersion > 0:
                grid = np.sort(np.r_[grid[np.abs(np.log(grid / dispersion)) > 0.15], dispersion])
            told = np.stack(
                [information(family, location, float(d), lengths, each, seed) for d in grid]
            )
            for place, number in enumerate(lengths):
                designs.append(
                    _Design(
                        label=label,
                        family=family,
                        location=location,
                        dispersion=dispersion,
                        situations=number,
                        spread=each,
                        rope=rope,
                        grid=grid,
                        over_grid=told[:, place],
                        priors=own,
                    )
                )
    return Plan(tuple(designs), counts)


def law_of_mean(family: str, mean: float, cv: float) -> Mixing:
    """A mixing distribution from its mean and sd/mean; a point mass where the latter is 0.

    Examples
    --------
    >>> law_of_mean("Gamma", 2.0, 0.5)
    Gamma(shape=4, rate=2)
    """
    if not (np.isfinite(mean) and mean > 0 and np.isfinite(cv) and cv >= 0):
        raise InputError(f"Expected mean > 0 and cv >= 0; got mean {mean} and cv {cv}.")
    if cv == 0:
        return PointMass(value=mean)
    kind = family_named(family)
    return kind.from_log_mean_spread(float(np.log(mean)), kind.log_spread_from_cv(cv))


def _whole(name: str, values: Sequence[int]) -> tuple[int, ...]:
    numbers = np.atleast_1d(np.asarray(values))
    if not numbers.size or (numbers != np.round(numbers)).any() or numbers.min() < 1:
        raise InputError(f"Expected {name} as whole numbers of at least 1; got {values}.")
    return tuple(sorted({int(number) for number in numbers}))


_Assumed = tuple[str, type[Mixing], float, float, Mapping[str, Any] | None]


def _assumed(assumed: Any, spread: float, priors: Mapping[str, Any] | None) -> list[_Assumed]:
    """Label, family, location, dispersion and priors of each that is taken for true."""
    if assumed_errors := (isinstance(assumed, Fit | MixedLogit) and assumed.errors):
        raise InputError(
            "A plan expects rewards without errors; got errors of "
            f"{list(assumed_errors)}. Give a known one, such as `LogNormal(mu=0, sigma=0.7)`, and "
            "take its sizes for the least: errors in the rewards ask for more choices."
        )
    if isinstance(assumed, Fit):
        attribute = assumed.attribute()
        if assumed.groups:
            raise InputError(
                f"Expected a fit without groups; got groups {assumed.groups}. "
                "Give that of the group that you plan for, such as `LogNormal(mu=0, sigma=0.7)`."
            )
        if assumed.family() not in MIXINGS:
            raise InputError(
                f"Expected a fit of one of {', '.join(MIXINGS)}; got {assumed.family()}. Give the "
                "mixing distribution that you plan for, such as `LogNormal(mu=0, sigma=0.7)`."
            )
        family = family_named(assumed.family())
        medians = [
            float(np.median(np.asarray(assumed.posterior[f"{attribute}_{part}"])))
            for part in ("location", "dispersion")
            if f"{attribute}_{part}" in assumed.posterior
        ]
        assumed = law(family, medians[0], medians[1] if len(medians) > 1 else None)
    if isinstance(assumed, MixedLogit):
        [name, mixing], *more = assumed.coefficients.items()
        if more or assumed.groups:
            raise InputError(
                "Expected a model of one coefficient without groups; got "
                f"{list(assumed.coefficients)} with groups {list(assumed.groups)}. "
                "Plan for one group and one attribute at a time."
            )
        family = type(mixing) if mixing.varies else LogNormal
        given = assumed.priors if priors is None else priors
        own = {k.replace(name, "reward", 1): v for k, v in (given or {}).items()}
        table = _prior(family, spread, own)
        location, dispersion = (
            table[f"reward_{part}"].quantile(0.5) for part in ("location", "dispersion")
        )
        return [(_label(law(family, location, dispersion)), family, location, dispersion, own)]
    laws = [assumed] if isinstance(assumed, Mixing) else list(assumed)
    out: list[_Assumed] = []
    for mixing in laws:
        if not isinstance(mixing, Mixing):
            raise TypeError(
                f"Expected known mixing distributions, a fit or a model; got {mixing!r}."
            )
        mixing.require_known()
        if mixing.varies:
            out.append((_label(mixing), type(mixing), *mixing.location_dispersion(), priors))
        else:
            if not mixing.mean() > 0:
                raise InputError(f"Expected a positive strength to plan for; got {mixing!r}.")
            out.append((_label(mixing), LogNormal, mixing.log_mean(), 0.0, priors))
    return out


def _label(mixing: Mixing) -> str:
    shown = ", ".join(f"{name}={value:.3g}" for name, value in mixing.parameters.items())
    return f"{mixing.family}({shown})"


def _prior(
    family: type[Mixing], spread: float, priors: Mapping[str, Any] | None
) -> dict[str, Prior]:
    """Priors of a model with one coefficient on differences of the given spread."""
    plain = Population(
        kinds={"reward": Kinds((family,))},
        scales={"reward": spread},
        factors={},
        cells=np.zeros((1, 0), dtype=np.int64),
        centring={},
    )
    given = priors or {}
    unknown = sorted(
        {plain.alias(name) for name in given} - {"reward_location", "reward_dispersion"}
    )
    if unknown:
        raise InputError(
            "Expected priors for reward_location and reward_dispersion (reward_mu and "
            f"reward_sigma); got {unknown}. Correct the names."
        )
    return replace(plain, priors={name: prior_of(each) for name, each in given.items()}).prior()
