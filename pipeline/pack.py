"""Kept rows become shards: WebDataset tars with a Parquet sidecar, and embeddings in clip-retrieval's layout."""

import json
import mmap
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InvariantError
from pipeline.ids import stable_hash
from pipeline.rows import PartFiles, kept_rows
from pipeline.snapshot import ShardEntry
from pipeline.stage import PARQUET, sha256_file, sha256_stored
from pipeline.store import Store

_VERSION = 1
_BLOCK = 512


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
        digests = {role: sha256_file(scratch / role) for role in names}
        store.delete(
            _record(folder, number)
        )  # it may speak of other bytes, if a run with other settings was killed here
        for role, name in names.items():
            store.put(scratch / role, name)
    return _commit(store, folder, ShardEntry(number, key, rows.num_rows, digests))


def _record(folder: str, number: int) -> str:
    return f"shards/{folder}/{number:05d}.record"


def _commit(store: Store, folder: str, entry: ShardEntry) -> ShardEntry:
    store.write(_record(folder, entry.number), json.dumps(entry.__dict__, sort_keys=True).encode())
    return entry


def _committed(store: Store, folder: str, number: int, key: str) -> ShardEntry | None:
    try:
        entry = ShardEntry(**json.loads(store.read(_record(folder, number))))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return entry if entry.key == key else None


def carry_over(store: Store, old: ShardEntry, old_folder: str, folder: str, number: int) -> ShardEntry:
    """Give an unchanged shard of the last snapshot its names in the new one: links locally, copies on an object store."""
    entry = ShardEntry(number, old.key, old.rows, old.sha256)
    if _committed(store, folder, number, old.key) == entry:
        return entry
    sources = shard_files(old_folder, old.number)
    store.delete(_record(folder, number))
    for role, target in shard_files(folder, number).items():
        store.copy(sources[role], target)
    return _commit(store, folder, entry)


def remove_strangers(store: Store, folder: str, entries: Sequence[ShardEntry]) -> None:
    """Remove what an aborted run left in a snapshot's folders, so that a glob over them gives the snapshot and no more."""
    for name in strangers(store, folder, entries):
        store.delete(name)


def strangers(store: Store, folder: str, entries: Sequence[ShardEntry]) -> list[str]:
    """Return the files in a snapshot's folders that are none of its shards'."""
    mine = {name for entry in entries for name in shard_files(folder, entry.number).values()}
    mine |= {_record(folder, entry.number) for entry in entries}
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
    with path.open("wb") as out:
        for row, picture in zip(rows.select(meta_columns).to_pylist(), pictures, strict=True):
            begin = out.tell()
            extension = row.pop("extension")
            out.write(member(f"{row['key']}.{extension}", picture))
            out.write(member(f"{row['key']}.txt", row["caption"].encode()))
            out.write(
                member(f"{row['key']}.json", json.dumps(_jsonable(row), sort_keys=True, ensure_ascii=False).encode())
            )
            offsets.append(begin)
            lengths.append(out.tell() - begin)
        out.write(b"\0" * (2 * _BLOCK))
    rows = rows.select([name for name in meta_columns if name != "extension"])
    return rows.append_column("shard_offset", pa.array(offsets, pa.int64())).append_column(
        "shard_bytes", pa.array(lengths, pa.int64())
    )


def _jsonable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}


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
    """Return the names of a tar's members in order."""
    with tarfile.open(fileobj=handle, mode="r|") as tar:
        return [info.name for info in tar]


def iter_samples(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the samples of one of our own shards as webdataset does: `__key__` and one entry an extension.

    Our tars are plain ustar with members of one sample side by side, so headers are read at fixed offsets.
    """
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, sample = 0, cast(dict[str, Any], {})
        while name := data[at : at + 100].rstrip(b"\0"):
            size = int(data[at + 124 : at + 135], 8)
            stem, extension = name.decode().split(".", 1)
            if sample and sample["__key__"] != stem:
                yield sample
                sample = {}
            sample["__key__"] = stem
            sample[extension] = data[at + _BLOCK : at + _BLOCK + size]
            at += _BLOCK + size + (-size % _BLOCK)
        if sample:
            yield sample


def read_members(data: bytes) -> dict[str, bytes]:
    """Return the members of a piece of a tar by name (tests and `verify` use it)."""
    with tarfile.open(fileobj=BytesIO(data)) as tar:
        return {m.name: f.read() for m in tar if (f := tar.extractfile(m)) is not None}


def check_stored(store: Store, folder: str, entry: ShardEntry) -> list[str]:
    """Return what is wrong with a shard's files: missing ones, and digests that differ."""
    wrong = []
    for role, name in shard_files(folder, entry.number).items():
        if not store.exists(name):
            wrong.append(f"{name}: missing")
        elif sha256_stored(store, name) != entry.sha256[role]:
            wrong.append(f"{name}: its bytes differ from the digest in snapshot {folder}")
    return wrong
