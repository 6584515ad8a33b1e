"""Where a sample is: sorted ids, and beside each the position of its shard in the snapshot and its row there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.mapped import Files
from index.record import PLACES
from pipeline.errors import FormatError, InvariantError

Ids = NDArray[np.int64]
Pairs = NDArray[np.int32]


class Places:
    """The snapshot's samples by id: ids i64[N] sorted, at i32[N,2]."""

    def __init__(self, ids: Ids, at: Pairs) -> None:
        self.ids, self.at = ids, at

    @classmethod
    def of_shards(cls, shards: Sequence[Ids]) -> "Places":
        """Make them from each shard's ids, -1 for erased rows; InvariantError when two samples share an id."""
        sizes = [len(one) for one in shards]
        ids = np.concatenate([np.empty(0, np.int64), *shards])
        at = np.empty((len(ids), 2), np.int32)
        at[:, 0] = np.repeat(np.arange(len(shards), dtype=np.int32), sizes)
        at[:, 1] = np.concatenate([np.empty(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)])
        order = np.argsort(ids, kind="stable")
        order = order[np.searchsorted(ids[order], 0) :]
        ids, at = ids[order], at[order]
        if np.any(ids[1:] == ids[:-1]):
            raise InvariantError("two kept samples share the first 63 bits of their uid; please report this")
        return cls(ids, at)

    @classmethod
    def read(cls, files: Files, base: str) -> "Places":
        """Map the file of an index folder; FormatError when it is cut off."""
        damaged = f"{base}/{PLACES}: not an array that is whole; `tamis index build` makes it anew"
        try:
            flat = files.values(f"{base}/{PLACES}", np.int64)
        except FormatError as error:
            raise FormatError(damaged) from error
        if len(flat) % 2:
            raise FormatError(damaged)
        values = flat.reshape(2, -1)
        return cls(values[0], values[1].view(np.int32).reshape(-1, 2)[:, ::-1])

    def write(self, path: Path) -> None:
        """Write them as i64[2,N]: ids, and shard · 2^32 + row; one file, so that one is never newer than the other."""
        packed = self.at[:, 0].astype(np.int64) << 32 | self.at[:, 1]
        with path.open("wb") as out:
            np.save(out, np.stack([self.ids, packed]))

    def without(self, ids: Ids) -> "Places":
        """Return them without some ids."""
        kept = ~np.isin(self.ids, ids)
        return Places(self.ids[kept], self.at[kept])

    def having(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell of each id whether it is here."""
        if not len(self.ids):
            return np.zeros(ids.shape, np.bool_)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.asarray(self.ids[at] == ids)

    def held(self, ids: Ids) -> tuple[Ids, Pairs]:
        """Return those of the ids that are here, and their places i32[N,2]."""
        if not len(self.ids):
            return ids[:0], self.at
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        here = self.ids[at] == ids
        return (ids, self.at[at]) if here.all() else (ids[here], self.at[at[here]])

    def of(self, ids: Ids) -> Pairs:
        """Return the places i32[N,2] of ids that are here."""
        return self.at[np.searchsorted(self.ids, ids)]
