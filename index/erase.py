"""Take samples out of every index of a data set, so that neither their vectors nor their facts are in any file."""

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index import facts, segments
from index.build import BUILDING
from index.facts import Facts
from index.mapped import Files
from index.places import Places
from index.record import PLACES, Erased, IndexRecord, Segment, complete, facts_name, files_below, folder, read_record
from pipeline.errors import FormatError
from pipeline.ids import faiss_id
from pipeline.pieces import whole_stored
from pipeline.snapshot import Snapshot, numbers, read
from pipeline.store import Store, explained

JOURNAL = "index/erasing.json"
"""Which files of which snapshots held whom: kept while an erasure is under way, so that one that was stopped tells the same."""

_HASHED_TOGETHER = 4

Held = dict[str, list[str]]
"""Name in an index folder → uids (hex) that the file held."""


def erase(store: Store, uids: frozenset[bytes]) -> list[str]:
    """Erase uids from the index of every snapshot and return the names of the files that held some and were changed.

    Doing it again changes nothing and returns the same. What stays of the erased: centroids and codebooks that were learnt with
    them. Indexes without a record, damaged ones and those of an earlier version are removed whole; `tamis index sync` builds them anew.
    """
    keys = sorted(uid.hex() for uid in uids)
    with explained(f"erasing from the indexes of {store.root}"):
        store.delete_folder(BUILDING)
        indexes = _indexes(store)
        journal = _read_journal(store)
        if journal:  # what an erasure that was stopped had found before it changed anything
            _carry_out(store, indexes, journal)
            indexes = _indexes(store)
        found = _held_by_each(store, indexes, keys)
        if found:
            store.write(JOURNAL, json.dumps(found, sort_keys=True, indent=1).encode())
            _carry_out(store, indexes, found)
    return _told(store, keys)


def _indexes(store: Store) -> dict[str, tuple[Snapshot, IndexRecord]]:
    """Return folder → snapshot and record of every index; files of what is none are removed."""
    found = {}
    for number in numbers(store):
        snapshot = read(store, number)
        try:
            record = read_record(store, snapshot)
        except FormatError:
            record = None
        if record is not None and complete(store, snapshot, record):
            found[folder(snapshot)] = (snapshot, record)
        else:
            _remove(store, folder(snapshot))
    return found


def _remove(store: Store, base: str) -> None:
    """Remove an index, its record first, so that what is left after a stop is none."""
    store.delete(f"{base}/index.json")
    for name in files_below(store, base):
        store.delete(name)


def _held_by_each(
    store: Store, indexes: dict[str, tuple[Snapshot, IndexRecord]], keys: Sequence[str]
) -> dict[str, Held]:
    """Return folder → which of its files hold which uids; an index that cannot be read cannot be searched and is removed."""
    found = {}
    for base, (_, record) in list(indexes.items()):
        try:
            held = _held(store, base, record, keys)
        except FormatError:
            _remove(store, base)
            del indexes[base]
            continue
        if held:
            found[base] = held
    return found


def _held(store: Store, base: str, record: IndexRecord, keys: Sequence[str]) -> Held:
    """Return which files of an index hold which of the uids."""
    by_id = {faiss_id(bytes.fromhex(key)): key for key in keys}
    gone = np.array(sorted(by_id), np.int64)
    held: Held = {}

    def note(name: str, ids: NDArray[np.int64]) -> None:
        there = ids[segments.among(ids, gone)]
        if len(there):
            held[name] = sorted(by_id[one] for one in set(there.tolist()))

    files = Files(store)
    names = [facts_name(key) for key in record.shard_keys]
    for name, ids in zip(names, Facts(files, [f"{base}/{name}" for name in names]).ids(), strict=True):
        note(name, ids)
    for side in record.sides.values():
        for one in side.segments:
            note(one.name, segments.ids_of(segments.read(files.path(f"{base}/{one.name}"))))
    note(PLACES, Places.read(files, base).ids)
    files.close()
    return held


def _read_journal(store: Store) -> dict[str, Held]:
    try:
        found: dict[str, Held] = json.loads(store.read(JOURNAL))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise FormatError(f"{store.uri(JOURNAL)}: not a journal; delete it and erase again ({error})") from error
    return found


def _carry_out(store: Store, indexes: Mapping[str, tuple[Snapshot, IndexRecord]], found: Mapping[str, Held]) -> None:
    """Change every file, those that several snapshots share once, then write the records."""
    wanted: dict[tuple[str, str], list[str]] = defaultdict(list)  # (name, recorded digest) → folders
    gone: set[str] = set()
    found = {base: _still(indexes[base][1], held) for base, held in found.items() if base in indexes}
    for base, held in sorted(found.items()):
        for name, uids in held.items():
            wanted[name, indexes[base][1].sha256[name] if name != PLACES else base].append(base)
            gone.update(uids)
    ids = np.array(sorted(faiss_id(bytes.fromhex(key)) for key in gone), np.int64)
    for (name, _), bases in wanted.items():
        first = bases[0]
        if name == PLACES:
            _places(store, first, ids)
        elif name.startswith("facts/"):
            _facts(store, f"{first}/{name}", gone)
        else:
            _segment(store, f"{first}/{name}", ids)
        for other in bases[1:]:
            store.copy(f"{first}/{name}", f"{other}/{name}")
    for base, held in sorted(found.items()):
        _record(store, base, indexes[base][1], held)
    store.delete(JOURNAL)


def _still(record: IndexRecord, held: Held) -> Held:
    """Leave out files that a build since the journal has replaced; it read shards that were erased already."""
    return {name: uids for name, uids in held.items() if name in record.sha256}


def _places(store: Store, base: str, ids: NDArray[np.int64]) -> None:
    files = Files(store)
    with store.scratch() as scratch:
        Places.read(files, base).without(ids).write(scratch / PLACES)
        store.put(scratch / PLACES, f"{base}/{PLACES}")
    files.close()


def _facts(store: Store, name: str, gone: set[str]) -> None:
    with store.scratch() as scratch:
        facts.write(facts.without(store, name, pa.array(sorted(gone), pa.string())), scratch / "facts")
        store.put(scratch / "facts", name)


def _segment(store: Store, name: str, ids: NDArray[np.int64]) -> None:
    with store.scratch() as scratch:
        path, remote = store.local(name), not store.is_local
        if path is None:
            path = scratch / "object"
            with store.open(name) as source, path.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 22)
        if segments.wipe(path, ids, scratch / "draft"):
            store.put(scratch / "draft", name)
        elif remote:
            store.put(path, name)


def _record(store: Store, base: str, record: IndexRecord, held: Held) -> None:
    """Write the record anew: digests, rows, wiped places, and whom the folder held where."""
    files = Files(store)
    sides = {}
    for modality, side in record.sides.items():
        sides[modality] = replace(
            side, segments=[_counted(files.path(f"{base}/{one.name}"), one) for one in side.segments]
        )
    rows = len(Places.read(files, base).ids)
    files.close()
    changed = [name for name in record.sha256 if name in held]
    with ThreadPoolExecutor(_HASHED_TOGETHER) as pool:  # hashing lets go of Python's lock
        digests = dict(zip(changed, pool.map(lambda name: whole_stored(store, f"{base}/{name}"), changed), strict=True))
    fresh = replace(
        record, sides=sides, rows=rows, sha256={**record.sha256, **digests}, erased=_joined(record.erased, held)
    )
    store.write(f"{base}/index.json", fresh.to_json())


def _counted(path: Path, segment: Segment) -> Segment:
    ids = segments.ids_of(segments.read(path))
    return replace(segment, rows=len(ids), bytes=path.stat().st_size, wiped=int(np.count_nonzero(ids < 0)))


def _joined(before: Sequence[Erased], held: Held) -> list[Erased]:
    """Return one entry for each set of files, in one order whatever the order of the erasures."""
    where: dict[str, set[str]] = defaultdict(set)
    for one in before:
        for key in one.uids:
            where[key].update(one.files)
    for name, keys in held.items():
        for key in keys:
            where[key].add(name)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key in sorted(where):
        groups[tuple(sorted(where[key]))].append(key)
    return [Erased(list(files), groups[files]) for files in sorted(groups)]


def _told(store: Store, keys: Sequence[str]) -> list[str]:
    """Return the files that held any of the uids, as the records remember."""
    wanted, names = set(keys), set()
    for base, (_, record) in _indexes(store).items():
        for one in record.erased:
            if not wanted.isdisjoint(one.uids):
                names |= {f"{base}/{name}" for name in (*one.files, "index.json")}
    return sorted(names)
