"""Where vectors come from, block by block, and how work on the blocks is spread: the search never holds them all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

F16 = NDArray[np.float16]
I64 = NDArray[np.int64]
T = TypeVar("T")


class Spread(Protocol):
    """Runs `fn(*item)` for every item, here or on many machines, and returns the results in order."""

    def __call__(self, fn: Callable[..., T], items: Iterable[tuple[Any, ...]]) -> list[T]:
        """Run them."""
        ...


def here(fn: Callable[..., T], items: Iterable[tuple[Any, ...]]) -> list[T]:
    """Run one after the other in this process."""
    return [fn(*item) for item in items]


class Source(Protocol):
    """Vectors by block. Rows are numbered by the caller; results depend on the numbers, never on the blocks."""

    @property
    def block_rows(self) -> Sequence[int]:
        """Return how many rows each block has."""
        ...

    def load(self, block: int) -> tuple[I64, F16]:
        """Return the numbers i64[n] and vectors f16[n,D] of a block."""
        ...


@dataclass(frozen=True)
class Held:
    """Vectors f16[N,D] in memory, numbered in their order."""

    vectors: F16
    size: int = 65_536

    @property
    def block_rows(self) -> Sequence[int]:
        """Return how many rows each block has."""
        return [min(self.size, len(self.vectors) - start) for start in range(0, len(self.vectors), self.size)]

    def load(self, block: int) -> tuple[I64, F16]:
        """Return a block's numbers and vectors."""
        vectors = self.vectors[block * self.size : (block + 1) * self.size]
        return np.arange(len(vectors), dtype=np.int64) + block * self.size, vectors
