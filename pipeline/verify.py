"""Re-reads a data set and checks what it promises: digests, counts, conservation, and that nothing refers to what is gone."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import amendments
from pipeline.amendments import Amendments
from pipeline.errors import FormatError, InvariantError
from pipeline.pack import ERASED, check_stored, member_names, shard_files, strangers
from pipeline.pins import pinned
from pipeline.snapshot import Snapshot, numbers, read
from pipeline.stage import Part, check_conservation, sha256_stored
from pipeline.store import Store

FOLDERS = (
    "extract",
    "layout",
    "candidates",
    "texts",
    "boilerplate",
    "admit",
    "permission",
    "model",
    "embed",
    "scores",
    "copies",
    "judge",
    "keepers",
    "decide",
)


@dataclass
class Findings:
    """What was checked and what is wrong, each with its place."""

    files: int = 0
    parts: int = 0
    samples: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)  # keys of parts whose files cannot be read


def verify(store: Store, note: Callable[[str], None] = lambda _: None) -> Findings:
    """Check every commit record and its files, then every snapshot that still has its shards."""
    findings = Findings()
    stages = [*FOLDERS, *store.folders("fetch")]
    by_key: dict[str, Part] = {}
    amended = amendments.read(store)
    for stage in stages:
        note(f"records of {stage}")
        for part in _records(store, stage, amended, findings):
            by_key[part.key] = part
    published = numbers(store)
    keep = int(read(store, published[-1]).config["pack"]["keep_snapshots"]) if published else 0
    pins = pinned(store)
    held = [one for one in published[:-keep] if one in pins and store.names(f"shards/{one:06d}")] if keep else []
    for number in [*held, *published[-keep:]] if keep else []:
        note(f"snapshot {number:06d}")
        try:
            snapshot = read(store, number)
        except FormatError as error:
            findings.problems.append(str(error))
            continue
        _check_snapshot(store, snapshot, by_key, amended, findings)
    return findings


def _records(store: Store, stage: str, amended: Amendments, findings: Findings) -> Iterator[Part]:
    names = store.names(stage)
    records = {name for name in names if name.endswith(".json")}
    for record in sorted(records):
        try:
            part = Part.from_json(store.read(record), store.uri(record))
            check_conservation(stage, part.key, part)
        except (FormatError, InvariantError) as error:
            findings.problems.append(str(error))
            continue
        findings.parts += 1
        for suffix, sha in part.files.items():
            name = part.file(suffix)
            if name not in names:
                findings.problems.append(
                    f"{name}: missing, though {record} names it; delete the record and run the ingest again"
                )
            elif not amended.agrees(store, name, sha, part.pieces.get(suffix)):
                findings.problems.append(
                    f"{name}: its bytes differ from the digest in {record}; delete the record and run the ingest again"
                )
            else:
                findings.files += 1
                findings.bytes += store.size_bytes(name)
        yield part


def _check_snapshot(
    store: Store, snapshot: Snapshot, by_key: dict[str, Part], amended: Amendments, findings: Findings
) -> None:
    say = findings.problems.append
    where = f"snapshot {snapshot.folder}"
    dropped = sum(snapshot.dropped.values())
    if snapshot.rows_in != snapshot.rows + dropped:
        say(f"{where}: {snapshot.rows_in} rows in, but {snapshot.rows} kept and {dropped} dropped")
    for stage, keys in (("extract", snapshot.extracts), ("layout", snapshot.layouts)):
        findings.problems += [
            f"{where}: {stage} {key} is gone; run the ingest again" for key in keys if key not in by_key
        ]
    findings.problems += [
        f"{name}: no shard of {where} has such a file; remove it"
        for name in strangers(store, snapshot.folder, snapshot.shards)
    ]
    decided = 0
    promised: list[pa.Array] = []
    for entry in snapshot.parts:
        for keys in entry.stages.values():
            for key in keys:
                if key not in by_key:
                    say(f"{where}: part {entry.candidates} refers to {key}, which is gone; run the ingest again")
        decides = [by_key[key] for key in entry.stages.get("decide", ()) if key in by_key]
        decided += sum(part.rows for part in decides)
        if not findings.broken & {entry.candidates, *(part.key for part in decides)}:  # else it was said already
            promised.append(_check_rows(store, entry.candidates, decides, by_key, say))
    if decided != snapshot.rows:
        say(f"{where}: decisions keep {decided} rows, the shards hold {snapshot.rows}")
    seen: list[pa.Array] = []
    erased = 0
    for shard in snapshot.shards:
        problems = check_stored(store, snapshot.folder, shard, amended)
        findings.problems += problems
        if not problems:
            keys, gone = _check_shard(store, snapshot, shard.number, shard.rows, say)
            seen.append(keys)
            erased += gone
            findings.files += len(shard.sha256)
            findings.samples += shard.rows
    keys = pa.concat_arrays(seen) if seen else pa.array([], pa.string())
    if len(promised) == len(snapshot.parts) and len(seen) == len(snapshot.shards):
        wanted = {uid.hex() for uids in promised for uid in uids.to_pylist()}
        if wanted != set(keys.to_pylist()):
            say(f"{where}: {len(wanted ^ set(keys.to_pylist()))} samples are decided one way and packed the other")
    if len(pc.unique(keys)) != len(keys):
        say(f"{where}: {len(keys) - len(pc.unique(keys))} samples stand in it twice")
    _check_index(store, snapshot, len(keys) - erased, say)


def _check_rows(
    store: Store, candidates: str, decides: Sequence[Part], by_key: dict[str, Part], say: Callable[[str], None]
) -> pa.Array:
    """Check that every candidate has exactly one decision, and return the uids that are to be in the shards."""
    part = by_key.get(candidates)
    if part is None or not decides:
        say(f"candidates/{candidates}: has no decisions" if part else f"candidates/{candidates}: missing")
        return pa.array([], pa.binary(16))
    have = part.table(store, columns=["uid"])["uid"].combine_chunks()
    table = decides[-1].table(store, columns=["uid", "reason"])
    if not have.equals(table["uid"].combine_chunks()):
        say(f"{decides[-1].file('parquet')}: its rows are not those of candidates/{candidates}")
    return table.filter(pc.is_null(table["reason"]))["uid"].combine_chunks()


def _check_shard(
    store: Store, snapshot: Snapshot, number: int, rows: int, say: Callable[[str], None]
) -> tuple[pa.Array, int]:
    """The tar, the sidecar and both embeddings tell of the same samples in the same order; returns keys and erased rows.

    An erased sample keeps its row in the sidecar and a vector of zeros, and has no members.
    """
    names = shard_files(snapshot.folder, number)
    with store.open(names["parquet"]) as handle:
        table = pq.read_table(handle, columns=["key", "status"])
    keys = table["key"].combine_chunks()
    erased = pc.equal(table["status"], ERASED).to_numpy()
    with store.open(names["tar"]) as handle:
        members = member_names(handle)
    stems = list(dict.fromkeys(name.split(".", 1)[0] for name in members))
    living = keys.filter(pa.array(~erased)).to_pylist()
    if stems != living or len(members) != 3 * len(living) or len(keys) != rows:
        say(f"{names['tar']}: its samples are not those of its sidecar")
    for role in ("img_emb", "text_emb"):
        with store.open(names[role]) as handle:
            vectors: Any = np.load(handle)
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        if len(vectors) != rows or not np.all(np.abs(norms - ~erased) < 0.01):
            say(
                f"{names[role]}: {len(vectors)} vectors for {rows} samples, norms {norms.min():.3f} to {norms.max():.3f}"
            )
    return keys, int(erased.sum())


def _check_index(store: Store, snapshot: Snapshot, samples: int, say: Callable[[str], None]) -> None:
    """The index is read as a file: this module does not know FAISS."""
    base = f"index/{snapshot.folder}"
    try:
        record = json.loads(store.read(f"{base}/index.json"))
    except FileNotFoundError:
        return
    if record["rows"] != samples:
        say(f"{base}: holds {record['rows']} vectors, the shards {samples} samples; run `tamis index sync`")
    for name, sha in record["sha256"].items():
        if not store.exists(f"{base}/{name}"):
            say(f"{base}/{name}: missing; delete {base}/index.json and run `tamis index sync`")
        elif sha256_stored(store, f"{base}/{name}") != sha:
            say(f"{base}/{name}: its bytes differ from index.json; delete {base}/index.json and run `tamis index sync`")
