"""Where the likelihood of each cell lies: ranges of location and dispersion, found by looking."""

from collections.abc import Callable

import numpy as np

from prefstrength.inference.population import Population
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.strength import StrengthLikelihood, bend_of

__all__ = ["CellTable", "cell_values", "table_of_cells"]

#: Log-likelihood of every cell at points of its own, (point, cell) each.
ByCell = Callable[[np.ndarray, np.ndarray | None], np.ndarray]

# Nodes of the looks that find the ranges, in location and in log dispersion.
_LOOK = (25, 8)
# Range of locations that is looked at, in units of the prior; dispersions in bends, and units.
_FAR, _LEAST, _MOST = 8.0, 0.05, 8.0


class CellTable:
    """Log-likelihood of every cell on nodes of its own.

    Attributes
    ----------
    across, along : numpy.ndarray, shape (cell, node)
        Nodes of location and of log dispersion (one alone where there is none).
    values : numpy.ndarray, shape (cell, node of location, node of log dispersion)
    """

    def __init__(self, across: np.ndarray, along: np.ndarray, values: np.ndarray) -> None:
        self.across, self.along, self.values = across, along, values


def cell_values(population: Population, likelihood: StrengthLikelihood) -> ByCell:
    """Log-likelihood of every cell of one attribute as a function of location and dispersion."""
    (kinds,) = population.kinds.values()
    (family,) = kinds.families

    def by_cell(location: np.ndarray, dispersion: np.ndarray | None) -> np.ndarray:
        spread = [None if dispersion is None else dispersion[:, c] for c in range(cells)]
        return likelihood.by_cell(
            [Blend.of(Laws(family, location[:, c], spread[c])) for c in range(cells)]
        )

    cells = len(population.cells)
    return by_cell


def table_of_cells(
    population: Population, likelihood: StrengthLikelihood, nodes: int, drop: float
) -> CellTable:
    """Tabulate every cell where it lies within so many nats of its maximum."""
    (name,) = population.kinds
    random = population.kinds[name].varies
    by_cell = cell_values(population, likelihood)
    unit, cells = population.unit(name), len(population.cells)
    middle = population.prior()[f"{name}_location"].quantile(0.5)
    low = np.full(cells, middle - _FAR * unit)
    high = np.full(cells, middle + _FAR * unit)
    narrow = np.full(cells, np.log(_LEAST * bend_of(likelihood) * unit))
    wide = np.full(cells, np.log(_MOST * unit))
    for size in (_LOOK, _LOOK, (nodes // 2, nodes // 2), (nodes, nodes)):
        across = np.linspace(low, high, size[0])  # (node, cell)
        along = np.linspace(narrow, wide, size[1] if random else 1)
        at = np.repeat(across, len(along), axis=0)
        spread = np.exp(np.tile(along, (len(across), 1))) if random else None
        values = by_cell(at, spread).reshape(len(across), len(along), cells)
        there = values > values.max(axis=(0, 1)) - drop
        low, high = _around(across, there.any(axis=1))
        if random:
            narrow, wide = _around(along, there.any(axis=0))
    return CellTable(across.T, along.T, values.transpose(2, 0, 1))


def _around(nodes: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Range of the nodes (node, cell) that are there, a step more on either side."""
    count = len(nodes)
    first = there.argmax(axis=0)
    last = count - 1 - there[::-1].argmax(axis=0)
    column = np.arange(nodes.shape[1])
    return nodes[np.maximum(first - 1, 0), column], nodes[np.minimum(last + 1, count - 1), column]
