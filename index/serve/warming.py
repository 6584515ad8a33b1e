"""The models are loaded while the server already answers; who needs one waits here and holds up no thread."""

import asyncio
import logging
from collections.abc import Iterable

from index.query import Term
from index.serve.catalogue import Served
from index.serve.errors import TooSlow
from pipeline.errors import TamisError

LOG = logging.getLogger("tamis.serve")


class Models:
    """Which data sets' models are loaded."""

    def __init__(self, served: Iterable[Served], wait_s: float) -> None:
        self._ready = {one.name: asyncio.Event() for one in served}
        self._wait_s = wait_s

    async def load(self, served: Iterable[Served]) -> None:
        """Load one after the other; where that fails, those who ask are told why."""
        for one in served:
            try:
                await asyncio.to_thread(one.searcher.texts, ["a picture"])
            except (TamisError, OSError, RuntimeError) as error:
                LOG.error("%s: texts and pictures cannot be asked: %s", one.name, error)
            self._ready[one.name].set()

    async def needed(self, name: str, terms: Iterable[Term]) -> None:
        """Wait for a data set's model where one of the terms is a text or picture; TooSlow after `wait_s`."""
        if self._ready[name].is_set() or all(term.text is None and term.picture is None for term in terms):
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await self._ready[name].wait()
        except TimeoutError:
            raise TooSlow("the model is still being loaded; ask again in a moment") from None
