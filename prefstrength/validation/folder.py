"""The folder of simulations: their settings, parts as they are made, the finished table."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.files import atomic_directory, write_parquet
from prefstrength._shared.folder import Folder
from prefstrength._shared.records import require_schema
from prefstrength.errors import InputError

__all__ = ["load", "save"]

TABLE, PART = "simulations.parquet", "part-{:06d}.parquet"


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
    folder = Folder(Path(directory), "simulations")
    if (folder.path / TABLE).is_file() and (folder.path / folder.record).is_file():
        _spec(folder, kind)  # of another kind it stops here
    # Parts are no files of a finished set: they are somebody's hours.
    with atomic_directory(directory, replaces=(TABLE, folder.record)) as temporary:
        write_parquet(temporary / TABLE, frame)
        Folder(temporary, "simulations").write(_settings(spec, kind))
    return folder.path


def load(directory: str | os.PathLike[str], kind: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a finished set of simulations."""
    folder = Folder(Path(directory), "simulations")
    spec = _spec(folder, kind)
    if not (folder.path / TABLE).is_file():
        raise InputError(
            f"Expected finished simulations in {str(directory)!r}; got unfinished ones. "
            "The call that began them goes on with them."
        )
    return pd.read_parquet(folder.path / TABLE), spec


def _settings(spec: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"schema": f"prefstrength/{kind.lower()}/1", **spec}


def _spec(folder: Folder, kind: str) -> dict[str, Any]:
    spec = folder.read()
    require_schema(spec, _settings({}, kind)["schema"], f"a {kind} in {str(folder.path)!r}")
    del spec["schema"]
    return spec
