"""Which shard of which snapshot a row is in, and where there; answered from records, so for removed shards too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import FormatError
from pipeline.pack import cut, shard_files
from pipeline.snapshot import PartEntry, Snapshot
from pipeline.stage import Part, find
from pipeline.store import Store

Wanted = Mapping[str, frozenset[bytes]]
"""Key of a candidates part → uids in it."""


@dataclass
class Reading:
    """What was read to give an answer."""

    files: int = 0
    rows: int = 0

    def add(self, rows: int = 0) -> None:
        """Count a file of which so many rows were read."""
        self.files, self.rows = self.files + 1, self.rows + rows

    def to_json(self) -> dict[str, int]:
        """Return it as JSON values."""
        return {"files": self.files, "rows": self.rows}


@dataclass(frozen=True)
class Spot:
    """A row's place in a snapshot's shards."""

    snapshot: int
    shard: int
    row: int  # in the shard, its sidecar and its embeddings


@dataclass
class Records:
    """Commit records of decisions, each read once however many snapshots name it."""

    store: Store
    reading: Reading = field(default_factory=Reading)
    _parts: dict[str, Part] = field(default_factory=dict)

    def decide(self, entry: PartEntry) -> Part:
        """Return the record of an entry's decisions."""
        key = entry.stages["decide"][-1]
        if key not in self._parts:
            part = find(self.store, "decide", key)
            if part is None:
                raise FormatError(f"{self.store.uri(f'decide/{key}.json')}: missing, though a snapshot names it")
            self._parts[key] = part
            self.reading.add()
        return self._parts[key]

    def decisions(self, entry: PartEntry) -> pa.Table:
        """Return the decisions of a part: uid, reason, duplicate_of, sorted by uid."""
        table = self.decide(entry).table(self.store)
        self.reading.add(table.num_rows)
        return table


def kept_of(table: pa.Table, uids: Iterable[bytes]) -> dict[bytes, int]:
    """Return uid → its number among the kept rows of a part's decisions, for those that are kept."""
    kept = table.filter(pc.is_null(table["reason"]))["uid"].combine_chunks()
    asked = sorted(uids)
    at = pc.index_in(pa.array(asked, pa.binary(16)), value_set=kept).to_pylist()
    return {uid: number for uid, number in zip(asked, at, strict=True) if number is not None}


def holds_any(records: Records, snapshot: Snapshot, wanted: Wanted) -> bool:
    """Tell whether a snapshot packs any of the uids."""
    entries = (entry for entry in snapshot.parts if entry.candidates in wanted)
    return any(kept_of(records.decisions(entry), wanted[entry.candidates]) for entry in entries)


def spots(records: Records, snapshot: Snapshot, wanted: Wanted) -> dict[bytes, Spot]:
    """Return uid → place, for the uids that a snapshot packs.

    Shards are cut by the counts of kept rows alone, so the counts in the decisions' records give the shard again.
    """
    kept: dict[int, dict[bytes, int]] = {}
    for at, entry in enumerate(snapshot.parts):
        if entry.candidates in wanted and (mine := kept_of(records.decisions(entry), wanted[entry.candidates])):
            kept[at] = mine
    if not kept:
        return {}
    shards = _cut(records, snapshot)
    found: dict[bytes, Spot] = {}
    for shard, pieces in enumerate(shards):
        row = 0
        for at, low, high in pieces:
            for uid, number in kept.get(at, {}).items():
                if low <= number < high:
                    found[uid] = Spot(snapshot.number, snapshot.shards[shard].number, row + number - low)
            row += high - low
    return found


def _cut(records: Records, snapshot: Snapshot) -> list[list[tuple[int, int, int]]]:
    decided = [records.decide(entry) for entry in snapshot.parts]
    counts = [(part.rows, int(part.facts["kept_bytes"])) for part in decided]
    pack: Mapping[str, Any] = snapshot.config["pack"]
    shards = cut(counts, int(pack["shard_samples"]), int(pack["shard_bytes"]))
    if [sum(high - low for _, low, high in pieces) for pieces in shards] != [s.rows for s in snapshot.shards]:
        raise FormatError(
            f"snapshot {snapshot.folder}: its shards were not cut as this version of tamis cuts them; ask with the version that wrote it"
        )
    return shards


def in_file(store: Store, snapshot: Snapshot, spot: Spot, reading: Reading) -> dict[str, Any]:
    """Return the files of a place, and the sample's byte range in the tar; `present` is false once the files expired."""
    names = shard_files(snapshot.folder, spot.shard)
    told: dict[str, Any] = {"file": names["tar"], "row": spot.row, "present": store.exists(names["parquet"])}
    told["embeddings"] = [names["img_emb"], names["text_emb"]]
    told["sidecars"] = [names["parquet"], names["metadata"]]
    if told["present"]:
        with store.open(names["parquet"]) as handle:
            row = _row(pq.ParquetFile(handle), spot.row, ["key", "shard_offset", "shard_bytes", "status"], reading)
        told |= {"key": row["key"], "offset": row["shard_offset"], "bytes": row["shard_bytes"]}
        told["erased"] = row["status"] != "success"
    return told


def _row(file: pq.ParquetFile, row: int, columns: Sequence[str], reading: Reading) -> dict[str, Any]:
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    group = int(np.searchsorted(ends, row, side="right"))
    table = file.read_row_group(group, columns=list(columns))
    reading.add(table.num_rows)
    found: dict[str, Any] = table.slice(row - int(ends[group] - sizes[group]), 1).to_pylist()[0]
    return found


def wanted_of(uids: Mapping[bytes, Iterable[str]]) -> Wanted:
    """Turn uid → parts around into part → uids."""
    out: dict[str, set[bytes]] = {}
    for uid, parts in uids.items():
        for part in parts:
            out.setdefault(part, set()).add(uid)
    return {part: frozenset(members) for part, members in out.items()}
