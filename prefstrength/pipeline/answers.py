"""Answers that say more than which of two was chosen, on their way through the stages."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed
from prefstrength.data.answers import tied
from prefstrength.data.choices import Choices
from prefstrength.data.columns import column
from prefstrength.errors import InputError
from prefstrength.pipeline.options import Reading

__all__ = ["agreement_of_answers", "refuse_answers", "score_rankings"]

UNIT_RULE = "root mean square over all pairs of a ranking of the difference of their rewards"


def refuse_answers(reading: Reading) -> None:
    """Refuse to train on answers of which training would hear a part, or the opposite."""
    if reading.answers:
        raise InputError(
            "Training should get pairs of which one was chosen; got "
            f"{listed(reading.answers)}, which it would overlook. Leave `model=...` out, or score "
            "the pairs without them into another folder."
        )


def agreement_of_answers(choices: Choices) -> float | None:
    """How often the reward is higher for the better one of two; None where all tie."""
    better = np.where(choices.chosen == 0, 1, -1) * choices.differences("reward")
    better = better[~tied(choices)]
    return float(np.mean((better > 0) + 0.5 * (better == 0))) if len(better) else None


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
    decided = before != 0
    agreed = (higher * before > 0) + 0.5 * (higher == 0)
    scored = frame.assign(reward=raw / unit, reward_raw=raw)
    scored.attrs["reward"] = {
        "name": "column reward",
        "unit": unit,
        "agreement": float(agreed[decided].mean()) if decided.any() else None,
        "equal": int(np.count_nonzero(higher == 0)),
        "unit_rule": UNIT_RULE,
        "pairs": int(both.sum()),
        "replaced": ["reward"],
    }
    return scored, reading.choices(scored)
