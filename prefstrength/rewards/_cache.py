"""Scores of single responses on disk: Parquet shards, each written whole or not at all."""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from prefstrength._files import atomic_write_bytes, atomic_write_text
from prefstrength.errors import InputError


def columns(outputs: Sequence[str]) -> list[str]:
    """Columns of a shard, one row a response.

    Key, tokens, whether it was truncated, and each output: in its batch, and when scored alone
    (missing for most).
    """
    alone = [f"{output}_alone" for output in outputs]
    return ["key", "tokens", "truncated", *outputs, *alone]


class ScoreCache:
    """Scores under one identity: everything of a reward that can change a score.

    Parameters
    ----------
    folder : path
        Where all caches live; each identity has a folder of its own below it, with an
        ``identity.json`` that says which reward it is.
    identity : dict
        JSON-serialisable. Together with prompt and response it is the key of a score.
    outputs : sequence of str
        Names of the numbers that are kept for every response.
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
        if Path(folder).exists() and not Path(folder).is_dir():
            raise InputError(
                f"The cache expects a folder; got the file {os.fspath(folder)!r}. "
                "Give a folder, which may be new."
            )

    def key(self, content: str) -> str:
        """Return the key of a response by its content, as hexadecimal sha256."""
        return _sha256(self._identity + "\0" + content)

    def load(self) -> pd.DataFrame:
        """Return all scores kept so far, indexed by key."""
        shards = []
        for path in sorted(self.folder.glob("*.parquet")):
            try:
                shards.append(pd.read_parquet(path, columns=self.columns))
            except (OSError, ValueError, KeyError) as error:
                raise InputError(
                    f"The cache expects Parquet files with the columns {', '.join(self.columns)}; "
                    f"got {os.fspath(path)!r}, which cannot be read. It may have been damaged or "
                    "put there by hand. Delete that file; its responses are scored again."
                ) from error
        if not shards:
            return pd.DataFrame(columns=self.columns[1:], index=pd.Index([], name="key"))
        table = pd.concat(shards, ignore_index=True)
        return table.drop_duplicates("key").set_index("key")

    def add(self, shard: pd.DataFrame) -> None:
        """Keep a shard: one row a response, the columns of ``self.columns``."""
        about = self.folder / "identity.json"
        if not about.exists():
            atomic_write_text(about, json.dumps(json.loads(self._identity), indent=2) + "\n")
        buffer = io.BytesIO()
        shard[self.columns].to_parquet(buffer, index=False)
        # named by what it holds: two runs that score the same write the same file
        name = _sha256("\n".join(shard["key"]))[:16]
        atomic_write_bytes(self.folder / f"{name}.parquet", buffer.getvalue())


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
