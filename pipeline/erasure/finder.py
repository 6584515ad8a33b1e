"""Look for many byte strings at once in one pass over any amount of bytes."""

from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ANCHOR_BYTES = 8
"""Shortest string that is looked for: shorter ones stand everywhere by chance."""
BLOCK_BYTES = 4 << 20

_FEW = 2  # up to here one search a string is faster
_TABLE_BITS = 20

Hit = tuple[int, int]
"""Number of the string, and where it begins."""


class Finder:
    """Finds every place of some strings. Their last eight bytes are looked up in a table at every position."""

    def __init__(self, strings: Sequence[bytes]) -> None:
        if any(len(string) < ANCHOR_BYTES for string in strings):
            raise ValueError(f"a string to be found has at least {ANCHOR_BYTES} bytes")
        self.strings = list(strings)
        self.longest_bytes = max((len(string) for string in strings), default=0)
        self._of_anchor: dict[int, list[int]] = {}
        for number, string in enumerate(strings):
            self._of_anchor.setdefault(int.from_bytes(string[-ANCHOR_BYTES:], "little"), []).append(number)
        self._anchors: NDArray[np.uint64] = np.array(sorted(self._of_anchor), np.uint64)
        self._table: NDArray[np.bool_] = np.zeros(1 << _TABLE_BITS, np.bool_)
        self._table[_slots(self._anchors)] = True

    def find(self, data: Any) -> Iterator[Hit]:
        """Yield the hits in a bytes-like object, in no particular order."""
        if not self.strings:
            return
        if len(self.strings) <= _FEW:
            raw = data if isinstance(data, bytes) else bytes(data)
            for number, string in enumerate(self.strings):
                at = raw.find(string)
                while at >= 0:
                    yield number, at
                    at = raw.find(string, at + 1)
            return
        view = memoryview(data).cast("B")
        for shift in range(ANCHOR_BYTES):
            count = (len(view) - shift) // ANCHOR_BYTES
            if count > 0:
                yield from self._aligned(view, np.frombuffer(view, "<u8", count, shift), shift)

    def _aligned(self, view: memoryview, words: NDArray[np.uint64], shift: int) -> Iterator[Hit]:
        likely = np.flatnonzero(self._table.take(_slots(words), mode="clip"))
        at = np.searchsorted(self._anchors, words[likely])
        sure = likely[self._anchors[np.minimum(at, len(self._anchors) - 1)] == words[likely]]
        for word in sure.tolist():
            end = shift + (word + 1) * ANCHOR_BYTES
            for number in self._of_anchor[int(words[word])]:
                string = self.strings[number]
                if end >= len(string) and view[end - len(string) : end] == string:
                    yield number, end - len(string)

    def find_in(self, handle: IO[bytes]) -> Iterator[Hit]:
        """Yield the hits in what is left to read of a file, block by block, those across two blocks too."""
        return ((number, at) for number, at, _, _ in self.find_around(handle, 0))

    def find_around(self, handle: IO[bytes], near_bytes: int) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Yield the same with so many bytes before and after each hit, fewer at the file's ends."""
        begin, rest, done = 0, b"", 0  # of `data`; what was kept of it; hits that end here or before were yielded
        keep = self.longest_bytes + 2 * near_bytes
        while True:
            block = handle.read(BLOCK_BYTES)
            data = rest + block
            safe = len(data) - near_bytes if block else len(data)
            for number, at in self.find(data):
                end = at + len(self.strings[number])
                if begin + end > done and end <= safe:
                    yield number, begin + at, data[max(0, at - near_bytes) : at], data[end : end + near_bytes]
            if not block:
                return
            done = max(done, begin + safe)
            rest = data[max(0, len(data) - keep) :]
            begin += len(data) - len(rest)


def _slots(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the place in the table of eight bytes: their last twenty bits, as cheap as it gets."""
    return (words >> np.uint64(64 - _TABLE_BITS)).view(np.int64)
