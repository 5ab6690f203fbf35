"""Work on the machines of a cluster, by Ray Data; Ray is loaded on use, and started if need be."""

import gc
import logging
import os
import pickle
import tempfile
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from prefstrength.errors import InputError

#: How often what a worker died at is done again, by that worker started again.
_TRIES = 3
#: Bytes of results that a worker hands over together at most, about.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Cluster:
    """Workers of a Ray cluster.

    Attributes
    ----------
    ray : module
    workers : int
        How many things are done at a time.
    share : dict
        What a worker needs of the cluster: ``num_gpus`` or ``num_cpus``.
    """

    ray: Any
    workers: int
    share: dict[str, Any]

    def each(
        self, make: Callable[[], Callable[[Any], Any]], items: Iterable[Any]
    ) -> Generator[tuple[Any, Any]]:
        """Give every item to one of the workers.

        Parameters
        ----------
        make : callable
            Called once by every worker; what it returns is called with the items.
        items : iterable

        Yields
        ------
        tuple
            An item and what came of it, in the order in which they are done.
        """
        return self.stream(partial(_Once, make), items)

    def stream(
        self,
        make: Callable[[], Callable[[Any], Iterable[Any]]],
        items: Iterable[Any],
        *,
        in_order: bool = False,
    ) -> Generator[tuple[Any, Any]]:
        """Give every item to one of the workers, who makes any number of results of it.

        Close the iterator when it is left early, so that the workers stop.

        Parameters
        ----------
        make : callable
            Called once by every worker; what it returns is called with the items. What comes of
            an item must be the same when it is done again.
        items : iterable
        in_order : bool
            Whether results come in the order of the items, instead of that in which they are done.

        Yields
        ------
        tuple
            An item, and one of the results that came of it.

        Raises
        ------
        InputError
            As a worker raised it. Other errors too, with the traceback of the worker as a note.
        RuntimeError
            If workers die again and again at the same item, or Ray fails otherwise.
        """
        items = list(items)
        if not items:
            return
        with _quiet_data():
            batches = iter(
                self._dataset(make, items, in_order).iter_batches(
                    batch_size=1, prefetch_batches=0, batch_format="numpy"
                )
            )
            try:
                with closing(batches):
                    for batch in batches:
                        result = batch["result"][0].value
                        if isinstance(result, _Failure):
                            raise result.error
                        yield items[int(batch["item"][0])], result
                return
            except self.ray.exceptions.RayError as error:
                died = isinstance(error, self.ray.exceptions.RayActorError)
                said = f"{type(error).__name__}: {error}"
        # The workers stop when nobody knows them. What failed does, in cycles; so none of it is
        # kept in the error.
        del batches
        gc.collect()
        raise RuntimeError(
            f"Expected workers that finish what they are given; got one that died {_TRIES + 1} "
            "times in a row at the same piece of work. Memory may not suffice. Ask for fewer "
            f"workers or smaller batches. Ray says: {said}"
            if died
            else f"Work on the cluster should end; got an error of Ray: {said}"
        )

    def _dataset(self, make: Callable[[], Any], items: list[Any], in_order: bool) -> Any:
        """Results of the items, not yet begun."""
        from ray import data

        # not the settings of the process, which may say that errors are passed over
        context = data.DataContext()
        context.execution_options.preserve_order = in_order
        context.execution_no_progress_timeout_s = -1  # one item may take a large model hours
        context.enable_progress_bars = False
        context.target_max_block_size = _BLOCK
        with data.DataContext.current(context), warnings.catch_warnings():
            # Ray 2.60 has no other way yet to say how often something is tried
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            numbers = data.from_items(
                [{"item": i} for i in range(len(items))], override_num_blocks=len(items)
            )
            return numbers.map_batches(
                _Worker,
                fn_constructor_args=(make, items, os.getcwd()),
                batch_size=1,
                compute=data.ActorPoolStrategy(
                    size=min(self.workers, len(items)),
                    max_tasks_in_flight_per_actor=1,  # else a slow one keeps items from the others
                ),
                max_task_retries=_TRIES,
                **self.share,
            )


class _Worker:
    """A process of the cluster, working where its caller does, so that paths mean the same."""

    def __init__(self, make: Callable[[], Any], items: list[Any], folder: str) -> None:
        self.make, self.items, self.folder = make, items, folder
        self.work: Callable[[Any], Iterable[Any]] | None = None

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        (item,) = batch["item"].tolist()
        try:
            if self.work is None:  # not before: what is raised there would not arrive as it is
                os.chdir(self.folder)
                self.work = self.make()
            for result in self.work(self.items[item]):
                yield {"item": [item], "result": [_Result(result)]}
        except Exception as error:
            # a result like others: when Ray Data itself fails, its workers are not stopped at once
            yield {"item": [item], "result": [_Result(_Failure.of(error))]}


class _Once:
    """One result of every item."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self.work = make()

    def __call__(self, item: Any) -> Iterator[Any]:
        yield self.work(item)


@dataclass(frozen=True)
class _Result:
    """What keeps Ray Data from making a table of a list."""

    value: Any


@dataclass(frozen=True)
class _Failure:
    """What a worker raised."""

    error: Exception

    @classmethod
    def of(cls, error: Exception) -> "_Failure":
        """Make it something that can be sent; the user's mistakes go as they were found."""
        if isinstance(error, InputError):
            return cls(error)
        where = "".join(traceback.format_exception(error))
        try:
            error = pickle.loads(pickle.dumps(error))
        except Exception:  # there are errors that cannot be made again from their arguments
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"On a worker of the cluster:\n{where}")
        return cls(error)


@contextmanager
def _quiet_data() -> Iterator[None]:
    """Without Ray Data's own messages; errors are raised anyway."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def cluster(workers: int | None, *, models: bool) -> Iterator[Cluster]:
    """Workers of the Ray that runs already, of the one at ``RAY_ADDRESS``, or of a local one.

    A Ray that runs already is left alone. A local one has no dashboard, reports no usage, keeps
    its files in a temporary folder, and ends with the block.

    Parameters
    ----------
    workers : int, optional
        By default one for each CPU; with models one for each GPU or, where there are none, for
        each machine.
    models : bool
        Whether every worker holds a model, on a GPU of its own where there are GPUs.

    Raises
    ------
    InputError
        If Ray is not installed, or the cluster is too small for the workers.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise InputError(
            f"Work on a cluster expects Ray; got no module named {error.name}. Install it with "
            "`pip install 'prefstrength[ray]'`, or leave `backend='ray'` out."
        ) from error
    if ray.is_initialized():
        yield _workers(ray, workers, models)
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    # names of sockets are limited to some 100 characters, and Ray adds 60 of its own
    short = "/tmp" if os.path.isdir("/tmp") else None
    with tempfile.TemporaryDirectory("", "ray-", short, ignore_cleanup_errors=True) as folder:
        with _quiet_core():
            if os.environ.get("RAY_ADDRESS"):
                ray.init(**quiet)
            else:
                os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
                cpus = max(workers or 1, os.cpu_count() or 1)
                ray.init("local", num_cpus=cpus, include_dashboard=False, _temp_dir=folder, **quiet)
        try:
            yield _workers(ray, workers, models)
        finally:
            ray.shutdown()


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Start Ray without what its core says, on the error stream itself, of harmless things.

    It calls it an error that a worker that will be started again has arguments, as all workers of
    Ray Data have.
    """
    name = "RAY_BACKEND_LOG_LEVEL"
    if name in os.environ:
        yield
        return
    os.environ[name] = "fatal"
    stream = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stream, 2)
            os.close(stream)
            del os.environ[name]
            said.seek(0)
            for line in said:
                if name.encode() not in line:  # that the level is set, is said too
                    os.write(2, line)


def _workers(ray: Any, workers: int | None, models: bool) -> Cluster:
    there = ray.cluster_resources()
    cpus = max(1, int(there.get("CPU", 1)))
    gpus = int(there.get("GPU", 0)) if models else 0
    most, unit = (gpus, "GPU") if gpus else (cpus, "CPU")
    machines = sum(node["Alive"] for node in ray.nodes())
    usual = min(most, machines) if models and not gpus else most
    if workers is not None and workers > most:
        raise InputError(
            f"Expected at most one worker for each {unit} of the Ray cluster, {most}; got "
            f"{workers}. Ask for fewer, or start a larger cluster."
        )
    count = workers or usual
    share = {"num_gpus": 1} if gpus else {"num_cpus": max(1, cpus // count) if models else 1}
    return Cluster(ray, count, share)
