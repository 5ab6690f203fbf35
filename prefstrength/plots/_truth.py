"""Known truth (of simulated data) brought into the terms of a fit: its cells, levels, choosers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from prefstrength._shared.words import shown
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.errors import InputError

__all__ = ["Truth"]

# A law is stood in for by this many of its quantiles, each of equal probability.
_POINTS = 1000


#: Cells of a fit (level of each factor), each with its weight.
Cells = Sequence[tuple[Mapping[str, str], float]]


@dataclass(frozen=True)
class Truth:
    """The laws that simulated choosers were drawn from.

    Parameters
    ----------
    cells : tuple of (dict, Mixing)
        Level of each factor, and the law there.
    choosers : dict
        Strength of each chooser, by label.
    unit : str, optional
        What the strengths are for, in words.

    Examples
    --------
    >>> truth = Truth.of({"cells": [{"region": "coast", "mu": 0.0, "sigma": 0.5}]})
    >>> truth.cells
    (({'region': 'coast'}, LogNormal(mu=0, sigma=0.5)),)
    """

    cells: tuple[tuple[dict[str, str], Mixing], ...]
    choosers: dict[str, float]
    unit: str | None = None

    @classmethod
    def of(cls, truth: Any, factors: list[str] | None = None) -> "Truth":
        """Read truth in any of the forms that it comes in.

        Parameters
        ----------
        truth : Mixing, dict, DataFrame or Truth
            A law for all; or ``cells``: a list (or a frame) of records with the factors' levels
            and the law's parameters, or a dict from ``"level | level"`` to the parameters, with
            ``factors`` naming the factors in that order. Optional: ``family`` (LogNormal),
            ``choosers`` (label to strength), ``unit``.
        factors : list of str, optional
            Factors of the fit, where the truth does not name its own.
        """
        if isinstance(truth, Truth):
            return truth
        if isinstance(truth, Mixing):
            return cls((({}, truth),), {})
        if isinstance(truth, pd.DataFrame):
            truth = {"cells": truth.to_dict("records")}
        if not isinstance(truth, Mapping) or "cells" not in truth:
            raise InputError(
                "Expected truth as a mixing distribution, a table, or a dict with 'cells'; got "
                f"{shown(truth)}. Give the law of each group's strength."
            )
        family = truth.get("family")
        cells = truth["cells"]
        if isinstance(cells, pd.DataFrame):
            cells = cells.to_dict("records")
        found = []
        if isinstance(cells, Mapping):
            names = list(truth.get("factors") or factors or [])
            for label, record in cells.items():
                levels = label.split(" | ")
                if len(levels) != len(names):
                    raise InputError(
                        f"Expected a level for each of the factors {names} in the true cell "
                        f"{label!r}; got {len(levels)}. Name the truth's own 'factors'."
                    )
                found.append((dict(zip(names, levels, strict=True)), _law(record, family)))
        else:
            for record in cells:
                names = [k for k, v in record.items() if isinstance(v, str) and k != "family"]
                found.append(({name: record[name] for name in names}, _law(record, family)))
        choosers = {str(k): float(v) for k, v in dict(truth.get("choosers") or {}).items()}
        return cls(tuple(found), choosers, truth.get("unit"))

    def law(self, levels: Mapping[str, str]) -> Mixing | None:
        """The one law of a cell of the fit, where there is one."""
        matching = self._matching(levels)
        if not matching or any(repr(law) != repr(matching[0]) for law in matching):
            return None
        return matching[0]

    def points(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        """Strengths and probabilities that stand for the choosers of some cells of a fit.

        Parameters
        ----------
        cells : list of (dict, float)
            Level of each factor in a cell, and its weight.

        Returns
        -------
        strengths, probabilities : numpy.ndarray, shape (point,)
            Empty where the truth says nothing about one of the cells.
        """
        q = (np.arange(_POINTS) + 0.5) / _POINTS
        strengths, weights = [], []
        for levels, weight in cells:
            laws = self._matching(levels)
            if not laws:
                return np.empty(0), np.empty(0)
            for law in laws:
                strengths.append(law.quantile(q))
                weights.append(np.full(_POINTS, weight / len(laws) / _POINTS))
        total = np.concatenate(weights)
        return np.concatenate(strengths), total / total.sum()

    def density(self, cells: Cells, grid: np.ndarray) -> np.ndarray:
        """Density of the strength over the choosers of some cells; nan where it has none."""
        out, total = np.zeros(len(grid)), 0.0
        for levels, weight in cells:
            laws = self._matching(levels)
            if not laws or any(law.family == "PointMass" for law in laws):
                return np.full(len(grid), np.nan)
            out += weight * np.mean([law.pdf(grid) for law in laws], axis=0)
            total += weight
        return out / total

    def curve(self, cells: Cells, differences: np.ndarray) -> np.ndarray:
        """Probability of the first alternative at given differences, averaged over choosers."""
        strengths, probabilities = self.points(cells)
        if not len(strengths):
            return np.full(len(differences), np.nan)
        return np.array([probabilities @ expit(strengths * x) for x in differences])

    def summary(self, cells: Cells) -> dict[str, float]:
        """Mean, median, cv and sd_log of the strength over the choosers of some cells."""
        strengths, probabilities = self.points(cells)
        if not len(strengths):
            return {}
        # The moments from the laws themselves: quantiles cut off the far tail.
        means, squares, weights = [], [], []
        for levels, weight in cells:
            laws = self._matching(levels)
            means += [law.mean() for law in laws]
            squares += [law.sd() ** 2 + law.mean() ** 2 for law in laws]
            weights += [weight / len(laws)] * len(laws)
        mean = float(np.average(means, weights=weights))
        variance = max(float(np.average(squares, weights=weights)) - mean**2, 0.0)
        order = np.argsort(strengths)
        cumulative = np.cumsum(probabilities[order])
        out = {
            "mean": mean,
            "median": float(np.interp(0.5, cumulative, strengths[order])),
            "cv": float(np.sqrt(variance)) / abs(mean),
        }
        if strengths.min() > 0:
            log = np.log(strengths)
            centre = probabilities @ log
            out["sd_log"] = float(np.sqrt(probabilities @ (log - centre) ** 2))
        return out

    def _matching(self, levels: Mapping[str, str]) -> list[Mixing]:
        """Laws of the true cells that agree with a cell of the fit on the factors both have."""
        return [
            law
            for own, law in self.cells
            if all(str(own[f]) == str(levels[f]) for f in own if f in levels)
        ]


def _law(record: Mapping[str, Any], family: str | None) -> Mixing:
    family = str(record.get("family") or family or _guess(record))
    if family not in MIXINGS:
        raise InputError(f"Expected a family out of {list(MIXINGS)}; got {family!r} in the truth.")
    names = list(MIXINGS[family]().parameters)
    missing = [name for name in names if name not in record]
    if missing:
        raise InputError(
            f"Expected {', '.join(names)} of the true {family}; got none for "
            f"{', '.join(missing)} in {shown(dict(record))}."
        )
    return MIXINGS[family](**{name: float(record[name]) for name in names})


def _guess(record: Mapping[str, Any]) -> str:
    for family, law in MIXINGS.items():
        if family != "Normal" and set(law().parameters) <= set(record):
            return family
    return "LogNormal"
