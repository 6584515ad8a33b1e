"""A real HTTP/1.1 server on many loopback addresses, well-behaved or hostile by URL; it counts what it is asked.

Linux answers on all of 127/8, so every site has an address of its own and all share a port. Elsewhere only
127.0.0.1 exists: there the sites differ by port.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from pipeline.errors import InputError

DRIP_S = 1.0
DRIP_BYTES = 20
"""The slow drip gives up after this many bytes, that is after twenty seconds."""
ENDLESS_BYTES = 64 << 20
"""The endless body ends here all the same."""
_IDLE_S = 30.0
_LINGER_RESET = struct.pack("ii", 1, 0)
_PHRASES = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    404: "Not Found",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Reply:
    """What one URL answers; `then` is what it answers from the second request on."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    how: Literal["whole", "drip", "endless", "cut", "reset"] = "whole"
    then: "Reply | None" = None


NOT_FOUND = Reply(404, (("Content-Type", "text/plain"),), b"nothing here\n")


class Origin:
    """Sites by name, each with an address; `with Origin(names) as origin:` serves until the block ends."""

    def __init__(self, names: Sequence[str], vault: str = "vault", port: int = 0) -> None:
        self._sockets = _claim([*names, vault], vault, port)
        self.bases = {name: _base(sock) for name, sock in self._sockets.items()}
        self.vault = self.bases[vault]
        self.port: int = next(iter(self._sockets.values())).getsockname()[1]
        self.hosts = sorted({sock.getsockname()[0] for name, sock in self._sockets.items() if name != vault})
        self.requests: Counter[str] = Counter()
        self._replies: dict[str, Reply] = {}
        self._tasks: set[asyncio.Task[object]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="demo-origin", daemon=True)

    def publish(self, replies: Mapping[str, Reply]) -> None:
        """Serve these URLs; all others answer 404."""
        self._replies = dict(replies)

    def take_requests(self) -> Counter[str]:
        """Return how often each URL was asked for since the last call, and count from zero."""
        taken, self.requests = self.requests, Counter()
        return taken

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._servers = [
            await asyncio.start_server(self._handler(self.bases[name]), sock=sock)
            for name, sock in self._sockets.items()
        ]

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(server.wait_closed() for server in self._servers))

    def _handler(self, base: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            with contextlib.suppress(
                ConnectionError,
                TimeoutError,
                asyncio.IncompleteReadError,
                asyncio.LimitOverrunError,
                asyncio.CancelledError,
            ):
                while await self._answer(base, reader, writer):
                    pass
            self._tasks.discard(task)
            writer.close()

        return serve

    async def _answer(self, base: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection may go on."""
        first = await asyncio.wait_for(reader.readexactly(1), _IDLE_S)
        if not first.isalpha():  # TLS, say
            return False
        head = first + await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _IDLE_S)
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[1].startswith("/"):
            return False
        url = base + parts[1]
        self.requests[url] += 1
        reply = self._replies.get(url, NOT_FOUND)
        if reply.then is not None:
            self._replies[url] = reply.then
        await _send(reply, writer)
        return reply.how == "whole" and parts[0] == "GET"


async def _send(reply: Reply, writer: asyncio.StreamWriter) -> None:
    lines = [f"HTTP/1.1 {reply.status} {_PHRASES.get(reply.status, 'Other')}", *(f"{k}: {v}" for k, v in reply.headers)]
    if reply.how == "endless":
        lines.append("Connection: close")
    else:
        lines.append(f"Content-Length: {len(reply.body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if reply.how == "whole":
        writer.write(reply.body)
    elif reply.how == "drip":
        for at in range(DRIP_BYTES):
            writer.write(reply.body[at : at + 1])
            await writer.drain()
            await asyncio.sleep(DRIP_S)
    elif reply.how == "endless":
        for _ in range(0, ENDLESS_BYTES, 65536):
            writer.write(reply.body + bytes(65536 - len(reply.body)))
            await writer.drain()
    else:
        writer.write(reply.body[: len(reply.body) // 2])
        await writer.drain()
        if reply.how == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            writer.transport.abort()
    await writer.drain()


def _base(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _claim(names: Sequence[str], vault: str, port: int) -> dict[str, socket.socket]:
    """Bind a socket a name: 127.0.0.2, .3, … on one port, else ports of 127.0.0.1, and ::1 for the vault."""
    for wanted in (port, *[0] * 20):  # a port free on one address may be taken on the next
        with contextlib.suppress(OSError):
            return _bind([(name, f"127.0.0.{index}") for index, name in enumerate(names, 2)], wanted, shared=True)
    try:
        return _bind([(name, "::1" if name == vault else "127.0.0.1") for name in names], 0, shared=False)
    except OSError as error:
        raise InputError(f"the demo's little web cannot listen on this machine: {error}") from error


def _bind(places: Sequence[tuple[str, str]], port: int, *, shared: bool) -> dict[str, socket.socket]:
    claimed: dict[str, socket.socket] = {}
    try:
        for name, host in places:
            claimed[name] = _bound(host, port)
            port = claimed[name].getsockname()[1] if shared else 0
    except OSError:
        for sock in claimed.values():
            sock.close()
        raise
    return claimed


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off (40 ms a reply) only where the protocol is named
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
