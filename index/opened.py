"""An opened index of one snapshot: vectors by id, facts by id, neighbours by vector. Ids everywhere, never positions."""

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.build import folder, local_copy, read_record
from index.conditions import Condition, satisfied
from index.query import Modality
from pipeline.errors import InputError, InvariantError
from pipeline.pack import read_members, shard_files
from pipeline.snapshot import Snapshot
from pipeline.store import Store

F32 = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """The neighbours of one vector, nearest first: ids i64[K] and cosines f32[K]."""

    ids: Ids
    cos: F32


class Opened:
    """The index of a snapshot. Several threads may ask at once; `close` when no request uses it any more."""

    def __init__(self, store: Store, snapshot: Snapshot) -> None:
        self.store, self.snapshot = store, snapshot
        record = read_record(store, snapshot)
        if record is None:
            raise InputError(f"{store.root}: snapshot {snapshot.folder} has no index; run `tamis index sync`")
        self.record = record
        base = folder(snapshot)
        with tempfile.TemporaryDirectory() as scratch:
            self._index: Any = faiss.read_index(str(local_copy(store, f"{base}/image.faiss", Path(scratch))))
        with store.open(f"{base}/rows.parquet") as handle:
            self._rows = pq.read_table(handle).combine_chunks()
        self._ids: Ids = self._rows["id"].to_numpy()

    @property
    def rows(self) -> int:
        """Return how many samples can be found."""
        return int(self._rows.num_rows)

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """Return the facts that are kept of each sample, by name."""
        return {one.name: one.type for one in self._rows.schema if one.name != "id"}

    def near(self, vectors: F32, k: int, *, modality: Modality = "image", among: Ids | None = None) -> list[Found]:
        """Return for each vector f32[Q,D] of unit norm its at most k nearest, among the given sorted ids where there are any."""
        if modality != "image":
            raise InputError("this index holds pictures only")
        chosen: Any = None if among is None else faiss.SearchParameters(sel=faiss.IDSelectorBatch(among))  # type: ignore[call-arg]
        cosines, ids = self._index.search(np.ascontiguousarray(vectors, np.float32), min(k, self.rows), params=chosen)
        return [Found(one[one >= 0], cos[one >= 0]) for one, cos in zip(ids, cosines, strict=True)]

    def vectors(self, ids: Ids, modality: Modality = "image") -> F32:
        """Return the stored vectors f32[N,D] in the order of the ids."""
        if modality != "image":
            raise InputError("this index holds pictures only")
        return np.stack([self._index.reconstruct(int(one)) for one in ids]).astype(np.float32)

    def facts(self, ids: Ids, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of the ids, in their order; an id the snapshot does not hold is an InvariantError."""
        at = np.searchsorted(self._ids, ids)
        if not self.having(ids).all():
            raise InvariantError(f"snapshot {self.snapshot.folder}: asked for a row that it does not hold")
        rows = self._rows.take(pa.array(at))
        return rows if columns is None else rows.select(list(columns))

    def having(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell of each id whether the snapshot holds it."""
        at = np.minimum(np.searchsorted(self._ids, ids), max(self.rows - 1, 0))
        return np.asarray(self._ids[at] == ids if self.rows else np.zeros(len(ids), np.bool_))

    def matching(self, where: Sequence[Condition]) -> Ids:
        """Return the sorted ids of the rows that satisfy all conditions; InputError names an unknown column."""
        return self._ids[satisfied(self._rows, where)]

    def pictures(self, ids: Ids) -> list[bytes | None]:
        """Return the stored pictures, encoded; None where one was erased while we looked."""
        return [self._picture(row) for row in self.facts(ids, ["shard", "shard_offset", "shard_bytes"]).to_pylist()]

    def _picture(self, row: dict[str, Any]) -> bytes | None:
        name = shard_files(self.snapshot.folder, self.snapshot.shards[row["shard"]].number)["tar"]
        with self.store.open(name) as handle:
            handle.seek(row["shard_offset"])
            piece = handle.read(row["shard_bytes"])
        try:
            members = read_members(piece + b"\0" * 1024)
        except tarfile.TarError:
            return None
        return next((data for name, data in members.items() if not name.endswith((".txt", ".json"))), None)

    def close(self) -> None:
        """Give back files and memory."""
