"""Parquet files as a user names them: found, looked at, and told apart by their content."""

import glob
import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefstrength._shared.words import listed, shown
from prefstrength.data.formats import absent
from prefstrength.errors import InputError

__all__ = ["look_at", "no_rows", "parquet_files", "require_storable"]

_ENDINGS = (".parquet", ".pq")
# Pieces of a file, evenly spread, that its fingerprint is taken from, and their bytes.
_SAMPLES, _SAMPLED = 16, 65_536


def parquet_files(files: Any) -> list[Path]:
    """Find the files.

    Parameters
    ----------
    files : path, str or sequence of them
        Files, folders of Parquet files and globs.

    Raises
    ------
    InputError
        If there is no file, or one is named twice or is of another format.
    """
    given = [files] if isinstance(files, str | os.PathLike) else list(files)
    if not given:
        raise InputError(
            "Expected at least one Parquet file; got an empty list. Name files, folders or globs."
        )
    paths: list[Path] = []
    for one in given:
        if not isinstance(one, str | os.PathLike):
            raise TypeError(
                f"Expected paths of Parquet files; got {type(one).__name__}. Data in memory need "
                "no streaming: use Choices.from_pairs(frame), or score(frame, reward)."
            )
        paths += _expanded(Path(one))
    resolved = [path.resolve() for path in paths]
    twice = [path for path in paths if resolved.count(path.resolve()) > 1]
    if twice:
        raise InputError(
            f"Each file should be named once; got {listed(sorted({p.name for p in twice}), 3)} "
            "several times. Its pairs would count twice. Correct the list or the glob."
        )
    return paths


def no_rows(paths: Iterable[Path]) -> InputError:
    """An error about files that are all empty."""
    return InputError(
        f"The files should hold at least one row; got 0 rows in {listed(p.name for p in paths)}. "
        "The step that wrote them may have filtered everything out. Check that step."
    )


def require_storable(frame: pd.DataFrame) -> None:
    """Stop where a table has a column that Parquet cannot hold, also one that nothing reads."""
    twice = list(frame.columns[frame.columns.duplicated()])
    if twice:
        raise InputError(
            f"Column names should be unique; got {listed(twice, 3)} more than once. A join may "
            "have doubled them. Rename or delete one."
        )
    for position, name in enumerate(frame.columns):
        values = frame.iloc[:, position]
        if values.dtype.kind in "biuf":
            continue
        try:
            array = pa.array(values, from_pandas=True)
            pq.write_table(pa.table({"column": array[:1]}), io.BytesIO())
        except (pa.ArrowException, ValueError, TypeError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"Every column should be of one type, so that the pairs can be kept as Parquet; "
                f"got column {shown(name)}, which cannot be ({reason}). Drop it, or make it text: "
                f"frame[{name!r}] = frame[{name!r}].astype(str)."
            ) from error


def look_at(path: Path) -> tuple[pa.Schema, int, str]:
    """Schema of a file, its rows, and a fingerprint of its content; only the footer is read."""
    try:
        with pq.ParquetFile(path) as parquet:
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
        return schema, rows, _fingerprint(path)
    except PermissionError as error:
        raise InputError(
            f"The file {path.name} should be readable; got {error}. Check its permissions."
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"The file {path.name} should be a Parquet file; got {path.stat().st_size:,} bytes "
            "that cannot be read as one. A copy or download may have stopped early. Copy it again."
        ) from error


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(
            p
            for p in path.iterdir()
            if p.suffix in _ENDINGS and p.is_file() and not p.name.startswith(".")
        )
        if not found:
            raise InputError(
                f"A folder should hold Parquet files; got {str(path)!r} without any. Files in the "
                "folders inside are not read: name them by a glob, such as 'pairs/**/*.parquet'."
            )
        return found
    if path.is_file():
        if path.suffix not in _ENDINGS:
            raise InputError(
                f"Only Parquet is read as a stream; got {path.name}. Other formats have no "
                "columns to read alone. Write Parquet, as pandas.DataFrame.to_parquet does, or "
                "use read_choices(path) if the data fit in memory."
            )
        return [path]
    if glob.has_magic(str(path)):
        found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if not found:
            raise InputError(
                f"The glob {str(path)!r} should match Parquet files; got none. Check the path."
            )
        odd = [p.name for p in found if p.suffix not in _ENDINGS]
        if odd:
            raise InputError(
                f"The glob {str(path)!r} should match Parquet files only; got {listed(odd, 3)}. "
                "Narrow it."
            )
        return found
    raise InputError(absent(path))


def _fingerprint(path: Path) -> str:
    """Tells files of different content apart, whatever their names, in a moment for any size."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        footer = int.from_bytes(stream.read(4), "little")
        stream.seek(-8 - footer, os.SEEK_END)
        digest.update(stream.read(footer))
        for k in range(_SAMPLES):
            stream.seek(max(0, size - _SAMPLED) * k // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLED))
    return digest.hexdigest()[:32]
