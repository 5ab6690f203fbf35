"""Pairs of Parquet files by position, a few rows at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from prefstrength._shared.words import listed
from prefstrength.data.parquet_files import look_at, no_rows, parquet_files
from prefstrength.errors import InputError

#: Rows that are decoded at a time.
_READ = 1 << 12
#: Bytes of a column that are read at a time.
_BUFFER = 1 << 20


# -- the pairs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Rows of Parquet files that have the same columns, numbered through all of them."""

    files: tuple[tuple[Path, int], ...]  # path and rows
    fingerprints: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def open(cls, files: Any, out: Path) -> "Pairs":
        """Find the files and look at their columns."""
        paths = [path.resolve() for path in parquet_files(files)]
        inside = [path for path in paths if out.resolve() in path.parents]
        if inside:
            raise InputError(
                "The folder for the scored pairs should not hold the pairs; got "
                f"{listed((path.name for path in inside), 3)} in {str(out)!r}. Choose another "
                "folder, or narrow the glob."
            )
        seen = [look_at(path) for path in paths]
        first = seen[0][0]
        for path, (schema, _, _) in zip(paths, seen, strict=True):
            if not schema.equals(first):
                odd = [
                    field.name
                    for a, b in ((first, schema), (schema, first))
                    for field in a
                    if field.name not in b.names or b.field(field.name).type != field.type
                ]
                raise InputError(
                    f"The files should have the same columns, of the same types and in the same "
                    f"order; got another {listed(dict.fromkeys(odd), 3) or 'order'} in "
                    f"{path.name} than in {paths[0].name}. Write them alike, or score them into "
                    "folders of their own."
                )
        if not sum(rows for _, rows, _ in seen):
            raise no_rows(paths)
        return cls(
            files=tuple((path, rows) for path, (_, rows, _) in zip(paths, seen, strict=True)),
            fingerprints=tuple(fingerprint for _, _, fingerprint in seen),
            columns=tuple(first.names),
        )

    @property
    def rows(self) -> int:
        return sum(rows for _, rows in self.files)

    def places(self) -> Iterator[tuple[Path, int, int]]:
        """Path, number of the first row, and rows of every file."""
        first = 0
        for path, rows in self.files:
            yield path, first, rows
            first += rows


class Reader:
    """Reads rows of the pairs; cheaply if every call asks for rows behind those of the last.

    Row groups may be large and cannot be entered in the middle. So they are decoded little by
    little, and the one that the last call was in stays open.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self._file: pq.ParquetFile | None = None
        self._place: tuple[Path, int] | None = None  # file and row group
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next = 0  # row of the group that comes next
        self._held: pa.RecordBatch | None = None  # what is left of a batch

    def table(self, start: int, stop: int) -> pa.Table:
        """Rows from ``start`` to ``stop``."""
        batches: list[pa.RecordBatch] = []
        for path, first, rows in self.pairs.places():
            if max(first, start) < min(first + rows, stop):
                batches += self._rows_of_file(path, start - first, stop - first)
        table = pa.Table.from_batches(batches)
        if table.num_rows != stop - start:
            raise InputError(
                f"Expected the files as they were when the scoring began; got {table.num_rows:,} "
                f"rows where there were {stop - start:,}. Somebody may write to them."
            )
        return table

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Rows from ``start`` to ``stop``, labelled by file and row."""
        frame = self.table(start, stop).to_pandas()
        labels: list[str] = []
        for path, first, rows in self.pairs.places():
            here = range(max(start - first, 0), min(stop - first, rows))
            labels += [f"{path.name}:{row}" for row in here]
        return frame.set_axis(labels, axis="index")

    def _rows_of_file(self, path: Path, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path) as parquet:
            footer = parquet.metadata
        at = 0
        for group in range(footer.num_row_groups):
            after = at + footer.row_group(group).num_rows
            if max(at, start) < min(after, stop):
                yield from self._rows_of_group(path, group, start - at, stop - at)
            at = after

    def _rows_of_group(
        self, path: Path, group: int, start: int, stop: int
    ) -> Iterator[pa.RecordBatch]:
        if self._place != (path, group) or start < self._next:
            if self._file is not None:
                self._file.close()
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
            self._place, self._next, self._held = (path, group), 0, None
            self._batches = self._file.iter_batches(_READ, row_groups=[group])
        while self._next < stop:
            batch = next(self._batches, None) if self._held is None else self._held
            if batch is None:
                return
            low, high = max(start - self._next, 0), min(stop - self._next, len(batch))
            self._held = batch.slice(high) if high < len(batch) else None
            self._next += high
            if low < high:
                yield batch.slice(low, high - low)
