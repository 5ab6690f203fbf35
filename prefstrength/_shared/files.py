"""Files that are whole or absent: write under a temporary name, then rename."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength.errors import InputError


def atomic_write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write ``content`` to ``path`` so that no reader ever sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        _default_permissions(temporary)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def atomic_write_text(path: str | os.PathLike[str], content: str) -> Path:
    """Write text as UTF-8; see :func:`atomic_write_bytes`."""
    return atomic_write_bytes(path, content.encode("utf-8"))


def write_json(
    path: str | os.PathLike[str],
    record: Mapping[str, Any],
    default: Callable[[Any], Any] | None = None,
) -> Path:
    """Write a record as JSON; ``default`` makes something of what JSON does not know."""
    text = json.dumps(record, indent=2, ensure_ascii=False, default=default)
    return atomic_write_text(path, text + "\n")


def write_parquet(path: str | os.PathLike[str], frame: pd.DataFrame) -> Path:
    """Write a frame as Parquet, without its index."""
    return atomic_write_bytes(path, frame.to_parquet(index=False, compression="zstd"))


def write_csv(path: str | os.PathLike[str], frame: pd.DataFrame) -> Path:
    """Write a frame as CSV, without its index."""
    return atomic_write_text(path, frame.to_csv(index=False))


def require_folder(path: str | os.PathLike[str], holds: str) -> None:
    """Stop where a file is in the place of a folder."""
    if Path(path).exists() and not Path(path).is_dir():
        raise InputError(
            f"Expected a folder for {holds}; got the file {os.fspath(path)!r}. Name a folder, "
            "which may be new."
        )


def require_replaceable(
    path: str | os.PathLike[str], names: Sequence[str], beside: Sequence[str] = ()
) -> None:
    """Stop where writing a directory would take away what somebody else put there.

    What is absent or empty can be written, and what an earlier save of the same kind left: files
    of these ``names`` and nothing else, among them the first, by which the kind is known. Folders
    that are named in ``beside`` may be there too.
    """
    path = Path(path)
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(
            f"Expected a directory to write; got the file {str(path)!r}, which would be replaced. "
            "Name another one."
        )
    there = sorted(p for p in path.iterdir() if not (p.name in beside and p.is_dir()))
    other = [each.name for each in there if each.name not in names or not each.is_file()]
    if other or (there and not (path / names[0]).is_file()):
        shown = other or [each.name for each in there]
        more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
        raise InputError(
            f"Expected a new directory, an empty one, or one with nothing but {names[0]} and what "
            f"is saved along; got {str(path)!r}, which holds something else "
            f"({', '.join(shown[:3])}{more}). It would be replaced. Name another one."
        )


def require_own_tables(
    folder: str | os.PathLike[str], names: Sequence[str], columns: Sequence[str]
) -> None:
    """Stop where writing files would replace somebody else's of the same names.

    They are ours where the first, a CSV, begins with these columns.
    """
    there = [name for name in names if (Path(folder) / name).exists()]
    if not there:
        return
    try:
        with (Path(folder) / names[0]).open(encoding="utf-8") as stream:
            ours = stream.readline().strip().split(",")[: len(columns)] == list(columns)
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise InputError(
            f"Expected a folder in which {', '.join(names)} can be written; got "
            f"{os.fspath(folder)!r}, which holds {', '.join(there)} of somebody else's. Choose "
            "another folder, or move what is yours elsewhere."
        )


@contextmanager
def atomic_directory(
    path: str | os.PathLike[str], replaces: Sequence[str] | None
) -> Iterator[Path]:
    """Yield a temporary directory that takes the place of ``path`` when the block ends well.

    A directory of that name is replaced as a whole if it is of the same kind
    (:func:`require_replaceable` with the names ``replaces``; ``None`` where the block itself
    carries over what was there), else InputError. When the block raises, it stays as it was and
    the temporary one is removed.
    """
    path = Path(path)
    if replaces is not None:
        require_replaceable(path, replaces)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        _default_permissions(temporary, directory=True)
        if replaces is not None:  # again, for what came meanwhile
            require_replaceable(path, replaces)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            os.replace(path, old / path.name)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _default_permissions(path: str | os.PathLike[str], *, directory: bool = False) -> None:
    """Give a file made by ``tempfile`` (mode 0600) the permissions an ordinary one would have."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, (0o777 if directory else 0o666) & ~mask)
