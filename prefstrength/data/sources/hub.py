"""Files of public datasets: from the hub or from a local folder, the same way."""

import hashlib
import hmac
import inspect
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import Rows, listed, warn
from prefstrength.data.messages import Message
from prefstrength.errors import InputError

#: Endings under which a file may lie in a local folder; the hub has the first two.
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class DataSource:
    """A public dataset: its name, where it lives and on what terms, and how it becomes pairs.

    Parameters
    ----------
    name : str
        What :func:`~prefstrength.load_pairs` calls it.
    repository : str
        On the Hugging Face hub.
    licence, citation : str
        Kept with the pairs, in ``attrs["source"]``.
    choosers, groups : str
        Who chose, and what to group by: the row of the table in docs/sources.md.
    load : callable
        From a :class:`Place` to pairs, by :func:`finish`; its other parameters are the source's
        own options.
    splits : tuple of str
        Which there are.
    identifiers : tuple of str
        Columns that ``hash_ids`` replaces.
    """

    name: str
    repository: str
    licence: str
    citation: str
    choosers: str
    groups: str
    load: Callable[..., pd.DataFrame]
    splits: tuple[str, ...] = ("train",)
    identifiers: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """Names of the options that this source has besides those of all."""
        return list(inspect.signature(self.load).parameters)[1:]


@dataclass(frozen=True)
class Place:
    """A folder, or a repository on the hub, and what is wanted from it."""

    source: DataSource
    path: str
    local: bool
    revision: str | None
    split: str
    conversational: bool

    def has(self, stem: str) -> bool:
        """Whether the folder holds the file; the hub is taken at its word."""
        return not self.local or any((Path(self.path) / (stem + e)).is_file() for e in ENDINGS)

    def read(self, stem: str, columns: Sequence[str], ending: str = ".jsonl") -> pd.DataFrame:
        """Read one file, named without its ending, and check its columns.

        Parameters
        ----------
        stem : str
            Path inside the folder or repository, such as ``"helpful-base/train"``.
        columns : sequence of str
            Columns that must be there; others are kept.
        ending : str
            What the file is called on the hub.
        """
        file = self._local_file(stem) if self.local else stem + ending
        frame = self._load(file)
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise InputError(
                f"{self.source.name} should have the columns {listed(columns, most=20)} in "
                f"{self.said(file)}; got no {listed(missing)} among {listed(frame.columns)}. It "
                "may be another file or an older release. Download it again from "
                f"{self.source.repository}."
            )
        if frame.empty:
            raise InputError(
                f"{self.source.name} should have rows in {self.said(file)}; got none. The "
                f"download may have stopped. Download it again from {self.source.repository}."
            )
        return frame

    def said(self, file: str) -> str:
        """Say where a file is, for a sentence."""
        return f"{self.path}/{file}" if self.local else f"{file} of {self.path} on the hub"

    def _local_file(self, stem: str) -> str:
        folder = Path(self.path)
        for ending in ENDINGS:
            if (folder / (stem + ending)).is_file():
                return stem + ending
        held = sorted(p.name for p in (folder / stem).parent.glob("*")) or ["nothing"]
        raise InputError(
            f"{self.source.name} should have the file {self.path}/{stem}{ENDINGS[0]} (or with the "
            f"ending {' or '.join(ENDINGS[1:])}); got {listed(held)} there. The folder may be the "
            f"one above or below. Give the folder that looks like {self.source.repository} on the "
            "hub."
        )

    def _load(self, file: str) -> pd.DataFrame:
        try:
            import datasets
        except ImportError as error:
            raise InputError(
                "load_pairs needs the package datasets; got none. It is no part of a plain "
                "installation. Install it: pip install datasets."
            ) from error
        options: dict[str, Any] = {"data_files": {"train": file}, "split": "train"}
        if self.local:
            # datasets keeps an Arrow copy of what it reads: of a local folder, not for longer
            # than the reading takes
            with tempfile.TemporaryDirectory() as cache:
                return self._frame(datasets, str(Path(self.path).resolve()), cache, file, options)
        return self._frame(datasets, self.path, None, file, {**options, "revision": self.revision})

    def _frame(
        self, datasets: Any, path: str, cache: str | None, file: str, options: dict[str, Any]
    ) -> pd.DataFrame:
        try:
            frame = datasets.load_dataset(path, cache_dir=cache, **options).to_pandas()
        # a hub client raises a dozen kinds of errors, and a parser more; the next step is the
        # same, and the cause stays in the traceback
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            if self.local:
                raise InputError(
                    f"{self.source.name} should have JSON lines in {self.said(file)}; got "
                    f"{type(error).__name__}: {reason} The file may be damaged or cut off. "
                    f"Download it again from {self.source.repository}."
                ) from error
            raise InputError(
                f"{self.source.name} should be found at {self.path!r}, a folder here or a dataset "
                f"on the hub; got {type(error).__name__}: {reason} There is no such folder, and "
                "the hub may be out of reach. Check name and network, or give a downloaded folder."
            ) from error
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"datasets returned {type(frame).__name__}, not a DataFrame.")
        return frame


def locate(
    source: DataSource,
    path_or_hub: str | os.PathLike[str] | None,
    *,
    revision: str | None,
    split: str,
    conversational: bool,
) -> Place:
    """Decide whether a folder or a hub repository is meant, without asking the network."""
    place = Place(source, source.repository, False, revision, split, conversational)
    if path_or_hub is None:
        return place
    path = os.path.expanduser(os.fspath(path_or_hub))
    if Path(path).is_dir():
        return replace(place, path=path, local=True, revision=None)
    if Path(path).exists():
        raise InputError(
            f"{source.name} should come from a folder; got the file {path!r}. Several files may "
            "belong together. Give the folder that holds it."
        )
    if isinstance(path_or_hub, str) and _HUB_NAME.fullmatch(path_or_hub):
        return replace(place, path=path_or_hub)
    raise InputError(
        f"{source.name} should come from a folder or a dataset on the hub; got {path!r}, which "
        f"does not exist. Check the path, or leave it out to load {source.repository!r}."
    )


# -- what a loader leaves out ----------------------------------------------------------------


class LeftOut:
    """Rows that become no pair: each reason with its count and the first three labels.

    Parameters
    ----------
    rows : pandas.Index or sequence of str
        Of all rows that may become pairs.
    """

    def __init__(self, rows: pd.Index | Sequence[str]) -> None:
        self._labels = Rows(rows).labels() if isinstance(rows, pd.Index) else list(rows)
        self._where: dict[str, list[str]] = {}

    def add(self, reason: str, row: int) -> None:
        """Count a row under a reason."""
        self._where.setdefault(reason, []).append(self._labels[row])

    def records(self) -> list[dict[str, Any]]:
        """Return reason, count and first rows; JSON-serialisable."""
        return [
            {"reason": reason, "count": len(rows), "rows": rows[:3]}
            for reason, rows in self._where.items()
        ]


def finish(
    frame: pd.DataFrame, place: Place, files: Iterable[str], left_out: LeftOut
) -> pd.DataFrame:
    """Attach the provenance, and say what was left out."""
    records = left_out.records()
    if frame.empty:
        reasons = "; ".join(f"{r['reason']}: {r['count']:,}" for r in records) or "no row fits"
        raise InputError(
            f"{place.source.name} should give pairs; got none from {place.path!r} ({reasons}). "
            f"The files may be cut off. Download them again from {place.source.repository}."
        )
    frame.attrs["source"] = {
        "name": place.source.name,
        "repository": place.source.repository,
        "path": place.path,
        "revision": place.revision,
        "files": list(files),
        "split": place.split,
        "pairs": len(frame),
        "dropped": records,
        "licence": place.source.licence,
        "citation": place.source.citation,
    }
    if records:
        parts = "; ".join(
            f"{r['count']:,} {r['reason']} (first: {', '.join(r['rows'])})" for r in records
        )
        warn(f"load_pairs({place.source.name!r}) made {len(frame):,} pairs and left out: {parts}.")
    return frame


# -- texts -----------------------------------------------------------------------------------


def is_blank(text: Any) -> bool:
    """Whether a response is missing or empty."""
    return not isinstance(text, str) or not text.strip()


def transcript(messages: Sequence[Message]) -> str:
    r"""Write a prompt as one text that a response can be appended to.

    Examples
    --------
    >>> transcript([{"role": "user", "content": "Hi!"}])
    '\n\nHuman: Hi!\n\nAssistant:'
    """
    names = {"user": "Human", "assistant": "Assistant"}
    turns = [f"\n\n{names.get(m['role'], m['role'].title())}: {m['content']}" for m in messages]
    return "".join(turns) + "\n\nAssistant:"


def write_texts(
    prompt: list[Message], chosen: str, rejected: str, conversational: bool
) -> dict[str, Any]:
    """Return the three texts of a pair as TRL wants them: messages, or plain texts."""
    if conversational:
        return {
            "prompt": prompt,
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
        }
    return {"prompt": transcript(prompt), "chosen": f" {chosen}", "rejected": f" {rejected}"}


# -- identifiers -----------------------------------------------------------------------------


def hash_columns(frame: pd.DataFrame, columns: Sequence[str], salt: str | None) -> pd.DataFrame:
    """Replace identifiers by keyed hashes, the same for the same identifier and salt.

    Parameters
    ----------
    frame : DataFrame
        Changed in place and returned.
    columns : sequence of str
        Columns that hold identifiers.
    salt : str, optional
        Key of the hashes; without one a new random key is drawn and forgotten, so that nobody
        can try out identifiers, and a second load gives other hashes.
    """
    if salt is not None and not (isinstance(salt, str) and salt):
        raise InputError("salt should be a text that is not empty. Leave it out for a random one.")
    key = (salt or secrets.token_hex(32)).encode()
    for name in columns:
        codes, labels = pd.factorize(frame[name])
        hashed = [
            hmac.new(key, str(label).encode(), hashlib.sha256).hexdigest()[:16] for label in labels
        ]
        frame[name] = np.array(hashed, dtype=object)[codes]
    return frame
