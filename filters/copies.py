"""Turn verified pairs into groups of copies, and say which member of a group is kept.

Groups are stars: every member was verified against the group's centre, so that no chain of small changes joins
strangers. The best-connected row becomes a centre first; policy and uid break ties, so the order of rows is no matter.
"""

import heapq

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.base import numbers

Rows = NDArray[np.int64]


def policy_rank(uids: pa.Array, px: NDArray[np.float64], clip_cos: NDArray[np.float64]) -> Rows:
    """Rank rows by the keep policy, 0 first: most pixels, then highest cosine (missing last), then smallest uid."""
    by_uid = np.empty(len(uids), np.int64)
    by_uid[pc.sort_indices(uids).to_numpy()] = np.arange(len(uids))
    pixels = np.nan_to_num(px.astype(np.float64), nan=-1.0)
    cosine = np.nan_to_num(clip_cos.astype(np.float64), nan=-2.0)
    rank = np.empty(len(uids), np.int64)
    rank[np.lexsort((by_uid, -cosine, -pixels))] = np.arange(len(uids))
    return rank


def _contract(rows: int, exact: Rows) -> Rows:
    """Give every row the smallest row it is identical with, through any number of exact pairs."""
    root = np.arange(rows)
    for one, two in exact.tolist():
        while root[one] != one:
            root[one] = root[root[one]]
            one = int(root[one])
        while root[two] != two:
            root[two] = root[root[two]]
            two = int(root[two])
        root[max(one, two)] = min(one, two)
    while True:
        higher = root[root]
        if np.array_equal(higher, root):
            return root
        root = higher


def _neighbours(rows: int, pairs: Rows) -> tuple[Rows, Rows]:
    """Lay pairs out by row: the neighbours of row r are targets[starts[r]:starts[r + 1]]."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = np.unique(both[both[:, 0] != both[:, 1]], axis=0)
    return np.searchsorted(both[:, 0], np.arange(rows + 1)), both[:, 1]


def groups(rows: int, pairs: Rows, *, exact: Rows | None = None, rank: Rows | None = None) -> Rows:
    """Split verified pairs i64[M,2] into stars; i64[rows] with the row of the group's centre, -1 for rows without.

    `exact` pairs are identical in their bytes and so transitive: such rows always stay together. `rank` (see
    `policy_rank`) breaks ties between equally connected rows; with it the groups do not depend on the order of rows.
    """
    rank = np.arange(rows) if rank is None else rank
    root = _contract(rows, np.empty((0, 2), np.int64) if exact is None else exact)
    size = np.bincount(root, minlength=rows)
    best = np.full(rows, np.iinfo(np.int64).max)
    np.minimum.at(best, root, rank)  # a class of identical rows stands as high as its best member
    starts, targets = _neighbours(rows, root[pairs.reshape(-1, 2)])
    free = np.ones(rows, np.bool_)

    def members(centre: int) -> Rows:
        near = targets[starts[centre] : starts[centre + 1]]
        return np.append(near[free[near]], centre)

    linked = np.flatnonzero(((np.diff(starts) > 0) | (size > 1)) & (size > 0))
    heap = [(-int(size[members(row)].sum()), int(best[row]), row) for row in linked.tolist()]
    heapq.heapify(heap)
    group = np.full(rows, -1, np.int64)
    while heap:
        gain, order, centre = heapq.heappop(heap)
        if not free[centre]:
            continue
        star = members(centre)
        now = -int(size[star].sum())
        if now != gain:
            heapq.heappush(heap, (now, order, centre))
        elif now < -1:
            free[star] = False
            group[star] = centre
    by_rank = np.empty(rows, np.int64)
    by_rank[rank] = np.arange(rows)
    # named by the best row of the central class, not by the first one in the table
    named = np.where(group >= 0, by_rank[best[np.maximum(group, 0)]], -1)
    return np.asarray(named[root], np.int64)


def representatives(table: pa.Table) -> pa.Table:
    """Choose each group's kept member: columns uid, kept (the uid that stands for it; null if no member is eligible).

    Reads uid, group (int64; null or negative = alone), px, clip_cos, eligible (passes every other filter; null = no).
    A row without copies stands for itself. A duplicate is a row whose `kept` is neither null nor its own uid.
    """
    rows = len(table)
    uids = table["uid"].combine_chunks()
    group = np.nan_to_num(numbers(table, "group"), nan=-1.0).astype(np.int64)
    alone = group < 0
    group[alone] = np.flatnonzero(alone) + (group.max(initial=-1) + 1)
    eligible = np.asarray([bool(value) for value in table["eligible"].to_pylist()], np.bool_)
    rank = policy_rank(uids, numbers(table, "px"), numbers(table, "clip_cos"))
    order = np.lexsort((rank, ~eligible, group))
    _, first = np.unique(group[order], return_index=True)
    winner = np.empty(rows, np.int64)
    winner[order] = np.repeat(order[first], np.diff(np.append(first, rows)))
    kept = uids.take(pa.array(winner, mask=~eligible[winner]))
    return pa.table({"uid": uids, "kept": kept})
