"""Everything that is known of one sample: what was found, said of its use, measured and decided, and where it went."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.urls import canonical_url
from index.serve import exposed
from index.serve.catalogue import Served
from index.serve.errors import NotHere
from pipeline.disclosure.lineage import lineage, registry_of
from pipeline.ids import faiss_id
from pipeline.reasons import meaning
from pipeline.stage import Part, find
from pipeline.store import Store

RIGHTS: Final = (
    "license", "creator", "copyright", "credit", "usage_terms", "web_statement", "licensor", "digital_source_type",
    "copyright_owner", "other_constraints", "rights_marked",
)  # fmt: skip
_INSIDE: Final = frozenset({"id", "shard", "row", "shard_offset", "shard_bytes", "status", "error_message"})
_MOST_COPIES: Final = 50


def row_of(served: Served, uid: str) -> dict[str, Any]:
    """Return the index's facts of a sample; NotHere where it is not in the snapshot or hidden."""
    gone = NotHere(f"no sample {uid} in this data set")
    ids = np.array([faiss_id(bytes.fromhex(uid))], np.int64)
    with served.searcher.using() as opened:
        if not opened.having(ids).all():
            raise gone
        row: dict[str, Any] = opened.facts(ids).to_pylist()[0]
    if row["key"] != uid or bytes.fromhex(uid) in served.hidden():
        raise gone
    return row


def picture_of(served: Served, uid: str) -> bytes:
    """Return the stored picture of a sample; NotHere as `row_of`."""
    row_of(served, uid)
    with served.searcher.using() as opened:
        ids = np.array([faiss_id(bytes.fromhex(uid))], np.int64)
        data = opened.pictures(ids)[0] if opened.having(ids).all() else None
    if data is None or bytes.fromhex(uid) in served.hidden():  # asked again: reading takes its time
        raise NotHere(f"no sample {uid} in this data set")
    return data


def told(served: Served, uid: str, registry_url: str | None) -> dict[str, Any]:
    """Return all of it as JSON values. Who was given a release is not told here: the sample's owner learns it by a request."""
    row, store, key = row_of(served, uid), served.store, bytes.fromhex(uid)
    traced = _traced(store, uid, registry_url)
    found = traced[0] if traced else {"parts": [], "snapshots": [], "releases": []}
    copies = _copies(served, key)
    if key in served.hidden():
        raise NotHere(f"no sample {uid} in this data set")
    return {
        "uid": uid,
        "snapshot": served.searcher.snapshot.number,
        "threshold_cos": float(served.searcher.snapshot.clip["threshold_cos"]),
        "picture": f"/api/v1/datasets/{served.name}/samples/{uid}/picture",
        "facts": {name: value for name, value in row.items() if name not in _INSIDE and name not in RIGHTS},
        "rights": {name: row.get(name) for name in RIGHTS},
        "signals": [signal for part in found["parts"] for signal in _signals(store, part, row)],
        "scores": _scores(store, found["parts"], key),
        "decisions": [_decision(one) for one in found["snapshots"]],
        "copies": copies,
        "releases": [
            {name: one[name] for name in ("release", "released_utc", "snapshot")} for one in found["releases"]
        ],
        "checkpoints": exposed.seen(served, [uid]).get(uid, []),
    }


def _traced(store: Store, uid: str, registry_url: str | None) -> list[dict[str, Any]]:
    registry = registry_of(store, registry_url)
    try:
        return lineage(store, "uid", uid, registry).samples
    finally:
        if registry is not None:
            registry.engine.dispose()


def _decision(one: Mapping[str, Any]) -> dict[str, Any]:
    reason = one["reason"]
    says = "Kept." if reason is None else meaning(reason)
    shard = one["shard"]["file"] if one["shard"] else None
    return {
        "snapshot": one["number"],
        "reason": reason,
        "says": says,
        "duplicate_of": one["duplicate_of"],
        "shard": shard,
    }


def _signals(store: Store, part: Mapping[str, Any], row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what was said of the sample's use where it was fetched, each with its words, place and time."""
    urls = pa.array(sorted({row["url"], canonical_url(row["url"]) or row["url"]}))
    said = []
    for fetched in part["fetches"]:
        record = find(store, f"fetch/{part['candidates']}", fetched["key"])
        if record is None or "signals.parquet" not in record.files:
            continue
        table = record.table(store, "signals.parquet")
        said += [_plain(one) for one in table.filter(pc.is_in(table["url"], value_set=urls)).to_pylist()]
    return said


def _scores(store: Store, parts: Sequence[Mapping[str, Any]], uid: bytes) -> dict[str, Any]:
    """Return every number that the stages kept of the sample, the newest where one was measured again."""
    scores: dict[str, Any] = {}
    for part in parts:
        for stage in ("texts", "embed", "scores"):
            for key in part["stages"].get(stage, ()):
                record = find(store, stage, key)
                if record is not None:
                    scores |= _row(store, record, uid)
    return scores


def _row(store: Store, record: Part, uid: bytes) -> dict[str, Any]:
    table = record.table(store)
    rows = table.filter(pc.equal(table["uid"], pa.scalar(uid, pa.binary(16)))).drop_columns(["uid"]).to_pylist()
    return _plain(rows[0]) if rows else {}


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with bytes as hex and times as text; what is not a number as nothing, since JSON has no word for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, datetime):
            return value.isoformat(timespec="seconds")
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return {name: plain(value) for name, value in row.items()}


def _copies(served: Served, uid: bytes) -> list[dict[str, Any]]:
    """Return the other members of the sample's group of copies, without those that are hidden."""
    key = served.searcher.snapshot.reduces.get("copies")
    record = find(served.store, "copies", key) if key else None
    if record is None:
        return []
    table = record.table(served.store, columns=["uid", "group"])
    mine = table.filter(pc.equal(table["uid"], pa.scalar(uid, pa.binary(16))))
    if not mine.num_rows:
        return []
    hidden = served.hidden()
    group = table.filter(pc.equal(table["group"], mine["group"][0])).to_pylist()
    others = [one for one in group if one["uid"] != uid and one["uid"] not in hidden][:_MOST_COPIES]
    ids = np.array([faiss_id(one["uid"]) for one in others], np.int64)
    with served.searcher.using() as opened:
        kept = opened.having(ids).tolist() if len(ids) else []
    return [{"uid": one["uid"].hex(), "kept": here} for one, here in zip(others, kept, strict=True)]
