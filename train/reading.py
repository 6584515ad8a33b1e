"""Samples of a snapshot's shards by (shard, row): pictures by byte offset, vectors by row; nothing is unpacked or copied."""

import io
import mmap
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.erasure.blank import array_layout
from pipeline.errors import FormatError
from pipeline.pack import shard_files
from pipeline.store import Store
from train.manifest import Manifest
from train.whole_files import File, WholeFiles

T = TypeVar("T")
F16 = NDArray[np.float16]
_BLOCK = 512
_OPEN = 6 * 64
"""Places, layouts and maps that are kept: six a shard, three on an object store."""
_HEADER_BYTES = 1024
"""More than the header of a .npy file of two dimensions has."""


@dataclass(frozen=True)
class Places:
    """Where the samples of a shard are in its tar, by row; nulls of erased rows are zero."""

    uids: NDArray[np.bytes_]
    offset: NDArray[np.int64]
    size_bytes: NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """What stands in the shards of N rows, as it was read."""

    samples: list[memoryview]
    """Each row's members in its shard's tar, for `picture` and `caption`; none where they were not asked for."""
    image: F16
    """f16[N,D]; `text` alike."""
    text: F16


@dataclass
class ShardReader:
    """Reads samples of one run's shards; one a thread. Local files are memory-mapped, objects are read by ranges.

    It keeps what it knows of some 64 shards (0.3 MB each for 10,000 rows) and, of an object store, half a GiB of vectors at
    most (`WholeFiles`); pictures and texts are not kept.
    """

    store: Store
    manifest: Manifest
    _kept: OrderedDict[tuple[str, int], Any] = field(default_factory=OrderedDict)
    _whole: WholeFiles = field(default_factory=WholeFiles)

    def places(self, shard: int) -> Places:
        """Return where a shard's samples are."""
        return self._once("places", shard, self._read_places)

    def read(self, shards: Sequence[int], rows: Sequence[int], *, samples: bool) -> Found:
        """Return what stands in the shards of each (shard, row); requests to an object store are made side by side."""
        wanted = list(zip(shards, rows, strict=True))
        tars = [self._sample(shard, row) for shard, row in wanted] if samples else []
        vectors = [self._vector(which, shard, row) for which in ("img_emb", "text_emb") for shard, row in wanted]
        if not self.store.is_local:
            self._keep(self._whole.worth(((which, shard) for which, shard, _, _ in vectors), self._size_bytes))
        found = self._ranges([*tars, *vectors])
        image, text = found[len(tars) : len(tars) + len(wanted)], found[len(tars) + len(wanted) :]
        return Found(found[: len(tars)], self._stacked(image), self._stacked(text))

    @property
    def width(self) -> int:
        """Return the dimensions of the vectors."""
        return self._layout("img_emb", 0)[1] // np.dtype(np.float16).itemsize

    def _sample(self, shard: int, row: int) -> tuple[str, int, int, int]:
        places = self.places(shard)
        start = int(places.offset[row])
        return "tar", shard, start, start + int(places.size_bytes[row])

    def _vector(self, which: str, shard: int, row: int) -> tuple[str, int, int, int]:
        begin, size = self._layout(which, shard)
        return which, shard, begin + row * size, begin + (row + 1) * size

    def _size_bytes(self, vectors: File) -> int:
        begin, size = self._layout(*vectors)
        return begin + self.manifest.facts.shards[vectors[1]].rows * size

    def _keep(self, file: File | None) -> None:
        if file is not None:
            self._whole.kept[file] = bytes(self._ranges([(*file, 0, self._size_bytes(file))])[0])

    def _stacked(self, pieces: Sequence[memoryview]) -> F16:
        width = self.width
        if any(len(piece) != 2 * width for piece in pieces):
            raise FormatError(
                f"{self.store.root}: vectors of snapshot {self.manifest.facts.snapshot:06d} are not {width} numbers each, or end too "
                "early; `tamis verify` tells what is wrong with the data set"
            )
        return np.frombuffer(b"".join(pieces), np.float16).reshape(len(pieces), width)

    def _once(self, kind: str, shard: int, read: Callable[[int], T]) -> T:
        held = (kind, shard)
        if held not in self._kept:
            while len(self._kept) >= _OPEN:
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

    def _layout(self, which: str, shard: int) -> tuple[int, int]:
        """Return where the vectors of a shard begin in their file, and the bytes of one."""

        def read(shard: int) -> tuple[int, int]:
            return array_layout(io.BytesIO(self._ranges([(which, shard, 0, _HEADER_BYTES)])[0]))

        return self._once(f"layout of {which}", shard, read)

    def _ranges(self, spans: Sequence[tuple[str, int, int, int]]) -> list[memoryview]:
        """Return the bytes [first, end) of files, each given as (role, shard, first, end)."""
        if self.store.is_local:
            return [memoryview(self._once(role, shard, self._map(role)))[a:b] for role, shard, a, b in spans]
        kept = self._whole.kept
        asked = [(self._names(shard)[role], a, b) for role, shard, a, b in spans if (role, shard) not in kept]
        pieces = iter(self.store.ranges(asked))
        return [memoryview(kept[r, s])[a:b] if (r, s) in kept else memoryview(next(pieces)) for r, s, a, b in spans]

    def _map(self, role: str) -> Callable[[int], mmap.mmap]:
        def read(shard: int) -> mmap.mmap:
            path = self.store.local(self._names(shard)[role])
            assert path is not None
            with path.open("rb") as handle:
                return mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)

        return read


def picture(sample: memoryview) -> bytes | None:
    """Return a sample's encoded picture, its first member; None where the tar holds none there any more."""
    return _member(sample, 0)


def caption(sample: memoryview) -> str | None:
    """Return a sample's text, its second member; None where the tar holds none there any more."""
    found = _member(sample, 1)
    return None if found is None else found.decode()


def _member(sample: memoryview, number: int) -> bytes | None:
    """Return a member of a sample, its picture first; None where a comment or zeros stand in its place."""
    while True:
        if len(sample) < _BLOCK or sample[0] in (0, ord(".")) or bytes(sample[156:157]) not in (b"0", b"\0"):
            return None
        size = int(bytes(sample[124:135]), 8)
        if number == 0:
            return bytes(sample[_BLOCK : _BLOCK + size])
        sample, number = sample[_BLOCK + -(-size // _BLOCK) * _BLOCK :], number - 1
