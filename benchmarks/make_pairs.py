"""Preference pairs of any number in one Parquet file: the data of benchmarks/scale.py.

    python benchmarks/make_pairs.py --rows 100000000 --out /tmp/pairs.parquet

Reward differences Normal(0, 1.5^2), LogNormal(0, 0.7) strengths, one for each pair or, with
--choosers, one for each chooser.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SPREAD, MU, SIGMA = 1.5, 0.0, 0.7
GROUP = 1_000_000


def make(rows, out, choosers=0, seed=0):
    """Write the file in row groups of a million, in bounded memory."""
    rng = np.random.default_rng(seed)
    strengths = np.exp(MU + SIGMA * rng.standard_normal(choosers)) if choosers else None
    writer = None
    try:
        for start in range(0, rows, GROUP):
            size = min(GROUP, rows - start)
            a, b = rng.standard_normal((2, size)) * (SPREAD / np.sqrt(2))
            columns = {}
            if strengths is None:
                strength = np.exp(MU + SIGMA * rng.standard_normal(size))
            else:
                chooser = rng.integers(0, choosers, size, dtype=np.int32)
                strength, columns["chooser"] = strengths[chooser], chooser
            first = rng.random(size) < 1 / (1 + np.exp(-strength * (a - b)))
            columns["reward_chosen"] = np.where(first, a, b)
            columns["reward_rejected"] = np.where(first, b, a)
            table = pa.table(columns)
            writer = writer or pq.ParquetWriter(out, table.schema)
            writer.write_table(table, row_group_size=GROUP)
    finally:
        if writer is not None:
            writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e7)
    parser.add_argument("--choosers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    make(int(options.rows), options.out, options.choosers, options.seed)


if __name__ == "__main__":
    main()
