"""Seconds of whole fits, in a fresh process and warm: sizes, answers, and what bends a curve.

``python -m benchmarks.whole_fits [--quick] [--out FOLDER]``

A whole fit is everything that ``MixedLogit.fit`` does; *fresh* counts the process from its start,
imports and the verdict included, *warm* a second data set of the same shape in that process. Limits
are those that the project holds itself to on two idle cores.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.common import RESULTS, in_child, machine, panel, store, table

#: Case -> limits in seconds, fresh and warm; None where there is none.
LIMITS = {
    "500 x 20": (1.5, 0.25),
    "5,000 x 100": (None, 3.0),
    "50,000 x 20": (None, 8.0),
    "60 x 1,000": (None, 0.5),
    "10,000,000 pairs": (None, 6.0),
    "64 groups of 50 x 20": (None, 6.0),
    "graded": (None, 1.5),
    "ties": (None, 1.5),
    "rankings of four": (None, 1.5),
    "lapse": (None, 1.5),
    "power": (None, 1.5),
    "strength 0 for some": (None, 1.5),
    "two kinds": (None, None),
    "another attribute": (None, None),
}
QUICK = ("500 x 20", "graded", "lapse")


def case(name, seed):
    """Model and choices."""
    import numpy as np
    import pandas as pd

    import prefstrength as ps

    log_normal = ps.LogNormal()
    model = ps.MixedLogit({"reward": log_normal})
    truth = ps.LogNormal(mu=0.0, sigma=0.7)
    size = {"choosers": 500, "situations": 20, "spread": 1.5, "seed": seed}
    rng = np.random.default_rng(seed)
    if " x " in name and "groups" not in name:
        choosers, situations = (int(part.replace(",", "")) for part in name.split(" x "))
        return model, panel(choosers, situations, seed)
    if name.endswith("pairs"):
        n = int(name.split()[0].replace(",", ""))
        x = rng.normal(0.0, 1.5, n)
        first = rng.random(n) < 1 / (1 + np.exp(-np.exp(0.7 * rng.standard_normal(n)) * x))
        values = np.zeros((n, 2, 1))
        values[:, 0, 0] = np.where(first, x, -x)
        return model, ps.Choices(values, np.zeros(n, dtype=np.int64), ["reward"])
    if name.startswith("64 groups"):
        from benchmarks.growth_point import SITUATIONS

        group = np.repeat(np.arange(64), 50)
        strength = np.exp(0.3 * rng.standard_normal(64)[group] + 0.7 * rng.standard_normal(3200))
        x = rng.normal(0.0, 1.5, (3200, SITUATIONS))
        first = rng.random(x.shape) < 1 / (1 + np.exp(-strength[:, None] * x))
        frame = pd.DataFrame({
            "reward_chosen": np.where(first, x, -x).ravel(), "reward_rejected": 0.0,
            "who": np.repeat(np.arange(3200), SITUATIONS),
            "group": np.repeat(group, SITUATIONS).astype(str),
        })  # fmt: skip
        choices = ps.Choices.from_pairs(frame, chooser="who", groups="group")
        return ps.MixedLogit({"reward": log_normal}, groups=["group"]), choices
    if name == "graded":
        words = ("much better", "better", "same", "worse", "much worse")
        shared = {"cut_1": 0.5, "cut_2": 1.5}
        return model, ps.simulate(truth, **size, response=ps.Graded(words), shared=shared)
    if name == "ties":
        return model, ps.simulate(truth, **size, response=ps.Ties(), shared={"tie": 0.6})
    if name == "rankings of four":
        return model, ps.simulate(truth, **size, response=ps.Ranking(), alternatives=4)
    if name == "another attribute":
        choices = ps.simulate(truth, **size)
        length = rng.standard_normal((*choices.values.shape[:2], 1))
        both = ps.Choices(
            np.concatenate([choices.values, length], axis=2), choices.chosen,
            ["reward", "length"], chooser=choices.chooser, choosers=choices.choosers,
        )  # fmt: skip
        return ps.MixedLogit({"reward": log_normal, "length": ps.PointMass()}), both
    mixing = {
        "strength 0 for some": ps.ZeroMass(log_normal),
        "two kinds": ps.FiniteMixture([log_normal, log_normal]),
    }.get(name, log_normal)
    bends = {"lapse": {"lapse": True}, "power": {"utility": "power"}}.get(name, {})
    return ps.MixedLogit({"reward": mixing}, **bends), ps.simulate(truth, **size)


def measure(job):
    """Seconds of a first fit with its verdict, and of a second; imports and data apart."""
    import prefstrength as ps

    name, found = job["case"], {}
    for what, seed in (("cold", 1), ("warm", 2)):
        model, choices = case(name, seed)
        start = time.perf_counter()
        fit = model.fit(choices, seed=0, progress=False)
        found[what] = time.perf_counter() - start
        verdict = ps.heterogeneity(fit)["verdict"].iloc[0]
    return found | {"verdict": verdict, "how": fit.spec["likelihood"]["how"],
                    "error": fit.spec["likelihood"]["error"], "reason": fit.reason}  # fmt: skip


def fresh():
    """Seconds from the start of a process to the verdict on 500 x 20, the data being on disk."""
    code = (
        "import time, sys, prefstrength as ps\n"
        "choices = ps.simulate(ps.LogNormal(mu=0.0, sigma=0.7), choosers=500, situations=20)\n"
        "fit = ps.MixedLogit({'reward': ps.LogNormal()}).fit(choices, seed=0, progress=False)\n"
        "print(ps.heterogeneity(fit)['verdict'].iloc[0])\n"
    )
    import subprocess

    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return sorted(times)[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    before = machine()
    rows = []
    for name, (most_fresh, most_warm) in LIMITS.items():
        if arguments.quick and name not in QUICK:
            continue
        found = in_child("whole_fits", {"case": name})
        row = {"case": name, "cold": found["cold"], "warm": found["warm"], "limit": most_warm}
        row["met"] = None if most_warm is None else found["warm"] <= most_warm
        rows.append({**row, "error": found["error"], "verdict": found["verdict"]})
        if most_fresh is not None:
            seconds = fresh()
            rows.append({"case": f"{name}, process to verdict", "cold": seconds,
                         "limit": most_fresh, "met": seconds <= most_fresh})  # fmt: skip
        print(table(rows[-1:]), flush=True)
    print(table(rows, ["case", "cold", "warm", "limit", "met", "error", "verdict"]))
    store("whole_fits", {"rows": rows}, before, arguments.out)


if __name__ == "__main__":
    if sys.stdin.isatty() or len(sys.argv) > 1:
        main()
    else:
        text = sys.stdin.read()
        if text.strip():
            print(json.dumps(measure(json.loads(text))))
        else:
            main()
