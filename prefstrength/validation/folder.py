"""The folder of simulations: their settings, parts as they are made, the finished table."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.files import atomic_directory, write_json, write_parquet
from prefstrength._shared.folder import Folder
from prefstrength._shared.records import read_saved
from prefstrength.errors import InputError

__all__ = ["load", "save"]

TABLE, PART, _SETTINGS = "simulations.parquet", "part-{:06d}.parquet", "settings.json"


def kept_in(path: Path, spec: dict[str, Any], kind: str) -> list[pd.DataFrame]:
    """Simulations made before with the same settings; a new or empty folder is begun."""
    folder, settings = Folder(path, "simulations"), _settings(spec, kind)
    if folder.found_for(settings, lambda one: {**one, "versions": None}) == "new":
        folder.write(settings)
    # A run that ended between the last two steps has left parts beside the whole.
    paths = [*path.glob("part-*.parquet"), *path.glob(TABLE)]
    frames = [pd.read_parquet(path) for path in sorted(paths)]
    return [pd.concat(frames).drop_duplicates(["simulation", "variable"])] if frames else []


def save(
    directory: str | os.PathLike[str], frame: pd.DataFrame, spec: dict[str, Any], kind: str
) -> Path:
    """Write a finished set of simulations, in place of one of the same kind or of none."""
    path = Path(directory)
    if (path / TABLE).is_file() and (path / _SETTINGS).is_file():
        _read(path, kind)  # of another kind it stops here
    # Parts are no files of a finished set: they are somebody's hours.
    with atomic_directory(directory, replaces=(TABLE, _SETTINGS)) as temporary:
        write_parquet(temporary / TABLE, frame)
        write_json(temporary / _SETTINGS, _settings(spec, kind))
    return path


def load(directory: str | os.PathLike[str], kind: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a finished set of simulations."""
    path = Path(directory)
    spec = _read(path, kind)
    del spec["schema"]
    if not (path / TABLE).is_file():
        raise InputError(
            f"Expected finished simulations in {str(directory)!r}; got unfinished ones. "
            "The call that began them goes on with them."
        )
    return pd.read_parquet(path / TABLE), spec


def _settings(spec: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"schema": f"prefstrength/{kind.lower()}/1", **spec}


def _read(path: Path, kind: str) -> dict[str, Any]:
    return read_saved(path, (_SETTINGS,), f"a {kind}", _settings({}, kind)["schema"])
