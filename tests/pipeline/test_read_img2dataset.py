import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.capture import read_capture
from pipeline.read_lists import is_img2dataset, read_img2dataset
from tests.reading import collect

REFUSED = "Use of image disallowed by X-Robots-Tag directive"
SAMPLES: list[dict[str, Any]] = [
    {
        "key": "000000000",
        "url": "http://h.example/a.jpg",
        "caption": "A red  boat",
        "status": "success",
        "error_message": None,
    },
    {
        "key": "000000001",
        "url": "http://h.example/b.jpg",
        "caption": "x",
        "status": "failed_to_download",
        "error_message": "HTTP 404",
    },
    {
        "key": "000000002",
        "url": "http://h.example/c.jpg",
        "caption": "y",
        "status": "failed_to_download",
        "error_message": REFUSED,
    },
    {
        "key": "000000003",
        "url": "http://h.example/d.jpg",
        "caption": "A blue boat",
        "status": "success",
        "error_message": None,
    },
]


def files(sample: dict[str, Any]) -> dict[str, bytes]:
    picture = b"\xff\xd8\xff" + sample["key"].encode()
    return {"jpg": picture, "json": json.dumps(sample).encode(), "txt": sample["caption"].encode()}


def write(folder: Path, layout: str, *, table: bool = True) -> Path:
    """Write two shards as img2dataset does."""
    for number, samples in (("00000", SAMPLES[:2]), ("00001", SAMPLES[2:])):
        good = [sample for sample in samples if sample["status"] == "success"]
        if layout == "webdataset":
            with tarfile.open(folder / f"{number}.tar", "w") as tar:
                for sample in good:
                    for ending, data in files(sample).items():
                        info = tarfile.TarInfo(f"{sample['key']}.{ending}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
        else:
            (folder / number).mkdir()
            for sample in good:
                for ending, data in files(sample).items():
                    (folder / number / f"{sample['key']}.{ending}").write_bytes(data)
        if table:
            pq.write_table(pa.Table.from_pylist(samples), folder / f"{number}.parquet")
        (folder / f"{number}_stats.json").write_text("{}")
    return folder


@pytest.mark.parametrize("layout", ["webdataset", "files"])
def test_each_sample_is_a_sighting_and_each_picture_a_capture(tmp_path: Path, layout: str) -> None:
    sightings, captures, counts = collect(read_img2dataset, write(tmp_path, layout))
    assert [(r["url"][-5:], r["text"], r["reason"], r["evidence"], r["capture_kind"]) for r in sightings] == [
        ("a.jpg", "A red boat", None, None, "file"),
        ("b.jpg", "x", None, None, None),
        ("c.jpg", "y", "opted_out", f"img2dataset: {REFUSED}", None),
        ("d.jpg", "A blue boat", None, None, "file"),
    ]
    assert [(c["url"][-5:], c["content_type"]) for c in captures] == [("a.jpg", "image/jpeg"), ("d.jpg", "image/jpeg")]
    for found, sighting, key in zip(captures, [sightings[0], sightings[3]], ("000000000", "000000003"), strict=True):
        place = (found["kind"], found["uri"], found["offset"], found["bytes"])
        assert place == tuple(sighting[f"capture_{name}"] for name in ("kind", "uri", "offset", "bytes"))
        assert read_capture(*place)[1] == b"\xff\xd8\xff" + key.encode()
    assert counts.records == 4


@pytest.mark.parametrize("layout", ["webdataset", "files"])
def test_without_tables_the_samples_speak_for_themselves(tmp_path: Path, layout: str) -> None:
    sightings, captures, _ = collect(read_img2dataset, write(tmp_path, layout, table=False))
    assert [(r["url"], r["text"]) for r in sightings] == [
        (SAMPLES[i]["url"], SAMPLES[i]["caption"].replace("  ", " ")) for i in (0, 3)
    ]
    assert len(captures) == 2


def test_slices_are_of_shards(tmp_path: Path) -> None:
    assert [
        row["url"][-5:] for row in collect(read_img2dataset, write(tmp_path, "webdataset"), start=1, stop=2)[0]
    ] == ["c.jpg", "d.jpg"]


def test_a_tar_cut_short_is_counted_and_its_rows_kept(tmp_path: Path) -> None:
    write(tmp_path, "webdataset")
    tar = tmp_path / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    sightings, _, _ = collect(read_img2dataset, tmp_path)
    assert len(sightings) == 4
    tar.write_bytes(b"nonsense" * 200)
    sightings, captures, counts = collect(read_img2dataset, tmp_path)
    assert (len(sightings), len(captures), counts.truncated_inputs) == (4, 1, 1)


def test_output_folders_are_told_from_others(tmp_path: Path) -> None:
    for name in ("webdataset", "files", "empty", "parquet"):
        (tmp_path / name).mkdir()
    assert is_img2dataset(str(write(tmp_path / "webdataset", "webdataset")))
    assert is_img2dataset(str(write(tmp_path / "files", "files")))
    assert not is_img2dataset(str(tmp_path / "empty"))
    (tmp_path / "parquet" / "00000.parquet").write_bytes(b"")
    assert not is_img2dataset(str(tmp_path / "parquet"))
    assert not is_img2dataset(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_what_img2dataset_itself_wrote_is_read(tmp_path: Path) -> None:
    """The real tool on a loopback server; skipped where the extra is not installed."""
    img2dataset = pytest.importorskip("img2dataset")
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from PIL import Image

    (tmp_path / "www").mkdir()
    Image.new("RGB", (40, 30), "red").save(tmp_path / "www" / "a.png")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    site = f"http://127.0.0.1:{server.server_port}"
    pq.write_table(
        pa.table({"url": [f"{site}/a.png", f"{site}/no.png"], "caption": ["A red card", "x"]}), tmp_path / "in.parquet"
    )
    try:
        img2dataset.download(
            url_list=str(tmp_path / "in.parquet"),
            input_format="parquet",
            url_col="url",
            caption_col="caption",
            output_folder=str(tmp_path / "out"),
            output_format="webdataset",
            processes_count=1,
            thread_count=2,
            image_size=32,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert is_img2dataset(str(tmp_path / "out"))
    sightings, captures, _ = collect(read_img2dataset, tmp_path / "out")
    assert sorted((r["url"], r["text"], r["capture_kind"]) for r in sightings) == [
        (f"{site}/a.png", "A red card", "file"),
        (f"{site}/no.png", "x", None),
    ]
    found = captures[0]
    _, body = read_capture(found["kind"], found["uri"], found["offset"], found["bytes"])
    assert Image.open(io.BytesIO(body)).size == (32, 32)
