"""HTTP connections that do not wait for ever: a request's head must have come whole some seconds after its first chance."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class PromptHeads(H11Protocol):
    """Close a connection whose next request head is not whole in time (slow loris); bodies have their own limit.

    uvicorn's own timer counts only the quiet time between two requests, and one byte ends it.
    """

    head_s: ClassVar[float] = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.head_s, self._close)

    def data_received(self, data: bytes) -> None:
        """Take in bytes, and stop the clock when they make a request whole."""
        super().data_received(data)
        if self._at_work():
            self._stop()
        elif self._timer is None:
            self._timer = self.loop.call_later(self.head_s, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._stop()
        super().connection_lost(exc)

    def _at_work(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close(self) -> None:
        self._timer = None
        if not self._at_work():
            self.transport.close()
