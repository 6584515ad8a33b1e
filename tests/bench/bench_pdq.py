"""A stream of PDQ hashes against a million listed ones: our multi-index hashing, and FAISS comparing with every one.

One query in eight is a listed hash with 20 to 40 of its 256 bits flipped, the others are drawn; those of at most 31 bits are
sought. Both answers must be the same. One thread each; milliseconds a query, the best of three; queries come in batches as they
do when earlier fetches are judged. FAISS's own multi-index hashing is timed too, for the record. Prints JSON lines.
`--scale 0.1` for a list of a tenth.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")

import faiss
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.registry.near_hashes import NearHashes

LISTED, QUERIES, BITS, BYTES = 1_000_000, 2_048, 31, 32


def drawn(listed: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw listed hashes and queries, u8[N,32] and u8[M,32]."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (listed, BYTES), np.uint8)
    queries = rng.integers(0, 256, (QUERIES, BYTES), np.uint8)
    for row in range(0, QUERIES, 8):
        bits = np.unpackbits(hashes[int(rng.integers(listed))])
        bits[rng.choice(BYTES * 8, int(rng.integers(20, 41)), replace=False)] ^= 1
        queries[row] = np.packbits(bits)
    return hashes, queries


def timed(work: Callable[[], Any], queries: int, times: int = 3) -> tuple[float, Any]:
    """Return the best milliseconds a query, and the last answer."""
    best, found = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        found = work()
        best = min(best, time.perf_counter() - start)
    return best / queries * 1e3, found


def triples(found: Any) -> set[tuple[int, int, int]]:
    """Return FAISS's answer as (query, listed row, distance)."""
    limits, distances, rows = found
    queries = np.repeat(np.arange(len(limits) - 1), np.diff(limits).astype(np.int64))
    return set(zip(queries.tolist(), rows.tolist(), distances.astype(int).tolist(), strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1.0)
    listed = int(LISTED * parser.parse_args().scale)
    faiss.omp_set_num_threads(1)
    hashes, queries = drawn(listed)
    lists = NearHashes(hashes, indexed=True)
    lists.near(queries[:1], BITS)  # the tables are made at the first use
    ours, found = timed(lambda: lists.pairs(queries, BITS), QUERIES)
    single, _ = timed(lambda: [lists.near(queries[at : at + 1], BITS) for at in range(64)], 64)
    flat = faiss.IndexBinaryFlat(BYTES * 8)
    flat.add(hashes)
    peer, truth = timed(lambda: flat.range_search(queries, BITS + 1), QUERIES)  # FAISS means "fewer than"
    hashed = faiss.IndexBinaryMultiHash(BYTES * 8, 16, 16)
    hashed.nflip = 1
    hashed.add(hashes)
    few = queries[: QUERIES // 8]
    other, _ = timed(lambda: hashed.range_search(few, BITS + 1), len(few), 1)
    same = triples(truth) == set(zip(*(column.tolist() for column in found), strict=True))
    claim = f"PDQ within {BITS} bits of {listed:,} listed hashes"
    row = {"claim": f"{claim}: comparing with each", "ours": round(ours, 3), "peer": round(peer, 3), "unit": "ms/query"}
    more = {"ratio": round(peer / ours, 1), "aim": "exact, ≥ 10×", "exact": same, "found": len(found[0])}
    print(json.dumps({**row, **more, "one_at_a_time_ms": round(single, 2)}, ensure_ascii=False), flush=True)
    row = {"claim": f"{claim}: FAISS MultiHash", "ours": round(ours, 3), "peer": round(other, 3), "unit": "ms/query"}
    print(json.dumps({**row, "ratio": round(other / ours, 1), "aim": "–"}, ensure_ascii=False), flush=True)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
