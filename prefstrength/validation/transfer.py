r"""After training: how far the log-ratio differences are what the strength prior took them for.

A strength prior goes from rewards to log-ratios. That its spread carries over assumes

.. math:: \Delta = c \cdot \Delta r

with one c for everybody and no error. Training decides whether that holds; here it is looked at, on
pairs of which both are known.
"""

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from prefstrength.choice.mixing.families import family_named
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.laws import (
    check_probability,
    draws_of,
    in_cells,
    nodes,
    selection_of,
)
from prefstrength.posterior.prior_from_fit import MATCHED, matched

__all__ = ["Transfer", "check_transfer"]

_FEWEST, _FEWEST_OF_LEVEL = 20, 5
# Pairs by which strengths are carried over, strengths at which that is done, and the standard
# normal quantile beyond which a law is nothing.
_MOST_PAIRS, _STRENGTHS, _FAR = 10_000, 48, 5.0
_POWERS = (0.05, 5.0)
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Transfer:
    """Outcome of :func:`check_transfer`.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns quantity, value, low, high, meaning. Quantities: slope (nats per unit of reward),
        toward_chosen (nats, whatever the reward), power (1: straight), noise (sd in nats around
        the line), explained (share of Δ that the reward explains) and, with ``by``, slope_spread
        (sd/mean of the slopes of its levels, without what chance adds).
    levels : pandas.DataFrame
        Columns level, pairs, slope, low, high; empty without ``by``.
    strengths : pandas.DataFrame
        Rows assumed and linked: mean strength per nat and its spread (median, low, high), were
        Δ = c·Δr exact, and under the link that was found; empty without ``fit``.
    prior : StrengthPrior or None
        The one that the posterior supports under that link.
    spread : str
        Which spread ``strengths`` holds: ``"sd_log"`` or ``"cv"``.
    reward, delta : numpy.ndarray, shape (pair,)
        What was regressed.
    prob : float
        Probability of the intervals.

    Examples
    --------
    >>> import numpy as np
    >>> reward = np.linspace(-2.0, 2.0, 100)
    >>> check_transfer(3.0 * np.sign(reward) * np.sqrt(np.abs(reward)), reward).words[1][:30]
    'It is bent: Δ goes with the po'
    """

    table: pd.DataFrame
    levels: pd.DataFrame
    strengths: pd.DataFrame
    prior: StrengthPrior | None
    spread: str
    reward: np.ndarray
    delta: np.ndarray
    prob: float

    def value(self, quantity: str) -> float:
        """Estimate of a quantity of the table."""
        return float(self.table.set_index("quantity").loc[quantity, "value"])

    @property
    def words(self) -> list[str]:
        """What was found, a sentence each."""
        rows = self.table.set_index("quantity")
        explained, noise = rows.loc["explained", "value"], rows.loc["noise", "value"]
        found = [
            f"Over {len(self.delta):,} pairs Δ changes by {_of(rows.loc['slope'])} nats per unit "
            f"of reward. Rewards explain {explained:.0%} of it; around the line it has an sd of "
            f"{noise:.3g} nats.",
            _bend(rows.loc["power"]),
        ]
        lean, least = rows.loc["toward_chosen"], _ROUNDING * np.sqrt(np.mean(self.delta**2))
        if lean["low"] > least or lean["high"] < -least:
            found.append(
                f"Whatever the reward, Δ leans by {_of(lean)} nats toward what was chosen: "
                "training has taken more from these choices than their rewards."
            )
        if len(self.levels):
            found.append(
                f"Slopes of {len(self.levels)} levels differ by an sd/mean of "
                f"{_of(rows.loc['slope_spread'])}: as far as that there is no one c, and strength "
                "per nat differs between them otherwise than strength per unit of reward."
            )
        if len(self.strengths):
            assumed, linked = self.strengths.loc["assumed"], self.strengths.loc["linked"]
            name = "sd of log strength" if self.spread == "sd_log" else "sd/mean"
            found.append(
                f"Under this link strength per nat has a mean of {linked['mean']:.3g} and an "
                f"{name} of {_of(linked)}; were Δ = c·Δr exact, {assumed['mean']:.3g} and "
                f"{_of(assumed)}."
            )
        if rows.loc["slope", "value"] <= 0:
            found.append("Δ does not rise with the reward: no strength carries over.")
        return found

    def plot(self, **options: Any) -> Any:
        """Draw it; see :func:`prefstrength.plots.plot_transfer`."""
        from prefstrength.plots import plot_transfer

        return plot_transfer(self, **options)

    def __repr__(self) -> str:
        shown = self.table[["quantity", "value", "low", "high"]]
        return "\n".join([shown.to_string(index=False, float_format="{:.4g}".format), *self.words])

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(each)}</li>" for each in self.words)
        return f"{self.table.to_html(index=False, escape=True)}<ul>{said}</ul>"


def check_transfer(
    delta: Any, reward: Any, *, by: Any = None, fit: Fit | None = None, prob: float = 0.9
) -> Transfer:
    r"""Regress log-ratio differences on reward differences, after training.

    Parameters
    ----------
    delta : array_like, shape (pair,)
        Log-ratio differences Δ, chosen minus rejected, in nats, free of β: column ``delta`` of
        :func:`prefstrength.mixdpo.evaluate_preferences`. Of pairs held out, if it can be: of those
        trained on it leans toward what was chosen.
    reward : array_like, shape (pair,)
        Reward differences of the same pairs, chosen minus rejected, in the unit of the fit.
    by : array_like, shape (pair,), optional
        Chooser or group of every pair: slopes of those with five pairs and more are compared, and
        intervals take their pairs to go together.
    fit : Fit, optional
        Whose strengths are carried over, pair by pair.
    prob : float
        Probability of the intervals.

    Returns
    -------
    Transfer

    Raises
    ------
    InputError
        If there are fewer than 20 pairs, lengths differ, or a number is not finite.

    Notes
    -----
    The line is fitted by least squares with a constant, errors after White [1]_ (by level with
    ``by``). The power γ is that of
    :math:`\Delta = a + c \, \text{sign}(\Delta r) |\Delta r|^\gamma`, by nonlinear least
    squares. The spread of the slopes is DerSimonian's and Laird's, its interval the
    Q-profile's [2]_.

    A strength β per unit of reward becomes the strength per nat with which σ(BΔ) is closest to
    σ(βΔr) over the given pairs (in Kullback-Leibler divergence): β/c where Δ = c·Δr, smaller for
    the strong where Δ is noisy or bent. It needs no model of the link.

    References
    ----------
    .. [1] H. White (1980), A heteroskedasticity-consistent covariance matrix estimator,
       Econometrica 48(4).
    .. [2] W. Viechtbauer (2007), Confidence intervals for the amount of heterogeneity in
       meta-analysis, Statistics in Medicine 26(1).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> reward = rng.normal(size=2000)
    >>> found = check_transfer(3.0 * reward + rng.normal(size=2000), reward)
    >>> round(found.value("slope"), 1), round(found.value("power"), 1)
    (3.0, 1.0)
    """
    check_probability(prob)
    delta, reward = _checked(delta, reward)
    codes, levels = _codes(by, len(delta))
    z = float(special.ndtri((1 + prob) / 2))
    design = np.stack([np.ones_like(reward), reward], axis=1)
    (lean, slope), residual = _least_squares(design, delta)
    error = _errors(design, residual, codes)
    rows = [
        ("slope", slope, error[1], "nats of log-ratio for a unit of reward"),
        ("toward_chosen", lean, error[0], "nats toward what was chosen, whatever the reward"),
        ("power", *_power(delta, reward, codes), "1 where Δ is proportional to the reward"),
    ]
    noise = float(np.sqrt((residual**2).sum() / (len(delta) - 2)))
    signal = slope**2 * np.mean(reward**2)
    shares = signal / (signal + noise**2)
    table = [(name, v, v - z * e, v + z * e, meaning) for name, v, e, meaning in rows]
    table += [
        ("noise", noise, np.nan, np.nan, "sd around the line, nats"),
        ("explained", shares, np.nan, np.nan, "share of Δ's mean square that is the reward's"),
    ]
    by_level = _slopes(delta - lean, reward, codes, levels, noise, z)
    if len(by_level):
        spread = _spread(by_level, slope, prob)
        table.append(("slope_spread", *spread, "sd/mean of the levels' slopes, chance apart"))
    strengths, prior, name = pd.DataFrame(), None, ""
    if fit is not None and slope > 0:
        strengths, prior, name = _carried(fit, delta, reward, slope, error[1], prob)
    return Transfer(
        table=pd.DataFrame(table, columns=["quantity", "value", "low", "high", "meaning"]),
        levels=by_level.drop(columns="error"),
        strengths=strengths,
        prior=prior,
        spread=name,
        reward=reward,
        delta=delta,
        prob=prob,
    )


# -- at the door -----------------------------------------------------------------------------------


def _checked(delta: Any, reward: Any) -> tuple[np.ndarray, np.ndarray]:
    both = [np.asarray(each, dtype=float).reshape(-1) for each in (delta, reward)]
    if len(both[0]) != len(both[1]):
        raise InputError(
            f"Expected Δ and the reward difference of the same pairs; got {len(both[0])} and "
            f"{len(both[1])}. Match them by the column `row` of the evaluation."
        )
    wrong = np.flatnonzero(~np.isfinite(both).all(axis=0))
    if len(wrong):
        first = ", ".join(map(str, wrong[:3]))
        raise InputError(
            f"Expected differences that are finite; got {len(wrong)} of {len(both[0])} pairs where "
            f"one is not (first: {first}). Leave these pairs out."
        )
    if len(both[0]) < _FEWEST or not both[1].any():
        raise InputError(
            f"Expected {_FEWEST} pairs or more whose rewards differ; got {len(both[0])}, of which "
            f"{int((both[1] != 0).sum())} differ. Evaluate more pairs."
        )
    return both[0], both[1]


def _codes(by: Any, size: int) -> tuple[np.ndarray, list[str]]:
    """Number of each pair's level, and the levels; every pair its own where there are none."""
    if by is None:
        return np.arange(size), []
    labels = pd.Series(np.asarray(by, dtype=object).reshape(-1))
    if len(labels) != size or labels.isna().any():
        raise InputError(
            f"Expected the chooser or group of each of {size} pairs; got {len(labels)} labels, "
            f"{int(labels.isna().sum())} of them missing. Give one for each pair."
        )
    codes, levels = pd.factorize(labels.astype(str), sort=True)
    return codes, list(levels)


# -- regression ------------------------------------------------------------------------------------


def _least_squares(design: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = np.linalg.lstsq(design, delta, rcond=None)[0]
    return found, delta - design @ found


def _errors(design: np.ndarray, residual: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Standard errors that hold where noise differs, and where pairs of a level go together."""
    scores = np.zeros((codes.max() + 1, design.shape[1]))
    np.add.at(scores, codes, design * residual[:, None])
    inverse = np.linalg.pinv(design.T @ design)
    groups = len(scores)
    few = groups / max(groups - 1, 1) * (len(design) - 1) / (len(design) - design.shape[1])
    return np.sqrt(few * np.diag(inverse @ (scores.T @ scores) @ inverse))


def _power(delta: np.ndarray, reward: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """The power of the reward difference that Δ goes with, and its standard error."""
    size = np.abs(reward) / np.sqrt(np.mean(reward**2))
    log = np.log(np.where(size > 0, size, 1.0))

    def design(power: float) -> np.ndarray:
        bent = np.sign(reward) * np.where(size > 0, np.exp(power * log), 0.0)
        return np.stack([np.ones_like(reward), bent], axis=1)

    def misfit(power: float) -> float:
        return float((_least_squares(design(power), delta)[1] ** 2).sum())

    found = optimize.minimize_scalar(misfit, bounds=_POWERS, method="bounded")
    columns = design(float(found.x))
    (_, slope), residual = _least_squares(columns, delta)
    whole = np.column_stack([columns, slope * columns[:, 1] * log])
    return float(found.x), float(_errors(whole, residual, codes)[2])


def _slopes(
    delta: np.ndarray, reward: np.ndarray, codes: np.ndarray, levels: list[str], noise: float,
    z: float,
) -> pd.DataFrame:  # fmt: skip
    """Slope of every level with enough pairs, and its standard error under the common noise."""
    many = max(len(levels), 1)
    pairs = np.bincount(codes, minlength=many)[:many]
    square = np.bincount(codes, reward**2, minlength=many)[:many]
    product = np.bincount(codes, reward * delta, minlength=many)[:many]
    kept = np.flatnonzero((pairs >= _FEWEST_OF_LEVEL) & (square > 0))
    if not levels or len(kept) < 2:
        return pd.DataFrame(columns=["level", "pairs", "slope", "low", "high", "error"])
    slope, error = product[kept] / square[kept], noise / np.sqrt(square[kept])
    return pd.DataFrame(
        {
            "level": [levels[k] for k in kept],
            "pairs": pairs[kept],
            "slope": slope,
            "low": slope - z * error,
            "high": slope + z * error,
            "error": error,
        }
    )


def _spread(levels: pd.DataFrame, mean: float, prob: float) -> tuple[float, float, float]:
    """Spread of the slopes over their mean: estimate and interval."""
    slope, variance = levels["slope"].to_numpy(), levels["error"].to_numpy() ** 2
    free = len(slope) - 1

    def excess(between: float) -> float:
        weight = 1 / (variance + between)
        centre = (weight * slope).sum() / weight.sum()
        return float((weight * (slope - centre) ** 2).sum())

    def at(level: float) -> float:
        if excess(0.0) <= level:
            return 0.0
        most = slope.var() + variance.max()
        while excess(most) > level:
            most *= 4
        return float(optimize.brentq(lambda b: excess(b) - level, 0.0, most))

    weight = 1 / variance
    between = (excess(0.0) - free) / (weight.sum() - (weight**2).sum() / weight.sum())
    ends = stats.chi2.ppf([(1 + prob) / 2, (1 - prob) / 2], free)
    middle, low, high = np.sqrt([max(between, 0.0), *(at(float(end)) for end in ends)])
    return middle / abs(mean), low / abs(mean), high / abs(mean)


# -- strengths -------------------------------------------------------------------------------------


def _carried(
    fit: Fit, delta: np.ndarray, reward: np.ndarray, slope: float, error: float, prob: float
) -> tuple[pd.DataFrame, StrengthPrior | None, str]:
    """Strengths per nat: assumed and under the link; the prior of the latter; the spread's name."""
    before, laws = StrengthPrior.from_fit(fit, mean_strength=1.0), draws_of(fit, fit.attributes[0])
    family, everybody = family_named(before.family), selection_of(fit, None)
    # Of several kinds of choosers the record holds the coefficient of variation.
    name = family.spread if type(laws) is family else "cv"
    strength, weight = nodes(in_cells(laws, everybody.cells))
    share = everybody.share[:, None] * weight
    if len(delta) > _MOST_PAIRS:
        some = np.random.default_rng(0).choice(len(delta), _MOST_PAIRS, replace=False)
        delta, reward = delta[some], reward[some]
    linked = _per_nat(strength, share, delta, reward)
    found = {
        "assumed": _moments(strength / slope, share, name),
        "linked": _moments(linked, share, name),
    }
    tail, rows = (1 - prob) / 2, {}
    for row, (mean, spread) in found.items():
        low, value, high = np.quantile(spread, [tail, 0.5, 1 - tail])
        rows[row] = {"mean": np.median(mean), "value": value, "low": low, "high": high}
    strengths = pd.DataFrame.from_dict(rows, orient="index")
    mean, spread = found["linked"]
    if (mean <= 0).any():
        return strengths, None, name
    own: dict[str, Any] = {}
    if family.varies:
        ends = matched(spread)
        logs = (
            np.log(ends) if name == family.spread else [family.log_spread_from_cv(e) for e in ends]
        )
        low, high = (float(each) for each in logs if each is not None)
        sd = (high - low) / (2 * float(special.ndtri(MATCHED[1])))
        own = {"dispersion": (low + high) / 2, "dispersion_sd": max(sd, 0.01)}
    prior = StrengthPrior(
        before.family,
        float(np.log(np.median(mean))),
        float(np.hypot(np.log(mean).std(), error / slope)),
        **own,
        source={**before.source, "link": {"slope": float(slope), "pairs": len(delta)}},
    )
    return strengths, prior, name


def _per_nat(
    strength: np.ndarray, share: np.ndarray, delta: np.ndarray, reward: np.ndarray
) -> np.ndarray:
    """Strengths per nat that come closest to the choices of strengths per unit of reward."""
    size = np.abs(strength)
    seen = size[(size > 0) & (share > special.ndtr(-_FAR))]
    if not len(seen):
        return np.zeros_like(strength)
    at = np.geomspace(seen.min(), seen.max() * (1 + 1e-9), _STRENGTHS)
    found = np.empty(_STRENGTHS)
    unit = np.sqrt(np.mean(reward**2) / np.mean(delta**2))
    for k, own in enumerate(at):
        pull = delta * special.expit(own * reward)

        def slope(per_nat: float, pull: np.ndarray = pull) -> float:
            return float((pull - delta * special.expit(per_nat * delta)).sum())

        low, high = -own * unit, own * unit
        while slope(high) > 0:
            high *= 4
        while slope(low) < 0:
            low *= 4
        found[k] = optimize.brentq(slope, low, high, xtol=1e-10 * high, rtol=1e-10)
    # The ratio changes slowly, so that it is what is interpolated.
    ratio = np.interp(np.log(np.maximum(size, at[0])), np.log(at), found / at)
    return strength * ratio


def _moments(strength: np.ndarray, share: np.ndarray, spread: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread over choosers in every draw."""

    def average(values: np.ndarray) -> np.ndarray:
        return np.asarray((values * share).sum(axis=(1, 2)))

    mean = average(strength)
    if spread == "sd_log":
        log = np.log(np.maximum(strength, 1e-300))
        return mean, np.sqrt(np.maximum(average(log**2) - average(log) ** 2, 0.0))
    variance = np.maximum(average(strength**2) - mean**2, 0.0)
    return mean, np.sqrt(variance) / np.abs(mean)


# -- words -----------------------------------------------------------------------------------------


def _of(row: Any) -> str:
    return f"{row['value']:.3g} ({row['low']:.3g} to {row['high']:.3g})"


def _bend(row: Any) -> str:
    if row["low"] - _ROUNDING <= 1 <= row["high"] + _ROUNDING:
        return f"No bend is seen: Δ goes with the power {_of(row)} of the reward difference."
    less = "less" if row["value"] < 1 else "more"
    return (
        f"It is bent: Δ goes with the power {_of(row)} of the reward difference, so that large "
        f"differences count {less} than in proportion."
    )
