"""Numbered, immutable lists of what the data set is; published with create-if-absent, so that one writer wins."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.errors import CommitConflict, FormatError, InputError
from pipeline.stage import Part
from pipeline.store import Store

_FOLDER = "snapshots"


@dataclass(frozen=True)
class PartEntry:
    """One part in a snapshot: the keys of what was made of it, one a stage (fetch and embed may have several)."""

    candidates: str
    stages: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ShardEntry:
    """One shard in a snapshot, with the digests of its files."""

    number: int
    key: str
    rows: int
    sha256: Mapping[str, str]  # role of the file (tar, parquet, img_emb, text_emb, metadata) → digest


@dataclass(frozen=True)
class Snapshot:
    """The data set at one moment. No clock in here: the same inputs give the same bytes."""

    number: int
    parent: int | None
    config: Mapping[str, Any]
    config_digest: str
    rows_in: int  # candidate rows, before equal pairs are merged
    rows: int  # rows in the shards
    dropped: Mapping[str, int]
    extracts: Sequence[str]  # keys of the input units' extracts
    layouts: Sequence[str]
    parts: Sequence[PartEntry]
    shards: Sequence[ShardEntry]
    reduces: Mapping[str, str] = field(default_factory=dict)  # name of a global table → its key
    clip: Mapping[str, Any] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(
        default_factory=dict
    )  # positions of the registry and of the tombstones it obeys

    @property
    def folder(self) -> str:
        """Return the six digits that folders of this snapshot are called by."""
        return f"{self.number:06d}"

    def to_json(self) -> bytes:
        """Return the snapshot's bytes."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()

    def same_content(self, other: "Snapshot") -> bool:
        """Tell whether two snapshots describe the same data, whatever their numbers and who was asked for it."""
        mine, theirs = (replace(one, number=0, parent=None, refusals={}) for one in (self, other))
        return mine.to_json() == theirs.to_json()


def numbers(store: Store) -> list[int]:
    """Return the numbers of the published snapshots, rising."""
    stems = (name.rsplit("/", 1)[1].removesuffix(".json") for name in store.names(_FOLDER))
    return sorted(int(stem) for stem in stems if stem.isdigit())


def read(store: Store, number: int) -> Snapshot:
    """Read a published snapshot."""
    name = f"{_FOLDER}/{number:06d}.json"
    try:
        raw = json.loads(store.read(name))
        raw["parts"] = [PartEntry(**entry) for entry in raw["parts"]]
        raw["shards"] = [ShardEntry(**entry) for entry in raw["shards"]]
        return Snapshot(**raw)
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{store.uri(name)}: not a snapshot ({error})") from error


def latest(store: Store) -> Snapshot | None:
    """Return the newest published snapshot, or None."""
    found = numbers(store)
    return read(store, found[-1]) if found else None


def require_latest(store: Store) -> Snapshot:
    """Return the newest snapshot; InputError explains when there is none."""
    found = latest(store)
    if found is None:
        raise InputError(
            f"{store.root}: no snapshot published here; `tamis ingest` makes one (`tamis status` shows how far it is)"
        )
    return found


def publish(store: Store, snapshot: Snapshot) -> None:
    """Make the snapshot the data set's newest state; CommitConflict when its number is taken by other content."""
    name = f"{_FOLDER}/{snapshot.folder}.json"
    if not store.create(name, snapshot.to_json()) and store.read(name) != snapshot.to_json():
        raise CommitConflict(f"{store.uri(name)}: another run published this number; run the same command again")


def stage_counts(parts: Sequence[Part]) -> dict[str, int]:
    """Add up the dropped rows per reason of several parts."""
    total: dict[str, int] = {}
    for part in parts:
        for reason, rows in part.dropped.items():
            total[reason] = total.get(reason, 0) + rows
    return dict(sorted(total.items()))
