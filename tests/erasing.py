"""A real data set of two snapshots for tests of erasure, with everything that makes erasing hard, and how to look at it."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline import tombstones
from pipeline.erasure.needles import Needles, collect
from pipeline.reader import samples
from pipeline.snapshot import numbers, read
from pipeline.stage import find
from pipeline.store import Store
from tests.tiny import config, picture, tamis, write_crawl

SHARED_URL = "http://shared.example/p/500.jpg"
REFUSED_URL = "http://site0.example/p/0.jpg"


def write_everything(folder: Path) -> list[Path]:
    """Write the crawl: sixty pictures, one with two texts, and a page that says no to a picture another page shows."""
    paths = write_crawl(folder)
    path = folder / "crawl-extra.warc.gz"
    with path.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        tags = "".join(
            f'<img src="/p/500.jpg" alt="{text}">'
            for text in ("a purple triangle drawn as number 500", "a purple triangle seen again")
        )
        _add(writer, "http://shared.example/", "text/html", f"<html><body>{tags}</body></html>".encode())
        _add(writer, SHARED_URL, "image/jpeg", picture(500)[0])
        no = f'<html><head><meta name="robots" content="noai"></head><img src="{REFUSED_URL}" alt="not to be used"></html>'
        _add(writer, "http://refusing.example/", "text/html", no.encode())
    return [*paths, path]


def _add(writer: Any, url: str, content_type: str, body: bytes) -> None:
    headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
    http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
    writer.write_record(writer.create_warc_record(url, "response", payload=BytesIO(body), http_headers=http))


def settings(base: Path, dataset: str, **more: Any) -> Path:
    """Write the run's configuration."""
    crawl = sorted((base / "crawl").glob("*.gz"))
    return config(base / f"{hashlib.md5((dataset + str(more)).encode()).hexdigest()}.toml", dataset, crawl, **more)


def make(base: Path, *more: str) -> Path:
    """Make the data set with two snapshots that share some shards (hard links) and differ in others; return its folder."""
    write_everything(base / "crawl")
    dataset = base / "set"
    tamis("ingest", settings(base, str(dataset)), "--quiet", *more)
    tamis("ingest", settings(base, str(dataset), copies={"enabled": False}, clip={"threshold": 0.15}), "--quiet", *more)
    return dataset


def copy(dataset: Path, target: Path) -> Store:
    """Copy a data set with its hard links."""
    subprocess.run(["cp", "-a", str(dataset), str(target)], check=True)
    return Store.open_url(str(target))


def rows(store: Store) -> dict[bytes, dict[str, Any]]:
    """Return uid → candidate row, with the key of its part."""
    found = {}
    for number in numbers(store):
        for entry in read(store, number).parts:
            part = find(store, "candidates", entry.candidates)
            assert part is not None
            found.update({row["uid"]: row | {"part": part.key} for row in part.table(store).to_pylist()})
    return found


def shown(store: Store, number: int | None = None) -> dict[str, bytes]:
    """Return key → picture of all samples that a reader hands out."""
    return {sample["__key__"]: sample["jpg"] for sample in samples(store, number)}


def hide(store: Store, uids: Iterable[bytes], request: str = "r-test") -> None:
    """Publish tombstones for uids."""
    known = rows(store)
    uids = list(uids)
    tombstones.publish(store, tombstones.of_request(uids, [known[uid]["part"] for uid in uids], request))


def needles(store: Store, uids: Sequence[bytes]) -> Needles:
    """Return all that is known of some uids, to be looked for."""
    known = rows(store)
    found = Needles()
    for uid, secret in collect(store, uids, {known[uid]["part"] for uid in uids}).items():
        found.add("r-test", uid, secret)
    return found


def tree(dataset: Path) -> dict[str, str]:
    """Return file → digest of a data set, without what carries a clock (logs, the time in the record of an erasure)."""
    out = {}
    for path in sorted(p for p in dataset.rglob("*") if p.is_file()):
        name = str(path.relative_to(dataset))
        if name in ("events.jsonl", "progress.json", "run.lock"):
            continue
        data = path.read_bytes()
        if name.startswith("erasures/"):
            data = json.dumps(json.loads(data) | {"utc": ""}, sort_keys=True).encode()
        out[name] = hashlib.sha256(data).hexdigest()
    return out


def problems(store: Store) -> list[str]:
    """Return what `tamis verify` finds wrong."""
    from pipeline.verify import verify

    return verify(store).problems
