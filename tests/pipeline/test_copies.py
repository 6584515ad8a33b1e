import hashlib

import numpy as np
import pytest

from pipeline.copies import CopyFeatures, CopyOptions, find, propose, verify
from pipeline.neighbours import cosine_pairs, hamming_pairs
from tests.copy_measure import count, embed, features
from tests.planted import Picture, openmoji, openmoji_names, plant, really_identical

FAMILIES = [
    "1F600", "1F603", "1F604", "1F601", "1F606", "1F642", "1F641", "1F610", "1F611", "1F636",  # faces
    "1F550", "1F551", "1F552", "1F553", "1F554", "1F555", "1F55C", "1F55D",  # clocks
    "1F1EB-1F1F7", "1F1EE-1F1F9", "1F1EE-1F1EA", "1F1E7-1F1EA", "1F1E9-1F1EA", "1F1F3-1F1F1", "1F1F7-1F1FA",  # flags
    "2B06", "2B07", "27A1", "2B05", "1F7E5", "1F7E6", "1F7E9", "1F534", "1F535", "2764", "1F49A", "1F499",
]  # fmt: skip


def codes(rng: np.random.Generator, rows: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Draw codes of which every third is a slightly flipped copy of an earlier one."""
    out = rng.integers(0, 256, (rows, width), dtype=np.uint8)
    for row in range(3, rows, 3):
        flips = rng.choice(width * 8, int(rng.integers(0, 14)), replace=False)
        bits = np.unpackbits(out[int(rng.integers(0, row))])
        bits[flips] ^= 1
        out[row] = np.packbits(bits)
    return out


@pytest.mark.parametrize(("width", "radius"), [(8, 10), (32, 31), (8, 0)])
@pytest.mark.parametrize("exact_rows", [10_000, 10])
def test_hamming_pairs_are_those_of_brute_force_however_they_are_found(
    width: int, radius: int, exact_rows: int
) -> None:
    rows = codes(np.random.default_rng(width + radius), 600, width)
    apart = np.unpackbits(rows[:, None] ^ rows[None], axis=2).sum(axis=2)
    expected = np.argwhere(np.triu(apart <= radius, 1))
    assert len(expected) > 0
    assert hamming_pairs(rows, radius, exact_rows=exact_rows).tolist() == expected.tolist()


def test_a_radius_of_31_takes_31_bits_and_not_32() -> None:
    rows = np.zeros((3, 32), np.uint8)
    rows[1] = np.packbits(np.arange(256) < 31)
    rows[2] = np.packbits(np.arange(256) >= 224)
    assert hamming_pairs(rows, 31).tolist() == [[0, 1]]


def test_many_equal_codes_are_linked_without_comparing_each_with_each() -> None:
    pairs = hamming_pairs(np.ones((500, 8), np.uint8), 10)
    assert len(pairs) < 500 * 8
    assert set(pairs.ravel().tolist()) == set(range(500))


def made(
    rng: np.random.Generator, families: int, size: int, dimensions: int = 64
) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
    centres = np.repeat(rng.standard_normal((families, dimensions)), size, axis=0)
    rows = centres + 0.3 * rng.standard_normal(centres.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float16)


def test_cosine_pairs_in_blocks_are_those_of_brute_force_and_clusters_find_nearly_all() -> None:
    emb = made(np.random.default_rng(0), 1_500, 2)
    cosine = emb.astype(np.float32) @ emb.astype(np.float32).T
    expected = np.argwhere(np.triu(cosine >= 0.9, 1)).tolist()
    assert 500 < len(expected) < 1_600
    assert cosine_pairs(emb, 0.9).tolist() == expected
    clustered = cosine_pairs(emb, 0.9, exact_rows=100).tolist()
    assert {tuple(p) for p in clustered} <= {tuple(p) for p in expected}
    assert len(clustered) >= 0.98 * len(expected)


def test_rows_without_a_usable_embedding_are_near_nothing() -> None:
    emb = np.zeros((5, 4), np.float16)
    emb[0, 0] = emb[1, 0] = 1
    emb[2] = np.nan
    emb[3, 0] = np.inf
    assert cosine_pairs(emb, 0.5).tolist() == [[0, 1]]
    assert cosine_pairs(emb[2:], 0.5).tolist() == []
    assert cosine_pairs(emb[:0], 0.5).tolist() == []


def blank(rows: int) -> CopyFeatures:
    def zeros(width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        return np.zeros((rows, width), np.uint8)

    return CopyFeatures(
        zeros(16), zeros(32), zeros(8), zeros(32), np.zeros(rows, np.int16), np.full((rows, 4), np.nan, np.float16)
    )


def test_unknown_features_propose_nothing() -> None:
    assert propose(blank(4)).pairs.tolist() == []
    assert find(blank(4), lambda row: None).group.tolist() == [-1] * 4


def test_equal_bytes_are_paired_with_the_first_and_only_it_is_compared_further() -> None:
    features_ = blank(4)
    features_.sha256[:3] = np.frombuffer(hashlib.sha256(b"a").digest(), np.uint8)
    features_.phash[:] = 7
    found = propose(features_)
    assert found.pairs.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert found.how.tolist() == ["sha256", "sha256", "phash64"]


def test_pdq_of_poor_quality_proposes_nothing() -> None:
    features_ = blank(3)
    features_.pdq[:] = 9
    features_.pdq_quality[:] = (50, 49, 50)
    found = propose(features_)
    assert found.pairs.tolist() == [[0, 2]]
    assert found.how.tolist() == ["pdq256"]


def test_each_picture_is_loaded_once_and_unreadable_ones_are_never_verified() -> None:
    pictures: list[Picture | None] = [openmoji("1F600"), openmoji("1F600", side_px=200), None, openmoji("1F550")]
    loaded: list[int] = []

    def load(row: int) -> Picture | None:
        loaded.append(row)
        return pictures[row]

    pairs = np.array([[0, 1], [2, 3], [0, 3], [1, 3], [0, 2]])
    score = verify(pairs, load)
    assert sorted(loaded) == [0, 1, 2, 3]
    assert (score >= CopyOptions().min_agreement).tolist() == [True, False, False, False, False]
    assert score[1] == score[4] == 0


def test_planted_copies_are_found_and_families_of_drawings_are_kept_apart() -> None:
    names = sorted({*FAMILIES, *openmoji_names()[::150]})
    originals = [openmoji(name) for name in names]
    planted = plant(originals, copied=5, seed=1)
    counts = count(
        find(features(planted.pictures, embed(planted.pictures)), planted.pictures.__getitem__),
        planted,
        really_identical(originals),
    )
    counts.show(f"{len(names)} drawings with {len(planted.pictures) - len(names)} copies")
    assert counts.recall >= 0.95
    assert counts.precision >= 0.98


def test_groups_name_the_same_members_in_any_row_order() -> None:
    originals = [openmoji(name) for name in FAMILIES[:6]]
    planted = plant(originals, copied=3, seed=2)
    order = np.random.default_rng(0).permutation(len(planted.pictures))
    pictures = [planted.pictures[row] for row in order]
    one = find(features(planted.pictures), planted.pictures.__getitem__)
    two = find(features(pictures), pictures.__getitem__, rank=np.argsort(np.argsort(order)))
    members = {frozenset(np.flatnonzero(one.group == g).tolist()) for g in set(one.group.tolist()) - {-1}}
    moved = {frozenset(order[np.flatnonzero(two.group == g)].tolist()) for g in set(two.group.tolist()) - {-1}}
    assert members == moved
    assert len(members) == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_of_1500_drawings_and_1350_copies_recall_and_precision_reach_the_goal() -> None:
    names = openmoji_names()
    picked = sorted(np.random.default_rng(7).choice(names, 1_500, replace=False).tolist())
    originals = [openmoji(name) for name in picked]
    planted = plant(originals, copied=150, seed=3)
    counts = count(
        find(features(planted.pictures, embed(planted.pictures)), planted.pictures.__getitem__),
        planted,
        really_identical(originals),
    )
    counts.show("1,500 drawings with 1,350 copies")
    assert counts.recall >= 0.95
    assert counts.precision >= 0.98
