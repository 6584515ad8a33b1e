"""A request is closed when a search of all bytes finds nothing of what it meant; what it told is forgotten then."""

import gzip
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.erase import erase as erase_from_index
from pipeline.erasure.apply import apply
from pipeline.erasure.prove import check_report, verify
from pipeline.errors import FormatError, InputError
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.stage import sha256_stored
from pipeline.store import Store
from tests import erasing, small_dataset
from tests.tiny import tamis

Fresh = Callable[[str], Store]


def tombstoned(store: Store, uid: bytes) -> tuple[Registry, str]:
    """Take in a request for the URL of a row and hide what it means, as `tamis optout add` does."""
    registry = Registry.open(store)
    row = erasing.rows(store)[uid]
    asked = registry.add("url", row["url"], contact="someone@mail.example", note="it is mine")
    registry.add_matches(asked.id, [Match(uid, row["part"], "url", secret={"url": row["url"], "text": row["text"]})])
    registry.advance(asked.id, "identified")
    erasing.hide(store, [uid], asked.id)
    registry.advance(asked.id, "tombstoned")
    return registry, asked.id


def first(store: Store, at: int = 3) -> bytes:
    return bytes.fromhex(list(erasing.shown(store))[at])


def test_from_the_tombstone_to_the_signed_report(fresh: Fresh) -> None:
    store = fresh("set")
    uid = first(store)
    known = erasing.rows(store)[uid]
    registry, id_ = tombstoned(store, uid)
    applied = apply(store, registry, derived=[erase_from_index])
    assert (applied.uids, registry.get(id_).state) == (1, "erased")
    (leaf,) = [json.loads(text) for _, text in registry.entries_of(id_) if json.loads(text)["type"] == "erased"]
    assert {tuple(row[0]) for row in leaf["objects"]} == {tuple(c.names) for c in applied.erasures[0].changes}
    assert all(old != new for _, old, new in leaf["objects"])
    proof = verify(store, registry)
    assert (proof.closed, proof.findings) == ([id_], [])
    assert registry.get(id_).state == "closed"
    with pytest.raises(InputError, match="its key was destroyed"):
        registry.secret(id_)
    signed = json.loads(store.read(f"private/reports/{id_}.json"))
    report = check_report(signed)
    assert report["samples"] == [uid.hex()]
    assert report["registry_files"]["findings"] == []
    assert [step["state"] for step in report["steps"]] == ["received", "identified", "tombstoned", "erased", "closed"]
    assert registry.check_log() == []
    page = store.read(f"private/reports/{id_}.html").decode()
    assert "found nothing of it any more" in page
    personal = (known["url"], known["text"], "someone@mail.example", "it is mine")
    for name in store.walk():
        data = store.read(name)
        assert not [value for value in personal if value.encode() in data], name
    signed["report"]["samples"] = []
    with pytest.raises(FormatError, match="changed after it was signed"):
        check_report(signed)


def test_what_is_sealed_before_the_erasure_is_what_is_looked_for(fresh: Fresh) -> None:
    store = fresh("set")
    uid = first(store)
    registry, id_ = tombstoned(store, uid)
    apply(store, registry, derived=[erase_from_index])
    (found,) = registry.matches(id_)
    assert found.secret is not None
    names = {"url", "text", "page_url", "sha256", "md5", "pdq256", "phash64", "stored_sha256", "image_emb", "text_emb"}
    assert names <= set(found.secret)


def plant_table(path: Path, url: bytes, text: bytes) -> str:
    pq.write_table(pa.table({"n": [1, 2, 3], "detail": ["", f"got <{url.decode()}> late", ""]}), path)
    return "row 1, detail"


def plant_json(path: Path, url: bytes, text: bytes) -> str:
    path.write_text("x" * 5_000_000 + json.dumps({"text": text.decode()}))
    return "byte 5000010"


def plant_zip(path: Path, url: bytes, text: bytes) -> str:
    path.write_bytes(gzip.compress(b"noise " * 1000 + url))
    return "unpacked, byte 6000"


def plant_sqlite(path: Path, url: bytes, text: bytes) -> str:
    base = sqlite3.connect(path)
    base.execute("create table t (v)")
    base.execute("insert into t values (?)", (url.decode(),))
    base.commit()
    base.close()
    return "byte "


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        ("extra/a.parquet", plant_table),
        ("notes.jsonl", plant_json),
        ("cache.gz", plant_zip),
        ("private/old.sqlite", plant_sqlite),
    ],
)
def test_something_left_anywhere_is_named_and_keeps_the_request_open(
    fresh: Fresh, name: str, plant: Callable[[Path, bytes, bytes], str]
) -> None:
    store = fresh("set")
    uid = first(store)
    row = erasing.rows(store)[uid]
    registry, id_ = tombstoned(store, uid)
    path = store.local(name)
    assert path is not None
    path.parent.mkdir(exist_ok=True)
    place = plant(path, row["url"].encode(), row["text"].encode())
    apply(store, registry, derived=[erase_from_index])
    proof = verify(store, registry)
    assert proof.closed == []
    assert any(f.file == name and f.place.startswith(place) for f in proof.open[id_]), proof.open[id_]
    path.unlink()
    assert verify(store, registry).closed == [id_]


STOPPED = """
import os, sys
from pipeline.erasure import prove
from pipeline.registry.registry import Registry
from pipeline.store import Store

store = Store.open_url(sys.argv[1])
where, name = (prove, "write_report") if sys.argv[2] == "before the report" else (Registry, "shred")
setattr(where, name, lambda *_: os._exit(9))
prove.verify(store, Registry.open(store))
"""


@pytest.mark.parametrize("moment", ["before the report", "before it is forgotten"])
def test_a_verification_that_was_stopped_is_finished_by_the_next(fresh: Fresh, moment: str) -> None:
    store = fresh("set")
    registry, id_ = tombstoned(store, first(store))
    apply(store, registry, derived=[erase_from_index])
    stopped = subprocess.run([sys.executable, "-c", STOPPED, store.root, moment], check=False)
    assert (stopped.returncode, registry.get(id_).state) == (9, "closed")
    assert not store.exists(f"private/reports/{id_}.json")
    proof = verify(store, registry)
    assert (proof.closed, proof.reports) == ([id_], [f"private/reports/{id_}.html"])
    assert registry.get(id_).forgotten
    report = check_report(json.loads(store.read(f"private/reports/{id_}.json")))
    assert (report["request"], report["registry_files"], report["searched"]["findings"]) == (id_, None, 0)
    assert "searched before that moment and not once more" in store.read(f"private/reports/{id_}.html").decode()
    assert not [name for name in store.names("private/reports") if "draft" in name]
    assert verify(store, registry).closed == []


def test_a_damaged_file_keeps_everybody_s_request_open(fresh: Fresh) -> None:
    store = fresh("set")
    registry, id_ = tombstoned(store, first(store))
    apply(store, registry, derived=[erase_from_index])
    store.write("backup.gz", gzip.compress(bytes(range(256)) * 99)[:200])
    proof = verify(store, registry)
    assert [(finding.file, finding.place) for finding in proof.open[id_]] == [("backup.gz", "damaged")]
    store.delete("backup.gz")
    assert verify(store, registry).closed == [id_]


def test_on_the_command_line(fresh: Fresh) -> None:
    store = fresh("set")
    uid = first(store)
    url = erasing.rows(store)[uid]["url"]
    _, id_ = tombstoned(store, uid)
    assert "erased 1 samples" in tamis("optout", "apply", store.root).stdout
    store.write("left.txt", url.encode())
    done = tamis("optout", "verify", store.root, "--json", check=False)
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert found["findings"][id_] == [{"file": "left.txt", "place": "byte 0", "what": "final_url, url"}]
    assert url not in done.stdout + done.stderr
    store.delete("left.txt")
    assert f"closed {id_}" in tamis("optout", "verify", store.root).stdout
    assert json.loads(tamis("optout", "apply", store.root, "--json").stdout)["uids"] == 0


def test_what_came_back_is_found_and_erased_again(fresh: Fresh, whole: Path) -> None:
    store = fresh("set")
    uid = first(store)
    registry, id_ = tombstoned(store, uid)
    apply(store, registry, derived=[erase_from_index])
    for name in store.names("shards/000002"):  # as somebody does who puts a backup back
        path = store.local(name)
        assert path is not None
        path.write_bytes((whole / name).read_bytes())
    proof = verify(store, registry)
    assert {finding.file.rsplit(".", 1)[1] for finding in proof.open[id_]} == {"tar", "parquet"}
    assert {"a member of an erased sample", "the stored picture", "a row that is not blank"} <= {
        finding.what for finding in proof.open[id_]
    }
    apply(store, registry, derived=[erase_from_index], again=True)
    assert verify(store, registry).closed == [id_]
    assert erasing.problems(store) == []


def test_of_two_requests_the_clean_one_is_closed_and_the_other_is_not(fresh: Fresh) -> None:
    store = fresh("set")
    one, two = first(store, 3), first(store, 30)
    url = erasing.rows(store)[two]["url"]
    registry, clean = tombstoned(store, one)
    _, dirty = tombstoned(store, two)
    apply(store, registry, derived=[erase_from_index])
    store.write("left.txt", url.encode())
    proof = verify(store, registry)
    assert proof.closed == [clean]
    assert [finding.to_json() for finding in proof.open[dirty]] == [
        {"file": "left.txt", "place": "byte 0", "what": "final_url, url"}
    ]
    with pytest.raises(InputError, match="is closed; what can be verified is erased"):
        verify(store, registry, clean)


def test_a_request_that_means_only_what_a_page_refused_loses_that_evidence(fresh: Fresh) -> None:
    store = fresh("set")
    registry = Registry.open(store)
    url = "http://refusing.example/never-taken.jpg"
    (name,) = (n for n in store.names("extract") if "refused.parquet" in n and pq.read_table(store.uri(n)).num_rows)
    old = pq.read_table(store.uri(name))
    table = old.set_column(0, "url", pa.array([url]))
    record = json.loads(store.read(f"{name.split('.')[0]}.json"))
    pq.write_table(table, store.uri(name))  # as if that page had shown another picture
    record["files"]["refused.parquet"] = sha256_stored(store, name)
    renamed = f"{name.split('.')[0]}.{record['files']['refused.parquet'][:8]}.refused.parquet"
    Path(store.uri(name)).rename(store.uri(renamed))
    store.write(f"{name.split('.')[0]}.json", json.dumps(record).encode())
    asked = registry.add("url", url)
    registry.add_matches(asked.id, [Match(b"\1" * 16, "", "url", secret={"url": url})])
    registry.advance(asked.id, "identified")
    registry.advance(asked.id, "tombstoned")
    assert [erasure.counts for erasure in apply(store, registry).erasures] == [{"refused": 1}]
    assert verify(store, registry).closed == [asked.id]
    assert erasing.problems(store) == []


def test_of_equal_narrow_vectors_only_the_erased_row_s_would_be_a_trace(tmp_path: Path) -> None:
    """All picture vectors of this set are the same 16 bytes, fewer than an array's header has."""
    store = small_dataset.build(tmp_path / "set").store
    uid = first(store, 10)
    registry, id_ = tombstoned(store, uid)
    apply(store, registry)
    proof = verify(store, registry)
    assert (proof.closed, proof.findings) == ([id_], [])
