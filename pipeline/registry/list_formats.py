"""Lists of who said no, in the forms that circulate: NDJSON, CSV, Parquet, plain lines, ThreatExchange text (optout.md §4.3, §7.3)."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, TextIO, cast

from filters import removal
from pipeline.errors import InputError
from pipeline.registry import clock

_TYPES: Final = {
    "registrable_domain": "domain",
    "hash_md5": "md5",
    "hash_sha256": "sha256",
    "hash_pdq": "pdq",
    "imagepdq": "pdq",
    "raw_text": "text",
}
"""What other lists call our kinds (ThreatExchange, StopNCII)."""
_VALUED: Final = frozenset({*removal.KINDS, *_TYPES} - {"picture"})
_WITHDRAWN: Final = ("withdrawn", "deleted")
_NOT_UTF8: Final = "\ufffd"
_HASH_DIGITS: Final = {32: "md5", 64: "sha256", 16: "phash64"}
_LONGEST: Final = 131_072  # characters of a line; csv's own limit of a field
_TOO_LONG: Final = f"longer than {_LONGEST:,} characters"
_BYTE_ORDER: Final = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # as Windows' programs save "Unicode"


@dataclass(frozen=True, slots=True)
class Line:
    """One entry of a list as its owner wrote it."""

    number: int
    kind: str
    value: str
    category: str | None = None
    distance: int = 0
    expires_utc: str | None = None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that says nothing that is understood."""

    number: int
    why: str


def read(path: Path, kind: str | None = None) -> Iterator[Line | Bad]:
    """Yield a list's lines one by one, in bounded memory; the form is told by the file's name and first line.

    `kind` says what plain lines are; without it URLs, hashes and bare names tell themselves. InputError when the file cannot
    be read.
    """
    if kind is not None and kind not in removal.KINDS:
        raise InputError(f"--kind {kind!r}: one of {', '.join(removal.KINDS)}")
    if kind == "picture":
        raise InputError("--kind picture: a list names pictures by sha256, md5, pdq or phash64")
    number = 0
    try:
        form = _form(path)
        if form == "parquet":
            yield from _parquet(path, kind)
            return
        with _text(path) as handle:
            lines = {"csv": _csv, "tsv": _tsv, "ndjson": _ndjson}.get(form, _plain)(_bounded(handle), kind)
            for line in lines:
                number = line.number
                yield line
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        hint = "; is a quotation mark left open?" if isinstance(error, csv.Error) else ""
        raise InputError(f"{path}: cannot be read as a list after line {number} ({error}{hint})") from error


def _form(path: Path) -> str:
    """Tell the form by the name, else by how the file begins."""
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    named = {
        ".parquet": "parquet",
        ".csv": "csv",
        ".tsv": "tsv",
        ".ndjson": "ndjson",
        ".jsonl": "ndjson",
        ".json": "ndjson",
    }
    if suffix in named:
        return named[suffix]
    with _bytes(path) as handle:
        first = handle.read(4)
    if first == b"PAR1":
        return "parquet"
    with _text(path) as text:
        return "ndjson" if text.readline(_LONGEST).lstrip().startswith("{") else "plain"


def _bytes(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb"))


def _text(path: Path) -> TextIO:
    handle = _bytes(path)
    encoding = _BYTE_ORDER.get(handle.read(2), "utf-8-sig")
    handle.seek(0)
    return io.TextIOWrapper(handle, encoding=encoding, errors="replace", newline="")


def _bounded(handle: TextIO) -> Iterator[str]:
    """Yield lines; of one that is too long to mean anything, its first `_LONGEST` characters, in bounded memory."""
    while line := handle.readline(_LONGEST):
        rest = line
        while len(rest) == _LONGEST and not rest.endswith(("\n", "\r")):
            rest = handle.readline(_LONGEST)
        yield line


def _tsv(lines: Iterator[str], kind: str | None) -> Iterator[Line | Bad]:
    return _csv(lines, kind, "\t")


def _csv(lines: Iterator[str], kind: str | None, delimiter: str | None = None) -> Iterator[Line | Bad]:
    """Read a table; what separates its columns is what its first line has most of (spreadsheets write `;` in some countries)."""
    first = next(lines, "")
    long: list[int] = []
    rows = csv.DictReader(chain([first], _short(lines, long)), delimiter=delimiter or max(",;\t", key=first.count))
    for record in rows:
        while long:
            yield Bad(long.pop(0), _TOO_LONG)
        yield _record(rows.line_num, record, kind)
    yield from (Bad(number, _TOO_LONG) for number in long)


def _short(lines: Iterable[str], long: list[int]) -> Iterator[str]:
    """Yield the lines of a table behind its first, empty ones for those too long, whose numbers are noted."""
    for number, line in enumerate(lines, 2):
        if len(line) >= _LONGEST:
            long.append(number)
        yield line if len(line) < _LONGEST else "\n"


def _parquet(path: Path, kind: str | None) -> Iterator[Line | Bad]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=20_000):
            for record in batch.to_pylist():
                number += 1
                yield _record(number, record, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({error})") from error


def _ndjson(lines: Iterator[str], kind: str | None) -> Iterator[Line | Bad]:
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        if len(text) >= _LONGEST:
            yield Bad(number, _TOO_LONG)
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Bad(number, f"not JSON: {error}")
            continue
        yield _record(number, record, kind) if isinstance(record, dict) else Bad(number, "not an object")


def _record(number: int, record: Mapping[Any, Any], kind: str | None) -> Line | Bad:
    """Read a record with the columns type, value, match, category, expires_at, status; a lone column named by its kind too."""
    fields = {str(name).strip().lower(): value for name, value in record.items() if value not in (None, "")}
    type_ = str(fields.get("type") or fields.get("signaltype") or "").strip().lower()
    if not type_ and not {"value", "hashvalue"} & fields.keys():
        type_ = next((name for name in fields if name in _VALUED), "")
    found = _TYPES.get(type_, type_) or kind or ""
    value = fields.get("value", fields.get("hashvalue", fields.get(type_, "")))
    value = (_of_bytes(found, value) if isinstance(value, bytes) else str(value)).strip()
    if not value:
        return Bad(number, "no value")
    if "\n" in value and found not in ("text", "creator"):
        return Bad(number, "a value of several lines: is a quotation mark left open?")
    if _NOT_UTF8 in value:
        return Bad(number, "not UTF-8")
    if found not in removal.KINDS or found == "picture":
        return Bad(number, f"type {type_!r} is not one that is matched")
    matched = _matched(found, value, "".join(str(fields.get("match", "exact")).lower().split()))
    if matched is None:
        return Bad(number, f"match {fields['match']!r} of a {found} is not understood")
    withdrawn = str(fields.get("status", fields.get("hashstatus", "active"))).strip().lower() in _WITHDRAWN
    try:
        expires = clock.text(clock.moment(str(fields["expires_at"]).strip())) if "expires_at" in fields else None
    except InputError:
        return Bad(
            number, f"expires_at {str(fields['expires_at'])!r} is not a time; it is written as 2026-01-31T12:00:00Z"
        )
    category = str(fields["category"]).strip() if "category" in fields else None
    return Line(number, matched[0], value, category, matched[1], expires, withdrawn)


def _of_bytes(kind: str, value: bytes) -> str:
    """Return a value of a column of bytes as text: a hash in hex, anything else as the text that it is."""
    if len(value) == removal.HASH_BYTES.get(kind):
        return value.hex()
    return value.decode("utf-8", "replace")


def _matched(kind: str, value: str, match: str) -> tuple[str, int] | None:
    """Return kind and Hamming radius of an entry as its `match` means it, or None where we could only match less."""
    radius = match.removeprefix("hamming<=")
    if kind in removal.MOST_BITS and match != radius and radius.isdecimal() and radius.isascii():
        # 0 stands for the radius that a run is configured with; wider than the most, a hash would meet strangers' pictures
        return (kind, max(1, int(radius))) if len(radius) < 4 and int(radius) <= removal.MOST_BITS[kind] else None
    if match == "prefix" and kind in ("url", "url_prefix"):
        return "url_prefix", 0
    if match == "suffix" and kind in ("host", "domain"):
        return ("domain", 0) if removal.normal("domain", value) == removal.normal("host", value) else None
    return (kind, 0) if match == "exact" else None


def _plain(lines: Iterator[str], kind: str | None) -> Iterator[Line | Bad]:
    for number, text in enumerate(lines, 1):
        value = text.strip()
        if not value or value.startswith("#"):
            continue
        first, _, rest = value.partition(" ")
        type_ = _TYPES.get(first.lower(), first.lower())
        if len(text) >= _LONGEST:
            yield Bad(number, _TOO_LONG)
        elif _NOT_UTF8 in value:
            yield Bad(number, "not UTF-8")
        elif rest and type_ in removal.KINDS and kind not in ("text", "creator"):
            yield Line(number, type_, rest.strip())  # ThreatExchange's local_file: signal type and value
        else:
            yield Line(number, kind or guess(value), value)


def guess(value: str) -> str:
    """Tell what a bare line is: a URL, a hash by its digits (64 are read as sha256, never as PDQ), a domain or a host on one.

    A line means no more than it says: what names a path is no whole site, and what names one host of a domain not the others.
    """
    if "://" in value:
        return "url"
    if len(value) in _HASH_DIGITS and all(c in "0123456789abcdefABCDEF" for c in value):
        return _HASH_DIGITS[len(value)]
    if "/" in value.rstrip("/"):
        return "url"
    if value.startswith(("*.", ".")):
        return "domain"
    domain = removal.normal("domain", value)
    same = isinstance(domain, str) and domain.removeprefix("www.") == removal.normal("host", value)
    return "domain" if domain is None or same else "host"
