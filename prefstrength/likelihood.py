"""Choose the cheapest exact likelihood for given data, and certify it against the direct one."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from prefstrength.compress import (
    DEGREE,
    PairSketch,
    PanelRows,
    PanelTables,
    changing_beyond,
    log_sigmoid,
    normal_nodes,
)
from prefstrength.direct import DirectLikelihood
from prefstrength.errors import InputError
from prefstrength.kernel import log_probability
from prefstrength.mixed import JAX
from prefstrength.mixing import LogNormal, Mixing, PointMass
from prefstrength.quantiles import CellLaws, coefficient_at
from prefstrength.true_difference import TrueDifferences

if TYPE_CHECKING:
    from prefstrength.choices import Choices
    from prefstrength.streaming.compressed import CompressedChoices

__all__ = [
    "Likelihood",
    "LikelihoodData",
    "NotIntegrableError",
    "build_likelihood",
    "error_of_all",
    "exact_panels",
    "likelihood_error",
    "telling_pairs",
    "telling_units",
]

Likelihood = PairSketch | PanelTables | DirectLikelihood

# Above this many evaluations of a utility the product rule stops being sensible.
_DIRECT_LIMIT = 2e8
# Pairs that a certificate compares, and the largest differences among them.
_SAMPLED_PAIRS, _LARGEST_PAIRS = 20_000, 2_000


class NotIntegrableError(InputError):
    """Several random attributes, or so many situations, that quadrature is out of reach."""


@dataclass(frozen=True)
class LikelihoodData:
    """What a likelihood needs of the choices, as plain arrays."""

    values: np.ndarray  # (situation, alternative, attribute)
    chosen: np.ndarray  # (situation,)
    available: np.ndarray  # (situation, alternative)
    weight: np.ndarray  # (situation,)
    cell: np.ndarray  # (situation,)
    unit: np.ndarray  # (situation,) chooser, or the situation itself
    units: int
    panel: bool
    scales: tuple[float, ...]
    #: Where the differences are measured with error: what is known of the true ones.
    truth: TrueDifferences | None = field(default=None, kw_only=True)

    @classmethod
    def of(
        cls,
        choices: "Choices | CompressedChoices",
        attributes: tuple[str, ...],
        cell: np.ndarray,
    ) -> "LikelihoodData":
        """Select the attributes of a model."""
        from prefstrength.choices import Choices

        if not isinstance(choices, Choices):
            from prefstrength.streaming.data import CompressedData

            return CompressedData.of_compressed(choices, cell)
        columns = [choices.attributes.index(name) for name in attributes]
        panel = choices.chooser is not None
        unit = choices.chooser if choices.chooser is not None else np.arange(choices.n_situations)
        return cls(
            values=np.asarray(choices.values)[:, :, columns],
            chosen=np.asarray(choices.chosen),
            available=np.asarray(choices.available),
            weight=np.asarray(choices.weights),
            cell=np.asarray(cell),
            unit=np.asarray(unit),
            units=choices.n_choosers if panel else choices.n_situations,
            panel=panel,
            scales=tuple(choices.scale(name) for name in attributes),
        )

    def measured_with(self, sd: float, name: str) -> "LikelihoodData":
        """The same where the differences carry errors of standard deviation ``sd``.

        The scale becomes that of the true differences.
        """
        truth = TrueDifferences.fit(self.differences(), self.weight, self.cell, sd, name)
        return replace(self, truth=truth, scales=(float(np.sqrt(self.scales[0] ** 2 - sd**2)),))

    @property
    def scalar(self) -> bool:
        """Whether the data enter through one difference for each situation."""
        both = self.values.shape[1] == 2 and bool(self.available.all())
        return both and self.values.shape[2] == 1

    def differences(self) -> np.ndarray:
        """Chosen minus rejected, shape (situation,), for scalar data."""
        rows = np.arange(len(self.chosen))
        return self.values[rows, self.chosen, 0] - self.values[rows, 1 - self.chosen, 0]

    def panel_rows(self, positive: bool, degree: int) -> PanelRows:
        """Every chooser's log-likelihood as a series in the coefficient, for scalar data."""
        self.refuse_errors()
        return PanelRows.of(
            self.differences(), self.unit, self.cell, self.weight, self.scales[0], positive, degree
        )

    @property
    def reliability(self) -> float:
        """Share of the observed differences' variance that is the true differences'."""
        if self.truth is None:
            return 1.0
        return float(self.scales[0] ** 2 / (self.scales[0] ** 2 + self.truth.sd**2))

    def refuse_errors(self) -> None:
        """Refuse where the differences are measured with error and that would be ignored."""
        if self.truth is not None:
            raise InputError(
                "Expected differences that are known; got differences measured with error, which "
                "this likelihood would ignore. Fit with the methods that know of errors: "
                '"auto", "importance", "nuts", "laplace" or "latent".'
            )

    def cells_of_units(self) -> tuple[np.ndarray, np.ndarray]:
        """Unit and cell (2, row) of all that occur together, and their situations (row,)."""
        return np.unique(np.stack([self.unit, self.cell]), axis=1, return_counts=True)

    def take(self, units: np.ndarray) -> "LikelihoodData":
        """The data of some units, renumbered in the given order."""
        place = np.full(self.units, -1)
        place[units] = np.arange(len(units))
        rows = np.flatnonzero(place[self.unit] >= 0)
        return LikelihoodData(
            values=self.values[rows],
            chosen=self.chosen[rows],
            available=self.available[rows],
            weight=self.weight[rows],
            cell=self.cell[rows],
            unit=place[self.unit[rows]],
            units=len(units),
            panel=self.panel,
            scales=self.scales,
            truth=self.truth,
        )


def build_likelihood(
    data: LikelihoodData,
    families: tuple[type[Mixing], ...],
    dispersions: tuple[float, ...] | None = None,
    refine: int = 0,
) -> Likelihood:
    """Cheapest exact likelihood for a model on given data.

    Parameters
    ----------
    data : LikelihoodData
    families : tuple of type
        Family of each attribute's coefficient.
    dispersions : tuple of float, optional
        Largest dispersion of each coefficient to be resolved; 1 (in units of 1/scale for
        Normal) when left out.
    refine : int
        How many times nodes are to be increased beyond the default.
    """
    data.refuse_errors()
    if dispersions is None:
        dispersions = tuple(
            1.0 if family.positive else 1.0 / scale
            for family, scale in zip(families, data.scales, strict=True)
        )
    if data.scalar:
        x = data.differences()
        if not data.panel:
            return PairSketch.build(
                x, data.cell, data.weight, data.scales[0], nodes=256 * 2**refine
            )
        return PanelTables.build(
            x,
            data.unit,
            data.cell,
            data.weight,
            data.scales[0],
            families[0],
            dispersion=dispersions[0] * 1.5**refine,
            degree=DEGREE + 32 * refine,
        )
    return _direct(data, families, dispersions, refine)


def _direct(
    data: LikelihoodData,
    families: tuple[type[Mixing], ...],
    dispersions: tuple[float, ...],
    refine: int,
) -> DirectLikelihood:
    random = sum(family is not PointMass for family in families)
    per_unit = np.bincount(data.unit, weights=data.weight).max()
    relative = max(
        d if family.positive else d * scale
        for d, family, scale in zip(dispersions, families, data.scales, strict=True)
    )
    # 0.2: information on log strength that a choice holds where it holds much.
    step = min(0.5, 1.1 / np.sqrt(1 + 0.2 * per_unit * relative**2)) / 2**refine
    reach = 8.0 + 4.0 * refine
    nodes = len(normal_nodes(step, reach)[0]) ** random
    size = float(np.prod(data.values.shape[:2])) * nodes
    if random > 2 or size > _DIRECT_LIMIT:
        raise NotIntegrableError(
            "Integrating the coefficients out expects at most two random attributes and a "
            f"moderate size; got {random} random attributes and {len(data.chosen)} situations. "
            'Make some attributes PointMass(), or sample the choosers: fit(method="latent"), or '
            '"svi" for many.'
        )
    how = f"not compressed: {nodes} quadrature nodes for every situation"
    return _direct_on(data, float(step), reach, how)


def _direct_on(data: LikelihoodData, step: float, reach: float, how: str) -> DirectLikelihood:
    return DirectLikelihood(
        values=jnp.asarray(data.values),
        chosen=jnp.asarray(data.chosen),
        available=jnp.asarray(data.available),
        cell=jnp.asarray(data.cell),
        unit=jnp.asarray(data.unit),
        weight=jnp.asarray(data.weight),
        units=data.units,
        step=step,
        reach=reach,
        how=how,
    )


def likelihood_error(
    likelihood: Likelihood,
    data: LikelihoodData,
    laws: list[tuple[CellLaws, ...]],
    seed: int = 0,
    sample: int = 48,
) -> float:
    """Error of the total log-likelihood against direct evaluation, in nats.

    Compared at each of the given laws on the units with most situations, on those with the
    largest attributes, and on a random sample of the rest, whose mean absolute error stands
    for all of the rest; the worst of the laws. Random signs make the error of the sum smaller
    than that.
    """
    data.refuse_errors()
    worst = 0.0
    if isinstance(likelihood, PairSketch):
        # A sketch has no units left: compare sums over all data, or over a large sample's own.
        x, cell, weight = telling_pairs(data, seed)
        if len(x) < len(data.cell):
            likelihood = PairSketch.build(x, cell, weight, data.scales[0], nodes=likelihood.nodes)
        for law in laws:
            direct = log_probability(JAX, jnp.asarray(x), law[0].mixing(jnp.asarray(cell)))
            error = jnp.abs(likelihood.total(law) - jnp.asarray(weight) @ direct)
            worst = max(worst, float(error))
        return worst
    special, sampled = telling_units(data, seed, sample)
    if isinstance(likelihood, DirectLikelihood):
        # Twice the nodes in every dimension: fewer units, so that this stays cheap.
        nodes = len(likelihood.nodes(laws[0])[1]) * 4
        per_unit = nodes * data.values.shape[1] * len(data.unit) / data.units
        sampled = sampled[: int(np.clip(1e7 / per_unit, 8, sample))]
    chosen = np.r_[special, sampled]
    part = data.take(chosen)

    def of_all(error: np.ndarray) -> float:
        return error_of_all(error, len(special), data.units)

    if isinstance(likelihood, DirectLikelihood):
        step, reach = likelihood.step, likelihood.reach
        for law in laws:
            found, finer, wider = (
                np.asarray(_direct_on(part, *nodes, "").by_unit(law))
                for nodes in ((step, reach), (step / 2, reach), (step, 2 * reach))
            )
            worst = max(worst, of_all(np.abs(finer - found) + np.abs(wider - found)))
        return worst
    by_unit = jax.jit(lambda law, tables: tables.by_unit(law))
    for law in laws:
        table = np.asarray(by_unit(law, likelihood))[chosen]
        worst = max(worst, of_all(np.abs(table - exact_panels(part, law))))
    return worst


def telling_pairs(data: LikelihoodData, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences, cells and weights of a sample of pairs that stands for all.

    All pairs, or the 2,000 largest differences as they are, which set the range that nodes must
    cover, and a random sample of the rest with weights raised to match.
    """
    x, cell, weight = data.differences(), data.cell, data.weight
    if len(x) <= _SAMPLED_PAIRS:
        return x, cell, weight
    order = np.argpartition(np.abs(x), len(x) - _LARGEST_PAIRS)
    largest, rest = order[-_LARGEST_PAIRS:], order[:-_LARGEST_PAIRS]
    count = _SAMPLED_PAIRS - _LARGEST_PAIRS
    sampled = np.random.default_rng(seed).choice(rest, count, replace=False)
    keep = np.r_[largest, sampled]
    factor = np.r_[np.ones(len(largest)), np.full(count, len(rest) / count)]
    return x[keep], cell[keep], weight[keep] * factor


def telling_units(
    data: LikelihoodData, seed: int = 0, sample: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """Units on which an error would show first, and a random sample of the rest."""
    sizes = np.bincount(data.unit, minlength=data.units)
    extreme = np.zeros(data.units)
    relative = np.abs(data.values / np.array(data.scales)).max(axis=(1, 2))
    np.maximum.at(extreme, data.unit, relative)
    orders = [sizes, extreme]
    if data.scalar:
        orders.append(changing_beyond(data.differences(), data.unit, data.weight, data.scales[0]))
    special = np.unique(np.concatenate([np.argsort(order)[::-1][:4] for order in orders]))
    rest = np.setdiff1d(np.arange(data.units), special)
    rng = np.random.default_rng(seed)
    return special, rng.choice(rest, min(sample, len(rest)), replace=False)


def error_of_all(error: np.ndarray, special: int, units: int) -> float:
    """Error of the total from the absolute errors of special units and a sample, in this order."""
    own, of_rest = error[:special], error[special:]
    return float(own.sum() + ((units - special) * of_rest.mean() if len(of_rest) else 0.0))


def exact_panels(data: LikelihoodData, laws: tuple[CellLaws, ...]) -> np.ndarray:
    """Log-likelihood of panels without tables, on nodes that surely are enough.

    A first look on a coarse grid, far wider than any chooser lies, finds where the integrand is.
    """
    x, out = data.differences(), np.empty(data.units)
    for unit in range(data.units):
        mine = data.unit == unit
        own = x[mine], data.cell[mine], data.weight[mine], data.truth
        if laws[0].family is PointMass:
            out[unit] = _log_integrand(*own, laws[0], np.zeros(1))[0]
            continue
        coarse = np.arange(-36.0, 36.25, 0.25 if data.truth is None else 1.0)
        values = _log_integrand(*own, laws[0], coarse) - coarse**2 / 2
        there = coarse[values > values.max() - 40.0]
        step = 0.05 / np.sqrt(1 + 0.5 * data.weight[mine].sum())
        if data.truth is not None:
            step = _coarser(step, laws[0])
        if not laws[0].family.positive:
            # A choice is a step in z, as sharp as the utility's spread is wide.
            spread = np.max(np.abs(x[mine])) * np.max(np.asarray(laws[0].dispersion))
            step = min(step, 0.3 / float(spread))
        margin = coarse[1] - coarse[0]
        z = np.arange(there[0] - margin, there[-1] + margin, step)
        values = _log_integrand(*own, laws[0], z) - z**2 / 2
        top = values.max()
        out[unit] = top + np.log(np.exp(values - top).sum() * step / np.sqrt(2 * np.pi))
    return out


def _coarser(step: float, law: CellLaws) -> float:
    """As few nodes as give seven digits, for choices that are dear to evaluate.

    Ten times the step is enough for a Gaussian integrand, and that the poles of the logit, of a
    LogNormal law pi/(2 sigma) off the real axis, are told apart.
    """
    if law.family is LogNormal:
        return min(10 * step, 0.4 / float(np.max(np.asarray(law.dispersion))))
    return min(10 * step, 0.1) if law.family.positive else 10 * step


def _log_integrand(
    x: np.ndarray,
    cell: np.ndarray,
    weight: np.ndarray,
    truth: TrueDifferences | None,
    law: CellLaws,
    z: np.ndarray,
) -> np.ndarray:
    """Log probability of one chooser's choices at draws z."""
    total = np.zeros(len(z))
    for c in np.unique(cell):
        dispersion = None if law.dispersion is None else np.asarray(law.dispersion[c])
        beta = coefficient_at(law.family, z, np.asarray(law.location[c]), dispersion)
        if truth is not None:
            mine = cell == c
            beta = np.broadcast_to(beta, z.shape)
            total += weight[mine] @ truth.log_probability(x[mine], cell[mine], beta)
            continue
        for part in np.array_split(np.flatnonzero(cell == c), 1 + len(x) * len(z) // 2_000_000):
            total += weight[part] @ log_sigmoid(x[part][:, None] * beta)
    return total
