"""Sorted 16-byte digests on disk, and whether a stream of others is among them: a bitmap answers most, binary search the rest."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.url_tags import BITS

U64 = NDArray[np.uint64]

_BITS_A_DIGEST = 10  # of the bitmap: one in ten of what is not listed goes on to the search
_BITS_A_TAG = 20
_FEWEST_BITS = 16
_MOST_BITS = 33


@dataclass(frozen=True)
class Digests:
    """Digests u64[N] (first and last eight bytes, big-endian), sorted; the arrays may be mapped from files."""

    high: U64
    low: U64
    bitmap: NDArray[np.uint8]  # bit v is set where some `high` begins with the bits of v

    def __len__(self) -> int:
        return len(self.high)

    @property
    def _shift(self) -> np.uint64:
        return np.uint64(64 - _log2_bits(self.bitmap))

    def among(self, raw: bytes) -> NDArray[np.bool_]:
        """Tell of each of the joined 16-byte digests whether it is listed."""
        asked = np.frombuffer(raw, ">u8").reshape(-1, 2)
        found = np.zeros(len(asked), np.bool_)
        if len(self) == 0 or len(asked) == 0:
            return found
        high = asked[:, 0].astype(np.uint64)
        place = high >> self._shift
        likely = np.flatnonzero(self.bitmap[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8) & 1)
        likely = likely[np.argsort(high[likely])]  # in their order, neighbours share the pages they touch
        at = np.searchsorted(self.high, high[likely])
        inside = at < len(self)
        likely, at = likely[inside], at[inside]
        same = self.high[at] == high[likely]
        likely, at = likely[same], at[same]
        whole = self.low[at] == asked[likely, 1]
        found[likely[whole]] = True
        for row, first in zip(
            likely[~whole].tolist(), at[~whole].tolist(), strict=True
        ):  # once in 2^64: a shared first half
            last = int(np.searchsorted(self.high, high[row], side="right"))
            found[row] = bool((self.low[first:last] == asked[row, 1]).any())
        if len(likely):
            _unmap(self.low)
        return found


@dataclass(frozen=True)
class Tags:
    """Which checksums (filters.url_tags) are listed, as a bitmap over their first bits: most of what is not listed ends here."""

    bitmap: NDArray[np.uint8]

    def likely(self, tags: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Return the rows whose checksum is listed, or looks so."""
        place = tags >> np.uint32(BITS - _log2_bits(self.bitmap))
        return np.flatnonzero(self.bitmap[place >> np.uint32(3)] >> (place & np.uint32(7)).astype(np.uint8) & 1)


class TagWriter:
    """Collects checksums, in any order, as the bitmap of `Tags`."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        bits = min(max(_FEWEST_BITS, (count * _BITS_A_TAG).bit_length()), BITS)
        self._shift = np.uint32(BITS - bits)
        path = folder / f"{name}.tags.npy"
        self._bitmap = np.lib.format.open_memmap(path, "w+", dtype=np.uint8, shape=(1 << bits >> 3,))

    def add(self, tags: NDArray[np.uint32]) -> None:
        """Add some."""
        place = np.sort(tags >> self._shift)
        _set_bits(self._bitmap, place >> np.uint32(3), place & np.uint32(7))

    def close(self) -> None:
        """Finish the file."""
        self._bitmap.flush()


def open_tags(folder: Path, name: str) -> Tags:
    """Map the file that a TagWriter left."""
    return Tags(np.load(folder / f"{name}.tags.npy", mmap_mode="r"))


def _unmap(array: NDArray[Any]) -> None:
    """Give back the pages of a mapped file; the kernel maps sixteen for each that is touched, and the few hits lie anywhere."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None:
        mapped.madvise(mmap.MADV_DONTNEED)


def _log2_bits(bitmap: NDArray[np.uint8]) -> int:
    return (len(bitmap) * 8).bit_length() - 1


def _set_bits(bitmap: NDArray[np.uint8], byte: NDArray[Any], bit: NDArray[Any]) -> None:
    """Set bits of bytes that come sorted."""
    if len(byte):
        first = np.flatnonzero(np.r_[True, byte[1:] != byte[:-1]])
        bitmap[byte[first]] |= np.bitwise_or.reduceat(np.left_shift(1, bit).astype(np.uint8), first)


def bitmap_bits(count: int) -> int:
    """Return log2 of the bitmap's bits for so many digests."""
    return min(max(_FEWEST_BITS, (count * _BITS_A_DIGEST).bit_length()), _MOST_BITS)


class Writer:
    """Writes digests that come sorted, in bounded memory, as three files of a folder."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self._paths = [folder / f"{name}.{part}.npy" for part in ("high", "low", "bitmap")]
        bits = bitmap_bits(count)
        self._shift = np.uint64(64 - bits)
        shapes = ((count, np.uint64), (count, np.uint64), (1 << bits >> 3, np.uint8))
        self._arrays = [
            np.lib.format.open_memmap(path, "w+", dtype=kind, shape=(rows,)) if rows else np.zeros(0, kind)
            for path, (rows, kind) in zip(self._paths, shapes, strict=True)
        ]
        self._at = 0

    def add(self, raw: bytes) -> None:
        """Add joined 16-byte digests, larger than all before."""
        pairs = np.frombuffer(raw, ">u8").reshape(-1, 2)
        high, low, bitmap = self._arrays
        end = self._at + len(pairs)
        high[self._at : end], low[self._at : end] = pairs[:, 0], pairs[:, 1]
        place = high[self._at : end] >> self._shift
        _set_bits(bitmap, place >> np.uint64(3), place & np.uint64(7))
        self._at = end

    def close(self) -> list[Path]:
        """Finish the files and return them."""
        for array, path in zip(self._arrays, self._paths, strict=True):
            if isinstance(array, np.memmap):
                array.flush()
            else:
                np.save(path, array)
        assert self._at == len(self._arrays[0])
        return self._paths


def open_digests(folder: Path, name: str) -> Digests:
    """Map the files that a Writer left."""
    paths = [folder / f"{name}.{part}.npy" for part in ("high", "low", "bitmap")]
    return Digests(*(np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None) for path in paths))
