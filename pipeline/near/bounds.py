"""Upper bounds of cosines from some of the dimensions, so that most pairs need no more.

By Cauchy and Schwarz, a · b is at most the product of the first d dimensions plus that of the lengths of the rest. So d
dimensions and one more, which holds that length, bound the cosine from above, and only pairs whose bound reaches what is
sought are computed in full. Nothing is lost; a quarter of the dimensions mostly does.
"""

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

SLACK_COS = 1e-4
"""More than float32 loses in a product; what is let through by it is computed in full and dropped."""
_KEPT_FRAC = (0.25, 0.5)
_FEWEST = 16
_MOST_CANDIDATES_FRAC = 0.003
"""Share of pairs that may be computed in full before a wider bound is cheaper: one costs as much as 300 in the product."""
_TRIED_ROWS, _TRIED_COLUMNS = 64, 1_024


def dimensions_enough(rows: F32, least_cos: float) -> int:
    """Tell from a sample how many dimensions of f32[N,D] rule nearly all pairs out; D where none do."""
    width = int(rows.shape[1])
    few, many = (rows[:: max(1, len(rows) // count)] for count in (_TRIED_ROWS, _TRIED_COLUMNS))
    itself = 1 / max(1, min(len(rows), _TRIED_COLUMNS))  # every row of the sample is near itself
    for kept in (int(width * frac) for frac in _KEPT_FRAC):
        if kept >= _FEWEST:
            tried = bounded(few, kept) @ bounded(many, kept).T
            reached = np.count_nonzero(tried >= least_cos - SLACK_COS)
            if reached <= (_MOST_CANDIDATES_FRAC + itself) * tried.size:
                return kept
    return width


def bounded(rows: F32, kept: int) -> F32:
    """Return the first `kept` dimensions and the length of the others, f32[N,kept + 1]; the rows where all are kept."""
    if kept == rows.shape[1]:
        return rows
    return np.column_stack([rows[:, :kept], np.linalg.norm(rows[:, kept:], axis=1)])


def cosines(left: F32, one: I64, right: F32, two: I64) -> F32:
    """Return left[one] · right[two] pair by pair: its last bits do not depend on which other pairs are asked for."""
    out = np.empty(len(one), np.float32)
    for at in range(0, len(one), 65_536):
        piece = slice(at, at + 65_536)
        out[piece] = np.einsum("ij,ij->i", left[one[piece]], right[two[piece]])
    return out
