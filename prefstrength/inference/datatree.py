"""Draws → the DataTree of a Fit: names, dimensions, predictions, chooser-level strengths."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from prefstrength.data.choices import Choices
from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
from prefstrength.inference.latent import CHOOSER_SAMPLES, every_kth
from prefstrength.inference.population import Population
from prefstrength.inference.problem import laws_of, prior_draws
from prefstrength.inference.sampling import Sampled
from prefstrength.likelihood.batch import draws_by_chooser, log_probabilities
from prefstrength.likelihood.build import build_likelihood
from prefstrength.likelihood.cells import CellLaws, coefficient_at, location_dispersion
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData, NotIntegrableError
from prefstrength.likelihood.direct import DirectLikelihood
from prefstrength.likelihood.measured_pairs import MeasuredPairs
from prefstrength.likelihood.panel_summary import PanelSummary
from prefstrength.likelihood.summaries import Summary, summarise

__all__ = ["assemble", "cell_labels"]

AnyChoices = Choices | CompressedChoices

# Pointwise groups are thinned so that none holds more numbers than this.
_MOST_NUMBERS = 20_000_000
# Enough for PSIS-LOO, whose error is of the data, not of the draws.
_POINTWISE_DRAWS = 1_000
_MOST_ROWS = 10_000_000
#: Draws of choosers that were sampled beside the population level: no variable of it.
CHOOSER_DRAWS = "_chooser_draws"
_PREDICTED_SITUATIONS = 2_000
_PREDICTIVE_DRAWS = 400


def assemble(
    population: Population, choices: AnyChoices, data: LikelihoodData, sampled: Sampled, seed: int
) -> xr.DataTree:
    """Build the tree.

    Parameters
    ----------
    sampled : Sampled
        Draws of the population level, and what they rest on.
    """
    variables, statistics = sampled.variables, sampled.statistics
    # Where only sums are left of the data, a sample of them is what can be shown.
    if isinstance(choices, CompressedChoices):
        assert isinstance(data, CompressedData)
        shown_choices, shown_data = data.shown(population.families)
    else:
        shown_choices, shown_data = choices, data
    evaluator = _evaluator(population, data, sampled)
    rng = np.random.default_rng([seed, 1])
    cells = _cell_names(population, choices)
    groups: dict[str, xr.Dataset] = {}
    groups["posterior"] = _dataset(population, choices, variables, cells)
    prior = _prior_draws(population, seed)
    groups["prior"] = _dataset(population, choices, prior, cells)
    if statistics:
        groups["sample_stats"] = xr.Dataset(
            {name: (("chain", "draw"), value) for name, value in statistics.items()}
        )
    pointwise = _log_likelihood(population, choices, data, evaluator, variables)
    if pointwise is not None:
        groups["log_likelihood"] = pointwise
    shown = _shown_situations(shown_data, rng)
    labels = _situation_labels(shown_choices, shown)
    observed = _agreement(shown_data, shown, shown_data.chosen[shown])
    groups["observed_data"] = xr.Dataset(
        {"agreement": ("situation", observed)},
        coords={"situation": labels},
    )
    for name, draws in (("posterior_predictive", variables), ("prior_predictive", prior)):
        groups[name] = xr.Dataset(
            {
                "agreement": (
                    ("chain", "draw", "situation"),
                    _predict(population, shown_data, shown, draws, rng),
                )
            },
            coords={"situation": labels},
        )
    constant = _constant_data(population, shown_choices, shown_data, cells)
    if isinstance(data, CompressedData):
        constant = constant.assign(data.counts())
    groups["constant_data"] = constant
    if data.panel:
        level = _chooser_level(population, choices, data, evaluator, variables, rng)
        if level is not None:
            groups["chooser_level"] = level
    return xr.DataTree.from_dict({f"/{name}": ds for name, ds in groups.items()})


def cell_labels(population: Population, choices: AnyChoices) -> list[dict[str, str]]:
    """Level of each factor in each cell."""
    factors = list(population.factors)
    return [
        {f: choices.groups[f].levels[int(code)] for f, code in zip(factors, row, strict=True)}
        for row in population.cells
    ]


def shifts_of(population: Population, kind: str = "") -> dict[str, str]:
    """Factor of every variable of shifts, or (``raw_``) of the coordinates of shifts."""
    return {
        f"{name}_{what}_{kind}{factor}": factor
        for name in population.families
        for what in ("location", "dispersion")
        for factor in population.factors
    }


def _cell_names(population: Population, choices: AnyChoices) -> list[str]:
    return [" | ".join(levels.values()) for levels in cell_labels(population, choices)]


def _dataset(
    population: Population, choices: AnyChoices, draws: dict[str, np.ndarray], cells: list[str]
) -> xr.Dataset:
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    shifts = {kind: shifts_of(population, kind) for kind in ("", "raw_")}
    for name, value in draws.items():
        if name in shifts["raw_"] or name == CHOOSER_DRAWS:
            continue  # the sampler's coordinates of the shifts
        dims = ["chain", "draw"]
        if value.ndim == 3:
            dims.append(f"{shifts[''][name]}_level" if name in shifts[""] else "group")
        variables[name] = (dims, value)
    if population.factors:
        coords["group"] = cells
        for factor in population.factors:
            coords[f"{factor}_level"] = list(choices.groups[factor].levels)
    dataset = xr.Dataset(variables)
    return dataset.assign_coords({k: v for k, v in coords.items() if k in dataset.dims})


def _prior_draws(population: Population, seed: int, draws: int = 4000) -> dict[str, np.ndarray]:
    return {name: v[None] for name, v in prior_draws(population, seed + 1, draws).items()}


def _evaluator(
    population: Population, data: LikelihoodData, sampled: Sampled
) -> Summary | DirectLikelihood | None:
    """What the data were turned into; ``None`` where the coefficients cannot be integrated out."""
    prepared = sampled.prepared
    if prepared is not None:
        return prepared.summary or prepared.problem.likelihood
    families = tuple(population.families.values())
    if not data.scalar:
        try:
            return build_likelihood(data, families, refine=1)  # type: ignore[return-value]
        except NotIntegrableError:
            return None
    (name,) = population.families
    flat = _flat_parameters(population, sampled.variables)
    _, dispersion = _location_dispersion(name, families[0], flat)
    largest = 1.0 if dispersion is None else float(np.quantile(dispersion, 0.999))
    return summarise(data, families[0], largest)


# -- pointwise log-likelihood --------------------------------------------------------------------


def _thinned(variables: dict[str, np.ndarray], keep: int) -> tuple[dict[str, np.ndarray], slice]:
    """Every k-th draw of the population level, so that at most ``keep`` draws remain in all."""
    population = {k: v for k, v in variables.items() if k != CHOOSER_DRAWS}
    chains, draws = next(iter(population.values())).shape[:2]
    pick = every_kth(chains, draws, keep)
    return {k: v[:, pick] for k, v in population.items()}, pick


def _flat_parameters(
    population: Population, variables: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Named parameters of the laws as (draw, cell)."""
    out = {}
    for name, family in population.families.items():
        for parameter in family().parameters:
            value = variables[f"{name}_{parameter}"]
            out[f"{name}_{parameter}"] = value.reshape(value.shape[0] * value.shape[1], -1)
    return out


def _log_likelihood(
    population: Population,
    choices: AnyChoices,
    data: LikelihoodData,
    evaluator: Summary | DirectLikelihood | None,
    variables: dict[str, np.ndarray],
) -> xr.Dataset | None:
    if isinstance(data, CompressedData) and not data.panel:
        return None  # its units are points that stand for many pairs
    keep = min(_POINTWISE_DRAWS, _MOST_NUMBERS // data.units)
    if isinstance(evaluator, PanelSummary) and not evaluator.separable:
        # Every draw is a product for every row: a few hundred are enough.
        keep = min(keep, int(np.clip(_MOST_ROWS / len(evaluator.rows.chooser), 250, keep)))
    if evaluator is None or keep < 100:
        return None  # too many situations for a table of draws by situations
    thinned, pick = _thinned(variables, keep)
    shape = next(iter(thinned.values())).shape[:2]
    flat = _flat_parameters(population, thinned)
    if isinstance(evaluator, DirectLikelihood):
        draws = {k: jnp.asarray(v) for k, v in flat.items()}
        values = np.asarray(_by_unit(tuple(population.families.items()), draws, evaluator))
    else:
        (name,) = population.families
        location, dispersion = _location_dispersion(name, evaluator.family, flat)
        if isinstance(evaluator, PanelSummary):
            values = evaluator.by_draw(location, dispersion)
        elif isinstance(evaluator, MeasuredPairs):
            values = evaluator.by_pair(data, location, dispersion)
        else:
            values = _pointwise_pairs(data, evaluator.family, location, dispersion)
    unit = "chooser" if data.panel else "situation"
    if isinstance(choices, Choices) and not data.panel:
        labels = _situation_labels(choices, slice(None))
    else:
        labels = list(choices.choosers)
    return xr.Dataset(
        {"choices": (("chain", "draw", unit), values.reshape(*shape, data.units))},
        coords={unit: labels, "draw": np.arange(shape[1]) * (pick.step or 1)},
    )


@partial(jax.jit, static_argnums=0)
def _by_unit(
    families: tuple[tuple[str, type], ...],
    draws: dict[str, jax.Array],
    likelihood: DirectLikelihood,
) -> jax.Array:
    return jax.lax.map(lambda draw: likelihood.by_unit(laws_of(dict(families), draw)), draws)


def _pointwise_pairs(
    data: LikelihoodData, family: type, location: np.ndarray, dispersion: np.ndarray | None
) -> np.ndarray:
    """Log probability of every pair in every draw: evaluated on a grid, interpolated."""
    x = data.differences()
    out = np.empty((len(location), len(x)))
    x0 = 0.03 * data.scales[0]
    for cell in np.unique(data.cell):
        mine = data.cell == cell
        t = np.arcsinh(x[mine] / x0)
        grid = np.linspace(t.min() - 0.01, t.max() + 0.01, 400)
        spread = None if dispersion is None else dispersion[:, cell]
        values = log_probabilities(x0 * np.sinh(grid), family, location[:, cell], spread)
        out[:, mine] = CubicSpline(grid, values, axis=1)(t)
    return out * data.weight


# -- predictions ---------------------------------------------------------------------------------


def _situation_labels(choices: Choices, which: Any) -> list[str]:
    if choices.situations is None:
        return list(map(str, np.arange(choices.n_situations)[which].tolist()))
    return list(np.asarray(choices.situations, dtype=object)[which])


def _agreement(data: LikelihoodData, rows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Whether the chosen alternative has the highest (first) attribute of the choice set."""
    attribute = np.where(data.available[rows], data.values[rows][:, :, 0], -np.inf)
    return (chosen == np.argmax(attribute, axis=1)).astype(np.int64)


def _shown_situations(data: LikelihoodData, rng: np.random.Generator) -> np.ndarray:
    """Situations to predict: those in which one alternative has the highest attribute."""
    attribute = np.where(data.available, data.values[:, :, 0], -np.inf)
    ordered = np.sort(attribute, axis=1)
    decided = np.flatnonzero(ordered[:, -1] > ordered[:, -2])
    if len(decided) > _PREDICTED_SITUATIONS:
        decided = np.sort(rng.choice(decided, _PREDICTED_SITUATIONS, replace=False))
    return decided


def _predict(
    population: Population,
    data: LikelihoodData,
    rows: np.ndarray,
    variables: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Simulated agreement of new choosers of the same population, (chain, draw, situation)."""
    thinned, _ = _thinned(variables, _PREDICTIVE_DRAWS)
    chains, draws = next(iter(thinned.values())).shape[:2]
    flat = _flat_parameters(population, thinned)
    total = chains * draws
    _, unit = np.unique(data.unit[rows], return_inverse=True)
    values = np.broadcast_to(data.values[rows], (total, *data.values[rows].shape))
    if data.truth is not None:
        # True differences given the observed ones alone: the choice is what is predicted.
        observed = data.values[rows][:, 0, 0] - data.values[rows][:, 1, 0]
        true = data.truth.draw(observed, data.cell[rows], rng, total)
        values = np.stack([true, np.zeros_like(true)], axis=2)[..., None]
    utility = np.zeros((total, len(rows), data.values.shape[1]))
    for a, (name, family) in enumerate(population.families.items()):
        z = rng.standard_normal((total, unit.max() + 1))[:, unit]
        location, dispersion = _location_dispersion(name, family, flat)
        beta = coefficient_at(
            family,
            z,
            location[:, data.cell[rows]],
            None if dispersion is None else dispersion[:, data.cell[rows]],
        )
        utility += beta[:, :, None] * values[:, :, :, a]
    utility += rng.gumbel(size=utility.shape)
    utility = np.where(data.available[rows], utility, -np.inf)
    simulated = np.argmax(utility, axis=2)
    agreement = np.stack([_agreement(data, rows, chosen) for chosen in simulated])
    return agreement.reshape(chains, draws, len(rows)).astype(np.int8)


def _location_dispersion(
    name: str, family: type, flat: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray | None]:
    values = {each: flat[f"{name}_{each}"] for each in family().parameters}
    return location_dispersion(family, values)


def _constant_data(
    population: Population, choices: Choices, data: LikelihoodData, cells: list[str]
) -> xr.Dataset:
    variables: dict[str, Any] = {
        "weight": ("situation", data.weight),
        "group_index": ("situation", data.cell),
    }
    coords: dict[str, Any] = {"situation": _situation_labels(choices, slice(None))}
    if data.panel:
        variables["chooser_index"] = ("situation", data.unit)
        coords["chooser"] = list(choices.choosers)
    if data.values.shape[1] == 2 and data.available.all():
        rows = np.arange(len(data.chosen))
        for a, name in enumerate(population.families):
            column = data.values[:, :, a]
            difference = column[rows, data.chosen] - column[rows, 1 - data.chosen]
            variables[f"{name}_difference"] = ("situation", difference)
            if data.truth is not None:
                # One draw of each, so that together they are spread as the true ones are.
                rng = np.random.default_rng(0)
                (true,) = data.truth.draw(difference, data.cell, rng, 1)
                variables[f"{name}_true_difference"] = ("situation", true)
    if population.factors:
        variables["group_situations"] = ("group", np.bincount(data.cell, minlength=len(cells)))
        coords["group"] = cells
    return xr.Dataset(variables, coords=coords)


# -- chooser level -------------------------------------------------------------------------------


def _chooser_level(
    population: Population,
    choices: AnyChoices,
    data: LikelihoodData,
    evaluator: Summary | DirectLikelihood | None,
    variables: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> xr.Dataset | None:
    """Draws of every chooser's coefficient: exact conditionals given population-level draws.

    A chooser's coefficient is the mean over the chooser's own situations, which matters only
    where the groups differ within a chooser.
    """
    random = [n for n, family in population.families.items() if family.varies]
    if not random:
        return None
    thinned, _ = _thinned(variables, CHOOSER_SAMPLES)
    flat = _flat_parameters(population, thinned)
    samples = len(next(iter(flat.values())))
    draws = {n: np.empty((samples, data.units)) for n in random}
    if CHOOSER_DRAWS in variables:
        stored = variables[CHOOSER_DRAWS].reshape(samples, data.units, -1)
        for i, name in enumerate(random):
            draws[name] = stored[:, :, i]
    elif isinstance(evaluator, PanelSummary):
        law = _location_dispersion(random[0], evaluator.family, flat)
        draws[random[0]] = draws_by_chooser(
            evaluator.rows, evaluator.family, *law, *evaluator.nodes, rng
        )
    elif isinstance(evaluator, DirectLikelihood):
        draws = _sample_direct(population, evaluator, flat, random, rng)
    else:
        return None
    # Share of each cell in a chooser's situations.
    keys, counts = data.cells_of_units()
    share = counts / np.bincount(keys[0], counts, minlength=data.units)[keys[0]]
    out = {}
    for name in random:
        family = population.families[name]
        location, dispersion = _location_dispersion(name, family, flat)
        beta = coefficient_at(
            family,
            draws[name][:, keys[0]],
            location[:, keys[1]],
            None if dispersion is None else dispersion[:, keys[1]],
        )
        total = np.zeros((data.units, samples))
        np.add.at(total, keys[0], (beta * share).T)
        out[f"{name}_strength"] = (("sample", "chooser"), total.T.astype(np.float32))
    return xr.Dataset(out, coords={"chooser": list(choices.choosers)})


def _sample_direct(
    population: Population,
    likelihood: DirectLikelihood,
    flat: dict[str, np.ndarray],
    random: list[str],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draws of z for every unit from the product rule's nodes, spread over their cells."""
    evaluate = jax.jit(lambda draw, lik: lik.by_node(laws_of(population.families, draw))[0])
    names = list(population.families)
    samples = len(next(iter(flat.values())))
    out = {n: np.empty((samples, likelihood.units)) for n in random}
    nodes, log_weight = likelihood.nodes(
        tuple(
            CellLaws(family, jnp.zeros(1), None if not family.varies else jnp.ones(1))
            for family in population.families.values()
        )
    )
    for s in range(samples):
        values = np.asarray(evaluate({k: jnp.asarray(v[s]) for k, v in flat.items()}, likelihood))
        gumbel = rng.gumbel(size=values.shape)
        pick = np.argmax(values + log_weight + gumbel, axis=1)
        for name in random:
            jitter = (rng.random(likelihood.units) - 0.5) * likelihood.step
            out[name][s] = nodes[names.index(name)][pick] + jitter
    return out
