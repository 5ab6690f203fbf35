"""Work on the machines of a Ray cluster; Ray is loaded on use, and started here if need be."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prefstrength.errors import InputError

#: How often a worker that died is started again, and what it was at is done again.
_TRIES = 3


@dataclass(frozen=True)
class Cluster:
    """Workers of a Ray cluster.

    Attributes
    ----------
    ray : module
    workers : int
        How many things are done at a time.
    gpus : int
        GPUs of the cluster.
    """

    ray: Any
    workers: int
    gpus: int
    _remote: dict[Callable[..., Any], Any] = field(default_factory=dict, repr=False)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> "Task":
        """Call a function on one of the workers, as an executor of ``concurrent.futures`` does."""
        if function not in self._remote:  # Ray sends a function once, if it is the same object
            self._remote[function] = self.ray.remote(num_cpus=1, max_retries=_TRIES)(function)
        return Task(self.ray, self._remote[function].remote(*arguments))

    def each(
        self, make: Callable[[], Callable[[Any], Any]], items: Iterable[Any]
    ) -> Iterator[tuple[Any, Any]]:
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
        from ray.util import ActorPool

        cpus = self.ray.cluster_resources().get("CPU", 1)
        share = {"num_gpus": 1} if self.gpus else {"num_cpus": max(1, int(cpus) // self.workers)}
        worker = self.ray.remote(max_restarts=_TRIES, max_task_retries=_TRIES, **share)(_Worker)
        items = list(items)
        pool = ActorPool(
            [worker.remote(make, os.getcwd()) for _ in range(min(self.workers, len(items)))]
        )
        for item in items:
            pool.submit(lambda one, given: one.do.remote(given), item)
        while pool.has_next():
            try:
                yield pool.get_next_unordered()
            except self.ray.exceptions.RayTaskError as error:
                raise _cause(error) from None


@dataclass(frozen=True)
class Task:
    """What a call on a worker will return."""

    ray: Any
    reference: Any

    def result(self) -> Any:
        """Wait for it."""
        try:
            return self.ray.get(self.reference)
        except self.ray.exceptions.RayTaskError as error:
            raise _cause(error) from None


class _Worker:
    """A process of the cluster, working where its caller does, so that paths mean the same."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        os.chdir(folder)
        self.work = make()

    def do(self, item: Any) -> tuple[Any, Any]:
        return item, self.work(item)


def _cause(error: Any) -> BaseException:
    """The user's mistake as it was found, without the traceback of the worker; others as is."""
    mistake = isinstance(error.cause, InputError)
    found: BaseException = error.cause if mistake else error
    return found


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
    except ModuleNotFoundError as error:
        raise InputError(
            f"Work on a cluster expects Ray; got no module named {error.name}. Install it with "
            "`pip install 'prefstrength[ray]'`, or leave backend='ray' out."
        ) from error
    if ray.is_initialized():
        yield _workers(ray, workers, models)
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    # names of sockets are limited to some 100 characters, and Ray adds 60 of its own
    short = "/tmp" if os.path.isdir("/tmp") else None
    with tempfile.TemporaryDirectory("", "ray-", short, ignore_cleanup_errors=True) as folder:
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


def _workers(ray: Any, workers: int | None, models: bool) -> Cluster:
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0)) if models else 0
    most, unit = (gpus, "GPU") if gpus else (max(1, int(there.get("CPU", 1))), "CPU")
    machines = sum(node["Alive"] for node in ray.nodes())
    usual = min(most, machines) if models and not gpus else most
    if workers is not None and workers > most:
        raise InputError(
            f"Expected at most one worker for each {unit} of the Ray cluster, {most}; got "
            f"{workers}. Ask for fewer, or start a larger cluster."
        )
    return Cluster(ray, workers or usual, gpus)
