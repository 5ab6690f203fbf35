"""Checks of identifiability: constant, separated and proportional attributes, groups of one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed, shown, warn
from prefstrength.data.anomalies import look_at_combinations, look_at_outlying
from prefstrength.data.answers import undecided
from prefstrength.data.factor import Factor
from prefstrength.errors import InputError

#: A group level with fewer situations than this gets a warning.
THIN_LEVEL = 10
#: From this many situations on, rewards that always agree with the choice get a warning.
SEPARATION_FROM = 20
#: Standard errors below one half from which an attribute is said to go against the choices.
AGAINST_FROM = 3.0
#: Labels of the alternatives of a pair, the chosen one first.
PAIR = ("chosen", "rejected")


@dataclass(frozen=True)
class Direction:
    """How often the alternative with the higher attribute is the chosen one.

    Parameters
    ----------
    higher, lower : float
        Weighted shares of the situations in which the chosen alternative lies above, or below,
        the mean of the others.
    situations : int
        That the shares are of: those with a weight and a difference.
    least : float
        Share of ``higher`` that chance may leave of one half; 0 of a few situations.
    """

    higher: float
    lower: float
    situations: int
    least: float

    @classmethod
    def of(cls, gap: np.ndarray, weights: np.ndarray) -> "Direction | None":
        """Of the chosen minus the mean of the others, shape (situation,); None of no difference."""
        decided = (gap != 0) & (weights > 0)
        if not decided.any():
            return None
        w = weights[decided]
        higher = float(w[gap[decided] > 0].sum() / w.sum())
        effective = w.sum() ** 2 / (w**2).sum()
        error = 0.5 / np.sqrt(effective)
        enough = effective >= SEPARATION_FROM
        least = float(max(0.5 - AGAINST_FROM * error, 0.0)) if enough else 0.0
        return cls(higher, 1.0 - higher, int(decided.sum()), least)

    @property
    def against(self) -> bool:
        """Whether the higher one is rejected more often than chance explains."""
        return self.higher < self.least


def direction(choices: Any, name: str) -> Direction | None:
    """Direction of an attribute of ``Choices``; None where all alternatives are equal in it."""
    values = choices.values[:, :, choices.attributes.index(name)]
    none = undecided(choices.response, choices.answer, choices.ranks)
    weights = np.where(none, 0.0, choices.weights)
    return Direction.of(gap_to_others(values, choices.chosen, choices.available), weights)


def gap_to_others(values: np.ndarray, chosen: np.ndarray, available: np.ndarray) -> np.ndarray:
    """Chosen alternative's value minus the mean of the others', shape (situation,)."""
    own = values[np.arange(len(chosen)), chosen]
    others = np.maximum(available.sum(axis=1) - 1, 1)
    return own - (np.where(available, values, 0.0).sum(axis=1) - own) / others


def look_at_groups(groups: dict[str, Factor], chooser: np.ndarray | None) -> None:
    """Warn of groups with one level, and of levels with hardly any data."""
    for name, factor in groups.items():
        if len(factor.levels) == 1:
            warn(
                f"Group {name!r} has one level, {shown(factor.levels[0])}, in all "
                f"{len(factor.codes):,} situations; there is nothing to compare. "
                f"Leave {name!r} out of groups."
            )
            continue
        counts = factor.counts()
        thin = {level: c for level, c in counts.items() if c < THIN_LEVEL}
        if thin:
            first = ", ".join(f"{shown(level)} has {c}" for level, c in list(thin.items())[:3])
            warn(
                f"Group {name!r} has hardly any data in {len(thin):,} of {len(counts):,} levels: "
                f"{first} situations (fewer than {THIN_LEVEL}). Their strength will come from the "
                "other levels. Merge small levels, or read their intervals with care."
            )
        if chooser is not None and len(factor.codes):
            pairs = pd.DataFrame({"level": factor.codes, "chooser": chooser}).drop_duplicates()
            alone = np.bincount(pairs["level"], minlength=len(factor.levels)) == 1
            lonely = [level for level, a in zip(factor.levels, alone, strict=True) if a]
            lonely = [level for level in lonely if level not in thin]
            if lonely:
                warn(
                    f"Group {name!r} has a single chooser in {len(lonely):,} of {len(counts):,} "
                    f"levels (first: {listed(lonely, most=3)}); how much choosers differ there "
                    "cannot be seen. Merge these levels with others."
                )
    seen: dict[bytes, str] = {}
    for name, factor in groups.items():
        key = pd.factorize(factor.codes)[0].tobytes()
        if key in seen and len(factor.levels) > 1:
            warn(
                f"Groups {seen[key]!r} and {name!r} split the situations in the same way; their "
                "effects cannot be told apart. Leave one of them out."
            )
        seen.setdefault(key, name)


def look_at_numbers(fields: dict[str, Any], columns: list[str]) -> None:
    """Refuse attributes that say nothing; warn of those that say everything."""
    values, chosen, available = fields["values"], fields["chosen"], fields["available"]
    rows = np.arange(len(chosen))
    other = available.copy()
    other[rows, chosen] = False
    matters = other & (fields["weights"] > 0)[:, None]
    noun = "pairs" if fields["alternatives"] == PAIR else "situations"
    spread = []
    for k, name in enumerate(fields["attributes"]):
        x = values[:, :, k]
        if np.abs(x).max() > 1e100:
            huge = (np.abs(x) > 1e100).any(axis=1)
            labels = [fields["situations"][i] for i in np.flatnonzero(huge)[:3]]
            raise InputError(
                f"Attribute {name!r} should have ordinary numbers; got {np.abs(x).max():.3g} in "
                f"size in {np.count_nonzero(huge):,} of {len(rows):,} {noun} (first: "
                f"{', '.join(labels)}). A placeholder may stand for a missing score. "
                "Score these rows again or drop them."
            )
        difference = x[rows, chosen][:, None] - x
        if not difference[matters].any():
            shared = x[available]
            if (shared == shared[0]).all():
                raise InputError(
                    f"Attribute {name!r} should vary; got {shared[0]:g} in every row of "
                    f"'{columns[k]}' ({len(rows):,} {noun}). The scoring may have returned a "
                    "default. Score again, or name another attribute."
                )
            raise InputError(
                f"Attribute {name!r} should differ between the alternatives of at least one "
                f"situation; got equal values of '{columns[k]}' in all {len(rows):,} {noun}. One "
                "column may be a copy of the other. Check where the scores come from."
            )
        if np.abs(difference[matters]).max() < 1e-100:
            raise InputError(
                f"Attribute {name!r} should have ordinary numbers; got differences of at most "
                f"{np.abs(difference[matters]).max():.3g} in all {len(rows):,} {noun}. They may be "
                "probabilities of whole texts. Take their logarithms, or multiply them."
            )
        spread.append(np.where(matters, difference, 0.0))
        weight = fields["weights"][:, None] * other
        look_at_outlying(name, difference * other, weight, fields["situations"], noun)
        if fields.get("ranks") is not None:
            least, most = _extremes_of_rankings(x, fields["ranks"], available)
        else:
            least, most = difference[other].min(), difference[other].max()
        # How much better one is bounds strength, and so does a tie.
        plain = fields.get("answer") is None
        if plain and len(rows) >= SEPARATION_FROM and (least > 0 or most < 0):
            side, advice = (
                ("higher", "It may be made from these very choices: use rewards that are not.")
                if least > 0
                else ("lower", "Lower may mean better here: change the sign if so.")
            )
            which = "chosen" if fields.get("ranks") is None else "higher ranked"
            warn(
                f"Attribute {name!r} is {side} for the {which} alternative in all {len(rows):,} "
                f"{noun}; strength then has no upper bound. {advice}"
            )
            continue
        none = undecided(*(fields.get(each) for each in ("response", "answer", "ranks")))
        weights = np.where(none, 0.0, fields["weights"])
        found = Direction.of(gap_to_others(x, chosen, available), weights)
        # Only of a reward it is known beforehand that more should be better.
        if found is not None and found.against and "reward" in name.casefold():
            warn(goes_against(name, found, noun))
    if len(spread) > 1:
        table = np.stack([s[matters] for s in spread], axis=1)
        table = table / np.sqrt((table**2).mean(axis=0))
        proportional = False
        for i in range(len(spread)):
            for j in range(i):
                if 1 - abs(np.mean(table[:, i] * table[:, j])) < 1e-9:
                    proportional = True
                    a, b = fields["attributes"][j], fields["attributes"][i]
                    warn(
                        f"Attributes {a!r} and {b!r} have proportional differences in all "
                        f"{len(rows):,} {noun}; their tastes cannot be told apart. "
                        "Leave one of them out."
                    )
        if len(spread) > 2 and not proportional:
            look_at_combinations(fields["attributes"], table, f"{len(rows):,} {noun}")


def _extremes_of_rankings(
    x: np.ndarray, ranks: np.ndarray, available: np.ndarray
) -> tuple[float, float]:
    """Smallest and largest difference of an attribute between what ranks higher and lower."""
    least, most = np.inf, -np.inf
    place = np.where(ranks > 0, ranks, ranks.max() + 1)
    for rank in range(1, int(ranks.max()) + 1):
        here, below = (place == rank) & available, (place > rank) & available
        both = here.any(axis=1) & below.any(axis=1)
        high, low = np.where(here, x, np.nan)[both], np.where(below, x, np.nan)[both]
        if both.any():
            least = min(least, (np.nanmin(high, axis=1) - np.nanmax(low, axis=1)).min())
            most = max(most, (np.nanmax(high, axis=1) - np.nanmin(low, axis=1)).max())
    return (float(least), float(most)) if most > -np.inf else (0.0, 0.0)


def goes_against(name: str, found: Direction, noun: str = "situations") -> str:
    """Sentence on an attribute of which the higher value is rejected more often."""
    return (
        f"Alternatives with the higher {name} are rejected more often: in {found.lower:.1%} of "
        f"{found.situations:,} {noun} the chosen one is the lower. Its sign may be reversed, the "
        "two columns exchanged, or less of it is better, as of a price. Check it; where less is "
        "better, give it with the other sign."
    )
