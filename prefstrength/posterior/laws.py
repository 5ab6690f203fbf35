"""Mixing distributions of every draw and cell, and what is averaged over them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.errors import InputError
from prefstrength.posterior.interface import Fitted

__all__ = ["MixtureDraws", "mixture_draws"]

# Numbers of the largest temporary arrays.
_BLOCK = 4_000_000
_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(41)
_NODE_WEIGHTS = _NODE_WEIGHTS / _NODE_WEIGHTS.sum()


def draws_of(fit: Fitted, attribute: str, group: str = "posterior") -> Mixing:
    """Draws of the mixing distributions in every cell, as one with parameters (draw, cell)."""
    node = fit.tree[group]

    def draws(name: str) -> np.ndarray:
        if f"{attribute}_{name}" in node:
            return by_draw(node[f"{attribute}_{name}"])
        parameter, kind = name.rsplit("_", 1)  # of one of several kinds of choosers
        if f"{attribute}_{parameter}" in node:
            return by_draw(node[f"{attribute}_{parameter}"].sel(component=int(kind)))
        found = (f"{attribute}_{what}" for what in ("location", "dispersion"))
        both = [by_draw(node[what].sel(component=int(kind))) for what in found if what in node]
        family = mixing.kinds.families[int(kind) - 1]
        own = both if family.varies else [both[0], None]
        return np.asarray(family.from_location_dispersion(*own).parameters[parameter])

    def by_draw(values: Any) -> np.ndarray:
        return np.asarray(values).reshape(values.shape[0] * values.shape[1], -1)

    mixing = fit.mixing(attribute).strengths
    return mixing.with_parameters({name: draws(name) for name in mixing.parameters})


def in_cells(laws: Mixing, cells: Any) -> Mixing:
    """Draws in some of the cells, or in one."""
    return laws.mapped(lambda values: values[:, cells])


def _of_draws(laws: Mixing, some: slice) -> Mixing:
    """Some of the draws."""
    return laws.mapped(lambda values: values[some])


def mixture(laws: Mixing, share: np.ndarray) -> Mixing:
    """Mixture over the cells in every draw, as one with parameters (draw,)."""
    if len(share) == 1:
        return in_cells(laws, 0)
    return FiniteMixture([in_cells(laws, cell) for cell in range(len(share))], share)


def _blocks(count: int, each: int) -> Iterator[slice]:
    """Draws in blocks of at most four million numbers, of which each takes so many."""
    step = max(1, _BLOCK // max(each, 1))
    return (slice(start, start + step) for start in range(0, count, step))


def nodes(laws: Mixing) -> tuple[np.ndarray, np.ndarray]:
    """Strengths (draw, cell, node) and weights (node,)."""
    z, weights = _NODES, _NODE_WEIGHTS
    if not laws.varies:
        z, weights = np.zeros(1), np.ones(1)
    elif not laws.linear:
        # Midpoints of equal probability: no node rule fits every shape.
        z, weights = special.ndtri((np.arange(41) + 0.5) / 41), np.full(41, 1 / 41)
    return laws.mapped(lambda values: values[..., None]).at(NUMPY, z), weights


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
    weight = situation_weights(constant)
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


def situation_weights(constant: Any) -> np.ndarray:
    """How often every situation of a fit counts: by itself, and by who chose in it."""
    weight = np.asarray(constant["weight"])
    if "chooser_weight" not in constant:
        return weight
    return weight * np.asarray(constant["chooser_weight"])[np.asarray(constant["chooser_index"])]


def check_probability(prob: float) -> None:
    if not 0 < prob < 1:
        raise InputError(f"Expected prob between 0 and 1; got {prob}.")


def indices(laws: Mixing, share: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, median, cv and sd of log strength of the mixture over cells, each (draw,)."""
    # Some draws of the prior are so dispersed that their mean overflows: a cv beyond all bounds.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, square = laws.mean() @ share, laws.mean_square() @ share
        variance = np.maximum(square - mean**2, 0.0)
        cv = np.nan_to_num(np.sqrt(variance) / np.abs(mean), nan=np.inf)
        out = {"mean": mean, "cv": cv, "median": _median(laws, share)}
        if laws.positive:
            own, variances = laws.log_moments(NUMPY)
            log_mean, log_square = own @ share, (own**2 + variances) @ share
            out["sd_log"] = np.sqrt(np.maximum(log_square - log_mean**2, 0.0))
        else:
            out["sd_log"] = np.full(len(mean), np.nan)
    return out


def _median(laws: Mixing, share: np.ndarray) -> np.ndarray:
    """Median of the mixture in every draw, between those of the cells.

    By a fixed number of halvings, so that a table made again holds the same digits.
    """
    if not laws.varies:
        return np.asarray(mixture(laws, share).median())
    medians = laws.quantile(0.5)
    low, high = medians.min(axis=1), medians.max(axis=1)
    if medians.shape[1] == 1:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        below = laws.cdf(middle[:, None]) @ share < 0.5
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def situation_differences(fit: Fitted, attribute: str) -> np.ndarray | None:
    constant = fit.tree["constant_data"]
    name = f"{attribute}_true_difference"  # where differences are measured with error
    name = name if name in constant else f"{attribute}_difference"
    return np.abs(np.asarray(constant[name])) if name in constant else None


def probability_moments(
    laws: Mixing, share: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square over the mixture of σ(βx), each (draw, difference)."""
    count = len(next(iter(laws.parameters.values())))
    first = np.empty((count, len(x)))
    second = np.empty_like(first)
    for block in _blocks(count, len(share) * len(_NODES)):
        strength, weight = nodes(_of_draws(laws, block))
        for i, value in enumerate(x):
            probability = special.expit(strength * value)
            first[block, i] = (probability @ weight) @ share
            second[block, i] = (probability**2 @ weight) @ share
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
    """Draws of the strength distribution of all data, a mixture over cells.

    Parameters
    ----------
    laws : Mixing
        Parameters (draw, cell).
    share : numpy.ndarray, shape (cell,)
    index : dict
        Mean, median, cv and sd of log strength, each (draw,).
    """

    laws: Mixing
    share: np.ndarray
    index: dict[str, np.ndarray]

    @property
    def law(self) -> Mixing:
        """The mixture in every draw, parameters (draw,)."""
        return mixture(self.laws, self.share)

    def pdf(self, strength: np.ndarray) -> np.ndarray:
        """Density at strengths (draw, point)."""
        return np.asarray(self.law.pdf(strength.T)).T

    def quantiles(self, probabilities: np.ndarray) -> np.ndarray:
        """Quantiles, (draw, probability)."""
        count = len(self.index["mean"])
        out = np.empty((count, len(probabilities)))
        for block in _blocks(count, len(self.share) * len(probabilities)):
            some = mixture(_of_draws(self.laws, block), self.share)
            out[block] = np.asarray(some.quantile(probabilities[:, None])).T
        return out


def mixture_draws(
    fit: Fitted, attribute: str | None = None, group: str | None = None
) -> MixtureDraws:
    """Strength distribution of all data, or of a level, in every posterior draw."""
    chosen = selection_of(fit, group)
    laws = in_cells(draws_of(fit, fit.attribute(attribute)), chosen.cells)
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
