import numpy as np
import pytest

from pipeline.near import lists
from pipeline.near.lists import Hits, list_pairs, unordered


def drawn(rows: int, crowd: float = 0.4, seed: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
    """Draw unit vectors of which many are near one another."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((max(1, rows // 6), 24))[rng.integers(0, max(1, rows // 6), rows)]
    made = made + crowd * rng.standard_normal(made.shape)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float16)


def brute(vectors: np.ndarray[tuple[int, int], np.dtype[np.float16]], home: int, least: float) -> set[tuple[int, int]]:
    rows = vectors.astype(np.float64)
    near = rows @ rows.T >= least
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(near, 1)) if a < home}


@pytest.mark.parametrize("home", [300, 120, 1, 0])
def test_a_list_gives_every_near_pair_that_has_a_row_at_home(home: int) -> None:
    vectors = drawn(300)
    hits = list_pairs(vectors, home, 0.9, 1_000)
    assert set(zip(hits.one.tolist(), hits.two.tolist(), strict=True)) == brute(vectors, home, 0.9)
    assert np.all(hits.cos >= np.float32(0.9))


def test_blocks_and_crowds_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = drawn(500)

    def told(most: int) -> list[tuple[int, int, float]]:
        hits = list_pairs(vectors, 350, 0.7, most)
        return sorted(zip(hits.one.tolist(), hits.two.tolist(), hits.cos.tolist(), strict=True))

    whole, few = told(10_000), told(3)
    assert len(few) < 0.7 * len(whole)
    monkeypatch.setattr(lists, "_BLOCK_ROWS", 37)
    monkeypatch.setattr(lists, "_BLOCK_COLUMNS", 53)
    assert (told(10_000), told(3)) == (whole, few)
    monkeypatch.setattr(lists, "_MOST_HITS", 10)  # as where nearly everything is near
    assert (told(10_000), told(3)) == (whole, few)


def test_a_crowded_row_keeps_its_nearest_and_whoever_keeps_it() -> None:
    angles = np.array([0.0, 0.02, 0.05, 0.09, 0.14])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    hits = list_pairs(vectors, 5, 0.9, 1)
    assert sorted(zip(hits.one.tolist(), hits.two.tolist(), strict=True)) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_pairs_of_five_billion_rows_stay_apart() -> None:
    last = 5_000_000_000
    one, two = np.array([last, 7, last - 1, 7]), np.array([last - 1, last, last, 3])
    found = unordered(Hits(one, two, np.array([0.9, 0.8, 0.9, 0.7], np.float32)))
    assert list(zip(found.one.tolist(), found.two.tolist(), strict=True)) == [(3, 7), (7, last), (last - 1, last)]
    assert found.cos.tolist() == np.array([0.7, 0.8, 0.9], np.float32).tolist()
