"""The order of training: a pure function of (shards, seed, epoch), and its inverse.

Shards are permuted, a window of consecutive ones is permuted jointly, so reads stay near one another and batches mixed.
Rows of one aspect bucket form a stream through all windows; batches are cut from the streams, so that a batch has one
shape. Everything is sorted by keyed 64-bit hashes (the finaliser of SplitMix64; Steele et al. 2014, OOPSLA, fig. 16) of
names, never by a library's random generator: the same order in every version of every library, for ever.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
VERSION = 1


def key(*parts: object) -> int:
    """Return 64 bits that belong to these values, the same everywhere."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def mix(values: U64, under: int) -> U64:
    """Return a bijection of u64[N] that looks random; another one under every key."""
    with np.errstate(over="ignore"):
        x = values + np.uint64(under)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)


@dataclass(frozen=True)
class Rows:
    """The rows of one shard: their names as u64[N] (the first eight bytes of the uid) and their buckets u8[N]."""

    names: U64
    buckets: NDArray[np.uint8]


@dataclass(frozen=True)
class Shards:
    """What the order needs to know of a snapshot before any row is read."""

    keys: tuple[str, ...]
    counts: I64
    """i64[S,K]: rows of each shard in each bucket."""


@dataclass(frozen=True)
class Slots:
    """A global batch: where its samples are, in order; shard -1 where the last batch of a bucket has none left."""

    bucket: int
    shard: I64
    row: I64


@dataclass(frozen=True)
class Order:
    """Batches of `batch` samples for every epoch of a run."""

    shards: Shards
    seed: int
    batch: int
    window: int = 16
    """Shards that are permuted jointly."""

    @cached_property
    def batches_per_bucket(self) -> I64:
        """Return i64[K]: batches of each bucket in an epoch."""
        batches: I64 = -(-self.shards.counts.sum(axis=0) // self.batch)
        return batches

    @property
    def batches(self) -> int:
        """Return the batches of an epoch, the same in every one."""
        return int(self.batches_per_bucket.sum())

    def epoch(self, number: int) -> "Epoch":
        """Return the order of one epoch."""
        return Epoch(self, number)


@dataclass(frozen=True)
class Epoch:
    """One epoch's order. Costs a table of windows × buckets at first use, and one permutation for each window touched."""

    order: Order
    number: int
    _streams: dict[tuple[int, int], tuple[I64, I64]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def shard_order(self) -> I64:
        """Return i64[S]: shards in the order in which they are read."""
        names = np.array([key("shard", name) for name in self.order.shards.keys], np.uint64)
        return np.argsort(mix(names, self._key("shards")), kind="stable").astype(np.int64)

    @cached_property
    def _bounds(self) -> I64:
        """Return i64[W+1,K]: how far each bucket's stream has come before each window."""
        counts = self.order.shards.counts[self.shard_order]
        starts = np.arange(0, len(counts), self.order.window)
        sums = np.add.reduceat(counts, starts, axis=0) if len(counts) else counts
        return np.concatenate([np.zeros((1, counts.shape[1]), np.int64), np.cumsum(sums, axis=0)])

    @cached_property
    def _plan(self) -> tuple[I64, I64]:
        """Return (bucket, number in the bucket) of every batch, in the order of the epoch.

        A batch comes when the window that holds its last row is read; those of one window are permuted.
        """
        size, total = self.order.batch, self._bounds[-1]
        buckets: list[I64] = []
        numbers: list[I64] = []
        windows: list[I64] = []
        for at, batches in enumerate(self.order.batches_per_bucket.tolist()):
            mine = np.arange(batches, dtype=np.int64)
            last = np.minimum((mine + 1) * size, total[at]) - 1
            numbers.append(mine)
            buckets.append(np.full(batches, at, np.int64))
            windows.append(np.searchsorted(self._bounds[1:, at], last, side="right").astype(np.int64))
        bucket, number, window = np.concatenate(buckets), np.concatenate(numbers), np.concatenate(windows)
        name = number.astype(np.uint64) * np.uint64(256) + bucket.astype(np.uint64)
        order = np.lexsort((mix(name, self._key("batches")), window))
        return bucket[order], number[order]

    def slots(self, batch: int, rows: Callable[[int], Rows]) -> Slots:
        """Return where the samples of a batch of this epoch are; `rows` gives the rows of a shard by its number."""
        bucket, number = (int(one[batch]) for one in self._plan)
        first = number * self.order.batch
        last = min(first + self.order.batch, int(self._bounds[-1, bucket]))
        shard, row = np.full(self.order.batch, -1, np.int64), np.full(self.order.batch, -1, np.int64)
        at = first
        while at < last:
            window = int(np.searchsorted(self._bounds[1:, bucket], at, side="right"))
            begin, end = (int(self._bounds[window + i, bucket]) for i in (0, 1))
            shards, numbers = self.stream(window, bucket, rows)
            take = slice(at - begin, min(last, end) - begin)
            put = slice(at - first, min(last, end) - first)
            shard[put], row[put] = shards[take], numbers[take]
            at = min(last, end)
        return Slots(bucket, shard, row)

    def stream(self, window: int, bucket: int, rows: Callable[[int], Rows]) -> tuple[I64, I64]:
        """Return the (shard, row) of a window's rows of one bucket, in their order; those of the last windows are at hand."""
        if (window, bucket) not in self._streams:
            while len(self._streams) >= 2 * self.order.shards.counts.shape[1]:
                self._streams.pop(next(iter(self._streams)))
            self._streams[window, bucket] = self._sorted(window, bucket, rows)
        return self._streams[window, bucket]

    def _sorted(self, window: int, bucket: int, rows: Callable[[int], Rows]) -> tuple[I64, I64]:
        size = self.order.window
        shards: list[Any] = []
        numbers: list[Any] = []
        names: list[Any] = []
        for shard in self.shard_order[window * size : (window + 1) * size].tolist():
            table = rows(shard)
            mine = np.flatnonzero(table.buckets == bucket)
            shards.append(np.full(len(mine), shard, np.int64))
            numbers.append(mine.astype(np.int64))
            names.append(table.names[mine])
        order = np.argsort(mix(np.concatenate(names), self._key("rows", window)), kind="stable")
        return np.concatenate(shards)[order], np.concatenate(numbers)[order]

    def place(self, shard: int, row: int, rows: Callable[[int], Rows]) -> tuple[int, int]:
        """Return (batch of this epoch, slot in it) of a row: the inverse of `slots`."""
        bucket = int(rows(shard).buckets[row])
        window = int(np.flatnonzero(self.shard_order == shard)[0]) // self.order.window
        shards, numbers = self.stream(window, bucket, rows)
        inside = int(np.flatnonzero((shards == shard) & (numbers == row))[0])
        number, slot = divmod(int(self._bounds[window, bucket]) + inside, self.order.batch)
        buckets, batches = self._plan
        return int(np.flatnonzero((buckets == bucket) & (batches == number))[0]), slot

    def _key(self, *what: object) -> int:
        return key(VERSION, self.order.seed, self.number, *what)
