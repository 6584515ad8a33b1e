"""All that is known of a part's rows, joined from what the stages left; the one place that knows how they join."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.schema import FETCH, RIGHTS_TEXTS
from pipeline.stage import Part
from pipeline.store import Store

F16 = NDArray[np.float16]
U8 = NDArray[np.uint8]

NOT_FETCHED = "not_fetched"


@dataclass(frozen=True)
class PartFiles:
    """One part's way through the stages: what each of them committed for it."""

    candidates: Part
    admit: Part
    fetches: Sequence[Part]  # one a generation, later ones win
    embeds: Sequence[Part]  # one a fetch part
    scores: Part | None = None
    decide: Part | None = None

    def content_keys(self) -> list[str]:
        """Return what a shard made of the part's kept rows depends on: where the rows are from, which are kept, what heads said."""
        assert self.decide is not None
        fetches = self.decide.facts["fetches"]
        embeds = [part.key for part in self.embeds if part.inputs[1] in fetches]
        scores = [self.scores.key] if self.scores is not None and self.heads else []
        return [self.candidates.key, *fetches, *embeds, str(self.decide.facts["kept_digest"]), *scores]

    @property
    def heads(self) -> list[str]:
        """Return the columns of scores that stand in the shards: those of heads that the run's file names."""
        return list(self.scores.facts.get("heads", ())) if self.scores is not None else []

    @property
    def extension(self) -> str:
        """Return the file name extension of the stored pictures."""
        return str(self.fetches[0].facts["extension"]) if self.fetches else "jpg"

    def stages(self) -> dict[str, list[str]]:
        """Return stage → keys, for the snapshot."""
        found: dict[str, list[str]] = {}
        for part in [self.admit, *self.fetches, *self.embeds, self.scores, self.decide]:
            if part is not None:
                found.setdefault(part.stage, []).append(part.key)
        return found

    def pictures(self, store: Store, rows: pa.Table) -> Iterator[bytes]:
        """Yield the stored picture of each row (columns fetch_key, tar_offset, tar_bytes)."""
        open_files: dict[str, Any] = {}
        by_key = {part.key: part for part in self.fetches}
        try:
            for row in rows.select(["fetch_key", "tar_offset", "tar_bytes"]).to_pylist():
                key = row["fetch_key"]
                if key not in open_files:
                    open_files[key] = by_key[key].open(store, "tar")
                open_files[key].seek(row["tar_offset"])
                yield open_files[key].read(row["tar_bytes"])
        finally:
            for handle in open_files.values():
                handle.close()


def fetched(store: Store, fetches: Sequence[Part]) -> pa.Table:
    """Return one FETCH row a uid over all generations (the latest wins), with `fetch_key`, sorted by uid."""
    tables = []
    for generation, part in enumerate(fetches):
        with part.open(store, "parquet") as handle:  # the schema: tables of an earlier version lack columns
            table = pq.read_table(handle, schema=FETCH)
        table = table.append_column("fetch_key", pa.array([part.key] * table.num_rows, pa.string()))
        tables.append(table.append_column("generation", pa.array(np.full(table.num_rows, generation, np.int32))))
    if not tables:
        return FETCH.empty_table().append_column("fetch_key", pa.array([], pa.string()))
    rows = pa.concat_tables(tables).sort_by([("uid", "ascending"), ("generation", "descending")])
    uids = rows["uid"].combine_chunks()
    if len(tables) > 1 and rows.num_rows:
        first = np.r_[True, pc.not_equal(uids[1:], uids[:-1]).to_numpy(zero_copy_only=False)]
        rows = rows.filter(pa.array(first))
    return rows.drop_columns(["generation"])


def embedded(store: Store, embeds: Sequence[Part]) -> tuple[pa.Table, F16, F16]:
    """Return what the model saw: uids with statistics, picture and text vectors f16[N,D], in the order of the files."""
    tables = [part.table(store) for part in embeds]
    images: list[F16] = []
    texts: list[F16] = []
    for part in embeds:
        for suffix, into in (("img.npy", images), ("text.npy", texts)):
            with part.open(store, suffix) as handle:
                into.append(np.load(handle))
    if not tables:
        return (
            pa.table({"uid": pa.array([], pa.binary(16))}),
            np.zeros((0, 0), np.float16),
            np.zeros((0, 0), np.float16),
        )
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(images), np.concatenate(texts)


def joined(store: Store, part: PartFiles) -> tuple[pa.Table, F16, F16]:
    """Return candidates ⋈ fetch ⋈ embeddings' rows for every picture that was looked at, sorted by uid.

    The two arrays are f16[N,D], row-aligned with the table. A row fetched again counts by its latest generation.
    """
    looked, image_emb, text_emb = embedded(store, part.embeds)
    got = _looked_at(store, part, looked)
    rows = _join_by_uid(got, part.candidates.table(store))
    at = rows["emb_row"].to_numpy()
    return rows.drop_columns(["emb_row"]), image_emb[at], text_emb[at]


def looked_at(store: Store, part: PartFiles) -> pa.Table:
    """Return the FETCH row of every picture that was looked at, sorted by uid, with `emb_row`: where its vectors stand."""
    tables = [embed.table(store, columns=["uid"]) for embed in part.embeds]
    return _looked_at(store, part, pa.concat_tables([pa.table({"uid": pa.array([], pa.binary(16))}), *tables]))


def _looked_at(store: Store, part: PartFiles, looked: pa.Table) -> pa.Table:
    got = fetched(store, part.fetches)
    got = got.filter(pc.is_null(got["reason"])).drop_columns(["reason", "detail", "transient"])
    if not part.embeds:
        return got.slice(0, 0).append_column("emb_row", pa.array([], pa.int64()))
    return _inner(got, looked.append_column("emb_row", pa.array(np.arange(looked.num_rows))))


def _inner(left: pa.Table, right: pa.Table) -> pa.Table:
    """Keep the rows of `left` whose uid is in `right`, with right's columns (its last row of a uid wins)."""
    right = right.take(pa.array(np.arange(right.num_rows)[::-1]))
    at = pc.index_in(left["uid"].combine_chunks(), right["uid"].combine_chunks())
    left, at = left.filter(pc.is_valid(at)), at.drop_null()
    for name in right.column_names:
        if name != "uid":
            left = left.append_column(name, right[name].combine_chunks().take(at))
    return left


def _join_by_uid(left: pa.Table, candidates: pa.Table) -> pa.Table:
    at = pc.index_in(left["uid"].combine_chunks(), candidates["uid"].combine_chunks())
    for name in candidates.column_names:
        if name not in left.column_names:
            left = left.append_column(name, candidates[name].combine_chunks().take(at))
    return left


def vectors(column: F16) -> pa.FixedSizeListArray:
    """Return f16[N,D] as an Arrow column, the form filters read."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(column).reshape(-1)), column.shape[1] or 1)


def kept_rows(store: Store, part: PartFiles, low: int, high: int) -> tuple[pa.Table, F16, F16]:
    """Return rows low…high of a part's kept rows as a shard shows them, with their vectors, in uid order."""
    assert part.decide is not None
    assert part.scores is not None
    rows, image_emb, text_emb = joined(store, part)
    decisions = part.decide.table(store, columns=["uid", "reason"])
    kept = decisions.filter(pc.is_null(decisions["reason"]))["uid"].combine_chunks().slice(low, high - low)
    at = pc.index_in(kept, rows["uid"].combine_chunks())
    rows, index = rows.take(at), at.to_numpy(zero_copy_only=False).astype(np.int64)
    scores = part.scores.table(store)
    score_at = pc.index_in(kept, scores["uid"].combine_chunks())
    for name in scores.column_names:
        if name not in rows.column_names:
            rows = rows.append_column(name, scores[name].combine_chunks().take(score_at))
    return _shard_columns(rows, part.extension, part.heads), image_emb[index], text_emb[index]


def _shard_columns(rows: pa.Table, extension: str, heads: Sequence[str]) -> pa.Table:
    """Name the columns as img2dataset does where it has them, ours after them."""
    renamed = {"text": "caption", "width_px": "width", "height_px": "height", "original_width_px": "original_width",
               "original_height_px": "original_height"}  # fmt: skip
    rows = rows.append_column("key", pa.array([uid.hex() for uid in rows["uid"].to_pylist()]))
    rows = rows.append_column("extension", pa.array([extension] * rows.num_rows))
    hexed = {
        name: pa.array([_hex(v) for v in rows[name].to_pylist()]) for name in ("sha256", "md5", "phash64", "pdq256")
    }
    names = ["key", "url", "text", "width_px", "height_px", "original_width_px", "original_height_px", "sha256", "md5", "phash64",
             "pdq256", "clip_cos", *heads, "page_url", "domain", "source", "license", "lang", "text_from", "content_type", "format", "via",
             *RIGHTS_TEXTS, "extension", "fetch_key", "tar_offset", "tar_bytes"]  # fmt: skip
    columns = {
        renamed.get(name, name): hexed.get(name, rows[name])
        for name in names
        if name in rows.column_names or name in hexed
    }
    columns["source"] = pa.array(
        [str(source).rsplit("/", 1)[-1] for source in rows["source"].to_pylist()]
    )  # no folder of ours
    return pa.table(columns)


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None


def decode_stored(data: bytes) -> U8:
    """Decode one of our own stored pictures to u8[H,W,3] RGB."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels, dtype=np.uint8)


def blanked(table: pa.Table, gone: pa.Array | pa.ChunkedArray, keep: Sequence[str]) -> pa.Table:
    """Return a table whose rows of a mask are null in every column but those of `keep`."""
    mask = gone.to_numpy() if isinstance(gone, pa.ChunkedArray) else gone.to_numpy(zero_copy_only=False)
    take = pa.array(np.arange(table.num_rows), mask=mask)
    for at, column in enumerate(table.schema):
        if column.name not in keep:
            table = table.set_column(at, column, table[column.name].combine_chunks().take(take))
    return table
