"""Kept rows become shards: WebDataset tars with a Parquet sidecar, and embeddings in clip-retrieval's layout."""

import json
import mmap
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.amendments import Amendments
from pipeline.errors import InvariantError
from pipeline.ids import stable_hash
from pipeline.pieces import of_file
from pipeline.rows import PartFiles, kept_rows
from pipeline.snapshot import ShardEntry
from pipeline.stage import PARQUET
from pipeline.store import Store

_VERSION = 1
_BLOCK = 512

IN_PLACE = ("tar", "img_emb", "text_emb")
"""Roles of the files that an erasure changes in place; their records hold the digests of their pieces too."""

ERASED = "erased"
"""Status of a sidecar's row whose sample was erased: its key and place stay, everything else is gone."""

Pieces = Mapping[str, Sequence[str]]
"""Role of a file → the digests of its pieces."""


@dataclass(frozen=True)
class Slice:
    """A run of one part's kept rows, in uid order."""

    part: PartFiles
    low: int
    high: int


@dataclass(frozen=True)
class KeptPart:
    """What shard planning needs to know of a part."""

    part: PartFiles
    rows: int
    bytes: int


def plan_shards(kept: Sequence[KeptPart], samples: int, size_bytes: int) -> list[list[Slice]]:
    """Cut the kept rows of consecutive parts into shards of at most `samples` rows and about `size_bytes`."""
    planned = cut([(item.rows, item.bytes) for item in kept], samples, size_bytes)
    return [[Slice(kept[at].part, low, high) for at, low, high in pieces] for pieces in planned]


def cut(counts: Sequence[tuple[int, int]], samples: int, size_bytes: int) -> list[list[tuple[int, int, int]]]:
    """Return each shard's pieces (part, low, high) for parts with so many kept rows and bytes.

    A pure function of the counts: a part with more than a shard holds is cut evenly, the others stay whole. So a record of
    the counts tells for ever which shard of a snapshot a row was in.
    """
    shards: list[list[tuple[int, int, int]]] = []
    rows_open = bytes_open = 0
    for at, (rows_kept, kept_bytes) in enumerate(counts):
        if rows_kept == 0:
            continue
        pieces = max(-(-rows_kept // samples), -(-kept_bytes // size_bytes), 1)
        cuts = [rows_kept * i // pieces for i in range(pieces + 1)]
        for low, high in pairwise(cuts):
            rows, size = high - low, kept_bytes * (high - low) // rows_kept
            if not shards or rows_open + rows > samples or bytes_open + size > size_bytes:
                shards.append([])
                rows_open = bytes_open = 0
            shards[-1].append((at, low, high))
            rows_open, bytes_open = rows_open + rows, bytes_open + size
    return shards


def shard_key(slices: Sequence[Slice]) -> str:
    """Return the key of a shard: a hash of the format's version and of what goes into it, whatever decided it."""
    return stable_hash([_VERSION, [[s.part.content_keys(), s.low, s.high] for s in slices]])


def shard_files(folder: str, number: int) -> dict[str, str]:
    """Return the names in the store of a shard's files, by role."""
    return {
        "tar": f"shards/{folder}/{number:05d}.tar",
        "parquet": f"shards/{folder}/{number:05d}.parquet",
        "img_emb": f"embeddings/{folder}/img_emb/img_emb_{number:04d}.npy",
        "text_emb": f"embeddings/{folder}/text_emb/text_emb_{number:04d}.npy",
        "metadata": f"embeddings/{folder}/metadata/metadata_{number:04d}.parquet",
    }


def pack(store: Store, folder: str, number: int, slices: Sequence[Slice], key: str) -> ShardEntry:
    """Write one shard and return its entry; a shard of that key that is there already is not written again."""
    names = shard_files(folder, number)
    done = _committed(store, folder, number, key)
    if done is not None:
        return done
    with store.scratch() as scratch:
        rows, image_emb, text_emb, pictures = _collect(store, slices)
        rows = _write_tar(scratch / "tar", rows, pictures)
        sidecar = rows.append_column("status", pa.array(["success"] * rows.num_rows))
        sidecar = sidecar.append_column("error_message", pa.nulls(rows.num_rows, pa.string()))
        pq.write_table(sidecar, scratch / "parquet", **PARQUET)
        with (scratch / "img_emb").open("wb") as handle:
            np.save(handle, image_emb)
        with (scratch / "text_emb").open("wb") as handle:
            np.save(handle, text_emb)
        metadata = rows.select(["key", "url", "caption", "clip_cos", "width", "height", "sha256"])
        extension = slices[0].part.extension
        image_path = pa.array([f"{key_}.{extension}" for key_ in rows["key"].to_pylist()])
        pq.write_table(metadata.append_column("image_path", image_path), scratch / "metadata", **PARQUET)
        digests = {role: of_file(scratch / role) for role in names}
        store.delete(
            record_name(folder, number)
        )  # it may speak of other bytes, if a run with other settings was killed here
        for role, name in names.items():
            store.put(scratch / role, name)
    entry = ShardEntry(number, key, rows.num_rows, {role: found.sha256 for role, found in digests.items()})
    return _commit(store, folder, entry, {role: digests[role].pieces for role in IN_PLACE})


def record_name(folder: str, number: int) -> str:
    """Return the name of a shard's commit record."""
    return f"shards/{folder}/{number:05d}.record"


def _commit(store: Store, folder: str, entry: ShardEntry, pieces: Pieces) -> ShardEntry:
    record = entry.__dict__ | ({"pieces": {role: list(found) for role, found in pieces.items()}} if pieces else {})
    store.write(record_name(folder, entry.number), json.dumps(record, sort_keys=True).encode())
    return entry


def read_record(store: Store, folder: str, number: int) -> tuple[ShardEntry, Pieces] | None:
    """Return a shard's commit record: its entry and the piece digests of its files by role (none in old records)."""
    try:
        record = json.loads(store.read(record_name(folder, number)))
        pieces = record.pop("pieces", {})
        return ShardEntry(**record), pieces
    except (FileNotFoundError, ValueError, TypeError):
        return None


def read_pieces(store: Store, record: str, suffix: str) -> Sequence[str]:
    """Return the piece digests that a commit record, of a shard or of a part, has for one of its files; none in old ones."""
    pieces: Mapping[str, Sequence[str]] = json.loads(store.read(record)).get("pieces", {})
    return pieces.get(suffix, ())


def _committed(store: Store, folder: str, number: int, key: str) -> ShardEntry | None:
    found = read_record(store, folder, number)
    return found[0] if found is not None and found[0].key == key else None


def carry_over(store: Store, old: ShardEntry, old_folder: str, folder: str, number: int) -> ShardEntry:
    """Give an unchanged shard of the last snapshot its names in the new one: links locally, copies on an object store."""
    entry = ShardEntry(number, old.key, old.rows, old.sha256)
    if _committed(store, folder, number, old.key) == entry:
        return entry
    sources = shard_files(old_folder, old.number)
    store.delete(record_name(folder, number))
    for role, target in shard_files(folder, number).items():
        store.copy(sources[role], target)
    record = read_record(store, old_folder, old.number)
    return _commit(store, folder, entry, record[1] if record is not None else {})


def remove_strangers(store: Store, folder: str, entries: Sequence[ShardEntry]) -> None:
    """Remove what an aborted run left in a snapshot's folders, so that a glob over them gives the snapshot and no more."""
    for name in strangers(store, folder, entries):
        store.delete(name)


def strangers(store: Store, folder: str, entries: Sequence[ShardEntry]) -> list[str]:
    """Return the files in a snapshot's folders that are none of its shards'."""
    mine = {name for entry in entries for name in shard_files(folder, entry.number).values()}
    mine |= {record_name(folder, entry.number) for entry in entries}
    places = [f"shards/{folder}", *(f"embeddings/{folder}/{kind}" for kind in ("img_emb", "text_emb", "metadata"))]
    return [name for place in places for name in store.names(place) if name not in mine]


def _collect(store: Store, slices: Sequence[Slice]) -> tuple[pa.Table, Any, Any, Iterator[bytes]]:
    """Return the shard's rows, both embeddings, and its pictures one by one in the order of the rows."""
    tables, images, texts = [], [], []
    for piece in slices:
        table, image_emb, text_emb = kept_rows(store, piece.part, piece.low, piece.high)
        tables.append(table)
        images.append(image_emb)
        texts.append(text_emb)

    def pictures() -> Iterator[bytes]:
        for piece, table in zip(slices, tables, strict=True):
            yield from piece.part.pictures(store, table)

    rows = pa.concat_tables(tables).combine_chunks()
    return rows, np.concatenate(images), np.concatenate(texts), pictures()


def _write_tar(path: Any, rows: pa.Table, pictures: Iterator[bytes]) -> pa.Table:
    """Write a deterministic WebDataset tar and return the rows with the byte offset of each sample and its length."""
    offsets, lengths = [], []
    meta_columns = [name for name in rows.column_names if name not in {"tar_offset", "tar_bytes", "fetch_key"}]
    texts = {name for name in meta_columns if pa.types.is_string(rows.schema.field(name).type)}
    with path.open("wb") as out:
        for row, picture in zip(rows.select(meta_columns).to_pylist(), pictures, strict=True):
            begin = out.tell()
            extension = row.pop("extension")
            out.write(member(f"{row['key']}.{extension}", picture))
            out.write(member(f"{row['key']}.txt", row["caption"].encode()))
            out.write(
                member(
                    f"{row['key']}.json", json.dumps(_jsonable(row, texts), sort_keys=True, ensure_ascii=False).encode()
                )
            )
            offsets.append(begin)
            lengths.append(out.tell() - begin)
        out.write(b"\0" * (2 * _BLOCK))
    rows = rows.select([name for name in meta_columns if name != "extension"])
    return rows.append_column("shard_offset", pa.array(offsets, pa.int64())).append_column(
        "shard_bytes", pa.array(lengths, pa.int64())
    )


def _jsonable(row: Mapping[str, Any], texts: Collection[str]) -> dict[str, Any]:
    """Return a row as JSON holds it; a text that is not there is "", since HF `datasets` guesses types from the first samples."""
    plain = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    return {name: "" if value is None and name in texts else value for name, value in plain.items()}


def member(name: str, data: bytes) -> bytes:
    """Return one tar member, ustar, with nothing of clock or machine in it."""
    encoded = name.encode()
    if len(encoded) > 100:
        raise InvariantError(f"{name}: a member's name has at most 100 bytes")
    head = encoded.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % len(data) + b"00000000000\0"
    tail = b"0" + b"\0" * 100 + b"ustar\x0000" + b"\0" * 247
    checksum = b"%06o\0 " % (sum(head) + sum(tail) + 8 * 32)
    return b"".join((head, checksum, tail, data, b"\0" * (-len(data) % _BLOCK)))


def member_names(handle: IO[bytes]) -> list[str]:
    """Return the names of a tar's members in order, without the hidden ones that stand for erased samples."""
    with tarfile.open(fileobj=handle, mode="r|") as tar:
        return [info.name for info in tar if not info.name.startswith(".")]


def iter_samples(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of one of our own shards as webdataset does: `__key__` and one entry an extension.

    Our tars are plain ustar with members of one sample side by side, so headers are read at fixed offsets.
    """
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, sample = 0, cast(dict[str, Any], {})
        while at < len(data):
            name = data[at : at + 100].rstrip(b"\0")
            if not name:  # the end, or blocks that an erasure has just wiped under our eyes
                at = _next_header(data, at)
                continue
            size = int(data[at + 124 : at + 135], 8)
            if name.startswith(b"."):  # an erased sample's place: a comment, or a hidden member while it is wiped
                at += _BLOCK + size + (-size % _BLOCK)
                continue
            stem, extension = name.decode().split(".", 1)
            if sample and sample["__key__"] != stem:
                yield sample
                sample = {}
            sample["__key__"] = stem
            sample[extension] = data[at + _BLOCK : at + _BLOCK + size]
            at += _BLOCK + size + (-size % _BLOCK)
        if sample:
            yield sample


def _next_header(data: mmap.mmap, at: int) -> int:
    """Return the offset of the next block that is a member's header, the length of the tar when there is none."""
    found = data.find(b"ustar", at)
    while found >= 0 and (found - 257) % _BLOCK:
        found = data.find(b"ustar", found + 1)
    return found - 257 if found >= 0 else len(data)


def read_members(data: bytes) -> dict[str, bytes]:
    """Return the members of a piece of a tar by name (tests and `verify` use it)."""
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        return {m.name: f.read() for m in tar if (f := tar.extractfile(m)) is not None}


def check_stored(store: Store, folder: str, entry: ShardEntry, amended: Amendments) -> list[str]:
    """Return what is wrong with a shard's files: missing ones, and digests that differ from the recorded or amended ones."""
    wrong = []
    record = read_record(store, folder, entry.number)
    pieces = record[1] if record is not None and record[0].sha256 == entry.sha256 else {}
    for role, name in shard_files(folder, entry.number).items():
        if not store.exists(name):
            wrong.append(f"{name}: missing")
        elif not amended.agrees(store, name, entry.sha256[role], pieces.get(role)):
            wrong.append(f"{name}: its bytes differ from the digest in snapshot {folder}")
    return wrong
