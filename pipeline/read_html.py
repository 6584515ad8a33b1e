"""Read a folder of HTML as if a site stood there: pages become sightings, picture files become captures."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import fsspec

from filters.html import read_page
from filters.urls import canonical_url
from pipeline.errors import ConfigError, InputError
from pipeline.read_warc import MAX_PAGE_BYTES, add_page
from pipeline.sightings import POLICY_PATHS, Batcher, Counts, Item, ReadOptions

_PAGES = (".html", ".htm", ".xhtml", ".shtml")
_PICTURES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpe": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".svg": "image/svg+xml",
}
_UNQUOTED = "/!$&'()*+,;=:@[]~"  # what pages write as it is in a path; ?, # and % of a file name are escaped


def read(uri: str, *, options: ReadOptions, counts: Counts, start: int = 0, stop: int | None = None) -> Iterator[Item]:
    """Yield the batches of a folder (or of one page); `start` and `stop` cut the sorted list of its files."""
    base = canonical_url(options.base_url)
    if base is None:
        raise ConfigError(f"base_url = {options.base_url!r}: must be an absolute http(s) URL that ends with /")
    base = base if base.endswith("/") else base + "/"
    filesystem, root = fsspec.core.url_to_fs(uri)
    batcher = Batcher(uri, counts)
    for path, size in _files(filesystem, root, uri)[start:stop]:
        relative = path[len(root) :].lstrip("/") if path != root else path.rsplit("/", 1)[-1]
        url = canonical_url(base + quote(relative, safe=_UNQUOTED))
        assert url is not None
        counts.records += 1
        ending = relative[relative.rfind(".") :].lower() if "." in relative else ""
        if ending in _PAGES:
            _page(filesystem, path, url, batcher, counts, options)
        elif (ending in _PICTURES or relative in POLICY_PATHS) and options.from_warc:
            place = ("file", filesystem.unstrip_protocol(path).removeprefix("file://"), 0, size)
            batcher.capture(url, place, _PICTURES.get(ending))
        else:
            counts.not_html += 1
        yield from batcher.take()
    yield from batcher.take(rest=True)


def _files(filesystem: Any, root: str, uri: str) -> list[tuple[str, int]]:
    try:
        found = filesystem.find(root, detail=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{uri}: cannot be listed ({error})") from error
    if not found:
        raise InputError(f"{uri}: there are no files")
    return sorted((path, int(info.get("size") or 0)) for path, info in found.items())


def _page(filesystem: Any, path: str, url: str, batcher: Batcher, counts: Counts, options: ReadOptions) -> None:
    try:
        with filesystem.open(path, "rb") as file:
            html = file.read(MAX_PAGE_BYTES + 1)
    except FileNotFoundError:  # a dangling link, or gone since the listing
        counts.bad_records += 1
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if len(html) > MAX_PAGE_BYTES:
        counts.capped_pages += 1
        html = html[:MAX_PAGE_BYTES]
    add_page(batcher, counts, url, read_page(html, url, options=options), [], options)
