"""Searches that wait at the same time are done together: texts go through the model and vectors through FAISS in one call."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from index.hits import Hit
from index.query import Query
from index.serve.catalogue import Served
from index.serve.errors import Overloaded
from index.serve.work import Work
from pipeline.errors import TamisError

Render = Callable[[list[Hit]], bytes]
"""From hits to a response's body; done in the searching thread."""

_TOGETHER: Final = 32
_SMALL: Final = 200
"""Queries for more hits than this go alone: a batch asks for as many as its greediest."""


@dataclass(frozen=True)
class _Asked:
    query: Query
    render: Render
    answer: "asyncio.Future[bytes]"

    @property
    def small(self) -> bool:
        return self.query.k + self.query.offset <= _SMALL


class Searches:
    """The searches of one data set. Nothing waits for company: a batch is what came while the threads were busy."""

    def __init__(self, served: Served, work: Work, threads: int, waiting: int) -> None:
        self._served, self._work = served, work
        self._threads, self._most = threads, waiting
        self._waiting: deque[_Asked] = deque()
        self._draining = 0
        self._drains: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly

    async def answer(self, query: Query, render: Render) -> bytes:
        """Return the rendered answer to a query; Overloaded where too many wait."""
        if len(self._waiting) >= self._most:
            raise Overloaded("the server has more to do than it takes on; ask again in a moment")
        asked = _Asked(query, render, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if self._draining < self._threads:
            self._draining += 1
            task = asyncio.create_task(self._drain())
            self._drains.add(task)
            task.add_done_callback(self._drains.discard)
        return await asked.answer

    async def _drain(self) -> None:
        """Answer until nobody waits, and say so in the same step of the loop: who comes after that starts another drain."""
        try:
            await self._answer_all()
        finally:
            self._draining -= 1

    async def _answer_all(self) -> None:
        while batch := self._next():
            try:
                answers = await self._work.run(_answers, self._served, batch)
            except Exception as error:  # noqa: BLE001 (it goes to those who asked)
                answers = [error] * len(batch)
            for asked, answer in zip(batch, answers, strict=True):
                if asked.answer.done():  # the client went away
                    continue
                if isinstance(answer, Exception):
                    asked.answer.set_exception(answer)
                else:
                    asked.answer.set_result(answer)

    def _next(self) -> list[_Asked]:
        batch: list[_Asked] = []
        while self._waiting and len(batch) < _TOGETHER:
            if batch and not (self._waiting[0].small and batch[0].small):
                break
            asked = self._waiting.popleft()
            if not asked.answer.done():
                batch.append(asked)
        return batch


def _answers(served: Served, batch: Sequence[_Asked]) -> list[Any]:
    """Return body or exception of each; one query that cannot be answered does not spoil the others."""
    try:
        found = served.searcher.search_many([asked.query for asked in batch], pictures=False)
    except TamisError as error:  # of what was asked, or of a file that this query alone needs
        if len(batch) == 1:
            return [error]
        return [answer for asked in batch for answer in _answers(served, [asked])]
    return [asked.render(hits) for asked, hits in zip(batch, found, strict=True)]
