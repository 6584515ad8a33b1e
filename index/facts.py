"""Facts of samples by place: one Arrow file a shard, not compressed, so that a row is read where it lies in mapped memory.

Measured (tests/bench/bench_facts.py): Arrow answers a hundred scattered ids in less than a millisecond.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.conditions import Condition, satisfied
from index.mapped import Files
from pipeline.erasure.blank import FORMS, blank_rows
from pipeline.errors import FormatError
from pipeline.ids import faiss_id
from pipeline.pack import ERASED, shard_files
from pipeline.store import Store

Ids = NDArray[np.int64]
MISPLACED: Final = (
    "the index's table of places names rows that are not where it says; `tamis index build` makes it anew"
)


def of_sidecar(store: Store, folder: str, number: int) -> pa.Table:
    """Return the facts of a shard: its sidecar's columns with the row's id in front, null where the row is erased."""
    with store.open(shard_files(folder, number)["parquet"]) as handle:
        table = pq.read_table(handle)
    living = pc.not_equal(table["status"], ERASED).to_pylist()
    keys = table["key"].to_pylist()
    ids = [faiss_id(bytes.fromhex(key)) if there else None for key, there in zip(keys, living, strict=True)]
    return table.add_column(0, "id", pa.array(ids, pa.int64())).combine_chunks()


def without(store: Store, name: str, keys: pa.Array) -> pa.Table:
    """Return stored facts with the rows of some keys blanked as an erasure blanks those of the sidecar."""
    table = pa.ipc.open_file(pa.BufferReader(store.read(name))).read_all()
    rows = np.flatnonzero(pc.is_in(table["key"], value_set=keys).to_numpy())
    blank = io.BytesIO()
    # a null of Arrow's may still hide the value that was there; Parquet keeps none
    pq.write_table(blank_rows(table, rows, FORMS["sidecar"]), blank)
    return pq.read_table(blank).combine_chunks()


def write(table: pa.Table, path: Path) -> None:
    """Write facts as one record batch."""
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))


class Facts:
    """The facts of a snapshot's shards, by place (position of the shard, row)."""

    def __init__(self, files: Files, names: Sequence[str]) -> None:
        self._files, self._names = files, names
        self._batches: list[pa.RecordBatch | None] = [None] * len(names)

    def shard(self, at: int) -> pa.RecordBatch:
        """Return the facts of a shard; FormatError when its file is damaged."""
        found = self._batches[at]
        if found is None:
            name = self._names[at]
            try:
                found = pa.ipc.open_file(self._files.buffer(name)).get_batch(0)
                found.schema.field("id")
            except (pa.ArrowException, KeyError, OSError) as error:
                raise FormatError(f"{name}: {error}; `tamis index verify` tells more") from error
            self._batches[at] = found
        return found

    def close(self) -> None:
        """Let go of the mappings."""
        self._batches = [None] * len(self._names)

    @property
    def schema(self) -> pa.Schema:
        """Return the columns there are, `id` first."""
        return self.shard(0).schema if self._names else pa.schema([pa.field("id", pa.int64())])

    def rows(self, places: NDArray[np.int32], ids: Ids, columns: Sequence[str]) -> pa.Table:
        """Return the rows at places i32[N,2], in their order; FormatError where one is not that of its id, so that a damaged
        table of places never shows another row's facts. An erased row has no id and is nobody's.
        """
        schema = pa.schema([self.schema.field(name) for name in columns])
        if len(places) == 0:
            return schema.empty_table()
        narrow: dict[int, tuple[pa.RecordBatch, Ids]] = {}
        pieces = []
        for (shard, row), id_ in zip(places.tolist(), ids.tolist(), strict=True):
            if shard not in narrow:
                narrow[shard] = self._narrow(shard, columns), _ids(self.shard(shard))
            batch, held = narrow[shard]
            if not 0 <= row < len(held) or (held[row] != id_ and self.shard(shard)["id"][row].is_valid):
                raise FormatError(MISPLACED)
            pieces.append(batch.slice(row, 1))  # no kernel call a shard: `take` costs five times as much
        try:
            return pa.Table.from_batches(pieces, schema).combine_chunks()
        except pa.ArrowException as error:
            raise FormatError(f"{self._names[0]} and others: {error}; `tamis index verify` tells more") from error

    def _narrow(self, at: int, columns: Sequence[str]) -> pa.RecordBatch:
        if not 0 <= at < len(self._names):
            raise FormatError(MISPLACED)
        try:
            return self.shard(at).select(list(columns))
        except KeyError as error:
            raise FormatError(f"{self._names[at]}: no column {error}; `tamis index verify` tells more") from error

    def ids(self) -> list[Ids]:
        """Return the ids of each shard's rows; -1 where the row is erased."""
        return [pc.fill_null(self.shard(at)["id"], -1).to_numpy() for at in range(len(self._names))]

    def matching(self, where: Sequence[Condition]) -> Ids:
        """Return the sorted ids of the rows that satisfy all conditions; InputError names an unknown column or a wrong value."""
        found = []
        for at in range(len(self._names)):
            batch = self.shard(at)
            mask = satisfied(batch, where) & pc.is_valid(batch["id"]).to_numpy(zero_copy_only=False)
            found.append(batch["id"].filter(pa.array(mask)).to_numpy())
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def _ids(batch: pa.RecordBatch) -> Ids:
    """Return the ids as they lie in memory, anything where they are null."""
    column = batch["id"]
    values = column.buffers()[1]
    found: Ids = np.frombuffer(values, np.int64)[column.offset : column.offset + len(column)]
    return found
