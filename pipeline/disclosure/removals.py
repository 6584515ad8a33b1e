"""The public feed of removals: digests only, so that whoever holds a copy can drop the rows, and nobody else learns a thing.

A line's digest is keyed BLAKE2b of a sample's uid, which is what shards name it by; the key is the data set's own name in
the log, printed in the first line. So feeds of two data sets cannot be joined with one another, and the feed holds no
address, text or category: a list of what was removed, and why, would be a directory of it.
"""

import hashlib
import json
from collections.abc import Mapping, Set
from typing import Any

from pipeline import amendments
from pipeline.amendments import Erasure
from pipeline.disclosure import erased
from pipeline.disclosure.packed import Records, kept_of, wanted_of
from pipeline.snapshot import numbers, read
from pipeline.store import Store

FOLDER = "removals"
FEED = f"{FOLDER}/feed.ndjson"
FORMAT = "tamis removals 1"


def digest(uid: bytes, salt: str) -> str:
    """Return what stands for a uid in a feed: 128-bit BLAKE2b keyed with the salt, personalised `tamis-removal`."""
    return hashlib.blake2b(uid, digest_size=16, key=salt.encode()[:64], person=b"tamis-removal").hexdigest()


def publish(store: Store, salt: str) -> list[str]:
    """Write one numbered file for every erasure that has none, then the whole feed; return the new files' names.

    A file is never changed once it is there: holders read what is new by number.
    """
    new = []
    for erasure in amendments.erasures(store):
        name = f"{FOLDER}/{erasure.number:06d}.ndjson"
        if not store.exists(name):
            store.create(name, _file(store, erasure, salt).encode())
            new.append(name)
    files = [name for name in store.names(FOLDER) if name != FEED]
    if new or (files and not store.exists(FEED)):
        store.write(FEED, b"".join(store.read(name) for name in files))
    return new


def _file(store: Store, erasure: Erasure, salt: str) -> str:
    last = _last_snapshots(store, erased.uids_of(erasure))
    rows = sorted((digest(uid, salt), number) for uid, number in last.items())  # their order tells nothing
    head = {"format": FORMAT, "number": erasure.number, "date": erasure.utc[:10], "salt": salt, "rows": len(rows)}
    lines: list[Mapping[str, Any]] = [head, *({"digest": told, "last_snapshot": number} for told, number in rows)]
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)


def _last_snapshots(store: Store, uids: Set[bytes]) -> dict[bytes, int]:
    """Return uid → the newest snapshot that packed it; uids that were never packed nobody holds, and they are left out."""
    parts = {uid: found for uid, found in erased.parts_of(store).items() if uid in uids}
    wanted, records = wanted_of(parts), Records(store)
    last: dict[bytes, int] = {}
    for number in numbers(store):
        for entry in read(store, number).parts:
            if entry.candidates in wanted:
                held = kept_of(records.decisions(entry), wanted[entry.candidates])
                last.update(dict.fromkeys(held, number))
    return last
