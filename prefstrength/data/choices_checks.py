"""Checks of the arrays that make Choices: shapes, labels, values, weights and choice sets."""

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from prefstrength._shared.words import listed, shown
from prefstrength.choice.responses.base import PairResponse, Response
from prefstrength.data.answers import better_by_answer
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
    _check_answers(choices)


def _check_shapes(choices: ChoiceTable) -> None:
    n, m, k = choices.values.shape
    if n == 0 or m < 2 or k == 0:
        raise InputError(
            "Choices need at least one situation, two alternatives and one attribute; got "
            f"{n} situations, {m} alternatives and {k} attributes. Check the shape of values."
        )
    sizes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    for name in ("answer", "chosen", "chooser", "shown_first", "pair"):
        if (array := getattr(choices, name)) is not None:
            sizes[name] = (array.shape, (n,))
    if choices.chooser_weights is not None:
        sizes["chooser_weights"] = (choices.chooser_weights.shape, (choices.n_choosers,))
    if choices.ranks is not None:
        sizes["ranks"] = (choices.ranks.shape, (n, m))
    sizes |= {
        "available": (choices.available.shape, (n, m)),
        "weights": (choices.weights.shape, (n,)),
        "attributes": ((len(choices.attributes),), (k,)),
        "alternatives": ((len(choices.alternatives),), (m,)),
    }
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
    own = choices.chooser_weights
    if own is not None and ((~np.isfinite(own) | (own < 0)).any() or not own.any()):
        raise InputError(
            "chooser_weights should be finite, zero or more, and not all zero; got "
            f"{listed(own.tolist(), most=3)}. Correct them."
        )


def _check_answers(choices: ChoiceTable) -> None:
    """Refuse answers that are none of their response, and what is said of other than pairs."""
    response = choices.response
    if not isinstance(response, Response):
        raise TypeError(
            f"response should be a kind of answer, such as Ranking(); got {shown(response)}."
        )
    given = [name for name in ("answer", "ranks") if getattr(choices, name) is not None]
    if given != [name for name in ("answer", "ranks") if name == response.answers_in]:
        raise InputError(
            f"Answers of {response!r} should stand in {response.answers_in}; got "
            f"{' and '.join(given) or 'neither answer nor ranks'}. Give the response that the "
            "answers are of, and them alone."
        )
    pairs = choices.n_alternatives == 2 and bool(choices.available.all())
    about_pairs = [
        name for name in ("answer", "shown_first", "pair") if getattr(choices, name) is not None
    ]
    if not pairs and (about_pairs or isinstance(response, PairResponse)):
        what = " and ".join(about_pairs) or response.name
        raise InputError(
            f"{what} should be about two alternatives that are both available; got up to "
            f"{choices.n_alternatives} in a situation. Leave it out, or use a Ranking."
        )
    for mask, expected, found, then in _faults(choices):
        if mask.any():
            raise InputError(f"{expected}; got {found} in {choices.where(mask)}. {then}")


def _faults(choices: ChoiceTable) -> Iterator[tuple[np.ndarray, str, str, str]]:
    """What each situation is held to: where it fails, what should be, what is, what to do."""
    if choices.shown_first is not None:
        yield (
            np.abs(choices.shown_first) > 1,
            "shown_first should be 1, -1 or 0 (the first, the second, not known)",
            "another number",
            "Translate it.",
        )
    if choices.answer is not None:
        most = len(choices.response.answers) - 1
        yield (
            (choices.answer < 0) | (choices.answer > most),
            f"answer should be a position between 0 and {most}, one for each of the answers",
            "another number",
            "Positions count from 0.",
        )
    ranks = choices.ranks
    if ranks is not None:
        yield (
            (ranks < 0).any(axis=1),
            "ranks should be 1 or more, or 0 for what is not ranked",
            "negative ones",
            "Number them from the best, 1.",
        )
        yield (
            ((ranks > 0) & ~choices.available).any(axis=1),
            "Only what was available should have a rank",
            "another one with a rank",
            "Correct available or ranks.",
        )
        yield (
            ~(ranks > 0).any(axis=1),
            "A ranking should rank at least one alternative",
            "none",
            "Leave these situations out.",
        )
        yield (
            ranks_with_gaps(ranks),
            "ranks should count 1, 2, 3 without a gap",
            "a number left out",
            "Number them anew.",
        )
    if choices.response.answers_in != "chosen":
        yield (
            choices.chosen != better_by_answer(choices.response, choices.answer, ranks),
            "chosen should be the better alternative by the answer, the first where they tie",
            "another one",
            "Pass `chosen=None` to leave it to the answer.",
        )


def ranks_with_gaps(ranks: np.ndarray) -> np.ndarray:
    """Rows of which the ranks above 0 are not 1, 2, 3 and so on; equal numbers may repeat."""
    ordered = np.sort(ranks, axis=1)
    return (ordered[:, 0] > 1) | (np.diff(ordered, axis=1) > 1).any(axis=1)
