"""Compressed choices: pairs in Parquet files of any size, summed in one pass for the posterior."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm.auto import tqdm

from prefstrength._shared.ray import cluster
from prefstrength._shared.words import listed, warn
from prefstrength.data.columns import MOST_NUMERIC_LEVELS, names, option
from prefstrength.data.compressed.parquet import (
    Batch,
    Columns,
    File,
    batches,
    first_scale,
    open_files,
    parts_of,
)
from prefstrength.data.compressed.sums import Part, Sums, part_of
from prefstrength.data.compressed.sums_of_pairs import CompressedChoices, load_compressed
from prefstrength.errors import InputError

__all__ = ["CompressedChoices", "columns_of", "compress_choices", "load_compressed"]

# Rows of a batch: large where sums are cheap, small where every chooser has a table of its own.
_PAIR_ROWS, _PANEL_ROWS = 1 << 20, 1 << 16
_FIRST_ROWS = 1 << 20
# How far the scale of the first rows may be from that of all, as a factor.
_DRIFT = 4.0


def compress_choices(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    chooser: str | None = None,
    groups: str | Sequence[str] = (),
    attribute: str = "reward",
    *,
    weight: str | None = None,
    scale: float | None = None,
    bins: int = 128,
    checkpoint: str | os.PathLike[str] | None = None,
    backend: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> CompressedChoices:
    """Sum up pairs in Parquet files, in one pass and bounded memory.

    Parameters
    ----------
    files : path or sequence of paths
        Parquet files, folders of them, or globs. Each row is a choice, with the columns
        ``<attribute>_chosen`` and ``<attribute>_rejected``. Other formats fit in memory or are
        better rewritten.
    chooser : str, optional
        Column that says who chose.
    groups : sequence of str
        Columns of labels to compare, such as dataset or region.
    attribute : str
    weight : str, optional
        Column of weights, zero or more: how many choices a row stands for.
    scale : float, optional
        With a chooser: typical size of the differences, which places the tables. The root mean
        square of the first rows when left out. Give the same number to parts that will be merged.
    bins : int
        Without a chooser: bins in an octave of the difference, a power of two. With 128 the
        log-likelihood of 1e8 pairs is off by less than 0.001 nats; the fit reports the error.
    checkpoint : path, optional
        Folder for the sums of every finished file, so that the same call after an interruption
        goes on with the next one. It may be deleted afterwards.
    backend : "ray", optional
        Read and sum up, by Ray Data, on the workers of a Ray cluster instead of threads: the one
        that is running or named by ``RAY_ADDRESS``, or else a local one. All machines must see the
        files. Needs the extra ``ray``.
    workers : int, optional
        Threads, or workers of the cluster; all cores when left out. The numbers do not depend on
        it.
    progress : bool
        Show a progress bar.

    Returns
    -------
    CompressedChoices

    Raises
    ------
    InputError
        For whatever is wrong with the files: one sentence that names file, column and rows.

    Notes
    -----
    Texts are not read, so that identical responses and repeated judgements are not noticed;
    ties (column ``tie``) are refused. Cost: without choosers about 10 nanoseconds a row beyond
    reading, with choosers about 300, divided by the cores. Memory: without choosers some 100 MB,
    with choosers 1.2 kB for each chooser and cell.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> pairs = pd.DataFrame({"reward_chosen": [1.0, 0.5, 2.0], "reward_rejected": [0.0, 1.0, 0.5],
    ...                       "annotator": ["ann", "ann", "ben"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs.to_parquet(f"{folder}/pairs.parquet")
    ...     compressed = compress_choices(f"{folder}/*.parquet", "annotator", progress=False)
    >>> compressed.n_situations, compressed.choosers
    (3, ('ann', 'ben'))
    """
    columns = columns_of(chooser, groups, attribute, weight)
    bits = _bits(bins)
    if scale is not None and not (np.isfinite(scale) and scale > 0):
        raise InputError(f"Expected a positive scale; got {scale!r}. It is a typical difference.")
    if workers is not None and workers < 1:
        raise InputError(f"Expected at least one worker; got {workers}.")
    if backend is not None:
        option(backend, ("ray",), "backend")
    opened = open_files(files, columns)
    given = scale is not None
    if columns.chooser is None:
        scale = None
    elif scale is None:
        # Three digits are plenty, and can be typed again for another part.
        scale = float(f"{first_scale(opened, columns, _FIRST_ROWS):.3g}")

    everything = Sums(columns, bits, scale)
    folders = [
        None if checkpoint is None else _checkpoint(Path(checkpoint), file, everything)
        for file in opened
    ]
    kept = [folder is not None and (folder / "compressed.json").is_file() for folder in folders]
    tasks = [
        # the number of a file that is kept is that in its own sums
        _Task(file, index if folder is None else 0)
        for index, (file, folder) in enumerate(zip(opened, folders, strict=True))
    ]
    left = [task for task, there in zip(tasks, kept, strict=True) if not there]
    with (
        _hands(backend, workers, left, everything) as hands,
        tqdm(
            total=sum(file.rows for file in opened),
            desc="compressing",
            unit="pair",
            unit_scale=True,
            disable=not progress,
        ) as bar,
    ):
        for task, folder, there in zip(tasks, folders, kept, strict=True):
            file = task.file
            if folder is not None and there:
                load_compressed(folder).add_to(everything)
                bar.update(file.rows)
                continue
            sums = everything if folder is None else Sums(columns, bits, scale)
            sums.files.append(
                {"name": file.path.name, "rows": file.rows, "fingerprint": file.fingerprint}
            )
            for part in hands.parts(task, sums):
                sums.add(part)
                bar.update(int(part.rows.sum()))
            if folder is not None and file.rows:
                CompressedChoices(**sums.finished()).save(folder)
                load_compressed(folder).add_to(everything)
    compressed = CompressedChoices(**everything.finished())
    _look(compressed, given)
    return compressed


def columns_of(chooser: str | None, groups: Any, attribute: str, weight: str | None) -> Columns:
    """Check which columns are to be read, and for what."""
    columns = Columns(attribute, chooser, names(groups, "groups"), weight)
    uses = (*columns.labels, *([weight] if weight else []), *columns.pair)
    twice = sorted({name for name in uses if uses.count(name) > 1})
    if twice:
        raise InputError(
            f"A column should have one use; got {listed(twice)} in several. "
            "Remove it from all but one."
        )
    return columns


def _bits(bins: int) -> int:
    bits = int(bins).bit_length() - 1
    if bins != 2**bits or not 0 <= bits <= 12:
        raise InputError(
            f"Expected bins to be a power of two between 1 and 4096; got {bins!r}. "
            "128 suits up to some 1e9 pairs."
        )
    return bits


@dataclass(frozen=True, eq=False)
class _Task:
    """A file to sum up, and its number in the sums that it goes to."""

    file: File
    number: int


class _Workers(Protocol):
    """Threads, or workers of a Ray cluster."""

    def parts(self, task: _Task, sums: Sums) -> Iterator[Part]:
        """Parts of a file in the order of its rows."""


@contextmanager
def _hands(
    backend: str | None, workers: int | None, tasks: list[_Task], sums: Sums
) -> Iterator[_Workers]:
    """Who does the work."""
    if backend is None:
        threads = workers or os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            yield _Threads(pool, threads)
    else:
        with cluster(workers, models=False) as machines:
            make = partial(_Summer, sums.columns, sums.bits, sums.scale, sums.below)
            # parts of all files in one stream, so that small files keep all workers busy
            items = [
                (place, task, part)
                for place, task in enumerate(tasks)
                for part in _parts_of(task.file, sums.columns)
            ]
            with closing(machines.stream(make, items, in_order=True)) as stream:
                yield _Machines(tasks, stream)


def _rows(columns: Columns) -> int:
    return _PAIR_ROWS if columns.chooser is None else _PANEL_ROWS


def _parts_of(file: File, columns: Columns) -> list[tuple[int, list[int]]]:
    return parts_of(file, _rows(columns))


def _read_and_sum(file: File, part: tuple[int, list[int]], *how: Any) -> list[Part]:
    return [part_of(batch, *how) for batch in batches(file, _PAIR_ROWS, part, threads=False)]


def _sum(batch: Batch, *how: Any) -> list[Part]:
    return [part_of(batch, *how)]


@dataclass(frozen=True)
class _Threads:
    """Threads of this process; the next parts are under way while one is added."""

    pool: ThreadPoolExecutor
    at_a_time: int

    def parts(self, task: _Task, sums: Sums) -> Iterator[Part]:
        work: Iterator[tuple[Callable[..., list[Part]], tuple[Any, ...]]]
        file, places = task.file, _parts_of(task.file, sums.columns)
        if sums.columns.chooser is None:
            # Reading costs as much as the sums do: every thread does both, a row group at a time.
            work = ((_read_and_sum, (file, part)) for part in places)
        else:
            # The sums cost most, and need memory for every chooser: small batches. They begin
            # where row groups do, as those of a cluster, so that both add up the same numbers.
            work = (
                (_sum, (batch,)) for part in places for batch in batches(file, _PANEL_ROWS, part)
            )
        how = (task.number, sums.columns, sums.bits, sums.scale)
        waiting: deque[Any] = deque()
        for do, what in work:
            waiting.append(self.pool.submit(do, *what, *how, sums.below))
            if len(waiting) > self.at_a_time:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


class _Machines:
    """Workers of a cluster, who are ahead with the files that come next."""

    def __init__(self, tasks: list[_Task], stream: Iterator[tuple[Any, Part]]) -> None:
        self.tasks, self.stream = tasks, stream
        self.held: tuple[Any, Part] | None = None  # of a file that comes later

    def parts(self, task: _Task, sums: Sums) -> Iterator[Part]:
        while True:
            if self.held is None:
                self.held = next(self.stream, None)
            if self.held is None or self.tasks[self.held[0][0]] is not task:
                return
            _, part = self.held
            self.held = None
            yield part


class _Summer:
    """What a worker does: reads and sums up some row groups, and hands over batch by batch."""

    def __init__(self, columns: Columns, bits: int, scale: float | None, below: np.uint64) -> None:
        self.columns, self.how = columns, (columns, bits, scale, below)

    def __call__(self, item: tuple[int, _Task, tuple[int, list[int]]]) -> Iterator[Part]:
        _, task, part = item
        for batch in batches(task.file, _rows(self.columns), part, threads=False):
            yield part_of(batch, task.number, *self.how)


def _checkpoint(folder: Path, file: File, sums: Sums) -> Path:
    """Where the sums of a file are kept: its name says what they depend on."""
    import hashlib

    key = repr((file.stamp, file.fingerprint, sums.columns, sums.bits, sums.scale))
    return folder / f"{file.path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _look(compressed: CompressedChoices, given: bool) -> None:
    """A last look: what says nothing, and what the tables were not made for."""
    columns = compressed.columns
    if not compressed.weights.any():
        raise InputError(
            f"Weights in column {columns.weight!r} should not all be zero; got 0 in all "
            f"{compressed.n_situations:,} rows. Nothing would be left to learn from."
        )
    scale = compressed.scale(columns.attribute)
    if scale == 0:
        raise InputError(
            f"Attribute {columns.attribute!r} should differ between the responses of at least one "
            f"pair; got equal '{columns.pair[0]}' and '{columns.pair[1]}' everywhere. One column "
            "may be a copy of the other. Check where the scores come from."
        )
    placed = compressed.scale_of_tables
    if placed is not None and not 1 / _DRIFT <= scale / placed <= _DRIFT:
        source = "given" if given else "of the first rows"
        raise InputError(
            f"The scale that places the tables should be near the root mean square of all "
            f"differences, {scale:.3g}; got {placed:.3g} ({source}). The rows may be sorted. "
            f"Pass `scale={float(f'{scale:.3g}')}`."
        )
    for g, name in enumerate(columns.groups):
        levels = compressed.levels[name]
        rows = np.bincount(compressed.cells[:, g], compressed.cell_rows, len(levels))
        text = isinstance(levels[0], str)
        if len(levels) > (max(50, compressed.n_situations // 2) if text else MOST_NUMERIC_LEVELS):
            raise InputError(
                f"Group {name!r} should be a category that many rows share; got {len(levels):,} "
                f"different values (first: {listed(levels[:3])}). A measurement or an id is no "
                "group. Cut it into classes, or name another column."
            )
        if rows.min() < 10:
            thin = [level for level, count in zip(levels, rows, strict=True) if count < 10]
            warn(
                f"Group {name!r} has fewer than 10 situations in {len(thin):,} of {len(levels):,} "
                f"levels (first: {listed(thin, 3)}). Their strength will come from the other "
                "levels. Merge small levels, or read their intervals with care."
            )
