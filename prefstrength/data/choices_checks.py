"""Checks of the arrays that make Choices."""

from collections import Counter

import numpy as np

from prefstrength._shared.words import shown
from prefstrength.data.factor import Factor, check_codes
from prefstrength.data.interface import ChoiceTable
from prefstrength.errors import InputError


def check(choices: ChoiceTable) -> None:
    """Refuse arrays that disagree or hold what cannot be; names the first situations."""
    n, m, k = choices.values.shape
    if n == 0 or m < 2 or k == 0:
        raise InputError(
            "Choices need at least one situation, two alternatives and one attribute; got "
            f"{n} situations, {m} alternatives and {k} attributes. Check the shape of values."
        )
    sizes = {
        "chosen": (choices.chosen.shape, (n,)),
        "available": (choices.available.shape, (n, m)),
        "weights": (choices.weights.shape, (n,)),
        "attributes": ((len(choices.attributes),), (k,)),
        "alternatives": ((len(choices.alternatives),), (m,)),
    }
    if choices.chooser is not None:
        sizes["chooser"] = (choices.chooser.shape, (n,))
    if choices.situations is not None:
        sizes["situations"] = ((len(choices.situations),), (n,))
    for name, factor in choices.groups.items():
        if not isinstance(factor, Factor):
            raise TypeError(f"groups should map names to Factor; got {type(factor).__name__}.")
        sizes[f"group {name!r}"] = (factor.codes.shape, (n,))
    for name, (got, wanted) in sizes.items():
        if got != wanted:
            raise InputError(
                f"{name} should have the shape {wanted} that values call for; got {got}. "
                "Give one entry for each."
            )
    for name, labels in (
        ("attributes", choices.attributes),
        ("alternatives", choices.alternatives),
        ("situations", choices.situations or ()),
    ):
        if len(set(labels)) != len(labels):
            twice = Counter(labels).most_common(1)[0]
            raise InputError(
                f"Labels of {name} should be unique; got {shown(twice[0])} {twice[1]} times. "
                "Rename all but one."
            )
    if choices.chooser is not None:
        check_codes(choices.chooser, choices.choosers, "choosers")
    elif choices.choosers:
        raise InputError(
            f"Choosers need a code for each situation; got {len(choices.choosers)} labels "
            "without codes. Give chooser, or leave choosers out."
        )
    bad = ~np.isfinite(choices.values).all(axis=(1, 2))
    if bad.any():
        raise InputError(
            f"Attributes should be finite; got NaN or infinity in {choices.where(bad)}. "
            "Correct them or leave these situations out."
        )
    bad = ~np.isfinite(choices.weights) | (choices.weights < 0)
    if bad.any() or not choices.weights.any():
        raise InputError(
            "Weights should be finite, zero or more, and not all zero; got "
            f"{choices.where(bad) if bad.any() else 'zeros only'}. Correct them."
        )
    bad = (choices.chosen < 0) | (choices.chosen >= m)
    if bad.any():
        raise InputError(
            f"chosen should be a position between 0 and {m - 1}; got another number in "
            f"{choices.where(bad)}. Positions count from 0."
        )
    bad = ~choices.available[np.arange(n), choices.chosen]
    if bad.any():
        raise InputError(
            f"The chosen alternative should be available; got one that is not in "
            f"{choices.where(bad)}. Correct available or chosen."
        )
    bad = choices.available.sum(axis=1) < 2
    if bad.any():
        raise InputError(
            "A situation should offer at least two alternatives; got fewer in "
            f"{choices.where(bad)}. Without another one nothing was chosen: leave them out."
        )
