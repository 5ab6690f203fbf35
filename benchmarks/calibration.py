"""Simulation-based calibration of every family: panel, pairs, groups.

    python -m benchmarks.calibration --out DIR [--simulations 500] [--only NAME ...]

Interrupted, the same command goes on. Writes DIR/calibration.csv (one row for each variable of
each configuration) and DIR/calibration.json (versions, seconds), and prints whether all passed.
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

import prefstrength as ps
from prefstrength.data.choices import Choices

FAMILIES = {
    family.__name__: family
    for family in (ps.PointMass, ps.Normal, ps.LogNormal, ps.Gamma, ps.InverseGaussian)
}


def panel(choosers: int = 60, situations: int = 12) -> Choices:
    return ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers, situations, 1.5, seed=1)


def pairs(situations: int = 1000) -> Choices:
    return ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), situations, 1, 1.5, seed=1)


def grouped(choosers: int = 90, situations: int = 12) -> Choices:
    """Three regions that choosers belong to; of single situations, if choosers make one each."""
    whole = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers, situations, 1.5, seed=1)
    who = np.repeat(np.arange(choosers), situations)
    frame = pd.DataFrame(
        {
            "reward_chosen": whole.differences("reward"),
            "reward_rejected": 0.0,
            "annotator": who,
            "region": np.array(["east", "north", "west"])[who % 3],
        }
    )
    return Choices.from_pairs(
        frame, chooser="annotator" if situations > 1 else None, groups=["region"]
    )


def configurations() -> dict[str, tuple[ps.MixedLogit, Choices]]:
    out = {}
    for name, family in FAMILIES.items():
        model = ps.MixedLogit({"reward": family()})
        out[f"{name}-panel"] = model, panel()
        out[f"{name}-pairs"] = model, pairs()
        model = ps.MixedLogit({"reward": family()}, groups=["region"])
        out[f"{name}-groups"] = model, grouped()
    model = ps.MixedLogit({"reward": ps.LogNormal()}, groups=["region"])
    out["LogNormal-pairs-groups"] = model, grouped(1500, 1)
    out["LogNormal-500x20"] = ps.MixedLogit({"reward": ps.LogNormal()}), panel(500, 20)
    return out


def run(known: dict[str, tuple[ps.MixedLogit, Choices]], name: str, doc: str) -> None:
    """Calibrate what the command line asks for, and write and print the results under a name."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--simulations", type=int, default=500)
    parser.add_argument("--cores", type=int, default=None)
    parser.add_argument("--only", nargs="+", choices=list(known), default=list(known))
    options = parser.parse_args()
    tables, seconds = [], {}
    for configuration in options.only:
        model, choices = known[configuration]
        start = time.perf_counter()
        done = ps.calibrate(
            model,
            choices,
            options.simulations,
            directory=options.out / configuration,
            cores=options.cores,
        )
        seconds[configuration] = round(time.perf_counter() - start, 1)
        table = done.table
        worst = table.nsmallest(1, "p_adjusted").iloc[0]
        covered = table["coverage_90"]
        print(
            f"{configuration:22s} {'uniform' if done.passed() else 'NOT UNIFORM':12s} "
            f"smallest p {worst['p_adjusted']:.3f} ({worst['variable']}); 90% intervals cover "
            f"{covered.min():.1%} to {covered.max():.1%}; {seconds[configuration]:.0f} s",
            flush=True,
        )
        tables.append(table.assign(configuration=configuration, simulations=done.simulations))
    pd.concat(tables).to_csv(options.out / f"{name}.csv", index=False)
    told = {
        "simulations": options.simulations,
        "seconds": seconds,  # of this run: kept simulations cost nothing
        "cores": options.cores or len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "versions": {n: version(n) for n in ("prefstrength", "jax", "numpyro", "numpy")},
    }
    (options.out / f"{name}.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


if __name__ == "__main__":
    run(configurations(), "calibration", __doc__)
