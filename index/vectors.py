"""Vectors by place, read from the shards' own arrays in mapped memory: no second copy of them is kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.facts import MISPLACED
from index.mapped import Files
from index.query import Modality
from pipeline.errors import FormatError
from pipeline.pack import shard_files
from pipeline.snapshot import Snapshot

F32 = NDArray[np.float32]
_ROLES = {"image": "img_emb", "text": "text_emb"}
_ONE_BY_ONE = 2_000


def floats(halves: NDArray[np.float16]) -> F32:
    """Return finite float16 as float32, the same values, three times as fast as numpy's `astype`.

    The fifteen bits of exponent and mantissa, moved to float32's places, are the value divided by 2^112 (the biases differ by 112).
    """
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= -0x70000001  # the sign was spread over three bits of the exponent
    out: F32 = bits.view(np.float32)
    out *= np.float32(2.0**112)
    return out


class Vectors:
    """The stored vectors f16[N,D] of a snapshot's shards."""

    def __init__(self, files: Files, snapshot: Snapshot, dimensions: int) -> None:
        self._files, self._dimensions = files, dimensions
        self._rows = [entry.rows for entry in snapshot.shards]
        self._names = {
            modality: [shard_files(snapshot.folder, entry.number)[role] for entry in snapshot.shards]
            for modality, role in _ROLES.items()
        }
        self._open: dict[str, list[NDArray[np.float16] | None]] = {
            modality: [None] * len(names) for modality, names in self._names.items()
        }

        self._views: dict[str, list[memoryview | None]] = {
            modality: [None] * len(names) for modality, names in self._names.items()
        }

    def values(self, modality: Modality, at: int) -> NDArray[np.float16]:
        """Return the numbers of a shard's vectors one after the other."""
        found: NDArray[np.float16] = self._files.values(self._names[modality][at], np.float16)
        return found

    def shard(self, modality: Modality, at: int) -> NDArray[np.float16]:
        """Return the vectors of a shard; FormatError when its file is damaged."""
        found = self._open[modality][at]
        if found is None:
            name, values = self._names[modality][at], self.values(modality, at)
            if len(values) != self._rows[at] * self._dimensions:
                raise FormatError(
                    f"{name}: not {self._rows[at]:,} vectors of {self._dimensions}; `tamis verify` tells more"
                )
            found = self._open[modality][at] = values.reshape(-1, self._dimensions)
        return found

    def rows(self, modality: Modality, places: NDArray[np.int32]) -> F32:
        """Return the vectors f32[N,D] at places i32[N,2], in their order."""
        return floats(self.halves(modality, places))

    def halves(self, modality: Modality, places: NDArray[np.int32]) -> NDArray[np.float16]:
        """Return the vectors as they are stored, f16[N,D]; FormatError where a place is none."""
        try:
            return self._halves(modality, places)
        except (IndexError, ValueError) as error:
            raise FormatError(MISPLACED) from error

    def _halves(self, modality: Modality, places: NDArray[np.int32]) -> NDArray[np.float16]:
        if len(places) <= _ONE_BY_ONE:
            return self._joined(modality, places.tolist())
        out = np.empty((len(places), self._dimensions), np.float16)
        for shard in np.unique(places[:, 0]).tolist():
            mine = np.flatnonzero(places[:, 0] == shard)
            out[mine] = self.shard(modality, shard)[places[mine, 1]]
        return out

    def _joined(self, modality: Modality, places: Sequence[tuple[int, int]]) -> NDArray[np.float16]:
        """Copy single rows as bytes: a question compares a few dozen from as many shards, and numpy's indexing costs twice as much."""
        views, width = self._views[modality], 2 * self._dimensions
        pieces = []
        for shard, row in places:
            view = views[shard]
            if view is None:
                rows: Any = self.shard(modality, shard)
                view = views[shard] = memoryview(rows).cast("B")
            pieces.append(view[row * width : (row + 1) * width])
        return np.frombuffer(b"".join(pieces), np.float16).reshape(len(pieces), self._dimensions)

    def close(self) -> None:
        """Let go of the mappings."""
        self._open = {modality: [None] * len(names) for modality, names in self._names.items()}
        self._views = {modality: [None] * len(names) for modality, names in self._names.items()}
