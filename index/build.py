"""The last stage: a FAISS index over a snapshot's picture vectors, with explicit ids from the uids."""

import errno
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError, InvariantError
from pipeline.ids import faiss_id
from pipeline.pack import ERASED, shard_files
from pipeline.snapshot import Snapshot
from pipeline.stage import PARQUET, sha256_file
from pipeline.store import Store, explained

EXACT_ROWS = 100_000
"""Up to here search is exact (100,000 × 512 floats: 205 MB, a few milliseconds a query)."""

_TRAIN_ROWS = 256  # per list; FAISS asks for 39 to 256


@dataclass(frozen=True)
class IndexRecord:
    """What was built, for which snapshot."""

    snapshot: int
    shard_keys: list[str]
    kind: str
    rows: int
    dimensions: int
    sha256: dict[str, str]
    clip: dict[str, Any]
    erased: list[str] = field(default_factory=list)  # uids (hex) that were in it


def folder(snapshot: Snapshot) -> str:
    """Return the folder of a snapshot's index."""
    return f"index/{snapshot.folder}"


def build(store: Store, snapshot: Snapshot) -> IndexRecord:
    """Build and commit the index of a snapshot; one that is there already is returned as it is.

    Exact inner product up to 100,000 rows, IVF-Flat beyond, both behind explicit 63-bit ids; the id table is asserted
    unique. Vectors are streamed shard by shard.
    """
    done = read_record(store, snapshot)
    keys = [entry.key for entry in snapshot.shards]
    if done is not None and done.shard_keys == keys:
        return done
    index: Any = None
    ids: list[NDArray[np.int64]] = []
    tables: list[pa.Table] = []
    for number, (vectors, table) in enumerate(_shards(store, snapshot)):
        if index is None:
            index = _empty(vectors, snapshot.rows, store, snapshot)
        shard_ids = np.array([faiss_id(bytes.fromhex(key)) for key in table["key"].to_pylist()], np.int64)
        index.add_with_ids(vectors, shard_ids)
        ids.append(shard_ids)
        tables.append(_id_table(shard_ids, table, number))
    if index is None:
        raise InputError(f"snapshot {snapshot.folder} of {store.root} is empty; nothing to index")
    all_ids = np.concatenate(ids)
    if len(np.unique(all_ids)) != len(all_ids):
        raise InvariantError("two kept samples share the first 63 bits of their uid; please report this")
    return _commit(store, snapshot, index, pa.concat_tables(tables).sort_by("id"), keys)


def _shards(store: Store, snapshot: Snapshot) -> Iterator[tuple[NDArray[np.float32], pa.Table]]:
    for entry in snapshot.shards:
        names = shard_files(snapshot.folder, entry.number)
        with store.open(names["img_emb"]) as handle:
            vectors = np.load(handle).astype(np.float32)
        with store.open(names["parquet"]) as handle:
            table = pq.read_table(handle)
        there = pc.not_equal(table["status"], ERASED)
        yield vectors[there.to_numpy()], table.filter(there)


def _empty(sample: NDArray[np.float32], rows: int, store: Store, snapshot: Snapshot) -> Any:
    dimensions = sample.shape[1]
    if rows <= EXACT_ROWS:
        return faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))
    lists = 2 ** round(math.log2(4 * math.sqrt(rows)))
    index: Any = faiss.index_factory(dimensions, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
    pieces, have = [], 0
    for vectors, _ in _shards(store, snapshot):
        pieces.append(vectors)
        have += len(vectors)
        if have >= lists * _TRAIN_ROWS:
            break
    index.train(np.concatenate(pieces)[: lists * _TRAIN_ROWS])
    index.nprobe = max(8, lists // 32)
    return index


def _id_table(ids: NDArray[np.int64], table: pa.Table, shard: int) -> pa.Table:
    columns = [
        "key",
        "url",
        "caption",
        "page_url",
        "domain",
        "width",
        "height",
        "clip_cos",
        "shard_offset",
        "shard_bytes",
    ]
    out = pa.table({"id": pa.array(ids)})
    for name in columns:
        out = out.append_column(name, table[name])
    return out.append_column("shard", pa.array(np.full(len(ids), shard, np.int32)))


def _commit(store: Store, snapshot: Snapshot, index: Any, table: pa.Table, keys: list[str]) -> IndexRecord:
    kind = "exact" if snapshot.rows <= EXACT_ROWS else f"IVF{index.nlist},Flat nprobe={index.nprobe}"
    record = IndexRecord(snapshot.number, keys, kind, table.num_rows, int(index.d), {}, dict(snapshot.clip))
    return write(store, folder(snapshot), index, table, record)


def write(store: Store, base: str, index: Any, table: pa.Table, record: IndexRecord) -> IndexRecord:
    """Write an index, its rows and, last, its record with their digests."""
    with store.scratch() as scratch, explained(f"writing {store.uri(base)}"):
        try:
            faiss.write_index(index, str(scratch / "image.faiss"))
        except RuntimeError as error:  # how FAISS tells of a full disk
            full = "No space left" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
        pq.write_table(table, scratch / "rows.parquet", row_group_size=10_000, **PARQUET)
        digests = {name: sha256_file(scratch / name) for name in ("image.faiss", "rows.parquet")}
        for name in digests:
            store.put(scratch / name, f"{base}/{name}")
    record = replace(record, sha256=digests)
    store.write(f"{base}/index.json", json.dumps(asdict(record), sort_keys=True, indent=1).encode())
    return record


def read_record(store: Store, snapshot: Snapshot) -> IndexRecord | None:
    """Return the committed record of a snapshot's index, or None."""
    try:
        return IndexRecord(**json.loads(store.read(f"{folder(snapshot)}/index.json")))
    except FileNotFoundError:
        return None


def local_copy(store: Store, name: str, scratch: Path) -> Path:
    """Return a plain file with the bytes of a stored one, for libraries that want a path."""
    path = store.local(name)
    if path is not None:
        return path
    target = scratch / name.replace("/", "_")
    target.write_bytes(store.read(name))
    return target
