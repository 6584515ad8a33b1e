"""The models are loaded while the server already answers; who needs one waits here and holds up no thread."""

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress

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

    def load(self, served: Sequence[Served], now: bool) -> None:
        """Begin to load one after the other, or leave that to the first who asks; where it fails, those who ask are told why."""
        loop = asyncio.get_running_loop()

        def begin() -> None:
            for one in served:
                try:
                    one.searcher.texts(["a picture"])
                except (TamisError, OSError, RuntimeError) as error:
                    LOG.error("%s: texts and pictures cannot be asked: %s", one.name, error)
                with suppress(RuntimeError):  # the server has ended meanwhile
                    loop.call_soon_threadsafe(self._ready[one.name].set)

        if now:  # a daemon: the end of the server does not wait for it
            threading.Thread(target=begin, name="tamis-models", daemon=True).start()
        else:
            for event in self._ready.values():
                event.set()

    async def needed(self, name: str, terms: Iterable[Term]) -> None:
        """Wait for a data set's model where one of the terms is a text or picture; TooSlow after `wait_s`."""
        if self._ready[name].is_set() or all(term.text is None and term.picture is None for term in terms):
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await self._ready[name].wait()
        except TimeoutError:
            raise TooSlow("the model is still being loaded; ask again in a moment") from None
