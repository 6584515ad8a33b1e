"""Work that would hold up the event loop, in few threads and with a bounded queue."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from index.serve.errors import Overloaded, TooSlow

P = ParamSpec("P")
T = TypeVar("T")


class Work:
    """Threads for what takes long. What cannot be begun soon is refused at once, so that a flood costs little."""

    def __init__(self, threads: int, waiting: int, work_s: float, name: str = "tamis-work") -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most, self._work_s = threads + waiting, work_s
        self._under_way = 0

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return fn's result; Overloaded where too much is waiting, TooSlow after `work_s` (a thread ends what it began)."""
        if self._under_way >= self._most:
            raise Overloaded("the server has more to do than it takes on; ask again in a moment")
        self._under_way += 1
        future = self._pool.submit(fn, *args, **kwargs)
        future.add_done_callback(self._done(asyncio.get_running_loop()))
        try:
            async with asyncio.timeout(self._work_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise TooSlow(f"not done within {self._work_s:g} s; ask for less") from None

    def _done(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def count() -> None:
            self._under_way -= 1

        def done(_: object) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                loop.call_soon_threadsafe(count)

        return done

    def close(self) -> None:
        """End the threads when they have done what they began."""
        self._pool.shutdown(wait=True, cancel_futures=True)
