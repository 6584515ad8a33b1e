"""Counting in bounded memory: the most frequent names of a long stream, and the best few rows."""

import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Tally(Generic[K]):
    """Adds up several numbers a name; exact up to `limit` names, then the rarest half is put together as others.

    What was put together is still in the totals, and `exact` says whether that has happened.
    """

    def __init__(self, width: int, limit: int = 500_000) -> None:
        self.width, self.limit = width, limit
        self.rows: dict[K, list[int]] = {}
        self.totals = [0] * width
        self.exact = True

    def add(self, name: K, *numbers: int) -> None:
        """Add numbers to a name's."""
        row = self.rows.setdefault(name, [0] * self.width)
        for i, number in enumerate(numbers):
            row[i] += number
            self.totals[i] += number
        if len(self.rows) > self.limit:
            self.exact = False
            self.rows = dict(heapq.nlargest(self.limit // 2, self.rows.items(), key=lambda item: sum(item[1])))

    def top(self, n: int, by: int = 0) -> list[tuple[K, list[int]]]:
        """Return the `n` names with the largest number `by`, ties broken by the other numbers and the name."""

        def rank(item: tuple[K, list[int]]) -> tuple[int, list[int], str]:
            name, numbers = item
            return -numbers[by], [-v for v in numbers], str(name)

        return heapq.nsmallest(n, self.rows.items(), key=rank)


class Nearest(Generic[T]):
    """Keeps the `limit` items with the smallest key; the name breaks ties, whatever the order of arrival."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: list[tuple[float, str, T]] = []

    def add(self, items: Iterable[tuple[float, str, T]]) -> None:
        """Offer (key, name, item)s."""
        self.items = heapq.nsmallest(self.limit, [*self.items, *items], key=lambda item: item[:2])

    def values(self) -> list[T]:
        """Return the kept items, the smallest key first."""
        return [item for _, _, item in self.items]


def without(counts: Mapping[str, int], taken: Mapping[str, int]) -> dict[str, int]:
    """Return the counts that are left when others are taken away, zeros dropped."""
    left = Counter(counts)
    left.subtract(taken)
    return {name: n for name, n in sorted(left.items()) if n}
