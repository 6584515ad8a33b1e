"""Read a WARC: pages become sightings, pictures and policy files become captures that can be read again."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastwarc.warc import WarcRecord, WarcRecordType

from filters import rsl
from filters.html import Page, pair_reason, read_page
from filters.page_signals import verdict
from filters.urls import canonical_url
from pipeline import sniff
from pipeline.http_body import decode_body
from pipeline.sightings import POLICY_URL, Batcher, Counts, Item, Place, ReadOptions
from pipeline.warc_records import open_stream, records

MAX_PAGE_BYTES = 10_000_000
_HEAD_BYTES = 2048
_POLICY = re.compile(POLICY_URL)
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_UNTOLD = ("", "application/octet-stream", "binary/octet-stream", "application/x-unknown")
_PICTURES = frozenset(("jpeg", "png", "gif", "webp", "avif", "heif", "jxl", "jp2"))
_WEAK_PICTURES = _PICTURES | {"bmp", "tiff", "ico", "svg"}  # magic of two bytes, or text: only where no type is told


@dataclass
class Response:
    """One HTTP response or resource record, its body not yet read."""

    url: str
    status: int
    content_type: str  # media type, lower-case, without parameters
    headers: list[tuple[str, str]]
    record: WarcRecord

    def header(self, name: str) -> str | None:
        """Return the first header of this (lower-case) name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def read(self, limit_bytes: int) -> bytes:
        """Read up to `limit_bytes` of the raw body; a broken body ends at the break."""
        pieces: list[bytes] = []
        limit_bytes = min(limit_bytes, self.record.content_length)  # fastwarc allocates what it is asked for
        try:
            while limit_bytes > 0 and (piece := self.record.reader.read(limit_bytes)):
                pieces.append(piece)
                limit_bytes -= len(piece)
        except OSError:
            pass  # records() meets the same break, counts it, and resumes behind it
        return b"".join(pieces)

    def decode(self, raw: bytes, limit_bytes: int) -> bytes:
        """Undo the body's transfer and content codings."""
        transfer, content = self.header("transfer-encoding"), self.header("content-encoding")
        return decode_body(raw, transfer, content, limit_bytes) if transfer or content else raw


def read(uri: str, *, options: ReadOptions, counts: Counts, start: int = 0, stop: int | None = None) -> Iterator[Item]:
    """Yield the batches of a WARC; `start` and `stop` bound the records' offsets in bytes."""
    stream = open_stream(uri)
    try:
        yield from _Reader(uri, options, counts).items(records(stream, counts, start=start, stop=stop), stream.size)
    finally:
        stream.close()


def parse_response(record: WarcRecord) -> Response | None:
    """Read the headers of a response or resource record; None when they cannot be read or the URL is no web page's."""
    target = record.headers.get("WARC-Target-URI")
    url = canonical_url(target) if target else None
    if url is None:
        return None
    if record.record_type == WarcRecordType.resource:
        content_type = record.headers.get("Content-Type") or ""
        return Response(url, 200, _media_type(content_type), [("Content-Type", content_type)], record)
    try:
        record.parse_http(strict_mode=False)
    except (OSError, ValueError):
        return None
    http = record.http_headers
    if http is None or http.status_code is None:
        return None
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in http.items_bytes()]
    content_type = next((value for name, value in pairs if name.lower() == "content-type"), "")
    return Response(url, http.status_code, _media_type(content_type), pairs, record)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class _Reader:
    """Goes through one file's records."""

    def __init__(self, uri: str, options: ReadOptions, counts: Counts) -> None:
        self.uri = uri
        self.options = options
        self.counts = counts
        self.batcher = Batcher(uri, counts)

    def items(self, found: Iterator[tuple[WarcRecord, int]], size: int | None) -> Iterator[Item]:
        """Yield batches; a picture waits for the next record, which tells where its bytes end."""
        pending: tuple[Response, int] | None = None
        previous = -1
        for record, offset in found:
            self.counts.records += 1
            shared = offset == previous
            if pending:
                self._capture(*pending, offset - pending[1])
            previous, pending = offset, None
            if self._look(record):
                response = self._response
                if shared:
                    self.counts.unaddressable += 1
                else:
                    pending = response, offset
            yield from self.batcher.take()
        if pending:
            response, offset = pending
            self._capture(response, offset, (size if size is not None else offset + (64 << 20)) - offset)
        yield from self.batcher.take(rest=True)

    def _capture(self, response: Response, offset: int, size: int) -> None:
        if size <= 0:  # its member holds other records too, or offsets are not to be had
            self.counts.unaddressable += 1
            return
        place: Place = ("warc", self.uri, offset, size)
        self.batcher.capture(response.url, place, response.header("content-type"))

    def _look(self, record: WarcRecord) -> bool:
        """Read a record; true when `_response` is to become a capture."""
        kind = record.record_type
        if kind == WarcRecordType.revisit:
            self.counts.revisits += 1
            return False
        if kind == WarcRecordType.response and record.is_http:
            response = parse_response(record)
            if response is None:
                self.counts.bad_records += 1
                return False
        elif kind == WarcRecordType.resource:
            response = parse_response(record)
            if response is None:  # wget keeps its own log as a resource with a metadata: URI
                return False
        else:
            return False
        self._response = response
        if response.status != 200:
            self.counts.not_ok += 1
            return False
        if _POLICY.fullmatch(response.url) or response.content_type == rsl.MEDIA_TYPE:
            return self.options.from_warc
        if response.content_type.startswith("image/"):
            return self.options.from_warc
        return self._look_inside(response)

    def _look_inside(self, response: Response) -> bool:
        is_page = response.content_type in _PAGE_TYPES
        raw = response.read(MAX_PAGE_BYTES + 1 if is_page else _HEAD_BYTES)
        kind = sniff.kind(response.decode(raw[:_HEAD_BYTES], _HEAD_BYTES))
        untold = response.content_type in _UNTOLD
        if kind in (_WEAK_PICTURES if untold else _PICTURES):
            return self.options.from_warc
        if untold and kind == "html":
            raw += response.read(MAX_PAGE_BYTES + 1 - len(raw))
            is_page = True
        if is_page:
            self._page(response, raw)
        else:
            self.counts.not_html += 1
        return False

    def _page(self, response: Response, raw: bytes) -> None:
        html = response.decode(raw, MAX_PAGE_BYTES + 1)
        if len(raw) > MAX_PAGE_BYTES or len(html) > MAX_PAGE_BYTES:
            self.counts.capped_pages += 1
            html = html[:MAX_PAGE_BYTES]
        page = read_page(html, response.url, header_pairs=response.headers, options=self.options)
        add_page(self.batcher, self.counts, response.url, page, response.headers, self.options)


def add_page(
    batcher: Batcher, counts: Counts, url: str, page: Page, headers: list[tuple[str, str]], options: ReadOptions
) -> None:
    """Add a page's pictures, all refused where the page says no."""
    counts.pages += 1
    counts.images += len(page.images)
    if not page.images:
        return
    refused, evidence = verdict(headers, page.meta_robots, page.tdm_reservation, options)
    counts.opted_out_pages += refused
    rows = [
        (url_, text, text_from, "opted_out" if refused else None if url_ and text else pair_reason(raw, url_, text))
        for raw, url_, text, text_from in page.images
    ]
    batcher.page(rows, url, page.lang, page.license, evidence)
