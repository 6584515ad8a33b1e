"""The first stage: one input unit (a WARC, a WAT, a folder, a slice of a list) becomes sorted runs of sightings."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters import rsl
from filters.urls import host, registrable_domain
from pipeline import ids, tombstones
from pipeline.inputs import Unit, read_unit
from pipeline.layout import empty_schema
from pipeline.rows import blanked
from pipeline.schema import REFUSED
from pipeline.sightings import POLICY_URL, Counts, ReadOptions
from pipeline.stage import PARQUET, Draft, Outcome, Stage

RUN_ROWS = 200_000
"""Rows sorted in memory at a time; a larger unit leaves several sorted runs."""

_GROUP_ROWS = 10_000
_CAPTURE_NAMES = {name: f"capture_{name}" for name in ("kind", "uri", "offset", "bytes")}
POLICY_COLUMNS = ["url", *_CAPTURE_NAMES.values()]


def stage(unit: Unit, options: ReadOptions) -> Stage:
    """Return the stage that reads one unit."""
    return Stage(
        "extract", lambda draft: _extract(draft, unit, options), {"unit": unit.identity(), "options": asdict(options)}
    )


@dataclass
class _Runs:
    """Collects batches of one kind and writes them as sorted Parquet runs."""

    draft: Draft
    kind: str
    batches: list[pa.Table]
    rows: int = 0
    written: int = 0

    def add(self, table: pa.Table) -> None:
        self.batches.append(table)
        self.rows += table.num_rows
        if self.rows >= RUN_ROWS:
            self.flush()

    def hide(self, urls: set[str]) -> None:
        """Blank the rows of URLs among those that are not yet written."""
        if urls:
            value_set = pa.array(sorted(urls), pa.string())
            self.batches = [blanked(t, pc.is_in(t["url"], value_set=value_set), ("dh", "uh")) for t in self.batches]

    def flush(self) -> None:
        if not self.batches:
            return
        table = pa.concat_tables(self.batches).sort_by([("dh", "ascending"), ("uh", "ascending")])
        path = self.draft.path(f"{self.kind}.{self.written}.parquet")
        pq.write_table(table, path, row_group_size=_GROUP_ROWS, **PARQUET)
        self.batches, self.rows, self.written = [], 0, self.written + 1


def _extract(draft: Draft, unit: Unit, options: ReadOptions) -> Outcome:
    counts = Counts()
    sightings, captures = _Runs(draft, "sightings", []), _Runs(draft, "captures", [])
    domains: Counter[int] = Counter()
    dropped: Counter[str] = Counter()
    refused: list[pa.Table] = []
    policies: list[pa.Table] = []
    rows_in = 0
    hidden = tombstones.read(draft.store)  # what was erased is not written down again
    gone: set[str] = set()
    now = datetime.now(UTC)
    for kind, batch in read_unit(unit, options, counts):
        table = pa.Table.from_batches([batch])
        if kind == "captures":
            table = hash_rows(table.rename_columns([_CAPTURE_NAMES.get(name, name) for name in table.column_names]))
            policies.append(table.filter(_is_policy(table)).select(POLICY_COLUMNS))
            captures.add(table.select(empty_schema("captures").names))
            continue
        rows_in += table.num_rows
        bad = table.filter(pc.is_valid(table["reason"]))
        dropped.update(bad["reason"].to_pylist())
        refused.append(_refusals(bad, now))
        good = _sighting_rows(table.filter(pc.is_null(table["reason"])))
        if hidden.position:
            good = _without(good, hidden, gone)
        domains.update(good["dh"].to_pylist())
        sightings.add(good)
    sightings.flush()
    captures.hide(gone)
    captures.flush()
    _write_domains(draft, domains)
    draft.table(pa.concat_tables([*refused, REFUSED.empty_table()]).combine_chunks(), "refused.parquet")
    spoken = pa.concat_tables(policies) if policies else None
    if spoken is not None and spoken.num_rows:
        draft.table(spoken, "policies.parquet")
    facts = {
        "counts": asdict(counts),
        "kind": unit.kind,
        "source": unit.uri,
        "policies": spoken.num_rows if spoken is not None else 0,
    }
    return Outcome(rows_in, rows_in - dropped.total(), dict(dropped), facts)


def _is_policy(table: pa.Table) -> pa.ChunkedArray:
    """Tell which captures are files that speak for a whole origin, or licences that such a file may link."""
    of_origin = pc.match_substring_regex(table["url"], f"^(?:{POLICY_URL})$")
    licence = pc.starts_with(table["content_type"], rsl.MEDIA_TYPE, ignore_case=True)
    return pc.or_(of_origin, pc.fill_null(licence, False))


def _sighting_rows(table: pa.Table) -> pa.Table:
    """Add hashes, uid and registrable domain to rows that may become candidates."""
    table = hash_rows(table)
    uids = [ids.uid(url, text) for url, text in zip(table["url"].to_pylist(), table["text"].to_pylist(), strict=True)]
    table = table.append_column("uid", pa.array(uids, pa.binary(16)))
    table = table.append_column("tags", pa.array(np.ones(table.num_rows, np.int32)))
    schema = empty_schema("sightings")
    return table.select(schema.names).cast(schema)


def _without(rows: pa.Table, hidden: tombstones.Tombstones, gone: set[str]) -> pa.Table:
    """Return rows with those blanked that a tombstone hides: their uids stay, so that every row still has its fate."""
    mask = hidden.mask(rows["uid"])
    gone |= set(rows.filter(mask)["url"].to_pylist())
    return blanked(rows, mask, ("dh", "uh", "uid", "tags"))


def hash_rows(table: pa.Table) -> pa.Table:
    """Add `domain`, and the hashes `dh` (of the domain) and `uh` (of the URL) that rows are sorted and bucketed by."""
    urls = table["url"].to_pylist()
    domains = [registrable_domain(host(url)) for url in urls]
    return (
        table.append_column("dh", pa.array(list(_hashes(domains)), pa.uint64()))
        .append_column("uh", pa.array(list(_hashes(urls)), pa.uint64()))
        .append_column("domain", pa.array(domains, pa.string()))
        .select(["dh", "uh", *[name for name in table.column_names if name != "domain"], "domain"])
    )


def _hashes(values: list[str]) -> Iterator[int]:
    for value in values:
        yield int.from_bytes(ids.url_hash(value), "big")


def _refusals(bad: pa.Table, observed_utc: datetime) -> pa.Table:
    """Return who said no, with the evidence and without the text: what is refused is not kept."""
    spoken = bad.filter(pc.is_valid(bad["evidence"]))
    tags = pa.array(np.ones(spoken.num_rows, np.int32))
    observed = pa.repeat(pa.scalar(observed_utc, REFUSED.field("observed_utc").type), spoken.num_rows)
    spoken = spoken.append_column("tags", tags).append_column("observed_utc", observed)
    return spoken.select(REFUSED.names).cast(REFUSED)


def _write_domains(draft: Draft, domains: Counter[int]) -> None:
    keys = sorted(domains)
    table = pa.table({"dh": pa.array(keys, pa.uint64()), "rows": pa.array([domains[k] for k in keys], pa.int64())})
    draft.table(table, "domains.parquet")
