"""Lists of who said no, in the forms that circulate: NDJSON, CSV, Parquet, plain lines, ThreatExchange text (optout.md §4.3, §7.3)."""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, cast

from filters import removal
from pipeline.errors import InputError

_TYPES: Final = {
    "registrable_domain": "domain", "text_sha256": "", "person_ref": "", "hash_md5": "md5", "hash_sha256": "sha256", "hash_pdq": "pdq",
    "raw_text": "text", "video_md5": "",
}  # fmt: skip
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
    stem = path.name.removesuffix(".gz")
    try:
        if stem.endswith(".parquet"):
            yield from _parquet(path, kind)
            return
        with _text(path) as handle:
            if stem.endswith((".csv", ".tsv")):
                rows = csv.DictReader(handle, delimiter="\t" if stem.endswith(".tsv") else ",")
                yield from _records(enumerate(rows, 2), kind)
            elif stem.endswith((".ndjson", ".jsonl", ".json")):
                yield from _ndjson(handle, kind)
            else:
                yield from _plain(handle, kind)
    except (OSError, EOFError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list ({error})") from error


def _text(path: Path) -> TextIO:
    opened = gzip.open if path.name.endswith(".gz") else open
    return cast(TextIO, opened(path, "rt", encoding="utf-8-sig", errors="replace", newline=""))


def _parquet(path: Path, kind: str | None) -> Iterator[Line | Bad]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=20_000):
            yield from _records(enumerate(batch.to_pylist(), number + 1), kind)
            number += batch.num_rows
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a Parquet file that can be read ({error})") from error


def _ndjson(handle: Iterable[str], kind: str | None) -> Iterator[Line | Bad]:
    for number, text in enumerate(handle, 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except ValueError as error:
            yield Bad(number, f"not JSON: {error}")
            continue
        yield _record(number, record, kind) if isinstance(record, dict) else Bad(number, "not an object")


def _records(rows: Iterable[tuple[int, Mapping[Any, Any]]], kind: str | None) -> Iterator[Line | Bad]:
    for number, record in rows:
        yield _record(number, record, kind)


def _record(number: int, record: Mapping[Any, Any], kind: str | None) -> Line | Bad:
    """Read a record with the columns type, value, match, category, expires_at, status; a lone column named by its kind too."""
    fields = {
        str(name).strip().lower(): value for name, value in record.items() if value is not None and name is not None
    }
    type_ = str(fields.get("type", "")).strip().lower()
    if not type_ and "value" not in fields:
        type_ = next((name for name in removal.KINDS if name in fields), "")
    found = _TYPES.get(type_, type_) or kind or ""
    value = str(fields.get("value", fields.get(type_, ""))).strip()
    if found not in removal.KINDS or found == "picture":
        return Bad(number, f"type {type_!r} is not one that is matched")
    match = str(fields.get("match", "")).replace(" ", "").lower()
    if match == "prefix" and found == "url":
        found = "url_prefix"
    distance = int(match.removeprefix("hamming<=")) if match.startswith("hamming<=") and match[9:].isdigit() else 0
    withdrawn = str(fields.get("status", "active")).lower() in ("withdrawn", "deleted")
    expires = fields.get("expires_at")
    category = str(fields["category"]).strip() if fields.get("category") else None
    return Line(number, found, value, category, distance, str(expires) if expires else None, withdrawn)


def _plain(handle: Iterable[str], kind: str | None) -> Iterator[Line | Bad]:
    for number, text in enumerate(handle, 1):
        value = text.strip()
        if not value or value.startswith("#"):
            continue
        first, _, rest = value.partition(" ")
        type_ = _TYPES.get(first.lower(), first.lower())
        if rest and type_ in removal.KINDS:  # ThreatExchange's local_file: signal type and value
            yield Line(number, type_, rest.strip())
        else:
            yield Line(number, kind or guess(value), value)


def guess(value: str) -> str:
    """Tell what a bare line is: a URL, a hash by its digits (64 are read as sha256, never as PDQ), or a domain."""
    if "://" in value:
        return "url"
    if len(value) in _HASH_DIGITS and all(c in "0123456789abcdefABCDEF" for c in value):
        return _HASH_DIGITS[len(value)]
    return "domain"
