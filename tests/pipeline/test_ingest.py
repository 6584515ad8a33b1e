"""What a data engineer does: ingest, ingest again, change a threshold, add a crawl, ask, verify."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.tiny import config, published_digest, tamis, write_crawl


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished data set: 60 pictures of 6 sites."""
    base = tmp_path_factory.mktemp("ingest")
    crawl = write_crawl(base / "crawl")
    tamis("ingest", config(base / "crawl.toml", str(base / "set"), crawl), "--quiet", cwd=base)
    return base


def _status(base: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(tamis("status", base / "set", "--json").stdout)
    return found


def test_every_picture_of_the_crawl_arrives_once(done: Path) -> None:
    snapshot = json.loads((done / "set/snapshots/000001.json").read_text())
    assert snapshot["rows_in"] == 60
    assert snapshot["rows"] == 60
    assert snapshot["dropped"] == {}
    keys = [
        key
        for path in sorted((done / "set/shards/000001").glob("*.parquet"))
        for key in pq.read_table(path)["key"].to_pylist()
    ]
    assert len(set(keys)) == 60


def test_shards_embeddings_and_sidecars_tell_of_the_same_samples(done: Path) -> None:
    for path in sorted((done / "set/shards/000001").glob("*.tar")):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            info = json.loads(tar.extractfile(names[2]).read())  # type: ignore[union-attr]
        table = pq.read_table(path.with_suffix(".parquet"))
        assert names[:3] == [f"{table['key'][0]}.{ext}" for ext in ("jpg", "txt", "json")]
        assert info["url"] == table["url"][0].as_py()
        vectors = np.load(done / f"set/embeddings/000001/img_emb/img_emb_{int(path.stem):04d}.npy")
        assert vectors.shape == (table.num_rows, 256)
        assert vectors.dtype == np.float16
        assert table["status"].to_pylist() == ["success"] * table.num_rows


def test_byte_offsets_of_the_sidecar_point_at_the_samples(done: Path) -> None:
    path = sorted((done / "set/shards/000001").glob("*.tar"))[0]
    table = pq.read_table(path.with_suffix(".parquet"))
    data = path.read_bytes()
    for offset, key in zip(table["shard_offset"].to_pylist(), table["key"].to_pylist(), strict=True):
        assert data[offset : offset + 36] == f"{key}.jpg".encode()


def test_webdataset_and_hf_datasets_read_the_shards(done: Path) -> None:
    import webdataset as wds
    from datasets import load_dataset

    tars = sorted(str(p) for p in (done / "set/shards/000001").glob("*.tar"))
    samples = list(wds.WebDataset(tars, shardshuffle=False).decode("rgb8").to_tuple("__key__", "jpg", "txt", "json"))
    assert len(samples) == 60
    assert samples[0][1].shape == (160, 160, 3)
    loaded = load_dataset("webdataset", data_files={"train": tars}, split="train", cache_dir=str(done / "hf"))
    assert sorted(row["__key__"] for row in loaded) == sorted(sample[0] for sample in samples)


def test_running_again_changes_nothing(done: Path, scheduler: str) -> None:
    before = published_digest(done / "set")
    tamis("ingest", done / "crawl.toml", "--quiet", "--scheduler", scheduler, cwd=done)
    assert published_digest(done / "set") == before


def test_verify_accepts_the_data_set_and_search_finds_a_sample_by_itself(done: Path) -> None:
    found = json.loads(tamis("verify", done / "set", "--json").stdout)
    assert found["problems"] == []
    assert found["samples"] == 60
    table = pq.read_table(next((done / "set/shards/000001").glob("*.parquet")))
    uid, url = table["key"][3].as_py(), table["url"][3].as_py()
    for option, value in (("--uid", uid), ("--url", url)):
        hits = json.loads(tamis("search", done / "set", option, value, "-k", "3", "--json").stdout)
        assert hits[0]["uid"] == uid
        assert hits[0]["cos"] == pytest.approx(1.0, abs=0.002)
        assert len(hits) == 3


def test_verify_names_a_damaged_file(done: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "set"
    shutil.copytree(done / "set", copy)
    tar = next((copy / "shards/000001").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(bytes(data))
    (next((copy / "embed").glob("*.img.npy"))).unlink()
    run = tamis("verify", copy, check=False)
    assert run.returncode == 3
    assert f"{tar.parent.name}/{tar.name}: its bytes differ from the digest" in run.stdout
    assert "img.npy: missing" in run.stdout


def test_a_new_threshold_decides_and_packs_again_and_nothing_else(done: Path, tmp_path: Path, scheduler: str) -> None:
    base = tmp_path
    crawl = sorted((done / "crawl").glob("*.warc.gz"))
    shutil.copytree(done / "set", base / "set", copy_function=shutil.copy2)
    kept = {name: (base / "set" / name).stat().st_mtime_ns for name in ("extract", "candidates", "embed", "scores")}
    scores = np.concatenate([pq.read_table(p)["clip_cos"].to_numpy() for p in (base / "set/scores").glob("*.parquet")])
    threshold = float(np.median(scores))
    tamis(
        "ingest",
        config(base / "a.toml", str(base / "set"), crawl, clip={"threshold": threshold}),
        "--quiet",
        "--scheduler",
        scheduler,
    )
    snapshot = json.loads((base / "set/snapshots/000002.json").read_text())
    assert snapshot["rows"] == int((scores >= np.float32(threshold)).sum())
    assert snapshot["dropped"] == {"clip_low": 60 - snapshot["rows"]}
    assert {name: (base / "set" / name).stat().st_mtime_ns for name in kept} == kept
    assert tamis("verify", base / "set").returncode == 0


def test_an_added_crawl_makes_new_parts_and_leaves_the_old_ones(done: Path, tmp_path: Path, scheduler: str) -> None:
    first = sorted((done / "crawl").glob("*.warc.gz"))
    more = write_crawl(tmp_path / "more", pictures=30, first=100)
    file = tmp_path / "a.toml"
    tamis("ingest", config(file, str(tmp_path / "set"), first), "--quiet", "--scheduler", scheduler)
    old = {p.name for p in (tmp_path / "set/fetch").iterdir()}
    tamis("ingest", config(file, str(tmp_path / "set"), [*first, *more]), "--quiet", "--scheduler", scheduler)
    snapshot = json.loads((tmp_path / "set/snapshots/000002.json").read_text())
    assert snapshot["rows"] == 90
    assert old < {p.name for p in (tmp_path / "set/fetch").iterdir()}
    tamis("ingest", config(file, str(tmp_path / "set"), first), "--quiet", "--scheduler", scheduler)
    again = json.loads((tmp_path / "set/snapshots/000003.json").read_text())
    assert [s["key"] for s in again["shards"]] == [
        s["key"] for s in json.loads((tmp_path / "set/snapshots/000001.json").read_text())["shards"]
    ]


def test_status_tells_counts_and_that_the_run_is_over(done: Path) -> None:
    found = _status(done)
    assert found["running"] is False
    assert found["run"]["state"] == "finished"  # type: ignore[index]
    assert found["crawl"]["images"] == 60  # type: ignore[index]
    assert found["crawl"]["long_enough_in_crawl"] == 60  # type: ignore[index]
    assert found["snapshot"]["rows"] == 60  # type: ignore[index]
