"""Scores of single responses on disk: Parquet files, each written whole or not at all."""

import hashlib
import io
import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefstrength._shared.files import atomic_write_bytes, atomic_write_text
from prefstrength.errors import InputError

#: A file of this many rows or more is left as it is; smaller ones are merged.
SHARD = 65_536
#: Batches that a run keeps before they are merged into one file.
BATCHES = 64
#: Age in seconds at which a temporary file can only be what a killed process left.
STALE = 3600
#: File beside the folders of scores that says how they came about.
PROVENANCE = "provenance.json"


def columns(outputs: Sequence[str]) -> list[str]:
    """Columns of a file, one row a response.

    Key, tokens, whether it was truncated, and each output: in its batch, and when scored alone
    (missing for most).
    """
    alone = [f"{output}_alone" for output in outputs]
    return ["key", "tokens", "truncated", *outputs, *alone]


class ScoreCache:
    """Scores under one identity: everything of a reward that can change a score.

    A context manager: inside, :meth:`add` keeps one batch at a time in a file of its own, and
    small files become large ones: at the beginning, now and then, and at the end.

    Parameters
    ----------
    folder : path
        Where all caches live; each identity has a folder of its own below it, with an
        ``identity.json`` that says which reward it is.
    identity : dict
        JSON-serialisable. Together with prompt and response it is the key of a score.
    outputs : sequence of str
        Names of the numbers that are kept for every response.

    Notes
    -----
    A batch is there as soon as it is scored: written under a temporary name and renamed, so that
    a process that is killed at any moment loses the batch it was at and nothing else. A file is
    deleted only after another one holds all its rows, and what stands in two files is read once.
    Several processes may therefore write to, merge and read one folder at the same time.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        identity: dict[str, Any],
        outputs: Sequence[str] = ("reward",),
    ) -> None:
        self.columns = columns(outputs)
        self._identity = json.dumps(identity, sort_keys=True, ensure_ascii=False)
        self.folder = Path(folder) / _sha256(self._identity)[:16]
        self._since_merge = 0
        self._large: set[str] = set()
        #: Batches of our own by the name of their file, which need not be read again.
        self._added: dict[str, pd.DataFrame] = {}
        if Path(folder).exists() and not Path(folder).is_dir():
            raise InputError(
                f"The cache expects a folder; got the file {os.fspath(folder)!r}. "
                "Give a folder, which may be new."
            )

    def __enter__(self) -> Self:
        self.merge()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._since_merge:
            self.merge()

    def key(self, content: str) -> str:
        """Return the key of a response by its content, as hexadecimal sha256."""
        return _sha256(self._identity + "\0" + content)

    def find(self, keys: Sequence[str]) -> pd.DataFrame:
        """Return the scores of those of ``keys`` that are there, indexed by key.

        Takes one file into memory at a time, and keeps of it what was asked for.
        """
        wanted = pd.Index(keys)
        while True:
            found: list[pd.DataFrame] = []
            vanished = False
            for path in self._files():
                table = self.read_file(path)
                if table is None:  # merged by another process: its rows lie in a newer file
                    vanished = True
                    break
                found.append(table[wanted.get_indexer(table["key"]) >= 0])
            if not vanished:
                break
        found = [table for table in found if len(table)]
        if not found:
            return pd.DataFrame(columns=self.columns[1:], index=pd.Index([], name="key"))
        return pd.concat(found, ignore_index=True).drop_duplicates("key").set_index("key")

    def add(self, batch: pd.DataFrame) -> None:
        """Keep the scores of a batch: one row a response, the columns of ``self.columns``."""
        about = self.folder / "identity.json"
        if not about.exists():
            atomic_write_text(about, json.dumps(json.loads(self._identity), indent=2) + "\n")
        batch = batch[self.columns]
        self._added[self._write(batch).name] = batch
        self._since_merge += 1
        if self._since_merge >= BATCHES:
            self.merge()

    def merge(self) -> None:
        """Make the small files one, also those that a killed run has left."""
        self._since_merge = 0
        for path in self.folder.glob(".*.parquet.*"):
            delete_stale(path)
        small: dict[Path, pd.DataFrame] = {}
        rows = 0
        for path in self._files():
            if path.name in self._large:
                continue
            added = self._added.get(path.name)
            table = self.read_file(path) if added is None else added
            if table is None:
                continue
            if len(table) >= SHARD:
                self._large.add(path.name)
                continue
            small[path] = table
            rows += len(table)
            if rows >= SHARD:
                self._replace(small)
                small, rows = {}, 0
        self._replace(small)
        self._added.clear()

    def _replace(self, small: dict[Path, pd.DataFrame]) -> None:
        """Write one file with the rows of several, then delete those."""
        if len(small) < 2:
            return
        # under a name that nobody has read: another process may be about to delete any other
        table = pd.concat(small.values(), ignore_index=True).drop_duplicates("key")
        self._write(table, uuid.uuid4().hex)
        for path in small:
            path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.parquet") if path.name[0] != ".")

    def read_file(self, path: Path) -> pd.DataFrame | None:
        """Rows of a file; None where another process has merged it meanwhile."""
        try:
            return pd.read_parquet(path, columns=self.columns)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"The cache expects Parquet files with the columns {', '.join(self.columns)}; "
                f"got {os.fspath(path)!r}, which cannot be read. It may have been damaged or "
                "put there by hand. Delete that file; its responses are scored again."
            ) from error

    def _write(self, table: pd.DataFrame, unique: str = "") -> Path:
        buffer = io.BytesIO()
        # pandas' own way to Parquet takes twice as long, and a batch may be scored in milliseconds
        arrays = {name: pa.array(table[name].to_numpy()) for name in self.columns}
        pq.write_table(pa.table(arrays), buffer, use_dictionary=False, write_statistics=False)
        # named by what it holds: two runs that score the same batch write the same file
        name = _sha256("\n".join(table["key"]) + unique)[:16]
        return atomic_write_bytes(self.folder / f"{name}.parquet", buffer.getvalue())


def delete_stale(path: Path) -> None:
    """Delete a temporary file whose process must have been killed."""
    try:
        if time.time() - path.stat().st_mtime > STALE:
            path.unlink()
    except FileNotFoundError:
        pass


def load_provenance(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what :func:`keep_provenance` has written; empty where it has not."""
    paths = sorted(Path(folder).glob(f"*/{PROVENANCE}"))
    kept = _read_provenance(Path(folder) / PROVENANCE)
    return kept | {path.parent.name: _read_provenance(path) for path in paths}


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):  # what the folder is, the cache says
        return {}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The cache expects a JSON object in {os.fspath(path)!r}; got something else: {error}. "
            "It may have been edited. Delete that file; it is written again."
        ) from error


def keep_provenance(folder: str | os.PathLike[str], rewards: Iterable[dict[str, Any]]) -> None:
    """Write what is known of kept scores to ``provenance.json`` beside them.

    One entry for each folder of scores: how it was last used, and how it was last added to
    (``engine``). Rewards that keep no scores have none. Each entry is a file in its own folder,
    and the one beside the folders gathers them.
    """
    new = {about["kept_in"]: about for about in rewards if about.get("kept_in")}
    if not new:
        return
    kept = load_provenance(folder)
    for name, about in new.items():
        # nothing was added: what is known of the last addition stays
        engine = about["engine"] or kept.get(name, {}).get("engine", {})
        atomic_write_text(
            Path(folder) / name / PROVENANCE, _provenance_text({**about, "engine": engine})
        )
    # Other processes gather as well. Each looks again after it has written, so that whichever
    # writes last has seen the entries of all.
    text = None
    while text != (text := _provenance_text(load_provenance(folder))):
        atomic_write_text(Path(folder) / PROVENANCE, text)


def _provenance_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def folder_fingerprint(folder: Path, patterns: Sequence[str]) -> str:
    """Return the sha256 of the files of a folder that match, names and contents."""
    digest = hashlib.sha256()
    names = {path.name: path for pattern in patterns for path in folder.glob(pattern)}
    for name in sorted(names):
        with names[name].open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
