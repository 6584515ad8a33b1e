"""Perceptual hashes within a Hamming radius of listed ones: exact, by FAISS; lists are indexed, the crawl streams past."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALL = 100_000
"""Up to here comparing with every hash is as fast as the index (measured by tests/bench/bench_pdq.py)."""
_BANDS, _BAND_BITS = 16, 16


class NearHashes:
    """Listed hashes u8[N,B]; B is 8 (pHash) or 32 (PDQ) bytes."""

    def __init__(self, hashes: NDArray[np.uint8], *, indexed: bool | None = None) -> None:
        import faiss

        self.count, width = hashes.shape
        self.indexed = self.count > _SMALL and width == 32 if indexed is None else indexed
        self._index: Any = (
            faiss.IndexBinaryMultiHash(width * 8, _BANDS, _BAND_BITS)
            if self.indexed
            else faiss.IndexBinaryFlat(width * 8)
        )
        if self.count:
            self._index.add(np.ascontiguousarray(hashes))

    def near(self, asked: NDArray[np.uint8], bits: int) -> NDArray[np.bool_]:
        """Tell of each hash u8[M,B] whether a listed one differs in at most so many bits.

        Of 16 bands of 16 bits one differs in at most bits // 16 (Norouzi, Punjani, Fleet: Fast Search in Hamming Space with
        Multi-Index Hashing, CVPR 2012, §3), so the index misses nothing when it looks that far.
        """
        if self.count == 0 or len(asked) == 0:
            return np.zeros(len(asked), np.bool_)
        if self.indexed:
            self._index.nflip = bits // _BANDS
        limits, _, _ = self._index.range_search(np.ascontiguousarray(asked), bits + 1)  # FAISS means "fewer than"
        return np.asarray(np.diff(limits) > 0)
