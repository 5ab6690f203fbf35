"""Scoring of Parquet files of any size, part by part, into Parquet files.

The unit of a reward is known only when all pairs are scored. So there are two passes: one keeps
the raw rewards of every part, without the texts; the other copies the rows of every part and adds
the columns in units. Each part is a file that is whole or absent, in both passes.
"""

import io
import json
import os
import re
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from prefstrength._files import atomic_write_bytes, atomic_write_text
from prefstrength._parquet import look_at, no_rows, parquet_files
from prefstrength._ray import Cluster, cluster
from prefstrength._validate import column, option
from prefstrength._words import Rows, listed, warn
from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards._cache import delete_stale, keep_provenance, load_provenance
from prefstrength.rewards._open import kept_open, opened
from prefstrength.rewards._responses import TEXT_COLUMNS, read_texts
from prefstrength.rewards._run import WAIT
from prefstrength.rewards._team import ALONE_AT_WORK, Team, launched
from prefstrength.rewards.score import (
    Reward,
    Scores,
    Tally,
    about_ensemble,
    about_reward,
    check_ensemble,
    in_order,
    mean_of,
    members_of,
    reward_columns,
    ties,
)
from prefstrength.rewards.text import TextReward

#: Pairs that are in memory at a time, about; with their texts some 100 MB.
PART_PAIRS = 1 << 14
#: Rows that are decoded at a time.
_READ = 1 << 12
#: Bytes of a column that are read at a time.
_BUFFER = 1 << 20
_SCHEMA = "prefstrength/scored-parquet/1"
#: What the folder is made from, written first; what came out, written last.
_SETTINGS, _ABOUT = "scoring.json", "reward.json"
#: Key of the metadata of our Parquet files.
_KEY = b"prefstrength"
#: Counts of a run that add up over parts, and those of which the largest is told.
_SUMMED, _LARGEST = ("responses", "from_cache", "truncated"), ("longest",)


def score_parquet(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    reward: Reward | Sequence[Reward],
    *,
    cache: str | os.PathLike[str] | None = None,
    divide: bool = False,
    backend: str | None = None,
    workers: int | None = None,
    force: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Score pairs in Parquet files as :func:`score` does, in memory that does not grow with them.

    Parameters
    ----------
    files : path or sequence of paths
        Parquet files with the same columns, folders of them, or globs. One row a pair, with the
        columns that the reward needs; the others are carried over.
    out : path
        Folder for the scored pairs: ``part-00000.parquet`` and so on, in the order of the rows,
        and ``reward.json``. The same call after an interruption goes on where it was.
    reward : Reward, or list of Reward
        As of :func:`score`, except :class:`TextReward`, which learns from all pairs together.
    cache : path, optional
        As of :func:`score`, for scores that several data sets share. Without it every distinct
        response of a part is scored once; what is done of a part is kept in ``out``.
    divide : bool
        Divide the parts between the processes that ``accelerate launch`` or ``torchrun`` has
        started. All of them call this function with the same arguments, and all return the same.
    backend : "ray", optional
        Divide the parts, by Ray Data, between workers of a Ray cluster: the one that is running or
        named by ``RAY_ADDRESS``, or else a local one. All machines must see the paths. Needs the
        extra ``ray``.
    workers : int, optional
        How many, with Ray: one for each GPU by default or, without GPUs, for each machine.
    force : bool
        Replace what ``out`` holds of other files or another reward, and write into a folder that
        holds other files, which are left alone. What is done of the same work is kept.
    progress : bool
        Show progress bars.

    Returns
    -------
    dict
        What ``score(...).attrs["reward"]`` says, also written to ``reward.json``. Of what the
        parts say differently, such as guards, only the warnings are told; the rest is in the
        metadata of the parts' files, under the key ``prefstrength``.

    Raises
    ------
    InputError
        If files are missing, broken or of different columns, a row holds something else than a
        text, the reward learns from all pairs, or ``out`` was made from other files or by another
        reward (unless ``force``). Rows are named by file, and counted from 0.

    Notes
    -----
    A part has about 16,384 pairs, whatever the files and row groups. Where it is scored does not
    matter: one process, several and Ray write the same files. With a ``cache``, responses that
    other parts have brought there leave other batches to the rest, so that scores may differ by
    rounding. Shares that guards refuse, such as ``max_truncated``, are those of a part.

    Examples
    --------
    >>> import json, tempfile
    >>> import pandas as pd
    >>> from prefstrength.rewards import ColumnReward, score_parquet
    >>> pairs = pd.DataFrame({"judge_chosen": [5.0, 1.0], "judge_rejected": [2.0, 5.0]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pairs.to_parquet(f"{folder}/pairs.parquet")
    ...     reward = ColumnReward("judge_chosen", "judge_rejected")
    ...     about = score_parquet(f"{folder}/*.parquet", f"{folder}/scored", reward, progress=False)
    ...     scored = pd.read_parquet(f"{folder}/scored/part-00000.parquet")
    >>> (scored["reward_chosen"] - scored["reward_rejected"]).round(3).tolist()
    [0.849, -1.131]
    >>> round(about["unit"], 3)
    3.536
    """
    members = members_of(reward)
    _check_how(backend, workers, divide, force)
    us = launched() if divide else ALONE_AT_WORK
    with ExitStack() as stack:
        stack.enter_context(kept_open({}))
        job = _Job.open(files, Path(out), members, force)
        if cache is not None:
            load_provenance(cache)  # it will be added to: better refused now than after the work
        if (done := job.finished()) is not None:
            return done
        hands = _Hands(us, None, progress and us.rank == 0)
        job.look(us, hands.progress)
        job.begin()
        if backend == "ray":
            hands.ray = stack.enter_context(cluster(workers, models=True))
        for member in in_order(members):
            score_part = partial(_Scorer, job, member, cache, progress and hands.alone)
            hands.work(job, score_part, partial(job.raw, member), "scoring", _Told())
        units = job.units()
        hands.work(job, partial(_Writer, job, *units), job.shard, "writing", None)
    return job.finish(*units, cache, us)


def _check_how(backend: str | None, workers: int | None, divide: bool, force: bool) -> None:
    if backend is not None:
        option(backend, ("ray",), "backend")
        if divide:
            raise InputError(
                "Parts are divided by a launcher or by Ray; got divide=True and backend='ray'. "
                "Leave one out."
            )
    if divide and force:
        raise InputError(
            "Processes that divide the work begin at different times, and each would take away "
            "what the others have done; got divide=True and force=True. Leave one out: delete the "
            "folder first, or choose another."
        )
    if workers is not None and (backend is None or workers < 1):
        raise InputError(
            f"Expected workers, one or more, with backend='ray'; got workers={workers} and "
            f"backend={backend!r}. Several processes without Ray are started by a launcher: "
            "divide=True."
        )


def _identity(reward: Any) -> dict[str, Any]:
    """Everything that the scores depend on."""
    if isinstance(reward, TextReward):
        raise InputError(
            "Files are scored part by part by a reward that knows its scores beforehand; got "
            "TextReward, which learns from all pairs together. Use score(read_pairs(path), "
            "TextReward()) if the pairs fit in memory, or a reward model such as HFReward(name)."
        )
    if not callable(getattr(reward, "identity", None)):
        raise InputError(
            "Files are scored by a reward that says what its scores depend on, so that parts of "
            f"two rewards are never mixed; got {type(reward).__name__} without the method "
            "identity(). Give it one that returns a dict of JSON types."
        )
    # through JSON, because it will be compared with what was read from there
    identity: dict[str, Any] = json.loads(json.dumps(reward.identity()))
    return identity


# -- the pairs -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Rows of Parquet files that have the same columns, numbered through all of them."""

    files: tuple[tuple[Path, int], ...]  # path and rows
    fingerprints: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def open(cls, files: Any, out: Path) -> "_Pairs":
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


class _Reader:
    """Reads rows of the pairs; cheaply if every call asks for rows behind those of the last.

    Row groups may be large and cannot be entered in the middle. So they are decoded little by
    little, and the one that the last call was in stays open.
    """

    def __init__(self, pairs: _Pairs) -> None:
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


def _foreign(out: Path, force: bool) -> list[str]:
    """What lies in the folder and would be in the way.

    Without force anything but hidden files; with force Parquet files, which would be taken for
    scored pairs, and what has a name of ours.
    """
    if not out.exists():
        return []
    if not out.is_dir():
        return [out.name]
    names = sorted(path.name for path in out.iterdir() if path.name[0] != ".")
    ours = ("raw", _ABOUT)
    return [name for name in names if not force or name in ours or name.endswith(".parquet")]


# -- the work ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """Pairs, rewards, and where everything lies; goes to the workers as it is."""

    pairs: _Pairs
    folder: Path
    members: tuple[Any, ...]
    parts: int
    settings: dict[str, Any]  # what is asked for, as it will be written
    begun: bool  # whether the folder was begun with that
    replaces: bool = False  # whether it was begun with something else, which will go

    @classmethod
    def open(cls, files: Any, out: Path, members: Sequence[Any], force: bool) -> "_Job":
        """Look at what is asked for, and whether it is what the folder was begun with."""
        pairs = _Pairs.open(files, out)
        identities = [_identity(member) for member in members]
        parts = max(1, round(pairs.rows / PART_PAIRS))
        now = {
            "schema": _SCHEMA,
            "files": [
                {"name": path.name, "rows": rows, "fingerprint": fingerprint}
                for (path, rows), fingerprint in zip(pairs.files, pairs.fingerprints, strict=True)
            ],
            "reward": identities,
            "parts": parts,
        }
        make = partial(cls, pairs, out.resolve(), tuple(members))
        # looked at before the settings, which another process may be about to write
        foreign = _foreign(out, force)
        path = out / _SETTINGS
        if path.is_file():
            before = _read_json(path)
            # copied files and another version's parts are the same work
            same = {
                "files": tuple(f["fingerprint"] for f in before["files"]) == pairs.fingerprints,
                "reward": before["reward"] == identities,
            }
            if all(same.values()):
                return make(before["parts"], before, begun=True)
            if not force:
                raise InputError(
                    f"Expected a new folder, or the files and the reward that {str(out)!r} was "
                    f"begun with; got other {' and '.join(k for k, ok in same.items() if not ok)}. "
                    "Choose another folder, or replace what is there with force=True."
                )
            return make(parts, now, begun=False, replaces=True)
        if foreign:
            raise InputError(
                "Expected a new folder for the scored pairs, or one of an earlier run; got "
                f"{str(out)!r}, which holds something else ({listed(foreign, 3)}). Choose another "
                + ("folder." if force else "folder, or write into this one with force=True.")
            )
        return make(parts, now, begun=False)

    def begin(self) -> None:
        """Take away what other work has left, and write what the folder is begun with."""
        if self.begun:
            return
        if self.replaces:  # what vouches for the rest goes first
            (self.folder / _ABOUT).unlink(missing_ok=True)
            for path in self.folder.glob("part-*.parquet"):
                path.unlink()
            # not passed over: what stays would be taken for rewards of the new work
            for path in (self.folder / "raw").glob("*.parquet"):
                path.unlink()
            shutil.rmtree(self.folder / "raw", ignore_errors=True)
        text = json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n"
        atomic_write_text(self.folder / _SETTINGS, text)

    def bounds(self, part: int) -> tuple[int, int]:
        """First row of a part, and of the next."""
        rows = self.pairs.rows
        return rows * part // self.parts, rows * (part + 1) // self.parts

    def raw(self, member: int, part: int) -> Path:
        """Where the raw rewards of a part lie."""
        return self.folder / "raw" / f"{member}-{part:05d}.parquet"

    def shard(self, part: int) -> Path:
        """Where the scored pairs of a part lie."""
        return self.folder / f"part-{part:05d}.parquet"

    def finished(self) -> dict[str, Any] | None:
        """What came out, if all is there."""
        path = self.folder / _ABOUT
        there = (
            self.begun
            and path.is_file()
            and all(self.shard(part).is_file() for part in range(self.parts))
        )
        return _read_json(path) if there else None

    def look(self, us: Team, progress: bool) -> None:
        """Find what is wrong with a row before days are spent on those before it."""
        texts = any(getattr(member, "scores_responses", True) for member in self.members)
        left = [
            part
            for part in us.share(range(self.parts))
            if self.replaces
            or not all(self.raw(m, part).is_file() for m in range(len(self.members)))
        ]
        reader = _Reader(self.pairs)
        for part in tqdm(left, desc="checking", unit="part", disable=not progress, leave=None):
            frame = reader.frame(*self.bounds(part))
            ties(frame)
            for name in TEXT_COLUMNS if texts else ():
                if name in frame.columns:  # else the reward says what it needs
                    read_texts(column(frame, name, "text"), Rows(frame.index), name)

    def found(self, part: int) -> tuple[list[Scores], np.ndarray, list[list[str]]]:
        """Raw rewards of a part, which of its pairs are decided, and warnings by member."""
        read = [_read_raw(self.raw(member, part)) for member in range(len(self.members))]
        return [scores for scores, _, _ in read], read[0][1], [texts for _, _, texts in read]

    def units(self) -> tuple[list[float], list[float], Tally]:
        """Units of the members of an ensemble, units of what is written, and its sums."""
        ensemble = len(self.members) > 1
        members: list[float] = []
        if ensemble:
            each = ([Tally.of(scores) for scores in self.found(p)[0]] for p in range(self.parts))
            sums = reduce(lambda a, b: [x + y for x, y in zip(a, b, strict=True)], each)
            members = [tally.unit() for tally in sums]

        def tally(part: int) -> Tally:
            found, decided, _ = self.found(part)
            return Tally.of(mean_of(found, members) if ensemble else found[0], decided)

        whole = reduce(Tally.__add__, map(tally, range(self.parts)))
        return members, whole.units(ensemble), whole

    def finish(
        self,
        member_units: list[float],
        units: list[float],
        tally: Tally,
        cache: str | os.PathLike[str] | None,
        us: Team,
    ) -> dict[str, Any]:
        """Say what came out."""
        ensemble = len(self.members) > 1
        told: Counter[str] = Counter()
        kinds: dict[str, str] = {}

        def about_members(part: int) -> list[dict[str, Any]]:
            found, _, said = self.found(part)
            for text in (text for texts in said for text in texts):
                told[kinds.setdefault(_kind(text), text)] += 1
            return [scores.provenance for scores in found]

        provenances = _together(map(about_members, range(self.parts)))
        names = reward_columns(_no_scores(tally.attributes), units)
        about = {
            **about_reward(
                about_ensemble(provenances, member_units, tally) if ensemble else provenances[0],
                tally,
                units,
                replaced=[name for name in names if name in self.pairs.columns],
                ensemble=ensemble,
            ),
            "files": [path.name for path, _ in self.pairs.files],
            "parts": self.parts,
            "warnings": [{"first": text, "parts": count} for text, count in told.items()],
        }
        about = json.loads(json.dumps(about))  # the same now as when it is read again
        if us.rank == 0:
            if cache is not None:
                last, _, _ = self.found(self.parts - 1)
                keep_provenance(cache, [scores.provenance for scores in last])
            self._tidy()
            text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
            atomic_write_text(self.folder / _ABOUT, text)
        return about

    def _tidy(self) -> None:
        """Delete what killed processes have left, now that all parts are whole."""
        for folder in (self.folder, self.folder / "raw"):
            for path in folder.glob(".*.parquet.*"):
                delete_stale(path)
        for path in (self.folder / "raw").iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


@dataclass
class _Hands:
    """Who does the work: this process, this one of several, or the workers of a cluster."""

    us: Team
    ray: Cluster | None
    progress: bool

    @property
    def alone(self) -> bool:
        return self.ray is None and self.us == ALONE_AT_WORK

    def work(
        self,
        job: _Job,
        make: Callable[[], Callable[[int], list[str]]],
        where: Callable[[int], Path],
        what: str,
        told: "_Told | None",
    ) -> None:
        """Do what is left of the parts, and wait until others have done the rest."""
        left = [part for part in range(job.parts) if not where(part).is_file()]
        with tqdm(
            total=job.pairs.rows, desc=what, unit="pair", unit_scale=True, disable=not self.progress
        ) as bar:
            sizes = {part: job.bounds(part)[1] - job.bounds(part)[0] for part in range(job.parts)}
            bar.update(job.pairs.rows - sum(sizes[part] for part in left))
            with closing(self._done(make, left)) as done:
                for part, said in done:
                    if told is not None:
                        told.tell(said)
                    bar.update(sizes[part])
                    left.remove(part)
            while left := [part for part in left if not where(part).is_file()]:
                time.sleep(WAIT)

    def _done(
        self, make: Callable[[], Callable[[int], list[str]]], left: list[int]
    ) -> Generator[tuple[int, list[str]]]:
        """Parts, and what was said of them, as they are done."""
        if self.ray is not None:
            yield from self.ray.each(make, left)
        else:
            do = make()
            for part in self.us.share(left):
                yield part, do(part)


class _Told:
    """Warnings of parts, each kind shown once."""

    def __init__(self) -> None:
        self.kinds: set[str] = set()

    def tell(self, texts: Iterable[str]) -> None:
        for text in texts:
            if _kind(text) not in self.kinds:
                self.kinds.add(_kind(text))
                warn(text)


def _kind(text: str) -> str:
    """A warning without its numbers, which differ between parts."""
    return re.sub(r"\d[\d.,:e+-]*", "#", text)


class _Scorer:
    """Scores parts, with a model that stays open."""

    def __init__(self, job: _Job, member: int, cache: Any, progress: bool) -> None:
        self.job, self.member, self.cache, self.progress = job, member, cache, progress
        # what was looked at for the identity; the model is let go of with the scorer
        self.kept = opened()
        self.reader = _Reader(job.pairs)

    def __call__(self, part: int) -> list[str]:
        path = self.job.raw(self.member, part)
        own = path.with_suffix("")
        frame = self.reader.frame(*self.job.bounds(part))
        with warnings.catch_warnings(record=True) as caught, kept_open(self.kept):
            warnings.simplefilter("always", DataWarning)
            scores = self.job.members[self.member].score_pairs(
                frame, cache=own if self.cache is None else self.cache, progress=self.progress
            )
        if len(self.job.members) > 1:
            check_ensemble([scores])
        said = []
        for one in caught:
            if issubclass(one.category, DataWarning):
                said.append(str(one.message))
            else:  # of a library, and none of our business
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        about = scores.provenance
        if self.cache is None and "kept_in" in about:
            about = {**about, "kept_in": None}  # only for the time of the part
        _write_raw(path, scores, ~ties(frame), {"provenance": about, "warnings": said})
        shutil.rmtree(own, ignore_errors=True)
        return said


class _Writer:
    """Copies parts, with the columns of the rewards."""

    def __init__(self, job: _Job, members: list[float], units: list[float], tally: Tally) -> None:
        self.job, self.members, self.units = job, members, units
        self.reader = _Reader(job.pairs)

    def __call__(self, part: int) -> list[str]:
        found, _, said = self.job.found(part)
        scores = mean_of(found, self.members) if self.members else found[0]
        start, stop = self.job.bounds(part)
        table = self.reader.table(start, stop)
        for name, values in reward_columns(scores, self.units).items():
            if name in table.column_names:
                table = table.set_column(table.column_names.index(name), name, pa.array(values))
            else:
                table = table.append_column(name, pa.array(values))
        about = {
            "rows": [start, stop],
            "rewards": [
                {"provenance": one.provenance, "warnings": texts}
                for one, texts in zip(found, said, strict=True)
            ],
        }
        _write(self.job.shard(part), table, about)
        return []


# -- what is written -----------------------------------------------------------------------------


def _no_scores(attributes: tuple[str, ...]) -> Scores:
    empty = np.zeros((0, len(attributes)))
    return Scores(chosen=empty, rejected=empty, attributes=attributes)


def _together(parts: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the parts say of each member: what is the same in all, and sums of what is counted."""
    whole: list[dict[str, Any]] = []
    for part in parts:
        if not whole:
            whole = [dict(about) for about in part]
            continue
        for about, more in zip(whole, part, strict=True):
            sums = {key: about[key] + more[key] for key in _SUMMED if key in about}
            most = {key: max(about[key], more[key]) for key in _LARGEST if key in about}
            same = _common({key: about[key] for key in about if key not in {*sums, *most}}, more)
            for key in set(about) - {*sums, *most, *same}:
                del about[key]
            about |= sums | most | same
    return whole


def _common(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What two dicts agree on, and the dicts in them."""
    same: dict[str, Any] = {}
    for key, value in one.items():
        if key not in other:
            continue
        if value == other[key]:
            same[key] = value
        elif isinstance(value, dict) and isinstance(other[key], dict):
            if inner := _common(value, other[key]):
                same[key] = inner
    return same


def _write_raw(path: Path, scores: Scores, decided: np.ndarray, about: dict[str, Any]) -> None:
    columns: dict[str, Any] = {"decided": decided}
    for index, attribute in enumerate(scores.attributes):
        chosen, rejected = scores.of(index)
        columns |= {f"{attribute}_chosen": chosen, f"{attribute}_rejected": rejected}
    _write(path, pa.table(columns), {**about, "attributes": scores.attributes})


def _read_raw(path: Path) -> tuple[Scores, np.ndarray, list[str]]:
    try:
        table = pq.read_table(path)
        about = json.loads(table.schema.metadata[_KEY])
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        attributes = tuple(about["attributes"])
        sides = [
            np.column_stack([columns[f"{attribute}_{side}"] for attribute in attributes])
            for side in ("chosen", "rejected")
        ]
        scores = Scores(sides[0], sides[1], about["provenance"], attributes)
        return scores, columns["decided"], about["warnings"]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Expected the raw rewards of a part in {str(path)!r}; got a file that cannot be "
            "read. It may have been damaged or put there by hand. Delete that file; its part is "
            "scored again."
        ) from error


def _write(path: Path, table: pa.Table, about: dict[str, Any]) -> None:
    metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(about, ensure_ascii=False)}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    atomic_write_bytes(path, buffer.getvalue())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"Expected JSON in {str(path)!r}; got something else: {error}. It may have been "
            "edited. Delete the folder, or choose another."
        ) from error
    return found
