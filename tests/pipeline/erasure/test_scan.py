"""Whatever file a trace of an erased sample lies in, and however it is packed, the search finds it, and no living row hides it."""

import bz2
import gzip
import io
import json
import lzma
import os
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline import pack
from pipeline.erasure.needles import Needles
from pipeline.erasure.scan import Finding, Scan
from pipeline.picture_hashes import picture_hashes
from pipeline.store import Store
from tests.pictures import jpeg

UID, LIVING = b"\x0a" * 16, b"\x0b" * 16
URL = "https://artist.example/jane's/1.jpg?a=1&b=2"
RAW = URL.encode()
OTHERS = [f"https://other.example/{n}.jpg" for n in range(500)]


def needles(**more: str) -> Needles:
    found = Needles()
    found.add("r-1", UID, {"url": URL, **more})
    return found


def scan(folder: Path, **more: str) -> list[Finding]:
    return Scan(needles(**more)).run(Store.open_url(str(folder))).findings


def places(folder: Path, **more: str) -> set[tuple[str, str]]:
    return {(finding.file, finding.place) for finding in scan(folder, **more)}


def a_tar(name: str = "n.txt") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(RAW)
        tar.addfile(member, io.BytesIO(RAW))
    return out.getvalue()


def a_zip(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("n", content)
    return out.getvalue()


def with_size(tar: bytes, size: bytes) -> bytes:
    return tar[:124] + size.ljust(12, b"\0") + tar[136:]


def _named(value: str | bytes) -> str:
    """Return a test's name that is the same in every process: archives hold the time they were made at."""
    return value if isinstance(value, str) else "-"


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("a.txt", RAW, "byte 0"),
        ("no-ending", gzip.compress(RAW), "unpacked, byte 0"),
        ("a.bz2", bz2.compress(RAW), "unpacked, byte 0"),
        ("a.xz", lzma.compress(RAW * 9), "unpacked, byte 0"),
        ("a.zst", pa.compress(RAW * 9, codec="zstd", asbytes=True), "unpacked, byte 0"),
        ("a.zip", a_zip(RAW * 9), "member n, byte 0"),
        ("a.tar.gz", gzip.compress(a_tar()), "unpacked, byte 512"),
        ("twice.gz", gzip.compress(gzip.compress(RAW)), "unpacked, unpacked, byte 0"),
        ("zip-of-gz", a_zip(gzip.compress(RAW)), "member n, unpacked, byte 0"),
        ("foreign.tar", a_tar(), "member .txt, byte 512"),
        ("base256.tar", with_size(a_tar(), b"\x80\0"), "member ., byte 512"),
        ("nosize.tar", with_size(a_tar(), b"zzz"), "member ., byte 512"),
        ("negative.tar", with_size(a_tar(), b"-0000001000"), "member ., byte 512"),
        ("cut.tar", a_tar()[:600], "member .txt, byte 512"),
        ("words.npy", b"\x93NUMPY\1\0\2\0{}" + RAW, "row 0"),
        ("escaped.json", json.dumps(URL).replace("/", "\\/").encode(), "byte 1"),
        ("page.html", b"<p>" + RAW.replace(b"&", b"&amp;").replace(b"'", b"&#x27;"), "byte 3"),
        ("access.log", b"GET /?url=https%3A%2F%2Fartist.example%2Fjane%27s%2F1.jpg%3Fa%3D1%26b%3D2", "byte 10"),
        ("windows.txt", "\ufeff".encode("utf-16-le") + URL.encode("utf-16-le"), "byte 2"),
        (".hidden/.too", RAW, "byte 0"),
        ("tmp/left-by-a-kill", RAW, "byte 0"),
    ],
    ids=_named,
)  # fmt: skip
def test_a_trace_is_found_wherever_it_lies(name: str, content: bytes, place: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert (name, place) in places(tmp_path)


COLUMNS: dict[str, Callable[[], pa.Array]] = {
    "dictionary": lambda: pa.array([*OTHERS, URL]).dictionary_encode(),
    "unused word of a dictionary": lambda: pa.DictionaryArray.from_arrays([0], [OTHERS[0], URL]),
    "list": lambda: pa.array([OTHERS, [URL]]),
    "struct": lambda: pa.array([{"q": {"u": url}} for url in (*OTHERS, URL)]),
    "map": lambda: pa.array([[(url, 1)] for url in (*OTHERS, URL)], pa.map_(pa.string(), pa.int8())),
    "view": lambda: pa.array([*OTHERS, URL], pa.string_view()),
    "bytes": lambda: pa.array([*(url.encode() for url in OTHERS), RAW], pa.large_binary()),
    "part of a text": lambda: pa.array([f"see <{URL}> there", *OTHERS]),
}


@pytest.mark.parametrize("what", COLUMNS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_trace_is_found_in_any_kind_of_column(what: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"a": pa.chunked_array([COLUMNS[what]()])}
    pq.write_table(pa.table(columns), path, compression="zstd", write_statistics=False)
    if packed:
        (tmp_path / "a.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    found = {place for _, place in places(tmp_path)}
    assert any("row" in place and place.endswith(", a") for place in found), found


def test_files_that_lead_elsewhere_are_followed_once_and_pipes_left_alone(tmp_path: Path) -> None:
    folder, outside = tmp_path / "set", tmp_path / "disk2"
    (folder / "shards").mkdir(parents=True)
    outside.mkdir()
    (outside / "a.txt").write_bytes(RAW)
    (folder / "shards" / "000001").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (folder / "file").symlink_to(outside / "a.txt")
    os.mkfifo(folder / "pipe")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).write_bytes(RAW)
    assert {name for name, _ in places(folder)} == {"shards/000001/a.txt", "file", "\udcff\udcfe"}
    assert all(json.dumps(finding.to_json(), ensure_ascii=False).encode() for finding in scan(folder))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.gz", gzip.compress(os.urandom(5000))[:3000]),
        ("bad.parquet", b"PAR1 and no more PAR1"),
        ("bad.zip", b"PK\3\4" + bytes(50)),
    ],
    ids=_named,
)
def test_what_is_damaged_cannot_be_searched_and_is_said_to_be(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    (finding,) = scan(tmp_path)
    assert (finding.file, finding.place, finding.subject) == (name, "damaged", "")
    assert "could not be searched to its end" in finding.what


def test_a_picture_that_lies_about_is_known_again_as_it_was_or_encoded_anew(tmp_path: Path) -> None:
    picture = jpeg(7)
    known = picture_hashes(picture, "here")
    (tmp_path / "thumb.jpg").write_bytes(picture)
    Image.open(io.BytesIO(picture)).save(tmp_path / "thumb.png")
    (tmp_path / "other.jpg").write_bytes(jpeg(8))
    found = scan(tmp_path, pdq256=known["pdq"])
    assert {(one.file, one.what) for one in found} == {
        (name, "a picture that looks like an erased one") for name in ("thumb.jpg", "thumb.png")
    }


def test_a_file_called_by_the_sample_is_one_of_its_members(tmp_path: Path) -> None:
    (tmp_path / f"{UID.hex()}.jpg").write_bytes(b"x")
    assert places(tmp_path) == {(f"{UID.hex()}.jpg", "its name")}


def living(folder: Path, url: str) -> None:
    """Write what a row that lives holds: a table and a member of a shard."""
    pq.write_table(pa.table({"uid": pa.array([LIVING], pa.binary(16)), "url": [url]}), folder / "rows.parquet")
    facts = json.dumps({"url": url, "text": "mine"}).encode()
    (folder / "00000.tar").write_bytes(pack.member(f"{LIVING.hex()}.json", facts) + bytes(1024))


def test_a_value_that_a_living_row_has_too_is_no_trace(tmp_path: Path) -> None:
    living(tmp_path, URL)
    (tmp_path / "card.md").write_bytes(RAW)
    done = Scan(needles()).run(Store.open_url(str(tmp_path)))
    assert (done.findings, dict(done.shared)) == ([], {"url": 1})


@pytest.mark.parametrize("longer", [URL + "&width=800", "https://web.archive.example/2021/" + URL, URL + "é" * 9])
def test_a_living_value_that_only_contains_it_hides_no_trace(longer: str, tmp_path: Path) -> None:
    living(tmp_path, longer)
    (tmp_path / "card.md").write_text(f"as in {longer} there")
    (tmp_path / "card.json").write_text(json.dumps({"u": longer}))
    assert scan(tmp_path) == []
    (tmp_path / "left.json").write_text(json.dumps({"url": URL}))
    assert {name for name, _ in places(tmp_path)} == {"left.json"}


def test_names_that_are_no_uids_own_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": ["000000001"], "url": [URL]}), tmp_path / "img2dataset.parquet")
    pq.write_table(pa.table({"uid": ["1"], "url": [URL]}), tmp_path / "foreign.parquet")
    (tmp_path / "foreign.tar").write_bytes(a_tar("000000001.txt"))
    assert {name for name, _ in places(tmp_path)} == {"img2dataset.parquet", "foreign.parquet", "foreign.tar"}


def test_a_vector_of_an_array_that_belongs_to_nothing_is_found(tmp_path: Path) -> None:
    vector = np.linspace(-1, 1, 32).astype(np.float16)
    for name in ("embed/stray.npy", "embeddings/000009/img_emb/img_emb_0000.npy", "columns.npy"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = np.stack([vector * 0, vector])
        np.save(path, np.asfortranarray(np.stack([vector, vector]).T) if name == "columns.npy" else rows)
    found = {name for name, _ in places(tmp_path, image_emb=vector.tobytes().hex())}
    assert found == {"embed/stray.npy", "embeddings/000009/img_emb/img_emb_0000.npy", "columns.npy"}


def test_rows_of_a_database_are_found(tmp_path: Path) -> None:
    base = sqlite3.connect(tmp_path / "s.sqlite")
    base.execute("create table t (a)")
    base.executemany("insert into t values (?)", [("z" * n + URL,) for n in range(9)])
    base.commit()
    base.close()
    assert len(places(tmp_path)) == 9
