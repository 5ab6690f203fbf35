"""The population level of a mixed logit as a NumPyro program: priors, groups, cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from prefstrength.choice.mixing.base import Mixing
from prefstrength.likelihood.cells import CellLaws, parameters

if TYPE_CHECKING:
    from prefstrength.data.choices import Choices
    from prefstrength.data.compressed.sums_of_pairs import CompressedChoices

__all__ = ["Population"]

Likelihood = Any  # PairSketch, PanelTables or DirectLikelihood: .total(laws)


@dataclass(frozen=True)
class Population:
    """The population level of a model on given data: what the NumPyro model samples.

    Parameters
    ----------
    families : dict
        Family of each attribute's coefficient.
    scales : dict
        Root mean square of each attribute's differences, on which the priors are stated.
    factors : dict
        Number of levels of each factor of the groups.
    cells : numpy.ndarray, shape (cell, factor)
        Level codes of the observed cells.
    centring : dict
        For each factor, how far its shifts are centred (0: not, 1: fully), from the amount of
        data a level holds; it changes the geometry that the sampler sees, not the model.
    priors : dict
        Distributions by variable name, in place of the defaults.
    """

    families: dict[str, type[Mixing]]
    scales: dict[str, float]
    factors: dict[str, int]
    cells: np.ndarray
    centring: dict[str, float]
    priors: dict[str, dist.Distribution] = field(default_factory=dict)

    def prior(self) -> dict[str, dist.Distribution]:
        """Prior of every population-level variable that has one of its own."""
        table: dict[str, dist.Distribution] = {}
        for name, family in self.families.items():
            scale = self.scales[name]
            log_scale = family.positive
            unit = 1.0 if log_scale else 1.0 / scale
            log = jnp.log if isinstance(scale, jax.Array) else np.log  # traced, or a number
            table[f"{name}_location"] = (
                dist.Normal(-log(scale), 1.0) if log_scale else dist.Normal(0.0, 2.0 * unit)
            )
            if family.varies:
                table[f"{name}_dispersion"] = dist.HalfNormal(unit)
            for factor in self.factors:
                table[f"{name}_location_sd_{factor}"] = dist.HalfNormal(0.5 * unit)
                if family.varies:
                    table[f"{name}_dispersion_sd_{factor}"] = dist.HalfNormal(0.5)
        for key, prior in self.priors.items():
            table[alias_of(key, self.families)] = prior
        return table

    def sample(self) -> tuple[CellLaws, ...]:
        """NumPyro statements for the population level; returns the laws in every cell."""
        prior = self.prior()
        laws = []
        for name, family in self.families.items():
            location = numpyro.sample(f"{name}_location", prior[f"{name}_location"])
            location = self._shifted(name, "location", location, prior)
            dispersion = None
            if family.varies:
                base = numpyro.sample(f"{name}_dispersion", prior[f"{name}_dispersion"])
                dispersion = jnp.exp(self._shifted(name, "dispersion", jnp.log(base), prior))
            laws.append(CellLaws(family, location, dispersion))
            shown = parameters(family, location, dispersion)
            for parameter, value in shown.items():
                numpyro.deterministic(f"{name}_{parameter}", value if self.factors else value[0])
        return tuple(laws)

    def centring_of(self, factor: str, what: str) -> float:
        """How far shifts of locations or dispersions are centred; on these the data say less."""
        return self.centring[factor] * (1.0 if what == "location" else 0.5)

    def _shifted(
        self, name: str, what: str, base: jax.Array, prior: Mapping[str, dist.Distribution]
    ) -> jax.Array:
        """The base, shifted by the levels of every factor; shape (cell,)."""
        value = jnp.broadcast_to(base, (len(self.cells),))
        for column, (factor, levels) in enumerate(self.factors.items()):
            sd = numpyro.sample(f"{name}_{what}_sd_{factor}", prior[f"{name}_{what}_sd_{factor}"])
            # Partly centred: raw ~ ZeroSumNormal(sd^c), shift = sd^(1-c) raw, the same law for
            # every c. Papaspiliopoulos, Roberts, Skoeld (2007).
            c = self.centring_of(factor, what)
            raw = numpyro.sample(
                f"{name}_{what}_raw_{factor}", dist.ZeroSumNormal(sd**c, (levels,))
            )
            shift = numpyro.deterministic(f"{name}_{what}_{factor}", sd ** (1 - c) * raw)
            value = value + shift[self.cells[:, column]]
        return value


def alias_of(key: str, families: Mapping[str, type[Mixing]]) -> str:
    """Variable that a prior is meant for: ``reward_mu`` is the location of a LogNormal."""
    for name, family in families.items():
        if family.linear:
            own = zip(family().parameters, ("location", "dispersion"), strict=False)
            key = {f"{name}_{parameter}": f"{name}_{what}" for parameter, what in own}.get(key, key)
    return key


def describe(prior: dist.Distribution) -> str:
    """A distribution in a few characters.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> describe(dist.Normal(0.0, 2.5))
    'Normal(0, 2.5)'
    >>> describe(dist.Normal(-0.0, 1.0))
    'Normal(0, 1)'
    """
    shown = ", ".join(
        f"{float(getattr(prior, name)) + 0.0:.2g}"
        for name in prior.arg_constraints
        if np.ndim(getattr(prior, name)) == 0
    )
    return f"{type(prior).__name__}({shown})"


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
