"""Known truth (of simulated data) brought into the terms of a fit: its cells, levels, choosers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import shown
from prefstrength.choice.arrays import NUMPY
from prefstrength.choice.kernel import log_probability
from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.choice.mixing.finite_mixture import FiniteMixture
from prefstrength.errors import InputError

__all__ = ["Truth"]

#: Cells of a fit (level of each factor), each with its weight.
Cells = Sequence[tuple[Mapping[str, str], float]]


@dataclass(frozen=True)
class Truth:
    """The mixing distributions that simulated choosers were drawn from.

    Parameters
    ----------
    cells : tuple of (dict, Mixing)
        Level of each factor, and the mixing distribution there.
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
            A mixing distribution for all; or ``cells``: a list (or a frame) of records with the
            factors' levels and the mixing distribution's parameters, or a dict from ``"level |
            level"`` to the parameters, with ``factors`` naming the factors in that order. Optional:
            ``family`` (LogNormal), ``choosers`` (label to strength), ``unit``.
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
                f"{shown(truth)}. Give the mixing distribution of each group."
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
        """The one mixing distribution of a cell of the fit, where there is one."""
        matching = self._matching(levels)
        if not matching or any(repr(law) != repr(matching[0]) for law in matching):
            return None
        return matching[0]

    def mixture(self, cells: Cells) -> Mixing | None:
        """The strength of the choosers of some cells; ``None`` where the truth lacks one of them.

        Parameters
        ----------
        cells : list of (dict, float)
            Level of each factor in a cell, and its weight.
        """
        laws: dict[int, Mixing] = {}
        weights: dict[int, float] = {}
        for levels, weight in cells:
            matching = self._matching(levels)
            if not matching:
                return None
            for law in matching:
                laws[id(law)] = law
                weights[id(law)] = weights.get(id(law), 0.0) + weight / len(matching)
        if len(laws) == 1:
            return next(iter(laws.values()))
        total = sum(weights.values())
        return FiniteMixture(list(laws.values()), [each / total for each in weights.values()])

    def density(self, cells: Cells, grid: np.ndarray) -> np.ndarray:
        """Density of the strength over the choosers of some cells; nan where it has none."""
        law = self.mixture(cells)
        return law.pdf(grid) if law is not None and law.has_density else np.full(len(grid), np.nan)

    def curve(self, cells: Cells, differences: np.ndarray) -> np.ndarray:
        """Probability of the first alternative at given differences, averaged over choosers."""
        law = self.mixture(cells)
        if law is None:
            return np.full(len(differences), np.nan)
        return np.exp(log_probability(NUMPY, np.asarray(differences, dtype=float), law))

    def summary(self, cells: Cells) -> dict[str, float]:
        """Mean, median, cv and sd_log of the strength over the choosers of some cells."""
        law = self.mixture(cells)
        if law is None:
            return {}
        asked = {name: getattr(law, name)() for name in ("mean", "median", "cv", "sd_log")}
        return {name: value for name, value in asked.items() if not math.isnan(value)}

    def _matching(self, levels: Mapping[str, str]) -> list[Mixing]:
        """Those of the true cells that agree with a cell of the fit on the factors both have."""
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
    """Family with parameters of these names; of two, that of positive strengths."""
    for name, family in sorted(MIXINGS.items(), key=lambda each: not each[1].positive):
        if set(family().parameters) <= set(record):
            return name
    return "LogNormal"
