"""Where published shards hold samples of a uid: every snapshot folder, old ones too, found by the sidecars' keys."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.erasure.parts import Found
from pipeline.erasure.plan import Task
from pipeline.erasure.tar_erase import merged
from pipeline.pack import ERASED, read_record, record_name, shard_files
from pipeline.snapshot import ShardEntry, numbers, read
from pipeline.store import Store


def find_shards(store: Store, uids: Iterable[bytes], found: Found) -> None:
    """Note the samples in every snapshot folder; folders that were never published go whole."""
    keys = pa.array([uid.hex() for uid in uids], pa.string())
    published = {f"{number:06d}" for number in numbers(store)}
    for base in store.folders("shards"):
        folder = base.rsplit("/", 1)[1]
        if folder not in published:
            found.removed += unpublished(store, folder)
            continue
        for name in store.names(base):
            if name.endswith(".parquet"):
                _shard(store, folder, int(name.rsplit("/", 1)[1].removesuffix(".parquet")), keys, found)
    found.tasks[:] = _joined(store, found.tasks)


def unpublished(store: Store, folder: str) -> list[str]:
    """Return the files of a snapshot that a killed run began and did not publish; the next run packs them anew."""
    places = [f"shards/{folder}", f"index/{folder}", *store.folders(f"index/{folder}")]
    places += [f"embeddings/{folder}/{kind}" for kind in ("img_emb", "text_emb", "metadata")]
    return [name for place in places for name in store.names(place)]


def _shard(store: Store, folder: str, number: int, keys: pa.Array, found: Found) -> None:
    names = shard_files(folder, number)
    with store.open(names["parquet"]) as handle:
        file = pq.ParquetFile(handle)
        mask = pc.is_in(file.read(columns=["key"])["key"], value_set=keys)
        rows = np.flatnonzero(mask.to_numpy())
        if not len(rows):
            return
        table = file.read(columns=["status", "shard_offset", "shard_bytes"])
    regions = list(zip(table["shard_offset"].to_pylist(), table["shard_bytes"].to_pylist(), strict=True))
    before = np.flatnonzero(pc.equal(table["status"], ERASED).to_numpy())
    runs = merged([regions[i] for i in rows], [regions[i] for i in before])
    entry, record = _entry(store, folder, number), record_name(folder, number)
    at = rows.tolist()
    found.counts["samples"] += len(at)

    def task(role: str, kind: str, form: str, **what: object) -> Task:
        return Task(kind, form, [names[role]], entry.sha256[role], record, role, **what)  # type: ignore[arg-type]

    found.tasks.append(task("tar", "tar", "shard", runs=runs))
    found.tasks.append(task("parquet", "table", "sidecar", rows=at))
    found.tasks.append(task("metadata", "table", "metadata", rows=at))
    found.tasks += [task(role, "array", "shard", rows=at) for role in ("img_emb", "text_emb")]


def _entry(store: Store, folder: str, number: int) -> ShardEntry:
    record = read_record(store, folder, number)
    if record is not None:
        return record[0]
    return next(entry for entry in read(store, int(folder)).shards if entry.number == number)


def _joined(store: Store, tasks: Sequence[Task]) -> list[Task]:
    """Make one task of those whose files are one file under several names (hard links of snapshots)."""
    joined: dict[object, Task] = {}
    for number, task in enumerate(tasks):
        path = store.local(task.names[0])
        status = path.stat() if path is not None else None
        key: object = (status.st_dev, status.st_ino) if status is not None else number
        have = joined.get(key)
        joined[key] = task if have is None else replace(have, names=[*have.names, *task.names])
    return list(joined.values())
