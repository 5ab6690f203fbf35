"""All benchmarks, one after another, and one table at the end; ``make bench``.

``python -m benchmarks.run [--quick] [--only PART ...] [--out FOLDER]``

Every part is a process of its own and writes its results as JSON; the table is made of those
files, also of the ones of an earlier run.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.common import RESULTS, ROOT, machine, table, versions

#: Part -> what it is; in the order in which they run.
PARTS = {
    "accuracy": "error of the kernel and of compression",
    "engine": "effective draws per second, against NumPyro and bayesm",
    "whole_fits": "seconds of whole fits: sizes, answers, bends",
    "simulated": "maximum likelihood, against xlogit and Biogeme",
    "scale": "1e8 pairs in Parquet: compression, memory, posterior",
    "growth": "time against pairs, choosers and groups",
    "training": "a MixDPO step, against TRL's DPO step",
    "scoring": "reward scores, against transformers' pipeline and the forward pass alone",
    "study": "MixDPO where the strengths are known, against DPO and without a prior",
    "measurement": "coverage where rewards have as much error as signal",
    "misspecified": "the verdict of rivals where the model is wrong, beside a LogNormal alone",
    "prior_transfer": "the spread handed to training, beside one LogNormal alone",
    "calibration": "simulation-based calibration of every family",
    "checks": "which planted defects the checks of a fit see, and their false alarms",
}
_SIMULATIONS = 500


def command(part, quick, out):
    base = [sys.executable, "-m", f"benchmarks.{part}"]
    if part == "scale":
        rows = "1e6" if quick else "1e8"
        return [*base, "--rows", rows, "--out", str(out)]
    if part == "calibration":
        simulations = "20" if quick else str(_SIMULATIONS)
        kept = out / "calibration"  # simulations that an interrupted run goes on from
        return [*base, "--out", str(kept), "--simulations", simulations]
    return [*base, "--out", str(out), *(["--quick"] if quick else [])]


def run(parts, quick, out):
    """Names of the parts that failed."""
    failed = []
    for part in parts:
        print(f"\n## {PARTS[part]} (benchmarks/{part}.py)\n", flush=True)
        start = time.perf_counter()
        done = subprocess.run(command(part, quick, out), cwd=ROOT, check=False)
        print(f"\n{part}: {time.perf_counter() - start:.0f} s", flush=True)
        if done.returncode:
            failed.append(part)
        elif part == "calibration":
            for name in ("calibration.csv", "calibration.json"):
                shutil.copy(out / "calibration" / name, out / name)
    return failed


def _loaded(name, out):
    path = out / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _limit(quantity, found, limit):
    """Row for a number that is to stay below a limit."""
    return {
        "quantity": quantity,
        "ours": float(f"{found:.3g}"),
        "target": f"<= {limit:g}",
        "met": bool(found <= limit),
    }


def summary(out):
    """Rows of the table, from the result files."""
    rows = []
    if found := _loaded("engine", out):
        rows += found["summary"]
    if found := _loaded("simulated", out):
        rows += found["summary"]
    if found := _loaded("accuracy", out):
        for dtype, limit in (("float64", 1e-10), ("float32", 2e-6)):
            for what in ("log p", "gradients"):
                row = max(found["kernel"], key=lambda row: row[f"{dtype}: {what}"])
                quantity = f"error of {what}, {dtype}, worst law ({row['law']})"
                rows.append(_limit(quantity, row[f"{dtype}: {what}"], limit))
        for kind in ("pairs", "panel"):
            errors = [row["error (nats)"] for row in found["compression"] if row["data"] == kind]
            rows.append(_limit(f"nats lost by compression, {kind}, sigma <= 3", max(errors), 0.01))
    if found := _loaded("scale", out):
        most = max(found["measured"], key=lambda row: row["rows"])
        size = f"{most['rows']:,} pairs"
        rows.append(_limit(f"{size}: compression / reading alone", most["ratio"], 3.0))
        rows.append(_limit(f"{size}: peak memory, GB", most["peak_gb"], 2.0))
        seconds = most["posterior"]["seconds"]
        rows.append(_limit(f"{size}: posterior with compilation, s", seconds, 10.0))
    if found := _loaded("growth", out):
        pairs = {row["size"]: row for row in found["points"] if row["kind"] == "pairs"}
        most = max(pairs)
        if 10_000 in pairs and most > 10_000:
            rows.append(
                {
                    "quantity": f"posterior of {most:,} compressed pairs / of 10,000",
                    "ours": float(f"{pairs[most]['posterior']:.3g}"),
                    "theirs": float(f"{pairs[10_000]['posterior']:.3g}"),
                    "ratio": f"{pairs[most]['posterior'] / pairs[10_000]['posterior']:.2f}x",
                }
            )
    if found := _loaded("training", out):
        size = f"{found['parameters']:,} parameters, {found['device']}"
        for row in found["steps"]:
            quantity = f"training step, {row['step']} / TRL's DPO, {size}"
            rows.append(_limit(quantity, row["ratio"], 1.01))
    if found := _loaded("scoring", out):
        for row in found["rates"]:
            if row["way"] == "ours, nothing shared":
                continue  # shows where the speed comes from, and is nobody's choice
            size = f"{row['model']} parameters, {row['dtype']}, {found['device']}"
            for other, target in (("pipeline", 3.0), ("limit", 0.9)):
                rows.append(
                    {
                        "quantity": f"tokens/s of {row['way']} / {other}, {size}",
                        "ours": row["tokens/s"],
                        "theirs": row[other],
                        "ratio": f"{row[f'/ {other}']:.2f}x",
                        "target": f"{target:g}x",
                        "met": bool(row[f"/ {other}"] >= target),
                    }
                )
    for name in ("measurement", "misspecified", "prior_transfer"):
        if found := _loaded(name, out):
            rows += found["summary"]
    if found := _loaded("checks", out):
        rows.append(_limit("checks of a fit: false alarms", found["false_alarms"], 0.05))
    if found := _loaded("study", out):
        count, seeds = found["ranked"]["MixDPO: cv"], found["seeds"]
        rows.append(
            {
                "quantity": "seeds whose learned spreads are in the right order, fitted prior",
                "ours": count,
                "theirs": f"{found['ranked']['no prior: cv']} without a prior",
                "target": f">= {0.95 * seeds:g} of {seeds}",
                "met": bool(count >= 0.95 * seeds),
            }
        )
    if (out / "calibration.csv").is_file():
        import pandas as pd

        checked = pd.read_csv(out / "calibration.csv")
        for name, part in checked.groupby("configuration", sort=False):
            worst = float(part["p_adjusted"].min())
            covered = part["coverage_90"]
            rows.append(
                {
                    "quantity": f"calibration, {name}: smallest p of uniform ranks",
                    "ours": float(f"{worst:.3g}"),
                    "target": ">= 0.01",
                    "met": bool(worst >= 0.01),
                }
            )
            # Of 500 simulations the coverage of one variable has a standard error of 1.3 points:
            # the average over a configuration's variables is held to the target.
            rows.append(
                {
                    "quantity": f"calibration, {name}: 90 % intervals cover, on average",
                    "ours": f"{covered.mean():.1%}",
                    "theirs": f"each {covered.min():.1%} to {covered.max():.1%}",
                    "target": "87 % to 93 %",
                    "met": bool(0.87 <= covered.mean() <= 0.93),
                }
            )
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.quick and options.out == RESULTS:
        parser.error("--quick expects --out FOLDER: it would overwrite the results.")
    options.out.mkdir(parents=True, exist_ok=True)
    before = machine()
    failed = run(options.only, options.quick, options.out.resolve())
    rows = summary(options.out)
    columns = ["quantity", "ours", "theirs", "ratio", "target", "met"]
    text = table(rows, columns) if rows else "No results."
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    where = f"{before['processor']}, {before['cores']} cores. {used}."
    print(f"\n## Summary\n\n{text}\n\n{where}")
    if options.quick:
        print("Small settings: these ratios mean nothing.")
    if rows:
        head = "# Benchmarks\n\nWritten by `make bench`. ESS/s: effective draws per second of the\n"
        head += "worst population parameter. Ratios: how many times better ours is.\n\n"
        (options.out / "summary.md").write_text(f"{head}{text}\n\n{where}\n", encoding="utf-8")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
