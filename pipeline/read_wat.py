"""Read a WAT (JSON metadata that Common Crawl derives from WARCs): its <img> links become sightings.

WAT lists only `src` of an <img>, not srcset or lazy loaders' attributes, so a picture may be met here in a smaller
rendition than in the WARC. Repeated headers come as an array (ia-web-commons, MetaData.put).
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from fastwarc.warc import WarcRecord, WarcRecordType

from filters.html import Image, Page, declared_lang, fold, license_url, sort_metas
from filters.join import Joiner
from filters.page_signals import header_lines
from filters.urls import canonical_url
from pipeline.read_warc import add_page
from pipeline.sightings import Batcher, Counts, Item, ReadOptions
from pipeline.warc_records import open_stream, records

_MAX_RECORD_BYTES = 64 << 20
_SURROGATE = re.compile("[\ud800-\udfff]")
_IMG = "IMG@/src"


class _Link(msgspec.Struct, gc=False):
    path: str = ""
    url: str = ""
    alt: str | None = None
    title: str | None = None
    rel: str | None = None


class _Meta(msgspec.Struct, gc=False, rename={"http_equiv": "http-equiv"}):
    content: str | None = None
    name: str | None = None
    http_equiv: str | None = None
    property: str | None = None


class _Head(msgspec.Struct, rename="pascal"):
    base: str | None = None
    metas: list[_Meta] = []
    link: list[_Link] = []


class _Html(msgspec.Struct, rename="pascal"):
    head: _Head | None = None
    links: list[_Link] = []


class _Message(msgspec.Struct, rename="pascal"):
    status: str | int | None = None


class _Http(msgspec.Struct, rename={"html": "HTML-Metadata", "message": "Response-Message", "headers": "Headers"}):
    html: _Html | None = None
    message: _Message | None = None
    headers: dict[str, str | list[str]] = {}


class _Payload(msgspec.Struct, rename={"http": "HTTP-Response-Metadata"}):
    http: _Http | None = None


class _Warc(msgspec.Struct, rename={"target": "WARC-Target-URI"}):
    target: str | list[str] | None = None


class _Envelope(msgspec.Struct, rename={"warc": "WARC-Header-Metadata", "payload": "Payload-Metadata"}):
    warc: _Warc | None = None
    payload: _Payload | None = None


class _Record(msgspec.Struct, rename="pascal"):
    envelope: _Envelope | None = None


_DECODER = msgspec.json.Decoder(_Record)  # builds only what is named above: the rest of the JSON is skipped over


def read(uri: str, *, options: ReadOptions, counts: Counts, start: int = 0, stop: int | None = None) -> Iterator[Item]:
    """Yield the batches of a WAT; `start` and `stop` bound the records' offsets in bytes."""
    stream = open_stream(uri)
    batcher = Batcher(uri, counts)
    try:
        for record, _ in records(stream, counts, start=start, stop=stop):
            counts.records += 1
            if record.record_type == WarcRecordType.metadata:
                _look(record, batcher, counts, options)
                yield from batcher.take()
    finally:
        stream.close()
    yield from batcher.take(rest=True)


def _look(record: WarcRecord, batcher: Batcher, counts: Counts, options: ReadOptions) -> None:
    try:
        raw = record.reader.read(min(record.content_length, _MAX_RECORD_BYTES))
        found = _decode(raw)
    except OSError:
        return  # records() meets the same break and counts it
    except (ValueError, RecursionError):
        counts.bad_records += 1
        return
    envelope = found.envelope
    http = envelope.payload.http if envelope and envelope.payload else None
    if envelope is None or http is None:
        return  # the metadata of a request, or of the file itself
    if http.message and http.message.status not in (None, "200", 200):
        counts.not_ok += 1
        return
    target = envelope.warc.target if envelope.warc else None
    url = canonical_url(target if isinstance(target, str) else target[0] if target else "")
    if http.html is None or url is None:
        counts.not_html += 1
        return
    headers = [
        (name, value) for name, said in http.headers.items() for value in ([said] if isinstance(said, str) else said)
    ]
    licensed = b"icense" in raw or b"reativecommons" in raw
    add_page(batcher, counts, url, _page(http.html, url, headers, options, licensed=licensed), headers, options)


def _decode(raw: bytes) -> _Record:
    """Decode a record; one that is not valid UTF-8 or holds lone surrogates goes the slow, lenient way."""
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        lenient: Any = json.loads(raw.decode("utf-8", "replace"), strict=False)
        return _DECODER.decode(_SURROGATE.sub("\ufffd", json.dumps(lenient, ensure_ascii=False)))


def _page(html: _Html, url: str, headers: Sequence[tuple[str, str]], options: ReadOptions, *, licensed: bool) -> Page:
    head = html.head or _Head()
    base = (canonical_url(head.base, url) if head.base else None) or url
    pairs = [
        (name, meta.content)
        for meta in head.metas
        if meta.content is not None and (name := meta.name or meta.http_equiv or meta.property)
    ]
    robots, named = sort_metas(pairs, options)
    said = (named.get("html@/lang"), named.get("html@/xml:lang"), named.get("content-language"))
    lang = next(
        (tag for value in (*said, *header_lines(headers, "content-language")) if (tag := declared_lang(value))), None
    )
    return Page(
        images=_images(html.links, base, options.text_from),
        base=base,
        lang=lang,
        license=_license([*head.link, *html.links], base) if licensed else None,
        meta_robots=robots,
        tdm_reservation=named.get("tdm-reservation"),
        tdm_policy=named.get("tdm-policy"),
    )


def _license(links: Sequence[_Link], base: str) -> str | None:
    guess: str | None = None
    for link in links:
        if link.path in ("A@/href", "LINK@/href", "AREA@/href"):
            by_rel, where = license_url(link.rel, link.url, base)
            if by_rel and where:
                return where
            guess = guess or where
    return guess


def _images(links: Sequence[_Link], base: str, text_from: Sequence[str]) -> list[Image]:
    join = Joiner(base)
    first, *others = text_from or ("alt",)
    images = []
    for link in links:
        if link.path != _IMG:
            continue
        raw, name = link.url, first
        text = fold(_said(link, first))
        for name in others if not text else ():
            if text := fold(_said(link, name)):
                break
        images.append(Image(raw, join(raw) if raw else None, text, name if text else first))
    return images


def _said(link: _Link, name: str) -> str:
    return (link.alt if name == "alt" else link.title if name == "title" else None) or ""
