"""What else could have made these choices: the verdict of ``rivals`` where the model is wrong.

``python -m benchmarks.misspecified [--quick] [--out FOLDER] [--sets N] [--only TEXT ...]``

Every cell plants one fault in simulated choices, once where all choosers have the same strength and
once where strengths are spread, in panels and in single pairs. Counted is how often choosers are
said to differ who do not, and to be the same who are not, beside the verdict of a LogNormal fitted
alone. Each data set adds a row to ``misspecified.csv``; a run that was stopped goes on from there,
and has about as many sets in every cell, since seeds change more slowly than cells.
"""

import argparse
import csv
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special
from threadpoolctl import threadpool_limits

from benchmarks.common import RESULTS, machine, store, table

SPREAD, SETS = 0.7, 100
SIZES = {"panel": (200, 20), "pairs": (3000, 1)}
QUICK = {"panel": (60, 10), "pairs": (500, 1)}
SD = 1.5  # of a true difference
SURE = 0.95
# Parts of the model, and which of the verdicts say that choosers differ.
PARTS = ("spread", "bend", "power", "capped", "lapse", "zero", "reversed")
DIFFER = ("heterogeneous", "differ in kind", "differ")


@dataclass
class Draws:
    """What the choices of one data set are made of.

    Parameters
    ----------
    rng : numpy.random.Generator
    strength : numpy.ndarray, shape (chooser, 1)
    difference : numpy.ndarray, shape (chooser, situation)
        Of the rewards that choosers see.
    """

    rng: np.random.Generator
    strength: np.ndarray
    difference: np.ndarray

    def __post_init__(self):
        self.utility = self.difference
        self.observed = self.difference
        self.extra = np.zeros_like(self.difference)
        self.lapse = np.zeros_like(self.strength)
        self.noise = self.rng.logistic(size=self.difference.shape)

    def bend(self, function):
        """A utility that is no line."""
        self.utility = np.sign(self.difference) * function(np.abs(self.difference))

    def kinds(self, **shares):
        """Some choosers with another strength: careless, indifferent, reversed, weak."""
        place, start = self.rng.random(self.strength.shape), 0.0
        for kind, share in shares.items():
            hit = (start <= place) & (place < start + share)
            factor = {"careless": 0.0, "indifferent": 0.0, "reversed": -1.0, "weak": 0.2}[kind]
            self.strength = np.where(hit, factor * self.strength, self.strength)
            start += share

    def signed(self):
        """Observed difference, chosen minus rejected."""
        higher = self.strength * self.utility + self.extra + self.noise > 0
        random = self.rng.random(higher.shape)
        higher = np.where(random < self.lapse, random < self.lapse / 2, higher)
        return np.where(higher, self.observed, -self.observed)


def _lapses(share):
    def plant(draws):
        draws.lapse = np.full_like(draws.strength, share)

    return plant


def _bent(function):
    return lambda draws: draws.bend(function)


def _kinds(function=None, **shares):
    def plant(draws):
        draws.kinds(**shares)
        if function is not None:
            draws.bend(function)

    return plant


def _capped(size):
    return np.minimum(size, 1.0)


def _reward_error(draws):
    """The reward is wrong by as much as it varies."""
    draws.observed = draws.difference + draws.rng.normal(0.0, SD, draws.difference.shape)


def _left_out(draws):
    """Another attribute as strong, with each chooser's own weight of the same law."""
    weight = draws.rng.permutation(draws.strength)
    draws.extra = weight * draws.rng.normal(0.0, SD, draws.difference.shape)


def _position(draws):
    """Who stands first has an advantage of its own for every chooser."""
    first = draws.rng.choice([-1.0, 1.0], draws.difference.shape)
    draws.extra = draws.rng.normal(0.0, 1.0, draws.strength.shape) * first


def _pair_effects(draws):
    """Pairs are shared, ten answers each, and have something that all see but the reward."""
    count = draws.difference.size // 10
    pair = draws.rng.permutation(np.arange(draws.difference.size) % count)
    pair = pair.reshape(draws.difference.shape)
    draws.difference = draws.utility = draws.observed = draws.rng.normal(0.0, SD, count)[pair]
    draws.extra = draws.rng.normal(0.0, 1.0, count)[pair]


def _heavy_tails(draws):
    draws.difference = draws.rng.standard_t(2, draws.difference.shape)
    draws.utility = draws.observed = draws.difference


def _overfitted(draws):
    """The reward was trained on these very answers, and has learned some of their noise."""
    draws.observed = draws.difference + 0.3 * draws.noise


def _own_bends(draws):
    power = np.exp(0.3 * draws.rng.standard_normal(draws.strength.shape))
    draws.bend(lambda size: size**power)


def _own_lapses(draws):
    draws.lapse = draws.rng.beta(1.0, 9.0, draws.strength.shape)


def _probit(draws):
    draws.noise = draws.rng.normal(0.0, np.pi / np.sqrt(3), draws.difference.shape)


#: Fault -> how it is planted, and whether it is one of single pairs too.
FAULTS: dict[str, tuple[Callable, bool]] = {
    "nothing": (lambda draws: None, True),
    "5 % random answers": (_lapses(0.05), False),
    "10 % random answers": (_lapses(0.1), True),
    "20 % random answers": (_lapses(0.2), True),
    "square root": (_bent(np.sqrt), True),
    "capped": (_bent(_capped), True),
    "convex": (_bent(lambda size: size**1.5), True),
    "62 % at any distance": (_bent(lambda size: special.logit(0.62) + 0 * size), True),
    "10 % careless": (_kinds(careless=0.1), False),
    "40 % indifferent": (_kinds(indifferent=0.4), True),
    "15 % reversed": (_kinds(reversed=0.15), True),
    "square root, 10 % careless": (_kinds(np.sqrt, careless=0.1), False),
    "capped, 10 % careless, 5 % reversed": (_kinds(_capped, careless=0.1, reversed=0.05), False),
    "30 % weak": (_kinds(weak=0.3), False),
    "reward error": (_reward_error, True),
    "left-out attribute": (_left_out, True),
    "position by chooser": (_position, False),
    "pair effects": (_pair_effects, True),
    "heavy tails": (_heavy_tails, True),
    "overfitted reward": (_overfitted, True),
    "bend by chooser": (_own_bends, False),
    "random answers by chooser": (_own_lapses, False),
    "probit": (_probit, False),
}
#: Faults beside which less spread is planted too.
SOME = ("nothing", "10 % random answers", "capped", "convex")
#: Faults that are a difference in kind: the classes that are to be named.
CLASSES = {
    "10 % careless": ("zero",),
    "40 % indifferent": ("zero",),
    "15 % reversed": ("reversed",),
    "square root, 10 % careless": ("zero",),
    "capped, 10 % careless, 5 % reversed": ("reversed",),
}


def cells():
    """Design, fault and spread of every cell."""
    out = []
    for design in SIZES:
        for fault, (_, single) in FAULTS.items():
            if design == "panel" or single:
                some = (0.4,) if design == "panel" and fault in SOME else ()
                out += [(design, fault, sigma) for sigma in (0.0, *some, SPREAD)]
    return out


def truth(fault, sigma):
    """What is to be found: one strength, differences in kind, or spread."""
    if sigma or fault == "30 % weak":
        return "spread"
    return "in kind" if fault in CLASSES else "one strength"


def simulated(design, fault, sigma, seed, sizes):
    """Choices of one data set."""
    import prefstrength as ps

    rng = np.random.default_rng([seed, zlib.crc32(f"{design}/{fault}/{sigma}".encode())])
    shape = sizes[design]
    strength = np.exp(sigma * rng.standard_normal((shape[0], 1)))
    draws = Draws(rng, strength, rng.normal(0.0, SD, shape))
    FAULTS[fault][0](draws)
    x = draws.signed().ravel()
    frame = pd.DataFrame({"reward_chosen": x, "reward_rejected": 0.0})
    frame["annotator"] = np.repeat([f"c{a}" for a in range(shape[0])], shape[1])
    chooser = "annotator" if design == "panel" else None
    with warnings.catch_warnings():
        # Far differences and equal rows are what heavy tails and shared pairs are made of.
        warnings.simplefilter("ignore", ps.DataWarning)
        return ps.Choices.from_pairs(frame, chooser=chooser, duplicates="keep")


def of_set(design, fault, sigma, seed, sizes):
    """One row: what is said of one data set."""
    from prefstrength.validation.rival_weighing import weigh
    from prefstrength.validation.verdict import label

    choices = simulated(design, fault, sigma, seed, sizes)
    start = time.process_time()
    weighed = weigh(choices, "reward", choices.scale("reward"), 0.0, 0.9)
    beliefs = weighed.beliefs
    seconds = time.process_time() - start
    # A LogNormal with everything else off is a slice of the same grid.
    (alone,) = (each for each in weighed.explanations.all if each.on == {"spread"})
    s, _, _, weight = weighed.explanations.classes
    other = weighed.under_other_priors.set_index("prior_spread")["verdict"]
    row = {
        "design": design,
        "fault": fault,
        "sigma": sigma,
        "seed": seed,
        "label": label(beliefs),
        "label_at_.2": other[0.2],
        "label_at_.8": other[0.8],
        "differ": beliefs.differ,
        "same": beliefs.same,
        "spread": beliefs.spread,
        "straight": beliefs.straight,
        "largest": beliefs.largest[0][0],
        **{f"on_{part}": beliefs.on[part] for part in PARTS},
        **{f"share_{part}": beliefs.values.get(part, (np.nan,))[0] for part in PARTS[4:]},
        **_sigma("", s, weight),
        "alone_spread": alone.claims[2],
        **_sigma("alone_", alone.classes[0], alone.classes[3]),
        "seconds": seconds,
    }
    return {k: round(v, 5) if isinstance(v, float | np.floating) else v for k, v in row.items()}


def _sigma(name, value, weight):
    """Mean and 90 % interval of the sd of log strength."""
    order = np.argsort(value)
    at = np.searchsorted(np.cumsum(weight[order]), [0.05, 0.95])
    low, high = value[order][np.minimum(at, len(order) - 1)]
    mean = float(weight @ value)
    return {f"{name}mean_sigma": mean, f"{name}sigma_low": low, f"{name}sigma_high": high}


def run(path, sets, sizes, only=()):
    """Add the rows that are not there yet."""
    done = set()
    if path.is_file():
        kept = pd.read_csv(path)
        done = set(zip(kept["design"], kept["fault"], kept["sigma"], kept["seed"], strict=True))
    wanted = [c for c in cells() if not only or any(text in f"{c[0]}: {c[1]}" for text in only)]
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = None
        for seed in range(sets):
            for cell in wanted:
                if (*cell, seed) in done:
                    continue
                row = of_set(*cell, seed, sizes)
                if writer is None:
                    writer = csv.DictWriter(file, list(row))
                    if file.tell() == 0:
                        writer.writeheader()
                writer.writerow(row)
                file.flush()
            print(f"{seed + 1} of {sets} sets of {len(wanted)} cells", flush=True)


def summary(rows):
    """For each cell: how often what was said, beside a LogNormal alone."""
    out = []
    for (design, fault, sigma), some in rows.groupby(["design", "fault", "sigma"], sort=False):
        told, kind = some["label"], truth(fault, sigma)
        alone = some["alone_spread"]
        named = [some[f"on_{each}"] >= SURE for each in CLASSES.get(fault, ())]
        out.append(
            {
                "design": design,
                "fault": fault,
                "sigma": sigma,
                "truth": kind,
                "sets": len(some),
                "alone: heterogeneous": float((alone >= SURE).mean()),
                "alone: homogeneous": float((alone <= 1 - SURE).mean()),
                "heterogeneous": float((told == "heterogeneous").mean()),
                "differ": float(told.isin(DIFFER).mean()),
                "homogeneous": float((told == "homogeneous").mean()),
                "class named": float(np.mean(named)) if named else None,
                "bend named": float((some["on_bend"] >= SURE).mean()),
                "bent": float((some["straight"] < 1 - SURE).mean()),
                "estimate": float(some["mean_sigma"].mean()),
                "covered": float(_covered(some, "")),
                # Zero is in no interval of a continuous law.
                "alone: covered": float(_covered(some, "alone_")) if sigma else None,
                "seconds": float(some["seconds"].median()),
                "met": _met(design, fault, sigma, told),
            }
        )
    return out


def _covered(some, name):
    true = some["sigma"]
    low, high = some[f"{name}sigma_low"], some[f"{name}sigma_high"]
    return ((low <= true) & (true <= high)).mean()


def _met(design, fault, sigma, told):
    """Whether a cell keeps what is asked of it."""
    kind = truth(fault, sigma)
    if kind == "one strength":
        return bool(told.isin(DIFFER).mean() <= 0.02)
    right = (told == "homogeneous").mean() <= 0.05
    if kind == "in kind":
        right &= (told == "heterogeneous").mean() <= 0.02
    if (design, fault, sigma) == ("panel", "nothing", SPREAD):
        right &= (told == "heterogeneous").mean() >= 0.95
    return bool(right)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small settings, to try the code")
    parser.add_argument("--sets", type=int, default=None, help="number of data sets in each cell")
    parser.add_argument("--only", nargs="+", default=(), help="cells whose name has one of these")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    sets = args.sets or (1 if args.quick else SETS)
    sizes = QUICK if args.quick else SIZES
    started = machine()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "misspecified.csv"
    with threadpool_limits(1):  # seconds are those of one processor
        run(path, sets, sizes, args.only)
    found = summary(pd.read_csv(path))
    print(table(found))
    panels = {f"{design} shape": list(shape) for design, shape in sizes.items()}
    settings = {**panels, "sets": sets, "difference sd": SD, "spread": SPREAD}
    kept = [row["met"] for row in found]
    results = {
        "settings": settings,
        "rows": found,
        "summary": [
            {
                "quantity": "cells in which the verdict withstands what was planted",
                "ours": sum(kept),
                "target": f"{len(kept)}",
                "met": all(kept),
            }
        ],
    }
    store("misspecified", results, started, args.out)


if __name__ == "__main__":
    main()
