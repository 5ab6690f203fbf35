"""Draws → the DataTree of a Fit: names, dimensions, predictions, chooser-level strengths."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from prefstrength.choice.responses.base import PairResponse
from prefstrength.data.choices import Choices
from prefstrength.data.compressed.sums_of_pairs import CompressedChoices
from prefstrength.inference.chooser_level import chooser_level
from prefstrength.inference.copies import names_of_copies
from prefstrength.inference.named_draws import flat_draws
from prefstrength.inference.pointwise import pointwise
from prefstrength.inference.population import Population
from prefstrength.inference.predictive import agreement, shown_situations, simulate_answers
from prefstrength.inference.prior_draws import log_priors, prior_draws
from prefstrength.inference.replication import replicated_statistics
from prefstrength.inference.sampled import Sampled
from prefstrength.likelihood.compressed import CompressedData
from prefstrength.likelihood.data import LikelihoodData
from prefstrength.likelihood.sources import Reading

__all__ = ["assemble", "cell_labels"]

AnyChoices = Choices | CompressedChoices

_PRIOR_DRAWS, _PREDICTIVE_DRAWS = 4000, 400


def assemble(
    population: Population,
    reading: Reading,
    choices: AnyChoices,
    data: LikelihoodData,
    sampled: Sampled,
    seed: int,
) -> xr.DataTree:
    """Build the tree.

    Parameters
    ----------
    sampled : Sampled
        Draws of the population level, and what they rest on.
    """
    variables = sampled.variables
    # Where only sums are left of the data, a sample of them is what can be shown.
    if isinstance(choices, CompressedChoices):
        assert isinstance(data, CompressedData)
        shown_choices, shown_data = data.shown(population.kinds)
    else:
        shown_choices, shown_data = choices, data
    rng = np.random.default_rng([seed, 1])
    cells = _cell_names(population, choices)
    prior = prior_draws(population, np.random.default_rng([seed, 2]), _PRIOR_DRAWS)
    groups: dict[str, xr.Dataset] = {}
    groups["posterior"] = _dataset(population, choices, variables, cells)
    groups["prior"] = _dataset(population, choices, prior, cells)
    groups["log_prior"] = log_priors(population, groups["posterior"])
    if sampled.statistics:
        groups["sample_stats"] = _with_coordinates(
            xr.Dataset({n: (("chain", "draw"), v) for n, v in sampled.statistics.items()})
        )
    labels = _situation_labels(shown_choices, slice(None))
    units = labels if not data.panel else list(choices.choosers)
    unit = "chooser" if data.panel else "situation"
    by_unit = pointwise(population, data, sampled)
    shown = shown_situations(shown_data, rng)
    rows = shown.rows
    if by_unit is not None:
        # Under the name of the predictions where both are of the same situations: ArviZ then
        # predicts each from the others.
        alike = not data.panel and np.array_equal(by_unit.units, rows)
        groups["log_likelihood"] = xr.Dataset(
            {"agreement" if alike else "choices": (("chain", "draw", unit), by_unit.values)},
            coords={
                unit: names_of_copies(units, by_unit.units),
                "draw": by_unit.draws,
                "chain": np.arange(len(by_unit.values)),
            },
        )
    situations = names_of_copies(labels, rows)
    observed = agreement(shown_data, rows, shown_data.answers[rows])
    groups["observed_data"] = xr.Dataset(
        {"agreement": ("situation", observed)}, coords={"situation": situations}
    )
    for name, draws in (("posterior_predictive", variables), ("prior_predictive", prior)):
        flat = flat_draws(draws, _PREDICTIVE_DRAWS)
        answers = simulate_answers(population, reading, shown_data, shown, flat, rng)
        found = agreement(shown_data, rows, answers)
        chains = next(iter(draws.values())).shape[0]
        chains = chains if len(found) % chains == 0 else 1
        groups[name] = _with_coordinates(
            xr.Dataset(
                {
                    "agreement": (
                        ("chain", "draw", "situation"),
                        found.reshape(chains, -1, len(rows)).astype(observed.dtype),
                    )
                },
                coords={"situation": situations},
            )
        )
    own = np.random.default_rng([seed, 3])
    replicated = replicated_statistics(population, reading, shown_data, variables, own)
    if len(replicated):
        groups["predictive_checks"] = replicated
    constant = _constant_data(population, shown_choices, shown_data, cells)
    if isinstance(data, CompressedData):
        constant = constant.assign(data.counts())
    groups["constant_data"] = constant
    level = chooser_level(population, data, sampled, rng)
    if level is not None:
        groups["chooser_level"] = level.assign_coords(chooser=list(choices.choosers))
    return xr.DataTree.from_dict({f"/{name}": ds for name, ds in groups.items()})


def cell_labels(population: Population, choices: AnyChoices) -> list[dict[str, str]]:
    """Level of each factor in each cell."""
    factors = list(population.factors)
    return [
        {f: choices.groups[f].levels[int(code)] for f, code in zip(factors, row, strict=True)}
        for row in population.cells
    ]


def _cell_names(population: Population, choices: AnyChoices) -> list[str]:
    return [" | ".join(levels.values()) for levels in cell_labels(population, choices)]


def _with_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Numbers of chains and draws as coordinates: some of ArviZ's figures ask for them."""
    missing = {d: np.arange(dataset.sizes[d]) for d in ("chain", "draw") if d not in dataset.coords}
    return dataset.assign_coords(missing)


def _dataset(
    population: Population,
    choices: AnyChoices,
    draws: Mapping[str, np.ndarray],
    cells: list[str],
) -> xr.Dataset:
    variables: dict[str, Any] = {}
    for each in population.variables():
        if each.name in draws:
            variables[each.name] = (("chain", "draw", *each.dims), draws[each.name])
    coords: dict[str, Any] = {"cell": cells} if population.factors else {}
    for factor in population.factors:
        coords[f"{factor}_level"] = list(choices.groups[factor].levels)
    dataset = xr.Dataset(variables)
    if "component" in dataset.dims:
        coords["component"] = np.arange(1, dataset.sizes["component"] + 1)
    coords = {name: value for name, value in coords.items() if name in dataset.dims}
    return _with_coordinates(dataset.assign_coords(coords))


def _situation_labels(choices: Choices, which: Any) -> list[str]:
    if choices.situations is None:
        return list(map(str, np.arange(choices.n_situations)[which].tolist()))
    return list(np.asarray(choices.situations, dtype=object)[which])


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
        if (data.unit_weight != 1).any():
            variables["chooser_weight"] = ("chooser", data.unit_weight)
    if data.values.shape[1] == 2 and data.available.all():
        rows = np.arange(len(data.chosen))
        if isinstance(data.response, PairResponse) and data.response.answers_in != "chosen":
            # 1 where the answer is for what counts as chosen, -1 against it, 0 a tie.
            middle = (len(data.response.answers) - 1) / 2
            favours = np.sign(middle - data.answers) * np.where(data.chosen == 0, 1, -1)
            variables["answer_favours"] = ("situation", favours)
        for a, name in enumerate(population.kinds):
            column = data.values[:, :, a]
            difference = column[rows, data.chosen] - column[rows, 1 - data.chosen]
            variables[f"{name}_difference"] = ("situation", difference)
            if data.truth is not None:
                # One draw of each, so that together they are spread as the true ones are.
                rng = np.random.default_rng(0)
                (true,) = data.truth.draw(difference, data.cell, rng, 1)
                variables[f"{name}_true_difference"] = ("situation", true)
    if population.factors:
        variables["group_situations"] = ("cell", np.bincount(data.cell, minlength=len(cells)))
        coords["cell"] = cells
    return xr.Dataset(variables, coords=coords)
