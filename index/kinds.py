"""Which FAISS kind for how many vectors, how much memory and which recall: a table, and the numbers behind it. Pure."""

import math
from dataclasses import dataclass, replace
from typing import Final

EXACT: Final = "IDMap2,SQfp16"
"""Every vector is looked at. Vectors are stored as float16, so float16 codes lose nothing and take half of IndexFlat's memory."""
EXACT_ROWS: Final = 50_000
"""Below, a look at all takes a few milliseconds (50,000 × 512: 51 MB)."""

_GRAPH_LISTS: Final = 1024
"""From so many lists on their centroids are found through a graph (HNSW): 0.1 ms instead of 1 ms for 4,096 of 512 numbers."""
_LOSSLESS_FRAC: Final = 0.99
_FINE_DIMENSIONS: Final = 256
_DEPTHS: Final = (20, 50, 100, 200, 400)
_OPENED_BYTES: Final = 500_000_000
"""Of what has to be read when an index is opened, so that it takes less than a second."""
TRAIN_ROWS: Final = 40
"""Vectors a list to learn centroids from; FAISS asks for 39 at least."""


@dataclass(frozen=True)
class Kind:
    """What to build and what to expect of it."""

    factory: str  # as faiss.index_factory takes it
    lists: int  # 0: exact
    bytes: int  # of the file
    memory_bytes: int  # that cannot be given back while it is open; lists on disk are mapped
    depth: tuple[int, ...]  # how many proposals to compare exactly for ten answers, in the order to be tried
    why: str


def lists_for(rows: int) -> int:
    """Return the number of lists: four times the square root, so that finding a list costs as much as looking through some."""
    return 1 << max(6, round(math.log2(4 * math.sqrt(max(1, rows)))))


def choose(rows: int, dimensions: int, memory_bytes: int, recall_frac: float) -> Kind:
    """Return the kind for one modality's vectors, of which `memory_bytes` may be held in memory.

    Exact below 50,000, where that fits. Beyond, whole vectors in lists (IVF, Sivic & Zisserman 2003) where they fit: nothing else
    answers faster. Then product quantization of four bits with fast scan (André et al. 2017, arXiv 1704.07355) as long as it fits and
    opens in a second, then bits of RaBitQ (Gao & Long 2024, arXiv 2405.12497) in lists that stay on disk, mapped; both only propose,
    and the stored vectors rank. Above a recall of 0.99 a byte a number comes before them, where memory allows. Where not even the
    centroids of the last kind fit, its own `memory_bytes` is more than what was given.
    """
    size = rows * (2 * dimensions + 8)
    if rows < EXACT_ROWS and size <= memory_bytes:
        return Kind(EXACT, 0, size, size, (10,), f"{rows:,} vectors are few enough to look at each of them")
    lists = lists_for(rows)
    graph = lists >= _GRAPH_LISTS
    coarse = f"IVF{lists}_HNSW32" if graph else f"IVF{lists}"
    head = lists * (4 * dimensions + (272 if graph else 0) + 8)
    fine = dimensions >= _FINE_DIMENSIONS  # of few numbers a bit each says too little
    pieces = dimensions // (4 if fine else 2)

    def kind(codes: str, code_bytes: int, depth: tuple[int, ...], *, mapped: bool = True) -> Kind:
        padding = 0 if mapped else 16 * lists * code_bytes  # fast scan's blocks of 32, of which the last is half full
        size = head + rows * (code_bytes + 8) + padding
        return Kind(f"{coarse},{codes}", lists, size, head if mapped else size, depth, "")

    whole = kind("SQfp16", 2 * dimensions, (16,))
    bytewise = kind("SQ8", dimensions, (20, 50, 100))
    fast = kind(f"PQ{pieces}x4fsr", -(-pieces // 2), _DEPTHS, mapped=False)
    bits = kind("RaBitQ" if fine else "RaBitQ4", dimensions // 8 + 8 if fine else dimensions // 2 + 20, _DEPTHS)
    budget = f"{memory_bytes / 1e9:,.3g} GB"
    if whole.bytes <= memory_bytes:
        return replace(
            whole, why=f"whole vectors fit in {budget}: no codes have to be told apart, and nothing answers faster"
        )
    if recall_frac > _LOSSLESS_FRAC and bytewise.bytes <= memory_bytes:
        return replace(bytewise, why=f"a recall above {_LOSSLESS_FRAC}, and room for a byte a number in {budget}")
    if dimensions % 4 == 0 and fast.memory_bytes <= min(memory_bytes, _OPENED_BYTES):
        return replace(
            fast,
            why=f"codes of four bits fit in {budget} and are opened at once; the stored vectors rank what they propose",
        )
    return replace(
        bits,
        why=f"codes in memory would not fit in {budget} or not open within a second, so lists stay on disk, mapped",
    )


def lossless_bytes(rows: int, dimensions: int) -> int:
    """Return the size of one modality's index whose vectors are kept as they are stored."""
    return rows * (2 * dimensions + 8) + lists_for(rows) * (4 * dimensions + 280)
