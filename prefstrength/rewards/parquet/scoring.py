"""Scoring of Parquet files of any size, part by part, into Parquet files.

The unit of a reward is known only when all pairs are scored. So there are two passes: one keeps
the raw rewards of every part, without the texts; the other copies the rows of every part and adds
the columns in units. Each part is a file that is whole or absent, in both passes.
"""

import io
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from prefstrength._shared.files import atomic_write_bytes
from prefstrength._shared.ray import Cluster, cluster
from prefstrength._shared.words import warn
from prefstrength.data.columns import option, tied
from prefstrength.errors import DataWarning, InputError
from prefstrength.rewards.engine.cache import load_provenance
from prefstrength.rewards.engine.opened import kept_open, opened
from prefstrength.rewards.engine.run import WAIT
from prefstrength.rewards.engine.team import ALONE_AT_WORK, Team, launched
from prefstrength.rewards.parquet.job import KEY, Job, kind
from prefstrength.rewards.parquet.pairs import Reader
from prefstrength.rewards.score import (
    Reward,
    Scores,
    Tally,
    check_ensemble,
    in_order,
    mean_of,
    members_of,
    reward_columns,
)


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
        job = Job.open(files, Path(out), members, force)
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
        hands.work(job, partial(Writer, job, *units), job.shard, "writing", None)
    return job.finish(*units, cache, us)


def _check_how(backend: str | None, workers: int | None, divide: bool, force: bool) -> None:
    if backend is not None:
        option(backend, ("ray",), "backend")
        if divide:
            raise InputError(
                "Parts are divided by a launcher or by Ray; got `divide=True` and `backend='ray'`. "
                "Leave one out."
            )
    if divide and force:
        raise InputError(
            "Processes that divide the work begin at different times, and each would take away "
            "what the others have done; got `divide=True` and `force=True`. Leave one out: delete "
            "the folder first, or choose another."
        )
    if workers is not None and (backend is None or workers < 1):
        raise InputError(
            f"Expected workers, one or more, with `backend='ray'`; got `workers={workers}` and "
            f"`backend={backend!r}`. Several processes without Ray are started by a launcher: "
            "`divide=True`."
        )


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
        job: Job,
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
            if kind(text) not in self.kinds:
                self.kinds.add(kind(text))
                warn(text)


class _Scorer:
    """Scores parts, with a model that stays open."""

    def __init__(self, job: Job, member: int, cache: Any, progress: bool) -> None:
        self.job, self.member, self.cache, self.progress = job, member, cache, progress
        # what was looked at for the identity; the model is let go of with the scorer
        self.kept = opened()
        self.reader = Reader(job.pairs)

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
        _write_raw(path, scores, ~tied(frame), {"provenance": about, "warnings": said})
        shutil.rmtree(own, ignore_errors=True)
        return said


class Writer:
    """Copies parts, with the columns of the rewards."""

    def __init__(self, job: Job, members: list[float], units: list[float], tally: Tally) -> None:
        self.job, self.members, self.units = job, members, units
        self.reader = Reader(job.pairs)

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


def _write_raw(path: Path, scores: Scores, decided: np.ndarray, about: dict[str, Any]) -> None:
    columns: dict[str, Any] = {"decided": decided}
    for index, attribute in enumerate(scores.attributes):
        chosen, rejected = scores.of(index)
        columns |= {f"{attribute}_chosen": chosen, f"{attribute}_rejected": rejected}
    _write(path, pa.table(columns), {**about, "attributes": scores.attributes})


def _write(path: Path, table: pa.Table, about: dict[str, Any]) -> None:
    metadata = {**(table.schema.metadata or {}), KEY: json.dumps(about, ensure_ascii=False)}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    atomic_write_bytes(path, buffer.getvalue())
