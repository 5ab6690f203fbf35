"""From choices to the likelihood of one random strength."""

from collections.abc import Mapping

import numpy as np

from prefstrength.choice.responses.base import PairResponse
from prefstrength.likelihood.counts import Counts
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.grid import Grid
from prefstrength.likelihood.sources import PairSource, Reading, SituationSource
from prefstrength.likelihood.strength import StrengthLikelihood

__all__ = ["strength_likelihood"]


def strength_likelihood(
    data: LikelihoodData,
    reading: Reading,
    positive: bool,
    at: Mapping[str, float],
    grid: Grid | None = None,
) -> StrengthLikelihood:
    """Likelihood of data with one random coefficient.

    Parameters
    ----------
    data : LikelihoodData
    reading : Reading
        What all choosers share; ``fixed`` in the order of the data's attributes after the first,
        which is the one that strength is about.
    positive : bool
        Whether strengths are positive.
    at : mapping
        Plausible values of what all choosers share.
    grid : Grid, optional
        That of other data, to be compared with.
    """
    observations = data.pair_observations()
    if isinstance(reading.response, PairResponse) and not reading.fixed:
        counts = Counts.of(observations, by_cell=data.truth is not None)
        source = PairSource(counts, reading, data.scales[0], data.truth)
        grid = grid or Grid(_median(np.abs(observations.difference), observations.weight), positive)
        unit = counts.unit
        if data.panel:
            times = data.unit_weight
        else:
            times = counts.times
        return StrengthLikelihood(source, grid, unit, counts.cell, times, at, data.panel)
    cells = int(data.cell.max(initial=0)) + 1
    keys, row = np.unique(data.unit * cells + data.cell, return_inverse=True)
    others = data.values[:, :, 1:]
    # Where every situation is its own unit, a weight says how often it counts.
    weight = data.weight if data.panel else np.ones(len(data.weight))
    times = data.unit_weight if data.panel else data.unit_weight * data.weight
    values = data.values[:, :, 0]
    source_ = SituationSource(
        values, others, data.available, data.answers, data.shown_first, weight,
        row.reshape(-1), len(keys), reading, data.scales[0],
    )  # fmt: skip
    spread = np.where(data.available, values, np.nan)
    size = np.nanmax(spread, axis=1) - np.nanmin(spread, axis=1)
    grid = grid or Grid(_median(size, data.weight), positive)
    return StrengthLikelihood(source_, grid, keys // cells, keys % cells, times, at, data.panel)


def _median(size: np.ndarray, weight: np.ndarray) -> float:
    """Median size, of differences that are not 0."""
    there = (size > 0) & (weight > 0)
    if not there.any():
        return 1.0
    order = np.argsort(size[there])
    share = np.cumsum(weight[there][order])
    return float(size[there][order][np.searchsorted(share, share[-1] / 2)])
