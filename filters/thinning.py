"""Thin out what means nearly the same: of rows that are near each other, keep the best and drop what is near a kept one.

After SemDeDup (Abbas et al. 2023, arXiv 2303.09540). Their published code drops a row that is near any earlier one,
kept or not, so that a chain of small steps loses all but its head. Here a row is compared with kept rows only: whatever
is dropped has a kept row within the cosine.
"""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def _beside(rows: int, pairs: Rows, cos: NDArray[np.float32]) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """Lay pairs out by row: the neighbours of row r are at starts[r]…starts[r + 1]."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    twice = np.concatenate([cos, cos])
    order = np.argsort(both[:, 0], kind="stable")
    return np.searchsorted(both[order, 0], np.arange(rows + 1)), both[order, 1], twice[order]


def thin(
    pairs: Rows, cos: NDArray[np.float32], *, same: Rows, rank: Rows, alive: NDArray[np.bool_]
) -> tuple[Rows, NDArray[np.float32]]:
    """Give every row the kept row that it is dropped for, i64[N] (-1: kept, or not alive), and their cosine.

    `pairs` i64[M,2] are near; `same` names for each row the row whose pairs are its own too (an equal vector). Rows are
    taken in the order of `rank`, 0 first, so the result does not depend on the order of rows or pairs.
    """
    rows = len(same)
    starts, targets, near_cos = _beside(rows, pairs, cos)
    keeper = np.full(rows, -1, np.int64)  # of each distinct vector, the kept row that has it
    dropped_for = np.full(rows, -1, np.int64)
    dropped_cos = np.full(rows, np.nan, np.float32)
    order = np.argsort(rank)
    for row in order[alive[order]].tolist():
        vector = int(same[row])
        if keeper[vector] >= 0:
            dropped_for[row], dropped_cos[row] = keeper[vector], 1.0
            continue
        beside = slice(starts[vector], starts[vector + 1])
        kept, kept_cos = keeper[targets[beside]], near_cos[beside]
        kept, kept_cos = kept[kept >= 0], kept_cos[kept >= 0]
        if kept.size:
            nearest = int(np.lexsort((rank[kept], -kept_cos))[0])
            dropped_for[row], dropped_cos[row] = kept[nearest], kept_cos[nearest]
        else:
            keeper[vector] = row
    return dropped_for, dropped_cos


def dropped_by_chains(pairs: Rows, *, same: Rows, rank: Rows, alive: NDArray[np.bool_]) -> int:
    """Count the rows that SemDeDup's rule drops from the same pairs: those near any row before them, dropped or not."""
    none = np.iinfo(np.int64).max
    first = np.full(len(same), none)  # the best rank of each distinct vector
    np.minimum.at(first, same[alive], rank[alive])
    nearest = first.copy()
    for one, two in ((0, 1), (1, 0)):
        np.minimum.at(nearest, pairs[:, one], first[pairs[:, two]])
    return int((nearest[same[alive]] < rank[alive]).sum())
