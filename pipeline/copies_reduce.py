"""The global step of copies: all parts' features → groups; and of each group, which member is kept."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.copies import policy_rank, representatives
from pipeline.config import CopiesConfig
from pipeline.copies import Copies, CopyFeatures, CopyOptions, find
from pipeline.rows import PartFiles, decode_stored, joined
from pipeline.schema import FETCH, MEMBER
from pipeline.stage import Draft, Outcome, Part
from pipeline.store import Store

_COLUMNS = ["uid", "sha256", "phash64", "pdq256", "pdq_quality", "fetch_key", "tar_offset", "tar_bytes",
            "original_width_px", "original_height_px"]  # fmt: skip
_OPEN_TARS = 64


def group(draft: Draft, parts: Sequence[PartFiles], config: CopiesConfig) -> Outcome:
    """Propose, verify and group copies over every picture that was looked at.

    Writes `parquet` (uid, group: uid of the group's centre; only rows that have copies) and `pairs.parquet` (the verified
    pairs, how they were proposed, and their agreement).
    """
    rows, embeddings = _features(draft.store, parts)
    options = CopyOptions(
        phash_bits=config.phash_bits,
        pdq_bits=config.pdq_bits,
        emb_cos=config.neighbour_cos,
        min_agreement=config.min_agreement,
    )
    uids = rows["uid"].combine_chunks()
    px = np.multiply(rows["original_width_px"].to_numpy(), rows["original_height_px"].to_numpy(), dtype=np.float64)
    rank = policy_rank(uids, px, np.zeros(len(uids)))
    with Loader(draft.store, parts, rows) as load:
        found = find(_copy_features(rows, embeddings), load, options, rank=rank)
    centre = pa.array(found.group, mask=found.group < 0)
    groups = pa.table({"uid": uids, "group": uids.take(centre)})
    groups = groups.filter(pc.is_valid(groups["group"])).sort_by("uid")
    draft.table(groups)
    draft.table(_pair_table(uids, found, config.min_agreement), "pairs.parquet")
    facts = {
        "proposed": len(found.pairs),
        "verified": int((found.score >= config.min_agreement).sum()),
        "groups": len(pc.unique(groups["group"])),
        "members": groups.num_rows,
    }
    return Outcome(rows.num_rows, rows.num_rows, {}, facts)


def _pair_table(uids: pa.Array, found: Copies, min_agreement: float) -> pa.Table:
    sure = found.score >= min_agreement
    one, two = (uids.take(pa.array(found.pairs[sure, side])) for side in (0, 1))
    table = pa.table({"uid": one, "other": two, "how": found.how[sure], "agreement": found.score[sure]})
    return table.sort_by([("uid", "ascending"), ("other", "ascending")])


class Loader:
    """Gives the stored picture of a row as u8[H,W,3] RGB; keeps the tars open that it reads from."""

    def __init__(self, store: Store, parts: Sequence[PartFiles], rows: pa.Table) -> None:
        self._store = store
        self._fetches = {part.key: part for files in parts for part in files.fetches}
        self._keys = rows["fetch_key"].to_pylist()
        self._offsets, self._sizes = (rows[name].to_numpy() for name in ("tar_offset", "tar_bytes"))
        self._open: OrderedDict[str, IO[bytes]] = OrderedDict()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._open.values():
            handle.close()

    def __call__(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of a row."""
        key = self._keys[row]
        if key not in self._open:
            if len(self._open) >= _OPEN_TARS:
                self._open.popitem(last=False)[1].close()
            self._open[key] = self._fetches[key].open(self._store, "tar")
        self._open.move_to_end(key)
        self._open[key].seek(int(self._offsets[row]))
        return decode_stored(self._open[key].read(int(self._sizes[row])))


def choose(draft: Draft, judged: Sequence[Part], replace_lost: bool) -> Outcome:
    """Write, for every group with a keepable member, the other keepable members: uid, duplicate_of.

    Without `replace_lost` all members of a group that somebody had one removed of go, as copies of that one.
    """
    tables = [part.table(draft.store, "copies.parquet") for part in judged]
    rows = pa.concat_tables([MEMBER.empty_table(), *tables])
    codes = rows["group"].combine_chunks().dictionary_encode().indices
    numbered = rows.set_column(rows.schema.get_field_index("group"), "group", pc.cast(codes, pa.int64()))
    kept = representatives(numbered)["kept"].combine_chunks()
    lost = pc.and_(rows["eligible"], pc.fill_null(pc.not_equal(kept, rows["uid"]), False))
    if not replace_lost:
        gone = rows.filter(rows["removed"]).sort_by("uid")
        at = pc.index_in(rows["group"].combine_chunks(), gone["group"].combine_chunks())
        removed = gone["uid"].combine_chunks().take(at)
        kept, lost = pc.coalesce(removed, kept), pc.or_(lost, pc.and_(rows["eligible"], pc.is_valid(at)))
    losers = pa.table({"uid": rows["uid"], "duplicate_of": kept}).filter(lost).sort_by("uid")
    draft.table(losers)
    return Outcome(rows.num_rows, rows.num_rows)


def _features(store: Store, parts: Sequence[PartFiles]) -> tuple[pa.Table, NDArray[np.float16]]:
    tables, vectors = [], []
    for part in parts:
        rows, image_emb, _ = joined(store, part)
        if rows.num_rows:
            tables.append(rows.select(_COLUMNS))
            vectors.append(image_emb)
    if not tables:
        return pa.schema(
            [FETCH.field(n) if n in FETCH.names else pa.field(n, pa.string()) for n in _COLUMNS]
        ).empty_table(), np.zeros((0, 1), np.float16)
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(vectors)


def _copy_features(rows: pa.Table, embeddings: NDArray[np.float16]) -> CopyFeatures:
    return CopyFeatures(
        uid=_bytes(rows["uid"], 16),
        sha256=_bytes(rows["sha256"], 32),
        phash=_bytes(rows["phash64"], 8),
        pdq=_bytes(rows["pdq256"], 32),
        pdq_quality=pc.fill_null(rows["pdq_quality"], 0).to_numpy().astype(np.int16),
        emb=embeddings,
    )


def _bytes(column: pa.ChunkedArray, width: int) -> NDArray[np.uint8]:
    """Return fixed-size binary values as u8[N,width], null as zeros (unknown)."""
    return np.frombuffer(b"".join(value or bytes(width) for value in column.to_pylist()), np.uint8).reshape(-1, width)
