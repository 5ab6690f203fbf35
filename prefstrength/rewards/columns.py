"""Rewards that are already there, as two columns."""

import os
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import pandas as pd

from prefstrength._shared.words import Rows
from prefstrength.data.columns import column, numbers
from prefstrength.errors import InputError
from prefstrength.rewards.score import Scores


@dataclass(frozen=True)
class ColumnReward:
    """Two columns that already hold the rewards of the chosen and the rejected response.

    Parameters
    ----------
    chosen, rejected : str
        Names of the two columns; numbers, all finite. Where both sides come from the same
        scale (one reward model, one judge), their difference is meaningful. Do not use the
        annotators' own ratings of the very pairs: that explains choices by themselves.

    Examples
    --------
    >>> import pandas as pd
    >>> from prefstrength.rewards import ColumnReward
    >>> pairs = pd.DataFrame({"score_chosen": [0.5, 2.0], "score_rejected": [0.0, 1.0]})
    >>> ColumnReward().score_pairs(pairs).chosen.tolist()
    [0.5, 2.0]
    """

    #: It knows the rewards of one table alone, so it cannot judge other responses.
    scores_responses: ClassVar[bool] = False

    chosen: str = "score_chosen"
    rejected: str = "score_rejected"

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise InputError(
                "ColumnReward expects two columns, one for each response; got "
                f"{self.chosen!r} for both. Name the column of the rejected response too."
            )

    def identity(self) -> dict[str, Any]:
        """Say what the rewards depend on, as of :meth:`HFReward.identity`."""
        return {"reward": "ColumnReward", **asdict(self)}

    def score_pairs(
        self,
        pairs: pd.DataFrame,
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> Scores:
        """Read the two columns.

        Parameters
        ----------
        pairs : DataFrame, one row a pair
            Holds both columns.
        cache, progress
            Not needed here.

        Returns
        -------
        Scores
            The columns as float64, shape (pair,).

        Raises
        ------
        InputError
            If a column is absent, not numeric, or not finite somewhere; names column and rows.
        """
        rows = Rows(pairs.index)
        chosen, rejected = (
            numbers(column(pairs, name, f"ColumnReward({side}=)"), name, rows)
            for side, name in (("chosen", self.chosen), ("rejected", self.rejected))
        )
        return Scores(
            chosen=chosen,
            rejected=rejected,
            provenance={
                "name": "ColumnReward",
                "settings": {"chosen": self.chosen, "rejected": self.rejected},
            },
        )
