"""How a file of pairs is read as choices."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength.data.reading import choices_of
from prefstrength.pipeline.stages import read_json, record_path, require

__all__ = ["Reading", "choices"]


@dataclass(frozen=True)
class Reading:
    """How a table is read as choices; the keywords of :func:`prefstrength.read_choices`.

    Parameters
    ----------
    chooser : str, optional
        Column that says who decides.
    groups : sequence of str
        Columns whose levels may differ in strength.
    attributes : sequence of str
        Attributes besides the reward, each in two columns ``<attribute>_chosen`` and
        ``<attribute>_rejected``; their coefficients are shared by all choosers.
    weights : str, optional
        Column of non-negative weights.
    ties, identical, duplicates : str
        What to do with ties, with identical responses and with repeated rows.
    grade, tie, first : str, optional
        Columns of grades, of ties that are answers, and of who was shown first.
    grades : sequence, optional
        All grades in order, the least in favour of the chosen response first; as text they are
        separated by commas, and a single number L stands for 1 to L.
    rank, situation, alternative : str, optional
        Of rankings with one row for each response: ranks, and which ranking and response it is.

    Examples
    --------
    >>> Reading(chooser="annotator", groups=["region"]).groups
    ('region',)
    """

    chooser: str | None = None
    groups: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    weights: str | None = None
    ties: str = "raise"
    identical: str = "raise"
    duplicates: str = "raise"
    grade: str | None = None
    grades: tuple[Any, ...] | int | str | None = None
    tie: str | None = None
    first: str | None = None
    rank: str | None = None
    situation: str | None = None
    alternative: str | None = None

    def __post_init__(self) -> None:
        for name in ("groups", "attributes"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        object.__setattr__(self, "grades", _scale(self.grades))

    def settings(self) -> dict[str, Any]:
        """What is told, by name; the settings of runs without answers stay what they were."""
        return {k: v for k, v in asdict(self).items() if k not in _ANSWERS or v is not None}

    @property
    def answers(self) -> list[str]:
        """Columns that say more than which of two was chosen."""
        return [name for name in ("grade", "tie", "rank") if getattr(self, name) is not None]

    def choices(self, frame: pd.DataFrame) -> Any:
        """Return the :class:`~prefstrength.data.choices.Choices` of ``frame``, reward first."""
        return choices_of(frame, {**asdict(self), "attributes": ("reward", *self.attributes)})


_ANSWERS = ("grade", "grades", "tie", "first", "rank", "situation", "alternative")


def _scale(grades: Any) -> Any:
    """Grades as they were typed: a number, numbers or words in order."""
    if isinstance(grades, str):
        parts = [part.strip() for part in grades.split(",")]
        try:
            numbers = [int(part) for part in parts]
        except ValueError:
            return tuple(parts)
        return numbers[0] if len(numbers) == 1 else tuple(numbers)
    return tuple(grades) if isinstance(grades, list) else grades


def choices(out: str | os.PathLike[str]) -> Any:
    """Read the scored pairs of a folder as choices, as its stage ``score`` did.

    Parameters
    ----------
    out : path
        A folder in which ``score`` has finished.

    Returns
    -------
    Choices
    """
    out = Path(out)
    require(out, "score", "pairs.parquet")
    return reading_of(out).choices(scored_in(out))


def reading_of(out: Path) -> Reading:
    """How ``score`` read the pairs."""
    settings = read_json(record_path(out, "score"))["settings"]
    named = [name for name in Reading.__dataclass_fields__ if name in settings]
    return Reading(**{name: settings[name] for name in named})


def scored_in(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "pairs.parquet")


def summary(choices: Any, scored: pd.DataFrame) -> dict[str, Any]:
    """Describe the choices for people and programs that do not open the Parquet file."""
    return {
        "schema": "prefstrength/choices/1",
        "situations": choices.n_situations,
        "choosers": choices.n_choosers,
        "attributes": list(choices.attributes),
        **({} if choices.is_pairs else {"answers": choices.answer_counts()}),
        "groups": {
            name: {level: int(count) for level, count in factor.counts().items()}
            for name, factor in choices.groups.items()
        },
        "dropped": [
            {"reason": part.reason, "count": int(part.count), "rows": list(part.rows)}
            for part in choices.dropped
        ],
        "reward": scored.attrs.get("reward"),
        "content_hash": choices.content_hash(),
    }
