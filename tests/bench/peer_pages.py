"""Does the peers' part of bench_pages.py in the peers' environment: `peer_pages.py warc|wat FILE…` prints JSON."""

import json
import sys
import time
import warnings
from pathlib import Path
from urllib.parse import urljoin


def read_warc(path: str) -> int:
    """Read candidates with warcio and BeautifulSoup(lxml), as the usual script does."""
    from bs4 import BeautifulSoup
    from warcio.archiveiterator import ArchiveIterator

    warnings.simplefilter("ignore")  # the manual is XHTML
    found = 0
    with Path(path).open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type != "response" or record.http_headers.get_statuscode() != "200":
                continue
            if not (record.http_headers.get_header("Content-Type") or "").startswith("text/html"):
                continue
            url = record.rec_headers.get_header("WARC-Target-URI")
            soup = BeautifulSoup(record.content_stream().read(), "lxml")
            base = soup.find("base", href=True)
            base_url = urljoin(url, base["href"]) if base else url
            rows = [
                (urljoin(base_url, img.get("src") or ""), " ".join((img.get("alt") or "").split()))
                for img in soup.find_all("img")
            ]
            found += sum(1 for _, alt in rows if alt)
    return found


def read_wat(path: str) -> int:
    """Read candidates with cc2dataset's own parser."""
    from cc2dataset.main import process_wat  # type: ignore[import-not-found]
    from loguru import logger  # type: ignore[import-not-found]

    logger.remove()
    return sum(1 for _ in process_wat(path, "image"))


def main() -> None:
    """Time each round over all files; processor seconds without start-up."""
    read = {"warc": read_warc, "wat": read_wat}[sys.argv[1]]
    rounds = []
    pairs = 0
    for _ in range(4):
        before = time.process_time()
        pairs = sum(read(path) for path in sys.argv[2:])
        rounds.append(time.process_time() - before)
    print(json.dumps({"seconds": min(rounds[1:]), "pairs": pairs}))


if __name__ == "__main__":
    main()
