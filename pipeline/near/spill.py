"""Arrays that a search puts aside on disk (or in the object store) while it runs; nothing in them outlives it."""

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.store import Store, explained


@dataclass(frozen=True)
class Spill:
    """A folder of arrays, named by the step and the block that left them."""

    store: Store
    folder: str

    def write(self, name: str, array: NDArray[Any]) -> None:
        """Put an array aside. Not synced: after a power cut the whole search is done again."""
        with explained(f"putting {name} of {self.store.uri(self.folder)} aside"):
            final = self.store.local(f"{self.folder}/{name}.npy")
            if final is None:
                with self.store.scratch() as scratch:
                    np.save(scratch / "array.npy", array)
                    self.store.put(scratch / "array.npy", f"{self.folder}/{name}.npy")
                return
            final.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=final.parent, delete=False) as draft:
                np.save(draft, array)
            Path(draft.name).replace(final)  # a task that dask does twice writes the same bytes twice

    def read(self, name: str) -> NDArray[Any]:
        """Return an array; memory-mapped where it is a plain file."""
        path = self.store.local(f"{self.folder}/{name}.npy")
        if path is not None:
            array: NDArray[Any] = np.load(path, mmap_mode="r")
            return array
        with self.store.open(f"{self.folder}/{name}.npy") as handle:
            loaded: NDArray[Any] = np.load(handle)
            return loaded

    def rows(self, name: str, low: int, high: int) -> NDArray[Any]:
        """Return rows low…high of an array, reading no others."""
        with self.store.open(f"{self.folder}/{name}.npy") as handle:
            version = np.lib.format.read_magic(handle)
            assert version == (1, 0)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(handle)
            assert not fortran
            row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
            handle.seek(low * row_bytes, 1)
            data = handle.read((high - low) * row_bytes)
        return np.frombuffer(data, dtype).reshape(high - low, *shape[1:])

    def inner(self, name: str) -> "Spill":
        """Return a folder within this one."""
        return Spill(self.store, f"{self.folder}/{name}")

    def clear(self) -> None:
        """Remove everything."""
        self.store.delete_folder(self.folder)


@contextmanager
def spilled(store: Store, folder: str) -> Iterator[Spill]:
    """Give an empty spill in a store, and remove it afterwards, whatever happened."""
    spill = Spill(store, folder)
    spill.clear()  # of a run that was killed: on an object store nobody else sweeps it
    try:
        yield spill
    finally:
        spill.clear()


@contextmanager
def spilled_locally(folder: str | None = None) -> Iterator[Spill]:
    """Give a spill in a new folder below `folder` (a path or an s3:// address), or below the system's place for such (TMPDIR).

    Workers on other machines must see that folder too.
    """
    if folder is not None and "://" in folder:
        with spilled(Store.open_url(folder), f"tamis-{uuid.uuid4().hex[:12]}") as spill:
            yield spill
        return
    with explained(f"making a folder in {folder or tempfile.gettempdir()}"):
        place = tempfile.TemporaryDirectory(prefix="tamis-", dir=folder)
    with place as path:
        yield Spill(Store.open_url(path), "spill")
