"""The folder in which simulations are kept, and refused where settings differ."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._shared.files import atomic_directory, atomic_write_bytes, atomic_write_text
from prefstrength.errors import InputError

__all__ = ["load", "save"]

TABLE, _SETTINGS, PART = "simulations.parquet", "settings.json", "part-{:06d}.parquet"


# -- files ---------------------------------------------------------------------------------------


def kept_in(folder: Path, spec: dict[str, Any], kind: str) -> list[pd.DataFrame]:
    """Simulations made before with the same settings; an empty folder is begun."""
    if not (folder / _SETTINGS).is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"Expected an empty folder or one of earlier simulations; got {str(folder)!r}, "
                "which holds other files. Give another."
            )
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / _SETTINGS, _settings(spec, kind))
        return []
    before = _read_settings(folder, kind)
    other = [
        n for n in spec if n != "versions" and before.get(n) != json.loads(json.dumps(spec[n]))
    ]
    if other:
        raise InputError(
            f"Expected simulations with the same settings in {str(folder)!r}; got another "
            f"{', '.join(other)}. Give another folder, or delete that one."
        )
    paths = [*folder.glob("part-*.parquet"), *folder.glob(TABLE)]
    frames = [pd.read_parquet(path) for path in sorted(paths)]
    if not frames:
        return []
    # A run that ended between the last two steps has left parts beside the whole.
    return [pd.concat(frames).drop_duplicates(["simulation", "variable"])]


def save(
    directory: str | os.PathLike[str], frame: pd.DataFrame, spec: dict[str, Any], kind: str
) -> Path:
    """Write a finished set of simulations, in place of one of the same kind or of none."""
    if (Path(directory) / TABLE).is_file() and (Path(directory) / _SETTINGS).is_file():
        _read_settings(Path(directory), kind)  # of another kind it stops here
    # Parts are no files of a finished set: they are somebody's hours.
    with atomic_directory(directory, replaces=(TABLE, _SETTINGS)) as temporary:
        write(frame, temporary / TABLE)
        atomic_write_text(temporary / _SETTINGS, _settings(spec, kind))
    return Path(directory)


def load(directory: str | os.PathLike[str], kind: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a finished set of simulations."""
    folder = Path(directory)
    spec = _read_settings(folder, kind)
    if not (folder / TABLE).is_file():
        raise InputError(
            f"Expected finished simulations in {str(folder)!r}; got unfinished ones. "
            "The call that began them goes on with them."
        )
    return pd.read_parquet(folder / TABLE), spec


def write(frame: pd.DataFrame, path: Path) -> None:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    atomic_write_bytes(path, buffer.getvalue())


def _settings(spec: dict[str, Any], kind: str) -> str:
    return json.dumps({"schema": _schema(kind), **spec}, indent=2, ensure_ascii=False)


def _schema(kind: str) -> str:
    return f"prefstrength/{kind.lower()}/1"


def _read_settings(folder: Path, kind: str) -> dict[str, Any]:
    path = folder / _SETTINGS
    if not path.is_file():
        raise InputError(
            f"Expected a {kind} saved in {str(folder)!r}; got no {_SETTINGS} there. Check the path."
        )
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
        schema = spec.pop("schema")
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"Expected {_SETTINGS} of {str(folder)!r} to hold settings; got {error}."
        ) from None
    if schema != _schema(kind):
        raise InputError(
            f"Expected a {kind} of schema {_schema(kind)!r} in {str(folder)!r}; got {schema!r}."
        )
    return spec
