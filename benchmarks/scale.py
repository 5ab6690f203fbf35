"""Pairs by the hundred million: compression against reading alone, memory, and the posterior.

    python benchmarks/scale.py --rows 100000000

Makes files of 1e4, 1e6, ... and of that many pairs in a temporary folder (16 bytes a pair),
prints a table of ratios and writes benchmarks/results/scale.json. Every measurement runs in a
process of its own; reading and compression take turns, and the best of each counts (all of them
are in the file). With --choosers the file has panels.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.common import RESULTS, in_child, machine, store  # noqa: E402

TURNS = 3


def read(path, choosers):
    """Seconds to read the columns and nothing else, in the fastest way that streams."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow.parquet as pq

    columns = ["reward_chosen", "reward_rejected", *(["chooser"] if choosers else [])]
    start = time.perf_counter()
    with pq.ParquetFile(path) as file:
        rows = sum(len(batch) for batch in file.iter_batches(1 << 20, columns=columns))
    in_batches = time.perf_counter() - start

    def group(index):
        with pq.ParquetFile(path) as file:
            return len(file.read_row_group(index, columns=columns, use_threads=False))

    start = time.perf_counter()
    with pq.ParquetFile(path) as file:
        groups = file.num_row_groups
    with ThreadPoolExecutor() as pool:
        assert sum(pool.map(group, range(groups))) == rows
    by_group = time.perf_counter() - start
    return {"batches": in_batches, "row groups": by_group, "rows": rows}


def compress(path, choosers, out):
    """Seconds and peak memory of the compression, the first of its process."""
    import resource
    import time

    from prefstrength.data.compressed import (
        compress_choices,  # as the libraries that read are loaded
    )

    start = time.perf_counter()
    chooser = "chooser" if choosers else None
    compressed = compress_choices(path, chooser=chooser, progress=False)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    folder = compressed.save(out)
    size = sum(file.stat().st_size for file in folder.iterdir())
    return {"seconds": seconds, "peak_gb": peak, "saved_mb": size / 1e6}


def posterior(folder):
    """Seconds from the saved sums to the posterior, compilation included."""
    import time

    import prefstrength as ps

    start = time.perf_counter()
    compressed = ps.load_compressed(folder)
    fit = ps.MixedLogit({"reward": ps.LogNormal()}).fit(compressed, seed=0, progress=False)
    seconds = time.perf_counter() - start
    draws = fit.posterior
    return {
        "seconds": seconds,
        "method": fit.method,
        "error_nats": fit.spec["likelihood"]["error"],
        **{
            f"{name}_{what}": float(getattr(draws[f"reward_{name}"], what)())
            for name in ("mu", "sigma")
            for what in ("mean", "std")
        },
    }


JOBS = {"read": read, "compress": compress, "posterior": posterior}


def child(job, **arguments):
    return in_child("scale", {"job": job, **arguments})


def measure(rows, choosers, folder):
    """All measurements at one size."""
    from benchmarks.make_pairs import make

    path, out = Path(folder) / f"{rows}.parquet", Path(folder) / f"{rows}"
    make(rows, path, choosers)
    arguments = {"path": str(path), "choosers": choosers}
    reads, compressions = [], []
    for _ in range(TURNS):
        reads.append(child("read", **arguments))
        compressions.append(child("compress", **arguments, out=str(out)))
    path.unlink()
    fastest = min(min(turn["batches"], turn["row groups"]) for turn in reads)
    best = min(turn["seconds"] for turn in compressions)
    found = {
        "rows": rows,
        "choosers": choosers,
        "read_seconds": fastest,
        "compress_seconds": best,
        "ratio": best / fastest,
        "peak_gb": max(turn["peak_gb"] for turn in compressions),
        "saved_mb": compressions[0]["saved_mb"],
        "posterior": child("posterior", folder=str(out)),
        "turns": {"read": reads, "compress": compressions},
    }
    fit = found["posterior"]
    print(
        f"{rows:>12,}  {fastest:>8.2f}  {best:>8.2f}  {found['ratio']:>5.2f}  "
        f"{found['peak_gb']:>6.2f}  {fit['seconds']:>9.1f}  {fit['error_nats']:>8.1g}  "
        f"{fit['sigma_mean']:.4f} ({fit['sigma_std']:.4f})",
        flush=True,
    )
    return found


def main():
    if not sys.stdin.isatty() and len(sys.argv) == 1:  # a child: one job on standard input
        job = json.load(sys.stdin)
        print(json.dumps(JOBS[job.pop("job")](**job)))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--choosers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the files go for the time being")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    options = parser.parse_args()
    before = machine()
    sizes = [size for size in (10_000, 1_000_000) if size < options.rows] + [int(options.rows)]
    print("seconds                 read  compress  ratio  peak GB  posterior  nats off  sigma (sd)")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = [measure(size, options.choosers, folder) for size in sizes]
    name = "scale-panels" if options.choosers else "scale"
    store(name, {"measured": found}, before, options.out)


if __name__ == "__main__":
    main()
