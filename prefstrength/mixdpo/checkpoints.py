"""Checkpoints of a run that hold a strength beside the model."""

import json
import os
from pathlib import Path

import torch

from prefstrength._shared.words import warn

__all__ = ["last_checkpoint", "objective_state", "with_prefix"]

#: Exact parameters of the strength and the state of its optimizer, in every checkpoint.
STATE_NAME = "strength_state.safetensors"
# Before the names of what an objective keeps, in that file.
_OBJECTIVE = "objective."


def last_checkpoint(folder: str | os.PathLike[str], *, strength: bool = True) -> str | None:
    """The newest checkpoint of a run that was written to its end.

    Parameters
    ----------
    folder : path
        ``output_dir`` of the run.
    strength : bool
        Whether it must hold a strength; ``False`` for the run of another trainer, such as
        supervised fine-tuning.

    Returns
    -------
    str or None
        Its path, for ``trainer.train(resume_from_checkpoint=...)``; ``None`` where there is none.

    Warns
    -----
    DataWarning
        If a newer one is incomplete, as a process leaves it that was killed while saving, or
        holds a model alone.

    Examples
    --------
    >>> last_checkpoint("runs/never-started") is None
    True
    """
    found = []
    for path in Path(folder).glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if path.is_dir() and number.isdigit():
            found.append((int(number), path))
    for _, path in sorted(found, reverse=True):
        lacks = _lacks(path, strength)
        if lacks is None:
            return str(path)
        warn(f"{path} {lacks}; it is passed over.")
    return None


def _lacks(checkpoint: Path, strength: bool) -> str | None:
    """What keeps a run from going on from a checkpoint."""
    try:  # transformers writes the state of a run last
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "is not complete"
    if strength and not (checkpoint / STATE_NAME).is_file():
        return f"has no {STATE_NAME} (`save_only_model=True`, or another trainer's)"
    return None


def with_prefix(kept: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an objective keeps, under names that the strength does not use."""
    return {f"{_OBJECTIVE}{name}": value for name, value in kept.items()}


def objective_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an objective kept, among the state in a checkpoint."""
    return {
        name.removeprefix(_OBJECTIVE): value
        for name, value in state.items()
        if name.startswith(_OBJECTIVE)
    }
