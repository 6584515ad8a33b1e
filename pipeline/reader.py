"""A running reader of a published snapshot: hands out samples one by one and never one that is hidden by then."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.pack import iter_samples, shard_files
from pipeline.snapshot import Snapshot, read, require_latest
from pipeline.store import Store
from pipeline.tombstones import Watch

EVERY_S = 0.25
"""How old the tombstones may be that a sample is compared with."""


@dataclass
class Reader:
    """Iterates over the samples of a snapshot, shard by shard; may be iterated again and again.

    A sample is `__key__` (the uid in hex) and one entry an extension, as webdataset gives it. The tombstones are looked
    at between samples, at most every `every_s` seconds, so that a new one is obeyed by a reader that runs already.
    """

    store: Store
    snapshot: Snapshot
    every_s: float = EVERY_S
    masked: int = 0
    """Samples that were not handed out because they are hidden (those erased already are not met any more)."""
    shown: int = 0
    _watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        self._watch = Watch(self.store, self.every_s)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for entry in self.snapshot.shards:
            name = shard_files(self.snapshot.folder, entry.number)["tar"]
            for sample in self._shard(name):
                if bytes.fromhex(sample["__key__"]) in self._watch.hidden():
                    self.masked += 1
                    continue
                self.shown += 1
                yield sample

    def _shard(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.store.local(name)
        if path is not None:
            yield from iter_samples(path)
            return
        with self.store.scratch() as scratch:
            copy: Path = scratch / "shard.tar"
            with self.store.open(name) as source, copy.open("wb") as out:
                while block := source.read(1 << 22):
                    out.write(block)
            yield from iter_samples(copy)


def samples(store: Store, snapshot: Snapshot | int | None = None, *, every_s: float = EVERY_S) -> Reader:
    """Return a reader of a snapshot: the newest one, a number, or one that was read already."""
    if snapshot is None:
        snapshot = require_latest(store)
    elif isinstance(snapshot, int):
        snapshot = read(store, snapshot)
    return Reader(store, snapshot, every_s)
