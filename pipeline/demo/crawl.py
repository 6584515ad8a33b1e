"""A small polite crawler: it asks for pages over real sockets and writes what it got as WARC (ISO 28500:2017)."""

import http.client
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

from fastwarc.stream_io import GzipWriter
from fastwarc.warc import WarcRecord, WarcRecordType

from filters import robots

TOKEN = "tamis-demo-crawler"  # noqa: S105 (a product token, RFC 9309 §2.2.1)
_TIMEOUT_S = 30


def crawl(urls: Sequence[str], folder: Path, *, files: int = 2, date: datetime | None = None) -> list[Path]:
    """Request these URLs, each origin's robots.txt first, and write them evenly to `files` .warc.gz.

    `date` stands in every record (now by default): with the same one, equal answers give equal bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _Session(date or datetime.now(UTC)) as session:
        permitted = [url for url in urls if session.permits(url)]
        wanted = [*session.origins(), *permitted]
        return [
            _write(folder / f"demo-{number:05d}.warc.gz", wanted[number::files], session) for number in range(files)
        ]


def _write(path: Path, urls: Sequence[str], session: "_Session") -> Path:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file, GzipWriter(file, 6) as compressed:
        session.warcinfo(path.name).write(compressed, checksum_data=True)
        compressed.finish()
        for url in urls:
            session.record(url).write(compressed, checksum_data=True)
            compressed.finish()  # one gzip member a record, so that a reader can start at any of them
    return partial.rename(path)


class _Session:
    """Keeps one connection an origin, and the origins' robots.txt."""

    def __init__(self, date: datetime) -> None:
        self._date = date
        self._connections: dict[str, http.client.HTTPConnection] = {}
        self._rules: dict[str, robots.Robots | None] = {}
        self._robots: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections.values():
            connection.close()

    def permits(self, url: str) -> bool:
        """Tell whether the origin's robots.txt lets us in; a server error forbids all (RFC 9309 §2.3.1.4)."""
        place = urlsplit(url).netloc
        if place not in self._rules:
            address = f"http://{place}/robots.txt"
            status, head, body = self._get(address)
            self._robots[address] = head + body
            self._rules[place] = None if status >= 500 else robots.parse(body if status < 300 else b"")
        rules = self._rules[place]
        return rules is not None and rules.verdict(url, TOKEN).allowed

    def origins(self) -> list[str]:
        """List the robots.txt that were asked for."""
        return list(self._robots)

    def record(self, url: str) -> WarcRecord:
        """Return the response record of a URL, asking for it unless it is a robots.txt that was read already."""
        content = self._robots.get(url)
        if content is None:
            _, head, body = self._get(url)
            content = head + body
        record = self._new(WarcRecordType.response, url)
        record.headers["WARC-Target-URI"] = url
        record.is_http = True
        record.set_bytes_content(content)
        return record

    def warcinfo(self, name: str) -> WarcRecord:
        """Return the record that says who made the file."""
        record = self._new(WarcRecordType.warcinfo, name)
        record.headers["WARC-Filename"] = name
        record.headers["Content-Type"] = "application/warc-fields"
        record.set_bytes_content(f"software: {TOKEN}\r\nformat: WARC File Format 1.1\r\nrobots: obey\r\n".encode())
        return record

    def _new(self, kind: WarcRecordType, name: str) -> WarcRecord:
        record = WarcRecord()
        record.init_headers(kind, record_urn=f"uuid:{uuid5(NAMESPACE_URL, name)}".encode())
        record.record_date = self._date
        return record

    def _get(self, url: str) -> tuple[int, bytes, bytes]:
        parts = urlsplit(url)
        connection = self._connections.get(parts.netloc)
        if connection is None:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
            self._connections[parts.netloc] = connection
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": f"{TOKEN}/1", "Accept-Encoding": "identity"})
        response = connection.getresponse()
        body = response.read()
        lines = [
            f"HTTP/1.1 {response.status} {response.reason}",
            *(f"{name}: {value}" for name, value in response.getheaders()),
        ]
        return response.status, "\r\n".join([*lines, "", ""]).encode("latin-1"), body
