"""Which part a row belongs to: balanced parts, no domain over its share where there are enough domains. Pure."""

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

BUCKET_ROWS = 250_000
"""Rows that one layout task holds in memory (about 200 MB with their texts)."""


@dataclass(frozen=True)
class Buckets:
    """Splits rows over tasks by domain hash; a large domain is spread over several by URL hash.

    Every row of a (URL, text) pair lands in one bucket, so equal pairs and URLs meet there.
    """

    count: int
    large: dict[int, int]  # domain hash → over how many buckets it is spread

    @classmethod
    def plan(cls, domains: U64, rows: I64, share: float, bucket_rows: int = BUCKET_ROWS) -> "Buckets":
        """Choose the buckets from rows per domain hash (upper bounds, before equal pairs are merged)."""
        count = max(1, math.ceil(int(rows.sum()) / bucket_rows))
        limit = max(1, int(share * bucket_rows / 2))
        spread = {}
        if count > 1:
            for domain, n in zip(domains[rows > limit].tolist(), rows[rows > limit].tolist(), strict=True):
                spread[domain] = min(count, math.ceil(n / limit))
        return cls(count, dict(sorted(spread.items())))

    def of(self, domain_hash: U64, url_hash: U64) -> I64:
        """Return the bucket of each row."""
        home = _scale(domain_hash, self.count)
        if not self.large:
            return home
        keys = np.fromiter(self.large, np.uint64, len(self.large))
        widths = np.fromiter(self.large.values(), np.int64, len(self.large))
        at = np.searchsorted(keys, domain_hash).clip(max=len(keys) - 1)
        is_large = keys[at] == domain_hash
        out = home.copy()
        shift = _scale(url_hash[is_large], widths[at[is_large]])
        out[is_large] = (home[is_large] + shift) % self.count
        return out

    def touches(self, bucket: int, low: int, high: int) -> bool:
        """Tell whether rows of `bucket` can lie in a row group whose domain hashes span low…high."""
        first, last = (int(v) for v in _scale(np.array([low, high], np.uint64), self.count))
        return first <= bucket <= last or any(low <= domain <= high for domain in self.large)


def _scale(values: U64, count: int | I64) -> I64:
    """Map 64-bit hashes evenly and monotonically onto 0…count-1, exactly."""
    top = (values >> np.uint64(32)).astype(np.uint64)
    scaled: I64 = ((top * np.asarray(count, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)
    return scaled


def assign_parts(domain: U64, url: U64, part_rows: int, share: float) -> I64:
    """Return the part number of each row.

    Parts are of near-equal size, at most `part_rows` rows where URLs with many texts allow it. A domain is cut, between
    URLs, into as few chunks as keep each at or under `share` of a part; chunks go, largest first, to the emptiest part that
    has none of that domain. A domain too large for that (chunks > parts) is spread evenly over all parts.
    """
    n = len(domain)
    fewest = math.ceil(n / part_rows)
    if fewest <= 1:
        return np.zeros(n, np.int64)
    order = np.lexsort((url, domain))
    d, u = domain[order], url[order]
    for parts in (
        fewest,
        fewest + 1,
        fewest + 2,
    ):  # chunks are not cut to fit, so the fewest may hold a few rows too many
        chunk_of_row = _chunks(d, u, parts, max(1, int(share * (n // parts))))
        sizes = np.bincount(chunk_of_row)
        placed = _place(d[np.searchsorted(chunk_of_row, np.arange(len(sizes)))], sizes, parts)
        if np.bincount(placed, weights=sizes).max() <= part_rows:
            break
    out = np.empty(n, np.int64)
    out[order] = placed[chunk_of_row]
    return out


def _chunks(d: U64, u: U64, parts: int, limit: int) -> I64:
    """Number the chunks of rows sorted by (domain, URL); rows of one URL stay in one chunk."""
    new_domain = np.r_[True, d[1:] != d[:-1]]
    starts = np.flatnonzero(new_domain)
    sizes = np.diff(np.r_[starts, len(d)])
    pieces = np.minimum(np.ceil(sizes / limit).astype(np.int64), parts)
    position = np.arange(len(d)) - np.repeat(starts, sizes)
    piece = position * np.repeat(pieces, sizes) // np.repeat(sizes, sizes)
    new_url = new_domain | np.r_[True, u[1:] != u[:-1]]
    piece = piece[np.maximum.accumulate(np.where(new_url, np.arange(len(d)), 0))]  # the piece of the URL's first row
    new_chunk = new_domain | np.r_[True, piece[1:] != piece[:-1]]
    return np.cumsum(new_chunk) - 1


def _place(domains: U64, sizes: I64, parts: int) -> I64:
    """Put chunks into parts, largest first, each to the emptiest part without its domain."""
    heap = [(0, part) for part in range(parts)]
    holds: dict[int, set[int]] = {}
    placed = np.zeros(len(sizes), np.int64)
    for chunk in np.lexsort((domains, -sizes)).tolist():
        taken = holds.setdefault(int(domains[chunk]), set())
        aside = []
        while heap and heap[0][1] in taken and len(taken) < parts:
            aside.append(heapq.heappop(heap))
        fill, part = heapq.heappop(heap)
        placed[chunk] = part
        taken.add(part)
        heapq.heappush(heap, (fill + int(sizes[chunk]), part))
        for entry in aside:
            heapq.heappush(heap, entry)
    return placed
