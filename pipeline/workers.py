"""Threads for work that lets go of the interpreter lock, fed in batches so that the event loop is woken seldom."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

MAX_BATCH = 8


@dataclass(slots=True)
class _Task:
    future: "asyncio.Future[None]"
    work: Callable[..., None]
    args: tuple[Any, ...]
    error: BaseException | None = None


@dataclass(slots=True)
class _Batch:
    tasks: list[_Task]
    timer: asyncio.TimerHandle | None = None
    given_up: bool = False


class Workers:
    """Run blocking functions in threads; one that does not end costs its thread, never the run.

    The threads are daemons: a decoder stuck in C code keeps neither the part nor the process from ending.
    """

    def __init__(self, threads: int, *, longest_s: float) -> None:
        self._threads = threads
        self._longest_s = longest_s
        self._queue: SimpleQueue[_Batch | None] = SimpleQueue()
        self._pending: deque[_Task] = deque()
        self._idle = 0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for _ in range(self._threads):
            self._add_thread()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(self._threads):
            self._queue.put(None)

    def _add_thread(self) -> None:
        threading.Thread(target=self._work, name="tamis-worker", daemon=True).start()
        self._idle += 1

    async def run(self, work: Callable[..., None], *args: Any) -> None:
        """Wait until a thread has done the work; TimeoutError when it takes longer than allowed."""
        task = _Task(self._loop.create_future(), work, args)
        self._pending.append(task)
        self._hand_out()
        await task.future

    def _hand_out(self) -> None:
        while self._idle and self._pending:
            size = min(MAX_BATCH, math.ceil(len(self._pending) / self._threads))
            batch = _Batch([self._pending.popleft() for _ in range(size)])
            batch.timer = self._loop.call_later(size * self._longest_s, self._give_up, batch)
            self._idle -= 1
            self._queue.put(batch)

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            for task in batch.tasks:
                if batch.given_up or task.future.cancelled():
                    continue
                try:
                    task.work(*task.args)
                except BaseException as error:  # noqa: BLE001 (handed to the waiter, whatever it is)
                    task.error = error
            try:
                self._loop.call_soon_threadsafe(self._done, batch)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _done(self, batch: _Batch) -> None:
        if batch.given_up:  # this thread has been replaced
            self._queue.put(None)
            return
        assert batch.timer is not None
        batch.timer.cancel()
        self._idle += 1
        for task in batch.tasks:
            if task.future.done():
                continue
            if task.error is None:
                task.future.set_result(None)
            else:
                task.future.set_exception(task.error)
        self._hand_out()

    def _give_up(self, batch: _Batch) -> None:
        batch.given_up = True
        for task in batch.tasks:
            if not task.future.done():
                task.future.set_exception(TimeoutError(f"no end after {self._longest_s:g} s"))
        self._add_thread()
        self._hand_out()
