"""A little web on loopback whose sites can change their minds: `with Web("one", "two") as web: web["one"].put("/robots.txt", …)`."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.tiny import picture

Answer = tuple[int, dict[str, str], bytes]


class Site:
    """One origin; `/p/<number>.jpg` is a picture, anything else is what was put there, or 404."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()  # "GET /path"
        self.answers: dict[str, Answer] = {}
        self.headers: dict[str, dict[str, str]] = {}  # more headers, by path
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked[f"{self.command} {self.path}"] += 1
                status, headers, body = site.answer(self.path)
                self.send_response(status)
                for name, value in (headers | site.headers.get(self.path, {})).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def put(self, path: str, body: bytes, status: int = 200) -> None:
        """Put a file on the site."""
        self.answers[path] = (status, {"Content-Type": "text/plain"}, body)

    def answer(self, path: str) -> Answer:
        """Return what a path answers now."""
        if path in self.answers:
            return self.answers[path]
        if path.startswith("/p/"):
            number = int(path.removeprefix("/p/").removesuffix(".jpg"))
            return 200, {"Content-Type": "image/jpeg"}, picture(number)[0]
        return 404, {}, b"no"

    def pictures_asked(self, method: str = "GET") -> set[str]:
        """Return the pictures asked for since the last call, and forget them."""
        found = {line for line in self.asked if line.startswith(f"{method} /p/")}
        for line in found:
            del self.asked[line]
        return {line.partition(" ")[2] for line in found}


class Web:
    """Sites by name."""

    def __init__(self, *names: str) -> None:
        self.sites = {name: Site() for name in names}

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for site in self.sites.values():
            site.server.shutdown()
            site.server.server_close()
