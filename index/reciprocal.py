"""Neighbours that are neighbours both ways: a picture in a crowd is near to many, and few of those are near to it."""

import numpy as np

from index.answering import Ranked
from index.opened import Found, Opened
from index.query import Query


def mutual(opened: Opened, near: Ranked, query: Query) -> Ranked:
    """Keep the neighbours whose own `query.k` nearest would hold what was asked: it is no farther than the last of them."""
    if not len(near.ids):
        return near
    theirs = opened.near(opened.vectors(near.ids, query.modality), query.k + 1, modality=query.modality)
    last = np.array([_last(one, own, query.k) for one, own in zip(theirs, near.ids.tolist(), strict=True)], np.float32)
    keep = near.cos >= last
    return Ranked(near.ids[keep], near.cos[keep])


def _last(found: Found, own: int, k: int) -> float:
    """Return the cosine of the k-th neighbour other than the picture itself; -1 where there are fewer."""
    others = found.cos[found.ids != own]
    return float(others[k - 1]) if len(others) >= k else -1.0
