"""Answers that say more than which of two was chosen, on their way through the stages."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows
from prefstrength.data.answer_columns import read_grades, read_ties
from prefstrength.data.answers import undecided
from prefstrength.data.choices import Choices
from prefstrength.data.columns import column, flags
from prefstrength.errors import InputError
from prefstrength.pipeline.options import Reading

__all__ = ["agreement_of_answers", "answers_of", "refuse_answers", "score_rankings"]

UNIT_RULE = "root mean square over all pairs of a ranking of the difference of their rewards"


def refuse_answers(reading: Reading) -> None:
    """Refuse to train on answers of which training would hear a part, or the opposite."""
    if reading.rank is not None:
        raise InputError(
            "Training should get pairs, plain, graded or tied; got rankings, `rank=...`, which "
            "the trainer does not take. Leave `model=...` out; `mixdpo.ranking_loss` is the loss "
            "for a loop of your own."
        )


def answers_of(frame: pd.DataFrame, reading: Reading) -> tuple[str, list[str]] | None:
    """Column of grades or ties and the answer in every row, in words; None of plain choices."""
    rows = Rows(frame.index)
    if reading.grade is not None:
        tie = read_ties(frame, rows, reading.tie, True)
        values = column(frame, reading.grade, "grade")
        codes, words = read_grades(values, reading.grade, rows, reading.grades, tie)
        return reading.grade, [words[code] for code in codes]
    if reading.tie is not None:
        marks = flags(column(frame, reading.tie, "tie"), reading.tie, rows, "a tie")
        return reading.tie, ["tie" if mark else "chosen" for mark in marks]
    return None


def agreement_of_answers(choices: Choices) -> float | None:
    """How often the reward is higher for the better one of two; None where all tie."""
    better = np.where(choices.chosen == 0, 1, -1) * choices.differences("reward")
    none = undecided(choices.response, choices.answer, choices.ranks)
    weight = np.where(none, 0.0, _weight(choices))
    higher = (better > 0) + 0.5 * (better == 0)
    return float(np.average(higher, weights=weight)) if weight.any() else None


def _weight(choices: Choices) -> np.ndarray:
    """How often every situation counts."""
    if choices.chooser_weights is None or choices.chooser is None:
        return choices.weights
    return choices.weights * choices.chooser_weights[choices.chooser]


def score_rankings(
    frame: pd.DataFrame, reading: Reading, reward: str | Sequence[str]
) -> tuple[pd.DataFrame, Choices]:
    """Bring the rewards of ranked responses to differences of sd 1; what was ranked, too.

    Returns
    -------
    DataFrame
        The table with ``reward`` in that unit, ``reward_raw`` as it was, and
        ``.attrs["reward"]``.
    Choices
    """
    if reward not in ("auto", "columns"):
        raise InputError(
            "Rankings should bring the rewards of their responses in a column 'reward'; got "
            f"{reward!r} as the reward. Texts are scored in pairs. Score the responses first, and "
            "leave `reward=...` out."
        )
    raw = column(frame, "reward", "reward")
    choices = reading.choices(frame)
    assert choices.ranks is not None
    value, there = choices.values[:, :, 0], choices.available
    first, second = np.triu_indices(choices.n_alternatives, 1)
    both = there[:, first] & there[:, second]
    difference = np.where(both, value[:, first] - value[:, second], 0.0)
    unit = float(np.sqrt((difference**2).sum() / both.sum()))
    place = np.where(choices.ranks > 0, choices.ranks, choices.n_alternatives + 1)
    before = np.sign(place[:, second] - place[:, first])[both]
    higher = np.sign(difference)[both]
    decided = (before != 0) * np.broadcast_to(_weight(choices)[:, None], both.shape)[both]
    agreed = (higher * before > 0) + 0.5 * (higher == 0)
    scored = frame.assign(reward=raw / unit, reward_raw=raw)
    scored.attrs["reward"] = {
        "name": "column reward",
        "unit": unit,
        "agreement": float(np.average(agreed, weights=decided)) if decided.any() else None,
        "equal": int(np.count_nonzero(higher == 0)),
        "unit_rule": UNIT_RULE,
        "pairs": int(both.sum()),
        "replaced": ["reward"],
    }
    return scored, reading.choices(scored)
