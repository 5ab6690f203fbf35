"""How a file is read as choices."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

import prefstrength as ps
from prefstrength.pipeline.options import Reading
from prefstrength.pipeline.stages import require, settings_of

__all__ = ["choices"]


def choices(out: str | os.PathLike[str]) -> "ps.Choices":
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
    named = [each.name for each in fields(Reading) if each.name in settings]
    return Reading(**{name: settings[name] for name in named})


def scored_in(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "pairs.parquet")


def summary(choices: "ps.Choices", scored: pd.DataFrame) -> dict[str, Any]:
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
