"""Find all pairs of rows that are near each other: bit codes within a Hamming radius, embeddings above a cosine."""

from itertools import pairwise
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.int64]
_QUERY_ROWS = 8_192
_BLOCK_ROWS = 2_048
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


def _hits(left: NDArray[np.float32], right: NDArray[np.float32], least: float, most: int) -> tuple[Pairs, Pairs]:
    """List where left · rightᵀ reaches `least`, at most about `most` a row, the nearest ones."""
    cosine = left @ right.T
    near = cosine >= least
    crowded = np.flatnonzero(np.count_nonzero(near, axis=1) > most)
    if len(crowded):
        floor = np.partition(cosine[crowded], -most, axis=1)[:, -most]
        near[crowded] &= cosine[crowded] >= floor[:, None]
    flat = np.flatnonzero(near)
    return flat // near.shape[1], flat % near.shape[1]


def _all_pairs(emb: NDArray[np.float16], least: float, most: int) -> list[Pairs]:
    found: list[Pairs] = []
    for top in range(0, len(emb), _BLOCK_ROWS):
        left = emb[top : top + _BLOCK_ROWS].astype(np.float32)
        for start in range(top, len(emb), _BLOCK_ROWS):
            rows, columns = _hits(left, emb[start : start + _BLOCK_ROWS].astype(np.float32), least, most)
            upper = rows + top < columns + start
            found.append(np.stack([rows[upper] + top, columns[upper] + start], axis=1))
    return found


def _clustering(emb: NDArray[np.float16], lists: int, probes: int, seed: int) -> NDArray[np.int64]:
    """Give every row its nearest centroids, i64[N,probes], of a spherical k-means on a sample."""
    rng = np.random.default_rng(seed)
    sample = emb[np.sort(rng.choice(len(emb), size=min(len(emb), 40 * lists), replace=False))].astype(np.float32)
    kmeans = faiss.Kmeans(
        emb.shape[1], lists, niter=4, seed=seed, spherical=True, min_points_per_centroid=1, max_points_per_centroid=40
    )
    kmeans.train(sample)
    near = np.empty((len(emb), probes), np.int64)
    for start in range(0, len(emb), _QUERY_ROWS):
        block = emb[start : start + _QUERY_ROWS].astype(np.float32)
        near[start : start + len(block)] = kmeans.index.search(block, probes)[1]
    return near


def _clustered_pairs(emb: NDArray[np.float16], least: float, most: int, probes: int, seed: int) -> list[Pairs]:
    """Compare rows sharing a cluster: each row in its nearest one with all that have it among their nearest."""
    lists = max(1, round(len(emb) ** 0.5))  # measured at 100,000 rows: twice as many cost more than they save
    near = _clustering(emb, lists, min(probes, lists), seed)
    order = np.argsort(near.T.reshape(-1), kind="stable")  # within a list, the rows nearest to it come first
    bounds = np.searchsorted(near.T.reshape(-1)[order], np.arange(lists + 1))
    found: list[Pairs] = []
    for start, stop in pairwise(bounds):
        entries = order[start:stop]
        rows = entries % len(emb)
        members = emb[rows].astype(np.float32)
        home = int((entries < len(emb)).sum())
        for top in range(0, home, _BLOCK_ROWS):
            one, two = _hits(members[top : min(home, top + _BLOCK_ROWS)], members, least, most)
            upper = one + top < two
            found.append(np.stack([rows[one[upper] + top], rows[two[upper]]], axis=1))
    return found


def cosine_pairs(
    emb: NDArray[np.float16],
    least_cos: float,
    *,
    exact_rows: int = 50_000,
    clusterings: int = 2,
    probes: int = 3,
    max_per_row: int = 64,
    seed: int = 0,
) -> Pairs:
    """Find pairs of f16[N,D] unit-norm rows whose cosine is at least `least_cos`; i64[M,2], smaller row first.

    Up to `exact_rows` distinct rows every pair is looked at, in blocks. Beyond, rows are compared within clusters, and
    the union over several clusterings finds what one of them cuts apart. A row that is near more than `max_per_row`
    others in a block or cluster is proposed with the nearest of them. Rows that are not finite or zero are near nothing.
    """
    norms = np.concatenate(
        [
            np.linalg.norm(emb[at : at + _QUERY_ROWS].astype(np.float32), axis=1)
            for at in range(0, len(emb), _QUERY_ROWS)
        ]
        or [np.empty(0, np.float32)]
    )
    usable = np.flatnonzero(np.isfinite(norms) & (norms > 0.5))
    if len(usable) < 2:
        return np.empty((0, 2), np.int64)
    rows = emb if len(usable) == len(emb) else emb[usable]
    first, value = _unique_rows(np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), -1))
    distinct = rows if len(first) == len(rows) else rows[first]
    if len(first) == len(rows):
        value = np.arange(len(rows))
    if len(distinct) <= exact_rows:
        found = _all_pairs(distinct, least_cos, max_per_row)
    else:
        seeds = np.random.SeedSequence(seed).generate_state(clusterings) % 2**31
        found = [
            pairs
            for one in seeds.tolist()
            for pairs in _clustered_pairs(distinct, least_cos, max_per_row, probes, int(one))
        ]
    return np.asarray(usable[_expand(_ordered(found, len(distinct)), value)], np.int64)
