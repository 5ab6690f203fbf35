"""From named draws of the population level back to mixing distributions, in NumPy."""

from collections.abc import Mapping

import numpy as np

from prefstrength.inference.population import Population
from prefstrength.likelihood.laws import Blend, Laws

__all__ = ["blends_of", "flat_draws", "laws_of_draws", "shared_of"]

Draws = Mapping[str, np.ndarray]


def flat_draws(variables: Draws, keep: int | None = None) -> dict[str, np.ndarray]:
    """Draws (chain, draw, …) as (draw, …), at most so many of them, evenly spread."""
    out = {}
    for name, value in variables.items():
        flat = value.reshape(-1, *value.shape[2:])
        if keep is not None and len(flat) > keep:
            flat = flat[np.linspace(0, len(flat) - 1, keep).astype(int)]
        out[name] = flat
    return out


def laws_of_draws(
    population: Population, name: str, draws: Draws
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Location and dispersion (draw, cell) of every kind of choosers of an attribute.

    From the parameters of the mixing distributions where these have names, else from base and
    shifts.
    """
    kinds = population.kinds[name]
    many, cells = len(kinds.families), len(population.cells)
    family = kinds.families[0]
    names = [f"{name}_{parameter}" for parameter in family().parameters]
    if len(set(kinds.families)) == 1 and all(each in draws for each in names):
        count = len(draws[names[0]])
        values = [draws[each].reshape(count, many, cells) for each in names]
        both = family(*values).location_dispersion()
        return [(both[0][:, k], both[1][:, k] if family.varies else None) for k in range(many)]
    location = draws[f"{name}_location"]
    count = len(location)
    location = np.broadcast_to(location.reshape(count, -1, 1), (count, many, cells))
    log = np.zeros(location.shape)
    if kinds.varies:
        with np.errstate(divide="ignore"):
            log = log + np.log(draws[f"{name}_dispersion"]).reshape(count, -1, 1)
    for column, factor in enumerate(population.factors):
        codes = population.cells[:, column]
        location = location + draws[f"{name}_location_{factor}"][:, None, codes]
        if kinds.varies:
            log = log + draws[f"{name}_dispersion_{factor}"][:, None, codes]
    return [
        (location[:, k], np.exp(log[:, k]) if family.varies else None)
        for k, family in enumerate(kinds.families)
    ]


def blends_of(population: Population, name: str, draws: Draws) -> list[Blend]:
    """Mixing distributions of every draw, one blend for each cell."""
    kinds = population.kinds[name]
    laws = laws_of_draws(population, name, draws)
    count = len(laws[0][0])
    many = len(kinds.families)
    share = draws.get(f"{name}_share", np.ones((count, many)))
    shares = [share[:, k] for k in range(many)]
    if kinds.zero:
        zero = draws[f"{name}_zero_share"]
        shares = [*(shares if many > 1 else [1 - zero]), zero]
    with np.errstate(divide="ignore"):
        log_share = np.log(np.stack(shares))
    out = []
    for c in range(len(population.cells)):
        parts: list[Laws | None] = [
            Laws(family, location[:, c], None if spread is None else spread[:, c])
            for family, (location, spread) in zip(kinds.families, laws, strict=True)
        ]
        out.append(Blend((*parts, None) if kinds.zero else tuple(parts), log_share))
    return out


def shared_of(population: Population, draws: Draws) -> dict[str, np.ndarray]:
    """What all choosers share, of every draw."""
    found = {each.name: draws[each.name] for each in population.shared}
    if not population.factors:
        for name in population.kinds:
            if name != population.first:
                found[f"{name}_value"] = draws[f"{name}_location"]
    return found
