"""Read lists of URLs and texts (Parquet, CSV, TSV, JSONL, TXT; packed or not) in a stream: each row is a sighting."""

import bz2
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import fsspec
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from filters.html import fold, pair_reason
from filters.urls import canonical_url
from pipeline.errors import ConfigError, FormatError, InputError
from pipeline.read_img2dataset import is_img2dataset, read_img2dataset
from pipeline.sightings import BATCH_ROWS, Batcher, Counts, Item, ReadOptions

__all__ = ["is_img2dataset", "read", "read_img2dataset", "split"]

_PACKED = (".gz", ".zst", ".bz2")
_BAD_DATA = ("compress", "invalid data stream")  # what Arrow's zstd and bz2 say in an OSError
_MAX_FIELD_CHARS = 1 << 20

Row = tuple[Any, Any]


def split(uri: str, rows_per_unit: int) -> list[tuple[int, int | None]]:
    """Return the [start, stop) rows of a list's units: whole row groups of a Parquet file, all rows of other files."""
    if not uri.lower().endswith(".parquet"):
        return [(0, None)]
    with _open(uri) as file:
        metadata = _parquet(file, uri).metadata
    units: list[tuple[int, int | None]] = []
    start = at = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if at > start and at + rows - start > rows_per_unit:
            units.append((start, at))
            start = at
        at += rows
    return [*units, (start, at)]


def read(uri: str, *, options: ReadOptions, counts: Counts, start: int = 0, stop: int | None = None) -> Iterator[Item]:
    """Yield the batches of a list's rows [start, stop)."""
    batcher = Batcher(uri, counts)
    with _open(uri) as file:
        for raw_url, raw_text in _rows(file, uri, options, counts, start, stop):
            counts.records += 1
            raw = raw_url if isinstance(raw_url, str) else _text(raw_url)
            text = fold(raw_text if isinstance(raw_text, str) else _text(raw_text))
            url = canonical_url(raw) if raw else None
            batcher.row((url, text, "list", pair_reason(raw, url, text)))
            if not counts.records % BATCH_ROWS:
                yield from batcher.take()
    yield from batcher.take(rest=True)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _open(uri: str) -> IO[bytes]:
    try:
        filesystem, path = fsspec.core.url_to_fs(uri)
        file: IO[bytes] = filesystem.open(path, "rb")
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{uri}: cannot be opened ({error})") from error
    return file


def _rows(
    file: IO[bytes], uri: str, options: ReadOptions, counts: Counts, start: int, stop: int | None
) -> Iterator[Row]:
    name = uri.lower()
    if name.endswith(".parquet"):
        yield from _parquet_rows(file, uri, options, start, stop)
        return
    packing = next((ending for ending in _PACKED if name.endswith(ending)), "")
    lines = io.TextIOWrapper(_unpack(file, packing), encoding="utf-8-sig", errors="replace", newline="")
    parsers: dict[str, Callable[[], Iterator[Row]]] = {
        ".csv": lambda: _csv_rows(lines, uri, options, counts, tabs=False),
        ".tsv": lambda: _csv_rows(lines, uri, options, counts, tabs=True),
        ".jsonl": lambda: _json_rows(lines, uri, options, counts),
        ".ndjson": lambda: _json_rows(lines, uri, options, counts),
        ".txt": lambda: ((line.strip(), None) for line in lines if line.strip()),
    }
    bare = name.removesuffix(packing)
    parser = next((parsers[ending] for ending in parsers if bare.endswith(ending)), None)
    if parser is None:
        raise InputError(f"{uri}: unknown kind of list; known are .parquet, {', '.join(parsers)}")
    try:
        for at, row in enumerate(parser()):
            if stop is not None and at >= stop:
                return
            if at >= start:
                yield row
    except (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowInvalid):
        counts.truncated_inputs += 1  # what was unpacked up to the break has been read
    except OSError as error:
        if packing and any(sign in str(error).lower() for sign in _BAD_DATA):
            counts.truncated_inputs += 1
            return
        raise InputError(f"{uri}: cannot be read ({error})") from error


def _unpack(file: IO[bytes], packing: str) -> Any:
    if packing == ".gz":
        return gzip.GzipFile(fileobj=file)
    if packing == ".bz2":
        return bz2.BZ2File(file)
    if packing == ".zst":
        return io.BufferedReader(_Zstd(file), 1 << 20)
    return file


class _Zstd(io.RawIOBase):
    """Arrow's zstd stream as a raw file, for io's readers."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 at the end."""
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _columns(names: list[str], uri: str, options: ReadOptions) -> tuple[int, int]:
    """Return the positions of the URL and of the text; ConfigError names the columns there are."""
    for key, name in (("url_col", options.url_col), ("caption_col", options.caption_col)):
        if name not in names:
            raise ConfigError(f"{uri}: there is no column {name!r} ({key}); there are: {', '.join(names)}")
    return names.index(options.url_col), names.index(options.caption_col)


def _parquet(file: IO[bytes], uri: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{uri}: not a Parquet file ({error})") from error


def _parquet_rows(file: IO[bytes], uri: str, options: ReadOptions, start: int, stop: int | None) -> Iterator[Row]:
    table = _parquet(file, uri)
    _columns(table.schema_arrow.names, uri, options)
    columns = [options.url_col, options.caption_col]
    at = 0
    for group in range(table.metadata.num_row_groups):
        rows = table.metadata.row_group(group).num_rows
        if at + rows > start and (stop is None or at < stop):
            low, high = max(0, start - at), rows if stop is None else min(rows, stop - at)
            yield from _group_rows(table, group, columns, low, high, uri)
        at += rows


def _group_rows(table: pq.ParquetFile, group: int, columns: list[str], low: int, high: int, uri: str) -> Iterator[Row]:
    at = 0
    try:
        for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
            part = batch.slice(max(0, low - at), max(0, min(high - at, batch.num_rows) - max(0, low - at)))
            at += batch.num_rows
            yield from zip(*(part.column(name).to_pylist() for name in columns), strict=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{uri}: row group {group} cannot be read ({error})") from error


def _csv_rows(lines: IO[str], uri: str, options: ReadOptions, counts: Counts, *, tabs: bool) -> Iterator[Row]:
    """Yield a table's rows. Tab-separated files are not quoted, but fields that spreadsheets quoted are unwrapped."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    clean = (line.replace("\0", "") for line in lines)
    table = csv.reader(clean, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(clean)
    header = next(table, None)
    if header is None:
        return
    url_at, text_at = _columns([_unquoted(name) if tabs else name for name in header], uri, options)
    needed = max(url_at, text_at)
    while True:
        try:
            row = next(table)
        except StopIteration:
            return
        except csv.Error:  # a field without end
            counts.bad_records += 1
            continue
        if len(row) <= needed:
            counts.bad_records += bool(row)
            continue
        found = row[url_at], row[text_at]
        yield (_unquoted(found[0]), _unquoted(found[1])) if tabs else found


def _unquoted(field: str) -> str:
    quoted = len(field) > 1 and field[0] == '"' == field[-1]
    return field[1:-1].replace('""', '"') if quoted else field


def _json_rows(lines: IO[str], uri: str, options: ReadOptions, counts: Counts) -> Iterator[Row]:
    decoder = msgspec.json.Decoder()
    known = False
    for line in lines:
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except (msgspec.DecodeError, RecursionError):
            row = _lenient(line)
        if not isinstance(row, dict):
            counts.bad_records += 1
            continue
        if not known:  # later rows may leave a null field out
            _columns(list(row), uri, options)
            known = True
        yield row.get(options.url_col), row.get(options.caption_col)


def _lenient(line: str) -> Any:
    try:
        return json.loads(line, strict=False)
    except (ValueError, RecursionError):
        return None
