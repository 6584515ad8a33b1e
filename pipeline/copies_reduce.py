"""The global step of copies: all parts' features → groups of copies, and pairs that mean nearly the same.

The work is spread over the cluster: reading parts, hashing, comparing lists, verifying pixels. The process that runs the
ingest holds the narrow columns of all rows and the pairs, never vectors or pictures.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config import CopiesConfig
from pipeline.copies import Copies, CopyOptions, propose, settle, verify
from pipeline.copies_rows import Looked, Pictures, gather
from pipeline.near.plan import Plan
from pipeline.near.search import Near, NearOptions, Pairs, near_pairs
from pipeline.near.source import Spread, here
from pipeline.near.spill import Spill, spilled
from pipeline.rows import PartFiles
from pipeline.stage import Draft, Outcome

_PAIRS_A_TASK = 2_000
_SEMANTIC_MOST = 512
"""Neighbours of a row for thinning: in crowds denser than this a row is compared with its nearest 512 only."""


def options_of(config: CopiesConfig) -> CopyOptions:
    """Return the search's options as a configuration has them."""
    return CopyOptions(
        phash_bits=config.phash_bits,
        pdq_bits=config.pdq_bits,
        emb_cos=config.neighbour_cos,
        target_recall=config.target_recall,
        min_agreement=config.min_agreement,
    )


def group(draft: Draft, parts: Sequence[PartFiles], config: CopiesConfig, spread: Spread = here) -> Outcome:
    """Propose, verify and group copies over every picture that was looked at.

    Writes `parquet` (uid, group: uid of the group's centre; only rows that have copies), `pairs.parquet` (the verified
    pairs, how they were proposed, and their agreement) and, where thinning is asked for, `semantic.parquet` (uid, other,
    cos: pairs that mean nearly the same; `equal` where their vectors are the same).
    """
    # a folder that `Store.sweep` empties: vectors must not outlive the run, whatever becomes of it
    with spilled(draft.store, "tmp/copies") as spill:
        looked = gather(draft.store, parts, spread, spill.inner("rows"))
        if looked is None:
            looked_rows, found, near = 0, None, None
        else:
            looked_rows = len(looked)
            found = find_copies(looked, options_of(config), spread, spill.inner("search"))
            near = semantic_pairs(looked, config, spread, spill.inner("semantic"))
    uids = pa.array([], pa.binary(16)) if looked is None else looked.uids
    groups = _group_table(uids, found)
    draft.table(groups)
    draft.table(_pair_table(uids, found, config.min_agreement), "pairs.parquet")
    if config.semantic_cos is not None:
        draft.table(semantic_table(uids, near), "semantic.parquet")
    facts = {
        "proposed": 0 if found is None else len(found.pairs),
        "verified": 0 if found is None else int((found.score >= config.min_agreement).sum()),
        "groups": len(pc.unique(groups["group"])),
        "members": groups.num_rows,
        "search": plan_facts(Plan() if found is None else found.plan),
    }
    return Outcome(looked_rows, looked_rows, {}, facts)


def find_copies(looked: Looked, options: CopyOptions, spread: Spread, spill: Spill) -> Copies:
    """Propose, verify and group the rows, each step spread."""
    proposals = propose(looked.features, options, spread=spread, spill=spill)

    def check(pairs: Pairs) -> NDArray[np.float32]:
        return checked(looked.pictures, pairs, len(looked), options, spread)

    return settle(proposals, check, options, len(looked), looked.rank)


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return what is told of a search: how it was done, and the measured share of near pairs that it finds."""
    low, high = plan.recall.interval
    told = {"frac": plan.recall.frac, "pairs": plan.recall.pairs, "low": round(low, 4), "high": round(high, 4)}
    return {"how": plan.words, "recall": told if plan.clusterings else None}


def checked(pictures: Pictures, pairs: Pairs, rows: int, options: CopyOptions, spread: Spread) -> NDArray[np.float32]:
    """Verify pairs in tasks; connected pairs lie together, so that each picture is read about once."""
    root = _components(rows, pairs)[pairs[:, 0]]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], root))
    pieces = [order[at : at + _PAIRS_A_TASK] for at in range(0, len(order), _PAIRS_A_TASK)]
    scores = spread(_verify_some, [(pictures, pairs[piece], options) for piece in pieces])
    score = np.zeros(len(pairs), np.float32)
    if pieces:
        score[order] = np.concatenate(scores)
    return score


def _verify_some(pictures: Pictures, pairs: Pairs, options: CopyOptions) -> NDArray[np.float32]:
    with pictures.opened() as load:
        return verify(pairs, load, options)


def _components(rows: int, pairs: Pairs) -> NDArray[np.int64]:
    """Give every row the smallest row that it is connected with."""
    root = np.arange(rows)
    while True:
        before = root.copy()
        for one, two in ((0, 1), (1, 0)):
            np.minimum.at(root, pairs[:, one], root[pairs[:, two]])
        root = root[root]
        if np.array_equal(root, before):
            return root


def semantic_pairs(looked: Looked, config: CopiesConfig, spread: Spread, spill: Spill) -> Near | None:
    """Find the pairs that mean nearly the same, where thinning is asked for."""
    if config.semantic_cos is None:
        return None
    asked = NearOptions(config.semantic_cos, config.target_recall, max_per_row=_SEMANTIC_MOST)
    source = looked.features.emb
    assert not isinstance(source, np.ndarray)
    return near_pairs(source, asked, spread=spread, spill=spill)


def _group_table(uids: pa.Array, found: Copies | None) -> pa.Table:
    group = np.full(len(uids), -1) if found is None else found.group
    table = pa.table({"uid": uids, "group": uids.take(pa.array(group, mask=group < 0))})
    return table.filter(pc.is_valid(table["group"])).sort_by("uid")


def _pair_table(uids: pa.Array, found: Copies | None, min_agreement: float) -> pa.Table:
    if found is None:
        found = Copies(
            np.empty(0, np.int64), np.empty((0, 2), np.int64), np.empty(0, np.uint8), np.empty(0, np.float32)
        )
    sure = found.score >= min_agreement
    one, two = (uids.take(pa.array(found.pairs[sure, side])) for side in (0, 1))
    table = pa.table({"uid": one, "other": two, "how": found.how[sure], "agreement": found.score[sure]})
    return table.sort_by([("uid", "ascending"), ("other", "ascending")])


def semantic_table(uids: pa.Array, near: Near | None) -> pa.Table:
    """Return near pairs by uid; a row with the vector of an earlier one is paired with it and with no other."""
    if near is None:
        near = Near(np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.int64))
    same = np.flatnonzero((near.same >= 0) & (near.same != np.arange(len(near.same))))
    one, two = np.r_[near.pairs[:, 0], near.same[same]], np.r_[near.pairs[:, 1], same]
    columns = {
        "uid": uids.take(pa.array(one)),
        "other": uids.take(pa.array(two)),
        "cos": np.r_[near.cos, np.ones(len(same), np.float32)],
        "equal": np.r_[np.zeros(len(near.pairs), np.bool_), np.ones(len(same), np.bool_)],
    }
    return pa.table(columns).sort_by([("uid", "ascending"), ("other", "ascending")])
