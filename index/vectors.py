"""Vectors by place, read from the shards' own arrays in mapped memory: no second copy of them is kept."""

import numpy as np
from numpy.typing import NDArray

from index.mapped import Files
from index.query import Modality
from pipeline.errors import FormatError
from pipeline.pack import shard_files
from pipeline.snapshot import Snapshot

F32 = NDArray[np.float32]
_ROLES = {"image": "img_emb", "text": "text_emb"}
_ONE_BY_ONE = 2_000


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
        return self.halves(modality, places).astype(np.float32)

    def halves(self, modality: Modality, places: NDArray[np.int32]) -> NDArray[np.float16]:
        """Return the vectors as they are stored, f16[N,D]."""
        out = np.empty((len(places), self._dimensions), np.float16)
        if len(places) <= _ONE_BY_ONE:
            for at, (shard, row) in enumerate(places.tolist()):
                out[at] = self.shard(modality, shard)[row]
        else:
            for shard in np.unique(places[:, 0]).tolist():
                mine = np.flatnonzero(places[:, 0] == shard)
                out[mine] = self.shard(modality, shard)[places[mine, 1]]
        return out

    def close(self) -> None:
        """Let go of the mappings."""
        self._open = {modality: [None] * len(names) for modality, names in self._names.items()}
