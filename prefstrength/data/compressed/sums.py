"""Sums over a stream of batches, and what makes one of the next batch.

A :class:`Part` is what a worker makes of a batch; :class:`Sums` adds parts up, in the order of
the rows whatever the number of workers, so that the same files give the same numbers.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from prefstrength._shared.words import listed, shown
from prefstrength.data.compressed import grid, panels
from prefstrength.data.compressed.grid import Binned, added
from prefstrength.data.compressed.parquet import Batch, Columns, labels_and_codes
from prefstrength.errors import InputError

__all__ = ["ROW", "SAMPLE_ROWS", "Part", "Sums", "part_of", "thinned"]

#: A row kept as it is: difference, weight, codes, and where it came from.
ROW = np.dtype(
    [
        ("priority", "u8"),
        ("x", "f8"),
        ("weight", "f8"),
        ("cell", "i8"),
        ("chooser", "i8"),
        ("file", "i8"),
        ("row", "i8"),
    ]
)

#: Rows kept at random, and at least so many of every cell.
SAMPLE_ROWS, _CELL_ROWS = 20_000, 100
#: Choosers of whom every row is kept, fewer where these would be too many rows.
_WHOLE_CHOOSERS, _WHOLE_ROWS, _FEWEST_WHOLE = 48, 300_000, 8
_MOST_CELLS = 20_000
# Sums of bins that are added up at once.
_WAITING_BINS = 2_000_000
_ALL = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class Part:
    """Sums of some rows; the codes are positions in its own lists of labels."""

    cells: list[tuple[Any, ...]]
    rows: np.ndarray  # (cell,) rows of each
    sample: np.ndarray  # (row,) of ROW
    binned: Binned | None = None
    choosers: list[Any] = field(default_factory=list)
    row_chooser: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    row_cell: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    state: np.ndarray = field(default_factory=lambda: np.zeros((0, panels.FIELDS)))
    whole: np.ndarray = field(default_factory=lambda: np.zeros(0, ROW))  # candidates
    whole_below: np.uint64 = _ALL  # choosers of a higher hash may lack rows in `whole`


def part_of(
    batch: Batch, file: int, columns: Columns, bits: int, scale: float | None, below: np.uint64
) -> Part:
    """Sums of a batch.

    Parameters
    ----------
    file : int
        Position of the batch's file.
    bits : int
        Bins of an octave, as a power of two.
    scale : float or None
        Where there are choosers: typical difference, which places the tables.
    below : uint64
        Rows of a higher priority are not needed for the sample.
    """
    chosen, rejected = (batch.numbers(name) for name in columns.pair)
    weight = None if columns.weight is None else batch.numbers(columns.weight)
    count = len(chosen)
    cells, cell = _cells(batch, columns)
    rows = np.array([count]) if cell is None else np.bincount(cell, minlength=len(cells))

    extra: dict[str, Any] = {}
    if columns.chooser is None:
        extra["binned"], wrong = Binned.of(chosen, rejected, weight, cell, len(cells), bits)
        chooser = None
    else:
        assert scale is not None
        labels, chooser = labels_and_codes(batch, columns.chooser, "chooser")
        used, chooser = _used(chooser, len(labels))
        extra["choosers"] = [labels[i] for i in used]
        key = chooser if cell is None else chooser * len(cells) + cell
        keys, row = _used(key, len(used) * len(cells))
        extra["row_chooser"], extra["row_cell"] = np.divmod(keys, len(cells))
        extra["state"] = np.zeros((len(keys), panels.FIELDS))
        limit = min(grid.LIMIT, 1e30 * scale)
        wrong = panels.accumulate(chosen, rejected, weight, row, scale, limit, extra["state"])
    if wrong:
        raise batch.refuse(columns, grid.LIMIT)

    key = (batch.file.first_key + batch.start) % 2**62
    keep, priority = grid.picked(key, count, cell, _threshold(rows, below))

    def records(at: Any) -> np.ndarray:
        out = np.zeros(len(chosen[at]), ROW)
        out["x"] = chosen[at].astype(np.float64) - rejected[at]
        out["weight"] = 1.0 if weight is None else weight[at]
        out["cell"] = 0 if cell is None else cell[at]
        out["chooser"] = -1 if chooser is None else chooser[at]
        out["file"] = file
        out["row"] = batch.start + np.arange(count)[at]
        return out

    sample = records(keep)
    sample["priority"] = priority
    if chooser is not None:
        extra["whole"] = records(slice(None))
    return Part(cells=cells, rows=rows, sample=sample, **extra)


def _cells(batch: Batch, columns: Columns) -> tuple[list[tuple[Any, ...]], np.ndarray | None]:
    """Combinations of levels that occur, and the code of each row's."""
    if not columns.groups:
        return [()], None
    cells: list[tuple[Any, ...]] = [()]
    cell = np.zeros(1, np.int64)
    for name in columns.groups:
        labels, codes = labels_and_codes(batch, name, "group")
        used, cell = _used(cell * len(labels) + codes, len(cells) * len(labels))
        cells = [(*cells[i // len(labels)], labels[i % len(labels)]) for i in used]
        if len(cells) > _MOST_CELLS:
            _refuse_cells(columns.groups)
    return cells, cell


def _refuse_cells(groups: tuple[str, ...]) -> None:
    raise InputError(
        f"Groups should be categories that many rows share; got more than {_MOST_CELLS:,} "
        f"combinations of {listed(groups)}. One may be a column of texts or ids. Name others."
    )


def _used(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes that occur, and each row's position among them."""
    if size > 4 * len(codes) + 1_000_000:
        used, place = np.unique(codes, return_inverse=True)
        return used, place
    occurs = np.zeros(size, bool)
    occurs[codes] = True
    used = np.flatnonzero(occurs)
    if len(used) == size:
        return used, codes
    place = np.zeros(size, np.int64)
    place[used] = np.arange(len(used))
    return used, place[codes]


def _threshold(rows: np.ndarray, below: np.uint64) -> np.ndarray:
    """Priority under which the lowest of the batch and of every cell surely lie."""
    overall = min(int(below), _share(1.3 * SAMPLE_ROWS, int(rows.sum())))
    each = [max(overall, _share(4.0 * _CELL_ROWS, int(n))) for n in rows]
    return np.array(each, dtype=np.uint64)


def _share(wanted: float, rows: int) -> int:
    return int(_ALL) if rows <= 2 * wanted else int(wanted / rows * 2.0**64)


def thinned(sample: np.ndarray) -> np.ndarray:
    """Rows of lowest priority, overall and in each cell; in the order of priority.

    Of any parts, it gives the same rows when applied to each of them first.
    """
    sample = sample[np.argsort(sample["priority"], kind="stable")]
    by_cell = np.argsort(sample["cell"], kind="stable")
    _, starts, counts = np.unique(sample["cell"][by_cell], return_index=True, return_counts=True)
    rank = np.empty(len(sample), np.int64)
    rank[by_cell] = np.arange(len(sample)) - np.repeat(starts, counts)
    return sample[(np.arange(len(sample)) < SAMPLE_ROWS) | (rank < _CELL_ROWS)]


class Sums:
    """Sums that grow by parts.

    Parameters
    ----------
    columns : Columns
    bits : int
    scale : float or None
    """

    def __init__(self, columns: Columns, bits: int, scale: float | None) -> None:
        self.columns, self.bits, self.scale = columns, bits, scale
        self.files: list[dict[str, Any]] = []
        self.cells: dict[tuple[Any, ...], int] = {}
        self.rows = np.zeros(0, np.int64)
        self.sample = np.zeros(0, ROW)
        self.below = _ALL
        self._waiting: list[np.ndarray] = []
        # without choosers: the sums so far, then those of later parts
        self._binned: list[Binned] = []
        # with choosers
        self.choosers: dict[Any, int] = {}
        self._place: dict[int, int] = {}
        self._state = np.zeros((0, panels.FIELDS))
        self.whole = np.zeros(0, ROW)
        self._hash = np.zeros(0, np.uint64)  # of every chooser
        self._whole_below = _ALL

    def add(self, part: Part) -> None:
        """Add a part."""
        cell = self._codes_of_cells(part.cells)
        self.rows = _grown(self.rows, len(self.cells))
        self.rows[cell] += part.rows
        chooser = np.zeros(0, np.int64)
        if part.binned is not None:
            self._binned.append(part.binned.relabelled(cell))
            if sum(len(b.bin) for b in self._binned[1:]) > max(
                _WAITING_BINS, len(self._binned[0].bin)
            ):
                self._binned = [added(self._binned)]
        elif part.choosers:
            chooser = self._codes_of_choosers(part.choosers)
            self._add_state(chooser[part.row_chooser], cell[part.row_cell], part.state)
            self._whole_below = min(self._whole_below, part.whole_below)
            self._add_whole(part.whole, chooser, cell)
        sample = _recoded(part.sample, chooser, cell)
        self._waiting.append(sample)
        if sum(map(len, self._waiting)) > 4 * SAMPLE_ROWS:
            self._thin()

    def _thin(self) -> None:
        self.sample = thinned(np.concatenate([self.sample, *self._waiting]))
        self._waiting = []
        if len(self.sample) >= SAMPLE_ROWS:
            self.below = self.sample["priority"][SAMPLE_ROWS - 1] + np.uint64(1)

    def _codes_of_cells(self, cells: list[tuple[Any, ...]]) -> np.ndarray:
        codes = np.array([self.cells.setdefault(c, len(self.cells)) for c in cells], np.int64)
        if len(self.cells) > _MOST_CELLS:
            _refuse_cells(self.columns.groups)
        return codes

    def _codes_of_choosers(self, choosers: list[Any]) -> np.ndarray:
        known = len(self.choosers)
        get = self.choosers.setdefault
        codes = np.array([get(c, len(self.choosers)) for c in choosers], np.int64)
        if len(self.choosers) > known:
            new = np.array([str(c) for c in list(self.choosers)[known:]], dtype=object)
            self._hash = np.concatenate([self._hash, pd.util.hash_array(new, categorize=False)])
        return codes

    def _add_state(self, chooser: np.ndarray, cell: np.ndarray, state: np.ndarray) -> None:
        get = self._place.setdefault
        keys = (chooser << 20 | cell).tolist()
        at = np.array([get(key, len(self._place)) for key in keys], np.int64)
        self._state = _grown(self._state, len(self._place))
        self._state[at] += state

    def _add_whole(self, rows: np.ndarray, chooser: np.ndarray, cell: np.ndarray) -> None:
        """Keep the rows of the choosers with the lowest hashes.

        The bound only falls, so that a chooser who is left at the end was never left out.
        """
        if len(self._hash) > _WHOLE_CHOOSERS:
            lowest = np.partition(self._hash, _WHOLE_CHOOSERS)[_WHOLE_CHOOSERS]
            self._whole_below = min(self._whole_below, lowest)
        mine = self._hash[chooser] < self._whole_below
        new = rows[mine[rows["chooser"]]]
        self.whole = np.concatenate([self.whole, _recoded(new, chooser, cell)])
        hashes = self._hash[self.whole["chooser"]]
        if len(self.whole) > _WHOLE_ROWS:
            values, counts = np.unique(hashes, return_counts=True)
            fits = max(int(np.sum(np.cumsum(counts) <= _WHOLE_ROWS)), _FEWEST_WHOLE)
            if fits < len(values):
                self._whole_below = min(self._whole_below, values[fits])
        self.whole = self.whole[hashes < self._whole_below]

    # -- what came out, in sorted order ------------------------------------------------------

    def finished(self) -> dict[str, Any]:
        """Return the fields of CompressedChoices, the same for any order of the parts."""
        self._thin()
        columns, cells = self.columns, list(self.cells)
        levels = {}
        codes = np.zeros((len(cells), len(columns.groups)), np.int64)
        for g, name in enumerate(columns.groups):
            levels[name], codes[:, g] = _sorted([c[g] for c in cells], name)
        order = np.lexsort(codes.T[::-1]) if columns.groups else np.zeros(1, np.int64)
        cell = np.argsort(order)
        choosers, chooser = _sorted(list(self.choosers), columns.chooser or "")
        out: dict[str, Any] = {
            "columns": columns,
            "levels": levels,
            "cells": codes[order],
            "cell_rows": self.rows[: len(cells)][order],
            "chooser_labels": choosers,
            "bits": self.bits,
            "scale_of_tables": self.scale,
            "files": sorted(self.files, key=lambda file: (file["name"], file["fingerprint"])),
        }
        place = np.argsort(
            sorted(
                range(len(self.files)),
                key=lambda f: (self.files[f]["name"], self.files[f]["fingerprint"]),
            )
        )
        for name, rows in (("sample", self.sample), ("whole", self.whole)):
            rows = _recoded(rows, chooser, cell)
            rows["file"] = place[rows["file"]] if len(rows) else rows["file"]
            out[name] = rows[np.lexsort((rows["row"], rows["file"]))]
        if columns.chooser is None:
            out["binned"] = added([b.relabelled(cell) for b in self._binned])
        else:
            key = np.fromiter(self._place, np.int64, len(self._place))
            row_chooser, row_cell = chooser[key >> 20], cell[key & (1 << 20) - 1]
            order = np.lexsort((row_cell, row_chooser))
            out["row_chooser"], out["row_cell"] = row_chooser[order], row_cell[order]
            out["state"] = self._state[: len(key)][order]
            out["whole_below"] = int(self._whole_below)
        return out


def _recoded(rows: np.ndarray, chooser: np.ndarray, cell: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows["cell"] = cell[rows["cell"]]
    if len(chooser):
        rows["chooser"] = chooser[rows["chooser"]]
    return rows


def _grown(array: np.ndarray, size: int) -> np.ndarray:
    """The array with room for ``size`` rows, new ones zero."""
    if size <= len(array):
        return array
    out = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


def _sorted(labels: list[Any], name: str) -> tuple[list[Any], np.ndarray]:
    """Different labels in sorted order, and the position of each given one among them."""
    kinds = {type(label) for label in labels}
    if len(kinds) > 1:
        first = {kind: next(v for v in labels if type(v) is kind) for kind in kinds}
        raise InputError(
            f"Column {name!r} should hold values of one type in all files; got "
            f"{' and '.join(sorted(f'{k.__name__} ({shown(v)})' for k, v in first.items()))}. "
            "The number 7 and the text '7' would count as two. Make them alike."
        )
    unique = sorted(set(labels))
    place = {label: i for i, label in enumerate(unique)}
    return unique, np.array([place[label] for label in labels], np.int64)
