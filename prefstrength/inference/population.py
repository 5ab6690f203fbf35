"""The population level of a mixed logit: parameters, priors and groups, as a NumPyro program.

One list of variables with their priors stands for the model. NumPyro samples it
(:mod:`prefstrength.inference.population_program`), for NUTS and for whoever wants the program; the
same densities are evaluated without a compiler (:mod:`prefstrength.inference.single`,
:mod:`prefstrength.inference.levels`) where a handful of numbers is all there is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from prefstrength.choice.mixing.kinds import Kinds
from prefstrength.choice.responses.base import Shared
from prefstrength.inference.priors import Prior

if TYPE_CHECKING:
    from prefstrength.data.choices import Choices
    from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
    from prefstrength.likelihood.cells import CellLaws

__all__ = ["Level", "Population", "Variable", "cell_codes"]


@dataclass(frozen=True)
class Variable:
    """A variable of the population level.

    Parameters
    ----------
    name : str
    dims : tuple of str
        Beside chain and draw: ``"cell"`` of the groups, ``"component"`` or the levels of a factor.
    """

    name: str
    dims: tuple[str, ...] = ()


@dataclass(frozen=True)
class Level:
    """What the likelihood needs of one draw of the population level, in JAX.

    Parameters
    ----------
    kinds : tuple of tuple of CellLaws
        For each attribute the mixing distributions of its kinds of choosers.
    log_shares : tuple of arrays
        For each attribute (kind,), that of strength 0 last where there is one.
    shared : dict
        What all choosers share.
    """

    kinds: tuple[tuple["CellLaws", ...], ...]
    log_shares: tuple[Any, ...]
    shared: dict[str, Any]

    @property
    def laws(self) -> tuple["CellLaws", ...]:
        """Of attributes with one kind of choosers each."""
        return tuple(kinds[0] for kinds in self.kinds)


@dataclass(frozen=True)
class Population:
    """The population level of a model on given data.

    Parameters
    ----------
    kinds : dict
        Kinds of choosers by attribute.
    scales : dict
        Root mean square of each attribute's differences, on which the priors are stated.
    factors : dict
        Number of levels of each factor of the groups.
    cells : numpy.ndarray, shape (cell, factor)
        Level codes of the observed cells.
    centring : dict
        For each factor, how far its shifts are centred (0: not, 1: fully), from the amount of
        data a level holds; it changes the geometry that a sampler sees, not the model.
    shared : tuple of Shared
        What all choosers share.
    priors : dict
        Priors by variable name, in place of the defaults.
    """

    kinds: dict[str, Kinds]
    scales: dict[str, float]
    factors: dict[str, int]
    cells: np.ndarray
    centring: dict[str, float]
    shared: tuple[Shared, ...] = ()
    priors: dict[str, Prior] = field(default_factory=dict)

    @property
    def random(self) -> list[str]:
        """Attributes whose coefficient differs between choosers."""
        return [name for name, kinds in self.kinds.items() if kinds.random]

    @property
    def first(self) -> str:
        """The attribute that strength is about: the first one that choosers differ in."""
        return next(iter(self.random or self.kinds))

    def unit(self, name: str) -> float:
        """What coefficients of an attribute are counted in where they may be negative."""
        return 1.0 if self.kinds[name].positive else 1.0 / self.scales[name]

    def prior(self) -> dict[str, Prior]:
        """Prior of every variable that has one of its own."""
        table: dict[str, Prior] = {}
        for name, kinds in self.kinds.items():
            unit = self.unit(name)
            centre = Prior("Normal", (-_log(self.scales[name]), 1.0))
            if not kinds.positive:
                centre = Prior("Normal", (0.0, 2.0 * unit))
            table[f"{name}_location"] = centre
            if kinds.varies:
                table[f"{name}_dispersion"] = Prior("HalfNormal", (unit,))
            if kinds.zero:
                table[f"{name}_zero_share"] = Prior("Beta", (1.0, 4.0))
            for factor in self.factors:
                table[f"{name}_location_sd_{factor}"] = Prior("HalfNormal", (0.5 * unit,))
                if f"{name}_dispersion" in table:
                    table[f"{name}_dispersion_sd_{factor}"] = Prior("HalfNormal", (0.5,))
        for each in self.shared:
            table[each.name] = Prior(each.prior, each.arguments)
        for key, prior in self.priors.items():
            table[self.alias(key)] = prior
        return table

    def alias(self, key: str) -> str:
        """Variable that a prior is meant for: ``reward_mu`` is the location of a LogNormal."""
        for name, kinds in self.kinds.items():
            for family in kinds.families:
                if family.linear:
                    own = zip(family().parameters, ("location", "dispersion"), strict=False)
                    names = {f"{name}_{parameter}": f"{name}_{what}" for parameter, what in own}
                    key = names.get(key, key)
        return key

    def centring_of(self, factor: str, what: str) -> float:
        """How far shifts of locations or dispersions are centred; on these the data say less."""
        return self.centring[factor] * (1.0 if what == "location" else 0.5)

    # -- names -------------------------------------------------------------------------------------

    def variables(self) -> list[Variable]:
        """Variables that a fit shows, with their dimensions, in order."""
        found: list[Variable] = []
        for name, kinds in self.kinds.items():
            component = ("component",) if len(kinds.families) > 1 else ()
            cell = ("cell",) if self.factors else ()
            found.append(Variable(f"{name}_location", component))
            spread = kinds.varies
            whats = ["location", "dispersion"] if spread else ["location"]
            if spread:
                found.append(Variable(f"{name}_dispersion", component))
            for factor in self.factors:
                for what in whats:
                    found.append(Variable(f"{name}_{what}_sd_{factor}"))
                    found.append(Variable(f"{name}_{what}_{factor}", (f"{factor}_level",)))
            if len(set(kinds.families)) == 1:
                for parameter in kinds.families[0]().parameters:
                    found.append(Variable(f"{name}_{parameter}", (*component, *cell)))
            if len(kinds.families) > 1:
                found.append(Variable(f"{name}_share", component))
            if kinds.zero:
                found.append(Variable(f"{name}_zero_share"))
        found.extend(Variable(each.name) for each in self.shared)
        return found


def _log(value: Any) -> Any:
    """Log of a number, or of one that JAX traces."""
    if isinstance(value, float):
        return math.log(value)
    import jax.numpy as jnp

    return jnp.log(value)


def cell_codes(
    choices: "Choices | CompressedChoices", groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Observed cells of crossed factors.

    Returns
    -------
    cells : numpy.ndarray, shape (cell, factor)
        Level codes of every observed combination.
    codes : numpy.ndarray, shape (situation,)
        Cell of every situation; of compressed choices, of every row.
    """
    if not groups:
        return np.zeros((1, 0), dtype=np.int64), np.zeros(len(choices.weights), dtype=np.int64)
    stacked = np.stack([choices.groups[name].codes for name in groups], axis=1)
    cells, codes = np.unique(stacked, axis=0, return_inverse=True)
    return cells.astype(np.int64), codes.reshape(-1).astype(np.int64)
