"""Who is listed is not fetched, not kept and not stored, whether the list comes before the ingest or after it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import tombstones
from pipeline.picture_hashes import picture_hashes
from pipeline.refusals import looks_removed
from pipeline.registry.registry import Registry
from pipeline.store import Store
from tests.pictures import saved
from tests.tiny import config, picture, published_digest, tamis, write_crawl

PICTURES = 24


def ingest(file: Path, scheduler: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tamis("ingest", file, "--quiet", "--json", "--scheduler", scheduler).stdout)
    return found


def kept(dataset: Path, snapshot: int) -> set[str]:
    shards = sorted((dataset / "shards" / f"{snapshot:06d}").glob("*.parquet"))
    return {url for shard in shards for url in pq.read_table(shard, columns=["url"])["url"].to_pylist()}


def stored_names(dataset: Path) -> set[str]:
    return {str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_crawl(tmp_path_factory.mktemp("crawl"), pictures=PICTURES, sites=4)


@pytest.fixture(scope="module")
def whole(crawl: list[Path], tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A data set that nobody objected to."""
    base = tmp_path_factory.mktemp("whole")
    assert ingest(config(base / "whole.toml", str(base / "set"), crawl), scheduler)["rows"] == PICTURES
    return base / "set"


def test_what_is_listed_before_the_ingest_leaves_nothing_in_the_data_set(
    crawl: list[Path], tmp_path: Path, scheduler: str
) -> None:
    file = config(tmp_path / "run.toml", str(tmp_path / "set"), crawl)
    registry = Registry.open(Store.open_url(str(tmp_path / "set")))
    registry.add("url", "https://www.site0.example/p/4.jpg")  # scheme and www. are variants
    registry.add("host", "site1.example")
    registry.add("text", f"drawn as number {6}")
    data, _ = picture(7)
    registry.add("sha256", hashlib.sha256(data).hexdigest(), category="ncii")
    found = ingest(file, scheduler)
    gone = {"http://site0.example/p/4.jpg", *(f"http://site1.example/p/{n}.jpg" for n in range(1, PICTURES, 4))}
    gone |= {"http://site2.example/p/6.jpg"}
    assert found["dropped"] == {"opted_out_request": len(gone), "hash_listed": 1}
    assert found["rows"] == PICTURES - len(gone) - 1
    assert not kept(tmp_path / "set", 1) & {*gone, "http://site3.example/p/7.jpg"}
    needles = [hashlib.sha256(data).digest(), hashlib.md5(data).digest()]
    tables = [pq.read_table(path).to_pylist() for path in (tmp_path / "set" / "fetch").rglob("*.parquet")]
    values = {value for rows in tables for row in rows for value in row.values() if isinstance(value, bytes)}
    assert not values & set(needles)
    snapshot = json.loads((tmp_path / "set/snapshots/000001.json").read_text())
    assert snapshot["refusals"] == {"registry": 4, "tombstones": 0}
    assert json.loads(tamis("verify", tmp_path / "set", "--json").stdout)["problems"] == []


def test_a_picture_listed_after_the_ingest_goes_at_the_next_and_only_its_part_is_judged_again(
    crawl: list[Path], whole: Path, scheduler: str
) -> None:
    file = config(whole.with_name("again.toml"), str(whole), crawl)
    before = stored_names(whole)
    registry = Registry.open(Store.open_url(str(whole)))
    data, _ = picture(9)
    request = registry.add("picture", picture_hashes(data, "test"))
    found = ingest(file, scheduler)
    assert found["dropped"] == {"hash_listed": 1}
    assert "http://site1.example/p/9.jpg" not in kept(whole, 2)
    fresh = {name.split("/")[0] for name in stored_names(whole) - before}
    assert not fresh & {"extract", "layout", "candidates", "texts", "admit", "fetch", "embed", "scores", "copies"}
    judged = [name for name in stored_names(whole) - before if name.startswith("judge/") and name.endswith(".json")]
    assert len(judged) == 1
    registry.advance(request.id, "withdrawn")
    assert ingest(file, scheduler)["rows"] == PICTURES
    assert "http://site1.example/p/9.jpg" in kept(whole, 3)


@pytest.mark.slow
def test_a_run_with_an_empty_registry_publishes_the_same_bytes(
    crawl: list[Path], tmp_path: Path, scheduler: str
) -> None:
    sets = []
    for name in ("none", "empty"):
        dataset = tmp_path / name / "set"
        dataset.parent.mkdir()
        if name == "empty":
            Registry.open(Store.open_url(str(dataset)))
        ingest(config(dataset.with_suffix(".toml"), str(dataset), crawl), scheduler)
        sets.append(published_digest(dataset))
    assert sets[0] == sets[1]
    assert not (tmp_path / "none" / "set" / "private").exists()


@pytest.mark.slow
def test_a_tombstone_takes_a_row_out_of_the_next_snapshot(crawl: list[Path], tmp_path: Path, scheduler: str) -> None:
    file = config(tmp_path / "run.toml", str(tmp_path / "set"), crawl)
    ingest(file, scheduler)
    store = Store.open_url(str(tmp_path / "set"))
    shard = next((tmp_path / "set/shards/000001").glob("*.parquet"))
    uid = bytes.fromhex(pq.read_table(shard)["key"][0].as_py())
    tombstones.publish(store, tombstones.of_request([uid], [""], "r-test"))
    found = ingest(file, scheduler)
    assert found["dropped"] == {"opted_out_request": 1}
    tombstones.publish(store, tombstones.of_request([uid], [""], "r-test", lifted=True))
    assert ingest(file, scheduler)["rows"] == PICTURES


def test_a_page_that_is_listed_takes_its_pictures_along_wherever_they_lie() -> None:
    from pipeline.registry import suppression, suppression_files

    rows = pa.table(
        {
            "uid": pa.array([bytes([n]) * 16 for n in range(3)], pa.binary(16)),
            "url": ["http://cdn.example/1.jpg", "http://cdn.example/2.jpg", "http://cdn.example/3.jpg"],
            "page_url": ["http://artist.example/", "http://other.example/", None],
            "text": ["one", "two", "three"],
        }
    )
    import tempfile

    registry = Registry.open(Store.open_url(tempfile.mkdtemp()))
    registry.add("domain", "artist.example")
    lists = suppression.Suppression.open(registry.store, suppression_files.build(registry))
    assert lists.names(rows).tolist() == [True, False, False]


def test_a_made_picture_is_held_against_the_pictures_that_were_removed(tmp_path: Path) -> None:
    store = Store.open_url(str(tmp_path / "set"))
    assert looks_removed(store) is None
    listed, other = (
        np.asarray(Image.fromarray(spots).resize((640, 480), Image.Resampling.BICUBIC))
        for spots in np.random.default_rng(3).integers(0, 256, (2, 12, 16, 3), np.uint8)
    )
    registry = Registry.open(store)
    registry.add("url", "https://a.example/1.jpg")
    assert looks_removed(store) is None, "names alone recognise no made picture"
    registry.add("pdq", picture_hashes(saved(Image.fromarray(listed), "PNG"), "a picture")["pdq"])
    looks = looks_removed(store)
    assert looks is not None
    small = np.asarray(Image.fromarray(listed).resize((96, 72), Image.Resampling.LANCZOS))
    shown = {"itself": listed, "small": small, "mirrored": listed[:, ::-1], "another": other}
    assert {name: looks(np.ascontiguousarray(one)) for name, one in shown.items()} == {
        "itself": True, "small": True, "mirrored": True, "another": False,
    }  # fmt: skip
