"""Snapshots that somebody reads for days, as a run of training does: while their pin is fresh their shards do not expire.

A pin that nobody renews loses its force after a week, so that a run which was given up does not keep shards for ever. Erasures
reach pinned shards as they reach all others.
"""

import json
from datetime import UTC, datetime, timedelta

from pipeline.store import Store

FOLDER = "private/pins"
KEPT = timedelta(days=7)


def pin(store: Store, number: int, holder: str) -> None:
    """Keep a snapshot's shards for a week from now; a holder (letters and digits) has one pin a snapshot."""
    told = {"snapshot": number, "holder": holder, "utc": datetime.now(UTC).isoformat(timespec="seconds")}
    store.write(_name(number, holder), json.dumps(told, sort_keys=True).encode())


def unpin(store: Store, number: int, holder: str) -> None:
    """Give a snapshot's shards free; nothing happens where there is no such pin."""
    store.delete(_name(number, holder))


def pinned(store: Store) -> frozenset[int]:
    """Return the numbers of the snapshots that have a fresh pin; an unreadable pin holds nothing."""
    now, found = datetime.now(UTC), set()
    for name in store.names(FOLDER):
        try:
            told = json.loads(store.read(name))
            if abs(now - datetime.fromisoformat(told["utc"])) < KEPT:
                found.add(int(told["snapshot"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):  # given free meanwhile, or damaged
            continue
    return frozenset(found)


def _name(number: int, holder: str) -> str:
    return f"{FOLDER}/{number:06d}-{holder}.json"
