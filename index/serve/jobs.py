"""Long work of the desk, in the background: at most one piece a data set at a time, with its progress and outcome."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from threading import Lock, Thread
from typing import Any

from pipeline.errors import DatasetBusy, TamisError
from pipeline.registry import clock

LOG = logging.getLogger("tamis.serve")
Note = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much is."""


@dataclass
class Job:
    """One piece of work; `state` is running, done or failed."""

    kind: str
    state: str = "running"
    what: str = ""
    done: int = 0
    total: int = 0
    began_utc: str = field(default_factory=lambda: clock.text(clock.now_utc()))
    took_s: float | None = None
    outcome: dict[str, Any] | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class Jobs:
    """The newest job of each data set."""

    def __init__(self) -> None:
        self._newest: dict[str, Job] = {}
        self._threads: list[Thread] = []
        self._lock = Lock()

    def newest(self, dataset: str) -> Job | None:
        """Return what runs on a data set, or ran last."""
        return self._newest.get(dataset)

    def start(self, dataset: str, kind: str, work: Callable[[Note], dict[str, Any]]) -> Job:
        """Begin a job, or return the one of the same kind that runs; DatasetBusy while one of another kind does.

        The process waits for it at its end: the work can be done again after any stop, but should not need to.
        """
        with self._lock:
            now = self._newest.get(dataset)
            if now is not None and now.state == "running":
                if now.kind == kind:
                    return now
                raise DatasetBusy(f"somebody has begun to {now.kind} on this data set; wait until that is done")
            job = self._newest[dataset] = Job(kind)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(Thread(target=_run, args=(job, work), name=f"tamis-desk-{kind}"))
            self._threads[-1].start()
            return job

    def wait(self) -> None:
        """Wait for whatever runs."""
        for thread in list(self._threads):
            thread.join()


def _run(job: Job, work: Callable[[Note], dict[str, Any]]) -> None:
    def note(what: str, done: int, total: int) -> None:
        job.what, job.done, job.total = what, done, total

    began_s = time.monotonic()
    try:
        job.outcome = work(note)
        job.state = "done"
    except TamisError as error:
        job.error, job.state = str(error), "failed"
    except BaseException:
        job.error, job.state = "the program failed; whoever runs the server finds the reason in its log", "failed"
        LOG.exception("the desk could not %s", job.kind)
    finally:
        job.took_s = round(time.monotonic() - began_s, 2)
