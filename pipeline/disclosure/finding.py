"""From what a person names to the candidates parts that hold it: by the layouts' sorted hashes, without reading the rest."""

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.urls import canonical_url, host, registrable_domain
from pipeline.disclosure.packed import Reading
from pipeline.errors import InputError
from pipeline.ids import faiss_id, url_hash
from pipeline.search_rows import fetches
from pipeline.snapshot import numbers
from pipeline.stage import Part, committed
from pipeline.store import Store

Found = dict[bytes, set[str]]
"""uid → keys of the candidates parts that hold it (several when inputs were laid out anew)."""


def by_url(store: Store, url: str, reading: Reading) -> Found:
    """Return the pairs of a URL, erased ones too: the layouts keep hashes of all URLs, sorted by domain.

    Reads the footer of each layout's table, the row groups that span the domain, and the uids of those layouts' parts.
    """
    canonical = canonical_url(url if "://" in url else f"https://{url}")
    if canonical is None:
        raise InputError(f"{url!r} is not a URL")
    dh = int.from_bytes(url_hash(registrable_domain(host(canonical))), "big")
    uh = int.from_bytes(url_hash(canonical), "big")
    found: Found = {}
    for layout in committed(store, "layout"):
        uids = _known(store, layout, dh, uh, reading) if "known.parquet" in layout.files else []
        if uids:
            _place(store, (Part(**facts) for facts in layout.facts["parts"]), uids, found, reading)
    return found


def _groups(file: pq.ParquetFile, column: str, value: int) -> Iterator[int]:
    """Yield the row groups of a sorted file that may hold a value."""
    at = file.schema_arrow.get_field_index(column)
    for group in range(file.metadata.num_row_groups):
        stats = file.metadata.row_group(group).column(at).statistics
        if stats is None or not stats.has_min_max or stats.min <= value <= stats.max:
            yield group


def _known(store: Store, layout: Part, dh: int, uh: int, reading: Reading) -> list[bytes]:
    uids: list[bytes] = []
    with layout.open(store, "known.parquet") as handle:
        file = pq.ParquetFile(handle)
        reading.add()
        for group in _groups(file, "dh", dh):
            table = file.read_row_group(group, columns=["dh", "uh", "uid"])
            reading.rows += table.num_rows
            mine = pc.and_(
                pc.equal(table["dh"], pa.scalar(dh, pa.uint64())), pc.equal(table["uh"], pa.scalar(uh, pa.uint64()))
            )
            uids += table["uid"].filter(mine).to_pylist()
    return uids


def _place(store: Store, parts: Iterable[Part], uids: Iterable[bytes], found: Found, reading: Reading) -> None:
    asked = pa.array(sorted(uids), pa.binary(16))
    for part in parts:
        have = part.table(store, columns=["uid"])["uid"]
        reading.add(len(have))
        for uid in have.filter(pc.is_in(have, value_set=asked)).to_pylist():
            found.setdefault(uid, set()).add(part.key)


def by_uid(store: Store, uid: bytes, hints: Mapping[bytes, Iterable[str]], reading: Reading) -> Found:
    """Return where a uid is.

    Where tombstones name its part, nothing is searched; where an index holds it, its URL leads there; else the uids of all
    parts are read (16 bytes a row).
    """
    if hinted := [part for part in hints.get(uid, ()) if part]:
        return {uid: set(hinted)}
    for url in _indexed_urls(store, uid, reading):
        found = by_url(store, url, reading)
        if uid in found:
            return {uid: found[uid]}
    everywhere: Found = {}
    _place(store, committed(store, "candidates"), [uid], everywhere, reading)
    return everywhere


def _indexed_urls(store: Store, uid: bytes, reading: Reading) -> Iterator[str]:
    """Yield the URL that a snapshot's index has for a uid; its ids are sorted, so little of them is read."""
    wanted = faiss_id(uid)
    for number in reversed(numbers(store)):
        row = index_row(store, f"{number:06d}", wanted, uid, reading)
        if row is not None and row["url"]:
            yield row["url"]
            return


def index_row(store: Store, folder: str, id_: int, uid: bytes, reading: Reading) -> dict[str, Any] | None:
    """Return the row of a uid in a snapshot's index, or None; the index is read as files: a table of places and one of facts."""
    base = f"index/{folder}"
    place = _place_of(store, f"{base}/places.npy", id_, reading) if store.exists(f"{base}/places.npy") else None
    if place is None:
        return None
    keys = json.loads(store.read(f"{base}/index.json"))["shard_keys"]
    reading.add()
    columns = ["id", "key", "url", "shard_offset", "shard_bytes"]
    with store.open(f"{base}/facts/{keys[place >> 32]}.arrow") as handle:
        names = pa.ipc.open_file(handle).schema.names
        fields = pa.ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
        table = pa.ipc.open_file(handle, options=fields).read_all().slice(place & 0xFFFFFFFF, 1)
    reading.add(table.num_rows)
    row: dict[str, Any] = table.to_pylist()[0]
    return {**row, "shard": place >> 32} if row["key"] == uid.hex() else None


def _place_of(store: Store, name: str, id_: int, reading: Reading) -> int | None:
    """Return the place (shard · 2^32 + row) of an id in an index's i64[2,N] of sorted ids and places, by bisection in the file."""
    reading.add()
    with store.open(name) as handle:
        np.lib.format.read_magic(handle)
        (_, count), _, _ = np.lib.format.read_array_header_1_0(handle)
        begin = handle.tell()

        def value(row: int, at: int) -> int:
            handle.seek(begin + 8 * (row * count + at))
            return int.from_bytes(handle.read(8), "little", signed=True)

        at = bisect_left(range(count), id_, key=lambda at: value(0, at))
        return value(1, at) if at < count and value(0, at) == id_ else None


def by_sha256(store: Store, sha256: bytes, reading: Reading) -> Found:
    """Return the pairs whose picture's file had this digest; reads that column of every fetch (32 bytes a row)."""
    found: Found = {}
    for part in committed(store, "candidates"):
        for generation in fetches(store, part.key):
            table = generation.table(store, columns=["uid", "sha256"])
            reading.add(table.num_rows)
            mine = table.filter(pc.fill_null(pc.equal(table["sha256"], pa.scalar(sha256, pa.binary(32))), False))
            for uid in mine["uid"].to_pylist():
                found.setdefault(uid, set()).add(part.key)
    return found


def refused(store: Store, url: str, reading: Reading) -> list[dict[str, Any]]:
    """Return the refusals that extraction recorded for a picture's address: these rows never became candidates."""
    canonical = canonical_url(url if "://" in url else f"https://{url}")
    told: list[dict[str, Any]] = []
    for part in committed(store, "extract"):
        if "refused.parquet" not in part.files:
            continue
        rows = part.table(store, "refused.parquet", columns=["url", "reason", "source"])
        reading.add(rows.num_rows)
        mine = rows.filter(pc.fill_null(pc.equal(rows["url"], canonical), False)).to_pylist()
        place = {"extract": part.key, "file": part.file("refused.parquet")}
        told += [{**place, "reason": row["reason"], "source": row["source"]} for row in mine]
    return told
