"""Claim: removing 1,000 samples with their bytes, and adding 10,000, is at least twenty times faster than building anew.

A million × 512, image and text. Removing is what `tamis optout apply` does to the index (the shards' own erasure is in
bench_erase.py); adding is `tamis index sync` after a snapshot with one more shard; both run without a cluster, in one process, and
so does the build they are compared with, which is that of the snapshot they end with. Searched for: no id and no code of the
removed is in any file, and every added sample finds itself. `--rows 100000` for a quick look.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from index import segments
from index.build import build
from index.erase import erase
from index.opened import Opened
from index.record import folder
from index.sync import sync
from pipeline.ids import faiss_id
from pipeline.snapshot import require_latest
from pipeline.store import Store
from tests.bench.vector_set import DIMENSIONS, SHARD_ROWS, publish_rows, shard
from tests.made_set import blank

REMOVED, ADDED = 1_000, 10_000


def removed_uids(rows: int) -> list[bytes]:
    """Return uids scattered over all shards."""
    chosen = np.sort(np.random.default_rng(5).choice(rows, REMOVED, replace=False))
    made: dict[int, list[int]] = {}
    for row in chosen.tolist():
        made.setdefault(row // SHARD_ROWS, []).append(row % SHARD_ROWS)
    return [
        shard(number, min(SHARD_ROWS, rows - number * SHARD_ROWS)).uids[row]
        for number, at in made.items()
        for row in at
    ]


def check_gone(store: Store, uids: list[bytes]) -> None:
    """Look into every segment and every file of facts."""
    ids = np.array([faiss_id(uid) for uid in uids], np.int64)
    for path in Path(store.root, "index").rglob("*"):
        if path.suffix == ".faiss":
            assert not np.isin(segments.ids_of(segments.read(path)), ids).any()
        elif path.suffix == ".arrow":
            data = path.read_bytes()
            assert not any(f"/{uid.hex()}.jpg".encode() in data for uid in uids[:20])


def say(claim: str, ours: float, peer: float, aim: str) -> None:
    """Print a row."""
    row = {
        "claim": claim,
        "unit": "s",
        "ours": round(ours, 3),
        "peer": round(peer, 1),
        "ratio": round(peer / ours, 1),
        "aim": aim,
    }
    print(json.dumps(row, ensure_ascii=False), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    place = Path(tempfile.mkdtemp(prefix="tamis-bench-"))
    try:
        store = Store.open_url(str(place / "set"))
        build(store, publish_rows(store, rows))
        uids = removed_uids(rows)
        blank(store, uids)
        os.sync()
        began = time.perf_counter()
        erase(store, frozenset(uids))
        removing = time.perf_counter() - began
        check_gone(store, uids)
        snapshot = publish_rows(store, ADDED, first=10_000)
        os.sync()
        began = time.perf_counter()
        record = sync(store, snapshot)
        adding = time.perf_counter() - began
        opened = Opened(store, snapshot)
        new = shard(10_000)
        sure = opened.with_effort("image", 32, 20)  # a list beside the right one must not look like a lost row
        found = sure.near(new.image[:1_000].astype(np.float32), 1)
        assert [one.ids[0] for one in found] == new.ids[:1_000].tolist()
        assert len(record.sides["image"].segments) == 2
        opened.close()
        store.delete_folder(folder(require_latest(store)))
        store.delete_folder("index/000001")
        os.sync()
        began = time.perf_counter()
        build(store, snapshot)
        whole = time.perf_counter() - began
    finally:
        shutil.rmtree(place)
    what = f"of {rows:,} × {DIMENSIONS}, image and text, against building anew"
    say(f"remove {REMOVED:,} with their bytes and add {ADDED:,} {what}", removing + adding, whole, "≥ 20×")
    say(f"… remove {REMOVED:,}", removing, whole, "")
    say(f"… add {ADDED:,}", adding, whole, "")


if __name__ == "__main__":
    main()
