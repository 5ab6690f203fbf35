"""Batches of pairs: Parquet files as a checked stream.

Every file's columns and types are looked at before the first row is read; a mistake in the rows
is one sentence that names file, column and rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefstrength._shared.words import listed, nearest, shown
from prefstrength.data.parquet_files import look_at, no_rows, parquet_files
from prefstrength.errors import InputError

__all__ = ["Batch", "Columns", "File", "batches", "labels_and_codes", "open_files", "parts_of"]


@dataclass(frozen=True)
class Columns:
    """Columns by their use."""

    attribute: str
    chooser: str | None
    groups: tuple[str, ...]
    weight: str | None

    @property
    def pair(self) -> tuple[str, str]:
        """Columns of the attribute."""
        return f"{self.attribute}_chosen", f"{self.attribute}_rejected"

    @property
    def labels(self) -> tuple[str, ...]:
        """Columns of labels: the groups, then the chooser."""
        return (*self.groups, *([self.chooser] if self.chooser else []))


@dataclass(frozen=True)
class File:
    """One Parquet file, as its footer describes it."""

    path: Path
    rows: int
    columns: tuple[str, ...]  # to be read
    dictionary: tuple[str, ...]  # of these, the texts
    fingerprint: str  # of the content: size, footer and samples of the rest
    stamp: str  # where it lies, and when it was last written

    @property
    def first_key(self) -> int:
        """Key of the first row, from which its random priority is made."""
        return int(self.fingerprint[:15], 16)


@dataclass(frozen=True)
class Batch:
    """Some rows of a file that follow one another."""

    file: File
    start: int  # row in the file
    table: pa.RecordBatch

    def fail(self, name: str, wanted: str, got: str, mask: np.ndarray, advice: str) -> InputError:
        """An error about some rows of a column."""
        first = ", ".join(f"{row:,}" for row in self.start + np.flatnonzero(mask)[:3])
        return InputError(
            f"Column '{name}' of {self.file.path.name} should {wanted}; got {got} in "
            f"{int(mask.sum()):,} of the rows {self.start:,} to {self.start + len(mask) - 1:,} "
            f"(first: {first}; rows count from 0). {advice}"
        )

    def numbers(self, name: str) -> np.ndarray:
        """A numeric column; what is missing or infinite is refused later, by :meth:`refuse`."""
        column = self.table.column(name)
        if column.null_count:
            raise self.fail(
                name,
                "hold a finite number in every row",
                "nothing",
                np.asarray(column.is_null()),
                "Scoring may have failed there. Fill these rows in or leave them out.",
            )
        if not pa.types.is_float64(column.type) and not pa.types.is_float32(column.type):
            column = pc.cast(column, pa.float64())
        return column.to_numpy(zero_copy_only=True)

    def refuse(self, columns: Columns, limit: float) -> InputError:
        """Say which rows made the sums impossible."""
        pair = [np.asarray(self.numbers(name), dtype=np.float64) for name in columns.pair]
        for name, values in zip(columns.pair, pair, strict=True):
            bad = ~np.isfinite(values)
            if bad.any():
                got = "missing values (NaN)" if np.isnan(values).any() else "infinite values"
                return self.fail(
                    name,
                    "hold a finite number in every row",
                    got,
                    bad,
                    "Scoring may have failed there. Fill these rows in or leave them out.",
                )
        if columns.weight is not None:
            weight = np.asarray(self.numbers(columns.weight), dtype=np.float64)
            bad = ~(np.isfinite(weight) & (weight >= 0))
            if bad.any():
                return self.fail(
                    columns.weight,
                    "hold weights, finite and zero or more",
                    f"weights such as {weight[bad][0]:g}",
                    bad,
                    "A weight counts how often a pair is used. Correct these rows.",
                )
        return self.fail(
            f"{columns.pair[0]}' minus '{columns.pair[1]}",
            f"be less than {limit:.3g} in size",
            "larger differences",
            np.abs(pair[0] - pair[1]) >= limit,
            "A placeholder may stand for a missing score. Score these rows again.",
        )


# -- files ---------------------------------------------------------------------------------------


def open_files(files: Any, columns: Columns) -> list[File]:
    """Find the files and look at what they hold.

    Parameters
    ----------
    files : path, str or sequence of them
        Files, folders of Parquet files and globs.
    columns : Columns

    Raises
    ------
    InputError
        If there is no file, or one is broken or lacks a column.
    """
    opened = [_open(path, columns) for path in parquet_files(files)]
    if not sum(file.rows for file in opened):
        raise no_rows(file.path for file in opened)
    return opened


def _open(path: Path, columns: Columns) -> File:
    schema, rows, fingerprint = look_at(path)
    names = schema.names
    numeric = (*columns.pair, *([columns.weight] if columns.weight else []))
    for name in (*numeric, *columns.labels):
        if names.count(name) != 1:
            close = nearest(name, [n for n in names if n not in numeric])
            raise InputError(
                f"The file {path.name} should have one column {name!r}; got "
                f"{names.count(name) or 'none'} among {len(names)} columns: {listed(names)}. "
                + (f"Did you mean {close!r}?" if close else "Name another column.")
            )
    for name in numeric:
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or _decimal(kind)):
            raise InputError(
                f"Column {name!r} of {path.name} should hold numbers; got {kind}. An attribute is "
                "a measurement. Name a numeric column, or convert this one."
            )
    for name in columns.labels:
        _check_label_type(name, schema.field(name).type, path)
    ties = "tie" in names
    texts = [n for n in columns.labels if _is_text(_value_type(schema.field(n).type))]
    return File(
        path=path.absolute(),  # a worker of a cluster may be in another folder
        rows=rows,
        columns=tuple(dict.fromkeys((*numeric, *columns.labels, *(["tie"] if ties else [])))),
        dictionary=tuple(texts),
        fingerprint=fingerprint,
        stamp=f"{path.resolve()}\0{path.stat().st_mtime_ns}",
    )


def _decimal(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_label_type(name: str, kind: pa.DataType, path: Path) -> None:
    value = _value_type(kind)
    known = _is_text(value) or pa.types.is_integer(value) or pa.types.is_boolean(value)
    if not (known or pa.types.is_string_view(value) or pa.types.is_floating(value)):
        raise InputError(
            f"Column {name!r} of {path.name} should hold text or whole numbers; got {kind}. These "
            "have no label to show. Convert the column, or name another one."
        )


# -- rows ----------------------------------------------------------------------------------------


def batches(
    file: File, size: int, part: tuple[int, list[int]] | None = None, threads: bool = True
) -> Iterator[Batch]:
    """Rows of a file in batches of at most ``size``, in bounded memory.

    Parameters
    ----------
    part : tuple, optional
        First row and positions of some row groups that follow one another; all when left out.
    threads : bool
        Whether columns are read in parallel.
    """
    start, groups = part or (0, None)
    with pq.ParquetFile(file.path, read_dictionary=list(file.dictionary)) as parquet:
        for table in parquet.iter_batches(
            size, row_groups=groups, columns=list(file.columns), use_threads=threads
        ):
            if not len(table):
                continue
            batch = Batch(file, start, table)
            _refuse_ties(batch)
            yield batch
            start += len(table)


def parts_of(file: File, size: int) -> list[tuple[int, list[int]]]:
    """Row groups of a file, small ones taken together up to some ``size`` rows."""
    with pq.ParquetFile(file.path) as parquet:
        rows = [parquet.metadata.row_group(g).num_rows for g in range(parquet.num_row_groups)]
    parts: list[tuple[int, list[int]]] = []
    start, room = 0, 0
    for group, count in enumerate(rows):
        if parts and count <= room:
            parts[-1][1].append(group)
        else:
            parts.append((start, [group]))
            room = size
        room -= count
        start += count
    return parts


def _refuse_ties(batch: Batch) -> None:
    if "tie" not in batch.file.columns:
        return
    tie = pc.fill_null(pc.cast(batch.table.column("tie"), pa.float64()), 1.0)
    tied = np.asarray(tie) != 0
    if tied.any():
        raise batch.fail(
            "tie",
            "be false in every row",
            "ties",
            tied,
            "A tie is no choice, but it is information. Leave these rows out, or replace each by "
            "two rows of half weight, one each way.",
        )


def labels_and_codes(batch: Batch, name: str, role: str) -> tuple[list[Any], np.ndarray]:
    """Labels of a column (text, int or bool) and the position of each row's label among them.

    Labels may occur that no row has.
    """
    column = batch.table.column(name)
    missing = (
        "A row without one cannot be placed. Fill these rows in, or leave them out."
        if role == "chooser"
        else "Who did not answer may differ from who did. Give them a level, such as 'not stated'."
    )
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    labels = encoded.dictionary.to_pylist()
    if encoded.null_count or encoded.dictionary.null_count:
        absent_rows = np.asarray(pc.is_null(encoded.cast(encoded.type.value_type)))
        if absent_rows.any():
            raise batch.fail(name, f"name a {role} in every row", "nothing", absent_rows, missing)
        labels = ["" if label is None else label for label in labels]
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if labels and isinstance(labels[0], float):
        whole = [label == int(label) if np.isfinite(label) else False for label in labels]
        if not all(whole):
            bad = ~np.array(whole)[codes]
            raise batch.fail(
                name,
                "hold text or whole numbers",
                f"numbers such as {shown(labels[whole.index(False)])}",
                bad,
                f"A fraction is a measurement, not a {role}. Name another column.",
            )
        labels = [int(label) for label in labels]
    if labels and isinstance(labels[0], str):
        blank = np.array([not label.strip() for label in labels])
        if blank.any() and blank[codes].any():
            raise batch.fail(name, f"name a {role} in every row", "blanks", blank[codes], missing)
    return labels, codes


def first_scale(files: Sequence[File], columns: Columns, rows: int) -> float:
    """Root mean square of the differences in the first rows."""
    for file in files:
        for batch in batches(file, rows):
            sides = (np.asarray(batch.numbers(name), dtype=np.float64) for name in columns.pair)
            difference = np.subtract(*sides)
            weight = np.ones(1) if columns.weight is None else batch.numbers(columns.weight)
            total = weight * difference**2
            if not np.isfinite(total).all():
                raise batch.refuse(columns, np.inf)
            if total.any():
                return float(np.sqrt(total.sum() / (weight * np.ones(len(total))).sum()))
    raise InputError(
        f"Attribute {columns.attribute!r} should differ between the responses of at least one "
        f"pair; got equal '{columns.pair[0]}' and '{columns.pair[1]}' everywhere. One column may "
        "be a copy of the other. Check where the scores come from."
    )
