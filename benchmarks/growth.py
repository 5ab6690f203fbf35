"""Growth curves: seconds against the number of pairs, of choosers and of groups.

``python -m benchmarks.growth [--quick] [--out FOLDER]``

Every point is a process of its own. Of 1e8 pairs, which do not fit into memory as a table, the
figure shows what ``benchmarks/scale.py`` measured, where it has run: compression from Parquet
files, and the posterior from what that saved.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.common import RESULTS, in_child, machine, store, table

SIZES = {
    "pairs": [1_000, 10_000, 100_000, 1_000_000, 10_000_000],
    "choosers": [100, 1_000, 10_000, 50_000],
    "groups": [1, 2, 4, 8, 16, 32, 64],
}
QUICK = {"pairs": [1_000, 10_000], "choosers": [100, 300], "groups": [1, 2]}
#: What is drawn: key, words, line, marker. Told apart without colour.
LINES = [
    ("fit_cold", "whole fit, with compilation", "-", "s", "0.55"),
    ("fit_warm", "whole fit, second data set", "-", "o", "0.0"),
    ("posterior", "posterior, pairs compressed before", "-", "P", "0.75"),
    ("compression", "compression", ":", "D", "0.35"),
    ("gradient_uncompressed", None, "--", "^", "0.55"),
    ("gradient", "one gradient, compressed", "--", "v", "0.0"),
    ("value", "one value, tables", "-.", "x", "0.0"),
]
_UNCOMPRESSED = {
    "pairs": "one gradient, every pair by quadrature",
    "choosers": "one gradient, latent choosers",
    "groups": "one gradient, latent choosers",
}
_TITLES = {
    "pairs": "Pairs, choosers not known",
    "choosers": "Choosers, 20 choices each",
    "groups": "Groups, of 2,000 choosers with 20 choices",
}


def draw(points, path):
    """Three panels, both axes logarithmic."""
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 5.2), sharey=True, layout="constrained")
    for axis, kind in zip(axes, SIZES, strict=True):
        rows = [row for row in points if row["kind"] == kind]
        for key, words, line, marker, grey in LINES:
            known = [row for row in rows if row.get(key)]
            if not known:
                continue
            axis.plot(
                [row["size"] for row in known],
                [row[key] for row in known],
                line,
                marker=marker,
                color=grey,
                markersize=5,
                linewidth=1.4,
                label=words or _UNCOMPRESSED[kind],
            )
        if kind == "pairs":
            _draw_streamed(axis, [row for row in points if row["kind"] == "streamed pairs"])
        axis.set_xscale("log", base=2 if kind == "groups" else 10)
        axis.set_yscale("log")
        axis.set_title(_TITLES[kind], fontsize=11)
        axis.set_xlabel(f"number of {kind}")
        axis.grid(alpha=0.25)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    axes[2].set_xticks(SIZES["groups"], [str(size) for size in SIZES["groups"]])
    axes[0].set_ylabel("seconds")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_streamed(axis, rows):
    """Hollow markers: what was read from Parquet files."""
    for key, words, line, marker, grey in LINES:
        if rows and key in rows[0]:
            axis.plot(
                [row["size"] for row in rows],
                [row[key] for row in rows],
                line,
                marker=marker,
                color=grey,
                markerfacecolor="white",
                markersize=7,
                linewidth=1.0,
                label=f"{words}, from Parquet, first fit"
                if key == "posterior"
                else f"{words}, from Parquet",
            )


def streamed(folder):
    """What the streaming benchmark measured, if it has run: pairs that never were in memory."""
    path = folder / "scale.json"
    if not path.is_file():
        return []
    return [
        {
            "kind": "streamed pairs",
            "size": found["rows"],
            "compression": found["compress_seconds"],
            "posterior": found["posterior"]["seconds"],
            "peak_mb": 1000 * found["peak_gb"],
            "method": found["posterior"]["method"],
        }
        for found in json.loads(path.read_text(encoding="utf-8"))["measured"]
    ]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--kinds", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    before = machine()
    sizes = QUICK if options.quick else SIZES
    points = []
    for kind in options.kinds:
        for size in sizes[kind]:
            point = in_child("growth_point", {"kind": kind, "size": size})
            points.append(point)
            print(f"{kind} {size:,}: warm fit {point['fit_warm']:.2f} s", flush=True)
    store("growth", {"points": points}, before, options.out)
    points += streamed(options.out)
    draw(points, options.out / "growth.png")
    columns = ["kind", "size", *(key for key, *_ in LINES), "peak_mb", "method"]
    print("\nSeconds\n\n" + table([{key: point.get(key) for key in columns} for point in points]))


if __name__ == "__main__":
    main()
