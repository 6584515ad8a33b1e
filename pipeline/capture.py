"""Read again what a crawl holds: one WARC record or one byte range, found by kind, URI, offset and length."""

import io

import fsspec
from fastwarc.warc import ArchiveIterator

from filters.urls import canonical_url
from pipeline.errors import FormatError, StorageError
from pipeline.read_warc import parse_response

_MAX_BYTES = 64 << 20

Headers = list[tuple[str, str]]


def read_capture(
    kind: str, uri: str, offset: int, nbytes: int, *, url: str | None = None, limit_bytes: int = _MAX_BYTES
) -> tuple[Headers, bytes]:
    """Return (headers, body) of a capture; the headers start with (":status", code).

    The body has its codings undone and is cut at `limit_bytes`. FormatError when the record is not what it was, or is
    that of another URL than `url`; StorageError when the file cannot be read.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        data = filesystem.cat_file(path, start=offset, end=offset + nbytes)
    except (OSError, ValueError, ImportError) as error:
        raise StorageError(f"{uri}: bytes {offset} to {offset + nbytes} cannot be read ({error})") from error
    if kind == "file":
        return [(":status", "200")], data[:limit_bytes]
    if kind != "warc":
        raise FormatError(f"{uri}: captures are of kind warc or file, not {kind!r}")
    return _record(data, url, limit_bytes, f"{uri} at {offset}")


def _record(data: bytes, url: str | None, limit_bytes: int, where: str) -> tuple[Headers, bytes]:
    try:
        record = next(iter(ArchiveIterator(io.BytesIO(data), parse_http=False, strict_mode=False)))
    except (OSError, ValueError, StopIteration) as error:
        raise FormatError(f"{where}: no WARC record there ({error!r}); was the file replaced?") from error
    response = parse_response(record)
    if response is None:
        raise FormatError(f"{where}: the WARC record holds no readable response; was the file replaced?")
    if url is not None and response.url != canonical_url(url):
        raise FormatError(f"{where}: the WARC record there is of {response.url}, not of {url}; was the file replaced?")
    body = response.decode(response.read(limit_bytes), limit_bytes)
    return [(":status", str(response.status)), *response.headers], body
