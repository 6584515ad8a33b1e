"""Makes crawl files record by record: WARC as crawlers write it, WAT as Common Crawl derives it (ia-web-commons)."""

import gzip
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fastwarc.warc import ArchiveIterator, WarcRecordType
from selectolax.lexbor import LexborHTMLParser

Headers = Sequence[tuple[str, str]]
HTML: Headers = (("Content-Type", "text/html; charset=utf-8"),)
PNG: Headers = (("Content-Type", "image/png"),)
_TEXT = "the quick brown fox and a lazy dog sat near old harbour while red boats sailed"
PNG_BYTES = b"\x89PNG\r\n\x1a\n" + b"\0" * 64


def record(
    target: str, block: bytes, *, kind: str = "response", content_type: str = "application/http; msgtype=response"
) -> bytes:
    """Return one WARC record."""
    head = [
        f"WARC-Type: {kind}",
        f"WARC-Target-URI: {target}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(block)}",
    ]
    return "\r\n".join(["WARC/1.0", *head, "", ""]).encode() + block + b"\r\n\r\n"


def http(body: bytes, headers: Headers = HTML, status: str = "200 OK") -> bytes:
    """Return an HTTP response."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def response(target: str, body: bytes, headers: Headers = HTML, status: str = "200 OK") -> bytes:
    """Return a response record."""
    return record(target, http(body, headers, status))


def write_warc(path: Path, records: Iterable[bytes]) -> Path:
    """Write records, each its own gzip member if the name ends with .gz."""
    packed = path.name.endswith(".gz")
    path.write_bytes(b"".join(gzip.compress(item, 6, mtime=0) if packed else item for item in records))
    return path


def wat_record(url: str, html: bytes, headers: Headers = HTML) -> bytes:
    """Return the metadata record that ia-web-commons makes of a page."""
    tree = LexborHTMLParser(html)
    links: list[dict[str, str]] = []
    head: dict[str, Any] = {"Metas": [], "Link": [], "Scripts": []}
    for node in tree.css("html,base,meta,link,script[src],a[href],img"):
        found = {name: value or "" for name, value in node.attributes.items()}
        if node.tag == "html":
            head["Metas"] += [
                {"name": f"HTML@/{name}", "content": found[name]} for name in ("lang", "xml:lang") if name in found
            ]
        elif node.tag == "base":
            head["Base"] = found.get("href", "")
        elif node.tag == "meta":
            names = ("name", "rel", "content", "http-equiv", "property")
            head["Metas"].append({name: found[name] for name in names if name in found})
        elif node.tag == "link" and "href" in found:
            head["Link"].append(_link("LINK@/href", found, "href", ("rel", "type")))
        elif node.tag == "script":
            head["Scripts"].append(_link("SCRIPT@/src", found, "src", ("type",)))
        elif node.tag == "a":
            link = _link("A@/href", found, "href", ("target", "alt", "title", "rel"))
            links.append(link | ({"text": text[:128]} if (text := " ".join(node.text().split())) else {}))
        elif node.tag == "img" and "src" in found:
            links.append(_link("IMG@/src", found, "src", ("alt", "title")))
    merged: dict[str, Any] = {}
    for name, value in headers:
        merged[name] = (
            value
            if name not in merged
            else [*([merged[name]] if isinstance(merged[name], str) else merged[name]), value]
        )
    message = {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"}
    page = {
        "Headers": merged,
        "Response-Message": message,
        "HTML-Metadata": {"Head": head, "Links": links},
        "Entity-Length": str(len(html)),
    }
    said = {
        "Container": {
            "Filename": "made.warc.gz",
            "Compressed": True,
            "Offset": "0",
            "Gzip-Metadata": {"Deflate-Length": "1"},
        },
        "Envelope": {
            "Format": "WARC",
            "WARC-Header-Length": "500",
            "Actual-Content-Type": "application/http; msgtype=response",
            "WARC-Header-Metadata": {
                "WARC-Type": "response",
                "WARC-Target-URI": url,
                "WARC-Date": "2026-11-21T00:00:00Z",
            },
            "Payload-Metadata": {
                "Actual-Content-Type": "application/http; msgtype=response",
                "HTTP-Response-Metadata": page,
            },
        },
    }
    block = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return record(url, block, kind="metadata", content_type="application/json")


def _link(path: str, found: dict[str, str], url: str, others: Sequence[str]) -> dict[str, str]:
    return {"path": path, "url": found[url]} | {name: found[name] for name in others if name in found}


def pages_of(warcs: Iterable[Path]) -> Iterable[tuple[str, bytes, Headers]]:
    """Yield (URL, HTML, headers) of the pages of WARC files."""
    for path in warcs:
        with path.open("rb") as file:
            for found in ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
                if found.http_headers.status_code == 200 and found.http_content_type == "text/html":
                    target = (found.headers.get("WARC-Target-URI") or "").strip("<>")
                    yield target, found.reader.read(), found.http_headers.to_tuples()


def made_pages(count: int) -> Iterable[tuple[str, bytes, Headers]]:
    """Yield made-up pages of the usual proportions: menus, scripts, text, 30 pictures of a shop or a newspaper each."""
    rng = random.Random(0)
    words = (_TEXT + " past the stone bridge").split(" ")
    for number in range(count):
        site = f"https://www.site-{number % 50}.example"
        menu = "".join(f'<li><a href="/section/{i}" class="nav-link nav-{i}">Section {i}</a></li>' for i in range(60))
        items = []
        for i in range(30):
            text = " ".join(rng.choices(words, k=40))
            alt = " ".join(rng.choices(words, k=rng.randint(0, 9)))
            items.append(
                f'<article class="card"><a href="/story/{number}-{i}"><img class="lazy" src="/media/{number}/{i}.jpg" '
                f'width="320" height="200" alt="{alt}"></a><h3>{text[:40]}</h3><p>{text} <em>{text[:20]}</em></p>'
                "</article>"
            )
        script = "<script>window.state = {" + ",".join(f'"k{i}": "{rng.random()}"' for i in range(150)) + "};</script>"
        metas = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        head = f"<head>{metas}<title>{number}</title>{script}</head>"
        html = f'<!doctype html><html lang="en">{head}<body><ul>{menu}</ul>{"".join(items)}</body></html>'
        yield f"{site}/{number}.html", html.encode(), HTML
