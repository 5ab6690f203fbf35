"""Replicates in parallel processes, kept as they are made."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from prefstrength._shared.files import write_parquet
from prefstrength.errors import InputError
from prefstrength.validation.folder import PART, TABLE, kept_in
from prefstrength.validation.replicates import CHUNK, Replicates, Sampler

__all__ = ["replicate"]


# -- many simulations ----------------------------------------------------------------------------


def replicate(
    task: Replicates,
    simulations: int,
    directory: str | os.PathLike[str] | None,
    cores: int | None,
    progress: bool,
    kind: str,
) -> pd.DataFrame:
    """Records of simulations 0 … n-1, those kept in ``directory`` not made again."""
    if simulations < 2:
        raise InputError(f"Expected simulations of at least 2; got {simulations}.")
    if cores is not None and cores < 1:
        raise InputError(f"Expected cores of at least 1; got {cores}.")
    folder = None if directory is None else Path(directory)
    kept = kept_in(folder, task.spec(), kind) if folder is not None else []
    done = set() if not kept else set(pd.concat(kept)["simulation"])
    todo = [index for index in range(simulations) if index not in done]
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = max(1, min(cores or free or 1, len(chunks)))
    if workers > 1:
        _require_importable(task.sampler)
    frames = list(kept)
    with tqdm(
        total=simulations, initial=simulations - len(todo), desc="simulations", disable=not progress
    ) as bar:
        for chunk in _made(task, chunks, workers):
            frame = pd.DataFrame(chunk)
            frames.append(frame)
            if folder is not None:
                write_parquet(folder / PART.format(int(frame["simulation"].min())), frame)
            bar.update(frame["simulation"].nunique())
    everything = pd.concat(frames).sort_values("simulation", kind="stable", ignore_index=True)
    if folder is not None and chunks:
        write_parquet(folder / TABLE, everything)
        for part in folder.glob("part-*.parquet"):
            part.unlink()
    return everything[everything["simulation"] < simulations].reset_index(drop=True)


def _made(
    task: Replicates, chunks: list[list[int]], workers: int
) -> Iterator[list[dict[str, Any]]]:
    """Records of the chunks, in the order in which they are finished."""
    if workers == 1:
        for chunk in chunks:
            yield [record for index in chunk for record in task.records(index)]
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),  # a fork of a process with JAX hangs
        initializer=_start_worker,
        initargs=(replace(task),),  # without what this process has compiled
    )
    try:
        for future in as_completed([pool.submit(_work, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise InputError(
            f"Expected {workers} processes to start; got one that ended. A script needs "
            'if __name__ == "__main__": around the call, and classes written in a notebook are '
            "not found by other processes. Or pass `cores=1`."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: dict[str, Replicates] = {}


def _start_worker(task: Replicates) -> None:
    _worker["task"] = task


def _work(chunk: list[int]) -> list[dict[str, Any]]:
    return [record for index in chunk for record in _worker["task"].records(index)]


def _require_importable(sampler: Sampler | None) -> None:
    name = getattr(sampler, "__qualname__", "")
    if sampler is not None and ("<" in name or sampler.__module__ == "__main__"):
        raise InputError(
            f"Several processes expect a sampler that they can import; got {name}, which is "
            "written inside of a function, a notebook or a script. Put it into a module, or pass "
            "`cores=1`."
        )
