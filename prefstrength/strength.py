"""What users ask for: how strength is distributed, how sure that is, and the verdict.

Everything here reads a :class:`~prefstrength.Fit`, never a model's insides. A level of a factor
(or all data) is a mixture of the laws in its cells, each weighted by its share of situations.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from prefstrength import _inverse_gaussian
from prefstrength.errors import InputError
from prefstrength.fit import Fit
from prefstrength.mixing import MIXINGS

__all__ = [
    "VERDICTS",
    "MixtureDraws",
    "choice_curve",
    "chooser_strengths",
    "heterogeneity",
    "mixture_draws",
    "strength_density",
    "strength_prior_summary",
]

#: The three verdicts, and the one of a model that assumes the answer.
VERDICTS = ("heterogeneous", "homogeneous", "the data cannot tell", "assumed homogeneous")
#: Posterior probability that a verdict asks for.
CONFIDENCE = 0.95
#: Bayes factor, or else share of data, that a verdict asks for besides, so that no prior can give
#: a verdict by itself.
EVIDENCE = 3.0
LEARNED = 0.5

_MOST_DRAWS = 500
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


@dataclass(frozen=True)
class _Laws:
    """Draws of the laws in every cell: location and dispersion, each (draw, cell)."""

    family: str
    location: np.ndarray
    dispersion: np.ndarray | None

    @classmethod
    def of(cls, fit: Fit, attribute: str, group: str = "posterior") -> "_Laws":
        node = fit.tree[group]

        def draws(name: str) -> np.ndarray:
            values = np.asarray(node[f"{attribute}_{name}"])
            flat = values.reshape(values.shape[0] * values.shape[1], -1)
            stride = max(1, len(flat) // _MOST_DRAWS)
            return flat[::stride]

        family = fit.family(attribute)
        if family == "PointMass":
            return cls(family, draws("value"), None)
        if family == "Gamma":
            shape = draws("shape")
            return cls(family, np.log(shape / draws("rate")), shape**-0.5)
        if family == "InverseGaussian":
            mean = draws("mu")
            return cls(family, np.log(mean), np.sqrt(mean / draws("shape")))
        return cls(family, draws("mu"), draws("sigma"))

    def take(self, cells: np.ndarray) -> "_Laws":
        dispersion = None if self.dispersion is None else self.dispersion[:, cells]
        return _Laws(self.family, self.location[:, cells], dispersion)

    @property
    def positive(self) -> bool:
        return MIXINGS[self.family].positive

    def _spread(self) -> np.ndarray:
        return np.zeros_like(self.location) if self.dispersion is None else self.dispersion

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and mean square of the strength, each (draw, cell)."""
        spread = self._spread()
        if self.family == "LogNormal":
            mean = np.exp(self.location + spread**2 / 2)
            return mean, mean**2 * np.exp(spread**2)
        if self.family in ("Gamma", "InverseGaussian"):
            mean = np.exp(self.location)
            return mean, mean**2 * (1 + spread**2)
        return self.location, self.location**2 + spread**2

    def log_moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and mean square of log strength."""
        spread = self._spread()
        if self.family == "Gamma":
            shape = spread**-2
            mean = special.digamma(shape) - np.log(shape) + self.location
            return mean, mean**2 + special.polygamma(1, shape)
        if self.family == "InverseGaussian":
            mean, variance = _inverse_gaussian.log_moments(spread)
            mean = mean + self.location
            return mean, mean**2 + variance
        return self.location, self.location**2 + spread**2

    def frozen(self) -> Any:
        """SciPy law, parameters (draw, cell)."""
        spread = self._spread()
        if self.family == "LogNormal":
            return stats.lognorm(s=spread, scale=np.exp(self.location))
        if self.family == "Gamma":
            return stats.gamma(spread**-2, scale=np.exp(self.location) * spread**2)
        if self.family == "InverseGaussian":
            return stats.invgauss(spread**2, scale=np.exp(self.location) * spread**-2)
        return stats.norm(self.location, spread)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Strengths (draw, cell, node) and weights (node,)."""
        location = self.location[..., None]
        if self.dispersion is None:
            return location, np.ones(1)
        spread = self.dispersion[..., None]
        if self.family in ("Gamma", "InverseGaussian"):
            # Midpoints of equal probability: no node rule fits every shape.
            q = (np.arange(41) + 0.5) / 41
            if self.family == "InverseGaussian":
                relative = np.exp(_inverse_gaussian.log_quantile(special.ndtri(q), spread))
            else:
                relative = special.gammaincinv(spread**-2, q) * spread**2
            return relative * np.exp(location), np.full(41, 1 / 41)
        value = location + spread * _NODES
        return (np.exp(value) if self.family == "LogNormal" else value), _NODE_WEIGHTS


@dataclass(frozen=True)
class _Selection:
    """All data, or one level of a factor."""

    factor: str
    level: str
    cells: np.ndarray
    share: np.ndarray  # of the situations, sums to 1
    situations: int
    choosers: int
    rows: np.ndarray  # situations that belong to it


def _selections(fit: Fit, by: str | None = None) -> Iterator[_Selection]:
    """Overall first, then every level of every factor (or of the factor ``by``)."""
    if by is not None and by not in fit.groups:
        raise InputError(
            f"Expected `by` to be a group of the fit, one of {fit.groups}; got {by!r}."
        )
    constant = fit.tree["constant_data"]
    group_index = np.asarray(constant["group_index"])
    weight = np.asarray(constant["weight"])
    chooser = np.asarray(constant["chooser_index"]) if "chooser_index" in constant else None
    cells = fit.spec["cells"]
    # After compression the situations are a sample, and how many there were is beside them.
    sampled = "cell_situations" in constant
    if sampled and chooser is not None:
        chooser, of_row = np.asarray(constant["row_chooser"]), np.asarray(constant["row_cell"])
    else:
        of_row = group_index
    wanted: list[tuple[str, str]] = [("overall", "")]
    for factor in fit.groups if by is None else [by]:
        wanted += [(factor, level) for level in fit.spec["data"]["levels"][factor]]
    for factor, level in wanted:
        if factor == "overall" and level == "":
            mine = np.arange(max(len(cells), 1))
        else:
            mine = np.array([i for i, cell in enumerate(cells) if cell[factor] == level])
        if not len(mine):
            continue
        rows = np.isin(group_index, mine)
        total = np.bincount(group_index[rows], weights=weight[rows], minlength=mine.max() + 1)
        yield _Selection(
            factor=factor,
            level=level,
            cells=mine,
            share=total[mine] / total[mine].sum(),
            situations=int(np.asarray(constant["cell_situations"])[mine].sum())
            if sampled
            else int(rows.sum()),
            choosers=0 if chooser is None else len(np.unique(chooser[np.isin(of_row, mine)])),
            rows=rows,
        )


def heterogeneity(
    fit: Fit, attribute: str | None = None, rope: float = 0.25, prob: float = 0.9
) -> pd.DataFrame:
    """How much strength varies, overall and in every level of every group.

    Parameters
    ----------
    fit : Fit
    attribute : str, optional
        Attribute whose coefficient is the strength; the model's first when left out.
    rope : float
        Region of practical equivalence: a coefficient of variation below it counts as
        homogeneous. At 0.25 heterogeneity explains about one per cent of the variance of
        choices, and the strongest tenth of choosers is less than twice as strong as the weakest.
    prob : float
        Probability of the (equal-tailed) intervals.

    Returns
    -------
    pandas.DataFrame
        One row overall and one for each level. Columns: factor, level, choosers, situations;
        mean, median, cv (sd/mean), sd_log (sd of log strength, ``nan`` for Normal), share (of
        the variance of choices that is due to heterogeneity, ``nan`` with more than two
        alternatives), each with ``_low`` and ``_high``; p_heterogeneous and p_homogeneous, the
        posterior probabilities of cv above and below ``rope``; prior_heterogeneous, the same
        before the data; bayes_factor, how the data have moved the odds of heterogeneity; verdict;
        data_share, how much narrower than the prior the posterior
        of sd_log (of cv, for Normal) is: one minus the ratio of squared interquartile ranges
        (0: all prior, 1: all data). Means and medians are in units of one over the
        attribute; cv, sd_log and share are free of its scale.

    Raises
    ------
    InputError
        If the attribute is not in the model or a number is out of range.

    Notes
    -----
    The verdict is *heterogeneous* where p_heterogeneous >= 0.95, *homogeneous* where
    p_homogeneous >= 0.95, else *the data cannot tell*. With several groups the prior alone makes
    heterogeneity likely, so either verdict asks besides that the data speak: that they moved
    the odds by a factor of 3, or that data_share >= 0.5.
    The share is E[Var(σ(βx) | x)] / E[p(x)(1-p(x))], averaged
    over the reward differences of the data (law of total variance of a choice). A level with
    several cells, and the whole, are mixtures: differences between their cells count as
    heterogeneity.

    Examples
    --------
    >>> import prefstrength as ps
    >>> choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.9), choosers=150, situations=20)
    >>> fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(choices, seed=0, progress=False)
    >>> ps.heterogeneity(fit)["verdict"].tolist()
    ['heterogeneous']
    """
    attribute = fit.attribute(attribute)
    if not rope > 0:
        raise InputError(f"Expected rope > 0, a coefficient of variation; got {rope}.")
    _check_probability(prob)
    posterior, prior = _Laws.of(fit, attribute), _Laws.of(fit, attribute, "prior")
    differences = _differences(fit, attribute)
    rows = []
    for selection in _selections(fit):
        laws = posterior.take(selection.cells)
        draws = _indices(laws, selection.share)
        before = _indices(prior.take(selection.cells), selection.share)
        index = "sd_log" if laws.positive else "cv"
        draws["share"] = _variance_share(laws, selection, differences)
        row: dict[str, Any] = {
            "factor": selection.factor,
            "level": selection.level,
            "choosers": selection.choosers,
            "situations": selection.situations,
        }
        for name in ("mean", "median", "cv", "sd_log", "share"):
            row |= _interval(name, draws[name], prob)
        row["p_heterogeneous"] = float(np.mean(draws["cv"] > rope))
        row["p_homogeneous"] = 1 - row["p_heterogeneous"]
        row["prior_heterogeneous"] = float(np.mean(before["cv"] > rope))
        row["bayes_factor"] = _bayes_factor(draws["cv"] > rope, before["cv"] > rope)
        row["data_share"] = _data_share(draws[index], before[index])
        row["verdict"] = _verdict(posterior.family, row)
        rows.append(row)
    return pd.DataFrame(rows)


def _verdict(family: str, row: dict[str, Any]) -> str:
    if family == "PointMass":
        return VERDICTS[3]
    p, factor = row["p_heterogeneous"], row["bayes_factor"]
    learned = row["data_share"] >= LEARNED
    if p >= CONFIDENCE and (factor >= EVIDENCE or learned):
        return VERDICTS[0]
    if 1 - p >= CONFIDENCE and (factor <= 1 / EVIDENCE or learned):
        return VERDICTS[1]
    return VERDICTS[2]


def _bayes_factor(posterior: np.ndarray, prior: np.ndarray) -> float:
    """Posterior odds over prior odds, a half added to every count so that neither is infinite."""

    def odds(hits: np.ndarray) -> float:
        return (hits.sum() + 0.5) / ((~hits).sum() + 0.5)

    return float(odds(posterior) / odds(prior))


def _data_share(posterior: np.ndarray, prior: np.ndarray) -> float:
    """One minus the ratio of squared interquartile ranges, held to [0, 1]."""
    before = float(stats.iqr(prior))
    if before == 0:
        return float("nan")
    return float(np.clip(1 - (stats.iqr(posterior) / before) ** 2, 0.0, 1.0))


def _interval(name: str, draws: np.ndarray, prob: float) -> dict[str, float]:
    tail = (1 - prob) / 2
    low, middle, high = (float(v) for v in np.quantile(draws, [tail, 0.5, 1 - tail]))
    return {name: middle, f"{name}_low": low, f"{name}_high": high}


def _check_probability(prob: float) -> None:
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")


def _indices(laws: _Laws, share: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, median, cv and sd of log strength of the mixture over cells, each (draw,)."""
    # Some draws of the prior are so dispersed that their mean overflows: a cv beyond all bounds.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, square = (moment @ share for moment in laws.moments())
        variance = np.maximum(square - mean**2, 0.0)
        cv = np.nan_to_num(np.sqrt(variance) / np.abs(mean), nan=np.inf)
        out = {"mean": mean, "cv": cv, "median": _quantile(laws, share, 0.5)}
        if laws.positive:
            log_mean, log_square = (moment @ share for moment in laws.log_moments())
            out["sd_log"] = np.sqrt(np.maximum(log_square - log_mean**2, 0.0))
        else:
            out["sd_log"] = np.full(len(mean), np.nan)
    return out


def _quantile(laws: _Laws, share: np.ndarray, q: float) -> np.ndarray:
    """Quantile of the mixture in every draw, by bisection of its distribution function."""
    if laws.dispersion is None:
        order = np.argsort(laws.location, axis=1)
        cumulative = np.cumsum(share[order], axis=1)
        place = np.argmax(cumulative >= q - 1e-12, axis=1)
        return np.take_along_axis(laws.location, order, 1)[np.arange(len(place)), place]
    frozen = laws.frozen()
    quantiles = frozen.ppf(q)
    low, high = quantiles.min(axis=1), quantiles.max(axis=1)
    if quantiles.shape[1] == 1:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        below = frozen.cdf(middle[:, None]) @ share < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _differences(fit: Fit, attribute: str) -> np.ndarray | None:
    constant = fit.tree["constant_data"]
    name = f"{attribute}_true_difference"  # where differences are measured with error
    name = name if name in constant else f"{attribute}_difference"
    return np.abs(np.asarray(constant[name])) if name in constant else None


def _variance_share(
    laws: _Laws, selection: _Selection, differences: np.ndarray | None
) -> np.ndarray:
    if differences is None:
        return np.full(len(laws.location), np.nan)
    x = np.quantile(differences[selection.rows], (np.arange(24) + 0.5) / 24)
    strength, weight = laws.nodes()
    first, second = _probability_moments(strength, weight, selection.share, x)
    between = (second - first**2).mean(axis=1)
    total = (first * (1 - first)).mean(axis=1)
    return np.maximum(between, 0.0) / total


def _probability_moments(
    strength: np.ndarray, weight: np.ndarray, share: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square over the mixture of σ(βx), each (draw, difference)."""
    first = np.empty((len(strength), len(x)))
    second = np.empty_like(first)
    for i, value in enumerate(x):
        probability = special.expit(strength * value)
        first[:, i] = (probability @ weight) @ share
        second[:, i] = (probability**2 @ weight) @ share
    return first, second


def strength_density(
    fit: Fit,
    grid: Any | None = None,
    by: str | None = None,
    attribute: str | None = None,
    prob: float = 0.9,
) -> pd.DataFrame:
    """Density of strength with a posterior band, overall or for every level of a factor.

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
    _check_probability(prob)
    laws = _Laws.of(fit, attribute)
    if laws.dispersion is None:
        raise InputError(
            "Expected a mixing distribution with a density; got PointMass, one strength shared by "
            "all. Fit LogNormal(), Gamma(), InverseGaussian() or Normal()."
        )
    if grid is None:
        law = laws.frozen()
        low, high = np.median(law.ppf(0.002), axis=0).min(), np.median(law.ppf(0.99), axis=0).max()
        grid = np.linspace(max(low, 1e-6) if laws.positive else low, high, 300)
    grid = np.asarray(grid, dtype=float)
    parts = []
    for selection in _selected(fit, by):
        frozen = laws.take(selection.cells).frozen()
        density = np.stack([frozen.pdf(value) @ selection.share for value in grid], axis=1)
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
    _check_probability(prob)
    if differences is None:
        data = _differences(fit, attribute)
        top = 3 * fit.spec["scales"][attribute] if data is None else np.quantile(data, 0.99)
        differences = np.linspace(0.0, float(top), 100)
    x = np.asarray(differences, dtype=float)
    laws = _Laws.of(fit, attribute)
    parts = []
    for selection in _selected(fit, by):
        strength, weight = laws.take(selection.cells).nodes()
        curve, _ = _probability_moments(strength, weight, selection.share, x)
        parts.append(_band(selection, "difference", x, "probability", curve, prob))
    return pd.concat(parts, ignore_index=True)


def _selected(fit: Fit, by: str | None) -> list[_Selection]:
    everything = list(_selections(fit, by))
    return everything[:1] if by is None else everything[1:]


def _band(
    selection: _Selection, x_name: str, x: np.ndarray, name: str, draws: np.ndarray, prob: float
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


def situations_of_choosers(fit: Fit) -> np.ndarray:
    """Number of situations of each chooser, shape (chooser,)."""
    constant = fit.tree["constant_data"]
    choosers = constant.sizes["chooser"]
    if "row_chooser" in constant:
        rows, counts = (np.asarray(constant[name]) for name in ("row_chooser", "row_situations"))
        return np.bincount(rows, counts, minlength=choosers).astype(np.int64)
    return np.bincount(np.asarray(constant["chooser_index"]), minlength=choosers)


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
    _check_probability(prob)
    name = f"{attribute}_strength"
    if "chooser_level" not in fit.tree or name not in fit.tree["chooser_level"]:
        raise InputError(
            f"Expected a fit with choosers and a random coefficient on {attribute!r}; got none. "
            "Name the column that identifies the chooser: Choices.from_pairs(frame, chooser=…)."
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


@dataclass(frozen=True)
class MixtureDraws:
    """Draws of the strength distribution of all data, a mixture over cells."""

    laws: _Laws
    share: np.ndarray
    index: dict[str, np.ndarray]

    @property
    def has_density(self) -> bool:
        """Whether the family has a density."""
        return self.laws.dispersion is not None

    def pdf(self, strength: np.ndarray) -> np.ndarray:
        """Density at strengths (draw, point)."""
        frozen = self.laws.frozen()
        return np.stack([frozen.pdf(value[:, None]) @ self.share for value in strength.T], axis=1)

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles, (draw, probability)."""
        return np.stack([_quantile(self.laws, self.share, q) for q in probabilities], axis=1)


def mixture_draws(fit: Fit, attribute: str | None = None, group: str | None = None) -> MixtureDraws:
    """Strength distribution of all data, or of a level, in every posterior draw."""
    laws, chosen = _Laws.of(fit, fit.attribute(attribute)), _selection(fit, group)
    laws = laws.take(chosen.cells)
    return MixtureDraws(laws, chosen.share, _indices(laws, chosen.share))


def _selection(fit: Fit, group: str | None) -> _Selection:
    """All data, or the level of a factor named ``factor=level``."""
    selections = _labelled(fit)
    wanted = "overall" if group is None else group
    if wanted not in selections:
        raise InputError(
            f"Expected group as 'factor=level', one of {list(selections)}; got {group!r}."
        )
    return selections[wanted]


def _labelled(fit: Fit) -> dict[str, _Selection]:
    return {f"{s.factor}={s.level}" if s.level else "overall": s for s in _selections(fit)}


def strength_prior_summary(
    fit: Fit, mean_strength: float, group: str | None = None
) -> dict[str, Any]:
    """Fields of a :class:`~prefstrength.StrengthPrior`: shape from the data, scale given.

    The mixture over cells is summarised by one law of the fitted family with the same sd of
    log strength (LogNormal) or the same coefficient of variation (the others).
    """
    attribute = fit.attributes[0]
    laws = _Laws.of(fit, attribute)
    if not (np.isfinite(mean_strength) and mean_strength > 0):
        raise InputError(
            f"Expected mean_strength > 0, such as DPO's beta 0.1; got {mean_strength}."
        )
    selections = _labelled(fit)
    chosen = _selection(fit, group)
    overall_mean = laws.moments()[0] @ selections["overall"].share

    def shape(selection: _Selection) -> dict[str, float | None]:
        index = _indices(laws.take(selection.cells), selection.share)
        if laws.dispersion is None:
            return {"dispersion": None, "dispersion_sd": None}
        value = np.log(index["sd_log"] if laws.family == "LogNormal" else index["cv"])
        return {"dispersion": float(value.mean()), "dispersion_sd": float(value.std())}

    mean = laws.take(chosen.cells).moments()[0] @ chosen.share
    if not (mean > 0).all():
        raise InputError(
            "A strength prior expects a positive mean strength; got draws with a mean of 0 or less "
            f"({float(np.mean(mean <= 0)):.0%} of them). Higher rewards are not preferred in these "
            "data: check the sign of the rewards, or fit LogNormal()."
        )
    groups = {}
    for label, selection in selections.items():
        if label == "overall":
            continue
        own = laws.take(selection.cells).moments()[0] @ selection.share
        groups[label] = {
            **shape(selection),
            "relative_mean": float(np.mean(own / overall_mean)),
        }
    return {
        "family": laws.family,
        "location": float(np.log(mean_strength)),
        "location_sd": float(np.log(mean).std()),
        **shape(chosen),
        "mean_strength": float(mean_strength),
        "source": {
            "attribute": attribute,
            "group": "overall" if group is None else group,
            "fitted_mean": float(mean.mean()),
            "method": fit.method,
            "seed": fit.spec["seed"],
            "situations": fit.spec["data"]["situations"],
            "choosers": fit.spec["data"]["choosers"],
            "data": fit.spec["data"]["hash"],
            "errors": {
                name: {"sd": error["sd"], "reliability": error["reliability_here"]}
                for name, error in fit.errors.items()
            },
            "versions": fit.spec["versions"],
        },
        "groups": groups,
    }
