"""How a file of pairs is read as choices."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import prefstrength as ps
from prefstrength.pipeline.stages import require, settings_of

__all__ = ["Reading", "choices"]


@dataclass(frozen=True)
class Reading:
    """How a table of pairs is read as choices; the keywords of ``Choices.from_pairs``.

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

    def __post_init__(self) -> None:
        for name in ("groups", "attributes"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))

    def choices(self, frame: pd.DataFrame) -> Any:
        """Return the :class:`~prefstrength.data.choices.Choices` of ``frame``, reward first."""
        settings = asdict(self)
        settings["attributes"] = ("reward", *self.attributes)
        return ps.Choices.from_pairs(frame, **settings)


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
    settings = settings_of(out, "score")
    return Reading(**{name: settings[name] for name in Reading.__dataclass_fields__})


def scored_in(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "pairs.parquet")


def summary(choices: Any, scored: pd.DataFrame) -> dict[str, Any]:
    """Describe the choices for people and programs that do not open the Parquet file."""
    return {
        "schema": "prefstrength/choices/1",
        "situations": choices.n_situations,
        "choosers": choices.n_choosers,
        "attributes": list(choices.attributes),
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
