"""Checks of a fit: which defects they see, and how often they cry where there is none.

    python -m benchmarks.checks [--quick] [--out FOLDER]

Every data set has one defect planted and is fitted with a model that knows nothing of it, LogNormal
alone. Each is kept as soon as it is done in FOLDER/checks_sets.csv, and an interrupted run goes on
from there. Writes FOLDER/checks.csv (a row for each defect: how many of its data sets fail each
check), FOLDER/checks.json, and the table of docs/checks.md. No times: it may run beside other work.
"""

import argparse
import csv
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import RESULTS, ROOT, machine, store

PAGE = ROOT / "docs" / "checks.md"
BEGIN, END = "<!-- table: benchmarks/checks.py -->", "<!-- end of table -->"
#: Checks across the top, in the words of the page.
CHECKS = {
    "weak_choosers": "weak choosers",
    "agreement_by_difference": "agreement by difference",
    "position": "position",
    "position_by_chooser": "position by chooser",
    "predicted_agreement": "predicted agreement",
    "prior_conflict": "prior conflict",
    "prior_weight": "prior weight",
    "pareto_k": "Pareto k",
    "separation": "separation",
    "higher_chosen": "higher chosen",
}
CLEAN = ("nothing, one strength", "nothing, σ = 0.7")
_CHOOSERS, _ANSWERS, _SPREAD = 200, 20, 1.5
_SETS, _SETS_CLEAN = 25, 100

Answers = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]


def _logit(rng: np.random.Generator, v: np.ndarray) -> np.ndarray:
    return rng.random(v.shape) < 1 / (1 + np.exp(-v))


def _by(utility: Callable[..., np.ndarray]) -> Answers:
    return lambda rng, d, first: _logit(rng, utility(rng, d, first))


def _some(share: float, answers: Answers) -> Answers:
    """A share of the choosers answers otherwise."""

    def both(rng: np.random.Generator, d: np.ndarray, first: np.ndarray) -> np.ndarray:
        some = np.arange(len(d))[:, None] < share * len(d)
        return np.where(some, answers(rng, d, first), _logit(rng, d))

    return both


def _lapses(rng: np.random.Generator, d: np.ndarray, first: np.ndarray) -> np.ndarray:
    at_random = rng.random(d.shape) < 0.2
    return np.where(at_random, rng.random(d.shape) < 0.5, _logit(rng, d))


_ONE = _by(lambda rng, d, first: d)
_CAPPED = _by(lambda rng, d, first: np.clip(d, -1, 1))
_COIN = _by(lambda rng, d, first: 0 * d)

#: Defect -> answers (whether the alternative with the difference d wins), and what differs in the
#: design: choosers, answers of each, model options.
DEFECTS: dict[str, tuple[Answers, dict[str, Any]]] = {
    CLEAN[0]: (_ONE, {}),
    CLEAN[1]: (_by(lambda rng, d, first: d * np.exp(0.7 * rng.normal(size=(len(d), 1)))), {}),
    "utility capped at 1": (_CAPPED, {}),
    "√ utility": (_by(lambda rng, d, first: np.sign(d) * np.abs(d) ** 0.5), {}),
    "convex utility, power 1.5": (_by(lambda rng, d, first: np.sign(d) * np.abs(d) ** 1.5), {}),
    "62 % at any difference": (_by(lambda rng, d, first: 0.49 * np.sign(d)), {}),
    "15 % prefer less": (_some(0.15, _by(lambda rng, d, first: -d)), {}),
    "10 % always take the first": (_some(0.1, lambda rng, d, first: first > 0), {}),
    "first counts 0.4": (_by(lambda rng, d, first: d + 0.4 * first), {}),
    "first counts N(0, 1) by chooser": (
        _by(lambda rng, d, first: d + first * rng.normal(size=(len(d), 1))),
        {},
    ),
    "reward reversed": (_by(lambda rng, d, first: -0.5 * d), {}),
    "reward made from the choices": (lambda rng, d, first: d > 0, {}),
    "a prior that rules out the truth": (_ONE, {"prior": -4.0}),
    "few answers": (_ONE, {"choosers": 4, "answers": 4}),
    "three kinds where there is one": (_ONE, {"kinds": 3}),
    "40 % indifferent": (_some(0.4, _COIN), {}),
    "10 % careless": (_some(0.1, _COIN), {}),
    "20 % of answers at random": (_lapses, {}),
    "utility capped, single pairs": (_CAPPED, {"choosers": 3000, "answers": 1}),
}


def failing(defect: str, seed: int) -> list[str]:
    """Checks that one data set fails."""
    import numpyro.distributions as dist

    import prefstrength as ps

    answers, design = DEFECTS[defect]
    rng = np.random.default_rng([seed, list(DEFECTS).index(defect)])
    size = (design.get("choosers", _CHOOSERS), design.get("answers", _ANSWERS))
    d = rng.normal(0.0, _SPREAD, size)
    first = np.where(rng.random(size) < 0.5, 1, -1)
    won = answers(rng, d, first)
    frame = pd.DataFrame(
        {
            "reward_chosen": np.where(won, d, -d).ravel(),
            "reward_rejected": 0.0,
            "who": np.repeat(np.arange(len(d)), d.shape[1]).astype(str),
            "shown": np.where((first > 0) == won, "chosen", "rejected").ravel(),
        }
    )
    known = {"chooser": "who"} if d.shape[1] > 1 else {}
    law: Any = ps.LogNormal()
    if kinds := design.get("kinds"):
        law = ps.FiniteMixture([ps.PointMass()] * kinds)
    priors = {}
    if "prior" in design:
        priors = {"reward_location": dist.Normal(design["prior"], 1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is planted is warned of, too
        choices = ps.Choices.from_pairs(frame, first="shown", **known)
        model = ps.MixedLogit({"reward": law}, priors=priors or None)
        method = "importance" if kinds else "auto"
        table = model.fit(choices, method, seed, progress=False).check().table
    return table.loc[~table["passed"].astype(bool), "check"].tolist()


def run(out: Path, sets: int, clean: int) -> pd.DataFrame:
    """Every data set that is missing, the seeds outermost; returns all."""
    path = out / "checks_sets.csv"
    columns = ["defect", "seed", "failed"]
    if not path.is_file():
        path.write_text(",".join(columns) + "\n", encoding="utf-8")
    done = pd.read_csv(path, keep_default_na=False)
    there = set(zip(done["defect"], done["seed"], strict=True))
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for seed in range(max(sets, clean)):
            for defect in DEFECTS:
                many = clean if defect in CLEAN else sets
                if seed < many and (defect, seed) not in there:
                    writer.writerow([defect, seed, " ".join(failing(defect, seed))])
                    file.flush()
    found = pd.read_csv(path, keep_default_na=False)
    return found[found["defect"].isin(DEFECTS)]


def counted(found: pd.DataFrame) -> pd.DataFrame:
    """Data sets of each defect, and how many of them fail each check, any of them, or another."""
    rows = []
    for defect in DEFECTS:
        own = [set(each.split()) for each in found.loc[found["defect"] == defect, "failed"]]
        row = {"defect": defect, "sets": len(own)}
        row |= {check: sum(check in each for each in own) for check in CHECKS}
        row["another"] = sum(bool(each - set(CHECKS)) for each in own)
        row["any"] = sum(bool(each) for each in own)
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """The table of the page: shares that failed, nothing where none did."""
    header = ["", "sets", *CHECKS.values(), "any"]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row in table.to_dict("records"):
        many = max(row["sets"], 1)
        cells = [f"{row[name] / many:.0%}" if row[name] else "" for name in [*CHECKS, "any"]]
        lines.append(f"| {row['defect']} | {row['sets']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    before = machine()
    table = counted(run(options.out, *((2, 2) if options.quick else (_SETS, _SETS_CLEAN))))
    table.to_csv(options.out / "checks.csv", index=False)
    clean = table[table["defect"].isin(CLEAN)]
    alarms = int(clean["any"].sum()) / int(clean["sets"].sum())
    store("checks", {"false_alarms": alarms, "defects": table.to_dict("records")}, before,
          options.out)  # fmt: skip
    text = markdown(table)
    print(f"{text}\n\nFalse alarms, any check: {alarms:.1%}")
    if not options.quick:
        start, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        page = f"{start}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}"
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
