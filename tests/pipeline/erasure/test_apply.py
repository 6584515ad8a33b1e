"""Erasing reaches every store of a data set, changes nothing else, and stays: nothing comes back with a later run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from index.erase import erase as erase_from_index
from index.search import Searcher
from pipeline import amendments, tombstones
from pipeline.erasure.apply import REMAINS, Applied, apply
from pipeline.erasure.scan import Scan
from pipeline.errors import DatasetBusy, InputError
from pipeline.lock import hold
from pipeline.pack import shard_files
from pipeline.snapshot import numbers, read
from pipeline.stage import Part
from pipeline.store import Store
from tests import erasing, shard_readers
from tests.tiny import tamis

Fresh = Callable[[str], Store]


def run(store: Store) -> Applied:
    return apply(store, derived=[erase_from_index])


def some(store: Store, count: int = 5) -> list[bytes]:
    """Return uids of samples of both snapshots, two of them neighbours and one the last of its shard."""
    first = [bytes.fromhex(sample) for sample in erasing.shown(store, 2)]
    return [first[1], first[2], first[8], first[25], first[-1]][:count]


def test_before_it_is_found_everywhere_and_afterwards_nowhere(fresh: Fresh) -> None:
    store = fresh("set")
    gone = some(store)
    needles = erasing.needles(store, gone)
    before = Scan(needles).run(store)
    places = {finding.file.split("/")[0] for finding in before.findings}
    assert places == {"extract", "candidates", "fetch", "embed", "shards", "embeddings", "index"}
    erasing.hide(store, gone)
    done = run(store)
    assert done.counts == {
        "candidates": 5, "captures": 5, "embed": 5, "fetch": 5, "pictures": 5, "samples": 10, "scores": 5, "sightings": 5,
        "texts": 5, "vectors": 10,
    }  # fmt: skip
    after = Scan(needles).run(store)
    assert after.findings == []
    assert after.read_bytes > 0.5 * before.read_bytes


def test_everything_else_is_as_it_was_and_verify_agrees(fresh: Fresh) -> None:
    store, same = fresh("set"), fresh("same")
    gone = some(store)
    erasing.hide(store, gone)
    run(store)
    assert erasing.problems(store) == []
    keys = {uid.hex() for uid in gone}
    for number in numbers(store):
        before = erasing.shown(same, number)
        assert erasing.shown(store, number) == {key: data for key, data in before.items() if key not in keys}
        for entry in read(store, number).shards:
            name = shard_files(f"{number:06d}", entry.number)["tar"]
            path, old = store.local(name), same.local(name)
            assert path is not None
            assert old is not None
            living = {key: data for key, data in shard_readers.read_ours(old).items() if key not in keys}
            for reader in shard_readers.FAST:
                assert reader(path) == living
            assert path.stat().st_size == old.stat().st_size
            assert path.stat().st_nlink == old.stat().st_nlink
    unchanged = [
        name for name in erasing.tree(Path(same.root)) if name.endswith((".json", ".record")) and "index/" not in name
    ]
    assert all(store.read(name) == same.read(name) for name in unchanged)  # no key, record or snapshot changes


def test_a_blank_row_keeps_its_uid_and_place_and_its_vectors_are_zero(fresh: Fresh) -> None:
    store = fresh("set")
    gone = some(store)
    erasing.hide(store, gone)
    run(store)
    known = erasing.rows(store)
    assert all(known[uid]["url"] is known[uid]["text"] is known[uid]["domain"] is None for uid in gone)
    for entry in read(store, 2).shards:
        names = shard_files("000002", entry.number)
        with store.open(names["parquet"]) as handle:
            table = pq.read_table(handle)
        with store.open(names["img_emb"]) as handle:
            vectors = np.load(handle)
        assert table.num_rows == len(vectors) == entry.rows
        for row, vector in zip(table.to_pylist(), vectors, strict=True):
            erased = bytes.fromhex(row["key"]) in gone
            assert (row["status"], row["url"] is None, not vector.any()) == (
                ("erased" if erased else "success"),
                erased,
                erased,
            )


def test_a_second_erasure_beside_the_first_and_a_third_call_with_nothing_to_do(fresh: Fresh) -> None:
    store = fresh("set")
    one, two, three = some(store, 3)
    needles = erasing.needles(store, [one, two, three])
    for number, uids in enumerate(([one], [two, three]), 1):
        erasing.hide(store, uids)
        done = run(store)
        assert [erasure.number for erasure in done.erasures] == [number]
        assert erasing.problems(store) == []
    tree = erasing.tree(Path(store.root))
    assert run(store).erasures == []
    assert erasing.tree(Path(store.root)) == tree
    assert amendments.read(store).uids == {uid.hex() for uid in (one, two, three)}
    assert Scan(needles).run(store).findings == []


def test_the_order_and_grouping_of_erasures_makes_no_difference_to_what_is_stored(fresh: Fresh) -> None:
    stores = fresh("one"), fresh("two")
    gone = some(stores[0])
    for store, groups in zip(stores, ([gone], [gone[3:], gone[:2], gone[2:3]]), strict=True):
        for uids in groups:
            erasing.hide(store, uids)
            run(store)
    trees = [erasing.tree(Path(store.root)) for store in stores]
    apart = ("erasures/", "tombstones/")
    one, two = ({name: digest for name, digest in tree.items() if not name.startswith(apart)} for tree in trees)
    assert one == two


def test_records_without_digests_of_pieces_are_amended_by_whole_digests(fresh: Fresh) -> None:
    store = fresh("set")
    for path in Path(store.root).rglob("*"):
        if path.suffix in (".json", ".record") and path.is_file() and "snapshots" not in str(path):
            record = json.loads(path.read_bytes())
            if isinstance(record, dict) and record.pop("pieces", None) is not None:
                path.write_text(json.dumps(record))
    for uids in (some(store)[:2], some(store)[1:]):
        erasing.hide(store, uids)
        done = run(store)
        assert all(change.sha256 and not change.pieces for change in done.erasures[0].changes)
        assert erasing.problems(store) == []


def test_damage_after_an_erasure_is_still_found(fresh: Fresh) -> None:
    store = fresh("set")
    erasing.hide(store, some(store, 1))
    done = run(store)
    change = next(
        change for change in done.erasures[0].changes if change.pieces and change.names[0].startswith("shards/")
    )
    path = store.local(change.names[0])
    assert path is not None
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    assert any(change.names[0] in problem and "bytes differ" in problem for problem in erasing.problems(store))


def test_a_picture_that_a_living_row_shows_too_stays_for_it_and_only_for_it(fresh: Fresh) -> None:
    store = fresh("set")
    one, two = sorted(uid for uid, row in erasing.rows(store).items() if row["url"] == erasing.SHARED_URL)
    text = erasing.needles(store, [one])
    erasing.hide(store, [one])
    run(store)
    assert two.hex() in erasing.shown(store, 2)
    assert one.hex() not in erasing.shown(store, 2)
    found = Scan(text).run(store)
    assert found.findings == []
    assert found.twins == {two.hex()}
    assert set(found.shared) >= {"url", "page_url", "sha256", "image_emb"}
    assert "text" not in found.shared
    fetched = next(Path(store.root).glob(f"fetch/{erasing.rows(store)[two]['part']}/*.tar"))
    assert two.hex() in shard_readers.read_gnu_tar(fetched)
    assert erasing.problems(store) == []
    erasing.hide(store, [two])
    run(store)
    assert two.hex() not in shard_readers.read_gnu_tar(fetched)
    assert erasing.problems(store) == []


def test_the_evidence_of_a_page_that_refused_the_same_picture_goes_too(fresh: Fresh) -> None:
    store = fresh("set")
    gone = [uid for uid, row in erasing.rows(store).items() if row["url"] == erasing.REFUSED_URL]
    needles = erasing.needles(store, gone)
    erasing.hide(store, gone)
    assert run(store).counts["refused"] == 1
    assert Scan(needles).run(store).findings == []


def test_a_whole_site_and_at_last_everything(fresh: Fresh) -> None:
    store = fresh("set")
    known = erasing.rows(store)
    site = [uid for uid, row in known.items() if row["domain"] == "site3.example"]
    assert len(site) == 10
    needles = erasing.needles(store, site)
    erasing.hide(store, site)
    run(store)
    assert Scan(needles).run(store).findings == []
    erasing.hide(store, set(known) - set(site))
    run(store)
    assert erasing.shown(store, 1) == erasing.shown(store, 2) == {}
    assert erasing.problems(store) == []
    assert Searcher(store).opened.rows == 0


def test_what_killed_runs_left_goes_too(fresh: Fresh) -> None:
    store = fresh("set")
    gone = some(store, 1)
    (uid,) = gone
    row = erasing.rows(store)[uid]
    stray = row["url"].encode()
    for name in (
        "candidates/ffff.12345678.parquet",
        "shards/000003/00000.tar",
        "embeddings/000003/metadata/x",
        "tmp/9-f/draft",
    ):
        path = store.local(name)
        assert path is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stray)
    twice = next(Path(store.root).glob(f"candidates/{row['part']}.*.parquet"))
    os.link(twice, twice.with_name(f"{row['part']}.00000000.parquet"))  # of two executions, the slower one was killed
    needles = erasing.needles(store, gone)
    erasing.hide(store, gone)
    assert len(run(store).erasures[0].removed) == 4
    assert Scan(needles).run(store).findings == []


def test_a_lifted_tombstone_erases_nothing(fresh: Fresh) -> None:
    store = fresh("set")
    (uid,) = some(store, 1)
    erasing.hide(store, [uid])
    tombstones.publish(store, tombstones.of_request([uid], [erasing.rows(store)[uid]["part"]], "r-test", lifted=True))
    assert run(store).erasures == []
    assert uid.hex() in erasing.shown(store)


def test_while_a_run_holds_the_data_set_nothing_is_erased(fresh: Fresh) -> None:
    store = fresh("set")
    erasing.hide(store, some(store, 1))
    with hold(store), pytest.raises(DatasetBusy):
        run(store)
    assert not store.names("erasures")


def test_search_and_report_go_on_with_what_is_left(fresh: Fresh, tmp_path: Path) -> None:
    store = fresh("set")
    gone = some(store)
    searcher = Searcher(store)
    living = next(key for key in erasing.shown(store) if bytes.fromhex(key) not in gone)
    erasing.hide(store, gone)
    run(store)
    for asked in (searcher, Searcher(store)):  # one that ran all the time, and one opened afterwards
        hits = [hit.uid for hit in asked.by_uid(living, 1000)]
        assert len(hits) == len(erasing.shown(store))
        assert not {uid.hex() for uid in gone} & set(hits)
        with pytest.raises(InputError, match="no picture of this data set"):
            asked.by_uid(gone[0].hex(), 3)
    for number in ("1", "2"):
        tamis("report", store.root, "--snapshot", number, "--out", tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text()
        assert "do not add up" not in page


def test_running_the_same_crawl_again_does_not_bring_it_back(fresh: Fresh, whole: Path, scheduler: str) -> None:
    store = fresh("set")
    gone = some(store)
    needles = erasing.needles(store, gone)
    erasing.hide(store, gone)
    run(store)
    same = erasing.settings(whole.parent, store.root, copies={"enabled": False}, clip={"threshold": 0.15})
    tamis("ingest", same, "--quiet", "--scheduler", scheduler)
    newest = read(store, 3)
    assert newest.dropped["opted_out_request"] == len(gone)
    assert newest.rows == read(store, 2).rows - len(gone)
    assert Scan(needles).run(store).findings == []
    assert erasing.problems(store) == []


@pytest.mark.slow
@pytest.mark.parametrize("change", [pytest.param("other parts", marks=pytest.mark.slow), "files touched"])
def test_reading_the_crawl_anew_does_not_write_it_down_again(
    fresh: Fresh, whole: Path, scheduler: str, change: str, tmp_path: Path
) -> None:
    store = fresh("set")
    gone = some(store)
    needles = erasing.needles(store, gone)
    erasing.hide(store, gone)
    run(store)
    base, parts = whole.parent, 10
    if change == "other parts":
        parts = 17
    else:
        base = tmp_path
        erasing.write_everything(base / "crawl")  # the same files with another time
    again = erasing.settings(base, store.root, candidates={"part_rows": parts})
    tamis("ingest", again, "--quiet", "--scheduler", scheduler)
    assert read(store, 3).dropped["opted_out_request"] == len(gone)
    assert Scan(needles).run(store).findings == []
    assert erasing.problems(store) == []


@pytest.mark.slow
def test_what_was_laid_out_twice_is_erased_in_both(fresh: Fresh, whole: Path, scheduler: str) -> None:
    store = fresh("set")
    gone = some(store)
    needles = erasing.needles(store, gone)
    erasing.hide(store, gone)  # names the parts of the first layout
    parts = len(store.names("candidates"))
    again = erasing.settings(whole.parent, store.root, candidates={"part_rows": 17})
    store.delete_folder("tombstones")
    tamis("ingest", again, "--quiet", "--scheduler", scheduler)
    assert len(store.names("candidates")) > parts
    known = erasing.rows(store)
    first = {uid: next(e.candidates for e in read(store, 1).parts if _holds(store, e.candidates, uid)) for uid in gone}
    assert all(known[uid]["part"] != first[uid] for uid in gone)
    tombstones.publish(store, tombstones.of_request(gone, [first[uid] for uid in gone], "r-test"))
    assert run(store).counts["candidates"] == 2 * len(gone)
    assert Scan(needles).run(store).findings == []
    assert erasing.problems(store) == []


def _holds(store: Store, key: str, uid: bytes) -> bool:
    part = Part.from_json(store.read(f"candidates/{key}.json"), key)
    return uid in part.table(store, columns=["uid"])["uid"].to_pylist()


@pytest.mark.slow
def test_on_an_object_store_the_same_is_done_by_rewriting(fresh: Fresh, s3_endpoint: str, tmp_path: Path) -> None:
    local = fresh("set")
    remote = Store.open_url(f"s3://sets/{tmp_path.name}")
    for name in local.walk():
        remote.write(name, local.read(name))
    gone = some(local)
    needles = erasing.needles(local, gone)
    for store in (local, remote):
        erasing.hide(store, gone)
        run(store)
        assert Scan(needles).run(store).findings == []
        assert erasing.problems(store) == []
    other = ("run.lock", "events.jsonl", "progress.json", "erasures/", "events/")
    names = [name for name in local.walk() if not name.startswith(other)]
    assert names == [name for name in remote.walk() if not name.startswith(other)]
    assert all(local.read(name) == remote.read(name) for name in names)
    assert list(REMAINS) == amendments.erasures(remote)[0].remains
