"""Several random coefficients, or groups of fixed ones: quadrature over all of them at once."""

import numpy as np

from prefstrength.choice.mixing.base import Mixing
from prefstrength.inference.mode import Mode, find_mode, not_ruled_out
from prefstrength.inference.population import Population
from prefstrength.inference.problem import Problem, laws_of
from prefstrength.inference.sampled import TOLERANCE
from prefstrength.likelihood.cells import CellLaws
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError
from prefstrength.likelihood.direct import direct_error, direct_likelihood

__all__ = ["prepare_several"]

_MOST_REFINEMENTS = 4


def prepare_several(
    population: Population, data: LikelihoodData, refuse: bool
) -> tuple[Problem, Mode, float]:
    """Problem on quadrature nodes that suit the posterior, its mode, and the certified error.

    Nodes are added until the error is below the tolerance, or a refinement does not help and the
    next, twice as fine, does not either.

    Raises
    ------
    NotIntegrableError
        If so many nodes are out of reach; where ``refuse``, also if the error stays above the
        tolerance.
    """
    families = tuple(kinds.families[0] for kinds in population.kinds.values())
    problem = Problem(population, direct_likelihood(data, families))
    mode = find_mode(problem)
    laws = _plausible(problem, mode)
    needed = _largest_dispersions(laws, data, families)
    if not all(0.4 <= relative <= 1.0 for relative, _ in needed):
        problem.likelihood = direct_likelihood(data, families, tuple(d for _, d in needed))
        mode = find_mode(problem, mode.at)
        laws = _plausible(problem, mode)
    error = direct_error(problem.likelihood, data, laws)
    useless = 0
    for refine in range(1, _MOST_REFINEMENTS + 1):
        if error <= TOLERANCE or useless > 1:
            break
        needed = _largest_dispersions(laws, data, families)
        finer = direct_likelihood(data, families, tuple(d for _, d in needed), refine)
        finer_error = direct_error(finer, data, laws)
        useless = useless + 1 if finer_error > error / 2 else 0
        if finer_error < error:
            problem.likelihood, error = finer, finer_error
    if error > TOLERANCE and refuse:
        raise NotIntegrableError(
            f"The likelihood expects an error below {TOLERANCE} nats; got {error:.2g} with the "
            f"most nodes ({problem.likelihood.how}). Use `method='latent'`."
        )
    return problem, mode, error


def _plausible(problem: Problem, mode: Mode) -> list[tuple[CellLaws, ...]]:
    """Mixing distributions at the mode and around it that the posterior does not rule out."""
    rng = np.random.default_rng(0)
    factor = np.linalg.cholesky(mode.covariance)
    candidates = mode.at + 1.3 * rng.standard_normal((30, problem.size)) @ factor.T
    kept = candidates[not_ruled_out(problem, mode, candidates)][:6]
    points = problem.constrain(np.stack([mode.at, *kept]))
    names = list(problem.population.kinds)
    families = {name: problem.population.kinds[name].families[0] for name in names}
    return [
        laws_of(families, {key: value[i] for key, value in points.items()})
        for i in range(1 + len(kept))
    ]


def _largest_dispersions(
    laws: list[tuple[CellLaws, ...]], data: LikelihoodData, families: tuple[type[Mixing], ...]
) -> list[tuple[float, float]]:
    """For each attribute the largest dispersion, relative to its unit and as it is."""
    out = []
    for a, family in enumerate(families):
        unit = 1.0 if family.positive else 1.0 / data.scales[a]
        sizes = [float(np.max(d)) / unit for law in laws if (d := law[a].dispersion) is not None]
        relative = float(np.clip(max(sizes, default=1.0), 0.3, 6.0))
        out.append((relative, relative * unit))
    return out
