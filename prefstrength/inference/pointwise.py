"""Log-likelihood of every unit under posterior draws, for leave-one-out predictions."""

from dataclasses import dataclass

import numpy as np

from prefstrength.inference.named_draws import blends_of, shared_of
from prefstrength.inference.population import Population
from prefstrength.inference.sampled import Sampled
from prefstrength.inference.surrogate import fit_surrogate
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.strength import StrengthLikelihood

__all__ = ["Pointwise", "pointwise"]

# Enough for PSIS-LOO, whose error is of the data, not of the draws; and numbers kept at most.
_DRAWS, _MOST_NUMBERS = 1_000, 20_000_000
# Draws that are enough where each costs tables of its own.
_DEAR = 250
_FEWEST = 100


@dataclass(frozen=True)
class Pointwise:
    """Log-likelihoods (chain, draw, copy), and which draws of each chain and units they are of."""

    values: np.ndarray
    draws: np.ndarray
    units: np.ndarray


def pointwise(population: Population, data: LikelihoodData, sampled: Sampled) -> Pointwise | None:
    """Pointwise log-likelihood, every k-th draw; ``None`` where it cannot be had.

    Where all choosers share further numbers, every unit has a polynomial of its own, fitted at the
    points at which the posterior's was. What stands for several that are alike is there as often:
    one of them is left out at a time.
    """
    if sampled.likelihood is None or (isinstance(data, CompressedData) and not data.panel):
        return None  # choosers were sampled; or units are points that stand for many pairs
    dear = bool(population.shared) and sampled.surrogate is None
    times = data.times
    units = np.repeat(np.arange(data.units), times.astype(int) if data.whole else 1)
    keep = min(_DEAR if dear else _DRAWS, _MOST_NUMBERS // len(units))
    if keep < _FEWEST:
        return None  # too many situations for a table of draws by situations
    chains, draws = next(iter(sampled.variables.values())).shape[:2]
    step = max(1, -(-chains * draws // keep))
    which = np.arange(0, draws, step)
    some = {
        name: value[:, which].reshape(-1, *value.shape[2:])
        for name, value in sampled.variables.items()
        if name != "_chooser_draws"
    }
    values = _of_units(population, data, sampled, some)
    if not data.whole:
        values = values * times
    return Pointwise(values[:, units].reshape(chains, len(which), -1), which, units)


def _of_units(
    population: Population,
    data: LikelihoodData,
    sampled: Sampled,
    draws: dict[str, np.ndarray],
) -> np.ndarray:
    likelihood = sampled.likelihood
    if not isinstance(likelihood, StrengthLikelihood):
        from prefstrength.inference.several_results import log_likelihoods

        return log_likelihoods(likelihood, population, draws)
    blends, shared = blends_of(population, population.first, draws), shared_of(population, draws)
    if not data.panel:
        return likelihood.by_situation(data, blends, shared)
    if not shared or sampled.surrogate is None:
        return likelihood.by_unit(blends, shared)
    single, found = sampled.surrogate
    values = single.target.values_of_smooth(found.points)
    own = likelihood.by_unit((single.blend(values),), single.shared(values))
    assert found.surrogate is not None
    fitted = fit_surrogate(found.surrogate.ball, found.surrogate.degree, found.points, own)
    return fitted(single.target.smooth(single.values_of(draws)))
