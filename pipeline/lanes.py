"""Run many small asynchronous jobs a bounded number at a time, and event loops that end for sure."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_lanes(job: Callable[[T], Awaitable[R]], items: Sequence[T], *, lanes: int) -> list[R]:
    """Do a job for every item, at most `lanes` at a time; results come in the order of the items."""
    return await in_fair_lanes(job, items, [None] * len(items), lanes=lanes, lanes_a_group=lanes)


async def in_fair_lanes(
    job: Callable[[T], Awaitable[R]],
    items: Sequence[T],
    groups: Sequence[Hashable],
    *,
    lanes: int,
    lanes_a_group: int,
) -> list[R]:
    """Do a job for every item, at most `lanes` at a time and `lanes_a_group` of one group, the groups in turn.

    A slow group holds no more than its own lanes, and nobody waits inside a lane for another's turn.
    """
    waiting: dict[Hashable, deque[int]] = {}
    for at, group in enumerate(groups):
        waiting.setdefault(group, deque()).append(at)
    ready: deque[deque[int]] = deque()
    for round_ in range(lanes_a_group):
        ready.extend(queue for queue in waiting.values() if len(queue) > round_)
    results: dict[int, R] = {}

    async def lane() -> None:
        while ready:
            queue = ready.popleft()
            if not queue:
                continue
            at = queue.popleft()
            results[at] = await job(items[at])
            ready.append(queue)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(lanes, len(items))):
                tasks.create_task(lane())
    except BaseExceptionGroup as group:  # the first trouble ended all lanes; its kind is what callers know
        raise group.exceptions[0] from None
    return [results[at] for at in range(len(items))]


def run_loop(main: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in an event loop of its own, from a thread that has none."""
    with asyncio.Runner() as runner:
        return runner.run(main)
