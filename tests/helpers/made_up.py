"""Fits made without inference: the schema of a real one, in milliseconds, of any shape."""

import itertools
from typing import Any

import numpy as np
import xarray as xr

from prefstrength.choice.mixing.families import MIXINGS
from prefstrength.posterior.fit import Fit

CHAINS, DRAWS = 2, 100


def made_up_fit(
    factors: dict[str, list[str]] | None = None,
    *,
    family: str = "LogNormal",
    choosers: int = 40,
    situations: int = 10,
    cv: float = 0.8,
    uncertainty: float = 0.05,
    scale: float = 1.0,
    pairs: bool = True,
    pareto_k: float = 0.2,
    dropped: list[dict[str, Any]] | None = None,
    seed: int = 0,
) -> Fit:
    """Make up a fit.

    ``factors`` maps names to levels, all crossed; choosers are spread evenly over the cells, and
    with ``choosers=0`` each of ``situations`` choices is somebody else's. ``cv`` is sd/mean of the
    strength, whose mean is 1; ``uncertainty`` is the posterior sd of the logs of mean and spread.
    """
    rng = np.random.default_rng(seed)
    factors = dict(factors or {})
    cells = [dict(zip(factors, row, strict=True)) for row in itertools.product(*factors.values())]
    labels = [" | ".join(cell.values()) for cell in cells]
    units = choosers or situations
    each = situations if choosers else 1
    unit = np.repeat(np.arange(units), each)
    cell = unit % len(cells)
    names = [f"c{a:04d}" for a in range(units)]

    of_family = MIXINGS[family]
    dispersion = of_family.log_spread_from_cv(cv)

    def laws(draws: int, sd: float) -> dict[str, np.ndarray]:
        shape = (draws, len(cells))
        location = sd * rng.standard_normal(shape)
        if not of_family.varies:
            return of_family.from_log_mean_spread(location, None).parameters
        spread = dispersion + sd * rng.standard_normal(shape)
        return of_family.from_log_mean_spread(location, spread).parameters

    def group(chains: int, draws: int, sd: float) -> xr.Dataset:
        dims = ("chain", "draw")
        variables: dict[str, Any] = {}
        for name, value in laws(chains * draws, sd).items():
            value = value.reshape(chains, draws, len(cells))
            variables[f"reward_{name}"] = (
                ((*dims, "cell"), value) if factors else (dims, value[..., 0])
            )
        shape = (chains, draws)
        variables["reward_location"] = (dims, sd * rng.standard_normal(shape))
        if of_family.varies:
            variables["reward_dispersion"] = (
                dims,
                np.exp(dispersion + sd * rng.standard_normal(shape)),
            )
        for factor in factors:
            variables[f"reward_location_sd_{factor}"] = (dims, rng.exponential(sd, shape))
            if of_family.varies:
                variables[f"reward_dispersion_sd_{factor}"] = (dims, rng.exponential(sd, shape))
        return xr.Dataset(variables, coords={"cell": labels} if factors else {})

    difference = rng.normal(0.0, scale, len(unit))
    strength = of_family.from_log_mean_spread(0.0, dispersion)
    beta = strength.sample(rng, units)[unit]
    difference *= np.where(rng.random(len(unit)) < 1 / (1 + np.exp(-beta * difference)), 1, -1)
    coords = {"situation": [str(i) for i in range(len(unit))]}
    agreement = (difference > 0).astype(np.int64)
    simulated = rng.random((CHAINS, DRAWS, len(unit))) < agreement.mean()
    constant: dict[str, Any] = {
        "weight": ("situation", np.ones(len(unit))),
        "group_index": ("situation", cell),
    }
    if pairs:
        constant["reward_difference"] = ("situation", np.abs(difference) * (2 * agreement - 1))
    if choosers:
        constant["chooser_index"] = ("situation", unit)
    log_likelihood = rng.normal(-5, 0.1, (CHAINS, DRAWS, units))
    groups = {
        "posterior": group(CHAINS, DRAWS, uncertainty),
        "prior": group(1, 400, 0.5),
        "log_likelihood": xr.Dataset({"choices": (("chain", "draw", "chooser"), log_likelihood)}),
        "observed_data": xr.Dataset({"agreement": ("situation", agreement)}, coords=coords),
        "posterior_predictive": xr.Dataset(
            {"agreement": (("chain", "draw", "situation"), simulated.astype(np.int8))}
        ),
        "constant_data": xr.Dataset(
            constant, coords={**coords, **({"chooser": names} if choosers else {})}
        ),
    }
    if choosers and of_family.varies:
        level = strength.sample(rng, choosers) * np.exp(0.2 * rng.standard_normal((50, choosers)))
        groups["chooser_level"] = xr.Dataset(
            {"reward_strength": (("sample", "chooser"), level)}, coords={"chooser": names}
        )
    spec = {
        "coefficients": {"reward": family},
        "groups": list(factors),
        "cells": cells,
        "priors": {"reward_location": "Normal(0, 1)"},
        "scales": {"reward": scale},
        "method": "importance",
        "reason": "made up",
        "likelihood": {"how": "made up", "error": 1e-6, "tolerance": 0.01},
        "seed": seed,
        "draws": DRAWS,
        "warmup": 0,
        "chains": CHAINS,
        "pareto_k": pareto_k,
        "effective": 2000.0,
        "data": {
            "situations": len(unit),
            "choosers": choosers,
            "alternatives": 2 if pairs else 3,
            "levels": factors,
            "dropped": dropped or [],
            "hash": "0" * 64,
        },
        "versions": {"prefstrength": "0.1.0"},
    }
    tree = xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})
    return Fit(tree, spec)
