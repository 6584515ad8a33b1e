"""Files of a data set as memory: mapped where they are plain files, brought to a folder of ours first where they are objects."""

import shutil
import tempfile
import weakref
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.erasure.blank import array_shape
from pipeline.errors import FormatError
from pipeline.store import Store


class Files:
    """Opens files by name, each once. A mapping holds no descriptor, so a thousand shards need none.

    Copies of objects lie in a temporary folder that goes with `close`: what is erased later must not live on in a cache.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = Lock()
        self._folder: Path | None = None
        self._buffers: dict[str, pa.Buffer] = {}

    def path(self, name: str) -> Path:
        """Return a plain file with the bytes of a stored one."""
        plain = self._store.local(name)
        if plain is not None:
            return plain
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="tamis-index-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            target = self._folder / name
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                draft = target.with_name(target.name + ".part")
                with self._store.open(name) as source, draft.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 22)
                draft.replace(target)
        return target

    def buffer(self, name: str) -> pa.Buffer:
        """Return a file's bytes as mapped memory."""
        found = self._buffers.get(name)
        if found is None:
            path = self.path(name)
            with pa.memory_map(str(path)) as handle:
                found = handle.read_buffer()
            self._buffers[name] = found  # two threads may both have mapped it; either mapping is as good
        return found

    def values(self, name: str, dtype: Any) -> NDArray[Any]:
        """Return the values of a .npy file of that type, read-only and in one dimension; FormatError when it is damaged."""
        damaged = f"{self._store.uri(name)}: not an array that is whole; `tamis verify` tells more"
        try:
            with pa.BufferReader(self.buffer(name)) as handle:
                begin, width, rows = array_shape(handle)
        except FormatError as error:
            raise FormatError(damaged) from error
        held = np.frombuffer(self.buffer(name), np.uint8)[begin:]
        if len(held) != rows * width or len(held) % np.dtype(dtype).itemsize:
            raise FormatError(damaged)
        return held.view(dtype)

    def close(self) -> None:
        """Give back all mappings that nobody uses any more, and the copies."""
        with self._lock:
            self._buffers.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
