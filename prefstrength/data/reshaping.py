"""Choices in other shapes: some of the situations, pairs, a long table."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed
from prefstrength.data.columns import used_levels
from prefstrength.data.factor import Factor
from prefstrength.data.interface import ChoiceTable
from prefstrength.errors import InputError

#: Columns of a long table that no attribute or group may be called.
LONG_COLUMNS = ("situation", "alternative", "chosen", "chooser", "weight")


def subset_fields(choices: ChoiceTable, mask: Any) -> dict[str, Any]:
    """Fields of the situations where ``mask`` holds; unused choosers and levels go."""
    mask = np.asarray(mask)
    if mask.dtype != np.bool_ or mask.shape != (choices.n_situations,):
        raise InputError(
            f"A mask should be true or false for each of {choices.n_situations:,} situations; got "
            f"an array of {mask.dtype} with the shape {mask.shape}. Positions and labels are "
            "no mask. Compare something with something, as in choices.weights > 0."
        )
    if not mask.any():
        raise InputError(
            f"A subset should keep at least one situation; got none of {choices.n_situations:,}. "
            "The condition holds nowhere. Check what was compared."
        )
    changes: dict[str, Any] = {
        name: getattr(choices, name)[mask] for name in ("values", "chosen", "available", "weights")
    }
    if choices.chooser is not None:
        changes["chooser"], changes["choosers"] = used_levels(
            choices.chooser[mask], choices.choosers
        )
    if choices.situations is not None:
        changes["situations"] = [choices.situations[i] for i in np.flatnonzero(mask)]
    changes["groups"] = {
        name: Factor(name, *used_levels(factor.codes[mask], factor.levels))
        for name, factor in choices.groups.items()
    }
    return changes


def pair_fields(choices: ChoiceTable) -> dict[str, Any]:
    """Fields of the same choices as pairs, the chosen alternative first."""
    wrong = choices.available.sum(axis=1) != 2
    if wrong.any():
        raise InputError(
            "Pairs need two available alternatives in every situation; got another number in "
            f"{choices.where(wrong)}. A choice among more is no pair. "
            "Use the choices as they are, or keep a subset."
        )
    rows = np.arange(choices.n_situations)
    other = choices.available.copy()
    other[rows, choices.chosen] = False
    order = np.stack([choices.chosen, other.argmax(axis=1)], axis=1)
    return dict(
        values=np.take_along_axis(choices.values, order[:, :, None], axis=1),
        chosen=np.zeros(choices.n_situations, dtype=np.int64),
        available=np.ones((choices.n_situations, 2), dtype=bool),
        alternatives=("chosen", "rejected"),
    )


def long_table(choices: ChoiceTable) -> pd.DataFrame:
    """Table with one row for each available alternative."""
    clash = [n for n in (*choices.attributes, *choices.groups) if n in LONG_COLUMNS]
    clash += [n for n in choices.attributes if n in choices.groups]
    if clash:
        raise InputError(
            f"Attributes and groups should not be called {listed(LONG_COLUMNS)}, nor alike; "
            f"got {listed(clash)}. The long table uses these names. Rename the column."
        )
    i, j = np.nonzero(choices.available)
    labels = choices.situations or tuple(str(s) for s in range(choices.n_situations))
    table: dict[str, Any] = {
        "situation": pd.Series(labels, dtype="str").to_numpy()[i],
        "alternative": pd.Categorical.from_codes(j, categories=list(choices.alternatives)),
        "chosen": choices.chosen[i] == j,
    }
    table |= {name: choices.values[i, j, k] for k, name in enumerate(choices.attributes)}
    if choices.chooser is not None:
        table["chooser"] = pd.Categorical.from_codes(
            choices.chooser[i], categories=list(choices.choosers)
        )
    for name, factor in choices.groups.items():
        table[name] = pd.Categorical.from_codes(factor.codes[i], categories=list(factor.levels))
    table["weight"] = choices.weights[i]
    return pd.DataFrame(table)
