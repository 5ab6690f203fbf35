"""Columns by their use (chooser, groups, attributes, weights), for pairs and long tables alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, warn
from prefstrength.data.columns import categories, column, names, used_levels, weights
from prefstrength.data.factor import Dropped, Factor
from prefstrength.errors import InputError


@dataclass
class Call:
    """What the caller named: columns by their use."""

    chooser: str | None
    groups: tuple[str, ...]
    attributes: tuple[str, ...]
    weights: str | None
    chooser_weights: str | None


def read_call(
    chooser: str | None,
    groups: Any,
    attributes: Any,
    weights: str | None,
    chooser_weights: str | None,
) -> Call:
    """Check what the caller named, before anything is read."""
    groups, attributes = names(groups, "groups"), names(attributes, "attributes")
    call = Call(chooser, groups, attributes, weights, chooser_weights)
    if not call.attributes:
        raise InputError(
            "attributes should name at least one column; got none. Strength is the taste for an "
            "attribute. Leave attributes out for 'reward', or name one."
        )
    if call.chooser is not None and call.chooser in call.groups:
        raise InputError(
            f"groups should not contain the chooser's column; got {call.chooser!r} as both. Each "
            "chooser would be a group of one. Remove it from groups."
        )
    if call.chooser_weights is not None and call.chooser is None:
        raise InputError(
            f"Weights of choosers (column {call.chooser_weights!r}) should come with the chooser's "
            "column; got no chooser. They say how often a person counts. Name `chooser=...`, or "
            "pass the column as `weights=...` if it is about situations."
        )
    used_twice = [g for g in call.groups if g in call.attributes or g == call.weights]
    if used_twice:
        raise InputError(
            f"A column should have one use; got {listed(used_twice)} as a group and as attribute "
            "or weights. Remove it from one of them."
        )
    return call


def require_columns(frame: pd.DataFrame, call: Call) -> None:
    """Refuse a table that lacks a named column."""
    if call.chooser is not None:
        column(frame, call.chooser, "chooser")
    for name in call.groups:
        column(frame, name, "groups")
    if call.weights is not None:
        column(frame, call.weights, "weights")
    if call.chooser_weights is not None:
        column(frame, call.chooser_weights, "chooser_weights")


def drop(
    dropped: list[Dropped], keep: np.ndarray, mask: np.ndarray, reason: str, rows: Rows
) -> None:
    """Note the rows of a mask as dropped for a reason."""
    if mask.any():
        dropped.append(Dropped(reason, int(np.count_nonzero(mask)), rows.first(mask)))
        keep &= ~mask


def require_left(keep: np.ndarray, dropped: list[Dropped]) -> None:
    """Refuse a table of which nothing is left."""
    if not keep.any():
        what = " and ".join(f"{d.count:,} {d.reason}" for d in dropped)
        raise InputError(
            f"Something should be left after dropping; got 0 of {len(keep):,} rows after {what}. "
            "The column may mark something else. Check it, or choose another way than 'drop'."
        )


def rows_at(frame: pd.DataFrame, positions: np.ndarray) -> pd.DataFrame:
    """Rows at these positions; the table itself where these are all."""
    return frame if len(positions) == len(frame) else frame.iloc[positions]


def shared_fields(frame: pd.DataFrame, call: Call, rows: Rows) -> dict[str, Any]:
    """Chooser, groups and weights: one entry for each row of ``frame``."""
    fields: dict[str, Any] = {"weights": np.ones(len(frame))}
    if call.chooser is not None:
        fields["chooser"], fields["choosers"] = categories(
            frame[call.chooser], call.chooser, rows, "chooser"
        )
    fields["groups"] = {
        name: Factor(name, *categories(frame[name], name, rows, "group")) for name in call.groups
    }
    if call.weights is not None:
        fields["weights"] = weights(frame[call.weights], call.weights, rows)
        if "chooser" in fields and call.chooser_weights is None:
            _look_at_weights(fields["weights"], call.weights, fields["chooser"])
    if call.chooser_weights is not None:
        fields["chooser_weights"] = _weights_of_choosers(
            weights(frame[call.chooser_weights], call.chooser_weights, rows),
            call.chooser_weights,
            fields["chooser"],
            fields["choosers"],
            rows,
        )
    return fields


def _look_at_weights(each: np.ndarray, name: str, chooser: np.ndarray) -> None:
    """Say where weights of situations look like those of persons, which count otherwise."""
    _, first, times = np.unique(chooser, return_index=True, return_counts=True)
    own = each[first]
    alike = (each == own[chooser]).all() and times.max() > 1
    if alike and np.ptp(own) > 0 and (own != np.round(own)).any():
        warn(
            f"Weights of choices (column {name!r}) say how many choices a row stands for; got one "
            "number for each chooser, not whole, as weights of persons in a survey are. Taken for "
            "repeated choices these make alike people look different. Pass "
            f"`chooser_weights={name!r}` instead, unless this is meant."
        )


def _weights_of_choosers(
    each: np.ndarray, name: str, chooser: np.ndarray, labels: tuple[str, ...], rows: Rows
) -> np.ndarray:
    """One weight for each chooser, who has the same in all rows."""
    _, first = np.unique(chooser, return_index=True)
    varies = each != each[first][chooser]
    if varies.any():
        who = [labels[code] for code in np.unique(chooser[varies])]
        raise InputError(
            f"A chooser should have one weight (column {name!r}); got several for "
            f"{listed(who, most=3)} in {rows.where(varies)}. Weights of single "
            "choices are `weights=...`. Pass the column there, or correct it."
        )
    return each[first]


def select(shared: dict[str, Any], positions: np.ndarray) -> dict[str, Any]:
    """Take some entries of what :func:`shared_fields` made; unused labels go."""
    fields = {"weights": shared["weights"][positions]}
    if "chooser" in shared:
        own = shared["chooser"][positions]
        fields["chooser"], fields["choosers"] = used_levels(own, shared["choosers"])
        if "chooser_weights" in shared:
            fields["chooser_weights"] = shared["chooser_weights"][np.unique(own)]
    fields["groups"] = {
        name: Factor(name, *used_levels(factor.codes[positions], factor.levels))
        for name, factor in shared["groups"].items()
    }
    return fields


def expand(fields: dict[str, Any], repeats: np.ndarray) -> np.ndarray:
    """Repeat situations in place, their weight shared out; return the number of each copy."""
    which = np.repeat(np.arange(len(repeats)), repeats)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    for name in ("values", "chosen", "available", "chooser", "shown_first", "pair"):
        if fields.get(name) is not None:
            fields[name] = fields[name][which]
    fields["weights"] = (fields["weights"] / repeats)[which]
    fields["groups"] = {
        name: Factor(name, factor.codes[which], factor.levels)
        for name, factor in fields["groups"].items()
    }
    fields["situations"] = [
        f"{fields['situations'][i]} (tie {k + 1} of {repeats[i]})"
        if repeats[i] > 1
        else fields["situations"][i]
        for i, k in zip(which.tolist(), nth.tolist(), strict=True)
    ]
    tied = int(np.count_nonzero(repeats > 1))
    parts = int(repeats[repeats > 1].sum())
    fields["notes"] = (f"{tied:,} ties split into {parts:,} situations that share their weight",)
    return nth
