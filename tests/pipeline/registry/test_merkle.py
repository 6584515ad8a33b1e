"""The tree is RFC 9162's: every proof holds, none holds for anything else, and the roots are those of the definition."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.registry import merkle

MOST = 64


def definition(leaves: list[bytes]) -> bytes:
    """MTH as RFC 9162 §2.1.1 defines it, written down a second time and recursively over the entries."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + definition(leaves[:k]) + definition(leaves[k:])).digest()


def path_of(number: int, leaves: list[bytes]) -> list[bytes]:
    """PATH as RFC 9162 §2.1.3.1 defines it."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if number < k:
        return [*path_of(number, leaves[:k]), definition(leaves[k:])]
    return [*path_of(number - k, leaves[k:]), definition(leaves[:k])]


def subproof(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF as RFC 9162 §2.1.4.1 defines it."""
    if old == len(leaves):
        return [] if whole else [definition(leaves)]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if old <= k:
        return [*subproof(old, leaves[:k], whole), definition(leaves[k:])]
    return [*subproof(old - k, leaves[k:], False), definition(leaves[:k])]


ENTRIES = [f"entry {number}".encode() for number in range(MOST)]
NODES: dict[tuple[int, int], bytes] = {}
for size, entry in enumerate(ENTRIES):
    NODES[0, size] = merkle.leaf_hash(entry)
    for level, at, value in merkle.grown(size, NODES[0, size], lambda level, at: NODES[level, at]):
        NODES[level, at] = value
ROOTS = [merkle.root(0, size, lambda level, at: NODES[level, at]) for size in range(MOST + 1)]


def node(level: int, number: int) -> bytes:
    return NODES[level, number]


def test_roots_are_those_of_the_definition_for_every_size() -> None:
    assert [definition(ENTRIES[:size]) for size in range(MOST + 1)] == ROOTS
    assert ROOTS[0] == merkle.EMPTY
    assert ROOTS[0].hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert len(NODES) == 2 * MOST - 1  # stored once each


def test_every_inclusion_proof_is_the_definitions_and_holds_for_its_leaf_and_place_only() -> None:
    for size in range(1, MOST + 1):
        for number in range(size):
            path = merkle.inclusion(number, size, node)
            assert path == path_of(number, ENTRIES[:size])
            assert merkle.included(NODES[0, number], number, size, path, ROOTS[size])
            assert not merkle.included(NODES[0, (number + 1) % MOST], number, size, path, ROOTS[size])
            assert not merkle.included(NODES[0, number], number, size, path, ROOTS[size - 1])
            assert not merkle.included(NODES[0, number], number, size, [*path, path[0] if path else b""], ROOTS[size])
            assert not path or not merkle.included(NODES[0, number], number, size, path[:-1], ROOTS[size])
            for other in {number ^ 1, number + 1, size} - {number}:
                assert not merkle.included(NODES[0, number], other, size, path, ROOTS[size])


def test_every_consistency_proof_is_the_definitions_and_holds_for_its_two_trees_only() -> None:
    for size in range(1, MOST + 1):
        for old in range(1, size + 1):
            path = merkle.consistency(old, size, node)
            assert path == subproof(old, ENTRIES[:size])
            assert merkle.consistent(old, size, path, ROOTS[old], ROOTS[size])
            assert not merkle.consistent(old, size, path, ROOTS[old - 1], ROOTS[size])
            assert not merkle.consistent(old, size, path, ROOTS[old], ROOTS[size - 1])
            if old < size:
                assert not merkle.consistent(old, size, path[:-1], ROOTS[old], ROOTS[size])
                assert not merkle.consistent(old, size, [*path, ROOTS[1]], ROOTS[old], ROOTS[size])
                assert not merkle.consistent(old, size, path, ROOTS[size], ROOTS[old])


@given(st.data())
def test_one_flipped_bit_anywhere_breaks_a_proof(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, MOST))
    number, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    path, steps = merkle.inclusion(number, size, node), merkle.consistency(old, size, node)
    bit = data.draw(st.integers(0, 255))

    def flipped(value: bytes) -> bytes:
        return bytes(b ^ (1 << bit % 8 if at == bit // 8 else 0) for at, b in enumerate(value))

    at = data.draw(st.integers(0, len(path) + 1))
    parts = [NODES[0, number], ROOTS[size], *path]
    parts[at] = flipped(parts[at])
    assert not merkle.included(parts[0], number, size, parts[2:], parts[1])
    at = data.draw(st.integers(0, len(steps) + 1))
    parts = [ROOTS[old], ROOTS[size], *steps]
    parts[at] = flipped(parts[at])
    assert not merkle.consistent(old, size, parts[2:], parts[0], parts[1])


def test_a_rewritten_history_has_no_consistency_proof() -> None:
    changed = [b"rewritten", *ENTRIES[1:]]
    for old in range(1, 20):
        for size in range(old + 1, 20):
            path = subproof(old, changed[:size])
            assert not merkle.consistent(old, size, path, ROOTS[old], definition(changed[:size]))


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    for number, size in ((0, 0), (3, 3), (-1, 3)):
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion(number, size, node)
        assert not merkle.included(NODES[0, 0], number, size, [], ROOTS[1])
    for old, size in ((0, 3), (4, 3), (-1, 3)):
        with pytest.raises(ValueError, match="no proof"):
            merkle.consistency(old, size, node)
        assert not merkle.consistent(old, size, [], ROOTS[1], ROOTS[3])


def test_appending_reads_and_stores_a_few_nodes_only() -> None:
    asked: list[tuple[int, int]] = []

    def counting(level: int, number: int) -> bytes:
        asked.append((level, number))
        return b"\0" * 32

    made = [len(merkle.grown(size, b"\0" * 32, counting)) for size in range(2**14)]
    assert sum(made) == 2**14 - 1  # less than one inner node a leaf
    assert max(made) == 14
    asked.clear()
    merkle.root(0, 2**40 + 12345, counting)
    merkle.inclusion(99, 2**40 + 12345, counting)
    assert len(asked) < 100
