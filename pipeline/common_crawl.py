"""List the files of a Common Crawl: from its path listing, over https, s3 or a local mirror."""

import gzip
import re
import zlib
from collections.abc import Sequence

import fsspec

from pipeline.errors import FormatError, InputError

BASE_URL = "https://data.commoncrawl.org/"

_CRAWL = re.compile(r"CC-[A-Z]+-\d{4}-\d{2}(?:-\d{2})?|CC-NEWS/\d{4}/\d{2}")
_MAX_LISTING_BYTES = 256 << 20


def paths(
    crawl: str, *, base_url: str = BASE_URL, kind: str = "wat", segments: Sequence[int] | None = None
) -> list[str]:
    """Return the addresses of a crawl's files of a kind (wat, warc); `segments` picks by position in the listing.

    InputError when the crawl is not there or has no such position.
    """
    if not _CRAWL.fullmatch(crawl):
        raise InputError(f"{crawl!r} is no Common Crawl id; they look like CC-MAIN-2026-43")
    base = base_url.rstrip("/") + "/"
    listing = f"{base}crawl-data/{crawl}/{kind}.paths.gz"
    found = [f"{base}{line}" for line in _lines(listing)]
    if segments is None:
        return found
    outside = [at for at in segments if not 0 <= at < len(found)]
    if outside:
        raise InputError(f"{listing} lists {len(found)} files; there is no position {outside[0]} (they count from 0)")
    return [found[at] for at in dict.fromkeys(segments)]


def _lines(listing: str) -> list[str]:
    try:
        with fsspec.open(listing, "rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            text = file.read(_MAX_LISTING_BYTES).decode()
    except (EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise FormatError(f"{listing}: not a gzip listing of paths ({error})") from error
    except (OSError, ImportError, ValueError) as error:
        raise InputError(
            f"{listing}: cannot be read ({error}); see https://commoncrawl.org for the ids there are"
        ) from error
    return [line for raw in text.splitlines() if (line := raw.strip())]
