"""Embedding neighbours: our clustered search against brute force over all pairs, in one run.

100,000 unit vectors f16 of 256 dimensions. 30 % are copies: families of 2 to 6 whose members lie around a common centre at
cosines of 0.85 to 0.99 with each other; the rest are alone. Centres are drawn around 2,000 themes (cosine about 0.5 to the
theme), so that strangers are alike as they are in real sets. Sought are all pairs with a cosine of at least 0.9. The peer is
what one would write: blocks of a NumPy product, upper triangle only, float32. Wall seconds on one thread each, since threads of
small products wait for one another on busy cores; the best of two for ours, one for the peer. Prints a JSON line.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.neighbours import cosine_pairs

ROWS, DIMENSIONS, THEMES, LEAST_COS = 100_000, 256, 2_000, 0.9


def _unit(rows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def made_embeddings(seed: int = 0) -> NDArray[np.float16]:
    """Draw the embeddings described above, f16[N,D] unit norm, in random order."""
    rng = np.random.default_rng(seed)
    themes = _unit(rng.standard_normal((THEMES, DIMENSIONS), np.float32))
    sizes: list[int] = []
    while sum(sizes) < ROWS:
        sizes.append(int(rng.integers(2, 7)) if rng.random() < 0.097 else 1)
    theme = rng.integers(0, THEMES, len(sizes))
    centres = _unit(0.58 * themes[theme] + _unit(rng.standard_normal((len(sizes), DIMENSIONS), np.float32)))
    family = np.repeat(np.arange(len(sizes)), sizes)[:ROWS]
    # members at cosine c to the centre have c² to each other
    spread = np.sqrt(rng.uniform(0.85, 0.99, len(sizes)))[family].astype(np.float32)
    noise = _unit(rng.standard_normal((ROWS, DIMENSIONS), np.float32))
    rows = _unit(centres[family] + noise * (np.sqrt(1 - spread**2) / spread)[:, None])
    return rows[rng.permutation(ROWS)].astype(np.float16)


def brute_force(emb: NDArray[np.float16], least_cos: float) -> NDArray[np.int64]:
    """Compare all pairs in blocks."""
    rows = emb.astype(np.float32)
    found = []
    for top in range(0, len(rows), 2_048):
        left = rows[top : top + 2_048]
        for start in range(top, len(rows), 8_192):
            one, two = np.nonzero(left @ rows[start : start + 8_192].T >= least_cos)
            upper = one + top < two + start
            found.append(np.stack([one[upper] + top, two[upper] + start], axis=1))
    return np.concatenate(found)


def main() -> None:
    """Measure and print."""
    emb = made_embeddings()
    cosine_pairs(emb[:60_000], LEAST_COS)  # warm up threads and allocator
    ours_s = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        ours = cosine_pairs(emb, LEAST_COS)
        ours_s = min(ours_s, time.perf_counter() - start)
    start = time.perf_counter()
    truth = brute_force(emb, LEAST_COS)
    peer_s = time.perf_counter() - start
    keys = truth[:, 0] * ROWS + truth[:, 1]
    recall = float(np.isin(keys, ours[:, 0] * ROWS + ours[:, 1]).mean())
    row = {
        "claim": "copies: 100,000 embeddings, pairs with cosine ≥ 0.9",
        "ours": round(ours_s, 2),
        "peer": round(peer_s, 2),
        "ratio": round(peer_s / ours_s, 1),
        "unit": "s",
        "recall": round(recall, 4),
        "pairs": len(truth),
        "aim": "≥ 10×, recall ≥ 0.99",
    }
    print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
