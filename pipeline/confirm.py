"""The right to confirmation (GDPR art. 15): is it in here, where, who got it, and what was searched to say so."""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import select

from pipeline import search_rows, snapshot, tombstones
from pipeline.errors import InputError
from pipeline.exposure import Checkpoints
from pipeline.pack import shard_files
from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.registry.suppression import Suppression
from pipeline.registry.tables import recipient, release
from pipeline.snapshot import Snapshot
from pipeline.stage import committed, find
from pipeline.store import Store

RECALL: Final = {
    "exact": 1.0,
    "picture": {
        "re-encoded at JPEG quality 30": 1.0, "half the size": 0.99, "small JPEG": 0.99, "mirrored or turned": 1.0,
        "watermark": 0.99, "a bar over it": 0.82, "64 px": 0.79, "cropped by a tenth": 0.0, "a bar appended": 0.0,
    },
    "measured_on": "400 OpenMoji drawings at 512 px against their copies, PDQ of at most 31 bits; tests/pipeline/test_identify.py",
}  # fmt: skip
"""Share of copies that a picture's perceptual hash finds; names and file digests miss nothing within what was searched."""
_ROWS_SHOWN: Final = 100


@dataclass(frozen=True)
class Row:
    """A row that is meant, as the person who asked may see it: of copies elsewhere, whose texts are others', only that they are."""

    uid: str
    how: str
    score: float | None
    url: str | None
    text: str | None
    page_url: str | None
    source: str | None  # the crawl's file
    hidden: bool  # by a tombstone, not yet erased
    fates: Mapping[str, str | None]  # snapshot → reason it is not in it; None: it is


def confirm(
    store: Store,
    kind: str,
    value: str | Mapping[str, str],
    registry: Registry | None = None,
    *,
    without: frozenset[bytes] = frozenset(),
    most: int | None = None,
    checkpoints: Checkpoints | None = None,
) -> dict[str, Any]:
    """Answer whether a data set holds what a name, a hash or a picture (its hashes and vector) means.

    `found` is yes, no, or unknown: only look-alikes that a person would have to compare, or parts that cannot be read.
    For strangers: uids `without` count as not there, and beyond `most` rows are counted, not looked into.
    InputError where there is no data set: a no would be a statement about something that nobody has looked at.
    """
    if not store.names("snapshots") and not store.names("candidates"):
        raise InputError(f"{store.root}: no data set is here, so nothing can be said of it; check the path")
    with tempfile.TemporaryDirectory() as folder:
        told = value if isinstance(value, str) else dict(value)
        lists = Suppression.of_value(kind, value, Path(folder))
        search = search_rows.Search(store, kind, told, lists, without=without, most=most)
        found, refused = search.find(), search.refused()
    proposals = search.proposals(found)
    snapshots = [snapshot.read(store, number) for number in snapshot.numbers(store)]
    copies = search_rows.copies(store, found) if kind not in ("text", "creator") else {}
    copies = {uid: match for uid, match in copies.items() if uid not in without}
    rows = _rows(store, list(found.values()), snapshots)
    hidden = _rows(store, list(copies.values()), snapshots)
    numbers = sorted({int(name) for row in (*rows, *hidden) for name, reason in row.fates.items() if reason is None})
    missing = _missing(store, snapshots)
    answer = "yes" if found or refused else "unknown" if proposals or missing else "no"
    uids = {match.uid.hex() for match in (*found.values(), *copies.values())}
    releases = _releases(registry, numbers) if registry is not None else []
    return {
        "asked": kind,
        "found": answer,
        "counts": {
            "rows": search.matched,
            "copies": len(copies),
            "refused": len(refused),
            "look_alikes": len(proposals),
        },
        "rows": [row.__dict__ for row in rows[:_ROWS_SHOWN]],
        "refused": [match.secret["url"] for match in refused.values() if match.secret][:_ROWS_SHOWN],
        "copies": [{"uid": row.uid, "hidden": row.hidden, "fates": row.fates} for row in hidden[:_ROWS_SHOWN]],
        "look_alikes": [{"uid": match.uid.hex(), "cos": match.score} for match in proposals],
        "sources": dict(Counter(row.source for row in rows if row.source)),
        "derived": _derived(store, [one for one in snapshots if one.number in numbers], uids),
        "releases": releases,
        "recipients": sorted({one["recipient"] for one in releases}),
        "checkpoints": _seen(store, checkpoints, sorted(uids)[:_ROWS_SHOWN]) if checkpoints is not None else [],
        "scope": _scope(search, kind, value) | {"snapshots": [one.number for one in snapshots], "missing": missing},
    }


def _scope(search: search_rows.Search, kind: str, value: str | Mapping[str, str]) -> dict[str, Any]:
    """Return what was searched, and the share of what is meant that such a search finds."""
    return {
        "rows": search.rows,
        "pictures": search.pictures,
        "recall": RECALL["exact"] if isinstance(value, str) and kind not in ("pdq", "phash64") else RECALL,
        "look_alikes_from_cos": search_rows.PROPOSE_COS if "vector" in value else None,
    }


def _seen(store: Store, checkpoints: Checkpoints, uids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the checkpoints of trained models that saw the rows, each with the row's uid."""
    found = checkpoints(store, [bytes.fromhex(uid) for uid in uids])
    return [{"uid": uid, **one} for uid in uids for one in found.get(bytes.fromhex(uid), [])]


def _rows(store: Store, found: Sequence[Match], snapshots: Sequence[Snapshot]) -> list[Row]:
    """Return the matches with their sources and what became of them in each snapshot."""
    wanted = {match.uid: match for match in found}
    by_part: dict[str, list[bytes]] = {}
    for match in found:
        by_part.setdefault(match.part, []).append(match.uid)
    hidden = frozenset(tombstones.read(store).uids().tolist())
    rows = []
    for key, uids in by_part.items():
        fates = _fates(store, key, uids, snapshots)
        part = find(store, "candidates", key)
        assert part is not None
        table = part.table(store, columns=["uid", "url", "text", "page_url", "source"])
        for row in table.filter(
            pc.is_in(table["uid"].combine_chunks(), value_set=pa.array(uids, pa.binary(16)))
        ).to_pylist():
            match = wanted[row["uid"]]
            source = row["source"].rsplit("/", 1)[-1] if row["source"] else None
            facts = (row["url"], row["text"], row["page_url"], source, row["uid"].rstrip(b"\0") in hidden)
            rows.append(Row(row["uid"].hex(), match.how, match.score, *facts, fates.get(row["uid"], {})))
    return rows


def _fates(
    store: Store, key: str, uids: Sequence[bytes], snapshots: Sequence[Snapshot]
) -> dict[bytes, dict[str, str | None]]:
    found: dict[bytes, dict[str, str | None]] = {}
    for one in snapshots:
        for entry in one.parts:
            for decided in entry.stages.get("decide", ()) if entry.candidates == key else ():
                part = find(store, "decide", decided)
                if part is None:
                    continue
                table = part.table(store, columns=["uid", "reason"])
                mine = pc.is_in(table["uid"].combine_chunks(), value_set=pa.array(uids, pa.binary(16)))
                for row in table.filter(mine).to_pylist():
                    found.setdefault(row["uid"], {})[one.folder] = row["reason"]
    return found


def _missing(store: Store, snapshots: Sequence[Snapshot]) -> list[str]:
    """Return the candidates parts that snapshots name and that are not there to be searched."""
    have = {part.key for part in committed(store, "candidates")}
    return sorted({entry.candidates for one in snapshots for entry in one.parts} - have)


def _derived(store: Store, snapshots: Sequence[Snapshot], uids: set[str]) -> dict[str, list[str]]:
    """Return the files of snapshots that hold the rows or what was computed from them."""
    files: dict[str, list[str]] = {"snapshots": [], "shards": [], "embeddings": [], "index": []}
    wanted = pa.array(sorted(uids), pa.string())
    for one in snapshots:
        files["snapshots"].append(one.folder)
        here = False
        for shard in one.shards:
            names = shard_files(one.folder, shard.number)
            if not store.exists(names["parquet"]):
                continue
            with store.open(names["parquet"]) as handle:
                keys = pq.read_table(handle, columns=["key"])["key"]
            if pc.any(pc.is_in(keys, value_set=wanted)).as_py():
                here = True
                files["shards"].append(names["tar"])
                files["embeddings"] += [names["img_emb"], names["text_emb"]]
        if here and store.exists(f"index/{one.folder}/index.json"):
            files["index"].append(f"index/{one.folder}")
    return files


def _releases(registry: Registry, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Return the releases of these snapshots and who got them."""
    with place.reading(registry.engine) as connection:
        chosen = select(release.c.id, release.c.snapshot, release.c.released_utc, recipient.c.name).join(
            recipient, recipient.c.id == release.c.recipient_id
        )
        rows = connection.execute(chosen.where(release.c.snapshot.in_(numbers)).order_by(release.c.released_utc)).all()
    names = ("release", "snapshot", "released_utc", "recipient")
    return [dict(zip(names, row, strict=True)) for row in rows]
