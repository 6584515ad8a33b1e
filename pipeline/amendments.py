"""What erasures changed: numbered, immutable files that say which bytes now stand where recorded digests speak of others.

A record never changes, so it goes on naming the digest of what was written first (the origin). An amendment says of an
origin what its files hold now: another digest, or, for files changed in place, the digests of the pieces that differ.
Copies of one file under several names (hard links of snapshots) share an origin and so their amendment.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline import pieces as pieces_of
from pipeline.errors import CommitConflict, FormatError
from pipeline.store import Store

FOLDER = "erasures"


@dataclass(frozen=True)
class Change:
    """What the files of one origin hold now; either `sha256` is known or the digests of the changed pieces are."""

    origin: str
    names: Sequence[str]
    old: str  # what stood for the bytes before: a digest, or the root of the pieces' digests
    new: str
    sha256: str | None = None
    pieces: Mapping[int, str] = field(default_factory=dict)  # number → digest, of all that differ from the origin's


@dataclass(frozen=True)
class Erasure:
    """One finished erasure, as `erasures/<n>.json` tells of it. Nothing personal: names are keys, uids are digests."""

    number: int
    utc: str
    requests: Sequence[str]
    uids: Sequence[str]  # hex
    changes: Sequence[Change]
    counts: Mapping[str, int]  # store → rows, samples or vectors erased there
    derived: Sequence[str]  # files of derived things (the index) written anew
    removed: Sequence[str] = ()  # files that no record spoke of
    remains: Sequence[str] = ()  # what an erasure does not undo

    def to_json(self) -> bytes:
        """Return the file's bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()


def name(number: int) -> str:
    """Return the name of an erasure's file."""
    return f"{FOLDER}/{number:08d}.json"


def _parse(data: bytes, where: str) -> Erasure:
    try:
        raw: dict[str, Any] = json.loads(data)
        changes = []
        for change in raw.pop("changes"):
            changed = {int(number): digest for number, digest in change.pop("pieces").items()}
            changes.append(Change(pieces=changed, **change))
        return Erasure(changes=changes, **raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{where}: not the record of an erasure ({error})") from error


@dataclass
class Amendments:
    """All that erasures changed, up to the newest."""

    newest: int = 0
    changes: dict[str, Change] = field(default_factory=dict)  # origin → its newest change
    uids: set[str] = field(default_factory=set)  # hex, of all that was erased

    def add(self, erasure: Erasure) -> None:
        """Take one more erasure in."""
        self.newest = erasure.number
        self.changes.update((change.origin, change) for change in erasure.changes)
        self.uids.update(erasure.uids)

    def agrees(self, store: Store, name: str, origin: str, pieces: Sequence[str] | None) -> bool:
        """Tell whether a stored file holds what its record or a later erasure says; it is read once."""
        change = self.changes.get(origin)
        found = pieces_of.of_stored(store, name)
        if change is None or change.sha256 is not None:
            return found.sha256 == (origin if change is None else change.sha256)
        return pieces is not None and list(found.pieces) == pieces_of.overlaid(pieces, change.pieces)

    def stands_for(self, origin: str) -> str:
        """Return what stands for an origin's bytes now: a digest, or the root of the pieces' digests."""
        change = self.changes.get(origin)
        return origin if change is None else change.new


def read(store: Store) -> Amendments:
    """Read all erasures of a data set."""
    found = Amendments()
    for erasure in erasures(store):
        found.add(erasure)
    return found


def erasures(store: Store) -> list[Erasure]:
    """Return the finished erasures of a data set, oldest first."""
    numbers = sorted(_numbers(store.names(FOLDER)))
    return [_parse(store.read(name(number)), store.uri(name(number))) for number in numbers]


def _numbers(names: Iterable[str]) -> list[int]:
    stems = (found.rsplit("/", 1)[1].removesuffix(".json") for found in names)
    return [int(stem) for stem in stems if stem.isdigit()]


def commit(store: Store, erasure: Erasure) -> None:
    """Make an erasure part of the data set's record; CommitConflict when its number is taken by another."""
    if store.create(name(erasure.number), erasure.to_json()):
        return
    if store.read(name(erasure.number)) != erasure.to_json():
        where = store.uri(name(erasure.number))
        raise CommitConflict(f"{where}: another run wrote this erasure; run the same command again")
