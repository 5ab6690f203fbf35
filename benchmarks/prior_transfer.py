"""The spread that a prior hands to training: all explanations averaged, beside one LogNormal alone.

``python -m benchmarks.prior_transfer [--quick] [--out FOLDER] [--sets N]``

Panels of 200 choosers with 20 pairs each whose strengths are known: one for all, or LogNormal with
σ .4 or .7; utility straight or bent, some answers at random, some choosers indifferent or reversed.
Of each panel two priors: ``StrengthPrior.from_rivals``, and the posterior of a LogNormal fitted
alone. Counted is how far the centre of σ is from that of the choosers who prefer the higher reward.

Interrupted, the same command goes on. Seeds are in the outer loop, so that all cells have the same
number of panels. Writes prior_transfer.csv (a row for each panel) and prior_transfer.json.
"""

import argparse
import math
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.common import RESULTS, machine, store, table

SHAPE, SETS, SPREAD = (200, 20), 10, 1.5


def straight(x):
    return x


def root(x):
    return np.sign(x) * np.sqrt(np.abs(x))


def capped(x):
    return np.clip(x, -1.0, 1.0)


def convex(x):
    return np.sign(x) * np.abs(x) ** 1.5


#: Fault -> what it changes.
FAULTS = {
    "nothing": {},
    "10 % random answers": {"lapse": 0.1},
    "root": {"bend": root},
    "capped": {"bend": capped},
    "power 1.5": {"bend": convex},
    "10 % careless": {"zero": 0.1},
    "40 % indifferent": {"zero": 0.4},
    "15 % reversed": {"reversed_": 0.15},
}
#: Spread of strengths -> faults that go with it.
CELLS = [
    *((0.0, fault) for fault in FAULTS),
    *((0.4, fault) for fault in ("nothing", "10 % random answers", "capped", "power 1.5")),
    *((0.7, f) for f in FAULTS if f not in ("root", "10 % careless")),
]


def simulated(shape, seed, sigma, bend=straight, lapse=0.0, zero=0.0, reversed_=0.0):
    """A table of pairs, the response with the reward ``reward_chosen`` chosen."""
    rng = np.random.default_rng(seed)
    difference = rng.normal(0.0, SPREAD, shape)
    strength = np.exp(sigma * rng.standard_normal((shape[0], 1)))
    kind = rng.random((shape[0], 1))
    strength = np.where(kind < zero, 0.0, np.where(kind > 1 - reversed_, -strength, strength))
    first = lapse / 2 + (1 - lapse) * special.expit(strength * bend(difference))
    sign = np.where(rng.random(shape) < first, 1.0, -1.0)
    return pd.DataFrame(
        {
            "annotator": np.repeat([f"c{a}" for a in range(shape[0])], shape[1]),
            "reward_chosen": (sign * difference).ravel(),
            "reward_rejected": 0.0,
        }
    )


def of_panel(shape, seed, sigma, fault):
    """One row: what both ways hand to training."""
    import prefstrength as ps
    from prefstrength.models.fitting import sample_population

    frame = simulated(shape, seed, sigma, **FAULTS[fault])
    choices = ps.Choices.from_pairs(frame, chooser="annotator")
    start = time.process_time()
    found = ps.rivals(choices)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The prior describes the choosers who prefer")
        prior = ps.StrengthPrior.from_rivals(found, force=True)
    seconds = time.process_time() - start
    model = ps.MixedLogit({"reward": ps.LogNormal()})
    alone = sample_population(model, choices, seed=seed).variables["reward_sigma"].ravel()
    averaged, low, high = (prior.source["sigma"][name] for name in ("mean", "low", "high"))
    return {
        "seed": seed,
        "sigma": sigma,
        "fault": fault,
        "label": found.label,
        "family": prior.family,
        "centre": 0.0 if prior.dispersion is None else math.exp(prior.dispersion),
        "mean": averaged,
        "low": low,
        "high": high,
        "zero_share": prior.zero_share,
        "alone": float(alone.mean()),
        "alone low": float(np.quantile(alone, 0.05)),
        "alone high": float(np.quantile(alone, 0.95)),
        "seconds": seconds,
    }


def study(shape, sets, path):
    """Rows of all panels, kept one by one."""
    rows = pd.read_csv(path).to_dict("records") if path.is_file() else []
    done = {(row["seed"], row["sigma"], row["fault"]) for row in rows}
    for seed in range(sets):
        for sigma, fault in CELLS:
            if (seed, sigma, fault) in done:
                continue
            rows.append(of_panel(shape, seed, sigma, fault))
            pd.DataFrame(rows).round(4).to_csv(path, index=False)
        print(f"{seed + 1} of {sets} panels of each cell", flush=True)
    return pd.DataFrame(rows)


def errors(rows):
    """For each cell, and for all: mean σ of both, mean absolute errors, intervals that cover."""
    out = []
    cells = list(rows.groupby(["sigma", "fault"], sort=False))
    for (sigma, fault), part in [*cells, (("all", "all"), rows)]:
        covered = [
            float(((part[low] <= part["sigma"]) & (part["sigma"] <= part[high])).mean())
            for low, high in (("low", "high"), ("alone low", "alone high"))
        ]
        out.append(
            {
                "true sigma": sigma,
                "fault": fault,
                "panels": len(part),
                "centre": float(part["centre"].mean()),
                "LogNormal alone": float(part["alone"].mean()),
                "error": float((part["centre"] - part["sigma"]).abs().mean()),
                "error of the mean": float((part["mean"] - part["sigma"]).abs().mean()),
                "error alone": float((part["alone"] - part["sigma"]).abs().mean()),
                "covers": covered[0],
                "covers alone": covered[1],
                "share at zero": float(part["zero_share"].mean()),
                "points": float((part["family"] == "PointMass").mean()),
            }
        )
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--sets", type=int, default=None, help="panels of each cell")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    shape = (60, 10) if args.quick else SHAPE
    sets = args.sets or (1 if args.quick else SETS)
    started = machine()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = study(shape, sets, args.out / "prior_transfer.csv")
    found = errors(rows)
    print(table(found))
    whole = found[-1]
    summary = [
        {
            "quantity": "mean absolute error of the prior's sigma, all explanations averaged",
            "ours": float(f"{whole['error']:.3g}"),
            "theirs": float(f"{whole['error alone']:.3g}"),
            "ratio": f"{whole['error alone'] / whole['error']:.2g}x",
            "target": "<= 0.1",
            "met": bool(whole["error"] <= 0.1),
        }
    ]
    settings = {"choosers": shape[0], "situations": shape[1], "sets": sets, "spread": SPREAD}
    results = {"settings": settings, "rows": found, "summary": summary}
    store("prior_transfer", results, started, args.out)


if __name__ == "__main__":
    main()
