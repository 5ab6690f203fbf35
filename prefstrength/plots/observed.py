"""Observed pairs of a fit (or of choices), as the figures need them."""

from dataclasses import dataclass

import numpy as np

from prefstrength._shared.words import listed
from prefstrength.data.answers import require_plain
from prefstrength.data.choices import Choices
from prefstrength.errors import InputError
from prefstrength.posterior.fit import Fit
from prefstrength.posterior.laws import situation_weights, situations_of_choosers

__all__ = ["Bins", "Observed", "bins", "cell_weights", "check_factor", "observed"]


@dataclass(frozen=True)
class Observed:
    """Differences of an attribute, chosen minus rejected, and whose they are.

    Parameters
    ----------
    difference : numpy.ndarray, shape (pair,)
        In choices among more than two, one for each alternative that was not chosen.
    weight : numpy.ndarray, shape (pair,)
    chooser : numpy.ndarray of int, shape (pair,), or None
    level : numpy.ndarray of int, shape (pair,)
        Position in ``levels``; 0 everywhere without a factor.
    levels : tuple of str
    situations_of_choosers : numpy.ndarray of int, shape (chooser,), or None
    scale : float
        Root mean square of the differences.
    """

    difference: np.ndarray
    weight: np.ndarray
    chooser: np.ndarray | None
    level: np.ndarray
    levels: tuple[str, ...]
    situations_of_choosers: np.ndarray | None
    scale: float


def observed(source: Fit | Choices, attribute: str, by: str | None = None) -> Observed:
    """Collect the differences from a fit or from choices.

    Raises
    ------
    InputError
        If there is no factor ``by``, or a fit of choices among more than two is given.
    """
    if isinstance(source, Choices):
        return _of_choices(source, attribute, by)
    if not isinstance(source, Fit):
        raise TypeError(f"Expected a Fit or Choices; got {type(source).__name__}.")
    data = source.tree["constant_data"]
    name = f"{attribute}_difference"
    if name not in data:
        raise InputError(
            "Expected a fit of pairs, which keeps their differences; got one of choices among "
            f"up to {source.spec['data']['alternatives']} alternatives. Give the Choices instead."
        )
    levels: tuple[str, ...] = ("all",)
    level = np.zeros(data.sizes["situation"], np.int64)
    if by is not None:
        check_factor(by, source.groups)
        levels = tuple(source.spec["data"]["levels"][by])
        of_cell = [levels.index(cell[by]) for cell in source.spec["cells"]]
        level = np.asarray(of_cell)[data["group_index"].values]
    chooser = data["chooser_index"].values if "chooser_index" in data else None
    difference, weight = data[name].values, situation_weights(data)
    if "answer_favours" in data:  # of answers that are more than choices ties favour neither
        favours = data["answer_favours"].values
        kept = favours != 0
        difference, weight, level = (difference * favours)[kept], weight[kept], level[kept]
        chooser = None if chooser is None else chooser[kept]
    return Observed(
        difference=difference,
        weight=weight,
        chooser=chooser,
        level=level,
        levels=levels,
        situations_of_choosers=None if chooser is None else situations_of_choosers(source),
        scale=float(np.sqrt(np.average(difference**2, weights=weight))),
    )


def _of_choices(choices: Choices, attribute: str, by: str | None) -> Observed:
    scale = choices.scale(attribute)  # checks the attribute
    require_plain(choices, "A figure of data")
    values = choices.values[:, :, choices.attributes.index(attribute)]
    rows = np.arange(choices.n_situations)
    other = choices.available.copy()
    other[rows, choices.chosen] = False
    situation, alternative = np.nonzero(other)
    difference = values[situation, choices.chosen[situation]] - values[situation, alternative]
    levels: tuple[str, ...] = ("all",)
    level = np.zeros(len(rows), np.int64)
    if by is not None:
        check_factor(by, list(choices.groups))
        level, levels = choices.groups[by].codes, choices.groups[by].levels
    known = choices.chooser is not None
    return Observed(
        difference=difference,
        weight=choices.weights[situation],
        chooser=choices.chooser[situation] if choices.chooser is not None else None,
        level=np.asarray(level)[situation],
        levels=tuple(levels),
        situations_of_choosers=choices.situation_counts() if known else None,
        scale=scale,
    )


def check_factor(by: str, factors: list[str]) -> None:
    """Raise InputError unless ``by`` is one of the factors."""
    if by not in factors:
        raise InputError(
            f"Expected by to be one of the groups {listed(factors) or '(none)'}; got {by!r}. "
            "Name one, or leave it out."
        )


@dataclass(frozen=True)
class Bins:
    """Shares in bins of the size of the difference, with intervals.

    Parameters
    ----------
    center : numpy.ndarray, shape (bin,)
        Mean size of the differences in the bin.
    share : numpy.ndarray, shape (bin,)
        Share of choices of the alternative with the higher attribute.
    low, high : numpy.ndarray, shape (bin,)
        Wilson's interval.
    count : numpy.ndarray, shape (bin,)
        Weight in the bin.
    """

    center: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def bins(difference: np.ndarray, weight: np.ndarray, prob: float, most: int = 12) -> Bins:
    """Agreement of choice and attribute in bins of equal weight by the size of the difference.

    Pairs with equal attributes say nothing about agreement and are left out.

    Examples
    --------
    >>> x = np.array([0.1, -0.1, 2.0, 2.0])
    >>> bins(x, np.ones(4), 0.9, most=2).share.tolist()
    [0.5, 1.0]
    """
    from scipy.stats import norm

    keep = (difference != 0) & (weight > 0)
    size, agree, weight = np.abs(difference[keep]), difference[keep] > 0, weight[keep]
    if not len(size):
        return Bins(*(np.empty(0) for _ in range(5)))
    order = np.argsort(size, kind="stable")
    size, agree, weight = size[order], agree[order], weight[order]
    number = int(np.clip(weight.sum() // 25, min(2, len(size)), most))
    cumulative = np.cumsum(weight) - weight / 2
    code = np.minimum((cumulative / weight.sum() * number).astype(int), number - 1)
    # Equal differences belong to one bin: a bin's share is that of its own differences.
    first = np.searchsorted(size, size)
    code = code[first]
    code = np.unique(code, return_inverse=True)[1]
    count = np.bincount(code, weights=weight)
    share = np.bincount(code, weights=weight * agree) / count
    # Weights count as Kish's effective number of choices.
    effective = count**2 / np.bincount(code, weights=weight**2)
    z = norm.ppf(0.5 + prob / 2)
    middle = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective)
    half = half * np.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2))
    center = np.bincount(code, weights=weight * size) / count
    return Bins(center, share, middle - half, middle + half, count)


def cell_weights(
    fit: Fit, factor: str = "overall", level: str = ""
) -> list[tuple[dict[str, str], float]]:
    """Cells of a level (of all data by default), each with the weight of its situations."""
    data = fit.tree["constant_data"]
    cells = fit.spec["cells"]
    total = np.bincount(
        np.asarray(data["group_index"]), weights=situation_weights(data), minlength=len(cells)
    )
    everything = factor == "overall" and level == ""
    return [
        (levels, float(weight))
        for levels, weight in zip(cells, total, strict=True)
        if weight > 0 and (everything or levels[factor] == level)
    ]
