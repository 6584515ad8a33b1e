"""A published snapshot of made-up photographs for benchmarks of the trainer: tars, sidecars and vectors as `pack` leaves them."""

import os
from collections.abc import Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipeline.pack import member, shard_files
from pipeline.snapshot import ShardEntry, Snapshot, publish
from pipeline.stage import PARQUET
from pipeline.store import Store
from tests.clustered import pictures, texts
from tests.made_set import CLIP


def photographs(count: int, width_px: int, height_px: int) -> list[bytes]:
    """Return JPEGs with photographic detail: large soft shapes under fine grain."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        small = Image.fromarray(rng.integers(0, 255, (18, 24, 3), dtype=np.uint8))
        soft = np.asarray(small.resize((width_px, height_px), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-12, 12, soft.shape)
        file = BytesIO()
        Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def names(first: int, count: int) -> list[str]:
    """Return made-up uids in hexadecimal digits."""
    return [blake2b(f"picture {row}".encode(), digest_size=16).hexdigest() for row in range(first, first + count)]


def publish_pictures(
    store: Store, photos: Sequence[bytes], size_px: tuple[int, int], shards: int, rows: int, dimensions: int = 512
) -> Snapshot:
    """Publish `shards` shards of `rows` samples; the photographs (of one size, width first) are shown again and again."""
    entries = []
    for number in range(shards):
        keys = names(number * rows, rows)
        with store.scratch() as scratch:
            offset, size = _tar(scratch / "tar", keys, photos, number * rows)
            image = pictures(rows, dimensions, number)
            _arrays(scratch, image, texts(image, number))
            sidecar(scratch / "parquet", keys, offset, size, size_px)
            for role, name in shard_files("000001", number).items():
                if (scratch / role).exists():
                    store.put(scratch / role, name)
        entries.append(ShardEntry(number, f"key {number}", rows, {"tar": "-"}))
    return announce(store, entries)


def linked(store: Store, shards: int, rows: int) -> Snapshot:
    """Publish more shards of as many rows as the first has: ids of their own, its pictures and vectors by hard links."""
    first = {role: store.local(name) for role, name in shard_files("000001", 0).items()}
    assert first["parquet"] is not None
    places = pq.read_table(first["parquet"], columns=["shard_offset", "shard_bytes", "width", "height"])
    size_px = int(places["width"][0].as_py()), int(places["height"][0].as_py())
    entries = [ShardEntry(0, "key 0", rows, {"tar": "-"})]
    for number in range(1, shards):
        mine = {role: store.local(name) for role, name in shard_files("000001", number).items()}
        for role in ("tar", "img_emb", "text_emb"):
            source, target = first[role], mine[role]
            assert source is not None
            assert target is not None
            os.link(source, target)
        with store.scratch() as scratch:
            offset, size = (places[name].to_numpy() for name in ("shard_offset", "shard_bytes"))
            sidecar(scratch / "parquet", names(number * rows, rows), offset, size, size_px)
            store.put(scratch / "parquet", shard_files("000001", number)["parquet"])
        entries.append(ShardEntry(number, f"key {number}", rows, {"tar": "-"}))
    return announce(store, entries)


def announce(store: Store, entries: list[ShardEntry]) -> Snapshot:
    """Publish snapshot 1 with these shards."""
    snapshot = Snapshot(
        number=1, parent=None, config={"clip": {}}, config_digest="-", rows_in=0, rows=sum(one.rows for one in entries),
        dropped={}, extracts=[], layouts=[], parts=[], shards=entries, clip=CLIP,
    )  # fmt: skip
    publish(store, snapshot)
    return snapshot


def _tar(
    path: Path, keys: Sequence[str], photos: Sequence[bytes], first: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Write a shard; return where each sample is and how long, in bytes."""
    offset, size = [], []
    with path.open("wb") as tar:
        for row, key in enumerate(keys):
            offset.append(tar.tell())
            tar.write(member(f"{key}.jpg", photos[(first + row) % len(photos)]))
            tar.write(member(f"{key}.txt", f"a picture called {key[:6]}".encode()))
            tar.write(member(f"{key}.json", b"{}"))
            size.append(tar.tell() - offset[-1])
        tar.write(bytes(1024))
    return np.array(offset, np.int64), np.array(size, np.int64)


def _arrays(folder: Path, image: NDArray[np.float16], text: NDArray[np.float16]) -> None:
    for role, vectors in (("img_emb", image), ("text_emb", text)):
        with (folder / role).open("wb") as out:
            np.save(out, vectors)


def sidecar(path: Path, keys: Sequence[str], offset: Any, size: Any, size_px: tuple[int, int]) -> None:
    """Write what a loader needs of a shard's sidecar."""
    rows = len(keys)
    columns = {
        "key": keys, "shard_offset": pa.array(offset, pa.int64()), "shard_bytes": pa.array(size, pa.int64()),
        "width": pa.array([size_px[0]] * rows, pa.int32()), "height": pa.array([size_px[1]] * rows, pa.int32()),
        "status": ["success"] * rows,
    }  # fmt: skip
    pq.write_table(pa.table(columns), path, **PARQUET)
