"""Words for votes that prefer neither response, and names of columns that hold votes."""

import numpy as np
import pandas as pd

__all__ = ["TIE_COLUMNS", "VOTE_COLUMNS", "says_neither"]

#: Columns that hold votes in the data sets of the field, in lower case.
VOTE_COLUMNS = frozenset(
    "choice winner vote preference preferred label verdict judgment judgement outcome better "
    "selected selection annotation human_preference overall_preference".split()
)
#: Columns that mark ties under another name.
TIE_COLUMNS = frozenset(
    "ties is_tie tied is_tied winner_tie is_draw no_preference both_bad bothbad neither "
    "is_equal".split()
)

# At the beginning of a vote, in any case: "tie (bothbad)", "Neither is better", "same".
_NEITHER = (
    r"tie|tied|ties|draw|drawn|both|equal|equally|neither|none|nobody|same|similar|identical|"
    r"indifferent|undecided|unsure|uncertain|unclear|skip|skipped|abstain|abstained|"
    r"no[ _-]?(?:preference|difference|winner|choice|opinion|idea|answer)|"
    r"(?:can ?not|can'?t|could ?not|couldn'?t|do ?not|don'?t|not)[ _-]?"
    r"(?:decide|tell|say|choose|know|sure|clear|applicable)"
)


def says_neither(values: pd.Series) -> np.ndarray:
    """Mark votes that are for neither response.

    Examples
    --------
    >>> says_neither(pd.Series(["a", "tie (bothbad)", "Neither", "no preference", "nonesuch"]))
    array([False,  True,  True,  True, False])
    """
    text = values.astype("str").str.strip()
    found = text.str.match(
        rf"(?:(?:the|about|roughly|nearly|almost|both)[ _-])*(?:{_NEITHER})(?![a-z0-9])|both",
        case=False,
    ) | text.isin(("=", "0.5"))
    return found.fillna(False).to_numpy(dtype=bool) & values.notna().to_numpy()
