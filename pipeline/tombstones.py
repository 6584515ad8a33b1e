"""Who must not be read any more: numbered, immutable files in the data set that every reader looks at first.

A tombstone file is one durable commit (create-if-absent), made before anything else happens to a sample. Readers ask
`Watch` before they hand out a sample; a look costs one stat (one request on an object store) and is made at most every
`every_s` seconds.
"""

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.stage import PARQUET
from pipeline.store import Store

FOLDER = "tombstones"
SCHEMA = pa.schema(
    [
        pa.field("uid", pa.binary(16)),
        pa.field("part", pa.string()),  # key of the candidates part that holds the row
        pa.field("request", pa.string()),  # id in the registry
        pa.field("lifted", pa.bool_()),  # true: the request was withdrawn before the erasure
    ]
)


def _name(number: int) -> str:
    return f"{FOLDER}/{number:08d}.parquet"


def publish(store: Store, rows: pa.Table) -> int:
    """Make rows (SCHEMA) part of the data set's tombstones in one commit and return the file's number.

    The same rows published again (a command repeated after a kill) add nothing: where the newest state says the same of
    every row, the newest number is returned.
    """
    seen = read(store)
    news = rows.filter(pa.array([not seen.says(*row) for row in _keys(rows)], pa.bool_()))
    if news.num_rows == 0:
        return seen.position
    sink = io.BytesIO()
    pq.write_table(news.select(SCHEMA.names).cast(SCHEMA), sink, **PARQUET)
    number = seen.position + 1
    while not store.create(_name(number), sink.getvalue()):
        number += 1
    return number


def _keys(rows: pa.Table) -> list[tuple[bytes, str, bool]]:
    columns = (rows[name].to_pylist() for name in ("uid", "request", "lifted"))
    return list(zip(*columns, strict=True))


@dataclass(frozen=True)
class Tombstones:
    """All tombstones up to a position."""

    position: int = 0  # number of the newest file read
    rows: pa.Table = field(default_factory=SCHEMA.empty_table)  # in the order they were written

    def says(self, uid: bytes, request: str, lifted: bool) -> bool:
        """Tell whether the newest word of a request on a uid is this one."""
        return self._states.get((uid, request)) == lifted

    @cached_property
    def _states(self) -> dict[tuple[bytes, str], bool]:
        return {(uid, request): lifted for uid, request, lifted in _keys(self.rows)}

    def uids(self) -> NDArray[np.bytes_]:
        """Return the hidden uids as sorted S16; a uid is hidden while any request on it is not lifted."""
        hidden = sorted({uid for (uid, _), lifted in self._states.items() if not lifted})
        return np.array(hidden, dtype="S16")

    def table(self) -> pa.Table:
        """Return one row (uid, part, request) for every request that hides a uid."""
        hidden = pa.array([not self._states[uid, request] for uid, request, _ in _keys(self.rows)], pa.bool_())
        kept = self.rows.filter(hidden).select(["uid", "part", "request"])
        return kept.group_by(["uid", "part", "request"]).aggregate([])

    def mask(self, uids: pa.Array | pa.ChunkedArray) -> pa.Array:
        """Tell of each uid (binary[16]) whether it is hidden."""
        hidden = pa.array([bytes(u).ljust(16, b"\0") for u in self.uids()], pa.binary(16))
        return pc.is_in(
            pa.chunked_array([uids]).combine_chunks() if isinstance(uids, pa.Array) else uids, value_set=hidden
        )


def read(store: Store, after: Tombstones | None = None) -> Tombstones:
    """Read the tombstones of a data set, only what is newer than `after` where given."""
    known = after or Tombstones()
    tables, number = [known.rows], known.position
    while True:
        try:
            data = store.read(_name(number + 1))
        except FileNotFoundError:
            break
        tables.append(pq.read_table(io.BytesIO(data)).cast(SCHEMA))
        number += 1
    return Tombstones(number, pa.concat_tables(tables)) if number != known.position else known


class Watch:
    """The tombstones as a running reader sees them: never older than `every_s` seconds when asked."""

    def __init__(self, store: Store, every_s: float = 0.25) -> None:
        self._store = store
        self._every_s = every_s
        self._read_s = float("-inf")
        self._now = Tombstones()
        self._hidden: frozenset[bytes] = frozenset()

    def hidden(self) -> frozenset[bytes]:
        """Return the uids that must not be read now."""
        if time.monotonic() - self._read_s >= self._every_s:
            newer = read(self._store, self._now)
            if newer is not self._now:
                self._now = newer
                self._hidden = frozenset(bytes(u).ljust(16, b"\0") for u in newer.uids())
            self._read_s = time.monotonic()
        return self._hidden

    @property
    def position(self) -> int:
        """Return the number of the newest file that was read."""
        return self._now.position


def of_request(uids: Sequence[bytes], parts: Sequence[str], request: str, *, lifted: bool = False) -> pa.Table:
    """Return rows for `publish`."""
    count = len(uids)
    return pa.table([list(uids), list(parts), [request] * count, [lifted] * count], schema=SCHEMA)
