"""What build and sync have in common: facts and places of a snapshot, files put into its index folder, work spread over a cluster."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from index import facts
from index.facts import Facts
from index.mapped import Files
from index.places import Places
from index.record import PLACES, IndexRecord, facts_name, files_below, folder
from pipeline.engine import Engine
from pipeline.pieces import whole_file, whole_stored
from pipeline.snapshot import Snapshot
from pipeline.store import Store

Ids = NDArray[np.int64]
T = TypeVar("T")
Before = tuple[Snapshot, IndexRecord] | None


def spread(engine: Engine | None, fn: Callable[..., T], jobs: Iterable[tuple[Any, ...]]) -> list[T]:
    """Run `fn(*job)` for every job, on the cluster where there is one, and return the results in their order."""
    return engine.map(fn, jobs) if engine is not None else [fn(*job) for job in jobs]


def put(store: Store, draft: Path, base: str, name: str, digests: dict[str, str]) -> None:
    """Move a finished file into an index folder and note its digest."""
    digests[name] = whole_file(draft)
    store.put(draft, f"{base}/{name}")


def carry(store: Store, before: tuple[Snapshot, IndexRecord], base: str, name: str, digests: dict[str, str]) -> None:
    """Give a file of an earlier index its name in this one."""
    store.copy(f"{folder(before[0])}/{name}", f"{base}/{name}")
    digests[name] = before[1].sha256[name]


def whole(store: Store, base: str, record: IndexRecord) -> bool:
    """Tell whether every file of an index is there with the bytes its record names; reads all of them."""
    return all(_as_recorded(store, f"{base}/{name}", sha256) for name, sha256 in record.sha256.items())


def _to_be_had(store: Store, before: tuple[Snapshot, IndexRecord], name: str, reread: bool) -> bool:
    sha256 = before[1].sha256.get(name)
    return sha256 is not None and (not reread or _as_recorded(store, f"{folder(before[0])}/{name}", sha256))


def _as_recorded(store: Store, name: str, sha256: str) -> bool:
    try:
        return whole_stored(store, name) == sha256
    except (FileNotFoundError, IsADirectoryError):
        return False


def write_facts(
    store: Store, snapshot: Snapshot, before: Before, engine: Engine | None, *, reread: bool = False
) -> dict[str, str]:
    """Write the facts of all shards, carry those of shards that an earlier index has, and return name → digest.

    With `reread` an earlier file is carried only when its bytes are those of its record: a build mends, a sync is quick.
    """
    base = folder(snapshot)
    digests: dict[str, str] = {}
    fresh = []
    for entry in snapshot.shards:
        name = facts_name(entry.key)
        if before is not None and _to_be_had(store, before, name, reread):
            carry(store, before, base, name, digests)
        else:
            fresh.append((store, snapshot.folder, entry.number, name))
    return digests | dict(spread(engine, _write_facts, fresh))


def _write_facts(store: Store, snapshot_folder: str, number: int, name: str) -> tuple[str, str]:
    digests: dict[str, str] = {}
    with store.scratch() as scratch:
        facts.write(facts.of_sidecar(store, snapshot_folder, number), scratch / "facts")
        put(store, scratch / "facts", f"index/{snapshot_folder}", name, digests)
    return name, digests[name]


def write_places(store: Store, snapshot: Snapshot, digests: dict[str, str]) -> list[Ids]:
    """Write where each id is, from the facts, and return each shard's ids, -1 for erased rows."""
    base = folder(snapshot)
    files = Files(store)
    try:
        of_shards = Facts(files, [f"{base}/{facts_name(entry.key)}" for entry in snapshot.shards]).ids()
        with store.scratch() as scratch:
            Places.of_shards(of_shards).write(scratch / PLACES)
            put(store, scratch / PLACES, base, PLACES, digests)
        return [np.array(one) for one in of_shards]
    finally:
        files.close()


def remove_strangers(store: Store, base: str, named: Sequence[str]) -> None:
    """Remove files of an index folder that its record does not name: an earlier build's, or a killed one's."""
    kept = {f"{base}/{name}" for name in (*named, "index.json")}
    for name in files_below(store, base):
        if name not in kept:
            store.delete(name)
