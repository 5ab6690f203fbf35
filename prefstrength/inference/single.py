"""One random strength, no groups: the posterior over a handful of numbers, without a compiler."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prefstrength.choice.mixing.kinds import Kinds
from prefstrength.inference.coordinates import Coordinate
from prefstrength.inference.locate import locate
from prefstrength.inference.population import Population
from prefstrength.inference.priors import Prior
from prefstrength.inference.target import Parameter, Target
from prefstrength.inference.target_sampling import TargetDraws, laplace_target
from prefstrength.likelihood.laws import Blend, Laws
from prefstrength.likelihood.strength import StrengthLikelihood, bend_of

__all__ = ["Single"]

Values = Mapping[str, np.ndarray]

# How a search begins where a prior's median will not do.
_SPREAD, _APART = 0.5, 0.7
# Size of a positive shared number that data tell from 0.
_SMALL = 0.05
_FAR = 6.0


@dataclass(frozen=True)
class Single:
    """The posterior of a model of one random strength.

    Parameters
    ----------
    population : Population
        Without groups.
    likelihood : StrengthLikelihood
    """

    population: Population
    likelihood: StrengthLikelihood

    @property
    def name(self) -> str:
        """The attribute whose coefficient differs between choosers, or the only one."""
        return self.population.first

    @property
    def fixed(self) -> list[str]:
        """Further attributes, whose coefficients all choosers share."""
        return [name for name in self.population.kinds if name != self.name]

    @property
    def kinds(self) -> Kinds:
        """Its kinds of choosers."""
        return self.population.kinds[self.name]

    @cached_property
    def target(self) -> Target:
        """The posterior density."""
        parameters = self._shared()
        slow = len(parameters)
        return Target(
            (*parameters, *self._shares(), *self._places()), slow, self.log_likelihood, self._more
        )

    def _shared(self) -> list[Parameter]:
        prior = self.population.prior()
        found = []
        for each in self.population.shared:
            own = prior[each.name]
            place = Coordinate(own.support, _SMALL)
            found.append(Parameter(each.name, own, place, own.quantile(0.5)))
        for name in self.fixed:
            own = prior[f"{name}_location"]
            found.append(Parameter(f"{name}_value", own, Coordinate("real"), own.quantile(0.5)))
        return found

    def _shares(self) -> list[Parameter]:
        """Share of strength 0; of kinds, each as a part of what those before leave."""
        few = 0.5 / max(1.0, float(self.likelihood.times.sum()) ** 0.5)
        found = []
        if self.kinds.zero:
            prior = self.population.prior()[f"{self.name}_zero_share"]
            found.append(Parameter("zero", prior, Coordinate("share", few), 0.1))
        many = len(self.kinds.families)
        for k in range(many - 1):
            prior = Prior("Beta", (1.0, float(many - 1 - k)))
            found.append(Parameter(f"part {k}", prior, Coordinate("share", few), 1 / (many - k)))
        return found

    def _places(self) -> list[Parameter]:
        prior = self.population.prior()
        location = prior[f"{self.name}_location"]
        unit = self.population.unit(self.name)
        bend = bend_of(self.likelihood)
        middle, many = location.quantile(0.5), len(self.kinds.families)
        found = []
        for k, family in enumerate(self.kinds.families):
            start = middle + _APART * unit * (k - (many - 1) / 2)
            found.append(Parameter(f"location {k}", location, Coordinate("real"), start))
            if family.varies:
                own = prior[f"{self.name}_dispersion"]
                width = bend if family.positive else bend * unit
                place = Coordinate("spread", width)
                found.append(Parameter(f"dispersion {k}", own, place, _SPREAD * unit))
        return found

    def _more(self, values: Values) -> np.ndarray:
        """Log of the order of kinds that differ by their locations alone."""
        if not self.kinds.ordered:
            return np.zeros(1)
        many = len(self.kinds.families)
        places = np.stack([values[f"location {k}"] for k in range(many)])
        rising = (np.diff(places, axis=0) > 0).all(axis=0)
        return np.where(rising, math.lgamma(many + 1), -np.inf)

    def widest(self) -> float:
        """How wide mixing distributions are at most, six sds from the mode, on the grid."""
        ball = locate(self.target)
        sd = np.linalg.norm(ball.factor, axis=1)
        values = self.target.values_of_smooth((ball.centre + _FAR * sd)[None])
        grid = self.likelihood.grid
        parts = [part for part in self.blend(values).parts if part is not None]
        return max(float(part.spread_in(grid)[0]) for part in parts)

    # -- values ------------------------------------------------------------------------------------

    def blend(self, values: Values) -> Blend:
        """Mixing distributions of points."""
        points = len(values["location 0"])
        parts: list[Laws | None] = []
        for k, family in enumerate(self.kinds.families):
            parts.append(Laws(family, values[f"location {k}"], values.get(f"dispersion {k}")))
        shares = self.shares(values)
        if self.kinds.zero:
            parts.append(None)
        with np.errstate(divide="ignore"):
            return Blend(tuple(parts), np.log(shares) if len(parts) > 1 else np.zeros((1, points)))

    def shares(self, values: Values) -> np.ndarray:
        """Shares of the kinds (kind, point), that of strength 0 last."""
        left = np.ones(len(values["location 0"]))
        zero = values.get("zero", 0.0 * left)
        found = []
        left = left - zero
        many = len(self.kinds.families)
        for k in range(many - 1):
            found.append(left * values[f"part {k}"])
            left = left * (1 - values[f"part {k}"])
        found.append(left)
        return np.stack([*found, zero] if self.kinds.zero else found)

    def shared(self, values: Values) -> dict[str, np.ndarray]:
        """What all choosers share, at points."""
        names = [each.name for each in self.population.shared]
        return {name: values[name] for name in (*names, *(f"{n}_value" for n in self.fixed))}

    def log_likelihood(self, values: Values) -> np.ndarray:
        """Log-likelihood of all data at points (point,)."""
        return self.likelihood.totals((self.blend(values),), self.shared(values))

    def variables(self, values: Values) -> dict[str, np.ndarray]:
        """Variables that a fit shows, each (draw, …)."""
        name, families = self.name, self.kinds.families
        many = len(families)

        def shown(what: str) -> np.ndarray:
            columns = [
                values.get(f"{what} {k}", np.zeros(len(values["location 0"]))) for k in range(many)
            ]
            return np.stack(columns, axis=1) if many > 1 else columns[0]

        found = {f"{name}_location": shown("location")}
        if self.kinds.varies:
            found[f"{name}_dispersion"] = shown("dispersion")
        if len(set(families)) == 1:
            spread = found.get(f"{name}_dispersion")
            known = families[0].from_location_dispersion(found[f"{name}_location"], spread)
            found |= {f"{name}_{each}": value for each, value in known.parameters.items()}
        shares = self.shares(values)
        if many > 1:
            found[f"{name}_share"] = shares[:many].T
        if self.kinds.zero:
            found[f"{name}_zero_share"] = shares[-1]
        for each in self.fixed:
            found[f"{each}_location"] = values[f"{each}_value"]
        return found | self.shared(values)

    def values_of(self, draws: Values) -> dict[str, np.ndarray]:
        """Values of draws of the variables that a fit shows; the inverse of :meth:`variables`."""
        name, many = self.name, len(self.kinds.families)
        found = dict(self.shared(draws))
        for what in ("location", "dispersion"):
            own = draws.get(f"{name}_{what}")
            for k in range(many if own is not None else 0):
                assert own is not None
                found[f"{what} {k}"] = own if many == 1 else own[:, k]
        if self.kinds.zero:
            found["zero"] = draws[f"{name}_zero_share"]
        left = 1.0 - found.get("zero", 0.0)
        for k in range(many - 1):
            share = draws[f"{name}_share"][:, k]
            found[f"part {k}"] = share / left
            left = left - share
        return found

    def laplace(self, draws: int, seed: int) -> TargetDraws:
        """A Gaussian at the mode, unweighted; Pareto k and weights say how near it is."""
        return laplace_target(self.target, draws, seed)
