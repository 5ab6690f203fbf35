"""Grades and ties: from the column of a dataset to the codes that a loss takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset

from prefstrength.choice.mixing.base import Mixing
from prefstrength.choice.responses.base import PairResponse
from prefstrength.choice.responses.named import KnownResponse
from prefstrength.choice.strength_prior import StrengthPrior
from prefstrength.errors import InputError
from prefstrength.mixdpo.objectives.answers import answer_loss

__all__ = ["Answers", "log_decided"]

# Pairs of which probabilities are computed together.
_AT_ONCE = 4000
#: What the answers of a tie model are called besides, by their codes.
_SIDES = {"chosen": 0, False: 0, True: 1, "rejected": 2}


@dataclass(frozen=True)
class Answers:
    """Answers to pairs that say more than which was chosen.

    Parameters
    ----------
    column : str
        Of the pairs.
    known : KnownResponse
        What can be answered, and how likely each is.

    Examples
    --------
    >>> prior = StrengthPrior(
    ...     "PointMass", -2.3, 0.2, response={"name": "Ties", "shared": {"tie": 0.5}}
    ... )
    >>> answers = Answers.of("verdict", prior)
    >>> [answers.code(value) for value in ("chosen", "tie", "rejected", True, 7)]
    [0, 1, 2, 1, None]
    """

    column: str
    known: KnownResponse

    @classmethod
    def of(cls, column: str, prior: StrengthPrior | None) -> Self:
        """Answers in a column, with the cut points or the weight of a tie that a prior holds.

        Raises
        ------
        InputError
            If there is no prior, or one of choices or rankings.
        """
        known = None if prior is None else prior.answers()
        if known is None or not isinstance(known.response, PairResponse):
            found = "no prior" if prior is None else "one of choices"
            if known is not None:
                found = f"one of {known.response.name} answers"
            raise InputError(
                "Expected a strength prior of grades or ties along with answer_column, for their "
                f"cut points; got {found}. Fit the analysis on such answers, or give "
                "`StrengthPrior(response={'name': 'Ties', 'shared': {'tie': 0.5}})` with the rest."
            )
        return cls(column, known)

    @property
    def response(self) -> PairResponse:
        """What can be answered."""
        assert isinstance(self.known.response, PairResponse)
        return self.known.response

    def code(self, value: Any) -> int | None:
        """Code of an answer: its word, a whole number for a word that is one; None of no answer."""
        words = self.response.answers
        if words == ("first", "tie", "second") and isinstance(value, str | bool | np.bool_):
            sides = _SIDES.get(bool(value) if not isinstance(value, str) else value)
            return sides if sides is not None or value not in words else words.index(value)
        if isinstance(value, str):
            return words.index(value) if value in words else None
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float):
            return None
        numbers = [word.removeprefix("+") for word in words]
        text = f"{value:g}"
        return numbers.index(text) if text in numbers else None

    def codes(self, values: Sequence[Any], label: str) -> list[int]:
        """Codes of answers, in pairs that errors call ``label``; stops at one that cannot be."""
        found = [self.code(value) for value in values]
        wrong = [row for row, code in enumerate(found) if code is None]
        if wrong:
            words = ", ".join(self.response.answers)
            if self.response.answers == ("first", "tie", "second"):
                words = "chosen, tie, rejected (or True for a tie, False for the chosen response)"
            raise InputError(
                f"Expected one of the answers {words} in column {self.column} of {label}; got "
                f"{values[wrong[0]]!r} in row {wrong[0]} ({len(wrong)} of {len(values)} rows). "
                "These are the answers that the strength prior was fitted on. Correct the rows, "
                "or fit again."
            )
        return [code for code in found if code is not None]

    def check(self, dataset: Any, label: str) -> None:
        """Stop where pairs have no answer, one that cannot be, or a tie that is none."""
        if self.column not in next(iter(dataset)):
            raise InputError(
                f"Expected a column {self.column} in {label}, named in answer_column; got "
                f"{', '.join(next(iter(dataset)))}. Add it, or leave answer_column out."
            )
        if not isinstance(dataset, Dataset):
            return  # a stream cannot be looked through
        codes = self.codes(list(dataset[self.column]), label)
        if "tie" not in dataset.column_names or self.column == "tie":
            return
        tie = np.array([bool(each) for each in dataset["tie"]])
        differs = np.flatnonzero(tie != (self.toward(codes) == 0))
        if len(differs):
            raise InputError(
                f"Expected a tie (column tie) where column {self.column} of {label} has one; got "
                f"them to disagree in {len(differs)} of {len(tie)} rows (first: {differs[0]}). One "
                "of the two is wrong. Correct it, or drop column tie."
            )

    def toward(self, codes: Sequence[int] | np.ndarray) -> np.ndarray:
        """1 where an answer is for the chosen response, -1 for the rejected one, 0 in a tie."""
        return np.sign(len(self.response.answers) - 1 - 2 * np.asarray(codes))

    def lead(self, delta: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Differences of the better response less the other, and which pairs have a better one."""
        toward = torch.sign(len(self.response.answers) - 1 - 2 * codes.to(delta.device))
        return delta * toward, toward != 0

    def log_probabilities(
        self, delta: np.ndarray, strength: Mixing, codes: np.ndarray
    ) -> np.ndarray:
        """Log probability (pair,) of answers, averaged over strength, without gradients."""
        found = np.empty(len(delta))
        for start in range(0, len(delta), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            own = {k: v[some] if np.ndim(v) else v for k, v in strength.parameters.items()}
            loss = answer_loss(
                torch.tensor(delta[some]),
                strength.with_parameters(own),
                torch.tensor(codes[some]),
                self.response,
                self.known.shared,
            )
            found[some] = -loss.numpy()
        return found


def log_decided(
    logged: dict[str, list[float]], accelerator: Any, lead: torch.Tensor, decided: torch.Tensor
) -> None:
    """Let TRL's accuracies and margins of this step be of pairs with a better response."""
    sums = [decided.sum(), (lead[decided] > 0).sum(), lead[decided].sum()]
    total = accelerator.reduce(torch.stack([each.float() for each in sums]), "sum")
    for name, value in zip(("accuracies", "margins"), total[1:], strict=True):
        values = logged[f"rewards/{name}"]
        values[-1:] = [(value / total[0]).item()] if total[0] else []
        if not values:
            del logged[f"rewards/{name}"]
