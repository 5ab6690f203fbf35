"""Answers: what Choices keep of what people said beyond which alternative they chose."""

from typing import Protocol

import numpy as np

from prefstrength.choice.responses.base import Response
from prefstrength.data.interface import ChoiceTable
from prefstrength.errors import InputError

__all__ = ["answer_counts", "better_by_answer", "require_plain", "tied"]


class _Answered(Protocol):
    @property
    def response(self) -> Response: ...
    @property
    def answer(self) -> np.ndarray | None: ...
    @property
    def ranks(self) -> np.ndarray | None: ...


def better_by_answer(
    response: Response | None, answer: np.ndarray | None, ranks: np.ndarray | None
) -> np.ndarray:
    """Position of the better alternative by the answer, the first where several are.

    Examples
    --------
    >>> better_by_answer(None, None, np.array([[2, 1, 0], [1, 2, 1]]))
    array([1, 0])
    """
    if ranks is not None:
        return np.where(ranks > 0, ranks, np.iinfo(ranks.dtype).max).argmin(axis=1)
    if answer is not None and response is not None:
        return np.where(2 * answer > len(response.answers) - 1, 1, 0)
    raise InputError(
        "Choices should say which alternative was chosen; got neither chosen, nor an answer with "
        "its response, nor ranks. Give one of them."
    )


def tied(choices: _Answered) -> np.ndarray:
    """Whether the answer to a pair names neither alternative, shape (situation,)."""
    assert choices.answer is not None
    return np.asarray(undecided(choices.response, choices.answer, None))


def undecided(
    response: Response | None, answer: np.ndarray | None, ranks: np.ndarray | None
) -> np.ndarray | bool:
    """Whether no single alternative is the best by the answer, shape (situation,)."""
    if ranks is not None:
        return (ranks == 1).sum(axis=1) > 1
    if answer is not None and response is not None:
        return 2 * answer == len(response.answers) - 1
    return False


def answer_counts(choices: ChoiceTable) -> dict[str, int]:
    """How many situations have each answer; see :meth:`prefstrength.Choices.answer_counts`."""
    if choices.ranks is not None:
        return _counts_of_rankings(choices.ranks, choices.available)
    answers, words = choices.chosen, choices.alternatives
    if choices.answer is not None:
        answers, words = choices.answer, choices.response.answers
    counted = np.bincount(answers, minlength=len(words))
    return dict(zip(words, counted.tolist(), strict=True))


def _counts_of_rankings(ranks: np.ndarray, available: np.ndarray) -> dict[str, int]:
    ranked = (ranks > 0).sum(axis=1)
    ties = ranked > ranks.max(axis=1)
    complete = ~ties & (ranked >= available.sum(axis=1) - 1)  # the last one's place is known
    return {
        "all places": int(complete.sum()),
        "some places": int((~ties & ~complete).sum()),
        "with ties": int(ties.sum()),
    }


def require_plain(choices: _Answered, what: str) -> None:
    """Refuse choices that say more than which alternative was chosen.

    Parameters
    ----------
    choices : Choices
    what : str
        Who would overlook it, at the start of the sentence.

    Raises
    ------
    InputError
        Naming the kind of answer and what to do.
    """
    if choices.response.answers_in != "chosen":
        kind = "rankings" if choices.ranks is not None else f"{choices.response.name} answers"
        raise InputError(
            f"{what} should get plain choices, of which it knows one chosen alternative in each "
            f"situation; got {kind}. More was said than it would hear. Reduce them to what it "
            "knows: `choices.as_pairs(reduce=True)`."
        )
