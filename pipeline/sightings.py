"""What every reader yields: batches of sightings (pictures with texts) and of captures (files the crawl holds)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from filters.policy import ReleasePolicy
from pipeline.schema import CAPTURE_FIELDS

SIGHTING = pa.schema(
    [
        pa.field("url", pa.string()),  # canonical; null where the tag or row has no usable http(s) URL
        pa.field("text", pa.string()),  # NFC, white space folded; may be empty
        pa.field("text_from", pa.string()),  # alt, title, figcaption, list
        pa.field("page_url", pa.string()),
        pa.field("source", pa.string()),
        pa.field("lang", pa.string()),
        pa.field("license", pa.string()),
        *CAPTURE_FIELDS,
        pa.field("reason", pa.string()),  # null, url_invalid, scheme_unsupported, text_empty, opted_out
        pa.field("evidence", pa.string()),  # the page's own words on TDM or AI use
    ]
)

CAPTURE = pa.schema(
    [
        pa.field("url", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("uri", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("content_type", pa.string()),
    ]
)

POLICY_PATHS = ("robots.txt", ".well-known/tdmrep.json", "ai.txt", "trust.txt", ".well-known/trust.txt")
"""Files that speak for their whole origin."""
POLICY_URL = r"https?://[^/]+/(?:robots\.txt|ai\.txt|(?:\.well-known/)?trust\.txt|\.well-known/tdmrep\.json)"
BATCH_ROWS = 5000

Kind = Literal["sightings", "captures"]
Item = tuple[Kind, pa.RecordBatch]
Place = tuple[str, str, int, int]
"""Where captured bytes are: kind ("warc" or "file"), URI, offset and length in bytes (compressed, for a WARC)."""


@dataclass(frozen=True)
class ReadOptions:
    """How inputs are read; JSON can say all of it."""

    text_from: tuple[str, ...] = ("alt",)
    url_col: str = "url"
    caption_col: str = "caption"
    base_url: str = "http://folder.invalid/"
    user_agent_token: str = "tamis"  # noqa: S105 (a crawler's name)
    disallowed: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    from_warc: bool = True
    policy: ReleasePolicy = field(default_factory=ReleasePolicy)  # for what pages say of their own texts


@dataclass
class Counts:
    """What a reader saw; a unit's counts add up to the run's."""

    records: int = 0  # WARC or WAT records, files of a folder, rows of a list
    pages: int = 0  # HTML pages read
    images: int = 0  # every <img> in them
    sightings: int = 0
    captures: int = 0
    bad_records: int = 0  # broken records, members, rows; the rest of the file was read
    truncated_inputs: int = 0  # inputs whose rest could not be read at all
    not_html: int = 0  # responses that are neither pages nor pictures
    not_ok: int = 0  # responses with another status than 200
    revisits: int = 0
    capped_pages: int = 0  # pages cut at the limit
    unaddressable: int = 0  # pictures in a crawl file that has no entry point for them
    opted_out_pages: int = 0

    def add(self, other: "Counts") -> None:
        """Add another unit's counts."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


Row = tuple[str | None, str, str, str | None]
"""url, text, text_from, reason"""


class Batcher:
    """Collects rows of one input to record batches; take() hands over the full ones."""

    def __init__(self, source: str, counts: Counts, batch_rows: int = BATCH_ROWS) -> None:
        self._source = source
        self._counts = counts
        self._batch_rows = batch_rows
        self._rows: list[Row] = []
        self._pages: list[tuple[str | None, ...]] = []  # page_url, lang, license, evidence of each row
        self._places: dict[int, Place] = {}  # row → where its picture is
        self._captures: list[tuple[Any, ...]] = []

    def page(
        self, rows: Sequence[Row], page_url: str | None, lang: str | None, license_: str | None, evidence: str | None
    ) -> None:
        """Add a page's pictures."""
        self._rows += rows
        self._pages += [(page_url, lang, license_, evidence)] * len(rows)

    def row(self, row: Row, evidence: str | None = None, place: Place | None = None) -> None:
        """Add a list's row, with the place of its picture where the list's owner has it."""
        if place:
            self._places[len(self._rows)] = place
        self._rows.append(row)
        self._pages.append((None, None, None, evidence))

    def capture(self, url: str, place: Place, content_type: str | None) -> None:
        """Add one file that the crawl holds."""
        self._captures.append((url, *place, content_type))

    def take(self, *, rest: bool = False) -> Iterator[Item]:
        """Yield batches that are full, or with `rest` all there is."""
        if self._rows and (rest or len(self._rows) >= self._batch_rows):
            for low in range(0, len(self._rows), self._batch_rows):
                yield "sightings", self._sightings(low, low + self._batch_rows)
            self._counts.sightings += len(self._rows)
            self._rows, self._pages, self._places = [], [], {}
        if self._captures and (rest or len(self._captures) >= self._batch_rows):
            for low in range(0, len(self._captures), self._batch_rows):
                yield "captures", _batch(zip(*self._captures[low : low + self._batch_rows], strict=True), CAPTURE)
            self._counts.captures += len(self._captures)
            self._captures = []

    def _sightings(self, low: int, high: int) -> pa.RecordBatch:
        url, text, text_from, reason = zip(*self._rows[low:high], strict=True)
        page_url, lang, license_, evidence = zip(*self._pages[low:high], strict=True)
        source = pa.repeat(pa.scalar(self._source, pa.string()), len(url))
        if self._places:
            places = [self._places.get(at, (None,) * 4) for at in range(low, low + len(url))]
            capture: Iterable[Any] = zip(*places, strict=True)
        else:
            capture = [pa.nulls(len(url), field.type) for field in CAPTURE_FIELDS]
        return _batch([url, text, text_from, page_url, source, lang, license_, *capture, reason, evidence], SIGHTING)


def _batch(columns: Iterable[Any], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.record_batch(arrays, schema=schema)
