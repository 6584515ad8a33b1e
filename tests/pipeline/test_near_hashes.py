"""Hashes within a radius of listed ones: exactly those, whether scanned or indexed, each at its own radius."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.registry.near_hashes import NearHashes


def flipped(code: NDArray[np.uint8], bits: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    all_bits = np.unpackbits(code)
    all_bits[rng.choice(len(all_bits), bits, replace=False)] ^= 1
    return np.packbits(all_bits)


def planted(width: int, listed: int, distances: list[int], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return listed hashes, and queries at the given distances from the first ones."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (listed, width), np.uint8)
    return hashes, np.stack([flipped(hashes[at], bits, rng) for at, bits in enumerate(distances)])


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("width", "radius", "distances"), [(32, 31, [0, 1, 30, 31, 32, 33, 60]), (8, 10, [0, 1, 9, 10, 11])]
)
def test_the_radius_is_met_to_the_bit(indexed: bool, width: int, radius: int, distances: list[int]) -> None:
    hashes, queries = planted(width, 9_000, distances, seed=1)
    rows, at, bits = NearHashes(hashes, indexed=indexed).pairs(queries, radius)
    planted_ones = [(row, row, d) for row, d in enumerate(distances) if d <= radius]
    found = list(zip(rows.tolist(), at.tolist(), bits.tolist(), strict=True))
    assert [one for one in found if one[0] == one[1]] == planted_ones


@pytest.mark.parametrize(("width", "radius"), [(32, 31), (32, 47), (8, 12)])
def test_the_index_finds_what_brute_force_finds(width: int, radius: int) -> None:
    rng = np.random.default_rng(2)
    hashes = rng.integers(0, 256, (6_000, width), np.uint8)
    hashes[:300, : width // 2] = hashes[0, : width // 2]  # a crowded corner
    queries = np.concatenate([flipped(h, int(rng.integers(0, radius + 4)), rng)[None] for h in hashes[:700]])
    for one, other in zip(
        NearHashes(hashes, indexed=True).pairs(queries, radius),
        NearHashes(hashes, indexed=False).pairs(queries, radius),
        strict=True,
    ):
        assert one.tolist() == other.tolist()


def test_each_listed_hash_has_its_own_radius_and_zero_means_the_usual_one() -> None:
    hashes, queries = planted(32, 3, [20, 20, 20], seed=3)
    radii = np.array([19, 20, 0], np.uint8)
    assert NearHashes(hashes, radii).near(queries, 25).tolist() == [False, True, True]
    assert NearHashes(hashes, radii).near(queries, 19).tolist() == [False, True, False]


def test_the_order_of_lists_and_queries_does_not_matter() -> None:
    hashes, queries = planted(32, 7_000, [0, 31, 32, 5], seed=4)
    order = np.random.default_rng(5).permutation(len(hashes))
    assert NearHashes(hashes[order]).near(queries[::-1], 31)[::-1].tolist() == [True, True, False, True]


def test_nothing_listed_and_nothing_asked_find_nothing() -> None:
    none = np.zeros((0, 32), np.uint8)
    assert NearHashes(none).near(np.zeros((3, 32), np.uint8), 31).tolist() == [False] * 3
    assert NearHashes(np.zeros((3, 32), np.uint8)).near(none, 31).tolist() == []
