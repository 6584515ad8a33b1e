"""What the search for copies knows of every picture, and where vectors and pixels are read from when they are needed.

A row costs about 150 bytes of memory in all; its vector and its picture stay where they are.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.copies import policy_rank
from pipeline.copies import CopyFeatures
from pipeline.near.source import F16, I64, Spread
from pipeline.near.spill import Spill
from pipeline.rows import PartFiles, decode_stored, looked_at
from pipeline.store import Store

_COLUMNS = ["uid", "sha256", "phash64", "pdq256", "pdq_quality", "fetch_key", "tar_offset", "tar_bytes",
            "original_width_px", "original_height_px"]  # fmt: skip
_OPEN_TARS = 64


@dataclass(frozen=True)
class StoredVectors:
    """The committed picture embeddings of many parts, a block a part; which of their rows, stands in the spill."""

    store: Store
    spill: Spill
    block_rows: Sequence[int]

    def load(self, block: int) -> tuple[I64, F16]:
        """Return a part's row numbers and vectors f16[n,D]."""
        at = np.asarray(self.spill.read(f"at-{block}"))
        vectors = [_stored(self.store, str(name)) for name in self.spill.read(f"files-{block}")]
        return np.asarray(self.spill.read(f"numbers-{block}")), _taken(vectors, at)


def _stored(store: Store, name: str) -> F16:
    path = store.local(name)
    if path is not None:
        array: F16 = np.load(path, mmap_mode="r")
        return array
    with store.open(name) as handle:
        return np.asarray(np.load(handle), np.float16)


def _taken(vectors: Sequence[F16], at: I64) -> F16:
    """Take rows of several arrays as if they were one."""
    out = np.empty((len(at), vectors[0].shape[1]), np.float16)
    start = 0
    for array in vectors:
        mine = (at >= start) & (at < start + len(array))
        out[mine] = array[at[mine] - start]
        start += len(array)
    return out


@dataclass(frozen=True)
class Looked:
    """Every picture that was looked at, sorted by uid: a row's number is its place in that order."""

    uids: pa.Array
    features: CopyFeatures
    rank: I64
    """i64[N], 0 for the picture that is kept before all others (filters.copies.policy_rank; cosines play no part yet)"""
    px: NDArray[np.float64]
    """f64[N], pixels of the originals"""
    pictures: "Pictures"

    def __len__(self) -> int:
        return len(self.uids)


def gather(
    store: Store,
    parts: Sequence[PartFiles],
    spread: Spread,
    spill: Spill,
    chosen: Callable[[Store, PartFiles], pa.Array] | None = None,
) -> Looked | None:
    """Read the narrow columns of every part, a task a part; None where no picture was looked at.

    `chosen` gives the uids of a part that are to be looked at, where not all are.
    """
    tables = spread(_look_at, [(store, part, number, spill, chosen) for number, part in enumerate(parts)])
    filled = [(number, table) for number, table in enumerate(tables) if table.num_rows]
    if not filled:
        return None
    rows = pa.concat_tables([table for _, table in filled]).combine_chunks()
    block = np.repeat(np.arange(len(filled)), [table.num_rows for _, table in filled])
    order = pc.sort_indices(rows["uid"]).to_numpy()
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    renamed = spill.inner("blocks")
    for place, (number, _) in enumerate(filled):
        renamed.write(f"numbers-{place}", numbers[block == place])
        for name in ("at", "files"):
            renamed.write(f"{name}-{place}", np.asarray(spill.read(f"{name}-{number}")))
    rows = rows.take(pa.array(order))
    source = StoredVectors(store, renamed, [table.num_rows for _, table in filled])
    px = np.multiply(rows["original_width_px"].to_numpy(), rows["original_height_px"].to_numpy(), dtype=np.float64)
    uids = rows["uid"].combine_chunks()
    pictures = _put_places_aside(store, parts, rows, spill)
    return Looked(uids, _features(rows, source), policy_rank(uids, px, np.zeros(len(uids))), px, pictures)


def _look_at(
    store: Store,
    part: PartFiles,
    number: int,
    spill: Spill,
    chosen: Callable[[Store, PartFiles], pa.Array] | None,
) -> pa.Table:
    rows = looked_at(store, part)
    if chosen is not None:
        rows = rows.filter(pc.is_in(rows["uid"], value_set=chosen(store, part)))
    spill.write(f"at-{number}", rows["emb_row"].to_numpy())
    spill.write(f"files-{number}", np.array([embed.file("img.npy") for embed in part.embeds], np.str_))
    return rows.select(_COLUMNS).combine_chunks()


def _features(rows: pa.Table, source: StoredVectors) -> CopyFeatures:
    return CopyFeatures(
        uid=_bytes(rows["uid"], 16),
        sha256=_bytes(rows["sha256"], 32),
        phash=_bytes(rows["phash64"], 8),
        pdq=_bytes(rows["pdq256"], 32),
        pdq_quality=pc.fill_null(rows["pdq_quality"], 0).to_numpy().astype(np.int16),
        emb=source,
    )


def _bytes(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    """Return fixed-size binary values as u8[N,width], null as zeros (unknown)."""
    array = pa.chunked_array([column]).combine_chunks() if isinstance(column, pa.Array) else column.combine_chunks()
    values = np.frombuffer(array.buffers()[1], np.uint8).reshape(-1, width)
    values = values[array.offset : array.offset + len(array)].copy()
    values[array.is_null().to_numpy(zero_copy_only=False)] = 0
    return values


def _put_places_aside(store: Store, parts: Sequence[PartFiles], rows: pa.Table, spill: Spill) -> "Pictures":
    fetches = {fetch.key: fetch.file("tar") for part in parts for fetch in part.fetches}
    keys = rows["fetch_key"].combine_chunks().dictionary_encode()
    spill.write("tars", np.array([fetches[key] for key in keys.dictionary.to_pylist()], np.str_))
    spill.write("tar-of", keys.indices.to_numpy().astype(np.int32))
    for name in ("tar_offset", "tar_bytes"):
        spill.write(name, rows[name].to_numpy())
    return Pictures(store, spill)


@dataclass(frozen=True)
class Pictures:
    """Where the stored pictures of all rows are; small enough to be sent to every task."""

    store: Store
    spill: Spill

    @contextmanager
    def opened(self) -> Iterator[Callable[[int], NDArray[np.uint8]]]:
        """Give a function from a row's number to its picture u8[H,W,3] RGB; keeps the tars open that it reads from."""
        with self.reading() as read:
            yield lambda row: decode_stored(read(row))

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], bytes]]:
        """Give a function from a row's number to the bytes of its stored picture."""
        tars, tar_of, offset, size = (self.spill.read(name) for name in ("tars", "tar-of", "tar_offset", "tar_bytes"))
        held: OrderedDict[int, IO[Any]] = OrderedDict()

        def read(row: int) -> bytes:
            tar = int(tar_of[row])
            if tar not in held:
                if len(held) >= _OPEN_TARS:
                    held.popitem(last=False)[1].close()
                held[tar] = self.store.open(str(tars[tar]))
            held.move_to_end(tar)
            held[tar].seek(int(offset[row]))
            return bytes(held[tar].read(int(size[row])))

        try:
            yield read
        finally:
            for handle in held.values():
                handle.close()
