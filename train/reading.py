"""Samples of a snapshot's shards by (shard, row): pictures by byte offset, vectors by row; nothing is unpacked or copied."""

import mmap
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import fsspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.pack import shard_files
from pipeline.store import Store
from train.manifest import Manifest

T = TypeVar("T")
_BLOCK = 512
_OPEN = 64


@dataclass(frozen=True)
class Places:
    """Where the samples of a shard are in its tar, by row; nulls of erased rows are zero."""

    uids: NDArray[np.bytes_]
    offset: NDArray[np.int64]
    size_bytes: NDArray[np.int64]


@dataclass
class ShardReader:
    """Reads samples of one run's shards; one a process. Local files are memory-mapped, objects are read by ranges."""

    store: Store
    manifest: Manifest
    _kept: OrderedDict[tuple[str, int], Any] = field(default_factory=OrderedDict)

    def places(self, shard: int) -> Places:
        """Return where a shard's samples are."""
        return self._once("places", shard, self._read_places)

    def pictures(self, shards: Sequence[int], rows: Sequence[int]) -> list[bytes | None]:
        """Return the encoded picture of each (shard, row); None where the tar holds none there any more."""
        return [_member(sample, 0) for sample in self._samples(shards, rows)]

    def captions(self, shards: Sequence[int], rows: Sequence[int]) -> list[str | None]:
        """Return the text of each (shard, row), its tar's second member; None where the tar holds none there any more."""
        found = (_member(sample, 1) for sample in self._samples(shards, rows))
        return [None if text is None else text.decode() for text in found]

    def _samples(self, shards: Sequence[int], rows: Sequence[int]) -> list[memoryview]:
        spans = []
        for shard, row in zip(shards, rows, strict=True):
            places = self.places(shard)
            start = int(places.offset[row])
            spans.append((shard, start, start + int(places.size_bytes[row])))
        if self.store.is_local:
            return [memoryview(self._once("tar", shard, self._map))[a:b] for shard, a, b in spans]
        return [memoryview(piece) for piece in self._ranges(spans)]

    def vectors(self, shards: Sequence[int], rows: Sequence[int], which: str) -> NDArray[np.float16]:
        """Return the stored vectors f16[N,D] of the rows, `which` being "img_emb" or "text_emb"."""
        return np.stack(
            [self._once(which, shard, self._array(which))[row] for shard, row in zip(shards, rows, strict=True)]
        )

    @property
    def width(self) -> int:
        """Return the dimensions of the vectors."""
        return int(self._once("img_emb", 0, self._array("img_emb")).shape[1])

    def _once(self, kind: str, shard: int, read: Callable[[int], T]) -> T:
        held = (kind, shard)
        if held not in self._kept:
            while len(self._kept) >= 4 * _OPEN:
                self._kept.popitem(last=False)
            self._kept[held] = read(shard)
        self._kept.move_to_end(held)
        found: T = self._kept[held]
        return found

    def _names(self, shard: int) -> dict[str, str]:
        facts = self.manifest.facts
        return shard_files(f"{facts.snapshot:06d}", facts.shards[shard].number)

    def _read_places(self, shard: int) -> Places:
        with self.store.open(self._names(shard)["parquet"]) as handle:
            table = pq.read_table(handle, columns=["key", "shard_offset", "shard_bytes"])
        offset, size = (table[name].fill_null(0).to_numpy() for name in ("shard_offset", "shard_bytes"))
        uids = np.array([bytes.fromhex(key) for key in table["key"].to_pylist()], "S16")
        return Places(uids, offset, size)

    def _map(self, shard: int) -> mmap.mmap:
        path = self.store.local(self._names(shard)["tar"])
        assert path is not None
        with path.open("rb") as handle:
            return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

    def _array(self, which: str) -> Callable[[int], NDArray[np.float16]]:
        def read(shard: int) -> NDArray[np.float16]:
            name = self._names(shard)[which]
            path = self.store.local(name)
            if path is not None:
                mapped: NDArray[np.float16] = np.load(path, mmap_mode="r")
                return mapped
            with self.store.open(name) as handle:
                loaded: NDArray[np.float16] = np.load(handle)
            return loaded

        return read

    def _ranges(self, spans: Sequence[tuple[int, int, int]]) -> list[bytes]:
        fs, root = fsspec.core.url_to_fs(self.store.root)
        paths = [f"{root}/{self._names(shard)['tar']}" for shard, _, _ in spans]
        found: list[bytes] = fs.cat_ranges(paths, [a for _, a, _ in spans], [b for _, _, b in spans])
        return found


def _member(sample: memoryview, number: int) -> bytes | None:
    """Return a member of a sample, its picture first; None where a comment or zeros stand in its place."""
    while True:
        if len(sample) < _BLOCK or sample[0] in (0, ord(".")) or bytes(sample[156:157]) not in (b"0", b"\0"):
            return None
        size = int(bytes(sample[124:135]), 8)
        if number == 0:
            return bytes(sample[_BLOCK : _BLOCK + size])
        sample, number = sample[_BLOCK + -(-size // _BLOCK) * _BLOCK :], number - 1
