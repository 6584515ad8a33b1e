"""Runs chains of tasks on dask with a bounded number under way: the scheduler never sees more than a window of parts."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dask
import distributed
from distributed import Client, Future, LocalCluster, Scheduler, SpecCluster

from pipeline.errors import StorageError, TamisError
from pipeline.interrupt import Interrupt, heard, unheard
from pipeline.worker_specs import MODEL, THREADS, Specs, gpus, worker_specs

T = TypeVar("T")

# One thread a library: parts run side by side. dask's own MALLOC_TRIM_THRESHOLD_ of 64 kB gives every tensor back to the
# kernel and faults it in again (a third of the run's time); these bounds keep what a batch needs.
_WORKER_ENV = {
    "OMP_NUM_THREADS": 1,
    "MKL_NUM_THREADS": 1,
    "OPENBLAS_NUM_THREADS": 1,
    "MALLOC_TRIM_THRESHOLD_": 268_435_456,
    "MALLOC_MMAP_THRESHOLD_": 67_108_864,
}


@dataclass(frozen=True)
class Engine:
    """A connection to a cluster and the limits of a run on it."""

    client: Client
    in_flight: int
    retries: int
    has_models: bool  # whether some worker offers the resource "model"
    interrupt: Interrupt = field(default_factory=Interrupt)

    def submit(self, fn: Callable[..., T], *args: Any, model: bool = False) -> Future:
        """Submit one task; tasks with a model go to workers that offer one, where any does."""
        self.interrupt.check()
        resources = {MODEL: 1} if model and self.has_models else None
        return self.client.submit(fn, *args, pure=False, retries=self.retries, resources=resources)

    def one(self, fn: Callable[..., T], *args: Any) -> T:
        """Run one task and return its result."""
        result: T = _result(self.submit(fn, *args))
        return result

    def pump(self, chains: Iterable[Callable[[], Future]]) -> Iterator[Any]:
        """Start chains as room allows and yield their results as they finish.

        A chain is a function that submits the tasks of one part and returns the last one's future. When a task fails
        its error is raised here and everything under way is cancelled.
        """
        waiting = iter(chains)
        running = distributed.as_completed(loop=self.client.loop)
        count = 0
        try:
            while True:
                while count < self.in_flight and (chain := next(waiting, None)) is not None:
                    running.add(chain())
                    count += 1
                if count == 0:
                    return
                future = next(running)
                count -= 1
                self.interrupt.check()
                yield _result(future)
        finally:
            if count:
                running.clear()

    def map(
        self, fn: Callable[..., T], items: Iterable[tuple[Any, ...]], on_done: Callable[[T], None] | None = None
    ) -> list[T]:
        """Run `fn(*item)` for every item and return the results in the order of the items."""
        results: dict[int, T] = {}

        def numbered(number: int, item: tuple[Any, ...]) -> Callable[[], Future]:
            return lambda: self.submit(_with_number, number, fn, *item)

        for number, result in self.pump(numbered(i, item) for i, item in enumerate(items)):
            results[number] = result
            if on_done is not None:
                on_done(result)
        return [results[i] for i in range(len(results))]


def _with_number(number: int, fn: Callable[..., T], *args: Any) -> tuple[int, T]:
    return number, fn(*args)


def _result(future: Future) -> Any:
    try:
        error = future.exception()
        if type(error) is Exception:  # how dask hands over an error that it cannot send whole
            raise TamisError(f"{error}; finished parts are kept, run the same command again")
        return future.result()
    except distributed.KilledWorker as error:
        raise TamisError(
            f"a worker died again and again at the same task ({error}); usually memory: use fewer workers "
            "(cluster.workers) or smaller parts (candidates.part_rows), then run the same command again"
        ) from error
    except (distributed.CancelledError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(
            error, (distributed.CancelledError, ConnectionError, TimeoutError)
        ):
            raise StorageError(
                f"{error}; see to it (where the disk is full: free some room); finished parts are kept, run the same command again"
            ) from error
        raise TamisError("lost the dask scheduler; finished parts are kept, run the same command again") from error


@contextmanager
def connect(
    scheduler: str | None, workers: int | None, in_flight: int | None, retries: int, device: str = "cpu"
) -> Iterator[Engine]:
    """Connect to a running scheduler, or start a local cluster of processes, for the time of a run.

    With a device of "auto" or "cuda", a machine with GPUs gets a worker pinned to each of them.
    """
    with heard() as interrupt, _remote(scheduler) if scheduler is not None else _local(workers, device) as client:
        yield _engine(client, in_flight, retries, interrupt)


@contextmanager
def _remote(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=20, set_as_default=False)
    except (OSError, ValueError) as error:
        raise TamisError(f"no dask scheduler answers at {scheduler}: {error}") from error
    try:
        yield client
    finally:
        client.close(timeout=5)


@contextmanager
def _local(workers: int | None, device: str) -> Iterator[Client]:
    count = workers or len(os.sched_getaffinity(0))
    dask.config.set({"distributed.nanny.pre-spawn-environ": _WORKER_ENV})
    found = gpus(device)
    with unheard():
        cluster = pinned_cluster(worker_specs(found, count)) if found else _cpu_cluster(count)
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


def _cpu_cluster(count: int) -> LocalCluster:
    return LocalCluster(
        n_workers=count,
        threads_per_worker=THREADS,
        resources={MODEL: 1},
        dashboard_address="127.0.0.1:0",
        silence_logs="CRITICAL",
    )


def pinned_cluster(specs: Specs) -> SpecCluster:
    """Start a cluster of these workers on this machine."""
    options = {"host": "127.0.0.1", "dashboard": True, "dashboard_address": "127.0.0.1:0"}
    return SpecCluster(
        workers=specs, scheduler={"cls": Scheduler, "options": options}, silence_logs="CRITICAL", name="tamis"
    )


def _engine(client: Client, in_flight: int | None, retries: int, interrupt: Interrupt) -> Engine:
    try:
        client.wait_for_workers(1, timeout=120)
    except TimeoutError as error:
        raise TamisError(
            "the dask scheduler has no worker, and none came within two minutes; start some and run again"
        ) from error
    workers = client.scheduler_info(n_workers=-1)["workers"]
    threads = sum(worker["nthreads"] for worker in workers.values())
    has_models = any(MODEL in worker.get("resources", {}) for worker in workers.values())
    return Engine(client, in_flight or 4 * threads, retries, has_models, interrupt)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    waiting = deque(items)
    while waiting:
        yield [waiting.popleft() for _ in range(min(size, len(waiting)))]
