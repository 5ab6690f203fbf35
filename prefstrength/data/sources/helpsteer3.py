"""HelpSteer3-Preference: specialists compare two answers on a scale of seven steps."""

from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows
from prefstrength.data.messages import to_messages
from prefstrength.data.sources.hub import DataSource, LeftOut, Place, finish, is_blank, write_texts
from prefstrength.errors import InputError

COLUMNS = ("domain", "language", "context", "response1", "response2", "overall_preference")


def load(place: Place) -> pd.DataFrame:
    """Load the preference subset of HelpSteer3 as pairs.

    ``overall_preference`` runs from -3 (response 1 is much better) over 0 (about the same) to 3
    (response 2 is much better). Its sign says which response is chosen; 0 is a ``tie``, for
    which response 1 stands under ``chosen``; its size is kept as ``stated_strength``.

    Parameters
    ----------
    place : Place
        Folder with ``preference/train.jsonl.gz``, or a dataset on the hub.

    Returns
    -------
    DataFrame
        One row a pair; the columns are listed in docs/sources.md.

    Raises
    ------
    InputError
        If the file or a column is missing, or a preference is outside -3 to 3.

    Warns
    -----
    DataWarning
        If rows without context, response or preference were left out.
    """
    stem = f"preference/{place.split}"
    table = place.read(stem, COLUMNS, ending=".jsonl.gz")
    preference = pd.to_numeric(table["overall_preference"], errors="coerce").to_numpy(np.float64)
    wrong = ~np.isnan(preference) & ~np.isin(preference, np.arange(-3, 4))
    if wrong.any():
        raise InputError(
            "HelpSteer3's overall_preference should be a whole number from -3 to 3; got "
            f"{preference[wrong][0]:g} in {Rows(table.index).where(wrong)}. It may be another "
            f"subset. Use the preference subset of {place.source.repository}."
        )
    left_out = LeftOut(table.index)
    rows = []
    for number, row in enumerate(table.to_dict("records")):
        context = to_messages(row["context"])
        towards = preference[number]
        responses = row["response1"], row["response2"]
        if context is None:
            left_out.add("rows without a context of messages", number)
        elif np.isnan(towards):
            left_out.add("rows without a preference", number)
        elif any(is_blank(text) for text in responses):
            left_out.add("rows with an empty response", number)
        else:
            chosen, rejected = responses if towards <= 0 else responses[::-1]
            sign = -1 if towards <= 0 else 1
            votes = _votes(row.get("individual_preference"), sign)
            rows.append(
                {
                    **write_texts(context, chosen, rejected, place.conversational),
                    "dataset": place.source.name,
                    "domain": row["domain"],
                    "language": row["language"],
                    "pair_id": f"{place.split}-{number}",
                    "tie": bool(towards == 0),
                    "identical": chosen == rejected,
                    "stated_strength": int(abs(towards)),
                    "votes": votes,
                }
            )
    return finish(pd.DataFrame(rows), place, (stem,), left_out)


def _votes(individual: Any, sign: int) -> list[int]:
    """Individual preferences, positive where they favour the chosen response."""
    if not isinstance(individual, (list, tuple, np.ndarray)):
        return []
    scores = [vote.get("score") for vote in individual if isinstance(vote, dict)]
    return [sign * int(score) for score in scores if score is not None]


SOURCE = DataSource(
    name="helpsteer3",
    repository="nvidia/HelpSteer3",
    licence="CC-BY-4.0",
    citation=(
        "Wang et al. (2025), HelpSteer3-Preference: Open Human-Annotated Preference Data across "
        "Diverse Tasks and Languages, arXiv:2505.11475"
    ),
    choosers="none named",
    groups="domain, language",
    load=load,
    splits=("train", "validation"),
)
