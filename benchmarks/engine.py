"""Effective draws per second of the posterior, ours beside NumPyro's NUTS and bayesm.

``python -m benchmarks.engine [--quick] [--shapes 500x20 ...] [--out FOLDER]``

The whole ``fit`` is timed, and the sampling alone. *Cold* is the first fit of a fresh process,
compilation included (imports not); *warm* the median over further data sets of the same shape in
the same process. Both sides get the same data and the same priors, and must agree on posterior
means and sds within Monte Carlo error, or the run fails.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.common import (
    RESULTS,
    ROOT,
    differences,
    in_child,
    machine,
    moments,
    panel,
    ratio_row,
    store,
    table,
)

#: Shape of the panel -> (target warm, target cold), as ratios of effective draws per second.
TARGETS = {(500, 20): (500.0, 40.0), (5_000, 100): (1_000.0, None)}
WAYS = [("parallel", False), ("parallel", True), ("vectorized", False), ("vectorized", True)]
# Draws asked of our fit: what it gives by itself, and many, since its cost hardly depends on them.
OURS = {"default draws": {}, "200,000 draws": {"draws": 50_000}}
#: Standard errors that two Monte Carlo estimates may differ by.
_AGREEMENT = 5.0


def reference(shape, quick, ways=("parallel", False), seeds=(0, 1, 2)):
    """NumPyro NUTS; at the large shape with few draws."""
    large = shape[0] * shape[1] > 100_000
    warmup, draws = (200, 100) if large else (500, 1000)
    if quick:
        warmup, draws = 100, 100
    job = {
        "choosers": shape[0],
        "situations": shape[1],
        "seeds": list(seeds[: 1 if large else len(seeds)]),
        "warmup": warmup,
        "draws": draws,
        "chains": 4,
        "chain_method": ways[0],
        "x64": ways[1],
    }
    runs = in_child("reference", job)
    for found in runs:
        rate = found["effective"] / found["sampling_seconds"]
        found["sampling_rate"] = rate
        found["rate"] = found["effective"] / found["seconds"]
        found["draws"] = 4 * draws
        if large:
            # What 1,000 draws a chain would have given: the warm-up and compilation are paid
            # once, the draws ten times. Extrapolated in favour of the reference.
            more = 1000 / draws
            seconds = found["seconds"] + (more - 1) * found["sampling_seconds"]
            found["rate_as_run"] = found["rate"]
            found["rate"] = more * found["effective"] / seconds
    return {"job": job, "extrapolated": large, "runs": runs}


def ours(shape, options, seeds=(0, 1, 2, 3, 4)):
    """``MixedLogit.fit`` in a fresh process."""
    job = {
        "choosers": shape[0],
        "situations": shape[1],
        "seeds": list(seeds),
        "options": options,
    }
    runs = in_child("ours", job)
    for found in runs:
        found["rate"] = found["effective"] / found["seconds"]
        found["sampling_rate"] = found["effective"] / found["posterior_seconds"]
    return {"job": job, "runs": runs}


def agreement(mine, theirs):
    """Differences of posterior means and sds in their Monte Carlo standard errors."""
    rows = []
    for name in ("mu", "sigma"):
        a, b = mine[name], theirs[name]
        counts = [min(a["effective"], mine["effective"]), b["effective"]]
        error = np.hypot(a["sd"] / counts[0] ** 0.5, b["sd"] / counts[1] ** 0.5)
        # Of a Gaussian's sd; the bulk size counts for the second moment too.
        error_sd = np.hypot(a["sd"] / (2 * counts[0]) ** 0.5, b["sd"] / (2 * counts[1]) ** 0.5)
        rows.append(
            {
                "parameter": name,
                "mean, ours": a["mean"],
                "mean, reference": b["mean"],
                "off by (s.e.)": abs(a["mean"] - b["mean"]) / error,
                "sd, ours": a["sd"],
                "sd, reference": b["sd"],
                "sd off by (s.e.)": abs(a["sd"] - b["sd"]) / error_sd,
            }
        )
    return rows


def bayesm(shape, seed=0, iterations=20_000):
    """rhierMnlRwMixture where Rscript finds bayesm; else why not."""
    script = os.environ.get("RSCRIPT") or shutil.which("Rscript")
    if script is None:
        return {"not_run": "Rscript is not installed"}
    with tempfile.TemporaryDirectory() as folder:
        data, draws = Path(folder) / "differences.csv", Path(folder) / "draws.csv"
        np.savetxt(data, differences(panel(*shape, seed)), delimiter=",")
        done = subprocess.run(
            [script, str(ROOT / "benchmarks" / "bayesm.R"), str(data), str(draws), str(iterations)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            if "no package called" in done.stderr:
                return {"not_run": "R is installed, but not its package bayesm"}
            raise RuntimeError(f"bayesm failed: {reason}")
        with draws.open(encoding="utf-8") as file:
            _, seconds, r, package = file.readline().split()
        values = np.loadtxt(draws, delimiter=",")
    kept = values[len(values) // 4 :]  # the first quarter is its warm-up
    found = {
        "seconds": float(seconds),
        "iterations": iterations,
        "mu": moments(kept[None, :, 0]),
        "sigma": moments(kept[None, :, 1]),
        "versions": {"R": r, "bayesm": package},
        "prior": "its own: mu | sigma ~ N(0, sigma^2/0.01), sigma^2 ~ inverse Wishart(3, 1)",
    }
    found["effective"] = min(found["mu"]["effective"], found["sigma"]["effective"])
    found["rate"] = found["effective"] / found["seconds"]
    return found


def warm(runs, key):
    """Median over all but the first; the first where there is only one."""
    return median(found[key] for found in (runs[1:] or runs))


def compare(shape, quick):
    """Both sides on one shape."""
    theirs = reference(shape, quick)
    mine = {name: ours(shape, options) for name, options in OURS.items()}
    checks = {name: agreement(side["runs"][0], theirs["runs"][0]) for name, side in mine.items()}
    return {"shape": list(shape), "reference": theirs, "ours": mine, "agreement": checks}


def summary(results):
    """One row for each quantity: ours, theirs, ratio, target."""
    rows = []
    for result in results["panels"]:
        shape = tuple(result["shape"])
        target_warm, target_cold = TARGETS[shape]
        theirs = result["reference"]["runs"]
        note = ", reference extrapolated" if result["reference"]["extrapolated"] else ""
        for name, side in result["ours"].items():
            mine = side["runs"]
            for what, ours_at, theirs_at, target in (
                ("warm, whole fit", warm(mine, "rate"), warm(theirs, "rate"), target_warm),
                (
                    "warm, draws alone",
                    warm(mine, "sampling_rate"),
                    warm(theirs, "sampling_rate"),
                    None,
                ),
                ("cold, whole fit", mine[0]["rate"], theirs[0]["rate"], target_cold),
            ):
                quantity = f"ESS/s {shape[0]:,}x{shape[1]}, {name}: {what}{note}"
                rows.append(ratio_row(quantity, ours_at, theirs_at, target))
    if "rate" in results["bayesm"]:
        mine = results["panels"][0]["ours"]["default draws"]["runs"]
        quantity = "ESS/s 500x20, default draws: warm, against bayesm"
        rows.append(ratio_row(quantity, warm(mine, "rate"), results["bayesm"]["rate"]))
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--ways", action="store_true", help="the reference in its four ways")
    parser.add_argument("--shapes", nargs="+", default=[f"{a}x{t}" for a, t in TARGETS])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    before = machine()
    if options.ways:
        rows = []
        for way in WAYS:
            runs = reference((500, 20), options.quick, way)["runs"]
            rows.append(
                {
                    "chains": way[0],
                    "precision": "float64" if way[1] else "float32",
                    "cold": runs[0]["rate"],
                    "warm": warm(runs, "rate"),
                    "sampling alone": warm(runs, "sampling_rate"),
                }
            )
        store("reference_ways", {"ways": rows}, before, options.out)
        print("Effective draws per second of NumPyro NUTS, 500x20\n\n" + table(rows))
        return
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes]
    if not set(shapes) <= set(TARGETS):
        parser.error(f"Expected shapes among {list(TARGETS)}; got {shapes}.")
    shapes = [(500, 20)] if options.quick else shapes
    results = {
        "panels": [compare(shape, options.quick) for shape in shapes],
        "bayesm": bayesm((500, 20), iterations=2_000 if options.quick else 20_000),
    }
    results["summary"] = summary(results)
    store("engine", results, before, options.out)
    print(table(results["summary"]))
    if options.quick:
        print("\nToo few draws of the reference: these ratios mean nothing.")
    off = []
    for result in results["panels"]:
        print(f"\nPosterior on {result['shape'][0]:,}x{result['shape'][1]}, seed 0\n")
        for name, rows in result["agreement"].items():
            print(table([{"": name, **row} for row in rows]))
            off += [row for row in rows for key in row if "s.e." in key and row[key] > _AGREEMENT]
    if "not_run" in results["bayesm"]:
        print(f"\nbayesm was not run: {results['bayesm']['not_run']}.")
    else:
        found = results["bayesm"]
        print(
            f"\nbayesm (prior of its own): mu {found['mu']['mean']:.4f} +- "
            f"{found['mu']['sd']:.4f}, sigma {found['sigma']['mean']:.4f} +- "
            f"{found['sigma']['sd']:.4f}"
        )
    if off:
        sys.exit(f"Posterior means or sds differ by more than {_AGREEMENT} standard errors: {off}")


if __name__ == "__main__":
    main()
