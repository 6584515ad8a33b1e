"""From sightings to parts: equal pairs merged, captures joined, domains spread. One task lays out one bucket of domains."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InvariantError
from pipeline.partition import Buckets, assign_parts
from pipeline.schema import CANDIDATE, CAPTURE_FIELDS
from pipeline.stage import Draft, Outcome, Part, Stage, run
from pipeline.store import Store

CAPTURE_COLUMNS = [field.name for field in CAPTURE_FIELDS]


def stage(
    bucket: int, buckets: Buckets, known: Sequence[Part], extracts: Sequence[Part], part_rows: int, share: float
) -> Stage:
    """Return the stage that lays out one bucket; `known` are the layouts of earlier batches.

    Its inputs are the extracts that hold rows (the key covers them all, since any may hold rows of this bucket).
    """
    config = {
        "bucket": bucket,
        "buckets": buckets.count,
        "large": [list(item) for item in buckets.large.items()],
        "known": [part.key for part in known],
        "part_rows": part_rows,
        "share": share,
    }
    return Stage("layout", lambda draft: _lay_out(draft, bucket, buckets, known, extracts, part_rows, share), config)


def _lay_out(
    draft: Draft,
    bucket: int,
    buckets: Buckets,
    known: Sequence[Part],
    extracts: Sequence[Part],
    part_rows: int,
    share: float,
) -> Outcome:
    store = draft.store
    rows = _gather(store, extracts, "sightings", bucket, buckets)
    rows_in = rows.num_rows
    rows = merge_equal(rows)
    seen = _gather(store, known, "known", bucket, buckets, columns=["dh", "uh", "uid"])
    if seen.num_rows:
        rows = rows.filter(pc.invert(pc.is_in(rows["uid"], value_set=seen["uid"].combine_chunks())))
    rows = _join_captures(rows, _gather(store, extracts, "captures", bucket, buckets))
    part_of = assign_parts(rows["dh"].to_numpy(), rows["uh"].to_numpy(), part_rows, share)
    parts = []
    for number in range(int(part_of.max(initial=-1)) + 1):
        members = rows.filter(pa.array(part_of == number)).select(CANDIDATE.names).cast(CANDIDATE)
        parts.append(_commit_part(store, draft.key, number, members))
    draft.table(rows.select(["dh", "uh", "uid"]).sort_by([("dh", "ascending"), ("uh", "ascending")]), "known.parquet")
    merged = rows_in - rows.num_rows
    facts = {"parts": [part.__dict__ for part in parts], "tags": rows_in}
    return Outcome(rows_in, rows.num_rows, {"duplicate_pair": merged} if merged else {}, facts)


def _commit_part(store: Store, layout_key: str, number: int, members: pa.Table) -> Part:
    """Commit one candidates part, sorted by uid; its key comes from its layout and its number."""

    def write(draft: Draft) -> Outcome:
        table = members.sort_by("uid")
        draft.table(table)
        captured = table.num_rows - table["capture_kind"].null_count
        facts = {
            "captured": captured,
            "domains": len(pc.unique(table["domain"])),
            "tags": int(pc.sum(table["tags"]).as_py() or 0),
        }
        return Outcome(table.num_rows, table.num_rows, {}, facts)

    return run(store, Stage("candidates", write, {"layout": layout_key, "number": number}))


def merge_equal(rows: pa.Table) -> pa.Table:
    """Return one row a uid: the first by (page, source), with `tags` added up. The order of the input does not matter."""
    order = [
        ("uid", "ascending"),
        ("page_url", "ascending"),
        ("source", "ascending"),
        ("license", "ascending"),
        ("lang", "ascending"),
    ]
    rows = rows.sort_by(
        [*order, ("text_from", "ascending"), ("capture_uri", "ascending"), ("capture_offset", "ascending")]
    )
    if rows.num_rows == 0:
        return rows
    uids = np.frombuffer(b"".join(rows["uid"].to_pylist()), dtype="S16") if rows.num_rows else np.zeros(0, "S16")
    first = np.r_[True, uids[1:] != uids[:-1]]
    for name in ("url", "text"):
        values = rows[name].combine_chunks()
        differ = pc.fill_null(pc.not_equal(values[1:], values[:-1]), False).to_numpy(
            zero_copy_only=False
        )  # null: erased
        if (differ & ~first[1:]).any():
            raise InvariantError("two different pairs share a uid; please report this")
    tags = np.add.reduceat(rows["tags"].to_numpy(), np.flatnonzero(first)).astype(np.int32)
    merged = rows.filter(pa.array(first))
    return merged.set_column(merged.schema.get_field_index("tags"), "tags", pa.array(tags))


def _join_captures(rows: pa.Table, captures: pa.Table) -> pa.Table:
    """Fill the capture columns of rows that have none from the crawl's own copies, joined by URL; the first by place wins."""
    if captures.num_rows == 0:
        return rows
    captures = captures.sort_by([("url", "ascending"), ("capture_uri", "ascending"), ("capture_offset", "ascending")])
    at = pc.index_in(rows["url"].combine_chunks(), captures["url"].combine_chunks())  # the first match
    has_own = pc.is_valid(rows["capture_kind"].combine_chunks())
    for name in CAPTURE_COLUMNS:
        joined = pc.if_else(has_own, rows[name].combine_chunks(), captures[name].combine_chunks().take(at))
        rows = rows.set_column(rows.schema.get_field_index(name), name, joined)
    return rows


def _gather(
    store: Store, parts: Sequence[Part], kind: str, bucket: int, buckets: Buckets, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of one bucket from sorted files, reading only the row groups that can hold some."""
    pieces: list[pa.Table] = []
    schema = None
    for part in parts:
        for suffix in sorted(name for name in part.files if name.startswith(kind)):
            with part.open(store, suffix) as handle:
                file = pq.ParquetFile(handle)
                schema = schema or file.schema_arrow
                for group in _row_groups(file, bucket, buckets):
                    table = file.read_row_group(group, columns=list(columns) if columns else None)
                    mask = buckets.of(table["dh"].to_numpy(), table["uh"].to_numpy()) == bucket
                    pieces.append(table.filter(pa.array(mask)))
    if pieces:
        return pa.concat_tables(pieces)
    empty = schema if schema is not None else empty_schema(kind)
    return empty.empty_table().select(list(columns)) if columns else empty.empty_table()


def _row_groups(file: pq.ParquetFile, bucket: int, buckets: Buckets) -> Iterator[int]:
    at = file.schema_arrow.get_field_index("dh")
    for group in range(file.metadata.num_row_groups):
        stats = file.metadata.row_group(group).column(at).statistics
        if stats is None or not stats.has_min_max or buckets.touches(bucket, stats.min, stats.max):
            yield group


def hashed_schema(fields: Sequence[pa.Field]) -> pa.Schema:
    """Return a schema with the two hashes that rows are sorted and bucketed by."""
    return pa.schema([pa.field("dh", pa.uint64()), pa.field("uh", pa.uint64()), *fields])


def empty_schema(kind: str) -> pa.Schema:
    """Return the schema of an extract's file of that kind."""
    if kind == "captures":
        return hashed_schema([pa.field("url", pa.string()), *CAPTURE_FIELDS])
    if kind == "known":
        return hashed_schema([CANDIDATE.field("uid")])
    return hashed_schema(list(CANDIDATE))


def domain_rows(store: Store, extracts: Sequence[Part]) -> Mapping[str, Any]:
    """Return rows per domain hash over all extracts, as two sorted arrays (the reduce that layout is planned from)."""
    tables = [part.table(store, "domains.parquet") for part in extracts if "domains.parquet" in part.files]
    if not tables:
        return {"dh": np.zeros(0, np.uint64), "rows": np.zeros(0, np.int64)}
    total = pa.concat_tables(tables).group_by("dh").aggregate([("rows", "sum")]).sort_by("dh")
    return {"dh": total["dh"].to_numpy(), "rows": total["rows_sum"].to_numpy()}
