"""A server that does everything wrong, over real sockets on loopback: `with Hostile() as server: server.url("/drip")`.

`FATES` names every path with the reason it has to end in (None: a picture comes out). Names under `.test` are answered
by `server.hosts` (FetchOptions.hosts), since no DNS knows them.
"""

import gzip
import socket
import ssl
import tempfile
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests import pictures
from tests.hostile_wire import Request, Wire, certificate

FATES: Final[dict[str, str | None]] = {}
_HANDLERS: Final[dict[str, "Handler"]] = {}


Handler = Callable[[Wire, Request], None]


def at(path: str, fate: str | None) -> Callable[[Handler], Handler]:
    """Serve a path, and say how it has to end."""

    def register(handler: Handler) -> Handler:
        FATES[path], _HANDLERS[path] = fate, handler
        return handler

    return register


def body(path: str, fate: str | None, make: Callable[[], bytes], **headers: Any) -> None:
    """Serve bytes at a path; they are made once, when first asked for."""
    made: list[bytes] = []

    def handler(wire: Wire, _: Request) -> None:
        if not made:
            made.append(make())
        wire.reply(made[0], "200 OK", **headers)

    at(path, fate)(handler)


def redirect(path: str, fate: str | None, target: str, **headers: Any) -> None:
    """Serve a redirect; `{port}` in the target becomes the server's port."""

    def handler(wire: Wire, request: Request) -> None:
        port = request.host.rpartition(":")[2]
        wire.reply(status="302 Found", Location=target.replace("{port}", port), **headers)

    at(path, fate)(handler)


# Pictures
body("/good.jpg", None, pictures.jpeg, Content_Type="image/jpeg")
body("/gray.jpg", None, lambda: pictures.saved(pictures.scene()[..., 0], "JPEG"))
body("/cmyk.jpg", None, lambda: pictures.saved(pictures.cmyk(), "JPEG"))
body("/turned.jpg", None, lambda: pictures.turned_jpeg(6))
body("/clear.png", None, pictures.clear_png)
body("/deep.png", None, pictures.deep_png)
body("/deep-rgba.png", None, lambda: pictures.deep_png(4))
body("/moving.gif", None, lambda: pictures.animated("GIF"))
body("/moving.webp", None, lambda: pictures.animated("WEBP"))
body("/still.webp", None, lambda: pictures.saved(pictures.scene(), "WEBP"))
body("/still.avif", None, lambda: pictures.saved(pictures.scene(), "AVIF"))
body("/lies.png", None, pictures.jpeg, Content_Type="text/html")
body("/10000.png", "too_many_px", lambda: pictures.flat_png(10_000))
body("/30000.png", "too_many_px", lambda: pictures.flat_png(30_000))
body("/cut.jpg", "truncated", lambda: pictures.jpeg()[:-2000])
body("/cut.png", "truncated", lambda: pictures.saved(pictures.scene(), "PNG")[:-5000])
body("/scans.jpg", "decode_failed", pictures.scan_bomb)
body("/junk.png", "decode_failed", lambda: pictures.flat_png(100)[:40] + bytes(range(100)) + b"IEND")
body("/drawing.svg", "svg_unsupported", lambda: pictures.SVG, Content_Type="image/svg+xml")
body("/page.jpg", "html_not_image", lambda: pictures.HTML, Content_Type="image/jpeg")
body("/text.jpg", "not_image", lambda: b"just words")
body("/empty.jpg", "empty_body", lambda: b"")
# Codings
body("/gzip.jpg", None, lambda: gzip.compress(pictures.jpeg()), Content_Encoding="gzip")
body("/deflate.jpg", None, lambda: zlib.compress(pictures.jpeg())[2:-4], Content_Encoding="deflate")
body("/gzip-bomb", "bad_encoding", lambda: gzip.compress(bytes(300_000_000), 9), Content_Encoding="gzip")
body("/gzip-junk", "bad_encoding", lambda: b"\x1f\x8bnot gzip at all", Content_Encoding="gzip")
body("/gzip-cut", "bad_encoding", lambda: gzip.compress(pictures.jpeg())[:-900], Content_Encoding="gzip")
body("/brotli.jpg", "bad_encoding", lambda: pictures.jpeg(), Content_Encoding="br")
# Refusals in headers
body("/noai.jpg", "noai_header", pictures.jpeg, X_Robots_Tag="noai")
body("/noindex.jpg", "noai_header", pictures.jpeg, X_Robots_Tag="max-image-preview:none, NoIndex")
body("/others-noai.jpg", None, pictures.jpeg, X_Robots_Tag="otherbot: noai")
body("/tdm.jpg", "tdm_reserved", pictures.jpeg, tdm_reservation="1", tdm_policy="https://example.org/terms")
body("/tdm-free.jpg", None, pictures.jpeg, tdm_reservation="0")
body("/usage.jpg", "training_reserved", pictures.jpeg, Content_Usage="search=y, train-ai=n;why=ours")
body("/usage-free.jpg", None, pictures.jpeg, Content_Usage="train-ai=y")
body("/usage-unclear.jpg", "signal_unclear", pictures.jpeg, Content_Usage="Train-AI=n")
redirect("/usage-hop", "training_reserved", "/good.jpg", Content_Usage="train-ai=n")
redirect("/noai-hop", "noai_header", "/good.jpg", X_Robots_Tag="noimageai")
# Redirects
redirect("/moved", None, "/good.jpg")
redirect("/loop-a", "redirect_loop", "/loop-b")
redirect("/loop-b", "redirect_loop", "/loop-a")
redirect("/to-file", "redirect_scheme", "file:///etc/passwd")
redirect("/to-ftp", "redirect_scheme", "ftp://127.0.0.1/x.jpg")
redirect("/to-data", "redirect_scheme", "data:image/png;base64,AAAA")
redirect("/to-nowhere", "url_invalid", "http://")
redirect("/to-private", "private_address", "http://10.0.0.1/x.jpg")
redirect("/to-loopback", "private_address", "http://127.0.0.2/x.jpg")
redirect("/to-other-port", "private_address", "http://127.0.0.1:1/x.jpg")
redirect("/to-link-local", "private_address", "http://169.254.169.254/latest/meta-data/")
redirect("/to-zero", "private_address", "http://0.0.0.0/x.jpg")
redirect("/to-decimal", "private_address", "http://2130706434/x.jpg")
redirect("/to-octal", "private_address", "http://0177.0.0.02/x.jpg")
redirect("/to-short", "private_address", "http://127.2/x.jpg")
redirect("/to-v6", "private_address", "http://[::1]/x.jpg")
redirect("/to-mapped", "private_address", "http://[::ffff:10.0.0.1]/x.jpg")
redirect("/to-6to4", "private_address", "http://[2002:a00:1::]/x.jpg")
redirect("/to-nat64", "private_address", "http://[64:ff9b::a9fe:a9fe]/x.jpg")
redirect("/to-ula", "private_address", "http://[fd00:ec2::254]/x.jpg")
redirect("/to-name", "private_address", "http://inside.test/x.jpg")
redirect("/to-localhost", "private_address", "http://localhost:1/x.jpg")
redirect("/to-refused-folder", "robots_disallow", "http://robots.test:{port}/private/x.jpg")
# Status
at("/404", "http_4xx")(lambda wire, _: wire.reply(b"no", "404 Not Found"))
at("/410", "http_4xx")(lambda wire, _: wire.reply(b"no", "410 Gone"))
at("/204", "empty_body")(lambda wire, _: wire.reply(status="204 No Content"))
at("/500", "http_5xx")(lambda wire, _: wire.reply(b"oops", "500 Internal Server Error"))


def _patience(wire: Wire, request: Request) -> None:
    if request.hits == 1:
        wire.reply(b"", "429 Too Many Requests", Retry_After="1")
    else:
        wire.reply(pictures.jpeg())


@at("/503-once.jpg", None)
def _hiccup(wire: Wire, request: Request) -> None:
    if request.hits == 1:
        wire.reply(b"", "503 Service Unavailable")
    else:
        wire.reply(pictures.jpeg())


@at("/many", "too_many_redirects")
def _many(wire: Wire, request: Request) -> None:
    number = int(request.path.partition("?")[2] or "0")
    wire.reply(status="301 Moved Permanently", Location=f"/many?{number + 1}")


# Bodies and connections
@at("/drip", "timeout")
def _drip(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not wire.stopped.wait(1.0):
        wire.send(b"x")


@at("/silence", "timeout")
def _silence(wire: Wire, _: Request) -> None:
    wire.stopped.wait()


@at("/endless", "too_large")
def _endless(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\xff\xd8\xff")
    while not wire.stopped.is_set():
        wire.send(bytes(65536))


@at("/endless-chunks", "too_large")
def _endless_chunks(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not wire.stopped.is_set():
        wire.send(b"10000\r\n" + bytes(65536) + b"\r\n")


@at("/endless-header", "header_too_large")
def _endless_header(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while not wire.stopped.is_set():
        wire.send(b"a" * 65536)


@at("/many-headers", "header_too_large")
def _many_headers(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        wire.send(b"X-%d: y\r\n" % number)
    wire.send(b"\r\n")


@at("/huge-promise", "too_large")
def _promise(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
    wire.stopped.wait(5.0)


@at("/too-short", "incomplete_body")
def _too_short(wire: Wire, _: Request) -> None:
    data = pictures.jpeg()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(data) + 100) + data)
    wire.sock.shutdown(socket.SHUT_RDWR)


@at("/too-long", "bad_encoding")
def _too_long(wire: Wire, _: Request) -> None:
    data = pictures.jpeg(120, 90)  # arrives in one piece, so that what is too much is seen for sure
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(data) - 900) + data)


@at("/broken-chunks", "bad_encoding")
def _broken_chunks(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\nnot a length\r\n")
    wire.sock.shutdown(socket.SHUT_RDWR)


@at("/not-http", "bad_encoding")
def _not_http(wire: Wire, _: Request) -> None:
    wire.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


@at("/reset", "connection_reset")
def _reset(wire: Wire, _: Request) -> None:
    wire.reset()


@at("/reset-inside", "connection_reset")
def _reset_inside(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(5000))
    time.sleep(0.05)  # so that the bytes arrive before the reset does
    wire.reset()


@at("/hang-up", "connection_reset")
def _hang_up(wire: Wire, _: Request) -> None:
    wire.sock.shutdown(socket.SHUT_RDWR)


# What a few hosts say of themselves; all others have no robots.txt and no tdmrep.json.
ROBOTS: Final[dict[str, bytes]] = {
    "robots.test": b"User-agent: tamis\nDisallow: /private/\n\nUser-agent: *\nDisallow: /\n",
    "storm.test": b"",
}
TDMREP: Final[dict[str, bytes]] = {"tdm.test": b'[{"location": "/kept/*", "tdm-reservation": 1}]'}
_NAMES = "robots tdm down slow-down hop xn--bcher-kva storm busy patient"
NAMES: Final = tuple(f"{name}.test" for name in _NAMES.split())


def _serve(wire: Wire, request: Request) -> None:
    """Answer one request by path, or by host for the well-known files and for whole hosts with one habit."""
    path, name = request.path.partition("?")[0], request.host.partition(":")[0]
    if path == "/robots.txt" and name == "down.test":
        wire.reply(b"", "503 Service Unavailable")
    elif path == "/robots.txt" and name == "slow-down.test":
        wire.reply(b"", "429 Too Many Requests", Retry_After="3600")
    elif path == "/robots.txt" and name == "hop.test":
        port = request.host.rpartition(":")[2]
        wire.reply(status="301 Moved Permanently", Location=f"http://robots.test:{port}/robots.txt")
    elif path == "/robots.txt" and name in ROBOTS:
        wire.reply(ROBOTS[name])
    elif path == "/.well-known/tdmrep.json" and name in TDMREP:
        wire.reply(TDMREP[name])
    elif path == "/always.jpg" and name == "busy.test":
        wire.reply(b"", "429 Too Many Requests", Retry_After="3600")
    elif path == "/once.jpg" and name == "patient.test":
        _patience(wire, request)
    elif path in _HANDLERS:
        _HANDLERS[path](wire, request)
    elif name == "storm.test":
        wire.reply(b"", "503 Service Unavailable")
    elif path.endswith(".jpg"):
        wire.reply(pictures.jpeg())
    else:
        wire.reply(b"", "404 Not Found")


class Hostile:
    """The running server: plain HTTP, and HTTPS with a certificate that nobody vouches for."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.asked: dict[str, list[float]] = defaultdict(list)  # "host path" -> when
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.port = self._listen(None)
        with tempfile.TemporaryDirectory() as folder:
            self.tls_port = self._listen(certificate(Path(folder)))
        with socket.socket() as probe:  # a port where nobody listens
            probe.bind(("127.0.0.1", 0))
            self.closed_port = probe.getsockname()[1]
        self.hosts = dict.fromkeys(NAMES, "127.0.0.1") | {"inside.test": "10.0.0.1"}
        self.allow_hosts = [f"127.0.0.1:{port}" for port in (self.port, self.tls_port, self.closed_port)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        for sock in self._sockets:
            sock.close()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"http://{host}:{self.port}{path}"

    def fates(self) -> dict[str, str | None]:
        """Return every URL with the reason it has to end in, given a patient breaker; the storm is left out."""
        return {self.url(path): fate for path, fate in FATES.items()} | {
            f"https://127.0.0.1:{self.tls_port}/good.jpg": "tls",
            f"http://127.0.0.1:{self.closed_port}/x.jpg": "connect",
            "http://nowhere.invalid/x.jpg": "dns",
            "http://10.1.2.3/x.jpg": "private_address",
            "http://[::ffff:169.254.169.254]/x.jpg": "private_address",
            f"http://inside.test:{self.port}/x.jpg": "private_address",
            "data:image/png;base64,AAAA": "url_invalid",
            "file:///etc/passwd": "url_invalid",
            "ftp://127.0.0.1/x.jpg": "url_invalid",
            self.url("/private/a.jpg", "robots.test"): "robots_disallow",
            self.url("/open.jpg", "robots.test"): None,
            self.url("/private/a.jpg", "hop.test"): "robots_disallow",
            self.url("/kept/a.jpg", "tdm.test"): "tdm_reserved",
            self.url("/free.jpg", "tdm.test"): None,
            self.url("/a.jpg", "down.test"): "robots_unreachable",
            self.url("/a.jpg", "slow-down.test"): "robots_unreachable",
            self.url("/always.jpg", "busy.test"): "http_429",
            self.url("/once.jpg", "patient.test"): None,
            self.url("/ö bild.jpg", "bücher.test"): None,
            self.url("/%E3%83%84.jpg?q=ä", "BÜCHER.test"): None,
        }

    def times(self, path: str, host: str = "127.0.0.1") -> list[float]:
        """Return when a path was asked for (monotonic seconds)."""
        return self.asked[f"{host} {path}"]

    def _listen(self, context: ssl.SSLContext | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener, context), daemon=True).start()
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while not self.stopped.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock, context), daemon=True).start()

    def _talk(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            with sock, sock.makefile("rb") as reader:
                while (request := self._read(reader)) is not None:
                    _serve(Wire(sock, self.stopped), request)
        except (OSError, ValueError):  # the client had enough
            return

    def _read(self, reader: Any) -> Request | None:
        line = reader.readline()
        if not line:
            return None
        path = line.split()[1].decode("latin-1")
        headers = {}
        while (field := reader.readline().strip()) != b"":
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        host = headers.get("host", "")
        with self._lock:
            seen = self.asked[f"{host.partition(':')[0]} {path}"]
            seen.append(time.monotonic())
            return Request(path, host, headers, len(seen))
