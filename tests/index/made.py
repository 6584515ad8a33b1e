"""A published data set whose vectors, texts and copies a test chooses: real shards and sidecars, no model, no ingest."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from index.build import build
from pipeline import pack
from pipeline.clip_spec import ModelSpec
from pipeline.config import parse
from pipeline.ids import stable_hash
from pipeline.snapshot import ShardEntry, Snapshot, publish
from pipeline.stage import Draft, Outcome, Stage, run, sha256_file
from pipeline.store import Store
from tests.small_dataset import draw, jpeg

DOMAINS = ("pictures.example", "museum.example", "shop.example")
LANGUAGES = ("en", "de", None)
_TEXTS = ("key", "url", "caption", "sha256", "page_url", "domain", "license", "lang")
_NUMBERS = {"width": pa.int32(), "height": pa.int32(), "clip_cos": pa.float32()}
SIDECAR = pa.schema([*((name, pa.string()) for name in _TEXTS), *_NUMBERS.items()])
HEADS = ("nsfw_prob", "aesthetic_score")
"""Columns that stand in a sidecar where `changed` says something of them."""


def facts(number: int) -> dict[str, Any]:
    """Return what is true of a sample of that number, unless a test says otherwise."""
    height, width = draw(number)[0].shape[:2]
    uid = hashlib.blake2b(number.to_bytes(4, "big"), digest_size=16).digest()
    domain = DOMAINS[number % 3]
    return {
        "key": uid.hex(), "url": f"https://www.{domain}/{number}.jpg", "caption": draw(number)[1], "width": width, "height": height,
        "sha256": hashlib.sha256(uid).hexdigest(), "clip_cos": 0.1 + number % 20 / 100, "page_url": f"https://www.{domain}/",
        "domain": domain, "license": "https://creativecommons.org/licenses/by/4.0/" if number % 4 == 0 else None,
        "lang": LANGUAGES[number // 3 % 3],
    }  # fmt: skip


def unit(rows: int, dimensions: int = 16, seed: int = 0) -> NDArray[np.float32]:
    """Draw directions, f32[rows,dimensions] of unit norm."""
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def make(
    root: Path | str,
    image: NDArray[np.float32],
    text: NDArray[np.float32] | None = None,
    *,
    changed: Mapping[int, Mapping[str, Any]] | None = None,
    groups: Sequence[Sequence[int]] = (),
    number: int = 1,
    first: int = 0,
    shard_rows: int = 40,
    weights: str | None = None,
) -> Store:
    """Publish snapshot `number` with a sample for each vector f32[N,D], and build its index.

    `changed` alters facts of samples, `groups` are copies of one another; samples are numbered from `first`. `weights` is the
    digest of a model's weights that the vectors are said to be of, the bundled one's when absent.
    """
    store = Store.open_url(str(root))
    rows = [facts(first + at) | dict((changed or {}).get(at, {})) for at in range(len(image))]
    text = unit(len(image), image.shape[1], 1) if text is None else text
    shards: list[ShardEntry] = []
    for low in range(0, len(rows), shard_rows):
        piece = slice(low, low + shard_rows)
        shards.append(_shard(store, number, len(shards), rows[piece], (image[piece], text[piece]), first + low))
    config = parse({"dataset": str(root), "inputs": ["crawl.warc.gz"]}).model_dump(
        mode="json", exclude={"cluster", "dataset"}
    )
    weights = weights or ModelSpec().identity()["weights_sha256"]
    snapshot = Snapshot(
        number=number, parent=number - 1 or None, config=config, config_digest=stable_hash(config), rows_in=len(rows), rows=len(rows),
        dropped={}, extracts=[], layouts=[], parts=[], shards=shards,
        clip={"model": "tamis-mini", "pretrained": None, "weights_sha256": weights, "threshold_cos": 0.1},
        reduces={"copies": _copies(store, rows, groups)} if groups else {},
    )  # fmt: skip
    publish(store, snapshot)
    build(store, snapshot)
    return store


def _shard(
    store: Store,
    snapshot: int,
    number: int,
    rows: list[dict[str, Any]],
    vectors: Sequence[NDArray[np.float32]],
    first: int,
) -> ShardEntry:
    names = pack.shard_files(f"{snapshot:06d}", number)
    heads = [pa.field(name, pa.float32()) for name in HEADS if any(name in row for row in rows)]
    table = pa.Table.from_pylist(rows, schema=pa.schema([*SIDECAR, *heads]))
    offsets, lengths = [], []
    with store.scratch() as scratch:
        with (scratch / "tar").open("wb") as tar:
            for at, row in enumerate(rows):
                offsets.append(tar.tell())
                tar.write(pack.member(f"{row['key']}.jpg", jpeg(first + at)))
                tar.write(pack.member(f"{row['key']}.txt", row["caption"].encode()))
                tar.write(pack.member(f"{row['key']}.json", json.dumps(row).encode()))
                lengths.append(tar.tell() - offsets[-1])
            tar.write(bytes(1024))
        more = {
            "shard_offset": pa.array(offsets, pa.int64()), "shard_bytes": pa.array(lengths, pa.int64()),
            "status": pa.array(["success"] * len(rows)), "error_message": pa.nulls(len(rows), pa.string()),
        }  # fmt: skip
        for name, column in more.items():
            table = table.append_column(name, column)
        pq.write_table(table, scratch / "parquet")
        pq.write_table(table.select(["key", "url", "caption"]), scratch / "metadata")
        for role, array in zip(("img_emb", "text_emb"), vectors, strict=True):
            with (scratch / role).open("wb") as handle:
                np.save(handle, array.astype(np.float16))
        digests = {role: sha256_file(scratch / role) for role in names}
        for role, name in names.items():
            store.put(scratch / role, name)
    return ShardEntry(number, stable_hash([snapshot, number, digests]), len(rows), digests)


def _copies(store: Store, rows: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[int]]) -> str:
    def write(draft: Draft) -> Outcome:
        members = [(rows[at]["key"], rows[group[0]]["key"]) for group in groups for at in group]
        columns = [pa.array([bytes.fromhex(pair[side]) for pair in members], pa.binary(16)) for side in (0, 1)]
        draft.table(pa.table(columns, names=["uid", "group"]))
        return Outcome(len(rows), len(rows))

    return run(store, Stage("copies", write, {"groups": [list(group) for group in groups]})).key
