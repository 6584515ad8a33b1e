"""Where the stages left something of a uid: which files of which parts, which rows of them, which blocks of their tars."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.erasure.plan import Task
from pipeline.erasure.tar_erase import BLOCK_BYTES, Region, merged
from pipeline.ids import url_hash
from pipeline.pack import ERASED
from pipeline.stage import Part, committed, find
from pipeline.store import Store
from pipeline.verify import FOLDERS

_BY_UID = {"texts": {"parquet": "texts"}, "embed": {"parquet": "embed"}, "scores": {"parquet": "scores"},
           "judge": {"copies.parquet": "members"}}  # fmt: skip


@dataclass
class Found:
    """The work that was found, and how much of what kind it is."""

    tasks: list[Task] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    removed: list[str] = field(default_factory=list)

    def table(self, part: Part, suffix: str, role: str, rows: Sequence[int]) -> None:
        """Note rows of one of a part's tables."""
        if len(rows):
            self.counts[role] += len(rows)
            names = [part.file(suffix)]
            self.tasks.append(Task("table", role, names, part.files[suffix], part.record, suffix, list(rows)))


@dataclass
class Wanted:
    """The uids to be erased, and what is known of them for the time of planning."""

    uids: pa.Array
    parts: set[str]  # keys of candidates parts that tombstones name
    domains: set[int] | None = field(default_factory=set)  # hashes; None: not known of all, so look everywhere
    urls: set[str] = field(default_factory=set)  # that no living row has
    pages: set[str] = field(default_factory=set)  # likewise, around their pictures

    def rows(self, column: pa.ChunkedArray) -> list[int]:
        """Return the positions of the uids in a column."""
        mask = pc.is_in(column, value_set=self.uids)
        return np.flatnonzero(mask.to_numpy()).tolist()

    def rows_of_urls(self, table: pa.Table) -> list[int]:
        """Return the positions of rows whose URL, or page where there is such a column, no living row has."""
        mask = pc.is_in(table["url"], value_set=pa.array(sorted(self.urls), pa.string()))
        if "page_url" in table.column_names:
            mask = pc.or_(mask, pc.is_in(table["page_url"], value_set=pa.array(sorted(self.pages), pa.string())))
        return np.flatnonzero(mask.to_numpy()).tolist()


def find_all(store: Store, wanted: Wanted) -> Found:
    """Find what the stages hold of the wanted uids; what is learnt of their URLs is kept in `wanted`."""
    found = Found()
    candidates = _candidates(store, wanted, found)
    for stage, tables in _BY_UID.items():
        for part in committed(store, stage):
            if candidates.intersection(part.inputs[:1]):
                for suffix, role in tables.items():
                    _by_uid(store, part, suffix, role, wanted, found)
    for key in sorted(candidates):
        _fetches(store, key, wanted, found)
    for part in committed(store, "extract"):
        _extract(store, part, wanted, found)
    for stage in (*FOLDERS, *(f"fetch/{key}" for key in candidates)):
        found.removed += _strays(store, stage)
    return found


def _strays(store: Store, stage: str) -> list[str]:
    """Return files that no record speaks of: a killed run leaves such, and they may hold anything."""
    names = store.names(stage)
    records = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    by_key: dict[str, list[str]] = {}
    for name in names:
        if not name.endswith(".json"):
            by_key.setdefault(f"{stage}/{name[len(stage) + 1 :].split('.', 1)[0]}", []).append(name)
    stray = [name for key, files in by_key.items() if key not in records for name in files]
    for key, files in by_key.items():
        suffixes = {name[len(key) + 1 :].split(".", 1)[1] for name in files}
        if key in records and len(suffixes) < len(files):  # of two executions, one was killed before it cleaned up
            part = Part.from_json(store.read(f"{key}.json"), store.uri(f"{key}.json"))
            stray += sorted(set(files) - {part.file(suffix) for suffix in part.files})
    return stray


def _candidates(store: Store, wanted: Wanted, found: Found) -> set[str]:
    """Note the rows of candidates parts: those that tombstones name, and those of other layouts of the same crawl."""
    tables: dict[str, tuple[Part, pa.Table]] = {}

    def look(key: str) -> bool:
        part = find(store, "candidates", key) if key and key not in tables else None
        if part is None:
            return key in tables
        table = part.table(store, columns=["uid", "url", "page_url", "domain"])
        rows = wanted.rows(table["uid"])
        if rows:
            tables[key] = part, table
            _learn(table.take(rows), wanted)
            found.table(part, "parquet", "candidates", rows)
        return bool(rows)

    known = [look(key) for key in sorted(wanted.parts)]
    if not all(known) or not known:
        wanted.domains = None
    for layout in committed(store, "layout"):
        if _holds(store, layout, wanted):
            for facts in layout.facts["parts"]:
                look(facts["key"])
    for _, table in tables.values():
        living = table.filter(pc.invert(pc.is_in(table["uid"], value_set=wanted.uids)))
        for names, column in ((wanted.urls, "url"), (wanted.pages, "page_url")):
            shared = pc.is_in(living[column], value_set=pa.array(sorted(names), pa.string()))
            names -= set(living[column].filter(shared).to_pylist())
    return set(tables)


def _learn(rows: pa.Table, wanted: Wanted) -> None:
    wanted.urls |= set(rows["url"].drop_null().to_pylist())
    wanted.pages |= set(rows["page_url"].drop_null().to_pylist())
    if wanted.domains is not None:
        domains = rows["domain"].to_pylist()
        if None in domains:  # blanked before, and asked for once more
            wanted.domains = None
        else:
            wanted.domains |= {int.from_bytes(url_hash(domain), "big") for domain in domains}


def _holds(store: Store, layout: Part, wanted: Wanted) -> bool:
    groups = _groups(store, layout, "known.parquet", ["uid"], wanted.domains)
    return any(wanted.rows(table["uid"]) for _, table in groups)


def _groups(
    store: Store, part: Part, suffix: str, columns: Sequence[str], domains: Iterable[int] | None
) -> Iterator[tuple[int, pa.Table]]:
    """Yield (first row, rows) of the row groups that can hold one of the domains' hashes."""
    sought = np.array(sorted(domains), np.uint64) if domains is not None else None
    if suffix not in part.files:
        return
    with part.open(store, suffix) as handle:
        file = pq.ParquetFile(handle)
        at = file.schema_arrow.get_field_index("dh")
        low = 0
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            stats = group.column(at).statistics if at >= 0 else None
            if sought is None or stats is None or not stats.has_min_max or _touches(sought, stats.min, stats.max):
                yield low, file.read_row_group(number, columns=list(columns))
            low += group.num_rows


def _touches(sought: "np.ndarray[Any, Any]", low: int, high: int) -> bool:
    first = int(np.searchsorted(sought, np.uint64(low)))
    return first < len(sought) and int(sought[first]) <= high


def _by_uid(store: Store, part: Part, suffix: str, role: str, wanted: Wanted, found: Found) -> None:
    if suffix not in part.files:
        return
    rows = wanted.rows(part.table(store, suffix, columns=["uid"])["uid"])
    found.table(part, suffix, role, rows)
    if role == "embed" and rows:
        for array in ("img.npy", "text.npy"):
            found.counts["vectors"] += len(rows)
            names = [part.file(array)]
            found.tasks.append(Task("array", role, names, part.files[array], part.record, array, rows))


def _fetches(store: Store, key: str, wanted: Wanted, found: Found) -> None:
    for part in committed(store, f"fetch/{key}"):
        table = part.table(store, columns=["uid", "reason", "tar_offset", "tar_bytes"])
        rows = wanted.rows(table["uid"])
        found.table(part, "parquet", "fetch", rows)
        if "signals.parquet" in part.files:
            urls = part.table(store, "signals.parquet", columns=["url"])
            found.table(part, "signals.parquet", "signals", wanted.rows_of_urls(urls))
        if rows and "tar" in part.files:
            _fetch_tar(store, part, table, set(rows), wanted, found)


def _fetch_tar(store: Store, part: Part, table: pa.Table, gone: set[int], wanted: Wanted, found: Found) -> None:
    """Note the pictures that no living row uses; one that some use stays, under the name of a living one."""
    new: dict[int, Region] = {}
    old: dict[int, Region] = {}
    living: dict[int, bytes] = {}
    for at, row in enumerate(table.to_pylist()):
        if row["tar_offset"] is None:
            continue
        offset = row["tar_offset"] - BLOCK_BYTES
        region = (offset, BLOCK_BYTES + row["tar_bytes"] + -row["tar_bytes"] % BLOCK_BYTES)
        if at in gone:
            new[offset] = region
        elif row["reason"] == ERASED:
            old[offset] = region
        else:
            living[offset] = min(living.get(offset, row["uid"]), row["uid"])
    runs = merged([r for at, r in new.items() if at not in living], [r for at, r in old.items() if at not in living])
    renames = _renames(store, part, {at: living[at] for at in new if at in living}, wanted)
    if runs or renames:
        found.counts["pictures"] += len([at for at in new if at not in living])
        names = [part.file("tar")]
        task = Task("tar", "fetch", names, part.files["tar"], part.record, "tar", runs=runs, renames=renames)
        found.tasks.append(task)


def _renames(store: Store, part: Part, shared: Mapping[int, bytes], wanted: Wanted) -> dict[int, str]:
    """Return offset → new name of the members that carry the uid of an erased row though living ones use them."""
    gone = {uid.hex() for uid in wanted.uids.to_pylist()} if shared else set()
    renames = {}
    if shared:
        with part.open(store, "tar") as tar:
            for offset, uid in shared.items():
                tar.seek(offset)
                stem, _, extension = tar.read(100).rstrip(b"\0").decode().partition(".")
                if stem in gone:
                    renames[offset] = f"{uid.hex()}.{extension}"
    return renames


def _extract(store: Store, part: Part, wanted: Wanted, found: Found) -> None:
    for suffix in sorted(part.files):
        kind = suffix.split(".", 1)[0]
        if kind not in ("sightings", "captures", "refused"):
            continue
        columns = {"sightings": ["uid"], "captures": ["url"], "refused": ["url", "page_url"]}[kind]
        domains = wanted.domains if kind != "refused" else None
        rows: list[int] = []
        for low, table in _groups(store, part, suffix, columns, domains):
            here = wanted.rows(table["uid"]) if kind == "sightings" else wanted.rows_of_urls(table)
            rows += [low + at for at in here]
        found.table(part, suffix, kind, rows)
