"""What heads said of a picture stands in the shards, where searches and other people's tools can ask for it."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from index.conditions import parse
from index.opened import Opened
from pipeline.pack import iter_samples, shard_files
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.tiny import config, tamis, write_crawl


def head(path: Path, seed: int) -> str:
    """Write a linear head for the bundled model's vectors."""
    rng = np.random.default_rng(seed)
    np.savez(path, weight=20 * rng.standard_normal((1, 256)).astype(np.float32), bias=np.zeros(1, np.float32))
    return str(path)


@pytest.mark.slow
def test_a_head_that_is_named_later_brings_its_scores_into_every_shard(tmp_path: Path, scheduler: str) -> None:
    crawl = write_crawl(tmp_path / "crawl", pictures=30, sites=3)
    run = ("--quiet", "--scheduler", scheduler)
    store = Store.open_url(str(tmp_path / "set"))
    tamis("ingest", config(tmp_path / "one.toml", store.root, crawl), *run)
    before = require_latest(store)
    files = {"nsfw_prob": head(tmp_path / "n.npz", 1), "aesthetic_score": head(tmp_path / "a.npz", 2)}
    heads = {"nsfw_head": files["nsfw_prob"], "max_nsfw_prob": 1.0, "aesthetic_head": files["aesthetic_score"]}
    tamis("ingest", config(tmp_path / "two.toml", store.root, crawl, filters=heads), *run)
    snapshot = require_latest(store)
    assert (snapshot.number, snapshot.rows, len(snapshot.shards)) == (2, before.rows, len(before.shards))
    weights = {column: np.load(file)["weight"][0] for column, file in files.items()}
    for entry in snapshot.shards:
        of = {role: Path(store.root, name) for role, name in shard_files(snapshot.folder, entry.number).items()}
        rows, vectors = pq.read_table(of["parquet"]), np.load(of["img_emb"]).astype(np.float32)
        said = {column: vectors @ weight for column, weight in weights.items()}
        said["nsfw_prob"] = 1 / (1 + np.exp(-said["nsfw_prob"]))
        for column, values in said.items():
            assert rows[column].to_pylist() == pytest.approx(values.tolist(), abs=1e-3)
        first = next(iter_samples(of["tar"]))
        assert json.loads(first["json"])["nsfw_prob"] == pytest.approx(rows["nsfw_prob"][0].as_py())
    opened = Opened(store, snapshot)
    safe = opened.matching([parse("nsfw_prob<=0.5")])
    assert 0 < len(safe) < opened.rows
    tamis("ingest", tmp_path / "two.toml", *run)
    assert require_latest(store).number == 2  # the same again: nothing new
    tamis("verify", store.root)
