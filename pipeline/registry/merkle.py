"""The Merkle tree of RFC 9162 §2.1: hashing, inclusion and consistency proofs, and how a reader checks them.

`Node` gives the hash of a complete subtree (2^level leaves, the number-th of its level), so that appending stores two nodes
a leaf on average, and a proof reads O(log n) of them.
"""

import hashlib
from collections.abc import Callable, Sequence

Node = Callable[[int, int], bytes]
"""(level, number) → hash of that complete subtree; level 0 are the leaves."""

EMPTY = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def grown(size: int, leaf: bytes, node: Node) -> list[tuple[int, int, bytes]]:
    """Return the complete subtrees (level ≥ 1, number, hash) that the leaf appended at `size` finishes."""
    made = []
    level, number, value = 0, size, leaf
    while number % 2 == 1:
        value = node_hash(node(level, number - 1), value)
        level, number = level + 1, number // 2
        made.append((level, number, value))
    return made


def _split(count: int) -> int:
    """Return the largest power of two smaller than `count`."""
    return 1 << (count - 1).bit_length() - 1


def root(low: int, high: int, node: Node) -> bytes:
    """Return MTH of the leaves low…high-1 (RFC 9162 §2.1.1)."""
    count = high - low
    if count == 0:
        return EMPTY
    if count & (count - 1) == 0 and low % count == 0:
        return node(count.bit_length() - 1, low // count)
    middle = low + _split(count)
    return node_hash(root(low, middle, node), root(middle, high, node))


def inclusion(number: int, size: int, node: Node) -> list[bytes]:
    """Return the proof that leaf `number` is in the tree of `size` leaves (RFC 9162 §2.1.3.1)."""
    if not 0 <= number < size:
        raise ValueError(f"no leaf {number} in a tree of {size}")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if number < middle:
            path.append(root(middle, high, node))
            high = middle
        else:
            path.append(root(low, middle, node))
            low = middle
    return path[::-1]


def consistency(old: int, size: int, node: Node) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is the beginning of the tree of `size` (RFC 9162 §2.1.4.1)."""
    if not 0 < old <= size:
        raise ValueError(f"no proof from {old} to {size} leaves")
    low, high, path, whole = 0, size, [], True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(root(middle, high, node))
            high = middle
        else:
            path.append(root(low, middle, node))
            low, whole = middle, False
    return ([] if whole else [root(low, high, node)]) + path[::-1]


def included(leaf: bytes, number: int, size: int, path: Sequence[bytes], tree: bytes) -> bool:
    """Check an inclusion proof (RFC 9162 §2.1.3.2)."""
    if not 0 <= number < size:
        return False
    at, last, value = number, size - 1, leaf
    for step in path:
        if last == 0:
            return False
        if at % 2 or at == last:
            value = node_hash(step, value)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            value = node_hash(value, step)
        at, last = at // 2, last // 2
    return last == 0 and value == tree


def consistent(old: int, size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Check a consistency proof (RFC 9162 §2.1.4.2)."""
    if old == size:
        return not path and old_root == new_root
    if not 0 < old < size:
        return False
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        return False
    at, last = old - 1, size - 1
    while at % 2:
        at, last = at // 2, last // 2
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if at % 2 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while at % 2 == 0 and at:
                at, last = at // 2, last // 2
        else:
            second = node_hash(second, step)
        at, last = at // 2, last // 2
    return last == 0 and first == old_root and second == new_root
