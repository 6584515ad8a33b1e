"""A published snapshot of made-up vectors for benchmarks of the index, written shard by shard so that memory stays small."""

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from pipeline.pack import shard_files
from pipeline.snapshot import ShardEntry, Snapshot, latest, publish
from pipeline.store import Store
from tests.clustered import F16, pictures, texts
from tests.made_set import CLIP, Shard, write_shard

SHARD_ROWS = 10_000
DIMENSIONS = 512
QUESTIONS = 1_000
_OTHERS = 10**6  # seeds from here on are of questions


def shard(number: int, rows: int = SHARD_ROWS) -> Shard:
    """Return the shard of that number."""
    image = pictures(rows, DIMENSIONS, number)
    uids = [blake2b(f"{number}/{row}".encode(), digest_size=16).digest() for row in range(rows)]
    return Shard(uids, image, texts(image, number))


def publish_rows(store: Store, rows: int, first: int = 0) -> Snapshot:
    """Publish the next snapshot: the last one's shards, and so many new rows."""
    before = latest(store)
    number = before.number + 1 if before else 1
    entries: list[ShardEntry] = []
    for old in before.shards if before else ():
        assert before is not None
        for role, name in shard_files(f"{number:06d}", old.number).items():
            if role in ("parquet", "img_emb", "text_emb"):
                store.copy(shard_files(before.folder, old.number)[role], name)
        entries.append(old)
    for at in range(-(-rows // SHARD_ROWS)):
        made = shard(first + at, min(SHARD_ROWS, rows - at * SHARD_ROWS))
        entries.append(write_shard(store, made, len(entries), shard_files(f"{number:06d}", len(entries))))
    snapshot = Snapshot(
        number=number, parent=before.number if before else None, config={"clip": {}}, config_digest="-", rows_in=0,
        rows=sum(entry.rows for entry in entries), dropped={}, extracts=[], layouts=[], parts=[], shards=entries, clip=CLIP,
    )  # fmt: skip
    publish(store, snapshot)
    return snapshot


def questions(count: int = QUESTIONS) -> NDArray[np.float32]:
    """Return vectors f32[N,D] from the same clusters that no shard holds."""
    return pictures(count, DIMENSIONS, _OTHERS).astype(np.float32)


def stored(store: Store, snapshot: Snapshot) -> Iterator[F16]:
    """Yield the pictures' vectors of each shard."""
    for entry in snapshot.shards:
        with store.open(shard_files(snapshot.folder, entry.number)["img_emb"]) as handle:
            yield np.load(handle)


def nearest_rows(store: Store, snapshot: Snapshot, asked: NDArray[np.float32], k: int = 10) -> NDArray[np.int64]:
    """Return the row numbers i64[Q,k] of the nearest pictures, by comparing all."""
    best = np.full((len(asked), k), -2, np.float32)
    rows = np.full((len(asked), k), -1, np.int64)
    low = 0
    for block in stored(store, snapshot):
        cos = np.concatenate([best, asked @ block.astype(np.float32).T], axis=1)
        names = np.broadcast_to(np.arange(low, low + len(block)), (len(asked), len(block)))
        every = np.concatenate([rows, names], axis=1)
        kept = np.argpartition(-cos, k - 1, axis=1)[:, :k]
        best, rows = np.take_along_axis(cos, kept, 1), np.take_along_axis(every, kept, 1)
        low += len(block)
    return rows
