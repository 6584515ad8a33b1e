"""What was hidden and what was erased, and by when: tombstone files and the records of finished erasures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline import tombstones
from pipeline.errors import FormatError
from pipeline.store import Store

FOLDER = "erasures"


@dataclass(frozen=True)
class Erasure:
    """What this package needs to know of a finished erasure."""

    number: int
    name: str
    utc: str
    uids: frozenset[bytes]
    origins: frozenset[str]  # recorded digests of the files whose bytes it changed


def erasures(store: Store) -> list[Erasure]:
    """Return the finished erasures, oldest first."""
    found = []
    for name in store.names(FOLDER):
        stem = name.rsplit("/", 1)[1].removesuffix(".json")
        if not stem.isdigit():
            continue
        try:
            raw: dict[str, Any] = json.loads(store.read(name))
            uids = frozenset(bytes.fromhex(uid) for uid in raw["uids"])
            origins = frozenset(change["origin"] for change in raw["changes"])
            found.append(Erasure(int(raw["number"]), name, str(raw["utc"]), uids, origins))
        except (ValueError, TypeError, KeyError) as error:
            raise FormatError(f"{store.uri(name)}: not the record of an erasure ({error})") from error
    return sorted(found, key=lambda erasure: erasure.number)


def erased_in(store: Store) -> dict[bytes, Erasure]:
    """Return uid → the erasure that erased it first."""
    first: dict[bytes, Erasure] = {}
    for erasure in erasures(store):
        for uid in erasure.uids:
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
