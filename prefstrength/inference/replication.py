"""Statistics of the answers against those of new choosers of the same population.

What a fit can get wrong without any mean showing it: how many choosers go against the reward, how
agreement rises with the difference, who stood first. Computed where population and data are at
hand, and kept as a few numbers for each replicate; :func:`prefstrength.check` judges them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import xarray as xr
from scipy import sparse

from prefstrength.inference.copies import Copies
from prefstrength.inference.named_draws import flat_draws
from prefstrength.inference.population import Population
from prefstrength.inference.predictive import agreement, simulate_answers
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.sources import Reading

__all__ = ["replicated_statistics"]

_REPLICATES, _BINS = 300, 10
# Answers that are replicated, of whole choosers; numbers of one temporary array.
_MOST_ANSWERS, _BLOCK = 20_000, 1_000_000
# Answers of a chooser from which an agreement says something; agreement of a chooser (relative to
# what chance gives: 40 % of answers to pairs) below which it is weak.
_FEWEST, _WEAK = 10, 0.8


def replicated_statistics(
    population: Population,
    reading: Reading,
    data: LikelihoodData,
    draws: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> xr.Dataset:
    """Statistics of the answers and of 300 replicates, each of new choosers under another draw.

    Parameters
    ----------
    draws : mapping
        Posterior draws of the population level, (chain, draw, …).

    Returns
    -------
    xarray.Dataset
        Each statistic, dimension replicate, with ``<name>_seen`` beside it: weak_choosers (who
        favour the alternative with the highest first attribute in fewer than 40 % of ten answers
        and more; 0.8 of what chance gives, with several alternatives), agreement (by bin of the
        difference, with its mean size and the answers in it), first_chosen (share of the answers
        for the alternative that stood first) and first_chosen_spread (how far that differs between
        choosers, in answers squared). Only those that the data have; empty where none is.
    """
    rows = replicated_rows(data, rng)
    if not len(rows):
        return xr.Dataset()
    design = Design.of(data, rows)
    shown = Copies(rows, design.unit if data.panel else np.arange(len(rows)))
    flat = flat_draws(draws, _REPLICATES)
    count, step = len(next(iter(flat.values()))), max(1, _BLOCK // len(rows))
    # The first row is what was seen.
    agreed = [design.sums(agreement(data, rows, data.answers[rows])[None])]
    for start in range(0, count, step):
        part = {name: values[start : start + step] for name, values in flat.items()}
        answers = simulate_answers(population, reading, data, shown, part, rng)
        agreed.append(design.sums(agreement(data, rows, answers)))
    found = design.statistics(np.concatenate(agreed))
    out = xr.Dataset(design.bins())
    for name, values in found.items():
        dims = ("bin",) if values.ndim == 2 else ()
        out[name] = (("replicate", *dims), values[1:])
        out[f"{name}_seen"] = (dims, values[0])
    return out


def replicated_rows(data: LikelihoodData, rng: np.random.Generator) -> np.ndarray:
    """Situations to replicate, one for each answer, of whole choosers."""
    counts = (data.weight > 0) & (data.unit_weight[data.unit] > 0)
    ordered = _ordered(data)
    rows = np.flatnonzero(counts & (ordered[:, -1] > ordered[:, -2]))
    # A weight says how many answers a row stands for; a part of one is taken for one.
    rows = np.repeat(rows, np.maximum(np.rint(data.weight[rows]), 1).astype(np.int64))
    if len(rows) > _MOST_ANSWERS:
        place = rng.permutation(data.units)[data.unit[rows]]
        rows = rows[np.argsort(place, kind="stable")[:_MOST_ANSWERS]]
    return rows


def _ordered(data: LikelihoodData) -> np.ndarray:
    """First attribute of the alternatives of every situation, rising."""
    return np.sort(np.where(data.available, data.values[:, :, 0], -np.inf), axis=1)


@dataclass(frozen=True)
class Design:
    """What agreements are summed by.

    Parameters
    ----------
    unit : numpy.ndarray, shape (row,)
        Chooser, numbered anew.
    bin : numpy.ndarray, shape (row,)
        Of the difference between the two highest, by its quantiles.
    size : numpy.ndarray, shape (row,)
        That difference.
    chance : numpy.ndarray, shape (row,)
        Probability of the highest where nothing matters.
    first : numpy.ndarray, shape (row,)
        1 where the higher of two stood first, -1 where it stood second, 0 where that is not known.
    panel : bool
    """

    unit: np.ndarray
    bin: np.ndarray
    size: np.ndarray
    chance: np.ndarray
    first: np.ndarray
    panel: bool

    @classmethod
    def of(cls, data: LikelihoodData, rows: np.ndarray) -> Self:
        ordered, column = _ordered(data)[rows], data.values[rows][:, :, 0]
        size = ordered[:, -1] - ordered[:, -2]
        edges = np.unique(np.quantile(size, np.arange(1, _BINS) / _BINS))
        best = np.argmax(np.where(data.available[rows], column, -np.inf), axis=1)
        _, bin_ = np.unique(np.searchsorted(edges, size, side="left"), return_inverse=True)
        return cls(
            unit=np.unique(data.unit[rows], return_inverse=True)[1],
            bin=bin_,
            size=size,
            chance=1 / data.available[rows].sum(axis=1),
            first=np.where(best == 0, 1, -1) * data.shown_first[rows],
            panel=data.panel,
        )

    def sums(self, agreed: np.ndarray) -> np.ndarray:
        """Agreements (replicate, row) summed by chooser, by bin, by chooser with sign of first."""
        return np.asarray((self._summing.T @ agreed.T.astype(float)).T)

    @cached_property
    def _summing(self) -> sparse.csr_array:
        place, one = np.arange(len(self.unit)), np.ones(len(self.unit))
        by_unit = sparse.csr_array((one, (place, self.unit)))
        by_bin = sparse.csr_array((one, (place, self.bin)))
        signed = sparse.csr_array((self.first.astype(float), (place, self.unit)))
        return sparse.hstack([by_unit, by_bin, signed], format="csr")

    def bins(self) -> dict[str, Any]:
        """Mean difference and number of answers in every bin."""
        answers = np.bincount(self.bin)
        size = np.bincount(self.bin, self.size) / answers
        return {"difference": ("bin", size), "answers": ("bin", answers)}

    def statistics(self, sums: np.ndarray) -> dict[str, Any]:
        """Every statistic that the data have, of what :meth:`sums` gives."""
        answers, in_bin = np.bincount(self.unit), np.bincount(self.bin)
        units = len(answers)
        agreed, by_bin, signed = np.split(sums, [units, units + len(in_bin)], axis=1)
        out: dict[str, Any] = {"agreement": by_bin / in_bin}
        known = np.bincount(self.unit, self.first != 0)
        # Of answers where the higher stood second, what disagrees is for the first.
        first = signed + np.bincount(self.unit, self.first < 0)
        if known.any():
            out["first_chosen"] = first.sum(axis=1) / known.sum()
        if self.panel and (enough := answers >= _FEWEST).any():
            chance = np.bincount(self.unit, self.chance)
            out["weak_choosers"] = (agreed < _WEAK * chance - 1e-9)[:, enough].sum(axis=1)
        if self.panel and (enough := known >= _FEWEST).sum() > 1:
            share = first[:, enough] / known[enough]
            share = share - share[1:].mean(axis=0)
            share = share - (share @ known[enough] / known[enough].sum())[:, None]
            out["first_chosen_spread"] = share**2 @ known[enough] / enough.sum()
        return out
