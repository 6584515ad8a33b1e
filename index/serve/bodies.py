"""Bodies have a largest size and a longest time, counted while they come in."""

import asyncio
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.serve.errors import told


@dataclass
class _Reading:
    """How far one request's body has come, and why no more of it is taken."""

    deadline_s: float
    bytes: int = 0
    whole: bool = False
    refused: tuple[int, str] | None = None


class BodyLimits:
    """Answer 413 to a body over `max_bytes`, announced or chunked, and 408 to one that is not whole after `whole_s`."""

    def __init__(self, app: ASGIApp, max_bytes: int, whole_s: float) -> None:
        self.app, self.max_bytes, self.whole_s = app, max_bytes, whole_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reading = _Reading(asyncio.get_running_loop().time() + self.whole_s)
        names = {name for name, _ in scope["headers"]}
        if {
            b"content-length",
            b"transfer-encoding",
        } <= names:  # RFC 9112 section 6.1: a proxy may have seen another end
            reading.refused = 400, "a body has either Content-Length or Transfer-Encoding"
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not announced.isdigit() or len(announced) > 15 or int(announced) > self.max_bytes:
            reading.refused = self._too_large()
        started = False

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if reading.refused is None or started:  # to the app a refused client is one that went away
                started = started or message["type"] == "http.response.start"
                await send(message)

        if reading.refused is None:
            try:
                await self.app(scope, self._counted(receive, reading), unless_refused)
            except ClientDisconnect:
                if reading.refused is None:
                    raise
        if reading.refused is not None and not started:  # closing tells the client to stop; the rest is not read
            await told(*reading.refused, {"Connection": "close"})(scope, receive, send)

    def _counted(self, receive: Receive, reading: _Reading) -> Receive:
        async def counted() -> Message:
            if reading.whole:  # what comes after the body is the client's going away: no hurry
                return await receive()
            if reading.refused is None:
                try:
                    async with asyncio.timeout_at(reading.deadline_s):
                        message = await receive()
                except TimeoutError:
                    reading.refused = (408, f"the body did not come within {self.whole_s:g} s")
                else:
                    self._count(message, reading)
            return {"type": "http.disconnect"} if reading.refused is not None else message

        return counted

    def _count(self, message: Message, reading: _Reading) -> None:
        if message["type"] == "http.request":
            reading.bytes += len(message.get("body", b""))
            reading.whole = not message.get("more_body", False)
            if reading.bytes > self.max_bytes:
                reading.refused = self._too_large()

    def _too_large(self) -> tuple[int, str]:
        return 413, f"the body is over {self.max_bytes} bytes"
