"""Checks of the arrays that make Choices: shapes, labels, values, weights and choice sets."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from prefstrength._shared.words import shown
from prefstrength.data.factor import Factor, check_codes, check_text
from prefstrength.data.interface import ChoiceTable
from prefstrength.errors import InputError

#: What no situation may be: which ones are, and the sentence about them. A later mask relies on
#: the earlier ones.
_SITUATIONS: tuple[tuple[Callable[[ChoiceTable], np.ndarray], str], ...] = (
    (
        lambda c: ~np.isfinite(c.values).all(axis=(1, 2)),
        "Attributes should be finite; got NaN or infinity in {where}. "
        "Correct them or leave these situations out.",
    ),
    (
        lambda c: ~np.isfinite(c.weights) | (c.weights < 0),
        "Weights should be finite, zero or more, and not all zero; got {where}. Correct them.",
    ),
    (
        lambda c: np.full(c.n_situations, not c.weights.any()),
        "Weights should be finite, zero or more, and not all zero; got zeros only. Correct them.",
    ),
    (
        lambda c: (c.chosen < 0) | (c.chosen >= c.n_alternatives),
        "chosen should be a position between 0 and {last}; got another number in {where}. "
        "Positions count from 0.",
    ),
    (
        lambda c: ~c.available[np.arange(c.n_situations), c.chosen],
        "The chosen alternative should be available; got one that is not in {where}. "
        "Correct available or chosen.",
    ),
    (
        lambda c: c.available.sum(axis=1) < 2,
        "A situation should offer at least two alternatives; got fewer in {where}. "
        "Without another one nothing was chosen: leave them out.",
    ),
)


def check(choices: ChoiceTable) -> None:
    """Refuse arrays that disagree or hold what cannot be; names the first situations."""
    _check_shapes(choices)
    _check_labels(choices)
    for wrong, sentence in _SITUATIONS:
        bad = wrong(choices)
        if bad.any():
            raise InputError(
                sentence.format(where=choices.where(bad), last=choices.n_alternatives - 1)
            )


def _check_shapes(choices: ChoiceTable) -> None:
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


def _check_labels(choices: ChoiceTable) -> None:
    check_text(list(choices.groups), "Names of groups", forbidden="/")
    for name, labels in (
        ("attributes", choices.attributes),
        ("alternatives", choices.alternatives),
        ("situations", choices.situations or ()),
    ):
        check_text(labels, f"Labels of {name}", forbidden="/" if name == "attributes" else "")
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
