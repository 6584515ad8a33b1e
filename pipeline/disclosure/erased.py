"""What was hidden and what was erased, and by when: tombstone files and the records of finished erasures."""

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from pipeline import amendments, tombstones
from pipeline.amendments import Erasure
from pipeline.store import Store


def uids_of(erasure: Erasure) -> set[bytes]:
    """Return the uids that an erasure erased."""
    return {bytes.fromhex(uid) for uid in erasure.uids}


def erased_in(store: Store) -> dict[bytes, Erasure]:
    """Return uid → the erasure that erased it first."""
    first: dict[bytes, Erasure] = {}
    for erasure in amendments.erasures(store):
        for uid in uids_of(erasure):
            first.setdefault(uid, erasure)
    return first


def pending(store: Store) -> set[bytes]:
    """Return the uids that are hidden and not erased yet."""
    hidden = {bytes(uid).ljust(16, b"\0") for uid in tombstones.read(store).uids()}
    return hidden - erased_in(store).keys()


def stones(store: Store) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file, row) of every tombstone, oldest first."""
    for name in store.names(tombstones.FOLDER):
        with store.open(name) as handle:
            for row in pq.read_table(handle).to_pylist():
                yield name, row


def parts_of(store: Store) -> dict[bytes, set[str]]:
    """Return uid → the candidates parts that tombstones name with it."""
    found: dict[bytes, set[str]] = {}
    for _, row in stones(store):
        found.setdefault(row["uid"], set()).add(row["part"])
    return found
