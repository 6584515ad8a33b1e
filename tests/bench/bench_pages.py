"""Pages to candidates: WARC against warcio + BeautifulSoup(lxml), WAT against cc2dataset's parser.

Prints one JSON line a claim. Reads the gimp-help crawl below TAMIS_CORPORA (default .corpora) where it is, and made-up
pages of a shop's or newspaper's proportions; WAT files are derived from both as Common Crawl's tool does. The peers run
in their own environment (PAGES_PEER_PYTHON names its Python; otherwise one is made in the temporary folder). Processor
seconds of the best of several rounds after one to warm up, both sides in turn; start-up and imports left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import pyarrow.compute as pc  # noqa: E402

from pipeline import read_warc, read_wat  # noqa: E402
from pipeline.sightings import Counts, ReadOptions  # noqa: E402
from tests.crawl_files import made_pages, pages_of, response, wat_record, write_warc  # noqa: E402

PEERS = ["warcio>=1.7", "beautifulsoup4>=4.12", "lxml>=5", "cc2dataset==1.5.0", "setuptools<81"]
MADE_PAGES = 1000
TURNS = 3


def peer_python() -> str:
    """Return the Python of the peers' environment, made on first use."""
    named = os.environ.get("PAGES_PEER_PYTHON")
    if named:
        return named
    folder = Path(tempfile.gettempdir()) / "tamis-bench-pages"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True, stdout=sys.stderr)
        (folder / "ready").touch()
    return str(python)


def peer(kind: str, paths: Sequence[Path]) -> dict[str, float]:
    """Run the peer on the files."""
    script = Path(__file__).with_name("peer_pages.py")
    done = subprocess.run([peer_python(), script, kind, *paths], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def ours(kind: str, paths: Sequence[Path]) -> dict[str, float]:
    """Run our reader on the files, as far as record batches."""
    read = {"warc": read_warc.read, "wat": read_wat.read}[kind]
    rounds = []
    pairs = 0
    for _ in range(4):
        before, counts, pairs = time.process_time(), Counts(), 0
        for path in paths:
            for name, batch in read(str(path), options=ReadOptions(), counts=counts):
                if name == "sightings":
                    pairs += batch.num_rows - pc.sum(pc.equal(batch["text"], "")).as_py()
        rounds.append(time.process_time() - before)
    return {"seconds": min(rounds[1:]), "pairs": pairs, "pages": counts.pages}


def compare(claim: str, kind: str, paths: Sequence[Path], aim: str) -> None:
    """Print one claim's line."""
    turns = [(ours(kind, paths), peer(kind, paths)) for _ in range(TURNS)]
    mine = min((turn[0] for turn in turns), key=lambda found: found["seconds"])
    theirs = min((turn[1] for turn in turns), key=lambda found: found["seconds"])
    print(
        json.dumps(
            {
                "claim": claim,
                "unit": "pages per CPU second",
                "ours": mine["pages"] / mine["seconds"],
                "peer": mine["pages"] / theirs["seconds"],
                "ratio": theirs["seconds"] / mine["seconds"],
                "aim": aim,
                "pairs": [mine["pairs"], theirs["pairs"]],
            }
        ),
        flush=True,
    )


def main() -> None:
    """Compare on the real crawl, if there is one, and on made-up pages."""
    crawl = Path(os.environ.get("TAMIS_CORPORA", ROOT / ".corpora")) / "crawl"
    real = sorted(crawl.glob("gimp-en-0*.warc.gz"))
    with tempfile.TemporaryDirectory() as folder:
        made = list(made_pages(MADE_PAGES))
        cases = {"made-up pages": [write_warc(Path(folder) / "made.warc.gz", (response(u, h, k) for u, h, k in made))]}
        wats = {"made-up pages": [write_warc(Path(folder) / "made.wat.gz", (wat_record(u, h, k) for u, h, k in made))]}
        if real:
            cases["gimp-help crawl"] = real
            records = (wat_record(url, html, headers) for url, html, headers in pages_of(real))
            wats["gimp-help crawl"] = [write_warc(Path(folder) / "gimp.wat.gz", records)]
        for name, paths in cases.items():
            compare(f"WARC to candidates, {name}, against warcio + BeautifulSoup(lxml)", "warc", paths, "≥ 5×")
        for name, paths in wats.items():
            compare(f"WAT to candidates, {name}, against cc2dataset's parser", "wat", paths, "≥ 1.5×")


if __name__ == "__main__":
    main()
