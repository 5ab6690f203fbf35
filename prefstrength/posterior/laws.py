"""Mixing distributions of every draw and cell, and what is averaged over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from prefstrength.choice.mixing import inverse_gaussian_quantiles as _inverse_gaussian
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.errors import InputError
from prefstrength.posterior.interface import Fitted

__all__ = ["MixtureDraws", "mixture_draws"]

_MOST_DRAWS = 500
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


@dataclass(frozen=True)
class Laws:
    """Draws of the laws in every cell: location and dispersion, each (draw, cell)."""

    family: str
    location: np.ndarray
    dispersion: np.ndarray | None

    @classmethod
    def of(cls, fit: Fitted, attribute: str, group: str = "posterior") -> "Laws":
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

    def take(self, cells: np.ndarray) -> "Laws":
        dispersion = None if self.dispersion is None else self.dispersion[:, cells]
        return Laws(self.family, self.location[:, cells], dispersion)

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
class Selection:
    """All data, or one level of a factor."""

    factor: str
    level: str
    cells: np.ndarray
    share: np.ndarray  # of the situations, sums to 1
    situations: int
    choosers: int
    rows: np.ndarray  # situations that belong to it


def all_selections(fit: Fitted, by: str | None = None) -> Iterator[Selection]:
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
        yield Selection(
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


def check_probability(prob: float) -> None:
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")


def indices(laws: Laws, share: np.ndarray) -> dict[str, np.ndarray]:
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


def _quantile(laws: Laws, share: np.ndarray, q: float) -> np.ndarray:
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


def situation_differences(fit: Fitted, attribute: str) -> np.ndarray | None:
    constant = fit.tree["constant_data"]
    name = f"{attribute}_true_difference"  # where differences are measured with error
    name = name if name in constant else f"{attribute}_difference"
    return np.abs(np.asarray(constant[name])) if name in constant else None


def probability_moments(
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


def selected(fit: Fitted, by: str | None) -> list[Selection]:
    everything = list(all_selections(fit, by))
    return everything[:1] if by is None else everything[1:]


def situations_of_choosers(fit: Fitted) -> np.ndarray:
    """Number of situations of each chooser, shape (chooser,)."""
    constant = fit.tree["constant_data"]
    choosers = constant.sizes["chooser"]
    if "row_chooser" in constant:
        rows, counts = (np.asarray(constant[name]) for name in ("row_chooser", "row_situations"))
        return np.bincount(rows, counts, minlength=choosers).astype(np.int64)
    return np.bincount(np.asarray(constant["chooser_index"]), minlength=choosers)


@dataclass(frozen=True)
class MixtureDraws:
    """Draws of the strength distribution of all data, a mixture over cells."""

    laws: Laws
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


def mixture_draws(
    fit: Fitted, attribute: str | None = None, group: str | None = None
) -> MixtureDraws:
    """Strength distribution of all data, or of a level, in every posterior draw."""
    laws, chosen = Laws.of(fit, fit.attribute(attribute)), selection_of(fit, group)
    laws = laws.take(chosen.cells)
    return MixtureDraws(laws, chosen.share, indices(laws, chosen.share))


def selection_of(fit: Fitted, group: str | None) -> Selection:
    """All data, or the level of a factor named ``factor=level``."""
    selections = labelled(fit)
    wanted = "overall" if group is None else group
    if wanted not in selections:
        raise InputError(
            f"Expected group as 'factor=level', one of {list(selections)}; got {group!r}."
        )
    return selections[wanted]


def labelled(fit: Fitted) -> dict[str, Selection]:
    return {f"{s.factor}={s.level}" if s.level else "overall": s for s in all_selections(fit)}
