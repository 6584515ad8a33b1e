"""The table of domains by size of the content taken from them, streamed part by part (AI Act art. 53(1)(d), template part 2.3)."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters import policy
from pipeline.report_rows import way
from pipeline.rows import fetched
from pipeline.snapshot import Snapshot
from pipeline.store import Store

RESERVED: Final = (*policy.REASONS, "opted_out", "opted_out_request", "hash_listed")
"""Reasons that are somebody's no."""
_MERGE_ROWS = 1_000_000
_EMPTY = pa.table(
    {"domain": pa.array([], pa.string()), "items": pa.array([], pa.int64()), "bytes": pa.array([], pa.int64()),
     "reserved": pa.array([], pa.int64())}
)  # fmt: skip


@dataclass
class Domains:
    """The whole table, largest first: domain, items kept, bytes of their originals, items left out because somebody said no."""

    table: pa.Table
    removed: int = 0  # kept when the snapshot was made, erased since
    reasons: Mapping[str, int] = field(
        default_factory=dict
    )  # of all rows that were left out, as the snapshot counts them

    @property
    def items(self) -> int:
        """Return the items of all domains."""
        return int(pc.sum(self.table["items"]).as_py() or 0)

    @property
    def bytes(self) -> int:
        """Return the bytes of all domains."""
        return int(pc.sum(self.table["bytes"]).as_py() or 0)

    def top(self, sme: bool = False) -> int:
        """Return how many of the largest domains a summary lists: 10 %, for small enterprises 5 % or 1,000, whichever is less."""
        count = int(self.table.num_rows)
        return min(math.ceil(count * 0.05), 1000) if sme else math.ceil(count * 0.1)

    def csv(self, most: int | None = None) -> Iterator[str]:
        """Yield lines of CSV: the domain, its bytes, items and share of all bytes, the share summed up, and what was reserved."""
        yield "registrable_domain,bytes,items,share,cum_share,reserved\n"
        total, summed = self.bytes or 1, 0
        for batch in self.table.slice(0, most).to_batches(10_000):
            for row in batch.to_pylist():
                summed += row["bytes"]
                out = io.StringIO()
                share = (f"{row['bytes'] / total:.8f}", f"{summed / total:.8f}")
                csv.writer(out, lineterminator="\n").writerow(
                    [row["domain"], row["bytes"], row["items"], *share, row["reserved"]]
                )
                yield out.getvalue()


def domains(store: Store, snapshot: Snapshot) -> Domains:
    """Count a snapshot's kept rows by registrable domain; memory grows with domains, not with rows.

    Only domains that something was kept of are listed: who reserved everything is not made known by a list.
    """
    pieces, waiting, removed = [_EMPTY], 0, 0
    for entry in snapshot.parts:
        files = way(store, entry).files
        assert files.decide is not None
        rows = files.candidates.table(store, columns=["uid", "domain"])
        uids = rows["uid"].combine_chunks()
        decide = files.decide.table(store, columns=["uid", "reason"])
        got = fetched(store, files.fetches)
        reason = decide["reason"].combine_chunks().take(pc.index_in(uids, decide["uid"].combine_chunks()))
        size = got["original_bytes"].combine_chunks().take(pc.index_in(uids, got["uid"].combine_chunks()))
        kept, known = pc.is_null(reason), pc.is_valid(rows["domain"].combine_chunks())
        removed += int(pc.sum(pc.and_(kept, pc.invert(known))).as_py() or 0)
        said_no = pc.is_in(reason, value_set=pa.array(RESERVED, pa.string()))
        table = pa.table(
            {
                "domain": rows["domain"],
                "items": kept.cast(pa.int64()),
                "bytes": pc.if_else(kept, pc.fill_null(size, 0), 0),
                "reserved": said_no.cast(pa.int64()),
            }
        ).filter(known)
        pieces.append(_grouped(table))
        waiting += pieces[-1].num_rows
        if waiting > _MERGE_ROWS:
            pieces, waiting = [_grouped(pa.concat_tables(pieces))], 0
    total = _grouped(pa.concat_tables(pieces))
    total = total.filter(pc.greater(total["items"], 0))
    return Domains(total.sort_by([("bytes", "descending"), ("domain", "ascending")]), removed, dict(snapshot.dropped))


def _grouped(table: pa.Table) -> pa.Table:
    names = ("items", "bytes", "reserved")
    found = table.group_by("domain").aggregate([(name, "sum") for name in names])
    return found.select(["domain", *(f"{name}_sum" for name in names)]).rename_columns(_EMPTY.column_names)


def shares(found: Domains, most: int) -> float:
    """Return the share of all bytes that the largest domains have."""
    sizes = found.table["bytes"].to_numpy()
    return float(np.sum(sizes[:most]) / (np.sum(sizes) or 1))
