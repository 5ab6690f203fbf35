r"""One factor of the groups, any number of levels: the posterior without a Markov chain.

Given where the locations of the levels lie (mean m, sd s) and the logs of their dispersions
(d, r), levels are independent. The likelihood of a level is tabulated once over its location and
log dispersion; the population of levels is then a weight on that table, as a mixing distribution is
one on the table of a chooser, and four numbers remain, whatever the number of levels. They are
sampled by importance sampling, and levels drawn from their tables.

The model has the mean of the levels, b, as the base with a prior of its own, and shifts that add
up to 0. That is this one with weights: as

.. math:: \prod_c N(l_c \mid m, s^2) \propto \text{ZeroSum}(l - b \mid s)\, N(m \mid b, s^2/K),

a draw of (m, s, l) made under a prior of m counts by the prior at b over that at m.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from prefstrength.choice.mixing.base import Mixing
from prefstrength.inference.coordinates import Coordinate
from prefstrength.inference.locate import locate
from prefstrength.inference.population import Population
from prefstrength.inference.priors import Prior
from prefstrength.inference.ranges import cell_values, table_of_cells
from prefstrength.inference.target import Parameter, Target
from prefstrength.inference.target_sampling import importance_sample, smoothed
from prefstrength.likelihood.lattice import interpolation, stencil
from prefstrength.likelihood.strength import StrengthLikelihood

__all__ = ["LevelDraws", "Levels", "normal_weights"]

Values = Mapping[str, np.ndarray]

# Nats below its maximum at which a level's table ends.
_DROP = 18.0
# Step in sds of a level's likelihood at which it is summed, and how many times finer nodes may be.
_DENSE, _MOST_FINER = 0.33, 12
# Numbers in the largest temporary array.
_BLOCK = 1_000_000
# Nodes of a narrow population of levels.
_Z = np.arange(-4.0, 4.4, 0.8)


@dataclass(frozen=True)
class LevelDraws:
    """Draws of base, spreads and levels.

    Parameters
    ----------
    variables : dict
        Each (draw, …).
    pareto_k, effective, error : float
    """

    variables: dict[str, np.ndarray]
    pareto_k: float
    effective: float
    error: float


@dataclass(frozen=True)
class Levels:
    """The posterior of a model of one random strength and one factor.

    Parameters
    ----------
    population : Population
        With one factor, of which every level is a cell, and one simple attribute.
    likelihood : StrengthLikelihood
        Separable.
    nodes : int
        Of a level's table in each direction.
    """

    population: Population
    likelihood: StrengthLikelihood
    nodes: int = 40

    @property
    def _name(self) -> str:
        (name,) = self.population.kinds
        return name

    @property
    def _factor(self) -> str:
        (factor,) = self.population.factors
        return factor

    @property
    def _family(self) -> type[Mixing]:
        (family,) = self.population.kinds[self._name].families
        return family

    @property
    def _random(self) -> bool:
        return self._family.varies

    @cached_property
    def _grids(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Nodes of location and of log dispersion (level, node), the table, and its maxima.

        Logs of likelihoods are interpolated until the nodes are as dense as likelihoods ask, which
        are summed over them.
        """
        table = table_of_cells(self.population, self.likelihood, self.nodes, _DROP)
        across, values = _finer(table.across, table.values)
        if self._random:
            along, values = _finer(table.along, values.transpose(0, 2, 1))
            values = values.transpose(0, 2, 1)
        else:
            along = table.along
        top = values.max(axis=(1, 2))
        return across, along, np.exp(values - top[:, None, None]), top

    # -- the population of levels ------------------------------------------------------------------

    def _weights(self, values: Values, levels: slice) -> tuple[np.ndarray, np.ndarray]:
        """Weights on the nodes of levels, of location and dispersion, each (level, point, node)."""
        across, along, _, _ = self._grids
        u = normal_weights(across[levels], values["location"], values["location sd"])
        if not self._random:
            return u.swapaxes(0, 1), np.ones((u.shape[1], len(u), 1))
        v = normal_weights(along[levels], values["log dispersion"], values["dispersion sd"])
        return u.swapaxes(0, 1), v.swapaxes(0, 1)

    def log_likelihood(self, values: Values) -> np.ndarray:
        """Log-likelihood of all data at points (point,)."""
        _, _, table, top = self._grids
        points, levels = len(values["location"]), len(table)
        total = np.full(points, top.sum())
        size = max(1, _BLOCK // (points * max(table.shape[1:])))
        with np.errstate(divide="ignore"):
            for start in range(0, levels, size):
                some = slice(start, start + size)
                u, v = self._weights(values, some)
                found = ((u @ table[some]) * v).sum(axis=2)
                total += np.log(np.maximum(found, 0.0)).sum(axis=0)
        return total

    @cached_property
    def target(self) -> Target:
        """Posterior density of the four numbers."""
        prior, name, factor = self.population.prior(), self._name, self._factor
        unit = self.population.unit(name)
        location = prior[f"{name}_location"]
        found = [
            Parameter("location", location, Coordinate("real"), location.quantile(0.5)),
            Parameter(
                "location sd",
                prior[f"{name}_location_sd_{factor}"],
                Coordinate("positive", 0.1 * unit),
                0.3 * unit,
            ),
        ]
        if self._random:
            start = float(np.log(0.5 * unit))
            own = Prior("Flat")
            found += [
                Parameter("log dispersion", own, Coordinate("real"), start),
                Parameter(
                    "dispersion sd",
                    prior[f"{name}_dispersion_sd_{factor}"],
                    Coordinate("positive", 0.1),
                    0.3,
                ),
            ]
        return Target(tuple(found), 0, self.log_likelihood, self._more)

    def _more(self, values: Values) -> np.ndarray:
        """Log prior of the log dispersion."""
        if not self._random:
            return np.zeros(1)
        return self._log_prior_dispersion(values["log dispersion"])

    def _log_prior_dispersion(self, log_dispersion: np.ndarray) -> np.ndarray:
        prior = self.population.prior()[f"{self._name}_dispersion"]
        return prior.log_density(np.exp(log_dispersion)) + log_dispersion

    # -- draws -------------------------------------------------------------------------------------

    def sample(self, draws: int, seed: int) -> LevelDraws:
        """Draw the four numbers, then levels, and weigh by the prior of the base."""
        rng = np.random.default_rng(seed)
        found = importance_sample(self.target, locate(self.target), None, 2 * draws, rng)
        values = self.target.values(found.v)
        location, log_dispersion = self._draw_levels(values, rng)
        prior = self.population.prior()[f"{self._name}_location"]
        log_weight = prior.log_density(location.mean(axis=1)) - prior.log_density(
            values["location"]
        )
        if log_dispersion is not None:
            log_weight += self._log_prior_dispersion(log_dispersion.mean(axis=1))
            log_weight -= self._log_prior_dispersion(values["log dispersion"])
        weight, k = smoothed(log_weight)
        positions = (np.arange(draws) + rng.random(draws)) / draws
        index = np.searchsorted(np.cumsum(weight), positions, side="right")
        index = rng.permutation(np.minimum(index, len(weight) - 1))
        share = 1 / (len(weight) * (weight**2).sum())
        variables = self._variables(
            {name: each[index] for name, each in values.items()},
            location[index],
            None if log_dispersion is None else log_dispersion[index],
        )
        return LevelDraws(
            variables,
            max(found.pareto_k, k),
            found.effective * share,
            self._error(location[index], None if log_dispersion is None else log_dispersion[index]),
        )

    def _draw_levels(
        self, values: Values, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Location and log dispersion of every level, each (draw, level), from the tables."""
        across, along, table, _ = self._grids
        draws, levels = len(values["location"]), len(table)
        location = np.empty((draws, levels))
        dispersion = np.empty((draws, levels))
        for c in range(levels):
            (u,), (v,) = self._weights(values, slice(c, c + 1))
            rows = np.maximum(u * (v @ table[c].T), 0.0)
            i, part = _pick(rows, rng)
            location[:, c] = across[c, i] + part * (across[c, 1] - across[c, 0])
            if self._random:
                columns = np.maximum(v * table[c][i], 0.0)
                j, part = _pick(columns, rng)
                dispersion[:, c] = along[c, j] + part * (along[c, 1] - along[c, 0])
        return location, dispersion if self._random else None

    def _variables(
        self, values: Values, location: np.ndarray, log_dispersion: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        name, factor = self._name, self._factor
        base = location.mean(axis=1)
        found = {
            f"{name}_location": base,
            f"{name}_location_sd_{factor}": values["location sd"],
            f"{name}_location_{factor}": location - base[:, None],
        }
        spread = None
        if log_dispersion is not None:
            middle = log_dispersion.mean(axis=1)
            spread = np.exp(log_dispersion)
            found |= {
                f"{name}_dispersion": np.exp(middle),
                f"{name}_dispersion_sd_{factor}": values["dispersion sd"],
                f"{name}_dispersion_{factor}": log_dispersion - middle[:, None],
            }
        known = self._family.from_location_dispersion(location, spread).parameters
        return found | {f"{name}_{parameter}": value for parameter, value in known.items()}

    def _error(self, location: np.ndarray, log_dispersion: np.ndarray | None) -> float:
        """Error of the tables at some draws, between their nodes, in nats; all levels together."""
        across, along, table, top = self._grids
        some = slice(0, 12)
        spread = None if log_dispersion is None else log_dispersion[some]
        by_cell = cell_values(self.population, self.likelihood)
        exact = by_cell(location[some], None if spread is None else np.exp(spread))
        found = np.empty_like(exact)
        with np.errstate(divide="ignore"):
            log_table = np.log(np.maximum(table, 1e-300))
        for c in range(table.shape[0]):
            first, weight = stencil(
                (location[some, c] - across[c, 0]) / _step(across[c]), 8, len(across[c])
            )
            value = np.einsum("mk,mkj->mj", weight, log_table[c][first[:, None] + np.arange(8)])
            if spread is not None:
                first, weight = stencil(
                    (spread[:, c] - along[c, 0]) / _step(along[c]), 8, len(along[c])
                )
                index = first[:, None] + np.arange(8)
                value = (np.take_along_axis(value, index, axis=1) * weight).sum(axis=1)
            else:
                value = value[:, 0]
            found[:, c] = value + top[c]
        return float(np.abs((found - exact).sum(axis=1)).max())


def _finer(nodes: np.ndarray, log: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (level, node) in steps of at most .3 sds of what is on them, and logs there.

    Parameters
    ----------
    nodes : numpy.ndarray, shape (level, node)
    log : numpy.ndarray, shape (level, node, other)
    """
    possible = log[:, 1:-1] > log.max(axis=(1, 2), keepdims=True) - 12.0
    information = np.where(possible, -np.diff(log, 2, axis=1), 0.0).max(initial=0.0)
    factor = int(np.clip(np.ceil(np.sqrt(information) / _DENSE), 1, _MOST_FINER))
    count = nodes.shape[1]
    position = np.arange(0.0, count - 1 + 0.5 / factor, 1 / factor)
    rule = interpolation(position, count, 12)
    denser = nodes[:, :1] + position * (nodes[:, 1:2] - nodes[:, :1])
    return denser, np.stack([rule.T @ each for each in log])


def _step(nodes: np.ndarray) -> float:
    return float(nodes[1] - nodes[0])


def normal_weights(nodes: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Weights of Normal distributions (point,) on the nodes of every level (level, node).

    What lies beyond an end is put on it. A Normal narrower than the nodes' distance becomes the
    stencils of its own nodes, which interpolate the likelihood.
    """
    step = (nodes[:, 1] - nodes[:, 0])[None, :]
    mean, sd = mean[:, None], np.maximum(sd, 1e-9)[:, None]
    z = (nodes[None] - mean[:, :, None]) / sd[:, :, None]
    out = np.exp(-(z**2) / 2) * (step / sd / np.sqrt(2 * np.pi))[:, :, None]
    out[:, :, 0] += special.ndtr(z[:, :, 0] - (step / sd) / 2)
    out[:, :, -1] += special.ndtr(-z[:, :, -1] - (step / sd) / 2)
    point, level = np.nonzero(sd < 1.0 * step)
    if len(point):
        position = (mean[point] + sd[point] * _Z - nodes[level, :1]) / step[0, level, None]
        first, weight = stencil(position.ravel(), 6, nodes.shape[1])
        share = np.exp(-(_Z**2) / 2)
        weight = weight.reshape(len(point), len(_Z), 6) * (share / share.sum())[:, None]
        place = first.reshape(len(point), len(_Z), 1) + np.arange(6)
        own = np.zeros((len(point), nodes.shape[1]))
        np.add.at(own, (np.arange(len(point))[:, None, None], place), weight)
        out[point, level] = own
    return out


def _pick(weight: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Node drawn by weight (draw, node), and where between it and its neighbours, in steps."""
    total = np.cumsum(weight, axis=1)
    at = rng.random(len(weight))[:, None] * total[:, -1:]
    chosen = np.minimum((total < at).sum(axis=1), weight.shape[1] - 1)
    return chosen, rng.random(len(weight)) - 0.5
