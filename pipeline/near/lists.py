"""The near pairs within one list of vectors: a product in blocks, of which only what can reach the cosine is looked at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.near.bounds import SLACK_COS, bounded, cosines, dimensions_enough

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

_BLOCK_ROWS = 256
_BLOCK_COLUMNS = 8_192
_MOST_HITS = 2_000_000
"""Hits held before those of crowded rows are let go; beyond, halving the work is given up for bounded memory."""


class Hits(NamedTuple):
    """Pairs of positions in a list with their cosine; the first of each pair is at home in it."""

    one: I64
    two: I64
    cos: F32

    @classmethod
    def joined(cls, parts: "list[Hits]") -> "Hits":
        """Put several together."""
        if not parts:
            return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def only(self, mask: NDArray[np.bool_]) -> "Hits":
        """Return those of a mask."""
        return Hits(self.one[mask], self.two[mask], self.cos[mask])


def list_pairs(vectors: F16, home: int, least_cos: float, most: int) -> Hits:
    """Find the pairs of f16[L,D] unit-norm rows with a cosine of at least `least_cos`, of which one is among the first `home`.

    A row at home that is near more than `most` others keeps the nearest, equally near ones by position; a pair stays
    when either of its rows keeps it. The result does not depend on how the product is cut into blocks.
    """
    rows = vectors.astype(np.float32)
    bound = bounded(rows, dimensions_enough(rows, least_cos))
    found: list[Hits] = []
    held = 0
    for top in range(0, home, _BLOCK_ROWS):
        stop = min(home, top + _BLOCK_ROWS)
        hits = _block(rows, bound, top, stop, top, least_cos)
        found.append(hits.only(hits.one < hits.two))
        held += len(hits.one)
        if held > _MOST_HITS:
            return _crowded_pairs(rows, bound, home, least_cos, most)
    return _trimmed(Hits.joined(found), home, most)


def _block(rows: F32, bound: F32, top: int, stop: int, first: int, least_cos: float) -> Hits:
    """Compare rows top…stop with all from `first` on."""
    found: list[Hits] = []
    for start in range(first, len(rows), _BLOCK_COLUMNS):
        right = bound[start : start + _BLOCK_COLUMNS]
        product = bound[top:stop] @ right.T
        if product.max(initial=-1.0) < least_cos - SLACK_COS:  # a fifteenth of what the comparison costs
            continue
        flat = np.flatnonzero(product >= least_cos - SLACK_COS)
        one, two = np.divmod(flat, len(right))
        one, two = one + top, two + start
        # the product's last bits depend on the block's shape, those of a single pair do not
        cos = cosines(rows, one, rows, two)
        found.append(Hits(one, two, cos).only(cos >= np.float32(least_cos)))
    return Hits.joined(found)


def _directed(hits: Hits, home: int) -> Hits:
    """Give every hit once for each of its rows that is at home."""
    back = hits.only(hits.two < home)
    return Hits.joined([hits, Hits(back.two, back.one, back.cos)])


def _nearest(hits: Hits, most: int) -> Hits:
    """Keep the nearest `most` of each first row."""
    order = np.lexsort((hits.two, -hits.cos, hits.one))
    one = hits.one[order]
    first = np.flatnonzero(np.r_[True, one[1:] != one[:-1]]) if len(one) else np.empty(0, np.int64)
    rank = np.arange(len(one)) - np.repeat(first, np.diff(np.append(first, len(one))))
    kept = order[rank < most]
    return Hits(hits.one[kept], hits.two[kept], hits.cos[kept])


def unordered(hits: Hits) -> Hits:
    """Write pairs smaller number first, sorted, each once."""
    low, high = np.minimum(hits.one, hits.two), np.maximum(hits.one, hits.two)
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    new = np.r_[True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])] if len(low) else np.empty(0, np.bool_)
    return Hits(low[new], high[new], hits.cos[order][new])


def _trimmed(hits: Hits, home: int, most: int) -> Hits:
    both = _directed(hits, home)
    if not len(both.one) or int(np.bincount(both.one).max()) <= most:
        return hits
    return unordered(_nearest(both, most))


def _crowded_pairs(rows: F32, bound: F32, home: int, least_cos: float, most: int) -> Hits:
    """Do the same where nearly everything is near: every block's rows are trimmed before the next is looked at."""
    found: list[Hits] = []
    for top in range(0, home, _BLOCK_ROWS):
        hits = _block(rows, bound, top, min(home, top + _BLOCK_ROWS), 0, least_cos)
        found.append(_nearest(hits.only(hits.one != hits.two), most))
    return unordered(Hits.joined(found))
