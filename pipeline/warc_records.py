"""Iterate a WARC's records with their offsets; a broken place costs the records in it, not the rest of the file."""

import re
import zlib
from collections.abc import Iterator
from typing import IO, Any

import fsspec
from fastwarc.warc import ArchiveIterator, WarcRecord

from pipeline.errors import InputError
from pipeline.sightings import Counts

_SCAN_BYTES = 1 << 20
_MAX_HEADER_BYTES = 64 << 10
_GZIP, _ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
_PLAIN = re.compile(rb"WARC/\d\.\d\r?\n(?=[A-Za-z-]{1,64}:)")


class Stream:
    """A file to read records from: remembers a storage error, which must not pass for a broken record."""

    def __init__(self, file: IO[bytes], size: int | None) -> None:
        self.file = file
        self.size = size
        self.error: OSError | None = None

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        try:
            return self.file.read(size)
        except OSError as error:
            self.error = error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset."""
        return self.file.tell()

    def seekable(self) -> bool:
        """Tell whether one can start again in the middle."""
        return self.file.seekable()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def open_stream(uri: str) -> Stream:
    """Open a local or remote file for reading from the front, with a few megabytes of read-ahead."""
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        local = "file" in (filesystem.protocol if isinstance(filesystem.protocol, tuple) else (filesystem.protocol,))
        file: Any = filesystem.open(path, "rb", **({} if local else {"block_size": 8 << 20, "cache_type": "readahead"}))
        size = filesystem.size(path) if local else getattr(file, "size", None)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{uri}: cannot be opened ({error})") from error
    return Stream(file, size)


def records(
    stream: Stream, counts: Counts, *, start: int = 0, stop: int | None = None
) -> Iterator[tuple[WarcRecord, int]]:
    """Yield (record, offset) for records that start in [start, stop) bytes, resuming behind what is broken.

    The offset is that of the record's compressed member; records that share a member share an offset or have a wrong
    one, which the caller sees by two neighbours' offsets being equal. A record is valid until the next is asked for.
    """
    magic = _magic(stream)
    position: int | None = start if start == 0 else _next_start(stream, magic, start)
    searching = False  # behind a break, where a false start is no further broken record
    while position is not None and (stop is None or position < stop):
        if position or stream.seekable():
            stream.seek(position)
        last, whole, seen = position, True, False
        try:
            for record in ArchiveIterator(
                stream, parse_http=False, max_header_len=_MAX_HEADER_BYTES, strict_mode=False
            ):
                last, seen = max(last, record.stream_pos), True
                if stop is not None and record.stream_pos >= stop:
                    return
                yield record, record.stream_pos
                record.reader.consume()
                whole = record.reader.tell() >= record.content_length
        except (OSError, ValueError) as error:
            if stream.error is not None:
                raise InputError(f"reading failed at {position} ({stream.error})") from error
            whole = False
        if whole and (seen or stream.size == 0):
            return
        counts.bad_records += seen or not searching
        searching = True
        position = _next_start(stream, magic, last + 1) if stream.seekable() else None
        if position is None:
            counts.truncated_inputs += 1


def _magic(stream: Stream) -> bytes:
    if not stream.seekable():
        return b""
    stream.seek(0)
    head = stream.read(4)
    stream.seek(0)
    return _GZIP if head.startswith(_GZIP) else _ZSTD if head == _ZSTD else b"WARC"


def _next_start(stream: Stream, magic: bytes, position: int) -> int | None:
    """Find the next place at or after `position` where a record begins."""
    stream.seek(position)
    window, base = b"", position
    while piece := stream.read(_SCAN_BYTES):
        window += piece
        found = _first(window, magic)
        if found is not None and (len(window) - found > 4096 or len(piece) < _SCAN_BYTES):
            return base + found
        keep = found if found is not None else max(0, len(window) - 64)
        window, base = window[keep:], base + keep
    found = _first(window, magic)
    return None if found is None else base + found


def _first(window: bytes, magic: bytes) -> int | None:
    if magic == b"WARC":
        match = _PLAIN.search(window)
        return match.start() if match else None
    at = window.find(magic)
    while at >= 0:
        if magic != _GZIP or _is_record(window[at : at + 4096]):
            return at
        at = window.find(magic, at + 1)
    return None


def _is_record(member: bytes) -> bool:
    """Tell whether a gzip member begins with a WARC record, or is too short to tell."""
    try:
        head = zlib.decompressobj(31).decompress(member, 5)
    except zlib.error:
        return False
    return head == b"WARC/" if len(head) == 5 else len(member) < 64
