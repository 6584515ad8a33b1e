"""`tamis dedup` tells what the ingest does with copies, and changes nothing; one data set, decided three ways."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from warcio.warcwriter import WARCWriter

from filters.copies import groups
from pipeline import tombstones
from pipeline.config import CopiesConfig
from pipeline.copies_reduce import find_copies, options_of
from pipeline.copies_rows import gather
from pipeline.dedup.survey import survey
from pipeline.near.source import here
from pipeline.near.spill import spilled, spilled_locally
from pipeline.report_rows import way
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.tiny import _add, config, picture, tamis

PICTURES = 24
COPIED = (1, 5, 9, 15, 20)  # as the same bytes, as a smaller JPEG, and cropped
SEMANTIC_COS = 0.9
SETTINGS: dict[str, Any] = {"filters": {"min_px": 16}, "text": {"max_pictures": 1000}}


def altered(data: bytes) -> dict[str, bytes]:
    """Return copies of a JPEG as they are posted again."""
    whole = Image.open(BytesIO(data))
    width, height = whole.size
    made = {"small": whole.resize((width // 2, height // 2)), "crop": whole.crop((0, 0, width - 8, height - 8))}
    out = {"same": data}
    for name, image in made.items():
        sink = BytesIO()
        image.save(sink, "JPEG", quality=90)
        out[name] = sink.getvalue()
    return out


def write(path: Path) -> Path:
    """Write a crawl of pictures, and a second site that has copies of some of them under other texts."""
    with path.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        shown: dict[str, dict[str, tuple[bytes, str]]] = {"first": {}, "second": {}}
        for number in range(PICTURES):
            data, text = picture(number)
            shown["first"][f"{number}"] = data, text
            if number in COPIED:
                for how, copy in altered(data).items():
                    shown["second"][f"{number}-{how}"] = copy, f"{text}, seen again {how}"
        for site, pictures in shown.items():
            tags = "".join(f'<p><img src="/{name}.jpg" alt="{text}"></p>' for name, (_, text) in pictures.items())
            page = f"<html lang=en><body>{tags}</body></html>".encode()
            _add(writer, f"http://{site}.example/", "text/html; charset=utf-8", page)
            for name, (data, _) in pictures.items():
                _add(writer, f"http://{site}.example/{name}.jpg", "image/jpeg", data)
    return path


@dataclass(frozen=True)
class Told:
    """What ingest and dedup said of the data set: copies not looked for, dropped, and thinned besides."""

    dataset: Path
    off: dict[str, Any]
    on: dict[str, Any]
    thin: dict[str, Any]
    dedup_off: dict[str, Any]
    dedup_on: dict[str, Any]
    page: str
    changed: set[str]


def names(dataset: Path) -> set[str]:
    return {str(path.relative_to(dataset)) for path in dataset.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Told:
    base = tmp_path_factory.mktemp("dedup")
    crawl, dataset, here = write(base / "crawl.warc.gz"), base / "set", ("--scheduler", scheduler)

    def ingest(**copies: Any) -> dict[str, Any]:
        file = config(base / "run.toml", str(dataset), [crawl], copies=copies, **SETTINGS)
        found: dict[str, Any] = json.loads(tamis("ingest", file, "--quiet", "--json", *here).stdout)
        return found

    def dedup(*more: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(tamis("dedup", dataset, "--json", *more, *here).stdout)
        return found

    off = ingest(enabled=False)
    before, page = names(dataset), base / "page" / "copies.html"
    dedup_off = dedup("--report", str(page), "--semantic-cos", str(SEMANTIC_COS), "--in-shards")
    changed = names(dataset) ^ before
    on = ingest()
    dedup_on = dedup()
    thin = ingest(semantic_cos=SEMANTIC_COS)
    return Told(dataset, off, on, thin, dedup_off, dedup_on, page.read_text(), changed)


def test_the_planted_copies_are_found_and_the_ingest_drops_those_that_dedup_names(told: Told) -> None:
    assert told.off["rows"] == PICTURES + 3 * len(COPIED)
    assert told.dedup_off["sizes"] == {"4": len(COPIED)}
    assert told.dedup_off["still_in"] == 3 * len(COPIED)
    for group in told.dedup_off["largest"]:
        assert {member["url"].rsplit("/", 1)[1].split(".")[0].split("-")[0] for member in group["members"]} <= {
            str(number) for number in COPIED
        }
        assert (group["domains"], group["texts"]) == (2, 4)
        assert [member["stays"] for member in group["members"]] == [True, False, False, False]
    assert told.on["dropped"] == {"duplicate_of": told.dedup_off["still_in"]}


def test_after_the_ingest_none_is_left_and_the_fates_are_told(told: Told) -> None:
    assert told.dedup_on["still_in"] == 0
    assert told.dedup_on["fates"] == {"duplicate_of": 3 * len(COPIED), "kept": len(COPIED)}


def test_each_means_is_counted(told: Told) -> None:
    means = {one["name"]: one for one in told.dedup_on["means"]}
    assert means["equal bytes"]["proposed"] == means["equal bytes"]["verified"] == len(COPIED)
    assert means["embedding"]["verified"] >= len(COPIED)
    assert told.dedup_on["verified"] <= told.dedup_on["pairs"]


def test_dedup_changes_nothing_and_leaves_nothing(told: Told) -> None:
    assert told.changed == set()


def test_the_page_needs_nothing_but_itself_and_shows_the_groups(told: Told) -> None:
    assert told.page.count("<b>stays</b>") == len(COPIED)
    assert told.page.count("data:image/jpeg") == 4 * len(COPIED)
    assert 'src="http' not in told.page
    assert "still in the shards" in told.page


def test_thinning_has_its_own_reason_and_the_books_balance(told: Told) -> None:
    thinned = told.dedup_off["thinning"]["semantic_near"]
    assert thinned > 0
    assert told.thin["dropped"] == {"duplicate_of": 3 * len(COPIED), "semantic_near": thinned}
    assert told.thin["rows"] + sum(told.thin["dropped"].values()) == told.thin["rows_in"]
    assert told.dedup_off["thinning"]["semantic_near_by_chains"] >= thinned
    assert json.loads(tamis("verify", told.dataset, "--json").stdout)["problems"] == []


def decided(dataset: Path, snapshot: int) -> dict[bytes, dict[str, Any]]:
    record = json.loads((dataset / f"snapshots/{snapshot:06d}.json").read_text())
    keys = [key for part in record["parts"] for key in part["stages"]["decide"]]
    tables = [pq.read_table(next((dataset / "decide").glob(f"{key}.*.parquet"))) for key in keys]
    return {row["uid"]: row for table in tables for row in table.to_pylist()}


def test_whoever_is_thinned_out_has_a_kept_row_that_near(told: Told) -> None:
    rows = decided(told.dataset, told.thin["snapshot"])
    gone = [row for row in rows.values() if row["reason"] == "semantic_near"]
    kept = [rows[row["semantic_of"]]["reason"] for row in gone]
    assert kept == [None] * told.thin["dropped"]["semantic_near"]


def test_without_thinning_decisions_have_no_word_of_it(told: Told) -> None:
    assert {frozenset(row) for row in decided(told.dataset, told.on["snapshot"]).values()} == {
        frozenset({"uid", "reason", "duplicate_of"})
    }


def in_threads(fn: Any, items: Any) -> list[Any]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda item: fn(*item), items))


def test_groups_do_not_depend_on_the_order_of_parts_or_on_who_does_the_work(told: Told) -> None:
    store = Store.open_url(str(told.dataset))
    parts = [way(store, entry).files for entry in require_latest(store).parts]
    options, found = options_of(CopiesConfig()), []
    for order, spread in ((parts, in_threads), (parts[::-1], None)):
        with spilled_locally() as spill:
            run = spread or (lambda fn, items: [fn(*item) for item in items])
            looked = gather(store, order, run, spill)
            assert looked is not None
            copies = find_copies(looked, options, run, spill.inner("search"))
            found.append((looked.uids.to_pylist(), copies.group.tolist(), copies.pairs.tolist(), copies.score.tolist()))
    assert found[0] == found[1]
    assert len(set(found[0][1])) == len(COPIED) + 1


def test_a_data_set_on_an_object_store_is_read_as_it_is_and_rows_are_put_aside_there(
    told: Told, s3_endpoint: str
) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint)
    for name in sorted(names(told.dataset)):
        if not name.startswith(("shards/", "index/", "embeddings/", "tmp/")):
            client.upload_file(str(told.dataset / name), "sets", f"copied/{name}")
    store = Store.open_url("s3://sets/copied")
    with spilled(store, "tmp/copies") as spill:
        found = survey(store, require_latest(store), CopiesConfig(), here, spill)
        assert store.names("tmp/copies/rows")
    assert found.to_json()["sizes"] == told.dedup_on["sizes"]
    assert [group.size for group in found.largest] == [4] * len(COPIED)
    assert not store.names("tmp/copies/rows")


def test_who_is_hidden_is_neither_counted_nor_shown(told: Told, tmp_path: Path, scheduler: str) -> None:
    store = Store.open_url(str(told.dataset))
    best = [member for group in told.dedup_off["largest"] for member in group["members"] if member["stays"]]
    uids = [bytes.fromhex(member["uid"]) for member in best]
    tombstones.publish(store, tombstones.of_request(uids, [""] * len(uids), "r-test"))
    try:
        page = tmp_path / "page.html"
        done = tamis("dedup", told.dataset, "--json", "--report", page, "--scheduler", scheduler).stdout
        found = json.loads(done)
    finally:
        tombstones.publish(store, tombstones.of_request(uids, [""] * len(uids), "r-test", lifted=True))
    assert found["sizes"] == {"3": len(COPIED)}
    assert not any(member["uid"] in done for member in best)
    assert not any(member["text"] + '"' in page.read_text() for member in best)


def test_the_measurement_tells_recall_and_precision_of_every_alteration(
    told: Told, tmp_path: Path, scheduler: str
) -> None:
    page = tmp_path / "bench.html"
    arguments = ("dedup", told.dataset, "--bench", "--sample", "5", "--json", "--report", page)
    found = json.loads(tamis(*arguments, "--scheduler", scheduler).stdout)
    assert len(found["transforms"]) == 12
    row = found["transforms"]["JPEG, quality 30"]
    assert list(row) == ["pHash ≤ 10", "PDQ ≤ 31", "cos ≥ 0.80", "cos ≥ 0.85", "cos ≥ 0.90", "cos ≥ 0.95", "verified"]
    assert row["verified"]["recall"]["of"] == 5
    assert row["verified"]["recall"]["found"] >= 3  # a block or two of these small shapes may be off at that quality
    assert row["verified"]["precision"]["frac"] == 1.0
    assert found["transforms"]["mirrored"]["PDQ ≤ 31"]["recall"]["found"] < 5
    recalls = [point["recall"] for point in found["curve"]]
    assert recalls == sorted(recalls, reverse=True)
    assert "What is found of altered copies" in page.read_text()


def test_a_data_set_without_pictures_has_no_copies(tmp_path: Path) -> None:
    done = tamis("dedup", tmp_path / "nowhere", check=False)
    assert done.returncode == 1
    assert "no snapshot published here" in done.stderr


def chained(steps: int) -> tuple[Sequence[tuple[int, int]], int]:
    return [(n, n + 1) for n in range(steps)], steps + 1


def test_a_chain_of_verified_pairs_joins_nobody_beyond_one_centre() -> None:
    pairs, rows = chained(30)
    group = groups(rows, np.asarray(pairs))
    for centre in set(group.tolist()) - {-1}:
        members = np.flatnonzero(group == centre)
        assert members.max() - members.min() <= 2
    assert pa.array(group).null_count == 0
