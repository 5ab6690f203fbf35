"""Explanations of the same answers: their weights, and what they say together.

An explanation is a combination of parts that are on. Its weight is its prior probability times its
marginal likelihood; what is claimed is averaged over all of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import special

from prefstrength.validation.rival_grid import CUTS, Grid, Pattern
from prefstrength.validation.rival_parts import BENDS, PARTS, Part
from prefstrength.validation.rival_ranges import explore
from prefstrength.validation.rival_shared import SharedNumbers
from prefstrength.validation.rival_tables import RivalLikelihood

__all__ = ["Explanation", "Explanations", "apart", "explain"]

_NAMES = {
    "power": "power utility",
    "capped": "capped utility",
    "lapse": "random answers",
    "zero": "class at zero",
    "reversed": "reversed class",
}
# Weight below which an explanation does not enter averages.
_NEGLIGIBLE = 1e-6
# Weight of a node of a posterior below which it is left out.
_FAINT = 1e-9


@dataclass(frozen=True)
class Explanation:
    """One combination of parts.

    Parameters
    ----------
    pattern : Pattern
        Which of lapse, spread, zero and reversed are on.
    grid : Grid
    log_evidence : float
        Log marginal likelihood.
    """

    pattern: Pattern
    grid: Grid
    log_evidence: float

    @property
    def on(self) -> frozenset[str]:
        """Names of the parts that are on."""
        on = {part.name for part, each in zip(PARTS, self.pattern, strict=True) if each}
        return frozenset(on | ({self.grid.bend} & set(BENDS)))

    @property
    def name(self) -> str:
        """In words."""
        parts = [name for key, name in _NAMES.items() if key in self.on]
        return " + ".join(["spread" if "spread" in self.on else "one strength", *parts])

    @property
    def simple(self) -> bool:
        """Whether it has one part at most beside spread."""
        return len(self.on - {"spread"}) <= 1

    @cached_property
    def classes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Posterior of sigma, zero share and reversed share: values and weights, (node,)."""
        values, weight = self.grid.posterior(self.pattern, (2, 3, 4))
        used = weight > _FAINT
        sigma, zero, negative = (each[used] for each in np.meshgrid(*values, indexing="ij"))
        return sigma, zero, negative, weight[used] / weight[used].sum()

    @cached_property
    def claims(self) -> tuple[float, float, float]:
        """Probability that choosers differ, that they are the same, and that strength is spread."""
        sigma, zero, negative, weight = self.classes
        spread = sigma > CUTS["spread"]
        # All may be at zero, or reversed: nobody differs then.
        nobody = zero > 1 - CUTS["zero"]
        one_way = np.minimum(negative, 1 - negative) < CUTS["reversed"]
        same = nobody | (~spread & (zero < CUTS["zero"]) & one_way)
        p_spread = float(weight @ (spread & ~nobody))
        if not self.on & {"zero", "reversed"}:
            return p_spread, float(weight @ same), p_spread
        alike = nobody | (~spread & (zero < CUTS["zero"]) & (negative > 1 - CUTS["reversed"]))
        return float(weight @ ~alike), float(weight @ same), p_spread

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Posterior of a part's parameter that is on: values and weights."""
        axes = ["bend", *(part.name for part in PARTS)]
        k = 0 if name in BENDS else axes.index(name)
        values, weight = self.grid.posterior(self.pattern, (k,))
        return values[0], weight


@dataclass(frozen=True)
class Explanations:
    """All explanations of the same answers.

    Parameters
    ----------
    all : tuple of Explanation
    prior_on : mapping of str to float
        Prior probability that each part is on; bends exclude each other.
    """

    all: tuple[Explanation, ...]
    prior_on: Mapping[str, float] = field(
        default_factory=lambda: {part.name: part.prior_on for part in (*PARTS, *BENDS.values())}
    )

    def with_prior(self, **prior_on: float) -> "Explanations":
        """The same under other prior probabilities of parts."""
        return replace(self, prior_on={**self.prior_on, **prior_on})

    @cached_property
    def weights(self) -> np.ndarray:
        """Posterior probability of each."""
        log = [self._log_prior(each) + each.log_evidence for each in self.all]
        return np.asarray(special.softmax(log))

    def _log_prior(self, explanation: Explanation) -> float:
        chance = 1.0
        for part in PARTS:
            if any(part.name in each.on for each in self.all):
                on = self.prior_on[part.name]
                chance *= on if part.name in explanation.on else 1 - on
        straight = 1 - sum(self.prior_on[name] for name in BENDS)
        return float(np.log(chance * self.prior_on.get(explanation.grid.bend, straight)))

    def chance(self, *names: str) -> float:
        """Probability that at least one of some parts is on."""
        hit = [bool(each.on & set(names)) for each in self.all]
        return float(self.weights @ hit)

    @cached_property
    def classes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Posterior of sigma, zero share and reversed share over all explanations."""
        parts = [
            (*each.classes[:3], weight * each.classes[3])
            for each, weight in zip(self.all, self.weights, strict=True)
            if weight > _NEGLIGIBLE
        ]
        sigma, zero, negative, weight = (
            np.concatenate(column) for column in zip(*parts, strict=True)
        )
        return sigma, zero, negative, weight / weight.sum()

    def of(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Posterior of a part's parameter where the part is on: values and weights."""
        found = [
            (*each.of(name), weight)
            for each, weight in zip(self.all, self.weights, strict=True)
            if name in each.on and weight > _NEGLIGIBLE * self.chance(name)
        ]
        value = np.concatenate([value for value, _, _ in found])
        weight = np.concatenate([own * weight for _, own, weight in found])
        return value, weight / weight.sum()


def explain(
    likelihood: RivalLikelihood, shared: SharedNumbers, single: bool, bends: Iterable[str]
) -> Explanations:
    """Find all explanations.

    Parameters
    ----------
    likelihood : RivalLikelihood
    shared : SharedNumbers
    single : bool
        Whether every answer stands alone; classes at zero and reversed are then answers at random
        under other names, and left out.
    bends : iterable of str
        Names of the utilities.
    """
    parts: Sequence[Part | None] = (*PARTS[:2], None, None) if single else PARTS
    with ThreadPoolExecutor() as pool:
        grids = list(pool.map(lambda bend: explore(likelihood, shared, bend, parts), bends))
    return Explanations(
        tuple(
            Explanation(pattern, grid, grid.log_evidence(pattern))
            for grid in grids
            for pattern in grid.patterns()
        )
    )


def apart(
    likelihood: RivalLikelihood, shared: SharedNumbers, explanation: Explanation
) -> Explanation:
    """The same explanation on a grid of its own.

    Where it is out of the question, the grid that it shares with others does not reach it.
    """
    own = tuple(part if on else None for part, on in zip(PARTS, explanation.pattern, strict=True))
    grid = explore(likelihood, shared, explanation.grid.bend, own)
    return Explanation(explanation.pattern, grid, grid.log_evidence(explanation.pattern))
