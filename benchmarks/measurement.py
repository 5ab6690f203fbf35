"""Rewards with as much error as signal: what a fit finds that ignores it, and one that does not.

``python -m benchmarks.measurement [--quick] [--out FOLDER] [--sets N]``

Panels of choosers with LogNormal strengths; true reward differences N(0, 1), and errors of the
same variance in what is observed. Three fits of every data set: *naive*, which takes the observed
differences for true; *error known*, with the errors' sd given; *error estimated*, where the
observed reward is the mean of two noisy rewards and ``measurement_error`` estimates the sd from
how far they disagree. Counted is how often the 90 % interval covers the true sd of log strength.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.common import RESULTS, machine, store, table

TRUTH = {"mu": 0.0, "sigma": 0.7}
ERROR = 1.0  # sd of the error of an observed difference; the true ones have sd 1
SHAPE, SETS = (200, 30), 200
_PROB = 0.9


def simulated(shape, seed):
    """A table with the mean of two noisy rewards and those two; errors of the mean have sd 1."""
    rng = np.random.default_rng(seed)
    strength = np.exp(TRUTH["mu"] + TRUTH["sigma"] * rng.standard_normal(shape[0]))
    true = rng.standard_normal(shape)
    sign = np.where(rng.random(shape) < special.expit(strength[:, None] * true), 1.0, -1.0)
    frame = pd.DataFrame({"annotator": np.repeat([f"c{a}" for a in range(shape[0])], shape[1])})
    members = [true + np.sqrt(2) * ERROR * rng.standard_normal(shape) for _ in range(2)]
    of_each = {"first": members[0], "second": members[1], "reward": sum(members) / 2}
    for name, values in of_each.items():
        frame[f"{name}_chosen"] = (sign * values).ravel()
        frame[f"{name}_rejected"] = 0.0
    return frame


def of_set(shape, seed):
    """One row: what each of the three fits says of the sd of log strength."""
    import prefstrength as ps
    from prefstrength.models.fitting import sample_population

    frame = simulated(shape, seed)
    estimated = ps.measurement_error(frame, ["first", "second"])
    given = ps.Choices.from_pairs(frame, chooser="annotator")
    combined = ps.Choices.from_pairs(estimated.combine(frame), chooser="annotator")
    ways = {
        "naive": (given, None),
        "error known": (given, ps.RewardError(sd=ERROR)),
        "error estimated": (combined, estimated),
    }
    row = {"seed": seed, "reliability": estimated.reliability}
    for way, (choices, error) in ways.items():
        start = time.perf_counter()
        model = ps.MixedLogit(
            {"reward": ps.LogNormal()}, errors=None if error is None else {"reward": error}
        )
        found = sample_population(model, choices, seed=seed).variables
        for parameter in ("mu", "sigma"):
            draws = found[f"reward_{parameter}"].ravel()
            low, high = np.quantile(draws, [(1 - _PROB) / 2, (1 + _PROB) / 2])
            row |= {
                f"{way}: {parameter}": float(draws.mean()),
                f"{way}: {parameter} low": float(low),
                f"{way}: {parameter} high": float(high),
            }
        row[f"{way}: seconds"] = time.perf_counter() - start
    return row


def study(shape, sets, first=0):
    """Rows of all data sets."""
    rows = []
    for seed in range(first, first + sets):
        rows.append(of_set(shape, seed))
        if len(rows) % 10 == 0:
            print(f"{len(rows)} of {sets} data sets", flush=True)
    return pd.DataFrame(rows)


def coverage(rows):
    """For each way: estimates of the sd of log strength, coverage of its interval, time."""
    out = []
    for way in ("naive", "error known", "error estimated"):
        low, high = rows[f"{way}: sigma low"], rows[f"{way}: sigma high"]
        out.append(
            {
                "way": way,
                "true sigma": TRUTH["sigma"],
                "mean estimate": float(rows[f"{way}: sigma"].mean()),
                "sd of estimates": float(rows[f"{way}: sigma"].std()),
                "interval width": float((high - low).mean()),
                "coverage": float(((low <= TRUTH["sigma"]) & (TRUTH["sigma"] <= high)).mean()),
                "mean mu": float(rows[f"{way}: mu"].mean()),
                "seconds": float(rows[f"{way}: seconds"].median()),
            }
        )
    return out


def figure(rows, path, most=60):
    """Intervals of the first data sets, of the fit that ignores the errors and of the other."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(6.8, 3.1), layout="constrained")
    axes = drawing.subplots(1, 2, sharey=True)
    titles = {"naive": "errors ignored", "error known": "errors in variables"}
    for ax, (way, title) in zip(axes, titles.items(), strict=True):
        some = rows.head(most).sort_values(f"{way}: sigma")
        low, high = some[f"{way}: sigma low"], some[f"{way}: sigma high"]
        covered = ((low <= TRUTH["sigma"]) & (TRUTH["sigma"] <= high)).to_numpy()
        x = np.arange(len(some))
        for hit, color, marker in ((True, "#0072B2", "o"), (False, "#D55E00", "x")):
            mine = covered == hit
            ax.vlines(x[mine], low[mine], high[mine], color=color, linewidth=1.0)
            ax.plot(x[mine], some[f"{way}: sigma"][mine], marker, color=color, markersize=3.0,
                    label="covers the truth" if hit else "misses it")  # fmt: skip
        ax.axhline(TRUTH["sigma"], color="#000000", linewidth=0.9, linestyle="--")
        share = coverage(rows)[list(titles).index(way)]["coverage"]
        ax.set_title(f"{title}: {100 * share:.3g}% of {len(rows)} cover", fontsize=9)
        ax.set_xlabel("data sets, in order of their estimate", fontsize=9)
        ax.set_xticks([])
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("sd of log strength", fontsize=9)
    axes[0].annotate("truth", (0, TRUTH["sigma"]), xytext=(0, 3), textcoords="offset points",
                     fontsize=8)  # fmt: skip
    handles, labels = axes[1].get_legend_handles_labels()
    axes[1].legend(handles, labels, fontsize=8, frameon=False, loc="upper left")
    drawing.savefig(path, dpi=160)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--sets", type=int, default=None, help="number of data sets")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    shape = (60, 10) if args.quick else SHAPE
    sets = args.sets or (3 if args.quick else SETS)
    started = machine()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*always went with.*")
        rows = study(shape, sets)
    found = coverage(rows)
    print(table(found))
    settings = {
        "choosers": shape[0],
        "situations": shape[1],
        "sets": sets,
        "error sd": ERROR,
        "true difference sd": 1.0,
        "strength": f"LogNormal({TRUTH['mu']}, {TRUTH['sigma']})",
        "interval": _PROB,
    }
    summary = [
        {
            "quantity": f"coverage of the 90% interval of sigma, errors as large as signal: {way}",
            "ours": row["coverage"],
            "theirs": found[0]["coverage"],
            "ratio": "",
            "target": "0.87 to 0.93" if way == "error known" else "",
            "met": bool(0.87 <= row["coverage"] <= 0.93) if way == "error known" else None,
        }
        for row in found[1:]
        for way in [row["way"]]
    ]
    results = {
        "settings": settings,
        "rows": found,
        "summary": summary,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    kept = rows.filter(regex="seed|reliability|sigma").round(4)
    kept.to_csv(args.out / "measurement.csv", index=False)
    figure(rows, args.out / "measurement.png")
    store("measurement", results, started, args.out)


if __name__ == "__main__":
    main()
