"""Compressed choices as a record: sums after one pass, and a random sample to look at."""

import hashlib
import html
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from prefstrength._shared.files import atomic_directory, require_replaceable, write_json
from prefstrength._shared.records import read_saved
from prefstrength._shared.words import listed
from prefstrength.data.choices import Choices
from prefstrength.data.compressed import panels
from prefstrength.data.compressed.grid import Binned, gauss_rule
from prefstrength.data.compressed.parquet import Columns
from prefstrength.data.compressed.sums import ROW, Part, Sums
from prefstrength.data.factor import Dropped, Factor
from prefstrength.errors import InputError

__all__ = ["CompressedChoices", "load_compressed"]

_SCHEMA = "prefstrength/compressed/2"
_FILES = ("compressed.json", "sums.npz")
_ARRAYS = ("cells", "cell_rows", "sample")
_PAIR_ARRAYS = ("binned_cell", "binned_bin", "binned_sums")
_PANEL_ARRAYS = ("row_chooser", "row_cell", "state", "whole")


@dataclass(frozen=True, eq=False, repr=False)
class CompressedChoices:
    """Pairs of any number, summed up for the likelihood; made by :func:`compress_choices`.

    It takes the place of :class:`~prefstrength.Choices` in :meth:`MixedLogit.fit
    <prefstrength.MixedLogit.fit>`. Without choosers it holds four sums for each bin of a fixed
    grid of differences, with choosers the log-likelihood of each one as a function of the
    strength; both add up over parts of the data. A random sample of rows is kept for figures and
    predictive checks, and for the certificate of the likelihood.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np, pandas as pd, prefstrength as ps
    >>> rewards = np.random.default_rng(0).normal(size=(500, 2))
    >>> frame = pd.DataFrame(rewards, columns=["reward_chosen", "reward_rejected"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frame[:300].to_parquet(f"{folder}/a.parquet")
    ...     frame[300:].to_parquet(f"{folder}/b.parquet")
    ...     a, b = (ps.compress_choices(f"{folder}/{n}.parquet", progress=False) for n in "ab")
    ...     saved = ps.load_compressed(a.merge(b).save(f"{folder}/both"))
    >>> saved.n_situations
    500
    """

    columns: Columns
    levels: Mapping[str, list[Any]]
    cells: np.ndarray  # (cell, group) codes of the levels
    cell_rows: np.ndarray  # (cell,) situations
    bits: int
    files: list[dict[str, Any]]
    sample: np.ndarray  # (row,) of ROW
    # without choosers
    binned: Binned | None = None
    # with choosers; one row for each chooser and cell, sorted
    chooser_labels: list[Any] = field(default_factory=list)
    scale_of_tables: float | None = None
    row_chooser: np.ndarray | None = None
    row_cell: np.ndarray | None = None
    state: np.ndarray | None = None
    whole: np.ndarray = field(default_factory=lambda: np.zeros(0, ROW))
    whole_below: int = 2**64 - 1

    # -- as Choices have it ------------------------------------------------------------------

    @property
    def attributes(self) -> tuple[str, ...]:
        """The one attribute."""
        return (self.columns.attribute,)

    @property
    def n_situations(self) -> int:
        """Number of situations: rows of the files."""
        return int(self.cell_rows.sum())

    @property
    def n_alternatives(self) -> int:
        """Two: these are pairs."""
        return 2

    @property
    def n_choosers(self) -> int:
        """Number of choosers; 0 where nobody said who chose."""
        return len(self.chooser_labels)

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """Nothing is left out of a stream."""
        return ()

    @cached_property
    def choosers(self) -> tuple[str, ...]:
        """Labels of the choosers."""
        return tuple(str(label) for label in self.chooser_labels)

    def scale(self, attribute: str) -> float:
        """Root mean square of the differences; see :meth:`Choices.scale`."""
        if attribute not in self.attributes:
            raise InputError(
                f"Expected the attribute {self.columns.attribute!r}; got {attribute!r}. Another "
                "attribute needs a pass over the files of its own."
            )
        total, _, square = self.cell_moments.sum(axis=0)
        return float(np.sqrt(square / total))

    # -- rows: what the likelihood is made of --------------------------------------------------

    @cached_property
    def points(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self.binned is not None
        x, weight, entry = gauss_rule(self.binned)
        return x, weight, self.binned.cell[entry]

    @property
    def row_codes(self) -> np.ndarray:
        """Cell of each row: of the points that stand for pairs, or of a chooser's sums."""
        return self.points[2] if self.row_cell is None else self.row_cell

    @property
    def weights(self) -> np.ndarray:
        """Weight of each row."""
        return self.points[1] if self.state is None else panels.moment(self.state, "weight")

    @property
    def chooser(self) -> np.ndarray | None:
        """Position of each row's chooser in ``choosers``."""
        return self.row_chooser

    @cached_property
    def groups(self) -> Mapping[str, Factor]:
        """The groups, with the code of each row."""
        return MappingProxyType(
            {
                name: Factor(
                    name, self.cells[self.row_codes, g], tuple(str(v) for v in self.levels[name])
                )
                for g, name in enumerate(self.columns.groups)
            }
        )

    @cached_property
    def cell_moments(self) -> np.ndarray:
        """Sums of w, wx and wx² over each cell."""
        if self.binned is not None:
            return self.binned.moments(len(self.cells))
        assert self.state is not None
        assert self.row_cell is not None
        sums = [panels.moment(self.state, name) for name in ("weight", "x", "square")]
        return np.stack([np.bincount(self.row_cell, s, len(self.cells)) for s in sums], axis=1)

    def situation_counts(self) -> np.ndarray:
        """Return the number of situations of each chooser, shape (chooser,)."""
        if self.state is None or self.row_chooser is None:
            raise InputError(
                "Counts by chooser need choosers; got choices without any. "
                "Name their column: `compress_choices(files, chooser=...)`."
            )
        counts = np.bincount(self.row_chooser, panels.moment(self.state, "rows"), self.n_choosers)
        return counts.astype(np.int64)

    @cached_property
    def sample_choices(self) -> Choices:
        """The random sample as Choices, weighted so that every cell has its own share."""
        total = self.cell_moments[:, 0]
        kept = np.bincount(self.sample["cell"], self.sample["weight"], minlength=len(self.cells))
        rows = self.sample[(kept > 0)[self.sample["cell"]]]
        factor = total / np.where(kept > 0, kept, 1.0)
        names = [file["name"] for file in self.files]
        if len(set(names)) < len(names):
            names = [f"{i}:{name}" for i, name in enumerate(names)]
        x = rows["x"]
        return Choices(
            values=np.stack([x, np.zeros(len(x))], axis=1)[:, :, None],
            chosen=np.zeros(len(x), np.int64),
            attributes=self.attributes,
            weights=rows["weight"] * factor[rows["cell"]],
            chooser=rows["chooser"] if self.n_choosers else None,
            choosers=self.choosers,
            groups={
                name: Factor(name, self.cells[rows["cell"], g], factor_.levels)
                for g, (name, factor_) in enumerate(self.groups.items())
            },
            situations=tuple(
                f"{names[f]}:{r}" for f, r in zip(rows["file"], rows["row"], strict=True)
            ),
            alternatives=("chosen", "rejected"),
        )

    @property
    def sample_cells(self) -> np.ndarray:
        """Cell of each situation of :attr:`sample_choices`."""
        kept = np.bincount(self.sample["cell"], self.sample["weight"], minlength=len(self.cells))
        return self.sample["cell"][(kept > 0)[self.sample["cell"]]]

    # -- parts together ------------------------------------------------------------------------

    def merge(self, other: "CompressedChoices") -> "CompressedChoices":
        """Add the data of another part of the same table.

        Parameters
        ----------
        other : CompressedChoices
            Of other files, with the same columns and, where there are choosers, the same
            ``scale``.

        Returns
        -------
        CompressedChoices
            As if all files had been read at once, up to rounding.

        Raises
        ------
        InputError
            If columns, bins or scales differ, or both hold the same file.
        """
        if not isinstance(other, CompressedChoices):
            raise TypeError(
                f"Expected CompressedChoices; got {type(other).__name__}. "
                "Make them with compress_choices(files)."
            )
        for what, mine, its in (
            ("columns", self.columns, other.columns),
            ("bins in an octave", 2**self.bits, 2**other.bits),
        ):
            if mine != its:
                raise InputError(
                    f"Parts that are merged should have the same {what}; got {mine} and {its}. "
                    "Compress all files with the same arguments."
                )
        if self.scale_of_tables != other.scale_of_tables:
            raise InputError(
                "Tables of choosers can be added where they were placed by the same scale; got "
                f"{self.scale_of_tables!r} and {other.scale_of_tables!r}. The scale is taken from "
                "the first rows unless it is given. Compress every part with the same one, as in "
                f"`compress_choices(files, scale={float(f'{self.scale_of_tables:.3g}')})`."
            )
        known = {file["fingerprint"] for file in self.files}
        again = [file["name"] for file in other.files if file["fingerprint"] in known]
        if again:
            raise InputError(
                f"Parts that are merged should hold different files; got {listed(again, 3)} in "
                "both. Its pairs would count twice. Merge parts without overlap."
            )
        sums = Sums(self.columns, self.bits, self.scale_of_tables)
        for part in (self, other):
            part.add_to(sums)
        return CompressedChoices(**sums.finished())

    def add_to(self, sums: Sums) -> None:
        """Add this to sums that grow."""
        labels = list(self.levels.values())
        shift = len(sums.files)
        sums.files += self.files

        def moved(rows: np.ndarray) -> np.ndarray:
            rows = rows.copy()
            rows["file"] += shift
            return rows

        tables: dict[str, Any] = {}
        if self.state is not None:
            tables = {name: getattr(self, name) for name in ("row_chooser", "row_cell", "state")}
            tables |= {"whole": moved(self.whole), "whole_below": np.uint64(self.whole_below)}
        sums.add(
            Part(
                cells=[
                    tuple(labels[g][code] for g, code in enumerate(cell)) for cell in self.cells
                ],
                rows=self.cell_rows,
                sample=moved(self.sample),
                binned=self.binned,
                choosers=self.chooser_labels,
                **tables,
            )
        )

    # -- files ---------------------------------------------------------------------------------

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``compressed.json`` and ``sums.npz`` into a directory of that name.

        The directory appears when it is complete; compressed choices that were there are replaced,
        and a directory with anything else is refused.
        """
        target = Path(directory)
        require_replaceable(target, _FILES)
        arrays = self._arrays()
        spec = {
            "schema": _SCHEMA,
            "columns": asdict(self.columns),
            "levels": dict(self.levels),
            "bits": self.bits,
            "scale_of_tables": self.scale_of_tables,
            "whole_below": self.whole_below,
            "files": self.files,
            "situations": self.n_situations,
            "hash": self.content_hash(),
        }
        spec["hash_of_all"] = _hash_of_all(spec)
        with atomic_directory(target, replaces=_FILES) as temporary:
            np.savez(temporary / "sums.npz", allow_pickle=False, **arrays)
            write_json(temporary / "compressed.json", spec)
        return target

    def _arrays(self) -> dict[str, np.ndarray]:
        out = {name: getattr(self, name) for name in _ARRAYS}
        if self.binned is not None:
            parts = (self.binned.cell, self.binned.bin, self.binned.sums)
            return out | dict(zip(_PAIR_ARRAYS, parts, strict=True))
        labels = np.array(self.chooser_labels)
        return out | {name: getattr(self, name) for name in _PANEL_ARRAYS} | {"choosers": labels}

    def content_hash(self) -> str:
        """Return the SHA-256 of all sums and labels."""
        digest = hashlib.sha256()
        head = [asdict(self.columns), dict(self.levels), self.bits, self.scale_of_tables]
        digest.update(json.dumps(head).encode())
        for name, array in self._arrays().items():
            digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    # -- shown -----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        attribute = self.columns.attribute
        lines = [
            f"CompressedChoices of {len(self.files):,} file{'s' * (len(self.files) != 1)}",
            f"  situations    {self.n_situations:,} pairs",
        ]
        if self.n_choosers:
            counts = self.situation_counts()
            lines.append(
                f"  choosers      {self.n_choosers:,}; choices per chooser: median "
                f"{np.median(counts):g}, range {counts.min():,} to {counts.max():,}"
            )
        else:
            lines.append("  choosers      unknown (no chooser given)")
        lines.append(
            f"  attributes    {attribute}: sd of the differences {self.scale(attribute):.4g}"
        )
        for g, name in enumerate(self.columns.groups):
            rows = np.bincount(self.cells[:, g], self.cell_rows, len(self.levels[name]))
            shown = [
                f"{level} {int(count):,}"
                for level, count in zip(self.levels[name][:6], rows, strict=False)
            ]
            more = len(self.levels[name]) - 6
            lines.append(
                f"  {'groups' if g == 0 else '':<14}{name}: {', '.join(shown)}"
                + (f" and {more:,} more levels" if more > 0 else "")
            )
        if self.columns.weight is not None:
            total = self.cell_moments[:, 0].sum()
            lines.append(f"  weights       {self.columns.weight}, sum {total:,.6g}")
        size = sum(array.nbytes for array in self._arrays().values())
        kept = (
            f"{len(self.binned.bin):,} bins"
            if self.binned is not None
            else f"{len(self.row_codes):,} tables of a chooser's log-likelihood"
        )
        lines.append(
            f"  kept          {kept}, {len(self.sample):,} sampled rows; {size / 1e6:.1f} MB"
        )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def _hash_of_all(spec: Mapping[str, Any]) -> str:
    """Over everything that compressed.json says, the names of the files among it."""
    told = {name: value for name, value in spec.items() if name != "hash_of_all"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def load_compressed(directory: str | os.PathLike[str]) -> CompressedChoices:
    """Read what :meth:`CompressedChoices.save` wrote.

    Parameters
    ----------
    directory : path

    Returns
    -------
    CompressedChoices

    Raises
    ------
    InputError
        If the directory or one of its files is missing, damaged, or of another version.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd, prefstrength as ps
    >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 0.5], "reward_rejected": [0.0, 1.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs.to_parquet(f"{folder}/pairs.parquet")
    ...     made = ps.compress_choices(f"{folder}/pairs.parquet", progress=False)
    ...     ps.load_compressed(made.save(f"{folder}/sums")).content_hash() == made.content_hash()
    True
    """
    directory = Path(directory)
    spec = read_saved(directory, _FILES, "compressed choices", _SCHEMA)
    try:
        with (
            (directory / "sums.npz").open("rb") as stream,
            np.load(stream, allow_pickle=False) as stored,
        ):
            arrays = {name: stored[name] for name in stored.files}
        columns = Columns(**{**spec["columns"], "groups": tuple(spec["columns"]["groups"])})
        fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
        if columns.chooser is None:
            cell, place, sums = (arrays[name] for name in _PAIR_ARRAYS)
            fields["binned"] = Binned(cell, place, sums, spec["bits"])
        else:
            fields |= {name: arrays[name] for name in _PANEL_ARRAYS}
            fields["chooser_labels"] = arrays["choosers"].tolist()
        for name in ("levels", "bits", "scale_of_tables", "whole_below", "files"):
            fields[name] = spec[name]
        loaded = CompressedChoices(columns=columns, **fields)
        intact = loaded.content_hash() == spec["hash"] and spec["hash_of_all"] == _hash_of_all(spec)
    except Exception as error:  # zip and NumPy raise a class of their own for each damage
        raise InputError(
            f"Expected sums.npz of {str(directory)!r} to hold the sums; got "
            f"{type(error).__name__}: {error}. Compress the files again."
        ) from error
    if not intact:
        raise InputError(
            f"Expected sums.npz of {str(directory)!r} to match compressed.json; got other numbers. "
            "One of the two was changed or damaged. Compress the files again."
        )
    return loaded
