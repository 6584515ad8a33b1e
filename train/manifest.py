"""The rows of a run, frozen when it starts: which snapshot, which shards, every row's name and bucket.

It is kept in the run's folder and memory-mapped, so that a restart reads nothing of the data set before its first batch,
and the order can be computed when the snapshot's shards have long expired.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import FormatError, InputError
from pipeline.ids import stable_hash
from pipeline.pack import ERASED, shard_files
from pipeline.snapshot import Snapshot
from pipeline.store import Store
from train.buckets import NONE, Bucket, nearest
from train.order import Rows, Shards, key, mix

_FILE = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One shard of the run."""

    number: int
    key: str
    rows: int
    sha256: str
    """Of its tar when the run started."""


@dataclass(frozen=True)
class Facts:
    """What stands in the manifest's JSON."""

    dataset: str
    snapshot: int
    snapshot_digest: str
    refusals: dict[str, Any]
    """Positions of the registry and the tombstones that the snapshot obeys."""
    clip: dict[str, Any]
    """The encoder of its embeddings, with the digest of its weights."""
    shards: list[Shard]
    buckets: list[Bucket]


@dataclass(frozen=True)
class Manifest:
    """The rows of a run. `names` u64[N] and `bucket` u8[N] are in shard order."""

    facts: Facts
    names: NDArray[np.uint64]
    bucket: NDArray[np.uint8]

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum([shard.rows for shard in self.facts.shards]).astype(np.int64)

    @cached_property
    def shards(self) -> Shards:
        """Return the shards and how many rows of each bucket they hold."""
        size = len(self.facts.buckets)
        counts = [np.bincount(self.rows(i).buckets, minlength=NONE + 1)[:size] for i in range(len(self.facts.shards))]
        return Shards(tuple(one.key for one in self.facts.shards), np.array(counts, np.int64).reshape(-1, size))

    def rows(self, shard: int) -> Rows:
        """Return the names and buckets of a shard's rows."""
        end = int(self._ends[shard])
        mine = slice(end - self.facts.shards[shard].rows, end)
        return Rows(self.names[mine], self.bucket[mine])

    def find(self, uid: bytes) -> tuple[int, int] | None:
        """Return (shard, row) of a uid, or None where the run does not have it."""
        at = np.flatnonzero(self.names == name(uid))
        return self.place_of(int(at[0])) if len(at) else None

    def place_of(self, number: int) -> tuple[int, int] | None:
        """Return (shard, row) of a row by its number in the whole, or None where it is in no bucket."""
        if self.bucket[number] == NONE:
            return None
        shard = int(np.searchsorted(self._ends, number, side="right"))
        return shard, int(number - (self._ends[shard] - self.facts.shards[shard].rows))

    def number(self, shard: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return i64[B]: the numbers of rows in the whole manifest; -1 where the shard is -1."""
        starts = self._ends - np.array([one.rows for one in self.facts.shards], np.int64)
        return np.asarray(np.where(shard >= 0, starts[shard] + row, -1), np.int64)

    def split(self, share_frac: float, seed: int) -> tuple["Manifest", "Manifest"]:
        """Return the rows to train on and those held out: a share of the names, the same whatever else the snapshot holds."""
        held = mix(np.asarray(self.names), key("held out", seed)) < np.uint64(min(int(share_frac * 2**64), 2**64 - 1))
        none = np.uint8(NONE)
        train, rest = (np.where(held == out, none, self.bucket).astype(np.uint8) for out in (True, False))
        return Manifest(self.facts, self.names, train), Manifest(self.facts, self.names, rest)

    @property
    def rows_shown(self) -> int:
        """Return how many rows are in a bucket: an epoch's samples."""
        return int((self.bucket != NONE).sum())

    @cached_property
    def digest(self) -> str:
        """Return what checkpoints name the run's rows by."""
        rows = [hashlib.blake2b(np.ascontiguousarray(one).data, digest_size=12) for one in (self.names, self.bucket)]
        return stable_hash([asdict(self.facts), *(one.hexdigest() for one in rows)])


def name(uid: bytes) -> np.uint64:
    """Return the number by which the order knows a uid."""
    return np.uint64(int.from_bytes(uid[:8], "big"))


def make(store: Store, snapshot: Snapshot, shapes: Sequence[Bucket]) -> Manifest:
    """Read the rows of a snapshot; InputError when it is empty."""
    names: list[NDArray[np.uint64]] = []
    places: list[NDArray[np.uint8]] = []
    shards: list[Shard] = []
    for entry in snapshot.shards:
        with store.open(shard_files(snapshot.folder, entry.number)["parquet"]) as handle:
            table = pq.read_table(handle, columns=["key", "width", "height", "status"])
        there = pc.not_equal(table["status"], ERASED).to_numpy()
        width, height = (
            pc.fill_null(table[side], 0).to_numpy().astype(np.int32) * there for side in ("width", "height")
        )
        names.append(np.array([name(bytes.fromhex(one)) for one in table["key"].to_pylist()], np.uint64))
        places.append(nearest(tuple(shapes), width, height))
        shards.append(Shard(entry.number, entry.key, table.num_rows, entry.sha256["tar"]))
    if not names or all((one == NONE).all() for one in places):
        raise InputError(f"{store.root}: snapshot {snapshot.folder} holds no sample; there is nothing to train on")
    digest = stable_hash(json.loads(snapshot.to_json()))
    facts = Facts(
        store.root, snapshot.number, digest, dict(snapshot.refusals), dict(snapshot.clip), shards, list(shapes)
    )
    return Manifest(facts, np.concatenate(names), np.concatenate(places))


def write(manifest: Manifest, folder: Path) -> None:
    """Keep a manifest in a run's folder; its JSON comes last and makes it whole."""
    folder.mkdir(parents=True, exist_ok=True)
    store = Store(str(folder.resolve()))
    with store.scratch() as scratch:
        for stem, array in (("names", manifest.names), ("buckets", manifest.bucket)):
            np.save(scratch / f"{stem}.npy", array)
            store.put(scratch / f"{stem}.npy", f"{stem}.npy")
    store.write(_FILE, json.dumps(asdict(manifest.facts), sort_keys=True, indent=1).encode())


def read(folder: Path) -> Manifest:
    """Open a run's manifest, memory-mapped; FormatError when it cannot be read."""
    path = folder / _FILE
    try:
        raw = json.loads(path.read_text())
        raw["shards"] = [Shard(**one) for one in raw["shards"]]
        raw["buckets"] = [Bucket(**one) for one in raw["buckets"]]
        names, bucket = (np.load(folder / f"{stem}.npy", mmap_mode="r") for stem in ("names", "buckets"))
        found = Manifest(Facts(**raw), names, bucket)
        rows = sum(shard.rows for shard in found.facts.shards)
        if not rows or (names.shape, bucket.shape, names.dtype, bucket.dtype) != (
            (rows,),
            (rows,),
            np.uint64,
            np.uint8,
        ):
            raise ValueError(f"{names.shape} names, {bucket.shape} buckets, {rows} rows")
        return found
    except FileNotFoundError as error:
        raise InputError(f"{folder}: no run here ({error.filename} is missing)") from error
    except (ValueError, TypeError, KeyError, EOFError, OSError, AttributeError) as error:
        raise FormatError(f"{folder}: not a run's manifest, or a damaged one ({error})") from error
