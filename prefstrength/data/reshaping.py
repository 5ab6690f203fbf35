"""Choices in other shapes: some of the situations, pairs, a long table."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed
from prefstrength.choice.responses.pair import Pair
from prefstrength.data.answers import tied
from prefstrength.data.columns import used_levels
from prefstrength.data.factor import Dropped, Factor
from prefstrength.data.interface import ChoiceTable
from prefstrength.errors import InputError

#: Columns of every long table.
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
    rows = np.flatnonzero(mask)
    fields = _of_rows(choices, rows)
    for name in ("values", "chosen", "available", "answer", "ranks", "shown_first"):
        if getattr(choices, name) is not None:
            fields[name] = getattr(choices, name)[rows]
    return fields


def _of_rows(choices: ChoiceTable, rows: np.ndarray) -> dict[str, Any]:
    """Weights, choosers, groups, pairs and labels of some situations; unused levels go."""
    fields: dict[str, Any] = {"weights": choices.weights[rows]}
    if choices.chooser is not None:
        own = choices.chooser[rows]
        fields["chooser"], fields["choosers"] = used_levels(own, choices.choosers)
        if choices.chooser_weights is not None:
            fields["chooser_weights"] = choices.chooser_weights[np.unique(own)]
    if choices.pair is not None:
        fields["pair"] = np.unique(choices.pair[rows], return_inverse=True)[1]
    if choices.situations is not None:
        fields["situations"] = [choices.situations[i] for i in rows]
    fields["groups"] = {
        name: Factor(name, *used_levels(factor.codes[rows], factor.levels))
        for name, factor in choices.groups.items()
    }
    return fields


def pair_fields(choices: ChoiceTable, reduce: bool) -> dict[str, Any]:
    """Fields of the same choices as pairs, the chosen alternative first."""
    if choices.response.answers_in != "chosen" and not reduce:
        raise InputError(
            "Pairs should hold all that was said; got answers of "
            f"{choices.response!r} in {choices.n_situations:,} situations, of which they keep "
            "less. Use the answers as they are, or pass `reduce=True`: notes then say what is lost."
        )
    rows = np.arange(choices.n_situations)
    if choices.ranks is not None:
        return _ranked_pairs(choices, choices.ranks)
    if choices.answer is not None:
        return _better_of_pairs(choices)
    wrong = choices.available.sum(axis=1) != 2
    if wrong.any():
        raise InputError(
            "Pairs need two available alternatives in every situation; got another number in "
            f"{choices.where(wrong)}. A choice among more is no pair. "
            "Use the choices as they are, or keep a subset."
        )
    other = choices.available.copy()
    other[rows, choices.chosen] = False
    return _pairs(choices, rows, choices.chosen, other.argmax(axis=1))


def _pairs(
    choices: ChoiceTable, rows: np.ndarray, better: np.ndarray, worse: np.ndarray
) -> dict[str, Any]:
    """Pairs of two alternatives of these situations, which may repeat."""
    fields = _of_rows(choices, rows) | {
        "values": choices.values[rows[:, None], np.stack([better, worse], axis=1)],
        "chosen": np.zeros(len(rows), dtype=np.int64),
        "available": np.ones((len(rows), 2), dtype=bool),
        "alternatives": ("chosen", "rejected"),
        "response": Pair(),
        "answer": None,
        "ranks": None,
    }
    if choices.shown_first is not None:
        fields["shown_first"] = np.where(better == 0, 1, -1) * choices.shown_first[rows]
    return fields


def _better_of_pairs(choices: ChoiceTable) -> dict[str, Any]:
    """Which of two was better: by how much is lost, and ties are left out."""
    ties = tied(choices)
    _require_decided(~ties)
    rows = np.flatnonzero(~ties)
    fields = _pairs(choices, rows, choices.chosen[rows], 1 - choices.chosen[rows])
    fields["dropped"] = (*choices.dropped, *_as_dropped(choices, ties, "ties"))
    if len(choices.response.answers) > 3:
        note = f"by how much one was better is lost in {len(rows):,} graded pairs"
        fields["notes"] = (*choices.notes, note)
    return fields


def _ranked_pairs(choices: ChoiceTable, ranks: np.ndarray) -> dict[str, Any]:
    """All pairs of which one ranks higher; what is not ranked is below all that is."""
    order = np.where(ranks > 0, ranks, ranks.max() + 1)
    higher = (order[:, :, None] < order[:, None, :]) & choices.available[:, None, :]
    rows, better, worse = np.nonzero(higher & choices.available[:, :, None])
    none = ~higher.any(axis=(1, 2))
    _require_decided(~none)
    fields = _pairs(choices, rows, better, worse)
    if choices.situations is not None:
        a = choices.alternatives
        fields["situations"] = [
            f"{choices.situations[i]} ({a[j]} before {a[k]})"
            for i, j, k in zip(rows.tolist(), better.tolist(), worse.tolist(), strict=True)
        ]
    fields["dropped"] = (*choices.dropped, *_as_dropped(choices, none, "rankings without order"))
    note = (
        f"{len(np.unique(rows)):,} rankings taken apart into {len(rows):,} pairs, which are not "
        "independent: intervals will be too narrow"
    )
    fields["notes"] = (*choices.notes, note)
    return fields


def _require_decided(decided: np.ndarray) -> None:
    if not decided.any():
        raise InputError(
            "Pairs should prefer one alternative in at least one situation; got ties in all "
            f"{len(decided):,}. Nothing would be left. Use the answers as they are."
        )


def _as_dropped(choices: ChoiceTable, mask: np.ndarray, reason: str) -> tuple[Dropped, ...]:
    """Note of what is left out; none where nothing is."""
    at = np.flatnonzero(mask)
    if not len(at):
        return ()
    first = [choices.situations[i] if choices.situations else str(i) for i in at[:3]]
    return (Dropped(reason, len(at), tuple(first)),)


def long_table(choices: ChoiceTable) -> pd.DataFrame:
    """Table with one row for each available alternative."""
    known = _known_columns(choices)
    clash = [n for n in (*choices.attributes, *choices.groups) if n in known]
    clash += [n for n in choices.attributes if n in choices.groups]
    if clash:
        raise InputError(
            f"Attributes and groups should not be called {listed(known)}, nor alike; "
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
    if choices.ranks is not None:
        table["rank"] = choices.ranks[i, j]
    if choices.answer is not None:
        rising = choices.response.answers[::-1]
        codes = len(rising) - 1 - choices.answer[i]
        table["answer"] = pd.Categorical.from_codes(codes, categories=list(rising), ordered=True)
    if choices.shown_first is not None:
        known_first = choices.shown_first[i]
        table["shown_first"] = pd.array(known_first == 1 - 2 * j, dtype="boolean")
        table["shown_first"][known_first == 0] = pd.NA
    if choices.pair is not None:
        table["pair"] = choices.pair[i]
    if choices.chooser_weights is not None and choices.chooser is not None:
        table["chooser_weight"] = choices.chooser_weights[choices.chooser[i]]
    return pd.DataFrame(table)


def _known_columns(choices: ChoiceTable) -> tuple[str, ...]:
    """Columns that the long table has for itself, which no attribute or group may be called."""
    more = {
        "rank": choices.ranks is not None,
        "answer": choices.answer is not None,
        "shown_first": choices.shown_first is not None,
        "pair": choices.pair is not None,
        "chooser_weight": choices.chooser_weights is not None,
    }
    return (*LONG_COLUMNS, *(name for name, there in more.items() if there))
