"""Published snapshots of made-up rows for tests of the index: sidecars and vectors as `pack` leaves them, without pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from index import kinds, measure
from index.record import Options
from pipeline.erasure.blank import blank_array, blank_table
from pipeline.ids import faiss_id
from pipeline.pack import shard_files
from pipeline.pieces import of_file
from pipeline.snapshot import ShardEntry, Snapshot, latest, numbers, publish, read
from pipeline.stage import PARQUET
from pipeline.store import Store
from tests.clustered import F16, pictures, texts

DIMENSIONS = 32
CLIP = {"model": "made-up", "pretrained": None, "weights_sha256": "00", "threshold_cos": 0.1}


@dataclass(frozen=True)
class Shard:
    """The rows of a shard: uids, and both vectors f16[N,D]."""

    uids: Sequence[bytes]
    image: F16
    text: F16

    @property
    def key(self) -> str:
        """Return the key: a hash of the uids and their vectors."""
        return blake2b(b"".join(self.uids) + self.image.tobytes(), digest_size=12).hexdigest()

    @property
    def ids(self) -> NDArray[np.int64]:
        """Return the ids of the uids in FAISS."""
        return np.array([faiss_id(uid) for uid in self.uids], np.int64)

    def without(self, uids: Sequence[bytes]) -> "Shard":
        """Return it without some of its rows."""
        kept = np.array([uid not in set(uids) for uid in self.uids])
        return Shard([uid for uid in self.uids if uid not in set(uids)], self.image[kept], self.text[kept])


def shards(rows: int, count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> list[Shard]:
    """Return made-up shards of about equal size, the same for the same seed."""
    image = pictures(rows, dimensions, seed, clusters=max(10, rows // 50))
    text = texts(image, seed)
    uids = [blake2b(f"{seed}/{row}".encode(), digest_size=16).digest() for row in range(rows)]
    cuts = [rows * at // count for at in range(count + 1)]
    return [Shard(uids[a:b], image[a:b], text[a:b]) for a, b in pairwise(cuts)]


def publish_set(store: Store, made: Sequence[Shard]) -> Snapshot:
    """Publish the next snapshot; shards of the last one that are among these are carried over as links."""
    before = latest(store)
    number = before.number + 1 if before is not None else 1
    have = {entry.key: entry for entry in before.shards} if before is not None else {}
    entries = []
    for at, shard in enumerate(made):
        names = shard_files(f"{number:06d}", at)
        old = have.get(shard.key)
        if old is not None and before is not None:
            for role, name in shard_files(before.folder, old.number).items():
                if role in ("parquet", "img_emb", "text_emb"):
                    store.copy(name, names[role])
            entries.append(ShardEntry(at, old.key, old.rows, old.sha256))
        else:
            entries.append(write_shard(store, shard, at, names))
    snapshot = Snapshot(
        number=number, parent=before.number if before else None, config={"clip": {}}, config_digest="-", rows_in=0,
        rows=sum(entry.rows for entry in entries), dropped={}, extracts=[], layouts=[], parts=[], shards=entries, clip=CLIP,
    )  # fmt: skip
    publish(store, snapshot)
    return snapshot


def write_shard(store: Store, shard: Shard, number: int, names: dict[str, str]) -> ShardEntry:
    rows = len(shard.uids)
    keys = [uid.hex() for uid in shard.uids]
    domains = [f"site{int(key[:2], 16) % 20}.example" for key in keys]
    table = pa.table(
        {
            "key": keys,
            "url": [f"https://{domain}/{key}.jpg" for domain, key in zip(domains, keys, strict=True)],
            "caption": [f"a picture called {key[:6]}" for key in keys],
            "page_url": pa.array([None] * rows, pa.string()),
            "domain": domains,
            "width": pa.array([200 + int(key[2:4], 16) for key in keys], pa.int32()),
            "height": pa.array([300] * rows, pa.int32()),
            "clip_cos": pa.array(np.sum(shard.image.astype(np.float32) * shard.text, axis=1), pa.float32()),
            "shard_offset": pa.array(np.arange(rows) * 4096, pa.int64()),
            "shard_bytes": pa.array([4096] * rows, pa.int64()),
            "status": ["success"] * rows,
            "error_message": pa.array([None] * rows, pa.string()),
        }
    )
    with store.scratch() as scratch:
        pq.write_table(table, scratch / "parquet", **PARQUET)
        for role, vectors in (("img_emb", shard.image), ("text_emb", shard.text)):
            with (scratch / role).open("wb") as out:
                np.save(out, vectors)
        digests = {role: of_file(scratch / role).sha256 for role in ("parquet", "img_emb", "text_emb")}
        for role in digests:
            store.put(scratch / role, names[role])
    return ShardEntry(number, shard.key, rows, digests)


def blank(store: Store, uids: Iterable[bytes]) -> None:
    """Blank samples in all shards of a local store, as `tamis optout apply` does before it turns to the index."""
    keys = {uid.hex() for uid in uids}
    for number in numbers(store):
        for entry in read(store, number).shards:
            paths = {role: store.local(name) for role, name in shard_files(f"{number:06d}", entry.number).items()}
            sidecar = paths["parquet"]
            assert sidecar is not None
            held = pq.read_table(sidecar, columns=["key"])["key"].to_pylist()
            rows = [row for row, key in enumerate(held) if key in keys]
            if rows:
                with sidecar.open("rb") as source:
                    blank_table(source, sidecar.with_suffix(".new"), rows, "sidecar")
                sidecar.with_suffix(".new").replace(sidecar)
                for role in ("img_emb", "text_emb"):
                    blank_array(paths[role], rows)  # type: ignore[arg-type]


def small_kinds(monkeypatch: pytest.MonkeyPatch, exact_rows: int = 500) -> None:
    """Let an index of a thousand rows be of the kinds that are for millions."""
    monkeypatch.setattr(kinds, "EXACT_ROWS", exact_rows)
    monkeypatch.setattr(measure, "QUESTIONS", 100)


KINDS = {
    "exact": Options(),
    "fast scan": Options(memory_bytes=2 * 110_000, recall_frac=0.9),
    "whole vectors": Options(recall_frac=0.995),
    "bits on disk": Options(memory_bytes=2 * 40_000, recall_frac=0.9),
}
"""Options that give each kind for two thousand rows of 32 numbers."""
