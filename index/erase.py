"""Take samples out of every index of a data set, so that neither their vectors nor their rows are in any file."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.build import IndexRecord, local_copy, write
from pipeline.ids import faiss_id
from pipeline.pack import ERASED, shard_files
from pipeline.snapshot import numbers, read
from pipeline.store import Store

_FILES = ("image.faiss", "rows.parquet", "index.json")


def erase(store: Store, uids: frozenset[bytes]) -> list[str]:
    """Erase uids from the index of every snapshot and return the names of the files that held some and are written anew.

    Doing it again changes nothing and returns the same. What stays of the erased: centroids and codebooks that were learnt with them.
    """
    rewritten: list[str] = []
    keys = pa.array([uid.hex() for uid in sorted(uids)], pa.string())
    for number in numbers(store):
        base = f"index/{number:06d}"
        try:
            record = IndexRecord(**json.loads(store.read(f"{base}/index.json")))
        except FileNotFoundError:  # none yet, or a killed run left one half built: the next run builds it
            for name in _FILES:
                store.delete(f"{base}/{name}")
            continue
        if _erase(store, base, record, keys):
            rewritten += [f"{base}/{name}" for name in _FILES]
    return rewritten


def _erase(store: Store, base: str, record: IndexRecord, keys: pa.Array) -> bool:
    with store.open(f"{base}/rows.parquet") as handle:
        file = pq.ParquetFile(handle)
        held = pc.any(pc.is_in(file.read(columns=["key"])["key"], value_set=keys)).as_py()
        if not held and file.metadata.num_rows == record.rows:  # else an earlier try was stopped before the record
            return not set(record.erased).isdisjoint(keys.to_pylist())
        rows = file.read()
    rows = rows.filter(pc.invert(pc.is_in(rows["key"], value_set=keys)))
    with tempfile.TemporaryDirectory() as scratch:
        index: Any = faiss.read_index(str(local_copy(store, f"{base}/image.faiss", Path(scratch))))
    gone = np.array([faiss_id(bytes.fromhex(key)) for key in keys.to_pylist()], np.int64)
    remove(index, gone, lambda: _living(store, record.snapshot))
    erased = sorted({*record.erased, *_members(store, record.snapshot, keys)})
    write(store, base, index, rows, replace(record, rows=rows.num_rows, erased=erased))
    return True


Vectors = tuple[NDArray[np.int64], NDArray[np.float32]]


def remove(index: Any, ids: NDArray[np.int64], living: Callable[[], Iterable[Vectors]]) -> None:
    """Remove ids from an index of any kind; where the kind cannot, it is filled again with the living vectors.

    `living()` yields (ids i64[N], vectors f32[N,D]).
    """
    try:
        index.remove_ids(ids)
    except RuntimeError:  # graphs (HNSW) and some others have no way to
        index.reset()  # training is kept
        for living_ids, vectors in living():
            keep = ~np.isin(living_ids, ids)
            index.add_with_ids(np.ascontiguousarray(vectors[keep]), living_ids[keep])


def _members(store: Store, number: int, keys: pa.Array) -> list[str]:
    """Return which of the keys a snapshot has, erased ones too."""
    found: list[str] = []
    snapshot = read(store, number)
    for entry in snapshot.shards:
        with store.open(shard_files(snapshot.folder, entry.number)["parquet"]) as handle:
            have = pq.read_table(handle, columns=["key"])["key"]
        found += have.filter(pc.is_in(have, value_set=keys)).to_pylist()
    return found


def _living(store: Store, number: int) -> Iterator[Vectors]:
    snapshot = read(store, number)
    for entry in snapshot.shards:
        names = shard_files(snapshot.folder, entry.number)
        with store.open(names["parquet"]) as handle:
            table = pq.read_table(handle, columns=["key", "status"])
        there = pc.not_equal(table["status"], ERASED).to_numpy()
        with store.open(names["img_emb"]) as handle:
            vectors = np.load(handle)[there].astype(np.float32)
        ids = [faiss_id(bytes.fromhex(key)) for key in table.filter(pa.array(there))["key"].to_pylist()]
        yield np.array(ids, np.int64), vectors
