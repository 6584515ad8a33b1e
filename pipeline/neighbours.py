"""Find all pairs of rows that are near each other: bit codes within a Hamming radius, embeddings above a cosine."""

from itertools import pairwise
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.near.search import Near, NearOptions, Pairs, near_pairs
from pipeline.near.source import Held

_QUERY_ROWS = 8_192
_HUBS = 8


def _unique_rows(rows: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the first row of each distinct value of u8[N,B], and for every row the number of its value."""
    packed = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).reshape(-1)
    _, first, value = np.unique(packed, return_index=True, return_inverse=True)
    return first, value.reshape(-1)


def _ordered(pairs: list[Pairs], rows: int) -> Pairs:
    """Merge pairs, smaller row first, each once, sorted."""
    if not pairs:
        return np.empty((0, 2), np.int64)
    both = np.concatenate(pairs)
    key = np.unique(np.minimum(both[:, 0], both[:, 1]) * rows + np.maximum(both[:, 0], both[:, 1]))
    merged = np.stack([key // rows, key % rows], axis=1)
    return np.asarray(merged[merged[:, 0] != merged[:, 1]], np.int64)


def _expand(pairs: Pairs, value: NDArray[np.int64]) -> Pairs:
    """Turn pairs of distinct values into pairs of the rows that hold them.

    Rows of one value are linked to its first eight only: ten thousand equal icons need not be compared each with each.
    """
    order = np.argsort(value, kind="stable").astype(np.int64)
    bounds = np.searchsorted(value[order], np.arange(value.max(initial=-1) + 2))
    hubs = [order[start : min(stop, start + _HUBS)] for start, stop in pairwise(bounds)]
    out: list[Pairs] = []
    for start, stop in pairwise(bounds):
        if stop - start > 1:
            members, near = order[start:stop], order[start : min(stop, start + _HUBS)]
            grid = np.stack(np.meshgrid(near, members, indexing="ij"), axis=-1).reshape(-1, 2)
            out.append(grid)
    single = np.diff(bounds) == 1
    plain = single[pairs[:, 0]] & single[pairs[:, 1]] if len(pairs) else np.empty(0, np.bool_)
    out.append(order[bounds[:-1][pairs[plain]]])
    out.extend(
        np.stack(np.meshgrid(hubs[a], hubs[b], indexing="ij"), axis=-1).reshape(-1, 2)
        for a, b in pairs[~plain].tolist()
    )
    return _ordered(out, len(value))


def hamming_pairs(codes: NDArray[np.uint8], radius_bits: int, *, exact_rows: int = 50_000) -> Pairs:
    """Find the pairs of codes u8[N,B] that differ in at most `radius_bits` bits; i64[M,2], smaller row first.

    Above `exact_rows` distinct codes, multi-index hashing replaces the scan. It is exact too (Norouzi et al. 2012): of
    m chunks one differs in at most radius // m bits, and all such keys are probed.
    """
    if not len(codes):
        return np.empty((0, 2), np.int64)
    first, value = _unique_rows(codes)
    distinct = np.ascontiguousarray(codes[first])
    bits = distinct.shape[1] * 8
    if len(distinct) <= exact_rows:
        index: Any = faiss.IndexBinaryFlat(bits)
    else:
        chunks = bits // 16
        index = faiss.IndexBinaryMultiHash(bits, chunks, 16)
        index.nflip = radius_bits // chunks
    index.add(distinct)
    found: list[Pairs] = []
    for start in range(0, len(distinct), _QUERY_ROWS):
        query = distinct[start : start + _QUERY_ROWS]
        # FAISS finds distances strictly below the radius it is given
        limits, _, targets = index.range_search(query, radius_bits + 1)
        sources = np.repeat(np.arange(start, start + len(query)), np.diff(limits).astype(np.int64))
        upper = sources < targets
        found.append(np.stack([sources[upper], targets[upper]], axis=1))
    return _expand(_ordered(found, len(distinct)), value)


def cosine_pairs(
    emb: NDArray[np.float16],
    least_cos: float,
    *,
    exact_rows: int = 50_000,
    target_recall: float = 0.99,
    max_per_row: int = 64,
    seed: int = 0,
) -> Pairs:
    """Find pairs of f16[N,D] unit-norm rows whose cosine is at least `least_cos`; i64[M,2], smaller row first.

    The same search as over sets larger than memory (`near.search`), with rows of equal vectors linked to the first eight.
    """
    options = NearOptions(least_cos, target_recall, exact_rows, max_per_row, seed)
    return linked(near_pairs(Held(emb), options))


def linked(near: Near) -> Pairs:
    """Turn near pairs of distinct vectors into pairs of the rows that hold them."""
    searched = np.flatnonzero(near.same >= 0)
    first, value = np.unique(near.same[searched], return_inverse=True)
    pairs = np.searchsorted(first, near.pairs)
    return np.asarray(searched[_expand(pairs, value.reshape(-1))], np.int64)
