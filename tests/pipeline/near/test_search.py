import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.near import search
from pipeline.near.plan import Recall, usual_margin
from pipeline.near.search import Near, NearOptions, near_pairs
from pipeline.near.source import Held
from pipeline.near.spill import Spill, spilled, spilled_locally
from pipeline.store import Store

F16 = NDArray[np.float16]


def planted(rows: int, dimensions: int = 48, seed: int = 0) -> F16:
    """Draw vectors around themes, a third of them in pairs at cosines of 0.88 to 0.99."""
    rng = np.random.default_rng(seed)

    def unit(made: Any) -> Any:
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    themes = unit(rng.standard_normal((max(2, rows // 60), dimensions)))
    made = unit(0.6 * themes[rng.integers(0, len(themes), rows)] + unit(rng.standard_normal((rows, dimensions))))
    twins = rows // 3
    spread = rng.uniform(0.88, 0.99, (twins, 1))
    made[:twins] = unit(
        made[twins : 2 * twins] + unit(rng.standard_normal((twins, dimensions))) * np.sqrt(1 / spread**2 - 1)
    )
    return np.asarray(made[rng.permutation(rows)], np.float16)


def brute(vectors: F16, least: float) -> set[tuple[int, int]]:
    rows = vectors.astype(np.float32)
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(rows @ rows.T >= least, 1))}


def as_set(near: Near) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in near.pairs}


def test_what_brute_force_finds_is_found_at_the_target_and_the_recall_told_is_true() -> None:
    vectors = planted(6_000)
    found = near_pairs(Held(vectors, 700), NearOptions(0.9, 0.99, exact_rows=100))
    expected = brute(vectors, 0.9)
    assert len(expected) > 1_000
    assert as_set(found) <= expected
    recall = len(as_set(found)) / len(expected)
    assert recall >= 0.985
    low, high = found.plan.recall.interval
    assert low <= recall <= high
    assert found.plan.clusterings


def test_a_lower_target_is_cheaper_and_finds_less() -> None:
    vectors = planted(6_000)
    rough, fine = (near_pairs(Held(vectors), NearOptions(0.9, target, exact_rows=100)) for target in (0.7, 0.995))
    assert rough.plan.compared < fine.plan.compared
    assert len(as_set(rough)) < len(as_set(fine))


@dataclass(frozen=True)
class Shuffled:
    """The same rows in other blocks and another order, under the same numbers."""

    vectors: F16
    size: int
    seed: int

    @property
    def block_rows(self) -> list[int]:
        return [min(self.size, len(self.vectors) - at) for at in range(0, len(self.vectors), self.size)]

    def load(self, block: int) -> tuple[NDArray[np.int64], F16]:
        order = np.random.default_rng(self.seed).permutation(len(self.vectors))
        mine = order[block * self.size : (block + 1) * self.size]
        return mine, self.vectors[mine]


def in_threads(fn: Any, items: Any) -> list[Any]:
    with ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda item: fn(*item), items))


@pytest.mark.parametrize("exact_rows", [50_000, 100])
def test_neither_order_nor_blocks_nor_tasks_nor_workers_change_the_pairs(
    exact_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, options = planted(3_000), NearOptions(0.9, exact_rows=exact_rows)
    vectors[5] = vectors[2_000] = vectors[77]
    first = near_pairs(Held(vectors), options)
    monkeypatch.setattr(search, "_GROUP_ROWS", 500)
    monkeypatch.setattr(search, "_TASK_BYTES", 20_000)
    second = near_pairs(Shuffled(vectors, 217, seed=1), options, spread=in_threads)
    assert first.pairs.tolist() == second.pairs.tolist()
    assert first.cos.tolist() == second.cos.tolist()
    assert first.same.tolist() == second.same.tolist()
    assert first.same[[5, 77, 2_000]].tolist() == [5, 5, 5]


def test_rows_that_are_not_wanted_or_not_usable_are_in_no_pair() -> None:
    vectors = planted(400)
    vectors[3], vectors[4] = np.nan, 0
    wanted = np.ones(400, np.bool_)
    wanted[10:50] = False
    found = near_pairs(Held(vectors, 64), NearOptions(0.85, exact_rows=10), wanted=wanted)
    assert set(found.pairs.ravel().tolist()).isdisjoint({3, 4, *range(10, 50)})
    assert (found.same[[3, 4, 10]] == -1).all()


def test_nothing_to_search_is_no_error() -> None:
    for rows in (0, 1):
        found = near_pairs(Held(np.ones((rows, 8), np.float16)), NearOptions(0.9))
        assert (len(found.pairs), len(found.same)) == (0, rows)


def test_of_no_near_pairs_no_recall_is_told() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((1_500, 256))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    found = near_pairs(Held(vectors), NearOptions(0.95, exact_rows=100))
    assert found.plan.recall.frac is None
    assert found.plan.margin_cos == usual_margin(0.95, 256)


def test_the_interval_is_wilsons() -> None:
    low, high = Recall(9, 10).interval
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
    assert Recall(0, 0).interval == (0.0, 1.0)


def test_a_spill_is_gone_afterwards_whatever_happened(tmp_path: Path) -> None:
    store = Store.open_url(str(tmp_path))
    Spill(store, "tmp/copies").write("left/by-a-killed-run", np.ones(3))

    def broken() -> None:
        with spilled(store, "tmp/copies") as spill:
            assert not store.exists("tmp/copies/left/by-a-killed-run.npy")
            spill.inner("a").write("b", np.arange(12.0).reshape(6, 2))
            assert spill.inner("a").rows("b", 2, 4).tolist() == [[4.0, 5.0], [6.0, 7.0]]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with spilled_locally(str(tmp_path)) as local:
        local.write("c", np.ones(2))
    assert list(tmp_path.glob("tamis-*")) == []


def test_a_spill_in_an_object_store_is_swept_with_the_drafts(s3_endpoint: str) -> None:
    store = Store.open_url("s3://sets/spilled")
    spill = Spill(store, "tmp/copies")
    spill.write("vectors", np.arange(20, dtype=np.float16).reshape(10, 2))
    assert spill.rows("vectors", 9, 10).tolist() == [[18.0, 19.0]]
    assert spill.read("vectors").shape == (10, 2)
    store.sweep()
    assert not store.exists("tmp/copies/vectors.npy")


_MEASURED = """
import resource, sys
import numpy as np
from pipeline.near.search import NearOptions, near_pairs

class Drawn:
    block_rows = [10_000] * 20
    def load(self, block):
        rng = np.random.default_rng(block // 2)  # every second block repeats the one before, slightly moved
        rows = rng.standard_normal((10_000, int(sys.argv[1]))).astype(np.float32)
        rows += 0.2 * np.random.default_rng(100 + block).standard_normal(rows.shape).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return np.arange(block * 10_000, (block + 1) * 10_000), rows.astype(np.float16)

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = near_pairs(Drawn(), NearOptions(0.9))
print(len(found.pairs), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dimensions_of_the_set() -> None:
    peaks = []
    for dimensions in (64, 512):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, str(dimensions)], capture_output=True, text=True, env=env, check=True
        )
        pairs, peak_mb = map(int, done.stdout.split())
        assert pairs >= 0.98 * 100_000
        peaks.append(peak_mb)
    assert peaks[0] < 350
    assert (
        peaks[1] < 800
    )  # the vectors alone are 205 MB in 16 bits and 410 MB in 32; twelve probes' gaps and a group besides
