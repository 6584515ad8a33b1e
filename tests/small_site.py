"""One real site over loopback, answering as a test says, and what a policy made of it says of a URL."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from filters.signal import Signal
from pipeline.fetch_options import FetchOptions
from pipeline.permission import (
    Gatekeeper,
    OriginPolicy,
    fetch_policies,
)
from pipeline.trouble import Trouble

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
OPTIONS = FetchOptions(allow_hosts=["127.0.0.1"], timeout_s=3.0, retries=0)

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def status(code: int, body: bytes = b"", **headers: str) -> Answer:
    """Answer with a status, headers and a body."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def site(robots: Answer, tdmrep: Answer | None = None, **paths: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve one origin; yields it and the list of paths asked for."""
    asked: list[str] = []
    answers = {"/robots.txt": robots, "/.well-known/tdmrep.json": tdmrep or status(404)}
    answers |= {f"/{name}": answer for name, answer in paths.items()}

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            answers.get(self.path, status(404))(self)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def judged(policy: OriginPolicy, path: str) -> tuple[str | None, list[Signal]]:
    """Return the reason that a policy gives for a path, and the signals."""
    signals: list[Signal] = []
    try:
        Gatekeeper(OPTIONS, {}, None, lambda: NOW).judge_policy(policy.origin + path, policy, signals)
    except Trouble as trouble:
        return trouble.reason, signals
    return None, signals


def ask(origin: str) -> OriginPolicy:
    """Ask one origin."""
    (policy,) = fetch_policies([origin], options=OPTIONS, clock=lambda: NOW)
    return policy


def never(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send headers and one byte, then nothing until the other side hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Length", "9")
    handler.end_headers()
    handler.wfile.write(b"[")
    handler.rfile.read(1)
