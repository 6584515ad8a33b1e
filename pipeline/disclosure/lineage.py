"""Where a sample is or was: every stage's key, its place in each snapshot's shards, who got it, and what became of it."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline import amendments
from pipeline.disclosure import erased, finding
from pipeline.disclosure.finding import Found
from pipeline.disclosure.packed import Reading, Records, in_file, spots, wanted_of
from pipeline.disclosure.releases import read_manifest, releases
from pipeline.errors import InputError
from pipeline.exposure import Checkpoints
from pipeline.ids import faiss_id
from pipeline.registry import place
from pipeline.search_rows import fetches
from pipeline.snapshot import PartEntry, Snapshot, numbers, read
from pipeline.stage import Part, find
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.registry.registry import Registry

MOST = 100
"""Samples told in full; a request on a domain may mean millions."""


@dataclass
class Lineage:
    """The answer."""

    asked: Mapping[str, str]
    samples: list[dict[str, Any]] = field(default_factory=list)
    more: int = 0  # samples that are meant too, and not told in full
    refused: list[dict[str, Any]] = field(default_factory=list)  # rows that extraction let go, with the evidence
    reading: Reading = field(default_factory=Reading)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "asked": dict(self.asked),
            "found": len(self.samples) + self.more,
            "samples": self.samples,
            "more": self.more,
            "refused": self.refused,
            "read": self.reading.to_json(),
        }


def lineage(
    store: Store, kind: str, value: str, registry: "Registry | None" = None, most: int = MOST,
    checkpoints: Checkpoints | None = None,
) -> Lineage:  # fmt: skip
    """Trace what a `url`, `uid`, `sha256` or `request` means; InputError when it is none of that form.

    All snapshots whose record exists are answered for, those whose shards have expired too.
    """
    answer = Lineage({kind: value})
    found = _find(store, kind, value, registry, answer)
    uids = sorted(found)
    answer.more = max(0, len(uids) - most)
    answer.samples = _trace(store, {uid: found[uid] for uid in uids[:most]}, registry, answer.reading)
    if checkpoints is not None:
        _tell_checkpoints(store, answer.samples, checkpoints)
    return answer


def _tell_checkpoints(store: Store, samples: Sequence[dict[str, Any]], checkpoints: Checkpoints) -> None:
    """Tell which models saw each sample, or the copy that stood in the shards in its place."""
    names = {sample["uid"]: [sample["uid"], *_copies(sample)] for sample in samples}
    seen = checkpoints(store, sorted({bytes.fromhex(name) for all_ in names.values() for name in all_}))
    for sample in samples:
        for name in names[sample["uid"]]:
            how = {} if name == sample["uid"] else {"copy": name}
            sample["checkpoints"] += [{**one, **how} for one in seen.get(bytes.fromhex(name), [])]


def _copies(sample: Mapping[str, Any]) -> list[str]:
    return sorted({place_["duplicate_of"] for place_ in sample["snapshots"] if place_["duplicate_of"]})


def _find(store: Store, kind: str, value: str, registry: "Registry | None", answer: Lineage) -> Found:
    if kind == "url":
        answer.refused = finding.refused(store, value, answer.reading)
        return finding.by_url(store, value, answer.reading)
    if kind == "request":
        if registry is None:
            raise InputError(f"{store.root} has no registry of requests")
        registry.get(value)  # explains an id that is none
        found: Found = {}
        for match in registry.matches(value, "confirmed"):
            if match.part:
                found.setdefault(match.uid, set()).add(match.part)
        return found
    data = _hex(kind, value, {"uid": 16, "sha256": 32}[kind])
    if kind == "sha256":
        return finding.by_sha256(store, data, answer.reading)
    return finding.by_uid(store, data, erased.parts_of(store), answer.reading)


def _hex(kind: str, value: str, size: int) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        data = b""
    if len(data) != size:
        raise InputError(f"{value!r} is no {kind}: {2 * size} hexadecimal digits")
    return data


def _trace(store: Store, found: Found, registry: "Registry | None", reading: Reading) -> list[dict[str, Any]]:
    told: dict[bytes, dict[str, Any]] = {uid: _blank(uid) for uid in sorted(found)}
    if not told:
        return []
    wanted = wanted_of(found)
    snapshots = [read(store, number) for number in numbers(store)]
    reading.files += len(snapshots)
    for key, uids in wanted.items():
        entries = [entry for snapshot in snapshots for entry in snapshot.parts if entry.candidates == key]
        _tell_part(store, key, sorted(uids), entries, told, reading)
    records = Records(store, reading)
    released = _releases(store, registry)
    for snapshot in snapshots:
        _tell_snapshot(records, snapshot, wanted, told)
    _tell_removal(store, told)
    erased_by = {uid: erasure.number for uid, erasure in erased.erased_in(store).items()}
    for uid, sample in told.items():
        packed_in = [place_["number"] for place_ in sample["snapshots"] if place_["shard"]]
        given = [release for number in packed_in for release in released.get(number, [])]
        # a release that was made after the erasure had the place of the sample and nothing of it
        sample["releases"] = [release for release in given if release["erasures"] < erased_by.get(uid, sys.maxsize)]
    return list(told.values())


def _blank(uid: bytes) -> dict[str, Any]:
    return {
        "uid": uid.hex(), "url": None, "hidden": False, "erased": False, "parts": [], "snapshots": [], "tombstones": [],
        "erasures": [], "releases": [], "checkpoints": [],
    }  # fmt: skip


def _tell_part(
    store: Store,
    key: str,
    uids: Sequence[bytes],
    entries: Sequence[PartEntry],
    told: dict[bytes, dict[str, Any]],
    reading: Reading,
) -> None:
    """Tell of a candidates part: the row, what each stage made of it, the fetched picture, the vectors."""
    part = find(store, "candidates", key)
    if part is None:
        return
    rows = _rows(store, part, ["uid", "url"], uids, reading)
    stages = _stages(store, entries)
    got = [
        (g, _rows(store, g, ["uid", "reason", "tar_offset", "tar_bytes"], uids, reading)) for g in fetches(store, key)
    ]
    seen = []
    for embed in stages.get("embed", ()):
        record = find(store, "embed", embed)
        if record is not None:
            seen.append((record, _rows(store, record, ["uid"], uids, reading)))
    for uid in uids:
        if uid not in rows:
            continue
        sample = told[uid]
        sample["url"] = sample["url"] or rows[uid]["url"]
        fetched = [
            {"key": g.key, "file": g.file("parquet"), "reason": row["reason"],
             "tar": g.file("tar") if row["tar_offset"] is not None else None, "offset": row["tar_offset"], "bytes": row["tar_bytes"],
             "row": row["at"]}
            for g, found in got if (row := found.get(uid)) is not None
        ]  # fmt: skip
        vectors = [
            {"key": e.key, "files": [e.file("img.npy"), e.file("text.npy")], "row": found[uid]["at"]}
            for e, found in seen
            if uid in found
        ]
        sample["parts"].append(
            {"candidates": key, "file": part.file("parquet"), "row": rows[uid]["at"], "stages": stages, "fetches": fetched,
             "embeddings": vectors}
        )  # fmt: skip


def _rows(
    store: Store, part: Part, columns: Sequence[str], uids: Sequence[bytes], reading: Reading
) -> dict[bytes, dict[str, Any]]:
    """Return uid → its row in a part's table, with the row's number as `at`."""
    table = part.table(store, columns=columns)
    reading.add(table.num_rows)
    at = pc.index_in(pa.array(uids, pa.binary(16)), value_set=table["uid"].combine_chunks())
    present = at.drop_null()
    rows = table.take(present).to_pylist()
    return {row["uid"]: {**row, "at": number} for row, number in zip(rows, present.to_pylist(), strict=True)}


def _stages(store: Store, entries: Sequence[PartEntry]) -> dict[str, list[str]]:
    """Return stage → keys over all snapshots that have the part, with the two stages that only inputs name."""
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        for stage, keys in entry.stages.items():
            found.setdefault(stage.split("/", 1)[0], {}).update(dict.fromkeys(keys))
    for stage, source in (("texts", "admit"), ("judge", "decide")):
        for key in found.get(source, {}):
            record = find(store, source, key)
            inputs = record.inputs if record is not None else ()
            mine = [name for name in inputs if store.exists(f"{stage}/{name}.json")]
            found.setdefault(stage, {}).update(dict.fromkeys(mine))
    return {stage: list(keys) for stage, keys in sorted(found.items())}


def _tell_snapshot(
    records: Records,
    snapshot: Snapshot,
    wanted: Mapping[str, frozenset[bytes]],
    told: dict[bytes, dict[str, Any]],
) -> None:
    """Tell of a snapshot: the decision on the row, its shard, and its row in the index."""
    store = records.store
    where = spots(records, snapshot, wanted)
    for entry in snapshot.parts:
        uids = sorted(wanted.get(entry.candidates, ()))
        if not uids:
            continue
        decide = records.decide(entry)
        decided = _rows(store, decide, ["uid", "reason", "duplicate_of"], uids, records.reading)
        for uid in uids:
            if uid not in decided:
                continue
            copy_of = decided[uid]["duplicate_of"]
            told[uid]["snapshots"].append(
                {
                    "number": snapshot.number,
                    "part": entry.candidates,
                    "decision": decide.file("parquet"),
                    "reason": decided[uid]["reason"],
                    "duplicate_of": copy_of.hex() if copy_of else None,
                    "shard": in_file(store, snapshot, where[uid], records.reading) if uid in where else None,
                    "index": _index(store, snapshot, uid, records.reading) if uid in where else None,
                }
            )


def _index(store: Store, snapshot: Snapshot, uid: bytes, reading: Reading) -> dict[str, Any] | None:
    row = finding.index_row(store, snapshot.folder, faiss_id(uid), uid, reading)
    return None if row is None else {"folder": f"index/{snapshot.folder}", "id": row["id"]}


def _tell_removal(store: Store, told: dict[bytes, dict[str, Any]]) -> None:
    hidden = erased.pending(store) | erased.erased_in(store).keys()
    for name, row in erased.stones(store):
        if row["uid"] in told:
            stone = {"file": name, "request": row["request"], "lifted": row["lifted"]}
            told[row["uid"]]["tombstones"].append(stone)
    for erasure in amendments.erasures(store):
        for uid in erased.uids_of(erasure) & told.keys():
            told[uid]["erased"] = True
            told[uid]["erasures"].append({"file": amendments.name(erasure.number), "utc": erasure.utc})
    for uid in hidden & told.keys():
        told[uid]["hidden"] = True


def _releases(store: Store, registry: "Registry | None") -> dict[int, list[dict[str, Any]]]:
    """Return snapshot → its releases with their recipients; asked for (GDPR art. 15(1)(c)), recipients are named."""
    found: dict[int, list[dict[str, Any]]] = {}
    for made in releases(registry) if registry is not None else ():
        told = {
            "release": made.id,
            "recipient": made.recipient,
            "released_utc": made.released_utc,
            "snapshot": made.snapshot,
        }
        found.setdefault(made.snapshot, []).append(told | {"erasures": int(read_manifest(store, made)["erasures"])})
    return found


def registry_of(store: Store, url: str | None) -> "Registry | None":
    """Open the registry where there is one; none is made by asking."""
    from pipeline.registry.registry import Registry

    return Registry.open(store, url) if place.exists(store, url) else None
