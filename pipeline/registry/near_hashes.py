"""Perceptual hashes within a Hamming radius of listed ones, exactly: the lists are indexed, the crawl streams past."""

from functools import cached_property
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SMALL: Final = 5_000
"""Up to here comparing with every listed hash is as fast as the index (tests/bench/bench_pdq.py)."""
_BAND_BITS: Final = 16
_MOST_FLIPS: Final = 3
"""Beyond, the index would look at more places than there are hashes."""
_ROOMY: Final = 2_000_000
"""Up to so many hashes, 256 bytes more for each make a query one and a half times as fast."""
_QUERIES: Final = 1024
_BLOCK: Final = 65_536

Bits = NDArray[np.uint16]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class NearHashes:
    """Listed hashes u8[N,B], B being 8 (pHash) or 32 (PDQ) bytes, each with a radius of its own where it was given one.

    Multi-index hashing (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with Multi-Index Hashing, CVPR 2012, §3): of the
    B/2 bands of 16 bits one differs in at most radius // bands bits, so looking up each band and all that differs from it in so
    few bits misses nothing.
    """

    def __init__(
        self, hashes: NDArray[np.uint8], radii: NDArray[np.uint8] | None = None, *, indexed: bool | None = None
    ) -> None:
        self.count, width = hashes.shape
        self._hashes = np.ascontiguousarray(hashes)
        self._words = self._hashes.view(np.uint64).reshape(self.count, width // 8)
        self._radii = np.zeros(self.count, np.int64) if radii is None else radii.astype(np.int64)
        self._widest = int(self._radii.max(initial=0))
        self._some_have_none = bool((self._radii == 0).any())
        self._indexed = self.count > _SMALL if indexed is None else indexed

    def near(self, asked: NDArray[np.uint8], bits: int) -> NDArray[np.bool_]:
        """Tell of each hash u8[M,B] whether a listed one is within its own radius, or within `bits` where it has none."""
        found = np.zeros(len(asked), np.bool_)
        found[self.pairs(asked, bits)[0]] = True
        return found

    def pairs(self, asked: NDArray[np.uint8], bits: int) -> Pairs:
        """Return every (row of `asked`, listed row, distance in bits) within the listed hash's radius, in that order."""
        none = np.zeros(0, np.int64)
        if self.count == 0 or len(asked) == 0:
            return none, none, none
        widest = max(self._widest, bits if self._some_have_none else 0)
        flips = widest // (self._hashes.shape[1] * 8 // _BAND_BITS)
        indexed = self._indexed and flips <= _MOST_FLIPS
        asked = np.ascontiguousarray(asked)
        pieces = []
        for start in range(0, len(asked), _QUERIES):
            queries = asked[start : start + _QUERIES]
            rows, at = self._banded(queries, widest, flips) if indexed else self._all(queries, widest)
            far = np.bitwise_count(self._words[at] ^ _as_words(queries)[rows]).sum(axis=1, dtype=np.int64)
            own = self._radii[at]
            good = far <= np.where(own > 0, own, bits)
            pieces.append(np.stack([rows[good] + start, at[good], far[good]]))
        rows, at, far = np.unique(np.concatenate(pieces, axis=1), axis=1)
        return rows, at, far

    def _all(self, queries: NDArray[np.uint8], bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        words = _as_words(queries)
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        rows_a_block = max(1, _BLOCK // max(1, len(queries)))
        for start in range(0, self.count, rows_a_block):
            block = self._words[start : start + rows_a_block]
            far = np.zeros((len(words), len(block)), np.int16)
            for column in range(block.shape[1]):
                far += np.bitwise_count(words[:, column, None] ^ block[None, :, column])
            rows, at = np.nonzero(far <= bits)
            found.append((rows, at + start))
        return np.concatenate([rows for rows, _ in found]), np.concatenate([at for _, at in found])

    @cached_property
    def _bands(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return, for each band, the rows in the order of its value u32[bands,N], and where each value begins."""
        bands = self._hashes.view(np.uint16)
        order = np.empty((bands.shape[1], self.count), np.uint32)
        starts = np.zeros((bands.shape[1], (1 << _BAND_BITS) + 1), np.int64)
        for band in range(bands.shape[1]):
            order[band] = np.argsort(bands[:, band], kind="stable")
            np.cumsum(np.bincount(bands[:, band], minlength=1 << _BAND_BITS), out=starts[band, 1:])
        return order, starts

    @cached_property
    def _checks(self) -> NDArray[np.complex128] | NDArray[np.uint64]:
        """Return the first 16 bytes (8 where there are no more) of each hash as one number, so that one gather brings them."""
        if self._words.shape[1] == 1:
            return self._words[:, 0]
        return np.ascontiguousarray(self._words[:, :2]).view(np.complex128)[:, 0]

    @cached_property
    def _laid_out(self) -> list[NDArray[np.complex128] | NDArray[np.uint64]] | None:
        """Return the checks in each band's order, so that what is compared lies together; None where that takes too much memory."""
        order, _ = self._bands
        return [self._checks.take(band) for band in order] if self.count <= _ROOMY else None

    def _banded(self, queries: NDArray[np.uint8], bits: int, flips: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return candidate pairs that hold all within `bits`: rows that share a band but for few bits, half compared."""
        order, starts = self._bands
        flipped = _masks(flips)
        values = queries.view(np.uint16)
        first = _as_words(queries)[:, : 1 if self._words.shape[1] == 1 else 2]
        heads = np.ascontiguousarray(first).view(self._checks.dtype)[:, 0]
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for band in range(values.shape[1]):
            places = (values[:, band, None] ^ flipped).ravel().astype(np.int64)
            low = starts[band].take(places)
            counts = starts[band].take(places + 1) - low
            ends = np.cumsum(counts)
            at = np.arange(ends[-1])
            at -= np.repeat(ends - counts - low, counts)
            a_query = counts.reshape(len(queries), -1).sum(axis=1)
            laid_out = self._laid_out
            checks = laid_out[band].take(at) if laid_out is not None else self._checks.take(order[band].take(at))
            differ = checks.view(np.uint64) ^ np.repeat(heads, a_query).view(np.uint64)
            far = np.bitwise_count(differ).reshape(len(at), first.shape[1])
            close = np.flatnonzero((far[:, 0] if far.shape[1] == 1 else far[:, 0] + far[:, 1]) <= bits)
            rows = np.searchsorted(np.cumsum(a_query), close, side="right")
            found.append((rows, order[band].take(at[close]).astype(np.int64)))
        return np.concatenate([rows for rows, _ in found]), np.concatenate([at for _, at in found])


def _as_words(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return hashes.view(np.uint64).reshape(len(hashes), -1)


def _masks(flips: int) -> Bits:
    """Return every 16-bit number with at most so many bits set."""
    chosen = [bits for count in range(flips + 1) for bits in combinations(range(_BAND_BITS), count)]
    return np.array([sum(1 << bit for bit in bits) for bits in chosen], np.uint16)
