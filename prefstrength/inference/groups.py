"""Several factors of the groups: surfaces of every cell in the place of the choosers."""

import numpy as np

from prefstrength.inference.mode import Mode, find_mode
from prefstrength.inference.named_draws import laws_of_draws
from prefstrength.inference.population import Population
from prefstrength.inference.problem import Problem
from prefstrength.inference.ranges import cell_values, table_of_cells
from prefstrength.likelihood.strength import StrengthLikelihood, bend_of
from prefstrength.likelihood.surfaces import SIDE, CellSurfaces

__all__ = ["prepare_groups", "surface_error"]

# Nats below its maximum to which a cell's surface reaches, and numbers of nodes tried for it.
_DROP, _LOOK = 40.0, 16
_NODES = (12, 16, 20, SIDE)
# Error of a surface, in nats, where its cell lies, at which nodes are enough.
_WANTED = 0.001


def prepare_groups(population: Population, likelihood: StrengthLikelihood) -> tuple[Problem, Mode]:
    """Problem on surfaces over where each cell's likelihood lies, and the posterior's mode."""
    (name,) = population.kinds
    table = table_of_cells(population, likelihood, _LOOK, _DROP)
    location = table.across[:, [0, -1]]
    dispersion = np.exp(table.along[:, [0, -1]]) if population.kinds[name].varies else None
    softness = float(bend_of(likelihood) * population.unit(name)) ** 2
    by_cell = cell_values(population, likelihood)
    rng = np.random.default_rng(0)
    at = _between(location, rng)
    spread = None if dispersion is None else _between(dispersion, rng)
    exact = by_cell(at, spread)
    telling = exact > table.values.max(axis=(1, 2)) - _DROP / 2
    for nodes in _NODES:
        surfaces = CellSurfaces.build(by_cell, location, dispersion, softness, nodes)
        error = np.abs(surfaces.values(at, spread) - exact)[telling]
        if error.max(initial=0.0) < _WANTED:
            break
    problem = Problem(population, surfaces)
    return problem, find_mode(problem)


def _between(ends: np.ndarray, rng: np.random.Generator, points: int = 30) -> np.ndarray:
    """Points of each cell (point, cell) within its range (cell, 2)."""
    return ends[:, 0] + rng.random((points, len(ends))) * (ends[:, 1] - ends[:, 0])


def surface_error(
    problem: Problem, likelihood: StrengthLikelihood, flat: np.ndarray
) -> tuple[float, float]:
    """Share of draws (draw, parameter) on all surfaces, and these' error at some, in nats."""
    population, surfaces = problem.population, problem.likelihood
    (name,) = population.kinds
    ((location, dispersion),) = laws_of_draws(population, name, problem.constrain(flat))
    some = np.linspace(0, len(flat) - 1, min(12, len(flat))).astype(int)
    spread = None if dispersion is None else dispersion[some]
    exact = cell_values(population, likelihood)(location[some], spread).sum(axis=1)
    found = surfaces.values(location[some], spread).sum(axis=1)
    inside = surfaces.inside(location, dispersion).all(axis=1).mean()
    return float(inside), float(np.max(np.abs(found - exact)))
