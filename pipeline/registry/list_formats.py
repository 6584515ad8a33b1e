"""Lists of who said no, in the forms that circulate: NDJSON, CSV, Parquet, plain lines, ThreatExchange text (optout.md §4.3, §7.3)."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, cast

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
    stem = path.name.removesuffix(".gz").lower()
    number = 0
    try:
        if stem.endswith(".parquet"):
            yield from _parquet(path, kind)
            return
        with _text(path) as handle:
            if stem.endswith((".csv", ".tsv")):
                lines = _csv(handle, "\t" if stem.endswith(".tsv") else ",", kind)
            elif stem.endswith((".ndjson", ".jsonl", ".json")):
                lines = _ndjson(handle, kind)
            else:
                lines = _plain(handle, kind)
            for line in lines:
                number = line.number
                yield line
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list after line {number} ({error})") from error


def _text(path: Path) -> TextIO:
    opened = gzip.open if path.name.endswith(".gz") else open
    return cast(TextIO, opened(path, "rt", encoding="utf-8-sig", errors="replace", newline=""))


def _csv(handle: TextIO, delimiter: str, kind: str | None) -> Iterator[Line | Bad]:
    rows = csv.DictReader(handle, delimiter=delimiter)
    for record in rows:
        yield _record(rows.line_num, record, kind)


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


def _ndjson(handle: Iterable[str], kind: str | None) -> Iterator[Line | Bad]:
    for number, text in enumerate(handle, 1):
        if not text.strip():
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
    value = value.hex() if isinstance(value, bytes) else str(value).strip()
    if not value:
        return Bad(number, "no value")
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


def _matched(kind: str, value: str, match: str) -> tuple[str, int] | None:
    """Return kind and Hamming radius of an entry as its `match` means it, or None where we could only match less."""
    radius = match.removeprefix("hamming<=")
    if kind in ("pdq", "phash64") and match != radius and radius.isdecimal():
        return kind, int(radius)
    if match == "prefix" and kind in ("url", "url_prefix"):
        return "url_prefix", 0
    if match == "suffix" and kind in ("host", "domain"):
        return ("domain", 0) if removal.normal("domain", value) == removal.normal("host", value) else None
    return (kind, 0) if match == "exact" else None


def _plain(handle: Iterable[str], kind: str | None) -> Iterator[Line | Bad]:
    for number, text in enumerate(handle, 1):
        value = text.strip()
        if not value or value.startswith("#"):
            continue
        first, _, rest = value.partition(" ")
        type_ = _TYPES.get(first.lower(), first.lower())
        if _NOT_UTF8 in value:
            yield Bad(number, "not UTF-8")
        elif rest and type_ in removal.KINDS and kind not in ("text", "creator"):
            yield Line(number, type_, rest.strip())  # ThreatExchange's local_file: signal type and value
        else:
            yield Line(number, kind or guess(value), value)


def guess(value: str) -> str:
    """Tell what a bare line is: a URL, a hash by its digits (64 are read as sha256, never as PDQ), or a domain."""
    if "://" in value:
        return "url"
    if len(value) in _HASH_DIGITS and all(c in "0123456789abcdefABCDEF" for c in value):
        return _HASH_DIGITS[len(value)]
    return "domain"
