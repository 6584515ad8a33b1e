"""The registry's entries as compact files in the data set's private folder, from which workers match (suppression.py)."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import Connection, Select, func, or_, select

from pipeline.registry import clock, place
from pipeline.registry.digests import TagWriter, Writer
from pipeline.registry.registry import Registry
from pipeline.registry.tables import entry, meta

FOLDER: Final = f"{place.FOLDER}/suppression"
META: Final = "meta.json"
SORTED: Final = (
    "url", "url_prefix", "prefix_host", "prefix_length", "host", "domain", "text", "creator", "uid", "sha256", "md5"
)  # fmt: skip
_MEASURED: Final = ("prefix_length", "text", "creator")
NEAR: Final = {"pdq": 32, "phash64": 8}
_ROWS: Final = 100_000


def build(registry: Registry) -> str:
    """Write the registry's entries that are in force as files of the data set and return the edition they are called by.

    An edition is the registry's position and name, and where entries ran out since, when the last of them did. Its files are
    written once; those of other editions go. Memory is bounded: digests come sorted from the database, 100,000 at a time.
    """
    store = registry.store
    with _snapshot(registry) as connection:
        now = clock.text(clock.now_utc())
        edition = _edition(connection, now, registry.meta("registry_id") or "")
        target = f"{FOLDER}/{edition}"
        if not store.exists(f"{target}/{META}"):
            with store.scratch() as scratch:
                said = {"edition": edition, "seed": registry.seed.hex(), **_write(_Entries(connection, now), scratch)}
                for path in sorted(scratch.iterdir()):
                    store.put(path, f"{target}/{path.name}")
                store.create(f"{target}/{META}", json.dumps(said).encode())
    for old in store.folders(FOLDER):
        if old != target:
            store.delete_folder(old)
    return edition


@contextmanager
def _snapshot(registry: Registry) -> Iterator[Connection]:
    """Give a connection that sees the database at one moment, however long it reads."""
    with place.reading(registry.engine) as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _edition(connection: Connection, now: str, registry_id: str) -> str:
    position = connection.execute(select(meta.c.value).where(meta.c.name == "position")).scalar() or "0"
    ran_out = select(func.max(entry.c.expires_utc)).where(entry.c.expires_utc <= now, entry.c.active)
    last = connection.execute(ran_out).scalar()
    stamp = last.replace(":", "").replace("-", "") if last else ""
    return "-".join(part for part in (str(position), registry_id[:8], stamp) if part)


def write(registry: Registry, folder: Path, owners: Sequence[str]) -> dict[str, Any]:
    """Write the entries in force of some requests or imports, and return what `Suppression` must know of them."""
    with _snapshot(registry) as connection:
        entries = _Entries(connection, clock.text(clock.now_utc()), owners)
        return {"seed": registry.seed.hex(), **_write(entries, folder)}


def write_looks(registry: Registry, folder: Path) -> dict[str, Any]:
    """Write the perceptual hashes in force and nothing else, and return what `Suppression` must know of them."""
    with _snapshot(registry) as connection:
        entries = _Entries(connection, clock.text(clock.now_utc()))
        counts = dict.fromkeys(SORTED, 0) | {kind: _write_near(entries, kind, folder) for kind in NEAR}
    return {"seed": registry.seed.hex(), "counts": counts, "lengths": {kind: [] for kind in _MEASURED}}


def write_value(seed: bytes, entries: Sequence[tuple[str, bytes, int]], folder: Path) -> dict[str, Any]:
    """Write the entries of one value (filters.removal.entries), in no registry, and return what `Suppression` must know."""
    counts = dict.fromkeys((*SORTED, *NEAR), 0)
    lengths: dict[str, list[int]] = {kind: [] for kind in _MEASURED}
    for kind, digest, length in entries:  # each kind once
        counts[kind] = 1
        if kind in NEAR:
            np.save(folder / f"{kind}.npy", np.frombuffer(digest, np.uint8).reshape(1, -1))
            np.save(folder / f"{kind}.radii.npy", np.zeros(1, np.uint8))
            continue
        writer = Writer(folder, kind, 1)
        writer.add(digest)
        writer.close()
        if kind == "url":
            tags = TagWriter(folder, kind, 1)
            tags.add(np.array([length], np.uint32))
            tags.close()
        if kind in _MEASURED:
            lengths[kind].append(length)
    return {"seed": seed.hex(), "counts": counts, "lengths": lengths}


def _write(entries: "_Entries", folder: Path) -> dict[str, Any]:
    counts = {kind: _write_sorted(entries, kind, folder) for kind in SORTED}
    counts |= {kind: _write_near(entries, kind, folder) for kind in NEAR}
    lengths = {kind: sorted(n for (n,) in entries.of(kind, entry.c.length)) for kind in _MEASURED}
    return {"counts": counts, "lengths": lengths}


@dataclass(frozen=True)
class _Entries:
    """The entries in force at a moment: of everybody, or of some owners."""

    connection: Connection
    now: str
    owners: Sequence[str] | None = None

    def _chosen(self, kind: str, *columns: Any) -> Select[Any]:
        unexpired = or_(entry.c.expires_utc.is_(None), entry.c.expires_utc > self.now)
        chosen = select(*columns).where(entry.c.kind == kind, entry.c.active, unexpired).distinct()
        return chosen if self.owners is None else chosen.where(entry.c.owner.in_(self.owners))

    def of(self, kind: str, *columns: Any) -> Sequence[Any]:
        """Return the distinct values of a kind's columns."""
        return self.connection.execute(self._chosen(kind, *columns)).all()

    def count(self, kind: str) -> int:
        """Return how many digests a kind has."""
        counted = select(func.count()).select_from(self._chosen(kind, entry.c.digest).subquery())
        return int(self.connection.execute(counted).scalar_one())

    def batches(self, kind: str) -> Iterator[tuple[list[bytes], list[int]]]:
        """Yield a kind's digests, sorted, with their lengths, in batches; a new query each, since not every driver streams."""
        last = b""
        while True:
            chosen = self._chosen(kind, entry.c.digest, entry.c.length).where(entry.c.digest > last)
            rows = self.connection.execute(chosen.order_by(entry.c.digest).limit(_ROWS)).all()
            if rows:
                yield [bytes(digest) for digest, _ in rows], [length for _, length in rows]
            if len(rows) < _ROWS:
                return
            last = bytes(rows[-1][0])


def _write_sorted(entries: _Entries, kind: str, folder: Path) -> int:
    """Write a kind's digests, sorted."""
    if count := entries.count(kind):
        writer = Writer(folder, kind, count)
        tags = TagWriter(folder, kind, count) if kind == "url" else None
        for digests, lengths in entries.batches(kind):
            writer.add(b"".join(digests))
            if tags is not None:
                tags.add(np.array(lengths, np.uint32))
        writer.close()
        if tags is not None:
            tags.close()
    return count


def _write_near(entries: _Entries, kind: str, folder: Path) -> int:
    """Write a kind's hashes and their radii; 0 means the radius that a run is configured with."""
    rows = sorted((bytes(digest), int(bits)) for digest, bits in entries.of(kind, entry.c.digest, entry.c.distance))
    if rows:
        hashes = np.frombuffer(b"".join(digest for digest, _ in rows), np.uint8).reshape(-1, NEAR[kind])
        np.save(folder / f"{kind}.npy", hashes)
        np.save(folder / f"{kind}.radii.npy", np.array([min(bits, 255) for _, bits in rows], np.uint8))
    return len(rows)
