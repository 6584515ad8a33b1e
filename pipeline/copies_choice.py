"""Of each group of copies, which member is kept; and of what is left, which rows are thinned out."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.base import numbers
from filters.copies import policy_rank, representatives
from filters.thinning import dropped_by_chains, thin
from pipeline.schema import MEMBER
from pipeline.stage import Draft, Outcome, Part
from pipeline.store import Store


def members_of(store: Store, copies: Part) -> tuple[pa.Table, pa.Array]:
    """Return uid and group of rows that have copies, and the uids of rows that may be thinned out."""
    groups = copies.table(store, columns=["uid", "group"])
    if "semantic.parquet" not in copies.files:
        return groups, pa.array([], pa.binary(16))
    pairs = copies.table(store, "semantic.parquet", columns=["uid", "other"])
    return groups, pa.chunked_array([*pairs["uid"].chunks, *pairs["other"].chunks], pa.binary(16)).unique()


def choose(draft: Draft, judged: Sequence[Part], replace_lost: bool, copies: Part | None = None) -> Outcome:
    """Write, for every group with a keepable member, the other keepable members: uid, duplicate_of.

    Without `replace_lost` all members of a group that somebody had one removed of go, as copies of that one. Where
    `copies` has semantic pairs, what is left of the rows is thinned by them: `semantic_of` names the kept row.
    """
    tables = [part.table(draft.store, "copies.parquet") for part in judged]
    rows = pa.concat_tables([MEMBER.empty_table(), *tables])
    codes = rows["group"].combine_chunks().dictionary_encode().indices
    numbered = rows.set_column(rows.schema.get_field_index("group"), "group", pc.cast(codes, pa.int64()))
    kept = representatives(numbered)["kept"].combine_chunks()
    lost = pc.and_(rows["eligible"], pc.fill_null(pc.not_equal(kept, rows["uid"]), False))
    if not replace_lost:
        gone = rows.filter(pc.and_(rows["removed"], pc.is_valid(rows["group"]))).sort_by("uid")
        at = pc.index_in(rows["group"].combine_chunks(), gone["group"].combine_chunks(), skip_nulls=True)
        removed = gone["uid"].combine_chunks().take(at)
        kept, lost = pc.coalesce(removed, kept), pc.or_(lost, pc.and_(rows["eligible"], pc.is_valid(at)))
    losers = pa.table({"uid": rows["uid"], "duplicate_of": kept}).filter(lost).sort_by("uid")
    facts: dict[str, int] = {}
    if copies is not None and "semantic.parquet" in copies.files:
        alive = pc.and_(rows["eligible"], pc.invert(lost))
        near, facts = thinned(rows, alive, copies.table(draft.store, "semantic.parquet"))
        losers = pa.concat_tables([losers, near], promote_options="default").sort_by("uid")
    draft.table(losers)
    return Outcome(rows.num_rows, rows.num_rows, {}, facts)


def thinned(rows: pa.Table, alive: pa.ChunkedArray, pairs: pa.Table) -> tuple[pa.Table, dict[str, int]]:
    """Return the rows that are dropped as near a kept one (uid, semantic_of, semantic_cos), and how many either rule drops.

    `rows` are MEMBER; a row that only the pairs name is not alive.
    """
    uids = rows["uid"].combine_chunks()
    named = pa.concat_arrays([pairs[name].combine_chunks() for name in ("uid", "other")]).unique()
    strangers = named.filter(pc.invert(pc.is_in(named, value_set=uids)))  # erased since: not alive, but still links
    uids = pa.concat_arrays([uids, strangers])
    ends = np.stack([pc.index_in(pairs[name].combine_chunks(), uids).to_numpy() for name in ("uid", "other")], axis=1)
    ends = ends.astype(np.int64)
    equal = pairs["equal"].to_numpy()
    same = np.arange(len(uids))
    same[ends[equal, 1]] = ends[equal, 0]
    more = len(strangers)
    px, clip_cos = (np.append(numbers(rows, name), np.full(more, np.nan)) for name in ("px", "clip_cos"))
    rank = policy_rank(uids, px, clip_cos)
    living = np.append(pc.fill_null(alive, False).to_numpy(), np.zeros(more, np.bool_))
    near, cos = ends[~equal], pairs["cos"].to_numpy()[~equal].astype(np.float32)
    dropped_for, dropped_cos = thin(near, cos, same=same, rank=rank, alive=living)
    gone = np.flatnonzero(dropped_for >= 0)
    table = pa.table(
        {
            "uid": uids.take(pa.array(gone)),
            "semantic_of": uids.take(pa.array(dropped_for[gone])),
            "semantic_cos": dropped_cos[gone],
        }
    )
    by_chains = dropped_by_chains(near, same=same, rank=rank, alive=living)
    return table, {"semantic_near": len(gone), "semantic_near_by_chains": by_chains}
