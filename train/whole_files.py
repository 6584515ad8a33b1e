"""Which files of an object store to read whole: those whose pieces are asked for again and again, as far as there is room."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

File = tuple[str, int]
"""(Role, shard)."""
MOST_BYTES = 2**29
"""Two files of 10,000 × 768 halves for each of a window's 16 shards are 0.49 GB."""
REQUEST_BYTES = 2**17
"""What streams in the millisecond that a request takes of a processor, at 100 MB/s."""
IDLE_BATCHES = 64


@dataclass
class WholeFiles:
    """Files that are kept whole, `MOST_BYTES` together at most.

    A file is worth it once its pieces have cost as much as all of it would: never more than twice the best then, and who reads
    a few rows reads no more than those. What the last batches did not ask for makes room; nothing else does, since a window
    larger than the room would only push itself out.
    """

    kept: dict[File, bytes] = field(default_factory=dict)
    _pieces: Counter[File] = field(default_factory=Counter)
    _last: dict[File, int] = field(default_factory=dict)
    """Number of the batch that last asked for a file."""
    _batch: int = 0

    def worth(self, asked: Iterable[File], size_bytes: Callable[[File], int]) -> File | None:
        """Note the pieces that a batch asks for, one entry each, and return a file to keep whole from now on.

        One a batch, so that none has to wait for a whole window.
        """
        self._batch += 1
        now = Counter(asked)
        self._pieces.update(now)
        self._last.update(dict.fromkeys(now, self._batch))
        for idle in [one for one, last in self._last.items() if last < self._batch - IDLE_BATCHES]:
            del self._last[idle], self._pieces[idle]
            self.kept.pop(idle, None)
        room = MOST_BYTES - sum(map(len, self.kept.values()))
        found = (one for one in now if one not in self.kept and size_bytes(one) <= room)
        dear = [one for one in found if self._pieces[one] * REQUEST_BYTES >= size_bytes(one)]
        return max(dear, key=lambda one: self._pieces[one], default=None)
