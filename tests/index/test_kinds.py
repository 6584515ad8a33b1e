"""Which kind for which size, memory and recall: a table, and that FAISS knows every kind in it."""

import faiss
import pytest

from index.kinds import EXACT, EXACT_ROWS, choose, lists_for, lossless_bytes

GB = 10**9
TABLE = [
    (1, 512, 4 * GB, 0.95, EXACT),
    (EXACT_ROWS - 1, 512, 4 * GB, 0.95, EXACT),
    (EXACT_ROWS - 1, 512, 40_000_000, 0.95, "IVF1024_HNSW32,PQ128x4fsr"),
    (EXACT_ROWS - 1, 512, 3_000_000, 0.95, "IVF1024_HNSW32,RaBitQ"),
    (EXACT_ROWS, 512, 4 * GB, 0.95, "IVF1024_HNSW32,SQfp16"),
    (10**6, 512, 2 * GB, 0.95, "IVF4096_HNSW32,SQfp16"),
    (10**6, 512, GB, 0.95, "IVF4096_HNSW32,PQ128x4fsr"),
    (10**6, 768, GB, 0.9, "IVF4096_HNSW32,PQ192x4fsr"),
    (10**6, 192, GB // 4, 0.95, "IVF4096_HNSW32,PQ96x4fsr"),
    (4 * 10**6, 512, 2 * GB, 0.95, "IVF8192_HNSW32,PQ128x4fsr"),
    (10**6, 512, 50_000_000, 0.95, "IVF4096_HNSW32,RaBitQ"),
    (10**7, 512, 4 * GB, 0.95, "IVF16384_HNSW32,RaBitQ"),
    (10**6, 192, 10_000_000, 0.95, "IVF4096_HNSW32,RaBitQ4"),
    (10**6, 514, GB, 0.95, "IVF4096_HNSW32,RaBitQ"),
    (10**6, 512, 4 * GB, 0.991, "IVF4096_HNSW32,SQfp16"),
    (10**6, 512, GB, 0.991, "IVF4096_HNSW32,SQ8"),
    (10**6, 512, 400_000_000, 0.991, "IVF4096_HNSW32,PQ128x4fsr"),
]


@pytest.mark.parametrize(("rows", "dimensions", "memory_bytes", "recall_frac", "factory"), TABLE)
def test_the_kind_follows_from_size_memory_and_recall(
    rows: int, dimensions: int, memory_bytes: int, recall_frac: float, factory: str
) -> None:
    kind = choose(rows, dimensions, memory_bytes, recall_frac)
    assert kind.factory == factory
    assert kind.why
    assert kind.memory_bytes <= kind.bytes
    assert (kind.lists == 0) == (factory == EXACT)
    index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
    assert index.d == dimensions
    if kind.lists:
        rows_bytes = rows * (index.sa_code_size() + 8)
        assert rows_bytes <= kind.bytes <= rows_bytes + kind.lists * (4 * dimensions + 280 + 16 * index.sa_code_size())


def test_what_must_be_in_memory_fits_in_what_was_given() -> None:
    for memory_bytes in (60_000_000, 100_000_000, GB, 100 * GB):
        for rows in (60_000, 10**6, 10**7):
            assert choose(rows, 512, memory_bytes, 0.95).memory_bytes <= memory_bytes


def test_lists_grow_with_the_square_root() -> None:
    assert [lists_for(rows) for rows in (1, 50_000, 10**6, 10**7, 10**8)] == [64, 1024, 4096, 16384, 32768]


def test_whole_vectors_fit_where_the_advice_says_so() -> None:
    for rows, dimensions in ((60_000, 8), (10**6, 512), (10**7, 1024)):
        assert choose(rows, dimensions, lossless_bytes(rows, dimensions), 0.995).factory.endswith("SQfp16")
