"""An opened index of one snapshot: vectors by id, facts by id, neighbours by vector. Ids everywhere, never positions.

Opening maps files and reads none of the rows; memory is what FAISS holds of a kind (index.kinds) and what the kernel keeps of
mapped pages as long as it has room for them.
"""

import tarfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.chosen import Chosen
from index.conditions import Condition
from index.facts import Facts
from index.mapped import Files
from index.places import Places
from index.query import Modality
from index.ranking import Found as Found
from index.ranking import Ranking
from index.record import facts_name, folder, read_record, require_record
from index.vectors import Vectors
from pipeline.errors import FormatError, InvariantError
from pipeline.ids import faiss_id
from pipeline.pack import read_members, shard_files
from pipeline.snapshot import Snapshot
from pipeline.store import Store

F32 = NDArray[np.float32]
Ids = NDArray[np.int64]
_OWN = ("id", "shard")  # facts that follow from the place


class Opened:
    """The index of a snapshot. Several threads may ask at once; `close` when no request uses it any more."""

    def __init__(self, store: Store, snapshot: Snapshot) -> None:
        self.store, self.snapshot = store, snapshot
        self.record = record = require_record(store, snapshot)
        base = folder(snapshot)
        self._files = Files(store)
        try:
            self._places = Places.read(self._files, base)
            self._facts = Facts(self._files, [f"{base}/{facts_name(key)}" for key in record.shard_keys])
            self._vectors = Vectors(self._files, snapshot, record.dimensions)
            self._rankings = {
                modality: Ranking(self._files, base, side, modality, self._places, self._vectors)
                for modality, side in record.sides.items()
            }
        except FileNotFoundError as error:
            self._files.close()
            raise FormatError(f"{error.filename}: missing; `tamis index build` makes it anew") from error

    @property
    def rows(self) -> int:
        """Return how many samples can be found."""
        return len(self._places.ids)

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """Return the facts that are kept of each sample, by name."""
        return {one.name: one.type for one in self._facts.schema if one.name != "id"}

    def current(self) -> bool:
        """Tell whether what is open is still what is stored; an erasure changes files under an opened index."""
        return read_record(self.store, self.snapshot) == self.record

    def near(self, vectors: F32, k: int, *, modality: Modality = "image", among: Chosen | None = None) -> list[Found]:
        """Return for each vector f32[Q,D] of unit norm its at most k nearest, among chosen ids where there are any."""
        return self._rankings[modality].near(vectors, k, among)

    def chosen(self, ids: Ids) -> Chosen:
        """Return sorted ids as `near` takes them, those that the snapshot holds; worth keeping for the next search."""
        return Chosen(ids[self.having(ids)], self._places.ids)

    def with_effort(self, modality: Modality, nprobe: int, depth: int) -> Ranking:
        """Return what answers for a modality, with other lists and proposals than were published; closed with this index."""
        return self._rankings[modality].with_effort(nprobe, depth)

    def vectors(self, ids: Ids, modality: Modality = "image") -> F32:
        """Return the stored vectors f32[N,D] in the order of the ids; an id the snapshot does not hold is an InvariantError."""
        return self._vectors.rows(modality, self._at(ids))

    def facts(self, ids: Ids, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the rows of the ids, in their order; an id the snapshot does not hold is an InvariantError.

        Beside the columns there are `id` and `shard`, the position of the shard in the snapshot.
        """
        at = self._at(ids)
        wanted = list(columns) if columns is not None else [*self._facts.schema.names, "shard"]
        table = self._facts.rows(at, np.asarray(ids, np.int64), [name for name in wanted if name not in _OWN])
        own = {"id": pa.array(np.asarray(ids, np.int64)), "shard": pa.array(at[:, 0])}
        for number, name in enumerate(wanted):
            if name in _OWN:
                table = table.add_column(number, name, own[name]) if table.num_columns else pa.table({name: own[name]})
        return table

    def _at(self, ids: Ids) -> NDArray[np.int32]:
        ids = np.asarray(ids, np.int64)
        if not self.having(ids).all():
            raise InvariantError(f"snapshot {self.snapshot.folder}: asked for a row that it does not hold")
        return self._places.of(ids)

    def having(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell of each id whether the snapshot holds it."""
        return self._places.having(np.asarray(ids, np.int64))

    def matching(self, where: Sequence[Condition]) -> Ids:
        """Return the sorted ids of the rows that satisfy all conditions; InputError names an unknown column or a wrong value."""
        key = next((one.value for one in where if (one.column, one.op) == ("key", "=")), None)
        if key is None:
            return self._facts.matching(where)
        try:
            ids = np.array([faiss_id(bytes.fromhex(str(key)))], np.int64)
        except ValueError:
            return np.empty(0, np.int64)
        return ids[self.having(ids)] if len(where) == 1 and self._is(ids, str(key)) else self._facts.matching(where)

    def _is(self, ids: Ids, key: str) -> bool:
        """Tell whether the sample of an id has that very uid: an id is its first 63 bits."""
        return not self.having(ids).all() or self.facts(ids, ["key"])["key"].to_pylist() == [key]

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
        """Give back files and memory; nothing may be asked afterwards."""
        self._rankings.clear()
        self._vectors.close()
        self._facts.close()
        self._files.close()
