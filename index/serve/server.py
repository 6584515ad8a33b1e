"""A server process: one socket, graceful end."""

import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from index.serve.protocol import PromptHeads
from index.serve.settings import Settings
from pipeline.errors import InputError

_HEAD_BYTES = 16_384
_BACKLOG = 2048
_KEEP_ALIVE_S = 15
_LAST_REQUESTS_S = 30


def listen(settings: Settings) -> socket.socket:
    """Return a bound socket; port 0 takes a free one. InputError says why an address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # with the protocol named asyncio sets TCP_NODELAY; without, every answer waits 40 ms for the client's delayed ACK
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((settings.host, settings.port))
        found.listen(_BACKLOG)  # at once: who reads the address that is printed finds an open door
    except (OSError, OverflowError) as error:
        found.close()
        raise InputError(f"cannot listen on {settings.host} port {settings.port}: {error}; try --port 0") from error
    return found


def server_of(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    """Return uvicorn with its limits set; no header that names it, no log of its own with clients' addresses."""
    config = uvicorn.Config(
        app,
        http=PromptHeads,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_HEAD_BYTES,
        limit_concurrency=settings.connections,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_LAST_REQUESTS_S,
    )
    return uvicorn.Server(config)


def run(app: ASGIApp, settings: Settings, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are answered first."""
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal once more at its end: an end in order
        signal.signal(number, lambda *_: None)
    server_of(app, settings).run(sockets=[listening])
