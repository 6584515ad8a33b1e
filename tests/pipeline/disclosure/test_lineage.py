"""Where a sample is: the answer leads to the very bytes, in every snapshot, and reads little to give it."""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline import pins
from pipeline.disclosure.disclose import disclose
from pipeline.disclosure.lineage import lineage
from pipeline.errors import InputError
from pipeline.ids import uid
from pipeline.pack import read_members
from pipeline.snapshot import read
from pipeline.store import Store
from pipeline.verify import verify
from tests.pipeline.disclosure.conftest import PICTURES, Made, Told, text_of, url_of
from tests.tiny import picture, tamis, write_crawl


@pytest.mark.parametrize("number", [0, 11, 37, 59])
def test_a_url_leads_to_the_bytes_of_its_sample(plain: Made, number: int) -> None:
    found = lineage(plain.store, "url", url_of(number))
    (sample,) = found.samples
    assert sample["uid"] == uid(url_of(number), text_of(number)).hex()
    (place,) = sample["snapshots"]
    shard = place["shard"]
    data = (plain.root / shard["file"]).read_bytes()[shard["offset"] : shard["offset"] + shard["bytes"]]
    members = read_members(data)
    assert sorted(members) == [f"{sample['uid']}.{ext}" for ext in ("jpg", "json", "txt")]
    assert members[f"{sample['uid']}.txt"].decode() == text_of(number)
    assert (place["number"], place["reason"], shard["erased"], place["index"]["folder"]) == (
        1,
        None,
        False,
        "index/000001",
    )


def test_the_rows_of_every_table_and_array_are_those_of_the_sample(plain: Made) -> None:
    (sample,) = lineage(plain.store, "url", url_of(23)).samples
    (part,) = sample["parts"]
    name = bytes.fromhex(sample["uid"])
    assert pq.read_table(plain.root / part["file"])["uid"][part["row"]].as_py() == name
    (fetched,) = part["fetches"]
    assert pq.read_table(plain.root / fetched["file"])["uid"][fetched["row"]].as_py() == name
    (row,) = [row for row in plain.sidecars() if row["key"] == sample["uid"]]
    jpeg = (plain.root / fetched["tar"]).read_bytes()[fetched["offset"] : fetched["offset"] + fetched["bytes"]]
    shard = sample["snapshots"][0]["shard"]
    with tarfile.open(plain.root / shard["file"]) as tar:
        stored = tar.extractfile(f"{sample['uid']}.jpg")
        assert stored is not None
        assert stored.read() == jpeg
    (vectors,) = part["embeddings"]
    ours, packed = (np.load(plain.root / name) for name in (vectors["files"][0], shard["embeddings"][0]))
    assert np.array_equal(ours[vectors["row"]], packed[shard["row"]])
    assert (shard["row"], plain.root / shard["file"]) == (row["at"], row["tar"])
    assert set(part["stages"]) == {"admit", "decide", "embed", "fetch", "judge", "scores", "texts"}


def test_every_sample_of_the_data_set_is_where_lineage_says(plain: Made) -> None:
    for row in plain.sidecars():
        (sample,) = lineage(plain.store, "uid", row["key"]).samples
        shard = sample["snapshots"][0]["shard"]
        assert (plain.root / shard["file"], shard["row"], shard["offset"]) == (
            row["tar"],
            row["at"],
            row["shard_offset"],
        )
        assert shard["key"] == row["key"]


def test_an_address_costs_its_layout_and_not_the_data_set(plain: Made) -> None:
    by_url = lineage(plain.store, "url", url_of(5)).reading
    nothing = lineage(plain.store, "url", "http://nobody.example/1.jpg")
    assert nothing.samples == []
    refused = sum(
        1 for key in plain.snapshot.extracts if list((plain.root / "extract").glob(f"{key}.*.refused.parquet"))
    )
    assert nothing.reading.files == len(plain.snapshot.layouts) + refused  # no part is opened for it
    uids_and_counts, own_tables = 2 * len(plain.snapshot.parts), 10
    assert by_url.files <= nothing.reading.files + uids_and_counts + own_tables


def test_a_digest_of_a_file_and_a_uid_give_the_same_sample(plain: Made) -> None:
    sha256 = hashlib.sha256(picture(31)[0]).hexdigest()
    by_url, by_sha = (lineage(plain.store, *asked).samples for asked in (("url", url_of(31)), ("sha256", sha256)))
    by_uid = lineage(plain.store, "uid", by_url[0]["uid"]).samples
    assert by_url == by_sha == by_uid
    assert lineage(plain.store, "uid", "ab" * 16).samples == []


def test_scheme_and_form_of_an_address_do_not_matter_but_nonsense_is_refused(plain: Made) -> None:
    assert lineage(plain.store, "url", "HTTP://site5.EXAMPLE:80/p/5.jpg#top").samples[0]["url"] == url_of(5)
    for kind, value in (("uid", "xyz"), ("uid", "ab"), ("sha256", "ab" * 16)):
        with pytest.raises(InputError, match=f"no {kind}"):
            lineage(plain.store, kind, value)
    with pytest.raises(InputError, match="no registry"):
        lineage(plain.store, "request", "r-abc")


def test_erased_samples_are_still_told_of_by_address_uid_and_request(told: Told) -> None:
    store, registry = told.made.store, told.made.registry
    key = uid(url_of(7), text_of(7)).hex()
    answers = [
        lineage(store, *asked, registry)
        for asked in (("uid", key), ("url", url_of(7)), ("request", told.picture_request))
    ]
    for found in answers:
        (sample,) = found.samples
        assert (sample["uid"], sample["url"], sample["hidden"], sample["erased"]) == (key, None, True, True)
        assert [stone["request"] for stone in sample["tombstones"]] == [told.picture_request]
        assert len(sample["erasures"]) == 1
        place = sample["snapshots"][0]["shard"]
        assert place["erased"]
        assert sample["snapshots"][0]["index"] is None
        data = (told.made.root / place["file"]).read_bytes()[place["offset"] : place["offset"] + place["bytes"]]
        assert key.encode() not in data
        assert [release["release"] for release in sample["releases"]] == sorted(made.id for made in told.before)
    whole = lineage(store, "request", told.domain_request, registry, most=4)
    assert (len(whole.samples), whole.more) == (4, 6)


def test_a_row_that_a_filter_dropped_has_parts_and_a_reason_but_no_shard(fresh: Made) -> None:
    fresh.file.write_text(fresh.file.read_text() + "\n[filters]\nmin_px = 500\n")
    assert fresh.ingest()["rows"] == 0
    (sample,) = lineage(fresh.store, "url", url_of(4)).samples
    assert [(place["number"], place["reason"], place["shard"] is None) for place in sample["snapshots"]] == [
        (1, None, False), (2, "size_small", True),
    ]  # fmt: skip


def test_expired_shards_are_named_from_the_record(fresh: Made) -> None:
    before = {row["key"]: (row["tar"].name, row["at"]) for row in fresh.sidecars()}
    text = fresh.file.read_text().replace("[pack]", "[pack]\nkeep_snapshots = 1").replace("little-web", "set")
    fresh.file.write_text(text.replace("max_pictures = 1000", "max_pictures = 1000\nmin_chars = 31"))
    fresh.ingest()
    assert not (fresh.root / "shards/000001").exists()
    for key, place in before.items():
        (sample,) = lineage(fresh.store, "uid", key).samples
        shard = sample["snapshots"][0]["shard"]
        assert (Path(shard["file"]).name, shard["row"], shard["present"]) == (*place, False)
    assert read(fresh.store, 2).rows < PICTURES


def test_pinned_shards_do_not_expire_before_their_pin_does(fresh: Made) -> None:
    base = fresh.file.read_text().replace("[pack]", "[pack]\nkeep_snapshots = 1").replace("little-web", "set")
    first = fresh.root / "shards/000001"

    def again(min_chars: int) -> None:
        fresh.file.write_text(base.replace("max_pictures = 1000", f"max_pictures = 1000\nmin_chars = {min_chars}"))
        fresh.ingest()

    pins.pin(fresh.store, 1, "one")
    pins.pin(fresh.store, 1, "two")
    again(31)
    pins.unpin(fresh.store, 1, "one")
    fresh.store.write(f"{pins.FOLDER}/000001-broken.json", b"{")
    again(30)
    assert first.exists()
    tar = next(first.glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-1])
    assert any(f"shards/000001/{tar.name}" in problem for problem in verify(fresh.store).problems)
    (name,) = (one for one in fresh.store.names(pins.FOLDER) if one.endswith("-two.json"))
    told = json.loads(fresh.store.read(name))
    told["utc"] = (datetime.fromisoformat(told["utc"]) - timedelta(days=8)).isoformat()
    fresh.store.write(name, json.dumps(told).encode())
    again(31)
    assert not first.exists()


def test_rows_that_extraction_refused_are_told_with_their_reason(tmp_path: Path, plain: Made) -> None:
    from tests.tiny import config

    crawl = write_crawl(tmp_path / "crawl", pictures=4, sites=2, files=1)
    page = tmp_path / "pages" / "a.html"
    page.parent.mkdir()
    page.write_text(
        '<html><head><meta name="robots" content="noai"></head><body><img src="x.jpg" alt="a red cross"></body></html>'
    )
    file = config(tmp_path / "run.toml", str(tmp_path / "set"), [*crawl, page.parent])
    tamis("ingest", file, "--quiet", "--scheduler", plain.scheduler)
    found = json.loads(tamis("lineage", tmp_path / "set", "--url", "http://folder.invalid/x.jpg", "--json").stdout)
    assert found["samples"] == []
    assert [row["reason"] for row in found["refused"]] == ["opted_out"]


def test_checkpoints_are_asked_for_the_sample_and_for_the_copy_in_its_place(fresh: Made) -> None:
    asked: list[bytes] = []

    def checkpoints(store: Store, uids: Sequence[bytes]) -> dict[bytes, list[dict[str, Any]]]:
        asked.extend(uids)
        return {uid: [{"checkpoint": "run/checkpoints/000000200", "first_step": 40, "times": 3}] for uid in uids}

    (sample,) = lineage(fresh.store, "url", url_of(1), checkpoints=checkpoints).samples
    assert [uid.hex() for uid in asked] == [sample["uid"]]
    assert sample["checkpoints"] == [{"checkpoint": "run/checkpoints/000000200", "first_step": 40, "times": 3}]
    assert lineage(fresh.store, "url", url_of(1)).samples[0]["checkpoints"] == []


def test_on_an_object_store_the_answers_are_the_same(fresh: Made, s3_endpoint: str) -> None:
    store = Store.open_url("s3://sets/lineage")
    fsspec.filesystem("s3").put(f"{fresh.root}/", "sets/lineage", recursive=True)
    for asked in (("url", url_of(8)), ("uid", uid(url_of(9), text_of(9)).hex())):
        assert lineage(store, *asked).to_json() == lineage(fresh.store, *asked).to_json()
    written, _ = disclose(store, fresh.snapshot, None)
    assert all(store.exists(name) for name in written)
    assert b"shards/000001/*.parquet" in store.read("croissant.json")


def test_the_command_tells_a_person_where_it_is(plain: Made) -> None:
    told = tamis("lineage", plain.root, "--url", url_of(2)).stdout
    assert "1 sample" in told
    assert "in use" in told
    assert "snapshot  000001: shards/000001/" in told
    assert "in the index" in told
    assert not (plain.root / "private").exists()  # asking makes no registry
    assert tamis("lineage", plain.root, check=False).returncode == 2
