"""Make data/demo_pairs.parquet and data/demo_truth.json: what `prefstrength demo` simulates.

Run from anywhere: `python data/make_demo.py`. The same seed gives the same rows.
"""

import argparse
from pathlib import Path

from prefstrength.pipeline.demo import write_demo_data
from prefstrength.pipeline.demo_data import make_demo_data

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    parser.add_argument("--choosers", type=int, default=240)
    parser.add_argument("--situations", type=int, default=24, help="choices of each chooser")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data = make_demo_data(arguments.choosers, arguments.situations, arguments.seed)
    write_demo_data(data, arguments.out / "demo_pairs.parquet", arguments.out / "demo_truth.json")
    print(f"{len(data.pairs):,} choices of {arguments.choosers} choosers in {arguments.out}")


if __name__ == "__main__":
    main()
