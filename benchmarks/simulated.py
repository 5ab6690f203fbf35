"""Simulated likelihood (xlogit, Biogeme) beside the exact one: estimates, errors, time.

``python -m benchmarks.simulated [--quick] [--out FOLDER] [--peers PYTHON]``

The same maximum-likelihood problem for all. The last columns say what simulation costs: how far
the simulated log-likelihood is from the exact one at the same estimates, and how much exact
log-likelihood the estimates give away.
"""

import argparse
from pathlib import Path

from benchmarks.common import (
    RESULTS,
    ROOT,
    differences,
    in_child,
    machine,
    panel,
    ratio_row,
    store,
    table,
)
from benchmarks.exact import log_likelihood

PEERS = ROOT / ".venv-bench" / "bin" / "python"
DRAWS = (500, 2000)
#: Peer, what is done with it, and its settings.
WAYS = [
    ("xlogit", "as it comes", {"numerical_hessian": False}),
    ("xlogit", "num_hess=True", {"numerical_hessian": True}),
    ("biogeme", "NORMAL_HALTON2", {"kind": "NORMAL_HALTON2"}),
    ("biogeme", "NORMAL_MLHS", {"kind": "NORMAL_MLHS"}),
]
_SHAPE, _SEEDS = (500, 20), (0, 1)


def compare(quick, python):
    shape, draws = ((60, 10), (100,)) if quick else (_SHAPE, DRAWS)
    panels = [panel(*shape, seed) for seed in _SEEDS]
    arrays = [differences(choices) for choices in panels]
    job = {"choosers": shape[0], "situations": shape[1], "seeds": list(_SEEDS)}
    exact = in_child("exact", job)
    rows = [_row("exact", "", None, exact, exact, arrays)]
    if not python.is_file():
        return rows, "xlogit and Biogeme were not run: make bench installs them in .venv-bench."
    failed = []
    for peer, way, options in WAYS:
        for count in draws:
            job = {
                "peer": peer,
                "draws": count,
                "options": options,
                "panels": [x.tolist() for x in arrays],
            }
            path = ROOT / "benchmarks" / "peers.py"
            found = in_child("peers", job, python=python, path=path)
            broken = [f["failed"] for f in found if "failed" in f]
            if broken:
                failed.append(f"{peer} ({way}, {count} draws) broke off: {broken[0]}")
                continue
            rows.append(_row(peer, way, count, found, exact, arrays))
            if not all(f["converged"] for f in found):
                failed.append(f"{peer} ({way}, {count} draws) says that it did not converge")
    return rows, "; ".join(failed) + "." if failed else None


def _row(software, way, draws, found, exact, arrays):
    first, x = found[0], arrays[0]
    at_theirs = log_likelihood(x, first["mu"], first["sigma"])
    return {
        "software": software,
        "way": way,
        "draws": draws,
        "mu": first["mu"],
        "sigma": first["sigma"],
        "se mu": first["mu_se"],
        "se sigma": first["sigma_se"],
        "log-likelihood": first["log_likelihood"],
        "its error": first["log_likelihood"] - at_theirs,
        "given away": log_likelihood(x, exact[0]["mu"], exact[0]["sigma"]) - at_theirs,
        "seconds": first["seconds"],
        "again": found[1]["seconds"],
        "ratio": first["seconds"] / exact[0]["seconds"],
        "ratio again": found[1]["seconds"] / exact[1]["seconds"],
        "version": first.get("version"),
    }


def shown(rows):
    """The table as printed: enough digits for what is compared."""
    digits = {
        "mu": 4,
        "sigma": 4,
        "se mu": 4,
        "se sigma": 4,
        "log-likelihood": 3,
        "its error": 3,
        "given away": 4,
        "seconds": 2,
        "again": 2,
        "ratio": 1,
        "ratio again": 1,
    }
    hidden = {"version"}
    return table(
        [
            {
                key: f"{value:.{digits[key]}f}" if key in digits else value
                for key, value in row.items()
                if key not in hidden
            }
            for row in rows
        ]
    )


def summary(rows):
    """Rows for the table of ratios."""
    out = []
    for row in rows[1:]:
        what = f"seconds to the MLE, against {row['software']} ({row['way']}, {row['draws']} draws)"
        for column, when in (("seconds", "first"), ("again", "again")):
            out.append(ratio_row(f"{what}, {when}", rows[0][column], row[column], None, False))
    return out


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--peers", type=Path, default=PEERS, help="Python with xlogit and Biogeme")
    options = parser.parse_args(arguments)
    before = machine()
    rows, note = compare(options.quick, options.peers)
    store("simulated", {"rows": rows, "note": note, "summary": summary(rows)}, before, options.out)
    print("Maximum likelihood, 500x20, seed 0; exact and simulated\n")
    print(shown(rows))
    if note:
        print(f"\n{note}")


if __name__ == "__main__":
    main()
