"""Who is listed is not even asked for: runs that download from a real server that counts, by both engines."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import image
from pipeline.fetch import FetchOptions, FetchResult, fetch_rows
from pipeline.picture_hashes import picture_hashes
from pipeline.refusals import PictureGuard
from pipeline.registry.registry import Registry
from pipeline.registry.suppression import Suppression
from pipeline.store import Store
from tests.hostile import Hostile
from tests.pipeline.test_fetch import rows_of
from tests.pipeline.test_runs_with_a_web import Site
from tests.tiny import config, picture, tamis


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


def ingest(base: Path, scheduler: str, urls: list[tuple[str, str]], **fetch: Any) -> dict[str, Any]:
    links = base / "links.parquet"
    pq.write_table(pa.table({"url": [url for url, _ in urls], "caption": [text for _, text in urls]}), links)
    settings = {"allow_hosts": ["127.0.0.1"], "retries": 0, "timeout_s": 5.0, **fetch}
    file = config(base / "web.toml", str(base / "set"), [links], fetch=settings, copies={"enabled": False})
    found: dict[str, Any] = json.loads(tamis("ingest", file, "--quiet", "--json", "--scheduler", scheduler).stdout)
    return found


def fetched(server: Hostile, folder: Path, guard: PictureGuard | None) -> FetchResult:
    options = FetchOptions(allow_hosts=server.allow_hosts, hosts=server.hosts, timeout_s=6.0)
    rows = rows_of([server.url("/moved")])
    return fetch_rows(rows, options=options, policies={}, out_tar=folder / "part.tar", guard=guard)


def needles(number: int) -> dict[str, bytes]:
    """Return what would tell that a picture was here: its bytes, the stored copy's, and its hashes in both spellings."""
    data = picture(number)[0]
    stored = image.decode(data, image.Shape())
    assert isinstance(stored, image.Decoded)
    hashes = picture_hashes(data, "test")
    found = {
        "bytes": data[-200:-20],
        "stored": image.encode(stored.pixels)[-200:-20],
        "sha256": hashlib.sha256(data).digest(),
    }
    for name in ("md5", "pdq", "phash64"):
        found[name] = bytes.fromhex(hashes[name])
        found[f"{name} in hex"] = hashes[name].encode()
    return found


def traces(dataset: Path, number: int) -> list[str]:
    """Return where anything of a picture is found, columns of tables and raw bytes."""
    wanted, found = needles(number), []
    for path in sorted(dataset.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
            data += b"\n".join(v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row.values())
        found += [f"{path.relative_to(dataset)}: {what}" for what, needle in wanted.items() if needle in data]
    return found


def test_a_listed_address_is_never_asked_for(site: Site, tmp_path: Path, scheduler: str) -> None:
    urls = [(f"{site.url}/p/{n}.jpg", picture(n)[1]) for n in range(8)]
    registry = Registry.open(Store.open_url(str(tmp_path / "set")))
    registry.add("url", f"{site.url}/p/3.jpg")
    registry.add("url_prefix", f"{site.url}/p/5")
    registry.add("text", "number 6")
    found = ingest(tmp_path, scheduler, urls)
    assert found["dropped"] == {"opted_out_request": 3}
    assert found["rows"] == 5
    for number in range(8):
        assert site.asked[f"/p/{number}.jpg"] == (0 if number in (3, 5, 6) else 1)
    ingest(tmp_path, scheduler, urls)
    assert site.asked["/p/3.jpg"] == 0


def test_a_redirect_to_a_listed_address_ends_there_and_is_not_noted(tmp_path: Path) -> None:
    with Hostile() as server:
        listed = Suppression.of_value("url", server.url("/good.jpg"), tmp_path)
        for guard, reason in ((PictureGuard(listed, 31), "opted_out_request"), (None, None)):
            result = fetched(server, tmp_path, guard)
            (row,) = result.table.to_pylist()
            assert row["reason"] == reason
            assert row["final_url"] == server.url("/moved" if guard else "/good.jpg")


@pytest.mark.parametrize("hashes", [True, False])
def test_a_listed_picture_leaves_nothing_but_that_it_was_refused(
    site: Site, tmp_path: Path, scheduler: str, hashes: bool
) -> None:
    urls = [(f"{site.url}/p/{n}.jpg", picture(n)[1]) for n in range(6)]
    registry = Registry.open(Store.open_url(str(tmp_path / "set")))
    listed = {name: picture_hashes(picture(n)[0], "test") for n, name in ((1, "sha256"), (2, "md5"), (4, "pdq"))}
    for name, known in listed.items():
        registry.add(name, known[name], category="ncii", source="hotline")
    found = ingest(tmp_path, scheduler, urls, hashes=hashes)
    assert found["dropped"] == {"hash_listed": 3}
    assert found["rows"] == 3
    for number in (1, 2, 4):
        assert traces(tmp_path / "set", number) == []
    assert traces(tmp_path / "set", 3) != []  # the search does find what is there
    fetched = pa.concat_tables(
        pq.read_table(p) for p in (tmp_path / "set/fetch").rglob("*.parquet") if "signals" not in p.name
    )
    refused = [row for row in fetched.to_pylist() if row["reason"] == "hash_listed"]
    kept = {"uid", "reason", "transient", "via", "final_url", "http_status", "content_type"}
    assert all({name for name, value in row.items() if value not in (None, "")} <= kept for row in refused)


def test_the_other_engine_obeys_the_lists_too(site: Site, tmp_path: Path, scheduler: str) -> None:
    pytest.importorskip("img2dataset")
    urls = [(f"{site.url}/p/{n}.jpg", picture(n)[1]) for n in range(6)]
    registry = Registry.open(Store.open_url(str(tmp_path / "set")))
    for number, name in ((1, "sha256"), (2, "md5"), (4, "pdq")):
        registry.add(name, picture_hashes(picture(number)[0], "test")[name])
    registry.add("url", f"{site.url}/p/5.jpg")
    found = ingest(tmp_path, scheduler, urls, engine="img2dataset")
    assert found["dropped"] == {"hash_listed": 3, "opted_out_request": 1}
    assert site.asked["/p/5.jpg"] == 0
    for number in (1, 2, 4):
        assert traces(tmp_path / "set", number) == []
