"""HTTP connections that do not wait for ever: for a request's head to come whole, or for an answer to be taken."""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class PromptHeads(H11Protocol):
    """Close a connection whose next request head is not whole in time (slow loris), and one whose client does not read what it
    asked for; bodies have their own limit.

    uvicorn's own timer counts only the quiet time between two requests, and one byte ends it; closing waits for whatever is
    not yet written, so that a thousand clients that never read would keep everybody else out.
    """

    head_s: ClassVar[float] = 10.0
    taken_s: ClassVar[float] = 60.0
    """How long an answer may lie here without its client taking any of it."""
    _timer: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

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
        """Forget the clocks."""
        self._stop()
        self._moves()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Stop the answer until the client has taken some of it; cut the connection when that does not happen."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Go on with the answer."""
        self._moves()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, for whose last answer the client may not have come yet."""
        super().timeout_keep_alive_handler()
        self._watch()

    def _watch(self) -> None:
        self._moves()
        self._stuck = self.loop.call_later(self.taken_s, self.transport.abort)

    def _moves(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

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
            self._watch()
